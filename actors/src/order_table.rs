//! A shard's orders by their ids. The id is not stored again beside the order: an entry is a pointer and a byte, where a
//! map of ids would have 24 bytes and a byte.
//!
//! It is cut into parts, each behind a lock of its own, so that a part which grows keeps hardly anybody waiting.

use std::{hash::BuildHasher as _, sync::Arc};

use docket_engine::{Order, OrderId};
use hashbrown::HashTable;
use parking_lot::RwLock;
use rapidhash::fast::RandomState;

use crate::uneven::Uneven;

const PARTS: usize = 32;
/// A part with room for no more than so many keeps it.
const SPARE_MIN: usize = 1_024;
static UNEVEN: Uneven<PARTS> = Uneven::new();

type Part = HashTable<Arc<Order>>;

/// The orders.
#[derive(Default)]
pub(crate) struct OrderTable {
    hasher: RandomState,
    parts: [RwLock<Part>; PARTS],
}

impl OrderTable {
    pub(crate) fn get(&self, id: OrderId) -> Option<Arc<Order>> {
        let (part, hash) = self.part(id);
        part.read().find(hash, |order| order.id == id).cloned()
    }

    /// What is to be seen of an order, without another reference to it.
    pub(crate) fn see<T>(&self, id: OrderId, look: impl FnOnce(&Order) -> T) -> Option<T> {
        let (part, hash) = self.part(id);
        let part = part.read();
        part.find(hash, |order| order.id == id).map(|order| look(order))
    }

    /// Changes an order, if there is one. Its id stays what it is.
    pub(crate) fn change<T>(&self, id: OrderId, change: impl FnOnce(&mut Arc<Order>) -> T) -> Option<T> {
        let (part, hash) = self.part(id);
        let mut part = part.write();
        part.find_mut(hash, |order| order.id == id).map(change)
    }

    /// Puts an order in that is not there yet, or another one in its place.
    pub(crate) fn insert(&self, order: Arc<Order>) {
        let (part, hash) = self.part(order.id);
        let mut part = part.write();
        match part.find_mut(hash, |other| other.id == order.id) {
            Some(other) => *other = order,
            None => {
                part.insert_unique(hash, order, |order| self.hasher.hash_one(order.id));
            }
        }
    }

    /// Takes an order out, when something was done that goes with that: whoever sees the order sees none of it.
    pub(crate) fn remove(&self, id: OrderId, with: impl FnOnce(&Order)) {
        let (part, hash) = self.part(id);
        let mut part = part.write();
        if let Ok(entry) = part.find_entry(hash, |order| order.id == id) {
            with(entry.get());
            entry.remove();
        }
        // A shard that had many orders and has few does not keep the room of the many.
        let room = part.capacity();
        if room > SPARE_MIN && part.len() < room / 4 {
            let spare = part.len() * 2;
            part.shrink_to(spare, |order| self.hasher.hash_one(order.id));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.read().len()).sum()
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Order>> {
        let mut all = Vec::with_capacity(self.len());
        for part in &self.parts {
            all.extend(part.read().iter().cloned());
        }
        all
    }

    pub(crate) fn clear(&self) {
        for part in &self.parts {
            *part.write() = Part::default();
        }
    }

    fn part(&self, id: OrderId) -> (&RwLock<Part>, u64) {
        let hash = self.hasher.hash_one(id);
        (&self.parts[UNEVEN.part_of(hash)], hash)
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{CustomerId, Line, OrderEvent, OrderState, Quantity, Sku, Time, Version};

    use super::*;

    fn order(id: u128) -> Arc<Order> {
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("alice").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: docket_engine::Amount(1),
            }]),
            provider: None,
        };
        Arc::new(Order::create(OrderId(id), &placed, Time(id as i64)).unwrap())
    }

    #[test]
    fn an_order_is_found_by_its_id_and_changed_there_and_who_has_read_it_keeps_what_was_read() {
        let table = OrderTable::default();
        // Enough of them for every part to grow.
        for n in 0..10_000 {
            table.insert(order(n << 80));
        }
        assert_eq!((table.len(), table.all().len()), (10_000, 10_000));
        let id = OrderId(77 << 80);
        let read = table.get(id).unwrap();
        let changed = table.change(id, |order| {
            Arc::make_mut(order).evolve(&OrderEvent::Confirmed, Time(9))
        });
        assert_eq!(changed, Some(Ok(())));
        assert_eq!((read.id, read.state), (id, OrderState::Pending));
        assert_eq!(table.see(id, |order| order.state), Some(OrderState::Confirmed));
        assert_eq!(table.see(OrderId((78 << 80) + 1), |order| order.version), None);
        assert!(table.change(OrderId(1), |_| ()).is_none());
        // Once more is one more version of the same, not one more.
        table.insert(order(77 << 80));
        assert_eq!(
            (table.len(), table.get(id).unwrap().version),
            (10_000, Version(1))
        );
        // All but a few go, each once, and of these all is as it was.
        for n in 0..10_000 {
            let (id, mut seen) = (OrderId(n << 80), 0);
            if n % 1_000 != 77 {
                table.remove(id, |order| seen += usize::from(order.id == id));
                table.remove(id, |_| seen += 1);
                assert_eq!((seen, table.get(id)), (1, None));
            }
        }
        assert_eq!((table.len(), table.all().len()), (10, 10));
        assert!(table.parts.iter().all(|part| part.read().capacity() < 2_048));
        assert_eq!(
            table.see(OrderId(2_077 << 80), |order| order.version),
            Some(Version(1))
        );
        table.clear();
        assert!(table.get(id).is_none() && table.all().is_empty());
    }
}
