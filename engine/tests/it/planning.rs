//! Shipments that are planned, for the [`Model`].

use docket_engine::{FulfilmentState, OrderId, OrderState, Rejection};

use super::model::{Model, Order, Outcome, PARTS_MAX, Plan};

impl Order {
    /// Whether something of it can be sent, but for what holds it.
    fn may_be_sent(&self) -> Result<(), Rejection> {
        match self.state {
            OrderState::Pending | OrderState::Authorizing => Err(Rejection::OrderPending),
            OrderState::Confirmed | OrderState::PartiallyFulfilled if self.is_busy() => {
                Err(Rejection::OrderPending)
            }
            OrderState::Confirmed | OrderState::PartiallyFulfilled => Ok(()),
            state => Err(Rejection::NotShippable { state }),
        }
    }

    /// What came of a plan, by its number from 1; `None` of what was sent without one.
    fn plan(&self, fulfilment: u32) -> Result<Option<Plan>, Rejection> {
        let place = (fulfilment as usize).checked_sub(1);
        let place = place.filter(|place| *place < self.shipments.len());
        let place = place.ok_or(Rejection::FulfilmentNotFound { fulfilment })?;
        Ok(self.plans.get(&place).copied())
    }

    /// Where it stands, and that it is not open.
    fn is_not_open(&self, fulfilment: u32) -> Rejection {
        let place = fulfilment as usize - 1;
        let state = match (self.plans.get(&place), self.shipments[place].1) {
            (Some(Plan::Cancelled), _) => FulfilmentState::Cancelled,
            (_, true) => FulfilmentState::Delivered,
            _ => FulfilmentState::Shipped,
        };
        Rejection::FulfilmentNotOpen { fulfilment, state }
    }

    /// How many shipments and plans there are that were not given up.
    pub fn standing(&self) -> usize {
        let given_up = self.plans.values().filter(|plan| **plan == Plan::Cancelled);
        self.shipments.len() - given_up.count()
    }
}

/// So often may be planned, with what was given up.
const PLANS_MAX: usize = 256;

impl Model {
    /// Somebody is to send these of the lines, or all that nobody else is to.
    pub fn plan(&mut self, id: OrderId, lines: &[(u16, i64)], expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        order.may_be_sent()?;
        let meant = order.meant_free(lines)?;
        if order.standing() >= PARTS_MAX || order.plans.len() >= PLANS_MAX {
            return Err(Rejection::TooManyFulfilments);
        }
        order.plans.insert(order.shipments.len(), Plan::Open);
        order.shipments.push((meant.into_iter().collect(), false));
        order.version += 1;
        Ok(true)
    }

    /// What was planned is sent.
    pub fn ship_plan(&mut self, id: OrderId, fulfilment: u32, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        if order.plan(fulfilment)? != Some(Plan::Open) {
            return Err(order.is_not_open(fulfilment));
        }
        order.may_be_sent()?;
        if let Some((reason, _)) = order.holds.iter().find(|(_, holds)| *holds) {
            return Err(Rejection::OrderHeld { reason: *reason });
        }
        let place = fulfilment as usize - 1;
        let meant = order.shipments[place].0.iter().copied().collect();
        order.are_there(&meant)?;
        order.plans.insert(place, Plan::Sent);
        self.be_sent(id, &meant)
    }

    /// Nobody sends it.
    pub fn unplan(&mut self, id: OrderId, fulfilment: u32, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        match order.plan(fulfilment)? {
            Some(Plan::Cancelled) => return Ok(false),
            Some(Plan::Open) => {}
            Some(Plan::Sent) | None => return Err(order.is_not_open(fulfilment)),
        }
        order.plans.insert(fulfilment as usize - 1, Plan::Cancelled);
        order.version += 1;
        Ok(true)
    }
}
