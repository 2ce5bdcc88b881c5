//! What comes back of an order that was shipped: returns, and money.

use docket_engine::{
    Amount, CustomerCommand, Effect, ItemCommand, OrderCommand, OrderId, PaymentState, Quantity, Rejection,
    ReturnState, ReturnStep, Sku, Version, order,
};
use proptest::sample::Index;

use super::{
    Run, changed,
    fulfil::{named, shop},
};
use crate::{
    model::Outcome,
    ops::{Etag, Meant, Portion, Step},
};

/// An order's payment, by the name that it has in what was reached.
fn name(state: PaymentState) -> &'static str {
    match state {
        PaymentState::PartiallyCaptured => "PARTIALLY_CAPTURED",
        PaymentState::Captured => "CAPTURED",
        PaymentState::PartiallyRefunded => "PARTIALLY_REFUNDED",
        PaymentState::Refunded => "REFUNDED",
        other => panic!("nothing is refunded of what is {other:?}"),
    }
}

impl Run {
    pub(super) fn request_return(&mut self, id: OrderId, meant: &Meant, etag: Etag) {
        let returnable = self.model.orders[&id].returnable();
        let lines = self.resolve(&returnable, meant);
        let expected = self.version(id, etag);
        let request = OrderCommand::RequestReturn {
            lines: named(&lines),
            note: "too many".into(),
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &request));
        let model = self.model.request_return(id, &lines, expected);
        if model.is_ok() {
            let order = &self.model.orders[&id];
            let state = order.state;
            let (last, earlier) = order.returns.split_last().unwrap();
            let is_again = earlier.iter().any(|it| {
                let never_came =
                    matches!(it.state, ReturnState::Declined | ReturnState::Closed) && !it.has_arrived;
                never_came && it.lines.keys().any(|line| last.lines.contains_key(line))
            });
            if is_again {
                self.reach("what was in a return comes back with another");
            }
            self.reach("none to REQUESTED");
            self.reach(format!("{state} has a return"));
        }
        self.same("RequestReturn", engine, model);
    }

    pub(super) fn move_return(&mut self, id: OrderId, number: Option<Index>, step: Step, etag: Etag) {
        let there = self.model.orders[&id].returns.len();
        let number = match number {
            Some(number) if there > 0 => 1 + number.index(there) as u32,
            Some(_) => 1,
            None => there as u32 + 1,
        };
        let step = match step {
            Step::Approve => ReturnStep::Approve,
            Step::Decline => ReturnStep::Decline { note: "worn".into() },
            Step::Receive { restock } => ReturnStep::Receive { restock },
            Step::Close => ReturnStep::Close,
        };
        let expected = self.version(id, etag);
        let command = OrderCommand::MoveReturn {
            number,
            step: step.clone(),
            by: shop(),
            expected: expected.map(Version),
        };
        let state = |run: &Self| {
            let returns = &run.model.orders[&id].returns;
            returns.get(number as usize - 1).map(|it| it.state)
        };
        let before = state(self);
        // What it asks of its items is open, and never more is asked.
        let engine = changed(self.world.ask_order(id, &command));
        let model = self.model.move_return(id, number, &step, expected);
        match (&model, before, state(self)) {
            (Ok(true), Some(before), Some(after)) => {
                let restocks = step == ReturnStep::Receive { restock: true };
                if restocks {
                    self.next_step(id);
                }
                let is_restocking = !self.model.orders[&id].restocking.is_empty();
                let while_restocking = match (restocks, is_restocking) {
                    (true, _) => ", restocking",
                    (false, true) => ", while stock is put back",
                    (false, false) => "",
                };
                self.reach(format!("{before} to {after}{while_restocking}"));
            }
            (Ok(_), ..) => self.reach("MoveReturn again"),
            (Err(_), ..) => {}
        }
        self.same("MoveReturn", engine, model);
    }

    /// As a shard does it: the order decides, and nothing is recorded of it where its customer cannot have the money.
    fn ask_to_refund(&mut self, id: OrderId, refund: &OrderCommand, money: Amount) -> Outcome {
        order::decide(self.world.orders.get(&id), refund)?;
        let customer = self.model.orders[&id].customer.clone();
        let give = CustomerCommand::Refund {
            order: id,
            amount: money,
        };
        assert!(changed(self.world.ask_customer(&customer, &give))?);
        let (events, effects) = self.world.ask_order(id, refund)?;
        let amount = money;
        assert_eq!(
            (events, effects),
            (1, vec![Effect::RefundCredit { customer, amount }])
        );
        Ok(true)
    }

    pub(super) fn refund(&mut self, id: OrderId, amount: Portion, etag: Etag) {
        let order = &self.model.orders[&id];
        let money = amount.of(order.taken() - order.refunded());
        let is_on_account = order.steps.is_none();
        let expected = self.version(id, etag);
        let refund = OrderCommand::Refund {
            amount: Amount(money),
            note: "sorry".into(),
            by: shop(),
            expected: expected.map(Version),
        };
        let payment = |run: &Self| run.world.orders[&id].payment().state;
        let before = payment(self);
        let of_account = if is_on_account { money } else { 0 };
        let engine = self.ask_to_refund(id, &refund, Amount(of_account));
        let model = self.model.refund(id, money, expected);
        if model.is_ok() && is_on_account {
            let after = payment(self);
            self.reach(format!("{} to {}", name(before), name(after)));
        }
        if model.is_ok() && !is_on_account {
            self.reach("a provider is to give money back");
        }
        let order = &self.model.orders[&id];
        let is_sent = order.captured() - order.refunded() >= i128::from(money);
        if is_sent && matches!(model, Err(Rejection::RefundTooLarge { .. })) {
            self.reach("what was sent, and its provider has not taken, is not given back");
        }
        self.same("Refund", engine, model);
    }

    /// An item hears that something came back. It does not know what it has heard before: whoever tells it remembers, as a node does
    /// by the requests that it has seen. True where it did something.
    pub(super) fn restock(&mut self, id: OrderId, number: u32, sku: &Sku, quantity: Quantity) -> bool {
        let key = (id, number, sku.clone());
        if self.restocked.contains(&key) {
            self.reach("Restock again");
            return false;
        }
        assert_eq!(
            i128::from(quantity.0),
            self.model.orders[&id].of_return(number, sku)
        );
        let command = ItemCommand::Restock { order: id, quantity };
        let engine = changed(self.world.ask_item(sku, &command));
        let model = self.model.restock(id, number, sku);
        let did = model.is_ok();
        match did {
            true => {
                self.no_room.remove(&key);
                self.restocked.insert(key);
            }
            // The order goes on all the same.
            false => {
                self.no_room.insert(key);
            }
        }
        self.same("Restock", engine, model);
        did
    }

    pub(super) fn restocked(&mut self, id: OrderId) {
        let mut restocking = self.model.orders[&id].restocking.iter();
        let done = &self.told.entry(id).or_default().done;
        if !restocking.all(|(_, sku)| done.contains(sku)) {
            return;
        }
        let (events, effects) = self.world.ask_order(id, &OrderCommand::Restocked).unwrap();
        let restocked = self.model.restocked(id);
        assert_eq!((events, effects), (usize::from(restocked), Vec::new()));
        match restocked {
            false => self.reach("Restocked again"),
            true => self.reach(format!("{}, all restocked", self.model.orders[&id].state)),
        }
    }
}
