//! Snapshots: the whole state of a group at one point, as bytes that the caller chooses.
//!
//! ```text
//! snapshots/
//!   lock                              held by the process that has the snapshots open
//!   7/                                group 7
//!     00000000000000000012/           a snapshot: a sled database (see `format`); the name is its id, rising by one
//!       data                          the state's bytes (see `data`)
//!       sealed                        key and salt, where the snapshot is sealed (see `sealed`)
//!     00000000000000000013/           the newest
//!     00000000000000000014.new/       being written, or left by a crash: removed at the next start
//!   9.dropped/                        the group has left, and a crash came before its files were gone: removed at the next start
//! ```
//!
//! A snapshot becomes visible by a rename, after everything in it was synced to the platter. The newest [`SNAPSHOTS_KEPT`] of a
//! group are kept, so that one that turns out damaged has another behind it: whoever truncates the journal keeps what the *older*
//! one needs.

mod data;
mod format;
mod reader;
mod sealed;
mod writer;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use docket_sealing::Keyring;
use parking_lot::Mutex;

use crate::durable_db::{DurableDb, NEW_SUFFIX, with_suffix};
use crate::error::{JournalError, StoreError};
use crate::files::{self, DirLock};

pub use format::SnapshotDamage;
pub(crate) use format::VERSION_SEALED as FILES_VERSION;
pub use reader::{Pieces, SnapshotReader};
pub use writer::SnapshotWriter;

/// Snapshots of one group that are kept.
pub const SNAPSHOTS_KEPT: usize = 2;
/// sled's cache for a snapshot that is written or read, in bytes.
const SNAPSHOT_CACHE_BYTES: u64 = 8 * 1024 * 1024;
const NAME_DIGITS: usize = 20;
const DROPPED_SUFFIX: &str = ".dropped";

/// What went wrong with a snapshot.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A snapshot's content is not what was written.
    #[error("the snapshot {} is damaged: {damage}", path.display())]
    Damaged {
        /// The snapshot's directory.
        path: PathBuf,
        /// What is wrong.
        damage: SnapshotDamage,
    },
    /// There are snapshots, and not one of them is good. That is not the same as having none.
    #[error("no snapshot of group {group} is good: {}. Restore the data directory from a backup, or move it away and let the \
             node fetch its state from its peers", rejected.join("; "))]
    NoneGood {
        /// The group.
        group: u32,
        /// What is wrong with each.
        rejected: Vec<String>,
    },
}

impl SnapshotError {
    /// Whether the right key is all that is missing.
    fn is_of_keys(&self) -> bool {
        matches!(self, Self::Damaged { damage: SnapshotDamage::Sealed(why), .. } if why.is_of_keys())
    }
}

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The group it belongs to.
    pub group: u32,
    /// Its number, rising with each snapshot of the group.
    pub id: u64,
    /// Bytes of the state in it.
    pub bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// How much all snapshots hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotSizes {
    /// Finished snapshots.
    pub snapshots: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// The snapshots of all groups below one directory; clones are the same. Its methods block on the disk.
#[derive(Clone)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    keys: Keyring,
    state: Mutex<State>,
    _lock: Option<DirLock>,
}

#[derive(Default)]
struct State {
    groups: HashMap<u32, Group>,
}

/// One group's finished snapshots, oldest first.
#[derive(Default)]
struct Group {
    finished: Vec<Finished>,
    next_id: u64,
}

struct Finished {
    id: u64,
    disk_bytes: u64,
    /// Shared by those who read it: sled opens a database once.
    open: Weak<DurableDb>,
}

