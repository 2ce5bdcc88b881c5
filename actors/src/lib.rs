//! The actors that decide for orders, customers and items; the shards that supervise them; the state machine that
//! applies what they decided; and [`Docket`], the handle through which all of it is used.
//!
//! ```text
//!   Docket ── admits ──▶ Shard ──▶ order's actor ──▶ customer's actor ──▶ proposer ──▶ log ──▶ ShardMachine
//!                                      │  ▲                                             (Raft)      │
//!                                      ▼  │ committed answers                                       ▼
//!                                  items' actors (any shard)                                    Committed
//! ```
//!
//! Actors decide on speculative state and never wait for the disk; what they decided is answered when it is committed.

#![forbid(unsafe_code)]

pub mod access;
mod admission;
mod aging;
mod archive;
mod backorders;
pub mod backup;
mod call;
pub mod chaos;
mod chores;
mod committed;
mod counts;
mod decided;
mod docket;
mod effects;
mod entity;
mod feed;
mod fences;
mod first_settled;
mod formats;
mod host;
mod id_map;
mod listing;
mod machine;
mod order_index;
mod order_table;
mod payments;
mod peers;
mod proposer;
mod remembered;
mod reply;
mod request;
mod reservations;
mod residents;
mod scrub;
mod seen;
mod setbacks;
mod shadow;
mod shard;
#[cfg(test)]
mod shop;
mod snapshot;
pub mod standby;
pub mod steering;
mod stuck;
mod traced;
mod uneven;
mod verify;
pub mod webhooks;
mod weight;

pub use admission::AdmissionLimits;
pub use aging::AgingOptions;
pub use call::{Call, CallError};
pub use counts::OrderCounts;
pub use docket::{
    ArchiveEngine, BeforeDecision, Docket, Interfere, NewCustomer, NewItem, OpenError, Options, PlaceOrder,
    Placing, Shipment,
};
pub use docket_cluster::{
    Answer, ClusterVersion, Format, GroupId, Leadership, ManageError, NodeId, NodeState, Placement,
    RegisteredNode, Registry, ReplicaStatus, ShadowError, ShadowGroup, ShadowReport, Shadowed, TaskKind,
    clock::wall_clock, program::version, task_figures,
};
pub use feed::{FeedLimits, OrderChange, OrderWatch, WatchError, WatchOrders};
pub use formats::formats;
pub use listing::{LEFT_OUT_ONLY, LIST_ROWS_MAX, ListOrders, OrderBatch, OrderPage};
pub use machine::{KnownIds, shard_state_machine};
pub use payments::PaymentOptions;
pub use peers::{
    ANSWER_GRACE, AnswerForwarded, ClientAddresses, ForwardError, Forwarding, HearConsumption, Key,
    PeerAnswer, Place, TellStatus, Told,
};
pub use scrub::{DAMAGES_MAX, Damaged, ScrubError, ScrubOptions, ScrubReport, ScrubStatus, Scrubbing};
pub use seen::{EntityStatus, NodeStatus, describe_metrics};
pub use shadow::{ShadowOpenError, shadow, shadow_with};
pub use shard::ActorLimits;
pub use verify::{
    Discrepancy, DiscrepancyKind, NotLookedAt, ShardBooks, Verification, VerifyError, VerifyOptions,
    VerifyPace, VerifyReport, VerifyStatus,
};
