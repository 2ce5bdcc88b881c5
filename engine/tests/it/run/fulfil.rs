//! What becomes of an order that is confirmed.

use std::collections::BTreeSet;

use docket_engine::{
    Amount, CustomerCommand, Effect, HoldReason, ItemCommand, LineQuantity, OrderCommand, OrderId,
    OrderState, Quantity, Rejection, Sku, Version, access::Username, order,
};
use proptest::sample::Index;

use super::{Run, changed, pick};
use crate::{
    model::PARTS_MAX,
    ops::{Etag, Meant},
};

pub(super) fn shop() -> Username {
    Username::new("shop").unwrap()
}

/// As a command has them.
pub(super) fn named(lines: &[(u16, i64)]) -> Box<[LineQuantity]> {
    let named = lines.iter().map(|&(line, many)| LineQuantity {
        line,
        quantity: Quantity(many),
    });
    named.collect()
}

/// Whether an item that has heard a question of an order listens no more to another: an edit has it want more again, so that what was asked
/// before that edit, or to raise it for one that has ended, must not come late. Who delivers sees to that.
fn is_heard_later(question: (usize, &Effect), other: (usize, &Effect)) -> bool {
    let place = |(edits, effect): (usize, &Effect)| match effect {
        Effect::RaiseStock { sku, .. } => Some((sku.clone(), edits, 0)),
        Effect::ReleaseStock { sku, .. } | Effect::ConsumeStock { sku, .. } => Some((sku.clone(), edits, 1)),
        _ => None,
    };
    match (place(question), place(other)) {
        (Some(one), Some(two)) => one.0 == two.0 && (one.1, one.2) < (two.1, two.2),
        _ => false,
    }
}

impl Run {
    pub(super) fn version(&self, id: OrderId, etag: Etag) -> Option<u64> {
        pick(etag, Some(self.model.orders[&id].version))
    }

    /// Which lines are meant, of which the model sees so much there, in the order in which they were drawn.
    pub(super) fn resolve(&mut self, there: &[i128], meant: &Meant) -> Vec<(u16, i64)> {
        let lines = meant.iter().map(|(line, portion)| {
            let line = line.map_or(there.len(), |line| line.index(there.len()));
            let many = portion.of(there.get(line).copied().unwrap_or(0));
            (line as u16, many)
        });
        let lines: Vec<(u16, i64)> = lines.collect();
        let named: BTreeSet<u16> = lines.iter().map(|(line, _)| *line).collect();
        if named.len() < lines.len() {
            self.reach("a line is named twice");
        }
        lines
    }

    fn resolve_open(&mut self, id: OrderId, meant: &Meant) -> Vec<(u16, i64)> {
        let open = self.model.orders[&id].open.clone();
        self.resolve(&open, meant)
    }

    pub(super) fn ship(&mut self, id: OrderId, meant: &Meant, etag: Etag) {
        let lines = self.resolve_open(id, meant);
        let expected = self.version(id, etag);
        let ship = OrderCommand::Ship {
            lines: named(&lines),
            carrier: "Ape".into(),
            tracking: format!("{}", lines.len()).into(),
            by: shop(),
            expected: expected.map(Version),
        };
        let (before, held) = (self.model.orders[&id].state, self.model.orders[&id].held());
        let answer = self.world.ask_order(id, &ship);
        let model = self.model.ship(id, &lines, expected);
        let engine = match answer {
            Ok((events, effects)) => {
                assert_eq!(events, 1, "a shipment is always a new one");
                let order = &self.model.orders[&id];
                let (order, capture) = (id, Amount(i64::try_from(held - order.held()).unwrap()));
                let customer = self.model.orders[&id].customer.clone();
                let effect = Effect::CaptureCredit {
                    customer: customer.clone(),
                    amount: capture,
                };
                assert_eq!(effects, [effect]);
                let capture = CustomerCommand::Capture {
                    order,
                    amount: capture,
                };
                assert_eq!(changed(self.world.ask_customer(&customer, &capture)), Ok(true));
                let is_on_account = self.model.orders[&id].steps.is_none();
                if is_on_account && self.model.customers[&customer].balance < 0 {
                    self.reach("sent on credit");
                }
                self.next_step(id);
                self.reach(format!("{before} to {}, shipped", self.model.orders[&id].state));
                if self.model.orders[&id].shipments.len() > PARTS_MAX {
                    self.reach("all that is left is shipped, beyond the last shipment");
                }
                Ok(true)
            }
            Err(rejection) => Err(rejection),
        };
        self.same("Ship", engine, model);
    }

