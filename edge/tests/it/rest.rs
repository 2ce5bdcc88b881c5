//! REST and JSON: the same calls, behind the same gate, told as HTTP has it.

pub mod client;

use std::{net::SocketAddr, time::Duration};

use docket_edge::{
    EdgeConfig,
    config::{Limit, TlsConfig},
};
use docket_proto::v1::{GetOrderRequest, ListOrdersRequest, order_service_client::OrderServiceClient};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use self::client::{Answer, PATIENCE, Watch, ask, ask_with, detail, get, request};
use crate::{
    support::{by, start, start_with_accounts_on},
    watch::COUNTS_CUT_OFF,
};

fn with_rest(config: &mut EdgeConfig) {
    config.rest.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
}

fn nuts(quantity: i64) -> Value {
    json!({
        "customer": "customers/ada",
        "currencyCode": "EUR",
        "lines": [{ "item": "items/nut", "quantity": quantity, "unitPrice": "5" }],
    })
}

#[tokio::test]
async fn an_order_lives_as_it_does_over_grpc() {
    let server = start(with_rest).await;
    server.seed().await;
    let id = "idempotency-key: \"r-1\"\r\n";
    let placed = ask_with(&server, "ada", "POST /v1/orders", id, &nuts(3).to_string()).await;
    assert_eq!(placed.status, 200, "{placed:?}");
    assert!(placed.headers["ratelimit"].contains("r="), "{placed:?}");
    let order = placed.json();
    assert_eq!(
        (&order["state"], &order["total"]),
        (&json!("CONFIRMED"), &json!("15"))
    );
    let again = ask_with(&server, "ada", "POST /v1/orders", id, &nuts(3).to_string()).await;
    assert_eq!(again.json(), order, "a repeat is answered as the first was");
    let other = ask_with(&server, "ada", "POST /v1/orders", id, &nuts(4).to_string()).await;
    assert_eq!(other.refusal(), (409, "REQUEST_ID_REUSED".to_owned()));

    let name = order["name"].as_str().unwrap();
    let found = get(&server, "ada", &format!("/v1/{name}")).await;
    assert_eq!(found.json(), order);
    let mut orders = OrderServiceClient::new(server.connect().await);
    let over_grpc = orders
        .get_order(by("ada", GetOrderRequest { name: name.into() }))
        .await
        .unwrap();
    assert_eq!(json!(over_grpc.get_ref().name), order["name"]);
    assert_eq!(json!(over_grpc.get_ref().etag), order["etag"]);
    let listed = get(
        &server,
        "ada",
        "/v1/orders?customer=customers/ada&states=CONFIRMED&pageSize=5",
    )
    .await;
    assert_eq!(listed.json()["orders"], json!([order]));
    let batch = ask(
        &server,
        "ada",
        "POST /v1/orders:batchGet",
        &json!({ "names": [name, name] }),
    )
    .await;
    assert_eq!(batch.json()["orders"], json!([order, order]));

    let stale = ask(
        &server,
        "ada",
        &format!("POST /v1/{name}:cancel"),
        &json!({ "etag": "v1" }),
    )
    .await;
    assert_eq!(stale.refusal(), (409, "STALE_ETAG".to_owned()));
    let cancelled = ask(&server, "ada", &format!("POST /v1/{name}:cancel"), &Value::Null).await;
    assert_eq!(cancelled.json()["state"], "CANCELLED");
    let events = get(&server, "root", &format!("/v1/{name}/events")).await.json();
    let events = events["events"].as_array().unwrap();
    assert!(events.len() >= 3, "{events:?}");

    let credited = ask(
        &server,
        "root",
        "POST /v1/customers/ada:credit",
        &json!({ "amount": 7, "requestId": "paid" }),
    )
    .await;
    assert_eq!(credited.json()["balance"], "7");
    let renamed = "PATCH /v1/customers/ada?updateMask=displayName";
    let renamed = ask(&server, "root", renamed, &json!({ "displayName": "Ada" })).await;
    assert_eq!(renamed.json()["displayName"], "Ada");
    let made = ask(
        &server,
        "root",
        "POST /v1/items?sku=fig",
        &json!({ "currencyCode": "EUR", "unitPrice": 2 }),
    )
    .await;
    assert_eq!((made.status, &made.json()["onHand"]), (200, &json!("0")));
    let node = get(&server, "root", "/v1/node").await;
    assert_eq!(node.json()["ready"], json!(true));
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_is_told_as_http_has_it() {
    let server = start(with_rest).await;
    server.seed().await;
    #[track_caller]
    fn check(answer: &Answer, status: u16, reason: &str) {
        assert_eq!(answer.refusal(), (status, reason.to_owned()), "{answer:?}");
    }
    let place = "POST /v1/orders";
    let missing = ask(&server, "", place, &nuts(1)).await;
    check(&missing, 401, "CREDENTIALS_MISSING");
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    check(
        &ask(&server, "nobody", place, &nuts(1)).await,
        401,
        "CREDENTIALS_INVALID",
    );
    check(
        &ask(&server, "reader", place, &nuts(1)).await,
        403,
        "SCOPE_MISSING",
    );
    check(
        &ask(&server, "ada", "POST /v1/items?sku=fig", &json!({})).await,
        403,
        "ROLE_NOT_ALLOWED",
    );
    // What a caller may not see does not exist, and for others nothing is ordered.
    check(
        &get(&server, "bob", "/v1/customers/ada").await,
        404,
        "CUSTOMER_NOT_FOUND",
    );
    check(
        &get(&server, "ada", "/v1/orders/01M83JXAHCC6MXR3EASG000000").await,
        404,
        "ORDER_NOT_FOUND",
    );
    check(
        &ask(&server, "ada", place, &nuts(1_000_000)).await,
        400,
        "INSUFFICIENT_CREDIT",
    );

    let wrong = ask(
        &server,
        "ada",
        place,
        &json!({ "customer": "customers/ada", "lines": [{}, { "quantity": "x" }] }),
    )
    .await;
    check(&wrong, 400, "INVALID_ARGUMENT");
    assert_eq!(wrong.fields(), ["lines[1].quantity"]);
    let wrong = ask(&server, "ada", place, &json!({ "customers": "ada" })).await;
    assert_eq!(
        (wrong.status, wrong.fields()),
        (400, vec!["customers".to_owned()])
    );
    let broken = ask_with(&server, "ada", place, "", "{\"customer\": ").await;
    assert_eq!(
        (broken.status, broken.fields()),
        (400, vec!["customer".to_owned()])
    );
    // The service's own words for a request that can be read.
    let none = ask(&server, "ada", place, &nuts(0)).await;
    assert_eq!(
        (none.status, none.fields()),
        (400, vec!["lines[0].quantity".to_owned()])
    );
    check(
        &get(&server, "ada", "/v1/orders?color=red").await,
        400,
        "INVALID_ARGUMENT",
    );

    check(&get(&server, "ada", "/v1/nothing").await, 404, "UNKNOWN_PATH");
    let grpc = "POST /docket.v1.OrderService/PlaceOrder";
    check(&ask(&server, "ada", grpc, &nuts(1)).await, 404, "UNKNOWN_PATH");
    let verb = ask(&server, "ada", "DELETE /v1/orders", &Value::Null).await;
    check(&verb, 405, "VERB_NOT_ALLOWED");
    assert_eq!(verb.headers["allow"], "POST, GET");
    let form = "POST /v1/orders HTTP/1.1\r\nhost: docket\r\nconnection: close\r\nx-api-key: ada\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 2\r\n\r\n{}";
    let mut tcp = TcpStream::connect(server.rest.unwrap()).await.unwrap();
    tcp.write_all(form.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    check(&Answer::of(&answer), 415, "CONTENT_TYPE_UNSUPPORTED");
    let late = ask_with(
        &server,
        "ada",
        place,
        "grpc-timeout: 1n\r\n",
        &nuts(1).to_string(),
    )
    .await;
    check(&late, 504, "DEADLINE_EXCEEDED");
    let no_time = ask_with(
        &server,
        "ada",
        place,
        "grpc-timeout: soon\r\n",
        &nuts(1).to_string(),
    )
    .await;
    assert_eq!(
        (no_time.status, no_time.fields()),
        (400, vec!["grpc-timeout".to_owned()])
    );
    let list = ListOrdersRequest {
        customer: "customers/ada".into(),
        ..ListOrdersRequest::default()
    };
    let mut orders = OrderServiceClient::new(server.connect().await);
    let kept = orders
        .list_orders(by("ada", list))
        .await
        .unwrap()
        .into_inner()
        .orders;
    assert!(
        kept.iter().all(|order| order.rejection.is_some()),
        "nothing was placed: {kept:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_what_is_refused_is_not_read() {
    let server = start(|config| {
        with_rest(config);
        config.http2.max_request_bytes = 2_048;
        config.limits.customer = Limit {
            per_second: 1,
            burst: 3,
        };
    })
    .await;
    server.seed().await;
    let mut large = nuts(1);
    large["requestId"] = json!("x".repeat(4_096));
    let refused = ask(&server, "ada", "POST /v1/orders", &large).await;
    assert_eq!(refused.refusal(), (413, "MESSAGE_TOO_LARGE".to_owned()));
    // Who has no credentials does not have to be heard out.
    let mut tcp = TcpStream::connect(server.rest.unwrap()).await.unwrap();
    let head = "POST /v1/orders HTTP/1.1\r\nhost: docket\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n{";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut begun = vec![0; 12];
    timeout(PATIENCE, tcp.read_exact(&mut begun))
        .await
        .expect("an answer before the body")
        .unwrap();
    assert_eq!(begun, b"HTTP/1.1 401");
    let mut limited = None;
    for _ in 0..8 {
        let answer = get(&server, "ada", "/v1/customers/ada").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert_eq!(limited.refusal().1, "RATE_LIMITED");
    assert!(
        limited.headers["retry-after"].parse::<u64>().unwrap() >= 1,
        "{limited:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_watch_is_a_line_or_an_event_for_each_message_and_goes_on() {
    let server = start(with_rest).await;
    server.seed().await;
    let mut watch = Watch::begin(&server, "ada", "customer=customers/ada&start=OLDEST", "").await;
    let placed = ask(&server, "ada", "POST /v1/orders", &nuts(1)).await.json();
    let (mut kinds, mut token) = (Vec::new(), String::new());
    while !kinds.contains(&json!("CONFIRMED")) {
        let message = watch.next("{").await;
        let message: Value = serde_json::from_str(&format!("{{{message}")).unwrap();
        for change in message["changes"].as_array().unwrap() {
            assert_eq!(change["order"]["name"], placed["name"]);
            kinds.push(change["kind"].clone());
        }
        token = message["resumeToken"].as_str().unwrap().to_owned();
    }
    assert_eq!(kinds, [json!("PLACED"), json!("CONFIRMED")]);
    drop(watch);

    let name = placed["name"].as_str().unwrap();
    ask(&server, "ada", &format!("POST /v1/{name}:cancel"), &Value::Null).await;
    // Whoever has seen no event says so by an empty one, and goes on where the query says.
    let query = format!("customer=customers/ada&start=OLDEST&resumeToken={token}");
    let mut watch = Watch::begin(&server, "ada", &query, "last-event-id:\r\n").await;
    let mut seen = Vec::new();
    while seen.is_empty() {
        let message: Value = serde_json::from_str(&format!("{{{}", watch.next("{").await)).unwrap();
        seen.extend(message["changes"].as_array().unwrap().clone());
    }
    assert_eq!(seen[0]["kind"], "CANCELLED", "it begins anew: {seen:?}");
    drop(watch);
    let headers = format!("accept: text/event-stream\r\nlast-event-id: {token}\r\n");
    let mut watch = Watch::begin(&server, "ada", "customer=customers/ada&start=OLDEST", &headers).await;
    let mut seen = Vec::new();
    while seen.is_empty() {
        assert!(!watch.next("id: ").await.is_empty());
        let message: Value = serde_json::from_str(&watch.next("data: ").await).unwrap();
        seen.extend(message["changes"].as_array().unwrap().clone());
    }
    assert_eq!(seen[0]["kind"], "CANCELLED", "nothing is told twice: {seen:?}");

    // A node that stops ends its watches and says so.
    let stopping = tokio::spawn(server.stop());
    let last: Value = serde_json::from_str(&{
        watch.next("event: error").await;
        watch.next("data: ").await
    })
    .unwrap();
    assert_eq!(detail(&last, "ErrorInfo")["reason"], "NODE_STOPPING");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_watch_that_cannot_begin_is_refused_with_a_status() {
    let server = start(with_rest).await;
    server.seed().await;
    let refused = get(&server, "", "/v1/orders:watch?customer=customers/ada").await;
    assert_eq!(refused.refusal(), (401, "CREDENTIALS_MISSING".to_owned()));
    let wrong = get(
        &server,
        "ada",
        "/v1/orders:watch?customer=customers/ada&resumeToken=never",
    )
    .await;
    assert_eq!(
        (wrong.status, wrong.fields()),
        (400, vec!["resume_token".to_owned()])
    );
    let watch = "GET /v1/orders:watch?customer=customers/ada";
    let no_text = ask_with(&server, "ada", watch, "last-event-id: \u{e9}\r\n", "").await;
    assert_eq!(
        (no_text.status, no_text.fields()),
        (400, vec!["last-event-id".to_owned()])
    );
    server.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_that_protects_nothing_is_refused() {
    let server = start(with_rest).await;
    server.seed().await;
    let order = nuts(1).to_string();
    for headers in [
        "idempotency-key:\r\n",
        "idempotency-key: \"\"\r\n",
        "idempotency-key: \u{e9}\r\n",
        "idempotency-key: one\r\nidempotency-key: two\r\n",
    ] {
        let refused = ask_with(&server, "ada", "POST /v1/orders", headers, &order).await;
        assert_eq!(
            refused.refusal(),
            (400, "INVALID_ARGUMENT".to_owned()),
            "{headers:?}: {refused:?}"
        );
        assert_eq!(refused.fields(), ["idempotency-key"], "{headers:?}");
    }
    let listed = get(&server, "ada", "/v1/orders?customer=customers/ada").await;
    assert_eq!(listed.json()["orders"], json!([]), "nothing is placed");
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_had_without_credentials_and_the_document_is_open() {
    let server = start_with_accounts_on(with_rest).await;
    let login = json!({ "username": "nobody", "password": "a long password" });
    let refused = ask(&server, "", "POST /v1/sessions:login", &login).await;
    assert_eq!(
        (refused.status, refused.refusal().1.as_str()),
        (401, "LOGIN_FAILED")
    );
    let document = get(&server, "", "/openapi.json").await;
    assert_eq!(
        (document.status, &document.json()["openapi"]),
        (200, &json!("3.1.0"))
    );
    server.stop().await;
}

#[tokio::test]
async fn rest_has_the_certificate_that_grpc_has() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsConfig {
        certificate: dir.path().join("server.pem"),
        key: dir.path().join("server.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let server = start(|config| {
        with_rest(config);
        config.tls = Some(files);
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tcp = TcpStream::connect(server.rest.unwrap()).await.unwrap();
    let mut tls = connector
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap();
    tls.write_all(request("root", "GET /v1/node", "", "").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert_eq!(Answer::of(&answer).json()["ready"], json!(true));
    server.stop().await;
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let server = start(|config| {
        with_rest(config);
        config.calls.max_ms = 1_000;
    })
    .await;
    server.seed().await;
    let mut tcp = BufReader::new(TcpStream::connect(server.rest.unwrap()).await.unwrap());
    let began = std::time::Instant::now();
    let mut asked = 0;
    // For longer than a call may take: what ended a call before ends no connection.
    while began.elapsed() < Duration::from_millis(2_500) {
        let text = "GET /v1/customers/ada HTTP/1.1\r\nhost: docket\r\nx-api-key: ada\r\n\r\n";
        tcp.get_mut().write_all(text.as_bytes()).await.unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(
                tcp.read_line(&mut line).await.unwrap() > 0,
                "closed after {asked} requests"
            );
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        tcp.read_exact(&mut body).await.unwrap();
        asked += 1;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(asked > 5, "{asked}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_whose_replies_are_never_taken_ends() {
    let server = start(|config| {
        with_rest(config);
        config.calls.max_ms = 1_000;
        config.limits.open = Limit::GENEROUS;
    })
    .await;
    // What no call holds: the document, and refusals.
    for asked in ["GET /openapi.json", "GET /v1/nothing", "GET /v1/node"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut tcp = socket.connect(server.rest.unwrap()).await.unwrap();
        let asked = format!("{asked} HTTP/1.1\r\nhost: docket\r\n\r\n").repeat(64);
        // Nothing is read. So before long nothing more can be written, until the connection has ended.
        let ended = timeout(PATIENCE, async {
            while tcp.write_all(asked.as_bytes()).await.is_ok() {}
        });
        ended
            .await
            .unwrap_or_else(|_| panic!("kept for ever: {}", &asked[..20]));
    }
    let document = get(&server, "", "/openapi.json").await;
    assert_eq!(document.status, 200, "others are served");
    server.stop().await;
}

#[tokio::test]
async fn a_watch_that_is_not_read_is_cut_off() {
    let _alone = COUNTS_CUT_OFF.lock().await;
    let server = start(|config| {
        with_rest(config);
        config.feed.buffer_bytes = 64 * 1_024;
        config.feed.stalled_ms = 200;
    })
    .await;
    server.seed().await;
    // More than sockets keep: each order is some kilobytes, and is told of twice.
    let line = json!({ "item": "items/nut", "quantity": 1, "unitPrice": "5" });
    let mut order = nuts(1);
    order["lines"] = json!(vec![line; 100]);
    for _ in 0..10 {
        let placed = (0..20).map(|_| ask(&server, "ada", "POST /v1/orders", &order));
        for answer in join_all(placed).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    let before = server.cut_off().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut tcp = socket.connect(server.rest.unwrap()).await.unwrap();
    let asked = "GET /v1/orders:watch?customer=customers/ada&start=OLDEST";
    tcp.write_all(request("ada", asked, "", "").as_bytes())
        .await
        .unwrap();
    timeout(PATIENCE, async { while server.cut_off().await == before {} })
        .await
        .expect("it is cut off in time");
    // And its connection ends, though nobody has read what it was told.
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await;
    let ended = read.expect("the connection ends");
    let told = String::from_utf8_lossy(&rest);
    assert!(
        ended.is_err() || !told.ends_with("0\r\n\r\n") || told.contains("WATCHER_TOO_SLOW"),
        "it ended as if it were whole"
    );
    server.stop().await;
}
