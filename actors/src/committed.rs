//! Committed state of a shard: what its log has applied, and nothing else.
//!
//! One thread writes ([`Committed::apply`], in log order); any number read at the same time. Every entity is an `Arc`
//! that is replaced or, where nobody else holds it, changed in place, so that a reader keeps the version it took.
//!
//! [`Committed::apply`] is deterministic: it reads no clock, draws no random number and iterates no hash map.

mod leaving;
mod remembering;
mod replacing;
#[cfg(test)]
mod tests;
mod validate;
pub(crate) mod weighing;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use docket_cluster::{
    clock::CausalClock,
    faults::{self, Fault},
    planted,
};
use docket_engine::{
    Broken, Customer, CustomerEvent, CustomerId, Decider, EntityId, Event, Fact, Item, ItemEvent, Order,
    OrderEvent, OrderId, OrderState, Record, Request, Sku, Time, Unchanged, Version,
};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rapidhash::fast::RandomState;

use crate::{
    archive::OrderArchive,
    effects::Effects,
    feed::{AsFeed, Feed, FeedLimits},
    fences::Fences,
    first_settled::FirstSettled,
    id_map::IdSet,
    order_index::OrderIndex,
    order_table::OrderTable,
    payments::Awaited,
    remembered::Remembered,
    reservations::Reservations,
    snapshot::before::Captures,
    weight::{
        backorder_bytes, bytes_of_backorders, bytes_of_edits, bytes_of_life, bytes_of_payment,
        bytes_of_plans, bytes_of_row, edit_bytes, life_bytes, payment_bytes, plan_bytes,
    },
};

pub(crate) use replacing::AsOf;
use weighing::less;

type Map<K, V> = DashMap<K, V, RandomState>;

/// A shard's committed state.
pub struct Committed {
    pub(crate) customers: Map<CustomerId, Arc<Customer>>,
    pub(crate) items: Map<Sku, Arc<Item>>,
    pub(crate) orders: OrderTable,
    pub(crate) reservations: Reservations,
    pub(crate) requests: Remembered,
    /// Orders as they were when they were first settled, where they have changed since: what a repeated request gets.
    pub(crate) first_settled: FirstSettled,
    pub(crate) customer_orders: Map<CustomerId, IdSet>,
    /// Taken last: whoever holds it takes no other lock.
    pub(crate) order_index: RwLock<OrderIndex>,
    pub(crate) customer_ids: RwLock<BTreeSet<CustomerId>>,
    pub(crate) skus: RwLock<BTreeSet<Sku>>,
    /// Lives of actors of which no event is taken any more, since an earlier one of theirs did not fit.
    pub(crate) fences: Fences,
    last_time: AtomicI64,
    /// The node's, which is never behind what is applied here.
    clock: CausalClock,
    /// The request of the record that is applied now ([`mark`]), or 0: what it changes is seen a moment before it is remembered.
    remembering: AtomicU64,
    /// What the entry that is applied now, or was last, has made of the state.
    pub(crate) effects: Effects,
    /// Roughly the bytes of all that came after orders were confirmed.
    life_bytes: AtomicU64,
    /// Whether there ever was what only the newest format has a place for, or it came from a snapshot: what items promise beyond what there is, what
    /// orders heard of that, or a payment that an edit has had authorised.
    has_newest: AtomicBool,
    /// And of what that and the one before have a place for: plans of shipments.
    plan_bytes: AtomicU64,
    /// And of what these and the one before have a place for: what providers are to do for orders, and have done, and edits.
    newer_bytes: AtomicU64,
    /// Who waits for what becomes of payments.
    pub(crate) payments: Awaited,
    /// The bytes of what is kept of where changes of orders come from.
    trail_bytes: AtomicU64,
    /// How many orders were ever closed, or came so from a snapshot.
    closed: AtomicU64,
    /// Roughly the bytes of what items promise beyond what there is, and of what orders heard of that.
    backorder_bytes: AtomicU64,
    /// Orders that are over and out of memory.
    pub(crate) archive: OrderArchive,
    /// Index after that of the last entry that was applied.
    applied_next: AtomicU64,
    feed: Feed,
    /// How often it was restored, twice; odd while it is being restored.
    restores: AtomicU64,
    /// How often its replica was dropped.
    drops: AtomicU64,
    /// The snapshots of it that are being written.
    pub(crate) captures: Captures,
    /// Held while an entry is applied, and while all of it is replaced: who holds it otherwise is between two entries.
    entry: Mutex<()>,
}

