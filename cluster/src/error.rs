//! What can go wrong, per question asked: a proposal, a read, a node's life.

use std::path::PathBuf;
use std::sync::Arc;

use docket_persistence::JournalError;

use crate::{GroupId, NodeId, PeerError};

/// Why a proposal has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead the group. Nothing was appended: ask the leader, or try again when there is one.
    #[error("this node does not lead the group{}", leader.map(|id| format!("; node {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<NodeId>,
    },
    /// The entry was appended and its fate is not known here: it may be applied, now or later. Only an idempotent retry is safe.
    #[error("leadership was lost before the entry was applied; whether it will be is not known")]
    Unknown,
    /// The payload is larger than an entry may be. Nothing was appended.
    #[error("an entry of {bytes} bytes exceeds the {bytes_max} bytes that an entry may have")]
    TooLarge {
        /// The payload's bytes.
        bytes: usize,
        /// [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX).
        bytes_max: usize,
    },
    /// The group has stopped (shutdown or failure) and takes nothing any more. An entry submitted before may have been appended.
    #[error("the group has stopped: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: Arc<str>,
    },
}

/// Why a read check could not be passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead the group, so that its state may be stale.
    #[error("this node does not lead the group{}", leader.map(|id| format!("; node {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, where it is known.
        leader: Option<NodeId>,
    },
    /// The group has stopped.
    #[error("the group has stopped: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: Arc<str>,
    },
}

/// Why a node cannot open, or did not close well.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An option is out of range.
    #[error("{option} is {value}: {requirement}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The value given.
        value: String,
        /// What it must be.
        requirement: &'static str,
    },
    /// The data directory was made with another number of shards.
    #[error(
        "{} was created with {created} shards and cannot be opened with {asked}: leave the number of shards out, or give {created}",
        path.display()
    )]
    ShardsDiffer {
        /// The data directory.
        path: PathBuf,
        /// Shards when it was created.
        created: u16,
        /// Shards asked for now.
        asked: u16,
    },
    /// The data directory belongs to another node, or to another cluster.
    #[error(
        "{} belongs to node {node} of cluster {cluster} and cannot be opened as another's: give each node its own data directory",
        path.display()
    )]
    IdentityDiffers {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        cluster: String,
        /// Its node.
        node: NodeId,
    },
    /// The data directory is a member of a cluster already.
    #[error(
        "{} is node {node} of cluster {cluster} already: another cluster is founded in another data directory",
        path.display()
    )]
    MemberAlready {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        cluster: String,
        /// Its node.
        node: NodeId,
    },
    /// A backup is half restored to the data directory.
    #[error(
        "a backup is half restored to {}: run docket backup restore again, which goes on, before a server is started on it",
        path.display()
    )]
    HalfRestored {
        /// The data directory.
        path: PathBuf,
    },
    /// A member of a cluster was to stand alone.
    #[error(
        "{} is node {node} of cluster {cluster}, and cannot stand alone: say where its peers connect \
         (cluster.peer_listen), and give it its certificate",
        path.display()
    )]
    MemberAlone {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        cluster: String,
        /// Its node.
        node: NodeId,
    },
    /// The data directory was used by a node that stands alone, and is to join others.
    #[error(
        "{} holds the data of a node that stood alone: `docket cluster init` makes it the first node of a cluster, which \
         others join with empty data directories",
        path.display()
    )]
    StoodAlone {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory is new, and nobody was named whom to join.
    #[error(
        "{} is new: `docket cluster init` makes it the first node of a cluster, and --join (cluster.seeds) one more node of \
         the cluster there",
        path.display()
    )]
    NobodyToJoin {
        /// The data directory.
        path: PathBuf,
    },
    /// The cluster does not let the node in.
    #[error("the cluster does not take this node in: {cause}")]
    NotAdmitted {
        /// What it said.
        cause: String,
    },
    /// Peers cannot be talked to, for a reason that is this node's own.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The identity file cannot be understood.
    #[error("{} is not an identity file of Docket: {cause}. Restore it from a backup of the data directory", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The cluster was founded by a newer program.
    #[error(
        "the cluster of {} was founded at version {founded_at} of the peer protocol; this program speaks up to {known}. Use a newer program",
        path.display()
    )]
    FoundedNewer {
        /// The data directory.
        path: PathBuf,
        /// At which version it was founded.
        founded_at: u32,
        /// The newest that this program speaks.
        known: u32,
    },
    /// The data directory was written by a newer program.
    #[error("{} has format version {found}; this program reads up to version {known}. Use a newer program", path.display())]
    FormatVersion {
        /// The identity file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// A file operation failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The journal cannot be opened: an option, a lock, a disk, or lost data.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A group could not be recovered or started.
    #[error("{group} does not start: {cause}")]
    Group {
        /// The group.
        group: GroupId,
        /// Why.
        cause: String,
    },
    /// The node had to stop.
    #[error("the node failed: {reason}")]
    Failed {
        /// Why.
        reason: Arc<str>,
    },
}
