//! An item's actor: prices and stock.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use docket_engine::{
    EntityId, Event, Fact, Item, ItemCommand, ItemEvent, OrderId, Quantity, Record, Request, Sku, Time,
    Version, item,
};
use rapidhash::fast::RandomState;

use super::customer::{Requests, Seen};
use crate::{
    host::Entity,
    proposer::After,
    reply::{Ask, Caller, Failure, NOTHING_WAITS, Reply, StepError},
    request::Content,
    residents::Residents,
    shard::{Life, Shard},
};

/// Room for so many reservations on top of committed state is kept while there are none.
const OVERLAY_KEPT: usize = 64;

/// What an item's actor is told.
pub(crate) enum ItemMessage {
    /// An order asks to reserve or release.
    Ask { ask: Ask, command: ItemCommand },
    /// An order asks to take what came back with its return of this number on the stock, which is done once.
    Restock {
        ask: Ask,
        number: u32,
        quantity: Quantity,
        received: Time,
    },
    /// An order asks how much of what is promised to it waits.
    Waiting { ask: Ask },
    /// Release what an order that does not exist has reserved, if it is still watched.
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
    overlay: Overlay,
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
            overlay: Overlay::default(),
            requests: Requests::default(),
            life,
        }
    }

    fn handle(&mut self, shard: &Arc<Shard>, message: Box<ItemMessage>) {
        let committed = self.committed_version(shard);
        if self.is_stale(shard, committed) {
            *self = Self::load(shard, self.sku.clone());
        } else {
            // At once: an item is told something next when all this is in no cache any more, and there are many items.
            self.overlay.sweep(committed);
            self.requests.sweep(committed);
        }
        match *message {
            ItemMessage::Ask { ask, command } => self.ask(shard, ask, &command),
            ItemMessage::Restock {
                ask,
                number,
                quantity,
                received,
            } => self.restock(shard, ask, (number, received), quantity),
            ItemMessage::Waiting { ask } => self.waiting(shard, ask),
            // An order has asked for it since it was found to be nobody's.
            ItemMessage::ReleaseOrphan { order } if !shard.watched().take(order, &self.sku) => {}
            ItemMessage::ReleaseOrphan { order } => {
                let after = After::Answer {
                    callers: Vec::new(),
                    reply: Reply::Elsewhere(order),
                    settled: None,
                };
                let command = ItemCommand::Release {
                    order,
                    remaining: Quantity::ZERO,
                };
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
        let committed = self.committed_version(shard);
        let is_committed = || committed == self.version() && self.requests.are_committed(shard);
        self.is_stale(shard, committed) || is_committed()
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
    fn is_stale(&self, shard: &Shard, committed: Version) -> bool {
        committed > self.version() || shard.committed().is_fenced(self.life.decider)
    }

    fn ask(&mut self, shard: &Arc<Shard>, ask: Ask, command: &ItemCommand) {
        if !ask.is_for(self.life.era.term) {
            return ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
        let reserves = matches!(command, ItemCommand::Reserve { .. });
        let raises = matches!(command, ItemCommand::Raise { .. });
        if let Some(asked) = shard.last_asked().filter(|_| !reserves)
            && !asked.is_next((ask.order(), &self.sku), ask.edits(), raises)
        {
            // Its order has asked for something else since, and does not wait for this.
            return ask.answer(Err(StepError::Failed(Failure::Gone)));
        }
        if reserves || raises {
            shard.watched().note_asked(ask.order(), &self.sku);
        }
        let mut decision = match ask.knows_waiting() && !ask.is_only_there() {
            true => self.decide(shard, command, ask.order()),
            false => self.decide_on_what_is_there(shard, command, ask.order()),
        };
        if let Some(refused) = shard.refused().filter(|_| reserves) {
            decision = refused.once_and_for_all((ask.order(), &self.sku), decision);
        }
        match decision {
            Ok(Some(event)) => self.submit(shard, event, None, |item| {
                let waiting = item.waiting_of(ask.order());
                After::Answered {
                    ask,
                    result: Ok(waiting),
                }
            }),
            Ok(None) => {
                let result = Ok(self.waiting_of(ask.order()));
                shard.barrier(self.life, After::Answered { ask, result });
            }
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

    /// What is decided before is committed when the order hears of it.
    fn waiting(&self, shard: &Arc<Shard>, ask: Ask) {
        if !ask.is_for(self.life.era.term) {
            return ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
        let result = Ok(self.waiting_of(ask.order()));
        shard.barrier(self.life, After::Answered { ask, result });
    }

    fn waiting_of(&self, order: OrderId) -> Quantity {
        let item = self.item.as_ref();
        item.map(|item| item.waiting_of(order)).unwrap_or_default()
    }

    /// At most once: where it is not known any more whether it was done it is not done again, and an operator finds that in the log.
    fn restock(&mut self, shard: &Arc<Shard>, ask: Ask, (number, received): (u32, Time), quantity: Quantity) {
        if !ask.is_for(self.life.era.term) {
            return ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
        let order = ask.order();
        // Remembered as a client's request is, under a name that no client can give.
        let request = Content::of("Restock")
            .quantity(quantity)
            .about_item(&self.sku, &format!("\0restock-{order}-{number}"));
        let after = |ask, result| After::Answered { ask, result };
        if self.requests.has_begun(shard, request) {
            return shard.barrier(self.life, after(ask, NOTHING_WAITS));
        }
        if shard.committed().may_have_forgotten(received) {
            tracing::error!(
                %order, number, sku = %self.sku, %quantity,
                "it is not known any more whether a return is back on the stock: count it, and adjust it"
            );
            return shard.barrier(self.life, after(ask, NOTHING_WAITS));
        }
        match self.decide(shard, &ItemCommand::Restock { order, quantity }, order) {
            Ok(Some(event)) => self.submit(shard, event, Some(request), |_| after(ask, NOTHING_WAITS)),
            Ok(None) => shard.barrier(self.life, after(ask, NOTHING_WAITS)),
            Err(rejection) => {
                shard.barrier(self.life, after(ask, Err(StepError::Rejected(rejection))));
            }
        }
    }

    fn decide(
        &mut self,
        shard: &Arc<Shard>,
        command: &ItemCommand,
        order: OrderId,
    ) -> Result<Option<ItemEvent>, docket_engine::Rejection> {
        let reservation = self.reserved(shard, order);
        let decision = item::decide(&self.sku, self.item.as_ref(), reservation, command)?;
        Ok(decision.events.into_iter().next())
    }

    /// The same for an order that is led by an older program, which would believe all to be there that it is promised, and for one whose
    /// customer may have nothing wait now. What waits already goes on to.
    fn decide_on_what_is_there(
        &mut self,
        shard: &Arc<Shard>,
        command: &ItemCommand,
        order: OrderId,
    ) -> Result<Option<ItemEvent>, docket_engine::Rejection> {
        let reservation = self.reserved(shard, order);
        let item = self.item.as_ref().map(Item::without_room_to_wait);
        let decision = item::decide(&self.sku, item.as_ref(), reservation, command)?;
        Ok(decision.events.into_iter().next())
    }

    /// What an order has reserved, as it was decided last.
    fn reserved(&self, shard: &Shard, order: OrderId) -> Option<Quantity> {
        match self.overlay.get(order) {
            Some(decided) => decided,
            None => shard.committed().reservations.get(&self.sku, order),
        }
    }

    fn command(
        &mut self,
        shard: &Arc<Shard>,
        command: &ItemCommand,
        request: Option<Request>,
        caller: Caller,
    ) {
        if caller.is_expired() {
            return caller.fail(Failure::Expired);
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
            Err(rejection) => shard.refuse(self.life, request, caller, rejection),
        }
    }

    fn unchanged(&mut self, shard: &Arc<Shard>, request: Option<Request>, caller: Caller) {
        let Some(item) = &self.item else {
            return drop(caller);
        };
        let of = (EntityId::Item(self.sku.clone()), item.version);
        let reply = Reply::Item(Arc::new(item.clone()));
        self.requests.begun(shard, request, None);
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
        if let Some(order) = event.order() {
            let before = self.reserved(shard, order);
            self.overlay.note(version, order, event.reserved_after(before));
        }
        let events = vec![Event {
            version,
            decider: self.life.decider,
            fact: Fact::Item(self.sku.clone(), event),
        }];
        self.requests.begun(shard, request, Some(version));
        shard.submit(
            self.life,
            Record {
                time,
                events,
                request,
                unchanged: None,
                origin: None,
            },
            after,
        );
    }
}

/// Reservations as they were decided, where committed state may not show it yet.
#[derive(Default)]
struct Overlay {
    /// As decided last, with the version that this made.
    last: HashMap<OrderId, (Version, Option<Quantity>), RandomState>,
    /// All decisions that were not seen committed, oldest first.
    decided: VecDeque<(Version, OrderId)>,
}

impl Overlay {
    /// What is decided about an order's reservation; `None` where committed state says it.
    fn get(&self, order: OrderId) -> Option<Option<Quantity>> {
        self.last.get(&order).map(|(_, reservation)| *reservation)
    }

    fn note(&mut self, version: Version, order: OrderId, reservation: Option<Quantity>) {
        self.last.insert(order, (version, reservation));
        self.decided.push_back((version, order));
    }

    /// Drops what is committed.
    fn sweep(&mut self, committed: Version) {
        while let Some((version, order)) = self.decided.pop_front_if(|(version, _)| *version <= committed) {
            // A later decision about the same order, not committed yet, must stay.
            if self.last.get(&order).is_some_and(|(last, _)| *last == version) {
                self.last.remove(&order);
            }
        }
        if self.decided.is_empty() && self.last.capacity() > OVERLAY_KEPT {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u128) -> OrderId {
        OrderId::compose(1, 1, number)
    }

    #[test]
    fn what_is_committed_is_dropped_and_nothing_else() {
        let mut overlay = Overlay::default();
        for number in 1..=3 {
            overlay.note(Version(number), order(number.into()), Some(Quantity(1)));
        }
        overlay.sweep(Version(2));
        assert_eq!(overlay.get(order(1)), None);
        assert_eq!(overlay.get(order(2)), None);
        assert_eq!(overlay.get(order(3)), Some(Some(Quantity(1))));
        overlay.sweep(Version(3));
        assert_eq!(overlay.get(order(3)), None);
        assert!(overlay.last.is_empty() && overlay.decided.is_empty());
    }

    #[test]
    fn a_release_that_is_not_committed_outlives_its_committed_reservation() {
        let mut overlay = Overlay::default();
        overlay.note(Version(1), order(1), Some(Quantity(5)));
        overlay.note(Version(2), order(1), None);
        overlay.sweep(Version(1));
        // Committed state still has the reservation: it is not to be released twice.
        assert_eq!(overlay.get(order(1)), Some(None));
        overlay.sweep(Version(2));
        assert_eq!(overlay.get(order(1)), None);
    }
}
