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
mod blocks;
mod chaos;
mod cluster;
mod config;
mod connection;
mod console;
mod damage;
mod debug;
mod deploy;
mod dev;
mod disk;
mod encryption;
mod examples;
mod external;
mod faq;
mod help;
mod hostile;
mod journal;
mod monitoring;
mod pages;
mod reload;
mod reload_all;
mod rest;
mod runbooks;
mod scrub;
mod secrets;
mod security;
mod serve;
mod server;
mod shop;
mod soak;
mod steering;
mod support;
mod upgrade;
mod upgrade_commands;
mod usage;
mod verify;
mod watch;
