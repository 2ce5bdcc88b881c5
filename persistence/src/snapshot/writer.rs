//! Writing a snapshot: bytes stream in, chunks go to sled, and nothing is visible before all of it is durable.

use std::path::PathBuf;

use super::format::{CHUNK_BYTES_MAX, HEADER_BYTES, Kind, Sum, seal};
use super::{SNAPSHOT_CACHE_BYTES, SnapshotInfo, SnapshotStore};
use crate::durable_db::DurableDb;
use crate::error::StoreError;
use crate::files;

/// A snapshot that is being written. Dropped without [`finish`](Self::finish), it leaves nothing behind.
pub struct SnapshotWriter {
    store: SnapshotStore,
    group: u32,
    id: u64,
    staged: PathBuf,
    /// `None` once finished.
    db: Option<DurableDb>,
    chunk: Vec<u8>,
    sum: Sum,
}

impl SnapshotWriter {
    pub(super) fn new(
        store: SnapshotStore,
        group: u32,
        id: u64,
        staged: PathBuf,
        meta: &[u8],
    ) -> Result<Self, StoreError> {
        let db = DurableDb::make(&staged, SNAPSHOT_CACHE_BYTES)?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX);
        chunk.resize(HEADER_BYTES, 0);
        let mut writer = Self {
            store,
            group,
            id,
            staged,
            db: Some(db),
            chunk,
            sum: Sum::default(),
        };
        writer.put(Kind::Meta, meta)?;
        writer.end_chunk(Kind::Meta)?;
        Ok(writer)
    }

    /// Adds bytes to the state; how they are divided over calls leaves no trace.
    ///
    /// # Errors
    /// The disk failed or is full: drop the writer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.put(Kind::Data, bytes)
    }

    /// Bytes of state written so far.
    pub fn bytes(&self) -> u64 {
        self.sum.data_bytes + (self.chunk.len() - HEADER_BYTES) as u64
    }

    /// Makes the snapshot durable, then visible, and lets the group's oldest go.
    ///
    /// # Errors
    /// Something failed; the snapshot is not visible unless only letting go of an older one failed.
    pub fn finish(mut self) -> Result<SnapshotInfo, StoreError> {
        self.end_chunk(Kind::Data)?;
        let mut end = self.sum.encode_end();
        seal(self.sum.chunks, Kind::End, &mut end);
        let db = self
            .db
            .take()
            .ok_or_else(|| StoreError::other("finish", &self.staged, "it is finished"))?;
        db.insert(self.sum.chunks, &end)?;
        db.sync()?;
        drop(db);
        files::sync_tree(&self.staged)?;
        let info = SnapshotInfo {
            group: self.group,
            id: self.id,
            bytes: self.sum.data_bytes,
            disk_bytes: files::tree_bytes(&self.staged),
        };
        self.store.publish(&self.staged, info)?;
        Ok(info)
    }

    fn put(&mut self, kind: Kind, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.chunk.len() == CHUNK_BYTES_MAX {
                self.end_chunk(kind)?;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES_MAX - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    fn end_chunk(&mut self, kind: Kind) -> Result<(), StoreError> {
        if self.chunk.len() == HEADER_BYTES {
            return Ok(());
        }
        let key = self.sum.chunks;
        self.sum.add(kind, &self.chunk[HEADER_BYTES..]);
        seal(key, kind, &mut self.chunk);
        let db = self
            .db
            .as_ref()
            .ok_or_else(|| StoreError::other("write", &self.staged, "it is finished"))?;
        db.insert(key, &self.chunk)?;
        self.chunk.truncate(HEADER_BYTES);
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        self.db.take();
        // After `finish` the directory has its final name and there is nothing here to remove.
        if let Err(error) = files::remove_tree(&self.staged) {
            tracing::warn!(%error, "an unfinished snapshot stays until the next start");
        }
    }
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("staged", &self.staged)
            .finish_non_exhaustive()
    }
}
