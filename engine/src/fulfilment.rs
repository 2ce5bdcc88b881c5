//! Fulfilments: what of an order somebody is to send, what was sent to its customer, and what of it nobody will send.
//!
//! ```text
//!   plan ──▶ OPEN ── ship ──▶ SHIPPED ── deliver ──▶ DELIVERED
//!             │                  ▲
//!             └─ give up         └── ship what was not planned
//!                  ▼
//!              CANCELLED
//! ```
//!
//! What an open fulfilment has taken upon itself is still open of the order, and nobody else's: no other fulfilment ships it, and it is
//! neither cancelled nor edited away ([`crate::Order::free_quantities`]).

use std::{fmt, sync::Arc};

use crate::{Amount, Quantity, Time, Version, access::Username};

/// The most fulfilments that one order may have, and the most cancellations of some of its lines: what is remembered of it must not grow
/// without end.
pub const FULFILMENTS_MAX: usize = 64;
/// The most bytes of a carrier's name, and of a tracking code.
pub const SHIPPING_TEXT_BYTES_MAX: usize = 128;

/// Some of one line of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineQuantity {
    /// Which line, from 0.
    pub line: u16,
    /// How many: 1 or more.
    pub quantity: Quantity,
}

/// Who did something, when, and which version of the order that made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// When.
    pub at: Time,
    /// The order's version with it.
    pub version: Version,
    /// Who; `None` where nobody in particular.
    pub by: Option<Username>,
}

/// One shipment of an order, or the plan of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fulfilment {
    /// What is or was sent: at least one line, each once, in their order.
    pub lines: Box<[LineQuantity]>,
    /// Who carries it; may be empty, and is until it is sent.
    pub carrier: Arc<str>,
    /// How the carrier names it; may be empty, and is until it is sent.
    pub tracking: Arc<str>,
    /// What was captured for it: nothing until it is sent.
    pub captured: Amount,
    /// When it was planned; `None` where it was sent at once.
    pub opened: Option<Stamp>,
    /// When it was sent; `None` while it is planned, and where it was called off.
    pub shipped: Option<Stamp>,
    /// When it arrived; `None` while it is on its way.
    pub delivered: Option<Stamp>,
    /// When the plan was called off.
    pub cancelled: Option<Stamp>,
}

/// What of an order was called off while the rest went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCancellation {
    /// What: at least one line, each once, in their order.
    pub lines: Box<[LineQuantity]>,
    /// What was given back for it.
    pub voided: Amount,
    /// When.
    pub cancelled: Stamp,
}

/// Where a fulfilment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FulfilmentState {
    /// It is on its way.
    Shipped,
    /// It has arrived.
    Delivered,
    /// Somebody is to send it.
    Open,
    /// Nobody sends it.
    Cancelled,
}

impl FulfilmentState {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Shipped, Self::Delivered, Self::Open, Self::Cancelled];

    /// The state's number, for ever: the journal has it.
    pub fn number(self) -> u8 {
        match self {
            Self::Shipped => 1,
            Self::Delivered => 2,
            Self::Open => 3,
            Self::Cancelled => 4,
        }
    }

    /// The state of this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|state| u64::from(state.number()) == number)
    }
}

impl fmt::Display for FulfilmentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shipped => "SHIPPED",
            Self::Delivered => "DELIVERED",
            Self::Open => "OPEN",
            Self::Cancelled => "CANCELLED",
        })
    }
}

impl Fulfilment {
    /// Where it stands.
    pub fn state(&self) -> FulfilmentState {
        match (&self.shipped, &self.delivered, &self.cancelled) {
            (_, Some(_), _) => FulfilmentState::Delivered,
            (Some(_), None, _) => FulfilmentState::Shipped,
            (None, None, Some(_)) => FulfilmentState::Cancelled,
            (None, None, None) => FulfilmentState::Open,
        }
    }

    /// Whether somebody is still to send it.
    pub fn is_open(&self) -> bool {
        self.state() == FulfilmentState::Open
    }

    /// Whether it was sent.
    pub fn was_shipped(&self) -> bool {
        self.shipped.is_some()
    }

    /// The fulfilment as it was at a version of its order; `None` before it was there.
    pub(crate) fn at(&self, version: Version) -> Option<Self> {
        let then = |stamp: &Option<Stamp>| stamp.clone().filter(|stamp| stamp.version <= version);
        let begun = self.opened.as_ref().or(self.shipped.as_ref())?;
        if begun.version > version {
            return None;
        }
        let shipped = then(&self.shipped);
        let sent = shipped.is_some();
        let text = |of: &Arc<str>| if sent { of.clone() } else { "".into() };
        Some(Self {
            lines: self.lines.clone(),
            carrier: text(&self.carrier),
            tracking: text(&self.tracking),
            captured: if sent { self.captured } else { Amount::ZERO },
            opened: self.opened.clone(),
            shipped,
            delivered: then(&self.delivered),
            cancelled: then(&self.cancelled),
        })
    }
}

/// Where an order's money stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// A provider is to authorise it.
    Required,
    /// It is held, and nothing of it is taken.
    Authorized,
    /// Some of it was taken, and some is still held.
    PartiallyCaptured,
    /// All that was not given back was taken.
    Captured,
    /// Some of what was taken was given back.
    PartiallyRefunded,
    /// All that was taken was given back, and nothing is held.
    Refunded,
    /// All of it was given back untaken.
    Voided,
    /// There was not enough, or the customer could not be asked for it; or its provider has declined something, and a person is to look.
    Failed,
}

/// What became of an order's money: authorised = captured + voided + outstanding, and refunded ≤ captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// Where it stands.
    pub state: PaymentState,
    /// What was held when the order was placed, and more for edits.
    pub authorized: Amount,
    /// What was taken of that.
    pub captured: Amount,
    /// What was given back of that, untaken.
    pub voided: Amount,
    /// What was given back of what was captured.
    pub refunded: Amount,
}

impl Payment {
    /// What is still held.
    pub fn outstanding(&self) -> Amount {
        let gone = self.captured.0.saturating_add(self.voided.0);
        Amount(self.authorized.0.saturating_sub(gone))
    }
}
