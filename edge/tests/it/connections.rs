//! Connections: how many, how slow, how encrypted.

use std::{path::Path, time::Duration};

use docket_edge::config::TlsConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Running, start};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a certificate for `localhost`; returns it as PEM.
fn certificate(dir: &Path) -> (TlsConfig, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsConfig {
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.pem())
}

async fn connect_tls(server: &Running, trusted: &str) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(trusted))
        .domain_name("localhost");
    Endpoint::from_shared(format!("https://{}", server.grpc))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
}

async fn check(channel: Channel) {
    HealthClient::new(channel)
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap();
}

/// Asks for something that needs credentials, and has some.
async fn call(channel: Channel) -> Result<(), tonic::Status> {
    let ask = docket_proto::v1::ListItemsRequest::default();
    let mut items = docket_proto::v1::item_service_client::ItemServiceClient::new(channel);
    items.list_items(crate::support::by("root", ask)).await.map(drop)
}

/// Whether the server ended the connection for what its client does. What the client has still sent by then can have the
/// system reset the connection before the reason is read.
fn is_thrown_out(error: &h2::Error) -> bool {
    error.is_io() || error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
}

/// Reads until the other end closes.
async fn closed(mut tcp: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut bytes)).await;
    // A reset is a way to close, too.
    let _ = read.expect("the server does not close the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_configured_certificate_is_used_and_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (files, first) = certificate(dir.path());
    let server = start(|config| config.tls = Some(files)).await;
    let before = connect_tls(&server, &first).await.unwrap();
    check(before.clone()).await;

    let (_, second) = certificate(dir.path());
    server.control.reload_certificate().unwrap();
    assert!(
        connect_tls(&server, &first).await.is_err(),
        "the old certificate is still given out"
    );
    check(connect_tls(&server, &second).await.unwrap()).await;
    check(before).await;

    std::fs::write(dir.path().join("server.pem"), "nothing").unwrap();
    let error = server.control.reload_certificate().unwrap_err().to_string();
    assert!(error.contains("server.pem"), "{error}");
    check(connect_tls(&server, &second).await.unwrap()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = certificate(dir.path());
    for tls in [None, Some(files)] {
        let server = start(|config| {
            config.tls = tls;
            config.connections.handshake_ms = 50;
        })
        .await;
        let silent = TcpStream::connect(server.grpc).await.unwrap();
        closed(silent).await;
        let mut slow = TcpStream::connect(server.grpc).await.unwrap();
        slow.write_all(b"PRI * HT").await.unwrap();
        closed(slow).await;
        let (_, metrics) = server.get("/metrics").await;
        assert!(metrics.contains("docket_connections_total{outcome=\"handshake_timeout\"}"));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_browser_is_told_what_this_is() {
    let server = start(|_| {}).await;
    let (code, body) = crate::support::get(server.grpc, "/").await;
    assert_eq!(code, 426);
    assert!(body.contains("gRPC"), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_by_address() {
    for by_address in [false, true] {
        let server = start(|config| {
            if by_address {
                config.connections.max_per_address = 2;
            } else {
                config.connections.max = 2;
            }
        })
        .await;
        let (first, second) = (server.connect().await, server.connect().await);
        call(first.clone()).await.unwrap();
        call(second.clone()).await.unwrap();
        closed(TcpStream::connect(server.grpc).await.unwrap()).await;
        let (_, metrics) = server.get("/metrics").await;
        let outcome = if by_address {
            "refused_address_full"
        } else {
            "refused_full"
        };
        assert!(metrics.contains(&format!("docket_connections_total{{outcome=\"{outcome}\"}}")));
        check(first.clone()).await;
        drop((first, second));
        // Their slots come back when the server has seen them go.
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
        for attempt in 0.. {
            assert!(attempt < 10_000, "the slots do not come back");
            let Ok(channel) = endpoint.connect().await else {
                continue;
            };
            let ask = HealthCheckRequest {
                service: String::new(),
            };
            if HealthClient::new(channel).check(ask).await.is_ok() {
                break;
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn who_only_connects_keeps_nobody_out() {
    let server = start(|config| config.connections.max = 8).await;
    let honest = server.connect().await;
    call(honest.clone()).await.unwrap();
    // Connections that are made, and say no more than that they speak HTTP/2; some ask how the node is, which proves nothing.
    let mut idle = Vec::new();
    for number in 0..30 {
        let tcp = TcpStream::connect(server.grpc).await.unwrap();
        let (sender, connection) = h2::client::Builder::new()
            .handshake::<_, bytes::Bytes>(tcp)
            .await
            .unwrap();
        idle.push((sender, tokio::spawn(connection)));
        if number % 10 == 0 {
            let newcomer = tokio::time::timeout(PATIENCE, server.connect()).await.unwrap();
            call(newcomer).await.expect("a newcomer is let in");
        }
    }
    call(honest).await.expect("who has called keeps its place");
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("docket_connections_total{outcome=\"displaced\"}"));
    server.stop().await;
}

#[tokio::test]
async fn a_connection_without_calls_is_asked_to_go() {
    let server = start(|config| config.connections.idle_ms = 1_000).await;
    let tcp = TcpStream::connect(server.grpc).await.unwrap();
    let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    assert!(ended.is_ok(), "it is still open");
    drop::<h2::client::SendRequest<bytes::Bytes>>(sender);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_only() {
    let server = start(|config| config.http2.max_pending_reset_streams = 10).await;
    let (mut sender, connection) = crate::calls::http2(&server).await;
    let connection = tokio::spawn(connection);
    let other = server.connect().await;
    check(other.clone()).await;
    // Rapid reset (CVE-2023-44487): streams that are opened and reset at once.
    for _ in 0..100_000 {
        let Ok(ready) = sender.clone().ready().await else {
            break;
        };
        sender = ready;
        let head = crate::calls::head("/docket.v1.OrderService/PlaceOrder");
        let Ok((_, mut body)) = sender.send_request(head, false) else {
            break;
        };
        body.send_reset(h2::Reason::CANCEL);
    }
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    let error = ended
        .expect("the connection goes on")
        .unwrap()
        .expect_err("it was told why");
    assert!(is_thrown_out(&error), "{error}");
    check(other).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_whose_headers_are_too_long_is_refused_alone() {
    let server = start(|config| config.http2.max_header_list_bytes = 8 * 1_024).await;
    let (mut sender, connection) = crate::calls::http2(&server).await;
    let connection = tokio::spawn(connection);
    let list = |bytes: usize| {
        let mut head = crate::calls::head("/docket.v1.ItemService/ListItems");
        head.headers_mut()
            .insert("x-filler", "f".repeat(bytes).parse().unwrap());
        head
    };
    let (answer, _) = sender.send_request(list(9 * 1_024), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 431);
    let (answer, _) = sender.send_request(list(7 * 1_024), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200, "the connection goes on");
    // So much more that nobody reads it to its end.
    let (answer, _) = sender.send_request(list(512 * 1_024), true).unwrap();
    let error = answer.await.unwrap_err();
    assert!(is_thrown_out(&error), "{error}");
    assert!(tokio::time::timeout(PATIENCE, connection).await.unwrap().is_ok());
    check(server.connect().await).await;
    server.stop().await;
}

#[tokio::test]
async fn calls_at_a_time_on_one_connection_are_bounded() {
    let server = start(|config| config.http2.max_concurrent_streams = 2).await;
    let tcp = TcpStream::connect(server.grpc).await.unwrap();
    let (mut sender, connection) = h2::client::Builder::new()
        .handshake::<_, bytes::Bytes>(tcp)
        .await
        .unwrap();
    // Sent before the server's bounds have arrived, by a client that does not wait for them.
    let mut calls = Vec::new();
    for _ in 0..3 {
        let head = crate::calls::head("/docket.v1.OrderService/PlaceOrders");
        calls.push(sender.send_request(head, false).unwrap());
    }
    tokio::spawn(connection);
    let (refused, _body) = calls.pop().unwrap();
    let error = tokio::time::timeout(PATIENCE, refused)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM), "{error}");
    assert_eq!(sender.current_max_send_streams(), 2);
    // When one has ended there is room for another.
    let (_, mut first) = calls.pop().unwrap();
    first.send_reset(h2::Reason::CANCEL);
    let head = crate::calls::head("/docket.v1.ItemService/ListItems");
    let (answer, _) = sender.ready().await.unwrap().send_request(head, true).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
    assert_eq!(answer.unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = certificate(dir.path());
    std::fs::remove_file(&files.key).unwrap();
    let (docket, _node_dir) = crate::support::node().await;
    let mut config = crate::support::config();
    config.tls = Some(files);
    let error = crate::support::bind(config, docket)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("server.key"), "{error}");
}
