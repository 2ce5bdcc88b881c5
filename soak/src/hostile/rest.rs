//! Attacks on REST's port: HTTP/1.1 as no library speaks it, and bodies that are JSON, or nearly.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{crew::Crew, http1};

/// A byte of what comes slowly, each.
const DRIP: Duration = Duration::from_millis(500);
/// How long a connection is held that does not end by itself.
const HELD: Duration = Duration::from_secs(60);
/// An answer that does not come by then is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Requests that are sent together, and not waited for.
const PIPELINED: usize = 32;
/// The longest header of each of those.
const FILLER_BYTES: usize = 8 * 1_024;
/// A body's pieces.
const PIECE_BYTES: usize = 64 * 1_024;
/// So much of a body is sent that has no end.
const ENDLESS_BYTES: usize = 8 * 1_024 * 1_024;
/// A body that is as long as one may be.
const BODY_BYTES: usize = 1_000 * 1_024;
/// So long is the extension of a chunk, and so many of them are sent together.
const EXTENSION_BYTES: usize = 1_000;
const EXTENSIONS: usize = 64;

/// Connects, and sends a head a byte at a time, without an end.
pub async fn slow_heads(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.rest(number).await?;
    let begin = b"POST /v1/orders HTTP/1.1\r\nhost: docket\r\nx-filler: ";
    let endless = begin.iter().copied().chain(std::iter::repeat(b'x'));
    drip(crew, &mut stream, endless).await
}

/// Customers' orders whose bodies come a byte at a time.
pub async fn slow_bodies(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.rest(number).await?;
    let head = post("/v1/orders", crew.key(number), "content-length: 4096\r\n");
    crew.work.turns(1).await;
    stream.write_all(head.as_bytes()).await?;
    crew.notes.sent(head.len());
    drip(crew, &mut stream, std::iter::repeat(b' ')).await
}

/// Sends these, one after the other, until there is an answer, or none.
async fn drip(crew: &Crew, stream: &mut TcpStream, bytes: impl Iterator<Item = u8>) -> io::Result<()> {
    let (mut from, mut to) = stream.split();
    let dripping = async {
        for byte in bytes {
            sleep(DRIP).await;
            to.write_all(&[byte]).await?;
            crew.notes.sent(1);
        }
        Ok(())
    };
    tokio::select! {
        answer = http1::answer(&mut from) => note(crew, answer),
        sent = dripping => sent,
        () = sleep(HELD) => Ok(()),
    }
}

/// Requests one behind the other, none of whose answers is read: some need no credentials and have long answers.
pub async fn pipelined(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.rest_with_little_room(number).await?;
    // So long that what a server has not read soon finds no room on its way.
    let filler = "f".repeat(FILLER_BYTES);
    let begin = match number % 2 {
        0 => "GET /openapi.json HTTP/1.1\r\nhost: docket\r\n".to_owned(),
        _ => format!(
            "GET /v1/items?pageSize=1000 HTTP/1.1\r\nhost: docket\r\nx-api-key: {}\r\n",
            crew.key(number)
        ),
    };
    let ask = format!("{begin}x-filler: {filler}\r\n\r\n");
    let asks = ask.repeat(PIPELINED);
    loop {
        crew.work.turns(PIPELINED).await;
        match timeout(Duration::from_secs(1), stream.write_all(asks.as_bytes())).await {
            Ok(written) => written?,
            Err(_elapsed) => {
                crew.notes.note("not read any further");
                sleep(HELD).await;
                return Ok(());
            }
        }
        crew.notes.sent(asks.len());
    }
}

/// A connection that asks for nothing.
pub async fn idle(crew: &Crew, number: usize) -> io::Result<()> {
    let mut stream = crew.rest(number).await?;
    // A part of a head from every second.
    let begin: &[u8] = if number.is_multiple_of(2) {
        b""
    } else {
        b"GET /v1/items HT"
    };
    stream.write_all(begin).await?;
    crew.notes.sent(begin.len());
    let mut some = [0; 1_024];
    while stream.read(&mut some).await? > 0 {}
    crew.notes.note("closed");
    Ok(())
}

