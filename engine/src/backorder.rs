//! Backorders: what an item has promised to orders beyond what there is of it.
//!
//! ```text
//!   available ▶ reserved                     of an order: promised = reserved + waiting
//!        ▲          ▲ filled
//!   stock, returns, │
//!   what is released│
//!                   │
//!   beyond that, up to the item's limit ▶ │ … │ third │ second │ first │
//! ```
//!
//! Whoever came first is filled first, in the event that brings the stock, so that nothing is ever available while somebody waits. What is
//! given back of an order's promise is taken off what waits first, and of that off what came last. A limit that is lowered takes nothing back.
//!
//! An item keeps one row of who waits, by order and not by line, as it keeps reservations; how much of each line that is, the order says
//! ([`crate::Order::backordered_quantities`]). An order hears of it with the answer to its question, and again before it sends anything: it may believe less to be
//! there than there is, and never more.

use std::collections::VecDeque;

use crate::{FULFILMENTS_MAX, Item, LineQuantity, OrderId, Quantity, Stamp, Version, edit::EDITS_MAX};

/// The most that an item keeps in the row of who waits. (An order has more than one place there where an edit had it want more.)
pub const BACKORDERS_MAX: usize = 1_024;
/// The most that one order remembers of what its items said about what it waits for.
pub const BACKORDER_NEWS_MAX: usize = 256;
/// So much of it is remembered until an order hears no more of what is filled in part, but with a shipment, with an edit, and when nothing waits any more.
pub(crate) const BACKORDER_LOOKS_MAX: usize = 32;

// What is remembered in any case: with each shipment and each edit, with the placing, and behind each of the latter two when nothing waits.
const _: () =
    assert!(BACKORDER_LOOKS_MAX + (FULFILMENTS_MAX + 1) + 2 * (EDITS_MAX + 1) <= BACKORDER_NEWS_MAX);

/// One place in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backorder {
    /// Who waits.
    pub order: OrderId,
    /// For how many: 1 or more.
    pub quantity: Quantity,
}

/// What an item may promise beyond what there is, and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backorders {
    limit: Quantity,
    waiting: Quantity,
    /// Whoever came first is at the front.
    row: VecDeque<Backorder>,
}

impl Backorders {
    /// A limit, and who waits; `None` where there is neither.
    pub fn new(limit: Quantity, row: VecDeque<Backorder>) -> Option<Box<Self>> {
        let waiting = row.iter().map(|it| it.quantity.0);
        let waiting = Quantity(waiting.fold(0, i64::saturating_add));
        let backorders = Self { limit, waiting, row };
        (!backorders.is_nothing()).then(|| Box::new(backorders))
    }

    /// How many may wait in all.
    pub fn limit(&self) -> Quantity {
        self.limit
    }

    /// How many wait.
    pub fn waiting(&self) -> Quantity {
        self.waiting
    }

    /// Who waits, whoever came first at first.
    pub fn row(&self) -> impl ExactSizeIterator<Item = &Backorder> {
        self.row.iter()
    }

    /// How many an order waits for.
    pub fn waiting_of(&self, order: OrderId) -> Quantity {
        let of_it = self.row.iter().filter(|it| it.order == order);
        of_it.map(|it| it.quantity).sum()
    }

    /// How many more may wait.
    pub(crate) fn room(&self) -> Quantity {
        match self.row.len() < BACKORDERS_MAX {
            true => Quantity(self.limit.0.saturating_sub(self.waiting.0).max(0)),
            false => Quantity::ZERO,
        }
    }

    fn is_nothing(&self) -> bool {
        self.limit == Quantity::ZERO && self.row.is_empty()
    }

    fn set_limit(&mut self, limit: Quantity) {
        self.limit = limit;
    }

    /// An order waits for so many more, behind all others. For whoever has looked that there is room.
    pub(crate) fn push(&mut self, order: OrderId, quantity: Quantity) {
        self.waiting = Quantity(self.waiting.0.saturating_add(quantity.0));
        match self.row.back_mut().filter(|last| last.order == order) {
            Some(last) => last.quantity = Quantity(last.quantity.0.saturating_add(quantity.0)),
            None => self.row.push_back(Backorder { order, quantity }),
        }
    }

    /// Takes off so many for which an order waits, those first that came last. For whoever has looked that it waits for so many.
    pub(crate) fn take_back(&mut self, order: OrderId, quantity: Quantity) {
        let mut left = quantity.0;
        for it in self.row.iter_mut().rev().filter(|it| it.order == order) {
            let taken = left.min(it.quantity.0);
            it.quantity.0 -= taken;
            self.waiting.0 -= taken;
            left -= taken;
        }
        self.row.retain(|it| it.quantity.0 > 0);
    }

    /// Takes off the front as many as are available, and says how many that are.
    fn fill(&mut self, available: Quantity) -> Quantity {
        let mut left = available.0.max(0);
        while left > 0
            && let Some(first) = self.row.front_mut()
        {
            let taken = left.min(first.quantity.0);
            first.quantity.0 -= taken;
            self.waiting.0 -= taken;
            left -= taken;
            if first.quantity.0 == 0 {
                self.row.pop_front();
            }
        }
        Quantity(available.0.max(0) - left)
    }

