//! The feed: what is committed about orders, for whoever watches.
//!
//! ```text
//!   apply ──▶ Ring ──wakes──▶ dispatcher ──wakes──▶ OrderWatch (a position in each shard) ──▶ edge
//!             (one a shard)   (one a shard)            ▲
//!                          a peer's rings ─ long poll ─┘  of shards that have no replica here
//! ```
//!
//! What it guarantees to a watch:
//! - Every change of an order that its filter lets through, none twice, those of one customer in their order; between
//!   shards there is no order. Only what is committed.
//! - Positions are the log's: whoever goes on from one, on any node and after any restart, misses nothing and sees nothing again.
//!   What is not kept any more is an error, never a gap. It is bounded by number, and by age where that is configured: replicas may
//!   keep different parts, since age goes by each node's clock.
//! - The writer waits for no watch, but for the ring's lock, which nobody holds for longer than a look at [`SCANNED_MAX`] changes takes. It puts
//!   40 bytes into the ring and, where somebody watches, wakes one task.

mod elsewhere;
mod ring;
mod waiting;
mod watching;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use docket_engine::{Change, CustomerId, Order, OrderId, OrderState, Record, Time};
use docket_proto::{
    feed::{FeedFrom, FeedPosition},
    snapshot::{FeedStart, KeptChange},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use ring::{Ring, TooOld};
use waiting::{Found, Interest, Interests};

pub(crate) use ring::Captured;
pub use watching::OrderWatch;

/// Changes of one shard that are kept where nothing else is configured: 2.5 MiB of memory for each shard.
const RETAINED_MAX: usize = 65_536;
/// Watches are woken so often at most, of one shard: what comes meanwhile is read at once.
const WAKE_EVERY: Duration = Duration::from_millis(2);
/// So many changes are looked at under the ring's lock at once.
const SCANNED_MAX: usize = 2_048;

/// What is kept of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedLimits {
    /// Changes of orders that are kept in each shard, at 40 bytes. Default 65,536.
    pub retained_max: usize,
    /// For how long a change is kept at most, by the node's clock. Default: for as long as there is room.
    pub retained_for: Option<Duration>,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            retained_max: RETAINED_MAX,
            retained_for: None,
        }
    }
}

/// Which changes are watched, and from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOrders {
    /// Only this customer's.
    pub customer: Option<CustomerId>,
    /// Only changes that leave an order in one of these states; any when empty.
    pub states: Vec<OrderState>,
    /// Where each shard begins: one where a customer is named, else all in their order.
    pub from: Vec<FeedFrom>,
}

/// A change, and the order as it was after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderChange {
    /// What happened.
    pub change: Change,
    /// The order.
    pub order: Order,
}

/// Why a watch does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// What comes at its position is not kept any more.
    #[error("the changes from there on are not kept any more")]
    TooOld,
    /// Its position is not one of this cluster's.
    #[error("there is no such position")]
    Unknown,
    /// A shard cannot be read, here or elsewhere.
    #[error("a shard cannot be read now")]
    Unavailable,
    /// A change whose order does not exist.
    #[error("an invariant is broken: {0}")]
    Broken(&'static str),
}

/// A shard's changes, and who waits for them.
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    /// There are changes, and somebody waits for some.
    changed: Notify,
    /// How many do.
    waiting: AtomicUsize,
    interests: Mutex<Interests>,
    /// All before was noted for those who wait for a customer's, since there are any. Changes while `interests` is locked.
    noted: Mutex<FeedPosition>,
}

/// Has a feed in it.
pub(crate) trait AsFeed: Send + Sync {
    /// The feed.
    fn feed(&self) -> &Feed;

    /// Whose an order is; `None` where there is none such at this moment.
    fn customer_of(&self, order: OrderId) -> Option<CustomerId>;
}

