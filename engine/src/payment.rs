//! Payments by a provider: what is asked of somebody outside for an order, step by step, and what came of each.
//!
//! An order that is paid by its customer's account has none of this: its money is in one record with its own events. A provider is outside: what it is
//! to do is recorded first, then asked under a key that is the same however often it is asked ([`PaymentRequest::key`]), and then recorded again with
//! what came of it.

use std::{fmt, sync::Arc};

use crate::{Amount, Currency, CustomerId, OrderId, Stamp};

/// The most payments that one order may have at its provider, with those that were not authorised: the one that it was placed with, and one for each edit
/// that has it cost more.
pub const PAYMENTS_MAX: usize = 16;
/// The longest name of a provider, in bytes.
pub const PROVIDER_NAME_BYTES_MAX: usize = 32;
/// The most bytes of a provider's reference, and of its reason.
pub const PAYMENT_TEXT_BYTES_MAX: usize = 128;

/// A text that is no name of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {PROVIDER_NAME_BYTES_MAX} characters of a-z 0-9 - _, and not `account`")]
pub struct ProviderNameError;

/// What a payment provider is called in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(Arc<str>);

impl ProviderName {
    /// Takes a text as a name.
    ///
    /// # Errors
    /// Where it is empty, too long, has another character than `a-z 0-9 - _`, or is `account`, which is no provider.
    pub fn new(text: &str) -> Result<Self, ProviderNameError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let is_name = (1..=PROVIDER_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
        match is_name && text != "account" {
            true => Ok(Self(Arc::from(text))),
            false => Err(ProviderNameError),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a provider is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentKind {
    /// Set money aside: the order's total as it was placed, or what an edit has it cost more.
    Authorize,
    /// Take some of it.
    Capture,
    /// Give some of it back untaken; or, where it is not known whether it was set aside, see to it that it never is.
    Void,
    /// Give some of what was taken back.
    Refund,
}

impl PaymentKind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Authorize, Self::Capture, Self::Void, Self::Refund];

    /// The kind's number, for ever: the journal has it.
    pub fn number(self) -> u8 {
        match self {
            Self::Authorize => 1,
            Self::Capture => 2,
            Self::Void => 3,
            Self::Refund => 4,
        }
    }

    /// The kind of this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| u64::from(kind.number()) == number)
    }
}

impl fmt::Display for PaymentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        })
    }
}

/// What a provider said for good: asking again under the same key says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentOutcome {
    /// It did it.
    Done {
        /// How it names what it did: 0 to [`PAYMENT_TEXT_BYTES_MAX`] bytes.
        reference: Arc<str>,
    },
    /// It will not.
    Declined {
        /// Why: 0 to [`PAYMENT_TEXT_BYTES_MAX`] bytes.
        reason: Arc<str>,
    },
}

/// One thing that a provider is to do for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentStep {
    /// What.
    pub kind: PaymentKind,
    /// Of which of the order's payments at its provider, from 1 to [`PAYMENTS_MAX`]: each is authorised by itself, and captured, voided and refunded by
    /// itself.
    pub payment: u8,
    /// How much; more than 0.
    pub amount: Amount,
    /// Which group of attempts this is, from 1: a person who has a declined step tried again begins another.
    pub group: u32,
    /// When it became due.
    pub due: Stamp,
    /// What came of it; `None` while it is open.
    pub outcome: Option<(PaymentOutcome, Stamp)>,
    /// Who had it tried again where it was declined, as a later step of the same amount.
    pub retried: Option<Stamp>,
}

impl PaymentStep {
    /// Whether it is the authorisation of what an edit has the order cost more.
    pub(crate) fn is_of_edit(&self) -> bool {
        self.kind == PaymentKind::Authorize && self.payment > 1
    }

    /// Whether it is still to be done.
    pub fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        matches!(self.outcome, Some((PaymentOutcome::Done { .. }, _)))
    }

    /// Whether it was declined: it waits for a person.
    pub fn is_declined(&self) -> bool {
        matches!(self.outcome, Some((PaymentOutcome::Declined { .. }, _)))
    }
}

/// What a provider is asked for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRequest {
    /// The order.
    pub order: OrderId,
    /// Whose it is.
    pub customer: CustomerId,
    /// Of the amount.
    pub currency: Currency,
    /// Which of the order's steps, from 1.
    pub number: u32,
    /// What.
    pub kind: PaymentKind,
    /// Of which of the order's payments, from 1.
    pub payment: u8,
    /// Which group of attempts, from 1.
    pub group: u32,
    /// How much; more than 0.
    pub amount: Amount,
    /// How the provider names what it authorised of this payment; `None` where that is not known: then the payment's name is what it knows it by.
    pub authorization: Option<Arc<str>>,
}

impl PaymentRequest {
    /// The key under which this is asked, however often: `order/step/attempt-group`.
    pub fn key(&self) -> String {
        format!("{}/{}-{}/{}", self.order, self.kind, self.number, self.group)
    }

    /// What the payment is called at the provider: the first as the order, each later one as the order with its number behind it.
    pub fn payment_name(&self) -> String {
        match self.payment {
            0 | 1 => self.order.to_string(),
            payment => format!("{}-{payment}", self.order),
        }
    }
}
