//! An order's actor: the process that takes an order from its placing to its settlement, and through its cancelling.
//!
//! ```text
//!            Place            hold and all reservations committed
//!   Idle ────────────▶ Holding ───────────────────────────────────────────▶ Idle (CONFIRMED)
//!                        │   │ an item does not answer well    all reserved
//!                        │   └───────────────────▶ Reserving ────────────▶ Settling ──▶ Idle (CONFIRMED)
//!                        │ no credit: REJECTED         │ an item refused
//!                        ▼                             ▼
//!                      Idle     Cancel, Ship ──▶ Unholding ──▶ Releasing ──▶ Idle (REJECTED, CANCELLED, FULFILLED …)
//!                                                 ▲  │ an edit needs more
//!                                                 │  ▼
//!                                    all answered Raising
//!
//!   (Ship, of what waits) Idle ──▶ Hearing ── all answered ──▶ Unholding, or Idle where it waits still
//! ```
//!
//! An order whose money a provider moves is not confirmed when all is reserved, but Idle again: who asks the provider (`crate::payments`) tells it
//! what that has answered. So it is with an edit that has it cost more, when its items have agreed.
//!
//! The order's first event goes into the log together with its customer's hold, and the customer asks the items while that is on
//! its way to the disk: what they reserve is only kept if the order comes to be (see `reconcile`). As long as all is well the
//! order hears nothing until everything is committed (`tally`). And it begins without a host (`begin`): its id is new, so hardly anybody but who
//! places it can send it anything. Its actor takes it over with the first message, and of a placing in which all is well that is the only one.
//!
//! **When an order is confirmed.** As soon as its first event and all of its reservations are committed: from then on
//! nothing can refuse it, since whoever decides for it next finds every reservation made. So its caller is answered then,
//! one commit after it asked, and the event that says CONFIRMED is recorded behind that (`Order::confirmed`). Reads look
//! at the reservations of an order that is still pending (`Router::confirmed`), so that nobody ever sees less than what was
//! answered. Only the life that placed the order answers so: nobody else can have decided about it. A later life, which
//! takes up what a crash or a panic left half-way, first waits until all that may have been decided before is in the log,
//! and answers when its own record is.
//!
//! Here is what the order is told and what it knows. `placing`, `settling` and `unholding` are the ways through the diagram,
//! `hearing` is what of it waits for stock, `editing` is what an edit has beside that, `asking` is the questions to customer and items on all of them, `changing` is what is decided without
//! them, and `waking` is how a later life takes up an earlier one.

mod asking;
mod changing;
mod editing;
mod hearing;
mod placing;
mod settling;
mod suspecting;
mod tally;
mod unholding;
mod waking;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use docket_engine::{
    CustomerId, Decider, Event, Fact, Order, OrderCommand, OrderEvent, OrderId, PackedOrigin, Record,
    Request, Time, Version,
};

use crate::{
    docket::PlaceOrder,
    host::Entity,
    reply::{Answered, Caller, Failure, Step},
    residents::Residents,
    shard::{Era, Life, Shard},
};

use asking::Repeats;
use hearing::Asked;
use tally::ItemAnswer;
use unholding::Unholding;

pub(crate) use settling::placed_reply;
pub(crate) use tally::{Counted, Tally};

/// What an order's actor is told.
pub(crate) enum OrderMessage {
    /// Be placed.
    Place {
        place: Arc<PlaceOrder>,
        request: Option<Request>,
        caller: Caller,
    },
    /// Answer when settled.
    Await { caller: Caller },
    /// Be cancelled, shipped or edited: its customer has part in it, and its items.
    Unhold {
        owner: Option<CustomerId>,
        command: OrderCommand,
        request: Option<Request>,
        caller: Caller,
    },
    /// Change in what is its own.
    Change {
        owner: Option<CustomerId>,
        command: OrderCommand,
        request: Option<Request>,
        caller: Caller,
    },
    /// Hear what came of it outside: what its provider has answered, or that it has not. Nobody waits for that.
    Tell { command: OrderCommand },
    /// Ask its items what of it still waits for stock, if anything does and nothing else is under way.
    HearBackorders,
    /// Leave memory for the archive.
    Archive,
    /// Carry on with what is open.
    Resume,
    /// The answer to a question.
    Answer {
        decider: Decider,
        step: Step,
        result: Answered,
    },
    /// Ask again.
    Again { decider: Decider, step: Step },
    /// Its first event is committed, as decided in this life.
    Placed { decider: Decider },
    /// Its first event and all of its reservations are committed, as this life asked for them.
    Complete { decider: Decider },
    /// What settled the order is committed, as decided in this life.
    Settled { decider: Decider },
    /// What this life of the order put into the log was not taken.
    Failed { decider: Decider, failure: Failure },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is waited for. What says that the order is confirmed may still be on its way into the log.
    Idle,
    /// What earlier lives put into the log is waited for.
    Waking,
    /// The customer was asked for a hold, and to ask the items if it has it.
    Holding,
    /// The items were asked to reserve, and each answer is looked at.
    Reserving,
    /// The customer was asked to take its hold back, or to have it captured.
    Unholding,
    /// The items were asked to reserve more, for an edit.
    Raising,
    /// The items were asked to release, or to take what was shipped off their stock.
    Releasing,
    /// The items were asked what of the order waits for stock.
    Hearing,
    /// An event of the order alone is on its way into the log, and somebody waits for it: mostly the one that settles it.
    Settling,
}

