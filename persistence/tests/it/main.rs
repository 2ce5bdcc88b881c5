//! The journal's integration tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod archive;
mod conformance;
mod faults;
mod fixtures;
mod power_loss;
mod scrub;
mod sealed;
mod seen;
mod sled_files;
mod snapshots;
mod stepped;
mod support;
mod system_calls;
mod trace;
