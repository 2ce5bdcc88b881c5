//! An order of a stream in a cluster: placed here where its customer is led here, and otherwise by the node that leads it.
//!
//! Nearly all that another node leads are sent there at once, and its answer is all that they need. What few need, to look for a leader or to ask
//! the next one, is a future of its own, so that it makes the others no larger.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use docket_actors::{
    ANSWER_GRACE, Call, CallError, Docket, ForwardError, Forwarding, Key, Place, PlaceOrder,
};
use docket_engine::Order;
use docket_proto::{
    ReceivedOrder,
    peer::forward_reply::Result as Forwarded,
    peer_call::{Forward, ForwardedPrincipal},
};
use docket_traces::Span;
use futures::FutureExt as _;
use tokio::task::unconstrained;
use tonic::Status;

use super::{
    in_flight::{About, InFlight, Settled},
    window,
};
use crate::{
    errors::Refusal,
    gate::{
        admission::Permit,
        forward::{Asked, Forwarder, Here, Routed, code_in, is_not_led, take_status},
        methods::PLACE_ORDER,
        traced::{self, Carried},
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

/// How other nodes are asked for a stream.
pub(super) struct Way {
    pub(super) docket: Docket,
    pub(super) forwarder: Arc<Forwarder>,
    /// Whose orders these are.
    pub(super) principal: ForwardedPrincipal,
    pub(super) carried: Carried,
}

/// An order that is placed wherever it is led.
pub(super) struct Anywhere {
    pub(super) way: Arc<Way>,
    pub(super) request: ReceivedOrder,
    pub(super) call: Call,
    pub(super) order: PlaceOrder,
    pub(super) deadline: Instant,
    pub(super) started: Instant,
    pub(super) place: window::Place,
    pub(super) permit: Permit,
    /// Where it is sampled.
    pub(super) span: Option<Span>,
}

/// An order that another node was asked to place.
pub(super) struct There {
    forwarding: Forwarding,
    /// Since when that node is not known to lead any more.
    left: Option<Instant>,
    deadline: Instant,
    /// `None` when it is answered.
    order: Option<Anywhere>,
    /// The asking, where the order is sampled.
    hop: Option<Span>,
}

impl Anywhere {
    /// Has it placed.
    pub(super) fn begin(self) -> InFlight {
        let (docket, customer) = (&self.way.docket, &self.order.customer);
        if let Place::Node(node) = docket.place_of(&Key::Customer(customer.clone())) {
            let Way {
                principal, carried, ..
            } = &*self.way;
            let hop = self.span.as_ref();
            let hop = hop.map(|span| traced::hop(docket, span.scope(), PLACE_ORDER, node));
            let own = hop.as_ref().map(|hop| Carried::under(hop.scope()));
            let Carried {
                traceparent,
                tracestate,
            } = own.as_ref().unwrap_or(carried);
            let carried = (&**traceparent, &**tracestate);
            let body = Forward::encode_order(PLACE_ORDER, &self.request, principal, carried);
            if let Some(forwarding) = docket.begin_forward(customer, node, body, self.deadline) {
                return InFlight::There(There {
                    forwarding,
                    left: None,
                    deadline: self.deadline,
                    order: Some(self),
                    hop,
                });
            }
        }
        InFlight::Routed(self.route().boxed())
    }

    /// Has it placed here, or looks for who leads it.
    async fn route(self) -> Settled {
        let outcome = self.place_where_led().await;
        self.settled(outcome)
    }

    async fn place_where_led(&self) -> Outcome {
        let Way {
            docket,
            forwarder,
            principal,
            carried,
        } = &*self.way;
        let key = Key::Customer(self.order.customer.clone());
        let here = || async {
            match docket.place_order(self.call.clone(), self.order.clone()).await {
                Err(CallError::Unavailable { reason, retry_after }) => {
                    Here::NotLed(Err(CallError::Unavailable { reason, retry_after }))
                }
                answer => Here::Done(answer),
            }
        };
        // What another node is told is only written where one is asked.
        if docket.place_of(&key) == Place::Here
            && let Here::Done(answer) = here().await
        {
            return Outcome::Here(answer);
        }
        let asked = Asked {
            key,
            method: PLACE_ORDER,
            message: self.request.encode().into(),
            principal: Some(principal.clone()),
            address: String::new(),
            carried: carried.clone(),
            scope: self.span.as_ref().map(Span::scope).cloned(),
            deadline: self.deadline,
        };
        match forwarder.route(&asked, here).await {
            Routed::Here(answer) => Outcome::Here(answer),
            Routed::There { message, leader } => placed(message, leader),
            Routed::Refused { status, .. } => Outcome::Refused(status),
        }
    }

    fn settled(self, outcome: Outcome) -> Settled {
        let about = About {
            request_id: self.request.into_request_id(),
            started: self.started,
            place: self.place,
            permit: self.permit,
            span: self.span,
        };
        Settled { about, outcome }
    }
}

impl There {
    /// After this it is too late.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it is to be given up: it is late, or the node that was asked leads it no more and has not answered for a while.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        match self.forwarding.is_led() {
            true => self.left = None,
            false => _ = self.left.get_or_insert(now),
        }
        let is_left = |since: Instant| now.duration_since(since) >= ANSWER_GRACE;
        self.deadline <= now || self.left.is_some_and(is_left)
    }

    /// Answers it, if it is over. What was said in time, and nobody has heard yet, counts.
    pub(super) fn give_up(&mut self, now: Instant, cx: &mut Context<'_>) -> Option<Next> {
        if !self.is_over(now) {
            return None;
        }
        // Also where this task has polled so much that it is to let others go first: then nothing would seem to be said.
        match unconstrained(&mut *self).poll_unpin(cx) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => Some(Next::Settled(self.order.take()?.settled(unknown()))),
        }
    }
}

/// How an order that another node was asked for goes on.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are settled, and a box is what is spared here"
)]
pub(super) enum Next {
    Settled(Settled),
    /// Nothing was done: it is looked for who leads it.
    Again(InFlight),
}

impl Future for There {
    type Output = Next;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let answer = ready!(self.forwarding.poll_unpin(cx));
        let leader = self.forwarding.node();
        if let Some(hop) = self.hop.take() {
            traced::end_hop(hop, code_in(&answer));
        }
        let Some(order) = self.order.take() else {
            return Poll::Pending;
        };
        let outcome = match answer {
            Ok(Forwarded::Message(message)) => Some(placed(message, leader)),
            Ok(Forwarded::Status(status)) => match take_status(status) {
                status if is_not_led(&status) => None,
                status => Some(Outcome::Refused(status)),
            },
            Ok(Forwarded::NotLeader(_)) => None,
            Err(ForwardError { why, may_be_done }) => {
                tracing::debug!(%why, may_be_done, "an order was not placed by the node that was asked");
                may_be_done.then(unknown)
            }
        };
        Poll::Ready(match outcome {
            Some(outcome) => Next::Settled(order.settled(outcome)),
            None => Next::Again(InFlight::Routed(order.route().boxed())),
        })
    }
}

/// What another node has made of an order.
fn placed(message: Bytes, leader: u64) -> Outcome {
    if message.is_empty() {
        tracing::error!(%leader, "a node says nothing of an order");
        return unknown();
    }
    // What was received holds on to all that came with it.
    Outcome::There(Bytes::copy_from_slice(&message))
}

fn unknown() -> Outcome {
    Outcome::Refused(Refusal::from(CallError::OutcomeUnknown).into())
}
