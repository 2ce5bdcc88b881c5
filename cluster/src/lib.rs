//! Docket's Raft groups: the ring of slots, one replicated log per shard, and the node that runs them.
//!
//! This crate knows nothing of orders. It takes opaque bytes ([`Group::submit`]), makes them durable and agreed, hands them in log
//! order to a [`StateMachine`], and answers the proposer with what the machine answered. A node that stands alone is a cluster of
//! one voter: it takes the same path as a node of three.
//!
//! ```text
//!  key ──slot_of──▶ Slot ──Ring──▶ ShardId ──▶ GroupId ──Node::group──▶ Group
//!                                                                      │ submit (bounded), order kept
//!                                                                      ▼
//!                       openraft core ──append──▶ GroupLog ──┐   one journal for all groups of the node,
//!                            │ commit                        ├─▶ one committer thread, one sync for what
//!                            ▼                               │   every group queued meanwhile
//!                       Applier ──▶ StateMachine::apply   GroupLog (the other groups)
//!                            │
//!                            └──▶ reply to the proposer: durable, agreed and applied
//! ```
//!
//! What it guarantees:
//! - A reply from [`Group::propose`] means that the entry is durable on a majority and applied here.
//! - Entries apply in log order, once per life of the machine, and calls of [`Group::submit`] that follow one another enter the log in
//!   that order.
//! - [`Leadership::Leader`] is published only after everything that earlier terms committed has been applied here.
//! - Nodes of one cluster replicate over mutual TLS and no other way; a node without [`NodeOptions::peers`] listens for nobody.
//! - After a failed write nothing is acknowledged any more, and [`Node::failed`] says why.
//! - Every queue and cache is bounded: see [`limits`].

#![forbid(unsafe_code)]

mod apply;
mod call;
mod calling;
mod chaos;
mod chores;
pub mod clock;
#[cfg(test)]
mod conformance;
mod digest;
mod error;
mod export;
pub mod faults;
mod finalizing;
#[cfg(debug_assertions)]
mod followed;
mod following;
mod formats;
mod group;
mod identity;
mod introduction;
mod leadership;
mod leftovers;
mod life;
pub mod limits;
mod log;
mod machine;
mod managing;
mod members;
mod metrics;
mod moments;
mod network;
mod node;
mod noted;
mod off_thread;
mod options;
mod peer;
mod placement;
mod posture;
pub mod program;
mod progress;
mod raft;
mod readiness;
mod reads;
mod recovery;
mod registry;
mod replicas;
mod restore;
mod ring;
mod sampling;
mod scrub;
mod shadow;
mod snapshot_pace;
mod snapshots;
mod standby;
mod tasks;
mod verify;

pub use docket_persistence::{Format, planted};

pub use call::{Answer, AnswerCalls, Answered, Declined, Lane, Leader, PeerCall, PeerCallError};
pub use calling::{Calling, PeerStatus};
pub use error::{ClusterError, ProposeError, ReadError};
pub use export::{ExportError, LoggedEntry, NoEntry, SavedState};
pub use finalizing::ClusterVersion;
pub use following::LastEntry;
pub use formats::formats;
pub use group::{Group, GroupStatus, Leadership, Pending, ReplicaStatus};
pub use identity::{CLUSTER_ID_RULE, Identity, Membership, is_cluster_id};
pub use machine::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};
pub use members::{ManageError, MemberOptions};
pub use metrics::describe_metrics;
pub use moments::{Moments, Synced};
pub use node::{Ground, Node, NodeStatus};
pub use off_thread::off_thread;
pub use options::{NodeOptions, SHARDS_DEFAULT};
pub use peer::net;
pub use peer::{
    FINALISED_IMPLIED, NoCommonVersion, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, PeerError, PeerOptions,
    PeerTls, Versions, certificate_name,
};
pub use posture::Posture;
pub use recovery::OpenJournal;
pub use registry::{
    FIRST_EPOCH, Fence, MOVES_MAX, NodeState, Placement, REPLICAS, RegisteredNode, RegisteredStandby,
    Registry,
};
pub use replicas::{ReplicaCheck, ReplicaOutcome};
pub use restore::{RestoreError, Restored, Restoring, replay};
pub use ring::{GroupId, Ring, SLOTS, ShardId, Slot, slot_of};
pub use scrub::EntriesOf;
pub use shadow::{ShadowError, ShadowGroup, ShadowReport, Shadowed, shadow};
pub use standby::StandbyError;
pub use tasks::{LONG as TASK_LONG, Measured, TaskFigures, TaskKind, task_figures};
pub use verify::verify;

/// Names a node of the cluster; never used again for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
