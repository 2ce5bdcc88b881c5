//! Deliveries over real sockets, from a node to receivers on loopback. The clock is the tests'.

mod deliveries;
mod failing;
mod guarded;
mod receiver;
mod shop;
