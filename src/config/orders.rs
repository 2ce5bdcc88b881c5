//! The section `[orders]`: how long orders stay as they are, and in memory.

use std::time::Duration;

use docket_actors::AgingOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::Invalid;

/// Requests are remembered for a day, by clocks that may differ by minutes: what they led to stays in memory for longer.
const ARCHIVE_AFTER_S_MIN: u64 = 25 * 60 * 60;

/// How long orders stay as they are, and in memory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Orders {
    /// An order that was fulfilled, and of which nothing is to come, is closed when nothing has come of it for so long, in seconds: it takes
    /// nothing more, no return for instance. 0: never. Default 2,592,000 (30 days).
    pub close_after_s: u64,
    /// An order that is closed, cancelled, rejected or expired, and of which nothing is to come, leaves memory for the archive on disk when it
    /// has not changed for so long, in seconds: at least 90,000. It is read and listed as before. 0: never. Default 604,800 (7 days).
    pub archive_after_s: u64,
}

impl Default for Orders {
    fn default() -> Self {
        let AgingOptions {
            close_after,
            archive_after,
            ..
        } = AgingOptions::default();
        let seconds = |age: Option<Duration>| age.map_or(0, |age| age.as_secs());
        Self {
            close_after_s: seconds(close_after),
            archive_after_s: seconds(archive_after),
        }
    }
}

impl Orders {
    /// What a node is opened with.
    pub fn options(&self) -> AgingOptions {
        let age = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        AgingOptions {
            close_after: age(self.close_after_s),
            archive_after: age(self.archive_after_s),
            ..AgingOptions::default()
        }
    }
}

/// Everything that is wrong with the section.
pub fn problems(orders: &Orders) -> Vec<Invalid> {
    let is_good = orders.archive_after_s == 0 || orders.archive_after_s >= ARCHIVE_AFTER_S_MIN;
    let invalid = Invalid {
        key: "orders.archive_after_s".to_owned(),
        requirement: format!(
            "must be 0, or at least {ARCHIVE_AFTER_S_MIN}: an order is in memory for longer than the requests that changed it are remembered"
        ),
    };
    (!is_good).then_some(invalid).into_iter().collect()
}
