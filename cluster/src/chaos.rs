//! What goes wrong on a node because an operator tries the cluster: its disk is slow, it does not hear another node. Whoever asks says when it ends.

use std::time::Duration;

use crate::{Node, NodeId};

impl Node {
    /// From now on each sync of the journal takes so much longer. Zero for no longer than it takes.
    pub fn slow_syncs(&self, by: Duration) {
        self.storage().0.journal.slow_syncs(by);
    }

    /// Whether that node is a peer of this one.
    pub fn knows_peer(&self, node: NodeId) -> bool {
        self.peering()
            .is_some_and(|peering| peering.peers.known().contains(&node))
    }

    /// From now on nothing is sent to that node, and nothing heard from it; or everything again. On a node that stands alone it changes nothing.
    pub fn drop_peer(&self, node: NodeId, is_dropped: bool) {
        if let Some(peering) = self.peering() {
            peering.peers.own().cut.set(node, is_dropped);
        }
    }
}
