//! Spans on their way to a collector.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use docket_traces::{Endpoint, ExportOptions, Exporter, Kind, Part, Resource, Tracer, TracerOptions, Value};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Sink {
    /// Serves, from now on.
    fn serve(&self, listener: TcpListener) {
        let incoming = TcpListenerStream::new(listener);
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn options(address: SocketAddr) -> ExportOptions {
    ExportOptions {
        endpoint: Endpoint {
            address: format!("http://{address}"),
            ca: None,
        },
        timeout: Duration::from_secs(5),
        resource: Resource {
            version: "1.2.3".to_owned(),
            cluster: "c".to_owned(),
            node: "7".to_owned(),
            server: ("shop.example".to_owned(), 7_070),
        },
    }
}

fn string_or_number(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn tracer(queue_spans_max: usize) -> Tracer {
    Tracer::new(TracerOptions {
        ratio: 1.0,
        queue_spans_max,
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_as_they_were_with_what_they_hang_under() {
    let (listener, address) = bound().await;
    let sink = Sink::default();
    sink.serve(listener);
    let tracer = tracer(100);
    let exporter = Exporter::start(&tracer, options(address)).unwrap();

    let mut call = tracer
        .begin(("service/Method", Kind::Server), None, Instant::now())
        .unwrap();
    call.set("rpc.system", "grpc");
    call.set("rpc.grpc.status_code", 14);
    call.fail();
    let other = tracer
        .begin(("other", Kind::Internal), None, Instant::now())
        .unwrap();
    let mut part = call.scope().child("part", Kind::Internal);
    part.link(other.scope());
    call.scope()
        .note("over", (call.scope().began(), Instant::now()), Vec::new());
    let mut deep = part.scope().child("deep", Kind::Client);
    deep.calls("[::1]:7071");
    deep.fail_by("unknown");
    let together = Part {
        name: "together",
        started: call.scope().began(),
        ended: Instant::now(),
        attributes: vec![("docket.log.records", Value::Number(2))],
        events: vec![("in between", Instant::now())],
    };
    together.note(&[
        (call.scope().clone(), None),
        (other.scope().clone(), Some("conflict")),
    ]);
    let scope = call.scope().context().clone();
    drop((part, deep, call, other));
    exporter.stop(Duration::from_secs(10)).await;

    let spans = sink.spans();
    let find = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        let one = found.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
        assert!(found.next().is_none(), "one {name}");
        one
    };
    let (call, part, over, deep, other) = (
        find("service/Method"),
        find("part"),
        find("over"),
        find("deep"),
        find("other"),
    );
    assert_eq!(call.trace_id, scope.trace_id);
    assert_eq!(call.span_id, scope.span_id);
    assert_eq!(call.parent_span_id, Vec::<u8>::new());
    for (below, above) in [(part, call), (over, call), (deep, part)] {
        assert_eq!(
            (&below.trace_id, &below.parent_span_id),
            (&call.trace_id, &above.span_id)
        );
        assert!(below.start_time_unix_nano >= above.start_time_unix_nano);
        assert!(below.end_time_unix_nano >= below.start_time_unix_nano);
    }
    assert_eq!(
        (part.links[0].trace_id.clone(), part.links[0].span_id.clone()),
        (other.trace_id.clone(), other.span_id.clone())
    );
    assert_ne!(other.trace_id, call.trace_id);
    for above in [call, other] {
        let mut of_one = spans
            .iter()
            .filter(|span| span.name == "together" && span.trace_id == above.trace_id);
        let one = of_one.next().unwrap();
        assert_eq!(one.parent_span_id, above.span_id);
        // It has failed as far as the other is concerned.
        let failed = above == other;
        let keys: Vec<_> = one.attributes.iter().map(|it| &*it.key).collect();
        match failed {
            true => assert_eq!(keys, ["error.type", "docket.log.records"]),
            false => assert_eq!(keys, ["docket.log.records"]),
        }
        assert_eq!(one.status.as_ref().map(|status| status.code), failed.then_some(2));
        assert_eq!(one.events[0].name, "in between");
        assert!(of_one.next().is_none());
    }
    assert_eq!((call.kind, part.kind, deep.kind), (2, 1, 3));
    assert_eq!(call.status.as_ref().unwrap().code, 2);
    assert_eq!(deep.status.as_ref().unwrap().code, 2);
    let told: Vec<_> = deep
        .attributes
        .iter()
        .map(|it| (&*it.key, string_or_number(it)))
        .collect();
    assert_eq!(
        told,
        [
            ("server.address", "::1".to_owned()),
            ("server.port", "7071".to_owned()),
            ("error.type", "unknown".to_owned())
        ]
    );
    assert!(part.status.is_none());
    let attributes: Vec<_> = call.attributes.iter().map(|it| &*it.key).collect();
    assert_eq!(
        attributes,
        [
            "rpc.system",
            "rpc.grpc.status_code",
            "server.address",
            "server.port"
        ]
    );
    assert!(
        call.end_time_unix_nano > 1_700_000_000_000_000_000,
        "by the wall clock"
    );

    let requests = sink.0.lock().unwrap();
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    let keys: Vec<_> = resource.attributes.iter().map(|it| &*it.key).collect();
    assert_eq!(
        keys,
        [
            "service.name",
            "service.version",
            "service.namespace",
            "service.instance.id"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_loses_no_more_than_finds_no_room_and_nobody_waits() {
    let (listener, address) = bound().await;
    // Nobody answers there: the port is kept, so that nobody else does.
    let tracer = tracer(10);
    let begun = Instant::now();
    for _ in 0..100_000 {
        drop(tracer.begin(("x", Kind::Server), None, Instant::now()));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "nobody waits: {:?}",
        begun.elapsed()
    );
    let exporter = Exporter::start(&tracer, options(address)).unwrap();
    // It comes.
    let sink = Sink::default();
    sink.serve(listener);
    exporter.stop(Duration::from_secs(10)).await;
    assert_eq!(sink.spans().len(), 10, "as many as there is room for");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_when_somebody_is_there() {
    let (listener, address) = bound().await;
    let tracer = tracer(100);
    let exporter = Exporter::start(&tracer, options(address)).unwrap();
    drop(tracer.begin(("early", Kind::Server), None, Instant::now()));
    // The first connection breaks before anything is said.
    drop(listener.accept().await.unwrap());
    let sink = Sink::default();
    sink.serve(listener);
    let end = Instant::now() + Duration::from_secs(25);
    while sink.spans().is_empty() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sink.spans()[0].name, "early");
    exporter.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_nobody_there_takes_no_longer_than_it_may() {
    let (listener, address) = bound().await;
    let tracer = tracer(100);
    drop(tracer.begin(("x", Kind::Server), None, Instant::now()));
    // It takes connections and says nothing.
    let exporter = Exporter::start(&tracer, options(address)).unwrap();
    let begun = Instant::now();
    exporter.stop(Duration::from_millis(500)).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(listener);
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused_with_what_to_write() {
    let tracer = tracer(1);
    for address in ["collector:4317", "ftp://collector", "http://", ""] {
        let mut options = options("127.0.0.1:1".parse().unwrap());
        options.endpoint.address = address.to_owned();
        let error = Exporter::start(&tracer, options).err().unwrap().to_string();
        assert!(error.contains("http://HOST:PORT"), "{error}");
    }
}
