//! Orders as they were when they were first settled, where they have changed since: what the repeat of a request that placed one gets.

use std::{collections::VecDeque, sync::Arc};

use dashmap::DashMap;
use docket_engine::{Order, OrderId, Time};
use parking_lot::Mutex;
use rapidhash::fast::RandomState;

/// Such orders of a shard.
#[derive(Default)]
pub(crate) struct FirstSettled {
    orders: DashMap<OrderId, Then, RandomState>,
    /// When each of them changed, oldest first: the order in which they are forgotten.
    times: Mutex<VecDeque<(Time, OrderId)>>,
    held: Mutex<Held>,
}

/// What keeps orders that left memory here for a while.
#[derive(Default)]
struct Held {
    /// So many snapshots are being written, which may be of an entry before that.
    by: usize,
    /// Those that left meanwhile.
    left: Vec<OrderId>,
}

/// An order as it was.
struct Then {
    order: Arc<Order>,
    /// The entry of the log that changed it; `None` where that was before the snapshot that was restored.
    changed: Option<u64>,
}

impl FirstSettled {
    /// Remembers an order as it was; `changed` is the entry that changes it since.
    pub(crate) fn insert(&self, time: Time, order: Arc<Order>, changed: Option<u64>) {
        self.times.lock().push_back((time, order.id));
        self.orders.insert(order.id, Then { order, changed });
    }

    /// Whether none has changed, as far as that is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.times.lock().is_empty()
    }

    pub(crate) fn get(&self, id: OrderId) -> Option<Arc<Order>> {
        self.orders.get(&id).map(|then| then.order.clone())
    }

    /// The order as it was, where an entry before this one has changed it since.
    pub(crate) fn before(&self, id: OrderId, next: u64) -> Option<Arc<Order>> {
        let then = self.orders.get(&id)?;
        let before = then.changed.is_none_or(|changed| changed < next);
        before.then(|| then.order.clone())
    }

    /// Forgets those that changed before this time.
    pub(crate) fn forget_before(&self, oldest: Time) {
        let mut times = self.times.lock();
        while let Some((_, id)) = times.pop_front_if(|(time, _)| *time < oldest) {
            self.orders.remove(&id);
        }
    }

    /// A snapshot of the state as it is now is begun: what is here stays until it is ended. Between two entries.
    pub(crate) fn hold(&self) {
        self.held.lock().by += 1;
    }

    /// One is ended.
    pub(crate) fn let_go(&self) {
        let mut held = self.held.lock();
        held.by = held.by.saturating_sub(1);
        if held.by == 0 {
            for id in std::mem::take(&mut held.left) {
                self.orders.remove(&id);
            }
        }
    }

    /// Forgets an order that leaves memory, whenever it changed.
    pub(crate) fn leave(&self, id: OrderId) {
        let mut held = self.held.lock();
        match held.by {
            0 => drop(self.orders.remove(&id)),
            _ => held.left.push(id),
        }
    }

    /// Forgets all, and gives its memory back.
    pub(crate) fn clear(&self) {
        self.orders.clear();
        self.orders.shrink_to_fit();
        *self.times.lock() = VecDeque::new();
    }
}