    pub(super) fn cancel(&mut self, id: OrderId, meant: &Meant, etag: Etag) {
        let lines = self.resolve_open(id, meant);
        let expected = self.version(id, etag);
        let cancel = OrderCommand::Cancel {
            lines: named(&lines),
            by: (lines.len() > 1).then(shop),
            expected: expected.map(Version),
        };
        let (before, held) = (self.model.orders[&id].state, self.model.orders[&id].held());
        let owed = self.model.orders[&id].steps.as_ref().map_or(0, Vec::len);
        let was_held = self.model.orders[&id].holds.iter().any(|(_, holds)| *holds);
        let answer = self.world.ask_order(id, &cancel);
        let model = match lines.is_empty() {
            true => self.model.cancel(id, expected),
            false => self.model.cancel_lines(id, &lines, expected),
        };
        let engine = match answer {
            Ok((events, effects)) if events > 0 => {
                let given_back = held - self.model.orders[&id].held();
                self.give_back(id, given_back, &effects);
                self.next_step(id);
                match (before, self.model.orders[&id].state) {
                    (OrderState::Confirmed, OrderState::Cancelled) => self.reach("CONFIRMED to CANCELLED"),
                    (OrderState::Authorizing, OrderState::Cancelled) => {
                        self.reach("AUTHORIZING to CANCELLED");
                        if !lines.is_empty() {
                            self.reach("AUTHORIZING to CANCELLED, all of it named");
                        }
                    }
                    (_, after) => self.reach(format!("{before} to {after}, lines cancelled")),
                }
                let order = &self.model.orders[&id];
                let is_owed = order.steps.as_ref().is_none_or(|steps| steps.len() > owed);
                if !is_owed && order.is_to_be_authorized() && order.state == OrderState::Cancelled {
                    self.reach("an order whose end owes its provider nothing");
                }
                if was_held {
                    self.reach(format!("{} out of a hold", self.model.orders[&id].state));
                }
                Ok(true)
            }
            other => {
                if other.is_ok() {
                    self.reach("Cancel again");
                }
                changed(other)
            }
        };
        if before == OrderState::Authorizing && model == Err(Rejection::OrderPending) {
            self.reach("some of an AUTHORIZING order is not cancelled");
        }
        self.same("Cancel", engine, model);
    }

    /// Checks that an order gives so much back, and does with its customer what its shard does in the same record.
    pub(super) fn give_back(&mut self, id: OrderId, amount: i128, effects: &[Effect]) {
        let amount = Amount(i64::try_from(amount).unwrap());
        let customer = self.model.orders[&id].customer.clone();
        let release = Effect::ReleaseCredit {
            customer: customer.clone(),
            amount,
        };
        assert_eq!(effects, [release]);
        let release = CustomerCommand::Release { order: id, amount };
        assert_eq!(changed(self.world.ask_customer(&customer, &release)), Ok(true));
    }

    /// As a node shows a state; what is shown as PENDING is one of two.
    pub(super) fn state_of(&self, id: OrderId) -> String {
        match self.model.orders[&id].state {
            OrderState::Authorizing => "AUTHORIZING".to_owned(),
            state => state.to_string(),
        }
    }

    /// What the items did before was done for another step.
    pub(super) fn next_step(&mut self, id: OrderId) {
        self.told.entry(id).or_default().done.clear();
    }

