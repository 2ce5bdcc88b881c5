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
    times: Mutex<Times>,
    held: Mutex<Held>,
}

/// When each of them changed, oldest first: the order in which they are forgotten.
#[derive(Default)]
struct Times {
    changed: VecDeque<(Time, OrderId)>,
    /// So many of them have left.
    left: usize,
}

/// So many that have left are not worth a look at all.
const LEFT_MIN: usize = 1_024;

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
        // Together: whoever sweeps in between would not find the order, and it would never be forgotten.
        let mut times = self.times.lock();
        times.changed.push_back((time, order.id));
        self.orders.insert(order.id, Then { order, changed });
    }

    /// Whether none has changed, as far as that is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.times.lock().changed.is_empty()
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
        while let Some((_, id)) = times.changed.pop_front_if(|(time, _)| *time < oldest) {
            if self.orders.remove(&id).is_none() {
                times.left = times.left.saturating_sub(1);
            }
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
            let left = std::mem::take(&mut held.left);
            self.remove(&left);
        }
    }

    /// Forgets an order that leaves memory, whenever it changed.
    pub(crate) fn leave(&self, id: OrderId) {
        let mut held = self.held.lock();
        match held.by {
            0 => self.remove(&[id]),
            _ => held.left.push(id),
        }
    }

    /// Forgets these, and when those changed that have left once they are most: an order takes 32 bytes there, for a day. None comes back, so that
    /// it is all one when that is done.
    fn remove(&self, ids: &[OrderId]) {
        let removed = ids.iter().filter(|id| self.orders.remove(id).is_some()).count();
        if removed == 0 {
            return;
        }
        let mut times = self.times.lock();
        times.left += removed;
        if times.left >= LEFT_MIN && times.left > times.changed.len() / 2 {
            times.changed.retain(|(_, id)| self.orders.contains_key(id));
            times.left = 0;
            let room = 2 * times.changed.len();
            times.changed.shrink_to(room);
        }
    }

    /// Forgets all, and gives its memory back.
    pub(crate) fn clear(&self) {
        self.orders.clear();
        self.orders.shrink_to_fit();
        *self.times.lock() = Times::default();
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Amount, CustomerId, Line, OrderEvent, Quantity, Sku};

    use super::*;

    fn order(id: OrderId) -> Order {
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("alice").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(1),
            }]),
            provider: None,
        };
        Order::create(id, &placed, Time(1)).unwrap()
    }

    fn changed(settled: &FirstSettled, ids: std::ops::Range<u128>) {
        for id in ids {
            settled.insert(Time(id as i64), Arc::new(order(OrderId(id))), None);
        }
    }

    #[test]
    fn what_has_left_takes_no_room_for_a_day() {
        let settled = FirstSettled::default();
        let most = 4 * LEFT_MIN;
        changed(&settled, 0..most as u128);
        (0..most - 1).for_each(|id| settled.leave(OrderId(id as u128)));
        let times = settled.times.lock();
        assert!(times.changed.len() < 2 * LEFT_MIN, "{}", times.changed.len());
        assert!(times.changed.capacity() <= 4 * LEFT_MIN);
        drop(times);
        // The one that stays is forgotten when its time is over, and not before.
        let last = most as i64 - 1;
        settled.forget_before(Time(last));
        assert!(settled.get(OrderId(last as u128)).is_some());
        settled.forget_before(Time(last + 1));
        assert!(settled.get(OrderId(last as u128)).is_none() && settled.is_empty());
    }

    #[test]
    fn what_leaves_while_a_snapshot_is_written_stays_for_it_and_goes_then() {
        let settled = FirstSettled::default();
        changed(&settled, 0..2 * LEFT_MIN as u128);
        settled.hold();
        (0..2 * LEFT_MIN as u128).for_each(|id| settled.leave(OrderId(id)));
        assert!(settled.before(OrderId(0), 1).is_some() && !settled.is_empty());
        settled.let_go();
        assert!(settled.before(OrderId(0), 1).is_none() && settled.is_empty());
    }
}
