//! What a shard's entities were when a snapshot of it began, as far as they have changed since and are not written yet.
//!
//! Nothing is copied when a snapshot begins. It is written in the order of keys, slice by slice; whoever is about to change an entity that
//! is still to come keeps first what it was, once:
//!
//! ```text
//!    written   │  to come: as it is now, or as it was where that was kept
//!  ────────────┼─────────────────────────────────────────────────────────▶ keys
//!             done
//! ```
//!
//! A slice is made, and something kept, under one lock: what is about to change is either kept before its slice is made, or changes after.
//! So the writer of the log waits for one slice at most, and only while there is a snapshot.
//!
//! Hardly anything needs keeping. Customers and items are written first and soon. What is new has a higher id than all that was there
//! (orders' ids begin with their time), and is passed over by that; what is kept is what was on its way at that moment, and what is
//! cancelled later.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use docket_engine::{Customer, CustomerId, Item, Order, OrderId, Quantity, Sku};
use parking_lot::{Mutex, MutexGuard};

/// The snapshots of a shard that are being written: one, seldom two.
///
/// Beside them is what can be seen without their lock: whether any is still to write entities of a kind. A snapshot is begun between two
/// entries, by the one thread that applies them or by who keeps it from applying, so that it misses none.
#[derive(Default)]
pub(crate) struct Captures {
    customers: AtomicBool,
    items: AtomicBool,
    /// Orders whose id's upper half is below this may be still to come.
    orders: AtomicU64,
    /// And the reservations of those.
    reserved: AtomicU64,
    numbers: AtomicU64,
    all: Mutex<Vec<Before>>,
}

impl Captures {
    /// Begins one, whose state has no order and no reservation of an order behind these; says its number.
    pub(crate) fn begin(&self, newest_order: OrderId, newest_reserved: OrderId) -> u64 {
        let number = self.numbers.fetch_add(1, Relaxed);
        let mut all = self.all.lock();
        all.push(Before {
            number,
            newest_order,
            newest_reserved,
            customers: Kept::default(),
            items: Kept::default(),
            orders: Kept::default(),
            reservations: KeptReservations::default(),
        });
        self.show(&all);
        number
    }

    /// Whether what customers are may have to be kept.
    pub(crate) fn want_customers(&self) -> bool {
        self.customers.load(Acquire)
    }

    /// Whether what items are may have to be kept.
    pub(crate) fn want_items(&self) -> bool {
        self.items.load(Acquire)
    }

    /// Whether what an order is may have to be kept.
    pub(crate) fn want_order(&self, id: OrderId) -> bool {
        id.halves().0 < self.orders.load(Acquire)
    }

    /// Whether what is reserved for an order may have to be kept.
    pub(crate) fn want_reserved(&self, order: OrderId) -> bool {
        order.halves().0 < self.reserved.load(Acquire)
    }

    /// Whether anything may have to be kept.
    #[cfg(test)]
    pub(crate) fn want_anything(&self) -> bool {
        let first = OrderId(0);
        self.want_customers() || self.want_items() || self.want_order(first) || self.want_reserved(first)
    }

    fn show(&self, all: &[Before]) {
        let below = |ids: &mut dyn Iterator<Item = OrderId>| {
            let highest = ids.map(|id| id.halves().0.saturating_add(1)).max();
            highest.unwrap_or(0)
        };
        let orders = all.iter().filter(|before| !before.orders.is_all_done());
        let reserved = all.iter().filter(|before| before.reservations.done != Done::All);
        let is_customers_due = all.iter().any(|before| !before.customers.is_all_done());
        let is_items_due = all.iter().any(|before| !before.items.is_all_done());
        self.customers.store(is_customers_due, Release);
        self.items.store(is_items_due, Release);
        self.orders
            .store(below(&mut orders.map(|before| before.newest_order)), Release);
        self.reserved
            .store(below(&mut reserved.map(|before| before.newest_reserved)), Release);
    }

    /// Has each keep what is about to change. No lock may be held that a slice takes.
    pub(crate) fn keep(&self, keep: impl FnMut(&mut Before)) {
        self.all.lock().iter_mut().for_each(keep);
    }

    /// Makes a slice of one; `None` where it is no more.
    pub(crate) fn slice<T>(&self, number: u64, slice: impl FnOnce(&mut Before) -> T) -> Option<T> {
        let mut all = self.all.lock();
        let before = all.iter_mut().find(|before| before.number == number);
        let made = before.map(slice);
        self.show(&all);
        // Whoever waits goes first: the next slice would be begun before it woke.
        MutexGuard::unlock_fair(all);
        made
    }

    /// Nothing is to be kept for this one any more. Says whether it was there.
    pub(crate) fn end(&self, number: u64) -> bool {
        let mut all = self.all.lock();
        let found = all.iter().position(|before| before.number == number);
        let ended = found.map(|at| all.swap_remove(at));
        self.show(&all);
        drop(all);
        ended.is_some()
    }

    /// Ends all of them: the state is about to be replaced.
    pub(crate) fn end_all(&self) {
        let mut all = self.all.lock();
        all.clear();
        self.show(&all);
    }
}

