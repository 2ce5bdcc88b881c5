//! What a call brings along, and how it can fail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::Posture;
use docket_engine::{
    CustomerId, PackedOrigin, REQUEST_ID_KEPT_BYTES_MAX, Rejection, TraceId, access::Username,
};
use docket_traces::Scope;

/// What comes with every call.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// After this nobody waits for the answer any more. A command that has not been decided by then is dropped; one that
    /// was decided runs to its end.
    pub deadline: Option<Instant>,
    /// The client's id for this request, 1 to 64 characters: a repeat is answered from the log.
    pub request_id: Option<String>,
    /// When set, the caller sees this customer and its orders only: others answer as if they did not exist.
    pub owner: Option<CustomerId>,
    /// The account that calls; `None` where nobody in particular.
    pub by: Option<Username>,
    /// The trace to which the call belongs, where its client says so or the node has begun one.
    pub trace: Option<TraceId>,
    /// Where spans of what is done for it belong; `None` where it is not sampled.
    pub scope: Option<Scope>,
}

impl Call {
    /// What is kept of where a change comes from; `None` where that is nothing.
    pub(crate) fn origin(&self) -> Option<PackedOrigin> {
        let kept = |id: &&str| (1..=REQUEST_ID_KEPT_BYTES_MAX).contains(&id.len());
        let request_id = self.request_id.as_deref().filter(kept);
        PackedOrigin::of(self.by.as_ref(), request_id, self.trace)
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// A domain answer.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too much is in flight. Nothing was done.
    #[error("too many requests are in flight; retry in {retry_after:?}")]
    Overloaded {
        /// When a retry is sensible.
        retry_after: Duration,
    },
    /// The disk is nearly full. Nothing was done; reads go on.
    #[error(
        "the node's disk is nearly full ({free_bytes} bytes are free): writes are refused until space is freed"
    )]
    LowSpace {
        /// What is free.
        free_bytes: u64,
    },
    /// The shard has no leader that could decide. Nothing was done.
    #[error("{reason}; retry in {retry_after:?}")]
    Unavailable {
        /// What is missing.
        reason: &'static str,
        /// When a retry is sensible.
        retry_after: Duration,
    },
    /// This node leads nothing: it is a standby, fenced, or finds that out. Nothing was done.
    #[error("{}", told(.0))]
    LeadsNothing(Arc<Posture>),
    /// A node of the cluster has a program that does not know this command, and would stop at it. Nothing was done.
    #[error("a node of the cluster has an older program, which does not know this: upgrade it first")]
    OlderNodes,
    /// The shard changed its leader, or the node is stopping, while the request was on its way: it may have been done or
    /// not. A repeat with the same request id finds out.
    #[error("the outcome is not known: repeat the request with the same request_id to find out")]
    OutcomeUnknown,
    /// The deadline passed. The request may have been done or not.
    #[error("the deadline passed before the request was done")]
    DeadlineExceeded,
    /// The request made its actor panic again and again, and was given up. An order that had begun by then
    /// is finished or undone later.
    #[error("the request cannot be processed; it was recorded for the operators")]
    Poison,
    /// An invariant is broken; the shard has stopped.
    #[error("an internal invariant does not hold; it was recorded for the operators")]
    Broken,
}

/// Why a node that leads nothing takes no writes.
fn told(posture: &Posture) -> String {
    match posture {
        Posture::Open => "this node leads again: repeat the request".to_owned(),
        Posture::Standby { of } => format!(
            "this is a standby of the cluster at {of}, and takes no writes before it is promoted: send them there"
        ),
        Posture::Asking { standby } => {
            format!(
                "this node asks its standby at {standby} whether that has taken its place, and takes no writes before"
            )
        }
        Posture::Fenced { epoch, by } => format!(
            "this cluster was fenced: its standby at {by} has taken its place, in epoch {epoch}: send writes there"
        ),
    }
}
