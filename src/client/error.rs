//! Why there is no connection: what was tried, what failed, what to do.

use std::{error::Error, fmt, io, path::PathBuf};

use super::Target;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The address is not one.
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file of certificates cannot be read.
    Ca {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The server cannot be reached, or does not speak.
    Failed {
        /// What was tried.
        tried: String,
        /// What failed.
        failed: String,
        /// What to do.
        advice: String,
    },
}

impl Error for ConnectError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, why } => write!(
                f,
                "`{address}` is not an address of a server: {why}\n      do: write, for instance, --addr {}",
                super::DEFAULT_ADDRESS
            ),
            Self::Ca { path, cause } => write!(
                f,
                "cannot read the certificates of --ca {}: {cause}\n      do: name a file of PEM certificates",
                path.display()
            ),
            Self::Failed {
                tried,
                failed,
                advice,
            } => {
                write!(
                    f,
                    "cannot reach the server\n   tried: {tried}\n  failed: {failed}\n      do: {advice}"
                )
            }
        }
    }
}

impl ConnectError {
    /// What `cause` means for somebody who tried to reach `target`.
    pub(super) fn failed(target: &Target, cause: &(dyn Error + 'static)) -> Self {
        let chain = chain(cause);
        let kind = chain
            .iter()
            .rev()
            .find_map(|error| error.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        let deepest = chain.last().map(ToString::to_string).unwrap_or_default();
        let whole = chain
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        let (failed, advice) = if kind == Some(io::ErrorKind::ConnectionRefused) {
            (
                "connection refused: nothing listens there".to_owned(),
                "start a server with `docket serve`, or name another with --addr or DOCKET_ADDR",
            )
        } else if kind == Some(io::ErrorKind::TimedOut) || whole.contains("timed out") {
            return Self::timed_out(target);
        } else if whole.contains("dns error") {
            (
                format!("the host's name is not known: {deepest}"),
                "check the name in --addr or DOCKET_ADDR",
            )
        } else if target.address.starts_with("https:") {
            (
                format!("TLS: {deepest}"),
                "name the authority's certificate with --ca, check that the certificate is for this host, or use \
                 http:// if the server has no TLS",
            )
        } else {
            (
                whole,
                "check --addr or DOCKET_ADDR, and that a Docket server runs there",
            )
        };
        Self::Failed {
            tried: tried(target),
            failed,
            advice: advice.to_owned(),
        }
    }

    /// Nothing was heard in time.
    pub(super) fn timed_out(target: &Target) -> Self {
        Self::Failed {
            tried: tried(target),
            failed: format!("no answer within {:?}", target.timeout),
            advice: "check the address, firewalls, and whether the server is overloaded; or wait longer with --timeout"
                .to_owned(),
        }
    }

    /// The certificates cannot be used.
    pub(super) fn tls_setup(target: &Target, cause: &(dyn Error + 'static)) -> Self {
        let whole: Vec<String> = chain(cause).iter().map(ToString::to_string).collect();
        Self::Failed {
            tried: match &target.ca {
                Some(path) => format!("TLS with the certificates of {}", path.display()),
                None => "TLS with the system's certificates".to_owned(),
            },
            failed: whole.join(": "),
            advice: "name a file of PEM certificates with --ca".to_owned(),
        }
    }
}

/// The error and those beneath it, the deepest last.
fn chain<'a>(cause: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut found = vec![cause];
    let mut error = cause;
    while let Some(deeper) = error.source() {
        found.push(deeper);
        error = deeper;
    }
    found
}

fn tried(target: &Target) -> String {
    format!(
        "to connect to {}, once, for up to {:?}",
        target.address, target.timeout
    )
}
