//! The endpoints for operators.

use std::time::Duration;

use docket_actors::{Docket, Options};
use docket_edge::{Operators, config::AdminConfig};
use docket_proto::v1::{
    GetClusterStatusRequest, GetNodeStatusRequest, node_service_client::NodeServiceClient,
    order_service_client::OrderServiceClient,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{by, config, get, metrics, nuts, start};

#[tokio::test]
async fn a_ready_node_says_so_everywhere() {
    let server = start(|_| {}).await;
    assert_eq!(server.get("/livez").await, (200, "ok\n".into()));
    assert_eq!(server.get("/readyz").await, (200, "ok\n".into()));
    let (code, verbose) = server.get("/readyz?verbose").await;
    assert_eq!(code, 200);
    for line in [
        "[+] meta: leader 1",
        "[+] shard-0: leader 1",
        "[+] shard-1: leader 1",
        "ready",
    ] {
        assert!(verbose.lines().any(|l| l == line), "{line} is not in {verbose}");
    }
    let (code, index) = server.get("/").await;
    assert_eq!(code, 200);
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert!(index.contains(path));
    }
    assert_eq!(server.get("/nothing").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn the_endpoints_answer_before_the_node_is_open() {
    let config = config().admin;
    let operators = Operators::serve(&config, metrics()).await.unwrap();
    let address = operators.local_addr();
    assert_eq!(get(address, "/livez").await.0, 200);
    assert_eq!(get(address, "/readyz").await.0, 503);
    let (_, verbose) = get(address, "/readyz?verbose").await;
    assert!(verbose.contains("[-] the node is being opened"), "{verbose}");
    let (_, status) = get(address, "/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["ready"], false);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(get(address, "/metrics").await.0, 200);

    // The address is theirs.
    let taken = AdminConfig {
        listen: address,
        ..config.clone()
    };
    let error = Operators::serve(&taken, metrics()).await.err().unwrap();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_node_that_does_not_serve_says_why() {
    let server = start(|_| {}).await;
    server.docket.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.get("/readyz").await, (503, "not ready\n".into()));
    let (code, verbose) = server.get("/readyz?verbose").await;
    assert_eq!(code, 503);
    assert!(verbose.contains("[-] the node is stopping"), "{verbose}");
    server.stop().await;
}

#[tokio::test]
async fn a_node_whose_groups_have_no_leader_is_not_ready_and_names_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.node.shards = Some(2);
    let docket = Docket::open(options).await.unwrap();
    // Leaders are elected by and by: nothing of that has been waited for.
    let names = ["the meta group", "shard 0", "shard 1"];
    let reasons = docket.not_ready();
    assert_eq!(reasons.len(), names.len(), "{reasons:?}");
    for (reason, name) in reasons.iter().zip(names) {
        let said = [
            "has no leader here",
            "is led here, and not enough of its replicas answer",
            "is led here and not served yet",
        ];
        assert!(
            said.iter().any(|said| *reason == format!("{name} {said}")),
            "{reason}"
        );
    }
    docket.ready().await;
    assert_eq!(docket.not_ready(), [""; 0]);
}

#[tokio::test]
async fn the_status_is_the_same_on_both_ports() {
    let server = start(|_| {}).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut client = NodeServiceClient::new(channel);
    let of_grpc = client
        .get_node_status(by("root", GetNodeStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    let (code, text) = server.get("/status").await;
    assert_eq!(code, 200);
    let of_admin: serde_json::Value = serde_json::from_str(&text).unwrap();

    assert_eq!(of_admin["node_id"], of_grpc.node_id);
    assert_eq!(of_admin["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(of_admin["ready"], true);
    assert_eq!(of_admin["groups"].as_array().unwrap().len(), of_grpc.groups.len());
    assert_eq!(of_grpc.groups.len(), 3, "meta and two shards");
    for (json, proto) in of_admin["groups"].as_array().unwrap().iter().zip(&of_grpc.groups) {
        assert_eq!(json["group"], proto.group.as_str());
        assert_eq!(json["leader"], true);
        assert_eq!(json["term"], proto.term);
        assert!(json["applied_index"].as_u64().unwrap() > 0);
        assert_eq!(json["lag"], 0);
    }
    assert_eq!(of_admin["entities"]["customers"], 2);
    assert_eq!(of_admin["entities"]["items"], 1);
    assert!(of_admin["journal"]["disk_bytes"].as_u64().unwrap() > 0);
    assert!(of_admin["memory_bytes"].as_u64().unwrap() > 1_000_000);

    let cluster = client
        .get_cluster_status(by("root", GetClusterStatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((cluster.shards, cluster.nodes.len()), (2, 1));
    assert!(!cluster.cluster_id.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_was_called_is_measured_by_method_and_code() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    client
        .place_order(by("ada", nuts("one", "ada", 1)))
        .await
        .unwrap();
    client
        .place_order(by("ada", nuts("two", "ada", 0)))
        .await
        .unwrap_err();
    client
        .place_order(by("nobody", nuts("three", "ada", 1)))
        .await
        .unwrap_err();
    let (code, text) = server.get("/metrics").await;
    assert_eq!(code, 200);
    let method = "method=\"docket.v1.OrderService/PlaceOrder\"";
    for code in ["OK", "INVALID_ARGUMENT", "UNAUTHENTICATED"] {
        for metric in [
            "docket_requests_total",
            "docket_request_seconds_bucket",
            "docket_request_seconds_sum",
        ] {
            let line = text.lines().find(|line| {
                line.starts_with(metric)
                    && line.contains(method)
                    && line.contains(&format!("code=\"{code}\""))
            });
            assert!(line.is_some(), "{metric} of {code} is not in\n{text}");
        }
    }
    for metric in [
        "docket_connections_open",
        "docket_requests_in_flight",
        "docket_ready",
        "docket_build_info",
        "docket_authentication_failures_total{reason=\"CREDENTIALS_INVALID\"}",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(metric)),
            "{metric} is not in\n{text}"
        );
    }
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        assert!(line.starts_with("docket_"), "{line}");
        for secret in ["ada", "one", "nut"] {
            assert!(
                !line.contains(&format!("\"{secret}\"")),
                "an unbounded label: {line}"
            );
        }
    }
    for described in ["docket_requests_total", "docket_request_seconds"] {
        assert!(
            text.contains(&format!("# HELP {described} ")),
            "{described} is not described"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed() {
    let server = start(|config| config.admin.request_ms = 50).await;
    let mut silent = TcpStream::connect(server.admin).await.unwrap();
    let mut bytes = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut bytes)).await;
    assert!(closed.is_ok(), "it is still open");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let server = start(|config| config.admin.max_connections = 1).await;
    let held = TcpStream::connect(server.admin).await.unwrap();
    // Whoever comes second is closed without an answer, as long as the first is there.
    let mut second = TcpStream::connect(server.admin).await.unwrap();
    assert_eq!(second.read(&mut [0; 16]).await.unwrap_or(0), 0);
    drop(held);
    for _ in 0..1_000 {
        let answered = tokio::task::spawn(get(server.admin, "/livez")).await;
        if answered.is_ok_and(|(code, _)| code == 200) {
            server.stop().await;
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the slot does not come back");
}

#[tokio::test]
async fn who_does_not_take_an_answer_does_not_keep_its_place() {
    let server = start(|config| {
        config.admin.request_ms = 200;
        config.admin.max_connections = 1;
    })
    .await;
    // More questions than the system keeps answers of, which are not read.
    let mut deaf = TcpStream::connect(server.admin).await.unwrap();
    let question = b"GET /metrics HTTP/1.1\r\nhost: docket\r\n\r\n".repeat(1_000);
    let asking = tokio::spawn(async move {
        let asked = deaf.write_all(&question).await;
        // Held open until it is cut.
        while deaf.writable().await.is_ok() && deaf.try_write(b"\r\n").is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        asked
    });
    let served = async {
        while !tokio::task::spawn(get(server.admin, "/livez"))
            .await
            .is_ok_and(|(code, _)| code == 200)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served)
        .await
        .expect("nobody else gets a place");
    asking.abort();
    server.stop().await;
}
