//! How a replica learns what it must have applied before a read of it is linearizable: it asks the leader, which makes its own check and
//! says how far it has applied then. And how a node that has no replica learns who leads: it asks one that has.

use bytes::Bytes;
use docket_proto::peer::call_read_index::Result as Index;
use docket_proto::peer::{CallLeader, CallRead, CallReadIndex, CallReadReply};
use futures::future::join_all;
use prost::Message;

use super::service::Groups;
use crate::call::Declined;
use crate::limits::READ_GROUPS_MAX;
use crate::{Leader, Leadership, NodeId, ReadError};

/// Answers a peer.
pub(super) async fn answer(groups: Groups, body: Bytes) -> Result<Bytes, Declined> {
    let asked = CallRead::decode(body).map_err(|error| Declined(error.to_string()))?;
    if asked.groups.len().max(asked.led.len()) > READ_GROUPS_MAX {
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
    let groups = join_all(indexes).await;
    Ok(CallReadReply { groups, led }.encode_to_vec().into())
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
        groups: Vec::new(),
        led: vec![group],
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
    let led = Vec::new();
    CallRead { groups, led }.encode_to_vec().into()
}

/// The answers, one for each group that was asked about: the index after what must be applied.
pub(crate) fn take_read(reply: Bytes, asked: usize) -> Option<Vec<Result<u64, ReadError>>> {
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
    Some(taken.collect())
}
