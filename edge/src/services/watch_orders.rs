//! `WatchOrders`: the feed, as a stream.
//!
//! ```text
//!   OrderWatch ──▶ Driver: gathers, makes messages and tokens ──▶ queue, bounded by bytes ──▶ Watching ──▶ client
//!                  (one task a watch)                                                            │
//!                        ▲──────────────────── room for another ─────────────────────────────────┘
//! ```
//!
//! The driver is a task of its own because a reply is only looked at while its client reads: a client that does not must be found
//! out all the same. Nothing waits for a watch but its own driver, and the changes that it has not read are kept for all
//! watches together.
//!
//! What ends a watch: its credential (UNAUTHENTICATED), the node's stop (UNAVAILABLE), a client that does not take what is sent
//! (RESOURCE_EXHAUSTED), or that falls behind what is kept (OUT_OF_RANGE). The token of the last message that the client
//! got resumes it in any case: what was queued and not taken was never sent. A client that does not hear of the end either, since it
//! reads nothing, has its stream reset: it keeps no place and no memory.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use docket_actors::{Docket, OrderChange, OrderWatch, TaskKind, WatchError, WatchOrders};
use docket_engine::access::{Owner, Username, permit};
use docket_proto::{
    WatchOrdersAnswer,
    api::feed::{self, FeedTokens, change_to_proto},
};
use futures::{FutureExt, Stream};
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{Code, Status};

use super::order::{has_staff, hide_staff};
use crate::{
    authenticate::Authenticate,
    config::FeedConfig,
    errors::Refusal,
    gate::{self, CallContext},
    telemetry::Telemetry,
};

/// Changes in one message: they share a token.
const CHANGES_MAX: usize = 64;
/// What is logged of a watch that panicked.
const WATCH_ORDERS: &str = "/docket.v1.OrderService/WatchOrders";
/// How long a watch may go on before it is asked again who watches.
const CREDENTIALS_HOLD: Duration = Duration::from_secs(1);
/// How long a client may take to hear why its watch has ended.
const FAREWELL: Duration = Duration::from_secs(2);
/// When to come back where there are too many watches, or a shard cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// So many messages a second are made at most for all watches together while the node is at work, for as many watches as messages: the more there
/// are, the more changes are told with one message.
const MESSAGES_MAX: u32 = 2_500;
/// But none waits for longer than that because of it.
const GATHERED_MAX: Duration = Duration::from_secs(1);

/// What bounds every watch.
#[derive(Clone)]
pub(crate) struct WatchBounds {
    /// It may be replaced: what a watch has room for is as it was when it began.
    pub(crate) feed: Arc<ArcSwap<FeedConfig>>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Cancelled when the node stops.
    pub(crate) draining: CancellationToken,
    /// Asked again while a watch runs: sessions and keys end.
    pub(crate) authenticator: Arc<dyn Authenticate>,
}

/// How many watches there are, in all and of each account.
#[derive(Default)]
pub(crate) struct Watches {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    of: HashMap<Username, usize>,
}

/// A watch's place, until this is dropped.
struct WatchPlace {
    watches: Arc<Watches>,
    account: Username,
    telemetry: Arc<Telemetry>,
}

impl WatchBounds {
    fn take(&self, account: &Username) -> Result<WatchPlace, Refusal> {
        let full = |limiter, subject: String| {
            self.telemetry.denied(limiter);
            let message = "too many watches are open: end some, or come back later";
            Err(Refusal::new(Code::ResourceExhausted, "TOO_MANY_WATCHES", message)
                .quota(subject)
                .retry(RETRY))
        };
        let feed = **self.feed.load();
        let mut open = self.watches.open.lock();
        if open.all >= feed.watches_max {
            return full("watches", "node:watches".to_owned());
        }
        let of = open.of.get(account).copied().unwrap_or_default();
        if of >= feed.watches_per_account {
            return full("account_watches", format!("account:{}", account.as_str()));
        }
        open.all += 1;
        open.of.insert(account.clone(), of + 1);
        self.telemetry.watches.set(open.all as f64);
        Ok(WatchPlace {
            watches: Arc::clone(&self.watches),
            account: account.clone(),
            telemetry: Arc::clone(&self.telemetry),
        })
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        let mut open = self.watches.open.lock();
        open.all = open.all.saturating_sub(1);
        match open.of.get_mut(&self.account) {
            Some(of) if *of > 1 => *of -= 1,
            _ => {
                open.of.remove(&self.account);
            }
        }
        self.telemetry.watches.set(open.all as f64);
    }
}

/// A message, and the room that it has until it is taken.
type Queued = (WatchOrdersAnswer, Option<OwnedSemaphorePermit>);

/// What is watched, as the client takes it.
pub(crate) struct Watching {
    queue: mpsc::UnboundedReceiver<Queued>,
    /// What is queued is thrown away: its client was cut off.
    cut: Arc<AtomicBool>,
    /// Why it ends; `None` when the client was told.
    ended: Option<oneshot::Receiver<Status>>,
    telemetry: Arc<Telemetry>,
    _driver: AbortOnDropHandle<()>,
    /// Until the client has heard of the end, or its stream was reset: what is queued stays as long.
    _place: WatchPlace,
}

