//! The built program as its clients meet it: a process of its own, gRPC over loopback, and signals.
//!
//! | file | shows |
//! |---|---|
//! | `alerts.rs` | alerts fire in a real Prometheus when what they are about happens |
//! | `kill.rs` | nothing acknowledged is lost, nothing is done twice, whenever the process is killed |
//! | `kill_points.rs` | nor at any of the journal's write and sync calls |
//! | `history.rs` | what clients were told while faults were injected is what a right server can have answered |
//! | `model.rs` | every answer is the one that a plain model predicts |
//! | `third_party.rs` | a client with no code of ours works |
//! | `input.rs` | bad input is refused precisely, and moves nothing |
//! | `authorisation.rs` | method × role × owner, for every method of the contract |
//! | `cluster.rs` | one node becomes three under load, and a follower may be killed |
//! | `changes.rs` | nodes restart, join and leave, and replicas move under load, each with a kill in the middle: nothing is lost or stuck |
//! | `payments.rs` | whoever is killed, the node or a payment provider, both say the same of the money in the end |
//! | `feed.rs` | watches over kills and restarts see every change once, as orders and acknowledgements have it |
//! | `webhooks.rs` | every change is delivered over kills; signatures hold as documented; no log has a secret |
//! | `traces.rs` | one trace from a client over two nodes to the log and back; who decides what is sampled; a collector that is away |
//! | `logs.rs` | what a person wrote is in no line of the log, at its most detailed; lines of a traced call name its trace |
//! | `stopping.rs` | SIGTERM finishes what is in flight; a data directory has one owner |
//! | `overload.rs` | what is too much is refused at once, and then all is as before |
//!
//! Every wait is a bounded poll, and every test says what it did (`-- --nocapture`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod alerts;
mod api;
mod authorisation;
mod changes;
mod cluster;
mod environment;
mod feed;
mod history;
mod input;
mod kill;
mod kill_points;
mod logs;
mod model;
mod overload;
mod payments;
mod provider;
mod server;
mod stopping;
mod third_party;
mod traces;
mod webhooks;
