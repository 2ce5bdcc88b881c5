//! What operators steer while the cluster runs: feature flags, and limits of single callers.
//!
//! A state of the meta group beside accounts and webhooks, and pure like those: [`Steering::decide`] turns a command into events,
//! [`Steering::apply`] carries the record of them into the state. Every node hears the meta group, so that every node goes by the same.
//!
//! ```text
//!   for whom a flag is on, the first that fits:
//!     no rule                              ─▶ what the flag is by default
//!     a share of 100 %                     ─▶ on
//!     the customer, or the caller's role   ─▶ on
//!     bucket(flag, subject) < share        ─▶ on
//!     else                                 ─▶ off
//! ```
//!
//! What this module guarantees:
//! - A flag that nobody set is what [`FLAGS`] says, and one that the program does not know is off.
//! - Who is in at one share is in at every larger one ([`bucket`]).
//! - Its size is bounded ([`limits`]).

pub mod limits;

mod command;
mod flag;
mod limit;
mod state;

#[cfg(test)]
mod tests;

pub use command::{SteeringCommand, SteeringEvent, SteeringRecord, SteeringRejection, SteeringRequest};
pub use flag::{
    CUSTOM_PREFIX, Declared, FLAGS, Flag, FlagFor, FlagName, FlagNameError, FlagRule, Flags, Share, Subject,
    bucket, declared,
};
pub use limit::{Limited, RateLimit};
pub use state::{FlagEntry, LimitEntry, Steering};
