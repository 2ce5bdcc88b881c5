//! openraft's own conformance suite for storage, over the journal on both engines.

use std::sync::Arc;

use bytes::Bytes;
use docket_persistence::mem::MemDisk;
use docket_persistence::sealing::Keyring;
use docket_persistence::{Journal, JournalOptions};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::{Notify, watch};

use crate::apply::Applier;
use crate::log::{GroupLog, LogIndex, NodeJournal};
use crate::machine::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};
use crate::progress::{Progress, Stop};
use crate::raft::{TypeConfig, log_id};
use crate::snapshots::Snapshots;
use crate::{GroupId, limits};

/// Holds nothing: the suite looks at logs, votes, memberships and snapshots' meta data.
pub(crate) struct Nothing;

impl StateMachine for Nothing {
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        entry.payload.clone()
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(Self)
    }

    fn state_bytes(&self) -> u64 {
        0
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = std::io::Result<Bytes>>) -> Result<(), StateError> {
        let mut whole = Vec::new();
        for chunk in chunks {
            whole.extend_from_slice(&chunk.map_err(StateError::new)?);
        }
        if whole == b"nothing" {
            Ok(())
        } else {
            Err(StateError::new("not nothing"))
        }
    }

    fn clear(&self) {}
}

impl Capture for Nothing {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        sink(b"nothing")
    }
}

/// Builds a store of its own for each test of the suite.
struct Builder {
    sled: bool,
    /// 0 lets nothing stay in memory that may leave it, so that reads go to the journal.
    cache_bytes_max: usize,
}

impl StoreBuilder<TypeConfig, GroupLog, Applier, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, GroupLog, Applier), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions::new(dir.path().join("journal"));
        let mut replay = |_, _: &[u8]| panic!("a new journal has no records");
        let (journal, _) = if self.sled {
            Journal::open(options, &mut replay).unwrap()
        } else {
            let disk = MemDisk::new();
            Journal::open_with(
                Box::new(disk.store()),
                Box::new(disk.mark()),
                options,
                &mut replay,
            )
            .unwrap()
        };
        let progress = Arc::new(Progress::new(GroupId(3), 0, Arc::new(Notify::new()), 1 << 20));
        if self.cache_bytes_max == 0 {
            // As if everything had been applied: only such entries leave the cache.
            progress.note_applied(&log_id(0, u64::MAX - 1));
        }
        let snapshots = Snapshots::open(&dir.path().join("snapshots"), &Keyring::default()).unwrap();
        let stop = Stop::new(watch::Sender::new(None));
        let applier = Applier::new(Arc::new(Nothing), Arc::clone(&progress), snapshots, stop);
        let index = LogIndex::new(self.cache_bytes_max);
        Ok((
            dir,
            GroupLog::new(Arc::new(NodeJournal::new(journal)), progress, index),
            applier,
        ))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_in_memory_conforms() {
    let builder = Builder {
        sled: false,
        cache_bytes_max: limits::LOG_CACHE_BYTES,
    };
    Suite::test_all(builder).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_caches_nothing_conforms() {
    Suite::test_all(Builder {
        sled: false,
        cache_bytes_max: 0,
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_on_sled_conforms() {
    Suite::test_all(Builder {
        sled: true,
        cache_bytes_max: 0,
    })
    .await
    .unwrap();
}
