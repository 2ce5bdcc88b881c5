//! Histories: what clients asked and heard while faults were injected, and whether a right server can have answered so.
//!
//! ```text
//!   clients ──▶ Recorder ──▶ History ──▶ Requests ──▶ Keys ──▶ linear: is each key linearizable?
//!                               │           └──▶ once: is each request done once, and answered alike?
//!                               ├──────────────▶ books: are stock, money and orders at the end exact?
//!   consumers ──▶ Recorder ─────┴──────────────▶ feeds: is each change told once, in order, and none that was not?
//! ```
//!
//! An outcome is one of four: done, refused by a rule of the shop, not done for certain, or *unknown*. What is unknown may take
//! effect at any time since it was asked, or never; a quiet moment ([`Recorder::quiet`]) ends that.
//!
//! An order is more than its placing: what becomes of it ([`life`]) is part of what is seen of it and of the model that it is held against, so that
//! what was shipped, edited, returned and refunded must be in the next thing that anybody sees, and in the books at the end.
//!
//! What is checked: every item, customer and order by itself is linearizable ([`linear`]), with bounded work and "undecided"
//! where that does not do; no etag comes back behind another (`etags`); a request id stands for one effect and one answer; at the end, stock and money are what was booked,
//! what the confirmed orders take, and what was sent and came back, every acknowledged order is listed, once, and none that nobody asked for. A list is
//! checked as a read of each order in it, and of each that is missing in it. Of the feed every consumer is told of each order from its
//! placing to what the books say of it, each change once and in order, nothing before it was asked for and nothing that was not.
//!
//! A fault is told with the smallest part of the history that shows it. [`clients`] make a history,
//! [`nemesis`] plans what goes wrong meanwhile, and [`net`] is a network that can be made bad.

mod books;
mod check;
pub mod clients;
mod etags;
mod feeds;
mod keys;
pub mod life;
pub mod linear;
pub mod models;
pub mod nemesis;
pub mod net;
pub mod operation;
mod recorder;
mod requests;
#[cfg(test)]
mod tests;
mod text;

pub use check::{Fault, Verdict, check, check_within};
pub use operation::{
    Ask, Books, Change, ChangeKind, CustomerSeen, Feed, History, ItemSeen, Line, Micros, Operation,
    OrderSeen, Outcome, Phase, Refusal, Reply,
};
pub use recorder::{Call, Recorder};
