//! The node's stored snapshots, with what Raft must know of each in its meta data.
//!
//! ```text
//!  0         1          2          10          18
//! ┌─────────┬──────────┬──────────┬───────────┬──────────────────────────────┐
//! │ version │ has last │ term u64 │ index u64 │ last membership, JSON …      │   numbers little-endian
//! │ u8 = 1  │ u8       │          │           │                              │
//! └─────────┴──────────┴──────────┴───────────┴──────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use docket_persistence::{SnapshotError, SnapshotReader, SnapshotSizes, SnapshotStore, SnapshotWriter};
use parking_lot::{Mutex, RwLock};

use crate::machine::{Capture, CaptureError};
use crate::raft::{SnapshotMeta, log_id, term_of};
use crate::{ClusterError, GroupId};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 18;

/// The snapshots of all groups of a node.
pub(crate) struct Snapshots {
    /// `None` once closed, so that the directory is released though handles may linger.
    store: RwLock<Option<SnapshotStore>>,
    /// What the newest good snapshot of each group stands for, as far as it is known without reading it again.
    newest: Mutex<HashMap<GroupId, SnapshotMeta>>,
}

impl Snapshots {
    pub(crate) fn open(dir: &Path) -> Result<Arc<Self>, ClusterError> {
        Ok(Arc::new(Self {
            store: RwLock::new(Some(SnapshotStore::open(dir)?)),
            newest: Mutex::default(),
        }))
    }

    /// Reads the group's newest good snapshot, checked from end to end. Blocks.
    pub(crate) fn load(self: &Arc<Self>, group: GroupId) -> Result<Option<StoredSnapshot>, io::Error> {
        let Some(reader) = self.store()?.latest(group.0).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let meta = decode(reader.meta())?;
        self.newest.lock().insert(group, meta.clone());
        Ok(Some(StoredSnapshot {
            snapshots: Arc::clone(self),
            group,
            meta,
            reader: Some(reader),
        }))
    }

    /// The group's newest snapshot, which is opened when it is first read from.
    pub(crate) fn newest(self: &Arc<Self>, group: GroupId) -> Option<StoredSnapshot> {
        let meta = self.newest.lock().get(&group).cloned()?;
        Some(StoredSnapshot {
            snapshots: Arc::clone(self),
            group,
            meta,
            reader: None,
        })
    }

    /// Stores what a capture writes. Blocks. Asks before each piece, and gives up as soon as it `may_go_on` no longer.
    pub(crate) fn write(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        capture: Box<dyn Capture>,
        may_go_on: &dyn Fn() -> Result<(), CaptureError>,
    ) -> Result<(), CaptureError> {
        let mut writer = self.begin(group, meta).map_err(CaptureError::new)?;
        capture.write(&mut |piece| {
            may_go_on()?;
            writer.write(piece).map_err(CaptureError::new)
        })?;
        self.finish(group, meta, writer).map_err(CaptureError::new)
    }

