//! The proposer of a shard: gathers what its actors decide and proposes it as few, large log entries.
//!
//! What somebody waits for leaves at once, together with all that was decided in the same moment. While
//! [`BATCHES_IN_FLIGHT_MAX`] entries are on their way to the disk, decisions gather; when one comes back, all that has
//! gathered leaves as the next entry. What nobody waits for (an order's confirmation, when its caller was answered
//! already) rides along with what is next, and has an entry of its own only after [`UNAWAITED_MAX`]: so that it costs no
//! sync of its own while there is work. What is submitted first is in the log first, so each entity's events are in the
//! order of their versions.
//!
//! A submission without a record is a *barrier*: its answer depends on what was decided before it, and is released when
//! all of that is committed. So no answer ever shows speculative state. Where nothing is on its way and the shard has other
//! voters, the answer also waits until they agree that it is led here: a state that others have left behind answers nobody.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use docket_cluster::{Group, Pending, ProposeError};
use docket_engine::{Decider, Order, OrderId, OrderState, Record, Rejection, Request, Version};
use docket_traces::Scope;
use futures::{StreamExt, stream::FuturesOrdered};
use metrics::Counter;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    decided::{Decided, may_be_kept},
    entity::order::{Counted, OrderMessage, Tally},
    machine,
    reply::{Answered, Ask, Caller, Failure, Reply, StepError},
    shard::{Life, Shard},
    traced::Logged,
};

/// Entries of one shard on their way to the disk. One is being synced while the next waits for the sync after it.
const BATCHES_IN_FLIGHT_MAX: usize = 2;
/// The most records in one entry.
const BATCH_RECORDS_MAX: usize = 2_048;
/// An entry that has reached this size takes no further record.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// How long a decision that nobody waits for may wait for company.
const UNAWAITED_MAX: Duration = Duration::from_millis(10);

/// A decision on its way into the log, and what follows once it is committed. (Always boxed: it passes a queue and a list.)
pub(crate) struct Submission {
    /// In which life of its actor, and in which of the shard's leaderships, it was decided.
    pub(crate) life: Life,
    /// `None` for a barrier.
    pub(crate) record: Option<Record>,
    pub(crate) after: After,
}

/// What is left of a submission when its record is in an entry. (In one piece with those of the rest of the entry: when that comes back it
/// is in no cache any more, and one piece is read faster than many.)
struct Following {
    life: Life,
    is_barrier: bool,
    after: After,
}

/// What follows a commit.
pub(crate) enum After {
    /// Callers are answered; the order (if it is one) has settled.
    Answer {
        callers: Vec<Caller>,
        reply: Reply,
        settled: Option<OrderId>,
    },
    /// An order's caller is answered, and the order goes on; it is as settled as it was.
    Changed {
        order: OrderId,
        caller: Caller,
        reply: Reply,
    },
    /// An order gets the answer to its question.
    Answered { ask: Ask, result: Answered },
    /// A caller tries again.
    Retry { caller: Caller },
    /// A caller is refused; unless the same request has been done meanwhile: then it tries again, and finds the answer.
    Refuse {
        caller: Caller,
        request: Request,
        rejection: Rejection,
    },
    /// It counts for the order, as its first event.
    Placed {
        order: OrderId,
        decider: Decider,
        tally: Arc<Tally>,
    },
    /// Nobody is told: the order was confirmed before, and this says so.
    Recorded,
    /// The order has left memory.
    Left { order: OrderId },
}

impl Submission {
    /// Whether somebody waits for what follows.
    fn is_awaited(&self) -> bool {
        match &self.after {
            After::Answer { callers, settled, .. } => !callers.is_empty() || settled.is_none(),
            After::Changed { .. }
            | After::Answered { .. }
            | After::Retry { .. }
            | After::Refuse { .. }
            | After::Placed { .. } => true,
            After::Recorded | After::Left { .. } => false,
        }
    }
}

