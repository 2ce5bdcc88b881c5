//! How many orders there are of which kind, as this node's replicas have them.

use docket_engine::OrderState;

use crate::Docket;

/// How many orders there are of which kind, in memory. An order is in one state, and may be in several of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderCounts {
    /// The shards that were counted: those of which this node has a replica.
    pub shards: u32,
    /// All shards of the cluster.
    pub of_shards: u32,
    /// Of each state.
    pub by_state: Vec<(OrderState, u64)>,
    /// Held now.
    pub held: u64,
    /// Something of them waits for stock.
    pub backordered: u64,
    /// Their payment has failed.
    pub unpaid: u64,
    /// Their provider has declined something, and a person is to look.
    pub declined: u64,
    /// Their provider is to be asked something.
    pub paying: u64,
    /// Their items are still to be told what they give back, or have shipped.
    pub releasing: u64,
    /// Somebody is to send some of them.
    pub planned: u64,
    /// In the archive, beside all of those.
    pub archived: u64,
}

impl Docket {
    /// Counts the orders of this node's replicas: sizes of indexes, so that it costs the same however many there are.
    pub fn order_counts(&self) -> OrderCounts {
        let inner = &self.inner;
        let mut counts = OrderCounts {
            of_shards: u32::try_from(inner.router.shards.len()).unwrap_or(u32::MAX),
            ..OrderCounts::default()
        };
        for shard in &inner.router.shards {
            // What a replica that was moved away has left behind is nobody's.
            if inner.node.has_peers() && !inner.node.has_replica(shard.group().id()) {
                continue;
            }
            counts.shards += 1;
            let committed = shard.committed();
            counts.archived += committed.archive.count();
            committed.order_index.read().add_to(&mut counts);
        }
        counts
    }
}
