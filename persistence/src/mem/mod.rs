//! An engine in memory that fails on command: it loses, tears and reorders what was not synced, fails a chosen write or sync, or
//! stops at a chosen call as if the process had died there. For tests, of this crate and of those above it.
//!
//! A [`MemDisk`] is the disk: it outlives the stores and marks that are opened on it.

mod engine;
mod keyed;
mod seeded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::mark::SLOT_BYTES;

pub use engine::{MemMark, MemStore};
pub use keyed::MemKeyed;
pub use seeded::Seeded;

/// What goes wrong, counted from when it is injected; the first call is number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The nth frame written fails with an I/O error.
    FailAppend(u64),
    /// The nth sync of frames fails with an I/O error; whether its data survives is up to the power loss.
    FailSync(u64),
    /// The nth write or sync of the mark fails with an I/O error.
    FailMark(u64),
    /// The process dies at the nth call that writes or syncs anything.
    Kill {
        /// Which call.
        call: u64,
        /// Whether the call still takes effect before the process dies, unseen by it.
        takes_effect: bool,
    },
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What a running process sees: the page cache.
    visible: Contents,
    /// What is on the platter.
    durable: Contents,
    frames_unsynced: Vec<FrameWrite>,
    mark_unsynced: Vec<(usize, [u8; SLOT_BYTES])>,
    fault: Option<Fault>,
    counted: Counted,
    dead: bool,
    free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    frames: BTreeMap<u64, Bytes>,
    mark: [Option<[u8; SLOT_BYTES]>; 2],
}

#[derive(Clone, Debug)]
enum FrameWrite {
    Put(u64, Bytes),
    Remove(u64),
}

/// Calls since the last fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Frames written.
    pub appends: u64,
    /// Syncs of frames.
    pub syncs: u64,
    /// Writes and syncs of the mark.
    pub marks: u64,
    /// Every call that writes or syncs, the above included.
    pub calls: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Append,
    Sync,
    Mark,
    Remove,
}

