//! The client against nodes that answer as they are told to.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use docket_client::{Client, Credential, Options, OptionsError, method};
use docket_proto::v1;
use docket_proto::v1::order_service_server::{OrderService, OrderServiceServer};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

/// What a node does with a call.
#[derive(Clone, Debug)]
enum Then {
    /// Answers, and names a leader.
    Answer(Option<String>),
    Refuse(Status),
}

/// A node: what it does with the next calls, and how many it got. When it has no more to do it answers.
#[derive(Clone, Default)]
struct Node {
    script: Arc<Mutex<VecDeque<Then>>>,
    calls: Arc<AtomicUsize>,
}

impl Node {
    fn then(&self, then: Then) {
        self.script.lock().push_back(then);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn act(&self, request: &Request<impl Sized>) -> Result<Response<v1::Order>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.metadata().get("x-api-key").unwrap(), "key");
        let then = self.script.lock().pop_front().unwrap_or(Then::Answer(None));
        match then {
            Then::Refuse(status) => Err(status),
            Then::Answer(leader) => {
                let mut response = Response::new(v1::Order::default());
                if let Some(leader) = leader {
                    let address = leader.parse().unwrap();
                    response.metadata_mut().insert("docket-leader-address", address);
                }
                Ok(response)
            }
        }
    }

    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Server::builder().add_service(OrderServiceServer::new(self.clone()));
        tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

#[tonic::async_trait]
impl OrderService for Node {
    type PlaceOrdersStream =
        std::pin::Pin<Box<dyn futures::Stream<Item = Result<v1::PlaceOrdersResponse, Status>> + Send>>;
    type WatchOrdersStream =
        futures::stream::Iter<std::vec::IntoIter<Result<v1::WatchOrdersResponse, Status>>>;

