//! The contract as REST and JSON.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod document;
mod routes;
mod transcoding;
