//! What every command goes through, whatever it is: a permit, then an actor, again where the first was thrown away, and the
//! committed answer.

use std::{sync::Arc, time::Instant};

use docket_engine::Request;
use docket_traces::Scope;

use super::{Docket, NO_LEADER, RETRY_AFTER};
use crate::{
    CallError,
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
        if let Some(posture) = self.inner.node.leads_nothing_by() {
            return Err(CallError::LeadsNothing(posture));
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
        deadline: Option<Instant>,
        permit: &Arc<Permit>,
        mut tries: Tries,
        send: impl Fn(Caller),
    ) -> Result<Reply, CallError> {
        loop {
            tries.begin(shard)?;
            let (caller, answer) = Caller::new(deadline, permit.clone());
            send(caller.traced(tries.scope.as_ref(), shard));
            match within(deadline, answer).await?.unwrap_or(Err(Failure::Gone)) {
                Ok(reply) => return Ok(reply),
                Err(failure) => tries.failed(failure)?,
            }
        }
    }
}

/// What comes of something, if that is in time.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    future: impl Future<Output = T>,
) -> Result<T, CallError> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), future)
            .await
            .map_err(|_elapsed| CallError::DeadlineExceeded),
        None => Ok(future.await),
    }
}

/// How often a command was sent, and what came of it.
pub(super) struct Tries {
    steps: Steps,
    begun: u32,
    panics: u32,
    /// Where the call is sampled.
    scope: Option<Scope>,
}

impl Tries {
    /// None yet.
    pub(super) fn new(steps: Steps) -> Self {
        Self {
            steps,
            begun: 0,
            panics: 0,
            scope: None,
        }
    }

    /// The same, where what is done is under this.
    pub(super) fn traced(mut self, scope: Option<&Scope>) -> Self {
        self.scope = scope.cloned();
        self
    }

    /// The first, which was begun elsewhere.
    pub(super) fn begun(steps: Steps) -> Self {
        Self {
            begun: 1,
            ..Self::new(steps)
        }
    }

    /// The next one, unless there have been enough.
    fn begin(&mut self, shard: &Shard) -> Result<(), CallError> {
        if self.begun == TRIES_MAX {
            return Err(self.steps.given_up(TRIES_MAX, UNSETTLED));
        }
        if !shard.is_leading() {
            return Err(self.steps.given_up(self.begun, NO_LEADER));
        }
        self.begun += 1;
        Ok(())
    }

    /// The last one has failed like this: whether that is the answer.
    pub(super) fn failed(&mut self, failure: Failure) -> Result<(), CallError> {
        match failure {
            Failure::Gone | Failure::Conflict => Ok(()),
            Failure::Panicked => {
                self.panics += 1;
                if self.panics == PANICS_MAX {
                    metrics::counter!("docket_poison_commands_total").increment(1);
                    return Err(CallError::Poison);
                }
                Ok(())
            }
            // Counted where it was given up.
            Failure::Poison => Err(CallError::Poison),
            Failure::NotLeader => Err(self.steps.given_up(self.begun.saturating_sub(1), NO_LEADER)),
            Failure::Unknown => Err(CallError::OutcomeUnknown),
            Failure::Expired => Err(CallError::DeadlineExceeded),
        }
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
