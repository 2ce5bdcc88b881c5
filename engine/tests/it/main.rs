//! The engine against a plain model of what it must do.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backordering;
mod docs;
mod edges;
mod editing;
mod fulfilment;
mod holds;
mod life;
mod mint;
mod model;
mod ops;
mod paying;
mod planning;
mod run;
mod stage;
mod world;
