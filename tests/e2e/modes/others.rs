//! Those on whom a node depends, who watches it, and the clock that it goes by.

use std::net::TcpListener;

use docket_proto::v1::{
    self, WatchOrdersRequest, order_service_client::OrderServiceClient,
    webhook_service_client::WebhookServiceClient,
};
use serde_json::json;
use tonic::{Code, Request, transport::Endpoint};

use super::{
    ASKED_FOR, Acknowledged, furnish, metric,
    page::{self, Mode, run},
    until,
};
use crate::{
    alerts::{CLOCK, DAY_MS, Followed, MINUTE_MS, obeys_tests},
    api::{Api, Credentials, order},
    provider::Provider,
    server::{Home, Server},
    webhooks::receiver::Receiver,
};

/// Longer no call is answered. It is the server that says so: tonic's client calls its own end of patience a cancellation.
const CALL_MAX_MS: &str = "3000";
/// The page of webhooks, which says how what was given up is sent again.
const WEBHOOKS: &str = "docs/webhooks.md";
const WINDOW_BYTES: u32 = 16 * 1_024;
const PASSWORD: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_those_it_depends_on_is_as_the_page_says() {
    if std::env::var_os(ASKED_FOR).is_none() {
        return println!("SKIPPED: what befalls those it depends on: {ASKED_FOR} is not set");
    }
    if !obeys_tests() {
        return println!("not tried, since the program does not move its clock");
    }
    let (mut provider, clock) = (Provider::start(), Followed::new("0"));
    let home = provider
        .known_to(Home::new(), "card")
        .set("webhooks.allow_http", "true")
        .set("webhooks.allow_private", "true")
        .set("calls.max_ms", CALL_MAX_MS)
        .set("feed.buffer_bytes", "4096")
        .set("feed.stalled_ms", "100")
        .set("http2.max_send_buffer_bytes", "16384")
        .variable(CLOCK, &clock.path());
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    furnish(&api).await;
    let mut acknowledged = Acknowledged::default();
    acknowledged.are_there(&api).await;

    watch_not_read(&home, &server, &api, &mut acknowledged).await;
    declines(&home, &provider, &api).await;
    receiver_down(&home, &server, &api, &clock).await;
    acknowledged.are_there(&api).await;
    provider_down(&home, &server, &api, &mut provider, &clock).await;
    acknowledged.are_there(&api).await;
    clock_ahead(&home, &server, &api, &mut acknowledged, &clock).await;
    acknowledged.are_there(&api).await;
    server.stop(&home);
}

