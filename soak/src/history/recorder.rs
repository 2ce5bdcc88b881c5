//! Writes down what clients ask and hear, while they do.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::operation::{Ask, History, Micros, Operation, Outcome};

/// A history that is being made, by many clients at once.
///
/// A call is written down before it is made, and its end after its answer was read: so the times are wider than the
/// truth, never narrower, and a check that rests on them is not unjust.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    written: Mutex<History>,
}

/// A call that was written down and has no end yet.
#[derive(Debug)]
#[must_use = "a call without an end stays unknown"]
pub struct Call(usize);

impl Recorder {
    /// Of a shop that was opened with this stock and these credit limits.
    pub fn new(
        stock: impl IntoIterator<Item = (String, i64)>,
        credit: impl IntoIterator<Item = (String, i64)>,
    ) -> Self {
        Self {
            started: Instant::now(),
            written: Mutex::new(History {
                stock: stock.into_iter().collect(),
                credit: credit.into_iter().collect(),
                ..History::default()
            }),
        }
    }

    /// Since it was made.
    pub fn now(&self) -> Micros {
        Micros::try_from(self.started.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// A call is about to be made.
    pub fn begin(&self, process: u32, ask: Ask) -> Call {
        self.write(|history| {
            let invoked = self.now();
            history.operations.push(Operation {
                process,
                invoked,
                completed: None,
                ask,
                outcome: Outcome::Unknown("nobody heard of it again".into()),
            });
            Call(history.operations.len() - 1)
        })
    }

    /// Its client heard of it.
    pub fn end(&self, call: Call, outcome: Outcome) {
        let completed = self.now();
        self.write(|history| {
            if let Some(operation) = history.operations.get_mut(call.0) {
                operation.completed = Some(completed);
                operation.outcome = outcome;
            }
        });
    }

    /// Nothing is on its way: no call, no fault that could hold one back, and the server has nothing left to do.
    pub fn quiet(&self) {
        let now = self.now();
        self.write(|history| history.quiet.push(now));
    }

    /// What was written down.
    pub fn history(self) -> History {
        self.written.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what is written down so far.
    pub fn so_far(&self) -> History {
        self.write(|history| history.clone())
    }

    /// How many calls were written down.
    pub fn calls(&self) -> usize {
        self.write(|history| history.operations.len())
    }

    fn write<T>(&self, to: impl FnOnce(&mut History) -> T) -> T {
        // Whoever panicked while writing wrote whole operations.
        to(&mut self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
