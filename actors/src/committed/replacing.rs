//! A state that is replaced as a whole: restored from a snapshot, or forgotten with its replica. Readers go on meanwhile, and find out.

use std::sync::atomic::Ordering;

use super::Committed;

/// Which life of a replica, and which of its states: see [`Committed::as_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf {
    drops: u64,
    restores: Option<u64>,
}

impl Committed {
    /// A number that is another after the state was restored from a snapshot; `None` while that goes on, and for good where it failed.
    /// What a reader finds is of one state if the number is the same before and after it.
    pub(crate) fn restores(&self) -> Option<u64> {
        let restores = self.restores.load(Ordering::SeqCst);
        restores.is_multiple_of(2).then_some(restores)
    }

    /// Readers may look at what is incomplete from here on, and must not believe it.
    pub(crate) fn begin_restoring(&self) {
        if self.restores().is_some() {
            self.restores.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// It is complete.
    pub(crate) fn end_restoring(&self) {
        self.restores.fetch_add(1, Ordering::SeqCst);
    }

    /// How often its replica was dropped: what was read behind a check that came before a drop may be nothing where there was something.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.load(Ordering::SeqCst)
    }

    /// As of which life of the replica, and of which of its states, a look is.
    pub(crate) fn as_of(&self) -> AsOf {
        AsOf {
            drops: self.drops(),
            restores: self.restores(),
        }
    }

    /// Whether what was found since in memory, and behind that in the archive, is of one state: while a state is replaced, or the replica dropped,
    /// what has left one of them may not be in the other yet.
    pub(crate) fn is_steady_since(&self, as_of: AsOf) -> bool {
        as_of.restores.is_some() && self.as_of() == as_of
    }

    /// The replica is dropped: a new one, if there ever is one, begins from nothing.
    pub(crate) fn begin_anew(&self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        self.begin_restoring();
        self.clear();
        self.set_applied_next(0);
        self.feed.begin_anew();
        self.end_restoring();
    }
}
