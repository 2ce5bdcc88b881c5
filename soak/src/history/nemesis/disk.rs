//! Disks that are slow or full, without any right that a test has not got.
//!
//! A disk is slow because somebody else writes to it and syncs all the time. One is full because a ballast fills it; that is
//! done to small file systems only, never to the machine's own. Who may mount gets one that nobody else sees ([`SmallDisk`]).

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::{
    fs::statvfs,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    },
};

/// How many bytes are written between two syncs.
const HOG_BYTES: usize = 4 * 1_024 * 1_024;
/// A file system that may be filled is no larger, in bytes.
pub const FILL_BYTES_MAX: u64 = 512 * 1_024 * 1_024;
/// How much is written at once where a disk is filled, and given up to leave nothing.
const BALLAST_BYTES: usize = 64 * 1_024;

/// A file system in memory that is mounted nowhere: it is reached through this process only, and gone with it.
#[derive(Debug)]
pub struct SmallDisk(OwnedFd);

impl SmallDisk {
    /// One of so many bytes.
    ///
    /// # Errors
    /// Whoever runs this may not mount, or the kernel is older than 5.2.
    pub fn new(bytes: u64) -> io::Result<Self> {
        let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&made, "size", bytes.to_string())?;
        fsconfig_create(&made)?;
        let mounted = fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        Ok(Self(mounted))
    }

    /// Its root, for this process and for those that it starts.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

/// The length of the largest file in a folder and those below it, in bytes; 0 where there is none.
pub fn largest_file(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let lengths = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => largest_file(&entry.path()),
        Ok(found) => found.len(),
        // It is gone already.
        Err(_) => 0,
    });
    lengths.max().unwrap_or(0)
}

/// Somebody who writes and syncs all the time; ends, and leaves nothing, when dropped.
#[derive(Debug)]
pub struct Hog {
    stop: Arc<AtomicBool>,
    writing: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Hog {
    /// Beside the data in this folder.
    ///
    /// # Errors
    /// It cannot write there.
    pub fn begin(folder: &Path) -> Result<Self, String> {
        let path = folder.with_extension("hog");
        let mut file =
            File::create(&path).map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let writing = std::thread::spawn(move || {
            let bytes = vec![0x5a; HOG_BYTES];
            while !stopped.load(Ordering::Acquire) {
                // A disk that has no room is slow enough by itself.
                let written = file
                    .set_len(0)
                    .and_then(|()| file.write_all(&bytes))
                    .and_then(|()| file.sync_all());
                if written.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            stop,
            writing: Some(writing),
            path,
        })
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(writing) = self.writing.take() {
            // It has nothing to say, also where it panicked.
            let _ = writing.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// What fills a disk; gone when dropped.
#[derive(Debug)]
pub struct Ballast(PathBuf);

impl Ballast {
    /// Fills the file system that this folder is in.
    ///
    /// # Errors
    /// It is not one that may be filled, or cannot be written.
    pub fn fill(folder: &Path) -> Result<Self, String> {
        if let Some(why) = why_not_full(folder) {
            return Err(why);
        }
        let ballast = Self(folder.with_extension("ballast"));
        let cannot = |cause: io::Error| format!("cannot write {}: {cause}", folder.display());
        let mut file = File::create(&ballast.0).map_err(cannot)?;
        let bytes = vec![0x5a; BALLAST_BYTES];
        loop {
            match file.write_all(&bytes) {
                Ok(()) => {}
                Err(cause) if cause.kind() == ErrorKind::StorageFull => return Ok(ballast),
                Err(cause) => return Err(cannot(cause)),
            }
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        // Where it is gone already, there is room.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why the file system of this folder may not be filled; none where it may.
pub fn why_not_full(folder: &Path) -> Option<String> {
    // The folder may not be there yet.
    let there = folder.ancestors().find(|folder| folder.exists())?;
    match statvfs(there) {
        Err(cause) => Some(format!(
            "the size of the disk at {} is not known: {cause}",
            there.display()
        )),
        Ok(disk) if disk.f_blocks.saturating_mul(disk.f_frsize) > FILL_BYTES_MAX => Some(format!(
            "{} is on a disk of more than {} MiB; a small tmpfs there would be filled",
            there.display(),
            FILL_BYTES_MAX >> 20
        )),
        Ok(_) => None,
    }
}
