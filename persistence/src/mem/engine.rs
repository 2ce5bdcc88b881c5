//! The store and the mark on a [`MemDisk`].

use std::ops::ControlFlow;
use std::path::PathBuf;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Call, FrameWrite, MemDisk, State};
use crate::error::StoreError;
use crate::mark::{Cursor, HighWater, Mark, MarkFound, SLOT_BYTES, decode_slot, newest_of};
use crate::store::{Store, StoreSizes};

/// The frames of a [`MemDisk`].
#[derive(Clone, Debug)]
pub struct MemStore {
    pub(super) disk: MemDisk,
}

impl Store for MemStore {
    fn append(&self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        let frame = Bytes::copy_from_slice(frame);
        self.disk.write(Call::Append, |state| {
            state.write_frame(FrameWrite::Put(sequence, frame))
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.disk.write(Call::Sync, State::sync_frames)
    }

    fn replay(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let frames: Vec<_> = {
            let state = self.disk.state.lock();
            state
                .visible
                .frames
                .range(from..)
                .map(|(sequence, bytes)| (*sequence, bytes.clone()))
                .collect()
        };
        let _ = frames
            .into_iter()
            .try_for_each(|(sequence, bytes)| visit(sequence, &bytes));
        Ok(())
    }

    fn read(&self, sequence: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.disk.state.lock().visible.frames.get(&sequence).cloned())
    }

    fn cut_after(&self, sequence: u64) -> Result<(), StoreError> {
        self.disk.write(Call::Remove, |state| {
            let behind: Vec<_> = state
                .visible
                .frames
                .range(sequence + 1..)
                .map(|(sequence, _)| *sequence)
                .collect();
            behind
                .into_iter()
                .for_each(|sequence| state.write_frame(FrameWrite::Remove(sequence)));
        })?;
        self.sync()
    }

    fn truncate_before(&self, sequence: u64) -> Result<(), StoreError> {
        self.disk.write(Call::Remove, |state| {
            let before: Vec<_> = state
                .visible
                .frames
                .range(..sequence)
                .map(|(sequence, _)| *sequence)
                .collect();
            before
                .into_iter()
                .for_each(|sequence| state.write_frame(FrameWrite::Remove(sequence)));
        })
    }

    fn sizes(&self) -> StoreSizes {
        let state = self.disk.state.lock();
        StoreSizes {
            disk_bytes: state
                .visible
                .frames
                .values()
                .map(|frame| frame.len() as u64)
                .sum(),
            segments: 1,
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        self.disk.state.lock().free_bytes
    }

    fn path_of(&self, _sequence: u64) -> PathBuf {
        self.disk.path()
    }

    fn newest_segment_start(&self) -> Option<u64> {
        None
    }

    fn abandon(&self) {}
}

/// The mark of a [`MemDisk`].
#[derive(Debug)]
pub struct MemMark {
    pub(super) disk: MemDisk,
    pub(super) cursor: Mutex<Cursor>,
}

impl Mark for MemMark {
    fn load(&self) -> Result<MarkFound, StoreError> {
        let slots = self.disk.state.lock().visible.mark;
        let (found, cursor) = newest_of(slots.map(|slot| decode_slot(&slot.unwrap_or([0; SLOT_BYTES]))));
        self.sync()?;
        *self.cursor.lock() = cursor;
        Ok(found)
    }

    fn store(&self, mark: HighWater) -> Result<(), StoreError> {
        let (slot, bytes) = self.cursor.lock().next(mark);
        self.disk.write(Call::Mark, |state| {
            state.visible.mark[slot] = Some(bytes);
            state.mark_unsynced.push((slot, bytes));
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.disk.write(Call::Mark, |state| {
            for (slot, bytes) in state.mark_unsynced.drain(..) {
                state.durable.mark[slot] = Some(bytes);
            }
        })?;
        self.cursor.lock().synced();
        Ok(())
    }
}
