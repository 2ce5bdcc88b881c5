//! A source of one shard: time is the number of entries that were written.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use bytes::Bytes;
use docket_backup::{Entries, Pieces, Point, PointOf, Source, SourceError, State};
use tokio::sync::mpsc;

pub const CLUSTER: &str = "a-cluster";

/// The bytes of an entry.
const ENTRY_BYTES: usize = 64 << 10;
/// As an archived order's.
const ARCHIVED_BYTES: usize = 1 << 10;
/// A state comes in pieces of so many bytes.
pub const PIECE_BYTES: usize = 100_000;

/// What is made up. Both groups are alike.
#[derive(Clone, Default)]
pub struct Made(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    first: AtomicU64,
    snapshot: AtomicU64,
    asked: AtomicU64,
    failing: AtomicU64,
    /// Behind so many pieces of states it moves on; 0: never.
    moves_every: AtomicU64,
    pieces: AtomicU64,
    /// Entries that come before each point.
    ticks: AtomicU64,
    /// How often it forgets all of its log then, and not only what is in the snapshot before the newest.
    forgets: AtomicU64,
}

impl Made {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn now(&self) -> i64 {
        self.0.next.load(SeqCst) as i64
    }

    pub fn write(&self, entries: u64) {
        self.0.next.fetch_add(entries, SeqCst);
    }

    /// Before each point there is one more entry from now on, so that it is later than the one before.
    pub fn ticks(&self) {
        self.0.ticks.store(1, SeqCst);
    }

    /// Behind so many pieces of states there are more entries and a newer snapshot from now on. Its log begins behind the snapshot before that then,
    /// as a node's, or, so often, behind the newest.
    pub fn moves_on_every(&self, pieces: u64, forgets: u64) {
        self.0.moves_every.store(pieces, SeqCst);
        self.0.forgets.store(forgets, SeqCst);
    }

    fn one_more_piece(&self) {
        let (pieces, every) = (
            self.0.pieces.fetch_add(1, SeqCst) + 1,
            self.0.moves_every.load(SeqCst),
        );
        if every == 0 || !pieces.is_multiple_of(every) {
            return;
        }
        let before = self.0.snapshot.load(SeqCst);
        self.write(10);
        self.snapshot();
        let forgets = self.0.forgets.load(SeqCst);
        if forgets > 0 {
            self.0.forgets.store(forgets - 1, SeqCst);
            self.purge();
        } else {
            self.0.first.store(before, SeqCst);
        }
    }

    /// All that was written is in a snapshot.
    pub fn snapshot(&self) {
        self.0.snapshot.store(self.0.next.load(SeqCst), SeqCst);
    }

    /// What is in the snapshot is not in the log any more.
    pub fn purge(&self) {
        self.0.first.store(self.0.snapshot.load(SeqCst), SeqCst);
    }

    /// The question of this number from now on, from 1, fails behind its first piece.
    pub fn fail_at(&self, number: u64) {
        self.0.asked.store(0, SeqCst);
        self.0.failing.store(number, SeqCst);
    }

    /// Whether that question was asked.
    pub fn has_failed(&self) -> bool {
        self.0.asked.load(SeqCst) >= self.0.failing.load(SeqCst)
    }

    fn fails(&self) -> bool {
        self.0.asked.fetch_add(1, SeqCst) + 1 == self.0.failing.load(SeqCst)
    }
}

fn told() -> SourceError {
    SourceError::Other("as it was told".to_owned())
}

/// Sends pieces, or only some and an error. Calls behind each.
fn pieces<T: Send + 'static>(fails: bool, pieces: Vec<T>, sent: impl Fn() + Send + 'static) -> Pieces<T> {
    let (tell, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let some = pieces.len().div_ceil(2);
        for (at, piece) in pieces.into_iter().enumerate() {
            if fails && at == some {
                break;
            }
            if tell.send(Ok(piece)).await.is_err() {
                return;
            }
            sent();
        }
        if fails {
            let _ = tell.send(Err(told())).await;
        }
    });
    receiver
}

impl Source for Made {
    async fn point(&self) -> Result<Point, SourceError> {
        if self.fails() {
            return Err(told());
        }
        self.write(self.0.ticks.load(SeqCst));
        let next = self.0.next.load(SeqCst);
        Ok(Point {
            cluster_id: CLUSTER.to_owned(),
            node: 1,
            shards: 1,
            until_us: next as i64,
            groups: vec![PointOf { next }; 2],
        })
    }

    async fn state(&self, _: u32) -> Result<Option<(State, Pieces<Bytes>)>, SourceError> {
        let next = self.0.snapshot.load(SeqCst);
        if next == 0 {
            return Ok(None);
        }
        let state = State {
            next,
            term: 3,
            time_us: next as i64,
            archived: archived_by(next),
        };
        let bytes = state_of(next)
            .chunks(PIECE_BYTES)
            .map(Bytes::copy_from_slice)
            .collect();
        let this = self.clone();
        let pieces = pieces(self.fails(), bytes, move || this.one_more_piece());
        Ok(Some((state, pieces)))
    }

    async fn archive(&self, _: u32, from: u64, before: u64) -> Result<Pieces<Bytes>, SourceError> {
        let bytes = archive_of(from, before)
            .chunks(10_000)
            .map(Bytes::copy_from_slice)
            .collect();
        Ok(pieces(self.fails(), bytes, || {}))
    }

    async fn log(&self, _: u32, from: u64, before: u64) -> Result<Pieces<Entries>, SourceError> {
        if from < self.0.first.load(SeqCst) {
            return Err(SourceError::Purged("it is gone".to_owned()));
        }
        assert!(before <= self.0.next.load(SeqCst));
        let page = |from: u64| {
            let until = (from + 7).min(before);
            let bytes = (from..until).flat_map(entry).collect();
            Entries {
                from,
                before: until,
                bytes,
            }
        };
        let pages = (from..before).step_by(7).map(page).collect();
        Ok(pieces(self.fails(), pages, || {}))
    }
}

/// Twelve hundred bytes an entry that is in it.
pub fn state_of(next: u64) -> Vec<u8> {
    let mut state = Vec::new();
    for at in 0..next {
        state.resize(state.len() + 1_200, at as u8);
    }
    state
}

/// Every tenth entry archives something.
pub fn archived_by(next: u64) -> u64 {
    next / 10
}

pub fn archive_of(from: u64, before: u64) -> Vec<u8> {
    (from..before).flat_map(|at| [at as u8; ARCHIVED_BYTES]).collect()
}

fn entry(index: u64) -> Vec<u8> {
    let mut bytes = index.to_le_bytes().to_vec();
    bytes.resize(ENTRY_BYTES, index as u8);
    bytes
}

/// The indexes of some entries.
pub fn entries_of(bytes: &[u8]) -> Vec<u64> {
    let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    assert!(rest.is_empty(), "a part of an entry");
    let index = |entry: &[u8; ENTRY_BYTES]| u64::from_le_bytes(*entry.first_chunk().unwrap());
    entries.iter().map(index).collect()
}
