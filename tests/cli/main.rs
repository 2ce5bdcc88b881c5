//! The built program from outside: what it prints where, and its exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod auth;
mod bench;
mod cluster;
mod config;
mod connection;
mod damage;
mod dev;
mod disk;
mod help;
mod journal;
mod reload;
mod serve;
mod server;
mod shop;
mod soak;
mod steering;
mod support;
mod usage;
mod verify;
mod watch;