async fn watch_not_read(home: &Home, server: &Server, api: &Api, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("a watch is not read");
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    let channel = endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .connect()
        .await
        .unwrap();
    let watching = |token: &str| {
        let mut request = Request::new(WatchOrdersRequest {
            resume_token: token.to_owned(),
            ..Default::default()
        });
        let key = home.admin_key().parse().unwrap();
        request.metadata_mut().insert("x-api-key", key);
        request
    };
    let mut watcher = OrderServiceClient::new(channel);
    let mut watch = watcher.watch_orders(watching("")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    let cut_off = mode.names("docket_feed_cut_off_total{reason=\"too_slow\"}");
    // No order waits for it.
    until("the watch to be cut off", home, async || {
        acknowledged.place(api).await;
        metric(server, cut_off) > 0.0
    })
    .await;
    let mut token = first.resume_token;
    let status = loop {
        match watch.message().await {
            Ok(message) => token = message.unwrap().resume_token,
            Err(status) => break status,
        }
    };
    mode.tells(&status);
    // It is gone on with behind the last token, and nothing is missing: all orders are told of.
    let newest = acknowledged.place(api).await;
    let mut resumed = watcher.watch_orders(watching(&token)).await.unwrap().into_inner();
    let mut found = false;
    while !found {
        let message = resumed.message().await.unwrap().unwrap();
        let mut orders = message.changes.iter().filter_map(|change| change.order.as_ref());
        found = orders.any(|order| order.name == newest);
    }
    mode.ends();
}

async fn declines(home: &Home, provider: &Provider, api: &Api) {
    let mode = Mode::of("a provider declines what was authorised");
    let name = pay(api, "declined").await.unwrap();
    provider.fails(&json!([{ "on": "capture", "fault": "decline", "reason": "no" }]));
    let ship = v1::ShipOrderRequest {
        name: name.clone(),
        request_id: "sent".into(),
        // One of two: of what is sent whole nothing is left to be held.
        lines: vec![v1::LineQuantity { line: 0, quantity: 1 }],
        ..Default::default()
    };
    api.orders().ship_order(ship).await.unwrap();
    mode.names("payment");
    until("the order to be held", home, async || {
        let request = v1::GetOrderRequest { name: name.clone() };
        let order = api.orders().get_order(request).await.unwrap().into_inner();
        let payment = v1::order_hold::Reason::Payment;
        order.holds.iter().any(|hold| hold.reason() == payment)
    })
    .await;
    mode.ends();
}

/// Places an order that the provider pays.
async fn pay(api: &Api, request_id: &str) -> Result<String, tonic::Status> {
    let mut request = order(request_id, "ada", &[("nut", 2, 5)]);
    request.payment_method = "card".to_owned();
    Ok(api.orders().place_order(request).await?.into_inner().name)
}

async fn provider_down(home: &Home, server: &Server, api: &Api, provider: &mut Provider, clock: &Followed) {
    let mode = Mode::of("a payment provider is down");
    let waits = Mode::of("an order is half-way for long");
    provider.kill();
    let status = pay(api, "half-way").await.unwrap_err();
    mode.tells(&status);
    // Ten minutes later; it is given up after fifteen.
    clock.moves(DAY_MS + 11 * MINUTE_MS);
    until("the order to be called stuck", home, async || {
        metric(server, "docket_orders_stuck{state=\"authorizing\"}") > 0.0
    })
    .await;
    let orders = api.all_orders().await;
    let open = orders
        .iter()
        .find(|order| order.state() == v1::order::State::Pending);
    let name = open.unwrap_or_else(|| panic!("{orders:?}")).name.clone();
    waits.follow(
        home,
        Some(server),
        &[("ORDER", name.strip_prefix("orders/").unwrap())],
    );
    provider.restart();
    // It goes on by itself, and whoever repeats the request hears of the same order.
    let mut paid = None;
    until("the order to be paid", home, async || {
        paid = pay(api, "half-way").await.ok();
        paid.is_some()
    })
    .await;
    assert_eq!(paid, Some(name));
    server.settled().await;
    waits.ends();
    mode.ends();
}

async fn receiver_down(home: &Home, server: &Server, api: &Api, clock: &Followed) {
    let mode = Mode::of("a webhook's receiver is down");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let webhook = v1::Webhook {
        url: format!("http://{address}/hooks"),
        ..Default::default()
    };
    let request = v1::CreateWebhookRequest {
        webhook: Some(webhook),
        ..Default::default()
    };
    let mut webhooks = WebhookServiceClient::new(api.authenticated());
    let created = webhooks.create_webhook(request).await.unwrap().into_inner();
    let webhook = created.webhook.unwrap().name;
    let id = webhook.strip_prefix("webhooks/").unwrap().to_owned();
    let mut placed = Vec::new();
    for request_id in ["told", "told-too"] {
        let request = order(request_id, "ada", &[("nut", 1, 5)]);
        let name = api.orders().place_order(request).await.unwrap().into_inner().name;
        placed.push(name.strip_prefix("orders/").unwrap().to_owned());
    }
    let docket = |command: &str, values: &[(&str, &str)]| {
        let done = run(home, Some(server), command, values);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{command}: {said}");
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap_or_default()
    };
    let deliveries = || docket("docket webhook show ID -o json", &[("ID", &id)]);
    // Each is told of as it is placed, and as it is confirmed.
    until("deliveries of both to fail", home, async || {
        deliveries()["retrying"].as_u64() > Some(placed.len() as u64)
    })
    .await;
    // A day later it is given up, and kept.
    clock.moves(DAY_MS + MINUTE_MS);
    until("what cannot be delivered to be given up", home, async || {
        metric(server, "docket_webhook_dead_letters") > 1.0
    })
    .await;
    let letters = docket("docket webhook dead-letters ID -o json", &[("ID", &id)]);
    let letters = letters["dead_letters"]
        .as_array()
        .unwrap_or_else(|| panic!("{letters}"))
        .clone();
    let event = letters[0]["name"].as_str().unwrap().rsplit('/').next().unwrap();
    let shown = deliveries();
    let token = shown["resume_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{shown}"));
    let receiver = Receiver::at(TcpListener::bind(address).unwrap(), 0);
    // As its own page says: one of them, all of them, and all behind a place in the feed.
    let values = [("ID", id.as_str()), ("EVENT", event), ("TOKEN", token)];
    let [one, all, behind] = &page::block(WEBHOOKS, "docket webhook replay ID")[..] else {
        panic!("{WEBHOOKS} has other commands");
    };
    docket(one, &values);
    until("one to be delivered", home, async || {
        receiver.ids().iter().any(|id| id == event)
    })
    .await;
    mode.follow(home, Some(server), &[("WEBHOOK", &id)]);
    until("all to be delivered", home, async || {
        let ids = receiver.ids();
        placed
            .iter()
            .all(|order| ids.iter().any(|id| id.starts_with(order)))
    })
    .await;
    assert!(all.ends_with("--dead-letters"), "{all}");
    docket(all, &values);
    until("none to be left", home, async || {
        metric(server, "docket_webhook_dead_letters") == 0.0
    })
    .await;
    docket(behind, &values);
    mode.ends();
}

