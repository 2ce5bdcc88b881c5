//! All that a node has stored, read once more while it serves, so that what its disk has spoilt is found while other replicas are whole.
//!
//! ```text
//!   first after at most an hour, then every ──▶ journal ──▶ snapshots ──▶ archive ──▶ last result      at so many bytes a second
//! ```
//!
//! It goes on one thread of those that may block, and pauses behind each piece for as long as its pace asks. Nothing is repaired: a replica that has
//! lost something is replaced, by whoever knows which of them is whole. What was found stands until the next time that all was read.

mod pace;
mod report;
mod scheduled;

use std::{ops::ControlFlow, sync::Arc};

use docket_cluster::TaskKind;
use docket_persistence::{
    archive::ARCHIVE_DIR,
    scrub::{Damage, Place, Scrub},
};
use tokio::sync::OwnedSemaphorePermit;

use crate::{Docket, archive::OrderArchive};
use pace::Pace;

pub use report::{DAMAGES_MAX, Damaged, ScrubReport};
pub use scheduled::{ScrubOptions, ScrubStatus, Scrubbing};
pub(crate) use scheduled::{Scrubs, describe_metrics, run};

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScrubError {
    /// One goes on already: there is one at a time.
    #[error("what this node has stored is being read already")]
    Busy,
    /// The node closes.
    #[error("the node is stopping")]
    Stopping,
}

impl Docket {
    /// Begins to read all that this node has stored once more, at the pace that is configured. It goes on whether anybody waits for it or not:
    /// [`Self::scrubbed`] tells of it.
    ///
    /// # Errors
    /// One goes on already, or the node stops.
    pub fn begin_scrub(&self) -> Result<(), ScrubError> {
        let turn = self.scrub_turn()?;
        // Before anybody asks how far it is.
        self.inner.scrubs.begin(false);
        let docket = self.clone();
        tokio::spawn(TaskKind::Background.measure(async move { docket.scrub_in(turn).await }));
        Ok(())
    }

    /// How the last one ended, and how far the one is that goes on.
    pub fn scrubbed(&self) -> ScrubStatus {
        self.inner.scrubs.status()
    }

    fn scrub_turn(&self) -> Result<OwnedSemaphorePermit, ScrubError> {
        if self.inner.closing.is_cancelled() {
            return Err(ScrubError::Stopping);
        }
        let turn = Arc::clone(&self.inner.scrubs.turn).try_acquire_owned();
        turn.map_err(|_| ScrubError::Busy)
    }

    /// One that was begun.
    async fn scrub_in(&self, turn: OwnedSemaphorePermit) -> Result<Arc<ScrubReport>, ScrubError> {
        // Held by the work as well, which may outlive whoever waits for it.
        let turn = Arc::new(turn);
        let (docket, of_work) = (self.clone(), Arc::clone(&turn));
        let read = docket_cluster::off_thread(move || {
            let _turn = of_work;
            docket.scrub_now()
        });
        let report = match read.await {
            Ok(Some(report)) => Some(Arc::new(report)),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "reading what is stored has failed");
                None
            }
        };
        self.inner.scrubs.end(report.clone());
        drop(turn);
        report.ok_or(ScrubError::Stopping)
    }

    /// Reads all of it; nothing where the node stops meanwhile. Blocks.
    fn scrub_now(&self) -> Option<ScrubReport> {
        let mut pass = Pass {
            docket: self,
            pace: Pace::new(),
            report: ScrubReport::default(),
        };
        let node = &self.inner.node;
        let went_on = node.scrub(&mut pass).ok()?;
        went_on.continue_value()?;
        let path = node.data_dir().join(ARCHIVE_DIR);
        for shard in &self.inner.router.shards {
            let archive: &OrderArchive = &shard.committed().archive;
            archive
                .scrub(shard.id().number(), &path, &mut pass)
                .continue_value()?;
        }
        Some(pass.report)
    }
}

/// One time through all of it.
struct Pass<'a> {
    docket: &'a Docket,
    pace: Pace,
    report: ScrubReport,
}

impl Pass<'_> {
    /// Whose it is that is damaged, as far as somebody needs it.
    fn of(&self, place: Place) -> Vec<String> {
        let node = &self.docket.inner.node;
        match place {
            Place::Frames { first, last } => {
                let entries = node.entries_in(first..=last);
                entries.iter().map(ToString::to_string).collect()
            }
            Place::Snapshot { group, .. } => vec![docket_cluster::GroupId(group).to_string()],
            Place::Values { shelf, .. } => {
                vec![docket_cluster::ShardId::new(shelf).group().to_string()]
            }
        }
    }
}

impl Scrub for Pass<'_> {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        let inner = &self.docket.inner;
        self.report.bytes += bytes;
        inner.scrubs.read(bytes);
        let closing = || inner.closing.is_cancelled();
        // As it is now: a new pace is kept at once.
        let bytes_per_second = inner.scrubs.options.borrow().bytes_per_second;
        self.pace.keep(bytes, bytes_per_second, &closing)
    }

    fn found(&mut self, damage: Damage) {
        let damaged = Damaged {
            kind: damage.place.kind(),
            of: self.of(damage.place),
            place: damage.place.to_string(),
            file: damage.path,
            why: damage.why,
        };
        tracing::error!(
            kind = damaged.kind,
            file = %damaged.file.display(),
            place = damaged.place,
            of = damaged.of.join(", "),
            why = damaged.why,
            "what is stored is damaged (`docket scrub` tells all of it)"
        );
        self.report.add(damaged);
        self.docket.inner.scrubs.found(&self.report);
    }
}
