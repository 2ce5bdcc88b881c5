//! What groups, peers and moves show of themselves to the metrics recorder.
//!
//! Labels are groups and nodes, of which a cluster has few. What is counted on the way of an order is an atomic a message; everything
//! else is sampled (see `sampling`) or rare.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::{GroupId, NodeId};

const TERM: &str = "docket_raft_term";
const LEADER: &str = "docket_raft_leader";
const HAS_LEADER: &str = "docket_raft_has_leader";
const LEADER_CHANGES: &str = "docket_raft_leader_changes_total";
const APPLIED_INDEX: &str = "docket_raft_applied_index";
const APPLIED_ENTRIES: &str = "docket_raft_applied_entries_total";
const IN_FLIGHT: &str = "docket_raft_proposals_in_flight";
const SNAPSHOT_AGE: &str = "docket_raft_snapshot_age_seconds";
const SNAPSHOT_SECONDS: &str = "docket_raft_snapshot_seconds";
const REPLICA_MISMATCHES: &str = "docket_raft_replica_mismatches_total";
const REPLICAS_EQUAL_INDEX: &str = "docket_raft_replicas_equal_index";
const SNAPSHOT_FAILURES: &str = "docket_raft_snapshot_failures_total";
const ELECTIONS: &str = "docket_raft_elections_total";
const APPLY_LAG: &str = "docket_raft_apply_lag_entries";
const REPLICA_LAG: &str = "docket_raft_replica_lag_entries";
const GROUPS: &str = "docket_raft_groups";
const PEER_CONNECTED: &str = "docket_peer_connected";
const PEER_SILENCE: &str = "docket_peer_silence_seconds";
const PEER_CONNECTS: &str = "docket_peer_connects_total";
const PEER_CONNECT_FAILURES: &str = "docket_peer_connect_failures_total";
const PEER_APPENDS: &str = "docket_peer_appends_sent_total";
const PEER_APPEND_BYTES: &str = "docket_peer_append_bytes_sent_total";
const PEER_HEARTBEATS: &str = "docket_peer_heartbeats_sent_total";
const PEER_CALLS: &str = "docket_peer_calls_sent_total";
const PEER_CALL_BYTES: &str = "docket_peer_call_bytes_sent_total";
const PEER_SNAPSHOT_BYTES: &str = "docket_peer_snapshot_bytes_sent_total";
const PEER_SNAPSHOTS_HELD: &str = "docket_peer_snapshot_bytes_held";
const MOVES: &str = "docket_cluster_moves_in_progress";
const MOVES_DONE: &str = "docket_cluster_moves_done_total";
const MOVE_FAILURES: &str = "docket_cluster_move_step_failures_total";
const DROPPED: &str = "docket_cluster_replicas_dropped_total";

/// Describes every metric of this crate to the installed recorder. Call it once, after the recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(TERM, "Term of the newest leader that the group has seen.");
    describe_gauge!(LEADER, "1 where this node leads the group, else 0.");
    describe_gauge!(
        HAS_LEADER,
        "1 where this node has a replica of the group and knows its leader, which was heard of lately, or, if it is this one, is heard by most of the others; else 0."
    );
    describe_counter!(
        LEADER_CHANGES,
        Unit::Count,
        "Times that the group's leader or its term changed."
    );
    describe_gauge!(APPLIED_INDEX, "Index of the last entry applied here.");
    describe_counter!(
        APPLIED_ENTRIES,
        Unit::Count,
        "Entries applied here since the start, replay included."
    );
    describe_gauge!(IN_FLIGHT, Unit::Count, "Proposals that wait for their reply.");
    describe_counter!(
        REPLICA_MISMATCHES,
        Unit::Count,
        "Replicas of the group that were found to differ from their leader's."
    );
    describe_gauge!(
        REPLICAS_EQUAL_INDEX,
        "Index of the newest entry after which a follower's state was found equal, where this node leads the group."
    );
    describe_gauge!(
        SNAPSHOT_AGE,
        Unit::Seconds,
        "Age of the state in the group's newest snapshot here, by the wall clock; 0 without one."
    );
    describe_histogram!(
        SNAPSHOT_SECONDS,
        Unit::Seconds,
        "Time from capture of a snapshot until it is stored."
    );
    describe_counter!(
        SNAPSHOT_FAILURES,
        Unit::Count,
        "Snapshots that could not be written."
    );
    describe_counter!(
        ELECTIONS,
        Unit::Count,
        "Terms of the group whose leader this node has heard of since its start."
    );
    describe_gauge!(
        APPLY_LAG,
        Unit::Count,
        "Entries that are known here to be committed and are not applied yet."
    );
    describe_gauge!(
        REPLICA_LAG,
        Unit::Count,
        "Entries between the end of the leader's log and what a node is known to have of it; 0 where this node does not lead."
    );
    describe_gauge!(
        GROUPS,
        Unit::Count,
        "Groups by what this node is in them: leader, follower, learner, or none where it has no replica."
    );
    describe_peers();
    describe_gauge!(
        MOVES,
        Unit::Count,
        "Groups of the cluster whose replicas are not where they should be yet, as far as this node knows."
    );
    describe_counter!(
        MOVES_DONE,
        Unit::Count,
        "Changes of a group's replicas that this node, as its leader, brought to their end."
    );
    describe_counter!(
        MOVE_FAILURES,
        Unit::Count,
        "Steps of such changes that failed or took too long here, and are tried again."
    );
    describe_counter!(
        DROPPED,
        Unit::Count,
        "Replicas that were moved away from this node and whose log, snapshots and state it has dropped."
    );
}

