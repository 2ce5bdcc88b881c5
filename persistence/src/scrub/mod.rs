//! Reading all that is stored once more while it is used, so that what the disk has spoilt is found before anybody needs it.
//!
//! ```text
//!   journal:    segment by segment   forgotten ──▶ read from the disk, a piece at a time ──▶ checksum, number, chain ──▶ still there? ──▶ told
//!   snapshots:  one by one                         chunks, then blocks                       checksums, the end's sum
//!   archive:    shelf by shelf                     values by their keys                      checksums, and how many there are
//! ```
//!
//! What it guarantees:
//! - Nothing is decoded into a state, changed, or repaired.
//! - No lock is held, and no segment kept open, between two pieces: whoever else reads or writes waits for a piece at most.
//! - What is let go of meanwhile is not damage: what is found of something is told when that is still there behind it.
//! - Whoever scrubs ([`Scrub`]) says how fast, and when to stop.
//!
//! What is read comes from the disk as far as that can be had: the kernel is asked to forget a file first, and a segment or snapshot is opened
//! anew. Of the segment that is written, and of the archive, a part comes from sled's cache.

mod archive;
mod journal;
mod snapshots;

use std::ops::ControlFlow;
use std::path::PathBuf;

pub use archive::Shelved;

/// So much is read at a time, in bytes: between two pieces others have their turn.
pub const PIECE_BYTES: u64 = 256 * 1024;
/// Places of one segment, snapshot or shelf that are told apart; those behind are told with the last of them.
pub const PLACES_MAX: usize = 64;

/// Who has things read once more.
pub trait Scrub {
    /// So much was read since the last time. This is where it waits; whoever has had enough says so.
    fn read(&mut self, bytes: u64) -> ControlFlow<()>;

    /// Something is not what was written.
    fn found(&mut self, damage: Damage);
}

/// Something that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file or directory that it is in.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong with it.
    pub why: String,
}

/// Where damage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In frames of the journal: from one to another.
    Frames {
        /// The first.
        first: u64,
        /// The last, which may be the same.
        last: u64,
    },
    /// In a snapshot.
    Snapshot {
        /// Whose.
        group: u32,
        /// Which.
        id: u64,
    },
    /// In values of the archive: from one number to another.
    Values {
        /// On which shelf.
        shelf: u16,
        /// The first.
        first: u64,
        /// The last, which may be the same.
        last: u64,
    },
}

impl Place {
    /// What it is in, as one word.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Frames { .. } => "journal",
            Self::Snapshot { .. } => "snapshot",
            Self::Values { .. } => "archive",
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frames { first, last } if first == last => write!(f, "frame {first}"),
            Self::Frames { first, last } => write!(f, "frames {first} to {last}"),
            Self::Snapshot { id, .. } => write!(f, "snapshot {id}"),
            Self::Values { first, last, .. } if first == last => write!(f, "order {first}"),
            Self::Values { first, last, .. } => write!(f, "orders {first} to {last}"),
        }
    }
}

/// What is wrong with numbers in a row, put together where they follow one another with the same words.
#[derive(Default)]
struct Runs(Vec<Run>);

struct Run {
    first: u64,
    last: u64,
    why: String,
}

impl Runs {
    fn add(&mut self, first: u64, last: u64, why: impl std::fmt::Display) {
        let why = why.to_string();
        let is_full = self.0.len() >= PLACES_MAX;
        match self.0.last_mut() {
            Some(run) if is_full || (run.last + 1 == first && run.why == why) => run.last = last,
            _ => self.0.push(Run { first, last, why }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_one_another_is_one_place_and_beyond_the_bound_the_last_one_grows() {
        let mut runs = Runs::default();
        runs.add(3, 3, "missing");
        runs.add(4, 6, "missing");
        runs.add(7, 7, "damaged");
        runs.add(9, 9, "damaged");
        let told: Vec<_> = runs.0.iter().map(|run| (run.first, run.last)).collect();
        assert_eq!(told, [(3, 6), (7, 7), (9, 9)]);
        for number in 0..2 * PLACES_MAX as u64 {
            runs.add(100 + 2 * number, 100 + 2 * number, "damaged");
        }
        assert_eq!(runs.0.len(), PLACES_MAX);
        assert_eq!(runs.0.last().unwrap().last, 98 + 4 * PLACES_MAX as u64);
    }
}