/// What one of them needs.
pub(crate) struct Before {
    number: u64,
    pub(crate) newest_order: OrderId,
    pub(crate) newest_reserved: OrderId,
    pub(crate) customers: Kept<CustomerId, Arc<Customer>>,
    pub(crate) items: Kept<Sku, Arc<Item>>,
    pub(crate) orders: Kept<OrderId, Arc<Order>>,
    pub(crate) reservations: KeptReservations,
}

/// How far something is written.
#[derive(Debug, PartialEq, Eq)]
enum Done<K> {
    Nothing,
    UpTo(K),
    All,
}

impl<K: Ord> Done<K> {
    fn has(&self, key: &K) -> bool {
        match self {
            Self::Nothing => false,
            Self::UpTo(last) => key <= last,
            Self::All => true,
        }
    }

    fn last(&self) -> Option<&K> {
        match self {
            Self::UpTo(last) => Some(last),
            Self::Nothing | Self::All => None,
        }
    }
}

/// About so many entries that were kept are shown in one slice.
const KEPT_MAX: usize = super::SLICE_RESERVATIONS;

/// One kind of entities.
pub(crate) struct Kept<K, V> {
    done: Done<K>,
    /// What was there; `None` where nothing was.
    were: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self {
            done: Done::Nothing,
            were: BTreeMap::new(),
        }
    }
}

/// An entity of a slice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown<L, V> {
    /// As it is now, of which this is known.
    Now(L),
    /// As it was.
    Was(V),
}

impl<K: Ord + Clone, V> Kept<K, V> {
    /// Whether nothing is to come any more.
    fn is_all_done(&self) -> bool {
        matches!(self.done, Done::All)
    }

    /// The last key that is written; `None` before the first.
    pub(crate) fn done(&self) -> Option<&K> {
        self.done.last()
    }

    /// Keeps what is there under a key, unless that is written or kept already.
    pub(crate) fn keep(&mut self, key: &K, was: impl FnOnce() -> Option<V>) {
        if !self.done.has(key) && !self.were.contains_key(key) {
            self.were.insert(key.clone(), was());
        }
    }

    /// Shows the next slice in the order of keys: of what is `live` now, which is everything behind what is done and up to `until` (to the
    /// end where that is `None`), and of what was kept: of that [`KEPT_MAX`] and one at most. Says whether more is to come.
    pub(crate) fn slice<L>(
        &mut self,
        live: impl Iterator<Item = (K, L)>,
        until: Option<K>,
        mut show: impl FnMut(&K, Shown<L, V>),
    ) -> bool {
        // What was kept may be far more than what is there still. Then the slice ends where there is enough of it.
        let enough = self.were.keys().nth(KEPT_MAX).cloned();
        let until = match (enough, until) {
            (Some(enough), Some(until)) => Some(enough.min(until)),
            (enough, until) => enough.or(until),
        };
        let end = until.clone();
        let live = live.take_while(|(key, _)| end.as_ref().is_none_or(|end| key <= end));
        let mut were = match &until {
            None => std::mem::take(&mut self.were),
            Some(_) if self.were.is_empty() => BTreeMap::new(),
            Some(until) => {
                let behind = self.were.split_off(until);
                let mut were = std::mem::replace(&mut self.were, behind);
                if let Some((last, was)) = self.were.remove_entry(until) {
                    were.insert(last, was);
                }
                were
            }
        };
        for (key, now) in live {
            // It is gone now.
            while let Some(gone) = were.first_entry().filter(|first| *first.key() < key) {
                let (key, was) = gone.remove_entry();
                show_was(&key, was, &mut show);
            }
            match were.first_entry().filter(|first| *first.key() == key) {
                Some(kept) => show_was(&key, kept.remove(), &mut show),
                None => show(&key, Shown::Now(now)),
            }
        }
        for (key, was) in were {
            show_was(&key, was, &mut show);
        }
        let more = until.is_some();
        self.done = until.map_or(Done::All, Done::UpTo);
        more
    }
}

fn show_was<K, L, V>(key: &K, was: Option<V>, show: &mut impl FnMut(&K, Shown<L, V>)) {
    if let Some(was) = was {
        show(key, Shown::Was(was));
    }
}

/// Reservations: by item, and of each by order.
pub(crate) struct KeptReservations {
    /// Items all of whose reservations are written.
    done: Done<Sku>,
    by_item: BTreeMap<Sku, Kept<OrderId, Quantity>>,
}

impl Default for KeptReservations {
    fn default() -> Self {
        Self {
            done: Done::Nothing,
            by_item: BTreeMap::new(),
        }
    }
}

impl KeptReservations {
    /// The last item that is done.
    pub(crate) fn done(&self) -> Option<&Sku> {
        self.done.last()
    }

    /// Keeps what is reserved, unless that is written or kept already.
    pub(crate) fn keep(&mut self, sku: &Sku, order: OrderId, was: impl FnOnce() -> Option<Quantity>) {
        if !self.done.has(sku) {
            self.of(sku).keep(&order, was);
        }
    }

    /// Those of one item that is not done.
    pub(crate) fn of(&mut self, sku: &Sku) -> &mut Kept<OrderId, Quantity> {
        self.by_item.entry(sku.clone()).or_default()
    }

    pub(crate) fn end_item(&mut self, sku: Sku) {
        self.by_item.remove(&sku);
        self.done = Done::UpTo(sku);
    }

    /// All items are done.
    pub(crate) fn end(&mut self) {
        self.by_item.clear();
        self.done = Done::All;
    }
}
