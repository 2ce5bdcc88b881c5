//! Spans in the words of OpenTelemetry's protocol.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource as PbResource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, SpanFlags, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};

use crate::{
    context::Context,
    span::{Attribute, Ended, Kind, Value},
};

/// Which program the spans are of, in `service.name`.
const SERVICE: &str = "docket";

/// Who exports: the same in every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The program's version.
    pub version: String,
    /// The cluster.
    pub cluster: String,
    /// The node, as the cluster names it.
    pub node: String,
    /// Where the node serves clients, which each span says that is a call to it.
    pub server: (String, u16),
}

/// How far the two clocks may come apart before they are compared anew. (Less is how they are read, and would put spans of one node out of order.)
const DRIFT_MAX_NS: u64 = 1_000_000;
/// How often they are read at a time: whoever is interrupted between the two sees them apart.
const READINGS: usize = 4;

/// What the clocks said at one moment: spans are timed by one that does not jump, and told by the one that people know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    monotonic: Instant,
    unix_ns: u64,
}

impl Clocks {
    pub(crate) fn now() -> Self {
        let read = || {
            let before = Instant::now();
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let took = before.elapsed();
            let clocks = Self {
                monotonic: before + took / 2,
                unix_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            };
            (took, clocks)
        };
        let mut best = read();
        for _ in 1..READINGS {
            let next = read();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }

    /// The same, unless they have come apart since.
    pub(crate) fn renewed(self) -> Self {
        let now = Self::now();
        let expected = self.unix_ns(now.monotonic);
        match expected.abs_diff(now.unix_ns) > DRIFT_MAX_NS {
            true => now,
            false => self,
        }
    }

    /// What the wall clock says of a moment, earlier or later.
    fn unix_ns(self, at: Instant) -> u64 {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        match at.checked_duration_since(self.monotonic) {
            Some(later) => self.unix_ns.saturating_add(ns(later)),
            None => self.unix_ns.saturating_sub(ns(self.monotonic.duration_since(at))),
        }
    }
}

/// The request that exports these spans.
pub(crate) fn request(resource: &Resource, clocks: Clocks, spans: &[Ended]) -> ExportTraceServiceRequest {
    let spans = spans.iter().map(|span| put_span(span, resource, clocks));
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(put_resource(resource)),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: SERVICE.to_owned(),
                    version: resource.version.clone(),
                    ..InstrumentationScope::default()
                }),
                spans: spans.collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn put_resource(resource: &Resource) -> PbResource {
    let known = [
        ("service.name", SERVICE),
        ("service.version", &resource.version),
        ("service.namespace", &resource.cluster),
        ("service.instance.id", &resource.node),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_empty());
    PbResource {
        attributes: known.map(|(key, value)| text(key, value.to_owned())).collect(),
        ..PbResource::default()
    }
}

fn put_span(span: &Ended, resource: &Resource, clocks: Clocks) -> Span {
    let Context {
        trace_id, span_id, ..
    } = &span.context;
    let mut attributes: Vec<_> = span.attributes.iter().map(put_attribute).collect();
    if span.kind == Kind::Server {
        let (address, port) = &resource.server;
        attributes.push(text("server.address", address.clone()));
        attributes.push(number("server.port", i64::from(*port)));
    }
    Span {
        trace_id: trace_id.to_vec(),
        span_id: span_id.to_vec(),
        trace_state: span.context.tracestate().to_owned(),
        parent_span_id: span.parent.map_or_else(Vec::new, |id| id.to_vec()),
        flags: flags(span.kind == Kind::Server && span.parent.is_some()),
        name: span.name.to_owned(),
        kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        }
        .into(),
        start_time_unix_nano: clocks.unix_ns(span.started),
        end_time_unix_nano: clocks.unix_ns(span.ended),
        attributes,
        links: span.link.iter().map(put_link).collect(),
        status: span.failed.then(|| Status {
            code: StatusCode::Error.into(),
            ..Status::default()
        }),
        ..Span::default()
    }
}

/// That it is sampled, and whether what it hangs under is of another process.
fn flags(is_remote: bool) -> u32 {
    let remote = match is_remote {
        true => SpanFlags::ContextIsRemoteMask as u32,
        false => 0,
    };
    1 | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

fn put_link(to: &Context) -> Link {
    Link {
        trace_id: to.trace_id.to_vec(),
        span_id: to.span_id.to_vec(),
        trace_state: to.tracestate().to_owned(),
        flags: flags(false),
        ..Link::default()
    }
}

fn put_attribute((key, value): &Attribute) -> KeyValue {
    match value {
        Value::Text(value) => text(key, value.clone().into_owned()),
        Value::Number(value) => number(key, *value),
    }
}

fn text(key: &str, value: String) -> KeyValue {
    pair(key, any_value::Value::StringValue(value))
}

fn number(key: &str, value: i64) -> KeyValue {
    pair(key, any_value::Value::IntValue(value))
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
