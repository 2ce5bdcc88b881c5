//! The registry's records and its snapshot as bytes.
//!
//! ```text
//!  record    magic "\0registr", 8 bytes | format, 1 byte | docket.journal.v1.RegistryRecord
//!  snapshot  magic "\0registr", 8 bytes | format, 1 byte | length, u32 little-endian | docket.journal.v1.RegistrySnapshot
//!            | the snapshot of the layer above
//! ```
//!
//! What the layer above puts into the meta group begins with a protobuf tag or a length, which is never a zero byte: so the two are
//! told apart, and a log or a snapshot that was written before there was a registry reads as it always did.

use std::collections::BTreeSet;

use docket_proto::journal as pb;
use docket_proto::journal::registry_change::Change as Fact;
use prost::Message;

use super::{Change, Fence, NodeState, Placement, Record, RegisteredNode, RegisteredStandby, Registry};
use crate::{GroupId, NodeId};

/// What a record and a snapshot of the registry begin with.
const MAGIC: [u8; 8] = *b"\0registr";

/// The newest format that this program reads, and writes where there is anything to say of standbys, fences and epochs.
pub(crate) const FORMAT: u8 = 3;
/// What it writes where there is something to say of the version at which the cluster is finalised alone.
const FORMAT_WITHOUT_STANDBY: u8 = 2;
/// What it writes otherwise.
const FORMAT_WITHOUT_FINALISED: u8 = 1;

/// Bytes before the message of a record.
const HEAD_BYTES: usize = MAGIC.len() + 1;

/// Bytes before the message of a snapshot.
pub(super) const SNAPSHOT_HEAD_BYTES: usize = HEAD_BYTES + size_of::<u32>();

/// Bytes of the registry in a snapshot: some hundred for each node that there ever was.
pub(super) const SNAPSHOT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that are no record or snapshot of the registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it is not a message of the registry: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("its field {0} has no meaning here: it was damaged, or a newer program wrote it")]
    Field(&'static str),
    #[error("it holds more than this program knows: a newer program wrote it")]
    Unknown,
    #[error("its format is {0}, and this program reads up to {FORMAT}: use a newer program")]
    Format(u8),
}

/// The bytes of a record.
pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let changes = record.changes.iter().map(|change| pb::RegistryChange {
        change: Some(put_change(change)),
    });
    let message = pb::RegistryRecord {
        version: record.version,
        changes: changes.collect(),
    };
    let format = record.changes.iter().map(format_of_change).max();
    let mut bytes = head(format.unwrap_or(FORMAT_WITHOUT_FINALISED));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

/// The record of these bytes; `None` where they are the layer above's.
pub(super) fn decode_record(bytes: &[u8]) -> Result<Option<Record>, RecordError> {
    let Some(message) = after_head(bytes)? else {
        return Ok(None);
    };
    let message: pb::RegistryRecord = decode_whole(message)?;
    let changes = message
        .changes
        .into_iter()
        .map(|change| take_change(change.change.ok_or(RecordError::Field("change"))?));
    Ok(Some(Record {
        version: message.version,
        changes: changes.collect::<Result<_, _>>()?,
    }))
}

