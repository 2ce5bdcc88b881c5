//! All shards of the node, and which of them is whose.

use std::sync::Arc;

use docket_cluster::{Ring, Slot, slot_of};
use docket_engine::{Line, Order, OrderId, OrderState};

use super::Shard;

/// All shards of the node.
pub(crate) struct Router {
    pub(crate) ring: Ring,
    pub(crate) shards: Vec<Arc<Shard>>,
}

impl Router {
    pub(crate) fn of_key(&self, key: &str) -> &Arc<Shard> {
        self.of_slot(slot_of(key.as_bytes()))
    }

    pub(crate) fn of_slot(&self, slot: Slot) -> &Arc<Shard> {
        &self.shards[usize::from(self.ring.shard_of(slot).number())]
    }

    /// An order as whoever asks is told of it: one that is pending, and of which every reservation is committed, is
    /// confirmed, though the event that says so may still be on its way ([`Order::confirmed`]).
    pub(crate) fn confirmed(&self, order: Arc<Order>) -> Arc<Order> {
        let reserved = |line: &Line| {
            let shard = self.of_key(line.sku.as_str());
            shard.holds_reservation(order.id, &line.sku)
        };
        if order.state != OrderState::Pending {
            return order;
        }
        if order.lines.iter().all(reserved) {
            return Arc::new(order.confirmed());
        }
        // It may have come further between the two looks: then what it is now says all.
        let home = self.of_order(order.id);
        let now = home.and_then(|shard| shard.committed.orders.get(order.id));
        now.unwrap_or(order)
    }

    /// Whether an order of a shard that is led here is half-way.
    pub(crate) fn has_open(&self) -> bool {
        let open =
            |shard: &Arc<Shard>| shard.is_leading() && shard.committed.order_index.read().open_len() > 0;
        self.shards.iter().any(open)
    }

    /// The shard of an order: its id carries its customer's slot.
    pub(crate) fn of_order(&self, id: OrderId) -> Option<&Arc<Shard>> {
        Some(self.of_slot(Slot::new(id.slot())?))
    }
}
