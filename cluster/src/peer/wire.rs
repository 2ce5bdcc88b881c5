//! openraft's messages as the peer protocol's, and back.
//!
//! What comes in is checked here for everything that openraft takes for granted: entries follow one another, and who speaks for a leader
//! is that leader.

use docket_proto::peer as pb;
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::NodeId;
use crate::digest::Digest;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::raft::{EntryPayload, LogEntry, LogId, Payload, SnapshotMeta, TypeConfig, Vote, log_id, term_of};

/// A message that no correct peer sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("node {from} spoke for node {speaks_for}")]
    NotItself { from: NodeId, speaks_for: NodeId },
    #[error("an append of a node that does not lead")]
    NotLeader,
    #[error("entry {found} where entry {expected} belongs")]
    Order { expected: u64, found: u64 },
    #[error("an entry of {0} bytes")]
    TooLarge(usize),
    #[error("a membership that cannot be read: {0}")]
    Membership(String),
}

pub(crate) fn put_ballot(vote: &Vote) -> pb::Ballot {
    pb::Ballot {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn take_ballot(ballot: Option<pb::Ballot>) -> Result<Vote, WireError> {
    let pb::Ballot {
        term,
        node,
        committed,
    } = ballot.ok_or(WireError::Missing("the ballot"))?;
    Ok(if committed {
        Vote::new_committed(term, node)
    } else {
        Vote::new(term, node)
    })
}

/// A ballot for the node that sent it.
fn take_own_ballot(ballot: Option<pb::Ballot>, from: NodeId) -> Result<Vote, WireError> {
    let vote = take_ballot(ballot)?;
    let speaks_for = NodeId(vote.leader_id.voted_for);
    if speaks_for == from {
        Ok(vote)
    } else {
        Err(WireError::NotItself { from, speaks_for })
    }
}

/// The ballot of a leader, which sent it.
fn take_leader(ballot: Option<pb::Ballot>, from: NodeId) -> Result<Vote, WireError> {
    take_own_ballot(ballot, from).and_then(|vote| {
        if vote.committed {
            Ok(vote)
        } else {
            Err(WireError::NotLeader)
        }
    })
}

fn put_log_id(id: &LogId) -> pb::LogId {
    pb::LogId {
        term: term_of(id),
        index: id.index,
    }
}

fn take_log_id(id: pb::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(crate) fn put_vote(group: u32, request: &VoteRequest<TypeConfig>, pre_vote: bool) -> pb::VoteRequest {
    pb::VoteRequest {
        group,
        ballot: Some(put_ballot(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(put_log_id),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(crate) fn take_vote(
    request: pb::VoteRequest,
    from: NodeId,
) -> Result<VoteRequest<TypeConfig>, WireError> {
    let last_log_id = request.last_log_id.map(take_log_id);
    let mut vote = VoteRequest::new(take_own_ballot(request.ballot, from)?, last_log_id);
    vote.leadership_transfer = request.leadership_transfer;
    Ok(vote)
}

pub(crate) fn put_voted(response: &VoteResponse<TypeConfig>) -> pb::VoteReply {
    pb::VoteReply {
        ballot: Some(put_ballot(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(put_log_id),
    }
}

pub(crate) fn take_voted(reply: pb::VoteReply) -> Result<VoteResponse<TypeConfig>, WireError> {
    let last_log_id = reply.last_log_id.map(take_log_id);
    Ok(VoteResponse::new(
        take_ballot(reply.ballot)?,
        last_log_id,
        reply.granted,
    ))
}

pub(crate) fn put_append(
    group: u32,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<pb::AppendRequest, WireError> {
    let entries = request.entries.into_iter().map(put_entry);
    Ok(pb::AppendRequest {
        group,
        ballot: Some(put_ballot(&request.vote)),
        previous: request.prev_log_id.as_ref().map(put_log_id),
        leader_commit: request.leader_commit.as_ref().map(put_log_id),
        entries: entries.collect::<Result<_, _>>()?,
    })
}

pub(crate) fn take_append(
    request: pb::AppendRequest,
    from: NodeId,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let vote = take_leader(request.ballot, from)?;
    let prev_log_id = request.previous.map(take_log_id);
    let mut expected = prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let entry = take_entry(entry)?;
        let found = entry.log_id.index;
        if found != expected {
            return Err(WireError::Order { expected, found });
        }
        expected = expected.saturating_add(1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit: request.leader_commit.map(take_log_id),
    })
}

fn put_entry(entry: LogEntry) -> Result<pb::Entry, WireError> {
    use pb::entry::Payload as P;
    let payload = match entry.payload {
        EntryPayload::Blank => P::Blank(pb::Blank {}),
        EntryPayload::Normal(payload) => P::Normal(payload.0),
        EntryPayload::Membership(members) => P::Membership(put_json(&members)?),
    };
    Ok(pb::Entry {
        id: Some(put_log_id(&entry.log_id)),
        payload: Some(payload),
    })
}

fn take_entry(entry: pb::Entry) -> Result<LogEntry, WireError> {
    use pb::entry::Payload as P;
    let payload = match entry.payload.ok_or(WireError::Missing("an entry's payload"))? {
        P::Blank(pb::Blank {}) => EntryPayload::Blank,
        P::Normal(bytes) if bytes.len() > PAYLOAD_BYTES_MAX => return Err(WireError::TooLarge(bytes.len())),
        P::Normal(bytes) => EntryPayload::Normal(Payload(bytes, None)),
        P::Membership(json) => EntryPayload::Membership(take_json(&json)?),
    };
    Ok(LogEntry {
        log_id: take_log_id(entry.id.ok_or(WireError::Missing("an entry's id"))?),
        payload,
    })
}

pub(crate) fn put_appended(result: &StreamAppendResult<TypeConfig>) -> pb::AppendReply {
    use pb::append_reply::Result as R;
    let result = match result {
        Ok(upto) => R::Matching(pb::Matching {
            upto: upto.as_ref().map(put_log_id),
        }),
        Err(StreamAppendError::Conflict(id)) => R::Conflict(put_log_id(id)),
        Err(StreamAppendError::HigherVote(vote)) => R::Higher(put_ballot(vote)),
    };
    pb::AppendReply { result: Some(result) }
}

pub(crate) fn put_append_failure(cause: impl ToString) -> pb::AppendReply {
    pb::AppendReply {
        result: Some(pb::append_reply::Result::Failed(cause.to_string())),
    }
}

/// The result, or why there is none.
pub(crate) fn take_appended(reply: pb::AppendReply) -> Result<StreamAppendResult<TypeConfig>, String> {
    use pb::append_reply::Result as R;
    let missing = || WireError::Missing("the result").to_string();
    Ok(match reply.result.ok_or_else(missing)? {
        R::Matching(matching) => Ok(matching.upto.map(take_log_id)),
        R::Conflict(id) => Err(StreamAppendError::Conflict(take_log_id(id))),
        R::Higher(ballot) => Err(StreamAppendError::HigherVote(
            take_ballot(Some(ballot)).map_err(|error| error.to_string())?,
        )),
        R::Failed(cause) => return Err(cause),
    })
}

pub(crate) fn put_snapshot_head(
    group: u32,
    vote: &Vote,
    meta: &SnapshotMeta,
    digest: Option<Digest>,
    id: bytes::Bytes,
) -> Result<pb::SnapshotHead, WireError> {
    Ok(pb::SnapshotHead {
        group,
        ballot: Some(put_ballot(vote)),
        last_log_id: meta.last_log_id.as_ref().map(put_log_id),
        membership: put_json(&meta.last_membership)?,
        digest: digest.filter(|digest| !digest.is_of_values()).map(put_digest),
        digest_of_values: digest.filter(Digest::is_of_values).map(put_digest),
        id,
        behind: 0,
    })
}

pub(crate) fn put_digest(digest: Digest) -> pb::Digest {
    pb::Digest {
        since: digest.since,
        value: digest.value,
    }
}

/// The digest of the state in a snapshot, where its sender knew it.
pub(crate) fn take_head_digest(head: &pb::SnapshotHead) -> Option<Digest> {
    head.digest_of_values.or(head.digest).map(take_digest)
}

pub(crate) fn take_digest(digest: pb::Digest) -> Digest {
    Digest {
        since: digest.since,
        value: digest.value,
    }
}

pub(crate) fn take_snapshot_head(
    head: &pb::SnapshotHead,
    from: NodeId,
) -> Result<(Vote, SnapshotMeta), WireError> {
    let vote = take_leader(head.ballot, from)?;
    let meta = SnapshotMeta {
        last_log_id: head.last_log_id.map(take_log_id),
        last_membership: take_json(&head.membership)?,
    };
    Ok((vote, meta))
}

pub(crate) fn put_snapshot_taken(response: &SnapshotResponse<TypeConfig>) -> pb::SnapshotReply {
    pb::SnapshotReply {
        ballot: Some(put_ballot(&response.vote)),
    }
}

pub(crate) fn take_snapshot_taken(
    reply: pb::SnapshotReply,
) -> Result<SnapshotResponse<TypeConfig>, WireError> {
    take_ballot(reply.ballot).map(SnapshotResponse::new)
}

pub(crate) fn put_transfer(
    group: u32,
    request: &TransferLeaderRequest<TypeConfig>,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        group,
        from_leader: Some(put_ballot(request.from_leader())),
        to_node: *request.to_node_id(),
        last_log_id: request.last_log_id().map(put_log_id),
    }
}

pub(crate) fn take_transfer(
    request: pb::TransferLeaderRequest,
    from: NodeId,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    Ok(TransferLeaderRequest::new(
        take_leader(request.from_leader, from)?,
        request.to_node,
        request.last_log_id.map(take_log_id),
    ))
}

pub(crate) fn put_transferred(response: &TransferLeaderResponse<TypeConfig>) -> pb::TransferLeaderReply {
    use pb::transfer_leader_reply::Result as R;
    let result = match response {
        Ok(()) => R::Accepted(pb::Blank {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => R::VoteChanged(pb::VoteChanged {
            expected: Some(put_ballot(expected)),
            actual: Some(put_ballot(actual)),
        }),
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => R::LogNotFlushed(pb::LogNotFlushed {
            expected: expected.as_ref().map(put_log_id),
            actual: actual.as_ref().map(put_log_id),
        }),
    };
    pb::TransferLeaderReply { result: Some(result) }
}

pub(crate) fn take_transferred(
    reply: pb::TransferLeaderReply,
) -> Result<TransferLeaderResponse<TypeConfig>, WireError> {
    use pb::transfer_leader_reply::Result as R;
    Ok(match reply.result.ok_or(WireError::Missing("the result"))? {
        R::Accepted(pb::Blank {}) => Ok(()),
        R::VoteChanged(pb::VoteChanged { expected, actual }) => Err(TransferLeaderError::VoteChanged {
            expected: take_ballot(expected)?,
            actual: take_ballot(actual)?,
        }),
        R::LogNotFlushed(pb::LogNotFlushed { expected, actual }) => Err(TransferLeaderError::LogNotFlushed {
            expected: expected.map(take_log_id),
            actual: actual.map(take_log_id),
        }),
    })
}

fn put_json<T: serde::Serialize>(value: &T) -> Result<bytes::Bytes, WireError> {
    serde_json::to_vec(value)
        .map(bytes::Bytes::from)
        .map_err(|error| WireError::Membership(error.to_string()))
}

fn take_json<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(json).map_err(|error| WireError::Membership(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::*;
    use crate::raft::{Membership, StoredMembership};

    const LEADER: NodeId = NodeId(2);

    fn request() -> AppendEntriesRequest<TypeConfig> {
        let members = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], [3]);
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(Bytes::from_static(b"payload"), None)),
            EntryPayload::Membership(members),
        ];
        let entries = payloads.into_iter().zip(5..).map(|(payload, index)| LogEntry {
            log_id: log_id(3, index),
            payload,
        });
        AppendEntriesRequest {
            vote: Vote::new_committed(3, 2),
            prev_log_id: Some(log_id(2, 4)),
            entries: entries.collect(),
            leader_commit: Some(log_id(2, 4)),
        }
    }

    #[test]
    fn appends_arrive_as_they_were_sent() {
        let sent = request();
        let arrived = take_append(put_append(7, sent.clone()).unwrap(), LEADER).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{sent:?}"));
        let results: [StreamAppendResult<TypeConfig>; 4] = [
            Ok(None),
            Ok(Some(log_id(1, 2))),
            Err(StreamAppendError::Conflict(log_id(1, 2))),
            Err(StreamAppendError::HigherVote(Vote::new(9, 3))),
        ];
        for result in results {
            assert_eq!(take_appended(put_appended(&result)).unwrap(), result);
        }
        assert_eq!(take_appended(put_append_failure("no")).unwrap_err(), "no");
    }

    #[test]
    fn votes_snapshots_and_transfers_arrive_as_they_were_sent() {
        for (vote, pre_vote) in [(Vote::new(3, 2), true), (Vote::new(4, 2), false)] {
            let mut sent = VoteRequest::new(vote, Some(log_id(1, 2)));
            sent.leadership_transfer = !pre_vote;
            let wire = put_vote(7, &sent, pre_vote);
            assert_eq!((wire.group, wire.pre_vote), (7, pre_vote));
            assert_eq!(take_vote(wire, LEADER).unwrap(), sent);
        }
        let voted = VoteResponse::new(Vote::new(3, 2), None, true);
        assert_eq!(take_voted(put_voted(&voted)).unwrap(), voted);
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(3, 9)),
            last_membership: StoredMembership::new(Some(log_id(1, 0)), Membership::default()),
        };
        let leader = Vote::new_committed(3, 2);
        for digest in [Digest { since: 5, value: 9 }, Digest::begin(5)] {
            let head = put_snapshot_head(7, &leader, &meta, Some(digest), Bytes::from_static(b"s")).unwrap();
            assert_eq!(take_head_digest(&head), Some(digest));
            assert_eq!(head.digest.is_some(), !digest.is_of_values());
        }
        let digest = Some(Digest::begin(5));
        let head = put_snapshot_head(7, &leader, &meta, digest, Bytes::from_static(b"s")).unwrap();
        assert_eq!(take_snapshot_head(&head, LEADER).unwrap(), (leader, meta));
        let transfer = TransferLeaderRequest::new(leader, 1, Some(log_id(3, 9)));
        assert_eq!(
            take_transfer(put_transfer(7, &transfer), LEADER).unwrap(),
            transfer
        );
        let not_flushed = Err(TransferLeaderError::LogNotFlushed {
            expected: Some(log_id(3, 9)),
            actual: None,
        });
        let changed = Err(TransferLeaderError::VoteChanged {
            expected: leader,
            actual: Vote::new(4, 1),
        });
        for answer in [Ok(()), not_flushed, changed] {
            assert_eq!(take_transferred(put_transferred(&answer)).unwrap(), answer);
        }
    }

    #[test]
    fn nobody_speaks_for_another_node_and_entries_follow_one_another() {
        let check = |change: fn(&mut pb::AppendRequest), expected: WireError| {
            let mut wire = put_append(7, request()).unwrap();
            change(&mut wire);
            assert_eq!(take_append(wire, LEADER).unwrap_err(), expected);
        };
        let not_itself = WireError::NotItself {
            from: LEADER,
            speaks_for: NodeId(1),
        };
        check(|wire| wire.ballot.as_mut().unwrap().node = 1, not_itself.clone());
        check(
            |wire| wire.ballot.as_mut().unwrap().committed = false,
            WireError::NotLeader,
        );
        check(|wire| wire.ballot = None, WireError::Missing("the ballot"));
        check(
            |wire| wire.previous = None,
            WireError::Order {
                expected: 0,
                found: 5,
            },
        );
        check(
            |wire| drop(wire.entries.remove(1)),
            WireError::Order {
                expected: 6,
                found: 7,
            },
        );
        check(
            |wire| wire.entries[0].payload = None,
            WireError::Missing("an entry's payload"),
        );
        let large = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
        let mut wire = put_append(7, request()).unwrap();
        wire.entries[1].payload = Some(pb::entry::Payload::Normal(large));
        assert_eq!(
            take_append(wire, LEADER).unwrap_err(),
            WireError::TooLarge(PAYLOAD_BYTES_MAX + 1)
        );
        let vote = put_vote(7, &VoteRequest::new(Vote::new(3, 1), None), false);
        assert_eq!(take_vote(vote, LEADER).unwrap_err(), not_itself);
    }
}
