//! Secrets: said where they are, read from there, and read again while the node serves.
//!
//! ```text
//!   configuration ── token = "vault:secret/docket/cards#token" ──▶ Reference      (shown, logged, compared)
//!                                                                     │
//!   file, variable, Vault-compatible server ────────── read ──────────┤
//!                                                                     ▼
//!                                   Store ── get, watch ──▶ SecretString          (neither shown nor logged)
//! ```
//!
//! What it guarantees:
//! - A configuration holds no secret, only where one is: a text that says no place is refused, and not repeated.
//! - A secret is in a [`SecretString`](secrecy::SecretString) from the moment it is cut out of what was read; no error, log line, metric
//!   or `Debug` of this crate has one.
//! - Opening a [`Store`] reads all that is referred to, within a bound, or says which key could not be read, from where, and why.
//! - From then on it never has less than it had: what cannot be read again stays as it was, is told, and is tried again.

#![forbid(unsafe_code)]

mod here;
mod reference;
mod seen;
mod store;
pub mod vault;

pub use here::{SECRET_BYTES_MAX, is_open_to_others};
pub use reference::{NotAReference, Reference, VaultPlace};
pub use seen::describe_metrics;
pub use store::{OpenError, Options, Store};

/// Why a secret cannot be read. Has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It may be read the next time: whoever keeps it does not answer.
    #[error("{0}")]
    NotNow(String),
    /// Somebody has to do something first.
    #[error("{0}")]
    Unusable(String),
}
