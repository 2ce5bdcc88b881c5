//! Deliveries over real sockets, from a node to receivers on loopback. The clock is the tests'.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod deliveries;
mod failing;
mod guarded;
mod receiver;
mod shop;
