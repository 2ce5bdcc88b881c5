//! Statuses as JSON, with the names of the contract.

use docket_proto::v1;
use serde_json::{Value, json};

/// The node's status as JSON, with the names of the contract.
pub fn status_json(status: &v1::NodeStatus) -> Value {
    let group = |group: &v1::GroupStatus| {
        json!({
            "group": group.group,
            "leader": group.leader,
            "leader_id": group.leader_id,
            "term": group.term,
            "last_log_index": group.last_log_index,
            "committed_index": group.committed_index,
            "applied_index": group.applied_index,
            "lag": group.lag,
            "snapshot_index": group.snapshot_index,
            "snapshot_time": group.snapshot_time.as_ref().map(ToString::to_string),
            "voter_ids": group.voter_ids,
            "learner_ids": group.learner_ids,
            "replicas": group.replicas.iter().map(replica).collect::<Vec<_>>(),
            "stopped": group.stopped,
        })
    };
    let journal = |journal: &v1::JournalStatus| {
        json!({
            "first_sequence": journal.first_sequence,
            "last_sequence": journal.last_sequence,
            "disk_bytes": journal.disk_bytes,
            "syncs": journal.syncs,
            "free_bytes": journal.free_bytes,
            "low_space": journal.low_space,
            "snapshot_bytes": journal.snapshot_bytes,
        })
    };
    let entities = |entities: &v1::EntityStatus| {
        json!({
            "orders": entities.orders,
            "customers": entities.customers,
            "items": entities.items,
            "actors": entities.actors,
            "open_orders": entities.open_orders,
            "archived_orders": entities.archived_orders,
        })
    };
    let books = |books: &v1::BooksStatus| {
        let of_kind = |found: &v1::DiscrepancyCount| (found.kind.clone(), Value::from(found.count));
        let of_group = |of: &v1::GroupDiscrepancies| (of.group.clone(), Value::from(of.discrepancy_count));
        json!({
            "running": books.running,
            "giving_way": books.giving_way,
            "start_time": books.start_time.as_ref().map(ToString::to_string),
            "duration_seconds": books.duration.as_ref().map(seconds),
            "by_itself": books.by_itself,
            "shards": books.shards,
            "unverified_shards": books.unverified_shards,
            "customers": books.customers,
            "items": books.items,
            "orders": books.orders,
            "reservations": books.reservations,
            "undecided": books.undecided,
            "discrepancy_count": books.discrepancy_count,
            "discrepancies": books.discrepancies.iter().map(of_kind).collect::<serde_json::Map<_, _>>(),
            "groups": books.groups.iter().map(of_group).collect::<serde_json::Map<_, _>>(),
        })
    };
    let standing = |standing: &v1::NodeStanding| {
        json!({
            "role": standing.role,
            "epoch": standing.epoch,
            "drained": standing.drained,
            "lag_seconds": standing.lag.as_ref().map(seconds),
            "lag_orders": standing.lag_orders,
        })
    };
    let versions = |versions: &v1::NodeVersions| {
        let format =
            |one: &v1::FormatVersions| json!({"name": one.name, "oldest": one.oldest, "newest": one.newest});
        json!({
            "oldest_protocol": versions.oldest_protocol,
            "newest_protocol": versions.newest_protocol,
            "finalised_protocol": versions.finalised_protocol,
            "blockers": versions.blockers,
            "formats": versions.formats.iter().map(format).collect::<Vec<_>>(),
        })
    };
    json!({
        "node_id": status.node_id,
        "version": status.version,
        "start_time": status.start_time.as_ref().map(ToString::to_string),
        "uptime_seconds": status.uptime.as_ref().map(seconds),
        "ready": status.ready,
        "reasons": status.reasons,
        "groups": status.groups.iter().map(group).collect::<Vec<_>>(),
        "journal": status.journal.as_ref().map(journal),
        "memory_bytes": status.memory_bytes,
        "entities": status.entities.as_ref().map(entities),
        "books": status.books.as_ref().map(books),
        "versions": status.versions.as_ref().map(versions),
        "standing": status.standing.as_ref().map(standing),
        "scrub": status.scrub.as_ref().map(scrub_json),
        "chaos": status.chaos.as_ref().map(chaos_json),
    })
}

