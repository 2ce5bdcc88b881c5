//! Upgrades: what a new program makes of a node's data before it takes the old one's place, and nodes that are exchanged one after another.

mod copy;
mod gate;
mod metrics;
mod nodes;
mod roll;

pub use copy::copied;
pub use gate::Slo;
pub use nodes::{Hooks, NodeAt};
pub use roll::{Outcome, Plan, Report};
