//! What a group shows of itself to the metrics recorder.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::GroupId;

const TERM: &str = "docket_raft_term";
const LEADER: &str = "docket_raft_leader";
const LEADER_CHANGES: &str = "docket_raft_leader_changes_total";
const APPLIED_INDEX: &str = "docket_raft_applied_index";
const APPLIED_ENTRIES: &str = "docket_raft_applied_entries_total";
const IN_FLIGHT: &str = "docket_raft_proposals_in_flight";
const SNAPSHOT_SECONDS: &str = "docket_raft_snapshot_seconds";
const REPLICA_MISMATCHES: &str = "docket_raft_replica_mismatches_total";
const REPLICAS_EQUAL_INDEX: &str = "docket_raft_replicas_equal_index";
const SNAPSHOT_FAILURES: &str = "docket_raft_snapshot_failures_total";

/// Describes every metric of this crate to the installed recorder. Call it once, after the recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(TERM, "Term of the newest leader that the group has seen.");
    describe_gauge!(LEADER, "1 where this node leads the group, else 0.");
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
}

/// One group's handles, looked up once: the hot path pays an atomic each and no lookup.
pub(crate) struct GroupMetrics {
    pub(crate) term: Gauge,
    pub(crate) leader: Gauge,
    pub(crate) leader_changes: Counter,
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
            leader_changes: counter!(LEADER_CHANGES, "group" => group.clone()),
            applied_index: gauge!(APPLIED_INDEX, "group" => group.clone()),
            applied_entries: counter!(APPLIED_ENTRIES, "group" => group.clone()),
            in_flight: gauge!(IN_FLIGHT, "group" => group.clone()),
            replica_mismatches: counter!(REPLICA_MISMATCHES, "group" => group.clone()),
            replicas_equal_index: gauge!(REPLICAS_EQUAL_INDEX, "group" => group.clone()),
            snapshot_seconds: histogram!(SNAPSHOT_SECONDS, "group" => group.clone()),
            snapshot_failures: counter!(SNAPSHOT_FAILURES, "group" => group),
        }
    }
}
