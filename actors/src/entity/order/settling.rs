//! The settlement of an order, and the answers to those who wait for it.

use std::sync::Arc;

use docket_engine::{Order, OrderCommand, OrderEvent, OrderId, OrderState, Record, Rejection, order};

use super::{Birth, OrderEntity, Stage};
use crate::{
    proposer::After,
    reply::{Caller, Reply},
    shard::Shard,
};

impl OrderEntity {
    /// Answers a caller when the order has settled, with what its placing led to.
    pub(super) fn wait(&mut self, shard: &Arc<Shard>, caller: Caller) {
        if !matches!(self.stage, Stage::Idle | Stage::Hearing) {
            // While it is being cancelled or shipped, what its placing led to is known already.
            match shard.committed().first_settled(self.id) {
                Some(settled) => shard.answer(self.life, caller, placed_reply(&settled)),
                // Not with what comes of that: nothing of it is in the log yet.
                None if self.unheld_for
                    && let Some(order) = &self.order =>
                {
                    shard.answer(self.life, caller, placed_reply(order));
                }
                None => {
                    self.hurry(shard);
                    self.callers.push(caller);
                }
            }
            return;
        }
        match &self.order {
            Some(order) => {
                let settled = shard
                    .committed()
                    .first_settled(self.id)
                    .unwrap_or_else(|| order.clone());
                shard.answer(self.life, caller, placed_reply(&settled));
            }
            None => shard.answer(
                self.life,
                caller,
                Reply::Rejected(Rejection::OrderNotFound { order: self.id }),
            ),
        }
    }

    /// All items have answered.
    pub(super) fn settle(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        let answers = std::mem::take(&mut self.answers);
        let Ok(decision) = order::decide(Some(order), &OrderCommand::Settle { answers }) else {
            return;
        };
        let suspicion = match decision.events[..] {
            [OrderEvent::Confirmed, ..] => self.suspicion(shard),
            _ => None,
        };
        // Beside what settles it, that something of it waits for stock.
        let waits = decision.events.len() > 1;
        if decision.effects.is_empty() {
            let mut record = Record {
                time: shard.now(),
                events: Vec::with_capacity(decision.events.len()),
                request: None,
                unchanged: None,
                origin: None,
            };
            self.push_events(&mut record, order.version, decision.events);
            let state = self.evolve(shard, &record).state;
            if let Some(held) = suspicion {
                return self.settle_held(shard, record, held);
            }
            // Its provider is asked when that is committed; and what waits nobody can tell before.
            if state == OrderState::Authorizing || waits {
                return self.settle_with(shard, record);
            }
            match self.birth {
                Birth::Elsewhere => self.settle_with(shard, record),
                Birth::Decided => self.record_confirmation(shard, record),
                // Nothing is left to wait for. Should the log not take the event, then a later life finds what it says to be true.
                Birth::Committed => {
                    self.stage = Stage::Idle;
                    shard.submit(self.life, record, After::Recorded);
                    self.answer_confirmed();
                }
            }
        } else {
            self.unhold(shard, decision, None, None);
        }
    }

    /// Settles an order that is held as it is confirmed. Whoever placed it is told that it is confirmed, as every repeat is; that it is held, and why, is for
    /// the shop to see.
    fn settle_held(&mut self, shard: &Arc<Shard>, mut record: Record, held: OrderEvent) {
        let reply = self.reply();
        let version = self.order.as_ref().map(|order| order.version).unwrap_or_default();
        self.push_events(&mut record, version, vec![held.clone()]);
        self.evolve_by(shard, &held, record.time, record.origin.as_ref());
        self.stage = Stage::Settling;
        let callers = std::mem::take(&mut self.callers);
        let after = After::Answer {
            callers,
            reply,
            settled: Some(self.id),
        };
        shard.submit(self.life, record, after);
    }

    /// Submits the event that says what will be true when the order's first event is committed.
    fn record_confirmation(&mut self, shard: &Arc<Shard>, record: Record) {
        self.stage = Stage::Settling;
        let after = After::Answer {
            callers: Vec::new(),
            reply: self.reply(),
            settled: Some(self.id),
        };
        shard.submit(self.life, record, after);
    }

    /// The order and all its reservations are committed.
    pub(super) fn answer_confirmed(&mut self) {
        let mut callers = std::mem::take(&mut self.callers).into_iter();
        if let Some(last) = callers.next_back() {
            let reply = self.reply();
            callers.for_each(|caller| caller.answer(reply.clone()));
            last.answer(reply);
        }
    }

    /// Submits the record that settles the order; its callers are answered when it is committed.
    pub(super) fn settle_with(&mut self, shard: &Arc<Shard>, record: Record) {
        let reply = self.reply();
        self.unheld_for = false;
        self.stage = Stage::Settling;
        let callers = std::mem::take(&mut self.callers);
        let after = After::Answer {
            callers,
            reply,
            settled: Some(self.id),
        };
        shard.submit(self.life, record, after);
    }

    /// Answers all callers of an order that does not come to be.
    pub(super) fn dismiss(&mut self, shard: &Arc<Shard>, reply: Reply, settled: Option<OrderId>) {
        self.stage = Stage::Idle;
        self.unheld_for = false;
        let callers = std::mem::take(&mut self.callers);
        shard.barrier(
            self.life,
            After::Answer {
                callers,
                reply,
                settled,
            },
        );
    }

    /// Somebody waits for what is being recorded: it is not to wait for company any longer.
    pub(super) fn hurry(&self, shard: &Arc<Shard>) {
        if self.stage == Stage::Settling {
            let after = After::Answer {
                callers: Vec::new(),
                reply: Reply::Elsewhere(self.id),
                settled: None,
            };
            shard.barrier(self.life, after);
        }
    }

    pub(super) fn reply(&self) -> Reply {
        match &self.order {
            Some(order) if self.unheld_for => {
                let edit = order.edit_asked_at(self.unheld_from);
                match edit.and_then(|edit| edit.refusal()) {
                    Some(refusal) => Reply::Rejected(refusal.clone()),
                    None => Reply::Order(order.clone()),
                }
            }
            Some(order) => placed_reply(order),
            None => Reply::Rejected(Rejection::OrderNotFound { order: self.id }),
        }
    }
}

/// What whoever placed the order is answered.
pub(crate) fn placed_reply(order: &Arc<Order>) -> Reply {
    match &order.rejection {
        Some(rejection) => Reply::Rejected(Rejection::clone(rejection)),
        None => Reply::Order(order.clone()),
    }
}