impl MemDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the frames.
    pub fn store(&self) -> MemStore {
        MemStore { disk: self.clone() }
    }

    /// Opens the mark.
    pub fn mark(&self) -> MemMark {
        MemMark {
            disk: self.clone(),
            cursor: Mutex::default(),
        }
    }

    /// Arms a fault (instead of the one before) and counts calls from here.
    pub fn inject(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.fault = Some(fault);
        state.counted = Counted::default();
    }

    /// Calls since the last fault was injected, or since the beginning.
    pub fn counted(&self) -> Counted {
        self.state.lock().counted
    }

    /// What the disk says it has left; `None`: it cannot tell.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.state.lock().free_bytes = free_bytes;
    }

    /// The process is dead from here on: whatever of it still runs writes and syncs nothing any more, until a restart.
    pub fn kill_process(&self) {
        self.state.lock().dead = true;
    }

    /// The process died and the machine lives: everything written is there. Clears faults.
    pub fn restart_process(&self) {
        self.state.lock().come_back();
    }

    /// The power went: of what was not synced each write is kept, torn or lost as `seed` says, in any combination. Clears faults.
    pub fn restart_machine(&self, seed: u64) {
        let mut random = Seeded::new(seed);
        let mut state = self.state.lock();
        // Some seeds keep everything or nothing; those extremes matter and would be rare by chance.
        let (keep, tear) = match random.below(6) {
            0 => (100, 0),
            1 => (0, 0),
            2 => (95, 5),
            3 => (50, 50),
            _ => (random.below(101), random.below(101)),
        };
        let state = &mut *state;
        for write in std::mem::take(&mut state.frames_unsynced) {
            let frames = &mut state.durable.frames;
            if random.below(100) < keep {
                write.apply(frames);
            } else if random.below(100) < tear
                && let FrameWrite::Put(sequence, bytes) = write
            {
                frames.insert(sequence, random.torn(&bytes));
            }
        }
        for (slot, bytes) in std::mem::take(&mut state.mark_unsynced) {
            if random.below(100) < keep {
                state.durable.mark[slot] = Some(bytes);
            } else if random.below(100) < tear {
                let kept = random.below(SLOT_BYTES as u64) as usize;
                let old = state.durable.mark[slot].get_or_insert([0; SLOT_BYTES]);
                old[..kept].copy_from_slice(&bytes[..kept]);
            }
        }
        state.visible = state.durable.clone();
        state.come_back();
    }

    /// Whether there is something that a crash of the machine may lose.
    pub fn has_unsynced(&self) -> bool {
        !self.state.lock().frames_unsynced.is_empty()
    }

    /// Another disk with the same content, synced and unsynced, and without faults: to try several crashes from one point.
    pub fn fork(&self) -> Self {
        let state = self.state.lock();
        let mut forked = State {
            visible: state.visible.clone(),
            durable: state.durable.clone(),
            frames_unsynced: state.frames_unsynced.clone(),
            mark_unsynced: state.mark_unsynced.clone(),
            free_bytes: state.free_bytes,
            ..State::default()
        };
        forked.come_back();
        Self {
            state: Arc::new(Mutex::new(forked)),
        }
    }

    /// The sequences of all frames that a process would see.
    pub fn sequences(&self) -> Vec<u64> {
        self.state.lock().visible.frames.keys().copied().collect()
    }

    /// Flips one bit of a frame, on the platter too; `false` when there is no such frame.
    pub fn damage_frame(&self, sequence: u64, byte: usize) -> bool {
        let mut state = self.state.lock();
        let Some(frame) = state.visible.frames.get(&sequence) else {
            return false;
        };
        let mut damaged = frame.to_vec();
        let Some(byte) = damaged.get_mut(byte) else {
            return false;
        };
        *byte ^= 1;
        state.replace(sequence, Some(damaged.into()));
        true
    }

    /// Replaces a frame by other bytes, or removes it, on the platter too.
    pub fn replace_frame(&self, sequence: u64, bytes: Option<Bytes>) {
        self.state.lock().replace(sequence, bytes);
    }

    /// Damages a slot of the mark, on the platter too.
    pub fn damage_mark(&self, slot: usize) {
        let mut state = self.state.lock();
        let mut bytes = state.visible.mark[slot].unwrap_or([1; SLOT_BYTES]);
        bytes[SLOT_BYTES - 1] ^= 1;
        state.visible.mark[slot] = Some(bytes);
        state.durable.mark[slot] = Some(bytes);
    }

    /// Removes the mark, on the platter too.
    pub fn remove_mark(&self) {
        let mut state = self.state.lock();
        state.visible.mark = [None; 2];
        state.durable.mark = [None; 2];
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("memory")
    }

    /// Runs a writing call under the faults that are armed.
    fn write(&self, call: Call, effect: impl FnOnce(&mut State)) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let (operation, path) = match call {
            Call::Append => ("write", "memory/frames"),
            Call::Sync => ("fdatasync", "memory/frames"),
            Call::Mark => ("write", "memory/mark"),
            Call::Remove => ("remove from", "memory/frames"),
        };
        let path = Path::new(path);
        if state.dead {
            return Err(StoreError::other(operation, path, "the process is dead"));
        }
        let counted = &mut state.counted;
        counted.calls += 1;
        let nth = match call {
            Call::Append => &mut counted.appends,
            Call::Sync => &mut counted.syncs,
            Call::Mark => &mut counted.marks,
            Call::Remove => &mut 0,
        };
        *nth += 1;
        let nth = *nth;
        match state.fault {
            Some(Fault::Kill { call, takes_effect }) if call == state.counted.calls => {
                if takes_effect {
                    effect(&mut state);
                }
                state.dead = true;
                Err(StoreError::other(operation, path, "the process died here"))
            }
            Some(Fault::FailAppend(at)) if call == Call::Append && nth == at => {
                // A failed write may have reached the disk in part.
                effect(&mut state);
                Err(StoreError::io(operation, path, &injected()))
            }
            Some(Fault::FailSync(at)) if call == Call::Sync && nth == at => {
                Err(StoreError::io(operation, path, &injected()))
            }
            Some(Fault::FailMark(at)) if call == Call::Mark && nth == at => {
                Err(StoreError::io(operation, path, &injected()))
            }
            _ => {
                effect(&mut state);
                Ok(())
            }
        }
    }
}

impl State {
    fn come_back(&mut self) {
        self.dead = false;
        self.fault = None;
        self.counted = Counted::default();
    }

    fn replace(&mut self, sequence: u64, bytes: Option<Bytes>) {
        for frames in [&mut self.visible.frames, &mut self.durable.frames] {
            match &bytes {
                Some(bytes) => frames.insert(sequence, bytes.clone()),
                None => frames.remove(&sequence),
            };
        }
    }

    fn write_frame(&mut self, write: FrameWrite) {
        write.clone().apply(&mut self.visible.frames);
        self.frames_unsynced.push(write);
    }

    fn sync_frames(&mut self) {
        for write in self.frames_unsynced.drain(..) {
            write.apply(&mut self.durable.frames);
        }
    }
}

impl FrameWrite {
    fn apply(self, frames: &mut BTreeMap<u64, Bytes>) {
        match self {
            Self::Put(sequence, bytes) => frames.insert(sequence, bytes),
            Self::Remove(sequence) => frames.remove(&sequence),
        };
    }
}

fn injected() -> std::io::Error {
    std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}
