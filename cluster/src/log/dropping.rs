//! Dropping a log: the replica was moved away.
//!
//! ```text
//!  the core has ended ─▶ "drop", durable ─▶ snapshots removed, the state emptied ─▶ "dropped", durable ─▶ a new core, an empty log
//!                     │                  │                                       │
//!        crash: all is there as it was   crash: the next start does the rest     crash: there is nothing but the vote and the floor
//! ```

use std::io;

use docket_persistence::{JournalError, Position};
use tokio::sync::oneshot;

use super::index::Place;
use super::record;
use super::store::GroupLog;
use crate::raft::LogId;

impl GroupLog {
    /// The last entry of a log that was dropped here, as long as this one does not reach so far.
    pub(crate) fn floor(&self) -> Option<LogId> {
        self.with_index(|_, index| index.floor())
    }

    #[cfg(test)]
    pub(crate) fn with_last(&self) -> Option<LogId> {
        self.with_index(|_, index| index.last())
    }

    /// Whether a log was ever dropped here.
    pub(crate) fn was_dropped(&self) -> bool {
        self.with_index(|_, index| index.dropped().is_some())
    }

    /// Makes void all that the journal holds of the group but its vote, and waits until that is durable. No core may run.
    ///
    /// # Errors
    /// The journal has failed.
    pub(crate) async fn drop_all(&self) -> Result<(), io::Error> {
        self.say(|log| {
            log.with_index(|group, index| {
                let Some(floor) = index.last().max(index.dropped().map(|dropped| dropped.floor)) else {
                    return Ok(None);
                };
                let write = index.begin_write();
                let told = log.queue_dropped(record::drop(group, &floor), write)?;
                index.drop_all(floor, Place::Queued(write));
                Ok(Some(told))
            })
        })
        .await
    }

    /// Notes that the snapshots of what was dropped are gone, and waits until that is durable.
    ///
    /// # Errors
    /// The journal has failed.
    pub(crate) async fn note_dropped(&self) -> Result<(), io::Error> {
        self.say(|log| {
            log.with_index(|group, index| {
                let Some(dropped) = index.dropped().filter(|dropped| !dropped.whole) else {
                    return Ok(None);
                };
                let write = index.begin_write();
                let told = log.queue_dropped(record::dropped(group, &dropped.floor), write)?;
                index.set_dropped(dropped.floor, Place::Queued(write));
                Ok(Some(told))
            })
        })
        .await
    }

    /// Queues as soon as there is room, and waits for what was queued.
    async fn say(
        &self,
        queue: impl Fn(&Self) -> Result<Option<Told>, JournalError> + Send + Sync,
    ) -> Result<(), io::Error> {
        let mut durable = None;
        self.journal()
            .when_there_is_room(|| {
                durable = queue(self)?;
                Ok(())
            })
            .await?;
        let Some(durable) = durable else { return Ok(()) };
        durable.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    fn queue_dropped(&self, record: bytes::Bytes, write: u64) -> Result<Told, JournalError> {
        let (tell, told) = oneshot::channel();
        let log = self.clone();
        let done = move |result: Result<&[Position], JournalError>| {
            if let Ok([position]) = result {
                log.with_index(|_, index| index.settle_dropped(write, *position));
            }
            log.journal().wake();
            // Who waited may have gone, with the node.
            let _ = tell.send(result.map(drop));
        };
        self.journal().journal.append(vec![record], Box::new(done))?;
        Ok(told)
    }
}

type Told = oneshot::Receiver<Result<(), JournalError>>;
