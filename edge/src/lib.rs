//! Docket's edge, gRPC and REST: authentication, limits, admission, services, admin endpoints.
//!
//! A [`Server`] is bound from an [`EdgeConfig`] and the [`Parts`] that it serves, and then runs until it is told to
//! stop. What it guarantees:
//! - Everything that a peer can make it keep is bounded: connections, streams, frames, headers, messages, calls and
//!   bytes in flight, orders of a stream, token buckets.
//! - Every call ends, with exactly one status, and every refusal says why in `google.rpc` details ([`errors`]); nothing
//!   of the node's inside is in them.
//! - A call that is refused by a limit has not been read.
//! - When it stops, what is in flight is finished, and what was not taken on is told so.
//!
//! It knows nothing of Raft or of storage: it asks [`docket_actors::Docket`].

#![deny(unsafe_code)]

pub mod admin;
mod audit;
pub mod auth;
pub mod authenticate;
mod books;
pub mod config;
mod console;
mod debug;
mod door;
pub mod errors;
mod gate;
mod gently;
mod jwks;
mod operated;
mod overview;
mod patient;
mod process;
mod readiness;
mod rest;
mod server;
mod services;
mod status;
pub mod status_json;
pub mod telemetry;

pub use authenticate::{Authenticate, Unauthenticated};
pub use config::{ConfigError, EdgeConfig};
pub use debug::Sources;
pub use errors::Refusal;
pub use gate::CallContext;
pub use server::{Control, EdgeError, Operators, Parts, Server};