    pub(super) fn arrive(&mut self, id: OrderId, fulfilment: &Index, etag: Etag) {
        let sent = self.model.orders[&id].shipments.len();
        let fulfilment = fulfilment.index(sent + 2) as u32;
        let expected = self.version(id, etag);
        let deliver = OrderCommand::Deliver {
            fulfilment,
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &deliver));
        let model = self.model.deliver(id, fulfilment, expected);
        match model {
            Ok(true) => self.reach("a shipment arrives"),
            Ok(false) => self.reach("Deliver again"),
            Err(_) => {}
        }
        self.same("Deliver", engine, model);
    }

    pub(super) fn hold(&mut self, id: OrderId, reason: usize, etag: Etag) {
        let reason = HoldReason::ALL[reason];
        let expected = self.version(id, etag);
        let hold = OrderCommand::Hold {
            reason,
            note: "look".into(),
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &hold));
        let model = self.model.hold(id, reason, expected);
        if model.is_ok() {
            self.reach(format!("{} is held", self.model.orders[&id].state));
        }
        self.same("Hold", engine, model);
    }

    pub(super) fn release_hold(&mut self, id: OrderId, reason: usize, etag: Etag) {
        let reason = HoldReason::ALL[reason];
        let expected = self.version(id, etag);
        let release = OrderCommand::ReleaseHold {
            reason,
            by: shop(),
            expected: expected.map(Version),
        };
        let engine = changed(self.world.ask_order(id, &release));
        let model = self.model.release_hold(id, reason, expected);
        if model.is_ok() {
            self.reach(format!("{} is held no longer", self.model.orders[&id].state));
        }
        self.same("ReleaseHold", engine, model);
    }

    /// An item hears how much stays reserved, and whether it gives the rest back or takes it off its stock. True where it
    /// did something.
    pub(super) fn reduce(&mut self, id: OrderId, sku: &Sku, remaining: Quantity, is_sent: bool) -> bool {
        let (order, left) = (id, i128::from(remaining.0));
        let (what, command, model) = match is_sent {
            true => (
                "Consume",
                ItemCommand::Consume { order, remaining },
                self.model.consume(id, sku, left),
            ),
            false => (
                "Release",
                ItemCommand::Release { order, remaining },
                match left == self.model.orders[&id].open_of(sku) {
                    true => self.model.release(id, sku),
                    false => self.model.reduce(id, sku, left) > 0,
                },
            ),
        };
        let engine = changed(self.world.ask_item(sku, &command));
        match model {
            true if remaining > Quantity::ZERO => self.reach(format!("{what} of some of a reservation")),
            true => {}
            false => self.reach(format!("{what} again")),
        }
        self.same(what, engine, Ok(model));
        model
    }

    /// Late: what an item did for an order already reaches it again, whatever came after.
    pub(super) fn echo(&mut self, id: OrderId, effect: &Index) {
        let sent = self.sent.get(&id).map_or(&[][..], |sent| sent);
        if sent.is_empty() {
            return;
        }
        let (edits, effect) = sent[effect.index(sent.len())].clone();
        if sent
            .iter()
            .any(|later| is_heard_later((edits, &effect), (later.0, &later.1)))
        {
            return;
        }
        let is_old = !order::open_effects(&self.world.orders[&id]).contains(&effect);
        let (what, did) = match &effect {
            // An item remembers a reservation only while it is there: who delivers must not be that late.
            Effect::ReserveStock { sku, .. } if !self.model.reservations.contains_key(&(id, sku.clone())) => {
                return;
            }
            Effect::ReserveStock { sku, currency, lines } => {
                let reserve = ItemCommand::Reserve {
                    order: id,
                    currency: *currency,
                    lines: lines.clone(),
                };
                let did = changed(self.world.ask_item(sku, &reserve));
                ("Reserve", did.unwrap())
            }
            Effect::RaiseStock { sku, line, quantity } => {
                if is_old {
                    return;
                }
                self.raise(id, sku, *line, *quantity);
                ("Raise", false)
            }
            Effect::ReleaseStock { sku, remaining } => ("Release", self.reduce(id, sku, *remaining, false)),
            Effect::ConsumeStock { sku, remaining } => ("Consume", self.reduce(id, sku, *remaining, true)),
            // It had no room, and nobody remembers that it was asked.
            Effect::RestockStock { sku, number, .. }
                if !self.restocked.contains(&(id, *number, sku.clone())) =>
            {
                return;
            }
            Effect::RestockStock {
                sku,
                number,
                quantity,
            } => ("Restock", self.restock(id, *number, sku, *quantity)),
            other => panic!("{other:?} is not asked of an item"),
        };
        assert!(!did, "{effect:?} of {id} was done twice");
        if is_old {
            self.reach(format!("{what} of an older step"));
        }
    }

    pub(super) fn released(&mut self, id: OrderId) {
        let releasing = &self.model.orders[&id].releasing;
        if !releasing.is_subset(&self.told.entry(id).or_default().done) {
            return;
        }
        let (events, effects) = self.world.ask_order(id, &OrderCommand::Released).unwrap();
        let released = self.model.released(id);
        assert_eq!((events, effects), (usize::from(released), Vec::new()));
        match released {
            false => self.reach("Released again"),
            true => self.reach(format!("{}, all released", self.model.orders[&id].state)),
        }
    }

    pub(super) fn consumed(&mut self, id: OrderId) {
        let consuming = &self.model.orders[&id].consuming;
        if !consuming.is_subset(&self.told.entry(id).or_default().done) {
            return;
        }
        let (events, effects) = self.world.ask_order(id, &OrderCommand::Consumed).unwrap();
        let consumed = self.model.consumed(id);
        assert_eq!((events, effects), (usize::from(consumed), Vec::new()));
        match consumed {
            false => self.reach("Consumed again"),
            true => self.reach(format!("{}, all consumed", self.model.orders[&id].state)),
        }
    }
}
