//! The edge as its clients meet it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod accounts;
mod admin;
mod assignment;
mod brake;
mod calls;
mod cluster;
mod connections;
mod console;
mod errors;
mod input;
mod limits;
mod overload;
mod permissions;
mod reasons;
mod refused;
mod rest;
mod shares;
mod standard;
mod standby;
mod steering;
mod stopping;
mod stream;
mod support;
#[path = "../../../actors/tests/it/three.rs"]
#[expect(dead_code, reason = "the tests of actors need more of it")]
mod three;
mod unread;
mod watch;
mod webhooks;
