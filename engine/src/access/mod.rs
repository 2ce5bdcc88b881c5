//! Who may do what: accounts, sessions, API keys and token-signing keys, and the rule that every call is held against.
//!
//! Two halves, both pure. The *state* of the meta group: [`AccessState::decide`] turns a command into a [`Decision`],
//! [`AccessState::apply`] carries the record of it into the state. The *rule*: [`permit`] holds a [`Principal`] against
//! a row of [`METHOD_TABLE`] and the owner of what is touched.
//!
//! What this module guarantees:
//! - It never sees a password, a refresh token or an API key: only their hashes. (Of the signing keys it holds the seed,
//!   because every node must sign; nothing here prints it.)
//! - Nobody grants what they do not have: neither a role nor a scope.
//! - Once there is an administrator, there is a way in for one: the last one cannot be taken away.
//! - A refresh token works once. Its second use ends the session that it belongs to.
//! - Its size is bounded ([`limits`]), and what has ended leaves it by the time that the log carries.
//!
//! ```text
//!   account ──┬─ sessions (≤ 16): one family of refresh tokens each
//!             │     Open ──▶ generation 1 ──Refresh──▶ generation 2 ──▶ …      any older token ──▶ ended
//!             └─ API keys (≤ 64): live ──Revoke or expiry──▶ dead ──30 days──▶ forgotten
//!   signing keys (≤ 8): one signs; the retired ones verify until the last token they signed is over
//! ```

pub mod limits;

mod command;
mod decide;
mod evolve;
mod permit;
mod principal;
mod role;
mod secret;
mod state;
mod validate;

#[cfg(test)]
mod tests;

pub use command::{
    AccessCommand, AccessEvent, AccessRecord, AccessRejection, Caller, Decision, End, NewApiKey, Request,
};
pub use permit::{Denied, Grant, METHOD_TABLE, MethodRule, Owner, Reach, permit, rule_of};
pub use principal::{Credential, Principal};
pub use role::{Role, Scope, Scopes};
pub use secret::{
    ApiKeyId, PasswordHash, SecretHash, SessionId, SigningKeyId, SigningSeed, Username, UsernameError,
};
pub(crate) use secret::{IdTextError, random_id};
pub use state::{AccessState, Account, ApiKey, Session, SigningKey};
