//! What an order asks of its customer and of its items, and what it makes of the answers: whose turn it is then, whether
//! a question is asked again, and when it is given up.

use std::{sync::Arc, time::Duration};

use docket_engine::{
    Decision, Effect, ItemCommand, OrderEvent, Quantity, Record, Rejection, Return, Sku, Version, order,
    steering::Flag,
};
use docket_traces::Scope;

use super::{Birth, OrderEntity, Placing, Stage, Tally};
use crate::{
    docket::PANICS_MAX,
    entity::{
        customer::{CustomerMessage, Hold},
        item::ItemMessage,
    },
    reply::{Answered, Ask, Caller, Deadline, Failure, Step, StepError},
    shard::Shard,
};

/// How often an order asks one question again before it gives its callers up; it is taken up again later.
const ASKS_MAX: u32 = 64;
/// How long it waits before it asks a shard again that has no leader: the first few times, and after that. All together as long as a
/// few elections.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
const ASKS_SOON: u32 = 16;
const ASK_AGAIN_LATER: Duration = Duration::from_millis(200);

/// How often a question was asked again, and how often it made whoever was asked panic.
pub(super) struct Repeats {
    step: Step,
    asked: u32,
    panics: u32,
}

impl OrderEntity {
    pub(super) fn ask_items(&mut self, shard: &Arc<Shard>, effects: Vec<Effect>) {
        self.answers.clear();
        self.repeats.clear();
        self.awaiting = effects.len();
        for effect in effects {
            match effect {
                // An earlier life has seen to it, and may have answered so.
                Effect::ReserveStock { sku, .. }
                    if self.birth == Birth::Elsewhere
                        && let Some(waiting) = shard.has_reserved(self.id, &sku) =>
                {
                    self.take_answer(sku, || Ok(waiting));
                }
                Effect::ReserveStock { sku, currency, lines } => {
                    let command = ItemCommand::Reserve {
                        order: self.id,
                        currency,
                        lines,
                    };
                    self.ask_item(shard, Step::Reserve(sku.clone()), sku, command);
                }
                Effect::ReleaseStock { sku, remaining } => {
                    let order = self.id;
                    let command = ItemCommand::Release { order, remaining };
                    self.ask_item(shard, Step::Release(sku.clone()), sku, command);
                }
                Effect::RaiseStock { sku, line, quantity } => {
                    let order = self.id;
                    let command = ItemCommand::Raise {
                        order,
                        line,
                        quantity,
                    };
                    self.ask_item(shard, self.raise(sku.clone()), sku, command);
                }
                Effect::ConsumeStock { sku, remaining } => {
                    let order = self.id;
                    let command = ItemCommand::Consume { order, remaining };
                    self.ask_item(shard, Step::Consume(sku.clone()), sku, command);
                }
                Effect::RestockStock {
                    sku,
                    number,
                    quantity,
                } => self.ask_restock(shard, sku, number, quantity),
                // The customer is asked in one record with the order's own event.
                Effect::HoldCredit { .. }
                | Effect::ReleaseCredit { .. }
                | Effect::CaptureCredit { .. }
                | Effect::RefundCredit { .. } => {
                    self.awaiting -= 1;
                }
            }
        }
        if self.stage == Stage::Reserving && self.answers.len() == self.awaiting {
            self.settle(shard);
        }
    }

    /// Asks the customer for a hold, and to ask the items when it has it.
    pub(super) fn ask_hold(&mut self, shard: &Arc<Shard>, placing: &Placing, decision: Decision<OrderEvent>) {
        let hold = self.hold(shard, placing, decision);
        shard.tell_customer(&placing.place.customer, hold);
    }

    /// The question for a hold.
    /// Where spans of what is done for who waits belong.
    fn scope(&self) -> Option<&Scope> {
        self.callers.iter().find_map(Caller::scope)
    }

    pub(super) fn hold(
        &mut self,
        shard: &Arc<Shard>,
        placing: &Placing,
        decision: Decision<OrderEvent>,
    ) -> CustomerMessage {
        let mut record = Record {
            time: placing.time,
            // The customer's own comes behind it.
            events: Vec::with_capacity(2),
            request: placing.request,
            unchanged: None,
            origin: placing.origin.clone(),
        };
        self.push_events(&mut record, Version::default(), decision.events);
        let effects = decision.effects;
        let is_item = |effect: &&Effect| matches!(effect, Effect::ReserveStock { .. });
        let items = effects.iter().filter(is_item).count();
        let tally = Arc::new(Tally::new(items).traced(self.scope()));
        self.tally = Some(tally.clone());
        CustomerMessage::Hold(Hold {
            ask: Ask::new(shard.clone(), self.id, self.life.decider, Step::Hold),
            deadline: Deadline::latest(&self.callers),
            place: placing.place.clone(),
            effects,
            tally,
            record,
        })
    }

