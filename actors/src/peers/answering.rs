//! What is answered to other nodes.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use docket_cluster::{Answer, AnswerCalls, Declined, PeerCall};
use docket_engine::{ItemCommand, Quantity, Rejection};
use docket_proto::{
    peer::StepFailure,
    peer_call::{
        ChangesAsk, Consumption, Forward, PageAsk, Reservation, Step, StepAction, StepAnswer, decode_look,
        decode_status_ask, decode_wanted, encode_orphaned, encode_status, kind,
    },
};
use futures::{FutureExt, future::join_all};

use super::{consuming::HearConsumption, forwarding::AnswerForwarded, telling::TellStatus};
use crate::{
    chores,
    entity::item::ItemMessage,
    proposer::After,
    reply::{Ask, Failure, StepError},
    shard::Router,
};

/// Answers the calls of other nodes.
pub(crate) struct Answering {
    /// Weak, since the router has the node, and the node this.
    router: Weak<Router>,
    forwarded: OnceLock<Arc<dyn AnswerForwarded>>,
    status: OnceLock<Arc<TellStatus>>,
    consumption: OnceLock<Arc<HearConsumption>>,
}

impl Answering {
    pub(crate) fn new(router: &Arc<Router>) -> Self {
        Self {
            router: Arc::downgrade(router),
            forwarded: OnceLock::new(),
            status: OnceLock::new(),
            consumption: OnceLock::new(),
        }
    }

    /// Who answers clients' calls that came to other nodes. True if nobody did before.
    pub(crate) fn set_forwarded(&self, answers: Arc<dyn AnswerForwarded>) -> bool {
        self.forwarded.set(answers).is_ok()
    }

    /// Who tells other nodes how this one is. True if nobody did before.
    pub(crate) fn set_status(&self, tell: Arc<TellStatus>) -> bool {
        self.status.set(tell).is_ok()
    }
}

impl Answering {
    /// Who hears what callers have taken at other nodes. True if nobody did before.
    pub(crate) fn set_consumption(&self, hear: Arc<HearConsumption>) -> bool {
        self.consumption.set(hear).is_ok()
    }
}

impl AnswerCalls for Answering {
    fn answer(&self, call: PeerCall) -> Answer {
        let Some(router) = self.router.upgrade() else {
            return Answer::declined("the node is stopping");
        };
        match call.kind {
            kind::STEP => step(&router, call.body),
            kind::WANTED => wanted(router, call.body),
            kind::LOOK => match decode_look(call.body) {
                Ok(()) => {
                    router.shards.iter().for_each(|shard| shard.look_for_orphans());
                    Answer::ready(Ok(Bytes::new()))
                }
                Err(error) => Answer::declined(error),
            },
            kind::PAGE => match PageAsk::decode(call.body) {
                Ok(ask) => works(async move {
                    let page = router.answer_page(ask, call.deadline).await;
                    page.map(|page| page.encode())
                }),
                Err(error) => Answer::declined(error),
            },
            kind::CHANGES => match ChangesAsk::decode(call.body) {
                Ok(ask) => works(async move {
                    let changes = router.answer_changes(ask, call.deadline).await;
                    changes.map(|changes| changes.encode())
                }),
                Err(error) => Answer::declined(error),
            },
            kind::FORWARD => match (self.forwarded.get(), Forward::decode(call.body)) {
                (Some(answers), Ok(forward)) => answers.answer(forward, call.deadline),
                (None, _) => Answer::declined("clients are not served here yet"),
                (_, Err(error)) => Answer::declined(error),
            },
            kind::STATUS => match (self.status.get().cloned(), decode_status_ask(call.body)) {
                (Some(tell), Ok(())) => works(async move {
                    let status = tell().ok_or("the node is stopping");
                    status.map(|status| encode_status(&status))
                }),
                (None, _) => Answer::declined("it is not told here yet how the node is"),
                (_, Err(error)) => Answer::declined(error),
            },
            kind::CONSUMPTION => match (self.consumption.get(), Consumption::decode(call.body)) {
                (Some(hear), Ok(consumption)) => {
                    hear(call.from.0, consumption);
                    Answer::ready(Ok(Bytes::new()))
                }
                (None, _) => Answer::declined("clients are not served here yet"),
                (_, Err(error)) => Answer::declined(error),
            },
            other => Answer::declined(format_args!("calls of kind {other} are not known here")),
        }
    }
}

/// Whatever goes wrong in it, nothing was done.
fn works<E: std::fmt::Display>(answer: impl Future<Output = Result<Bytes, E>> + Send + 'static) -> Answer {
    let answer = answer.map(|answer| answer.map_err(|error| Declined(error.to_string())));
    Answer::Works(answer.boxed())
}

