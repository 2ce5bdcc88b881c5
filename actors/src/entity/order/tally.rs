//! What a new order waits for, counted where the answers come from: its first event and each of its reservations being
//! committed. They come from several logs at several moments, and all that the order makes of them, as long as all is well, is to wait for
//! the rest; so it hears once, of the last one.
//!
//! When something is refused or goes wrong the tally is *broken up*: the order takes what was counted, and hears of every
//! answer from then on by itself.

use docket_engine::{Quantity, Rejection, Sku};
use docket_traces::Scope;
use parking_lot::Mutex;

/// The count of one asking. (A hold is asked for again, with a count of its own, only where the customer had done nothing.)
pub(crate) struct Tally {
    count: Mutex<Count>,
    /// Where the order is placed by a call that is sampled.
    scope: Option<Scope>,
}

struct Count {
    /// Items that have not answered.
    open: usize,
    placed: bool,
    reserved: Vec<ItemAnswer>,
    broken_up: bool,
}

/// What an item has answered to an order: where it agrees, how much waits.
pub(crate) type ItemAnswer = (Sku, Result<Quantity, Rejection>);

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The order waits for more.
    Waits,
    /// It was the last: the order is to hear that it has everything.
    Complete,
    /// Nothing is counted any more: the order is to hear of this answer.
    BrokenUp,
}

impl Tally {
    /// Of an order that asks so many items.
    pub(crate) fn new(items: usize) -> Self {
        Self {
            count: Mutex::new(Count {
                open: items,
                placed: false,
                reserved: Vec::with_capacity(items),
                broken_up: false,
            }),
            scope: None,
        }
    }

    /// The same, where what is done for it is under this.
    pub(crate) fn traced(mut self, scope: Option<&Scope>) -> Self {
        self.scope = scope.cloned();
        self
    }

    /// Where spans of what is done for it belong.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// The order's first event is committed.
    pub(crate) fn placed(&self) -> Counted {
        let mut count = self.count.lock();
        if count.broken_up {
            return Counted::BrokenUp;
        }
        count.placed = true;
        count.so_far()
    }

    /// An item's reservation is committed, of which so much waits.
    pub(crate) fn reserved(&self, sku: &Sku, waiting: Quantity) -> Counted {
        let mut count = self.count.lock();
        if count.broken_up {
            return Counted::BrokenUp;
        }
        count.open = count.open.saturating_sub(1);
        count.reserved.push((sku.clone(), Ok(waiting)));
        count.so_far()
    }

    /// Ends the count: what it had got to is the order's to take.
    pub(crate) fn break_up(&self) {
        self.count.lock().broken_up = true;
    }

    /// Ends the count, and takes what it had got to: whether the first event is committed, and the good answers of the items that have
    /// reserved.
    pub(crate) fn take(&self) -> (bool, Vec<ItemAnswer>) {
        let mut count = self.count.lock();
        count.broken_up = true;
        (count.placed, std::mem::take(&mut count.reserved))
    }
}

impl Count {
    fn so_far(&self) -> Counted {
        match (self.open == 0 || docket_cluster::planted!(AnswerBeforeReservations)) && self.placed {
            true => Counted::Complete,
            false => Counted::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::new(text).unwrap()
    }

    #[test]
    fn the_last_answer_completes_it_whichever_that_is() {
        let tally = Tally::new(2);
        assert_eq!(tally.placed(), Counted::Waits);
        assert_eq!(tally.reserved(&sku("a"), Quantity::ZERO), Counted::Waits);
        assert_eq!(tally.reserved(&sku("b"), Quantity::ZERO), Counted::Complete);

        let tally = Tally::new(1);
        assert_eq!(tally.reserved(&sku("a"), Quantity::ZERO), Counted::Waits);
        assert_eq!(tally.placed(), Counted::Complete);
    }

    #[test]
    fn what_was_counted_before_it_was_broken_up_is_not_lost_and_what_comes_later_is_told() {
        let tally = Tally::new(3);
        tally.reserved(&sku("a"), Quantity::ZERO);
        tally.placed();
        tally.break_up();
        assert_eq!(tally.reserved(&sku("b"), Quantity::ZERO), Counted::BrokenUp);
        assert_eq!(tally.placed(), Counted::BrokenUp);
        assert_eq!(tally.take(), (true, vec![(sku("a"), Ok(Quantity::ZERO))]));
    }
}