    /// Asks an item how much of what it has promised waits.
    pub(super) fn ask_waiting(&self, shard: &Arc<Shard>, sku: Sku) {
        let edit = self.edits();
        let step = Step::Waiting {
            sku: sku.clone(),
            edit,
        };
        let ask = Ask::new(shard.clone(), self.id, self.life.decider, step);
        shard.tell_item(sku, Box::new(ItemMessage::Waiting { ask }));
    }

    fn ask_item(&self, shard: &Arc<Shard>, step: Step, sku: Sku, command: ItemCommand) {
        let ask = Ask::new(shard.clone(), self.id, self.life.decider, step).edited(self.edits());
        let ask = ask.traced(self.scope());
        let wants_more = matches!(command, ItemCommand::Reserve { .. } | ItemCommand::Raise { .. });
        let ask = match &self.order {
            Some(order) if wants_more => {
                ask.only_there(!shard.flags().is_on_for(Flag::Backorders, &order.customer))
            }
            _ => ask,
        };
        shard.tell_item(sku, Box::new(ItemMessage::Ask { ask, command }));
    }

    fn ask_restock(&self, shard: &Arc<Shard>, sku: Sku, number: u32, quantity: Quantity) {
        let ask = Ask::new(
            shard.clone(),
            self.id,
            self.life.decider,
            Step::Restock(sku.clone()),
        );
        let found = self.order.as_ref().and_then(|order| order.return_of(number));
        let message = ItemMessage::Restock {
            ask,
            number,
            quantity,
            received: found.and_then(Return::received).unwrap_or_default(),
        };
        shard.tell_item(sku, Box::new(message));
    }

