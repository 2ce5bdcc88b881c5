//! When a node is ready: what it waits for at its start, and what it does not.

use futures::future::join_all;

use crate::node::Node;
use crate::registry::NodeState;
use crate::{GroupId, Leadership};

impl Node {
    /// Waits until every group that has a replica here has a leader, here or elsewhere, or the node has failed. A member of a cluster
    /// first waits until it knows that it is one.
    pub async fn ready(&self) {
        tokio::select! {
            () = self.groups_led() => {}
            () = self.leads_nothing() => {}
            _ = self.failed() => {}
        }
    }

    /// Who leads nothing by his posture is as ready as he can be.
    async fn leads_nothing(&self) {
        let mut closed = self.hush().watch();
        // The sender is the node's own.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    async fn groups_led(&self) {
        if let Some(members) = self.members() {
            let known = || {
                let registry = members.registry().now();
                let me = registry.node(members.me());
                me.is_some_and(|me| me.state != NodeState::Joining)
            };
            let mut version = members.registry().watch();
            // The sender is the registry's own, which the members hold.
            let _ = version.wait_for(|_| known()).await;
        }
        let led = self.groups().iter().map(|group| async {
            let mut leadership = group.leadership();
            let known = leadership.wait_for(|now| *now != Leadership::Follower { leader: None });
            tokio::select! {
                // An error means that the group has ended; `failed` tells why.
                _ = known => {}
                // What this node believed when it stopped may be past: nobody tells it of a group that it has no replica of any more.
                () = self.given_away(group.id()) => {}
            }
        });
        join_all(led).await;
    }

    /// Resolves when the registry says that no replica of the group is, or is to be, here.
    async fn given_away(&self, group: GroupId) {
        let Some(members) = self.members() else {
            return std::future::pending().await;
        };
        let mut version = members.registry().watch();
        let _ = version.wait_for(|_| self.has_given_away(group)).await;
    }
}
