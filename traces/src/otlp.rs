//! Spans in the words of OpenTelemetry's protocol.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource as PbResource,
    trace::v1::{SpanFlags, span::SpanKind, status::StatusCode},
};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use crate::{
    context::Context,
    span::{Ended, Kind, SERVER_ADDRESS, SERVER_PORT, Value},
};

/// Which program the spans are of, in `service.name`.
const SERVICE: &str = "docket";

/// What a span takes, about.
const SPAN_BYTES: usize = 200;

// Numbers of the protocol's fields, which are for ever.
const RESOURCE_SPANS_OF_REQUEST: u32 = 1;
const RESOURCE_OF_RESOURCE_SPANS: u32 = 1;
const SCOPE_SPANS_OF_RESOURCE_SPANS: u32 = 2;
const SCOPE_OF_SCOPE_SPANS: u32 = 1;
const SPANS_OF_SCOPE_SPANS: u32 = 2;
const TRACE_ID_OF_SPAN: u32 = 1;
const SPAN_ID_OF_SPAN: u32 = 2;
const TRACE_STATE_OF_SPAN: u32 = 3;
const PARENT_OF_SPAN: u32 = 4;
const NAME_OF_SPAN: u32 = 5;
const KIND_OF_SPAN: u32 = 6;
const START_OF_SPAN: u32 = 7;
const END_OF_SPAN: u32 = 8;
const ATTRIBUTES_OF_SPAN: u32 = 9;
const EVENTS_OF_SPAN: u32 = 11;
const LINKS_OF_SPAN: u32 = 13;
const STATUS_OF_SPAN: u32 = 15;
const FLAGS_OF_SPAN: u32 = 16;
const TIME_OF_EVENT: u32 = 1;
const NAME_OF_EVENT: u32 = 2;
const TRACE_ID_OF_LINK: u32 = 1;
const SPAN_ID_OF_LINK: u32 = 2;
const TRACE_STATE_OF_LINK: u32 = 3;
const FLAGS_OF_LINK: u32 = 6;
const CODE_OF_STATUS: u32 = 3;
const KEY_OF_ATTRIBUTE: u32 = 1;
const VALUE_OF_ATTRIBUTE: u32 = 2;
const TEXT_OF_VALUE: u32 = 1;
const NUMBER_OF_VALUE: u32 = 3;

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

/// The request that exports these spans, encoded (`ExportTraceServiceRequest`). Spans are written as they are, not put in the protocol's messages before: those have
/// each text in a memory of its own, and an exporter that made them took a twentieth of a busy machine at a tenth of the calls.
pub(crate) fn request(resource: &Resource, clocks: Clocks, spans: &[Ended]) -> Bytes {
    let scope = InstrumentationScope {
        name: SERVICE.to_owned(),
        version: resource.version.clone(),
        ..InstrumentationScope::default()
    };
    let mut scope_spans = Vec::with_capacity(spans.len() * SPAN_BYTES);
    put_message(SCOPE_OF_SCOPE_SPANS, &scope, &mut scope_spans);
    let mut encoded = Vec::with_capacity(2 * SPAN_BYTES);
    for span in spans {
        encoded.clear();
        put_span(span, resource, clocks, &mut encoded);
        put_bytes(SPANS_OF_SCOPE_SPANS, &encoded, &mut scope_spans);
    }
    let mut resource_spans = Vec::with_capacity(scope_spans.len() + SPAN_BYTES);
    put_message(
        RESOURCE_OF_RESOURCE_SPANS,
        &put_resource(resource),
        &mut resource_spans,
    );
    put_bytes(SCOPE_SPANS_OF_RESOURCE_SPANS, &scope_spans, &mut resource_spans);
    let mut request = Vec::with_capacity(resource_spans.len() + SPAN_BYTES);
    put_bytes(RESOURCE_SPANS_OF_REQUEST, &resource_spans, &mut request);
    request.into()
}

fn put_message(tag: u32, message: &impl Message, to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(message.encoded_len() as u64, to);
    message.encode_raw(to);
}

fn put_bytes(tag: u32, bytes: &[u8], to: &mut Vec<u8>) {
    put_length(tag, bytes.len(), to);
    to.extend_from_slice(bytes);
}