/// Reads the feed and queues what the client is to get.
struct Driver {
    docket: Docket,
    watch: OrderWatch,
    tokens: FeedTokens,
    bounds: WatchBounds,
    context: CallContext,
    /// The headers of the call, with its credential.
    headers: HeaderMap,
    authenticated: Instant,
    /// When the client was last told anything.
    told: Option<Instant>,
    /// Room for bytes, and how many it had in the beginning.
    room: Arc<Semaphore>,
    buffer_bytes: usize,
    queue: mpsc::UnboundedSender<Queued>,
    cut: Arc<AtomicBool>,
    /// Drops the call.
    cutter: CancellationToken,
}

impl Watching {
    /// Begins to watch.
    pub(crate) async fn begin(
        docket: &Docket,
        bounds: &WatchBounds,
        context: CallContext,
        headers: HeaderMap,
        asked: feed::WatchOrders,
        of: &feed::FeedOf,
    ) -> Result<Self, Refusal> {
        let place = bounds.take(&context.principal.account)?;
        let tokens = asked.tokens(of);
        let watch = WatchOrders {
            customer: asked.customer,
            states: asked.states,
            from: asked.from,
        };
        let watch = docket
            .watch_orders(&context.call(None), watch)
            .await
            .map_err(|error| refused(&error, &bounds.telemetry))?;
        let (sender, queue) = mpsc::unbounded_channel();
        let cut = Arc::new(AtomicBool::new(false));
        let buffer_bytes = bounds.feed.load().buffer_bytes;
        let room = buffer_bytes.min(Semaphore::MAX_PERMITS);
        let driver = Driver {
            docket: docket.clone(),
            watch,
            tokens,
            bounds: bounds.clone(),
            context,
            headers,
            authenticated: Instant::now(),
            // At once: so a client knows where it begins before anything happens.
            told: None,
            room: Arc::new(Semaphore::new(room)),
            buffer_bytes,
            queue: sender,
            cut: Arc::clone(&cut),
            cutter: gate::call_cutter(),
        };
        let (ending, ended) = oneshot::channel();
        Ok(Self {
            queue,
            cut,
            ended: Some(ended),
            _driver: AbortOnDropHandle::new(tokio::spawn(TaskKind::Watch.measure(driver.run(ending)))),
            telemetry: Arc::clone(&bounds.telemetry),
            _place: place,
        })
    }
}

/// For how long a watch gathers changes while the node is at work, where it would for `gather`, with so many watches; not at all where that is 0.
fn gathers_for(gather: Duration, watches: usize) -> Duration {
    let watches = u32::try_from(watches).unwrap_or(u32::MAX);
    match gather {
        Duration::ZERO => gather,
        _ => (Duration::from_secs(1) * watches / MESSAGES_MAX)
            .min(GATHERED_MAX)
            .max(gather),
    }
}

fn heartbeat(feed: &FeedConfig) -> Duration {
    Duration::from_millis(feed.heartbeat_ms)
}

impl Stream for Watching {
    type Item = Result<WatchOrdersAnswer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.cut.load(Ordering::Acquire)
            && let Some((message, _room)) = ready!(self.queue.poll_recv(cx))
        {
            self.telemetry.watched.increment(message.changes() as u64);
            return Poll::Ready(Some(Ok(message)));
        }
        let Some(ended) = &mut self.ended else {
            return Poll::Ready(None);
        };
        let ended = ready!(ended.poll_unpin(cx));
        self.ended = None;
        let status = ended.unwrap_or_else(|_| gate::panicked(&self.telemetry, WATCH_ORDERS).into());
        Poll::Ready(Some(Err(status)))
    }
}

impl Driver {
    /// Watches until it ends, and drops the call if its client does not hear of that. It is aborted when it does.
    async fn run(mut self, ending: oneshot::Sender<Status>) {
        let refusal = match self.watch_on().await {
            Ok(never) => match never {},
            Err(refusal) => refusal,
        };
        let Self { cutter, queue, .. } = self;
        // Behind what is queued its client hears of the end.
        drop(queue);
        // Where nobody is told any more, this task is about to be aborted.
        let _ = ending.send(refusal.into());
        sleep(FAREWELL).await;
        cutter.cancel();
    }

    async fn watch_on(&mut self) -> Result<std::convert::Infallible, Refusal> {
        let mut told = 0;
        loop {
            let heartbeat = heartbeat(&self.bounds.feed.load());
            self.gather(told).await?;
            let due = self.told.map_or_else(Instant::now, |told| told + heartbeat);
            let until = due.min(self.authenticated + CREDENTIALS_HOLD);
            let draining = self.bounds.draining.clone();
            let found = tokio::select! {
                biased;
                () = draining.cancelled() => return Err(Refusal::stopping()),
                found = self.watch.next(CHANGES_MAX, until) => found,
            };
            self.authenticate()?;
            let found = found.map_err(|error| refused(&error, &self.bounds.telemetry))?;
            if found.is_empty() && Instant::now() < due {
                continue;
            }
            let message = self.message(&found);
            told = message.changes();
            self.told = Some(Instant::now());
            self.queue(message).await?;
        }
    }

