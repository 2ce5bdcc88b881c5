//! The disk's limit: what appending and `fdatasync` cost without anything around them.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::fstatfs;

use crate::{Error, Latencies};

/// So long a file is appended to before it is begun anew, as a journal's segment is.
const FILE_BYTES_MAX: u64 = 256 * 1_024 * 1_024;
/// The file systems that keep everything in memory: tmpfs and ramfs (see statfs(2)).
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];
/// The name of the file, in a folder that is its caller's.
const FILE: &str = "fdatasync";

/// What appending and syncing took.
#[derive(Clone, Debug, Default)]
pub struct Syncs {
    /// Bytes of each append.
    pub bytes: usize,
    /// How many a second were meant; none where each followed the one before at once.
    pub per_second: Option<f64>,
    /// Each append with its sync.
    pub latencies: Latencies,
    /// All of them.
    pub elapsed: Duration,
}

/// Appends `bytes` and syncs them, one after the other or so many times a second, for `duration`, in a file of `folder`, which is
/// removed.
///
/// # Errors
/// The system refuses.
pub async fn measure(
    folder: &Path,
    bytes: usize,
    per_second: Option<f64>,
    duration: Duration,
) -> Result<Syncs, Error> {
    let path = folder.join(FILE);
    let measuring = tokio::task::spawn_blocking(move || {
        let syncs = append(&path, bytes, per_second, duration);
        let removed = std::fs::remove_file(&path);
        syncs.and_then(|syncs| removed.map(|()| syncs))
    });
    measuring
        .await
        .map_err(|_| Error::Broken("measuring the disk panicked"))?
        .map_err(Error::system("measure the disk"))
}

fn append(path: &Path, bytes: usize, per_second: Option<f64>, duration: Duration) -> io::Result<Syncs> {
    let mut file = File::create(path)?;
    // Nothing that a disk could shorten.
    let mut chance = crate::Chance::new(1, bytes as u64);
    let data: Vec<u8> = std::iter::repeat_with(|| chance.draw() as u8)
        .take(bytes)
        .collect();
    let mut syncs = Syncs {
        bytes,
        per_second,
        ..Syncs::default()
    };
    let interval = per_second.map(|per_second| Duration::from_secs_f64(1.0 / per_second));
    let mut written = 0;
    let started = Instant::now();
    let mut due = Duration::ZERO;
    while started.elapsed() < duration {
        if let Some(interval) = interval {
            thread::sleep(due.saturating_sub(started.elapsed()));
            due += interval;
        }
        let one = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        syncs.latencies.record(one.elapsed());
        written += bytes as u64;
        if written > FILE_BYTES_MAX {
            file = File::create(path)?;
            written = 0;
        }
    }
    syncs.elapsed = started.elapsed();
    Ok(syncs)
}

/// Whether `folder` is only in memory, where syncing costs nothing and proves nothing.
///
/// # Errors
/// There is no such folder.
pub fn is_memory(folder: &Path) -> Result<bool, Error> {
    let system = || Error::system(format!("see what file system {} is on", folder.display()));
    let file = File::open(folder).map_err(system())?;
    let kind = fstatfs(&file).map_err(|cause| system()(cause.into()))?.f_type;
    Ok(MEMORY_FILE_SYSTEMS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = measure(folder.path(), 100, None, Duration::from_millis(50))
            .await
            .unwrap();
        assert!(syncs.latencies.count() > 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn it_syncs_no_more_often_than_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = measure(folder.path(), 100, Some(50.0), Duration::from_millis(100))
            .await
            .unwrap();
        // At 0, 20, 40, 60 and 80 ms, and at 100 where it looked just before.
        assert!((1..=6).contains(&syncs.latencies.count()), "{syncs:?}");
    }
}
