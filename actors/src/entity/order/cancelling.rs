//! The way back, of an order that is cancelled and of one that an item refused: the customer's hold is released in one
//! record with the order's own event, and then what the items have reserved.

use std::sync::Arc;

use docket_engine::{
    CustomerId, EntityId, OrderCommand, OrderEvent, Record, Rejection, Request, Version, order,
};

use super::{OrderEntity, Stage};
use crate::{
    reply::{Caller, Failure, Reply, Step, StepError},
    shard::Shard,
};

impl OrderEntity {
    pub(super) fn cancel(
        &mut self,
        shard: &Arc<Shard>,
        owner: Option<&CustomerId>,
        expected: Option<Version>,
        request: Option<Request>,
        caller: Caller,
    ) {
        let Some(order) = self
            .order
            .as_ref()
            .filter(|order| owner.is_none_or(|owner| *owner == order.customer))
        else {
            return shard.answer(
                self.life,
                caller,
                Reply::Rejected(Rejection::OrderNotFound { order: self.id }),
            );
        };
        let Some(caller) = self.unless_done(shard, order, request, caller) else {
            return;
        };
        match order::decide(Some(order), &OrderCommand::Cancel { expected }) {
            Ok(decision) if decision.events.is_empty() => {
                let of = (EntityId::Order(self.id), order.version);
                let reply = Reply::Order(order.clone());
                shard.answer_unchanged(self.life, of, request, caller, reply);
            }
            Ok(decision) => {
                self.callers.push(caller);
                self.cancelling = true;
                self.unhold(shard, decision.events, request);
            }
            Err(rejection) => shard.refuse(self.life, request, caller, rejection),
        }
    }

    /// Puts the order's events into the log, with its customer's release of the hold.
    pub(super) fn unhold(&mut self, shard: &Arc<Shard>, events: Vec<OrderEvent>, request: Option<Request>) {
        let Some(order) = &self.order else { return };
        let mut record = Record {
            time: shard.now(),
            events: Vec::with_capacity(2),
            request,
            unchanged: None,
        };
        self.push_events(&mut record, order.version, events);
        self.unholding = Some(record);
        self.repeats.clear();
        self.stage = Stage::Unholding;
        self.ask(shard, Step::Unhold);
    }

    /// The customer has taken its hold back, and that is committed.
    pub(super) fn unheld(&mut self, shard: &Arc<Shard>, result: Result<(), StepError>) {
        let Some(record) = self.unholding.take() else {
            return;
        };
        if result.is_err() {
            // A customer cannot refuse, and it cannot cease to exist.
            return self.failed(shard, Failure::Conflict);
        }
        let order = self.evolve(shard, &record);
        if order.is_settled() {
            let (reply, settled) = (self.reply(), Some(self.id));
            return self.dismiss(shard, reply, settled);
        }
        let effects = order::open_effects(order);
        self.stage = Stage::Releasing;
        self.ask_items(shard, effects);
    }

    /// All items have released.
    pub(super) fn released(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        let Ok(decision) = order::decide(Some(order), &OrderCommand::Released) else {
            return;
        };
        let mut record = Record {
            time: shard.now(),
            events: Vec::with_capacity(1),
            request: None,
            unchanged: None,
        };
        self.push_events(&mut record, order.version, decision.events);
        self.evolve(shard, &record);
        self.settle_with(shard, record);
    }
}
