//! All shards of the node, and which of them is whose.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use docket_cluster::{Node, Ring, Slot, slot_of};
use docket_engine::{Line, Order, OrderId, OrderState, Quantity};

use super::Shard;
use crate::archive::Reads;

/// All shards of the node.
pub(crate) struct Router {
    ring: Ring,
    pub(crate) shards: Vec<Arc<Shard>>,
    node: Node,
    /// Other nodes are to look for reservations without an order.
    tell_peers: AtomicBool,
    /// The turns of those who read archives.
    archives: Reads,
    /// Every node of the cluster can keep where changes of orders come from, as far as was known a second ago.
    keeps_origins: AtomicBool,
}

/// Since which version of the peer protocol nodes keep where changes of orders come from. An older one would stop at it.
const ORIGINS_SINCE: u32 = 5;

impl Router {
    pub(crate) fn new(node: Node, shards: Vec<Arc<Shard>>) -> Self {
        Self {
            ring: node.ring(),
            shards,
            archives: Reads::default(),
            keeps_origins: AtomicBool::new(!node.has_peers()),
            node,
            tell_peers: AtomicBool::new(false),
        }
    }

    /// Whether where changes of orders come from can be kept.
    pub(crate) fn keeps_origins(&self) -> bool {
        self.keeps_origins.load(Ordering::Relaxed)
    }

    /// Looks whether it can, once a second: nobody who places an order waits for that.
    pub(crate) fn look_who_keeps_origins(&self) {
        let can = self.node.is_spoken_by_all(ORIGINS_SINCE);
        self.keeps_origins.store(can, Ordering::Relaxed);
    }

    /// The turns of those who read archives.
    pub(crate) fn archives(&self) -> &Reads {
        &self.archives
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn of_key(&self, key: &str) -> &Arc<Shard> {
        self.of_slot(slot_of(key.as_bytes()))
    }

    pub(crate) fn of_slot(&self, slot: Slot) -> &Arc<Shard> {
        &self.shards[usize::from(self.ring.shard_of(slot).number())]
    }

    /// The shard of an order: its id carries its customer's slot.
    pub(crate) fn of_order(&self, id: OrderId) -> Option<&Arc<Shard>> {
        Some(self.of_slot(Slot::new(id.slot())?))
    }

    /// An order as whoever asks is told of it: one that is pending, and of which every reservation is committed, is
    /// confirmed, though the event that says so may still be on its way ([`Order::confirmed`]).
    ///
    /// # Errors
    /// The order, where what is known here of its reservations does not tell: they are led elsewhere, and it is to be
    /// asked there ([`Router::confirmed_elsewhere`]). That a reservation is known here always tells: it is committed, and
    /// only the end of the order takes it back.
    pub(crate) fn confirmed(&self, order: Arc<Order>) -> Result<Arc<Order>, Arc<Order>> {
        if order.state != OrderState::Pending {
            return Ok(order);
        }
        if order.lines.iter().all(|line| self.has_all(&order, line)) {
            return Ok(Arc::new(order.confirmed()));
        }
        if self.node.has_peers() {
            return Err(order);
        }
        // It may have come further between the two looks: then what it is now says all.
        Ok(self.now(order))
    }

    /// Whether a line's reservation is committed, as far as is known here, and nothing of it waits. (Where something does, the order is confirmed
    /// when it has recorded what.)
    pub(crate) fn has_all(&self, order: &Order, line: &Line) -> bool {
        let shard = self.of_key(line.sku.as_str());
        shard.holds_reservation(order.id, &line.sku) == Some(Quantity::ZERO)
    }

    /// The order as it is committed by now.
    pub(crate) fn now(&self, order: Arc<Order>) -> Arc<Order> {
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

    /// Notes that reservations without an order may have been left, with whichever items.
    pub(crate) fn needs_reconciling(&self) {
        self.shards.iter().for_each(|shard| shard.look_for_orphans());
        if self.node.has_peers() {
            self.tell_peers.store(true, Ordering::Release);
        }
    }

    /// Whether other nodes are to be told that they look for such reservations; says so once.
    pub(crate) fn take_tell_peers(&self) -> bool {
        self.tell_peers.swap(false, Ordering::AcqRel)
    }

    /// They were not all told.
    pub(crate) fn tell_peers_again(&self) {
        self.tell_peers.store(true, Ordering::Release);
    }
}
