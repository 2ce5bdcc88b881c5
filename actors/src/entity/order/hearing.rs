//! What of an order waits for stock: its items are asked before something is sent that may not be there, and now and then
//! ([`crate::backorders`]) whether some has come in.
//!
//! What an item says is of now, or of a moment before, and nothing but an edit has more wait. So an answer to a question of before the last edit
//! means nothing, and any other says no less than really waits.

use std::sync::Arc;

use docket_engine::{CustomerId, OrderCommand, Quantity, Request, Sku, order};

use super::{OrderEntity, Stage};
use crate::{reply::Caller, shard::Shard};

/// What somebody asks of an order that its customer has part in.
pub(super) struct Asked {
    pub(super) owner: Option<CustomerId>,
    pub(super) command: OrderCommand,
    pub(super) request: Option<Request>,
    pub(super) caller: Caller,
}

impl OrderEntity {
    /// Asks the items before this is decided.
    pub(super) fn hear_first(&mut self, shard: &Arc<Shard>, asked: Asked) {
        self.hearing = Some(Box::new(asked));
        self.ask_what_waits(shard);
    }

    /// Asks the items whether some has come in, unless there is something else to do: then it is looked again later.
    pub(super) fn look(&mut self, shard: &Arc<Shard>) {
        let may_hear = self
            .order
            .as_ref()
            .is_some_and(|order| order.is_backordered() && order.is_settled());
        if self.stage == Stage::Idle && may_hear {
            self.ask_what_waits(shard);
        }
    }

    /// Gives a look up, if there is one: nothing rests on it.
    pub(super) fn look_no_longer(&mut self) {
        if self.stage == Stage::Hearing && self.hearing.is_none() {
            self.answers.clear();
            self.stage = Stage::Idle;
        }
    }

    fn ask_what_waits(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        let items = order.backordered_items();
        self.answers.clear();
        self.repeats.clear();
        self.awaiting = items.len();
        self.stage = Stage::Hearing;
        for sku in items {
            self.ask_waiting(shard, sku);
        }
    }

    /// All items have answered.
    pub(super) fn heard(&mut self, shard: &Arc<Shard>) {
        let answers = std::mem::take(&mut self.answers);
        let waiting = answers
            .into_iter()
            .filter_map(|(sku, answer)| Some((sku, answer.ok()?)));
        let waiting: Vec<(Sku, Quantity)> = waiting.collect();
        self.stage = Stage::Idle;
        match self.hearing.take() {
            Some(asked) => self.unhold_with(shard, *asked, &waiting),
            None => self.told(shard, &OrderCommand::HearBackorders { waiting }),
        }
    }

    /// Decides what was asked with what the items say. Where it is done, what they say is recorded before it.
    fn unhold_with(&mut self, shard: &Arc<Shard>, asked: Asked, waiting: &[(Sku, Quantity)]) {
        let Some(order) = &self.order else { return };
        let Asked {
            command,
            request,
            caller,
            ..
        } = asked;
        // Nobody may wait any more.
        let Some(caller) = self.unless_done(shard, order, (&command, request), caller) else {
            return;
        };
        let (news, decision) = match order.hearing(waiting) {
            Some((news, then)) => (Some(news), order::decide(Some(&then), &command)),
            None => (None, order::decide(Some(order), &command)),
        };
        match decision {
            Ok(mut decision) => {
                decision.events.splice(0..0, news);
                self.unhold_for(shard, decision, request, caller);
            }
            Err(rejection) => shard.refuse(self.life, request, caller, rejection),
        }
    }
}
