//! The section that has a node follow another cluster, and says how the two find one another.

use std::{path::PathBuf, time::Duration};

use docket_secrets::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::Invalid;

/// More often costs the primary more than it is worth.
const POLL_MS_MIN: u64 = 50;
/// Whoever is asked is asked for no longer, in seconds.
const WITHIN_S_MAX: u64 = 3_600;

/// A cluster that this node follows, until it takes its place (`docket standby promote`). docs/standby.md tells the whole. A node with `of` begins with an
/// empty folder, into which it copies what that cluster has.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Standby {
    /// Where the nodes of that cluster are, `http://HOST:PORT` or `https://HOST:PORT`, tried in turn. Default none: this node follows none.
    pub of: Vec<String>,
    /// Where an admin's key of that cluster is, with the scopes operations and access: `file:PATH`, `env:VARIABLE` or `vault:MOUNT/PATH#FIELD`. Default
    /// none; needed with `of`.
    pub api_key: Option<Reference>,
    /// A PEM file with authorities that are trusted for that cluster's `https`. Default none: the system's.
    pub ca: Option<PathBuf>,
    /// Where that cluster's nodes, and clients after the promotion, reach this one: a URL. Default none; needed with `of`.
    pub advertise: Option<String>,
    /// A PEM file with authorities by which that cluster is to know this one. Default: `ca`.
    pub own_ca: Option<PathBuf>,
    /// How long after one look at that cluster's logs the next is, in milliseconds, at least 50. Default 500.
    pub poll_ms: u64,
    /// How long `docket standby promote` waits until that cluster has let go, in seconds, 1 to 3,600. Default 10.
    pub fence_within_s: u64,
    /// Of a node whose cluster has a standby: how long it asks that, at its start, whether it has taken its place, in seconds, up to 3,600. It takes no
    /// writes meanwhile; where there is no answer by then it does. 0: it does not ask. Default 5.
    pub ask_within_s: u64,
}

impl Default for Standby {
    fn default() -> Self {
        Self {
            of: Vec::new(),
            api_key: None,
            ca: None,
            advertise: None,
            own_ca: None,
            poll_ms: 500,
            fence_within_s: 10,
            ask_within_s: 5,
        }
    }
}

impl Standby {
    /// Whether the node follows a cluster.
    pub fn follows(&self) -> bool {
        !self.of.is_empty()
    }

    /// How long after one look the next is.
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    /// How long a promotion waits for the primary.
    pub fn fence_within(&self) -> Duration {
        Duration::from_secs(self.fence_within_s)
    }

    /// How long a standby is asked at the start.
    pub fn ask_within(&self) -> Duration {
        Duration::from_secs(self.ask_within_s)
    }
}

/// Everything that is wrong with it.
pub fn problems(standby: &Standby) -> Vec<Invalid> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, requirement: &str| {
        found.push(Invalid {
            key: format!("standby.{key}"),
            requirement: requirement.to_owned(),
        });
    };
    let is_url = |text: &String| text.starts_with("http://") || text.starts_with("https://");
    if !standby.of.iter().all(is_url) {
        refuse("of", "must be URLs: http://HOST:PORT or https://HOST:PORT");
    }
    if standby.advertise.as_ref().is_some_and(|address| !is_url(address)) {
        refuse(
            "advertise",
            "must be a URL: http://HOST:PORT or https://HOST:PORT",
        );
    }
    if standby.follows() && standby.api_key.is_none() {
        refuse(
            "api_key",
            "must refer to an admin's key of the cluster that standby.of names",
        );
    }
    if standby.follows() && standby.advertise.is_none() {
        refuse(
            "advertise",
            "must say where the cluster that standby.of names reaches this node",
        );
    }
    if standby.poll_ms < POLL_MS_MIN {
        refuse("poll_ms", "must be at least 50");
    }
    if !(1..=WITHIN_S_MAX).contains(&standby.fence_within_s) {
        refuse("fence_within_s", "must be from 1 to 3,600");
    }
    if standby.ask_within_s > WITHIN_S_MAX {
        refuse("ask_within_s", "must be at most 3,600");
    }
    found
}
