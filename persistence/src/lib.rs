//! Docket's journal and snapshots on embedded storage: bytes in, durable bytes out. It knows nothing of orders or of Raft.
//!
//! - [`Journal`]: the node's one append-only sequence of records. One committer thread packs what queued into frames, syncs
//!   once, and acknowledges in order. [`Stepper`]: the same without a thread, for simulations.
//! - [`frame`]: the disk format, with its diagram. [`mark`]: the high-water mark beside it. [`recovery`]: what is cut and what is
//!   refused when a journal is opened.
//! - [`store`]: the engine under it, small enough to have two: sled, and [`mem`], which loses, tears and reorders on command.
//! - [`SnapshotStore`]: whole states of groups, written as checked chunks, visible all at once.
//! - [`archive`]: values that never change any more, on disk and out of memory.
//! - [`at_rest`]: with which keys all of it is sealed, where it is.
//! - [`verify`]: everything that is wrong with a data directory, found offline. [`scrub`]: what the disk has spoilt, found while it is used.
//!
//! Guarantees: what is acknowledged is on the platter; what is recovered was submitted, in order, without holes; what is
//! acknowledged is recovered, or the journal refuses to open and says which frame is wrong.

#![forbid(unsafe_code)]

pub mod archive;
pub mod at_rest;
mod committer;
mod disk;
mod durable_db;
mod error;
mod files;
mod formats;
pub mod frame;
mod journal;
mod lull;
pub mod mark;
pub mod mem;
mod options;
mod pack;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod recovery;
pub mod scrub;
mod sled_store;
pub mod snapshot;
mod stepper;
pub mod store;
mod telemetry;
mod verify;

/// Whether a bug of this name (`planted::Bug`) is planted: never, and nothing is built for it, without the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is($crate::planted::Bug::$bug)
    };
}
/// Whether a bug of this name (`planted::Bug`) is planted: never, and nothing is built for it, without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub use committer::{Done, OnFailure};
pub use disk::Disk;
pub use docket_sealing as sealing;
pub use error::{Failure, JournalError, Proof, Refusal, RefusalReason, StoreError};
pub use files::{Held, hold};
pub use formats::{FORMATS, Format};
pub use frame::Position;
pub use journal::{Journal, JournalStatus};
pub use lull::Lull;
pub use options::{DISK_POLL_MS, JournalOptions, MARK_SYNC_COMMITS, QUIET_RECORDS_MAX};
pub use recovery::{Cut, Recovery};
pub use sled_store::SledStore;
pub use snapshot::{
    SnapshotError, SnapshotInfo, SnapshotReader, SnapshotSizes, SnapshotStore, SnapshotWriter,
};
pub use stepper::Stepper;
pub use telemetry::describe as describe_metrics;
pub use verify::{
    Inspect, JOURNAL_DIR, PROBLEMS_MAX, Problem, SNAPSHOTS_DIR, SegmentReport, VerifyReport, verify,
    verify_with,
};
