//! What the actors and the edge of one node ask of another's (`docket.peer.v1`, `call.proto`), as the engine's types.
//!
//! A question that is not understood is declined: nothing of it was done. So a node of another version is told, and never half obeyed.

mod changes;
mod consumption;
mod forward;
mod page;
mod step;

use bytes::Bytes;
use docket_engine::{OrderId, Sku};
use prost::Message;

use crate::peer as pb;

pub use changes::{Changes, ChangesAsk, NoChanges, ShardChanges};
pub use consumption::{CONSUMERS_MAX, Consumption, Taken, TakenBy};
pub use forward::{Forward, ForwardedPrincipal, decode_forwarded, encode_forwarded};
pub use page::{Page, PageAsk, PageOf};
pub use step::{Step, StepAction, StepAnswer};

/// The version of the questions that this program asks, and the only one that it answers.
pub const VERSION: u32 = 1;

/// What a call's body is.
pub mod kind {
    /// An order asks an item: [`Step`](super::Step).
    pub const STEP: u32 = 1;
    /// Whether orders want what is reserved for them: [`Reservation`](super::Reservation)s.
    pub const WANTED: u32 = 2;
    /// Reservations without an order may have been left.
    pub const LOOK: u32 = 3;
    /// A page of what other shards have: [`PageAsk`](super::PageAsk).
    pub const PAGE: u32 = 4;
    /// Changes of orders of other shards: [`ChangesAsk`](super::ChangesAsk).
    pub const CHANGES: u32 = 5;
    /// A client's call: [`Forward`](super::Forward).
    pub const FORWARD: u32 = 16;
    /// How the node is: see [`encode_status`](super::encode_status).
    pub const STATUS: u32 = 17;
    /// What callers have taken at a node: [`Consumption`](super::Consumption).
    pub const CONSUMPTION: u32 = 18;
}

/// Reservations in one question at most.
pub const RESERVATIONS_MAX: usize = 1_000;

/// Bytes that do not say what they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// No message of this kind.
    #[error("it does not decode: {0}")]
    Malformed(String),
    /// Another version's.
    #[error("it is of version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// A field that does not say what it should.
    #[error("its {0} has no meaning")]
    Field(&'static str),
}

/// What is reserved for an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation {
    /// The order.
    pub order: OrderId,
    /// The item.
    pub sku: Sku,
}

/// The question whether orders want these reservations.
pub fn encode_wanted(reservations: &[Reservation]) -> Bytes {
    let reservations = reservations.iter().map(|reservation| pb::WantedReservation {
        order: put_order(reservation.order),
        sku: reservation.sku.as_str().to_owned(),
    });
    let request = pb::WantedRequest {
        version: VERSION,
        reservations: reservations.collect(),
    };
    request.encode_to_vec().into()
}

/// The reservations of that question.
///
/// # Errors
/// Where there is none that this program knows.
pub fn decode_wanted(body: Bytes) -> Result<Vec<Reservation>, BadCall> {
    let request = pb::WantedRequest::decode(body).map_err(malformed)?;
    known(request.version)?;
    if request.reservations.len() > RESERVATIONS_MAX {
        return Err(BadCall::Field("number of reservations"));
    }
    let taken = request.reservations.iter().map(|reservation| {
        Ok(Reservation {
            order: take_order(&reservation.order)?,
            sku: take_sku(&reservation.sku)?,
        })
    });
    taken.collect()
}

/// The answer: which of them nothing wants.
pub fn encode_orphaned(orphaned: Vec<bool>) -> Bytes {
    pb::WantedReply { orphaned }.encode_to_vec().into()
}

/// The same taken apart.
///
/// # Errors
/// Where it is not the answer to a question about so many.
pub fn decode_orphaned(body: Bytes, asked: usize) -> Result<Vec<bool>, BadCall> {
    let reply = pb::WantedReply::decode(body).map_err(malformed)?;
    if reply.orphaned.len() == asked {
        Ok(reply.orphaned)
    } else {
        Err(BadCall::Field("number of answers"))
    }
}

/// The word that reservations without an order may have been left.
pub fn encode_look() -> Bytes {
    pb::LookRequest { version: VERSION }.encode_to_vec().into()
}

/// Whether it is that.
///
/// # Errors
/// Where it is not, or another version's.
pub fn decode_look(body: Bytes) -> Result<(), BadCall> {
    known(pb::LookRequest::decode(body).map_err(malformed)?.version)
}

/// The question how a node is.
pub fn encode_status_ask() -> Bytes {
    pb::StatusRequest { version: VERSION }.encode_to_vec().into()
}

/// Whether it is that.
///
/// # Errors
/// Where it is not, or another version's.
pub fn decode_status_ask(body: Bytes) -> Result<(), BadCall> {
    known(pb::StatusRequest::decode(body).map_err(malformed)?.version)
}

/// The answer: how this node is, in the public contract's words.
pub fn encode_status(status: &crate::v1::NodeStatus) -> Bytes {
    let status = status.encode_to_vec().into();
    pb::StatusReply { status }.encode_to_vec().into()
}