    /// What the client is told of these changes, which are all behind the last ones.
    fn message(&self, found: &[OrderChange]) -> WatchOrdersAnswer {
        let principal = &self.context.principal;
        let mut message = WatchOrdersAnswer::default();
        for OrderChange { change, order } in found {
            if has_staff(principal, order) {
                let mut shown = change_to_proto(change.kind, change.at, order);
                if let Some(order) = &mut shown.order {
                    hide_staff(principal, order);
                }
                message.tell_message(&shown);
            } else {
                message.tell(change.kind, change.at, order);
            }
        }
        message.ended_by(&self.tokens.token(self.watch.positions()))
    }

    /// While the node is at work, waits for what comes behind the changes that were just told, so that it is told at once: a message costs as
    /// much as some changes in it. Where a message was full there is more already.
    async fn gather(&mut self, told: usize) -> Result<(), Refusal> {
        if !(1..CHANGES_MAX).contains(&told) || !self.docket.is_at_work() {
            return Ok(());
        }
        let gather = Duration::from_millis(self.bounds.feed.load().gather_ms);
        let gathered = sleep(gathers_for(gather, self.bounds.watches.open.lock().all));
        tokio::select! {
            biased;
            () = self.bounds.draining.cancelled() => Err(Refusal::stopping()),
            () = gathered => Ok(()),
        }
    }

    /// Whether the watch's credential still holds, and what its owner may do by now.
    fn authenticate(&mut self) -> Result<(), Refusal> {
        let now = Instant::now();
        if now.duration_since(self.authenticated) < CREDENTIALS_HOLD {
            return Ok(());
        }
        let authenticated = self.bounds.authenticator.authenticate(&self.headers);
        let principal = authenticated.map_err(|error| {
            self.bounds.telemetry.unauthenticated(error.reason);
            Refusal::from(error)
        })?;
        permit(&principal, self.context.grant, Owner::Unread)?;
        // What it may see was decided when it began.
        if (principal.role, &principal.customer)
            != (self.context.principal.role, &self.context.principal.customer)
        {
            let message = "the account is another's by now: begin the watch anew";
            return Err(Refusal::new(Code::Aborted, "ACCOUNT_CHANGED", message));
        }
        self.authenticated = now;
        Ok(())
    }

    /// Queues a message as soon as there is room.
    async fn queue(&mut self, message: WatchOrdersAnswer) -> Result<(), Refusal> {
        let bytes = message.bytes().len().min(self.buffer_bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let stalled = Duration::from_millis(self.bounds.feed.load().stalled_ms);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let room = tokio::select! {
            biased;
            () = self.bounds.draining.cancelled() => return Err(Refusal::stopping()),
            room = timeout(stalled, room) => room,
        };
        let Ok(room) = room else {
            self.cut.store(true, Ordering::Release);
            self.bounds.telemetry.cut_off("too_slow");
            let message = "what was sent was not taken in time: resume with the last token, and read faster";
            return Err(Refusal::new(Code::ResourceExhausted, "WATCHER_TOO_SLOW", message));
        };
        // Where nobody takes messages any more, this task is about to be aborted.
        let _ = self.queue.send((message, room.ok()));
        Ok(())
    }
}

/// How a watch is refused, or ends.
fn refused(error: &WatchError, telemetry: &Telemetry) -> Refusal {
    match error {
        WatchError::TooOld => {
            telemetry.cut_off("too_old");
            let message = "changes behind this token are not kept any more: read the orders anew (ListOrders), and watch \
                           without a token, or from OLDEST";
            Refusal::new(Code::OutOfRange, "RESUME_TOKEN_TOO_OLD", message).with("field", "resume_token")
        }
        WatchError::Unknown => Refusal::invalid([(
            "resume_token",
            "must be a resume_token of this cluster: there is no such position",
        )]),
        WatchError::Unavailable => {
            let message = "a shard's changes cannot be read here now: resume with the last token, here or at another node";
            Refusal::new(Code::Unavailable, "SHARD_UNAVAILABLE", message).retry(RETRY)
        }
        WatchError::Broken(why) => {
            let incident = telemetry.incident();
            tracing::error!(why, incident, "a watch met a broken invariant");
            Refusal::internal(&incident)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_watches_gather_for_longer_and_none_where_none_should() {
        let of = |gather, watches| gathers_for(Duration::from_millis(gather), watches).as_millis();
        assert_eq!([of(200, 1), of(200, 500), of(200, 1_000)], [200, 200, 400]);
        assert_eq!(
            [of(200, 100_000), of(5_000, 100_000), of(0, 100_000)],
            [1_000, 5_000, 0]
        );
        assert_eq!(of(200, usize::MAX), 1_000);
    }
}
