//! HTTP/2 as bytes (RFC 9113, RFC 7541), for what no library sends.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::crew::Notes;

/// The first bytes of a client's connection, and its settings, which are none.
pub const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// The largest frame that is sent; every server takes that.
pub const FRAME_BYTES: usize = 16_384;
/// Answers are read in pieces of so many bytes.
const READ_BYTES: usize = 16_384;
/// The head of a frame.
const HEAD_BYTES: usize = 9;

/// Types of frames, and flags.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Appends a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = payload.len().min(0xff_ff_ff) as u32;
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The headers of a gRPC call, each as it is, without compression, and these beside them.
pub fn call(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "docket"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in usual.iter().chain(more) {
        literal(0x00, name, value, &mut block);
    }
    block
}

/// A header of which every repetition is one byte more, and that byte.
pub fn kept(name: &str, value: &str, out: &mut Vec<u8>) -> u8 {
    literal(0x40, name, value, out);
    // The newest entry of the dynamic table: the static one has 61.
    0x80 | 62
}

fn literal(first: u8, name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(first);
    for text in [name, value] {
        number(text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// A length with a prefix of seven bits.
fn number(mut value: usize, out: &mut Vec<u8>) {
    const PREFIX: usize = 0x7f;
    if value < PREFIX {
        out.push(value as u8);
        return;
    }
    out.push(PREFIX as u8);
    value -= PREFIX;
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what the server says until it closes the connection, and notes it.
pub async fn listen(from: &mut (impl AsyncRead + Unpin), notes: &Notes) -> io::Result<()> {
    let mut read = Vec::with_capacity(READ_BYTES);
    loop {
        if from.read_buf(&mut read).await? == 0 {
            notes.note("closed");
            return Ok(());
        }
        let mut at = 0;
        while let Some(next) = said(&read[at..], notes) {
            at += next;
        }
        read.drain(..at);
    }
}

/// Notes the first frame; how many bytes it has, where all of it is there.
fn said(bytes: &[u8], notes: &Notes) -> Option<usize> {
    let [high, middle, low, kind] = *bytes.first_chunk()?;
    let length = usize::from(high) * 65_536 + usize::from(middle) * 256 + usize::from(low);
    let payload = bytes.get(HEAD_BYTES..HEAD_BYTES + length)?;
    let code = |at: usize| {
        let code = payload.get(at..at + 4).and_then(|code| code.try_into().ok());
        h2::Reason::from(code.map_or(0, u32::from_be_bytes))
    };
    match kind {
        GOAWAY => notes.note(format!("GOAWAY {:?}", code(4))),
        RST_STREAM => notes.note(format!("RST_STREAM {:?}", code(0))),
        HEADERS => notes.note("answered"),
        _ => {}
    }
    Some(HEAD_BYTES + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_the_specification_has_them() {
        // RFC 7541, C.1, with a prefix of seven bits.
        let written = |value| {
            let mut out = Vec::new();
            number(value, &mut out);
            out
        };
        assert_eq!(written(10), [10]);
        assert_eq!(written(126), [126]);
        assert_eq!(written(127), [127, 0]);
        assert_eq!(written(1_337), [127, 0xba, 0x09]);
    }

    #[tokio::test]
    async fn what_a_server_says_is_noted() {
        let mut bytes = Vec::new();
        frame(HEADERS, END_HEADERS, 1, &[0x88], &mut bytes);
        frame(RST_STREAM, 0, 3, &7u32.to_be_bytes(), &mut bytes);
        frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 11], &mut bytes);
        let notes = Notes::default();
        listen(&mut &bytes[..], &notes).await.unwrap();
        let expected = [
            ("GOAWAY ENHANCE_YOUR_CALM", 1),
            ("RST_STREAM REFUSED_STREAM", 1),
            ("answered", 1),
            ("closed", 1),
        ];
        assert_eq!(
            notes.all(),
            expected.map(|(what, times)| (what.to_owned(), times))
        );
    }
}
