//! Returns: what a customer sends back of what was shipped, and the money that it gets back.

use std::{fmt, sync::Arc};

use crate::{Amount, LineQuantity, Stamp, Time, Version};

/// The most returns that one order may have, and the most refunds: what is remembered of it must not grow without end.
pub const RETURNS_MAX: usize = 64;
/// The most bytes of a return's or a refund's note.
pub const RETURN_NOTE_BYTES_MAX: usize = 256;

/// Where a return stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReturnState {
    /// The customer wants to send something back.
    Requested,
    /// It may.
    Approved,
    /// It may not.
    Declined,
    /// It has arrived.
    Received,
    /// Nothing more comes of it.
    Closed,
}

impl ReturnState {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Requested,
        Self::Approved,
        Self::Declined,
        Self::Received,
        Self::Closed,
    ];

    /// The state's number, for ever: the journal has it.
    pub fn number(self) -> u8 {
        match self {
            Self::Requested => 1,
            Self::Approved => 2,
            Self::Declined => 3,
            Self::Received => 4,
            Self::Closed => 5,
        }
    }

    /// The state of this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|state| u64::from(state.number()) == number)
    }
}

impl fmt::Display for ReturnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "REQUESTED",
            Self::Approved => "APPROVED",
            Self::Declined => "DECLINED",
            Self::Received => "RECEIVED",
            Self::Closed => "CLOSED",
        })
    }
}

/// What a return comes to next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReturnStep {
    /// It may be sent.
    Approve,
    /// It may not.
    Decline {
        /// Why, in somebody's words; may be empty.
        note: Arc<str>,
    },
    /// It has arrived.
    Receive {
        /// Whether it goes back on the stock.
        restock: bool,
    },
    /// Nothing more comes of it.
    Close,
}

impl ReturnStep {
    /// Where a return stands after it.
    pub fn leads_to(&self) -> ReturnState {
        match self {
            Self::Approve => ReturnState::Approved,
            Self::Decline { .. } => ReturnState::Declined,
            Self::Receive { .. } => ReturnState::Received,
            Self::Close => ReturnState::Closed,
        }
    }

    /// Whether a return that stands there may come to this.
    pub(crate) fn follows(&self, state: ReturnState) -> bool {
        match self {
            Self::Approve | Self::Decline { .. } => state == ReturnState::Requested,
            Self::Receive { .. } => state == ReturnState::Approved,
            // What was approved and never came is closed too.
            Self::Close => matches!(state, ReturnState::Approved | ReturnState::Received),
        }
    }
}

/// A return of an order, of now or of some time ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// What is sent back: at least one line, each once, in their order.
    pub lines: Box<[LineQuantity]>,
    /// Why, in somebody's words; may be empty.
    pub note: Arc<str>,
    /// When it was asked for.
    pub requested: Stamp,
    /// What became of it, in order: at most an approval or a decline, an arrival, a close.
    pub steps: Vec<(ReturnStep, Stamp)>,
}

impl Return {
    /// Where it stands.
    pub fn state(&self) -> ReturnState {
        let last = self.steps.last();
        last.map_or(ReturnState::Requested, |(step, _)| step.leads_to())
    }

    /// Whether what is in it may not be in another return.
    pub(crate) fn counts(&self) -> bool {
        match self.state() {
            ReturnState::Declined => false,
            ReturnState::Requested | ReturnState::Approved | ReturnState::Received => true,
            ReturnState::Closed => self.was_received(),
        }
    }

    /// Whether something more can come of it.
    pub(crate) fn is_open(&self) -> bool {
        match self.state() {
            ReturnState::Requested | ReturnState::Approved | ReturnState::Received => true,
            ReturnState::Declined | ReturnState::Closed => false,
        }
    }

    /// Whether it has arrived.
    pub fn was_received(&self) -> bool {
        self.received().is_some()
    }

    /// When it arrived.
    pub fn received(&self) -> Option<Time> {
        let mut steps = self.steps.iter();
        let received = steps.find(|(step, _)| matches!(step, ReturnStep::Receive { .. }));
        received.map(|(_, stamp)| stamp.at)
    }

    /// Whether it went back on the stock.
    pub fn was_restocked(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|(step, _)| matches!(step, ReturnStep::Receive { restock: true }))
    }

    /// The return as it was at a version of its order; `None` before it was there.
    pub(crate) fn at(&self, version: Version) -> Option<Self> {
        (self.requested.version <= version).then(|| Self {
            steps: self
                .steps
                .iter()
                .filter(|(_, stamp)| stamp.version <= version)
                .cloned()
                .collect(),
            ..self.clone()
        })
    }
}

/// Money that was given back after it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// How much; more than 0.
    pub amount: Amount,
    /// Why, in somebody's words; may be empty.
    pub note: Arc<str>,
    /// When.
    pub refunded: Stamp,
}
