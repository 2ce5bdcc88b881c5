//! A circuit breaker: who fails again and again is left alone for a while, then tried with one request.
//!
//! ```text
//!             failures in a row                  open_for is over
//!   closed ─────────────────────▶ open ────────────────────────────▶ trying, one request
//!     ▲                            ▲                                   │         │
//!     │                            └───────────── it failed ───────────┘         │
//!     └───────────────────────────────────────── it was answered ────────────────┘
//! ```
//!
//! It is our own because of what those at hand do not do. None of failsafe 1.3, recloser 1.4 and tower-resilience 0.14 tells until when it
//! is open, which callers are told here, and all read the system's clock, which no test of ours can move; the first two let
//! every request through while they try.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// So many failures in a row open it; at least 1. Default 5.
    pub failures_max: u32,
    /// How long nothing is asked then. Default 10 seconds.
    pub open_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures_max: 5,
            open_for: Duration::from_secs(10),
        }
    }
}

#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Counts the changes of state: what was let through before one says nothing about what is after it.
    era: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Trying,
}

impl Inner {
    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

impl Breaker {
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            inner: Mutex::new(Inner {
                state: State::Closed { failures: 0 },
                era: 0,
            }),
        }
    }

    /// Lets a request through, or says for how long to leave it.
    pub fn pass(&self) -> Result<Pass<'_>, Duration> {
        let mut inner = self.inner.lock();
        match inner.state {
            State::Closed { .. } => {}
            State::Open { until } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                inner.change(State::Trying);
            }
            // Where it fails, it is open for so long again.
            State::Trying => return Err(self.config.open_for),
        }
        Ok(Pass {
            breaker: self,
            era: inner.era,
            said: false,
        })
    }

    /// Whether requests go through without a trial.
    pub fn is_closed(&self) -> bool {
        matches!(self.inner.lock().state, State::Closed { .. })
    }
}

/// A request that was let through. Dropped without a word, as with a future that is given up, it says nothing, and
/// somebody else may try.
#[derive(Debug)]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    era: u64,
    said: bool,
}

impl Pass<'_> {
    /// It was answered.
    pub fn succeeded(mut self) {
        self.said = true;
        let mut inner = self.breaker.inner.lock();
        if inner.era != self.era {
            return;
        }
        match inner.state {
            State::Closed { .. } => inner.state = State::Closed { failures: 0 },
            State::Trying => inner.change(State::Closed { failures: 0 }),
            State::Open { .. } => {}
        }
    }

    /// It was not.
    pub fn failed(mut self) {
        self.said = true;
        let BreakerConfig {
            failures_max,
            open_for,
        } = self.breaker.config;
        let mut inner = self.breaker.inner.lock();
        if inner.era != self.era {
            return;
        }
        let open = State::Open {
            until: Instant::now() + open_for,
        };
        match inner.state {
            State::Closed { failures } if failures + 1 < failures_max => {
                inner.state = State::Closed {
                    failures: failures + 1,
                };
            }
            State::Closed { .. } | State::Trying => inner.change(open),
            State::Open { .. } => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.said {
            return;
        }
        let mut inner = self.breaker.inner.lock();
        if inner.era == self.era && inner.state == State::Trying {
            inner.change(State::Open {
                until: Instant::now(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(failures_max: u32) -> Breaker {
        Breaker::new(BreakerConfig {
            failures_max,
            open_for: OPEN_FOR,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let breaker = breaker(2);
        breaker.pass().unwrap().failed();
        breaker.pass().unwrap().succeeded();
        breaker.pass().unwrap().failed();
        assert!(breaker.is_closed());
        breaker.pass().unwrap().failed();
        assert!(!breaker.is_closed());
        assert_eq!(breaker.pass().unwrap_err(), OPEN_FOR);
        advance(Duration::from_secs(4)).await;
        assert_eq!(breaker.pass().unwrap_err(), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_tries_and_what_it_meets_closes_or_opens() {
        let breaker = breaker(1);
        breaker.pass().unwrap().failed();
        advance(OPEN_FOR).await;
        let trial = breaker.pass().unwrap();
        assert_eq!(breaker.pass().unwrap_err(), OPEN_FOR, "one at a time");
        trial.failed();
        assert_eq!(breaker.pass().unwrap_err(), OPEN_FOR);
        advance(OPEN_FOR).await;
        breaker.pass().unwrap().succeeded();
        assert!(breaker.is_closed());
        assert!(breaker.pass().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_given_up_lets_another_one_try() {
        let breaker = breaker(1);
        breaker.pass().unwrap().failed();
        advance(OPEN_FOR).await;
        drop(breaker.pass().unwrap());
        assert!(!breaker.is_closed());
        breaker.pass().unwrap().succeeded();
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_let_through_before_it_opened_says_nothing_afterwards() {
        let breaker = breaker(1);
        let (late_answer, late_failure) = (breaker.pass().unwrap(), breaker.pass().unwrap());
        breaker.pass().unwrap().failed();
        late_answer.succeeded();
        assert!(!breaker.is_closed());
        advance(OPEN_FOR).await;
        breaker.pass().unwrap().succeeded();
        late_failure.failed();
        assert!(breaker.is_closed());
    }
}