impl After {
    /// Where spans of what is done for it belong; `None` where nothing of it is sampled.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        match self {
            // Of several that wait for the same the first.
            Self::Answer { callers, .. } => callers.iter().find_map(Caller::scope),
            Self::Changed { caller, .. } | Self::Retry { caller } | Self::Refuse { caller, .. } => {
                caller.scope()
            }
            Self::Answered { ask, .. } => ask.scope(),
            Self::Placed { tally, .. } => tally.scope(),
            Self::Recorded | Self::Left { .. } => None,
        }
    }

    fn complete(self, shard: &Arc<Shard>, life: Life) {
        match self {
            Self::Answer {
                callers,
                reply,
                settled,
            } => {
                let counter = settled.and_then(|_| shard.settled().of(&reply));
                if let (Some(_), Reply::Rejected(rejection)) = (settled, &reply) {
                    metrics::counter!("docket_orders_rejected_total", "reason" => rejection.reason())
                        .increment(1);
                }
                let mut callers = callers.into_iter();
                if let Some(last) = callers.next_back() {
                    callers.for_each(|caller| caller.answer(reply.clone()));
                    last.answer(reply);
                }
                if let Some(counter) = counter {
                    counter.increment(1);
                }
                if let Some(order) = settled {
                    let decider = life.decider;
                    shard.answer_order(order, OrderMessage::Settled { decider });
                }
            }
            Self::Changed { order, caller, reply } => {
                caller.answer(reply);
                let decider = life.decider;
                shard.answer_order(order, OrderMessage::Settled { decider });
            }
            Self::Answered { ask, result } => ask.answer(result),
            Self::Retry { caller } => caller.fail(Failure::Gone),
            Self::Refuse {
                caller,
                request,
                rejection,
            } => match shard.committed().has_done(request) {
                true => caller.fail(Failure::Gone),
                false => caller.answer(Reply::Rejected(rejection)),
            },
            Self::Placed {
                order,
                decider,
                tally,
            } => match tally.placed() {
                Counted::Waits => {}
                Counted::Complete => shard.answer_order(order, OrderMessage::Complete { decider }),
                Counted::BrokenUp => shard.answer_order(order, OrderMessage::Placed { decider }),
            },
            Self::Recorded => {
                shard.settled().confirmed.increment(1);
            }
            Self::Left { order } => {
                let decider = life.decider;
                shard.answer_order(order, OrderMessage::Settled { decider });
            }
        }
    }

    fn fail(self, shard: &Arc<Shard>, life: Life, failure: Failure) {
        match self {
            Self::Answer { callers, settled, .. } => {
                // An order's earlier events may be in the log.
                let undone = settled.is_none() || failure != Failure::NotLeader;
                let failure = if undone { failure } else { Failure::Unknown };
                callers.into_iter().for_each(|caller| caller.fail(failure));
                if let Some(order) = settled {
                    shard.answer_order(
                        order,
                        OrderMessage::Failed {
                            decider: life.decider,
                            failure,
                        },
                    );
                }
            }
            Self::Changed { order, caller, .. } => {
                let decider = life.decider;
                // Before the caller comes again: what the order believes of itself is not so.
                shard.answer_order(order, OrderMessage::Failed { decider, failure });
                caller.fail(failure);
            }
            Self::Answered { ask, .. } => ask.answer(Err(StepError::Failed(failure))),
            Self::Retry { caller } | Self::Refuse { caller, .. } => caller.fail(failure),
            Self::Placed { order, decider, .. } => {
                shard.answer_order(order, OrderMessage::Failed { decider, failure });
            }
            // It is there still, and is told again.
            Self::Left { order } => {
                let decider = life.decider;
                shard.answer_order(order, OrderMessage::Failed { decider, failure });
            }
            // The order is pending in committed state, and taken up again.
            Self::Recorded => {}
        }
    }
}

/// The version of an order that was confirmed, and nothing since.
fn confirmed(order: &Order) -> Version {
    Version(2 + u64::from(order.needs_authorization()))
}

/// How many orders were settled, by outcome. (To look a counter up costs more than to count.)
pub(crate) struct SettledCounters {
    confirmed: Counter,
    cancelled: Counter,
    rejected: Counter,
}

impl Default for SettledCounters {
    fn default() -> Self {
        let of =
            |outcome: &'static str| metrics::counter!("docket_orders_settled_total", "outcome" => outcome);
        Self {
            confirmed: of("confirmed"),
            cancelled: of("cancelled"),
            rejected: of("rejected"),
        }
    }
}

impl SettledCounters {
    /// Where an order belongs that was settled so. It is counted once: what it was shipped or cancelled in part does not settle it.
    fn of(&self, reply: &Reply) -> Option<&Counter> {
        match reply {
            Reply::Order(order) if order.state == OrderState::Cancelled => Some(&self.cancelled),
            // Its provider is to authorise it, or is asked for something later.
            Reply::Order(order) if order.state == OrderState::Authorizing => None,
            Reply::Order(order) if order.version > confirmed(order) => None,
            Reply::Order(_) => Some(&self.confirmed),
            _ => Some(&self.rejected),
        }
    }
}

