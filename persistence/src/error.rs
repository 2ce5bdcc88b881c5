//! What can go wrong, in three kinds: a *store error* (an operation on a file failed), a *refusal* (what is on disk cannot be
//! trusted, so the journal will not open) and a *failure* (the journal ran and must stop for good).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docket_sealing::SealError;

/// An operation on the storage failed: which one, on which file, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} {}: {cause}", path.display())]
pub struct StoreError {
    /// What was tried, as a word that reads before a file name: `"write"`, `"fdatasync"`, `"open"`.
    pub operation: &'static str,
    /// The file or directory concerned.
    pub path: PathBuf,
    /// The system's or the engine's own words.
    pub cause: Arc<str>,
    /// The system's error kind where there is one; [`io::ErrorKind::Other`] otherwise.
    pub kind: io::ErrorKind,
}

impl StoreError {
    /// An error of the operating system.
    pub fn io(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            cause: error.to_string().into(),
            kind: error.kind(),
        }
    }

    /// An error that is not one of the operating system's.
    pub fn other(operation: &'static str, path: &Path, cause: impl fmt::Display) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            cause: cause.to_string().into(),
            kind: io::ErrorKind::Other,
        }
    }

    /// An error of the sled engine.
    pub fn sled(operation: &'static str, path: &Path, error: &sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::io(operation, path, error),
            other => Self::other(operation, path, other),
        }
    }
}

/// Why a journal stopped for good. After it nothing is acknowledged any more; the program reports it and exits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal stopped: {operation} {} failed: {cause}", path.display())]
pub struct Failure {
    /// What was tried.
    pub operation: &'static str,
    /// The file concerned.
    pub path: PathBuf,
    /// The cause in the system's own words.
    pub cause: Arc<str>,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self {
            operation: error.operation,
            path: error.path,
            cause: error.cause,
        }
    }
}

/// Why a journal refuses to open: what is on disk is not what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: frame {sequence} {reason}. {}", path.display(), reason.what_to_do())]
pub struct Refusal {
    /// The file or directory that holds (or should hold) the frame.
    pub path: PathBuf,
    /// The sequence of the first frame that cannot be trusted.
    pub sequence: u64,
    /// What is wrong with it.
    pub reason: RefusalReason,
}

/// What is wrong with the first frame that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The frame is absent, and a later frame or the mark proves that it was acknowledged.
    #[error("is missing, and {proof} proves that it was acknowledged")]
    Missing {
        /// What proves it.
        proof: Proof,
    },
    /// The frame is there and is not what was written.
    #[error("is damaged ({damage}), and {proof} proves that it was acknowledged")]
    Damaged {
        /// What is wrong with its bytes.
        damage: crate::frame::FrameError,
        /// What proves that it was acknowledged.
        proof: Proof,
    },
    /// The frame is whole and does not continue the frame before it.
    #[error(
        "does not continue the frame before it (the chain of hashes is broken), and {proof} proves that both had been written"
    )]
    BrokenChain {
        /// What proves that this is no torn tail.
        proof: Proof,
    },
    /// The frame is whole and its hash is not the one that the mark recorded when it was acknowledged.
    #[error("is not the frame that was acknowledged: its hash differs from the mark's")]
    NotTheAcknowledged,
    /// The frame is whole and its records do not fit together.
    #[error("holds fragments that do not fit together")]
    BrokenRecord,
    /// The frame comes from a version of the program that this one does not know.
    #[error(
        "has format version {version}, which this program does not know; use the program that wrote it, or a newer one"
    )]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// The frame is whole, and does not open.
    #[error("{why}")]
    Sealed {
        /// Why.
        why: SealError,
    },
    /// There are frames, but no readable mark that says how many were acknowledged.
    #[error(
        "was found, but the mark that records how far the journal was acknowledged is missing or unreadable"
    )]
    NoMark,
}

impl RefusalReason {
    fn what_to_do(&self) -> &'static str {
        match self {
            Self::Sealed { why } if why.is_of_keys() => {
                "Nothing is lost, and nothing was changed: the journal opens with that key"
            }
            _ => {
                "Acknowledged data is lost or damaged, so the journal does not open. Restore this directory from a backup, or \
                 move it away and let the node fetch its state from its peers; `docket journal verify` lists every problem"
            }
        }
    }
}

/// What proves that a frame had been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Proof {
    /// A whole frame of a later commit: it was written only after everything before its commit had been synced.
    #[error("the later frame {0}")]
    LaterFrame(u64),
    /// The frame's own place at the head of a commit: it was written only after the frame before it had been synced.
    #[error("its place at the head of a commit")]
    HeadOfCommit,
    /// The high-water mark.
    #[error("the mark (acknowledged up to frame {0})")]
    Mark(u64),
    /// The name of a later segment: a segment is begun only after everything before it had been synced.
    #[error("the segment that begins at frame {0}")]
    LaterSegment(u64),
}

/// Any error of the journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// An option is out of range.
    #[error("journal option {option} is {value}: {requirement}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The value given.
        value: u64,
        /// What it must be.
        requirement: &'static str,
    },
    /// Another process (or another handle in this one) has the directory open.
    #[error("{} is in use by {holder}: stop it first, or choose another data directory", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as is known.
        holder: String,
    },
    /// The storage failed while opening or reading.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is on disk is not what was acknowledged.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The journal has failed and takes nothing any more.
    #[error(transparent)]
    Poisoned(#[from] Failure),
    /// The queue of the committer is full. Nothing was queued; the journal itself is sound.
    #[error("the journal's queue is full ({records} records, {bytes} bytes wait): try again later")]
    Full {
        /// Records that wait.
        records: usize,
        /// Bytes that wait.
        bytes: usize,
    },
    /// One append is larger than the whole queue may ever be.
    #[error(
        "an append of {bytes} bytes in {records} records exceeds what the journal takes at once ({bytes_max} bytes, {records_max} records)"
    )]
    TooLarge {
        /// Records of the append.
        records: usize,
        /// Bytes of the append.
        bytes: usize,
        /// Records that fit.
        records_max: usize,
        /// Bytes that fit.
        bytes_max: usize,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// No record begins at this position: it was truncated away, never written, or is not a record's first byte.
    #[error("the journal has no record at {position} (it holds frames {first} to {last})")]
    NoRecord {
        /// The position asked for.
        position: crate::Position,
        /// First sequence held.
        first: u64,
        /// Last durable sequence.
        last: u64,
    },
    /// A frame that was durable cannot be read back.
    #[error("frame {sequence} cannot be read back: {damage}")]
    Unreadable {
        /// The frame's sequence.
        sequence: u64,
        /// What is wrong.
        damage: crate::frame::FrameError,
    },
}
