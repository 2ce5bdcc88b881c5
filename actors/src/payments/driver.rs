//! Asks the providers of a shard's orders for what is due, while the shard is led here.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use docket_cluster::TaskKind;
use docket_engine::{
    Order, OrderCommand, OrderId, PAYMENT_TEXT_BYTES_MAX, PaymentKind, PaymentOutcome, PaymentRequest,
    ProviderName,
};
use docket_payments::NotSettled;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Payments,
    expiry::{Expiry, LOOK, Late, is_late},
};
use crate::{admission::Admission, entity::order::OrderMessage, shard::Shard};

/// How long an order may take to record what it is told, before its provider is asked what became of it.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// A provider that has its own bounds never takes so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(15 * 60);
/// The longest that a provider may have itself left alone.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(3_600);
/// So many orders of one provider wait for their turn here; the others wait in committed state.
const WAITING_MAX: usize = 1_024;
/// So many more are looked at with one look, from where the last one ended: where the oldest all wait for a provider that is slow, those of another
/// are not kept waiting for that.
const LOOKED_AT: usize = 8_192;

/// One step of one order.
type StepId = (OrderId, u32);

/// When an order is looked at again, and how often it was in vain.
struct Later {
    due: Instant,
    tried: u32,
}

/// What came of an order's turn.
enum Ended {
    /// Nothing more is due of it, as far as is committed.
    Done,
    /// It is not known what its provider did, or whether that is recorded.
    NotSettled { retry_after: Option<Duration> },
}

/// The orders of one provider.
#[derive(Default)]
struct Line {
    /// So many have their turn.
    running: usize,
    /// Those that wait for it, in their order.
    waiting: VecDeque<OrderId>,
}

/// What is known of a shard's payments while it is led here.
struct Driver {
    shard: Arc<Shard>,
    payments: Arc<Payments>,
    /// The leadership.
    term: u64,
    tasks: JoinSet<(OrderId, Ended)>,
    running: HashMap<Id, (OrderId, ProviderName)>,
    lines: HashMap<ProviderName, Line>,
    /// Orders that run or wait.
    busy: HashSet<OrderId>,
    later: HashMap<OrderId, Later>,
    /// Steps that were due when this leadership began: another leader may have asked for them.
    inherited: HashSet<StepId>,
    /// The last of the orders that were looked at, whether they are old or not; `None` where all were.
    behind: Option<OrderId>,
    late: Late,
}

/// Runs until the node closes.
pub(crate) async fn run(
    shard: Arc<Shard>,
    payments: Arc<Payments>,
    admission: Arc<Admission>,
    closing: CancellationToken,
) {
    let mut expiry = Expiry::new(admission);
    loop {
        tokio::select! {
            () = shard.led() => {}
            () = closing.cancelled() => return,
        }
        tokio::select! {
            () = lead(&shard, &payments, &mut expiry) => {}
            () = closing.cancelled() => return,
        }
        // Who leads in name only looks again in a moment.
        tokio::time::sleep(LOOK).await;
    }
}

