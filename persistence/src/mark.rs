//! The high-water mark: how far the journal had been acknowledged, kept beside it in a file of two slots.
//!
//! ```text
//!  0                          4096
//!  +--------------------------+--------------------------+
//!  | slot 0                   | slot 1                   |     each in a disk block of its own
//!  +--------------------------+--------------------------+
//!
//!  slot:  | crc32c u32 | version u32 = 1 | generation u64 | first u64 | last u64 | last hash u64 |    little-endian
//! ```
//!
//! Every commit writes one slot with the next generation, after the commit was synced and before it is acknowledged. That slot is
//! written again and again until the file is synced; then the other one takes its turn. So one slot is always on the platter and
//! left alone, and a torn write costs nothing. The good slot of the highest generation counts.
//!
//! **What it detects.** The write reaches the kernel before the acknowledgement, so after a crash of the process the mark is exact:
//! an end that is short of it is acknowledged data gone, and is refused. The file is synced only every
//! [`MARK_SYNC_COMMITS`](crate::MARK_SYNC_COMMITS) commits, at each truncation and when closing, to save a second sync per commit;
//! so after a power cut it may trail by that many commits, never lead. In that window lost frames are still found when a frame of a later
//! commit survives (see [`frame`](crate::frame)), and otherwise only a disk that dropped what it had reported as synced can lose
//! them. A segment vouches in the same way, by its name, for everything before it. `first` is the first sequence that is still needed: it is synced before anything older is removed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::error::StoreError;

const SLOT_STRIDE: u64 = 4096;
/// Bytes of one slot.
pub const SLOT_BYTES: usize = 40;
pub(crate) const VERSION: u32 = 1;

/// How far the journal had been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HighWater {
    /// First sequence that is still needed; 1 in a new journal.
    pub first: u64,
    /// Last acknowledged sequence; 0: none yet.
    pub last: u64,
    /// Hash of that frame; 0 when there is none.
    pub last_hash: u64,
}

impl HighWater {
    /// The mark of a journal in which nothing was ever written.
    pub const NEW: Self = Self {
        first: 1,
        last: 0,
        last_hash: 0,
    };
}

/// What was found when the mark was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkFound {
    /// The newest good slot; `None` when no slot is good.
    pub newest: Option<HighWater>,
    /// Slots that were written once and are damaged now.
    pub damaged_slots: u8,
    /// Whether there is a mark at all, good or not.
    pub exists: bool,
}

/// Keeps the mark.
pub trait Mark: Send + Sync {
    /// Reads it, and makes what was read durable.
    ///
    /// # Errors
    /// Reading or syncing failed.
    fn load(&self) -> Result<MarkFound, StoreError>;

    /// Writes it; survives the process from then on, the power only after [`sync`](Mark::sync).
    ///
    /// # Errors
    /// Writing failed.
    fn store(&self, mark: HighWater) -> Result<(), StoreError>;

    /// Makes what was stored durable.
    ///
    /// # Errors
    /// It may not be durable.
    fn sync(&self) -> Result<(), StoreError>;
}

/// The mark in a file.
#[derive(Debug)]
pub struct FileMark {
    path: PathBuf,
    file: File,
    cursor: Mutex<Cursor>,
}

impl FileMark {
    /// Opens the mark at `path`, creating an empty file (without a mark in it) when there is none.
    ///
    /// # Errors
    /// The file can be neither opened nor created.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| StoreError::io("open", path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            cursor: Mutex::default(),
        })
    }

    /// Reads a mark without creating or changing anything.
    ///
    /// # Errors
    /// Reading failed for another reason than that there is no file.
    pub fn inspect(path: &Path) -> Result<MarkFound, StoreError> {
        match File::open(path) {
            Ok(file) => Ok(load_slots(path, &file)?.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MarkFound {
                newest: None,
                damaged_slots: 0,
                exists: false,
            }),
            Err(error) => Err(StoreError::io("open", path, &error)),
        }
    }
}

impl Mark for FileMark {
    fn load(&self) -> Result<MarkFound, StoreError> {
        let (found, cursor) = load_slots(&self.path, &self.file)?;
        self.sync()?;
        *self.cursor.lock() = cursor;
        Ok(found)
    }

    fn store(&self, mark: HighWater) -> Result<(), StoreError> {
        let (slot, bytes) = self.cursor.lock().next(mark);
        self.file
            .write_all_at(&bytes, slot as u64 * SLOT_STRIDE)
            .map_err(|error| StoreError::io("write", &self.path, &error))
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut cursor = self.cursor.lock();
        self.file
            .sync_data()
            .map_err(|error| StoreError::io("fdatasync", &self.path, &error))?;
        cursor.synced();
        Ok(())
    }
}

/// Which slot is written next, and with which generation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    generation: u64,
    slot: usize,
    written: bool,
}

impl Cursor {
    /// The slot to write, and its bytes.
    pub(crate) fn next(&mut self, mark: HighWater) -> (usize, [u8; SLOT_BYTES]) {
        self.generation += 1;
        self.written = true;
        (self.slot, encode_slot(self.generation, mark))
    }

    /// What was written is on the platter: it stays, and the other slot takes its turn.
    pub(crate) fn synced(&mut self) {
        if self.written {
            self.slot = 1 - self.slot;
            self.written = false;
        }
    }
}

fn load_slots(path: &Path, file: &File) -> Result<(MarkFound, Cursor), StoreError> {
    let mut slots = [Slot::Empty; 2];
    for (index, slot) in slots.iter_mut().enumerate() {
        let mut bytes = [0; SLOT_BYTES];
        let mut filled = 0;
        while filled < SLOT_BYTES {
            let at = index as u64 * SLOT_STRIDE + filled as u64;
            match file.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", path, &error)),
            }
        }
        *slot = decode_slot(&bytes);
    }
    Ok(newest_of(slots))
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Empty,
    Damaged,
    Good { generation: u64, mark: HighWater },
}

/// The newest good slot of two, and how to go on behind it.
pub(crate) fn newest_of(slots: [Slot; 2]) -> (MarkFound, Cursor) {
    let mut found = MarkFound {
        newest: None,
        damaged_slots: 0,
        exists: false,
    };
    let mut cursor = Cursor::default();
    for (index, slot) in slots.into_iter().enumerate() {
        match slot {
            Slot::Empty => {}
            Slot::Damaged => {
                found.exists = true;
                found.damaged_slots += 1;
            }
            Slot::Good { generation, mark } => {
                found.exists = true;
                if generation > cursor.generation {
                    cursor = Cursor {
                        generation,
                        slot: 1 - index,
                        written: false,
                    };
                    found.newest = Some(mark);
                }
            }
        }
    }
    (found, cursor)
}

fn encode_slot(generation: u64, mark: HighWater) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    for (index, field) in [generation, mark.first, mark.last, mark.last_hash]
        .into_iter()
        .enumerate()
    {
        bytes[8 + index * 8..16 + index * 8].copy_from_slice(&field.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn decode_slot(bytes: &[u8; SLOT_BYTES]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let crc = crc32c::crc32c(&bytes[4..]).to_le_bytes();
    if bytes[..4] != crc || bytes[4..8] != VERSION.to_le_bytes() {
        return Slot::Damaged;
    }
    let field = |index: usize| {
        let mut field = [0; 8];
        field.copy_from_slice(&bytes[8 + index * 8..16 + index * 8]);
        u64::from_le_bytes(field)
    };
    Slot::Good {
        generation: field(0),
        mark: HighWater {
            first: field(1),
            last: field(2),
            last_hash: field(3),
        },
    }
}
