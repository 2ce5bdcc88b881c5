//! What every command goes through, whatever it is: a permit, then an actor, again where the first was thrown away, and the
//! committed answer.

use std::sync::Arc;

use docket_engine::Request;

use super::{Docket, NO_LEADER, RETRY_AFTER};
use crate::{
    Call, CallError,
    admission::Permit,
    reply::{Caller, Failure, Reply},
    shard::Shard,
};

/// How often a command is sent again to an actor that was thrown away before it is given up.
pub(super) const TRIES_MAX: u32 = 16;
/// How often a command may make its actor panic.
pub(crate) const PANICS_MAX: u32 = 3;
/// What a call weighs beside its request's own bytes.
const CALL_BYTES: usize = 512;

impl Docket {
    /// A share of the bounds for one write.
    pub(super) fn admit(&self, shard: &Shard, bytes: usize) -> Result<Arc<Permit>, CallError> {
        if self.inner.closing.is_cancelled() {
            return Err(CallError::Unavailable {
                reason: "the node is stopping",
                retry_after: RETRY_AFTER,
            });
        }
        if !shard.is_leading() {
            return Err(NO_LEADER);
        }
        let permit = self.inner.admission.admit(bytes + CALL_BYTES);
        permit.map(Arc::new).ok_or(CallError::Overloaded {
            retry_after: RETRY_AFTER,
        })
    }

    /// Refuses what would grow where the disk is nearly full. Whoever asks what became of a request that was done is answered
    /// all the same.
    pub(super) fn has_room(&self, shard: &Shard, request: Option<Request>) -> Result<(), CallError> {
        let is_done = |request: Request| shard.committed().requests.contains_key(request.key);
        match self.inner.node.disk_low() {
            Some(free_bytes) if !request.is_some_and(is_done) => Err(CallError::LowSpace { free_bytes }),
            _ => Ok(()),
        }
    }

    /// Sends a command until an actor has taken it, and waits for the committed answer.
    pub(super) async fn run(
        &self,
        shard: &Shard,
        call: &Call,
        permit: &Arc<Permit>,
        steps: Steps,
        send: impl Fn(Caller),
    ) -> Result<Reply, CallError> {
        let mut panics = 0;
        for tried in 0..TRIES_MAX {
            if !shard.is_leading() {
                return Err(steps.given_up(tried, NO_LEADER));
            }
            let (caller, answer) = Caller::new(call.deadline, permit.clone());
            send(caller);
            let answer = match call.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), answer)
                    .await
                    .map_err(|_| CallError::DeadlineExceeded)?,
                None => answer.await,
            };
            match answer.unwrap_or(Err(Failure::Gone)) {
                Ok(reply) => return Ok(reply),
                Err(Failure::Gone | Failure::Conflict) => {}
                Err(Failure::Panicked) => {
                    panics += 1;
                    if panics == PANICS_MAX {
                        metrics::counter!("docket_poison_commands_total").increment(1);
                        return Err(CallError::Poison);
                    }
                }
                // Counted where it was given up.
                Err(Failure::Poison) => return Err(CallError::Poison),
                Err(Failure::NotLeader) => return Err(steps.given_up(tried, NO_LEADER)),
                Err(Failure::Unknown) => return Err(CallError::OutcomeUnknown),
                Err(Failure::Expired) => return Err(CallError::DeadlineExceeded),
            }
        }
        Err(steps.given_up(TRIES_MAX, UNSETTLED))
    }
}

/// Whether a command is one decision, or the begin of several.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    /// One that comes back undone has left nothing in the log.
    One,
    /// One that comes back undone may have left its first steps in the log.
    Several,
}

impl Steps {
    /// What a command that was tried so often ends with.
    fn given_up(self, tried: u32, undone: CallError) -> CallError {
        if self == Self::Several && tried > 0 {
            CallError::OutcomeUnknown
        } else {
            undone
        }
    }
}

/// The command met one change after another. Nothing of it is in the log.
const UNSETTLED: CallError = CallError::Unavailable {
    reason: "the entity's actor is being rebuilt",
    retry_after: RETRY_AFTER,
};
