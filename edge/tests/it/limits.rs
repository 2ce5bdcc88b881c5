//! How often, and how much at a time.

use std::time::Duration;

use bytes::Bytes;
use docket_edge::config::{Limit, LimitsConfig};
use docket_proto::v1::{
    CreateItemRequest, GetItemRequest, ListItemsRequest, item_service_client::ItemServiceClient,
    order_service_client::OrderServiceClient, place_orders_response,
};
use tonic::{Code, Request, Status, metadata::MetadataMap};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::{
    calls::{head, http2},
    support::{by, nuts, reason, start},
};

const SMALL: Limit = Limit {
    per_second: 1,
    burst: 3,
};
/// More calls than a bucket of one token a second can give while a test runs.
const MANY: usize = 600;

#[tokio::test]
async fn an_account_that_calls_too_often_is_told_when_to_come_back() {
    let server = start(|config| config.limits.customer = SMALL).await;
    let mut client = ItemServiceClient::new(server.connect().await);
    let mut passed = 0;
    let refused = loop {
        match client.list_items(by("ada", ListItemsRequest::default())).await {
            Ok(answer) => {
                let left = answer.metadata().get("ratelimit").unwrap().to_str().unwrap();
                assert!(left.starts_with("\"customer\";r="), "{left}");
                assert_eq!(
                    answer.metadata().get("ratelimit-policy").unwrap(),
                    "\"customer\";q=3;w=3"
                );
                passed += 1;
                assert!(passed < MANY, "there is no limit");
            }
            Err(status) => break status,
        }
    };
    assert!(passed >= 3, "the burst is 3, {passed} passed");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "RATE_LIMITED")
    );
    let details = refused.get_error_details();
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(
        delay > Duration::ZERO && delay <= Duration::from_secs(1),
        "{delay:?}"
    );
    assert_eq!(
        details.quota_failure().unwrap().violations[0].subject,
        "principal:ada"
    );
    assert!(
        refused
            .metadata()
            .get("ratelimit")
            .unwrap()
            .to_str()
            .unwrap()
            .contains(";r=0;")
    );
    assert_eq!(
        refused.metadata().get("ratelimit-policy").unwrap(),
        "\"customer\";q=3;w=3"
    );

    client
        .list_items(by("bob", ListItemsRequest::default()))
        .await
        .expect("bob has a bucket of his own");
    let root = client
        .list_items(by("root", ListItemsRequest::default()))
        .await
        .unwrap();
    let policy = root.metadata().get("ratelimit-policy").unwrap();
    assert_eq!(policy, "\"admin\";q=200000;w=1", "and so has root, by role");
    assert!(server.denials("principal").await > 0);
    server.stop().await;
}

#[tokio::test]
async fn an_address_is_limited_before_anybody_is_authenticated() {
    let server = start(|config| config.limits.address = SMALL).await;
    let mut client = ItemServiceClient::new(server.connect().await);
    let mut refusals = Vec::new();
    for _ in 0..MANY {
        let status = client
            .list_items(by("mallory", ListItemsRequest::default()))
            .await
            .unwrap_err();
        assert!(
            status.metadata().contains_key("ratelimit"),
            "on a refusal for another reason too"
        );
        refusals.push((status.code(), reason(&status)));
    }
    assert!(
        refusals[..3]
            .iter()
            .all(|(code, _)| *code == Code::Unauthenticated)
    );
    let limited = refusals
        .iter()
        .filter(|(_, reason)| reason == "RATE_LIMITED")
        .count();
    assert!(limited > MANY / 2, "only {limited} of {MANY} were refused");
    server.stop().await;
}

