//! `PlaceOrders`: many orders on one stream.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use docket_actors::BeforeDecision;
use docket_proto::v1::{
    ListOrdersRequest, PlaceOrderRequest, PlaceOrdersResponse, order,
    order_service_client::OrderServiceClient, place_orders_response::Result as Answer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{
    calls::{head, http2},
    support::{Running, by, nuts, reason, start, start_on},
};

/// Sends all and collects every answer.
async fn place(server: &Running, requests: Vec<PlaceOrderRequest>) -> Vec<PlaceOrdersResponse> {
    let mut client = OrderServiceClient::new(server.connect().await);
    let mut answers = client
        .place_orders(by("ada", futures::stream::iter(requests)))
        .await
        .unwrap()
        .into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        all.push(answer);
    }
    all
}

#[tokio::test]
async fn every_order_is_answered_once_whatever_the_window() {
    for window in [1, 7, 256] {
        let server = start(|config| config.calls.stream_window = window).await;
        server.seed().await;
        let requests = (0..500).map(|i| {
            let mut order = nuts(&format!("r{i}"), "ada", 1);
            // Some are so long that the window is full by bytes before it is by number.
            if i % 50 > 47 {
                order.lines = vec![order.lines[0].clone(); 100];
            }
            order
        });
        let answers = place(&server, requests.collect()).await;
        let mut by_id: HashMap<String, String> = HashMap::new();
        for answer in answers {
            let Some(Answer::Order(order)) = answer.result else {
                panic!("{answer:?}")
            };
            assert_eq!(order.state(), order::State::Confirmed);
            assert!(
                by_id.insert(answer.request_id, order.name).is_none(),
                "answered twice"
            );
        }
        assert_eq!(by_id.len(), 500);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_full_node_slows_streams_down_instead_of_refusing_them() {
    let server = start(|config| config.admission.max_calls = 3).await;
    server.seed().await;
    let streams = (0..3).map(|stream| {
        let requests = (0..200)
            .map(|i| nuts(&format!("s{stream}-{i}"), "ada", 1))
            .collect();
        place(&server, requests)
    });
    for answers in futures::future::join_all(streams).await {
        assert_eq!(answers.len(), 200);
        for answer in answers {
            assert!(matches!(answer.result, Some(Answer::Order(_))), "{answer:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing_but_its_window() {
    let server = start(|config| {
        config.admission.max_calls = 8;
        config.calls.stream_window = 64;
    })
    .await;
    server.seed().await;
    // A receive window of 0: whatever is answered stays with the server.
    let tcp = tokio::net::TcpStream::connect(server.grpc).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (mut sender, connection) = builder.initial_window_size(0).handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let (_answer, mut body) = sender
        .send_request(head("/docket.v1.OrderService/PlaceOrders"), false)
        .unwrap();
    for i in 0..64 {
        let message = prost::Message::encode_to_vec(&nuts(&format!("unread-{i}"), "ada", 1));
        let mut framed = vec![0, 0, 0, 0, message.len() as u8];
        framed.extend(message);
        body.send_data(Bytes::from(framed), false).unwrap();
    }
    // All of them are placed, and others are served meanwhile.
    let mut client = OrderServiceClient::new(server.connect().await);
    let list = || ListOrdersRequest {
        customer: "customers/ada".into(),
        page_size: 100,
        ..Default::default()
    };
    for attempt in 0.. {
        assert!(attempt < 10_000, "its orders are not placed");
        match client.list_orders(by("root", list())).await {
            Ok(page) if page.get_ref().orders.len() == 64 => break,
            Ok(_) => {}
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
    }
    place(&server, vec![nuts("other", "ada", 1)]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_refused_order_does_not_end_the_stream() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut wrong_price = nuts("price", "ada", 1);
    wrong_price.lines[0].unit_price = 6;
    let mut no_lines = nuts("shape", "ada", 1);
    no_lines.lines.clear();
    let requests = vec![
        nuts("good-1", "ada", 1),
        wrong_price,
        no_lines,
        nuts("", "ada", 1),
        nuts("other", "bob", 1),
        nuts("good-2", "ada", 1),
    ];
    let answers = place(&server, requests).await;
    let told: HashMap<String, (Code, String)> = answers
        .into_iter()
        .map(|answer| {
            let told = match answer.result.unwrap() {
                Answer::Order(_) => (Code::Ok, String::new()),
                Answer::Status(status) => {
                    let bytes = prost::Message::encode_to_vec(&status);
                    let status = Status::with_details(Code::from(status.code), status.message, bytes.into());
                    (status.code(), reason(&status))
                }
            };
            (answer.request_id, told)
        })
        .collect();
    let expected = [
        ("good-1", Code::Ok, ""),
        ("price", Code::FailedPrecondition, "PRICE_CHANGED"),
        ("shape", Code::InvalidArgument, "INVALID_ARGUMENT"),
        ("", Code::InvalidArgument, "INVALID_ARGUMENT"),
        ("other", Code::NotFound, "CUSTOMER_NOT_FOUND"),
        ("good-2", Code::Ok, ""),
    ];
    assert_eq!(told.len(), expected.len());
    for (id, code, reason) in expected {
        assert_eq!(told[id], (code, reason.to_owned()), "{id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn answers_come_while_the_client_goes_on() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    let (sender, receiver) = mpsc::channel(1);
    sender.send(nuts("first", "ada", 1)).await.unwrap();
    let mut answers = client
        .place_orders(by("ada", ReceiverStream::new(receiver)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().request_id, "first");
    sender.send(nuts("second", "ada", 1)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().request_id, "second");
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_does_not_decode_ends_the_stream_with_a_reason() {
    let server = start(|_| {}).await;
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    let (answer, mut body) = sender
        .send_request(head("/docket.v1.OrderService/PlaceOrders"), false)
        .unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff]), true)
        .unwrap();
    let mut answer = answer.await.unwrap();
    assert!(answer.body_mut().data().await.is_none());
    let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "MALFORMED_MESSAGE")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_client_s_time_is_up() {
    let server = start(|_| {}).await;
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    let mut request = head("/docket.v1.OrderService/PlaceOrders");
    request
        .headers_mut()
        .insert("grpc-timeout", "20m".parse().unwrap());
    let (answer, _body) = sender.send_request(request, false).unwrap();
    let mut answer = answer.await.unwrap();
    assert!(answer.body_mut().data().await.is_none());
    let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_takes_too_long_is_answered_as_late_and_the_others_as_they_are() {
    /// Long enough that the test fails by what it looks at, should nobody ever let go.
    const HELD_MAX: Duration = Duration::from_secs(20);
    let held = Arc::new(AtomicBool::new(true));
    let holds = Arc::clone(&held);
    let hold = move |_kind: &str, id: &str| {
        let is_held = |begun: Instant| holds.load(Ordering::SeqCst) && begun.elapsed() < HELD_MAX;
        if id == "bolt" && holds.load(Ordering::SeqCst) {
            // What this thread had to do besides is another's: it may be the one that all others hear from.
            tokio::task::block_in_place(|| {
                let begun = Instant::now();
                while is_held(begun) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    };
    let server = start_on(
        |options| options.before_decision = Some(BeforeDecision(Arc::new(hold))),
        |config| config.calls.max_ms = 1_000,
    )
    .await;
    server.seed().await;
    let bolts = |request_id: &str| {
        let mut order = nuts(request_id, "ada", 1);
        order.lines[0].item = "items/bolt".into();
        order
    };
    let requests = vec![
        nuts("r0", "ada", 1),
        bolts("r1"),
        bolts("r2"),
        nuts("r3", "bob", 1),
    ];
    let mut client = OrderServiceClient::new(server.connect().await);
    let answers = client.place_orders(by("shop", futures::stream::iter(requests)));
    let mut answers = answers.await.unwrap().into_inner();
    let mut outcomes = HashMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let outcome = match answer.result.unwrap() {
            Answer::Order(order) => order.state().as_str_name().to_owned(),
            Answer::Status(status) => format!("{:?}", Code::from(status.code)),
        };
        outcomes.insert(answer.request_id, outcome);
    }
    let expected = [
        ("r0", "CONFIRMED"),
        ("r1", "DeadlineExceeded"),
        ("r2", "DeadlineExceeded"),
        ("r3", "CONFIRMED"),
    ];
    let expected = expected.map(|(id, outcome)| (id.to_owned(), outcome.to_owned()));
    assert_eq!(outcomes, HashMap::from(expected));

    // They were begun, and run to their end: nobody has such bolts.
    held.store(false, Ordering::SeqCst);
    let mut again = client.clone();
    let refused = again.place_order(by("shop", bolts("r1"))).await.unwrap_err();
    assert_eq!(reason(&refused), "ITEM_NOT_FOUND");
    server.stop().await;
}
