//! What becomes of a confirmed order, for the [`Model`]: it is held, shipped and delivered, comes back, and is paid back.

use std::collections::BTreeMap;

use docket_engine::{
    Amount, FulfilmentState, HoldReason, OrderId, OrderState, PaymentKind, Rejection, ReturnState,
    ReturnStep, Sku,
};

use super::model::{Model, Order, Outcome, PARTS_MAX, Plan, Return, Shipment, Step, meant_of};

/// So often an order is held.
pub const HOLDS_MAX: usize = 64;
/// So often it is returned, and so often it is refunded.
pub const RETURNS_MAX: usize = 64;

impl Order {
    pub fn is_held_for(&self, reason: HoldReason) -> bool {
        self.holds.contains(&(reason, true))
    }

    /// Whether its holds may change.
    fn may_be_held(&self, expected: Option<u64>) -> Result<(), Rejection> {
        self.check_etag(expected)?;
        match self.state {
            OrderState::Pending | OrderState::Authorizing => Err(Rejection::OrderPending),
            OrderState::Confirmed | OrderState::PartiallyFulfilled => Ok(()),
            state => Err(Rejection::NotHoldable { state }),
        }
    }

    /// What some of its lines cost.
    pub fn cost_of<'a>(&self, lines: impl IntoIterator<Item = (&'a u16, &'a i128)>) -> i128 {
        let price = |line: &u16| i128::from(self.lines[usize::from(*line)].unit_price.0);
        lines.into_iter().map(|(line, many)| price(line) * many).sum()
    }

    /// What was taken for it, and can be given back: by a provider only what that says that it took.
    pub fn taken(&self) -> i128 {
        let Some(steps) = &self.steps else {
            return self.captured();
        };
        let taken = |it: &&Step| it.kind == PaymentKind::Capture && it.answer == Some(true);
        steps.iter().filter(taken).map(|it| it.amount).sum()
    }

    /// What was sent, in the order of all shipments and plans.
    pub fn sent(&self) -> impl Iterator<Item = &Shipment> {
        let numbered = self.shipments.iter().enumerate();
        let was_sent = |place: &usize| self.plans.get(place).is_none_or(|plan| *plan == Plan::Sent);
        numbered.filter_map(move |(place, it)| was_sent(&place).then_some(it))
    }

    /// Of each line: how many somebody is to send.
    pub fn planned(&self) -> Vec<i128> {
        let mut planned = vec![0; self.lines.len()];
        let open = self.plans.iter().filter(|(_, plan)| **plan == Plan::Open);
        for (line, many) in open.flat_map(|(place, _)| &self.shipments[*place].0) {
            planned[usize::from(*line)] += many;
        }
        planned
    }

    /// Of each line: how many are open, and nobody is to send.
    pub fn free(&self) -> Vec<i128> {
        let both = self.open.iter().zip(self.planned());
        both.map(|(open, planned)| open - planned).collect()
    }

    fn is_planned(&self, line: u16) -> Rejection {
        let planned = self.planned().get(usize::from(line)).copied();
        Rejection::QuantityPlanned {
            line,
            planned: docket_engine::Quantity(i64::try_from(planned.unwrap_or_default()).unwrap()),
        }
    }

    /// Refuses, where somebody is to send anything.
    pub fn none_planned(&self) -> Result<(), Rejection> {
        let planned = self.planned();
        let first = (0..).zip(&planned).find(|(_, planned)| **planned > 0);
        first.map_or(Ok(()), |(line, _)| Err(self.is_planned(line)))
    }

    /// As [`Order::meant`], of what nobody is to send.
    pub fn meant_free(&self, lines: &[(u16, i64)]) -> Result<BTreeMap<u16, i128>, Rejection> {
        let open = |line: u16| self.open.get(usize::from(line)).copied().unwrap_or_default();
        let meant = meant_of(&self.free(), lines, |line, wanted, _| {
            match i128::from(wanted.0) <= open(line) {
                true => self.is_planned(line),
                false => Rejection::QuantityNotOpen {
                    line,
                    wanted,
                    open: docket_engine::Quantity(i64::try_from(open(line)).unwrap()),
                },
            }
        })?;
        if meant.is_empty() {
            self.none_planned()?;
        }
        Ok(meant)
    }

    /// What was sent of it costs so much.
    pub fn captured(&self) -> i128 {
        let shipments = self.sent();
        shipments
            .map(|(lines, _)| self.cost_of(lines.iter().map(|(line, many)| (line, many))))
            .sum()
    }

    /// What was given back of that, or is to be.
    pub fn refunded(&self) -> i128 {
        self.refunds.iter().sum()
    }

    /// Of each line: how many are in a return that may still arrive, or has.
    pub fn returned(&self) -> Vec<i128> {
        let mut returned = vec![0; self.lines.len()];
        for it in &self.returns {
            let may_arrive = matches!(it.state, ReturnState::Requested | ReturnState::Approved);
            if may_arrive || it.has_arrived {
                for (&line, many) in &it.lines {
                    returned[usize::from(line)] += many;
                }
            }
        }
        returned
    }

    /// Of each line: how many were shipped and are in no return.
    pub fn returnable(&self) -> Vec<i128> {
        let both = self.gone.iter().zip(self.returned());
        both.map(|((shipped, _), returned)| shipped - returned).collect()
    }

    /// How many of an item go back on its stock, with all returns that there were.
    pub fn put_back(&self, sku: &Sku) -> i128 {
        let returns = (1..).zip(&self.returns).filter(|(_, it)| it.restocks);
        returns.map(|(number, _)| self.of_return(number, sku)).sum()
    }

    /// How many of an item are in a return, numbered from 1.
    pub fn of_return(&self, number: u32, sku: &Sku) -> i128 {
        let lines = &self.returns[number as usize - 1].lines;
        let of_it = lines
            .iter()
            .filter(|(line, _)| self.lines[usize::from(**line)].sku == *sku);
        of_it.map(|(_, many)| many).sum()
    }
}

