//! How far a load is, for whoever shows it, and for whoever watches it closely.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{Acknowledged, Latencies};

/// Acknowledged orders that wait for whoever looks at some of them.
const RECENT_MAX: usize = 1_024;
/// One acknowledged order of so many is kept for that.
const RECENT_EVERY: u64 = 16;

/// How far a load is.
#[derive(Debug)]
pub struct Progress {
    /// Orders acknowledged.
    pub orders: AtomicU64,
    /// Orders read.
    pub reads: AtomicU64,
    /// Calls failed.
    pub failed: AtomicU64,
    /// Those of them that were refused for want of room or tokens.
    pub refused: AtomicU64,
    /// No operation begins once so many orders are acknowledged.
    orders_max: AtomicU64,
    /// What only a close look needs; costs a lock an order, so that nobody pays for it unasked.
    watched: Option<Mutex<Watched>>,
}

/// What somebody who looks closely sees.
#[derive(Debug, Default)]
pub struct Watched {
    /// Latencies of the orders since they were last taken.
    pub latencies: Latencies,
    /// Some of the orders that were acknowledged, oldest first.
    pub recent: VecDeque<Acknowledged>,
    /// Operations whose orders somebody has taken out of these to lead them on: they are what that makes of them.
    pub led: HashSet<u64>,
}

impl Watched {
    /// Takes an order out, so that nobody else gets it, and leads it on from here.
    pub(crate) fn lead(&mut self, at: usize) -> Option<Acknowledged> {
        let order = self.recent.swap_remove_back(at)?;
        self.led.insert(order.n);
        Some(order)
    }

    /// Forgets the orders: what comes is of another workload.
    pub fn begin_anew(&mut self) {
        self.recent.clear();
        self.led.clear();
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            orders: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            orders_max: AtomicU64::new(u64::MAX),
            watched: None,
        }
    }
}

impl Progress {
    /// One that is watched closely.
    pub fn watched() -> Self {
        Self {
            watched: Some(Mutex::default()),
            ..Self::default()
        }
    }

    /// Operations that ended well.
    pub fn done(&self) -> u64 {
        self.orders.load(Relaxed) + self.reads.load(Relaxed)
    }

    /// Lets no operation begin once so many orders are acknowledged: 0 ends the load, which then waits for its answers.
    pub fn stop_at(&self, orders: u64) {
        self.orders_max.store(orders, Relaxed);
    }

    /// Whether no more operations are to begin.
    pub fn is_over(&self) -> bool {
        self.orders.load(Relaxed) >= self.orders_max.load(Relaxed)
    }

    /// What is seen by looking closely; none where nobody asked for that.
    pub fn watch(&self) -> Option<MutexGuard<'_, Watched>> {
        // What a panic leaves there are counts, each of them whole.
        let watched = self.watched.as_ref()?;
        Some(watched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An order was acknowledged, after so long.
    pub(crate) fn acknowledged(&self, order: Option<Acknowledged>, took: Duration) {
        let before = self.orders.fetch_add(1, Relaxed);
        let Some(mut watched) = self.watch() else {
            return;
        };
        watched.latencies.record(took);
        if let Some(order) = order.filter(|_| before.is_multiple_of(RECENT_EVERY)) {
            if watched.recent.len() == RECENT_MAX {
                watched.recent.pop_front();
            }
            watched.recent.push_back(order);
        }
    }
}