/// So far, in microseconds, may two leaders' clocks be apart: five minutes. Less than requests are remembered for however many there are.
const CLOCKS_APART_US: i64 = 5 * 60 * 1_000_000;

/// What stands for a request that is being remembered. Another with the same mark is looked at once more, for nothing.
fn mark(request: Request) -> u64 {
    request.key as u64 | 1
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// All of it is in the state.
    Done,
    /// None of it is: it was decided on a state that is not this one.
    Conflict,
}

impl Default for Committed {
    fn default() -> Self {
        Self::new(FeedLimits::default(), OrderArchive::default())
    }
}

impl AsFeed for Committed {
    fn feed(&self) -> &Feed {
        &self.feed
    }

    fn customer_of(&self, order: OrderId) -> Option<CustomerId> {
        self.orders.see(order, |order| order.customer.clone())
    }
}

impl Committed {
    /// Nothing yet, to be filled from a log.
    pub(crate) fn new(feed: FeedLimits, archive: OrderArchive) -> Self {
        Self {
            customers: Map::default(),
            items: Map::default(),
            orders: OrderTable::default(),
            reservations: Reservations::default(),
            requests: Remembered::default(),
            first_settled: FirstSettled::default(),
            customer_orders: Map::default(),
            order_index: RwLock::default(),
            customer_ids: RwLock::default(),
            skus: RwLock::default(),
            fences: Fences::default(),
            last_time: AtomicI64::new(0),
            clock: CausalClock::default(),
            remembering: AtomicU64::new(0),
            effects: Effects::default(),
            life_bytes: AtomicU64::new(0),
            newer_bytes: AtomicU64::new(0),
            has_newest: AtomicBool::new(false),
            plan_bytes: AtomicU64::new(0),
            payments: Awaited::default(),
            trail_bytes: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            backorder_bytes: AtomicU64::new(0),
            archive,
            applied_next: AtomicU64::new(0),
            feed: Feed::new(feed),
            restores: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            captures: Captures::default(),
            entry: Mutex::default(),
        }
    }

    /// The same, on this node's clock.
    pub(crate) fn on_clock(mut self, clock: CausalClock) -> Self {
        self.clock = clock;
        self
    }

    /// What the node stamps records with.
    pub(crate) fn clock(&self) -> &CausalClock {
        &self.clock
    }

