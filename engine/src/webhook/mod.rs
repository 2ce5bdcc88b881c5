//! Webhooks: who is told of changes of orders, how far each is, what is tried again and what was given up.
//!
//! A state of the meta group beside accounts, and pure like that: [`WebhookState::decide`] turns a command into events,
//! [`WebhookState::apply`] carries the record of them into the state. Whoever delivers keeps nothing that is not here: another node goes
//! on from it.
//!
//! ```text
//!   feed ──▶ position ──▶ delivered                               (recorded as: the position is behind it)
//!                │ failed
//!                ▼
//!            deferred ──due, delivered──▶ gone
//!              │  ▲ └──due, failed──▶ deferred, later: 5 s, 15 s, 45 s … 2 h
//!   24 h over  ▼  │ Replay
//!            dead letter ──1,000 newer ones──▶ forgotten, and counted
//! ```
//!
//! What this module guarantees:
//! - A position only moves past what was delivered, is deferred or is a dead letter: that is one record.
//! - A record of a delivery that was begun before somebody moved the webhook to another position does not move it back (`epoch`).
//! - Its size is bounded ([`limits`]).
//! - Nothing here prints a secret.

pub mod limits;

mod address;
mod command;
mod decide;
mod evolve;
mod schedule;
mod state;
mod types;

#[cfg(test)]
mod tests;

pub use address::is_public;
pub use command::{
    Attempt, DeadLetters, NewWebhook, Outcome, Progress, WebhookChange, WebhookCommand, WebhookEvent,
    WebhookRecord, WebhookRejection, WebhookRequest,
};
pub use schedule::back_off;
pub use state::{DeadLetter, Deferred, OldSecret, Webhook, WebhookState};
pub use types::{
    DeliveryFailure, DeliveryId, DeliveryIdError, FeedPositions, PauseCause, WebhookFilter, WebhookId,
    WebhookSecret,
};
