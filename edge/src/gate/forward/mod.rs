//! Calls about what is led on another node: any node takes them, and has them done where that is.
//!
//! ```text
//!   gate ─▶ Forwarder ─▶ led here: service
//!                │
//!                └─────▶ led elsewhere: method, message, principal ─▶ Answering on that node ─▶ service there (an order: at once)
//! ```
//!
//! What it guarantees:
//! - The node that a client calls authenticates it, and holds it against the limits and the table of permissions; the other does what it asks as
//!   that principal, without asking for credentials again, and never passes it on.
//! - A call is tried again, within its time, only where nothing of it was done. Where that is not known the client is told so.
//! - The reply names who did it, so that a client can go there at once the next time: [`LEADER`], [`LEADER_ADDRESS`].
//!
//! A node that stands alone has no forwarder.

mod answering;
mod keys;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use docket_actors::{CallError, Docket, ForwardError, Key, Place};
use docket_proto::{
    ReceivedOrder,
    peer::{ForwardStatus, forward_reply::Result as Forwarded},
    peer_call::{Forward, ForwardedPrincipal},
    v1,
};
use docket_traces::{Scope, Span};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use prost::Message as _;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

pub(crate) use self::answering::Answering;
pub(super) use self::answering::taken;
pub(super) use self::keys::is_keyed;
use super::{
    CallContext, GRPC_CONTENT_TYPE, RequestBody, Route,
    admission::Permit,
    body::code_of,
    methods::{PLACE_ORDER, SHIP_ORDER},
    traced::{self, Carried},
};
use crate::{errors::Refusal, telemetry};

/// The metadata of a reply that says which node did what was asked.
const LEADER: HeaderName = HeaderName::from_static("docket-leader");
/// And where that node serves clients, where it has said so.
const LEADER_ADDRESS: HeaderName = HeaderName::from_static("docket-leader-address");
/// How long a call waits for a leader: as long as an election takes. Then the client is told to come again.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(4);
/// How long a credential that is not known here waits until more is.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);
/// Between two tries, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// When a client is told to come again.
const RETRY: Duration = Duration::from_millis(250);
/// gRPC's frame: a flag and a length.
const FRAME_HEAD: usize = 5;
/// The reasons with which a service says that it does not lead what the call is about, and has done nothing.
const NOT_LED: [&str; 2] = ["SHARD_UNAVAILABLE", "META_UNAVAILABLE"];

/// Has calls done where what they are about is led.
pub(crate) struct Forwarder {
    docket: Docket,
    request_bytes_max: usize,
}

/// A call with all that its way needs.
pub(crate) struct Asked {
    pub(crate) key: Key,
    pub(crate) method: &'static str,
    pub(crate) message: Bytes,
    pub(crate) principal: Option<ForwardedPrincipal>,
    pub(crate) address: String,
    pub(crate) carried: Carried,
    /// Where it is sampled.
    pub(crate) scope: Option<Scope>,
    pub(crate) deadline: Instant,
}

/// What this node makes of a call that it takes itself to lead.
pub(crate) enum Here<T> {
    /// It is answered.
    Done(T),
    /// It does not lead after all, says this answer, and nothing was done.
    NotLed(T),
}

/// What became of a call.
pub(crate) enum Routed<T> {
    /// This node has answered it.
    Here(T),
    /// The leader has.
    There { message: Bytes, leader: u64 },
    /// It was refused, or nobody could be asked.
    Refused { status: Status, leader: Option<u64> },
}

impl Forwarder {
    pub(crate) fn new(docket: Docket, request_bytes_max: usize) -> Self {
        Self {
            docket,
            request_bytes_max,
        }
    }

