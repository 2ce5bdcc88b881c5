//! The built program as its clients meet it: a process of its own, gRPC over loopback, and signals.
//!
//! | file | shows |
//! |---|---|
//! | `alerts.rs` | alerts fire in a real Prometheus when what they are about happens |
//! | `modes.rs` | each mode of `docs/failure-modes.md` shows itself as that page says, and is mended as it says |
//! | `kill.rs` | nothing acknowledged is lost, nothing is done twice, whenever the process is killed |
//! | `kill_points.rs` | nor at any of the journal's write and sync calls |
//! | `history.rs` | what clients were told while faults were injected is what a right server can have answered |
//! | `model.rs` | every answer is the one that a plain model predicts |
//! | `third_party.rs` | a client with no code of ours works |
//! | `input.rs` | bad input is refused precisely, and moves nothing |
//! | `authorisation.rs` | method × role × owner, for every method of the contract |
//! | `backup.rs` | a backup under load is restored as it was at its point, or at a time before; one with a flipped bit is refused |
//! | `cluster.rs` | one node becomes three under load, and a follower may be killed |
//! | `changes.rs` | nodes restart, join and leave, and replicas move under load, each with a kill in the middle: nothing is lost or stuck |
//! | `upgrade.rs` | one node after another gets a new program under load; a bad one is taken back by itself; until it is final each can go back |
//! | `payments.rs` | whoever is killed, the node or a payment provider, both say the same of the money in the end |
//! | `standby.rs` | a second cluster follows a first one and takes its place with nothing lost; a drill measures what a loss costs |
//! | `feed.rs` | watches over kills and restarts see every change once, as orders and acknowledgements have it |
//! | `webhooks.rs` | every change is delivered over kills; signatures hold as documented; no log has a secret |
//! | `traces.rs` | one trace from a client over two nodes to the log and back; who decides what is sampled; a collector that is away |
//! | `logs.rs` | what a person wrote is in no line of the log, at its most detailed; lines of a traced call name its trace |
//! | `audit.rs` | each command of who runs a cluster is in its audit logs: who, what, and what came of it |
//! | `steering.rs` | a caller's limit holds over three nodes, and a flag flips on all of them within a second |
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
mod audit;
mod authorisation;
mod backup;
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
mod modes;
mod overload;
mod payments;
mod provider;
mod server;
mod standby;
mod steering;
mod stopping;
mod third_party;
mod traces;
mod upgrade;
mod webhooks;
