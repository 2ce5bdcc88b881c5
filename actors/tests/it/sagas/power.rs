//! The power of a node, and what takes it away: at a record that was committed, or at an answer of the provider.

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use docket_cluster::{Capture, Entry, StateError, StateMachine};
use docket_engine::{
    CustomerEvent, Fact, ItemEvent, OrderEvent, PaymentOutcome, PaymentRequest, Record, Rejection,
};
use docket_payments::{NotSettled, PaymentProvider, http::HttpProvider};
use docket_persistence::mem::MemDisk;
use docket_proto::record::decode_batch;
use futures::{FutureExt as _, future::BoxFuture};
use tokio_util::sync::CancellationToken;

/// When a node loses its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Never.
    Never,
    /// When the record of this number is committed, counted from 1 over all shards: nothing behind it reaches the disk, and nothing of it
    /// was told to anybody.
    Committed(u64),
    /// When the provider has given its final answer of this number, and before that is recorded.
    Answered(u64),
}

/// A node's power.
pub struct Power {
    disk: MemDisk,
    crash: Crash,
    counts: AtomicBool,
    answers: AtomicU64,
    /// What was committed, in words, one a record.
    seen: Mutex<Vec<&'static str>>,
    /// Told of an order that is called off, before anything follows from that.
    called_off: Box<dyn Fn() + Send + Sync>,
    off: CancellationToken,
}

impl Power {
    pub fn new(disk: &MemDisk, crash: Crash, called_off: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            disk: disk.clone(),
            crash,
            counts: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            seen: Mutex::default(),
            called_off: Box::new(called_off),
            off: CancellationToken::new(),
        })
    }

    /// Counts from here on: what is read at the start of a node was committed before.
    pub fn count(&self) {
        self.counts.store(true, Ordering::Release);
    }

    /// Waits until it is gone.
    pub async fn gone(&self) {
        self.off.cancelled().await;
    }

    pub fn is_gone(&self) -> bool {
        self.off.is_cancelled()
    }

    /// How many records were committed, and how many final answers the provider gave.
    pub fn counted(&self) -> (u64, u64) {
        let records = self.seen.lock().unwrap().len() as u64;
        (records, self.answers.load(Ordering::Acquire))
    }

    /// What was committed last.
    pub fn last(&self) -> &'static str {
        self.seen.lock().unwrap().last().copied().unwrap_or("nothing")
    }

    fn take_away(&self) {
        self.disk.kill_process();
        self.off.cancel();
    }

    fn committed(&self, payload: &Bytes) {
        let mut seen = self.seen.lock().unwrap();
        for record in decode_batch(payload).unwrap() {
            // Another shard's may have been the last.
            if self.is_gone() {
                return;
            }
            let is_off = |fact: &Fact| match fact {
                Fact::Order(_, OrderEvent::Cancelled | OrderEvent::Expired) => true,
                Fact::Order(_, OrderEvent::EditRefused { rejection }) => {
                    **rejection == Rejection::PaymentExpired
                }
                _ => false,
            };
            if record.events.iter().any(|event| is_off(&event.fact)) {
                (self.called_off)();
            }
            if !self.counts.load(Ordering::Acquire) {
                continue;
            }
            seen.push(name(&record));
            if self.crash == Crash::Committed(seen.len() as u64) {
                self.take_away();
            }
        }
    }

    fn answered(&self) {
        let number = self.answers.fetch_add(1, Ordering::AcqRel) + 1;
        if self.crash == Crash::Answered(number) {
            self.take_away();
        }
    }
}

/// What a record is about: its first event of an order, or else its first.
fn name(record: &Record) -> &'static str {
    let facts = || record.events.iter().map(|event| &event.fact);
    let order = facts().find(|fact| matches!(fact, Fact::Order(..)));
    match order.or_else(|| facts().next()) {
        Some(Fact::Order(_, event)) => match event {
            OrderEvent::Placed { .. } => "placed",
            OrderEvent::Reserved => "reserved",
            OrderEvent::Authorized { .. } => "authorised",
            OrderEvent::Expired => "expired",
            OrderEvent::PaymentAnswered { .. } => "answered",
            OrderEvent::PaymentRetried { .. } => "retried",
            OrderEvent::Rejected { .. } => "refused",
            OrderEvent::Cancelled => "cancelled",
            OrderEvent::LinesCancelled { .. } => "lines cancelled",
            OrderEvent::Held { .. } => "held",
            OrderEvent::HoldReleased { .. } => "hold released",
            OrderEvent::FulfilmentOpened { .. } => "planned",
            OrderEvent::Shipped { .. } | OrderEvent::FulfilmentShipped { .. } => "shipped",
            OrderEvent::Consumed => "consumed",
            OrderEvent::Released => "released",
            OrderEvent::Refunded { .. } => "refunded",
            OrderEvent::EditBegun { .. } => "edit begun",
            OrderEvent::EditReserved => "edit reserved",
            OrderEvent::Edited { .. } => "edited",
            OrderEvent::EditRefused { .. } => "edit refused",
            _ => "order",
        },
        Some(Fact::Archived(_)) => "archived",
        Some(Fact::Customer(_, CustomerEvent::Held { .. })) => "credit held",
        Some(Fact::Customer(..)) => "customer",
        Some(Fact::Item(_, ItemEvent::Reserved { .. })) => "item reserved",
        Some(Fact::Item(_, ItemEvent::Released { .. })) => "item released",
        Some(Fact::Item(_, ItemEvent::Consumed { .. })) => "item consumed",
        Some(Fact::Item(..)) => "item",
        None => "repeat",
    }
}

/// A shard's machine that tells what is committed before it is applied.
pub struct Watched {
    pub machine: Arc<dyn StateMachine>,
    pub power: Arc<Power>,
}

impl StateMachine for Watched {
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        self.power.committed(entry.payload);
        self.machine.apply(entry)
    }

    fn effects(&self) -> u64 {
        self.machine.effects()
    }

    fn skip(&self, index: u64) {
        self.machine.skip(index);
    }

    fn capture(&self) -> Box<dyn Capture> {
        self.machine.capture()
    }

    fn state_bytes(&self) -> u64 {
        self.machine.state_bytes()
    }

    fn snapshots_since(&self) -> u32 {
        self.machine.snapshots_since()
    }

    fn kept_aside(&self) -> u64 {
        self.machine.kept_aside()
    }

    fn sync_aside(&self) -> Result<u64, StateError> {
        self.machine.sync_aside()
    }

    fn read_aside(&self, from: u64) -> Box<dyn Iterator<Item = io::Result<Bytes>> + Send> {
        self.machine.read_aside(from)
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        self.machine.restore(chunks)
    }

    fn clear(&self) {
        self.machine.clear();
    }

    fn forget_aside(&self) {
        self.machine.forget_aside();
    }
}

/// A provider that is asked by a node with this power: a dead one asks nothing, and hears nothing.
pub struct Powered {
    pub provider: HttpProvider,
    pub power: Arc<Power>,
}

impl PaymentProvider for Powered {
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        may_be_asked: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>> {
        async move {
            let settled = tokio::select! {
                biased;
                () = self.power.gone() => None,
                settled = self.provider.settle(request, may_be_asked) => Some(settled),
            };
            if let Some(Ok(_)) = settled {
                self.power.answered();
            }
            match settled {
                Some(settled) if !self.power.is_gone() => settled,
                _ => pending().await,
            }
        }
        .boxed()
    }
}