/// Where an order's first event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Birth {
    /// Decided in another life, or not at all.
    Elsewhere,
    /// Decided in this life, and on its way to the log.
    Decided,
    /// Decided in this life, and committed.
    Committed,
}

/// What an order is placed with.
struct Placing {
    place: Arc<PlaceOrder>,
    /// When it was decided.
    time: Time,
    request: Option<Request>,
    origin: Option<PackedOrigin>,
}

/// An order and what it is waiting for.
pub(crate) struct OrderEntity {
    id: OrderId,
    order: Option<Arc<Order>>,
    stage: Stage,
    /// What is being placed, while `order` is not there yet.
    placing: Option<Placing>,
    /// Counts what a new order waits for, until something goes wrong.
    tally: Option<Arc<Tally>>,
    /// Who waits for the settlement.
    callers: Vec<Caller>,
    /// They wait for the order to be cancelled, shipped or edited.
    unheld_for: bool,
    /// Of which version the order was when they asked.
    unheld_from: Version,
    /// What this life knows of the first event: see the module.
    birth: Birth,
    /// What the items answered, sorted by item.
    answers: Vec<ItemAnswer>,
    awaiting: usize,
    /// The questions of this stage that were asked again.
    repeats: Vec<Repeats>,
    /// What the customer puts into the log for the order, kept to ask again.
    unholding: Option<Unholding>,
    /// What is decided when the items have said what waits; `None` where that is all that is wanted.
    hearing: Option<Box<Asked>>,
    /// What is to be done when the order has nothing under way.
    stash: VecDeque<Box<OrderMessage>>,
    life: Life,
}

impl Entity for OrderEntity {
    type Key = OrderId;
    type Message = OrderMessage;
    const KIND: &'static str = "order";
    const BEGINS_UNHOSTED: bool = true;

    fn load(shard: &Arc<Shard>, id: OrderId) -> Self {
        Self::committed(shard, id)
    }

    fn panicked(&mut self, shard: &Arc<Shard>) {
        if self.order.is_some() {
            shard.setbacks().note(self.id, Instant::now());
        }
        for caller in std::mem::take(&mut self.callers) {
            caller.fail(Failure::Panicked);
        }
    }

    fn handle(&mut self, shard: &Arc<Shard>, message: Box<OrderMessage>) {
        self.take(shard, message);
        while self.stage == Stage::Idle
            && let Some(message) = self.stash.pop_front()
        {
            self.take(shard, message);
        }
    }

    fn is_idle(&self, _shard: &Arc<Shard>) -> bool {
        self.stage == Stage::Idle && self.callers.is_empty() && self.stash.is_empty()
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Idle
    }

    fn residents(shard: &Shard) -> &Residents<Self> {
        shard.orders()
    }
}

