//! Asks the providers of a shard's orders for what is due, while the shard is led here.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use docket_cluster::clock::wall_clock;
use docket_engine::{
    Order, OrderCommand, OrderId, OrderState, PAYMENT_TEXT_BYTES_MAX, PaymentOutcome, PaymentRequest,
};
use docket_payments::NotSettled;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Payments;
use crate::{entity::order::OrderMessage, shard::Shard};

/// The time between two looks at what is due, where nothing changes.
const LOOK: Duration = Duration::from_secs(1);
/// How long an order may take to record what it is told, before it is told again.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// A provider that has its own bounds never takes so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// So many orders of a shard have a task of their own at once; the others wait in committed state.
const ORDERS_AT_ONCE: usize = 1_024;

/// One step of one order: which, and which group of attempts.
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
    /// Its provider does not answer.
    NotSettled { retry_after: Option<Duration> },
}

/// What is known of a shard's payments while it is led here.
#[derive(Default)]
struct Driver {
    tasks: JoinSet<(OrderId, Ended)>,
    running: HashMap<Id, OrderId>,
    busy: HashSet<OrderId>,
    later: HashMap<OrderId, Later>,
    /// Steps that were due when this leadership began: another leader may have asked for them.
    inherited: HashSet<StepId>,
}

/// Runs until the node closes.
pub(crate) async fn run(shard: Arc<Shard>, payments: Arc<Payments>, closing: CancellationToken) {
    loop {
        tokio::select! {
            () = shard.led() => {}
            () = closing.cancelled() => return,
        }
        let lead = lead(&shard, &payments);
        tokio::select! {
            () = lead => {}
            () = closing.cancelled() => return,
        }
        // Who leads in name only looks again in a moment.
        tokio::time::sleep(LOOK).await;
    }
}

