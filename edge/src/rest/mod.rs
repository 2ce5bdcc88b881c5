//! REST and JSON for those without gRPC, on a listener of its own.
//!
//! ```text
//!   HTTP/1.1 ─▶ route ─▶ gRPC's path and headers, a body that is JSON ─▶ the gate, the service ─▶ JSON, or google.rpc.Status as JSON
//! ```
//! There is one way in: what comes here becomes the call that a gRPC client would have made and passes the same gate, so that limits,
//! admission, credentials, permissions, deadlines, forwarding, audit and traces are the same, and counted the same. A body is read behind
//! all of that, and not before: what is refused has not been read. `docket-rest` has the routes and what becomes of JSON.

mod reply;
mod request;

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use docket_rest::{ContractError, Found, Gateway, document, http_status, retry_after, status_json};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts,
};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

pub(crate) use self::{
    reply::RestBody,
    request::{JsonBody, Piece},
};
use crate::{
    errors::Refusal,
    gate::{GRPC_CONTENT_TYPE, Gate, Peer, Source, begin_call},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Under which id a request may be repeated (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Behind which event a stream goes on, as browsers say it.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What of a request's headers is said to the gate, as it is: who calls, how long it waits, in which trace.
const CARRIED: [HeaderName; 5] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

/// What serves REST.
pub(crate) struct Rest {
    gate: Arc<Gate>,
    gateway: Gateway,
    document: Bytes,
    request_bytes_max: usize,
    /// One body that is costly to read at a time.
    costly: Arc<Semaphore>,
}

impl Rest {
    /// Before this gate.
    ///
    /// # Errors
    /// Where the routes do not fit the contract.
    pub(crate) fn new(gate: Arc<Gate>, request_bytes_max: usize) -> Result<Self, ContractError> {
        let gateway = Gateway::new()?;
        let document = Bytes::from(document(&gateway).to_string());
        Ok(Self {
            gate,
            gateway,
            document,
            request_bytes_max,
            costly: Arc::new(Semaphore::new(1)),
        })
    }

    /// Serves one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> Result<Response<RestBody>, Infallible> {
        begin_call();
        let (parts, incoming) = request.into_parts();
        if parts.uri.path() == DOCUMENT && parts.method == Method::GET {
            return Ok(self.tell_document(&peer));
        }
        let found = self
            .gateway
            .find(&parts.method, parts.uri.path(), parts.uri.query());
        let (route, json) = match found {
            Found::Asked(asked) => {
                let route = Arc::clone(asked.route());
                let asked = request::with_headers(asked, &parts.headers);
                let incoming = route.has_body().then_some(incoming);
                let asked = asked.and_then(|asked| match &incoming {
                    Some(incoming) if !incoming.is_end_stream() => {
                        request::is_json(&parts.headers).map(|()| asked)
                    }
                    _ => Ok(asked),
                });
                (
                    Ok(route),
                    JsonBody::new(asked, incoming, self.request_bytes_max, &self.costly),
                )
            }
            Found::OtherVerbs(verbs) => (
                Err(Some(verbs.join(", "))),
                JsonBody::none(incoming, &self.costly),
            ),
            Found::NoText | Found::Nothing => (Err(None), JsonBody::none(incoming, &self.costly)),
        };
        // Whoever guesses paths is counted and held back as who guesses methods: no method is called so.
        let path = route.as_ref().map_or("/", |route| route.method());
        let call = call(&parts.headers, path, json);
        let response = match Arc::clone(&self.gate).serve(Arc::clone(&peer), call).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        Ok(match route {
            Ok(route) if route.streams() => {
                let events = wants_events(&parts.headers);
                reply::stream(&self.gate, &peer, &route, response, events)
                    .unwrap_or_else(|told| refused(&peer, told))
            }
            Ok(route) => reply::unary(&self.gate, &route, response)
                .await
                .unwrap_or_else(|told| refused(&peer, told)),
            Err(verbs) => no_route(&peer, &parts, verbs, response.headers()),
        })
    }

    fn tell_document(&self, peer: &Arc<Peer>) -> Response<RestBody> {
        match self.gate.look(peer.address) {
            Ok(()) => {
                let mut response = Response::new(RestBody::free(self.document.clone(), peer));
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            }
            Err(refusal) => {
                peer.brake.refused(0);
                refused(peer, (refusal.into(), HeaderMap::new()))
            }
        }
    }
}

/// The call that a gRPC client would have made.
fn call(headers: &HeaderMap, path: &'static str, json: JsonBody) -> Request<Source> {
    let mut call = Request::new(Source::Json(Box::new(json)));
    *call.method_mut() = Method::POST;
    *call.uri_mut() = http::Uri::from_static(path);
    let carried = call.headers_mut();
    for name in &CARRIED {
        for value in headers.get_all(name) {
            carried.append(name, value.clone());
        }
    }
    carried.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    carried.insert(header::TE, HeaderValue::from_static("trailers"));
    call
}

/// Whether a stream is wanted as browsers read them.
fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut texts = accepted.filter_map(|value| value.to_str().ok());
    texts.any(|text| {
        text.split(',')
            .any(|kind| kind.trim_start().starts_with("text/event-stream"))
    })
}

/// What is told where there is no such path, or not for this verb, unless the gate has refused even to hear of it.
fn no_route(peer: &Arc<Peer>, parts: &Parts, verbs: Option<String>, told: &HeaderMap) -> Response<RestBody> {
    let headers = reply::carried(told);
    let status = Status::from_header_map(told);
    if let Some(status) = status.filter(|status| status.code() != Code::Unimplemented) {
        return refused(peer, (status, headers));
    }
    let path = parts.uri.path();
    let Some(verbs) = verbs else {
        let refusal = Refusal::new(
            Code::NotFound,
            "UNKNOWN_PATH",
            "there is no such path: /openapi.json has all",
        );
        return refused(peer, (refusal.with("path", path).into(), headers));
    };
    let refusal = Refusal::new(
        Code::Unimplemented,
        "VERB_NOT_ALLOWED",
        format!("this path is there for {verbs} only"),
    );
    let mut response = refused(peer, (refusal.with("path", path).into(), headers));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    if let Ok(verbs) = HeaderValue::try_from(verbs) {
        response.headers_mut().insert(header::ALLOW, verbs);
    }
    response
}

/// A refusal as HTTP has it.
fn refused(peer: &Arc<Peer>, (status, headers): (Status, HeaderMap)) -> Response<RestBody> {
    let json = status_json(&status).to_string();
    let mut response = Response::new(RestBody::free(json.into(), peer));
    *response.status_mut() = http_status(&status);
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if let Some(seconds) = retry_after(&status) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status.code() == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
