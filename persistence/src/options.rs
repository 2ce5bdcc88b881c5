//! What can be set about a journal, and the bounds that cannot.

use std::path::PathBuf;

use docket_sealing::Keyring;

use crate::error::JournalError;
use crate::lull::Lull;

const MIB: u64 = 1024 * 1024;

/// Commits after which the mark is synced; see [`mark`](crate::mark).
pub const MARK_SYNC_COMMITS: u32 = 64;
/// Records appended without a `done` wait for the next commit; when this many wait, they are a commit of their own.
pub const QUIET_RECORDS_MAX: usize = 4_096;
/// The longest that a commit may wait for company, in microseconds: a tenth of a second.
const GATHER_US_MAX: u64 = 100_000;
/// How long a commit waits for company where nobody says whether there is more to come, in microseconds.
pub const BLIND_GATHER_US_MAX: u64 = 200;
/// How old the disk's free space may be when it is asked for, in milliseconds.
pub const DISK_POLL_MS: u64 = 1_000;

/// How a journal works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The journal's directory: `<data-dir>/journal`.
    pub dir: PathBuf,
    /// A segment that has this many bytes of frames is followed by a new one. Default 256 MiB.
    pub segment_bytes: u64,
    /// sled's cache for the segment that is written, in bytes. Default 48 MiB.
    pub cache_bytes: u64,
    /// Below this many free bytes the disk counts as low; it counts as recovered a quarter above. Default 256 MiB.
    pub disk_reserve_bytes: u64,
    /// Bytes of records that may wait for the committer. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Records that may wait for the committer. Default 262,144.
    pub queue_records_max: usize,
    /// How long a commit waits for company at most once it has something to write, in microseconds. What is decided at one
    /// moment reaches the journal by way of several groups, a few dozen microseconds apart: without the wait the first of
    /// them would be synced alone, and the others wait for that. Where nobody says when there is nothing more to come
    /// (`lull`), it waits no longer than 200, but always that long; and where every thread is at work all the while it waits up to three times
    /// as long. Default 1,000.
    pub gather_us: u64,
    /// Says when nothing more is to come. Default none.
    pub lull: Option<Lull>,
    /// What frames are sealed with, and opened. Default none: they are not sealed.
    pub keys: Keyring,
}

impl JournalOptions {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 256 * MIB,
            cache_bytes: 48 * MIB,
            disk_reserve_bytes: 256 * MIB,
            queue_bytes_max: 64 * MIB as usize,
            queue_records_max: 262_144,
            gather_us: 1_000,
            lull: None,
            keys: Keyring::default(),
        }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// The first option that is out of range, with what it must be.
    pub fn validate(&self) -> Result<(), JournalError> {
        let at_least = |option, value: u64, least: u64, requirement| {
            if value < least {
                Err(JournalError::Option {
                    option,
                    value,
                    requirement,
                })
            } else {
                Ok(())
            }
        };
        at_least("segment_bytes", self.segment_bytes, 64 * 1024, "at least 64 KiB")?;
        at_least("cache_bytes", self.cache_bytes, MIB, "at least 1 MiB")?;
        at_least(
            "queue_bytes_max",
            self.queue_bytes_max as u64,
            64 * 1024,
            "at least 64 KiB",
        )?;
        at_least(
            "queue_records_max",
            self.queue_records_max as u64,
            16,
            "at least 16 records",
        )?;
        if self.gather_us > GATHER_US_MAX {
            return Err(JournalError::Option {
                option: "gather_us",
                value: self.gather_us,
                requirement: "at most 100,000",
            });
        }
        Ok(())
    }
}
