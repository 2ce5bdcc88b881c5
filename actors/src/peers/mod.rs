//! What the shards of one node ask of those that are led on others, and answer.
//!
//! ```text
//!   order's actor ──tell_item──▶ ask_elsewhere ──Step──▶ Answering ──▶ item's actor ──▶ log
//!        ▲                            │                                                  │
//!        └────────────────────────────┴◀──────────────── committed answer ◀──────────────┘
//! ```
//!
//! A step is idempotent by order and item: what is reserved already is reserved, what is released already is released. So an
//! order that hears nothing asks again. It names the term in which it takes the item's shard to be led, and no leader of
//! another term answers it; and an item that has refused an order refuses it from then on (`Refused`). So a question that
//! comes late does not undo what the answer to a later one has led to.
//!
//! Nothing is decided here.

mod answering;
mod asking;
mod consuming;
mod forwarding;
mod telling;

pub(crate) use answering::Answering;
pub use asking::ANSWER_GRACE;
pub use consuming::{HearConsumption, Told};
pub use forwarding::{AnswerForwarded, ClientAddresses, ForwardError, Forwarding, Key, Place};
pub use telling::{PeerAnswer, TellStatus};
