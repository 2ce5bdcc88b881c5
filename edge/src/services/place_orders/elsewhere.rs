//! An order of a stream in a cluster: placed here where its customer is led here, and otherwise by the node that leads it.

use std::{sync::Arc, time::Instant};

use docket_actors::{Call, CallError, Docket, Key, Place, PlaceOrder};
use docket_engine::{Order, access::Principal};
use docket_proto::{ReceivedOrder, v1};
use prost::Message as _;
use tonic::Status;

use crate::{
    errors::Refusal,
    gate::forward::{Asked, Forwarder, Here, Routed},
};

/// What one order of a stream is to another node.
const PLACE_ORDER: &str = "/docket.v1.OrderService/PlaceOrder";

/// What became of an order.
pub(super) enum Outcome {
    /// This node has answered it.
    Here(Result<Arc<Order>, CallError>),
    /// The node that leads its customer has placed it.
    There(Box<v1::Order>),
    /// That node refused it, or could not be asked.
    Refused(Status),
}

/// As whom, how long, and in which trace another node is asked.
pub(super) struct Asking {
    pub(super) principal: Arc<Principal>,
    pub(super) traceparent: String,
    pub(super) deadline: Instant,
}

/// Has an order placed where its customer is led. What another node is told is only written where one is asked.
pub(super) async fn place_where_led(
    docket: &Docket,
    forwarder: &Forwarder,
    asking: Asking,
    request: &ReceivedOrder,
    call: Call,
    order: PlaceOrder,
) -> Outcome {
    let key = Key::Customer(order.customer.clone());
    let here = || async {
        match docket.place_order(call.clone(), order.clone()).await {
            Err(CallError::Unavailable { reason, retry_after }) => {
                Here::NotLed(Err(CallError::Unavailable { reason, retry_after }))
            }
            answer => Here::Done(answer),
        }
    };
    if docket.place_of(&key) == Place::Here
        && let Here::Done(answer) = here().await
    {
        return Outcome::Here(answer);
    }
    let Asking {
        principal,
        traceparent,
        deadline,
    } = asking;
    let asked = Asked {
        key,
        method: PLACE_ORDER,
        message: request.encode().into(),
        principal: Some(principal),
        address: String::new(),
        traceparent,
        deadline,
    };
    match forwarder.route(&asked, here).await {
        Routed::Here(answer) => Outcome::Here(answer),
        Routed::There { message, leader } => match v1::Order::decode(message) {
            Ok(order) => Outcome::There(Box::new(order)),
            Err(error) => {
                tracing::error!(%leader, %error, "what a node says of an order is not understood");
                Outcome::Refused(Refusal::from(CallError::OutcomeUnknown).into())
            }
        },
        Routed::Refused { status, .. } => Outcome::Refused(status),
    }
}
