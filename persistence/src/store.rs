//! The engine under the journal: frames by sequence. Kept narrow, so that another engine can be measured against sled.

use std::ops::ControlFlow;
use std::path::PathBuf;

use bytes::Bytes;

use crate::error::StoreError;

/// Keeps frames by sequence. One thread writes; any thread may read.
///
/// - Frames are appended in rising order, without gaps. What was appended since the last [`sync`](Store::sync) may be lost, torn
///   or kept in any combination when the power goes; what was synced stays.
/// - After an error of `append`, `sync` or `cut_after` the store must not be written to again.
pub trait Store: Send + Sync {
    /// Writes frame `sequence`; not durable yet.
    ///
    /// # Errors
    /// The write failed, or the disk is full.
    fn append(&self, sequence: u64, frame: &[u8]) -> Result<(), StoreError>;

    /// Makes everything appended durable, to the platter.
    ///
    /// # Errors
    /// It may not be durable. It must never be tried again: a kernel forgets what it could not write.
    fn sync(&self) -> Result<(), StoreError>;

    /// Visits every frame at or behind `from` in order of sequence, until `visit` breaks off: damaged ones as they are, absent
    /// ones not at all.
    ///
    /// # Errors
    /// Reading failed.
    fn replay(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Lets go of what a replay has left in memory. Only recovery does so, before anybody else has the store.
    ///
    /// # Errors
    /// It cannot be used any more.
    fn end_replay(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Reads one frame back; `None` when there is none.
    ///
    /// # Errors
    /// Reading failed.
    fn read(&self, sequence: u64) -> Result<Option<Bytes>, StoreError>;

    /// Removes every frame behind `sequence`, durably. Only recovery does so, to cut a torn tail.
    ///
    /// # Errors
    /// Removing failed.
    fn cut_after(&self, sequence: u64) -> Result<(), StoreError>;

    /// Lets go of frames before `sequence`: some or all of them, from the oldest on, never one at or behind it.
    ///
    /// # Errors
    /// Removing failed.
    fn truncate_before(&self, sequence: u64) -> Result<(), StoreError>;

    /// How much there is.
    fn sizes(&self) -> StoreSizes;

    /// Bytes that the disk has left for us; `None` when that cannot be told.
    fn free_bytes(&self) -> Option<u64>;

    /// Bytes that the disk has, used ones among them; `None` when that cannot be told.
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    /// The file (or directory) that holds `sequence`, for messages.
    fn path_of(&self, sequence: u64) -> PathBuf;

    /// The sequence at which the newest segment begins, if the engine has segments: everything before it had been synced.
    fn newest_segment_start(&self) -> Option<u64>;

    /// Where its segments begin, oldest first; empty where the engine has none.
    fn segment_starts(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Lets go of what is kept in memory of the segment that begins there, so that its next read comes from the disk; not of the one that is
    /// written.
    fn forget_segment(&self, _start: u64) {}

    /// Stops for good after a failure: nothing is flushed or synced any more, not even when dropped.
    fn abandon(&self);
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSizes {
    /// Bytes on disk, all files together.
    pub disk_bytes: u64,
    /// Segments: pieces that are dropped whole.
    pub segments: u64,
}
