//! Names of webhooks, their secrets, what they let through, and what became of a delivery.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    ChangeKind, CustomerId, Order, OrderId, OrderState, Version,
    access::{IdTextError, random_id},
};

random_id! {
    /// A webhook's id: random, not secret.
    WebhookId, 12
}

/// What signs deliveries: 32 random bytes. Nothing prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WebhookSecret(pub [u8; 32]);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// Which changes a webhook is told of: all that every field lets through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookFilter {
    /// Only this customer's.
    pub customer: Option<CustomerId>,
    /// Only changes that leave an order in one of these states; any when empty. Each once and in order.
    pub states: Box<[OrderState]>,
    /// Only changes of these kinds; any when empty. Each once and in order.
    pub kinds: Box<[ChangeKind]>,
}

impl WebhookFilter {
    /// Whether a change is let through that left an order as it is here.
    pub fn lets_through(&self, kind: ChangeKind, order: &Order) -> bool {
        self.customer
            .as_ref()
            .is_none_or(|customer| *customer == order.customer)
            && (self.states.is_empty() || self.states.contains(&order.state))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

/// Where a webhook is in the feed: for each shard an entry of its log and the number of a change in it. One shard where a customer is
/// named, else all in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedPositions(pub Arc<[(u64, u32)]>);

impl FeedPositions {
    /// These, or where those come before them: what is gone through again never passes over what was not gone through yet.
    pub(super) fn or_before(&self, those: &Self) -> Self {
        if self.0.len() != those.0.len() {
            return self.clone();
        }
        let both = self.0.iter().zip(those.0.iter());
        Self(both.map(|(this, that)| *this.min(that)).collect())
    }
}

/// What is delivered: a change of an order, which its version names. A receiver knows repeats by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The order.
    pub order: OrderId,
    /// Its version after the change.
    pub version: Version,
}

/// A text that is no [`DeliveryId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an order id, a dash and a version")]
pub struct DeliveryIdError;

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.order, self.version.0)
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeliveryId {
    type Err = DeliveryIdError;

    /// Takes only the text that it is shown as, so that a delivery has one name.
    fn from_str(text: &str) -> Result<Self, DeliveryIdError> {
        let (order, version) = text.split_once('-').ok_or(DeliveryIdError)?;
        let order = order.parse().map_err(|_| DeliveryIdError)?;
        let version = Version(version.parse().map_err(|_| DeliveryIdError)?);
        let id = Self { order, version };
        (id.to_string() == text).then_some(id).ok_or(DeliveryIdError)
    }
}

/// Why a delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryFailure {
    /// The receiver answered with another status than 2xx.
    Status(u16),
    /// It took longer than it may.
    TimedOut,
    /// The receiver's name has no address.
    NotResolved,
    /// The receiver's name has no address that may be delivered to.
    NotAllowed,
    /// No connection came about, or it broke.
    NotConnected,
    /// The receiver's certificate is none that is trusted, or it speaks no TLS.
    NotTrusted,
    /// What it answered is not HTTP, or has more headers than it may.
    NotHttp,
    /// The order as it was cannot be read any more.
    NotReadable,
}

impl fmt::Display for DeliveryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the receiver answered {status}"),
            Self::TimedOut => f.write_str("the receiver did not answer in time"),
            Self::NotResolved => f.write_str("the receiver's name has no address"),
            Self::NotAllowed => f.write_str(
                "the receiver's address is not one of the public Internet, which webhooks.allow_private would allow",
            ),
            Self::NotConnected => f.write_str("there is no connection to the receiver"),
            Self::NotTrusted => f.write_str("the receiver's certificate is not trusted"),
            Self::NotHttp => f.write_str("the receiver's answer is not HTTP"),
            Self::NotReadable => f.write_str("the order cannot be read any more"),
        }
    }
}

/// Why a webhook is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PauseCause {
    /// Somebody asked for it.
    Asked,
    /// The receiver answered 410 Gone.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_has_one_name() {
        let id = DeliveryId {
            order: OrderId::compose(1_700_000_000_000, 7, 9),
            version: Version(12),
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        let order = id.order.to_string();
        for text in [
            String::new(),
            order.clone(),
            format!("{order}-"),
            format!("{order}-+1"),
            format!("{order}-012"),
            format!("{order}-1-1"),
            format!("{}-12", order.to_lowercase()),
            "x-1".to_owned(),
        ] {
            assert_eq!(text.parse::<DeliveryId>(), Err(DeliveryIdError), "{text}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let printed = format!("{:?}", WebhookSecret([0x5e; 32]));
        assert!(!printed.contains("5e") && !printed.contains("94"), "{printed}");
    }
}
