//! Reading a snapshot: everything is checked before the first byte is handed out, and each chunk again when it is.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::data::DataReader;
use super::format::{self, HEADER_BYTES, Kind, Place, Sum};
use super::{SnapshotDamage, SnapshotError, SnapshotInfo};
use crate::durable_db::DurableDb;

/// A snapshot whose every byte checked out: the meta bytes, and an iterator of the state's bytes in order, cut anywhere.
pub struct SnapshotReader {
    db: Arc<DurableDb>,
    path: PathBuf,
    info: SnapshotInfo,
    meta: Bytes,
    rest: Rest,
    rejected: Vec<String>,
}

/// What is still to be read.
enum Rest {
    /// Chunks, up to the end's.
    Chunks {
        next: u64,
        end: u64,
    },
    File(DataReader),
    Nothing,
}

impl SnapshotReader {
    pub(super) fn checked(
        db: Arc<DurableDb>,
        path: PathBuf,
        info: SnapshotInfo,
    ) -> Result<Self, SnapshotError> {
        let mut checked = check(&db).map_err(|error| error.at(&path))?;
        let rest = match checked.place {
            Place::Chunks => Rest::Chunks {
                next: checked.meta_chunks,
                end: checked.sum.chunks,
            },
            Place::File => {
                checked.check_file(&path)?;
                Rest::File(DataReader::open(&path)?)
            }
        };
        Ok(Self {
            db,
            path,
            info: SnapshotInfo {
                bytes: checked.sum.data_bytes,
                ..info
            },
            meta: checked.meta.freeze(),
            rest,
            rejected: Vec::new(),
        })
    }

    pub(super) fn with_rejected(self, rejected: Vec<String>) -> Self {
        Self { rejected, ..self }
    }

    /// The bytes that were given when it was begun.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// What it is.
    pub fn info(&self) -> SnapshotInfo {
        self.info
    }

    /// What was wrong with newer snapshots that had to be passed over; empty in the normal case.
    pub fn rejected(&self) -> &[String] {
        &self.rejected
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match &mut self.rest {
            Rest::Nothing => return None,
            Rest::File(data) => data.next().map(|block| block.map(|(_, bytes)| bytes)),
            Rest::Chunks { next, end } if *next < *end => {
                *next += 1;
                let key = *next - 1;
                self.chunk(key).map(Some)
            }
            Rest::Chunks { .. } => Ok(None),
        };
        if !matches!(read, Ok(Some(_))) {
            self.rest = Rest::Nothing;
        }
        read.transpose()
    }
}

impl SnapshotReader {
    /// A chunk of data of version 1.
    fn chunk(&self, key: u64) -> Result<Bytes, SnapshotError> {
        let chunk = match self.db.get(key)? {
            Some(chunk) => format::open(key, &chunk).map(|_kind| chunk),
            None => Err(SnapshotDamage::Missing(key)),
        };
        let chunk = chunk.map_err(|damage| CheckError::Damage(damage).at(&self.path))?;
        Ok(chunk.slice(HEADER_BYTES..))
    }
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("path", &self.path)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

struct Checked {
    meta: BytesMut,
    meta_chunks: u64,
    sum: Sum,
    place: Place,
    /// The end's own bytes.
    end: Vec<u8>,
}

enum CheckError {
    Store(crate::error::StoreError),
    Damage(SnapshotDamage),
}

impl CheckError {
    fn at(self, path: &Path) -> SnapshotError {
        match self {
            Self::Store(error) => error.into(),
            Self::Damage(damage) => SnapshotError::Damaged {
                path: path.to_owned(),
                damage,
            },
        }
    }
}

/// Walks the whole database.
fn check(db: &DurableDb) -> Result<Checked, CheckError> {
    let mut checked = Checked {
        meta: BytesMut::new(),
        meta_chunks: 0,
        sum: Sum::default(),
        place: Place::Chunks,
        end: Vec::new(),
    };
    let mut ended = false;
    let mut damage = None;
    let _ended_early = db
        .walk(0, &mut |key, chunk| {
            let result = if ended {
                Err(SnapshotDamage::Misplaced(key))
            } else {
                checked.take(key, chunk)
            };
            match result {
                Ok(end) => ended = end,
                Err(found) => damage = Some(found),
            }
            if damage.is_none() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .map_err(CheckError::Store)?;
    match damage {
        Some(damage) => Err(CheckError::Damage(damage)),
        None if !ended => Err(CheckError::Damage(SnapshotDamage::Missing(checked.sum.chunks))),
        None => Ok(checked),
    }
}

impl Checked {
    /// Takes the next chunk; `true` when it is the end.
    fn take(&mut self, key: u64, chunk: &[u8]) -> Result<bool, SnapshotDamage> {
        if key != self.sum.chunks {
            return Err(SnapshotDamage::Missing(self.sum.chunks));
        }
        let kind = format::open(key, chunk)?;
        let bytes = &chunk[HEADER_BYTES..];
        match kind {
            Kind::End => {
                self.place = self.sum.place(bytes)?;
                self.end = bytes.to_vec();
                return Ok(true);
            }
            Kind::Meta if self.meta_chunks < self.sum.chunks => return Err(SnapshotDamage::Misplaced(key)),
            Kind::Meta => {
                self.meta.extend_from_slice(bytes);
                self.meta_chunks += 1;
            }
            Kind::Data => {}
        }
        self.sum.add(kind, bytes);
        Ok(false)
    }

    /// Walks the whole file.
    fn check_file(&mut self, dir: &Path) -> Result<(), SnapshotError> {
        let mut data = DataReader::open(dir)?;
        while let Some((hash, bytes)) = data.next()? {
            self.sum.add_block(hash, bytes.len());
        }
        let checked = self.sum.check_end(&self.end);
        checked.map_err(|damage| CheckError::Damage(damage).at(dir))
    }
}
