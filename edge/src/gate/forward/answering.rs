//! What a node does for clients of other nodes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Weak},
    time::Instant,
};

use docket_actors::{Answer, AnswerForwarded, CallError, Place};
use docket_engine::access::Principal;
use docket_proto::{
    encode_forwarded_order,
    peer::forward_reply::Result as Forwarded,
    peer_call::{BadCall, Forward, ForwardedPrincipal, encode_forwarded},
};
use docket_traces::{Context, Span};
use futures::FutureExt;
use http::{HeaderValue, Method as HttpMethod, Request, Response, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tonic::{Code, Status, body::Body, transport::server::TcpConnectInfo};
use tracing::Instrument;

use super::{FRAME_HEAD, Forwarder, RETRY, code_said, frame, keys, put_status};
use crate::{
    errors::Refusal,
    gate::{
        CallContext, GRPC_CONTENT_TYPE, Gate, RequestBody,
        admission::Permit,
        body::code_of,
        methods::{Flow, Method, PLACE_ORDER},
        traced::{self, Carried, TRACEPARENT},
    },
    services::order::place_forwarded,
};

/// Answers clients' calls that other nodes have let in.
pub(crate) struct Answering {
    /// Weak, since the gate has the node, and the node this.
    gate: Weak<Gate>,
    callers: Arc<Callers>,
}

/// Who has called last: whoever makes many calls is read once.
#[derive(Default)]
struct Callers(Mutex<Vec<(ForwardedPrincipal, Arc<Principal>)>>);

/// So many are remembered.
const CALLERS_MAX: usize = 16;

impl Callers {
    fn read(&self, forwarded: &ForwardedPrincipal) -> Result<Arc<Principal>, BadCall> {
        let known = |known: &[(ForwardedPrincipal, Arc<Principal>)]| {
            let found = known.iter().find(|(bytes, _)| bytes == forwarded);
            found.map(|(_, principal)| Arc::clone(principal))
        };
        if let Some(principal) = known(&self.0.lock()) {
            return Ok(principal);
        }
        let read = (forwarded.detached(), Arc::new(forwarded.decode()?));
        let principal = Arc::clone(&read.1);
        let mut known = self.0.lock();
        if known.len() == CALLERS_MAX {
            known.remove(0);
        }
        known.push(read);
        Ok(principal)
    }
}

impl Answering {
    pub(crate) fn new(gate: &Arc<Gate>) -> Self {
        Self {
            gate: Arc::downgrade(gate),
            callers: Arc::default(),
        }
    }
}

impl AnswerForwarded for Answering {
    fn answer(&self, call: Forward, deadline: Instant) -> Answer {
        let Some(gate) = self.gate.upgrade() else {
            return answered(refused(Refusal::stopping()));
        };
        let carried = Carried {
            traceparent: call.traceparent.clone(),
            tracestate: call.tracestate.clone(),
        };
        let log = match carried.context() {
            Some(given) => {
                let trace = traced::id_of(&given);
                tracing::error_span!("forwarded", method = call.method, trace_id = %trace)
            }
            None => tracing::debug_span!("forwarded", method = call.method),
        };
        if call.method == PLACE_ORDER {
            let _entered = log.enter();
            let span = traced::follow(&gate.tracer, PLACE_ORDER, &carried);
            return place(&gate, &self.callers, &call, deadline, span);
        }
        let callers = Arc::clone(&self.callers);
        let answer = async move {
            let forwarded = answer(&gate, &callers, call, deadline).await;
            Ok(encode_forwarded(forwarded))
        };
        Answer::Works(answer.instrument(log).boxed())
    }
}

/// Begins an order. Whoever asked knows its deadline.
fn place(gate: &Gate, callers: &Callers, call: &Forward, deadline: Instant, span: Option<Span>) -> Answer {
    let begun = admit(gate, call).and_then(
        |Admitted {
             method,
             forwarder,
             permit,
         }| {
            // Of whoever places an order nothing is recorded here: its address is not read.
            let placing =
                context(method, callers, (call, None), deadline, span.as_ref()).and_then(|context| {
                    let (bytes, most) = (call.message.len(), forwarder.request_bytes_max);
                    if bytes > most {
                        let larger = format!("it has {bytes} bytes, and may have {most}");
                        return Err(Refusal::unreadable(&Status::out_of_range(larger)));
                    }
                    place_forwarded(&forwarder.docket, &context, &call.message, &permit)
                });
            Ok((placing.map_err(refused)?.untimed(), permit))
        },
    );
    let (placing, permit) = match begun {
        Ok(begun) => begun,
        Err(not_begun) => {
            end(span, &not_begun);
            return answered(not_begun);
        }
    };
    let answer = placing.map(move |placed| {
        drop(permit);
        let forwarded = placed.map_err(|error| refused(error.into()));
        if let Some(span) = span {
            traced::end(span, forwarded.as_ref().map_or_else(code_said, |_| Code::Ok));
        }
        Ok(match forwarded {
            Ok(order) => encode_forwarded_order(&order),
            Err(refused) => encode_forwarded(refused),
        })
    });
    Answer::Waits(answer.boxed())
}

/// What is known at once.
fn answered(forwarded: Forwarded) -> Answer {
    Answer::ready(Ok(encode_forwarded(forwarded)))
}

/// A call that this node does.
struct Admitted<'a> {
    method: &'a Method,
    forwarder: &'a Forwarder,
    permit: Permit,
}

