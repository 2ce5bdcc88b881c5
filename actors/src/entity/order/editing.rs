//! An edit that needs more of items: when all have answered, what they made of it is recorded as a cancelling is, with what that makes of
//! the customer's hold. Where a provider pays and the order comes to cost more, what is recorded is that they have agreed; the edit ends with what
//! the provider makes of that (`crate::payments`).

use std::sync::Arc;

use docket_engine::{Order, OrderCommand, OrderEvent, Record, Rejection, Sku, order};

use super::OrderEntity;
use crate::{
    reply::{Reply, Step},
    shard::Shard,
};

impl OrderEntity {
    /// How often it was edited.
    pub(super) fn edits(&self) -> u32 {
        self.order.as_ref().map_or(0, |order| order.edits().len() as u32)
    }

    /// The question of its last edit.
    pub(super) fn raise(&self, sku: Sku) -> Step {
        let edit = self.edits();
        Step::Raise { sku, edit }
    }

    /// All items have answered.
    pub(super) fn raised(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        let answers = std::mem::take(&mut self.answers);
        let Ok(decision) = order::decide(Some(order), &OrderCommand::Raised { answers }) else {
            return;
        };
        if decision.effects.is_empty() {
            return self.reserved(shard, decision.events);
        }
        self.unhold(shard, decision, None, None);
    }

    /// All have agreed, and its provider is asked when that is committed: whoever waits for the edit is told so, and waits for what is committed then.
    fn reserved(&mut self, shard: &Arc<Shard>, events: Vec<OrderEvent>) {
        let Some(order) = self.order.as_ref().filter(|_| !events.is_empty()) else {
            return;
        };
        let mut record = Record {
            time: shard.now(),
            events: Vec::with_capacity(1),
            request: None,
            unchanged: None,
            origin: None,
        };
        self.push_events(&mut record, order.version, events);
        self.evolve(shard, &record);
        self.settle_with(shard, record);
    }

    /// An item panics over it again and again. Whether it has reserved more before that does not matter: it is told what it is to have.
    pub(super) fn cannot_be_raised(&mut self, shard: &Arc<Shard>, sku: Sku) {
        let order = self.order.iter();
        let mut lines = order.flat_map(|order| order.lines.iter());
        let line = lines.position(|line| line.sku == sku).unwrap_or_default() as u16;
        let failed = Rejection::ItemFailed {
            line,
            sku: sku.clone(),
        };
        if self.take_answer(sku, || Err(failed)) && self.answers.len() == self.awaiting {
            self.raised(shard);
        }
    }
}

/// What a command came to that an order has done: an edit may have been refused since it was begun.
pub(super) fn outcome(order: &Arc<Order>, command: &OrderCommand) -> Reply {
    let edit = match command {
        OrderCommand::Edit {
            expected: Some(version),
            ..
        } => order.edit_asked_at(*version),
        _ => None,
    };
    match edit.and_then(|edit| edit.refusal()) {
        Some(refusal) => Reply::Rejected(refusal.clone()),
        None => Reply::Order(order.clone()),
    }
}
