//! The cluster that this node is a member of: which nodes there are, where its replicas are, and how both change. All of it is the
//! cluster's own business; here it is only handed on.

use std::sync::Arc;

use docket_cluster::{ClusterError, GroupId, ManageError, NodeId, PeerTls, Registry};

use super::Docket;

impl Docket {
    /// Every node that there ever was, and where the replicas are and should be; `None` where this node stands alone.
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.inner.node.registry()
    }

    /// See [`Node::let_nodes_in`](docket_cluster::Node::let_nodes_in).
    pub fn let_nodes_in(&self) {
        self.inner.node.let_nodes_in();
    }

    /// See [`Node::drain`](docket_cluster::Node::drain).
    ///
    /// # Errors
    /// As there.
    pub async fn drain_node(&self, id: NodeId) -> Result<(), ManageError> {
        self.inner.node.drain(id).await
    }

    /// See [`Node::undrain`](docket_cluster::Node::undrain).
    ///
    /// # Errors
    /// As there.
    pub async fn undrain_node(&self, id: NodeId) -> Result<(), ManageError> {
        self.inner.node.undrain(id).await
    }

    /// See [`Node::remove`](docket_cluster::Node::remove); with a reason, [by force](docket_cluster::Node::remove_by_force).
    ///
    /// # Errors
    /// As there.
    pub async fn remove_node(&self, id: NodeId, force: Option<&str>) -> Result<(), ManageError> {
        match force {
            None => self.inner.node.remove(id).await,
            Some(reason) => self.inner.node.remove_by_force(id, reason).await,
        }
    }

    /// See [`Node::move_replica`](docket_cluster::Node::move_replica).
    ///
    /// # Errors
    /// As there.
    pub async fn move_replica(&self, group: GroupId, from: NodeId, to: NodeId) -> Result<(), ManageError> {
        self.inner.node.move_replica(group, from, to).await
    }

    /// See [`Node::finalize`](docket_cluster::Node::finalize).
    ///
    /// # Errors
    /// As there.
    pub async fn finalize(&self) -> Result<u32, ManageError> {
        self.inner.node.finalize().await
    }

    /// See [`Node::balance`](docket_cluster::Node::balance).
    ///
    /// # Errors
    /// As there.
    pub async fn balance_leaders(&self) -> Result<(), ManageError> {
        self.inner.node.balance().await
    }

    /// See [`Node::renew_certificate`](docket_cluster::Node::renew_certificate).
    ///
    /// # Errors
    /// As there.
    pub fn renew_peer_certificate(&self, tls: &PeerTls) -> Result<(), ClusterError> {
        self.inner.node.renew_certificate(tls)
    }
}
