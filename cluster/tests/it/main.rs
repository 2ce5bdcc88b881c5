//! The crate from outside: nodes on an engine in memory that loses what was not synced, and on sled.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod calls;
mod changing;
mod cluster;
mod finalizing;
mod forming;
mod kill;
mod leftovers;
mod machine;
mod measure;
mod node;
mod peers;
mod replicas;
mod seen;
mod shadow;
mod snapshots;
mod stop;
mod system_calls;
#[path = "../../../persistence/tests/it/trace.rs"]
mod trace;
mod transfers;