    /// Waits until no entry is being applied, and has none applied while the guard lives. Whoever takes it holds no other lock of the state.
    pub(crate) fn between_entries(&self) -> MutexGuard<'_, ()> {
        self.entry.lock()
    }

    /// The same, where that is not for longer than so.
    pub(crate) fn between_entries_within(&self, longest: Duration) -> Option<MutexGuard<'_, ()>> {
        self.entry.try_lock_for(longest)
    }

    /// Applies one record: all of it, or, where an expected version does not fit or its request was done before, none.
    ///
    /// # Errors
    /// [`Broken`] where a fact with the right version does not fit the state: the shard must stop.
    pub fn apply(&self, record: &Record) -> Result<Applied, Broken> {
        if !self.fits(record)? {
            self.refuse(record);
            return Ok(Applied::Conflict);
        }
        self.begin_remembering(record.request);
        for event in &record.events {
            match &event.fact {
                Fact::Order(id, fact) => self.apply_order(*id, fact, record)?,
                Fact::Archived(id) => self.apply_archived(*id)?,
                Fact::Customer(id, fact) => self.apply_customer(id, fact, record.time)?,
                Fact::Item(sku, fact) if planted!(ApplyReadsClock) => {
                    let wall = docket_cluster::clock::wall_clock().duration_since(std::time::UNIX_EPOCH);
                    let now = Time(wall.unwrap_or_default().as_micros() as i64);
                    self.apply_item(sku, fact, now)?;
                }
                Fact::Item(sku, fact) => self.apply_item(sku, fact, record.time)?,
            }
        }
        // Behind the state: whoever reads of a change finds its order.
        self.feed.note(record);
        if let Some(request) = record.request
            && !planted!(ForgetRequest)
        {
            self.remember(request, record);
        }
        self.begin_remembering(None);
        // Before anybody is told of it. Nothing of the state depends on it, and where it is too far ahead only this shard goes on behind it.
        let _ = self.clock.observe(record.time.0);
        self.last_time.fetch_max(record.time.0, Ordering::Release);
        self.forget_requests();
        Ok(Applied::Done)
    }

    pub(crate) fn begin_remembering(&self, request: Option<Request>) {
        let mark = request.map_or(0, mark);
        // Who sees what the record changes has taken a lock that was let go behind this.
        self.remembering.store(mark, Ordering::Release);
    }

    /// Whether a request was done, or is being done at this moment. Who has seen what it changed is told so.
    pub(crate) fn has_done(&self, request: Request) -> bool {
        // In this order: it is remembered before it is no longer being remembered.
        self.remembering.load(Ordering::Acquire) == mark(request) || self.requests.contains_key(request.key)
    }

    /// Takes nothing more from the lives that decided a record which did not fit: what they decided after it rests on it,
    /// and its versions may fit again by chance.
    pub fn refuse(&self, record: &Record) {
        self.fences.put_up(deciders(record), record.time);
    }

    /// Whether nothing of this life of an actor is taken any more.
    pub fn is_fenced(&self, decider: Decider) -> bool {
        self.fences.has_any([decider].into_iter())
    }

    /// Forgets everything, and gives its memory back.
    pub(crate) fn clear(&self) {
        // Before anything goes: what is written of it would be of no entry.
        self.captures.end_all();
        emptied(&self.customers);
        emptied(&self.items);
        self.orders.clear();
        self.reservations.clear();
        self.requests.clear();
        self.first_settled.clear();
        emptied(&self.customer_orders);
        self.order_index.write().clear();
        self.customer_ids.write().clear();
        self.skus.write().clear();
        self.fences.clear();
        self.feed.clear();
        self.life_bytes.store(0, Ordering::Relaxed);
        self.newer_bytes.store(0, Ordering::Relaxed);
        self.has_newest.store(false, Ordering::Relaxed);
        self.plan_bytes.store(0, Ordering::Relaxed);
        self.payments.tell_all();
        self.trail_bytes.store(0, Ordering::Relaxed);
        self.closed.store(0, Ordering::Relaxed);
        self.backorder_bytes.store(0, Ordering::Relaxed);
        self.archive.reset();
        self.set_last_time(Time(0));
    }

    /// Whether every event is the next one of its entity, and the request is new.
    fn fits(&self, record: &Record) -> Result<bool, Broken> {
        if record
            .request
            .is_some_and(|request| self.requests.contains_key(request.key))
        {
            return Ok(false);
        }
        if self.fences.has_any(deciders(record)) {
            return Ok(false);
        }
        let rests_on = |unchanged: &Unchanged| unchanged.version == self.version(&unchanged.entity);
        if !record.unchanged.as_ref().is_none_or(rests_on) {
            return Ok(false);
        }
        if self.is_of_archived(record)? {
            return Ok(false);
        }
        let are_next = record.events.iter().enumerate().all(|(i, event)| {
            // A record has one to three events: looking back is cheaper than a map.
            let earlier = record.events[..i]
                .iter()
                .filter(|e| same_entity(&e.fact, &event.fact))
                .count() as u64;
            event.version == Version(self.version_before(event).0 + earlier).next()
        });
        Ok(are_next)
    }

    fn version_before(&self, event: &Event) -> Version {
        match &event.fact {
            Fact::Order(id, _) | Fact::Archived(id) => self.orders.see(*id, |o| o.version),
            Fact::Customer(id, _) => self.customers.get(id).map(|c| c.version),
            Fact::Item(sku, _) => self.items.get(sku).map(|i| i.version),
        }
        .unwrap_or_default()
    }

    fn version(&self, entity: &EntityId) -> Version {
        match entity {
            EntityId::Order(id) => self.orders.see(*id, |o| o.version),
            EntityId::Customer(id) => self.customers.get(id).map(|c| c.version),
            EntityId::Item(sku) => self.items.get(sku).map(|i| i.version),
        }
        .unwrap_or_default()
    }

    /// Begins a snapshot of the state as it is now. Between two entries: on the thread that applies them, or with [`Self::between_entries`].
    pub(crate) fn begin_capture(&self) -> u64 {
        let newest_order = self.order_index.read().newest();
        self.captures.begin(newest_order, self.reservations.newest())
    }

    /// Keeps an order as it is for the snapshots in which it is still to come.
    fn keep_order(&self, id: OrderId) {
        if self.captures.want_order(id) {
            self.captures.keep(|before| {
                // What is newer than all that was there has nothing to be kept, and is passed over.
                if id <= before.newest_order {
                    before.orders.keep(&id, || self.orders.get(id));
                }
            });
        }
    }

    /// The same of a customer.
    fn keep_customer(&self, id: &CustomerId) {
        if self.captures.want_customers() {
            let as_it_is = || self.customers.get(id).map(|customer| customer.clone());
            self.captures.keep(|before| before.customers.keep(id, as_it_is));
        }
    }

    /// The same of an item, and of what an order has reserved of it where this event changes that.
    fn keep_item(&self, sku: &Sku, fact: &ItemEvent) {
        if self.captures.want_items() {
            let as_it_is = || self.items.get(sku).map(|item| item.clone());
            self.captures.keep(|before| before.items.keep(sku, as_it_is));
        }
        if let Some(order) = fact.order()
            && self.captures.want_reserved(order)
        {
            self.captures.keep(|before| {
                if order <= before.newest_reserved {
                    let as_it_is = || self.reservations.get(sku, order);
                    before.reservations.keep(sku, order, as_it_is);
                }
            });
        }
    }

    fn apply_order(&self, id: OrderId, fact: &OrderEvent, record: &Record) -> Result<(), Broken> {
        self.keep_order(id);
        let (at, origin) = (record.time, record.origin.as_ref());
        let mut is_paying = false;
        let changed = self.orders.change(id, |order| {
            // (What waits is told with the confirmation.)
            if order.is_as_confirmed() && !matches!(fact, OrderEvent::Backordered { .. }) {
                self.first_settled
                    .insert(at, order.clone(), Some(self.applied_next()));
            }
            let from = order.state;
            let changed = Arc::make_mut(order);
            changed.evolve(fact, at)?;
            let kept = changed.trail.as_bytes().len();
            changed.note(fact, at, origin);
            self.count_trail(changed.trail.as_bytes().len() - kept);
            check(|| changed.validate())?;
            let life_bytes = life_bytes(fact);
            if life_bytes > 0 {
                self.life_bytes.fetch_add(life_bytes, Ordering::Relaxed);
            }
            self.effects.order(changed, false);
            self.order_index.write().change(from, changed);
            if changed.state == OrderState::Closed {
                self.closed.fetch_add(1, Ordering::Relaxed);
            }
            self.count_backorders(backorder_bytes(fact));
            let plan_bytes = plan_bytes(fact);
            if plan_bytes > 0 {
                self.plan_bytes.fetch_add(plan_bytes, Ordering::Relaxed);
            }
            self.note_newest_of(changed);
            let edit_bytes = edit_bytes(fact);
            if edit_bytes > 0 {
                self.newer_bytes.fetch_add(edit_bytes, Ordering::Relaxed);
            }
            if changed.provider.is_some() {
                self.newer_bytes.fetch_add(payment_bytes(fact), Ordering::Relaxed);
                is_paying = true;
            }
            Ok(())
        });
        if is_paying {
            // Whoever waits for it looks at what it is now.
            self.payments.tell(id);
        }
        changed.unwrap_or_else(|| {
            let mut order = Order::create(id, fact, at)?;
            order.note(fact, at, origin);
            self.effects.order(&order, true);
            self.insert_order(Arc::new(order))
        })
    }

    pub(crate) fn count_backorders(&self, more: u64) {
        if more > 0 {
            self.backorder_bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn count_trail(&self, more: usize) {
        if more > 0 {
            self.trail_bytes.fetch_add(more as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn insert_order(&self, order: Arc<Order>) -> Result<(), Broken> {
        check(|| order.validate())?;
        if let Some(life) = &order.life {
            self.life_bytes.fetch_add(bytes_of_life(life), Ordering::Relaxed);
            self.newer_bytes
                .fetch_add(bytes_of_edits(&life.edits), Ordering::Relaxed);
            self.plan_bytes.fetch_add(bytes_of_plans(life), Ordering::Relaxed);
            self.count_backorders(bytes_of_backorders(life));
        }
        if let Some(provider) = &order.provider {
            let bytes = provider.name.as_str().len() as u64 + bytes_of_payment(&provider.steps);
            self.newer_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if order.state == OrderState::Closed {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        self.note_newest_of(&order);
        self.count_trail(order.trail.as_bytes().len());
        let id = order.id;
        self.order_index.write().insert(&order);
        let mut of_customer = self.customer_orders.entry(order.customer.clone()).or_default();
        of_customer.insert(id, ());
        drop(of_customer);
        self.orders.insert(order);
        Ok(())
    }

    fn apply_customer(&self, id: &CustomerId, fact: &CustomerEvent, at: Time) -> Result<(), Broken> {
        self.keep_customer(id);
        let Some(mut customer) = self.customers.get_mut(id) else {
            let customer = Customer::create(id.clone(), fact, at)?;
            self.effects.customer(&customer);
            self.insert_customer(Arc::new(customer));
            return Ok(());
        };
        let changed = Arc::make_mut(&mut customer);
        changed.evolve(fact, at)?;
        if planted!(ReleaseTwice)
            && let CustomerEvent::Released { amount, .. } = fact
        {
            changed.held = docket_engine::Amount((changed.held.0 - amount.0).max(0));
        }
        self.effects.customer(changed);
        check(|| changed.validate())
    }

    pub(crate) fn insert_customer(&self, customer: Arc<Customer>) {
        self.customer_ids.write().insert(customer.id.clone());
        self.customers.insert(customer.id.clone(), customer);
    }

    fn apply_item(&self, sku: &Sku, fact: &ItemEvent, at: Time) -> Result<(), Broken> {
        self.keep_item(sku, fact);
        let Some(mut item) = self.items.get_mut(sku) else {
            let item = Item::create(sku.clone(), fact, at)?;
            self.effects.item(&item);
            self.insert_item(Arc::new(item));
            return Ok(());
        };
        match fact {
            ItemEvent::Reserved { order, quantity } => {
                self.reservations.insert(&item.sku, *order, *quantity);
            }
            ItemEvent::Raised { order, .. }
            | ItemEvent::Released { order, .. }
            | ItemEvent::Consumed { order, .. } => {
                let before = self.reservations.get(&item.sku, *order);
                match fact.reserved_after(before) {
                    Some(left) => self.reservations.insert(&item.sku, *order, left),
                    None => self.reservations.remove(&item.sku, *order),
                }
            }
            _ => {}
        }
        let row_before = bytes_of_row(&item);
        let changed = Arc::make_mut(&mut item);
        changed.evolve(fact, at)?;
        self.note_newest(changed.backorders.is_some());
        let row_bytes = bytes_of_row(changed);
        self.count_backorders(row_bytes.saturating_sub(row_before));
        if row_bytes < row_before {
            less(&self.backorder_bytes, row_before - row_bytes);
        }
        if (planted!(ReserveTwice) || faults::is(Fault::StockIsWrong))
            && let ItemEvent::Reserved { quantity, .. } = fact
        {
            changed.reserved =
                docket_engine::Quantity((changed.reserved.0 + quantity.0).min(changed.on_hand.0));
        }
        self.effects.item(changed);
        check(|| changed.validate())
    }

    pub(crate) fn insert_item(&self, item: Arc<Item>) {
        self.note_newest(item.backorders.is_some());
        self.count_backorders(bytes_of_row(&item));
        self.skus.write().insert(item.sku.clone());
        self.items.insert(item.sku.clone(), item);
    }

    /// The time of the newest record. This node's clock has followed it by now, if it does.
    pub fn last_time(&self) -> Time {
        Time(self.last_time.load(Ordering::Acquire))
    }

    pub(crate) fn set_last_time(&self, time: Time) {
        let _ = self.clock.observe(time.0);
        self.last_time.store(time.0, Ordering::Release);
    }

    /// Index after that of the last entry that was applied: everything before it is in the state.
    pub(crate) fn applied_next(&self) -> u64 {
        self.applied_next.load(Ordering::Acquire)
    }

    pub(crate) fn set_applied_next(&self, next: u64) {
        self.applied_next.store(next, Ordering::Release);
    }
}

fn emptied<K: Eq + std::hash::Hash, V>(map: &Map<K, V>) {
    map.clear();
    map.shrink_to_fit();
}

/// States are validated after every event, where the build checks.
fn check(validate: impl FnOnce() -> Result<(), Broken>) -> Result<(), Broken> {
    if cfg!(debug_assertions) {
        validate()
    } else {
        Ok(())
    }
}

/// The lives that decided a record.
fn deciders(record: &Record) -> impl Iterator<Item = Decider> {
    let of_events = record.events.iter().map(|event| event.decider);
    of_events.chain(record.unchanged.iter().map(|unchanged| unchanged.decider))
}

fn same_entity(a: &Fact, b: &Fact) -> bool {
    match (a, b) {
        (Fact::Order(a, _) | Fact::Archived(a), Fact::Order(b, _) | Fact::Archived(b)) => a == b,
        (Fact::Customer(a, _), Fact::Customer(b, _)) => a == b,
        (Fact::Item(a, _), Fact::Item(b, _)) => a == b,
        _ => false,
    }
}
