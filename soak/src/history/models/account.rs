//! An item or a customer: an account with something in it, of which orders take.
//!
//! | | an item | a customer |
//! |---|---|---|
//! | in it | on hand | balance |
//! | beyond it | nothing | credit limit |
//! | taken | reserved | held |
//!
//! An order takes at some moment of its placing and gives back at some moment of its cancelling; what is sent of it is taken out for
//! good, and may come back. One that is refused may have
//! taken for a while, of an item that had agreed before another refused; so may one that nobody has heard of.

use super::{super::linear::Model, UNSEEN};

/// The rules of one account.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// How far orders may take beyond what is in it.
    pub limit: i64,
}

/// What an account is at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Balance {
    /// What is in it.
    pub within: i64,
    /// What orders have taken of it.
    pub taken: i64,
    /// Of the last booking, where that was seen.
    pub etag: u32,
    /// Those that have taken and may have to give back, sorted.
    pub for_now: Vec<ForNow>,
}

/// An order that may be refused, or of which nobody knows whether it came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForNow {
    /// Which of those that were refused; [`LOST`] of all whose answers were lost, which are all alike.
    pub number: u32,
    /// How much it takes.
    pub amount: i64,
    /// Whether it gives that back for certain, before its time is over.
    pub must: bool,
}

/// The number of every order whose answer was lost.
pub const LOST: u32 = 0;

/// What happens to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read.
    See {
        /// What was in it.
        within: i64,
        /// What was taken.
        taken: i64,
        /// What the server says can be taken.
        available: i64,
        /// Its etag.
        etag: u32,
    },
    /// An order was refused because no more than this could be taken.
    SeeAvailable(i64),
    /// A booking was refused because no more than this could be taken out.
    SeeFree(i64),
    /// A booking was refused with these.
    SeeFigures {
        /// What was in it.
        within: i64,
        /// What was taken.
        taken: i64,
    },
    /// Something was put in or taken out by a booking.
    Book {
        /// How much.
        delta: i64,
        /// What its reply said: what was in it, what was taken, the etag; none where there was no reply.
        told: Option<(i64, i64, u32)>,
    },
    /// An order that is confirmed took this much.
    Take(i64),
    /// An order took something that may be refused.
    TakeForNow(ForNow),
    /// The same gave it back.
    GiveBackForNow(ForNow),
    /// An order that was confirmed gave this much back.
    GiveBack {
        /// How much.
        amount: i64,
        /// Whether that is certain.
        must: bool,
    },
    /// What an order had taken went for good: it was sent, and paid.
    Spend {
        /// How much.
        amount: i64,
        /// Whether that is certain.
        must: bool,
    },
    /// Some of that came back.
    ComeBack {
        /// How much.
        amount: i64,
        /// Whether that is certain.
        must: bool,
    },
}

impl Account {
    /// The account before anything has happened.
    pub fn opened(within: i64) -> Balance {
        Balance {
            within,
            ..Balance::default()
        }
    }

    fn available(self, state: &Balance) -> i64 {
        state
            .within
            .saturating_add(self.limit)
            .saturating_sub(state.taken)
            .max(0)
    }

    /// What a booking can take out: credit is for orders.
    fn free(self, state: &Balance) -> i64 {
        self.available(state).min(state.within).max(0)
    }

    fn taken(self, state: &Balance, amount: i64) -> Option<Balance> {
        (amount <= self.available(state)).then(|| Balance {
            taken: state.taken.saturating_add(amount),
            ..state.clone()
        })
    }
}

fn given_back(state: &Balance, amount: i64) -> Option<Balance> {
    (amount <= state.taken).then(|| Balance {
        taken: state.taken - amount,
        ..state.clone()
    })
}

impl Model for Account {
    type State = Balance;
    type Step = Step;

    fn step(&self, state: &Balance, step: &Step) -> Option<Balance> {
        match *step {
            Step::See {
                within,
                taken,
                available,
                etag,
            } => {
                let is = (state.within, state.taken, self.available(state));
                let is_same = is == (within, taken, available) && [UNSEEN, etag].contains(&state.etag);
                is_same.then(|| Balance {
                    etag,
                    ..state.clone()
                })
            }
            Step::SeeAvailable(available) => (self.available(state) == available).then(|| state.clone()),
            Step::SeeFree(free) => (self.free(state) == free).then(|| state.clone()),
            Step::SeeFigures { within, taken } => {
                ((state.within, state.taken) == (within, taken)).then(|| state.clone())
            }
            Step::Book { delta, told } => {
                if delta < 0 && delta.saturating_neg() > self.free(state) {
                    return None;
                }
                let within = state.within.checked_add(delta)?;
                let is_same = told.is_none_or(|(was_within, was_taken, etag)| {
                    (within, state.taken) == (was_within, was_taken) && etag != state.etag
                });
                is_same.then(|| Balance {
                    within,
                    etag: told.map_or(UNSEEN, |(_, _, etag)| etag),
                    ..state.clone()
                })
            }
            Step::Take(amount) => self.taken(state, amount),
            Step::TakeForNow(order) => {
                let mut state = self.taken(state, order.amount)?;
                let at = state.for_now.partition_point(|other| *other < order);
                state.for_now.insert(at, order);
                Some(state)
            }
            Step::GiveBackForNow(order) => {
                let at = state.for_now.binary_search(&order).ok()?;
                let mut state = given_back(state, order.amount)?;
                state.for_now.remove(at);
                Some(state)
            }
            Step::GiveBack { amount, .. } => given_back(state, amount),
            Step::Spend { amount, .. } => {
                let state = given_back(state, amount)?;
                let within = state.within.checked_sub(amount)?;
                Some(Balance { within, ..state })
            }
            Step::ComeBack { amount, .. } => Some(Balance {
                within: state.within.checked_add(amount)?,
                ..state.clone()
            }),
        }
    }

    fn must(&self, state: &Balance, step: &Step) -> bool {
        match step {
            Step::Book { told, .. } => told.is_some(),
            Step::TakeForNow(..) => false,
            Step::GiveBackForNow(order) => order.must && state.for_now.contains(order),
            Step::GiveBack { must, .. } | Step::Spend { must, .. } | Step::ComeBack { must, .. } => *must,
            Step::See { .. }
            | Step::SeeAvailable(_)
            | Step::SeeFree(_)
            | Step::SeeFigures { .. }
            | Step::Take(_) => true,
        }
    }

    fn only_sees(&self, step: &Step) -> bool {
        matches!(
            step,
            Step::See { .. } | Step::SeeAvailable(_) | Step::SeeFree(_) | Step::SeeFigures { .. }
        )
    }
}
