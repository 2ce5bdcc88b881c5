//! Why something cannot be recorded or read.

use std::{io, path::PathBuf, sync::Arc};

use docket_sealing::SealError;

/// Why.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or folder cannot be used. What was to be recorded is not.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A line needs a key that is not there.
    #[error("{} {why}", path.display())]
    Sealed {
        /// In which file.
        path: PathBuf,
        /// Which key.
        why: SealError,
    },
    /// A sync failed before: what the disk has is not known, so that nothing is written until the next start.
    #[error("the audit log was not synced once, and takes nothing until the node is started again")]
    Poisoned,
    /// More waits to be recorded than there is room for.
    #[error("more waits to be recorded than there is room for")]
    Full,
    /// What was to be recorded a moment ago could not be.
    #[error("it could not be written a moment ago")]
    Failing,
    /// The node stops.
    #[error("the audit log is closed")]
    Closed,
}

impl AuditError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            what,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// The same for a caller, who is told no path.
    pub fn told(&self) -> String {
        match self {
            Self::File { source, .. } => source.kind().to_string(),
            Self::Sealed { why, .. } => why.to_string(),
            other => other.to_string(),
        }
    }
}