impl Model {
    /// Sends some of what is open, or all of it where no line is named; it is paid with the same.
    pub fn ship(&mut self, id: OrderId, lines: &[(u16, i64)], expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        match order.state {
            OrderState::Fulfilled
            | OrderState::Cancelled
            | OrderState::Rejected
            | OrderState::Expired
            | OrderState::Closed => {
                return Err(Rejection::NotShippable { state: order.state });
            }
            OrderState::Pending | OrderState::Authorizing => return Err(Rejection::OrderPending),
            _ if order.is_busy() => return Err(Rejection::OrderPending),
            OrderState::Confirmed | OrderState::PartiallyFulfilled => {}
        }
        if let Some((reason, _)) = order.holds.iter().find(|(_, holds)| *holds) {
            return Err(Rejection::OrderHeld { reason: *reason });
        }
        let free = order.meant_free(lines)?;
        let meant = match lines.is_empty() {
            true => order.what_is_there(&free)?,
            false => order.are_there(&free).map(|()| free)?,
        };
        let left: i128 = order.open.iter().sum::<i128>() - meant.values().sum::<i128>();
        if left > 0 && order.standing() == PARTS_MAX {
            return Err(Rejection::TooManyFulfilments);
        }
        order.shipments.push((meant.clone().into_iter().collect(), false));
        self.be_sent(id, &meant)
    }

    /// What has its place among the shipments leaves the house.
    pub fn be_sent(&mut self, id: OrderId, meant: &BTreeMap<u16, i128>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        for (&line, many) in meant {
            order.open[usize::from(line)] -= many;
            order.gone[usize::from(line)].0 += many;
        }
        order.state = match order.open.iter().all(|open| *open == 0) {
            true => OrderState::Fulfilled,
            false => OrderState::PartiallyFulfilled,
        };
        order.consuming = order.items_of(meant);
        order.version += 1;
        let cost = order.cost_of(meant);
        order.owe(PaymentKind::Capture, cost);
        let payer = self.customers.get_mut(&order.customer).unwrap();
        if order.steps.is_none() {
            payer.balance -= cost;
        }
        payer.version += 1;
        Ok(true)
    }

