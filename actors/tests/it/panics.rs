//! Actors that panic at a message: which one, a test says while they run.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use docket_actors::BeforeDecision;

/// At which message of its kind an actor panics: the first is 1.
#[derive(Clone, Default)]
pub struct Panics {
    /// 0: at none.
    armed: Arc<AtomicU32>,
    shot: Arc<AtomicU32>,
}

impl Panics {
    /// Of actors of this kind. At none, until it is armed.
    pub fn of(kind: &'static str) -> (BeforeDecision, Self) {
        let panics = Self::default();
        let Self { armed, shot } = panics.clone();
        let before = BeforeDecision(Arc::new(move |k: &str, _: &str| {
            let at = armed.load(Ordering::Acquire);
            if k == kind && at > 0 && shot.fetch_add(1, Ordering::AcqRel) + 1 == at {
                panic!("a test made {kind} message {at} panic");
            }
        }));
        (before, panics)
    }

    /// At the message of this number, counted from now.
    pub fn arm(&self, at: u32) {
        self.count_anew();
        self.armed.store(at, Ordering::Release);
    }

    /// Counts the messages from now.
    pub fn count_anew(&self) {
        self.shot.store(0, Ordering::Release);
    }

    /// At none from now on.
    pub fn disarm(&self) {
        self.armed.store(0, Ordering::Release);
    }
}