fn describe_peers() {
    describe_gauge!(
        PEER_CONNECTED,
        "1 where this node is connected to the other, else 0."
    );
    describe_gauge!(
        PEER_SILENCE,
        Unit::Seconds,
        "Time since the other node last answered; it is asked once a second."
    );
    describe_counter!(
        PEER_CONNECTS,
        Unit::Count,
        "Attempts to connect to the other node that have ended."
    );
    describe_counter!(PEER_CONNECT_FAILURES, Unit::Count, "Those of them that failed.");
    describe_counter!(
        PEER_APPENDS,
        Unit::Count,
        "Messages with entries that were sent to the other node."
    );
    describe_counter!(PEER_APPEND_BYTES, Unit::Bytes, "Bytes of these messages.");
    describe_gauge!(
        PEER_SNAPSHOTS_HELD,
        Unit::Bytes,
        "Bytes on the disk of snapshots whose transfer broke off, kept so that their senders may go on."
    );
    describe_counter!(
        PEER_HEARTBEATS,
        Unit::Count,
        "Messages to the other node that say who leads, and what is committed, without entries."
    );
    describe_counter!(
        PEER_CALLS,
        Unit::Count,
        "Questions of actors, reads and clients' calls that were passed on to the other node, and whether it lives."
    );
    describe_counter!(PEER_CALL_BYTES, Unit::Bytes, "Bytes of their contents.");
    describe_counter!(
        PEER_SNAPSHOT_BYTES,
        Unit::Bytes,
        "Bytes of snapshots that were sent to the other node."
    );
}

/// What a node is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Leader,
    Follower,
    Learner,
    None,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Leader, Self::Follower, Self::Learner, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::None => "none",
        }
    }
}

/// Groups in which this node is such.
pub(crate) fn groups_as(role: Role) -> Gauge {
    gauge!(GROUPS, "role" => role.name())
}

/// How far a node's replica of a group is behind, where this node leads it.
pub(crate) fn replica_lag(group: GroupId, node: NodeId) -> Gauge {
    gauge!(REPLICA_LAG, "group" => group.to_string(), "node" => node.to_string())
}

/// What is sampled of a peer.
pub(crate) struct PeerGauges {
    pub(crate) connected: Gauge,
    pub(crate) silence: Gauge,
}

impl PeerGauges {
    pub(crate) fn new(node: NodeId) -> Self {
        // Those that count nothing yet are there all the same.
        for name in [
            PEER_CONNECTS,
            PEER_CONNECT_FAILURES,
            PEER_APPENDS,
            PEER_APPEND_BYTES,
            PEER_HEARTBEATS,
            PEER_CALLS,
            PEER_CALL_BYTES,
            PEER_SNAPSHOT_BYTES,
        ] {
            counter!(name, "node" => node.to_string()).increment(0);
        }
        Self {
            connected: gauge!(PEER_CONNECTED, "node" => node.to_string()),
            silence: gauge!(PEER_SILENCE, "node" => node.to_string()),
        }
    }
}

/// An attempt to connect to a peer has ended.
pub(crate) fn note_connect(node: NodeId, failed: bool) {
    counter!(PEER_CONNECTS, "node" => node.to_string()).increment(1);
    if failed {
        counter!(PEER_CONNECT_FAILURES, "node" => node.to_string()).increment(1);
    }
}