/// The begin of a field of so many bytes.
fn put_length(tag: u32, bytes: usize, to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(bytes as u64, to);
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

/// A message `Span`. What is empty, or zero, is left out, as the protocol has it.
fn put_span(span: &Ended, resource: &Resource, clocks: Clocks, to: &mut Vec<u8>) {
    let Context {
        trace_id, span_id, ..
    } = &span.context;
    put_bytes(TRACE_ID_OF_SPAN, trace_id, to);
    put_bytes(SPAN_ID_OF_SPAN, span_id, to);
    put_text(TRACE_STATE_OF_SPAN, span.context.tracestate(), to);
    if let Some(parent) = &span.parent {
        put_bytes(PARENT_OF_SPAN, parent, to);
    }
    put_text(NAME_OF_SPAN, span.name, to);
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    put_number(KIND_OF_SPAN, kind as u64, to);
    put_fixed64(START_OF_SPAN, clocks.unix_ns(span.started), to);
    put_fixed64(END_OF_SPAN, clocks.unix_ns(span.ended), to);
    let part = span.part.as_deref();
    let of_part = part.into_iter().flat_map(|part| &part.attributes);
    for (key, value) in span.attributes.iter().chain(of_part) {
        put_attribute(key, value.into(), to);
    }
    if span.kind == Kind::Server {
        let (address, port) = &resource.server;
        put_attribute(SERVER_ADDRESS, Told::Text(address), to);
        put_attribute(SERVER_PORT, Told::Number(i64::from(*port)), to);
    }
    for (name, at) in part.into_iter().flat_map(|part| &part.events) {
        put_length(EVENTS_OF_SPAN, FIXED64_BYTES + text_bytes(name), to);
        put_fixed64(TIME_OF_EVENT, clocks.unix_ns(*at), to);
        put_text(NAME_OF_EVENT, name, to);
    }
    if let Some(link) = &span.link {
        put_link(link, to);
    }
    if span.failed {
        put_length(STATUS_OF_SPAN, 2, to);
        put_number(CODE_OF_STATUS, StatusCode::Error as u64, to);
    }
    let is_remote = span.kind == Kind::Server && span.parent.is_some();
    put_fixed32(FLAGS_OF_SPAN, flags(is_remote), to);
}

/// A message `Link` in a span.
fn put_link(link: &Context, to: &mut Vec<u8>) {
    let ids = 2 + link.trace_id.len() + 2 + link.span_id.len();
    put_length(
        LINKS_OF_SPAN,
        ids + text_bytes(link.tracestate()) + FIXED32_BYTES,
        to,
    );
    put_bytes(TRACE_ID_OF_LINK, &link.trace_id, to);
    put_bytes(SPAN_ID_OF_LINK, &link.span_id, to);
    put_text(TRACE_STATE_OF_LINK, link.tracestate(), to);
    put_fixed32(FLAGS_OF_LINK, flags(false), to);
}

/// The value of an attribute.
enum Told<'a> {
    Text(&'a str),
    Number(i64),
}

impl<'a> From<&'a Value> for Told<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Number(number) => Self::Number(*number),
        }
    }
}

/// A message `KeyValue` in a span. (A value is written also where it is empty, or zero: it is one of several.)
fn put_attribute(key: &str, value: Told<'_>, to: &mut Vec<u8>) {
    let value_bytes = 1 + match value {
        Told::Text(text) => encoded_len_varint(text.len() as u64) + text.len(),
        Told::Number(number) => encoded_len_varint(number as u64),
    };
    let length = text_bytes(key) + 1 + encoded_len_varint(value_bytes as u64) + value_bytes;
    put_length(ATTRIBUTES_OF_SPAN, length, to);
    put_text(KEY_OF_ATTRIBUTE, key, to);
    put_length(VALUE_OF_ATTRIBUTE, value_bytes, to);
    match value {
        Told::Text(text) => put_bytes(TEXT_OF_VALUE, text.as_bytes(), to),
        Told::Number(number) => put_number(NUMBER_OF_VALUE, number as u64, to),
    }
}

/// What a field with a number below 16 takes, of this type.
const FIXED64_BYTES: usize = 1 + 8;
const FIXED32_BYTES: usize = 1 + 4;

/// The same of a text.
fn text_bytes(text: &str) -> usize {
    match text.len() {
        0 => 0,
        length => 1 + encoded_len_varint(length as u64) + length,
    }
}