async fn clock_ahead(
    home: &Home,
    server: &Server,
    api: &Api,
    acknowledged: &mut Acknowledged,
    clock: &Followed,
) {
    let mode = Mode::of("a clock jumps ahead");
    std::fs::write(home.file("password"), PASSWORD).unwrap();
    let made = run(
        home,
        Some(server),
        "docket auth register bob --role service --password-file password",
        &[],
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let login = v1::LoginRequest {
        username: "bob".into(),
        password: PASSWORD.into(),
    };
    let session = Api::connect(server)
        .await
        .auth()
        .login(login)
        .await
        .unwrap()
        .into_inner();
    let bob = api.by(Credentials::token(&session.access_token));
    let list = async || bob.items().list_items(v1::ListItemsRequest::default()).await;
    list().await.unwrap();
    let before = acknowledged.repeat(api, "once").await.unwrap();
    assert_eq!(acknowledged.repeat(api, "once").await.unwrap(), before);
    clock.moves(4 * DAY_MS);
    until("the session to be over", home, async || {
        list()
            .await
            .is_err_and(|status| status.code() == Code::Unauthenticated)
    })
    .await;
    mode.says("sessions end early");
    mode.says("request ids are forgotten early");
    let mut again = None;
    until("the request to be forgotten", home, async || {
        // By what its shard has logged since then.
        acknowledged.place(api).await;
        let request = order("once", "ada", &[("nut", 1, 5)]);
        let placed = api.orders().place_order(request).await.unwrap().into_inner().name;
        again = Some(placed.clone());
        placed != before
    })
    .await;
    acknowledged.orders.insert("once more".to_owned(), again.unwrap());
    // It goes by what was logged from then on: back again nothing is stamped earlier.
    let newest = api.all_orders().await[0].create_time.unwrap();
    clock.moves(0);
    let placed = acknowledged.place(api).await;
    let request = v1::GetOrderRequest { name: placed };
    let order = api.orders().get_order(request).await.unwrap().into_inner();
    let stamp = |time: prost_types::Timestamp| (time.seconds, time.nanos);
    assert!(stamp(order.create_time.unwrap()) >= stamp(newest), "{order:?}");
    mode.ends();
}
