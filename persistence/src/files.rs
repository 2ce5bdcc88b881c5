//! Directories that are locked, created and synced: what a file needs around it to be found again after the power went.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{JournalError, StoreError};

/// The name of the lock file in a directory.
pub(crate) const LOCK_FILE: &str = "lock";

/// Holds a directory for this process alone; released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock of `dir`.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| StoreError::io("open", &path, &error))?;
        let mut lock = Self::lock(file, path)?;
        // Who holds it is only told to whoever finds it held: an error here costs a word in that message.
        let _ = lock
            .file
            .set_len(0)
            .and_then(|()| write!(lock.file, "{}", std::process::id()));
        Ok(lock)
    }

    fn lock(mut file: File, path: PathBuf) -> Result<Self, JournalError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() {
                    "another process".to_owned()
                } else {
                    format!("process {holder}")
                };
                Err(JournalError::Locked { path, holder })
            }
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, &error).into()),
        }
    }

    /// Takes the lock of `dir` where it has one, and changes nothing: a directory without was never in use.
    pub(crate) fn borrow(dir: &Path) -> Result<Option<Self>, JournalError> {
        let path = dir.join(LOCK_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", &path, &error).into()),
        };
        Self::lock(file, path).map(Some)
    }
}

/// Keeps everybody else out of a directory of this crate's, as long as it lives.
#[derive(Debug)]
pub struct Held {
    _lock: Option<DirLock>,
}

/// Keeps everybody else out of a directory of this crate's, and changes nothing in it.
///
/// # Errors
/// [`JournalError::Locked`] when somebody uses it.
pub fn hold(dir: &Path) -> Result<Held, JournalError> {
    DirLock::borrow(dir).map(|lock| Held { _lock: lock })
}

/// Makes the entries of `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::io("fsync", dir, &error))
}

/// Creates `dir` and those above it, durably.
pub(crate) fn create_dir_durably(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    create_dir_durably(parent)?;
    match fs::create_dir(dir) {
        Err(error) if !dir.is_dir() => Err(StoreError::io("create", dir, &error)),
        _ => sync_dir(parent),
    }
}

/// Makes everything in `dir` durable: each file, each directory below, and the entries themselves.
pub(crate) fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    for path in entries(dir)? {
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|error| StoreError::io("fsync", &path, &error))?;
        }
    }
    sync_dir(dir)
}

/// Renames within one directory, durably.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::io("rename", from, &error))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Removes a directory and all in it; it is no error when there is none.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", dir, &error))
        }
        _ => Ok(()),
    }
}

/// What is in a directory, sorted by name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    read().map_err(|error| StoreError::io("list", dir, &error))
}

/// Asks the kernel to keep nothing in memory of the files in a directory, so that they are next read from the disk. It may do otherwise.
pub(crate) fn forget(dir: &Path) {
    #[cfg(target_os = "linux")]
    for path in entries(dir).unwrap_or_default() {
        if let Ok(file) = File::open(&path) {
            // To the end of the file. That it does not is no reason not to read.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = dir;
}

/// Bytes of all files in a directory; what cannot be read counts as nothing.
pub(crate) fn tree_bytes(dir: &Path) -> u64 {
    let sizes = entries(dir).unwrap_or_default().into_iter().map(|path| {
        if path.is_dir() {
            tree_bytes(&path)
        } else {
            fs::metadata(&path).map_or(0, |metadata| metadata.len())
        }
    });
    sizes.sum()
}

/// Bytes of the file system of `path`, used or not.
pub(crate) fn size_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Bytes that the file system of `path` has left for us.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
