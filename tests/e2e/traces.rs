//! Traces, as a collector gets them from nodes of the built program.

mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use docket_proto::v1;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server as Grpc};

use crate::{
    api::{Api, order},
    cluster::nodes::Nodes,
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

/// A collector: keeps each span with the node that it came from.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let about = resource.resource.unwrap();
            assert_eq!(text(&about.attributes, "service.name"), "docket");
            let node = text(&about.attributes, "service.instance.id");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.0.lock().unwrap().push((node.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves; where.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Grpc::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        format!("http://{address}")
    }

    fn all(&self) -> Vec<(String, Span)> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for what is to come.
    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited for {what}: {:#?}",
                self.all().len()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The spans of a trace, when they are as many as are wanted.
    async fn trace(&self, trace: &str, is_whole: impl Fn(&[(String, Span)]) -> bool) -> Trace {
        let begun = Instant::now();
        loop {
            let found = self.all().into_iter();
            let found: Vec<_> = found.filter(|(_, span)| hex(&span.trace_id) == trace).collect();
            if is_whole(&found) {
                return Trace(found);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not all of {trace} has come: {found:#?}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key} is {other:?}"),
    }
}

fn number(attributes: &[KeyValue], key: &str) -> i64 {
    match value(attributes, key) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{key} is {other:?}"),
    }
}

/// All spans of one trace, with their nodes.
struct Trace(Vec<(String, Span)>);

impl Trace {
    /// Those of this name under that one.
    fn under(&self, above: &[u8], name: &str) -> Vec<&(String, Span)> {
        let spans = self.0.iter();
        spans
            .filter(|(_, span)| span.parent_span_id == above && span.name == name)
            .collect()
    }

    /// The one.
    #[track_caller]
    fn one(&self, above: &[u8], name: &str, node: &str) -> &Span {
        let found = self.under(above, name);
        let [(on, span)] = &found[..] else {
            panic!("{} of {name} under {}: {:#?}", found.len(), hex(above), self.0);
        };
        assert_eq!(on, node, "{name}");
        span
    }

    /// Each hangs under another, but for those under the client's, and none is there twice.
    fn is_a_tree_under(&self, client: &[u8]) {
        let ids: BTreeSet<_> = self.0.iter().map(|(_, span)| span.span_id.clone()).collect();
        assert_eq!(ids.len(), self.0.len(), "no span is told twice");
        for (node, span) in &self.0 {
            let above = &span.parent_span_id;
            assert!(
                above == client || ids.contains(above),
                "{} of node {node} hangs under nothing",
                span.name
            );
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
    }
}

const PLACE_ORDER: &str = "docket.v1.OrderService/PlaceOrder";
const CLIENT: [u8; 8] = [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

/// The header of a client's span in the trace with this number.
fn traceparent(trace: u32, flags: &str) -> String {
    format!("00-{}-{}-{flags}", id(trace), hex(&CLIENT))
}

fn id(trace: u32) -> String {
    format!("4bf92f3577b34da6a3ce929d{trace:08x}")
}

fn traced<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", traceparent.parse().unwrap());
    metadata.insert("tracestate", "shop=t61rcWkgMzE".parse().unwrap());
    request
}

async fn shop(api: &Api) {
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000_000).await;
    api.item("bolt", 3, 1_000_000_000).await;
}

fn two_lines(request_id: &str) -> v1::PlaceOrderRequest {
    order(request_id, "ada", &[("nut", 1, 5), ("bolt", 2, 3)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_from_a_client_through_a_forwarding_node_to_the_log_and_back_is_whole() {
    let collector = Collector::default();
    let mut nodes = Nodes::new();
    nodes.set("tracing.endpoint", &collector.start().await);
    // What its client says counts alone.
    nodes.set("tracing.ratio", "0");
    nodes.set("cluster.balance_leads", "false");
    nodes.found();
    let first = Server::start(nodes.home(1));
    let mut second = nodes.launch(2);
    nodes.until_voters(&first, &[1, 2]).await;
    assert!(second.ready(nodes.home(2)), "{}", nodes.home(2).log());
    // The first leads all; what the second is asked it has done there.
    let api = Api::admin(&second, nodes.home(1)).await;
    shop(&api).await;

    // None of these is sampled: said so, said wrongly, and not said.
    for (n, header) in [
        (1, traceparent(1, "00")),
        (2, traceparent(2, "0x")),
        (3, format!("ff{}", &traceparent(3, "01")[2..])),
    ] {
        let request = traced(two_lines(&format!("unsampled-{n}")), &header);
        api.orders().place_order(request).await.unwrap();
    }
    api.orders().place_order(two_lines("without")).await.unwrap();

    let request = traced(two_lines("sampled"), &traceparent(7, "01"));
    let placed = api.orders().place_order(request).await.unwrap();
    assert_eq!(
        placed.metadata().get("docket-leader").unwrap(),
        "1",
        "it was forwarded"
    );
    let placed = placed.into_inner();
    let count =
        |spans: &[(String, Span)], name: &str| spans.iter().filter(|(_, span)| span.name == name).count();
    // The order with its hold, and two reservations; they may share entries, and each has its own span of that.
    let whole = |spans: &[(String, Span)]| count(spans, "log commit") == 3 && count(spans, PLACE_ORDER) == 3;
    let trace = collector.trace(&id(7), whole).await;
    trace.is_a_tree_under(&CLIENT);
    for (_, span) in &trace.0 {
        assert_eq!(span.trace_state, "shop=t61rcWkgMzE");
    }

    let edge = trace.one(&CLIENT, PLACE_ORDER, "2");
    let hop = trace.one(&edge.span_id, PLACE_ORDER, "2");
    let leader = trace.one(&hop.span_id, PLACE_ORDER, "1");
    for (span, kind) in [
        (edge, SpanKind::Server),
        (hop, SpanKind::Client),
        (leader, SpanKind::Server),
    ] {
        assert_eq!(span.kind(), kind);
        assert_eq!(text(&span.attributes, "rpc.system"), "grpc");
        assert_eq!(text(&span.attributes, "rpc.service"), "docket.v1.OrderService");
        assert_eq!(text(&span.attributes, "rpc.method"), "PlaceOrder");
        assert_eq!(number(&span.attributes, "rpc.grpc.status_code"), 0);
        assert!(span.status.is_none());
    }
    for (span, server) in [(edge, &second), (leader, &first)] {
        assert_eq!(text(&span.attributes, "server.address"), "127.0.0.1");
        assert_eq!(
            number(&span.attributes, "server.port"),
            i64::from(server.grpc.port())
        );
    }
    is_called(hop, 1, nodes.peer(1));

    let actor = trace.one(&leader.span_id, "actor", "1");
    let name = placed.name.strip_prefix("orders/").unwrap();
    assert_eq!(text(&actor.attributes, "docket.order"), name);
    let decided = trace.under(&actor.span_id, "decide");
    let decided: BTreeMap<String, usize> = decided.iter().fold(BTreeMap::new(), |mut by, (_, span)| {
        *by.entry(text(&span.attributes, "docket.entity")).or_default() += 1;
        by
    });
    assert_eq!(
        decided,
        BTreeMap::from([("customer".to_owned(), 1), ("item".to_owned(), 2)])
    );
    let commits = trace.under(&actor.span_id, "log commit");
    assert_eq!(commits.len(), 3);
    for (node, commit) in commits {
        assert_eq!(node, "1");
        let [begun, synced] = &commit.events[..] else {
            panic!("what made it durable: {commit:#?}");
        };
        assert_eq!(
            (&*begun.name, &*synced.name),
            ("journal sync begun", "journal synced")
        );
        assert!(commit.start_time_unix_nano <= begun.time_unix_nano);
        assert!(begun.time_unix_nano <= synced.time_unix_nano);
        assert!(synced.time_unix_nano <= commit.end_time_unix_nano);
        assert!(commit.end_time_unix_nano <= leader.end_time_unix_nano);
        assert!(number(&commit.attributes, "docket.log.records") >= 1);
    }
    assert_eq!(trace.0.len(), 3 + 1 + 3 + 3, "nothing else: {:#?}", trace.0);

    // A refusal is told as what it is, and is nobody's fault.
    let request = traced(order("none", "nobody", &[("nut", 1, 5)]), &traceparent(8, "01"));
    let refused = api.orders().place_order(request).await.unwrap_err();
    let trace = collector
        .trace(&id(8), |spans| count(spans, PLACE_ORDER) == 3)
        .await;
    trace.is_a_tree_under(&CLIENT);
    let edge = trace.one(&CLIENT, PLACE_ORDER, "2");
    assert_eq!(
        number(&edge.attributes, "rpc.grpc.status_code"),
        refused.code() as i64
    );
    assert!(edge.status.is_none());

    // Also what is not an order, and what only reads.
    let request = v1::GetOrderRequest {
        name: placed.name.clone(),
    };
    api.orders()
        .get_order(traced(request, &traceparent(9, "01")))
        .await
        .unwrap();
    let get = "docket.v1.OrderService/GetOrder";
    let trace = collector.trace(&id(9), |spans| !spans.is_empty()).await;
    assert!(trace.0.iter().any(|(_, span)| span.name == get));
    let cancel = v1::CancelOrderRequest {
        name: placed.name.clone(),
        ..v1::CancelOrderRequest::default()
    };
    api.orders()
        .cancel_order(traced(cancel, &traceparent(10, "01")))
        .await
        .unwrap();
    let cancel = "docket.v1.OrderService/CancelOrder";
    let trace = collector.trace(&id(10), |spans| count(spans, cancel) == 3).await;
    trace.is_a_tree_under(&CLIENT);
    let edge = trace.one(&CLIENT, cancel, "2");
    let hop = trace.one(&edge.span_id, cancel, "2");
    let leader = trace.one(&hop.span_id, cancel, "1");
    let actor = trace.one(&leader.span_id, "actor", "1");
    assert!(!trace.under(&actor.span_id, "log commit").is_empty());

    // A stream whose client says that it is sampled: each order under it, forwarded by a hop of its own.
    let orders: Vec<_> = (0..3).map(|n| two_lines(&format!("streamed-{n}"))).collect();
    let stream = traced(tokio_stream::iter(orders), &traceparent(11, "01"));
    let mut answers = api.orders().place_orders(stream).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let (stream, of_stream) = (
        "docket.v1.OrderService/PlaceOrders",
        "docket.v1.OrderService/PlaceOrders order",
    );
    let whole = |spans: &[(String, Span)]| {
        count(spans, stream) == 1 && count(spans, of_stream) == 3 && count(spans, "log commit") == 9
    };
    let trace = collector.trace(&id(11), whole).await;
    trace.is_a_tree_under(&CLIENT);
    let edge = trace.one(&CLIENT, stream, "2");
    for (_, order) in trace.under(&edge.span_id, of_stream) {
        let hop = trace.one(&order.span_id, PLACE_ORDER, "2");
        let leader = trace.one(&hop.span_id, PLACE_ORDER, "1");
        trace.one(&leader.span_id, "actor", "1");
    }

    second.stop(nodes.home(2));
    first.stop(nodes.home(1));
    // What was not sampled never was.
    let traces: BTreeSet<_> = collector
        .all()
        .iter()
        .map(|(_, span)| hex(&span.trace_id))
        .collect();
    assert_eq!(traces, [7, 8, 9, 10, 11].map(id).into());
}

/// A client's span says which node it calls, and where.
#[track_caller]
fn is_called(span: &Span, node: i64, address: &str) {
    let (host, port) = address.split_once(':').unwrap();
    assert_eq!(span.kind(), SpanKind::Client);
    assert_eq!(number(&span.attributes, "docket.peer.node"), node);
    assert_eq!(text(&span.attributes, "server.address"), host);
    assert_eq!(number(&span.attributes, "server.port").to_string(), port);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_which_nobody_says_anything_begin_traces_of_their_own_and_orders_keep_which() {
    let collector = Collector::default();
    let home = Home::new()
        .set("tracing.endpoint", &collector.start().await)
        .set("tracing.ratio", "1");
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    shop(&api).await;
    let placed = api
        .orders()
        .place_order(two_lines("unary"))
        .await
        .unwrap()
        .into_inner();
    let events = v1::ListOrderEventsRequest {
        parent: placed.name,
        ..v1::ListOrderEventsRequest::default()
    };
    let events = api.orders().list_order_events(events).await.unwrap().into_inner();
    let trace_id = events.events[0].trace_id.clone();
    let name = |wanted: &'static str| {
        move |spans: &[(String, Span)]| spans.iter().any(|(_, span)| span.name == wanted)
    };
    let trace = collector.trace(&trace_id, name(PLACE_ORDER)).await;
    trace.is_a_tree_under(&[]);

    // Of a stream each order has a trace of its own, and is linked to the stream's.
    let orders: Vec<_> = (0..3).map(|n| two_lines(&format!("streamed-{n}"))).collect();
    let mut answers = api
        .orders()
        .place_orders(tokio_stream::iter(orders))
        .await
        .unwrap()
        .into_inner();
    while answers.message().await.unwrap().is_some() {}
    // The same, of which the client says that it is not sampled.
    let stream = traced(
        tokio_stream::iter([two_lines("unsampled")]),
        &traceparent(1, "00"),
    );
    let mut answers = api.orders().place_orders(stream).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}

    // What is left is exported when it stops.
    server.stop(&home);
    let all: Vec<Span> = collector.all().into_iter().map(|(_, span)| span).collect();
    let named = |wanted: &str| all.iter().filter(|span| span.name == wanted).collect::<Vec<_>>();
    let [stream] = named("docket.v1.OrderService/PlaceOrders")[..] else {
        panic!("one stream is sampled");
    };
    let orders = named("docket.v1.OrderService/PlaceOrders order");
    let traces: BTreeSet<_> = orders.iter().map(|span| &span.trace_id).collect();
    assert_eq!((orders.len(), traces.len()), (3, 3));
    for order in orders {
        assert!(order.parent_span_id.is_empty() && order.trace_id != stream.trace_id);
        assert_eq!(
            (&order.links[0].trace_id, &order.links[0].span_id),
            (&stream.trace_id, &stream.span_id)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_no_reason_to_answer_late_and_what_is_lost_is_counted() {
    // It is bound, so that nobody else answers there, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::new()
        .set(
            "tracing.endpoint",
            &format!("http://{}", silent.local_addr().unwrap()),
        )
        .set("tracing.ratio", "1")
        .set("tracing.queue_spans_max", "50")
        .set("tracing.timeout_ms", "1000");
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    shop(&api).await;
    for n in 0..50 {
        api.orders()
            .place_order(two_lines(&format!("r-{n}")))
            .await
            .unwrap();
    }
    let begun = Instant::now();
    let dropped = || {
        let (_, metrics) = server.get("/metrics").unwrap();
        metrics.contains("docket_trace_spans_dropped_total{reason=\"queue_full\"}")
            && metrics.contains("docket_trace_export_up 0")
            && home.whole_log().contains("traces are not taken")
    };
    while !dropped() {
        assert!(begun.elapsed() < PATIENCE, "{}", home.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert_eq!(
        home.whole_log().matches("traces are not taken").count(),
        1,
        "it is said once"
    );
    let begun = Instant::now();
    server.stop(&home);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
