//! How Docket fills in openraft's type parameters, and how times and queues of a core are set.

use std::fmt;

use bytes::Bytes;
use metrics::Gauge;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std;
use openraft::{EmptyNode, OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::moments::Moments;

/// One leader a term (`leader_id_std`), so that a term alone fences what an earlier leader still does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = Reply;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload;
    type Entry = openraft::Entry<leader_id_std::CommittedLeaderId<u64>, EntryPayload>;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = Waiter<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type LogEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type EntryPayload = openraft::EntryPayload<Payload, u64, EmptyNode>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

/// The id of the entry that the leader of this term wrote at this index.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(leader_id_std::CommittedLeaderId::new(term), index)
}

/// The term of a log id's leader.
pub(crate) fn term_of(id: &LogId) -> u64 {
    id.leader_id.term
}

/// The opaque bytes of an entry; on the node that proposed it perhaps with somebody who wants to know when it was where.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(
    #[serde(with = "raw")] pub(crate) Bytes,
    #[serde(skip)] pub(crate) Option<Moments>,
);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the state machine answered to an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply(#[serde(with = "raw")] pub(crate) Bytes);

/// openraft asks that what it carries can be serialised, although it serialises nothing itself.
mod raw {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        Vec::<u8>::deserialize(from).map(Bytes::from)
    }
}

/// Who waits for a proposal: answered once, with the permits that bound what is in flight given back then and not before, even if the
/// proposer has gone away meanwhile.
pub(crate) struct Waiter<T> {
    done: oneshot::Sender<T>,
    permits: Permits,
}

/// What a proposal holds of its group's bounds until it is answered.
pub(crate) struct Permits {
    _proposal: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    in_flight: Gauge,
}

impl Permits {
    pub(crate) fn new(proposal: OwnedSemaphorePermit, bytes: OwnedSemaphorePermit, in_flight: Gauge) -> Self {
        in_flight.increment(1.0);
        Self {
            _proposal: proposal,
            _bytes: bytes,
            in_flight,
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.in_flight.decrement(1.0);
    }
}

impl<T> Waiter<T> {
    pub(crate) fn new(permits: Permits) -> (Self, oneshot::Receiver<T>) {
        let (done, answer) = oneshot::channel();
        (Self { done, permits }, answer)
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Waiter<T> {
    fn on_complete(self, result: T) {
        let Self { done, permits } = self;
        // First the place, then the answer: whoever is answered finds room for the next.
        drop(permits);
        // An error means that the proposer no longer waits, which is its right.
        let _ = done.send(result);
    }
}