/// Drives the payments of one leadership. What is under way when it ends is dropped: the provider may have done it, which the next leader asks.
async fn lead(shard: &Arc<Shard>, payments: &Arc<Payments>) {
    let era = shard.era();
    // What earlier leaders have put into the log is in committed state from here on.
    if shard.group().read_barrier().await.is_err() {
        return;
    }
    let mut driver = Driver::default();
    let paying: Vec<OrderId> = shard.committed().order_index.read().paying().collect();
    for id in paying {
        let due = shard.committed().orders.see(id, Order::next_payment).flatten();
        driver.inherited.extend(due.map(|request| (id, request.number)));
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shard.is_leading() && shard.era().term == era.term {
        tokio::select! {
            touched = shard.committed().payments.any() => driver.begin(shard, payments, touched),
            Some(ended) = driver.tasks.join_next_with_id() => {
                let again = driver.ended(payments, ended);
                driver.begin(shard, payments, again.into_iter().collect());
            }
            _ = looks.tick() => driver.look(shard, payments),
        }
    }
}

impl Driver {
    /// Begins with all that is due, oldest first, as far as there is room.
    fn look(&mut self, shard: &Arc<Shard>, payments: &Arc<Payments>) {
        let now = Instant::now();
        let due: Vec<OrderId> = {
            let index = shard.committed().order_index.read();
            self.later.retain(|id, _| index.is_paying(*id));
            let is_due = |id: &OrderId| self.later.get(id).is_none_or(|later| later.due <= now);
            let mut due = index.paying().filter(is_due).filter(|id| !self.busy.contains(id));
            due.by_ref().take(ORDERS_AT_ONCE).collect()
        };
        self.begin(shard, payments, due);
    }

    /// Begins with these, where something is due of them, as far as there is room.
    fn begin(&mut self, shard: &Arc<Shard>, payments: &Arc<Payments>, ids: Vec<OrderId>) {
        let now = Instant::now();
        for id in ids {
            if self.busy.len() >= ORDERS_AT_ONCE {
                return;
            }
            let is_early = self.later.get(&id).is_some_and(|later| later.due > now);
            let is_due = shard.committed().order_index.read().is_paying(id);
            if is_early || !is_due || !self.busy.insert(id) {
                continue;
            }
            let may_be_asked = self.later.contains_key(&id);
            let inherited = self.take_inherited(shard, id);
            let turn = turn(shard.clone(), payments.clone(), id, may_be_asked || inherited);
            let task = self.tasks.spawn(async move { (id, turn.await) });
            self.running.insert(task.id(), id);
        }
    }

    /// Whether an order's next step was due before this leadership began.
    fn take_inherited(&mut self, shard: &Shard, id: OrderId) -> bool {
        let due = shard.committed().orders.see(id, Order::next_payment).flatten();
        due.is_some_and(|request| self.inherited.remove(&(id, request.number)))
    }

    /// An order's turn is over. Gives the order, where it may be its turn again at once.
    fn ended(
        &mut self,
        payments: &Payments,
        ended: Result<(Id, (OrderId, Ended)), tokio::task::JoinError>,
    ) -> Option<OrderId> {
        let (task, ended) = match ended {
            Ok((task, (_, ended))) => (task, ended),
            // It panicked in the provider's code.
            Err(error) => {
                tracing::error!(%error, "a payment could not be driven");
                (error.id(), Ended::NotSettled { retry_after: None })
            }
        };
        let id = self.running.remove(&task)?;
        self.busy.remove(&id);
        match ended {
            // Something may have become due since it looked last.
            Ended::Done => {
                self.later.remove(&id);
                Some(id)
            }
            Ended::NotSettled { retry_after } => {
                let tried = self.later.get(&id).map_or(0, |later| later.tried);
                let after = backoff(payments, tried).max(retry_after.unwrap_or_default());
                let due = Instant::now() + after.min(payments.options.again_after.1);
                let tried = tried.saturating_add(1);
                self.later.insert(id, Later { due, tried });
                None
            }
        }
    }
}

/// How long until an order that was in vain so often is looked at again. Without jitter: each has its own begin.
fn backoff(payments: &Payments, tried: u32) -> Duration {
    let (first, last) = payments.options.again_after;
    first.saturating_mul(1 << tried.min(16)).min(last)
}

/// Asks for the steps of one order, one behind the other, as long as they are answered.
async fn turn(shard: Arc<Shard>, payments: Arc<Payments>, id: OrderId, mut may_be_asked: bool) -> Ended {
    loop {
        let next = shard.committed().orders.see(id, |order| {
            order
                .next_payment()
                .map(|request| (request, ends(order, &payments)))
        });
        let Some((request, is_late)) = next.flatten() else {
            return Ended::Done;
        };
        if is_late {
            // What comes then is the void.
            tell(&shard, id, OrderCommand::Expire).await;
            let is_over = |order: &Order| order.state != OrderState::Authorizing;
            let recorded = tokio::time::timeout(RECORDED_WITHIN, shard.committed_when(id, is_over)).await;
            match recorded {
                Ok(Ok(())) => continue,
                _ => return Ended::NotSettled { retry_after: None },
            }
        }
        let outcome = match ask(&shard, &payments, &request, may_be_asked).await {
            Ok(outcome) => outcome,
            Err(retry_after) => return Ended::NotSettled { retry_after },
        };
        let number = request.number;
        tell(&shard, id, OrderCommand::Paid { number, outcome }).await;
        let is_recorded = |order: &Order| order.next_payment().is_none_or(|next| next.number != number);
        let recorded = tokio::time::timeout(RECORDED_WITHIN, shard.committed_when(id, is_recorded)).await;
        // Where it was not recorded the provider is asked what became of it, and says the same.
        may_be_asked = !matches!(recorded, Ok(Ok(())));
        if may_be_asked {
            return Ended::NotSettled { retry_after: None };
        }
    }
}

/// Whether an order has waited too long for its payment to be authorised.
fn ends(order: &Order, payments: &Payments) -> bool {
    let within = i64::try_from(payments.options.authorize_within.as_micros()).unwrap_or(i64::MAX);
    let now = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    order.state == OrderState::Authorizing && now.saturating_sub(order.created.0) >= within
}

async fn tell(shard: &Arc<Shard>, id: OrderId, command: OrderCommand) {
    shard.tell_order(id, OrderMessage::Tell { command });
}

/// What the provider makes of a step; or when it may be asked again.
async fn ask(
    shard: &Shard,
    payments: &Payments,
    request: &PaymentRequest,
    may_be_asked: bool,
) -> Result<PaymentOutcome, Option<Duration>> {
    let name = shard.committed().orders.see(request.order, |order| {
        order.provider.as_ref().map(|provider| provider.name.clone())
    });
    let Some(name) = name.flatten() else {
        return Err(None);
    };
    let kind = request.kind;
    let Some(provider) = payments.provider(&name) else {
        metrics::counter!("docket_payments_total", "provider" => name.to_string(), "outcome" => "no_provider")
            .increment(1);
        if let Some(more) = payments.tells(&name) {
            tracing::warn!(order = %request.order, provider = %name, %kind, more, "no such payment provider is configured: the payment waits");
        }
        return Err(None);
    };
    let Ok(_turn) = payments.turns.acquire().await else {
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
    let outcome = match &settled {
        Ok(PaymentOutcome::Done { .. }) => "done",
        Ok(PaymentOutcome::Declined { .. }) => "declined",
        Err(_) => "not_settled",
    };
    metrics::counter!("docket_payments_total", "provider" => name.to_string(), "outcome" => outcome)
        .increment(1);
    metrics::histogram!("docket_payment_seconds", "provider" => name.to_string())
        .record(began.elapsed().as_secs_f64());
    match settled {
        Ok(outcome) => Ok(shortened(outcome)),
        Err(error) => {
            if let Some(more) = payments.tells(&name) {
                tracing::warn!(order = %request.order, provider = %name, %kind, %error, more, "a payment is not settled; it is asked for again");
            }
            Err(error.retry_after)
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
