//! Writes down what clients ask and hear, while they do.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::operation::{Ask, Books, Change, Feed, History, Micros, Operation, Outcome};

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

    /// One more consumer of the feed, which is told of everything from now on: its number.
    pub fn consumer(&self) -> usize {
        self.write(|history| {
            history.feeds.push(Feed::default());
            history.feeds.len() - 1
        })
    }

    /// A consumer was told of these changes.
    pub fn told(&self, consumer: usize, changes: impl IntoIterator<Item = Change>) {
        self.write(|history| {
            if let Some(feed) = history.feeds.get_mut(consumer) {
                feed.changes.extend(changes);
            }
        });
    }

    /// Whether a consumer was told of each order as it is in these books.
    pub fn has_told(&self, consumer: usize, books: &Books) -> bool {
        self.write(|history| {
            let feed = history.feeds.get(consumer);
            feed.is_some_and(|feed| feed.has_all_of(books))
        })
    }

    /// A consumer cannot go on behind what it was told.
    pub fn broke(&self, consumer: usize, why: String) {
        self.write(|history| {
            if let Some(feed) = history.feeds.get_mut(consumer) {
                feed.broken.get_or_insert(why);
            }
        });
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