/// Whether this node does a call, and has room for it.
fn admit<'a>(gate: &'a Gate, call: &Forward) -> Result<Admitted<'a>, Forwarded> {
    let found = gate.methods.find(&call.method).map(|(_, method)| method);
    let found = found.filter(|method| method.flow == Flow::Unary);
    let (Some(method), Some(forwarder)) = (found, &gate.forwarder) else {
        let refusal = Refusal::new(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method");
        return Err(refused(refusal.with("method", &call.method)));
    };
    // Never passed on: whoever asked knows better by now, or asks again.
    if let Some(key) = keys::key_of(&call.method, &call.message) {
        match forwarder.docket.place_of(&key) {
            Place::Here => {}
            Place::Node(node) => return Err(Forwarded::NotLeader(node)),
            Place::Unknown => return Err(Forwarded::NotLeader(0)),
        }
    }
    let permit = match gate.admission.admit(method.kind(), call.message.len()) {
        Ok(permit) => permit,
        Err(full) => {
            gate.telemetry.denied(full.limiter());
            return Err(refused(gate.admission.refusal(full)));
        }
    };
    permit.begin();
    Ok(Admitted {
        method,
        forwarder,
        permit,
    })
}

/// Ends the span of a call that is answered so.
fn end(span: Option<Span>, forwarded: &Forwarded) {
    if let Some(span) = span {
        traced::end(span, code_said(forwarded));
    }
}

async fn answer(gate: &Gate, callers: &Callers, call: Forward, deadline: Instant) -> Forwarded {
    let (method, permit) = match admit(gate, &call) {
        Ok(Admitted { method, permit, .. }) => (method, Arc::new(permit)),
        Err(not_begun) => return not_begun,
    };
    let body = RequestBody::whole(
        frame(&call.message),
        Arc::clone(&permit),
        Arc::clone(&gate.telemetry),
    );
    let carried = Carried {
        traceparent: call.traceparent.clone(),
        tracestate: call.tracestate.clone(),
    };
    let span = traced::follow(&gate.tracer, method.rule.path, &carried);
    let forwarded = match request(method, callers, call, body, deadline, span.as_ref()) {
        Ok(request) => match method.route.call(request).await {
            Ok(response) => taken(response).await,
            Err(never) => match never {},
        },
        Err(refusal) => refused(refusal),
    };
    end(span, &forwarded);
    forwarded
}

