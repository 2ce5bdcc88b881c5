//! Why a load cannot be made, or a server cannot be watched.

use std::{io, path::PathBuf};

use tonic::Status;

/// Why a load cannot be made, or a server cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A load that makes no sense.
    #[error("{0}")]
    Shape(String),
    /// The system refused something.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// No connection.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// Where to.
        address: String,
        /// What went wrong.
        cause: String,
    },
    /// A call on which everything rests was refused.
    #[error("{what}: {} ({:?})", .status.message(), .status.code())]
    Refused {
        /// What was asked.
        what: String,
        /// What the server said.
        status: Box<Status>,
    },
    /// The server's process ended, or did not become ready or stop in time.
    #[error("the server {what}; the end of its log {}:\n{tail}", .log.display())]
    Server {
        /// What it did.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Watches of orders were not told of some that were acknowledged.
    #[error("watches of orders were not told of {missing} orders that were acknowledged")]
    Untold {
        /// How many orders, of each watch that should have been told.
        missing: u64,
    },
    /// Something that cannot happen did.
    #[error("{0}")]
    Broken(&'static str),
}

impl Error {
    /// The system refused to do `what`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |cause| Self::System { what, cause }
    }

    /// The server refused `what`.
    pub fn refused(what: impl Into<String>) -> impl FnOnce(Status) -> Self {
        let what = what.into();
        |status| Self::Refused {
            what,
            status: Box::new(status),
        }
    }
}