/// The registry at the head of a snapshot.
pub(super) fn encode_snapshot(registry: &Registry) -> Vec<u8> {
    let nodes = registry.nodes.iter().map(|(id, node)| put_node(*id, node));
    let groups = registry
        .groups
        .iter()
        .map(|(group, placement)| pb::GroupPlacement {
            group: group.0,
            wanted: put_ids(&placement.wanted),
            placed: put_ids(&placement.placed),
            preferred: placement.preferred.map_or(0, |node| node.0),
            pinned: placement.pinned,
        });
    let format = format_of(registry);
    let message = pb::RegistrySnapshot {
        format: format.into(),
        version: registry.version,
        nodes: nodes.collect(),
        groups: groups.collect(),
        finalised: registry.finalised.unwrap_or(0),
        epoch: registry.epoch.unwrap_or(0),
        standby: registry.standby.as_ref().map(put_standby),
        fenced: registry.fenced.as_ref().map(put_fence),
    };
    let length = message.encoded_len() as u32;
    let mut bytes = head(format);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

/// How long the registry at the head of a snapshot is, behind the head; `None` where the snapshot has none.
pub(super) fn snapshot_length(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some(rest) = after_head(bytes)? else {
        return Ok(None);
    };
    let length = rest.first_chunk::<4>().map(|length| u32::from_le_bytes(*length));
    match length.map(|length| length as usize) {
        Some(length) if length <= SNAPSHOT_BYTES_MAX => Ok(Some(length)),
        _ => Err(RecordError::Field("length")),
    }
}

/// The registry of a snapshot's message.
pub(super) fn decode_snapshot(message: &[u8]) -> Result<Registry, RecordError> {
    let message: pb::RegistrySnapshot = decode_whole(message)?;
    let mut registry = Registry {
        version: message.version,
        finalised: Some(message.finalised).filter(|finalised| *finalised > 0),
        epoch: Some(message.epoch).filter(|epoch| *epoch > 0),
        standby: message.standby.map(take_standby).transpose()?,
        fenced: message.fenced.map(take_fence).transpose()?,
        ..Registry::default()
    };
    for node in message.nodes {
        let (id, node) = take_node(node)?;
        registry.nodes.insert(id, node);
    }
    for placement in message.groups {
        registry.groups.insert(
            GroupId(placement.group),
            Placement {
                wanted: take_ids(placement.wanted),
                placed: take_ids(placement.placed),
                preferred: take_preferred(placement.preferred),
                pinned: placement.pinned,
            },
        );
    }
    Ok(registry)
}

/// Whether bytes that were proposed to the meta group are the registry's.
pub(crate) fn is_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

fn format_of(registry: &Registry) -> u8 {
    if registry.tells_of_standbys() {
        return FORMAT;
    }
    match registry.finalised {
        Some(_) => FORMAT_WITHOUT_STANDBY,
        None => FORMAT_WITHOUT_FINALISED,
    }
}

fn format_of_change(change: &Change) -> u8 {
    match change {
        Change::StandbyRegistered { .. }
        | Change::StandbyForgotten { .. }
        | Change::Fenced { .. }
        | Change::Promoted { .. } => FORMAT,
        Change::Finalised { .. } => FORMAT_WITHOUT_STANDBY,
        _ => FORMAT_WITHOUT_FINALISED,
    }
}

fn put_standby(standby: &RegisteredStandby) -> pb::RegisteredStandby {
    pb::RegisteredStandby {
        id: standby.id.clone(),
        address: standby.address.clone(),
        ca: standby.ca.clone(),
        secret: standby.secret.clone(),
    }
}

fn take_standby(standby: pb::RegisteredStandby) -> Result<RegisteredStandby, RecordError> {
    if standby.id.is_empty() {
        return Err(RecordError::Field("standby"));
    }
    Ok(RegisteredStandby {
        id: standby.id,
        address: standby.address,
        ca: standby.ca,
        secret: standby.secret,
    })
}

fn put_fence(fence: &Fence) -> pb::ClusterFenced {
    pb::ClusterFenced {
        epoch: fence.epoch,
        by: fence.by.clone(),
        standby_id: fence.standby.clone(),
    }
}

fn take_fence(fence: pb::ClusterFenced) -> Result<Fence, RecordError> {
    if fence.standby_id.is_empty() {
        return Err(RecordError::Field("standby_id"));
    }
    match fence.epoch {
        0 | 1 => Err(RecordError::Field("epoch")),
        epoch => Ok(Fence {
            epoch,
            by: fence.by,
            standby: fence.standby_id,
        }),
    }
}

fn head(format: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(format);
    bytes
}

fn after_head(bytes: &[u8]) -> Result<Option<&[u8]>, RecordError> {
    match bytes.strip_prefix(&MAGIC) {
        None => Ok(None),
        Some([format, rest @ ..]) if (1..=FORMAT).contains(format) => Ok(Some(rest)),
        Some([format, ..]) => Err(RecordError::Format(*format)),
        Some([]) => Err(RecordError::Field("format")),
    }
}

/// Decodes a message and refuses fields that it does not have: on a replica, half a fact is another state.
fn decode_whole<M: Message + Default>(bytes: &[u8]) -> Result<M, RecordError> {
    let message = M::decode(bytes)?;
    if message.encode_to_vec() != bytes {
        return Err(RecordError::Unknown);
    }
    Ok(message)
}

fn put_change(change: &Change) -> Fact {
    match change {
        Change::Registered { id, node } => Fact::Registered(put_node(*id, node)),
        Change::Addressed {
            id,
            peer_address,
            client_address,
        } => Fact::Addressed(pb::NodeAddressed {
            node: id.0,
            peer_address: peer_address.clone(),
            client_address: client_address.clone(),
        }),
        Change::State { id, state, reason } => Fact::State(pb::NodeStateChanged {
            node: id.0,
            state: state_number(*state),
            reason: reason.clone(),
        }),
        Change::Wanted { group, nodes, pinned } => Fact::Wanted(pb::ReplicasWanted {
            group: group.0,
            nodes: put_ids(nodes),
            pinned: *pinned,
        }),
        Change::Placed { group, nodes } => Fact::Placed(pb::ReplicasPlaced {
            group: group.0,
            nodes: put_ids(nodes),
        }),
        Change::Preferred { group, node } => Fact::Preferred(pb::LeaderPreferred {
            group: group.0,
            node: node.map_or(0, |node| node.0),
        }),
        Change::Finalised { version } => Fact::Finalised(pb::ClusterFinalised { version: *version }),
        Change::StandbyRegistered { standby } => Fact::StandbyRegistered(put_standby(standby)),
        Change::StandbyForgotten { id } => Fact::StandbyForgotten(pb::StandbyForgotten { id: id.clone() }),
        Change::Fenced { fence } => Fact::Fenced(put_fence(fence)),
        Change::Promoted { epoch } => Fact::Promoted(pb::ClusterPromoted { epoch: *epoch }),
    }
}

fn take_change(fact: Fact) -> Result<Change, RecordError> {
    Ok(match fact {
        Fact::Registered(node) => {
            let (id, node) = take_node(node)?;
            Change::Registered { id, node }
        }
        Fact::Addressed(addressed) => Change::Addressed {
            id: NodeId(addressed.node),
            peer_address: addressed.peer_address,
            client_address: addressed.client_address,
        },
        Fact::State(changed) => Change::State {
            id: NodeId(changed.node),
            state: state_of(changed.state)?,
            reason: changed.reason,
        },
        Fact::Wanted(wanted) => Change::Wanted {
            group: GroupId(wanted.group),
            nodes: take_ids(wanted.nodes),
            pinned: wanted.pinned,
        },
        Fact::Placed(placed) => Change::Placed {
            group: GroupId(placed.group),
            nodes: take_ids(placed.nodes),
        },
        Fact::Preferred(preferred) => Change::Preferred {
            group: GroupId(preferred.group),
            node: take_preferred(preferred.node),
        },
        Fact::Finalised(pb::ClusterFinalised { version: 0 }) => return Err(RecordError::Field("finalised")),
        Fact::Finalised(finalised) => Change::Finalised {
            version: finalised.version,
        },
        Fact::StandbyRegistered(standby) => Change::StandbyRegistered {
            standby: take_standby(standby)?,
        },
        Fact::StandbyForgotten(forgotten) => Change::StandbyForgotten { id: forgotten.id },
        Fact::Fenced(fence) => Change::Fenced {
            fence: take_fence(fence)?,
        },
        Fact::Promoted(pb::ClusterPromoted { epoch: 0 | 1 }) => return Err(RecordError::Field("epoch")),
        Fact::Promoted(promoted) => Change::Promoted {
            epoch: promoted.epoch,
        },
    })
}

fn put_node(id: NodeId, node: &RegisteredNode) -> pb::RegisteredNode {
    pb::RegisteredNode {
        id: id.0,
        instance: node.instance.clone(),
        peer_address: node.peer_address.clone(),
        client_address: node.client_address.clone(),
        state: state_number(node.state),
        reason: node.reason.clone(),
    }
}

fn take_node(node: pb::RegisteredNode) -> Result<(NodeId, RegisteredNode), RecordError> {
    if node.id == 0 {
        return Err(RecordError::Field("id"));
    }
    Ok((
        NodeId(node.id),
        RegisteredNode {
            instance: node.instance,
            peer_address: node.peer_address,
            client_address: node.client_address,
            state: state_of(node.state)?,
            reason: node.reason,
        },
    ))
}

fn put_ids(ids: &BTreeSet<NodeId>) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

fn take_ids(ids: Vec<u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn take_preferred(node: u64) -> Option<NodeId> {
    (node > 0).then_some(NodeId(node))
}

const STATES: [NodeState; 4] = [
    NodeState::Joining,
    NodeState::Active,
    NodeState::Draining,
    NodeState::Removed,
];

fn state_number(state: NodeState) -> u32 {
    match state {
        NodeState::Joining => 1,
        NodeState::Active => 2,
        NodeState::Draining => 3,
        NodeState::Removed => 4,
    }
}

fn state_of(number: u32) -> Result<NodeState, RecordError> {
    STATES
        .into_iter()
        .find(|state| state_number(*state) == number)
        .ok_or(RecordError::Field("state"))
}