/// As whom a call is done that asks for credentials.
fn context(
    method: &Method,
    callers: &Callers,
    (call, address): (&Forward, Option<IpAddr>),
    deadline: Instant,
    span: Option<&Span>,
) -> Result<CallContext, Refusal> {
    match (&method.rule.grant, &call.principal) {
        (Some(grant), Some(principal)) => Ok(CallContext {
            // A newer node says of it what this one does not know: nothing was done, and that is not the client's fault.
            principal: callers.read(principal).map_err(|error| {
                tracing::error!(%error, "who calls by way of another node is not understood");
                Refusal::from(CallError::Unavailable {
                    reason: "this node does not understand who calls",
                    retry_after: RETRY,
                })
            })?,
            grant,
            deadline: Some(deadline),
            trace: Context::read(&call.traceparent, None).as_ref().map(traced::id_of),
            scope: span.map(Span::scope).cloned(),
            address,
        }),
        _ => {
            let message = "this method needs credentials";
            Err(Refusal::new(
                Code::Unauthenticated,
                "CREDENTIALS_MISSING",
                message,
            ))
        }
    }
}

/// The call as it would have arrived here.
fn request(
    method: &Method,
    callers: &Callers,
    call: Forward,
    body: RequestBody,
    deadline: Instant,
    span: Option<&Span>,
) -> Result<Request<RequestBody>, Refusal> {
    let mut request = Request::new(body);
    *request.method_mut() = HttpMethod::POST;
    *request.uri_mut() = http::Uri::from_static(method.rule.path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Ok(trace) = HeaderValue::try_from(&call.traceparent)
        && !trace.is_empty()
    {
        headers.insert(TRACEPARENT, trace);
    }
    if method.rule.grant.is_some() {
        let address = call.address.parse().ok();
        let context = context(method, callers, (&call, address), deadline, span)?;
        request.extensions_mut().insert(context);
    } else {
        // Who has no name is told apart by address.
        let address: IpAddr = call.address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(SocketAddr::new(address, 0)),
        });
    }
    Ok(request)
}

/// A service's reply, taken apart.
pub(in crate::gate) async fn taken(response: Response<Body>) -> Forwarded {
    let (parts, body) = response.into_parts();
    if code_of(&parts.headers).is_some() {
        return failed(Status::from_header_map(&parts.headers));
    }
    let collected = match body.collect().await {
        Ok(collected) => collected,
        Err(status) => return failed(Some(status)),
    };
    let trailers = collected.trailers().cloned().unwrap_or_default();
    if code_of(&trailers) != Some(Code::Ok) {
        return failed(Status::from_header_map(&trailers));
    }
    let framed = collected.to_bytes();
    match framed.len() >= FRAME_HEAD {
        true => Forwarded::Message(framed.slice(FRAME_HEAD..)),
        false => failed(None),
    }
}

fn failed(status: Option<Status>) -> Forwarded {
    let status = status.unwrap_or_else(|| Status::internal("a service ended its reply without a status"));
    // One without details was not made by a service: tonic could not read the request.
    if status.details().is_empty() {
        return refused(Refusal::unreadable(&status));
    }
    Forwarded::Status(put_status(&status))
}

fn refused(refusal: Refusal) -> Forwarded {
    Forwarded::Status(put_status(&refusal.into()))
}

#[cfg(test)]
mod tests {
    use docket_engine::access::{ApiKeyId, Credential, Role, Username};

    use super::*;

    #[test]
    fn who_calls_again_is_read_once_and_not_so_many_are_remembered() {
        let callers = Callers::default();
        let principal = |id: u8| Principal {
            account: Username::new("shop").unwrap(),
            role: Role::Service,
            customer: None,
            scopes: Role::Service.scopes(),
            credential: Credential::ApiKey(ApiKeyId([id; 12])),
        };
        let read = |id| callers.read(&ForwardedPrincipal::of(&principal(id))).unwrap();
        let first = read(0);
        assert_eq!(*first, principal(0));
        assert!(Arc::ptr_eq(&first, &read(0)));
        for id in 1..=100 {
            assert_eq!(*read(id), principal(id));
            assert!(callers.0.lock().len() <= CALLERS_MAX);
        }
        assert_eq!(*read(0), principal(0));
    }
}
