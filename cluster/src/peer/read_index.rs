//! How a replica learns what it must have applied before a read of it is linearizable: it asks the leader, which makes its own check and
//! says how far it has applied then. And how a node that has no replica learns who leads: it asks one that has; and one that had, from
//! the leader, whether it is none of the group's members any more.

use std::collections::BTreeSet;

use bytes::Bytes;
use docket_proto::peer::call_read_index::Result as Index;
use docket_proto::peer::{CallLeader, CallMembers, CallRead, CallReadIndex, CallReadReply};
use futures::future::{join, join_all};
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;

use super::service::Groups;
use crate::call::Declined;
use crate::clock::CausalClock;
use crate::limits::READ_GROUPS_MAX;
use crate::{Leader, Leadership, NodeId, ReadError};

/// Answers a peer.
pub(super) async fn answer(groups: Groups, clock: CausalClock, body: Bytes) -> Result<Bytes, Declined> {
    let asked = CallRead::decode(body).map_err(|error| Declined(error.to_string()))?;
    let most = asked.groups.len().max(asked.led.len());
    if most.max(asked.members.len()) > READ_GROUPS_MAX {
        return Err(Declined("more groups than a cluster has".into()));
    }
    let indexes = asked.groups.iter().map(|group| async {
        let result = match groups.get(*group) {
            Err(status) => Index::Stopped(status.message().to_owned()),
            Ok(group) => match group.read_barrier().await {
                // All that was answered before the check is applied by now.
                Ok(()) => Index::AppliedNext(group.progress().applied_index().map_or(0, |index| index + 1)),
                Err(ReadError::NotLeader { leader }) => Index::Leader(leader.map_or(0, |leader| leader.0)),
                Err(ReadError::Stopped { reason }) => Index::Stopped(reason.to_string()),
            },
        };
        CallReadIndex { result: Some(result) }
    });
    let led = asked
        .led
        .iter()
        .map(|group| put_leader(&groups, *group))
        .collect();
    let members = asked.members.iter().map(|group| put_members(&groups, *group));
    let (groups, members) = join(join_all(indexes), join_all(members)).await;
    let reply = CallReadReply {
        groups,
        led,
        members,
        clock_us: clock.latest_us(),
    };
    Ok(reply.encode_to_vec().into())
}

async fn put_members(groups: &Groups, group: u32) -> CallMembers {
    let Ok(group) = groups.get(group) else {
        return CallMembers::default();
    };
    // Looked at after the check: a member that had been added before it is seen.
    if group.read_barrier().await.is_err() {
        return CallMembers::default();
    }
    let metrics = group.raft().metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    let committed = metrics.local_committed.map(|id| id.index);
    CallMembers {
        known: membership.log_id().map(|id| id.index) <= committed,
        nodes: membership.membership().nodes().map(|(id, _)| *id).collect(),
    }
}

/// The question who is a member of a group, for its leader.
pub(crate) fn put_who_is_member(group: u32) -> Bytes {
    let asked = CallRead {
        members: vec![group],
        ..CallRead::default()
    };
    asked.encode_to_vec().into()
}

/// The answer, where whoever was asked leads, and knows.
pub(crate) fn take_members(reply: Bytes) -> Option<BTreeSet<NodeId>> {
    let members = CallReadReply::decode(reply).ok()?.members.into_iter().next()?;
    let known = members.known && !members.nodes.is_empty();
    known.then(|| members.nodes.into_iter().map(NodeId).collect())
}

fn put_leader(groups: &Groups, group: u32) -> CallLeader {
    let Ok(group) = groups.get(group) else {
        return CallLeader::default();
    };
    let leadership = *group.leadership().borrow();
    match (leadership, group.leader()) {
        (Leadership::Leader { term }, _) => CallLeader {
            node: group.progress().node(),
            term,
        },
        (_, Leader::Node { node, term }) => CallLeader { node: node.0, term },
        _ => CallLeader::default(),
    }
}

/// The question who leads a group.
pub(crate) fn put_who_leads(group: u32) -> Bytes {
    let asked = CallRead {
        led: vec![group],
        ..CallRead::default()
    };
    asked.encode_to_vec().into()
}

/// The answer, where it is known.
pub(crate) fn take_leader(reply: Bytes) -> Option<(NodeId, u64)> {
    let leader = CallReadReply::decode(reply).ok()?.led.into_iter().next()?;
    (leader.node != 0).then_some((NodeId(leader.node), leader.term))
}

/// The question about these groups.
pub(crate) fn put_read(groups: Vec<u32>) -> Bytes {
    let asked = CallRead {
        groups,
        ..CallRead::default()
    };
    asked.encode_to_vec().into()
}

/// What a leader answers about groups.
pub(crate) struct Read {
    /// One for each group that was asked about: the index after what must be applied.
    pub(crate) indexes: Vec<Result<u64, ReadError>>,
    /// What time it is there, in microseconds since 1970; 0 where it does not say.
    pub(crate) clock_us: i64,
}

/// The answers about so many groups.
pub(crate) fn take_read(reply: Bytes, asked: usize) -> Option<Read> {
    let reply = CallReadReply::decode(reply).ok()?;
    if reply.groups.len() != asked {
        return None;
    }
    let taken = reply.groups.into_iter().map(|index| match index.result {
        Some(Index::AppliedNext(next)) => Ok(next),
        Some(Index::Leader(leader)) => Err(ReadError::NotLeader {
            leader: (leader != 0).then_some(NodeId(leader)),
        }),
        Some(Index::Stopped(reason)) => Err(ReadError::Stopped {
            reason: reason.into(),
        }),
        None => Err(ReadError::NotLeader { leader: None }),
    });
    Some(Read {
        indexes: taken.collect(),
        clock_us: reply.clock_us,
    })
}
