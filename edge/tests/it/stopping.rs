//! How a server ends.

use std::time::Duration;

use bytes::Bytes;
use docket_proto::v1::{order_service_client::OrderServiceClient, place_orders_response::Result as Answer};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{
    calls::{head, http2},
    support::{by, get, nuts, reason, start},
};

#[tokio::test]
async fn an_open_stream_is_answered_told_and_ended() {
    let server = start(|_| {}).await;
    server.seed().await;
    let (grpc, admin) = (server.grpc, server.admin);
    let mut client = OrderServiceClient::new(server.connect().await);
    let (sender, receiver) = mpsc::channel(1);
    sender.send(nuts("one", "ada", 1)).await.unwrap();
    let mut answers = client
        .place_orders(by("ada", ReceiverStream::new(receiver)))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(answer.result, Some(Answer::Order(_))));

    let (stopped, _docket, _dir) = server.begin_stop();
    let told = answers.message().await.unwrap_err();
    assert_eq!(
        (told.code(), reason(&told).as_str()),
        (Code::Unavailable, "NODE_STOPPING")
    );
    stopped.await.unwrap();
    assert!(
        TcpStream::connect(grpc).await.is_err(),
        "nobody can connect any more"
    );
    assert!(
        TcpStream::connect(admin).await.is_err(),
        "the admin port is closed last, but it is"
    );
}

#[tokio::test]
async fn it_is_not_ready_while_it_finishes_and_cuts_what_does_not_end() {
    let server = start(|config| config.drain_ms = 1_000).await;
    let admin = server.admin;
    let (mut sender, connection) = http2(&server).await;
    let connection = tokio::spawn(connection);
    let (answer, mut body) = sender
        .send_request(head("/docket.v1.OrderService/PlaceOrder"), false)
        .unwrap();
    // The beginning of a message that does not go on.
    let mut beginning = vec![0; 4_242];
    beginning[3] = 0xff;
    body.send_data(Bytes::from(beginning), false).unwrap();
    server.until_measured("docket_request_bytes_in_flight 4242").await;
    let (stopped, _docket, _dir) = server.begin_stop();
    let mut ready = get(admin, "/readyz?verbose").await;
    while ready.0 == 200 {
        ready = get(admin, "/readyz?verbose").await;
    }
    assert_eq!(ready.0, 503);
    assert!(ready.1.contains("[-] the node is stopping"), "{}", ready.1);
    let stopped = tokio::time::timeout(Duration::from_secs(30), stopped).await;
    stopped.expect("it stops, whatever clients do").unwrap();
    assert!(answer.await.is_err());
    connection.abort();
}

#[tokio::test]
async fn an_idle_client_does_not_hold_it_up() {
    let server = start(|config| config.drain_ms = 60_000).await;
    let _idle = server.connect().await;
    let stopped = tokio::time::timeout(Duration::from_secs(20), server.stop()).await;
    assert!(stopped.is_ok(), "GOAWAY ends a connection without calls");
}