/// Submissions in the order in which they were decided.
type Gathered = Vec<Box<Submission>>;

/// What follows an entry, in the order in which it was decided.
type Batch = Vec<Following>;

/// An entry on its way: what follows it, and what of it is sampled.
type OnItsWay = (Batch, Option<Box<Logged>>);

/// The proposer's side of the queue.
pub(crate) type Queue = mpsc::UnboundedReceiver<Box<Submission>>;

/// Runs until the shard's handle is gone. The queue has no bound of its own: everything in it belongs to an admitted call,
/// or follows one within [`UNAWAITED_MAX`].
pub(crate) async fn run(shard: Arc<Shard>, group: Group, decided: Arc<Decided>, mut queue: Queue) {
    let mut in_flight = FuturesOrdered::<Pending>::new();
    let mut batches = VecDeque::<OnItsWay>::new();
    let mut gathered = Gathered::new();
    let mut payload = Vec::new();
    // Whether something that was gathered must leave, and if not, when it must.
    let (mut due, mut due_at) = (false, Instant::now());
    loop {
        let idle = gathered.is_empty();
        tokio::select! {
            biased;
            Some(result) = in_flight.next(), if !in_flight.is_empty() => {
                let (batch, logged) = batches.pop_front().unwrap_or_default();
                if result.is_err() {
                    decided.clear();
                }
                if let Some(logged) = logged {
                    logged.done(&shard, result.as_deref());
                }
                complete(&shard, batch, result);
            }
            taken = queue.recv_many(&mut gathered, BATCH_RECORDS_MAX), if gathered.len() < BATCH_RECORDS_MAX => {
                if taken == 0 {
                    break;
                }
                let new = gathered.len() - taken;
                if !due && gathered[new..].iter().any(|submission| submission.is_awaited()) {
                    due = true;
                    // Whoever was woken by the same commit decides now, and what it decides comes along.
                    tokio::task::yield_now().await;
                    while gathered.len() < BATCH_RECORDS_MAX && let Ok(more) = queue.try_recv() {
                        gathered.push(more);
                    }
                } else if idle {
                    due_at = Instant::now() + UNAWAITED_MAX;
                }
            }
            () = sleep_until(due_at), if !idle && !due => due = true,
        }
        due |= gathered.len() >= BATCH_RECORDS_MAX;
        if due && in_flight.len() < BATCHES_IN_FLIGHT_MAX {
            due = false;
            propose(
                &shard,
                &group,
                &decided,
                &mut gathered,
                &mut payload,
                &mut in_flight,
                &mut batches,
            )
            .await;
        }
    }
}

/// Proposes what was gathered, in as few entries as hold it.
async fn propose(
    shard: &Arc<Shard>,
    group: &Group,
    decided: &Decided,
    gathered: &mut Gathered,
    payload: &mut Vec<u8>,
    in_flight: &mut FuturesOrdered<Pending>,
    batches: &mut VecDeque<OnItsWay>,
) {
    let mut rest = gathered.drain(..).peekable();
    while rest.peek().is_some() {
        let mut batch = Vec::with_capacity(rest.len());
        // Refused in an entry of any other term.
        let era = shard.era();
        machine::begin(era.term, payload);
        let empty = payload.len();
        let (mut records, mut all_kept) = (Vec::with_capacity(rest.len()), true);
        let (mut count, mut sampled) = (0, Vec::new());
        for submission in rest.by_ref() {
            let Submission { life, record, after } = *submission;
            if life.era != era {
                after.fail(shard, life, Failure::NotLeader);
                continue;
            }
            let is_barrier = record.is_none();
            if let Some(record) = record {
                machine::encode(&record, payload);
                sampled.extend(after.scope().map(|scope| (count, scope.clone())));
                count += 1;
                all_kept &= may_be_kept(&record);
                records.push(record);
            }
            batch.push(Following {
                life,
                is_barrier,
                after,
            });
            if payload.len() >= BATCH_BYTES_MAX {
                // There was room for all.
                batch.shrink_to_fit();
                break;
            }
        }
        metrics::histogram!("docket_shard_batch_records").record(batch.len() as f64);
        if payload.len() == empty {
            match batches.back_mut() {
                Some((last, _)) => last.append(&mut batch),
                None => release_all(shard, batch),
            }
            continue;
        }
        let entry = Bytes::copy_from_slice(payload);
        if all_kept {
            decided.keep(entry.clone(), records);
        }
        let logged = Logged::propose(sampled, count, entry.len());
        let moments = logged.as_ref().map(|logged| logged.moments.clone());
        match group.submit_watched(entry, moments).await {
            Ok(pending) => {
                in_flight.push_back(pending);
                batches.push_back((batch, logged));
            }
            Err(error) => {
                decided.clear();
                if let Some(logged) = logged {
                    logged.done(shard, Err(&error));
                }
                fail(shard, batch, &error);
            }
        }
    }
}

