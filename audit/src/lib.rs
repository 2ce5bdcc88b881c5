//! The audit log of a node: who did what to which account, key, webhook or node, and who was denied.
//!
//! ```text
//!  record ─┐                       ┌─▶ audit-00000000000000000001.jsonl
//!  note   ─┼─▶ queue ─▶ one thread ┼─▶ audit-00000000000000048213.jsonl   (a line a record; each has the hash of the one before)
//!  denied ─┴─▶ counts ─▶           └─▶ head                                (sequence and hash of the last one that is synced)
//! ```
//! What it guarantees:
//! - A record is one line and never changed. Its hash covers every byte of it, and the hash of the record before: a line that is changed, taken out,
//!   put in or exchanged with another is found by [`verify`], and so is a file that is missing.
//! - [`Audit::record`] returns when the record is synced. [`Audit::note`] does not wait, and loses nothing without counting it.
//! - Denials cost their caller a count: who is denied the same again and again has one record a minute, with how often. All together they get so many
//!   records a minute and no more, so that nobody fills the disk, or drives out what others did, by being refused.
//! - What is too old or too much is removed a file at a time, behind a record that says up to where, with the last hash: the rest can still be proven.
//!
//! Where a key is configured each line is sealed (see `sealed`): who takes the files reads none of them.
//!
//! What nobody can prove from the files alone: that somebody who may write them did not write all of them anew. A head that is kept elsewhere
//! ([`verify::Expected`]) proves what was there then.

#![forbid(unsafe_code)]

mod denials;
mod error;
mod files;
mod log;
mod options;
mod record;
mod sealed;
mod store;
pub mod verify;

pub use denials::Denial;
pub use docket_sealing::{KeyId, Keyring};
pub use error::AuditError;
pub use files::AUDIT_DIR;
pub use log::{Audit, QUEUE_MAX, describe_metrics};
pub use options::{AuditOptions, InvalidOption};
pub use record::{Entry, Outcome, Position, Record, Who, actions};
pub use sealed::usage;