impl OrderEntity {
    fn take(&mut self, shard: &Arc<Shard>, message: Box<OrderMessage>) {
        // Whoever wants something of the order has it carry on; an answer that comes too late has not.
        if let OrderMessage::Place { .. }
        | OrderMessage::Await { .. }
        | OrderMessage::Unhold { .. }
        | OrderMessage::Change { .. }
        | OrderMessage::Tell { .. }
        | OrderMessage::Archive
        | OrderMessage::Resume = *message
        {
            self.resume(shard);
        }
        if let OrderMessage::Unhold { .. }
        | OrderMessage::Change { .. }
        | OrderMessage::Tell { .. }
        | OrderMessage::Archive = *message
        {
            // Nobody waits for that, and it is looked again.
            self.look_no_longer();
        }
        match *message {
            OrderMessage::Place {
                place,
                request,
                caller,
            } => self.place(shard, place, request, caller),
            OrderMessage::Await { caller } => self.wait(shard, caller),
            OrderMessage::Unhold { .. }
            | OrderMessage::Change { .. }
            | OrderMessage::Tell { .. }
            | OrderMessage::Archive
                if self.stage != Stage::Idle =>
            {
                self.hurry(shard);
                self.stash.push_back(message);
            }
            OrderMessage::Unhold {
                owner,
                command,
                request,
                caller,
            } => {
                let asked = Asked {
                    owner,
                    command,
                    request,
                    caller,
                };
                self.unhold_by(shard, asked);
            }
            OrderMessage::Change {
                owner,
                command,
                request,
                caller,
            } => self.change(shard, owner.as_ref(), &command, request, caller),
            OrderMessage::Tell { command } => self.told(shard, &command),
            OrderMessage::HearBackorders => self.look(shard),
            OrderMessage::Archive => self.leave(shard),
            OrderMessage::Resume => {}
            // Another life's question or record means nothing to this one.
            OrderMessage::Answer { decider, .. }
            | OrderMessage::Failed { decider, .. }
            | OrderMessage::Placed { decider }
            | OrderMessage::Complete { decider }
            | OrderMessage::Settled { decider }
            | OrderMessage::Again { decider, .. }
                if decider != self.life.decider => {}
            OrderMessage::Placed { .. } => {
                self.birth = Birth::Committed;
                // (What waits is told when it is recorded.)
                let waits = self
                    .order
                    .as_ref()
                    .is_some_and(|order| !order.backorder_news().is_empty());
                if self.stage == Stage::Settling && !waits {
                    self.answer_confirmed();
                }
            }
            OrderMessage::Answer { step, result, .. } => self.answered(shard, step, result),
            OrderMessage::Again { step, .. } if self.waits_for(&step) => self.ask(shard, step),
            OrderMessage::Again { .. } => {}
            OrderMessage::Complete { .. } => self.complete(shard),
            OrderMessage::Settled { .. } => {
                self.stage = Stage::Idle;
                self.go_on(shard);
                // Those that came while the last event was on its way.
                for caller in std::mem::take(&mut self.callers) {
                    self.wait(shard, caller);
                }
            }
            OrderMessage::Failed { failure, .. } => self.failed(shard, failure),
        }
    }

    /// Of the shard's leaderships, the one in which its life began.
    pub(crate) fn era(&self) -> Era {
        self.life.era
    }

    fn push_events(&self, record: &mut Record, from: Version, events: Vec<OrderEvent>) {
        push_order_events(record, (self.id, self.life.decider), from, events);
    }

    /// Carries the order's own events of a record into the speculative state.
    fn evolve(&mut self, shard: &Arc<Shard>, record: &Record) -> &Order {
        for event in &record.events {
            let Fact::Order(_, fact) = &event.fact else {
                continue;
            };
            self.evolve_by(shard, fact, record.time, record.origin.as_ref());
        }
        match &self.order {
            Some(order) => order,
            None => shard.broken(&docket_engine::Broken {
                entity: self.id.to_string(),
                why: "it has no first event",
            }),
        }
    }

    fn evolve_by(&mut self, shard: &Arc<Shard>, event: &OrderEvent, at: Time, origin: Option<&PackedOrigin>) {
        let evolved = match &mut self.order {
            Some(order) => {
                let order = Arc::make_mut(order);
                order.evolve(event, at).map(|()| order.note(event, at, origin))
            }
            None => Order::create(self.id, event, at).map(|mut order| {
                order.note(event, at, origin);
                self.order = Some(Arc::new(order));
            }),
        };
        evolved.unwrap_or_else(|broken| shard.broken(&broken));
    }
}

/// Puts events of an order into a record, as decided in this life of it.
pub(crate) fn push_order_events(
    record: &mut Record,
    (id, decider): (OrderId, Decider),
    from: Version,
    events: Vec<OrderEvent>,
) {
    let mut version = from;
    for event in events {
        version = version.next();
        record.events.push(Event {
            version,
            decider,
            fact: Fact::Order(id, event),
        });
    }
}
