//! What callers have taken out of their buckets: each node tells the others.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use docket_cluster::{Lane, NodeId, PeerCallError};
use docket_proto::peer_call::{Consumption, kind};

use crate::{Docket, steering::STEERING_SINCE};

/// Hears what callers have taken at a node, by its id. It must be quick.
pub type HearConsumption = dyn Fn(u64, Consumption) + Send + Sync;

/// What came of telling a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has heard it.
    Heard,
    /// It is there, and does not hear such things yet.
    Declined,
    /// Nothing is known: it may have heard it.
    Unknown,
}

impl Docket {
    /// Says who hears what callers have taken at other nodes. Until then that is declined.
    ///
    /// True if nobody did before.
    pub fn hear_consumption(&self, hear: Arc<HearConsumption>) -> bool {
        self.inner.answering.set_consumption(hear)
    }

    /// Every other node of the cluster, and whether its program hears what callers have taken: false as well where that is not known yet.
    pub fn consumption_peers(&self) -> Vec<(u64, bool)> {
        let node = &self.inner.node;
        let hears = |peer| {
            let spoken = node.version_spoken(peer);
            spoken.is_some_and(|spoken| spoken >= STEERING_SINCE)
        };
        let peers = node.peers().into_iter();
        peers.map(|peer| (peer.node.0, hears(peer.node))).collect()
    }

    /// Tells another node what callers have taken here: the bytes of a [`Consumption`]. May be done again until it is heard.
    pub async fn tell_consumption(&self, node: u64, told: Bytes, deadline: Instant) -> Told {
        let to = (Lane::Step, kind::CONSUMPTION);
        match self.inner.node.call(NodeId(node), to, told, deadline).await {
            Ok(_) => Told::Heard,
            Err(PeerCallError::Declined { .. }) => Told::Declined,
            Err(PeerCallError::NotSent { .. } | PeerCallError::Unknown { .. }) => Told::Unknown,
        }
    }
}
