//! What happened to an order, without what is stored of the order anyway: enough, beside the order as it is now, to tell
//! how it was right after any of its events.

use std::{fmt, sync::Arc};

use crate::{
    Order, OrderEvent, OrderState, PaymentOutcome, ReturnStep, Time, Version,
    order::{derived_state, total},
};

/// Which of its events changed an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It was placed.
    Placed,
    /// All of its stock is reserved.
    Confirmed,
    /// It was refused.
    Rejected,
    /// It was cancelled.
    Cancelled,
    /// Every item has given its stock back.
    Released,
    /// It is held, for one reason more.
    Held,
    /// It is held, for one reason less.
    HoldReleased,
    /// Some of it was sent.
    Shipped,
    /// A shipment has arrived.
    Delivered,
    /// Some of it was called off.
    LinesCancelled,
    /// Every item has taken what was sent off its stock.
    Consumed,
    /// Some of what was shipped is to come back.
    ReturnRequested,
    /// A return may be sent.
    ReturnApproved,
    /// A return may not be sent.
    ReturnDeclined,
    /// A return has arrived.
    ReturnReceived,
    /// Nothing more comes of a return.
    ReturnClosed,
    /// Every item of a return is back on its stock.
    Restocked,
    /// Some of what was captured was given back.
    Refunded,
    /// All of its stock is reserved, and its provider is to authorise its payment.
    Reserved,
    /// Its payment was not authorised in time.
    Expired,
    /// Its provider has done what it was asked.
    PaymentDone,
    /// Its provider has declined what it was asked.
    PaymentDeclined,
    /// What its provider has declined is tried again.
    PaymentRetried,
    /// It is to be edited, and items are asked for more.
    EditBegun,
    /// All items have agreed to an edit, and its provider is to authorise what it costs more.
    EditReserved,
    /// How much of its lines is ordered has changed.
    Edited,
    /// An edit was refused: it is as it was before.
    EditRefused,
    /// Nothing came of it for long enough, since it was fulfilled.
    Closed,
    /// Somebody is to send some of it.
    FulfilmentOpened,
    /// Nobody sends what was planned.
    FulfilmentCancelled,
    /// Some of it is promised and not there yet.
    Backordered,
    /// Some of what it waited for is there.
    BackorderFilled,
}