/// Drives the payments of one leadership. What is under way when it ends is dropped: the provider may have done it, which the next leader asks.
async fn lead(shard: &Arc<Shard>, payments: &Arc<Payments>, expiry: &mut Expiry) {
    let term = shard.era().term;
    // What earlier leaders have put into the log is in committed state from here on.
    if shard.group().read_barrier().await.is_err() {
        return;
    }
    let mut driver = Driver {
        shard: shard.clone(),
        payments: payments.clone(),
        term,
        tasks: JoinSet::new(),
        running: HashMap::new(),
        lines: HashMap::new(),
        busy: HashSet::new(),
        later: HashMap::new(),
        inherited: HashSet::new(),
        behind: None,
        late: expiry.begin(),
    };
    let paying: Vec<OrderId> = shard.committed().order_index.read().paying(None).collect();
    for id in paying {
        let due = shard.committed().orders.see(id, Order::next_payment).flatten();
        driver.inherited.extend(due.map(|request| (id, request.number)));
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while leads(shard, term) {
        tokio::select! {
            touched = shard.committed().payments.any() => touched.into_iter().for_each(|id| driver.begin(id)),
            Some(ended) = driver.tasks.join_next_with_id() => driver.ended(ended),
            _ = looks.tick() => {
                // First, so that no provider is asked for what is being given up. Whether or not it is being asked at this moment: what comes then is the void.
                expiry.look(shard, payments);
                driver.look();
            }
        }
    }
}

fn leads(shard: &Shard, term: u64) -> bool {
    shard.is_leading() && shard.era().term == term
}

impl Driver {
    /// Begins with all that is due, oldest first, as far as there is room; and with some more, of providers that have room.
    fn look(&mut self) {
        let now = Instant::now();
        self.shard.committed().payments.drive(self.term);
        let (due, next) = {
            let index = self.shard.committed().order_index.read();
            self.later.retain(|id, _| index.is_paying(*id));
            let is_due = |id: &OrderId| self.later.get(id).is_none_or(|later| later.due <= now);
            let is_due = |id: &OrderId| is_due(id) && !self.busy.contains(id);
            let mut due: Vec<OrderId> = index.paying(None).filter(is_due).take(WAITING_MAX).collect();
            let next: Vec<OrderId> = index.paying(self.behind).take(LOOKED_AT).collect();
            due.extend(next.iter().copied().filter(is_due));
            (due, next)
        };
        // From the first again, behind the last.
        let is_all = next.len() < LOOKED_AT;
        self.behind = next.last().copied().filter(|_| !is_all);
        due.into_iter().for_each(|id| self.begin(id));
    }

    /// Gives an order its turn, or has it wait for it, where something is due of it.
    fn begin(&mut self, id: OrderId) {
        let is_early = self
            .later
            .get(&id)
            .is_some_and(|later| later.due > Instant::now());
        if is_early || self.busy.contains(&id) {
            return;
        }
        let provider = self.shard.committed().orders.see(id, |order| {
            order.next_payment()?;
            order.provider.as_ref().map(|provider| provider.name.clone())
        });
        let Some(provider) = provider.flatten() else {
            return;
        };
        let line = self.lines.entry(provider.clone()).or_default();
        if line.running < self.payments.at_once.load(Relaxed) {
            self.busy.insert(id);
            self.start(id, provider);
        } else if line.waiting.len() < WAITING_MAX {
            self.busy.insert(id);
            line.waiting.push_back(id);
        }
    }

    fn start(&mut self, id: OrderId, provider: ProviderName) {
        let tried_before = self.later.contains_key(&id);
        let due = self
            .shard
            .committed()
            .orders
            .see(id, Order::next_payment)
            .flatten();
        let is_inherited = due.is_some_and(|request| self.inherited.remove(&(id, request.number)));
        let turn = Turn {
            shard: self.shard.clone(),
            payments: self.payments.clone(),
            term: self.term,
            id,
            provider: provider.clone(),
            late: self.late.clone(),
        };
        let may_be_asked = tried_before || is_inherited;
        let asked = async move { (id, turn.take(may_be_asked).await) };
        let task = self.tasks.spawn(TaskKind::Payments.measure(asked));
        self.lines.entry(provider.clone()).or_default().running += 1;
        self.running.insert(task.id(), (id, provider));
    }

    /// An order's turn is over, and it is another's.
    fn ended(&mut self, ended: Result<(Id, (OrderId, Ended)), JoinError>) {
        let (task, ended) = match ended {
            Ok((task, (_, ended))) => (task, ended),
            // It panicked in the provider's code.
            Err(error) => {
                tracing::error!(%error, "a payment could not be driven");
                (error.id(), Ended::NotSettled { retry_after: None })
            }
        };
        let Some((id, provider)) = self.running.remove(&task) else {
            return;
        };
        self.busy.remove(&id);
        let line = self.lines.entry(provider.clone()).or_default();
        line.running = line.running.saturating_sub(1);
        match ended {
            Ended::Done => {
                self.later.remove(&id);
                // Something may have become due since it looked last.
                self.begin(id);
            }
            Ended::NotSettled { retry_after } => {
                let tried = self.later.get(&id).map_or(0, |later| later.tried);
                let own = backoff(&self.payments, tried);
                // Whoever is told when to come back has not been in vain.
                let tried = tried.saturating_add(u32::from(retry_after.is_none()));
                let after = own.max(retry_after.unwrap_or_default().min(LEFT_ALONE_MAX));
                let due = Instant::now() + after + spread(id, after);
                self.later.insert(id, Later { due, tried });
            }
        }
        // As many as may be asked for by now: that may have changed.
        loop {
            let line = self.lines.entry(provider.clone()).or_default();
            if line.running >= self.payments.at_once.load(Relaxed) {
                return;
            }
            let Some(next) = line.waiting.pop_front() else {
                return;
            };
            self.start(next, provider.clone());
        }
    }
}

/// How long until an order that was in vain so often is looked at again.
fn backoff(payments: &Payments, tried: u32) -> Duration {
    let (first, last) = payments.options.again_after;
    first.saturating_mul(1 << tried.min(16)).min(last)
}

/// Up to a quarter more, so that orders which were in vain together do not come back together.
fn spread(id: OrderId, after: Duration) -> Duration {
    const PARTS: u32 = 1_024;
    // The end of an id counts orders.
    let part = (id.0 as u32).wrapping_mul(0x9e37_79b9) >> 22;
    after / 4 / PARTS * part
}

/// The turn of one order.
struct Turn {
    shard: Arc<Shard>,
    payments: Arc<Payments>,
    term: u64,
    id: OrderId,
    provider: ProviderName,
    late: Late,
}

impl Turn {
    /// Asks for the steps of the order, one behind the other, as long as they are answered.
    async fn take(self, mut may_be_asked: bool) -> Ended {
        const AGAIN: Ended = Ended::NotSettled { retry_after: None };
        loop {
            // Whoever does not lead any more would ask for what the next leader may be asking for.
            if self.shard.group().read_barrier().await.is_err() || !leads(&self.shard, self.term) {
                return AGAIN;
            }
            let next = self.shard.committed().orders.see(self.id, |order| {
                order
                    .next_payment()
                    .map(|request| (request, is_late(order, &self.late)))
            });
            let Some((request, is_late)) = next.flatten() else {
                return Ended::Done;
            };
            if is_late && request.kind == PaymentKind::Authorize {
                // It is being given up.
                return AGAIN;
            }
            let outcome = match self.ask(&request, may_be_asked).await {
                Ok(outcome) => outcome,
                Err(retry_after) => return Ended::NotSettled { retry_after },
            };
            let number = request.number;
            let command = OrderCommand::Paid { number, outcome };
            self.shard.tell_order(self.id, OrderMessage::Tell { command });
            let is_recorded = |order: &Order| order.next_payment().is_none_or(|next| next.number != number);
            let recorded = self.shard.committed_when(self.id, is_recorded);
            match tokio::time::timeout(RECORDED_WITHIN, recorded).await {
                Ok(Ok(())) => may_be_asked = false,
                // The provider is asked what became of it, and says the same.
                _ => return AGAIN,
            }
        }
    }

    /// What the provider makes of a step; or when it may be asked again.
    async fn ask(
        &self,
        request: &PaymentRequest,
        may_be_asked: bool,
    ) -> Result<PaymentOutcome, Option<Duration>> {
        let (name, kind) = (&self.provider, request.kind);
        let count = |outcome: &'static str| {
            metrics::counter!("docket_payments_total", "provider" => name.to_string(), "outcome" => outcome)
                .increment(1);
        };
        let Some(provider) = self.payments.provider(name) else {
            count("no_provider");
            if let Some(more) = self.payments.tells(name) {
                tracing::warn!(order = %request.order, provider = %name, %kind, more, "no such payment provider is configured: the payment waits");
            }
            return Err(None);
        };
        let began = Instant::now();
        let settled = tokio::time::timeout(SETTLED_WITHIN, provider.settle(request, may_be_asked)).await;
        let settled = settled.unwrap_or_else(|_elapsed| {
            Err(NotSettled {
                why: format!("the provider said nothing for {} s", SETTLED_WITHIN.as_secs()),
                retry_after: None,
            })
        });
        metrics::histogram!("docket_payment_seconds", "provider" => name.to_string())
            .record(began.elapsed().as_secs_f64());
        match settled {
            Ok(outcome) => {
                count(match outcome {
                    PaymentOutcome::Done { .. } => "done",
                    PaymentOutcome::Declined { .. } => "declined",
                });
                Ok(shortened(outcome))
            }
            Err(error) => {
                count("not_settled");
                if let Some(more) = self.payments.tells(name) {
                    tracing::warn!(order = %request.order, provider = %name, %kind, %error, more, "a payment is not settled; it is asked for again");
                }
                Err(error.retry_after)
            }
        }
    }
}

/// With texts no longer than may be recorded.
fn shortened(outcome: PaymentOutcome) -> PaymentOutcome {
    let short = |text: Arc<str>| -> Arc<str> {
        let end = text.floor_char_boundary(PAYMENT_TEXT_BYTES_MAX);
        match text.get(..end) {
            Some(part) if part.len() < text.len() => part.into(),
            _ => text,
        }
    };
    match outcome {
        PaymentOutcome::Done { reference } => PaymentOutcome::Done {
            reference: short(reference),
        },
        PaymentOutcome::Declined { reason } => PaymentOutcome::Declined {
            reason: short(reason),
        },
    }
}
