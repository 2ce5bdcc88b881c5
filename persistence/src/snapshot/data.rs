//! The bytes of a state, in the file `data` beside the snapshot's database. This is a disk format; a fixture in `tests/fixtures/` must be
//! readable for ever.
//!
//! ```text
//!  0           8           12
//!  +-----------+-----------+-----------+-----------+-----
//!  | xxh3-64   | bytes u32 | bytes ... | xxh3-64   | ...     blocks of at most 64 KiB; integers little-endian
//!  +-----------+-----------+-----------+-----------+-----
//! ```
//!
//! Where the snapshot is sealed, the bytes of a block are sealed, and 16 more (see `sealed`). A block's hash is of its bytes, with the block's number from 0 as its seed, so that a block in another's place is found out. How many
//! there are, and what their hashes add up to, is in the end (see `format`), which is in the database.
//!
//! A file because it costs a tenth: sled writes every value twice, and takes 0.7 µs of an order's 1.2 in a snapshot.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::SnapshotError;
use super::format::{SnapshotDamage, Sum};
use super::sealed::{ADDED_BYTES, Part, Sealed};
use crate::error::StoreError;

/// Bytes of a block, without its header and before it is sealed.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES: usize = 12;
/// So much is written before it is synced, in bytes: all of it at once, at the end, would keep the journal's own syncs waiting for it.
const SYNC_EVERY_BYTES: u64 = 4 * 1024 * 1024;

/// Where the file is, in the folder of a snapshot.
pub(super) fn path_in(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The file while it is written.
pub(super) struct DataWriter {
    file: File,
    path: PathBuf,
    /// The block that is being filled, behind room for its header.
    block: Vec<u8>,
    unsynced: u64,
    sealed: Option<Arc<Sealed>>,
}

impl DataWriter {
    /// Makes the file in the folder of a snapshot, not durably.
    pub(super) fn create(dir: &Path, sealed: Option<Arc<Sealed>>) -> Result<Self, StoreError> {
        let path = path_in(dir);
        let file = File::create_new(&path).map_err(|error| StoreError::io("create", &path, &error))?;
        let mut block = Vec::with_capacity(HEADER_BYTES + BLOCK_BYTES_MAX + ADDED_BYTES);
        block.resize(HEADER_BYTES, 0);
        Ok(Self {
            file,
            path,
            block,
            unsynced: 0,
            sealed,
        })
    }

    /// Bytes that are not in a block that was written.
    pub(super) fn pending(&self) -> u64 {
        (self.block.len() - HEADER_BYTES) as u64
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], sum: &mut Sum) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = HEADER_BYTES + BLOCK_BYTES_MAX - self.block.len();
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.block.extend_from_slice(now);
            bytes = rest;
            if now.len() == room {
                self.end_block(sum)?;
            }
        }
        Ok(())
    }

    /// Writes what is left and makes it durable, through the descriptor that wrote it: an error that closing swallowed would be lost to
    /// who syncs later. The file is there for good when its folder is synced.
    pub(super) fn finish(mut self, sum: &mut Sum) -> Result<(), StoreError> {
        if self.pending() > 0 {
            self.end_block(sum)?;
        }
        self.file
            .sync_all()
            .map_err(|error| StoreError::io("sync", &self.path, &error))
    }

    fn end_block(&mut self, sum: &mut Sum) -> Result<(), StoreError> {
        let of_state = self.block.len() - HEADER_BYTES;
        if let Some(sealed) = &self.sealed {
            let done = sealed.seal(Part::Block(sum.blocks), &mut self.block, HEADER_BYTES);
            done.map_err(|error| StoreError::other("write", &self.path, error))?;
        }
        let (header, bytes) = self.block.split_at_mut(HEADER_BYTES);
        let hash = xxh3_64_with_seed(bytes, sum.blocks);
        header[..8].copy_from_slice(&hash.to_le_bytes());
        header[8..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        sum.add_block(hash, of_state);
        self.file
            .write_all(&self.block)
            .map_err(|error| StoreError::io("write", &self.path, &error))?;
        self.unsynced += self.block.len() as u64;
        self.block.truncate(HEADER_BYTES);
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.unsynced = 0;
            self.file
                .sync_data()
                .map_err(|error| StoreError::io("fdatasync", &self.path, &error))?;
        }
        Ok(())
    }
}

/// The file while it is read, block by block. Each is checked before it is handed out.
pub(super) struct DataReader<R = File> {
    file: R,
    path: PathBuf,
    next: u64,
    sealed: Option<Arc<Sealed>>,
}

impl DataReader {
    /// Opens the file in the folder of a snapshot.
    pub(super) fn open(dir: &Path, sealed: Option<Arc<Sealed>>) -> Result<Self, SnapshotError> {
        let path = path_in(dir);
        match File::open(&path) {
            Ok(file) => Ok(Self::of(file, path, sealed)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(SnapshotError::Damaged {
                path: dir.to_owned(),
                damage: SnapshotDamage::NoData,
            }),
            Err(error) => Err(StoreError::io("open", &path, &error).into()),
        }
    }
}

impl<R: Read> DataReader<R> {
    /// The bytes of such a file, wherever they are.
    pub(super) fn of(file: R, path: PathBuf, sealed: Option<Arc<Sealed>>) -> Self {
        Self {
            file,
            path,
            next: 0,
            sealed,
        }
    }

    /// The next block and its hash; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Bytes)>, SnapshotError> {
        let mut header = [0; HEADER_BYTES];
        match self.fill(&mut header)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            _ => return Err(self.damaged(SnapshotDamage::Block(self.next))),
        }
        let ([hash], [length]) = (header[..8].as_chunks().0, header[8..].as_chunks().0) else {
            return Err(self.damaged(SnapshotDamage::Block(self.next)));
        };
        let (hash, length) = (u64::from_le_bytes(*hash), u32::from_le_bytes(*length) as usize);
        let most = BLOCK_BYTES_MAX + self.sealed.as_ref().map_or(0, |_| ADDED_BYTES);
        if length > most {
            return Err(self.damaged(SnapshotDamage::Block(self.next)));
        }
        let mut bytes = vec![0; length];
        if self.fill(&mut bytes)? < length || xxh3_64_with_seed(&bytes, self.next) != hash {
            return Err(self.damaged(SnapshotDamage::Block(self.next)));
        }
        if let Some(sealed) = &self.sealed {
            let opened = sealed.open(Part::Block(self.next), &bytes);
            bytes = opened.map_err(|error| self.damaged(SnapshotDamage::Sealed(error)))?;
        }
        self.next += 1;
        Ok(Some((hash, bytes.into())))
    }

    /// Fills a buffer as far as there are bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, SnapshotError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read", &self.path, &error).into()),
            }
        }
        Ok(filled)
    }

    fn damaged(&self, damage: SnapshotDamage) -> SnapshotError {
        SnapshotError::Damaged {
            path: self.path.clone(),
            damage,
        }
    }
}
