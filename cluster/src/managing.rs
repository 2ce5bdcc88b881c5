//! What a node is asked about its cluster: which nodes there are, where the replicas are, and how both are to change.

use std::sync::Arc;

use tokio::sync::watch;

use crate::registry::Ask;
use crate::{ClusterError, GroupId, ManageError, Node, NodeId, PeerError, PeerTls, Registry};

impl Node {
    /// Every node that the cluster ever had, and where its replicas are and should be, as far as this node knows; `None` where the
    /// cluster keeps no registry, as on a node that stands alone.
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.members().map(|members| members.registry().now())
    }

    /// Tells when the registry changes, by its version.
    pub fn registry_changes(&self) -> Option<watch::Receiver<u64>> {
        self.members().map(|members| members.registry().watch())
    }

    /// Nodes that the cluster has not heard of need not wait any more: see [`MemberOptions::closed`](crate::MemberOptions::closed).
    pub fn let_nodes_in(&self) {
        if let Some(members) = self.members() {
            members.let_nodes_in();
        }
    }

    /// Has the replicas of a node, and its leads, go elsewhere. Done when [`Registry::replicas_of`] it is 0; the node goes on serving.
    ///
    /// # Errors
    /// There is no such node, or no other that is active, or nobody can decide now.
    pub async fn drain(&self, id: NodeId) -> Result<(), ManageError> {
        self.manage(Ask::Drain { id }).await
    }

    /// Has a node that was to be drained stay, and get replicas again.
    ///
    /// # Errors
    /// There is no such node, or nobody can decide now.
    pub async fn undrain(&self, id: NodeId) -> Result<(), ManageError> {
        self.manage(Ask::Undrain { id }).await
    }

    /// Takes a drained node out of the cluster, for ever: nobody talks to it any more, and its id is not used again.
    ///
    /// # Errors
    /// There is no such node, it still holds replicas, or nobody can decide now.
    pub async fn remove(&self, id: NodeId) -> Result<(), ManageError> {
        self.manage(Ask::Remove { id, force: None }).await
    }

    /// Takes a node out of the cluster although it holds replicas, because it will not come back. The reason is kept. Groups of which
    /// more than half is gone with it cannot be saved by this.
    ///
    /// # Errors
    /// There is no such node or no reason, or nobody can decide now.
    pub async fn remove_by_force(&self, id: NodeId, reason: &str) -> Result<(), ManageError> {
        let force = Some(reason.to_owned());
        self.manage(Ask::Remove { id, force }).await
    }

    /// Has a replica of a group go from one node to another.
    ///
    /// # Errors
    /// The one has none, the other has one or is not active, a replica of the group is on its way already, or nobody can decide now.
    pub async fn move_replica(&self, group: GroupId, from: NodeId, to: NodeId) -> Result<(), ManageError> {
        self.manage(Ask::Move { group, from, to }).await
    }

    /// Spreads the groups' leaders evenly over the nodes. It stays so: who comes back after a failure gets its leads back.
    ///
    /// # Errors
    /// Nobody can decide now.
    pub async fn balance(&self) -> Result<(), ManageError> {
        self.manage(Ask::Balance).await
    }

    async fn manage(&self, ask: Ask) -> Result<(), ManageError> {
        match self.members() {
            Some(members) => members.ask(&ask).await,
            None => Err(ManageError::Refused {
                reason: "this node stands alone: `docket cluster init` makes it the first of a cluster"
                    .to_owned(),
            }),
        }
    }

    /// Sends snapshots, and the log to replicas that only catch up, at so many bytes a second from now on; 0 for no bound.
    pub fn set_snapshot_pace(&self, bytes_per_second: u64) {
        if let Some(peering) = self.peering() {
            peering.peers.pace().set(bytes_per_second);
        }
    }

    /// Replaces this node's certificate among its peers, and the authority by which it judges theirs, for every connection from now on.
    ///
    /// # Errors
    /// It cannot be used, or is not this node's; then nothing changes. This node stands alone.
    pub fn renew_certificate(&self, tls: &PeerTls) -> Result<(), ClusterError> {
        match self.peering() {
            Some(peering) => Ok(peering.peers.renew(tls)?),
            None => Err(PeerError::Certificate {
                what: "the peer certificate",
                cause: "this node stands alone".to_owned(),
            }
            .into()),
        }
    }
}
