//! An item's actor: prices and stock.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use docket_engine::{
    EntityId, Event, Fact, Item, ItemCommand, ItemEvent, OrderId, Quantity, Record, Request, Sku, Version,
    item,
};

use super::customer::{Requests, Seen};
use crate::{
    host::Entity,
    proposer::After,
    reply::{Ask, Caller, Reply, StepError},
    residents::Residents,
    shard::{Life, Shard},
};

/// When this many reservations are remembered on top of committed state, those that are committed by now are dropped.
const OVERLAY_SWEEP: usize = 64;

/// What an item's actor is told.
pub(crate) enum ItemMessage {
    /// An order asks to reserve or release.
    Ask { ask: Ask, command: ItemCommand },
    /// Release what an order that does not exist has reserved.
    ReleaseOrphan { order: OrderId },
    /// A client's command.
    Command {
        command: ItemCommand,
        request: Option<Request>,
        caller: Caller,
    },
}

/// An item with what is decided and not yet committed.
pub(crate) struct ItemEntity {
    sku: Sku,
    item: Option<Item>,
    /// Reservations as decided, where committed state may not show it yet.
    overlay: HashMap<OrderId, Option<Quantity>>,
    /// The version that each of them makes.
    decided: VecDeque<(Version, OrderId)>,
    requests: Requests,
    life: Life,
}

impl Entity for ItemEntity {
    type Key = Sku;
    type Message = ItemMessage;
    const KIND: &'static str = "item";

    fn load(shard: &Arc<Shard>, sku: Sku) -> Self {
        // Before the state is read: what changes in between ends the life.
        let life = shard.begin_life();
        let item = shard.committed().items.get(&sku).map(|item| Item::clone(&item));
        Self {
            sku,
            item,
            overlay: HashMap::new(),
            decided: VecDeque::new(),
            requests: Requests::default(),
            life,
        }
    }

    fn handle(&mut self, shard: &Arc<Shard>, message: ItemMessage) {
        if self.is_stale(shard) {
            *self = Self::load(shard, self.sku.clone());
        }
        match message {
            ItemMessage::Ask { ask, command } => self.ask(shard, ask, &command),
            ItemMessage::ReleaseOrphan { order } => {
                let after = After::Answer {
                    callers: Vec::new(),
                    reply: Reply::Elsewhere(order),
                    settled: None,
                };
                let command = ItemCommand::Release { order };
                if let Ok(Some(event)) = self.decide(shard, &command, order) {
                    self.submit(shard, event, None, |_| after);
                }
            }
            ItemMessage::Command {
                command,
                request,
                caller,
            } => self.command(shard, &command, request, caller),
        }
    }

    fn is_idle(&self, shard: &Arc<Shard>) -> bool {
        self.is_stale(shard) || self.committed_version(shard) == self.version()
    }

    fn is_done(&self) -> bool {
        false
    }

    fn residents(shard: &Shard) -> &Residents<Self> {
        shard.items()
    }
}

impl ItemEntity {
    fn version(&self) -> Version {
        self.item.as_ref().map(|item| item.version).unwrap_or_default()
    }

    fn committed_version(&self, shard: &Shard) -> Version {
        shard
            .committed()
            .items
            .get(&self.sku)
            .map(|item| item.version)
            .unwrap_or_default()
    }

    /// As a customer's.
    fn is_stale(&self, shard: &Shard) -> bool {
        self.committed_version(shard) > self.version() || shard.committed().is_fenced(self.life.decider)
    }

    fn ask(&mut self, shard: &Arc<Shard>, ask: Ask, command: &ItemCommand) {
        match self.decide(shard, command, ask.order()) {
            Ok(Some(event)) => self.submit(shard, event, None, |_| After::Answered { ask, result: Ok(()) }),
            Ok(None) => shard.barrier(self.life, After::Answered { ask, result: Ok(()) }),
            Err(rejection) => {
                shard.barrier(
                    self.life,
                    After::Answered {
                        ask,
                        result: Err(StepError::Rejected(rejection)),
                    },
                );
            }
        }
    }

    fn decide(
        &mut self,
        shard: &Arc<Shard>,
        command: &ItemCommand,
        order: OrderId,
    ) -> Result<Option<ItemEvent>, docket_engine::Rejection> {
        let reservation = match self.overlay.get(&order) {
            Some(decided) => *decided,
            None => shard.committed().reservations.get(&self.sku, order),
        };
        let decision = item::decide(&self.sku, self.item.as_ref(), reservation, command)?;
        Ok(decision.events.into_iter().next())
    }

    fn command(
        &mut self,
        shard: &Arc<Shard>,
        command: &ItemCommand,
        request: Option<Request>,
        caller: Caller,
    ) {
        if caller.is_expired() {
            return caller.fail(crate::reply::Failure::Expired);
        }
        let caller = match self.requests.check(shard, self.life, request, caller) {
            Seen::New(caller) => caller,
            Seen::Before => return,
        };
        match item::decide(&self.sku, self.item.as_ref(), None, command) {
            Ok(decision) => match decision.events.into_iter().next() {
                Some(event) => {
                    self.submit(shard, event, request, |item| After::Answer {
                        callers: vec![caller],
                        reply: Reply::Item(Arc::new(item.clone())),
                        settled: None,
                    });
                }
                None => self.unchanged(shard, request, caller),
            },
            Err(rejection) => shard.answer(self.life, caller, Reply::Rejected(rejection)),
        }
    }

    fn unchanged(&mut self, shard: &Arc<Shard>, request: Option<Request>, caller: Caller) {
        let Some(item) = &self.item else {
            return drop(caller);
        };
        let of = (EntityId::Item(self.sku.clone()), item.version);
        let reply = Reply::Item(Arc::new(item.clone()));
        self.requests.begun(shard, request);
        shard.answer_unchanged(self.life, of, request, caller, reply);
    }

    /// Carries an event into the speculative state and submits it.
    fn submit(
        &mut self,
        shard: &Arc<Shard>,
        event: ItemEvent,
        request: Option<Request>,
        after: impl FnOnce(&Item) -> After,
    ) {
        let time = shard.now();
        let evolved = match &mut self.item {
            Some(item) => item.evolve(&event, time).map(|()| &*item),
            None => Item::create(self.sku.clone(), &event, time).map(|item| &*self.item.insert(item)),
        };
        let item = evolved.unwrap_or_else(|broken| shard.broken(&broken));
        let version = item.version;
        let after = after(item);
        match event {
            ItemEvent::Reserved { order, quantity } => self.note(shard, version, order, Some(quantity)),
            ItemEvent::Released { order, .. } => self.note(shard, version, order, None),
            _ => {}
        }
        let events = vec![Event {
            version,
            decider: self.life.decider,
            fact: Fact::Item(self.sku.clone(), event),
        }];
        self.requests.begun(shard, request);
        shard.submit(
            self.life,
            Record {
                time,
                events,
                request,
                unchanged: None,
            },
            after,
        );
    }

    fn note(&mut self, shard: &Arc<Shard>, version: Version, order: OrderId, reservation: Option<Quantity>) {
        self.overlay.insert(order, reservation);
        self.decided.push_back((version, order));
        if self.decided.len() >= OVERLAY_SWEEP {
            let committed = shard
                .committed()
                .items
                .get(&self.sku)
                .map(|item| item.version)
                .unwrap_or_default();
            while let Some((_, order)) = self.decided.pop_front_if(|(version, _)| *version <= committed) {
                // A later decision about the same order, not committed yet, must stay.
                if !self.decided.iter().any(|(_, later)| *later == order) {
                    self.overlay.remove(&order);
                }
            }
        }
    }
}
