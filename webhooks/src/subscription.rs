//! The deliveries of one webhook.
//!
//! ```text
//!   feed ──batch──▶ waiting, by order ──▶ in flight ──▶ outcomes ──record──▶ state of the meta group
//!                        ▲                                                       │
//!                        └──────────────── what is deferred and due ◀────────────┘
//! ```
//!
//! A batch's position is recorded once all in it have an outcome, and those before it. Of one order there is one delivery at a time, so
//! that its changes arrive in their order where nothing fails.

mod attempt;
mod window;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{OrderChange, OrderWatch, TaskKind, WatchError, webhooks::WebhookError};
use docket_engine::{
    Order, Time,
    steering::{Flag, Subject},
    webhook::{
        Attempt, DeliveryFailure, DeliveryId, FeedPositions, Outcome, Progress, Webhook, WebhookCommand,
        WebhookFilter, WebhookId, WebhookRejection, WebhookRequest, limits::OUTCOMES_MAX,
    },
};
use docket_proto::feed::{FeedFrom, FeedPosition};
use futures::future::OptionFuture;
use tokio::{
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use self::{attempt::deliver, window::Window};
use crate::{
    deliverer::{Due, Lag, Shared},
    telemetry,
};

/// Changes that are taken from the feed at once.
const BATCH_MAX: usize = 64;
/// Changes that were taken and have no outcome yet.
const WINDOW_MAX: usize = 256;
/// What came of deliveries is recorded this often at most, or once there is so much of it.
const RECORD_EVERY: Duration = Duration::from_secs(2);
const OUTCOMES_SOON: usize = OUTCOMES_MAX / 2;
/// A position that moved past what is not for the webhook is recorded this often: after a restart so much is looked at again.
const RECORD_IDLE_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked for what is due, by a clock that may jump.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// When the feed, or the log, is tried again that could not be read or written.
const AGAIN: Duration = Duration::from_millis(500);

const _: () = assert!(BATCH_MAX <= WINDOW_MAX && OUTCOMES_SOON + WINDOW_MAX <= OUTCOMES_MAX);

/// What a task makes of a delivery.
struct Done {
    due: Due,
    /// `None` where it could not begin.
    attempt: Option<Attempt>,
    /// It was of a batch, and not deferred.
    is_fresh: bool,
    run: u64,
}

/// The feed as it is read for a webhook.
struct Reading {
    watch: OrderWatch,
    filter: WebhookFilter,
    epoch: u64,
}

/// A watch that was begun for a filter and an epoch, and whether it misses something; or why not.
struct Begun {
    filter: WebhookFilter,
    epoch: u64,
    watch: Result<(OrderWatch, bool), WatchError>,
}

/// The deliveries of one webhook.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    id: WebhookId,
    reading: Option<Reading>,
    /// It is about to be read. What is deferred is delivered meanwhile: where a shard has no leader that may take long.
    beginning: Option<AbortOnDropHandle<Begun>>,
    /// How that ended, where it was not looked at.
    begun: Option<Begun>,
    /// Not before.
    begin_after: Instant,
    /// It cannot go on.
    is_cut_off: bool,
    window: Window,
    tasks: JoinSet<Done>,
    /// How many of them were deferred.
    retrying: usize,
    /// Rises when the window is thrown away: what was in flight then counts for no batch.
    run: u64,
    /// What is in flight or has an outcome that is not recorded.
    busy: HashSet<DeliveryId>,
    outcomes: Vec<Outcome>,
    delivered: u64,
    is_gone: bool,
    recorded: Instant,
    /// The receiver took something after all while no more could be deferred: what is deferred need not wait.
    is_back: bool,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, id: WebhookId) -> Self {
        Self {
            shared,
            id,
            reading: None,
            beginning: None,
            begun: None,
            begin_after: Instant::now(),
            is_cut_off: false,
            window: Window::default(),
            tasks: JoinSet::new(),
            retrying: 0,
            run: 0,
            busy: HashSet::new(),
            outcomes: Vec::new(),
            delivered: 0,
            is_gone: false,
            recorded: Instant::now(),
            is_back: false,
        }
    }

    /// Delivers until the webhook is deleted, or this node cannot record it any more.
    pub(crate) async fn run(mut self) {
        while let Some(webhook) = self.webhook() {
            if !self.record_if_due(&webhook).await {
                return;
            }
            let is_active = webhook.paused.is_none() && !self.is_gone && self.is_switched_on(&webhook);
            if self.reading.is_some() && !(is_active && self.is_reading(&webhook)) {
                if !self.give_up_reading().await {
                    return;
                }
                // What was recorded has moved it.
                continue;
            }
            match is_active {
                // What was recorded may have moved it.
                true if self.reading.is_none() && self.begin(&webhook).await => continue,
                true => {}
                false => (self.beginning, self.begun) = (None, None),
            }
            if is_active {
                self.start(&webhook);
            }
            self.measure(&webhook);
            self.wait(&webhook).await;
        }
    }

    /// Whether webhooks are on for this one. What it is told of waits meanwhile, as while it is paused.
    fn is_switched_on(&self, webhook: &Webhook) -> bool {
        let flags = self.shared.docket.steering().in_force();
        flags.is_on_for_all(Flag::Webhooks).unwrap_or_else(|| {
            let (customer, id) = (webhook.filter.customer.as_ref(), webhook.id.to_string());
            let subject = Subject {
                id: customer.map_or(id.as_str(), |customer| customer.as_str()),
                customer,
                role: None,
            };
            flags.is_on(Flag::Webhooks, &subject)
        })
    }

    fn webhook(&self) -> Option<Arc<Webhook>> {
        let webhooks = self.shared.docket.webhooks();
        webhooks.read(|state| state.webhook(self.id).cloned())
    }

    fn is_reading(&self, webhook: &Webhook) -> bool {
        let reading = self.reading.as_ref();
        let is_same =
            |reading: &Reading| (reading.epoch, &reading.filter) == (webhook.epoch, &webhook.filter);
        !self.is_cut_off && reading.is_some_and(is_same)
    }

    /// Reads the feed no more. How far it was is recorded; what had no outcome comes again. False where that cannot be recorded here.
    async fn give_up_reading(&mut self) -> bool {
        let can_record = self.record().await;
        self.reading = None;
        self.is_cut_off = false;
        self.run += 1;
        for id in self.window.clear() {
            self.busy.remove(&id);
        }
        can_record
    }

    /// Begins to read the feed where the webhook is recorded to be. Where that is not kept any more it goes on with what is, and that is
    /// recorded first. True where anything has come of it.
    async fn begin(&mut self, webhook: &Webhook) -> bool {
        let Some(begun) = self.begun.take() else {
            if self.beginning.is_none() && Instant::now() >= self.begin_after {
                self.beginning = Some(self.follow(webhook));
            }
            return false;
        };
        if (begun.epoch, &begun.filter) != (webhook.epoch, &webhook.filter) {
            // Somebody has changed it meanwhile.
            return true;
        }
        match begun.watch {
            Ok((watch, false)) => {
                self.reading = Some(Reading {
                    watch,
                    filter: begun.filter,
                    epoch: begun.epoch,
                });
                true
            }
            Ok((watch, true)) => {
                let is_recorded = self.record_gap(webhook, positions_of(&watch)).await;
                self.begin_after = Instant::now() + if is_recorded { Duration::ZERO } else { AGAIN };
                is_recorded
            }
            Err(error) => {
                tracing::debug!(webhook = %self.id, %error, "the feed cannot be read for a webhook now");
                self.begin_after = Instant::now() + AGAIN;
                false
            }
        }
    }

    /// Begins to follow what a webhook is to be told of.
    fn follow(&self, webhook: &Webhook) -> AbortOnDropHandle<Begun> {
        let from = webhook.positions.0.iter().map(|(index, ordinal)| {
            FeedFrom::At(FeedPosition {
                index: *index,
                ordinal: *ordinal,
            })
        });
        let from = from.collect();
        let (docket, filter, epoch) = (self.shared.docket.clone(), webhook.filter.clone(), webhook.epoch);
        AbortOnDropHandle::new(tokio::spawn(TaskKind::Webhooks.measure(async move {
            let (customer, states) = (filter.customer.clone(), filter.states.to_vec());
            let watch = docket.follow_orders(customer, states, from).await;
            Begun { filter, epoch, watch }
        })))
    }

    async fn record_gap(&mut self, webhook: &Webhook, positions: FeedPositions) -> bool {
        telemetry::gap();
        tracing::warn!(webhook = %self.id, "a webhook missed changes that are not kept any more");
        let progress = Progress {
            positions: Some(positions),
            is_gap: true,
            ..self.progress(webhook.epoch)
        };
        self.execute(progress).await.is_ok()
    }

    /// Begins deliveries, as many as may be in flight: what is due again, then what is new.
    fn start(&mut self, webhook: &Arc<Webhook>) {
        let now = (self.shared.clock)();
        self.is_back &= !webhook.deferred.is_empty();
        // Half of the places, so that what fails does not hold up what is new.
        let retries_max = self
            .shared
            .per_webhook()
            .div_ceil(2)
            .saturating_sub(self.retrying);
        let due: Vec<Due> = webhook
            .deferred
            .iter()
            .filter(|(id, deferred)| (deferred.due <= now || self.is_back) && !self.busy.contains(*id))
            .take(retries_max)
            .map(|(id, deferred)| Due {
                id: *id,
                kind: deferred.kind,
                at: deferred.at,
            })
            .collect();
        for due in due {
            if self.tasks.len() >= self.shared.per_webhook() {
                break;
            }
            self.busy.insert(due.id);
            self.retrying += 1;
            let delivery = deliver(Arc::clone(&self.shared), self.id, due, None, self.run);
            self.tasks.spawn(TaskKind::Webhooks.measure(delivery));
        }
        while self.tasks.len() < self.shared.per_webhook()
            && let Some((due, order)) = self.window.next()
        {
            let delivery = deliver(Arc::clone(&self.shared), self.id, due, Some(order), self.run);
            self.tasks.spawn(TaskKind::Webhooks.measure(delivery));
        }
    }

    /// Waits until there is something to do, and takes it in.
    async fn wait(&mut self, webhook: &Webhook) {
        let failures = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.attempt != Attempt::Delivered);
        // Whatever is taken must find room where all of it fails.
        let taken = self.window.len() + failures.count();
        let limit = webhook
            .room()
            .saturating_sub(taken)
            .min(WINDOW_MAX.saturating_sub(self.window.len()))
            .min(BATCH_MAX);
        let until = Instant::now() + LOOK_EVERY;
        let is_stepping = !self.tasks.is_empty();
        let reading = self.reading.as_mut().filter(|_| limit > 0);
        let next = async {
            match reading {
                Some(reading) => reading.watch.next(limit, until).await,
                None => {
                    tokio::time::sleep_until(until.into()).await;
                    Ok(Vec::new())
                }
            }
        };
        let beginning = OptionFuture::from(self.beginning.as_mut());
        tokio::select! {
            biased;
            Some(begun) = beginning => {
                self.beginning = None;
                match begun {
                    Ok(begun) => self.begun = Some(begun),
                    Err(error) => {
                        tracing::error!(webhook = %self.id, %error, "the feed could not be begun within this program");
                        self.begin_after = Instant::now() + AGAIN;
                    }
                }
            }
            Some(done) = self.tasks.join_next(), if is_stepping => {
                match done {
                    Ok(done) => self.done(done),
                    Err(error) => self.lost(&error),
                }
            }
            found = next => match found {
                Ok(found) => self.take(found),
                Err(error) => {
                    if error != WatchError::Unavailable {
                        tracing::info!(webhook = %self.id, %error, "the feed of a webhook is begun anew");
                    }
                    self.is_cut_off = true;
                }
            },
        }
    }

    /// Takes changes in that the feed has.
    fn take(&mut self, found: Vec<OrderChange>) {
        let Some(reading) = &self.reading else { return };
        let since = self.webhook().and_then(|webhook| webhook.since);
        let shown = found.into_iter().filter(|found| {
            since.is_none_or(|since| found.change.at >= since)
                && reading.filter.lets_through(found.change.kind, &found.order)
        });
        let jobs: Vec<(Due, Order)> = shown
            .map(|found| {
                let id = DeliveryId {
                    order: found.order.id,
                    version: found.change.version,
                };
                let due = Due {
                    id,
                    kind: found.change.kind,
                    at: found.change.at,
                };
                (due, found.order)
            })
            .collect();
        self.busy.extend(jobs.iter().map(|(due, _)| due.id));
        self.window.push(jobs, positions_of(&reading.watch));
    }

    /// Nobody knows what came of a delivery: all that is in flight is begun anew.
    fn lost(&mut self, error: &JoinError) {
        tracing::error!(webhook = %self.id, %error, "a delivery failed within this program");
        self.tasks.abort_all();
        self.tasks = JoinSet::new();
        self.retrying = 0;
        self.busy = self.outcomes.iter().map(|outcome| outcome.id).collect();
        self.is_cut_off = true;
    }

    /// Takes in what came of a delivery.
    fn done(&mut self, done: Done) {
        let Done {
            due,
            attempt,
            is_fresh,
            run,
        } = done;
        if !is_fresh {
            self.retrying = self.retrying.saturating_sub(1);
        }
        let is_of_window = is_fresh && run == self.run;
        let Some(attempt) = attempt else {
            // What is new and cannot be read stays at the head of its order; nobody knows when it can.
            self.busy.remove(&due.id);
            return;
        };
        if is_of_window {
            self.window.done(due.id);
        }
        match attempt {
            Attempt::Delivered => {
                self.is_back |= self.webhook().is_some_and(|webhook| webhook.room() == 0);
                if is_fresh {
                    self.delivered += 1;
                    self.busy.remove(&due.id);
                }
            }
            Attempt::Failed { failure, .. } => {
                self.is_back = false;
                self.is_gone |= failure == DeliveryFailure::Status(410);
            }
        }
        // One that was fresh may be deferred all the same, since before a restart.
        if attempt != Attempt::Delivered || !is_fresh || self.is_deferred(due.id) {
            self.busy.insert(due.id);
            let outcome = Outcome {
                id: due.id,
                kind: due.kind,
                at: due.at,
                attempt,
            };
            // One that was tried twice at once has arrived if it arrived either time.
            match self.outcomes.iter_mut().find(|other| other.id == due.id) {
                Some(other) if attempt == Attempt::Delivered => *other = outcome,
                Some(_) => {}
                None => self.outcomes.push(outcome),
            }
        }
    }

    fn is_deferred(&self, id: DeliveryId) -> bool {
        self.webhook()
            .is_some_and(|webhook| webhook.deferred.contains_key(&id))
    }

    /// Records what there is to be recorded, where it is time for that. False where this node cannot any more.
    async fn record_if_due(&mut self, webhook: &Webhook) -> bool {
        let since = self.recorded.elapsed();
        let is_something = self.delivered > 0 || !self.outcomes.is_empty();
        let is_moved = self.window.resolved().is_some();
        let is_due = (is_something && since >= RECORD_EVERY)
            || self.outcomes.len() >= OUTCOMES_SOON
            || self.is_gone && webhook.paused.is_none()
            || (is_moved && since >= RECORD_IDLE_EVERY);
        if !is_due {
            self.is_gone &= webhook.paused.is_none();
            return true;
        }
        self.record().await
    }

    /// Records what there is: outcomes, and how far the webhook is.
    async fn record(&mut self) -> bool {
        let epoch = self.reading.as_ref().map(|reading| reading.epoch);
        let progress = Progress {
            positions: self.window.resolved(),
            delivered: self.delivered,
            outcomes: self.outcomes.clone(),
            is_gone: self.is_gone,
            ..self.progress(epoch.unwrap_or_default())
        };
        let is_something = progress.positions.is_some()
            || progress.delivered > 0
            || !progress.outcomes.is_empty()
            || progress.is_gone;
        if !is_something {
            return true;
        }
        self.recorded = Instant::now();
        match self.execute(progress).await {
            Ok(()) => {
                for outcome in self.outcomes.drain(..) {
                    self.busy.remove(&outcome.id);
                }
                self.delivered = 0;
                self.is_gone = false;
                self.window.recorded();
                true
            }
            // It is recorded with what comes next. What was recorded all the same counts as failed once more, or as delivered.
            Err(WebhookError::OutcomeUnknown | WebhookError::Contended | WebhookError::LowSpace { .. }) => {
                sleep(AGAIN).await;
                true
            }
            Err(_) => false,
        }
    }

    fn progress(&self, epoch: u64) -> Progress {
        Progress {
            webhook: self.id,
            epoch,
            positions: None,
            delivered: 0,
            outcomes: Vec::new(),
            is_gone: false,
            is_gap: false,
        }
    }

    fn execute(&self, progress: Progress) -> impl Future<Output = Result<(), WebhookError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            let webhook = progress.webhook;
            let command = WebhookCommand {
                time: (shared.clock)(),
                request_id: None,
                request: WebhookRequest::Progress(progress),
            };
            let done = shared.docket.webhooks().execute(&command).await;
            if let Err(error) = &done
                && *error != WebhookError::Rejected(WebhookRejection::NotFound)
            {
                tracing::info!(%webhook, %error, "deliveries could not be recorded");
            }
            done.map(drop)
        }
    }

    fn measure(&self, webhook: &Webhook) {
        let now = (self.shared.clock)();
        let age_s = |at: Time| now.0.saturating_sub(at.0) as f64 / 1e6;
        let untried = self.window.oldest().filter(|_| webhook.paused.is_none());
        let deferred = webhook.deferred.values().map(|deferred| deferred.at);
        let undelivered = deferred.chain(self.window.oldest()).min();
        let lag = Lag {
            untried: untried.map_or(0.0, age_s),
            undelivered: undelivered.map_or(0.0, age_s),
        };
        self.shared.lags.lock().insert(self.id, lag);
    }
}

fn positions_of(watch: &OrderWatch) -> FeedPositions {
    FeedPositions(watch.positions().map(|at| (at.index, at.ordinal)).collect())
}
