//! Holds: why a confirmed order goes no further for now, who said so, and until when.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Time, Version, access::Username};

/// The most holds that one order may ever have had: what is remembered of it must not grow without end.
pub const HOLDS_MAX: usize = 64;
/// The most bytes of a hold's note.
pub const HOLD_NOTE_BYTES_MAX: usize = 256;
/// Who holds an order where no person does: what its provider declined, and what is odd about it.
pub const HELD_BY_ITSELF: &str = "docket";

/// Why an order is held. It may be held for several reasons at a time, for each of them once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldReason {
    /// It is looked at whether it is an attempt to defraud.
    FraudReview,
    /// Where it goes is not known, or not believed.
    Address,
    /// Its stock is not what the books say.
    Stock,
    /// Its payment is not certain.
    Payment,
    /// A person wants it so.
    Operator,
}

impl HoldReason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::FraudReview,
        Self::Address,
        Self::Stock,
        Self::Payment,
        Self::Operator,
    ];

    /// The reason's number, for ever: the journal has it.
    pub fn number(self) -> u8 {
        match self {
            Self::FraudReview => 1,
            Self::Address => 2,
            Self::Stock => 3,
            Self::Payment => 4,
            Self::Operator => 5,
        }
    }

    /// The reason of this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| u64::from(reason.number()) == number)
    }

    /// As it is written everywhere: `FRAUD_REVIEW`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FraudReview => "FRAUD_REVIEW",
            Self::Address => "ADDRESS",
            Self::Stock => "STOCK",
            Self::Payment => "PAYMENT",
            Self::Operator => "OPERATOR",
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of FRAUD_REVIEW, ADDRESS, STOCK, PAYMENT and OPERATOR")]
pub struct UnknownReason;

impl FromStr for HoldReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownReason)
    }
}

/// A hold of an order, of now or of some time ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// The same in somebody's words; may be empty.
    pub note: Arc<str>,
    /// Who placed it.
    pub by: Username,
    /// When.
    pub since: Time,
    /// The order's version with it.
    pub version: Version,
    /// How it ended; `None` while it holds.
    pub ended: Option<HoldEnd>,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldEnd {
    /// When.
    pub at: Time,
    /// The order's version without it.
    pub version: Version,
    /// Who released it; `None` where it ended with the order.
    pub by: Option<Username>,
}

impl Hold {
    /// Whether it holds.
    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// The hold as it was at a version of its order; `None` before it was placed.
    pub(crate) fn at(&self, version: Version) -> Option<Self> {
        (self.version <= version).then(|| Self {
            ended: self.ended.clone().filter(|end| end.version <= version),
            ..self.clone()
        })
    }
}