    /// Stores a snapshot that comes from elsewhere. Blocks.
    pub(crate) fn copy(
        &self,
        group: GroupId,
        meta: &SnapshotMeta,
        chunks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> Result<(), io::Error> {
        let mut writer = self.begin(group, meta)?;
        for chunk in chunks {
            writer.write(&chunk?).map_err(io::Error::other)?;
        }
        self.finish(group, meta, writer)
    }

    fn begin(&self, group: GroupId, meta: &SnapshotMeta) -> Result<SnapshotWriter, io::Error> {
        self.store()?
            .begin(group.0, &encode(meta)?)
            .map_err(io::Error::other)
    }

    fn finish(&self, group: GroupId, meta: &SnapshotMeta, writer: SnapshotWriter) -> Result<(), io::Error> {
        writer.finish().map_err(io::Error::other)?;
        self.newest.lock().insert(group, meta.clone());
        Ok(())
    }

    pub(crate) fn sizes(&self) -> SnapshotSizes {
        self.store
            .read()
            .as_ref()
            .map(SnapshotStore::sizes)
            .unwrap_or_default()
    }

    /// Lets go of the directory, once a snapshot that is being written is finished.
    pub(crate) fn close(&self) {
        self.store.write().take();
    }

    fn store(&self) -> Result<SnapshotStore, io::Error> {
        self.store
            .read()
            .clone()
            .ok_or_else(|| io::Error::other("the snapshots are closed"))
    }
}

/// A snapshot in the store: what it stands for, and its bytes in order. Reading blocks.
pub(crate) struct StoredSnapshot {
    snapshots: Arc<Snapshots>,
    group: GroupId,
    pub(crate) meta: SnapshotMeta,
    reader: Option<SnapshotReader>,
}

impl StoredSnapshot {
    fn opened(&mut self) -> Result<&mut SnapshotReader, io::Error> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.open()?,
        };
        Ok(self.reader.insert(reader))
    }

    fn open(&self) -> Result<SnapshotReader, io::Error> {
        let reader = self
            .snapshots
            .store()?
            .latest(self.group.0)
            .map_err(io::Error::other)?;
        match reader {
            Some(reader) if decode(reader.meta())? == self.meta => Ok(reader),
            _ => Err(io::Error::other(format!(
                "{}: the snapshot has been replaced by another one",
                self.group
            ))),
        }
    }
}

impl Iterator for StoredSnapshot {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.opened() {
            Ok(reader) => reader
                .next()
                .map(|chunk| chunk.map_err(|error: SnapshotError| io::Error::other(error))),
            Err(error) => Some(Err(error)),
        }
    }
}

fn encode(meta: &SnapshotMeta) -> Result<Vec<u8>, io::Error> {
    let mut bytes = Vec::with_capacity(256);
    bytes.put_u8(VERSION);
    bytes.put_u8(u8::from(meta.last_log_id.is_some()));
    bytes.put_u64_le(meta.last_log_id.as_ref().map_or(0, term_of));
    bytes.put_u64_le(meta.last_log_id.map_or(0, |id| id.index));
    serde_json::to_writer(&mut bytes, &meta.last_membership)?;
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<SnapshotMeta, io::Error> {
    let broken = || io::Error::other("a snapshot's meta data cannot be read");
    let (head, membership) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(broken)?;
    if head[0] != VERSION {
        return Err(io::Error::other(format!(
            "a snapshot has meta data of version {}; use the program that wrote it, or a newer one",
            head[0]
        )));
    }
    let (numbers, _) = head[2..].as_chunks::<8>();
    let [term, index] = numbers else {
        return Err(broken());
    };
    Ok(SnapshotMeta {
        last_log_id: (head[1] != 0).then(|| log_id(u64::from_le_bytes(*term), u64::from_le_bytes(*index))),
        last_membership: serde_json::from_slice(membership)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::raft::{Membership, StoredMembership};

    #[test]
    fn meta_data_reads_back_as_written() {
        let members = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], [3]);
        let metas = [
            SnapshotMeta {
                last_log_id: None,
                last_membership: StoredMembership::default(),
            },
            SnapshotMeta {
                last_log_id: Some(log_id(3, 900)),
                last_membership: StoredMembership::new(Some(log_id(1, 0)), members),
            },
        ];
        for meta in metas {
            assert_eq!(decode(&encode(&meta).unwrap()).unwrap(), meta);
        }
    }

    #[test]
    fn other_meta_data_is_refused() {
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(1, 2)),
            last_membership: StoredMembership::default(),
        };
        let good = encode(&meta).unwrap();
        assert!(decode(&good[..HEAD_BYTES - 1]).is_err());
        assert!(decode(&good[..good.len() - 1]).is_err());
        let newer = [&[2], &good[1..]].concat();
        assert!(decode(&newer).unwrap_err().to_string().contains("version 2"));
    }
}
