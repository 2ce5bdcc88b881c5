//! What can be configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The audit log, in `audit/` of the data directory: who changed what, and who was denied. It cannot be turned off.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditOptions {
    /// A file that has this many bytes is followed by a new one, 4,096 to 1,073,741,824. Default 16,777,216 (16 MiB).
    pub segment_bytes: u64,
    /// So many files are kept, 2 to 100,000; the oldest are removed behind a record that says so. Default 64.
    pub segments_max: usize,
    /// A file whose last record is older than so many days is removed likewise; 0 for never. Default 0.
    pub age_max_days: u32,
    /// Records of denials a minute, 1 to 6,000, whoever is denied: what is more is counted in them. Default 60.
    pub denials_per_minute: u32,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1_024 * 1_024,
            segments_max: 64,
            age_max_days: 0,
            denials_per_minute: 60,
        }
    }
}

/// A value that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit.{option} {requirement}")]
pub struct InvalidOption {
    /// Which.
    pub option: &'static str,
    /// What it must be.
    pub requirement: &'static str,
}

/// Of smaller ones there would be too many files.
const SEGMENT_BYTES_MIN: u64 = 4_096;
const SEGMENT_BYTES_MAX: u64 = 1_024 * 1_024 * 1_024;
/// The one that is written is no older one that could be removed.
const SEGMENTS_MIN: usize = 2;
const SEGMENTS_MOST: usize = 100_000;
const DENIALS_MOST: u32 = 6_000;

impl AuditOptions {
    /// The first value that cannot be.
    ///
    /// # Errors
    /// That one.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        let check = |holds: bool, option, requirement| {
            let invalid = InvalidOption { option, requirement };
            if holds { Ok(()) } else { Err(invalid) }
        };
        check(
            (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes),
            "segment_bytes",
            "must be from 4096 to 1073741824",
        )?;
        check(
            (SEGMENTS_MIN..=SEGMENTS_MOST).contains(&self.segments_max),
            "segments_max",
            "must be from 2 to 100000",
        )?;
        check(
            (1..=DENIALS_MOST).contains(&self.denials_per_minute),
            "denials_per_minute",
            "must be from 1 to 6000",
        )
    }
}
