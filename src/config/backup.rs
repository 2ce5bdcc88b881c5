//! The section that says where a cluster backs itself up, and how often.

use std::time::Duration;

use docket_secrets::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::Invalid;

/// More often is a replica.
const EVERY_S_MIN: u64 = 10;

/// Backups that the cluster makes by itself: the node that leads the accounts makes them, as `docket backup create` does. docs/backup.md tells the
/// whole. Each node that may lead them needs the same section.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// Where: a folder that all nodes have, or `s3://BUCKET/PREFIX`, reached as the variables `AWS_ENDPOINT_URL`, `AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` say. Default none: no backups are made.
    pub to: Option<String>,
    /// How long after one was begun the next is, in seconds, at least 10. Default 3,600.
    pub every_s: u64,
    /// Where the key is that they are sealed with, `file:PATH`, `env:VARIABLE` or `vault:MOUNT/PATH#FIELD`. Default none: they are not sealed.
    pub key: Option<Reference>,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            to: None,
            every_s: 3_600,
            key: None,
        }
    }
}

impl Backup {
    /// How long after one was begun the next is.
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.every_s)
    }
}

/// What is wrong with it.
pub fn problems(backup: &Backup) -> Option<Invalid> {
    (backup.every_s < EVERY_S_MIN).then(|| Invalid {
        key: "backup.every_s".to_owned(),
        requirement: format!("must be at least {EVERY_S_MIN}"),
    })
}
