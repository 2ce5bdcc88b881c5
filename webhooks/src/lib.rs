//! Deliveries to webhooks: changes of orders as CloudEvents over HTTP, signed as Standard Webhooks has it.
//!
//! ```text
//!   leader of the meta group ── Deliverer ──┬── Subscription (one a webhook): feed ──▶ window ──▶ Sender ──▶ receiver
//!                                           │        ▲                                   │
//!                                           │   retries that are due                     ▼
//!                                           │        └──── state of the meta group ◀── what came of it, every two seconds
//!                                           └── …
//! ```
//!
//! What it guarantees:
//! - Only what is committed is delivered, and all of it that a webhook's filter lets through, at least once, as long as the feed keeps it;
//!   what it did not is counted as a gap.
//! - Whoever takes the lead goes on where the one before has recorded to be. What that had delivered since comes again, under the same
//!   `webhook-id`.
//! - A writer waits for no receiver: deliveries read the feed as any watch does, and are fewer while the node is at work.
//! - No address is connected to that is not one of the public Internet, unless that is configured.
//! - Every buffer is bounded: the window, what is in flight, what waits to be recorded, requests, answers.

#![forbid(unsafe_code)]

mod deliverer;
mod event;
mod options;
mod places;
mod secret;
mod sender;
mod subscription;
mod telemetry;

pub use deliverer::{Clock, Deliverer, DelivererError};
pub use event::Events;
pub use options::{InvalidOption, WebhookOptions};
pub use secret::{secret_text, sign, signature_header};
pub use sender::{Delivered, NotDelivered, Sender, SenderError};
pub use telemetry::describe_metrics;
