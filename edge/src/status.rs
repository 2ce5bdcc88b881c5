//! How the node is, and where the cluster has what, in the contract's words.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use docket_actors::{
    Docket, GroupId, NodeId, NodeState, NodeStatus, Placement, RegisteredNode, Registry, ReplicaStatus,
    wall_clock,
};
use docket_proto::v1;
use prost_types::Timestamp;

use crate::books;

/// How the node is.
pub(crate) fn node_status(docket: &Docket) -> v1::NodeStatus {
    shown(&docket.status(), wall_clock())
}

fn shown(status: &NodeStatus, now: SystemTime) -> v1::NodeStatus {
    let cluster = &status.cluster;
    let node_id = cluster.identity.node_id;
    let groups = cluster.groups.iter().map(|group| v1::GroupStatus {
        group: group.id.to_string(),
        leader: group.leader == Some(node_id),
        leader_id: group.leader.map_or(0, |leader| leader.0),
        term: group.term,
        last_log_index: group.last_log_index.unwrap_or(0),
        committed_index: group.committed_index.unwrap_or(0),
        applied_index: group.applied_index.unwrap_or(0),
        lag: group.lag,
        snapshot_index: group.snapshot_index.unwrap_or(0),
        snapshot_time: group
            .snapshot_age
            .and_then(|age| now.checked_sub(age))
            .map(Timestamp::from),
        voter_ids: group.voters.iter().map(|voter| voter.0).collect(),
        learner_ids: group.learners.iter().map(|learner| learner.0).collect(),
        replicas: group.replicas.iter().map(replica).collect(),
        stopped: group.stopped.as_deref().unwrap_or_default().to_owned(),
    });
    let journal = &cluster.journal;
    let entities = &status.entities;
    v1::NodeStatus {
        node_id: node_id.0,
        version: env!("CARGO_PKG_VERSION").into(),
        start_time: Some(Timestamp::from(status.started)),
        uptime: prost_types::Duration::try_from(whole_ms(status.uptime)).ok(),
        ready: status.reasons.is_empty(),
        reasons: status.reasons.clone(),
        groups: groups.collect(),
        journal: Some(v1::JournalStatus {
            first_sequence: journal.first_seq,
            last_sequence: journal.next_seq.saturating_sub(1),
            disk_bytes: journal.disk_bytes,
            syncs: journal.syncs,
            free_bytes: journal.free_bytes.unwrap_or(0),
            low_space: cluster.disk_low.is_some(),
            snapshot_bytes: cluster.snapshots.disk_bytes,
        }),
        memory_bytes: status.memory_bytes,
        entities: Some(v1::EntityStatus {
            orders: entities.orders,
            customers: entities.customers,
            items: entities.items,
            actors: entities.actors,
            open_orders: entities.open_orders,
            archived_orders: entities.archived_orders,
        }),
        books: Some(books::status(&status.books)),
    }
}

/// Nobody needs an uptime in nanoseconds.
pub(crate) fn whole_ms(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn replica(replica: &ReplicaStatus) -> v1::ReplicaStatus {
    let role = match replica.votes {
        true => v1::ReplicaRole::Follower,
        false => v1::ReplicaRole::Learner,
    };
    v1::ReplicaStatus {
        node_id: replica.node.0,
        role: role.into(),
        known: true,
        match_index: replica.match_index.unwrap_or(0),
        lag: replica.lag,
        applied_index: 0,
        held_back: replica.held_back.as_deref().unwrap_or_default().to_owned(),
    }
}

/// A node as the cluster knows it.
pub(crate) fn member(registry: &Registry, id: NodeId, node: &RegisteredNode) -> v1::ClusterMember {
    let state = match node.state {
        NodeState::Joining => v1::MemberState::Joining,
        NodeState::Active => v1::MemberState::Active,
        NodeState::Draining => v1::MemberState::Draining,
        NodeState::Removed => v1::MemberState::Removed,
    };
    v1::ClusterMember {
        node_id: id.0,
        state: state.into(),
        peer_address: node.peer_address.clone(),
        client_address: node.client_address.clone(),
        replicas: u32::try_from(registry.replicas_of(id)).unwrap_or(u32::MAX),
        reason: node.reason.clone(),
    }
}

/// Where a group's replicas are and should be.
pub(crate) fn placement(group: GroupId, placement: &Placement) -> v1::GroupPlacement {
    let ids = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
    v1::GroupPlacement {
        group: group.to_string(),
        wanted_ids: ids(&placement.wanted),
        placed_ids: ids(&placement.placed),
        preferred_leader_id: placement.preferred.map_or(0, |node| node.0),
    }
}
