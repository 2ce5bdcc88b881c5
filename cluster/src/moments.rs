//! When an entry was where, for who traces it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// When an entry of this node's was where. It travels with the entry through this node's log, and is not written.
#[derive(Clone, Default)]
pub struct Moments(Arc<Seen>);

#[derive(Default)]
struct Seen {
    queued: OnceLock<Instant>,
    synced: OnceLock<Synced>,
}

/// How an entry became durable on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// When it was.
    pub at: Instant,
    /// How long the sync took that made it so, which it shared with all that was written meanwhile.
    pub took: Duration,
}

impl Moments {
    /// When it was handed to the journal.
    pub fn queued(&self) -> Option<Instant> {
        self.0.queued.get().copied()
    }

    /// How it became durable here; `None` as long as it is not. It may be committed before, where others make up a majority.
    pub fn synced(&self) -> Option<Synced> {
        self.0.synced.get().copied()
    }

    /// It is handed to the journal. (The first time counts.)
    pub(crate) fn queue(&self) {
        let _ = self.0.queued.set(Instant::now());
    }

    /// It is durable, by a sync that took so long.
    pub(crate) fn sync(&self, took: Duration) {
        let at = Instant::now();
        let _ = self.0.synced.set(Synced { at, took });
    }
}

impl fmt::Debug for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moments")
            .field("queued", &self.queued())
            .field("synced", &self.synced())
            .finish()
    }
}

/// An entry is the same, whoever watches it.
impl PartialEq for Moments {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Moments {}
