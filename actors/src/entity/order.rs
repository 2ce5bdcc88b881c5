//! An order's actor: the process that takes an order from its placing to its settlement, and through its cancelling.
//!
//! ```text
//!            Place                       Hold ok                    all reserved
//!   Idle ────────────▶ Holding ─────────────────────▶ Reserving ──────────────▶ Settling ──▶ Idle (CONFIRMED)
//!                        │ no credit: REJECTED            │ an item refused
//!                        ▼                                ▼
//!                      Idle               Cancel ──▶ Unholding ──▶ Releasing ──▶ Idle (REJECTED, CANCELLED)
//! ```
//!
//! The order's first event goes into the log together with its customer's hold, and its items are asked while that is on
//! its way to the disk: what they reserve is only kept if the order comes to be (see `reconcile`).
//!
//! **When an order is confirmed.** As soon as its first event and all of its reservations are committed: from then on
//! nothing can refuse it, since whoever decides for it next finds every reservation made. So its caller is answered then,
//! one commit after it asked, and the event that says CONFIRMED is recorded behind that (`Order::confirmed`). Reads look
//! at the reservations of an order that is still pending (`Router::confirmed`), so that nobody ever sees less than what was
//! answered. Only the life that placed the order answers so: nobody else can have decided about it. A later life, which
//! takes up what a crash or a panic left half-way, first waits until all that may have been decided before is in the log,
//! and answers when its own record is.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_engine::{
    Amount, CustomerId, Decider, Effect, EntityId, Event, Fact, ItemCommand, Order, OrderCommand, OrderEvent,
    OrderId, OrderState, Record, Rejection, Request, Sku, Version, order,
};

use super::{customer::CustomerMessage, item::ItemMessage};
use crate::{
    docket::{PANICS_MAX, PlaceOrder},
    host::Entity,
    proposer::After,
    reply::{Ask, Caller, Deadline, Failure, Reply, Step, StepError},
    residents::Residents,
    shard::{Life, Shard},
};

/// How often an order asks one question again before it gives its callers up; it is taken up again later.
const ASKS_MAX: u32 = 64;
/// How long it waits before it asks a shard again that has no leader.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

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
    /// Be cancelled.
    Cancel {
        owner: Option<CustomerId>,
        expected: Option<Version>,
        request: Option<Request>,
        caller: Caller,
    },
    /// Carry on with what is open.
    Resume,
    /// The answer to a question.
    Answer {
        decider: Decider,
        step: Step,
        result: Result<(), StepError>,
    },
    /// Ask again.
    Again { decider: Decider, step: Step },
    /// Its first event is committed, as decided in this life.
    Placed { decider: Decider },
    /// What settled the order is committed.
    Settled,
    /// What this life of the order put into the log was not taken.
    Failed { decider: Decider, failure: Failure },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is under way.
    Idle,
    /// What earlier lives put into the log is waited for.
    Waking,
    /// The customer was asked for a hold.
    Holding,
    /// The items were asked to reserve.
    Reserving,
    /// The customer was asked to take its hold back.
    Unholding,
    /// The items were asked to release.
    Releasing,
    /// The event that settles the order is on its way into the log.
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

/// An order and what it is waiting for.
pub(crate) struct OrderEntity {
    id: OrderId,
    order: Option<Order>,
    stage: Stage,
    /// What is being placed, while `order` is not there yet.
    placing: Option<(Arc<PlaceOrder>, Record)>,
    /// Who waits for the settlement.
    callers: Vec<Caller>,
    /// Who waits for the order to be cancelled.
    cancelling: bool,
    /// What this life knows of the first event: see the module.
    birth: Birth,
    answers: Vec<(Sku, Result<(), Rejection>)>,
    awaiting: usize,
    /// The questions of this stage that were asked again.
    repeats: Vec<Repeats>,
    /// What the customer puts into the log for the order, kept to ask again.
    unholding: Option<Record>,
    stash: VecDeque<OrderMessage>,
    life: Life,
}

/// How often a question was asked again, and how often it made whoever was asked panic.
struct Repeats {
    step: Step,
    asked: u32,
    panics: u32,
}

impl Entity for OrderEntity {
    type Key = OrderId;
    type Message = OrderMessage;
    const KIND: &'static str = "order";

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