    /// Sends two messages behind the token that it was given, which count on, and then does as it is told.
    async fn watch_orders(
        &self,
        request: Request<v1::WatchOrdersRequest>,
    ) -> Result<Response<Self::WatchOrdersStream>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.metadata().get("x-api-key").unwrap(), "key");
        let token = request.into_inner().resume_token;
        let from = if token.is_empty() {
            0
        } else {
            token.parse::<u32>().unwrap()
        };
        let message = |number: u32| {
            Ok(v1::WatchOrdersResponse {
                changes: Vec::new(),
                resume_token: number.to_string(),
            })
        };
        let mut sent = vec![message(from + 1), message(from + 2)];
        if let Some(Then::Refuse(status)) = self.script.lock().pop_front() {
            sent.push(Err(status));
        }
        Ok(Response::new(futures::stream::iter(sent)))
    }

    async fn place_order(
        &self,
        request: Request<v1::PlaceOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    /// Answers orders as they come; where it is told to refuse, two, and with that.
    async fn place_orders(
        &self,
        request: Request<Streaming<v1::PlaceOrderRequest>>,
    ) -> Result<Response<Self::PlaceOrdersStream>, Status> {
        assert_eq!(request.metadata().get("x-api-key").unwrap(), "key");
        let calls = Arc::clone(&self.calls);
        let orders = request.into_inner().map(move |order| {
            calls.fetch_add(1, Ordering::SeqCst);
            Ok(v1::PlaceOrdersResponse {
                request_id: order?.request_id,
                result: None,
            })
        });
        Ok(Response::new(match self.script.lock().pop_front() {
            Some(Then::Refuse(status)) => {
                Box::pin(orders.take(2).chain(futures::stream::iter([Err(status)])))
            }
            _ => Box::pin(orders),
        }))
    }

    async fn get_order(&self, request: Request<v1::GetOrderRequest>) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn list_orders(
        &self,
        _: Request<v1::ListOrdersRequest>,
    ) -> Result<Response<v1::ListOrdersResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn ship_order(
        &self,
        request: Request<v1::ShipOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn open_fulfilment(
        &self,
        request: Request<v1::OpenFulfilmentRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn cancel_fulfilment(
        &self,
        request: Request<v1::CancelFulfilmentRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn deliver_fulfilment(
        &self,
        request: Request<v1::DeliverFulfilmentRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn batch_get_orders(
        &self,
        _: Request<v1::BatchGetOrdersRequest>,
    ) -> Result<Response<v1::BatchGetOrdersResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_order_events(
        &self,
        _: Request<v1::ListOrderEventsRequest>,
    ) -> Result<Response<v1::ListOrderEventsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn cancel_order_lines(
        &self,
        request: Request<v1::CancelOrderLinesRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn edit_order(
        &self,
        request: Request<v1::EditOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn request_return(
        &self,
        request: Request<v1::RequestReturnRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn resolve_return(
        &self,
        request: Request<v1::ResolveReturnRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn receive_return(
        &self,
        request: Request<v1::ReceiveReturnRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn close_return(
        &self,
        request: Request<v1::CloseReturnRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn refund_order(
        &self,
        request: Request<v1::RefundOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn retry_payment(
        &self,
        request: Request<v1::RetryPaymentRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn hold_order(
        &self,
        request: Request<v1::HoldOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn release_order_hold(
        &self,
        request: Request<v1::ReleaseOrderHoldRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }

    async fn cancel_order(
        &self,
        request: Request<v1::CancelOrderRequest>,
    ) -> Result<Response<v1::Order>, Status> {
        self.act(&request)
    }
}

fn client(addresses: &[SocketAddr]) -> Client {
    let options = Options {
        credential: Credential::ApiKey("key".into()),
        back_off_min: Duration::from_millis(1),
        back_off_max: Duration::from_millis(5),
        ..Options::new(addresses.iter().map(|address| format!("http://{address}")))
    };
    Client::new(options).unwrap()
}

fn order(customer: &str, request_id: &str) -> v1::PlaceOrderRequest {
    v1::PlaceOrderRequest {
        customer: format!("customers/{customer}"),
        request_id: request_id.into(),
        ..Default::default()
    }
}

/// Nothing was done.
fn undone() -> Then {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(Duration::from_millis(1)));
    details.set_error_info("SHARD_UNAVAILABLE", "docket", HashMap::new());
    Then::Refuse(Status::with_error_details(
        Code::Unavailable,
        "no leader",
        details,
    ))
}

/// It may have been done.
fn unknown() -> Then {
    let mut details = ErrorDetails::new();
    details.set_error_info("OUTCOME_UNKNOWN", "docket", HashMap::new());
    Then::Refuse(Status::with_error_details(
        Code::Unavailable,
        "who knows",
        details,
    ))
}

#[tokio::test]
async fn a_call_about_the_same_goes_to_who_led_it_last() {
    let (first, second) = (Node::default(), Node::default());
    let (a, b) = (first.serve().await, second.serve().await);
    // The second is known by its hint alone.
    let client = client(&[a]);
    first.then(Then::Answer(Some(b.to_string())));
    for _ in 0..3 {
        client.call(&method::PLACE_ORDER, order("ada", "")).await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (1, 2));
    // It leads no more: the hint is forgotten, and the next one followed.
    second.then(undone());
    client.call(&method::PLACE_ORDER, order("ada", "")).await.unwrap();
    assert_eq!((first.calls(), second.calls()), (2, 3));
    client.call(&method::PLACE_ORDER, order("ada", "")).await.unwrap();
    assert_eq!((first.calls(), second.calls()), (3, 3));
}

#[tokio::test]
async fn only_what_is_safe_is_repeated() {
    let node = Node::default();
    let client = client(&[node.serve().await]);
    let check = async |then: fn() -> Then, request_id: &str, expected: Result<(), Code>| {
        let before = node.calls();
        node.then(then());
        let placed = client.call(&method::PLACE_ORDER, order("ada", request_id)).await;
        assert_eq!(placed.map(drop).map_err(|status| status.code()), expected);
        assert_eq!(node.calls() - before, if expected.is_ok() { 2 } else { 1 });
    };
    check(undone, "", Ok(())).await;
    check(undone, "id", Ok(())).await;
    check(unknown, "", Err(Code::Unavailable)).await;
    check(unknown, "id", Ok(())).await;
    let refused = || Then::Refuse(Status::failed_precondition("too dear"));
    check(refused, "id", Err(Code::FailedPrecondition)).await;
    // A read can be done twice.
    node.then(unknown());
    let get = v1::GetOrderRequest {
        name: "orders/1".into(),
    };
    client.call(&method::GET_ORDER, get).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_not_there_is_left_for_the_next() {
    let node = Node::default();
    let alive = node.serve().await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let client = client(&[gone, alive]);
    // Without a request id: what was never sent was not done.
    for n in 0..10 {
        client
            .call(&method::PLACE_ORDER, order(&format!("c{n}"), ""))
            .await
            .unwrap();
    }
    assert_eq!(node.calls(), 10);
    client.channel().await.unwrap();
    let nobody = self::client(&[gone]);
    let refused = nobody
        .call(&method::PLACE_ORDER, order("ada", ""))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn calls_about_different_things_are_spread_over_the_nodes() {
    let (first, second) = (Node::default(), Node::default());
    let client = client(&[first.serve().await, second.serve().await]);
    for n in 0..40 {
        client
            .call(&method::PLACE_ORDER, order(&format!("c{n}"), ""))
            .await
            .unwrap();
    }
    assert!(first.calls() > 10 && second.calls() > 10);
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_by_name() {
    let none: [&str; 0] = [];
    assert_eq!(
        Client::new(Options::new(none)).unwrap_err(),
        OptionsError::NoAddress
    );
    let wrong = Client::new(Options::new(["not an address"])).unwrap_err();
    assert!(matches!(&wrong, OptionsError::Address { address, .. } if address == "not an address"));
    let options = Options {
        credential: Credential::ApiKey("new\nline".into()),
        ..Options::new(["http://127.0.0.1:1"])
    };
    assert_eq!(Client::new(options).unwrap_err(), OptionsError::Credential);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_is_left_at_once_for_another_one() {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(Duration::from_secs(3_600)));
    details.set_error_info("NODE_STOPPING", "docket", HashMap::new());
    let stopping = || {
        let details = details.clone();
        Then::Refuse(Status::with_error_details(
            Code::Unavailable,
            "the node is stopping",
            details,
        ))
    };
    let (node, other) = (Node::default(), Node::default());
    node.then(stopping());
    let both = client(&[node.serve().await, other.serve().await]);
    // Whichever of them the first one begins with.
    for n in 0..8 {
        let order = order(&format!("c{n}"), "");
        both.call(&method::PLACE_ORDER, order).await.unwrap();
    }
    assert!(node.calls() > 0 && other.calls() > 0);
    // The only one is waited for, as long as the call may.
    let alone = Node::default();
    alone.then(stopping());
    let refused = client(&[alone.serve().await])
        .call(&method::PLACE_ORDER, order("ann", ""))
        .await
        .unwrap_err();
    assert_eq!((refused.code(), alone.calls()), (Code::Unavailable, 1));
}

#[tokio::test]
async fn a_watch_goes_on_at_other_nodes_behind_what_it_got_and_ends_where_none_can_help() {
    let (one, two) = (Node::default(), Node::default());
    let client = client(&[one.serve().await, two.serve().await]);
    let stopping = ErrorDetails::with_error_info("NODE_STOPPING", "docket", HashMap::new());
    let slow = ErrorDetails::with_error_info("WATCHER_TOO_SLOW", "docket", HashMap::new());
    for node in [&one, &two] {
        for (code, details) in [(Code::Unavailable, &stopping), (Code::ResourceExhausted, &slow)] {
            node.then(Then::Refuse(Status::with_error_details(
                code,
                "over",
                details.clone(),
            )));
        }
    }
    let mut watch = client.watch_orders(v1::WatchOrdersRequest::default());
    for number in 1..=10 {
        let message = watch.next().await.unwrap();
        assert_eq!(message.resume_token, number.to_string());
        assert_eq!(watch.resume_token(), message.resume_token);
    }
    assert!(
        one.calls() > 1 && two.calls() > 1,
        "{} and {}",
        one.calls(),
        two.calls()
    );
    let too_old = ErrorDetails::with_error_info("RESUME_TOKEN_TOO_OLD", "docket", HashMap::new());
    for node in [&one, &two] {
        let refused = Status::with_error_details(Code::OutOfRange, "too old", too_old.clone());
        node.then(Then::Refuse(refused));
    }
    let mut last = 10;
    let ended = loop {
        match watch.next().await {
            Ok(message) => {
                last += 1;
                assert_eq!(message.resume_token, last.to_string());
            }
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_stream_of_orders_sends_again_what_was_not_answered_and_each_is_answered_once() {
    let (one, two) = (Node::default(), Node::default());
    let client = client(&[one.serve().await, two.serve().await]);
    let stopping = ErrorDetails::with_error_info("NODE_STOPPING", "docket", HashMap::new());
    for node in [&one, &two] {
        for _ in 0..3 {
            let status = Status::with_error_details(Code::Unavailable, "over", stopping.clone());
            node.then(Then::Refuse(status));
        }
    }
    let orders = (0..500).map(|number| order("ada", &number.to_string()));
    let mut placing = client.place_orders(futures::stream::iter(orders));
    let mut answered = std::collections::BTreeSet::new();
    while let Some(answer) = placing.next().await.unwrap() {
        assert!(answered.insert(answer.request_id), "answered twice");
    }
    assert_eq!(answered.len(), 500);
    assert!(one.calls() + two.calls() >= 500 && one.calls() > 1 && two.calls() > 1);
    // One that no node may do ends it.
    let denied = ErrorDetails::with_error_info("SCOPE_MISSING", "docket", HashMap::new());
    for node in [&one, &two] {
        let status = Status::with_error_details(Code::PermissionDenied, "no", denied.clone());
        node.then(Then::Refuse(status));
    }
    let orders = (0..10).map(|number| order("ada", &format!("more-{number}")));
    let mut placing = client.place_orders(futures::stream::iter(orders));
    let ended = loop {
        match placing.next().await {
            Ok(answer) => assert!(answer.is_some(), "all were answered"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::PermissionDenied);
}
