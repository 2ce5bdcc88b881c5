//! Clients that ask and do not take the answer, and streams that say nothing.

use std::time::Duration;

use bytes::Bytes;
use docket_proto::v1::{
    CreateItemRequest, Item, ListItemsRequest, item_service_client::ItemServiceClient,
    order_service_client::OrderServiceClient,
};
use h2::client::SendRequest;
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::{
    calls::head,
    support::{Running, by, nuts, reason, start},
};

const LIST_ITEMS: &str = "/docket.v1.ItemService/ListItems";
const PLACE_ORDERS: &str = "/docket.v1.OrderService/PlaceOrders";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that gives every answer a window of so many bytes, and never a larger one.
async fn connect(server: &Running, window: u32) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let tcp = TcpStream::connect(server.grpc).await.unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(tcp)
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

/// The message as gRPC sends it.
fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    Bytes::from(framed)
}

/// Calls with one message; the answer comes when it comes.
fn call(sender: &mut SendRequest<Bytes>, path: &str, message: &impl Message) -> h2::client::ResponseFuture {
    let (answer, mut body) = sender.send_request(head(path), false).unwrap();
    body.send_data(framed(message), true).unwrap();
    answer
}

/// The status that a stream ends with.
async fn status_of(answer: h2::client::ResponseFuture) -> Status {
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return status;
    }
    end_of(answer).await
}

/// The status of the trailers.
async fn end_of(mut answer: http::Response<h2::RecvStream>) -> Status {
    let trailers = tokio::time::timeout(PATIENCE, answer.body_mut().trailers()).await;
    Status::from_header_map(&trailers.unwrap().unwrap().unwrap()).unwrap()
}

fn limiter(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata["limiter"].clone()
}

/// How a reply breaks off.
async fn broken(mut body: h2::RecvStream) -> h2::Error {
    while let Some(data) = body.data().await {
        if let Err(error) = data {
            return error;
        }
    }
    panic!("the reply has ended")
}

/// Items whose list has between 40,000 and 60,000 bytes: more than goes out at once.
async fn fill(server: &Running) {
    let mut items = ItemServiceClient::new(server.connect().await);
    for i in 0..140 {
        let item = Item {
            display_name: "n".repeat(256),
            currency_code: "EUR".into(),
            ..Default::default()
        };
        let request = CreateItemRequest {
            sku: format!("i{i}"),
            item: Some(item),
            ..Default::default()
        };
        items.create_item(by("root", request)).await.unwrap();
    }
}