/// What one group sends to one peer; the counters of all groups are the same.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) appends: Counter,
    pub(crate) append_bytes: Counter,
    pub(crate) heartbeats: Counter,
    pub(crate) snapshot_bytes: Counter,
}

impl Traffic {
    pub(crate) fn to(node: NodeId) -> Self {
        Self {
            appends: counter!(PEER_APPENDS, "node" => node.to_string()),
            append_bytes: counter!(PEER_APPEND_BYTES, "node" => node.to_string()),
            heartbeats: counter!(PEER_HEARTBEATS, "node" => node.to_string()),
            snapshot_bytes: counter!(PEER_SNAPSHOT_BYTES, "node" => node.to_string()),
        }
    }
}

/// Bytes of snapshots that broke off and are held.
pub(crate) fn snapshots_held() -> Gauge {
    gauge!(PEER_SNAPSHOTS_HELD)
}

/// Moves of replicas.
pub(crate) struct MoveMetrics {
    pub(crate) in_progress: Gauge,
}

impl MoveMetrics {
    pub(crate) fn new() -> Self {
        note_moves_done(0);
        note_step_failures(0);
        note_dropped(0);
        Self {
            in_progress: gauge!(MOVES),
        }
    }
}

/// So many groups have their replicas where they should be, at last.
pub(crate) fn note_moves_done(count: u64) {
    counter!(MOVES_DONE).increment(count);
}

/// So many steps of moves came to nothing.
pub(crate) fn note_step_failures(count: u64) {
    counter!(MOVE_FAILURES).increment(count);
}

/// So many replicas that were moved away are gone.
pub(crate) fn note_dropped(count: u64) {
    counter!(DROPPED).increment(count);
}

/// One group's handles, looked up once: the hot path pays an atomic each and no lookup.
pub(crate) struct GroupMetrics {
    pub(crate) term: Gauge,
    pub(crate) leader: Gauge,
    pub(crate) has_leader: Gauge,
    pub(crate) snapshot_age: Gauge,
    pub(crate) leader_changes: Counter,
    pub(crate) elections: Counter,
    pub(crate) apply_lag: Gauge,
    pub(crate) applied_index: Gauge,
    pub(crate) applied_entries: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) replica_mismatches: Counter,
    pub(crate) replicas_equal_index: Gauge,
    pub(crate) snapshot_seconds: Histogram,
    pub(crate) snapshot_failures: Counter,
}

impl GroupMetrics {
    pub(crate) fn new(group: GroupId) -> Self {
        let group = group.to_string();
        Self {
            term: gauge!(TERM, "group" => group.clone()),
            leader: gauge!(LEADER, "group" => group.clone()),
            has_leader: gauge!(HAS_LEADER, "group" => group.clone()),
            snapshot_age: gauge!(SNAPSHOT_AGE, "group" => group.clone()),
            leader_changes: counter!(LEADER_CHANGES, "group" => group.clone()),
            elections: counter!(ELECTIONS, "group" => group.clone()),
            apply_lag: gauge!(APPLY_LAG, "group" => group.clone()),
            applied_index: gauge!(APPLIED_INDEX, "group" => group.clone()),
            applied_entries: counter!(APPLIED_ENTRIES, "group" => group.clone()),
            in_flight: gauge!(IN_FLIGHT, "group" => group.clone()),
            replica_mismatches: counter!(REPLICA_MISMATCHES, "group" => group.clone()),
            replicas_equal_index: gauge!(REPLICAS_EQUAL_INDEX, "group" => group.clone()),
            snapshot_seconds: histogram!(SNAPSHOT_SECONDS, "group" => group.clone()),
            snapshot_failures: counter!(SNAPSHOT_FAILURES, "group" => group),
        }
    }

    /// Sets back what tells of a replica that is not here any more.
    pub(crate) fn restart(&self) {
        for gauge in [
            &self.leader,
            &self.has_leader,
            &self.snapshot_age,
            &self.apply_lag,
            &self.applied_index,
            &self.replicas_equal_index,
        ] {
            gauge.set(0.0);
        }
    }
}

/// What one node calls the other for.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) sent: Counter,
    pub(crate) bytes: Counter,
}

impl Calls {
    pub(crate) fn to(node: NodeId) -> Self {
        Self {
            sent: counter!(PEER_CALLS, "node" => node.to_string()),
            bytes: counter!(PEER_CALL_BYTES, "node" => node.to_string()),
        }
    }
}
