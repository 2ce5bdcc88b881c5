//! The edge as its clients meet it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod accounts;
mod admin;
mod brake;
mod calls;
mod connections;
mod errors;
mod input;
mod limits;
mod overload;
mod permissions;
mod reasons;
mod refused;
mod standard;
mod stopping;
mod stream;
mod support;
mod unread;