impl ChangeKind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 32] = [
        Self::Placed,
        Self::Confirmed,
        Self::Rejected,
        Self::Cancelled,
        Self::Released,
        Self::Held,
        Self::HoldReleased,
        Self::Shipped,
        Self::Delivered,
        Self::LinesCancelled,
        Self::Consumed,
        Self::ReturnRequested,
        Self::ReturnApproved,
        Self::ReturnDeclined,
        Self::ReturnReceived,
        Self::ReturnClosed,
        Self::Restocked,
        Self::Refunded,
        Self::Reserved,
        Self::Expired,
        Self::PaymentDone,
        Self::PaymentDeclined,
        Self::PaymentRetried,
        Self::Closed,
        Self::EditBegun,
        Self::Edited,
        Self::EditRefused,
        Self::FulfilmentOpened,
        Self::FulfilmentCancelled,
        Self::Backordered,
        Self::BackorderFilled,
        Self::EditReserved,
    ];

    /// Which kind an event is of.
    pub fn of(event: &OrderEvent) -> Self {
        match event {
            OrderEvent::Placed { .. } => Self::Placed,
            OrderEvent::Confirmed | OrderEvent::Authorized { .. } => Self::Confirmed,
            OrderEvent::Reserved => Self::Reserved,
            OrderEvent::Expired => Self::Expired,
            OrderEvent::PaymentAnswered { outcome, .. } => Self::of_outcome(outcome),
            OrderEvent::PaymentRetried { .. } => Self::PaymentRetried,
            OrderEvent::Rejected { .. } => Self::Rejected,
            OrderEvent::Cancelled => Self::Cancelled,
            OrderEvent::Released => Self::Released,
            OrderEvent::Held { .. } => Self::Held,
            OrderEvent::HoldReleased { .. } => Self::HoldReleased,
            OrderEvent::Shipped { .. } | OrderEvent::FulfilmentShipped { .. } => Self::Shipped,
            OrderEvent::FulfilmentOpened { .. } => Self::FulfilmentOpened,
            OrderEvent::FulfilmentCancelled { .. } => Self::FulfilmentCancelled,
            OrderEvent::Delivered { .. } => Self::Delivered,
            OrderEvent::LinesCancelled { .. } => Self::LinesCancelled,
            OrderEvent::Consumed => Self::Consumed,
            OrderEvent::ReturnRequested { .. } => Self::ReturnRequested,
            OrderEvent::ReturnMoved { step, .. } => Self::of_step(step),
            OrderEvent::Restocked => Self::Restocked,
            OrderEvent::Refunded { .. } => Self::Refunded,
            OrderEvent::EditBegun { .. } => Self::EditBegun,
            OrderEvent::EditReserved => Self::EditReserved,
            OrderEvent::Edited { .. } => Self::Edited,
            OrderEvent::EditRefused { .. } => Self::EditRefused,
            OrderEvent::Closed => Self::Closed,
            OrderEvent::Backordered { .. } => Self::Backordered,
            OrderEvent::BackorderFilled { .. } => Self::BackorderFilled,
        }
    }

    /// Which kind what becomes of a return is of.
    pub(crate) fn of_step(step: &ReturnStep) -> Self {
        match step {
            ReturnStep::Approve => Self::ReturnApproved,
            ReturnStep::Decline { .. } => Self::ReturnDeclined,
            ReturnStep::Receive { .. } => Self::ReturnReceived,
            ReturnStep::Close => Self::ReturnClosed,
        }
    }

    /// Which kind a provider's answer is of, behind the authorisation.
    pub(crate) fn of_outcome(outcome: &PaymentOutcome) -> Self {
        match outcome {
            PaymentOutcome::Done { .. } => Self::PaymentDone,
            PaymentOutcome::Declined { .. } => Self::PaymentDeclined,
        }
    }

    /// Whether it is what came of a payment behind its authorisation: that comes behind the order's end, too.
    pub(crate) fn is_of_payment(self) -> bool {
        matches!(
            self,
            Self::PaymentDone | Self::PaymentDeclined | Self::PaymentRetried
        )
    }

    /// Whether it is what an order heard of what it waits for.
    pub(crate) fn is_of_backorder(self) -> bool {
        matches!(self, Self::Backordered | Self::BackorderFilled)
    }

    /// The kind's number, for ever: snapshots have it.
    pub fn number(self) -> u8 {
        match self {
            Self::Placed => 1,
            Self::Confirmed => 2,
            Self::Rejected => 3,
            Self::Cancelled => 4,
            Self::Released => 5,
            Self::Held => 6,
            Self::HoldReleased => 7,
            Self::Shipped => 8,
            Self::Delivered => 9,
            Self::LinesCancelled => 10,
            Self::Consumed => 11,
            Self::ReturnRequested => 12,
            Self::ReturnApproved => 13,
            Self::ReturnDeclined => 14,
            Self::ReturnReceived => 15,
            Self::ReturnClosed => 16,
            Self::Restocked => 17,
            Self::Refunded => 18,
            Self::Reserved => 19,
            Self::Expired => 20,
            Self::PaymentDone => 21,
            Self::PaymentDeclined => 22,
            Self::PaymentRetried => 23,
            Self::Closed => 24,
            Self::EditBegun => 30,
            Self::Edited => 31,
            Self::EditRefused => 32,
            Self::FulfilmentOpened => 33,
            Self::FulfilmentCancelled => 34,
            Self::Backordered => 35,
            Self::BackorderFilled => 36,
            Self::EditReserved => 38,
        }
    }

    /// The kind of this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| u64::from(kind.number()) == number)
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Placed => "PLACED",
            Self::Confirmed => "CONFIRMED",
            Self::Rejected => "REJECTED",
            Self::Cancelled => "CANCELLED",
            Self::Released => "RELEASED",
            Self::Held => "HELD",
            Self::HoldReleased => "HOLD_RELEASED",
            Self::Shipped => "SHIPPED",
            Self::Delivered => "DELIVERED",
            Self::LinesCancelled => "LINES_CANCELLED",
            Self::Consumed => "CONSUMED",
            Self::ReturnRequested => "RETURN_REQUESTED",
            Self::ReturnApproved => "RETURN_APPROVED",
            Self::ReturnDeclined => "RETURN_DECLINED",
            Self::ReturnReceived => "RETURN_RECEIVED",
            Self::ReturnClosed => "RETURN_CLOSED",
            Self::Restocked => "RESTOCKED",
            Self::Refunded => "REFUNDED",
            Self::Reserved => "RESERVED",
            Self::Expired => "EXPIRED",
            Self::PaymentDone => "PAYMENT_DONE",
            Self::PaymentDeclined => "PAYMENT_DECLINED",
            Self::PaymentRetried => "PAYMENT_RETRIED",
            Self::EditBegun => "EDIT_BEGUN",
            Self::Edited => "EDITED",
            Self::EditReserved => "EDIT_RESERVED",
            Self::EditRefused => "EDIT_REFUSED",
            Self::Closed => "CLOSED",
            Self::FulfilmentOpened => "FULFILMENT_OPENED",
            Self::FulfilmentCancelled => "FULFILMENT_CANCELLED",
            Self::Backordered => "BACKORDERED",
            Self::BackorderFilled => "BACKORDER_FILLED",
        })
    }
}

