//! How the node is, and where the cluster has what, in the contract's words.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use docket_actors::{
    ClusterVersion, Damaged, Docket, GroupId, NodeId, NodeState, NodeStatus, Placement, RegisteredNode,
    Registry, ReplicaStatus, ScrubStatus,
    chaos::{ActiveFault, Chaos, Fault},
    standby::{Followed, Posture},
    wall_clock,
};
use docket_proto::v1;
use prost_types::Timestamp;

use crate::books;

/// How the node is.
pub(crate) fn node_status(docket: &Docket) -> v1::NodeStatus {
    v1::NodeStatus {
        standing: Some(standing(docket)),
        chaos: chaos(docket.chaos()),
        ..shown(&docket.status(), wall_clock())
    }
}

/// What it may lead, and how far it is behind whom it follows.
fn standing(docket: &Docket) -> v1::NodeStanding {
    let posture = docket.posture();
    let followed = docket
        .standby()
        .map(|control| control.followed())
        .unwrap_or_default();
    v1::NodeStanding {
        role: posture.name().to_owned(),
        epoch: docket.epoch(),
        drained: docket.is_drained(),
        lag: lag(&posture, &followed),
        lag_orders: match *posture {
            Posture::Standby { .. } => followed.orders_behind,
            _ => 0,
        },
    }
}

/// How long ago that is which a standby has of its primary.
pub(crate) fn lag(posture: &Posture, followed: &Followed) -> Option<prost_types::Duration> {
    let applied = followed
        .applied
        .filter(|_| matches!(posture, Posture::Standby { .. }))?;
    let since = wall_clock().duration_since(applied).unwrap_or_default();
    prost_types::Duration::try_from(whole_ms(since)).ok()
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
        version: docket_actors::version().into(),
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
        versions: Some(versions(&cluster.version)),
        standing: None,
        scrub: Some(scrub(&status.scrub)),
        chaos: None,
    }
}

/// Nothing where the node was not started for it.
fn chaos(chaos: &Chaos) -> Option<v1::ChaosStatus> {
    let duration = |time| prost_types::Duration::try_from(whole_ms(time)).ok();
    let shown = |active: ActiveFault| v1::ChaosFault {
        fault: active.fault.name().to_owned(),
        left: duration(active.left),
        by: match active.fault {
            Fault::SlowDisk { by } => duration(by),
            _ => None,
        },
        peer_id: match active.fault {
            Fault::DropPeer { node } => node.0,
            _ => 0,
        },
    };
    chaos.is_enabled().then(|| v1::ChaosStatus {
        active: chaos.active().into_iter().map(shown).collect(),
    })
}

/// How many damaged places a status names: whoever wants all of them asks for that.
const DAMAGED_SHOWN: usize = 20;

fn scrub(status: &ScrubStatus) -> v1::ScrubStatus {
    let running = v1::ScrubStatus {
        running: status.now.is_some(),
        running_bytes: status.now.as_ref().map_or(0, |now| now.report.bytes),
        ..Default::default()
    };
    // What is found is told at once, also where it is found for the first time.
    let worst = [&status.last, &status.now].into_iter().flatten();
    let worst = worst
        .max_by_key(|one| one.report.damaged())
        .map(|one| &one.report);
    let damaged = worst.map_or(&[][..], |report| &report.damages);
    let told = v1::ScrubStatus {
        damaged_count: worst.map_or(0, |report| report.damaged()),
        damaged: damaged.iter().take(DAMAGED_SHOWN).map(damaged_place).collect(),
        ..running
    };
    let Some(last) = &status.last else { return told };
    v1::ScrubStatus {
        start_time: Some(last.begun.into()),
        duration: prost_types::Duration::try_from(whole_ms(last.took)).ok(),
        by_itself: last.by_itself,
        bytes: last.report.bytes,
        ..told
    }
}

fn damaged_place(damaged: &Damaged) -> v1::DamagedPlace {
    v1::DamagedPlace {
        kind: damaged.kind.to_owned(),
        file: damaged.file.display().to_string(),
        place: damaged.place.clone(),
        of: damaged.of.clone(),
        reason: damaged.why.clone(),
    }
}

fn versions(version: &ClusterVersion) -> v1::NodeVersions {
    let formats = docket_actors::formats()
        .into_iter()
        .map(|format| v1::FormatVersions {
            name: format.name.to_owned(),
            oldest: format.oldest,
            newest: format.newest,
        });
    v1::NodeVersions {
        oldest_protocol: version.oldest,
        newest_protocol: version.newest,
        finalised_protocol: version.finalised,
        blockers: version.blockers.clone(),
        formats: formats.collect(),
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
