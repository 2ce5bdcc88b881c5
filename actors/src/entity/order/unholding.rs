//! The way back from a hold: of an order that is cancelled, of one that an item refused, and of one that is shipped. What the customer's
//! hold becomes (released or captured) is in one record with the order's own event, and then the items are told what of their
//! reservations is to go back, or off their stock.

use std::sync::Arc;

use docket_engine::{
    CustomerCommand, Decision, Effect, EntityId, OrderCommand, OrderEvent, PackedOrigin, Record, Rejection,
    Request, order,
};

use super::{OrderEntity, Stage, hearing::Asked, waking::asks_in};
use crate::{
    proposer::After,
    reply::{Answered, Caller, Failure, Reply, Step, StepError},
    shard::Shard,
};

/// What the customer is asked, kept to ask again.
pub(super) struct Unholding {
    pub(super) command: CustomerCommand,
    /// Has the order's own events.
    pub(super) record: Record,
    /// Nothing of it is done where nobody waits for it any more.
    pub(super) is_asked_for: bool,
}

impl OrderEntity {
    pub(super) fn unhold_by(&mut self, shard: &Arc<Shard>, asked: Asked) {
        let Asked {
            owner,
            command,
            request,
            caller,
        } = asked;
        let Some(order) = self
            .order
            .as_ref()
            .filter(|order| owner.as_ref().is_none_or(|owner| *owner == order.customer))
        else {
            return shard.answer(
                self.life,
                caller,
                Reply::Rejected(Rejection::OrderNotFound { order: self.id }),
            );
        };
        let Some(caller) = self.unless_done(shard, order, (&command, request), caller) else {
            return;
        };
        if order::asks_first(order, &command) {
            let asked = Asked {
                owner,
                command,
                request,
                caller,
            };
            return self.hear_first(shard, asked);
        }
        match order::decide(Some(order), &command) {
            Ok(decision) if decision.events.is_empty() => {
                let of = (EntityId::Order(self.id), order.version);
                let reply = Reply::Order(order.clone());
                shard.answer_unchanged(self.life, of, request, caller, reply);
            }
            Ok(decision) => self.unhold_for(shard, decision, request, caller),
            Err(rejection) => shard.refuse(self.life, request, caller, rejection),
        }
    }

    /// Does what was decided about what a caller asked, who waits for it.
    pub(super) fn unhold_for(
        &mut self,
        shard: &Arc<Shard>,
        decision: Decision<OrderEvent>,
        request: Option<Request>,
        caller: Caller,
    ) {
        let origin = caller.origin();
        self.unheld_from = self.order.as_ref().map(|order| order.version).unwrap_or_default();
        self.callers.push(caller);
        self.unheld_for = true;
        self.unhold(shard, decision, request, origin);
    }

    /// Puts the order's events into the log, with what they make of its customer's hold.
    pub(super) fn unhold(
        &mut self,
        shard: &Arc<Shard>,
        mut decision: Decision<OrderEvent>,
        request: Option<Request>,
        origin: Option<PackedOrigin>,
    ) {
        let Some(order) = &self.order else { return };
        let held = self.suspicion_of_edit(shard, &decision.events);
        decision.events.extend(held);
        let id = self.id;
        let currency = order.currency;
        let of_customer = |effect| match effect {
            Effect::HoldCredit { amount, .. } => Some(CustomerCommand::Hold {
                order: id,
                amount,
                currency,
            }),
            Effect::ReleaseCredit { amount, .. } => Some(CustomerCommand::Release { order: id, amount }),
            Effect::CaptureCredit { amount, .. } => Some(CustomerCommand::Capture { order: id, amount }),
            Effect::RefundCredit { amount, .. } => Some(CustomerCommand::Refund { order: id, amount }),
            Effect::ReserveStock { .. }
            | Effect::RaiseStock { .. }
            | Effect::ReleaseStock { .. }
            | Effect::ConsumeStock { .. }
            | Effect::RestockStock { .. } => None,
        };
        let Some(command) = decision.effects.into_iter().find_map(of_customer) else {
            return;
        };
        let mut record = Record {
            time: shard.now(),
            events: Vec::with_capacity(2),
            request,
            unchanged: None,
            origin,
        };
        self.push_events(&mut record, order.version, decision.events);
        self.unholding = Some(Unholding {
            command,
            record,
            // What an edit has begun is carried on with, whoever waits.
            is_asked_for: self.unheld_for && order.open_edit().is_none(),
        });
        self.repeats.clear();
        self.stage = Stage::Unholding;
        self.ask(shard, Step::Unhold);
    }

    /// The customer has done its part, and that is committed.
    pub(super) fn unheld(&mut self, shard: &Arc<Shard>, result: Answered) {
        let Some(unholding) = self.unholding.take() else {
            return;
        };
        match result {
            Ok(_) => {}
            // More than an account can add up, or than it has for an edit: nothing was done, and the order is as it was.
            Err(StepError::Rejected(rejection)) if unholding.is_asked_for => {
                return self.dismiss(shard, Reply::Rejected(rejection), None);
            }
            // A customer cannot refuse what is given back, and it cannot cease to exist.
            Err(_) => return self.failed(shard, Failure::Conflict),
        }
        let order = self.evolve(shard, &unholding.record);
        if order.is_settled() {
            // No item has part in it. What comes next waits until its callers are answered: this life hears of that as of a settlement.
            let (reply, settled) = (self.reply(), Some(self.id));
            self.unheld_for = false;
            self.stage = Stage::Settling;
            let callers = std::mem::take(&mut self.callers);
            let after = After::Answer {
                callers,
                reply,
                settled,
            };
            return shard.barrier(self.life, after);
        }
        let (effects, stage) = (order::open_effects(order), asks_in(order));
        self.stage = stage;
        self.ask_items(shard, effects);
    }

    /// All items have released, or taken off their stock, what they were asked to.
    pub(super) fn released(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        let command = if !order.releasing.is_empty() {
            OrderCommand::Released
        } else if !order.consuming().is_empty() {
            OrderCommand::Consumed
        } else {
            OrderCommand::Restocked
        };
        let Ok(decision) = order::decide(Some(order), &command) else {
            return;
        };
        let mut record = Record {
            time: shard.now(),
            events: Vec::with_capacity(1),
            request: None,
            unchanged: None,
            origin: None,
        };
        self.push_events(&mut record, order.version, decision.events);
        self.evolve(shard, &record);
        self.settle_with(shard, record);
    }
}
