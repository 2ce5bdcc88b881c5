//! What an actor is told, wherever its shard is, and how one that asked is answered.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use docket_engine::{CustomerId, Decider, ItemCommand, OrderId, Rejection, Request, Sku};
use docket_proto::peer_call::StepAction;

use super::Shard;
use crate::{
    docket::PlaceOrder,
    entity::{
        customer::CustomerMessage,
        item::ItemMessage,
        order::{OrderEntity, OrderMessage},
    },
    host,
    proposer::After,
    reply::{Ask, Caller, Failure, Step, StepError},
};

impl Shard {
    /// Tells an order of this shard. Where the shard is not led here the message is dropped, which tells its caller.
    pub(crate) fn tell_order(self: &Arc<Self>, id: OrderId, message: OrderMessage) {
        if self.is_leading() {
            self.orders.send(self, &self.supervisor, &id, Box::new(message));
        }
    }

    /// Places an order whose id is new: it begins here, and its actor takes it over when somebody has something to tell it. Where
    /// the shard is not led here the caller is told so.
    pub(crate) fn place_order(
        self: &Arc<Self>,
        id: OrderId,
        place: Arc<PlaceOrder>,
        request: Option<Request>,
        caller: Caller,
    ) {
        if !self.is_leading() {
            return;
        }
        let Some((entity, hold)) = host::guarded::<OrderEntity, _>(self, &id, || {
            OrderEntity::begin(self, id, &place, request, caller)
        }) else {
            return;
        };
        let era = entity.era();
        if self.orders.settle_in(&id, Box::new(entity)).is_err() {
            // Somebody has guessed the id. Dropping them tells the caller, who tries again with what is there.
            return;
        }
        self.tell_customer(&place.customer, hold);
        if !self.is_leading() || self.era() != era {
            // Since it began. Whoever threw the shard's actors away may have done so before this one was there.
            self.orders.discard_if_unhosted(&id);
        }
    }

    /// Answers an order. Only the life that asked knows what to make of it: where that is gone no other is started for it.
    pub(crate) fn answer_order(self: &Arc<Self>, id: OrderId, message: OrderMessage) {
        if self.is_leading() {
            self.orders
                .send_to_running(self, &self.supervisor, &id, Box::new(message));
        }
    }

    /// Reminds an order of a question after a while.
    pub(crate) fn tell_order_later(
        self: &Arc<Self>,
        id: OrderId,
        decider: Decider,
        step: Step,
        after: Duration,
    ) {
        let shard = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            shard.answer_order(id, OrderMessage::Again { decider, step });
        });
    }

    /// Tells a customer of this shard.
    pub(crate) fn tell_customer(self: &Arc<Self>, id: &CustomerId, message: CustomerMessage) {
        if self.is_leading() {
            self.customers.send(self, &self.supervisor, id, Box::new(message));
        }
    }

    /// Tells an item of this shard, which is led here or not at all.
    pub(crate) fn tell_own_item(self: &Arc<Self>, sku: &Sku, message: ItemMessage) {
        if self.is_leading() {
            self.items.send(self, &self.supervisor, sku, Box::new(message));
        } else if let ItemMessage::Ask { ask, .. }
        | ItemMessage::Waiting { ask }
        | ItemMessage::Restock { ask, .. } = message
        {
            ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
    }

    /// Tells an item, wherever it is.
    pub(crate) fn tell_item(&self, sku: Sku, message: Box<ItemMessage>) {
        let Some(router) = self.router.get().and_then(Weak::upgrade) else {
            return;
        };
        let shard = router.of_key(sku.as_str());
        if shard.is_leading() {
            shard.items.send(shard, &shard.supervisor, &sku, message);
        } else if let ItemMessage::Restock {
            ask,
            number,
            quantity,
            received,
        } = *message
        {
            let action = StepAction::Restock {
                number,
                quantity,
                received,
            };
            router.ask_elsewhere(shard, ask, sku, action);
        } else if let ItemMessage::Waiting { ask } = *message {
            router.ask_elsewhere(shard, ask, sku, StepAction::Waiting);
        } else if let ItemMessage::Ask { ask, command } = *message {
            match command {
                ItemCommand::Reserve { currency, lines, .. } => {
                    router.ask_elsewhere(shard, ask, sku, StepAction::Reserve { currency, lines });
                }
                ItemCommand::Release { remaining, .. } => {
                    router.ask_elsewhere(shard, ask, sku, StepAction::Release { remaining });
                }
                ItemCommand::Consume { remaining, .. } => {
                    router.ask_elsewhere(shard, ask, sku, StepAction::Consume { remaining });
                }
                ItemCommand::Raise { line, quantity, .. } => {
                    router.ask_elsewhere(shard, ask, sku, StepAction::Raise { line, quantity });
                }
                // No order asks for anything else.
                _ => ask.answer(Err(StepError::Failed(Failure::NotLeader))),
            }
        }
    }

    /// Gives an item up that panicked over an order: the order is answered when all that the item's actors have decided so far is
    /// committed. Where the item's shard is led elsewhere they know there what that is. `line` is the order's first of the item.
    pub(crate) fn give_item_up(&self, sku: &Sku, line: u16, ask: Ask) {
        let Some(router) = self.router.get().and_then(Weak::upgrade) else {
            return;
        };
        let shard = router.of_key(sku.as_str());
        // Before it is asked who leads: what changes in between ends the life.
        let life = shard.begin_life();
        if shard.is_leading() {
            let sku = sku.clone();
            let result = Err(StepError::Rejected(Rejection::ItemFailed { line, sku }));
            shard.barrier(life, After::Answered { ask, result });
        } else {
            router.ask_elsewhere(shard, ask, sku.clone(), StepAction::GiveUp { line });
        }
    }
}
