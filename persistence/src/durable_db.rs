//! One sled database, made durable. What sled 0.34 leaves undone is done here:
//!
//! - `flush` ends in `sync_file_range`, which flushes neither the file's length nor the disk's cache: [`DurableDb::sync`] follows it
//!   with `fdatasync` on the same file, `db`, through a descriptor of our own.
//! - `conf` is never synced, and a torn one makes the database unreadable: a database is made under a temporary name, synced file
//!   by file, and renamed.
//! - Opening rewrites `snap.*` and syncs it, but not the directory: we do.
//! - A failed background write is reported once; dropping the database then tries again. After a failure it is leaked instead.
//! - Corruption can make it panic: opening and walking turn a panic into an error.
//!
//! Files under `blobs/` are never synced by sled. They hold only nodes of about 128 KiB and more, which values of at most
//! [`FRAME_BYTES_MAX`](crate::frame::FRAME_BYTES_MAX) never make.

use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use crate::at_rest;
use crate::committer::panic_text;
use crate::error::StoreError;
use crate::files;

/// A database that was just closed is still held for a moment by sled's worker threads. We hold the directory's lock, so nobody else
/// can be meant: it is waited for, this many times.
const OPEN_TRIES: u32 = 400;
/// Between two tries.
const OPEN_TRY_PAUSE: Duration = Duration::from_millis(5);

/// A sled database with a sync that reaches the platter.
pub(crate) struct DurableDb {
    /// `None` only while being dropped.
    db: Option<sled::Db>,
    file: File,
    file_path: PathBuf,
    leak: std::sync::atomic::AtomicBool,
}

impl DurableDb {
    /// Makes an empty database at `dir`, durably: after a crash it is there whole or not at all. With it goes the head of what is sealed in it,
    /// if that is.
    pub(crate) fn create(dir: &Path, cache_bytes: u64, head: Option<&str>) -> Result<Self, StoreError> {
        let staged = with_suffix(dir, NEW_SUFFIX);
        files::remove_tree(&staged)?;
        // Synced while its own descriptors are open: an error that closing swallowed would be lost to those that come later.
        Self::make(&staged, cache_bytes)?.sync()?;
        if let Some(head) = head {
            at_rest::write_head(&staged, head)?;
        }
        files::sync_tree(&staged)?;
        files::rename_durably(&staged, dir)?;
        Self::open(dir, cache_bytes)
    }

