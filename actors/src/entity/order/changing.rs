//! What an order is asked that is decided without its customer and its items: one record. What it leads to (a return that goes back on the
//! stock) they are asked when that is committed.

use std::sync::Arc;

use docket_engine::{
    CustomerId, EntityId, Event, Fact, Order, OrderCommand, OrderEvent, Record, Rejection, Request, order,
};

use super::{OrderEntity, Stage, editing::outcome, waking::asks_in};
use crate::{
    proposer::After,
    reply::{Caller, Failure, Reply},
    shard::Shard,
};

impl OrderEntity {
    pub(super) fn change(
        &mut self,
        shard: &Arc<Shard>,
        owner: Option<&CustomerId>,
        command: &OrderCommand,
        request: Option<Request>,
        caller: Caller,
    ) {
        let visible = |order: &&Arc<Order>| owner.is_none_or(|owner| *owner == order.customer);
        let Some(order) = self.order.as_ref().filter(visible) else {
            let missing = Rejection::OrderNotFound { order: self.id };
            return shard.answer(self.life, caller, Reply::Rejected(missing));
        };
        let Some(caller) = self.unless_done(shard, order, (command, request), caller) else {
            return;
        };
        match order::decide(Some(order), command) {
            Ok(decision) if decision.events.is_empty() => {
                let of = (EntityId::Order(self.id), order.version);
                let reply = Reply::Order(order.clone());
                shard.answer_unchanged(self.life, of, request, caller, reply);
            }
            Ok(decision) => {
                let mut record = Record {
                    time: shard.now(),
                    events: Vec::with_capacity(1),
                    request,
                    unchanged: None,
                    origin: caller.origin(),
                };
                self.push_events(&mut record, order.version, decision.events);
                let reply = Reply::Order(Arc::new(self.evolve(shard, &record).clone()));
                let order = self.id;
                // Whatever comes until it is committed waits: another life of the order would decide without it.
                self.stage = Stage::Settling;
                shard.submit(self.life, record, After::Changed { order, caller, reply });
            }
            Err(rejection) => shard.refuse(self.life, request, caller, rejection),
        }
    }

    /// Carries out what it is told of the outside: alone, or, where it ends the order, with its customer and its items.
    pub(super) fn told(&mut self, shard: &Arc<Shard>, command: &OrderCommand) {
        let Some(order) = &self.order else { return };
        let Ok(mut decision) = order::decide(Some(order), command) else {
            return;
        };
        match decision.events[..] {
            [] => return,
            [OrderEvent::Authorized { .. }] => decision.events.extend(self.suspicion(shard)),
            _ => {}
        }
        if !decision.effects.is_empty() {
            return self.unhold(shard, decision, None, None);
        }
        let mut record = Record {
            time: shard.now(),
            events: Vec::with_capacity(decision.events.len()),
            request: None,
            unchanged: None,
            origin: None,
        };
        self.push_events(&mut record, order.version, decision.events);
        self.evolve(shard, &record);
        self.settle_with(shard, record);
    }

    /// Leaves memory for the archive, if it is over. From here on there is nothing to decide: whoever asks for it is told that there is none
    /// here, and looks there.
    pub(super) fn leave(&mut self, shard: &Arc<Shard>) {
        let Some(order) = self.order.take_if(|order| order.is_over()) else {
            return;
        };
        let record = Record {
            time: shard.now(),
            events: vec![Event {
                version: order.version.next(),
                decider: self.life.decider,
                fact: Fact::Archived(self.id),
            }],
            request: None,
            unchanged: None,
            origin: None,
        };
        self.stage = Stage::Settling;
        shard.submit(self.life, record, After::Left { order: self.id });
    }

    /// Asks of others what was decided without them, once that is committed: nobody waits for it.
    pub(super) fn go_on(&mut self, shard: &Arc<Shard>) {
        let open = self.order.as_ref().filter(|order| !order.is_settled());
        if let Some(order) = open {
            let effects = order::open_effects(order);
            self.stage = asks_in(order);
            self.ask_items(shard, effects);
        }
    }

    /// The caller, unless nobody waits any more, or its request was done before, which is answered then.
    pub(super) fn unless_done(
        &self,
        shard: &Arc<Shard>,
        order: &Arc<Order>,
        (command, request): (&OrderCommand, Option<Request>),
        caller: Caller,
    ) -> Option<Caller> {
        if caller.is_expired() {
            caller.fail(Failure::Expired);
            return None;
        }
        let stored = request.and_then(|request| {
            let stored = shard.committed().requests.get(request.key)?;
            Some(stored.fingerprint == request.fingerprint)
        });
        let reply = match stored {
            None => return Some(caller),
            Some(true) => outcome(order, command),
            Some(false) => Reply::Rejected(Rejection::RequestIdReused),
        };
        shard.answer(self.life, caller, reply);
        None
    }
}