/// An order asks an item. What is asked is handed to the item's actor before this returns.
fn step(router: &Arc<Router>, body: Bytes) -> Answer {
    let step = match Step::decode(body) {
        Ok(step) => step,
        Err(error) => return Answer::declined(error),
    };
    let Step {
        term,
        order,
        sku,
        edits,
        knows_waiting,
        only_there,
        action,
    } = step;
    let shard = Arc::clone(router.of_key(sku.as_str()));
    // Before it is asked who leads: what changes in between ends the life.
    let life = shard.begin_life();
    if !shard.is_leading() || life.era.term != term {
        return Answer::declined(format_args!(
            "shard {} is not led here in term {term}",
            shard.id()
        ));
    }
    let (ask, answered) = Ask::of_node(order, term, knows_waiting);
    let ask = ask.edited(edits).only_there(only_there);
    let gives_up = matches!(action, StepAction::GiveUp { .. });
    match action {
        StepAction::Reserve { currency, lines } => {
            let command = ItemCommand::Reserve {
                order,
                currency,
                lines,
            };
            shard.tell_own_item(&sku, ItemMessage::Ask { ask, command });
        }
        StepAction::Release { remaining } => {
            let command = ItemCommand::Release { order, remaining };
            shard.tell_own_item(&sku, ItemMessage::Ask { ask, command });
        }
        StepAction::Consume { remaining } => {
            let command = ItemCommand::Consume { order, remaining };
            shard.tell_own_item(&sku, ItemMessage::Ask { ask, command });
        }
        StepAction::Raise { line, quantity } => {
            let command = ItemCommand::Raise {
                order,
                line,
                quantity,
            };
            shard.tell_own_item(&sku, ItemMessage::Ask { ask, command });
        }
        StepAction::Restock {
            number,
            quantity,
            received,
        } => {
            let message = ItemMessage::Restock {
                ask,
                number,
                quantity,
                received,
            };
            shard.tell_own_item(&sku, message);
        }
        StepAction::Waiting => shard.tell_own_item(&sku, ItemMessage::Waiting { ask }),
        StepAction::GiveUp { line } => {
            let sku = sku.clone();
            let result = Err(StepError::Rejected(Rejection::ItemFailed { line, sku }));
            shard.barrier(life, After::Answered { ask, result });
        }
    }
    let answer = async move {
        let answer = match answered.await.unwrap_or(Err(StepError::Failed(Failure::Gone))) {
            // A newer program has asked for it before, and who asks now would believe all to be there.
            Ok(waiting) if waiting > Quantity::ZERO && !knows_waiting => {
                StepAnswer::Failed(StepFailure::Unknown)
            }
            Ok(waiting) => StepAnswer::Done(waiting),
            // It panicked, but after it had reserved: then the order has what it asked for.
            Err(StepError::Rejected(_))
                if gives_up && let Some(waiting) = shard.holds_reservation(order, &sku) =>
            {
                StepAnswer::Done(waiting)
            }
            Err(StepError::Rejected(rejection)) => StepAnswer::Rejected(rejection),
            Err(StepError::Failed(failure)) => StepAnswer::Failed(failed(failure)),
            // Only customers say so.
            Err(StepError::Duplicate(_) | StepError::Refused(_)) => StepAnswer::Failed(StepFailure::Unknown),
        };
        Ok(answer.encode())
    };
    Answer::Waits(answer.boxed())
}

fn failed(failure: Failure) -> StepFailure {
    match failure {
        Failure::Gone => StepFailure::Gone,
        Failure::Panicked | Failure::Poison => StepFailure::Panicked,
        Failure::Conflict => StepFailure::Conflict,
        Failure::NotLeader => StepFailure::NotLeader,
        Failure::Unknown | Failure::Expired => StepFailure::Unknown,
    }
}

/// Which of these reservations nothing wants. Only who leads an order's shard can say that it does not exist and is not on its way.
fn wanted(router: Arc<Router>, body: Bytes) -> Answer {
    let asked = match decode_wanted(body) {
        Ok(asked) => asked,
        Err(error) => return Answer::declined(error),
    };
    let answer = async move {
        let mut homes = BTreeMap::new();
        for Reservation { order, .. } in &asked {
            if let Some(home) = router.of_order(*order) {
                homes.insert(home.id(), Arc::clone(home));
            }
        }
        // A leader that passes has applied all that earlier leaders have left of their orders.
        let checks = homes.into_iter().map(|(id, home)| async move {
            let passed = home.is_leading() && home.group().read_barrier().await.is_ok();
            (id, passed && home.is_leading())
        });
        let led: BTreeMap<_, _> = join_all(checks).await.into_iter().collect();
        let orphaned = asked.iter().map(|Reservation { order, sku }| {
            let home = router.of_order(*order);
            let led = home.is_some_and(|home| led.get(&home.id()) == Some(&true));
            led && chores::is_orphan(&router, *order, sku)
        });
        Ok(encode_orphaned(orphaned.collect()))
    };
    Answer::Works(answer.boxed())
}
