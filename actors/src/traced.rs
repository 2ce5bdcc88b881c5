//! What of a call that is sampled is done by actors and the log, as spans under the call's own.
//!
//! ```text
//!   actor ───────────────────────────────────── from its being asked until it is answered
//!     decide ───                                 until an entity has decided: its customer for an order, an item, or itself
//!     log commit    ──────┼─────┼───────         from the entry's being proposed until it is applied, and so answered; with the begin and the
//!                                                end of the fdatasync that made it durable here
//! ```
//!
//! Of a call that is not sampled there is an `Option` that is `None`, in its [`Caller`](crate::reply::Caller) and its order's tally.

use std::time::Instant;

use docket_cluster::{Moments, ProposeError};
use docket_engine::{Fact, Record};
use docket_traces::{Part, Scope, Span, Value};

use crate::{
    machine,
    proposer::After,
    reply::{Answered, Failure, StepError},
    shard::Shard,
};

/// A call among the actors.
pub(crate) const ACTOR: &str = "actor";
/// An item on another node is asked.
pub(crate) const STEP: &str = "item step";
const DECIDE: &str = "decide";
const LOG_COMMIT: &str = "log commit";
/// What happens during a log commit.
const SYNC_BEGUN: &str = "journal sync begun";
const SYNCED: &str = "journal synced";
/// What spans of actors say.
pub(crate) const SHARD: &str = "docket.shard";
pub(crate) const ORDER: &str = "docket.order";
/// The node that is asked.
pub(crate) const PEER: &str = "docket.peer.node";
const ENTITY: &str = "docket.entity";
const RECORDS: &str = "docket.log.records";
const BYTES: &str = "docket.log.bytes";
/// Why an item has refused.
const REJECTION: &str = "docket.rejection";
/// Why an entry failed, or an item was not asked.
const CONFLICT: &str = "conflict";
const NOT_LEADER: &str = "not_leader";
const UNKNOWN: &str = "unknown";

pub(crate) fn shard_of(shard: &Shard) -> Value {
    Value::Number(i64::from(shard.id().number()))
}

/// Notes that an entity has decided.
pub(crate) fn note_decision(shard: &Shard, scope: &Scope, after: &After, record: Option<&Record>) {
    let entity = match (after, record.and_then(|record| record.events.first())) {
        // The record begins with the order's own event.
        (After::Placed { .. }, _) => "customer",
        (_, Some(event)) => match event.fact {
            Fact::Customer(..) => "customer",
            Fact::Item(..) => "item",
            _ => "order",
        },
        (_, None) => "none",
    };
    let attributes = vec![(SHARD, shard_of(shard)), (ENTITY, entity.into())];
    scope.note(DECIDE, (scope.began(), Instant::now()), attributes);
}

/// Says what came of a step. That an item has refused is its answer, and no error.
pub(crate) fn end_step(mut span: Span, answer: &Answered) {
    match answer {
        Ok(_) => {}
        Err(StepError::Rejected(rejection) | StepError::Refused(rejection)) => {
            span.set(REJECTION, rejection.reason());
        }
        Err(StepError::Duplicate(_)) => span.fail_by(CONFLICT),
        Err(StepError::Failed(failure)) => span.fail_by(match failure {
            Failure::Gone => "gone",
            Failure::Panicked => "panicked",
            Failure::Poison => "poison",
            Failure::Conflict => CONFLICT,
            Failure::NotLeader => NOT_LEADER,
            Failure::Unknown => UNKNOWN,
            Failure::Expired => "expired",
        }),
    }
}

/// An entry with records of calls that are sampled.
pub(crate) struct Logged {
    proposed: Instant,
    pub(crate) moments: Moments,
    /// Each with the number of its record in the entry.
    scopes: Vec<(usize, Scope)>,
    records: usize,
    bytes: usize,
}

impl Logged {
    /// It is proposed now. `None` where nothing of it is sampled.
    pub(crate) fn propose(scopes: Vec<(usize, Scope)>, records: usize, bytes: usize) -> Option<Box<Self>> {
        if scopes.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            proposed: Instant::now(),
            moments: Moments::default(),
            scopes,
            records,
            bytes,
        }))
    }

    /// It is applied, of which an answer a record says whether that was done, or was not taken.
    pub(crate) fn done(self, shard: &Shard, result: Result<&[u8], &ProposeError>) {
        let mut events = Vec::new();
        if let Some(synced) = self.moments.synced() {
            let began = synced.at.checked_sub(synced.took);
            // One that was begun for others before this was proposed cannot have had it.
            let began = began.unwrap_or(synced.at).max(self.proposed);
            events = vec![(SYNC_BEGUN, began), (SYNCED, synced.at.max(began))];
        }
        let part = Part {
            name: LOG_COMMIT,
            started: self.proposed,
            ended: Instant::now(),
            attributes: vec![
                (SHARD, shard_of(shard)),
                (RECORDS, Value::Number(self.records as i64)),
                (BYTES, Value::Number(self.bytes as i64)),
            ],
            events,
        };
        let error = |record| match result {
            Ok(outcomes) => (outcomes.get(record) != Some(&machine::DONE)).then_some(CONFLICT),
            Err(ProposeError::NotLeader { .. }) => Some(NOT_LEADER),
            Err(_) => Some(UNKNOWN),
        };
        let scopes = self.scopes.into_iter();
        let scopes: Vec<_> = scopes.map(|(record, scope)| (scope, error(record))).collect();
        part.note(&scopes);
    }
}
