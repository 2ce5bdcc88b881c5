//! The trace of a call: what its client says of it, and the span of what is done here.
//!
//! A span is begun behind admission, so that nobody who is not let in can have one made.

use std::time::Instant;

use docket_actors::Docket;
use docket_engine::TraceId;
use docket_traces::{Context, Kind, Scope, Span, TRACEPARENT_BYTES_MAX, TRACESTATE_BYTES_MAX, Tracer};
use http::{HeaderMap, HeaderName};
use tonic::Code;

/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The two headers, as they go on to another node: empty where there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) traceparent: String,
    pub(crate) tracestate: String,
}

impl Carried {
    /// As the client has sent them.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let traceparent = traceparent.filter(|value| value.len() <= TRACEPARENT_BYTES_MAX);
        Self {
            traceparent: traceparent.unwrap_or_default().to_owned(),
            tracestate: tracestate(headers),
        }
    }

    /// Of a call that is made under this.
    pub(crate) fn under(scope: &Scope) -> Self {
        let context = scope.context();
        Self {
            traceparent: context.traceparent(),
            tracestate: context.tracestate().to_owned(),
        }
    }

    /// What they say.
    pub(crate) fn context(&self) -> Option<Context> {
        Context::read(&self.traceparent, Some(&self.tracestate))
    }
}

/// What a call's client says of its trace. What is no context counts as none.
pub(crate) fn given(headers: &HeaderMap) -> Option<Context> {
    let traceparent = headers.get(TRACEPARENT)?.to_str().ok()?;
    Context::read(traceparent, Some(&tracestate(headers)))
}

/// All headers of it in one, as they may come; empty where that is too long to be carried on.
fn tracestate(headers: &HeaderMap) -> String {
    let mut all = String::new();
    for part in headers.get_all(TRACESTATE) {
        let Ok(part) = part.to_str() else {
            return String::new();
        };
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(part);
        if all.len() > TRACESTATE_BYTES_MAX {
            return String::new();
        }
    }
    all
}

/// The trace's id, as orders' events keep it.
pub(crate) fn id_of(context: &Context) -> TraceId {
    TraceId(context.trace_id)
}

/// Begins the span of a call to this node, if it is sampled.
#[inline]
pub(crate) fn begin(
    tracer: &Tracer,
    path: &'static str,
    given: Option<&Context>,
    started: Instant,
) -> Option<Span> {
    let span = tracer.begin((name_of(path), Kind::Server), given, started)?;
    Some(described(span, path))
}

/// The same of a call that another node has let in, and decided on.
pub(crate) fn follow(tracer: &Tracer, path: &'static str, carried: &Carried) -> Option<Span> {
    if carried.traceparent.is_empty() {
        return None;
    }
    let given = carried.context();
    let span = tracer.follow((name_of(path), Kind::Server), given.as_ref(), Instant::now())?;
    Some(described(span, path))
}

/// Begins the span of a call that this node makes to another one.
pub(crate) fn hop(docket: &Docket, scope: &Scope, path: &'static str, node: u64) -> Span {
    let mut span = described(scope.child(name_of(path), Kind::Client), path);
    span.set("docket.peer.node", node as i64);
    if let Some(address) = docket.address_of(node) {
        span.calls(&address);
    }
    span
}

/// By OpenTelemetry's conventions for calls: the method without its slash.
fn name_of(path: &'static str) -> &'static str {
    path.strip_prefix('/').unwrap_or(path)
}

pub(crate) fn described(mut span: Span, path: &'static str) -> Span {
    span.set("rpc.system", "grpc");
    if let Some((service, method)) = name_of(path).split_once('/') {
        span.set("rpc.service", service);
        span.set("rpc.method", method);
    }
    span
}

/// Ends the span of a call to this node, which was answered so.
pub(crate) fn end(mut span: Span, code: Code) {
    span.set("rpc.grpc.status_code", i64::from(code as i32));
    if is_server_error(code) {
        span.fail();
    }
}

/// The same of a call that this node has made.
pub(crate) fn end_hop(mut span: Span, code: Code) {
    span.set("rpc.grpc.status_code", i64::from(code as i32));
    if code != Code::Ok {
        span.fail();
    }
}

/// By the same conventions: a refusal is no fault of who refuses.
fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_a_client_says_goes_on_and_what_is_too_long_does_not() {
        let mut headers = HeaderMap::new();
        assert!(given(&headers).is_none());
        headers.insert(TRACEPARENT, HeaderValue::from_static(GIVEN));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let carried = Carried::of(&headers);
        assert_eq!((&*carried.traceparent, &*carried.tracestate), (GIVEN, "a=1,b=2"));
        let context = given(&headers).unwrap();
        assert_eq!(
            (context.traceparent(), context.tracestate()),
            (GIVEN.to_owned(), "a=1,b=2")
        );
        assert_eq!(carried.context(), Some(context));

        let long = HeaderValue::try_from("x".repeat(TRACESTATE_BYTES_MAX)).unwrap();
        headers.append(TRACESTATE, long);
        assert_eq!(Carried::of(&headers).tracestate, "");
        assert_eq!(given(&headers).unwrap().tracestate(), "");
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-garbage"));
        assert!(given(&headers).is_none());
    }
}