    /// Opens the database at `dir`, which must be there: sled would make an empty one in its place.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let file_path = dir.join("db");
        std::fs::metadata(&file_path).map_err(|error| StoreError::io("open", &file_path, &error))?;
        Self::make(dir, cache_bytes)
    }

    /// Makes a database at `dir`, not durably, or opens the one that is there.
    pub(crate) fn make(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let file_path = dir.join("db");
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None);
        let mut tries = 0;
        let db = loop {
            match guard("open", &file_path, || config.open())? {
                Ok(db) => break db,
                Err(sled::Error::Io(error)) if tries < OPEN_TRIES && is_locked(&error) => {
                    tries += 1;
                    thread::sleep(OPEN_TRY_PAUSE);
                }
                Err(error) => return Err(StoreError::sled("open", &file_path, &error)),
            }
        };
        let file = File::open(&file_path).map_err(|error| StoreError::io("open", &file_path, &error))?;
        files::sync_dir(dir)?;
        Ok(Self {
            db: Some(db),
            file,
            file_path,
            leak: false.into(),
        })
    }

    /// Puts a value; not durable yet.
    pub(crate) fn insert(&self, key: u64, value: &[u8]) -> Result<(), StoreError> {
        self.tree()?
            .insert(key.to_be_bytes(), value)
            .map(|_old| ())
            .map_err(|error| StoreError::sled("write", &self.file_path, &error))
    }

    /// Gets a value.
    pub(crate) fn get(&self, key: u64) -> Result<Option<Bytes>, StoreError> {
        let value = guard("read", &self.file_path, || {
            self.tree().map(|tree| tree.get(key.to_be_bytes()))
        })??;
        let value = value.map_err(|error| StoreError::sled("read", &self.file_path, &error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Removes every key behind `key`; not durable yet.
    pub(crate) fn remove_after(&self, key: u64) -> Result<(), StoreError> {
        let Some(from) = key.checked_add(1) else {
            return Ok(());
        };
        let tree = self.tree()?;
        for stale in tree.range(from.to_be_bytes()..).keys() {
            stale
                .and_then(|stale| tree.remove(stale))
                .map_err(|error| StoreError::sled("remove from", &self.file_path, &error))?;
        }
        Ok(())
    }

    /// Visits values from `from` on in order of their keys, until `visit` breaks off; says whether it did.
    pub(crate) fn walk(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut entries = self.tree()?.range(from.to_be_bytes()..);
        loop {
            let Some(entry) = guard("read", &self.file_path, || entries.next())? else {
                return Ok(ControlFlow::Continue(()));
            };
            let (key, value) = entry.map_err(|error| StoreError::sled("read", &self.file_path, &error))?;
            let key = <[u8; 8]>::try_from(&*key)
                .map_err(|_| StoreError::other("read", &self.file_path, format!("foreign key {key:?}")))?;
            if visit(u64::from_be_bytes(key), &value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Makes everything that was written durable, to the platter. Never to be tried again after an error: the database is abandoned.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let flushed = self
            .tree()?
            .flush()
            .map_err(|error| StoreError::sled("flush", &self.file_path, &error));
        let synced = flushed.and_then(|_bytes| {
            self.file
                .sync_data()
                .map_err(|error| StoreError::io("fdatasync", &self.file_path, &error))
        });
        synced.inspect_err(|_| self.abandon())
    }

    /// A tree beside the one that the other methods use: the one of this name, or, where it is to be made, a new one.
    pub(crate) fn open_tree(&self, name: &str, make: bool) -> Result<Option<sled::Tree>, StoreError> {
        let db = self.tree_of_db()?;
        if !make && !db.tree_names().iter().any(|known| &**known == name.as_bytes()) {
            return Ok(None);
        }
        guard("open", &self.file_path, || db.open_tree(name))?
            .map(Some)
            .map_err(|error| StoreError::sled("open", &self.file_path, &error))
    }

    /// The names of those trees.
    pub(crate) fn tree_names(&self) -> Vec<String> {
        let names = self.tree_of_db().map(sled::Db::tree_names).unwrap_or_default();
        let texts = names
            .iter()
            .filter_map(|name| std::str::from_utf8(name).ok().map(str::to_owned));
        texts.collect()
    }

    /// Removes one of them, and what is in it; not durable yet.
    pub(crate) fn remove_tree(&self, name: &str) -> Result<(), StoreError> {
        let db = self.tree_of_db()?;
        guard("remove from", &self.file_path, || db.drop_tree(name))?
            .map(drop)
            .map_err(|error| StoreError::sled("remove from", &self.file_path, &error))
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The database's one file.
    pub(crate) fn file_path(&self) -> &Path {
        &self.file_path
    }

    /// Never flushes again, not even when dropped.
    pub(crate) fn abandon(&self) {
        self.leak.store(true, std::sync::atomic::Ordering::Release);
    }

    fn tree(&self) -> Result<&sled::Tree, StoreError> {
        self.tree_of_db().map(|db| &**db)
    }

    fn tree_of_db(&self) -> Result<&sled::Db, StoreError> {
        match &self.db {
            Some(db) => Ok(db),
            None => Err(StoreError::other(
                "use",
                &self.file_path,
                "the database is closed",
            )),
        }
    }
}

impl Drop for DurableDb {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.leak.load(std::sync::atomic::Ordering::Acquire) {
            std::mem::forget(db);
        } else if guard("close", &self.file_path, || drop(db)).is_err() {
            tracing::error!(file = %self.file_path.display(), "sled panicked while closing");
        }
    }
}

/// What a database is called before it is whole.
pub(crate) const NEW_SUFFIX: &str = ".new";

/// `path` with `suffix` behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// sled wraps the failed lock into an error of kind `Other`, told apart by its text alone.
fn is_locked(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Other && error.to_string().contains("could not acquire lock")
}

pub(crate) fn guard<T>(
    operation: &'static str,
    path: &Path,
    run: impl FnOnce() -> T,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        StoreError::other(
            operation,
            path,
            format!("sled panicked: {}", panic_text(panic.as_ref())),
        )
    })
}