fn complete(shard: &Arc<Shard>, batch: Batch, result: Result<Bytes, ProposeError>) {
    let outcomes = match result {
        Ok(outcomes) => outcomes,
        Err(error) => return fail(shard, batch, &error),
    };
    let mut outcomes = outcomes.iter();
    for submission in batch {
        if submission.is_barrier {
            release(shard, submission);
        } else if outcomes.next() == Some(&machine::DONE) || docket_cluster::planted!(ConflictIsDone) {
            submission.after.complete(shard, submission.life);
        } else {
            // Decided on a state that was never committed. The lives that believed in it are fenced, and begin anew when
            // they are told something next.
            metrics::counter!("docket_shard_conflicts_total").increment(1);
            submission.after.fail(shard, submission.life, Failure::Conflict);
            shard.needs_reconciling();
        }
    }
}

/// Lets the answers of barriers go that nothing is in front of.
fn release_all(shard: &Arc<Shard>, barriers: Batch) {
    if shard.group().leads_alone() || docket_cluster::planted!(RefuseWithoutCheck) {
        return barriers.into_iter().for_each(|barrier| release(shard, barrier));
    }
    let shard = shard.clone();
    tokio::spawn(async move {
        match shard.group().read_barrier().await {
            Ok(()) => barriers.into_iter().for_each(|barrier| release(&shard, barrier)),
            Err(_) => barriers
                .into_iter()
                .for_each(|barrier| barrier.after.fail(&shard, barrier.life, Failure::NotLeader)),
        }
    });
}

/// Lets a barrier's answer go, if what it rests on was committed: nothing of its life was refused, and the log has taken everything of
/// its era. Also where the barrier rides on an entry that was: a node that begins to lead may be refused an entry and
/// have the next one, which was on its way already, taken in the same term.
fn release(shard: &Arc<Shard>, barrier: Following) {
    if barrier.life.era != shard.era() {
        barrier.after.fail(shard, barrier.life, Failure::NotLeader);
    } else if shard.committed().is_fenced(barrier.life.decider) {
        barrier.after.fail(shard, barrier.life, Failure::Conflict);
    } else {
        barrier.after.complete(shard, barrier.life);
    }
}

/// The log did not take a batch: nothing that was decided since can be trusted.
fn fail(shard: &Arc<Shard>, batch: Batch, error: &ProposeError) {
    let failure = match error {
        ProposeError::NotLeader { .. } => Failure::NotLeader,
        _ => Failure::Unknown,
    };
    tracing::warn!(shard = %shard.id(), %error, "a batch was not committed");
    // First: an order that is told of the failure would take "not led here" for "nothing was done", and earlier entries of the
    // same leadership may be in the log.
    shard.discard_all(None);
    batch
        .into_iter()
        .for_each(|s| s.after.fail(shard, s.life, failure));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Docket, Options};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_that_rests_on_what_the_log_refused_is_not_let_go_with_a_later_entry() {
        let dir = tempfile::tempdir().unwrap();
        let docket = Docket::open(Options::new(dir.path())).await.unwrap();
        docket.ready().await;
        let shard = docket.inner.router.shards[0].clone();
        let barrier = || {
            let life = shard.begin_life();
            let (ask, answer) = Ask::of_node(OrderId(1), life.era.term, true);
            let result = crate::reply::NOTHING_WAITS;
            let after = After::Answered { ask, result };
            (
                Following {
                    life,
                    is_barrier: true,
                    after,
                },
                answer,
            )
        };
        // The entry that it rides on is taken.
        let taken = || Ok(Bytes::new());

        let (good, answer) = barrier();
        complete(&shard, vec![good], taken());
        assert!(answer.await.unwrap().is_ok());

        // What was on its way before that entry is refused: perhaps what the answer rests on.
        let (late, answer) = barrier();
        let refused = ProposeError::NotLeader { leader: None };
        complete(&shard, Vec::new(), Err(refused));
        complete(&shard, vec![late], taken());
        let failed = answer.await.unwrap();
        assert!(
            matches!(failed, Err(StepError::Failed(Failure::NotLeader))),
            "{failed:?}"
        );
        docket.close(Duration::from_secs(10)).await.unwrap();
    }
}
