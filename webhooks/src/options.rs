//! What can be configured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How webhooks are delivered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookOptions {
    /// Whether webhooks may have URLs with `http://`: then whoever is on the way reads what they are told. Default false.
    pub allow_http: bool,
    /// Whether addresses may be delivered to that are not of the public Internet: loopback, private, link-local and the like. Whoever
    /// may make webhooks can then have this node call what only it reaches. Default false.
    pub allow_private: bool,
    /// A PEM file with authorities that receivers' certificates may be of, beside those that the system trusts. Default none.
    pub ca: Option<PathBuf>,
    /// Deliveries in flight, of all webhooks. A tenth of it while the node is at work, and two at least: of one
    /// place nobody has a share. Default 64.
    pub in_flight_max: usize,
    /// Deliveries in flight, of one webhook. Default 16.
    pub in_flight_per_webhook: usize,
    /// How long a delivery may take, from looking the name up to the answer's end, in milliseconds. Default 10,000.
    pub timeout_ms: u64,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            allow_http: false,
            allow_private: false,
            ca: None,
            in_flight_max: 64,
            in_flight_per_webhook: 16,
            timeout_ms: 10_000,
        }
    }
}

/// A value that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("webhooks.{option} {requirement}")]
pub struct InvalidOption {
    /// Which.
    pub option: &'static str,
    /// What it must be.
    pub requirement: &'static str,
}

/// Deliveries in flight at most, whatever is configured: each has a socket.
const IN_FLIGHT_MOST: usize = 4_096;
/// No delivery may take longer, in milliseconds: 5 minutes.
const TIMEOUT_MOST_MS: u64 = 300_000;

impl WebhookOptions {
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
            (1..=IN_FLIGHT_MOST).contains(&self.in_flight_max),
            "in_flight_max",
            "must be from 1 to 4096",
        )?;
        check(
            (1..=IN_FLIGHT_MOST).contains(&self.in_flight_per_webhook),
            "in_flight_per_webhook",
            "must be from 1 to 4096",
        )?;
        check(
            (1..=TIMEOUT_MOST_MS).contains(&self.timeout_ms),
            "timeout_ms",
            "must be from 1 to 300000",
        )
    }
}
