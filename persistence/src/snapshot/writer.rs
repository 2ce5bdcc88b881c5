//! Writing a snapshot: bytes stream in, blocks go to the file and what they add up to to sled, and nothing is visible before all of it is
//! durable.

use std::path::PathBuf;
use std::sync::Arc;

use super::data::DataWriter;
use super::format::{CHUNK_BYTES_MAX, HEADER_BYTES, Kind, Sum, seal};
use super::sealed::{ADDED_BYTES, Part, Sealed};
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
    data: Option<DataWriter>,
    sum: Sum,
    sealed: Option<Arc<Sealed>>,
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
        let sealed = Sealed::begin(store.keys(), (group, id), &staged)?.map(Arc::new);
        let mut writer = Self {
            store,
            group,
            id,
            staged,
            db: Some(db),
            data: None,
            sum: Sum::default(),
            sealed: sealed.clone(),
        };
        let added = sealed.as_ref().map_or(0, |_| ADDED_BYTES);
        for part in meta.chunks(CHUNK_BYTES_MAX - HEADER_BYTES - added) {
            writer.put_meta(part)?;
        }
        writer.data = Some(DataWriter::create(&writer.staged, sealed)?);
        Ok(writer)
    }

    /// Adds bytes to the state; how they are divided over calls leaves no trace.
    ///
    /// # Errors
    /// The disk failed or is full: drop the writer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.data {
            Some(data) => data.write(bytes, &mut self.sum),
            None => Err(StoreError::other("write", &self.staged, "it is finished")),
        }
    }

    /// Bytes of state written so far.
    pub fn bytes(&self) -> u64 {
        self.sum.data_bytes + self.data.as_ref().map_or(0, DataWriter::pending)
    }

    /// Makes the snapshot durable, then visible, and lets the group's oldest go.
    ///
    /// # Errors
    /// Something failed; the snapshot is not visible unless only letting go of an older one failed.
    pub fn finish(mut self) -> Result<SnapshotInfo, StoreError> {
        if let Some(data) = self.data.take() {
            data.finish(&mut self.sum)?;
        }
        let end = self.sum.encode_end(self.sealed.as_deref());
        let mut end = end.map_err(|error| StoreError::other("finish", &self.staged, error))?;
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

    fn put_meta(&mut self, part: &[u8]) -> Result<(), StoreError> {
        let key = self.sum.chunks;
        let mut chunk = vec![0; HEADER_BYTES];
        chunk.extend_from_slice(part);
        if let Some(sealed) = &self.sealed {
            let done = sealed.seal(Part::Meta(key), &mut chunk, HEADER_BYTES);
            done.map_err(|error| StoreError::other("write", &self.staged, error))?;
        }
        self.sum.add(Kind::Meta, &chunk[HEADER_BYTES..]);
        seal(key, Kind::Meta, &mut chunk);
        match &self.db {
            Some(db) => db.insert(key, &chunk),
            None => Err(StoreError::other("write", &self.staged, "it is finished")),
        }
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