impl SnapshotStore {
    /// Opens the snapshots below `dir`, which is created when there is none, and removes what a crash left unfinished.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process has it; [`JournalError::Store`] when it cannot be read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, JournalError> {
        Self::open_with(dir, Keyring::default())
    }

    /// The same, with what snapshots are sealed with, and opened.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(dir: impl Into<PathBuf>, keys: Keyring) -> Result<Self, JournalError> {
        let dir = dir.into();
        files::create_dir_durably(&dir)?;
        let lock = DirLock::acquire(&dir)?;
        Self::of(dir, keys, Some(lock), Leftovers::Remove)
    }

    /// Opens the snapshots below `dir` to be looked at: neither makes nor removes anything.
    pub(crate) fn inspect(dir: &Path, keys: Keyring) -> Result<Self, JournalError> {
        Self::of(dir.to_owned(), keys, DirLock::borrow(dir)?, Leftovers::Leave)
    }

    fn of(
        dir: PathBuf,
        keys: Keyring,
        lock: Option<DirLock>,
        leftovers: Leftovers,
    ) -> Result<Self, JournalError> {
        let mut groups = HashMap::new();
        for path in files::entries(&dir)? {
            if let Some(group) = name_of(&path).parse().ok().filter(|_| path.is_dir()) {
                groups.insert(group, open_group(&path, leftovers)?);
            } else if leftovers == Leftovers::Remove && name_of(&path).ends_with(DROPPED_SUFFIX) {
                files::remove_tree(&path)?;
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                dir,
                keys,
                state: Mutex::new(State { groups }),
                _lock: lock,
            }),
        })
    }

    /// Begins a snapshot of `group`; `meta` comes back with it, for instance what it stands for in the group's log.
    ///
    /// # Errors
    /// Its files cannot be made.
    pub fn begin(&self, group: u32, meta: &[u8]) -> Result<SnapshotWriter, StoreError> {
        let group_dir = self.group_dir(group);
        files::create_dir_durably(&group_dir)?;
        let id = {
            let mut state = self.inner.state.lock();
            let group = state.groups.entry(group).or_default();
            group.next_id = group.next_id.max(1) + 1;
            group.next_id - 1
        };
        SnapshotWriter::new(
            self.clone(),
            group,
            id,
            with_suffix(&snapshot_path(&group_dir, id), NEW_SUFFIX),
            meta,
        )
    }

    /// The newest snapshot of `group` whose every byte checks out; `None` when there are none at all. One that fails its checks is
    /// reported, in the log and by [`SnapshotReader::rejected`], and the older one is taken. One whose key is not there is not passed over: it
    /// is good.
    ///
    /// # Errors
    /// [`SnapshotError::NoneGood`] when there are snapshots and all fail; the newest's key is not there, or another one.
    pub fn latest(&self, group: u32) -> Result<Option<SnapshotReader>, SnapshotError> {
        let mut rejected = Vec::new();
        for id in self.ids(group).into_iter().rev() {
            match self.read(group, id) {
                Ok(reader) => return Ok(Some(reader.with_rejected(rejected))),
                Err(error) if error.is_of_keys() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, group, id, "a snapshot fails its checks and is passed over");
                    rejected.push(error.to_string());
                }
            }
        }
        if rejected.is_empty() {
            Ok(None)
        } else {
            Err(SnapshotError::NoneGood { group, rejected })
        }
    }

    /// One snapshot by its id, after checking its every byte.
    ///
    /// # Errors
    /// It is damaged, absent or cannot be read.
    pub fn read(&self, group: u32, id: u64) -> Result<SnapshotReader, SnapshotError> {
        let path = self.path(group, id);
        let (db, disk_bytes) = self.open_shared(group, id, &path)?;
        SnapshotReader::checked(
            db,
            self.keys(),
            path,
            SnapshotInfo {
                group,
                id,
                bytes: 0,
                disk_bytes,
            },
        )
    }

    /// Checks one snapshot as [`read`](Self::read) does, a piece at a time: `step` is told of each, and may break it off.
    pub(crate) fn check_slowly(
        &self,
        group: u32,
        id: u64,
        step: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SnapshotError> {
        let path = self.path(group, id);
        let (db, _) = self.open_shared(group, id, &path)?;
        reader::check_slowly(&db, self.keys(), (group, id), &path, step)
    }

    /// Where a snapshot is.
    pub fn path(&self, group: u32, id: u64) -> PathBuf {
        snapshot_path(&self.group_dir(group), id)
    }

    /// The ids of a group's finished snapshots, oldest first.
    pub fn ids(&self, group: u32) -> Vec<u64> {
        let state = self.inner.state.lock();
        state
            .groups
            .get(&group)
            .map(|group| group.finished.iter().map(|one| one.id).collect())
            .unwrap_or_default()
    }

    /// The groups that have snapshots, in rising order.
    pub fn groups(&self) -> Vec<u32> {
        let state = self.inner.state.lock();
        let mut groups: Vec<u32> = state
            .groups
            .iter()
            .filter(|(_, group)| !group.finished.is_empty())
            .map(|(id, _)| *id)
            .collect();
        groups.sort_unstable();
        groups
    }

    /// How much all finished snapshots hold.
    pub fn sizes(&self) -> SnapshotSizes {
        let state = self.inner.state.lock();
        let finished = state.groups.values().flat_map(|group| &group.finished);
        finished.fold(SnapshotSizes::default(), |sizes, one| SnapshotSizes {
            snapshots: sizes.snapshots + 1,
            disk_bytes: sizes.disk_bytes + one.disk_bytes,
        })
    }

    /// Removes all snapshots of a group that has left this node. After a crash either all of them are there, or none.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn remove_group(&self, group: u32) -> Result<(), StoreError> {
        // Ids go on rising, so that a snapshot that is being written never meets an older name.
        if let Some(group) = self.inner.state.lock().groups.get_mut(&group) {
            group.finished.clear();
        }
        let dir = self.group_dir(group);
        let away = with_suffix(&dir, DROPPED_SUFFIX);
        // Of one that could not be removed before.
        files::remove_tree(&away)?;
        if dir.exists() {
            files::rename_durably(&dir, &away)?;
            files::remove_tree(&away)?;
        }
        Ok(())
    }

    /// Makes a written snapshot visible and lets the oldest go.
    fn publish(&self, staged: &Path, info: SnapshotInfo) -> Result<(), StoreError> {
        let group_dir = self.group_dir(info.group);
        files::rename_durably(staged, &snapshot_path(&group_dir, info.id))?;
        let stale: Vec<u64> = {
            let mut state = self.inner.state.lock();
            let finished = &mut state.groups.entry(info.group).or_default().finished;
            finished.push(Finished {
                id: info.id,
                disk_bytes: info.disk_bytes,
                open: Weak::new(),
            });
            finished.sort_by_key(|one| one.id);
            let excess = finished.len().saturating_sub(SNAPSHOTS_KEPT);
            finished.drain(..excess).map(|one| one.id).collect()
        };
        for id in stale {
            let path = snapshot_path(&group_dir, id);
            let away = with_suffix(&path, DROPPED_SUFFIX);
            files::rename_durably(&path, &away)?;
            files::remove_tree(&away)?;
        }
        Ok(())
    }

    fn open_shared(&self, group: u32, id: u64, path: &Path) -> Result<(Arc<DurableDb>, u64), StoreError> {
        let mut state = self.inner.state.lock();
        let finished = state
            .groups
            .get_mut(&group)
            .and_then(|group| group.finished.iter_mut().find(|one| one.id == id));
        let finished =
            finished.ok_or_else(|| StoreError::other("open", path, "there is no such snapshot"))?;
        if let Some(db) = finished.open.upgrade() {
            return Ok((db, finished.disk_bytes));
        }
        let db = Arc::new(DurableDb::open(path, SNAPSHOT_CACHE_BYTES)?);
        finished.open = Arc::downgrade(&db);
        Ok((db, finished.disk_bytes))
    }

    fn keys(&self) -> &Keyring {
        &self.inner.keys
    }

    fn group_dir(&self, group: u32) -> PathBuf {
        self.inner.dir.join(group.to_string())
    }
}

impl std::fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotStore")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}

/// What to do with what a crash left unfinished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leftovers {
    Remove,
    Leave,
}

fn open_group(dir: &Path, leftovers: Leftovers) -> Result<Group, StoreError> {
    let mut group = Group::default();
    for path in files::entries(dir)? {
        let name = name_of(&path);
        if let Some(id) = name.parse().ok().filter(|_| name.len() == NAME_DIGITS) {
            group.finished.push(Finished {
                id,
                disk_bytes: files::tree_bytes(&path),
                open: Weak::new(),
            });
            group.next_id = id + 1;
        } else if leftovers == Leftovers::Remove
            && (name.ends_with(NEW_SUFFIX) || name.ends_with(DROPPED_SUFFIX))
        {
            files::remove_tree(&path)?;
        }
    }
    Ok(group)
}

fn snapshot_path(group_dir: &Path, id: u64) -> PathBuf {
    group_dir.join(format!("{id:0NAME_DIGITS$}"))
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}