    /// Why it cannot be so; `None` where it can.
    pub(crate) fn why_wrong(&self) -> Option<&'static str> {
        let sum = self.row.iter().map(|it| i128::from(it.quantity.0)).sum::<i128>();
        if self.row.iter().any(|it| it.quantity.0 < 1) || sum != i128::from(self.waiting.0) {
            return Some("what waits is not what those who wait are waiting for");
        }
        if self.limit < Quantity::ZERO || self.row.len() > BACKORDERS_MAX {
            return Some("it may have less than nothing wait, or more wait than may");
        }
        self.is_nothing()
            .then_some("it has backorders of which there are none")
    }
}

/// What an order heard of what it waits for, of all of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackorderNews {
    /// How many of which lines wait, each once, in their order. Nothing, where nothing waits any more.
    pub lines: Box<[LineQuantity]>,
    /// Whether that is less than was known before, of every line: some was filled.
    pub filled: bool,
    /// When.
    pub heard: Stamp,
}

impl BackorderNews {
    /// The same as it was known at a version of its order; `None` before it was heard.
    pub(crate) fn at(&self, version: Version) -> Option<Self> {
        (self.heard.version <= version).then(|| self.clone())
    }
}

impl Item {
    /// How many can still be reserved: those, and those that may wait.
    pub(crate) fn obtainable(&self) -> Quantity {
        let room = self.backorders.as_ref().map_or(Quantity::ZERO, |it| it.room());
        Quantity(self.available().0.saturating_add(room.0))
    }

    /// How many may be promised beyond what there is.
    pub fn backorder_limit(&self) -> Quantity {
        self.backorders.as_ref().map_or(Quantity::ZERO, |it| it.limit())
    }

    /// How many were promised beyond what there is.
    pub fn backordered(&self) -> Quantity {
        self.backorders.as_ref().map_or(Quantity::ZERO, |it| it.waiting())
    }

    /// How many of those an order waits for.
    pub fn waiting_of(&self, order: OrderId) -> Quantity {
        self.backorders
            .as_ref()
            .map_or(Quantity::ZERO, |it| it.waiting_of(order))
    }

    /// The same item, as it is for whoever does not know what it is to wait: nothing more is promised than there is.
    #[must_use]
    pub fn without_room_to_wait(&self) -> Self {
        let mut item = self.clone();
        item.limit_backorders(Quantity::ZERO);
        item
    }

    pub(crate) fn limit_backorders(&mut self, limit: Quantity) {
        match &mut self.backorders {
            Some(backorders) => backorders.set_limit(limit),
            None => self.backorders = Backorders::new(limit, VecDeque::new()),
        }
        self.forget_no_backorders();
    }

    /// What is available goes to whoever waits.
    pub(crate) fn fill_backorders(&mut self) {
        let available = self.available();
        if let Some(backorders) = &mut self.backorders {
            let filled = backorders.fill(available);
            self.reserved = Quantity(self.reserved.0.saturating_add(filled.0));
            self.forget_no_backorders();
        }
    }

    fn forget_no_backorders(&mut self) {
        self.backorders.take_if(|it| it.is_nothing());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(of: &[(u128, i64)]) -> VecDeque<Backorder> {
        let places = of.iter().map(|&(order, quantity)| Backorder {
            order: OrderId(order),
            quantity: Quantity(quantity),
        });
        places.collect()
    }

    #[track_caller]
    fn check(backorders: &Backorders, expected: &[(u128, i64)]) {
        assert_eq!(backorders.row, row(expected));
        assert_eq!(backorders.waiting.0, expected.iter().map(|it| it.1).sum::<i64>());
    }

    #[test]
    fn whoever_came_first_is_filled_first_and_what_came_last_is_given_back_first() {
        let mut of_tea = *Backorders::new(Quantity(10), row(&[(1, 2), (2, 3)])).unwrap();
        of_tea.push(OrderId(2), Quantity(1));
        of_tea.push(OrderId(1), Quantity(2));
        check(&of_tea, &[(1, 2), (2, 4), (1, 2)]);
        assert_eq!((of_tea.waiting_of(OrderId(1)).0, of_tea.room().0), (4, 2));
        assert_eq!(of_tea.fill(Quantity(1)), Quantity(1));
        check(&of_tea, &[(1, 1), (2, 4), (1, 2)]);
        of_tea.take_back(OrderId(1), Quantity(2));
        check(&of_tea, &[(1, 1), (2, 4)]);
        of_tea.take_back(OrderId(2), Quantity(1));
        of_tea.set_limit(Quantity(2));
        assert_eq!(of_tea.room(), Quantity::ZERO, "nothing is taken back");
        check(&of_tea, &[(1, 1), (2, 3)]);
        assert_eq!(of_tea.fill(Quantity(9)), Quantity(4));
        check(&of_tea, &[]);
        assert_eq!(of_tea.room(), Quantity(2));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let many: Vec<(u128, i64)> = (0..BACKORDERS_MAX as u128).map(|order| (order, 1)).collect();
        let full = Backorders::new(Quantity(1_000_000), row(&many)).unwrap();
        assert_eq!((full.room(), full.why_wrong()), (Quantity::ZERO, None));
        assert_eq!(Backorders::new(Quantity::ZERO, row(&[])), None);
    }
}