/// The same taken apart.
///
/// # Errors
/// Where it is not that.
pub fn decode_status(body: Bytes) -> Result<crate::v1::NodeStatus, BadCall> {
    let reply = pb::StatusReply::decode(body).map_err(malformed)?;
    crate::v1::NodeStatus::decode(reply.status).map_err(malformed)
}

fn malformed(error: impl std::fmt::Display) -> BadCall {
    BadCall::Malformed(error.to_string())
}

fn known(version: u32) -> Result<(), BadCall> {
    if version == VERSION {
        Ok(())
    } else {
        Err(BadCall::Version(version))
    }
}

fn put_order(order: OrderId) -> Bytes {
    Bytes::copy_from_slice(&order.0.to_be_bytes())
}

fn take_order(bytes: &Bytes) -> Result<OrderId, BadCall> {
    let bytes = <[u8; 16]>::try_from(&bytes[..]).map_err(|_| BadCall::Field("order"))?;
    Ok(OrderId(u128::from_be_bytes(bytes)))
}

fn take_sku(text: &str) -> Result<Sku, BadCall> {
    Sku::new(text).map_err(|_| BadCall::Field("sku"))
}

#[cfg(test)]
mod tests {
    use docket_engine::{
        Amount, CustomerId, HoldReason, OrderFilter, OrderState, PaymentState, Quantity, Rejection, Time,
        access::{ApiKeyId, Credential, Principal, Role, Scope, Scopes, SessionId, Username},
        item::ReserveLine,
    };

    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::new(text).unwrap()
    }

    #[test]
    fn how_a_node_is_arrives_as_it_was_told() {
        assert_eq!(decode_status_ask(encode_status_ask()), Ok(()));
        let newer = pb::StatusRequest { version: 2 };
        let refused = decode_status_ask(newer.encode_to_vec().into());
        assert_eq!(refused, Err(BadCall::Version(2)));
        let status = crate::v1::NodeStatus {
            node_id: 3,
            version: "0.1.0".into(),
            ..Default::default()
        };
        assert_eq!(decode_status(encode_status(&status)), Ok(status));
        let torn = decode_status(Bytes::from_static(&[0xff]));
        assert!(matches!(torn, Err(BadCall::Malformed(_))));
    }

    #[test]
    fn questions_and_answers_arrive_as_they_were_sent() {
        let lines = vec![ReserveLine {
            line: 3,
            quantity: Quantity(2),
            unit_price: Amount(0),
        }];
        let actions = [
            StepAction::Reserve {
                currency: "EUR".parse().unwrap(),
                lines,
            },
            StepAction::Release {
                remaining: Quantity(0),
            },
            StepAction::Release {
                remaining: Quantity(3),
            },
            StepAction::Consume {
                remaining: Quantity(7),
            },
            StepAction::Restock {
                number: 2,
                quantity: Quantity(7),
                received: Time(9),
            },
            StepAction::Waiting,
            StepAction::GiveUp { line: 7 },
        ];
        for action in actions {
            let step = Step {
                edits: 3,
                knows_waiting: matches!(action, StepAction::Waiting | StepAction::Reserve { .. }),
                only_there: matches!(action, StepAction::Reserve { .. }),
                term: 9,
                order: OrderId(1 << 127),
                sku: sku("tea"),
                action,
            };
            assert_eq!(Step::decode(step.encode()).unwrap(), step);
        }
        let rejection = Rejection::InsufficientStock {
            line: 2,
            sku: sku("tea"),
            wanted: Quantity(3),
            available: Quantity(1),
        };
        for answer in [
            StepAnswer::Done(Quantity(0)),
            StepAnswer::Done(Quantity(7)),
            StepAnswer::Rejected(rejection),
            StepAnswer::Failed(pb::StepFailure::Panicked),
        ] {
            assert_eq!(StepAnswer::decode(answer.encode()).unwrap(), answer);
        }
        let asked = [1, 2].map(|n| Reservation {
            order: OrderId(n),
            sku: sku("tea"),
        });
        assert_eq!(decode_wanted(encode_wanted(&asked)).unwrap(), asked);
        let orphaned = vec![true, false];
        assert_eq!(
            decode_orphaned(encode_orphaned(orphaned.clone()), 2).unwrap(),
            orphaned
        );
        assert_eq!(
            decode_orphaned(encode_orphaned(orphaned), 3),
            Err(BadCall::Field("number of answers"))
        );
        decode_look(encode_look()).unwrap();
        for what in [
            PageOf::Orders {
                filter: OrderFilter {
                    customer: Some(CustomerId::new("ada").unwrap()),
                    states: vec![OrderState::Pending, OrderState::Authorizing, OrderState::Rejected],
                    ..OrderFilter::default()
                },
                before: Some(OrderId(7)),
                limit: 9,
                partial: false,
            },
            PageOf::Orders {
                filter: OrderFilter {
                    placed_from: Some(Time(0)),
                    placed_before: Some(Time(9)),
                    item: Some(sku("tea")),
                    holds: HoldReason::ALL.to_vec(),
                    payments: vec![PaymentState::Authorized, PaymentState::Failed],
                    ..OrderFilter::default()
                },
                before: None,
                limit: 9,
                partial: true,
            },
            PageOf::Orders {
                filter: OrderFilter {
                    planned_before: Some(Time(11)),
                    ..OrderFilter::default()
                },
                before: None,
                limit: 9,
                partial: false,
            },
            PageOf::Named(vec![OrderId(7), OrderId(9)]),
            PageOf::Customers {
                after: None,
                limit: 1,
            },
            PageOf::Items {
                after: Some(sku("tea")),
                limit: 2,
            },
        ] {
            let shards = vec![0, 7];
            let ask = PageAsk { shards, what };
            assert_eq!(PageAsk::decode(ask.encode()).unwrap(), ask);
        }
        let page = Page {
            next: Some(OrderId(3)),
            unreachable: vec![0, 7],
            ..Page::default()
        };
        assert_eq!(Page::decode(page.encode()).unwrap(), page);
    }

    #[test]
    fn a_forwarded_call_keeps_who_made_it() {
        for (role, customer, credential) in [
            (Role::Admin, None, Credential::ApiKey(ApiKeyId([7; 12]))),
            (
                Role::Customer,
                Some("ada"),
                Credential::Session(SessionId([8; 16])),
            ),
        ] {
            let principal = Principal {
                account: Username::new("root").unwrap(),
                role,
                customer: customer.map(|id| CustomerId::new(id).unwrap()),
                scopes: Scopes::of(&[Scope::Read, Scope::Operations]),
                credential,
            };
            let forward = Forward {
                method: "/docket.v1.OrderService/GetOrder".into(),
                message: Bytes::from_static(b"message"),
                principal: Some(ForwardedPrincipal::of(&principal)),
                address: "::1".into(),
                traceparent: String::new(),
                tracestate: String::new(),
            };
            let decoded = Forward::decode(forward.clone().encode()).unwrap();
            assert_eq!(decoded, forward);
            assert_eq!(decoded.principal.unwrap().detached().decode().unwrap(), principal);
            let open = Forward {
                principal: None,
                ..forward
            };
            assert_eq!(Forward::decode(open.clone().encode()).unwrap(), open);
        }
    }

    #[test]
    fn an_order_is_forwarded_as_any_other_call() {
        let principal = Principal {
            account: Username::new("shop").unwrap(),
            role: Role::Service,
            customer: None,
            scopes: Role::Service.scopes(),
            credential: Credential::ApiKey(ApiKeyId([7; 12])),
        };
        let line = crate::v1::OrderLine {
            item: "items/tea".into(),
            quantity: 2,
            unit_price: 1_250,
            ..crate::v1::OrderLine::default()
        };
        let method = "/docket.v1.OrderService/PlaceOrder";
        for (lines, traceparent, tracestate) in [(1, "", ""), (2, "00-4bf9-00f0-01", "a=1"), (500, "", "")] {
            let order = crate::ReceivedOrder::from(&crate::v1::PlaceOrderRequest {
                request_id: "r-1".into(),
                customer: "customers/ada".into(),
                currency_code: "EUR".into(),
                lines: vec![line.clone(); lines],
                payment_method: String::new(),
            });
            let principal = ForwardedPrincipal::of(&principal);
            let short = Forward::encode_order(method, &order, &principal, (traceparent, tracestate));
            let forward = Forward {
                method: method.into(),
                message: order.encode().into(),
                principal: Some(principal),
                address: String::new(),
                traceparent: traceparent.into(),
                tracestate: tracestate.into(),
            };
            assert_eq!(short, forward.encode());
        }
    }

    #[test]
    fn what_another_version_asks_is_not_half_understood() {
        let request = pb::StepRequest {
            version: 2,
            ..pb::StepRequest::default()
        };
        let refused = Step::decode(request.encode_to_vec().into()).unwrap_err();
        assert_eq!(refused, BadCall::Version(2));
        let request = pb::StepRequest {
            version: VERSION,
            order: put_order(OrderId(1)),
            sku: "tea".into(),
            ..pb::StepRequest::default()
        };
        let refused = Step::decode(request.encode_to_vec().into()).unwrap_err();
        assert_eq!(refused, BadCall::Field("action"));
        // A program that knows version 1 only declines what it would pass over.
        let asked = |placed_from| PageAsk {
            shards: vec![1],
            what: PageOf::Orders {
                filter: OrderFilter {
                    placed_from,
                    ..OrderFilter::default()
                },
                before: None,
                limit: 1,
                partial: false,
            },
        };
        for (placed_from, version) in [(None, 1), (Some(Time(7)), 2)] {
            let request = pb::PageRequest::decode(asked(placed_from).encode()).unwrap();
            assert_eq!(request.version, version);
        }
    }
}
