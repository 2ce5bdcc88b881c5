//! The built program from outside: what it prints where, and its exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod audit;
mod auth;
mod bench;
mod cluster;
mod config;
mod connection;
mod console;
mod damage;
mod deploy;
mod dev;
mod disk;
mod help;
mod journal;
mod monitoring;
mod pages;
mod reload;
mod reload_all;
mod secrets;
mod serve;
mod server;
mod shop;
mod soak;
mod steering;
mod support;
mod usage;
mod verify;
mod watch;