#[tokio::test]
async fn replies_that_nobody_takes_are_bounded_and_end_with_their_calls() {
    let server = start(|config| {
        config.calls.max_ms = 3_000;
        config.http2.max_reply_bytes = 65_536;
        config.admission.max_reply_bytes = 65_536;
    })
    .await;
    fill(&server).await;
    let list = ListItemsRequest {
        page_size: 1_000,
        ..Default::default()
    };
    // Whether HTTP/2 gets a first byte of the reply or none.
    for window in [0, 1] {
        let (mut sender, connection) = connect(&server, window).await;
        let mut held = Vec::new();
        let refused = loop {
            let answer = call(&mut sender, LIST_ITEMS, &list);
            let mut answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
            // A refusal needs no window. A reply has no end while it is not taken.
            let trailers = answer.body_mut().trailers();
            match tokio::time::timeout(Duration::from_millis(300), trailers).await {
                Ok(trailers) => break Status::from_header_map(&trailers.unwrap().unwrap()).unwrap(),
                Err(_elapsed) => held.push(answer),
            }
            assert!(held.len() < 4, "nothing bounds them");
        };
        assert_eq!(
            (
                refused.code(),
                reason(&refused).as_str(),
                limiter(&refused).as_str()
            ),
            (Code::ResourceExhausted, "OVERLOADED", "reply_bytes_in_flight")
        );
        assert!(!held.is_empty(), "there was room for one");

        // Others are served as long as what they ask for is small.
        let mut items = ItemServiceClient::new(server.connect().await);
        let small = || {
            let page_size = 1;
            by(
                "root",
                ListItemsRequest {
                    page_size,
                    ..Default::default()
                },
            )
        };
        items.list_items(small()).await.unwrap();
        let large = items.list_items(by("root", list.clone())).await.unwrap_err();
        assert_eq!(limiter(&large), "reply_bytes_in_flight");

        // Their time is up: their streams are reset, and there is room again.
        for answer in held {
            let reset = tokio::time::timeout(PATIENCE, broken(answer.into_body())).await;
            let reset = reset.unwrap_or_else(|_| panic!("kept for ever with a window of {window}"));
            assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
        }
        items.list_items(by("root", list.clone())).await.unwrap();
        connection.abort();
    }
    assert!(server.denials("reply_bytes_in_flight").await > 0);
    let (_, metrics) = server.get("/metrics").await;
    let late = "docket_requests_total{method=\"docket.v1.ItemService/ListItems\",code=\"DEADLINE_EXCEEDED\"}";
    assert!(metrics.contains(late), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_whose_short_replies_are_never_taken_ends() {
    let server = start(|config| config.calls.max_ms = 1_000).await;
    server.seed().await;
    let other = server.connect().await;
    let (mut sender, connection) = connect(&server, 1).await;
    // All of it is in HTTP/2's hands as soon as there is a window of one byte.
    let _answer = call(&mut sender, LIST_ITEMS, &ListItemsRequest::default());
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("the connection is still open")
        .unwrap()
        .ok();
    let mut items = ItemServiceClient::new(other);
    items
        .list_items(by("root", ListItemsRequest::default()))
        .await
        .expect("other connections go on");
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("docket_connections_total{outcome=\"stalled\"}"));
    server.stop().await;
}

#[tokio::test]
async fn streams_without_credentials_are_few_and_end() {
    let server = start(|config| {
        config.admission.max_open_streams = 1;
        config.calls.open_stream_ms = 1_500;
    })
    .await;
    let (mut sender, _connection) = connect(&server, 65_535).await;
    let (answer, _silent) = sender.send_request(head(REFLECTION), false).unwrap();
    let mut health = HealthClient::new(server.connect().await);
    let ask = HealthCheckRequest::default;
    let refused = loop {
        match health.watch(ask()).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(status) => break status,
        }
    };
    assert_eq!(
        (reason(&refused).as_str(), limiter(&refused).as_str()),
        ("OVERLOADED", "open_streams")
    );
    health.check(ask()).await.expect("a check is not a stream");
    let mut orders = OrderServiceClient::new(server.connect().await);
    orders
        .place_orders(by("ada", futures::stream::empty()))
        .await
        .expect("who has credentials has room");

    assert_eq!(status_of(answer).await.code(), Code::DeadlineExceeded);
    // Its place is free again, although its client still has not said that it is done.
    let mut watch = health.watch(ask()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let ended = watch.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    server.stop().await;
}

#[tokio::test]
async fn streams_are_bounded() {
    let server = start(|config| config.admission.max_streams = 1).await;
    let (mut sender, _connection) = connect(&server, 65_535).await;
    let (_answer, mut held) = sender.send_request(head(PLACE_ORDERS), false).unwrap();
    let mut orders = OrderServiceClient::new(server.connect().await);
    let refused = loop {
        match orders.place_orders(by("ada", futures::stream::empty())).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(status) => break status,
        }
    };
    assert_eq!(limiter(&refused), "streams");
    held.send_reset(h2::Reason::CANCEL);
    while orders
        .place_orders(by("ada", futures::stream::empty()))
        .await
        .is_err()
    {}
    server.stop().await;
}

#[tokio::test]
async fn services_without_credentials_take_small_messages_only() {
    let server = start(|_| {}).await;
    let mut health = HealthClient::new(server.connect().await);
    let service = "s".repeat(17 * 1_024);
    for watch in [false, true] {
        let ask = HealthCheckRequest {
            service: service.clone(),
        };
        let refused = if watch {
            health.watch(ask).await.map(drop).unwrap_err()
        } else {
            health.check(ask).await.map(drop).unwrap_err()
        };
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "MESSAGE_TOO_LARGE")
        );
    }
    // The head of a message that is too large ends the stream: nobody waits for the rest.
    let (mut sender, _connection) = connect(&server, 65_535).await;
    let (answer, mut body) = sender.send_request(head(REFLECTION), false).unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0, 0x44, 0]), false)
        .unwrap();
    status_of(answer).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_of_a_stream_that_does_not_come_to_its_end_is_not_waited_for() {
    let server = start(|config| {
        config.calls.max_ms = 1_000;
        config.http2.max_request_bytes = 64 * 1_024;
        config.admission.max_bytes = 64 * 1_024;
    })
    .await;
    server.seed().await;
    let (mut sender, _connection) = connect(&server, 65_535).await;
    let mut begin = async || {
        let (answer, mut body) = sender.send_request(head(PLACE_ORDERS), false).unwrap();
        // A whole order, and most of a message of 60,000 bytes.
        body.send_data(framed(&nuts("whole", "ada", 1)), false).unwrap();
        let mut part = vec![0; 40_000];
        part[..5].copy_from_slice(&[0, 0, 0, 0xea, 0x60]);
        body.send_data(Bytes::from(part), false).unwrap();
        let mut answer = answer.await.unwrap();
        // The order is answered.
        let data = answer.body_mut().data().await.map(Result::unwrap);
        (answer, body, data)
    };
    let (first, _first_body, data) = begin().await;
    assert!(data.is_some());
    let (second, _second_body, _) = begin().await;
    let refused = end_of(second).await;
    assert_eq!(
        (reason(&refused).as_str(), limiter(&refused).as_str()),
        ("OVERLOADED", "bytes_in_flight")
    );
    assert_eq!(end_of(first).await.code(), Code::DeadlineExceeded);
    server.stop().await;
}
