//! The begin and the end of an actor's life: an order that a crash, a panic or a change of leader left half-way is taken up
//! from committed state, and one whose events the log did not take is thrown away.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use docket_engine::{Order, OrderId, OrderState, Version, order};

use super::{Birth, OrderEntity, OrderMessage, Stage};
use crate::{
    reply::{Failure, Step},
    shard::{Life, Shard},
};

impl OrderEntity {
    /// The order as it is committed, with nothing under way.
    pub(super) fn committed(shard: &Arc<Shard>, id: OrderId) -> Self {
        // Before the state is read: what changes in between ends the life.
        let life = shard.begin_life();
        let order = shard.committed().orders.get(id);
        Self::new(id, order, life)
    }

    /// The order, with nothing under way.
    pub(super) fn new(id: OrderId, order: Option<Arc<Order>>, life: Life) -> Self {
        Self {
            id,
            order,
            stage: Stage::Idle,
            placing: None,
            tally: None,
            callers: Vec::new(),
            unheld_for: false,
            unheld_from: Version::default(),
            birth: Birth::Elsewhere,
            answers: Vec::new(),
            awaiting: 0,
            repeats: Vec::new(),
            unholding: None,
            hearing: None,
            stash: VecDeque::new(),
            life,
        }
    }

    /// Carries on with what the order still has to ask of others, once it is known how far earlier lives came.
    pub(super) fn resume(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        if self.stage != Stage::Idle || order.is_settled() {
            return;
        }
        self.stage = Stage::Waking;
        self.ask(shard, Step::Wake);
    }

    /// Nothing of an earlier life is on its way any more: what is committed now is what there is.
    pub(super) fn awake(&mut self, shard: &Arc<Shard>) {
        let Self { callers, stash, .. } = std::mem::replace(self, Self::committed(shard, self.id));
        self.stash = stash;
        let Some(order) = self.order.as_ref().filter(|order| !order.is_settled()) else {
            for caller in callers {
                self.wait(shard, caller);
            }
            return;
        };
        self.callers = callers;
        let effects = order::open_effects(order);
        self.stage = asks_in(order);
        self.ask_items(shard, effects);
    }

    /// The order is not what this actor believes: it is thrown away, and its callers ask again.
    pub(super) fn failed(&mut self, shard: &Arc<Shard>, failure: Failure) {
        // Its earlier events may be in the log.
        let undone = self.order.is_none() || failure != Failure::NotLeader;
        let failure = if undone { failure } else { Failure::Unknown };
        std::mem::take(&mut self.callers)
            .into_iter()
            .for_each(|caller| caller.fail(failure));
        for message in std::mem::take(&mut self.stash) {
            if let OrderMessage::Unhold { caller, .. } | OrderMessage::Change { caller, .. } = *message {
                caller.fail(match failure {
                    // Nothing of it was done: it was not even looked at.
                    Failure::Unknown | Failure::Conflict | Failure::Panicked => Failure::Gone,
                    failure => failure,
                });
            }
        }
        // Nothing of it was done: its items were only asked.
        if let Some(asked) = self.hearing.take() {
            asked.caller.fail(match failure {
                Failure::Unknown | Failure::Conflict | Failure::Panicked => Failure::Gone,
                failure => failure,
            });
        }
        shard.needs_reconciling();
        if matches!(failure, Failure::Panicked | Failure::Poison) && self.order.is_some() {
            shard.setbacks().note(self.id, Instant::now());
        }
        // What is open is taken up again with the next message, or by the chores.
        *self = Self::committed(shard, self.id);
    }
}

/// How what an order still has to ask of its items is asked.
pub(super) fn asks_in(order: &Order) -> Stage {
    match order.state {
        OrderState::Pending => Stage::Reserving,
        _ if order.open_edit().is_some() => Stage::Raising,
        _ => Stage::Releasing,
    }
}