fn put_text(tag: u32, text: &str, to: &mut Vec<u8>) {
    if !text.is_empty() {
        put_bytes(tag, text.as_bytes(), to);
    }
}

fn put_number(tag: u32, number: u64, to: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, to);
    encode_varint(number, to);
}

fn put_fixed64(tag: u32, number: u64, to: &mut Vec<u8>) {
    encode_key(tag, WireType::SixtyFourBit, to);
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_fixed32(tag: u32, number: u32, to: &mut Vec<u8>) {
    encode_key(tag, WireType::ThirtyTwoBit, to);
    to.extend_from_slice(&number.to_le_bytes());
}

/// That it is sampled, and whether what it hangs under is of another process.
fn flags(is_remote: bool) -> u32 {
    let remote = match is_remote {
        true => SpanFlags::ContextIsRemoteMask as u32,
        false => 0,
    };
    1 | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{
            Span, Status,
            span::{Event, Link},
        },
    };

    use super::*;
    use crate::span::Part;

    fn number(key: &str, value: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::IntValue(value)),
            }),
            ..KeyValue::default()
        }
    }

    /// What is written by hand is what the protocol's own messages say.
    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let clocks = Clocks::now();
        let at = |ns| clocks.monotonic + Duration::from_nanos(ns);
        let context = |byte: u8, state: Option<&str>| Context {
            trace_id: [byte; 16],
            span_id: [byte; 8],
            sampled: true,
            state: state.map(Arc::from),
        };
        let long = "x".repeat(300);
        let part = Part {
            name: "part",
            started: at(0),
            ended: at(1),
            attributes: vec![("of.all", Value::Number(i64::MAX))],
            events: vec![("begun", at(3)), ("done", at(4))],
        };
        let full = Ended {
            context: context(1, Some("a=1")),
            parent: Some([2; 8]),
            name: "service/Method",
            kind: Kind::Server,
            started: at(5),
            ended: at(7),
            attributes: vec![
                ("text", Value::Text(long.clone().into())),
                ("empty", "".into()),
                ("zero", 0.into()),
                ("negative", (-1).into()),
            ],
            part: Some(Arc::new(part)),
            link: Some(context(3, Some("b=2"))),
            failed: true,
        };
        let bare = Ended {
            context: context(4, None),
            parent: None,
            name: "bare",
            kind: Kind::Internal,
            attributes: Vec::new(),
            part: None,
            link: None,
            failed: false,
            ..full.clone()
        };
        let resource = Resource {
            server: ("shop.example".to_owned(), 7_070),
            ..Resource::default()
        };
        let encoded = request(&resource, clocks, &[full, bare]);
        let decoded = ExportTraceServiceRequest::decode(encoded).unwrap();
        let spans = &decoded.resource_spans[0].scope_spans[0].spans;
        let ns = |ns| clocks.unix_ns(at(ns));
        let event = |name: &str, at| Event {
            time_unix_nano: ns(at),
            name: name.to_owned(),
            ..Event::default()
        };
        let expected = Span {
            trace_id: vec![1; 16],
            span_id: vec![1; 8],
            trace_state: "a=1".to_owned(),
            parent_span_id: vec![2; 8],
            flags: flags(true),
            name: "service/Method".to_owned(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: ns(5),
            end_time_unix_nano: ns(7),
            attributes: vec![
                text("text", long),
                text("empty", String::new()),
                number("zero", 0),
                number("negative", -1),
                number("of.all", i64::MAX),
                text("server.address", "shop.example".to_owned()),
                number("server.port", 7_070),
            ],
            events: vec![event("begun", 3), event("done", 4)],
            links: vec![Link {
                trace_id: vec![3; 16],
                span_id: vec![3; 8],
                trace_state: "b=2".to_owned(),
                flags: flags(false),
                ..Link::default()
            }],
            status: Some(Status {
                code: StatusCode::Error.into(),
                ..Status::default()
            }),
            ..Span::default()
        };
        assert_eq!(spans[0], expected);
        let expected = Span {
            trace_id: vec![4; 16],
            span_id: vec![4; 8],
            flags: flags(false),
            name: "bare".to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: ns(5),
            end_time_unix_nano: ns(7),
            ..Span::default()
        };
        assert_eq!(spans[1..], [expected]);
    }
}
