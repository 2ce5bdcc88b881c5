//! Lives of actors of which no event is taken any more, since an earlier one of theirs did not fit.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use docket_engine::{Decider, Time};
use parking_lot::Mutex;

/// How long a fence is kept, in microseconds of logged time: 1 hour, far longer than anything is on its way to the log.
const RETENTION_US: i64 = 60 * 60 * 1_000_000;

/// The fences of a shard. One thread puts them up.
#[derive(Default)]
pub(crate) struct Fences {
    /// Whether there are any: nearly always there is none, and every message to an actor asks.
    any: AtomicBool,
    lives: Mutex<BTreeMap<Decider, Time>>,
}

impl Fences {
    /// Takes nothing more from these lives, as of the time of the record that did not fit, and forgets fences that are long past.
    pub(crate) fn put_up(&self, deciders: impl Iterator<Item = Decider>, at: Time) {
        let mut lives = self.lives.lock();
        lives.retain(|_, since| since.0 >= at.0 - RETENTION_US);
        lives.extend(deciders.map(|decider| (decider, at)));
        self.any.store(!lives.is_empty(), Ordering::SeqCst);
    }

    /// One that a snapshot has.
    pub(crate) fn restore(&self, decider: Decider, since: Time) {
        self.lives.lock().insert(decider, since);
        self.any.store(true, Ordering::SeqCst);
    }

    /// Whether any of these lives is fenced.
    pub(crate) fn has_any(&self, mut deciders: impl Iterator<Item = Decider>) -> bool {
        self.any.load(Ordering::SeqCst) && {
            let lives = self.lives.lock();
            deciders.any(|decider| lives.contains_key(&decider))
        }
    }

    /// All of them, with when they were put up.
    pub(crate) fn all(&self) -> Vec<(Decider, Time)> {
        let lives = self.lives.lock();
        lives.iter().map(|(decider, since)| (*decider, *since)).collect()
    }

    pub(crate) fn clear(&self) {
        let mut lives = self.lives.lock();
        lives.clear();
        self.any.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(fences: &Fences, decider: u32) -> bool {
        fences.has_any([Decider(decider)].into_iter())
    }

    #[test]
    fn a_life_is_fenced_for_an_hour_of_logged_time() {
        let fences = Fences::default();
        assert!(!has(&fences, 1));
        fences.put_up([Decider(1), Decider(2)].into_iter(), Time(5));
        assert!(has(&fences, 1) && has(&fences, 2) && !has(&fences, 3));
        fences.put_up([Decider(3)].into_iter(), Time(5 + RETENTION_US));
        assert!(has(&fences, 1));
        fences.put_up([Decider(4)].into_iter(), Time(6 + RETENTION_US));
        assert!(!has(&fences, 1) && has(&fences, 3) && has(&fences, 4));
        let kept = fences.all();
        fences.clear();
        assert!(!has(&fences, 4));
        for (decider, since) in kept {
            fences.restore(decider, since);
        }
        assert!(has(&fences, 3) && has(&fences, 4));
    }
}