    /// Asks one question, again or for the first time.
    pub(super) fn ask(&mut self, shard: &Arc<Shard>, step: Step) {
        match step {
            Step::Wake => {
                let Some(order) = &self.order else { return };
                let ask = Ask::new(shard.clone(), self.id, self.life.decider, Step::Wake);
                shard.tell_customer(&order.customer, CustomerMessage::Wake { ask });
            }
            Step::Hold => {
                let Some(placing) = self.placing.take() else {
                    return;
                };
                // It was decided before, with the same outcome.
                if let Ok(decision) = order::decide(None, &placing.place.command()) {
                    self.ask_hold(shard, &placing, decision);
                }
                self.placing = Some(placing);
            }
            Step::Unhold => {
                let (Some(order), Some(unholding)) = (&self.order, &self.unholding) else {
                    return;
                };
                let message = CustomerMessage::Unhold {
                    ask: Ask::new(shard.clone(), self.id, self.life.decider, Step::Unhold)
                        .traced(self.scope()),
                    // A refused order, or edit, gives back what it holds, whoever waits.
                    deadline: match unholding.is_asked_for {
                        true => Deadline::latest(&self.callers),
                        false => Deadline::NEVER,
                    },
                    command: unholding.command.clone(),
                    record: unholding.record.clone(),
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
            Step::Raise { sku, .. } => {
                let Some(order) = &self.order else { return };
                let effect = order::open_effects(order)
                    .into_iter()
                    .find(|effect| matches!(effect, Effect::RaiseStock { sku: s, .. } if *s == sku));
                if let Some(Effect::RaiseStock { sku, line, quantity }) = effect {
                    let command = ItemCommand::Raise {
                        order: self.id,
                        line,
                        quantity,
                    };
                    self.ask_item(shard, self.raise(sku.clone()), sku, command);
                }
            }
            Step::Release(sku) => {
                let Some(order) = &self.order else { return };
                let command = ItemCommand::Release {
                    order: self.id,
                    remaining: order.open_of(&sku),
                };
                self.ask_item(shard, Step::Release(sku.clone()), sku, command);
            }
            Step::Restock(sku) => {
                let Some(order) = &self.order else { return };
                let effect = order::open_effects(order)
                    .into_iter()
                    .find(|effect| matches!(effect, Effect::RestockStock { sku: s, .. } if *s == sku));
                if let Some(Effect::RestockStock {
                    sku,
                    number,
                    quantity,
                }) = effect
                {
                    self.ask_restock(shard, sku, number, quantity);
                }
            }
            Step::Waiting { sku, .. } => self.ask_waiting(shard, sku),
            Step::Consume(sku) => {
                let Some(order) = &self.order else { return };
                let command = ItemCommand::Consume {
                    order: self.id,
                    remaining: order.open_of(&sku),
                };
                self.ask_item(shard, Step::Consume(sku.clone()), sku, command);
            }
        }
    }

    pub(super) fn answered(&mut self, shard: &Arc<Shard>, step: Step, result: Answered) {
        if let Step::Reserve(_) = step {
            self.break_up(shard);
        }
        match result {
            Err(StepError::Failed(Failure::Expired)) => return self.expired(shard, step),
            Err(StepError::Failed(failure)) => return self.ask_again(shard, step, failure),
            _ => {}
        }
        match (self.stage, step) {
            (Stage::Waking, Step::Wake) => self.awake(shard),
            (Stage::Holding, Step::Hold) => {
                if let Err(error) = result {
                    self.not_held(shard, error);
                }
            }
            (Stage::Reserving, Step::Reserve(sku)) => {
                let (id, item) = (self.id, sku.clone());
                let answer = || match result {
                    Ok(waiting) => Ok(waiting),
                    // It panicked, but after it had reserved: then the order has what it asked for.
                    Err(StepError::Rejected(rejection)) => shard.has_reserved(id, &item).ok_or(rejection),
                    Err(_) => Ok(Quantity::ZERO),
                };
                if self.take_answer(sku, answer) && self.answers.len() == self.awaiting {
                    self.settle(shard);
                }
            }
            (Stage::Raising, Step::Raise { sku, edit }) if edit == self.edits() => {
                let answer = || match result {
                    Ok(waiting) => Ok(waiting),
                    Err(StepError::Rejected(rejection)) => Err(rejection),
                    Err(_) => Ok(Quantity::ZERO),
                };
                if self.take_answer(sku, answer) && self.answers.len() == self.awaiting {
                    self.raised(shard);
                }
            }
            (Stage::Hearing, Step::Waiting { sku, edit }) if edit == self.edits() => {
                let Ok(waiting) = result else { return };
                if self.take_answer(sku, || Ok(waiting)) && self.answers.len() == self.awaiting {
                    self.heard(shard);
                }
            }
            (Stage::Unholding, Step::Unhold) => self.unheld(shard, result),
            // It believed more to be there than there is, which must not be: nothing is called done that is not, and it is asked again.
            (Stage::Releasing, Step::Consume(sku))
                if matches!(
                    &result,
                    Err(StepError::Rejected(Rejection::QuantityBackordered { .. }))
                ) =>
            {
                metrics::counter!("docket_shipments_not_there_total").increment(1);
                tracing::error!(order = %self.id, %sku, "what was sent is not there: an invariant is broken");
                self.failed(shard, Failure::Poison);
            }
            // Else an item can refuse only what its stock cannot add up to, and of that nobody has so much.
            (Stage::Releasing, Step::Release(sku) | Step::Consume(sku) | Step::Restock(sku)) => {
                let is_new = self.take_answer(sku, || Ok(Quantity::ZERO));
                if is_new && self.answers.len() == self.awaiting {
                    self.released(shard);
                }
            }
            // An answer to a question that was asked twice.
            _ => {}
        }
    }

    /// Notes an item's first answer, where its name belongs: an order of many lines has many. False where it had answered.
    pub(super) fn take_answer(
        &mut self,
        sku: Sku,
        answer: impl FnOnce() -> Result<Quantity, Rejection>,
    ) -> bool {
        let place = self.answers.binary_search_by(|(answered, _)| answered.cmp(&sku));
        let Err(place) = place else { return false };
        self.answers.insert(place, (sku, answer()));
        true
    }

    /// Whether such a question is under way.
    pub(super) fn waits_for(&self, step: &Step) -> bool {
        match step {
            Step::Raise { edit, .. } => return self.stage == Stage::Raising && *edit == self.edits(),
            Step::Waiting { edit, .. } => return self.stage == Stage::Hearing && *edit == self.edits(),
            _ => {}
        }
        matches!(
            (self.stage, step),
            (Stage::Waking, Step::Wake)
                | (Stage::Holding, Step::Hold)
                | (Stage::Reserving, Step::Reserve(_))
                | (Stage::Unholding, Step::Unhold)
                | (
                    Stage::Releasing,
                    Step::Release(_) | Step::Consume(_) | Step::Restock(_)
                )
        )
    }

    /// The customer came to the question too late, and did nothing. So nothing of the placing, cancelling or shipping is in the log.
    fn expired(&mut self, shard: &Arc<Shard>, step: Step) {
        if !self.waits_for(&step) {
            return;
        }
        if !Deadline::latest(&self.callers).has_passed() {
            // Somebody came since who has more time.
            return self.ask(shard, step);
        }
        (self.placing, self.unholding, self.tally) = (None, None, None);
        (self.stage, self.unheld_for) = (Stage::Idle, false);
        for caller in std::mem::take(&mut self.callers) {
            caller.fail(Failure::Expired);
        }
    }

    fn ask_again(&mut self, shard: &Arc<Shard>, step: Step, failure: Failure) {
        if !self.waits_for(&step) {
            return;
        }
        if matches!(step, Step::Waiting { .. }) && self.hearing.is_none() {
            return self.look_no_longer();
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
                let after = match asked <= ASKS_SOON {
                    true => ASK_AGAIN_AFTER,
                    false => ASK_AGAIN_LATER,
                };
                shard.tell_order_later(self.id, self.life.decider, step, after);
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
        if let Step::Raise { sku, .. } = step {
            return self.cannot_be_raised(shard, sku);
        }
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
            .flat_map(|order| order.lines.iter())
            .position(|line| line.sku == *sku);
        // What the item has put into the log before it panicked is to be seen first.
        let ask = Ask::new(shard.clone(), self.id, self.life.decider, step.clone());
        shard.give_item_up(sku, line.unwrap_or_default() as u16, ask);
    }
}
