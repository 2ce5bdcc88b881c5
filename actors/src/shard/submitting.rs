//! What a shard's actors hand to its proposer: records, and the answers that wait for those before them.

use docket_engine::{EntityId, Record, Rejection, Request, Unchanged, Version};

use super::{Life, Shard};
use crate::{
    proposer::{After, Submission},
    reply::{Caller, Reply},
    traced::note_decision,
};

impl Shard {
    /// Puts a record into the log's queue, decided in this life.
    pub(crate) fn submit(&self, life: Life, record: Record, after: After) {
        if let Some(scope) = after.scope() {
            note_decision(self, scope, &after, Some(&record));
        }
        // The proposer only ends with the node; then dropping what was submitted tells whoever waits for it.
        let _ = self.queue.send(Box::new(Submission {
            life,
            record: Some(record),
            after,
        }));
    }

    /// Answers a request that leaves its entity as it is, and has it remembered where it has an id.
    pub(crate) fn answer_unchanged(
        &self,
        life: Life,
        (entity, version): (EntityId, Version),
        request: Option<Request>,
        caller: Caller,
        reply: Reply,
    ) {
        if request.is_none() {
            return self.answer(life, caller, reply);
        }
        let record = Record {
            time: self.now(),
            events: Vec::new(),
            request,
            unchanged: Some(Unchanged {
                entity,
                version,
                decider: life.decider,
            }),
            origin: None,
        };
        let after = After::Answer {
            callers: vec![caller],
            reply,
            settled: None,
        };
        self.submit(life, record, after);
    }

    /// Answers a request that its entity refuses, when all that the answer may depend on is committed. It may have been done all the same: by
    /// an earlier life of the entity, of which this one does not know, or a moment before it was remembered.
    pub(crate) fn refuse(&self, life: Life, request: Option<Request>, caller: Caller, rejection: Rejection) {
        match request {
            None => self.answer(life, caller, Reply::Rejected(rejection)),
            Some(request) => self.barrier(
                life,
                After::Refuse {
                    caller,
                    request,
                    rejection,
                },
            ),
        }
    }

    /// Does something when all that was submitted before is committed.
    pub(crate) fn barrier(&self, life: Life, after: After) {
        if let Some(scope) = after.scope() {
            note_decision(self, scope, &after, None);
        }
        let _ = self.queue.send(Box::new(Submission {
            life,
            record: None,
            after,
        }));
    }

    /// Answers a caller when all that the answer may depend on is committed.
    pub(crate) fn answer(&self, life: Life, caller: Caller, reply: Reply) {
        self.barrier(
            life,
            After::Answer {
                callers: vec![caller],
                reply,
                settled: None,
            },
        );
    }

    /// Lets a caller try again when all that was submitted before is committed.
    pub(crate) fn retry_behind_barrier(&self, life: Life, caller: Caller) {
        self.barrier(life, After::Retry { caller });
    }
}
