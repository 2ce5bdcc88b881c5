//! An order of a stream in a cluster: placed here where its customer is led here, and otherwise by the node that leads it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use docket_actors::{Call, CallError, Docket, Key, Place, PlaceOrder};
use docket_engine::Order;
use docket_proto::{ReceivedOrder, peer_call::ForwardedPrincipal};
use tonic::Status;

use crate::{
    errors::Refusal,
    gate::{
        forward::{Asked, Forwarder, Here, Routed},
        methods::PLACE_ORDER,
    },
};

/// What became of an order.
pub(super) enum Outcome {
    /// This node has answered it.
    Here(Result<Arc<Order>, CallError>),
    /// The node that leads its customer has placed it: the bytes of its `Order`.
    There(Bytes),
    /// That node refused it, or could not be asked.
    Refused(Status),
}

/// As whom, how long, and in which trace another node is asked.
pub(super) struct Asking {
    pub(super) principal: ForwardedPrincipal,
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
        Routed::There { message, leader } if message.is_empty() => {
            tracing::error!(%leader, "a node says nothing of an order");
            Outcome::Refused(Refusal::from(CallError::OutcomeUnknown).into())
        }
        // What was received holds on to all that came with it.
        Routed::There { message, .. } => Outcome::There(Bytes::copy_from_slice(&message)),
        Routed::Refused { status, .. } => Outcome::Refused(status),
    }
}
