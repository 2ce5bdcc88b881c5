//! The section that says when the books are verified.

use std::time::Duration;

use docket_actors::VerifyOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a node verifies its books by itself, as `docket verify` has it do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Verify {
    /// How often, in seconds; 0 for never. The first time is within an hour of the start. Default 86,400, which is once a day.
    pub every_s: u64,
    /// How long it waits at most for the node to be at work no more, in seconds; then it goes on beside the work, at a twentieth of a core.
    /// Default 3,600.
    pub gives_way_s: u64,
}

impl Default for Verify {
    fn default() -> Self {
        let VerifyOptions {
            every,
            gives_way_for,
            pace: _,
        } = VerifyOptions::default();
        Self {
            every_s: every.map_or(0, |every| every.as_secs()),
            gives_way_s: gives_way_for.as_secs(),
        }
    }
}

impl Verify {
    /// What the node is opened with.
    pub fn options(&self) -> VerifyOptions {
        VerifyOptions {
            every: (self.every_s > 0).then(|| Duration::from_secs(self.every_s)),
            gives_way_for: Duration::from_secs(self.gives_way_s),
            ..VerifyOptions::default()
        }
    }
}
