//! What becomes of a confirmed order, for the [`Model`]: it is held, shipped and delivered.

use docket_engine::{HoldReason, OrderId, OrderState, Rejection, Sku};

use super::model::{Model, Order, Outcome, PARTS_MAX};

/// So often an order is held.
pub const HOLDS_MAX: usize = 64;

impl Order {
    pub fn is_held_for(&self, reason: HoldReason) -> bool {
        self.holds.contains(&(reason, true))
    }

    /// Whether its holds may change.
    fn may_be_held(&self, expected: Option<u64>) -> Result<(), Rejection> {
        self.check_etag(expected)?;
        match self.state {
            OrderState::Pending => Err(Rejection::OrderPending),
            OrderState::Confirmed | OrderState::PartiallyFulfilled => Ok(()),
            state => Err(Rejection::NotHoldable { state }),
        }
    }

    /// What some of its lines cost.
    pub fn cost_of<'a>(&self, lines: impl IntoIterator<Item = (&'a u16, &'a i128)>) -> i128 {
        let price = |line: &u16| i128::from(self.lines[usize::from(*line)].unit_price.0);
        lines.into_iter().map(|(line, many)| price(line) * many).sum()
    }

    /// What was taken of its customer's money.
    pub fn captured(&self) -> i128 {
        let shipments = self.shipments.iter();
        shipments
            .map(|(lines, _)| self.cost_of(lines.iter().map(|(line, many)| (line, many))))
            .sum()
    }
}

impl Model {
    /// Sends some of what is open, or all of it where no line is named; it is paid with the same.
    pub fn ship(&mut self, id: OrderId, lines: &[(u16, i64)], expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        match order.state {
            OrderState::Fulfilled | OrderState::Cancelled | OrderState::Rejected => {
                return Err(Rejection::NotShippable { state: order.state });
            }
            OrderState::Pending => return Err(Rejection::OrderPending),
            _ if order.is_busy() => return Err(Rejection::OrderPending),
            OrderState::Confirmed | OrderState::PartiallyFulfilled => {}
        }
        if let Some((reason, _)) = order.holds.iter().find(|(_, holds)| *holds) {
            return Err(Rejection::OrderHeld { reason: *reason });
        }
        let meant = order.meant(lines)?;
        if order.shipments.len() == PARTS_MAX {
            return Err(Rejection::TooManyFulfilments);
        }
        for (&line, many) in &meant {
            order.open[usize::from(line)] -= many;
            order.gone[usize::from(line)].0 += many;
        }
        order.state = match order.open.iter().all(|open| *open == 0) {
            true => OrderState::Fulfilled,
            false => OrderState::PartiallyFulfilled,
        };
        order.consuming = order.items_of(&meant);
        order.version += 1;
        let cost = order.cost_of(&meant);
        order.shipments.push((meant.into_iter().collect(), false));
        let payer = self.customers.get_mut(&order.customer).unwrap();
        payer.balance -= cost;
        payer.version += 1;
        Ok(true)
    }

    /// An item's stock falls by what was shipped.
    pub fn consume(&mut self, id: OrderId, sku: &Sku, remaining: i128) -> bool {
        let taken = self.reduce(id, sku, remaining);
        if taken > 0 {
            self.items.get_mut(sku).unwrap().on_hand -= taken;
        }
        taken > 0
    }

    pub fn consumed(&mut self, id: OrderId) -> bool {
        let order = self.orders.get_mut(&id).unwrap();
        if order.consuming.is_empty() {
            return false;
        }
        order.consuming.clear();
        order.version += 1;
        true
    }

    /// A shipment, numbered from 1, has arrived.
    pub fn deliver(&mut self, id: OrderId, fulfilment: u32, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        let mut numbered = (1..).zip(&mut order.shipments);
        let Some((_, (_, arrived))) = numbered.find(|(number, _)| *number == fulfilment) else {
            return Err(Rejection::FulfilmentNotFound { fulfilment });
        };
        let changes = !*arrived;
        *arrived = true;
        order.version += u64::from(changes);
        Ok(changes)
    }

    pub fn hold(&mut self, id: OrderId, reason: HoldReason, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.may_be_held(expected)?;
        if order.is_held_for(reason) {
            return Err(Rejection::HoldExists { reason });
        }
        if order.holds.len() == HOLDS_MAX {
            return Err(Rejection::TooManyHolds);
        }
        order.holds.push((reason, true));
        order.version += 1;
        Ok(true)
    }

    pub fn release_hold(&mut self, id: OrderId, reason: HoldReason, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.may_be_held(expected)?;
        let hold = order.holds.iter_mut().find(|hold| **hold == (reason, true));
        hold.ok_or(Rejection::HoldNotFound { reason })?.1 = false;
        order.version += 1;
        Ok(true)
    }
}
