//! The section that says when what is stored is read once more.

use std::time::Duration;

use docket_actors::ScrubOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a node reads all that it has stored once more, as `docket scrub` has it do, to find what its disk has spoilt.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scrub {
    /// How often, in seconds; 0 for never. The first time is within an hour of the start. Default 86,400, which is once a day.
    pub every_s: u64,
    /// How fast at most, in bytes a second, whoever asked for it; 0 for as fast as it goes. Default 8,388,608, which is 8 MiB: 28 GiB an hour.
    pub bytes_per_second: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        let ScrubOptions {
            every,
            bytes_per_second,
        } = ScrubOptions::default();
        Self {
            every_s: every.map_or(0, |every| every.as_secs()),
            bytes_per_second,
        }
    }
}

impl Scrub {
    /// What the node is opened with.
    pub fn options(&self) -> ScrubOptions {
        ScrubOptions {
            every: (self.every_s > 0).then(|| Duration::from_secs(self.every_s)),
            bytes_per_second: self.bytes_per_second,
        }
    }
}
