//! The suite against a shop that can be wrong on purpose, and its report.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod faults;
mod report;
mod shop;