impl Feed {
    pub(crate) fn new(limits: FeedLimits) -> Self {
        Self {
            ring: Mutex::new(Ring::new(limits.retained_max)),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            interests: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// What is applied next is of this entry of the log.
    pub(crate) fn begin(&self, index: u64) {
        self.ring.lock().begin(index);
    }

    /// Keeps what a record changed of orders, which was applied. Wakes nobody.
    pub(crate) fn note(&self, record: &Record) {
        let is_order = |event: &docket_engine::Event| matches!(event.fact, docket_engine::Fact::Order(..));
        if record.events.iter().any(is_order) {
            self.ring.lock().note(&record.events, record.time);
        }
    }

    /// An entry was applied: whoever waits may look.
    pub(crate) fn end(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_one();
        }
    }

    /// Forgets everything, to be restored.
    pub(crate) fn clear(&self) {
        self.ring.lock().clear();
    }

    /// As of a log that begins here.
    pub(crate) fn begin_anew(&self) {
        self.ring.lock().begin_anew();
        let interests = self.interests.lock();
        *self.noted.lock() = FeedPosition::default();
        interests.tell_more();
    }

    /// Changes from here on will be put in.
    pub(crate) fn restore(&self, start: FeedStart) {
        self.ring.lock().restore(start.floor);
    }

    /// Puts changes in that a snapshot has.
    pub(crate) fn put(&self, changes: &[KeptChange]) {
        let mut ring = self.ring.lock();
        changes.iter().for_each(|change| ring.push(change));
    }

    /// What is kept now; the entry after the last one that was applied is `next`.
    pub(crate) fn capture(&self, next: u64) -> Captured {
        self.ring.lock().capture(next)
    }

    /// Forgets changes from before this time.
    pub(crate) fn forget_before(&self, time: Time) {
        while self.ring.lock().forget_before(time, SCANNED_MAX) {}
    }

    /// How many changes are kept.
    pub(crate) fn len(&self) -> usize {
        self.ring.lock().len()
    }

    /// The oldest position that is kept; `None` while nothing has been applied.
    fn floor(&self) -> Option<FeedPosition> {
        self.ring.lock().floor()
    }

    /// Where the first change is that is kept and is not from before this time; behind all, where there is none such. `None` where it is not
    /// known yet what is kept.
    fn first_since(&self, time: Time) -> Option<FeedPosition> {
        let mut from = self.floor()?;
        loop {
            let (mut scanned, mut is_found) = (0, false);
            let mut next = from;
            let read = self.ring.lock().read(from, |kept| {
                is_found = kept.is_since(time);
                if is_found || scanned == SCANNED_MAX {
                    return false;
                }
                scanned += 1;
                next = kept.position().next();
                true
            });
            match read {
                Ok(()) if is_found || scanned < SCANNED_MAX => return Some(next),
                Ok(()) => from = next,
                // It was forgotten meanwhile.
                Err(TooOld) => from = self.floor()?,
            }
        }
    }

    /// Changes of a slot, or all, from a position on: at most so many, and where it goes on. True where there may be more.
    fn read(&self, from: FeedPosition, slot: Option<u16>, limit: usize) -> Result<Found, TooOld> {
        let (mut found, mut next, mut more) = (Vec::new(), from, false);
        let mut scanned = 0;
        self.ring.lock().read(from, |kept| {
            if found.len() == limit || scanned == SCANNED_MAX {
                more = true;
                return false;
            }
            scanned += 1;
            if slot.is_none_or(|slot| kept.order().slot() == slot) {
                found.push(*kept);
            }
            next = kept.position().next();
            true
        })?;
        Ok((found, next, more))
    }

    /// Wakes who waits, as often as there is something, until the task is aborted.
    pub(crate) async fn dispatch(feed: Arc<dyn AsFeed>) {
        loop {
            feed.feed().changed.notified().await;
            feed.feed().wake(&*feed);
            tokio::time::sleep(WAKE_EVERY).await;
        }
    }
}
