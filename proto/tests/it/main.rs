//! Integration tests of the contracts: the journal's bytes and the API's rules.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod api;
mod arbitrary;
mod docs;
mod fixtures;
mod fixtures_of_backorders;
mod fixtures_of_closing;
mod fixtures_of_edits;
mod fixtures_of_more_payments;
mod fixtures_of_payments;
mod fixtures_of_plans;
mod journal;
mod steering;
mod webhooks;
