//! Reading a snapshot: everything is checked before the first byte is handed out, and each chunk again when it is.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use docket_sealing::{Head, Keyring};

use super::data::DataReader;
use super::format::{self, HEADER_BYTES, Kind, Place, Sum};
use super::sealed::{OpenError, Part, Sealed};
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
        keys: &Keyring,
        path: PathBuf,
        info: SnapshotInfo,
    ) -> Result<Self, SnapshotError> {
        let sealed = sealed_of(keys, (info.group, info.id), &path)?;
        let mut checked = check(&db, sealed.as_deref()).map_err(|error| error.at(&path))?;
        let rest = match checked.place {
            Place::Chunks => Rest::Chunks {
                next: checked.meta_chunks,
                end: checked.sum.chunks,
            },
            Place::File => {
                checked.check_file(&path, sealed.clone())?;
                Rest::File(DataReader::open(&path, sealed)?)
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

/// How a snapshot, by its group and id, is sealed, if it is.
fn sealed_of(keys: &Keyring, which: (u32, u64), path: &Path) -> Result<Option<Arc<Sealed>>, SnapshotError> {
    let sealed = Sealed::of(keys, which, path).map_err(|error| match error {
        OpenError::Store(error) => error.into(),
        OpenError::Seal(error) => CheckError::Damage(SnapshotDamage::Sealed(error)).at(path),
    })?;
    Ok(sealed.map(Arc::new))
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
fn check(db: &DurableDb, sealed: Option<&Sealed>) -> Result<Checked, CheckError> {
    let mut checked = Checked::begin();
    let mut ended = false;
    let mut damage = None;
    let _ended_early = db
        .walk(0, &mut |key, chunk| {
            let result = if ended {
                Err(SnapshotDamage::Misplaced(key))
            } else {
                checked.take(key, chunk, sealed)
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
    fn begin() -> Self {
        Self {
            meta: BytesMut::new(),
            meta_chunks: 0,
            sum: Sum::default(),
            place: Place::Chunks,
            end: Vec::new(),
        }
    }

    /// Takes the next chunk; `true` when it is the end.
    fn take(&mut self, key: u64, chunk: &[u8], sealed: Option<&Sealed>) -> Result<bool, SnapshotDamage> {
        if key != self.sum.chunks {
            return Err(SnapshotDamage::Missing(self.sum.chunks));
        }
        let kind = format::open(key, chunk)?;
        let bytes = &chunk[HEADER_BYTES..];
        match kind {
            Kind::End => {
                (self.place, self.end) = self.sum.place(bytes, sealed)?;
                return Ok(true);
            }
            Kind::Meta if self.meta_chunks < self.sum.chunks => return Err(SnapshotDamage::Misplaced(key)),
            Kind::Meta => {
                match sealed {
                    None => self.meta.extend_from_slice(bytes),
                    Some(sealed) => {
                        let opened = sealed.open(Part::Meta(key), bytes);
                        self.meta
                            .extend_from_slice(&opened.map_err(SnapshotDamage::Sealed)?);
                    }
                }
                self.meta_chunks += 1;
            }
            Kind::Data => {}
        }
        self.sum.add(kind, bytes);
        Ok(false)
    }

    /// Walks the whole file.
    fn check_file(&mut self, dir: &Path, sealed: Option<Arc<Sealed>>) -> Result<(), SnapshotError> {
        let mut data = DataReader::open(dir, sealed)?;
        while let Some((hash, bytes)) = data.next()? {
            self.sum.add_block(hash, bytes.len());
        }
        let checked = self.sum.check_end(&self.end);
        checked.map_err(|damage| CheckError::Damage(damage).at(dir))
    }
}

/// Checks everything, a piece at a time: `step` is told how many bytes each had, and may break it off.
pub(super) fn check_slowly(
    db: &DurableDb,
    keys: &Keyring,
    which: (u32, u64),
    path: &Path,
    step: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, SnapshotError> {
    let sealed = sealed_of(keys, which, path)?;
    let mut checked = check(db, sealed.as_deref()).map_err(|error| error.at(path))?;
    if step(checked.sum.meta_bytes + checked.sum.data_bytes).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    if checked.place == Place::Chunks {
        return Ok(ControlFlow::Continue(()));
    }
    let mut data = DataReader::open(path, sealed)?;
    while let Some((hash, bytes)) = data.next()? {
        checked.sum.add_block(hash, bytes.len());
        if step(bytes.len() as u64).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let ended = checked.sum.check_end(&checked.end);
    ended.map_err(|damage| CheckError::Damage(damage).at(path))?;
    Ok(ControlFlow::Continue(()))
}

/// What a snapshot is made of, as a disk may give it back: to see what becomes of that without a disk.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    /// The group it belongs to, and its id.
    pub which: (u32, u64),
    /// What its file `sealed` says, where there is one.
    pub head: Option<&'a Head>,
    /// The entries of its database.
    pub chunks: &'a [(u64, &'a [u8])],
    /// Its file `data`.
    pub data: &'a [u8],
}

impl Pieces<'_> {
    /// Checks all of it, as [`SnapshotStore::read`](super::SnapshotStore::read) does; its meta bytes, and the state's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, keys: &Keyring) -> Result<(Bytes, Vec<u8>), SnapshotError> {
        let at = Path::new("memory/snapshot");
        let damaged = |damage| CheckError::Damage(damage).at(at);
        let sealed = self.head.map(|head| Sealed::with(keys, head, self.which));
        let sealed = sealed
            .transpose()
            .map_err(|why| damaged(SnapshotDamage::Sealed(why)))?;
        let sealed = sealed.map(Arc::new);
        let (mut checked, mut ended) = (Checked::begin(), false);
        for (key, chunk) in self.chunks {
            if ended {
                return Err(damaged(SnapshotDamage::Misplaced(*key)));
            }
            ended = checked.take(*key, chunk, sealed.as_deref()).map_err(damaged)?;
        }
        if !ended {
            return Err(damaged(SnapshotDamage::Missing(checked.sum.chunks)));
        }
        let mut state = Vec::new();
        match checked.place {
            Place::Chunks => {
                let of_data = self.chunks.iter().skip(checked.meta_chunks as usize);
                for (_, chunk) in of_data.take((checked.sum.chunks - checked.meta_chunks) as usize) {
                    state.extend_from_slice(chunk.get(HEADER_BYTES..).unwrap_or_default());
                }
            }
            Place::File => {
                let mut data = DataReader::of(self.data, at.to_owned(), sealed);
                while let Some((hash, bytes)) = data.next()? {
                    checked.sum.add_block(hash, bytes.len());
                    state.extend_from_slice(&bytes);
                }
                checked.sum.check_end(&checked.end).map_err(damaged)?;
            }
        }
        Ok((checked.meta.freeze(), state))
    }
}