#[tokio::test]
async fn every_reply_tells_the_limit_that_it_is_closest_to() {
    // As it is configured by default.
    let server = start(|config| config.limits = LimitsConfig::default()).await;
    server.seed().await;
    let channel = server.connect().await;
    let mut items = ItemServiceClient::new(channel.clone());
    let policy = |metadata: &MetadataMap| {
        let text = |name| metadata.get(name).unwrap().to_str().unwrap().to_owned();
        let (policy, left) = (text("ratelimit-policy"), text("ratelimit"));
        let name = policy.split(';').next().unwrap();
        assert!(
            left.starts_with(&format!("{name};r=")),
            "{left} is not of {policy}"
        );
        policy
    };
    let get = |name: &str| GetItemRequest {
        name: format!("items/{name}"),
    };
    let ok = items.get_item(by("ada", get("nut"))).await.unwrap();
    assert_eq!(policy(ok.metadata()), "\"customer\";q=100;w=2");
    let ok = items.get_item(by("shop", get("nut"))).await.unwrap();
    assert_eq!(policy(ok.metadata()), "\"service\";q=200000;w=1");
    let ok = items.get_item(by("root", get("nut"))).await.unwrap();
    assert_eq!(policy(ok.metadata()), "\"admin\";q=200000;w=1");
    let error = items.get_item(by("shop", get("none"))).await.unwrap_err();
    assert_eq!(
        (error.code(), policy(error.metadata()).as_str()),
        (Code::NotFound, "\"service\";q=200000;w=1")
    );
    let denied = items
        .create_item(by("reader", CreateItemRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(
        (denied.code(), policy(denied.metadata()).as_str()),
        (Code::PermissionDenied, "\"service\";q=200000;w=1")
    );

    let failure = "\"failure\";q=200;w=4";
    let wrong = items.get_item(by("mallory", get("nut"))).await.unwrap_err();
    assert_eq!(
        (wrong.code(), policy(wrong.metadata()).as_str()),
        (Code::Unauthenticated, failure)
    );
    let missing = items.get_item(Request::new(get("nut"))).await.unwrap_err();
    assert_eq!(
        (missing.code(), policy(missing.metadata()).as_str()),
        (Code::Unauthenticated, failure)
    );

    let mut orders = OrderServiceClient::new(channel.clone());
    let stream = orders
        .place_orders(by("shop", futures::stream::empty()))
        .await
        .unwrap();
    assert_eq!(policy(stream.metadata()), "\"service\";q=200000;w=1");

    let mut health = HealthClient::new(channel);
    let probe = "\"probe\";q=500;w=5";
    let checked = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(policy(checked.metadata()), probe);
    let watched = health.watch(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(policy(watched.metadata()), probe);

    // What is not gRPC, and what there is not.
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    let mut get = head("/docket.v1.OrderService/PlaceOrder");
    *get.method_mut() = http::Method::GET;
    for (request, name) in [(get, "\"address\";"), (head("/nothing"), "\"open\";")] {
        let answer = sender.send_request(request, true).unwrap().0.await.unwrap();
        let policy = answer.headers()["ratelimit-policy"].to_str().unwrap();
        assert!(policy.starts_with(name), "{policy}");
    }
    server.stop().await;
}

#[tokio::test]
async fn health_is_limited_by_address_and_takes_nothing_from_others() {
    let server = start(|config| config.limits.probe = SMALL).await;
    let mut health = HealthClient::new(server.connect().await);
    let mut passed = 0;
    let refused = loop {
        match health.check(HealthCheckRequest::default()).await {
            Ok(_) => passed += 1,
            Err(status) => break status,
        }
        assert!(passed < MANY, "there is no limit");
    };
    assert!(passed >= 3);
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "RATE_LIMITED")
    );
    let details = refused.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert_eq!(
        details.quota_failure().unwrap().violations[0].subject,
        "probe:127.0.0.1"
    );
    assert!(server.denials("probe").await > 0);
    ItemServiceClient::new(server.connect().await)
        .list_items(by("ada", ListItemsRequest::default()))
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_guesses_credentials_is_stopped_and_who_is_known_goes_on() {
    let server = start(|config| config.limits.failure = SMALL).await;
    let mut client = ItemServiceClient::new(server.connect().await);
    let mut limited = 0;
    for _ in 0..MANY {
        let status = client
            .list_items(by("mallory", ListItemsRequest::default()))
            .await
            .unwrap_err();
        match status.code() {
            Code::Unauthenticated => {}
            Code::ResourceExhausted => {
                assert_eq!(reason(&status), "RATE_LIMITED");
                assert_eq!(
                    status.get_error_details().quota_failure().unwrap().violations[0].subject,
                    "failure:127.0.0.1"
                );
                limited += 1;
            }
            code => panic!("{code:?}"),
        }
        client
            .list_items(by("ada", ListItemsRequest::default()))
            .await
            .expect("ada is known");
    }
    assert!(limited > MANY / 2, "only {limited} of {MANY} were refused");
    assert!(server.denials("failure").await > 0);
    server.stop().await;
}

#[tokio::test]
async fn every_message_of_a_stream_takes_a_token() {
    let server = start(|config| {
        config.limits.customer = Limit {
            per_second: 1,
            burst: 20,
        }
    })
    .await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    let requests: Vec<_> = (0..MANY).map(|i| nuts(&i.to_string(), "ada", 1)).collect();
    let mut answers = client
        .place_orders(by("ada", futures::stream::iter(requests)))
        .await
        .unwrap()
        .into_inner();
    let (mut placed, mut limited) = (0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.result.unwrap() {
            place_orders_response::Result::Order(_) => placed += 1,
            place_orders_response::Result::Status(status) => {
                assert_eq!(status.code, Code::ResourceExhausted as i32);
                limited += 1;
            }
        }
    }
    assert_eq!(placed + limited, MANY);
    assert!(
        placed >= 19,
        "the stream itself took one of 20, {placed} orders passed"
    );
    assert!(limited > 0);
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_much_at_a_time_is_refused_and_fits_again_later() {
    let server = start(|config| config.admission.max_calls = 1).await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);

    // A call is in flight until its answer is taken; one whose request does not come is none after a while.
    let tcp = tokio::net::TcpStream::connect(server.grpc).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (mut sender, connection) = builder.initial_window_size(0).handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let (_answer, mut held) = sender
        .send_request(head("/docket.v1.ItemService/ListItems"), false)
        .unwrap();
    held.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    // Else it may meet an order, and be the one that is refused.
    server.until_measured("docket_requests_in_flight 1").await;
    let refused = until_refused(&mut client).await;
    assert_eq!(reason(&refused), "OVERLOADED");
    let details = refused.get_error_details();
    assert_eq!(
        details.retry_info().unwrap().retry_delay,
        Some(Duration::from_millis(100))
    );
    assert_eq!(
        details.quota_failure().unwrap().violations[0].subject,
        "node:calls_in_flight"
    );

    let health = HealthCheckRequest {
        service: String::new(),
    };
    HealthClient::new(server.connect().await)
        .check(health)
        .await
        .expect("health is asked when it matters");

    // A client that runs into the limit again and again does not lose its connection over it, in turn or all at once.
    let crowd = (0..64).map(|i| {
        let mut client = client.clone();
        async move {
            for j in 0..50 {
                let order = nuts(&format!("crowd-{i}-{j}"), "ada", 1);
                let status = client.place_order(by("ada", order)).await.unwrap_err();
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            }
        }
    });
    futures::future::join_all(crowd).await;
    for i in 0..1_000 {
        let status = client
            .place_order(by("ada", nuts(&format!("more-{i}"), "ada", 1)))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
    held.send_reset(h2::Reason::CANCEL);
    until_placed(&mut client).await;
    assert!(server.denials("calls_in_flight").await > 0);
    server.stop().await;
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_too() {
    let server = start(|config| {
        config.http2.max_request_bytes = 64 * 1_024;
        config.admission.max_bytes = 64 * 1_024;
    })
    .await;
    server.seed().await;
    let mut client = OrderServiceClient::new(server.connect().await);
    let (mut sender, connection) = http2(&server).await;
    tokio::spawn(connection);
    let (_answer, mut held) = sender
        .send_request(head("/docket.v1.OrderService/PlaceOrder"), false)
        .unwrap();
    // A message of 65,500 bytes, of which 65,480 come.
    let mut message = vec![0; 65_485];
    message[..5].copy_from_slice(&[0, 0, 0, 0xff, 0xdc]);
    held.reserve_capacity(message.len());
    while held.capacity() < 60_000 {
        std::future::poll_fn(|cx| held.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
    }
    held.send_data(Bytes::from(message), false).unwrap();
    server
        .until_measured("docket_request_bytes_in_flight 65485")
        .await;
    let refused = until_refused(&mut client).await;
    let subject = refused.get_error_details().quota_failure().unwrap().violations[0]
        .subject
        .clone();
    assert_eq!(
        (reason(&refused).as_str(), subject.as_str()),
        ("OVERLOADED", "node:bytes_in_flight")
    );
    assert!(server.denials("bytes_in_flight").await > 0);
    held.send_reset(h2::Reason::CANCEL);
    until_placed(&mut client).await;
    server.stop().await;
}

type Client = OrderServiceClient<tonic::transport::Channel>;

/// Places orders until one is refused.
async fn until_refused(client: &mut Client) -> Status {
    for i in 0..10_000 {
        match client
            .place_order(by("ada", nuts(&format!("until-refused-{i}"), "ada", 1)))
            .await
        {
            Ok(_) => {}
            Err(status) if status.code() == Code::ResourceExhausted => return status,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("nothing is refused");
}

async fn until_placed(client: &mut Client) {
    for i in 0..10_000 {
        if client
            .place_order(by("ada", nuts(&format!("until-placed-{i}"), "ada", 1)))
            .await
            .is_ok()
        {
            return;
        }
    }
    panic!("nothing is admitted any more");
}

#[tokio::test]
async fn a_limit_that_is_not_set_is_not_told() {
    let server = start(|config| {
        config.limits = LimitsConfig {
            address: Limit::OFF,
            customer: Limit::OFF,
            ..config.limits
        };
    })
    .await;
    let mut client = ItemServiceClient::new(server.connect().await);
    let status = client
        .get_item(by(
            "ada",
            GetItemRequest {
                name: "items/none".into(),
            },
        ))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(!status.metadata().contains_key("ratelimit"));
    server.stop().await;
}