    /// An item's stock falls by what was shipped.
    pub fn consume(&mut self, id: OrderId, sku: &Sku, remaining: i128) -> bool {
        let taken = self.promise_less(id, sku, remaining);
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
        let state = match order.plans.get(&(fulfilment as usize - 1)) {
            Some(Plan::Open) => Some(FulfilmentState::Open),
            Some(Plan::Cancelled) => Some(FulfilmentState::Cancelled),
            Some(Plan::Sent) | None => None,
        };
        if let Some(state) = state {
            return Err(Rejection::FulfilmentNotShipped { fulfilment, state });
        }
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

    /// Some of what was shipped is to come back, or all that can where no line is named.
    pub fn request_return(&mut self, id: OrderId, lines: &[(u16, i64)], expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        let returnable = order.returnable();
        if matches!(order.state, OrderState::Pending | OrderState::Authorizing) {
            return Err(Rejection::OrderPending);
        }
        if returnable.iter().sum::<i128>() == 0 {
            return Err(Rejection::NotReturnable { state: order.state });
        }
        let lines = meant_of(&returnable, lines, |line, wanted, returnable| {
            Rejection::QuantityNotReturnable {
                line,
                wanted,
                returnable,
            }
        })?;
        if order.returns.len() == RETURNS_MAX {
            return Err(Rejection::TooManyReturns);
        }
        order.returns.push(Return {
            lines,
            state: ReturnState::Requested,
            has_arrived: false,
            restocks: false,
        });
        order.version += 1;
        Ok(true)
    }

    /// Something becomes of a return, numbered from 1. Only what goes back on the stock waits for what came before.
    pub fn move_return(
        &mut self,
        id: OrderId,
        number: u32,
        step: &ReturnStep,
        expected: Option<u64>,
    ) -> Outcome {
        use ReturnState::{Approved, Closed, Declined, Received, Requested};
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        let is_busy = order.is_busy();
        let mut numbered = (1..).zip(&mut order.returns);
        let Some((_, found)) = numbered.find(|(it, _)| *it == number) else {
            return Err(Rejection::ReturnNotFound { number });
        };
        let state = found.state;
        let restocks = *step == ReturnStep::Receive { restock: true };
        found.state = match (state, step) {
            (Approved, ReturnStep::Approve)
            | (Declined, ReturnStep::Decline { .. })
            | (Received, ReturnStep::Receive { .. })
            | (Closed, ReturnStep::Close) => return Ok(false),
            (Requested, ReturnStep::Approve) => Approved,
            (Requested, ReturnStep::Decline { .. }) => Declined,
            (Approved, ReturnStep::Receive { .. }) if restocks && is_busy => {
                return Err(Rejection::OrderPending);
            }
            (Approved, ReturnStep::Receive { .. }) => Received,
            (Approved | Received, ReturnStep::Close) => Closed,
            _ => return Err(Rejection::ReturnNotOpen { number, state }),
        };
        if found.state == Received {
            (found.has_arrived, found.restocks) = (true, restocks);
        }
        if restocks {
            let items = order.items_of(&order.returns[number as usize - 1].lines);
            order.restocking = items.into_iter().map(|sku| (number, sku)).collect();
        }
        order.version += 1;
        Ok(true)
    }

    /// An item's stock grows by what came back with a return. Whoever asks it does so once.
    pub fn restock(&mut self, id: OrderId, number: u32, sku: &Sku) -> Outcome {
        let many = self.orders[&id].of_return(number, sku);
        let item = self.items.get_mut(sku).unwrap();
        if item.on_hand + many > i128::from(i64::MAX) {
            return Err(Rejection::Overflow { line: None });
        }
        item.on_hand += many;
        item.version += 1;
        self.fill(sku);
        Ok(true)
    }

    pub fn restocked(&mut self, id: OrderId) -> bool {
        let order = self.orders.get_mut(&id).unwrap();
        if order.restocking.is_empty() {
            return false;
        }
        order.restocking.clear();
        order.version += 1;
        true
    }

    /// Some of what was taken is given back.
    pub fn refund(&mut self, id: OrderId, money: i64, expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        let (wanted, refundable) = (i128::from(money), order.taken() - order.refunded());
        if !(1..=refundable).contains(&wanted) {
            return Err(Rejection::RefundTooLarge {
                wanted: Amount(money),
                refundable: Amount(i64::try_from(refundable).unwrap()),
            });
        }
        if order.refunds.len() == RETURNS_MAX {
            return Err(Rejection::TooManyReturns);
        }
        if order.is_busy() {
            return Err(Rejection::OrderPending);
        }
        let payer = self.customers.get_mut(&order.customer).unwrap();
        if order.steps.is_none() {
            if payer.balance + wanted > i128::from(i64::MAX) {
                return Err(Rejection::Overflow { line: None });
            }
            payer.balance += wanted;
        }
        payer.version += 1;
        order.refunds.push(wanted);
        order.owe(PaymentKind::Refund, wanted);
        order.version += 1;
        Ok(true)
    }
}