/// One change of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The order's version after it.
    pub version: Version,
    /// When.
    pub at: Time,
}

impl Order {
    /// In which state one of its changes left it.
    pub fn state_after(&self, change: &Change) -> OrderState {
        match change.kind {
            ChangeKind::Placed => OrderState::Pending,
            ChangeKind::Reserved => OrderState::Authorizing,
            ChangeKind::Rejected => OrderState::Rejected,
            ChangeKind::Cancelled => OrderState::Cancelled,
            ChangeKind::Expired => OrderState::Expired,
            ChangeKind::Closed => OrderState::Closed,
            // What a provider answers comes also behind the end.
            _ if self.ended().is_some_and(|ended| ended <= change.version) => self.state,
            // That it was refused or cancelled is told by its last events alone.
            _ if change.version == self.version => self.state,
            ChangeKind::Confirmed => OrderState::Confirmed,
            _ if self.was_authorizing(change.version) => OrderState::Authorizing,
            _ => match &self.life {
                None => OrderState::Confirmed,
                Some(life) => {
                    derived_state(&self.lines_at(change.version), life.at(change.version).as_deref())
                }
            },
        }
    }

    /// Whether it waited for its provider's authorisation at a version behind its second.
    fn was_authorizing(&self, version: Version) -> bool {
        let authorization = self.payment_steps().first();
        authorization.is_some_and(|step| match &step.outcome {
            Some((PaymentOutcome::Done { .. }, answered)) => version < answered.version,
            // It never had it: what comes behind the order's end is told above.
            _ => true,
        })
    }

