//! What becomes of a cluster whose nodes have a newer program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a cluster whose nodes have a newer program: see docs/upgrading.md.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Upgrade {
    /// Whether the cluster is finalised by itself as soon as all of its nodes have the newer program: from then on what is new is written,
    /// and no node can go back to the program before: also while `docket upgrade run` still watches the last of them, which then takes nothing back.
    /// Decided by the node that leads the meta group. Default false: `docket upgrade finalize`.
    pub auto_finalize: bool,
}
