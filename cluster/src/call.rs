//! Calls between nodes: a question of the layer above to one other node, and its answer. Bytes that nobody here understands.
//!
//! ```text
//!  Node::call ─▶ bound of the lane ─▶ Link "calls" ─▶ one stream a peer ─▶ AnswerCalls on the other node
//!       ▲                                                                       │
//!       └───────────────── answered, declined, failed ◀─────────────────────────┘
//! ```
//!
//! What it guarantees:
//! - An answer is the other node's, and belongs to this call.
//! - [`PeerCallError`] tells whether the call may have been executed: what was declined or never sent was not.
//! - The calls that one node sends another are handed over in the order in which they were sent on their connection.
//! - What is in flight is bounded in number and bytes, on both ends, for each [`Lane`] by itself. Who answers a request may make steps
//!   and wait for them; who answers a step makes no call. So no two nodes wait for each other for ever.

use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::NodeId;

/// What a call may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Whoever answers it may make calls of the other lane, and wait for them.
    Request,
    /// Whoever answers it makes no call.
    Step,
}

/// A call as it arrives.
#[derive(Clone, Debug)]
pub struct PeerCall {
    /// Who calls.
    pub from: NodeId,
    /// What the body is: a number that the layer above gave it, 1 or more.
    pub kind: u32,
    /// What it says.
    pub body: Bytes,
    /// After this nobody waits for the answer; its future is dropped then.
    pub deadline: Instant,
}

/// Answers the calls of other nodes.
pub trait AnswerCalls: Send + Sync + 'static {
    /// Answers a call. What is done before this returns is done in the order in which calls of one connection arrive, and holds
    /// the next ones up: it must be quick.
    fn answer(&self, call: PeerCall) -> Answer;
}

/// What a call has come to. [`Declined`] only if nothing was done.
pub type Answered = Result<Bytes, Declined>;

/// How a call is answered.
pub enum Answer {
    /// By waiting for others: to poll it is quick. All such answers of a connection are polled by one task.
    Waits(BoxFuture<'static, Answered>),
    /// By work, in a task of its own.
    Works(BoxFuture<'static, Answered>),
}

impl Answer {
    /// Says no at once.
    pub fn declined(why: impl std::fmt::Display) -> Self {
        Self::ready(Err(Declined(why.to_string())))
    }

    /// What is known at once.
    pub fn ready(answered: Answered) -> Self {
        Self::Waits(std::future::ready(answered).boxed())
    }
}

/// A call that was not taken on, and why. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Declined(pub String);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerCallError {
    /// It never left this node: the other cannot be reached, or there was no room for it within its time. Nothing was done.
    #[error("the call to node {node} was not sent: {cause}")]
    NotSent {
        /// The other node.
        node: NodeId,
        /// Why not.
        cause: String,
    },
    /// The other node did not take it on. Nothing was done.
    #[error("node {node} declined the call: {cause}")]
    Declined {
        /// The other node.
        node: NodeId,
        /// What it said.
        cause: String,
    },
    /// It was sent, and whether it was done is not known. Only an idempotent repeat is safe.
    #[error("whether node {node} has done what it was asked is not known: {cause}")]
    Unknown {
        /// The other node.
        node: NodeId,
        /// What went wrong.
        cause: String,
    },
}

impl PeerCallError {
    /// Whether the other node may have done what it was asked.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// Where a group is led, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// Here.
    Here,
    /// On this node, in this term.
    Node {
        /// The leader.
        node: NodeId,
        /// Its term.
        term: u64,
    },
    /// Nobody knows, or it is changing.
    Unknown,
}
