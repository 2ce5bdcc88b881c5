//! Payments by providers: who leads a shard asks the providers of its orders for what is due, and tells the orders what they answered.
//!
//! ```text
//!   committed: a step is due ──▶ the provider is asked ──▶ it answers for good ──▶ the order is told ──▶ committed: what came of it
//!        ▲                              │ it does not                                  │ its actor, or the leader, is lost
//!        └──────── later, and then what became of that is asked first ◀────────────────┘
//! ```
//!
//! Nothing of this is kept but what is committed with the order, so whoever leads next goes on with it: every step has a key that is the same however
//! often it is asked, and a leader that finds a step which was due before it led has the provider asked what became of it. An order
//! that a provider does not answer in time is told so ([`PaymentOptions::authorize_within`]).

mod awaited;
mod driver;
mod expiry;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use docket_engine::{Order, ProviderName, Time};
use docket_payments::PaymentProvider;
use parking_lot::Mutex;

pub(crate) use awaited::Awaited;
pub(crate) use driver::run;

/// It is told at most so often of a provider that something is not settled.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Who moves money, and how long orders wait for that.
#[derive(Clone)]
pub struct PaymentOptions {
    /// By name. Orders are placed with these and no others; what is due of an order whose provider is not here any more waits until it is back.
    pub providers: BTreeMap<ProviderName, Arc<dyn PaymentProvider>>,
    /// An order whose payment was not authorised so long after it was placed is given up, and an edit so long after its items have agreed. Default 15
    /// minutes. A node that was down, or whose clock jumps ahead, lets those that wait do so up to a quarter longer, and never less than half as long; and
    /// where calls leave it no room, while few are too old, it gives up fewer at a time.
    pub authorize_within: Duration,
    /// So many steps are asked of one provider at once, for each shard that is led here. Default 16.
    pub at_once: usize,
    /// A step that was not answered is asked for again after so long at first, twice as long each time; and after so long at last. Default 1 to 60
    /// seconds.
    pub again_after: (Duration, Duration),
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Default for PaymentOptions {
    fn default() -> Self {
        Self {
            providers: BTreeMap::new(),
            authorize_within: Duration::from_secs(15 * 60),
            at_once: 16,
            again_after: (Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

impl fmt::Debug for PaymentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentOptions")
            .field("providers", &self.providers.keys().collect::<Vec<_>>())
            .field("authorize_within", &self.authorize_within)
            .field("at_once", &self.at_once)
            .field("again_after", &self.again_after)
            .finish()
    }
}

/// The node's providers.
pub(crate) struct Payments {
    options: PaymentOptions,
    /// [`PaymentOptions::authorize_within`], in microseconds, as it is now.
    authorize_within_us: AtomicI64,
    /// [`PaymentOptions::at_once`], as it is now.
    at_once: AtomicUsize,
    /// When it was last told of each provider that something is not settled, and how often that was since.
    told: Mutex<BTreeMap<ProviderName, (Instant, u64)>>,
}

impl Payments {
    pub(crate) fn new(options: PaymentOptions) -> Self {
        Self {
            authorize_within_us: AtomicI64::new(micros(options.authorize_within)),
            at_once: AtomicUsize::new(options.at_once),
            options,
            told: Mutex::default(),
        }
    }

    /// Goes by these from now on.
    pub(crate) fn set_bounds(&self, authorize_within: Duration, at_once: usize) {
        self.authorize_within_us.store(micros(authorize_within), Relaxed);
        self.at_once.store(at_once, Relaxed);
    }

    /// The longest that an order may wait for its authorisation, in microseconds.
    pub(crate) fn authorize_within_us(&self) -> i64 {
        self.authorize_within_us.load(Relaxed)
    }

    /// Until when what an order has reserved is held for it, as this node has it; `None` where nothing of it expires.
    pub(crate) fn held_until(&self, order: &Order) -> Option<Time> {
        order.held_until(self.authorize_within_us())
    }

    /// Whether it is to be told that something of a provider is not settled, and how often that was since it was told last. With a hundred thousand
    /// orders that wait for one it would be told a thousand times a second.
    fn tells(&self, name: &ProviderName) -> Option<u64> {
        let (now, mut told) = (Instant::now(), self.told.lock());
        match told.get_mut(name) {
            Some((last, since)) if now.duration_since(*last) < TELL_EVERY => {
                *since += 1;
                None
            }
            Some((last, since)) => {
                *last = now;
                Some(std::mem::take(since))
            }
            None => {
                told.insert(name.clone(), (now, 0));
                Some(0)
            }
        }
    }

    pub(crate) fn provider(&self, name: &ProviderName) -> Option<&Arc<dyn PaymentProvider>> {
        self.options.providers.get(name)
    }
}
