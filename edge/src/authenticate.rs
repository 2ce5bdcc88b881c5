//! The seam between the gate and what knows accounts, sessions and keys.

use std::sync::Arc;

use docket_engine::access::Principal;
use http::HeaderMap;
use tonic::Code;

use crate::errors::Refusal;

/// Finds out who calls.
pub trait Authenticate: Send + Sync + 'static {
    /// Who calls, by the credential in these headers. It must not block: it runs before every call.
    ///
    /// # Errors
    /// Where there is no credential, or none that holds.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Unauthenticated>;

    /// Who calls, where that can be told without verifying anything: because it was verified before.
    fn known(&self, headers: &HeaderMap) -> Option<Arc<Principal>>;
}

/// Nobody is known to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unauthenticated {
    /// The reason in UPPER_SNAKE_CASE; one of a few, since it becomes a metric's label.
    pub reason: &'static str,
    /// The same for people. It must not tell whether an account or a key exists.
    pub message: &'static str,
}

impl From<Unauthenticated> for Refusal {
    fn from(error: Unauthenticated) -> Self {
        Self::new(Code::Unauthenticated, error.reason, error.message)
    }
}
