//! Which process is which node now: two that run on copies of one data directory would vote twice, so that the second is refused.
//!
//! A process is there as long as one of its connections is. A process that was killed is gone at once, as the system closes what it had
//! open; one whose machine lost its power, as soon as the keepalive finds out. Until then its successor is refused too, and comes again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::NodeId;

/// Every node that is connected now.
#[derive(Default)]
pub(super) struct Presence {
    nodes: Mutex<HashMap<NodeId, Process>>,
}

struct Process {
    number: u64,
    connections: usize,
}

/// Another process is the same node, and is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another process is node {0} and is connected: two data directories are copies of one another, of which only one may be used"
)]
pub(super) struct Twice(pub(super) NodeId);

/// A connection of a node. When the last one is dropped, the node is gone.
pub(super) struct Present {
    presence: Arc<Presence>,
    node: NodeId,
}

impl Presence {
    /// Notes a connection of a process that is this node.
    pub(super) fn enter(self: &Arc<Self>, node: NodeId, number: u64) -> Result<Present, Twice> {
        let mut nodes = self.nodes.lock();
        let process = nodes.entry(node).or_insert(Process {
            number,
            connections: 0,
        });
        if process.number != number {
            return Err(Twice(node));
        }
        process.connections += 1;
        Ok(Present {
            presence: Arc::clone(self),
            node,
        })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut nodes = self.presence.nodes.lock();
        if let Some(process) = nodes.get_mut(&self.node) {
            process.connections -= 1;
            if process.connections == 0 {
                nodes.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_process_until_its_last_connection_has_gone() {
        let (presence, node) = (Arc::<Presence>::default(), NodeId(2));
        let one = presence.enter(node, 1).unwrap();
        let other = presence.enter(node, 1).unwrap();
        assert_eq!(presence.enter(node, 2).err(), Some(Twice(node)));
        assert!(presence.enter(NodeId(3), 2).is_ok(), "another node");
        drop(one);
        assert_eq!(presence.enter(node, 2).err(), Some(Twice(node)));
        drop(other);
        assert!(presence.enter(node, 2).is_ok(), "it was started again");
    }
}