    fn handle(&mut self, shard: &Arc<Shard>, message: OrderMessage) {
        // Whoever wants something of the order has it carry on; an answer that comes too late has not.
        if let OrderMessage::Place { .. }
        | OrderMessage::Await { .. }
        | OrderMessage::Cancel { .. }
        | OrderMessage::Resume = message
        {
            self.resume(shard);
        }
        match message {
            OrderMessage::Place {
                place,
                request,
                caller,
            } => self.place(shard, place, request, caller),
            OrderMessage::Await { caller } => self.wait(shard, caller),
            OrderMessage::Cancel { .. } if self.stage != Stage::Idle => {
                self.hurry(shard);
                self.stash.push_back(message);
            }
            OrderMessage::Cancel {
                owner,
                expected,
                request,
                caller,
            } => {
                self.cancel(shard, owner.as_ref(), expected, request, caller);
            }
            OrderMessage::Resume => {}
            // Another life's question or record means nothing to this one.
            OrderMessage::Answer { decider, .. }
            | OrderMessage::Failed { decider, .. }
            | OrderMessage::Placed { decider }
            | OrderMessage::Again { decider, .. }
                if decider != self.life.decider => {}
            OrderMessage::Placed { .. } => {
                self.birth = Birth::Committed;
                if self.stage == Stage::Settling {
                    self.answer_confirmed();
                }
            }
            OrderMessage::Answer { step, result, .. } => self.answered(shard, step, result),
            OrderMessage::Again { step, .. } if self.waits_for(&step) => self.ask(shard, step),
            OrderMessage::Again { .. } => {}
            OrderMessage::Settled => {
                self.stage = Stage::Idle;
                // Those that came while the last event was on its way.
                for caller in std::mem::take(&mut self.callers) {
                    self.wait(shard, caller);
                }
            }
            OrderMessage::Failed { failure, .. } => self.failed(shard, failure),
        }
        while self.stage == Stage::Idle
            && let Some(message) = self.stash.pop_front()
        {
            self.handle(shard, message);
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
    /// The order as it is committed, with nothing under way.
    fn committed(shard: &Arc<Shard>, id: OrderId) -> Self {
        // Before the state is read: what changes in between ends the life.
        let life = shard.begin_life();
        let order = shard
            .committed()
            .orders
            .get(&id)
            .map(|order| Order::clone(&order));
        Self {
            id,
            order,
            stage: Stage::Idle,
            placing: None,
            callers: Vec::new(),
            cancelling: false,
            birth: Birth::Elsewhere,
            answers: Vec::new(),
            awaiting: 0,
            repeats: Vec::new(),
            unholding: None,
            stash: VecDeque::new(),
            life,
        }
    }

    fn place(
        &mut self,
        shard: &Arc<Shard>,
        place: Arc<PlaceOrder>,
        request: Option<Request>,
        caller: Caller,
    ) {
        if self.order.is_some() || self.stage != Stage::Idle {
            return self.wait(shard, caller);
        }
        if caller.is_expired() {
            return caller.fail(Failure::Expired);
        }
        let command = OrderCommand::Place {
            customer: place.customer.clone(),
            currency: place.currency,
            lines: place.lines.clone(),
        };
        match order::decide(None, &command) {
            Ok(decision) => {
                let mut record = Record {
                    time: shard.now(),
                    events: Vec::with_capacity(2),
                    request,
                    unchanged: None,
                };
                self.push_events(&mut record, Version::default(), decision.events);
                self.placing = Some((place, record));
                self.callers.push(caller);
                self.birth = Birth::Decided;
                self.stage = Stage::Holding;
                self.ask(shard, Step::Hold);
            }
            Err(rejection) => shard.answer(self.life, caller, Reply::Rejected(rejection)),
        }
    }

    /// Answers a caller when the order has settled, with what its placing led to.
    fn wait(&mut self, shard: &Arc<Shard>, caller: Caller) {
        if self.stage != Stage::Idle {
            // While it is being cancelled, what its placing led to is known already.
            match shard.committed().first_settled(self.id) {
                Some(settled) => shard.answer(self.life, caller, placed_reply(&settled)),
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
                    .unwrap_or_else(|| Arc::new(order.clone()));
                shard.answer(self.life, caller, placed_reply(&settled));
            }
            None => shard.answer(
                self.life,
                caller,
                Reply::Rejected(Rejection::OrderNotFound { order: self.id }),
            ),
        }
    }

    fn cancel(
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
        if caller.is_expired() {
            return caller.fail(Failure::Expired);
        }
        let stored = request.and_then(|request| {
            shard
                .committed()
                .requests
                .get(&request.key)
                .map(|stored| stored.fingerprint == request.fingerprint)
        });
        match stored {
            Some(true) => return shard.answer(self.life, caller, Reply::Order(Arc::new(order.clone()))),
            Some(false) => {
                return shard.answer(self.life, caller, Reply::Rejected(Rejection::RequestIdReused));
            }
            None => {}
        }
        match order::decide(Some(order), &OrderCommand::Cancel { expected }) {
            Ok(decision) if decision.events.is_empty() => {
                let of = (EntityId::Order(self.id), order.version);
                let reply = Reply::Order(Arc::new(order.clone()));
                shard.answer_unchanged(self.life, of, request, caller, reply);
            }
            Ok(decision) => {
                self.callers.push(caller);
                self.cancelling = true;
                self.unhold(shard, decision.events, request);
            }
            Err(rejection) => shard.answer(self.life, caller, Reply::Rejected(rejection)),
        }
    }

    /// Carries on with what the order still has to ask of others, once it is known how far earlier lives came.
    fn resume(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        if self.stage != Stage::Idle || order.is_settled() {
            return;
        }
        self.stage = Stage::Waking;
        self.ask(shard, Step::Wake);
    }

    /// Nothing of an earlier life is on its way any more: what is committed now is what there is.
    fn awake(&mut self, shard: &Arc<Shard>) {
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
        self.stage = if order.state == OrderState::Pending {
            Stage::Reserving
        } else {
            Stage::Releasing
        };
        self.ask_items(shard, effects);
    }

    fn ask_items(&mut self, shard: &Arc<Shard>, effects: Vec<Effect>) {
        self.answers.clear();
        self.repeats.clear();
        self.awaiting = effects.len();
        for effect in effects {
            match effect {
                // An earlier life has seen to it, and may have answered so.
                Effect::ReserveStock { sku, .. }
                    if self.birth == Birth::Elsewhere && shard.has_reserved(self.id, &sku) =>
                {
                    self.answers.push((sku, Ok(())));
                }
                Effect::ReserveStock { sku, currency, lines } => {
                    let command = ItemCommand::Reserve {
                        order: self.id,
                        currency,
                        lines,
                    };
                    self.ask_item(shard, Step::Reserve(sku.clone()), sku, command);
                }
                Effect::ReleaseStock { sku } => {
                    let command = ItemCommand::Release { order: self.id };
                    self.ask_item(shard, Step::Release(sku.clone()), sku, command);
                }
                // The customer is asked in one record with the order's own event.
                Effect::HoldCredit { .. } | Effect::ReleaseCredit { .. } => self.awaiting -= 1,
            }
        }
        if self.stage == Stage::Reserving && self.answers.len() == self.awaiting {
            self.settle(shard);
        }
    }

    fn ask_item(&self, shard: &Arc<Shard>, step: Step, sku: Sku, command: ItemCommand) {
        let ask = Ask::new(shard.clone(), self.id, self.life.decider, step);
        shard.tell_item(sku, ItemMessage::Ask { ask, command });
    }

    /// Asks one question, again or for the first time.
    fn ask(&mut self, shard: &Arc<Shard>, step: Step) {
        match step {
            Step::Wake => {
                let Some(order) = &self.order else { return };
                let ask = Ask::new(shard.clone(), self.id, self.life.decider, Step::Wake);
                shard.tell_customer(&order.customer, CustomerMessage::Wake { ask });
            }
            Step::Hold => {
                let Some((place, record)) = &self.placing else {
                    return;
                };
                let amount = order::total(&place.lines).unwrap_or(Amount::ZERO);
                let message = CustomerMessage::Hold {
                    ask: Ask::new(shard.clone(), self.id, self.life.decider, Step::Hold),
                    deadline: Deadline::latest(&self.callers),
                    amount,
                    currency: place.currency,
                    record: record.clone(),
                };
                shard.tell_customer(&place.customer, message);
            }
            Step::Unhold => {
                let (Some(order), Some(record)) = (&self.order, &self.unholding) else {
                    return;
                };
                let message = CustomerMessage::Unhold {
                    ask: Ask::new(shard.clone(), self.id, self.life.decider, Step::Unhold),
                    // A refused order gives back what it holds, whoever waits.
                    deadline: match self.cancelling {
                        true => Deadline::latest(&self.callers),
                        false => Deadline::NEVER,
                    },
                    amount: order.total,
                    record: record.clone(),
                };
                shard.tell_customer(&order.customer, message);
            }
            Step::Reserve(sku) => {
                let Some(order) = &self.order else { return };
                let effect = order::open_effects(order)
                    .into_iter()
                    .find(|effect| matches!(effect, Effect::ReserveStock { sku: s, .. } if *s == sku));
                if let Some(Effect::ReserveStock { sku, currency, lines }) = effect {
                    let command = ItemCommand::Reserve {
                        order: self.id,
                        currency,
                        lines,
                    };
                    self.ask_item(shard, Step::Reserve(sku.clone()), sku, command);
                }
            }
            Step::Release(sku) => {
                let command = ItemCommand::Release { order: self.id };
                self.ask_item(shard, Step::Release(sku.clone()), sku, command);
            }
        }
    }

    fn answered(&mut self, shard: &Arc<Shard>, step: Step, result: Result<(), StepError>) {
        match result {
            Err(StepError::Failed(Failure::Expired)) => return self.expired(shard, step),
            Err(StepError::Failed(failure)) => return self.ask_again(shard, step, failure),
            _ => {}
        }
        match (self.stage, step) {
            (Stage::Waking, Step::Wake) => self.awake(shard),
            (Stage::Holding, Step::Hold) => self.held(shard, result),
            (Stage::Reserving, Step::Reserve(sku)) => {
                if self.answers.iter().any(|(answered, _)| *answered == sku) {
                    return;
                }
                let answer = match result {
                    // It panicked, but after it had reserved: then the order has what it asked for.
                    Err(StepError::Rejected(_)) if shard.has_reserved(self.id, &sku) => Ok(()),
                    Err(StepError::Rejected(rejection)) => Err(rejection),
                    _ => Ok(()),
                };
                self.answers.push((sku, answer));
                if self.answers.len() == self.awaiting {
                    self.settle(shard);
                }
            }
            (Stage::Unholding, Step::Unhold) => self.unheld(shard, result),
            (Stage::Releasing, Step::Release(sku)) => {
                if self.answers.iter().any(|(answered, _)| *answered == sku) {
                    return;
                }
                self.answers.push((sku, Ok(())));
                if self.answers.len() == self.awaiting {
                    self.released(shard);
                }
            }
            // An answer to a question that was asked twice.
            _ => {}
        }
    }

    /// The customer has answered.
    fn held(&mut self, shard: &Arc<Shard>, result: Result<(), StepError>) {
        let Some((place, mut record)) = self.placing.take() else {
            return;
        };
        let rejection = match result {
            Ok(()) => {
                let order = self.evolve(shard, &record);
                let effects = order::open_effects(order);
                self.stage = Stage::Reserving;
                return self.ask_items(shard, effects);
            }
            Err(StepError::Duplicate(order)) => return self.dismiss(shard, Reply::Elsewhere(order), None),
            Err(StepError::Rejected(
                rejection @ (Rejection::CustomerNotFound { .. } | Rejection::RequestIdReused),
            )) => return self.dismiss(shard, Reply::Rejected(rejection), None),
            Err(StepError::Rejected(rejection)) => rejection,
            // Failures are asked again, before this.
            Err(StepError::Failed(_)) => return,
        };
        let command = OrderCommand::Refuse {
            customer: place.customer.clone(),
            currency: place.currency,
            lines: place.lines.clone(),
            rejection,
        };
        match order::decide(None, &command) {
            Ok(decision) => {
                record.events.clear();
                self.push_events(&mut record, Version::default(), decision.events);
                self.evolve(shard, &record);
                self.settle_with(shard, record);
            }
            Err(rejection) => self.dismiss(shard, Reply::Rejected(rejection), None),
        }
    }

    /// Answers all callers of an order that does not come to be.
    fn dismiss(&mut self, shard: &Arc<Shard>, reply: Reply, settled: Option<OrderId>) {
        self.stage = Stage::Idle;
        self.cancelling = false;
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

    /// All items have answered.
    fn settle(&mut self, shard: &Arc<Shard>) {
        let Some(order) = &self.order else { return };
        let answers = std::mem::take(&mut self.answers);
        let Ok(decision) = order::decide(Some(order), &OrderCommand::Settle { answers }) else {
            return;
        };
        if decision.effects.is_empty() {
            let mut record = Record {
                time: shard.now(),
                events: Vec::with_capacity(1),
                request: None,
                unchanged: None,
            };
            self.push_events(&mut record, order.version, decision.events);
            self.evolve(shard, &record);
            match self.birth {
                Birth::Elsewhere => self.settle_with(shard, record),
                Birth::Decided => self.record_confirmation(shard, record),
                Birth::Committed => {
                    self.record_confirmation(shard, record);
                    self.answer_confirmed();
                }
            }
        } else {
            self.unhold(shard, decision.events, None);
        }
    }

    /// Submits the event that says what is true already, or will be when the order's first event is committed.
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
    fn answer_confirmed(&mut self) {
        let mut callers = std::mem::take(&mut self.callers).into_iter();
        if let Some(last) = callers.next_back() {
            let reply = self.reply();
            callers.for_each(|caller| caller.answer(reply.clone()));
            last.answer(reply);
        }
    }

    /// Somebody waits for what is being recorded: it is not to wait for company any longer.
    fn hurry(&self, shard: &Arc<Shard>) {
        if self.stage == Stage::Settling {
            let after = After::Answer {
                callers: Vec::new(),
                reply: Reply::Elsewhere(self.id),
                settled: None,
            };
            shard.barrier(self.life, after);
        }
    }

    /// Puts the order's events into the log, with its customer's release of the hold.
    fn unhold(&mut self, shard: &Arc<Shard>, events: Vec<OrderEvent>, request: Option<Request>) {
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
    fn unheld(&mut self, shard: &Arc<Shard>, result: Result<(), StepError>) {
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
    fn released(&mut self, shard: &Arc<Shard>) {
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

    /// Submits the record that settles the order; its callers are answered when it is committed.
    fn settle_with(&mut self, shard: &Arc<Shard>, record: Record) {
        let reply = self.reply();
        self.cancelling = false;
        self.stage = Stage::Settling;
        let callers = std::mem::take(&mut self.callers);
        let after = After::Answer {
            callers,
            reply,
            settled: Some(self.id),
        };
        shard.submit(self.life, record, after);
    }

    fn reply(&self) -> Reply {
        match &self.order {
            Some(order) if self.cancelling => Reply::Order(Arc::new(order.clone())),
            Some(order) => placed_reply(&Arc::new(order.clone())),
            None => Reply::Rejected(Rejection::OrderNotFound { order: self.id }),
        }
    }

    /// The customer came to the question too late, and did nothing. So nothing of the placing or cancelling is in the log.
    fn expired(&mut self, shard: &Arc<Shard>, step: Step) {
        if !self.waits_for(&step) {
            return;
        }
        if !Deadline::latest(&self.callers).has_passed() {
            // Somebody came since who has more time.
            return self.ask(shard, step);
        }
        (self.placing, self.unholding) = (None, None);
        (self.stage, self.cancelling) = (Stage::Idle, false);
        for caller in std::mem::take(&mut self.callers) {
            caller.fail(Failure::Expired);
        }
    }

    /// Whether such a question is under way.
    fn waits_for(&self, step: &Step) -> bool {
        matches!(
            (self.stage, step),
            (Stage::Waking, Step::Wake)
                | (Stage::Holding, Step::Hold)
                | (Stage::Reserving, Step::Reserve(_))
                | (Stage::Unholding, Step::Unhold)
                | (Stage::Releasing, Step::Release(_))
        )
    }

    fn ask_again(&mut self, shard: &Arc<Shard>, step: Step, failure: Failure) {
        if !self.waits_for(&step) {
            return;
        }
        let repeats = self.repeats(&step);
        repeats.asked += 1;
        repeats.panics += u32::from(failure == Failure::Panicked);
        let (asked, panics) = (repeats.asked, repeats.panics);
        if asked > ASKS_MAX {
            return self.failed(shard, Failure::Unknown);
        }
        // What came back as a conflict or unknown may have been done: for a hold, or its release, only committed state
        // can tell.
        let uncertain = matches!(step, Step::Hold | Step::Unhold) && failure != Failure::Gone;
        if uncertain {
            return self.failed(shard, failure);
        }
        match failure {
            Failure::Panicked if panics >= PANICS_MAX => self.poisoned(shard, step),
            Failure::NotLeader | Failure::Unknown => {
                shard.tell_order_later(self.id, self.life.decider, step, ASK_AGAIN_AFTER);
            }
            _ => self.ask(shard, step),
        }
    }

    /// How often this question was asked again.
    fn repeats(&mut self, step: &Step) -> &mut Repeats {
        let known = self.repeats.iter().position(|repeats| repeats.step == *step);
        let at = known.unwrap_or_else(|| {
            let step = step.clone();
            self.repeats.push(Repeats {
                step,
                asked: 0,
                panics: 0,
            });
            self.repeats.len() - 1
        });
        &mut self.repeats[at]
    }

    /// An item panics over the order again and again.
    fn poisoned(&mut self, shard: &Arc<Shard>, step: Step) {
        metrics::counter!("docket_poison_commands_total").increment(1);
        let Step::Reserve(sku) = &step else {
            // What is reserved must be given back some day: the callers are told, and it is tried again later.
            return self.failed(shard, Failure::Poison);
        };
        if self.birth == Birth::Elsewhere {
            // An earlier life may have answered that it is confirmed.
            return self.failed(shard, Failure::Poison);
        }
        let line = self
            .order
            .iter()
            .flat_map(|order| &order.lines)
            .position(|line| line.sku == *sku);
        let rejection = Rejection::ItemFailed {
            line: line.unwrap_or_default() as u16,
            sku: sku.clone(),
        };
        // What the item has put into the log before it panicked is to be seen first.
        let ask = Ask::new(shard.clone(), self.id, self.life.decider, step.clone());
        let result = Err(StepError::Rejected(rejection));
        shard.answer_behind_item(sku, ask, result);
    }

    /// The order is not what this actor believes: it is thrown away, and its callers ask again.
    fn failed(&mut self, shard: &Arc<Shard>, failure: Failure) {
        // Its earlier events may be in the log.
        let undone = self.order.is_none() || failure != Failure::NotLeader;
        let failure = if undone { failure } else { Failure::Unknown };
        std::mem::take(&mut self.callers)
            .into_iter()
            .for_each(|caller| caller.fail(failure));
        for message in std::mem::take(&mut self.stash) {
            if let OrderMessage::Cancel { caller, .. } = message {
                caller.fail(failure);
            }
        }
        shard.needs_reconciling();
        if matches!(failure, Failure::Panicked | Failure::Poison) && self.order.is_some() {
            shard.setbacks().note(self.id, Instant::now());
        }
        // What is open is taken up again with the next message, or by the chores.
        *self = Self::committed(shard, self.id);
    }

    fn push_events(&self, record: &mut Record, from: Version, events: Vec<OrderEvent>) {
        let mut version = from;
        for event in events {
            version = version.next();
            record.events.push(Event {
                version,
                decider: self.life.decider,
                fact: Fact::Order(self.id, event),
            });
        }
    }

    /// Carries the order's own events of a record into the speculative state.
    fn evolve(&mut self, shard: &Arc<Shard>, record: &Record) -> &Order {
        for event in &record.events {
            let Fact::Order(_, fact) = &event.fact else {
                continue;
            };
            let evolved = match &mut self.order {
                Some(order) => order.evolve(fact, record.time),
                None => Order::create(self.id, fact, record.time).map(|order| self.order = Some(order)),
            };
            evolved.unwrap_or_else(|broken| shard.broken(&broken));
        }
        match &self.order {
            Some(order) => order,
            None => shard.broken(&docket_engine::Broken {
                entity: self.id.to_string(),
                why: "it has no first event",
            }),
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