/// What goes wrong on a node since somebody asked for it.
pub fn chaos_json(chaos: &v1::ChaosStatus) -> Value {
    let fault = |one: &v1::ChaosFault| {
        json!({
            "fault": one.fault,
            "left_seconds": one.left.as_ref().map(seconds),
            "by_seconds": one.by.as_ref().map(seconds),
            "peer_id": one.peer_id,
        })
    };
    json!({"active": chaos.active.iter().map(fault).collect::<Vec<_>>()})
}

/// Whether what a node has stored is what was written.
pub fn scrub_json(scrub: &v1::ScrubStatus) -> Value {
    let damaged = |one: &v1::DamagedPlace| json!({"kind": one.kind, "file": one.file, "place": one.place, "of": one.of, "reason": one.reason});
    json!({
        "running": scrub.running,
        "running_bytes": scrub.running_bytes,
        "start_time": scrub.start_time.as_ref().map(ToString::to_string),
        "duration_seconds": scrub.duration.as_ref().map(seconds),
        "by_itself": scrub.by_itself,
        "bytes": scrub.bytes,
        "damaged_count": scrub.damaged_count,
        "damaged": scrub.damaged.iter().map(damaged).collect::<Vec<_>>(),
    })
}

/// The cluster's status as JSON.
pub fn cluster_json(status: &v1::ClusterStatus) -> Value {
    let member = |member: &v1::ClusterMember| {
        json!({
            "node_id": member.node_id,
            "state": member.state().as_str_name(),
            "replicas": member.replicas,
            "peer_address": member.peer_address,
            "client_address": member.client_address,
            "reason": member.reason,
        })
    };
    let placement = |placement: &v1::GroupPlacement| {
        json!({
            "group": placement.group,
            "placed_ids": placement.placed_ids,
            "wanted_ids": placement.wanted_ids,
            "moving": placement.placed_ids != placement.wanted_ids,
            "preferred_leader_id": placement.preferred_leader_id,
        })
    };
    let liveness = |one: &v1::NodeLiveness| {
        json!({
            "node_id": one.node_id,
            "alive": one.alive,
            "silence_seconds": one.silence.as_ref().map(seconds),
            "error": one.error,
        })
    };
    let group = |group: &v1::ClusterGroup| {
        json!({
            "group": group.group,
            "leader_id": group.leader_id,
            "term": group.term,
            "last_log_index": group.last_log_index,
            "lag": group.lag,
            "replicas": group.replicas.iter().map(replica).collect::<Vec<_>>(),
            "arriving_ids": group.arriving_ids,
            "leaving_ids": group.leaving_ids,
        })
    };
    json!({
        "cluster_id": status.cluster_id,
        "shards": status.shards,
        "healthy": status.reasons.is_empty(),
        "reasons": status.reasons,
        "liveness": status.liveness.iter().map(liveness).collect::<Vec<_>>(),
        "groups": status.groups.iter().map(group).collect::<Vec<_>>(),
        "members": status.members.iter().map(member).collect::<Vec<_>>(),
        "placements": status.placements.iter().map(placement).collect::<Vec<_>>(),
        "nodes": status.nodes.iter().map(status_json).collect::<Vec<_>>(),
    })
}

fn replica(replica: &v1::ReplicaStatus) -> Value {
    json!({
        "node_id": replica.node_id,
        "role": replica.role().as_str_name(),
        "known": replica.known,
        "match_index": replica.match_index,
        "lag": replica.lag,
        "applied_index": replica.applied_index,
        "held_back": replica.held_back,
    })
}

fn seconds(time: &prost_types::Duration) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}
