//! The provider over HTTP against the stub: in memory and on a paused clock, but for what needs a port or a process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod breaker;
mod faults;
mod network;
mod page;
mod program;
mod random;
mod replies;
mod rule;
mod scene;
