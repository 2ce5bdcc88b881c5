//! Fulfilments: what of an order was sent to its customer, and what of it nobody will send.

use std::sync::Arc;

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

/// One shipment of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fulfilment {
    /// What was sent: at least one line, each once, in their order.
    pub lines: Box<[LineQuantity]>,
    /// Who carries it; may be empty.
    pub carrier: Arc<str>,
    /// How the carrier names it; may be empty.
    pub tracking: Arc<str>,
    /// What was captured for it.
    pub captured: Amount,
    /// When it was sent.
    pub shipped: Stamp,
    /// When it arrived; `None` while it is on its way.
    pub delivered: Option<Stamp>,
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
}

impl Fulfilment {
    /// Where it stands.
    pub fn state(&self) -> FulfilmentState {
        match self.delivered {
            None => FulfilmentState::Shipped,
            Some(_) => FulfilmentState::Delivered,
        }
    }

    /// The fulfilment as it was at a version of its order; `None` before it was there.
    pub(crate) fn at(&self, version: Version) -> Option<Self> {
        (self.shipped.version <= version).then(|| Self {
            delivered: self
                .delivered
                .clone()
                .filter(|delivered| delivered.version <= version),
            ..self.clone()
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
