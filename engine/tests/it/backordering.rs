//! What items promise beyond what there is, and what orders know of it, for the [`Model`].

use std::collections::BTreeMap;

use docket_engine::{OrderId, OrderState, Quantity, Rejection, Sku};

use super::model::{Model, Order};

/// So many places has the row of who waits for an item.
const ROW_MAX: usize = 1_024;
/// So often an order hears of what was filled in part without anything else.
const LOOKS_MAX: usize = 32;

fn quantity(number: i128) -> Quantity {
    Quantity(i64::try_from(number).unwrap())
}

impl Order {
    /// How many of an item it waits for, as far as it knows.
    pub fn waits_for(&self, sku: &Sku) -> i128 {
        let known = self.waiting.get(sku).copied().unwrap_or(0);
        known.min(self.open_of(sku))
    }

    /// Of each line: how many of what is open wait; those of the last lines do.
    pub fn backordered(&self) -> Vec<i128> {
        let mut left: BTreeMap<&Sku, i128> = self
            .lines
            .iter()
            .map(|line| (&line.sku, self.waits_for(&line.sku)))
            .collect();
        let mut waiting = vec![0; self.lines.len()];
        for line in (0..self.lines.len()).rev() {
            let left = left.get_mut(&self.lines[line].sku).unwrap();
            waiting[line] = self.open[line].min(*left);
            *left -= waiting[line];
        }
        waiting
    }

    /// Of each line: how many of what is open are there.
    fn there(&self) -> Vec<i128> {
        let both = self.open.iter().zip(self.backordered());
        both.map(|(open, waiting)| open - waiting).collect()
    }

    fn is_not_there(&self, line: u16, wanted: i128) -> Rejection {
        Rejection::QuantityBackordered {
            line,
            wanted: quantity(wanted),
            there: quantity(self.there()[usize::from(line)]),
        }
    }

    /// Refuses where some of it is not there.
    pub fn are_there(&self, lines: &BTreeMap<u16, i128>) -> Result<(), Rejection> {
        let there = self.there();
        match lines
            .iter()
            .find(|(line, many)| **many > there[usize::from(**line)])
        {
            Some((&line, &many)) => Err(self.is_not_there(line, many)),
            None => Ok(()),
        }
    }

    /// What of it is there, at least something.
    pub fn what_is_there(&self, lines: &BTreeMap<u16, i128>) -> Result<BTreeMap<u16, i128>, Rejection> {
        let there = self.there();
        let some = lines
            .iter()
            .map(|(&line, &many)| (line, many.min(there[usize::from(line)])));
        let some: BTreeMap<u16, i128> = some.filter(|(_, many)| *many > 0).collect();
        match lines.first_key_value().filter(|_| some.is_empty()) {
            Some((&line, &many)) => Err(self.is_not_there(line, many)),
            None => Ok(some),
        }
    }

    /// So many of an item are wanted no longer: those that wait go first.
    pub fn waits_for_less(&mut self, sku: &Sku, less: i128) {
        if let Some(known) = self.waiting.get_mut(sku) {
            *known = (*known - less).max(0);
        }
    }

    /// What it knows when it has heard this, and whether of nothing more waits than it knew; `None` where that is nothing new.
    fn heard(&self, answers: &BTreeMap<Sku, i128>) -> Option<(BTreeMap<Sku, i128>, bool)> {
        let (mut now, mut is_new, mut is_less) = (self.waiting.clone(), false, true);
        for (sku, waiting) in answers {
            let (known, waiting) = (self.waits_for(sku), (*waiting).min(self.open_of(sku)));
            now.insert(sku.clone(), waiting);
            is_new |= waiting != known;
            is_less &= waiting <= known;
        }
        is_new.then_some((now, is_less))
    }

    /// Hears it with something else. True where it is news.
    pub fn hear(&mut self, answers: &BTreeMap<Sku, i128>) -> bool {
        let Some((now, _)) = self.heard(answers) else {
            return false;
        };
        self.waiting = now;
        self.heard += 1;
        self.version += 1;
        true
    }
}

impl Model {
    /// How many wait for an item.
    pub fn waiting(&self, sku: &Sku) -> i128 {
        let row = self.items.get(sku).map(|item| item.row.iter());
        row.into_iter().flatten().map(|(_, many)| many).sum()
    }

    /// How many an order waits for.
    pub fn waiting_of(&self, id: OrderId, sku: &Sku) -> i128 {
        let row = self.items.get(sku).map(|item| item.row.iter());
        let of_it = row.into_iter().flatten().filter(|(order, _)| *order == id);
        of_it.map(|(_, many)| many).sum()
    }

    /// How many of an item there are that nobody has.
    pub fn left(&self, sku: &Sku) -> i128 {
        self.items[sku].on_hand - self.reserved(sku)
    }

    /// How many of it can still be had, and waited for.
    pub fn obtainable(&self, sku: &Sku) -> i128 {
        let item = &self.items[sku];
        let room = match item.row.len() < ROW_MAX {
            true => (item.limit - self.waiting(sku)).max(0),
            false => 0,
        };
        self.left(sku) + room
    }

    /// Promises an order so many more. What is not there waits, behind all that waits already.
    pub fn promise(&mut self, id: OrderId, sku: &Sku, more: i128) {
        let waits = more - self.left(sku).min(more);
        *self.reservations.entry((id, sku.clone())).or_default() += more;
        if waits > 0 {
            self.items.get_mut(sku).unwrap().row.push((id, waits));
        }
    }

    /// So many of what was promised to an order are not wanted any more: first those that wait, and of them those that came last.
    pub fn take_back(&mut self, id: OrderId, sku: &Sku, many: i128) {
        let mut left = many;
        let row = &mut self.items.get_mut(sku).unwrap().row;
        for (order, waits) in row.iter_mut().rev() {
            if *order == id {
                let taken = left.min(*waits);
                *waits -= taken;
                left -= taken;
            }
        }
        row.retain(|(_, waits)| *waits > 0);
        self.fill(sku);
    }

    /// Whoever came first gets what there is.
    pub fn fill(&mut self, sku: &Sku) {
        loop {
            let left = self.left(sku);
            let row = &mut self.items.get_mut(sku).unwrap().row;
            let Some((_, waits)) = row.first_mut().filter(|_| left > 0) else {
                return;
            };
            *waits -= left.min(*waits);
            if *waits == 0 {
                row.remove(0);
            }
        }
    }

    /// An order asks its items what it waits for.
    pub fn hear_backorders(&mut self, id: OrderId) -> bool {
        let order = &self.orders[&id];
        let is_open = matches!(
            order.state,
            OrderState::Authorizing | OrderState::Confirmed | OrderState::PartiallyFulfilled
        );
        if !is_open || order.is_busy() {
            return false;
        }
        let items = order.lines.iter().map(|line| line.sku.clone());
        let answers: BTreeMap<Sku, i128> = items
            .map(|sku| {
                let waiting = self.waiting_of(id, &sku);
                (sku, waiting)
            })
            .collect();
        let Some((now, is_less)) = order.heard(&answers) else {
            return false;
        };
        let is_last = is_less && now.values().all(|waiting| *waiting == 0);
        (is_last || order.heard < LOOKS_MAX) && self.orders.get_mut(&id).unwrap().hear(&answers)
    }
}
