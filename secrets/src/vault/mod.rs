//! Secrets of a server that speaks Vault's API (HashiCorp Vault, OpenBao): KV version 2, and logins by token or by a Kubernetes service
//! account.
//!
//! ```text
//!   login ──▶ token ──▶ GET MOUNT/data/PATH ──▶ fields
//!     ▲        │  ▲
//!     │        ▼  │ two thirds of its time
//!     │      renew-self
//!     └─ cannot be renewed, or nearly at its last end; or a read was refused
//! ```

mod http;
mod session;

use std::{path::PathBuf, time::Duration};

use crate::Reference;
pub(crate) use session::Vault;

/// A Vault-compatible server, and how to log in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultOptions {
    /// `https://HOST[:PORT]`; `http` only for a loopback address, or with [`allow_http`](Self::allow_http).
    pub address: String,
    /// Whether `http` is allowed to others: then everybody on the way reads all secrets.
    pub allow_http: bool,
    /// A PEM file with authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The namespace (`X-Vault-Namespace`).
    pub namespace: Option<String>,
    /// Who this node is there.
    pub login: Login,
    /// How long one request may take, from connecting to the last byte of the reply.
    pub timeout: Duration,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// With a token that is somewhere else than at that server.
    Token(Reference),
    /// With the token of a Kubernetes service account.
    Kubernetes {
        /// Where the method is mounted.
        mount: String,
        /// The role there.
        role: String,
        /// The file with the service account's token, which the kubelet exchanges.
        jwt_file: PathBuf,
    },
}

/// An option that cannot be. Has no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} {requirement}")]
pub struct InvalidVault {
    /// The field of [`VaultOptions`].
    pub option: &'static str,
    /// What it must be.
    pub requirement: String,
}

impl VaultOptions {
    /// Whether all of it can be. Reads no file.
    ///
    /// # Errors
    /// Names the first option that cannot.
    pub fn validate(&self) -> Result<(), InvalidVault> {
        http::base(self)?;
        http::namespace(self)?;
        let is_segment = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match &self.login {
            Login::Token(Reference::Vault(_)) => Err(refused(
                "token",
                "must be file:PATH or env:VARIABLE: it opens the server",
            )),
            Login::Kubernetes { mount, .. } if !is_segment(mount) => Err(refused(
                "kubernetes_mount",
                "must have the characters a-z A-Z 0-9 - _ only",
            )),
            _ => Ok(()),
        }
    }
}

fn refused(option: &'static str, requirement: impl Into<String>) -> InvalidVault {
    InvalidVault {
        option,
        requirement: requirement.into(),
    }
}
