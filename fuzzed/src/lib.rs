//! What is fuzzed: each reader of bytes that others choose, or that a disk may give back, as a function of any bytes. It holds what a reader promises: whatever
//! comes is read or refused, and what is read is written as the same again.
//!
//! ```text
//!  fuzz/targets/NAME.rs ──libFuzzer, for as long as one likes──▶ NAME::run(bytes)
//!  fuzzed/tests ──fuzz/seeds/NAME, and each of them changed a little──▶ NAME::run(bytes)         in `cargo test`
//! ```
//! What a search would never find (a checksum, a tag of what is sealed) is made right here, so that what is behind it is looked at.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "that one of these panics is what it is there for: it is how something is found"
)]

use arbitrary::{Arbitrary, Unstructured};

pub mod archive;
pub mod audit;
pub mod consumption;
pub mod credential;
pub mod frame;
pub mod keys;
pub mod peer;
pub mod record;
pub mod request;
pub mod rest;

pub mod sealed;
pub mod snapshot;
pub mod standby;
pub mod steering;
pub mod stored;
mod tidy;
pub mod token;
pub mod trace;

/// A target: what it is called, and what runs one input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, as they are called in `fuzz/`.
pub const TARGETS: [Target; 16] = [
    ("frame", frame::run),
    ("record", record::run),
    ("snapshot", snapshot::run),
    ("peer", peer::run),
    ("token", token::run),
    ("request", request::run),
    ("credential", credential::run),
    ("steering", steering::run),
    ("trace", trace::run),
    ("consumption", consumption::run),
    ("sealed", sealed::run),
    ("stored", stored::run),
    ("archive", archive::run),
    ("audit", audit::run),
    ("standby", standby::run),
    ("rest", rest::run),
];

/// Bytes as values of these types; `None` where they are too few.
fn input<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

/// Takes pieces off the front of an input, each with its length in front of it: what is written so by [`put_piece`] is read, and anything else is cut as it comes.
struct Taken<'a>(&'a [u8]);

impl<'a> Taken<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn piece(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_le_bytes(self.number()?));
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(piece)
    }
}

/// Puts a piece as it is taken; what is longer than it may be is cut.
pub fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&piece[..usize::from(length)]);
}
