//! Docket's order engine: what orders, customers and items are, what may be asked of them, and what follows.
//!
//! Everything here is a pure function of its arguments. `decide` looks at a state and a command and answers with events
//! (facts), effects (what to ask of other entities) or a [`Rejection`] (a domain answer, never an error). `evolve`
//! carries a fact into the state. Time, ids and randomness arrive in the command; nothing in this crate knows a clock, a
//! file, a thread or a network.
//!
//! One order's life, as far as it goes today:
//!
//! ```text
//!            Place           all items reserved            Ship some                    Ship the rest
//!   (none) ────────▶ PENDING ──────────────────▶ CONFIRMED ──────────▶ PARTIALLY_FULFILLED ──────────▶ FULFILLED
//!      │                │ an item refused            │ Cancel                                  (or Cancel it)
//!      │                └──────────▶ REJECTED        └───────▶ CANCELLED
//!      └── no credit ──────────────▶ REJECTED
//! ```
//!
//! What is shipped is taken off its item's stock, and its share of the money that the order holds is captured; what is cancelled, refused
//! or cancelled in part is released and given back ([`order`], [`fulfilment`]).
//! What was shipped may come back, and its money with it ([`returns`]).
//! How much of each line is ordered may be changed while it is not all sent ([`edit`]).
//! Somebody may take some of what is open upon itself before it is sent ([`fulfilment`]).
//! An item may promise more than there is, up to a limit; who has to wait is not sent that before it is there ([`backorder`]).
//! A confirmed order may be held meanwhile, for several reasons at a time ([`hold`]): then nothing of it is shipped.
//!
//! `docs/order-states.md` has every state and what may be asked of it.

#![forbid(unsafe_code)]

pub mod access;
pub mod backorder;
pub mod change;
pub mod customer;
pub mod edit;
pub mod few;
pub mod filter;
pub mod fraud;
pub mod fulfilment;
pub mod history;
pub mod hold;
pub mod id;
pub mod item;
pub mod money;
pub mod order;
pub mod origin;
pub mod payment;
pub mod record;
pub mod rejection;
pub mod reservation;
pub mod returns;
pub mod steering;
pub mod story;
pub mod trail;
pub mod wanted;
pub mod webhook;

pub use backorder::{BACKORDER_NEWS_MAX, BACKORDERS_MAX, Backorder, BackorderNews, Backorders};
pub use change::{Change, ChangeKind};
pub use customer::{Customer, CustomerCommand, CustomerEvent};
pub use edit::{EDITS_MAX, Edit, EditEnd};
pub use filter::{OrderFilter, PLACED_WITHIN_MS};
pub use fraud::{Assessment, CustomerPast, FRAUD_ORDERS_MAX, FraudReason, FraudRules};
pub use fulfilment::{
    FULFILMENTS_MAX, Fulfilment, FulfilmentState, LineCancellation, LineQuantity, PLANS_MAX, Payment,
    PaymentState, SHIPPING_TEXT_BYTES_MAX, Stamp,
};
pub use history::History;
pub use hold::{HELD_BY_ITSELF, HOLD_NOTE_BYTES_MAX, HOLDS_MAX, Hold, HoldEnd, HoldReason};
pub use id::{CustomerId, IdError, OrderId, Sku};
pub use item::{Item, ItemCommand, ItemEvent};
pub use money::{Amount, Currency, Quantity, Time};
pub use order::{
    Effect, Line, Order, OrderCommand, OrderEvent, OrderLife, OrderState, PAYMENT_RETRIES_MAX,
    ProviderPayment,
};
pub use origin::{Origin, PackedOrigin, REQUEST_ID_KEPT_BYTES_MAX, TraceId};
pub use payment::{
    PAYMENT_TEXT_BYTES_MAX, PAYMENTS_MAX, PROVIDER_NAME_BYTES_MAX, PaymentKind, PaymentOutcome,
    PaymentRequest, PaymentStep, ProviderName, ProviderNameError,
};
pub use record::{Decider, EntityId, Event, Fact, Record, Request, Unchanged};
pub use rejection::Rejection;
pub use reservation::{LineReservations, ReservationState};
pub use returns::{RETURN_NOTE_BYTES_MAX, RETURNS_MAX, Refund, Return, ReturnState, ReturnStep};
pub use story::{Details, OrderChange, Situation};
pub use trail::{Trail, TrailEntry};
pub use wanted::Wanted;

/// The most lines that one order may have.
pub const LINES_MAX: usize = 100;
/// The most orders that are read by their ids at once.
pub const BATCH_ORDERS_MAX: usize = 1_000;
/// The most bytes of a display name.
pub const DISPLAY_NAME_BYTES_MAX: usize = 256;

/// What an entity makes of a command: facts, and what to ask of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<E> {
    /// What happened, in order. Empty where the command changes nothing.
    pub events: Vec<E>,
    /// What must be asked of other entities once the events are in the log.
    pub effects: Vec<Effect>,
}

impl<E> Decision<E> {
    /// One event and nothing to ask.
    fn event(event: E) -> Self {
        Self {
            events: vec![event],
            effects: Vec::new(),
        }
    }

    /// Nothing happened: the state already is as the command wants it.
    fn nothing() -> Self {
        Self {
            events: Vec::new(),
            effects: Vec::new(),
        }
    }
}

/// An entity's version: how many events made it. 0 before it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// The version after one more event.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A fact that does not fit the state that it is carried into, or a state that breaks its invariants. Never a user's
/// fault: whoever sees one must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entity} is broken: {why}")]
pub struct Broken {
    /// Which entity.
    pub entity: String,
    /// What does not hold.
    pub why: &'static str,
}

impl Broken {
    fn new(entity: impl ToString, why: &'static str) -> Self {
        Self {
            entity: entity.to_string(),
            why,
        }
    }
}
