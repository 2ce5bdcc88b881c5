//! Why a command fails, and the exit code that says so to the shell.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::{
    client::{ConnectError, CredentialsError, Refusal},
    config::ConfigError,
    values::money::AmountError,
};

/// Exit code: the command failed.
pub const FAILURE: u8 = 1;
/// Exit code: the command line or the configuration is wrong; nothing was tried.
pub const USAGE: u8 = 2;
/// Exit code of `docket status` and `docket health`: the server is unreachable or not ready; of `docket verify`: its books do not agree.
pub const UNHEALTHY: u8 = 10;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// An amount that its currency cannot express.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused, or the call failed.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// The server is not well.
    #[error("{0}")]
    Unhealthy(String),
    /// A signal asked it to stop.
    #[error("stopped by {name}")]
    Signal {
        /// The signal's name.
        name: &'static str,
        /// The exit code that says so.
        code: u8,
    },
    /// A load could not be made, or its server not be watched.
    #[error(transparent)]
    Load(#[from] docket_soak::Error),
    /// Anything else, told so that somebody can act on it.
    #[error("{0}")]
    Other(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Failure {
    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_)
            | Self::Amount(_)
            | Self::Config(_)
            | Self::Credentials(_)
            | Self::Connect(ConnectError::Address { .. } | ConnectError::Ca { .. }) => USAGE,
            Self::Load(docket_soak::Error::Shape(_)) => USAGE,
            Self::Unhealthy(_) => UNHEALTHY,
            Self::Signal { code, .. } => *code,
            Self::Connect(ConnectError::Failed { .. })
            | Self::Refused(_)
            | Self::Load(_)
            | Self::Other(_) => FAILURE,
        })
    }

    /// The same, where not being reachable means not being well.
    pub fn of_health(self) -> Self {
        match self {
            Self::Connect(cause @ ConnectError::Failed { .. }) => Self::Unhealthy(cause.to_string()),
            Self::Refused(refusal) if is_illness(&refusal) => Self::Unhealthy(refusal.to_string()),
            other => other,
        }
    }

    /// The failure for programs.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Refused(refusal) => refusal.to_json(),
            other => json!({ "error": { "message": other.to_string() } }),
        }
    }
}

/// A call that failed for a reason of the server's, not of the caller's.
fn is_illness(refusal: &Refusal) -> bool {
    use tonic::Code::{Cancelled, DeadlineExceeded, Internal, Unavailable, Unknown};
    matches!(
        refusal.status().code(),
        Cancelled | DeadlineExceeded | Internal | Unavailable | Unknown
    )
}