    /// The order as it was after one of its changes, of the order as it is now: an edit says what its lines had
    /// before, a rejection is never taken back, what came later says since which version, and where an order was refused or cancelled nothing comes after
    /// `Released`. What it still had to ask of others then is not told.
    #[must_use]
    pub fn after(&self, change: &Change) -> Self {
        let state = self.state_after(change);
        let updated = match change.kind {
            // As in `evolve`: a confirmation only records what was true already.
            ChangeKind::Placed | ChangeKind::Reserved => self.created,
            ChangeKind::Confirmed if !self.needs_authorization() => self.created,
            _ => change.at,
        };
        let lines = self.lines_at(change.version);
        Self {
            total: match Arc::ptr_eq(&lines, &self.lines) {
                true => self.total,
                // It was once, so it fits.
                false => total(&lines).unwrap_or(self.total),
            },
            lines,
            rejection: match state {
                OrderState::Rejected | OrderState::Expired => self.rejection.clone(),
                _ => None,
            },
            state,
            releasing: Box::default(),
            life: self.life.as_ref().and_then(|life| life.at(change.version)),
            provider: self
                .provider
                .as_ref()
                .map(|provider| Box::new(provider.at(change.version))),
            version: change.version,
            updated,
            trail: self.trail_until(change.version),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Amount, CustomerId, HoldReason, Line, LineQuantity, OrderId, ProviderName, Quantity, Rejection, Sku,
        access::Username,
    };

    fn held(reason: HoldReason) -> OrderEvent {
        OrderEvent::Held {
            reason,
            note: "look".into(),
            by: Username::new("shop").unwrap(),
        }
    }

    /// What becomes of an order that a provider pays, behind its placing: what it answers comes also behind the end, before or behind that all
    /// is released.
    fn paid() -> Vec<Vec<OrderEvent>> {
        use OrderEvent::{Cancelled, Expired, Released, Reserved};
        let authorized = || OrderEvent::Authorized {
            reference: "p-1".into(),
        };
        let answered = |number, is_done| OrderEvent::PaymentAnswered {
            number,
            outcome: match is_done {
                true => PaymentOutcome::Done {
                    reference: "p-2".into(),
                },
                false => PaymentOutcome::Declined { reason: "no".into() },
            },
        };
        let by = || Username::new("ops").unwrap();
        let retried = |number| OrderEvent::PaymentRetried { number, by: by() };
        let declined = OrderEvent::Rejected {
            rejection: Box::new(Rejection::PaymentDeclined { reason: "no".into() }),
            release: Box::new([Sku::new("tea").unwrap()]),
        };
        let some = || -> Box<[LineQuantity]> {
            let quantity = Quantity(1);
            Box::new([LineQuantity { line: 0, quantity }])
        };
        let shipped = || OrderEvent::Shipped {
            lines: some(),
            carrier: "".into(),
            tracking: "".into(),
            by: by(),
        };
        let refunded = OrderEvent::Refunded {
            amount: Amount(350),
            note: "".into(),
            by: by(),
        };
        vec![
            vec![Reserved, declined, Released],
            vec![Reserved, Expired, answered(2, true), Released],
            vec![
                Reserved,
                Expired,
                Released,
                answered(2, false),
                retried(2),
                answered(3, true),
            ],
            vec![
                Reserved,
                Cancelled,
                answered(2, false),
                retried(2),
                Released,
                answered(3, true),
            ],
            vec![Reserved, Cancelled, Released, answered(2, true)],
            vec![
                Reserved,
                authorized(),
                held(HoldReason::Payment),
                Cancelled,
                answered(2, true),
                Released,
            ],
            vec![Reserved, authorized(), Cancelled, Released, answered(2, true)],
            vec![
                Reserved,
                authorized(),
                OrderEvent::LinesCancelled {
                    lines: some(),
                    by: None,
                },
                Released,
                answered(2, false),
                Cancelled,
                retried(2),
                answered(3, true),
                Released,
                answered(4, true),
            ],
            vec![
                Reserved,
                authorized(),
                shipped(),
                answered(2, false),
                held(HoldReason::Payment),
                OrderEvent::Consumed,
                retried(2),
                OrderEvent::HoldReleased {
                    reason: HoldReason::Payment,
                    by: by(),
                },
                answered(3, true),
                refunded,
                shipped(),
                answered(5, true),
                OrderEvent::Consumed,
                answered(4, false),
                retried(4),
                answered(6, true),
            ],
        ]
    }

    #[test]
    fn an_order_as_it_is_now_tells_how_it_was_after_each_of_its_changes() {
        let sku = Sku::new("tea").unwrap();
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: sku.clone(),
                quantity: Quantity(2),
                unit_price: Amount(350),
            }]),
            provider: None,
        };
        let mut provided = placed.clone();
        if let OrderEvent::Placed { provider, .. } = &mut provided {
            *provider = Some(ProviderName::new("mint").unwrap());
        }
        let rejected = OrderEvent::Rejected {
            rejection: Box::new(Rejection::StaleEtag),
            release: Box::new([sku]),
        };
        for life in [
            vec![
                placed.clone(),
                OrderEvent::Confirmed,
                OrderEvent::Cancelled,
                OrderEvent::Released,
            ],
            vec![
                placed.clone(),
                OrderEvent::Confirmed,
                held(HoldReason::Address),
                held(HoldReason::Operator),
                OrderEvent::HoldReleased {
                    reason: HoldReason::Address,
                    by: Username::new("ops").unwrap(),
                },
                held(HoldReason::Address),
                OrderEvent::Cancelled,
                OrderEvent::Released,
            ],
            vec![placed, rejected.clone(), OrderEvent::Released],
            vec![provided.clone(), rejected, OrderEvent::Released],
        ]
        .into_iter()
        .chain(
            paid()
                .into_iter()
                .map(|life| [vec![provided.clone()], life].concat()),
        ) {
            let mut now = Order::create(OrderId(9), &life[0], Time(1)).unwrap();
            let mut then = vec![now.clone()];
            for (event, at) in life[1..].iter().zip(2..) {
                now.evolve(event, Time(at)).unwrap();
                then.push(now.clone());
            }
            // Of every later state every earlier one is told.
            for later in 0..then.len() {
                for (i, event) in life[..=later].iter().enumerate() {
                    let change = Change {
                        kind: ChangeKind::of(event),
                        version: then[i].version,
                        at: Time(i as i64 + 1),
                    };
                    let expected = Order {
                        releasing: Box::default(),
                        life: then[i].life.clone().map(|mut life| {
                            life.consuming = Box::default();
                            life
                        }),
                        ..then[i].clone()
                    };
                    let told = then[later].after(&change);
                    assert_eq!(told, expected, "{i} of {later}");
                    assert_eq!(told.payment(), then[i].payment(), "{i} of {later}");
                    told.validate().unwrap();
                }
            }
        }
    }

    #[test]
    fn every_kind_has_its_number() {
        for (kind, number) in ChangeKind::ALL
            .into_iter()
            .zip((1..=24).chain(30..=36).chain(38..))
        {
            assert_eq!(
                (u64::from(kind.number()), ChangeKind::from_number(number)),
                (number, Some(kind))
            );
        }
        assert_eq!(ChangeKind::from_number(0), None);
        assert_eq!(ChangeKind::from_number(25), None);
    }
}