/// Heads with thousands of headers, with one that is long, and without an end.
pub async fn header_bomb(crew: &Crew, number: usize) -> io::Result<()> {
    let begin = "GET /v1/items HTTP/1.1\r\nhost: docket\r\n";
    let (first, next) = match number % 3 {
        0 => (format!("{begin}{}\r\n", "a: b\r\n".repeat(4_000)), None),
        1 => (
            format!("{begin}x-long: {}\r\n\r\n", "l".repeat(4 * PIECE_BYTES)),
            None,
        ),
        _ => (begin.to_owned(), Some(format!("x-more: {}\r\n", "m".repeat(900)))),
    };
    exchange(crew, number, &first, |sent| {
        next.as_ref()
            .filter(|_| sent < ENDLESS_BYTES)
            .map(|next| next.repeat(8).into_bytes())
    })
    .await
}

/// Bodies in chunks: endless ones, chunks with long extensions, chunks of a byte, and a length that nobody can count.
pub async fn chunks(crew: &Crew, number: usize) -> io::Result<()> {
    let head = post("/v1/orders", crew.key(number), "transfer-encoding: chunked\r\n");
    let piece = match number % 4 {
        0 => format!("{PIECE_BYTES:x}\r\n{}\r\n", " ".repeat(PIECE_BYTES)),
        1 => format!("1;x={}\r\n \r\n", "e".repeat(EXTENSION_BYTES)).repeat(EXTENSIONS),
        2 => "1\r\n \r\n".repeat(PIECE_BYTES / 16),
        _ => format!("{}\r\n ", "f".repeat(40)),
    };
    exchange(crew, number, &head, |sent| {
        (sent < ENDLESS_BYTES).then(|| piece.clone().into_bytes())
    })
    .await
}

/// Bodies that are as long as they may be, and cost whoever reads them more than others: nested, wide, of many names, of escapes.
pub async fn costly_json(crew: &Crew, number: usize) -> io::Result<()> {
    let fill = |begin: &str, again: &str| {
        format!(
            "{begin}{}",
            again.repeat((BODY_BYTES - begin.len()) / again.len())
        )
    };
    let body = match number % 6 {
        0 => fill("", "["),
        1 => fill("{\"lines\":", "{\"a\":"),
        // An order of a third of a million lines with nothing in them.
        2 => fill("{\"lines\":[{}", ",{}") + "]}",
        3 => fill("{\"lines\":[{\"item\":\"", "\\u0041") + "\"}]}",
        4 => fill("{\"customer\":\"customers/mallory-0\"", ",\"a\":0") + "}",
        _ => fill("{\"lines\":[{\"quantity\":1", "0") + "}]}",
    };
    let length = format!("content-length: {}\r\n", body.len());
    let head = post("/v1/orders", crew.key(number), &length);
    let mut pieces = body.as_bytes().chunks(PIECE_BYTES).map(<[u8]>::to_vec);
    exchange(crew, number, &head, |_| pieces.next()).await
}

/// The head of a customer's request with a body.
fn post(path: &str, key: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: docket\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n{more}\r\n"
    )
}

/// Sends a request on a connection of its own, piece by piece (`next` hears how much was sent), and hears what is answered to that.
async fn exchange(
    crew: &Crew,
    number: usize,
    head: &str,
    mut next: impl FnMut(usize) -> Option<Vec<u8>>,
) -> io::Result<()> {
    let mut stream = crew.rest(number).await?;
    let (mut from, mut to) = stream.split();
    let sending = async {
        to.write_all(head.as_bytes()).await?;
        let mut sent = head.len();
        crew.notes.sent(sent);
        while let Some(piece) = next(sent) {
            crew.work.turns(1).await;
            to.write_all(&piece).await?;
            crew.notes.sent(piece.len());
            sent += piece.len();
        }
        Ok::<(), io::Error>(())
    };
    let answer = http1::answer(&mut from);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => note(crew, answer),
        // Why it was cut, it may have said before.
        sent = sending => match timeout(ANSWER_MAX, answer).await {
            Ok(answer) => note(crew, answer),
            Err(_elapsed) => {
                crew.notes.note("no answer");
                sent
            }
        },
    }
}

fn note(crew: &Crew, answer: io::Result<Option<http1::Answer>>) -> io::Result<()> {
    match answer? {
        Some(answer) => crew.notes.note(answer.told()),
        None => crew.notes.note("closed"),
    }
    Ok(())
}
