//! What goes over the wire, both ways: docs/payments.md says what each field means.

#[cfg(feature = "http")]
use docket_engine::{PaymentKind, PaymentRequest};
use serde::{Deserialize, Serialize};

/// The header that carries the key under which a step is asked.
pub const KEY_HEADER: &str = "idempotency-key";

/// What a step is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepBody {
    /// What the payment is called, as in the path: the order's id, and behind it its number where it is not the order's first.
    pub order: String,
    /// The customer's id.
    pub customer: String,
    /// ISO 4217, three letters.
    pub currency_code: String,
    /// In minor units of the currency; more than 0.
    pub amount: i64,
    /// Which of the order's steps, from 1.
    pub step: u32,
    /// The reference that the provider gave its authorisation; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
}

#[cfg(feature = "http")]
impl StepBody {
    /// What `request` is asked with.
    pub fn of(request: &PaymentRequest) -> Self {
        Self {
            order: request.payment_name(),
            customer: request.customer.to_string(),
            currency_code: request.currency.to_string(),
            amount: request.amount.0,
            step: request.number,
            authorization: request.authorization.as_deref().map(str::to_owned),
        }
    }
}

/// What became of a step, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReply {
    /// The key that was asked. A reply with another one is somebody else's, as one that comes twice on a connection is.
    pub key: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done {
        /// How the provider names it: 0 to 128 bytes.
        #[serde(default)]
        reference: String,
    },
    /// It will not be done under this key.
    Declined {
        /// Why, for people; what is beyond 128 bytes is cut off.
        #[serde(default)]
        reason: String,
    },
}

/// What a refusal may say: shown to people, decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Where a step is asked, below the provider's base address.
#[cfg(feature = "http")]
pub fn step_path(payment: &str, kind: PaymentKind) -> String {
    format!("/payments/{payment}/{kind}")
}

/// Where it is asked what became of a key. A key has nothing that a query has to encode.
#[cfg(feature = "http")]
pub fn lookup_path(payment: &str, key: &str) -> String {
    format!("/payments/{payment}/steps?key={key}")
}
