//! The committer without its thread: a simulation says when a commit is written and when it is synced, and may stop between the two.
//!
//! ```text
//!   write ──▶ what queued is in the page cache ──▶ sync ──▶ durable, acknowledged ──▶ write …
//!                 a crash here loses or tears it
//! ```

use crate::committer::{Committer, Written};
use crate::error::{Failure, StoreError};

/// Drives a journal that was opened by [`Journal::open_stepped`](crate::Journal::open_stepped). It never waits, and is as final about a
/// failed write or sync as the thread is. Dropping it is the crash of a process: nothing more is written.
pub struct Stepper {
    committer: Committer,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Idle,
    Written(Commit),
    /// Closed or failed: there is nothing more to do.
    Ended,
}

/// What was written, and what follows its sync.
#[derive(Clone, Copy)]
struct Commit {
    written: Written,
    truncate_before: Option<u64>,
    closing: bool,
}

impl Stepper {
    pub(crate) fn new(committer: Committer) -> Self {
        Self {
            committer,
            state: State::Idle,
        }
    }

    /// Takes all that waits and writes it. `true` where something is to be [`sync`](Self::sync)ed then, `false` where nothing was due.
    pub fn write(&mut self) -> bool {
        if !matches!(self.state, State::Idle) {
            return matches!(self.state, State::Written(_));
        }
        let Some((truncate_before, closing)) = self.committer.try_drain() else {
            return false;
        };
        match self.committer.write() {
            Ok(written) => {
                self.state = State::Written(Commit {
                    written,
                    truncate_before,
                    closing,
                });
                true
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Makes durable what was written, and acknowledges it. Nothing to do where nothing was written.
    pub fn sync(&mut self) {
        let State::Written(commit) = self.state else {
            return;
        };
        self.state = State::Idle;
        let synced = self.committer.finish(commit.written);
        match synced.and_then(|()| self.committer.tidy(commit.truncate_before, commit.closing)) {
            Ok(()) if commit.closing => self.state = State::Ended,
            Ok(()) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Whether the journal was closed, with everything in it durable, or has failed.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn fail(&mut self, error: StoreError) {
        self.state = State::Ended;
        self.committer.fail(Failure::from(error));
    }
}

impl std::fmt::Debug for Stepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepper")
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}