    /// Has a call done: here, by `here`, or where it is led.
    pub(crate) async fn route<T, F>(&self, asked: &Asked, here: impl Fn() -> F) -> Routed<T>
    where
        F: Future<Output = Here<T>>,
    {
        let until = asked.deadline.min(Instant::now() + LEADER_WAIT_MAX);
        let (mut pause, mut named) = (PAUSE_MIN, None);
        loop {
            let is_over = || Instant::now() >= until;
            let place = match named.take() {
                Some(node) => Place::Node(node),
                None => self.docket.place_of(&asked.key),
            };
            let mut leader = None;
            match place {
                Place::Here => match here().await {
                    Here::Done(answer) => return Routed::Here(answer),
                    Here::NotLed(answer) if is_over() => return Routed::Here(answer),
                    Here::NotLed(_) => {}
                },
                Place::Node(node) => {
                    leader = Some(node);
                    let hop = asked.scope.as_ref();
                    let hop = hop.map(|scope| traced::hop(&self.docket, scope, asked.method, node));
                    let call = asked.forward(hop.as_ref());
                    let forwarded = self.docket.forward(&asked.key, node, call, asked.deadline).await;
                    if let Some(hop) = hop {
                        traced::end_hop(hop, code_in(&forwarded));
                    }
                    match forwarded {
                        Ok(Forwarded::Message(message)) => {
                            return Routed::There {
                                message,
                                leader: node,
                            };
                        }
                        Ok(Forwarded::Status(status)) => {
                            let status = take_status(status);
                            if !is_not_led(&status) || is_over() {
                                return Routed::Refused { status, leader };
                            }
                        }
                        Ok(Forwarded::NotLeader(other)) => {
                            named = Some(other).filter(|other| *other != 0 && *other != node);
                        }
                        // A read has done nothing.
                        Err(error) if error.may_be_done && !keys::is_read(asked.method) => {
                            tracing::debug!(%error, "what became of a forwarded call is not known");
                            let status = Refusal::from(CallError::OutcomeUnknown).into();
                            return Routed::Refused { status, leader };
                        }
                        Err(error) => tracing::debug!(%error, "a call was not forwarded"),
                    }
                }
                Place::Unknown => self.docket.look_for(&asked.key, until).await,
            }
            if is_over() {
                let status = no_leader().into();
                return Routed::Refused { status, leader };
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Serves a unary call that the gate has let in, by the service behind `route` where it is led here.
    pub(super) async fn serve(
        &self,
        (method, route): (&'static str, &Route),
        request: Request<RequestBody>,
        client: SocketAddr,
        deadline: Instant,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let whole = body.arrived();
        let framed = match collect(body, self.request_bytes_max + FRAME_HEAD + 1).await {
            Ok(framed) => framed,
            Err(status) => return status.into_http(),
        };
        let here = || async {
            let request = Request::from_parts(parts.clone(), whole.body(framed.clone()));
            match route.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        let asked = message_in(&framed).and_then(|message| {
            let context = parts.extensions.get::<CallContext>();
            Some(Asked {
                key: keys::key_of(method, &message)?,
                method,
                message,
                principal: context.map(|context| ForwardedPrincipal::of(&context.principal)),
                address: client.ip().to_string(),
                carried: Carried::of(&parts.headers),
                scope: parts.extensions.get().cloned(),
                deadline,
            })
        });
        // What names nothing is refused, which every node can do.
        let Some(asked) = asked else {
            return here().await;
        };
        if method == PLACE_ORDER
            && ReceivedOrder::decode(&asked.message).is_ok_and(|order| order.is_paid_outside())
        {
            if let Some(permit) = parts.extensions.get::<Arc<Permit>>() {
                permit.wait_outside();
            }
            // An older node would have the customer's account pay: here it is refused.
            if !self.docket.knows_providers() {
                return here().await;
            }
        }
        // An older node would pass over which plan is meant, and send all that is open: here it is refused.
        if method == SHIP_ORDER && is_of_plan(&asked.message) && !self.docket.knows_plans() {
            return here().await;
        }
        let led = || async {
            let response = here().await;
            match is_not_led_in(response.headers()) {
                true => Here::NotLed(response),
                false => Here::Done(response),
            }
        };
        match self.route(&asked, led).await {
            Routed::Here(response) => response,
            Routed::There { message, leader } => {
                if asked.key == Key::Accounts {
                    // Whoever is given a credential uses it next, and most likely here.
                    self.docket.catch_up_accounts(deadline).await;
                }
                let mut response = reply(message);
                self.hint(leader, response.headers_mut());
                telemetry::forwarded("answered");
                response
            }
            Routed::Refused { status, leader } => {
                let mut response = status.into_http();
                if let Some(leader) = leader {
                    self.hint(leader, response.headers_mut());
                    telemetry::forwarded("refused");
                }
                response
            }
        }
    }

    /// Waits until this node knows of accounts what their leader knew, if that does not take long.
    pub(super) async fn catch_up(&self, now: Instant) {
        self.docket.catch_up_accounts(now + CATCH_UP_MAX).await;
    }

    /// Says who leads what was asked about.
    fn hint(&self, leader: u64, headers: &mut HeaderMap) {
        headers.insert(LEADER, HeaderValue::from(leader));
        let address = self.docket.client_address(leader);
        if let Some(address) = address.and_then(|address| HeaderValue::try_from(address).ok()) {
            headers.insert(LEADER_ADDRESS, address);
        }
    }
}

impl Asked {
    /// The call as the other node gets it, under this hop where it is sampled.
    fn forward(&self, hop: Option<&Span>) -> Forward {
        let carried = match hop {
            Some(hop) => Carried::under(hop.scope()),
            None => self.carried.clone(),
        };
        Forward {
            method: self.method.to_owned(),
            message: self.message.clone(),
            principal: self.principal.clone(),
            address: self.address.clone(),
            traceparent: carried.traceparent,
            tracestate: carried.tracestate,
        }
    }
}

/// The code with which a node says that a call ended.
pub(crate) fn code_said(forwarded: &Forwarded) -> Code {
    match forwarded {
        Forwarded::Message(_) => Code::Ok,
        Forwarded::Status(status) => Code::from(status.code),
        Forwarded::NotLeader(_) => Code::FailedPrecondition,
    }
}

/// The code with which a call to another node ended.
pub(crate) fn code_in(forwarded: &Result<Forwarded, ForwardError>) -> Code {
    match forwarded {
        Ok(forwarded) => code_said(forwarded),
        Err(error) if error.may_be_done => Code::Unknown,
        Err(_) => Code::Unavailable,
    }
}

fn no_leader() -> Refusal {
    CallError::Unavailable {
        reason: "no leader answers",
        retry_after: RETRY,
    }
    .into()
}

/// Whether a service says that it has done nothing, since what the call is about is not led there.
pub(crate) fn is_not_led(status: &Status) -> bool {
    status.code() == Code::Unavailable
        && status
            .get_details_error_info()
            .is_some_and(|info| NOT_LED.contains(&info.reason.as_str()))
}

/// Whether what is to be sent is a plan.
fn is_of_plan(message: &Bytes) -> bool {
    v1::ShipOrderRequest::decode(&**message).is_ok_and(|asked| asked.fulfilment != 0)
}

fn is_not_led_in(headers: &HeaderMap) -> bool {
    code_of(headers) == Some(Code::Unavailable)
        && Status::from_header_map(headers).is_some_and(|status| is_not_led(&status))
}

/// All of a body, or as much of it as shows that it is more than it may be.
async fn collect(
    mut body: impl http_body::Body<Data = Bytes, Error = Status> + Unpin,
    most: usize,
) -> Result<Bytes, Status> {
    let mut first = None::<Bytes>;
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        match &first {
            None => first = Some(data),
            Some(begin) => {
                if more.is_empty() {
                    more.extend_from_slice(begin);
                }
                more.extend_from_slice(&data);
            }
        }
        if more.len().max(first.as_ref().map_or(0, Bytes::len)) >= most {
            break;
        }
    }
    match more.is_empty() {
        true => Ok(first.unwrap_or_default()),
        false => Ok(more.freeze()),
    }
}

/// The one message in a call's body; `None` where there is another number of them, part of one, or a compressed one. The service says
/// what is wrong with those.
pub(crate) fn message_in(framed: &Bytes) -> Option<Bytes> {
    let (flag, length) = (framed.first()?, framed.get(1..FRAME_HEAD)?);
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let is_one = *flag == 0 && framed.len() - FRAME_HEAD == length;
    is_one.then(|| framed.slice(FRAME_HEAD..))
}

/// A message as a call's body.
pub(crate) fn frame(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(FRAME_HEAD + message.len());
    framed.put_u8(0);
    // No message is longer than a call between nodes may be.
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(message);
    framed.freeze()
}

/// The reply with this message.
fn reply(message: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::Ok as i32));
    let body = Full::new(frame(&message)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

fn put_status(status: &Status) -> ForwardStatus {
    ForwardStatus {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
    }
}

pub(crate) fn take_status(status: ForwardStatus) -> Status {
    Status::with_details(Code::from(status.code), status.message, status.details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_one_message_or_is_left_to_the_service() {
        let message = Bytes::from_static(b"message");
        let framed = frame(&message);
        assert_eq!(message_in(&framed), Some(message));
        for wrong in [
            Bytes::new(),
            framed.slice(..4),
            framed.slice(..framed.len() - 1),
            [&framed[..], b"x"].concat().into(),
            [b"\x01", &framed[1..]].concat().into(),
        ] {
            assert_eq!(message_in(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_shipment_that_an_older_node_would_misread_is_told_from_others() {
        let asked = |fulfilment| {
            let asked = v1::ShipOrderRequest {
                name: "orders/x".into(),
                fulfilment,
                ..v1::ShipOrderRequest::default()
            };
            Bytes::from(asked.encode_to_vec())
        };
        assert!(is_of_plan(&asked(1)) && is_of_plan(&asked(-1)));
        assert!(!is_of_plan(&asked(0)) && !is_of_plan(&Bytes::from_static(b"\xff")));
    }

    #[test]
    fn only_who_has_done_nothing_is_asked_again() {
        for (error, expected) in [
            (
                CallError::Unavailable {
                    reason: "x",
                    retry_after: RETRY,
                },
                true,
            ),
            (CallError::OutcomeUnknown, false),
            (CallError::Overloaded { retry_after: RETRY }, false),
            (CallError::DeadlineExceeded, false),
        ] {
            let status = Status::from(Refusal::from(error));
            assert_eq!(is_not_led(&status), expected, "{status}");
            let there = take_status(put_status(&status));
            assert_eq!(is_not_led(&there), expected, "{there}");
        }
    }
}
