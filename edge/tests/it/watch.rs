//! `WatchOrders`: what is committed about orders, and how a watch goes on.

use std::{collections::HashMap, time::Duration};

use docket_proto::v1::{
    CancelOrderRequest, OrderChange, WatchOrdersRequest, WatchOrdersResponse, order::State,
    order_change::Kind, order_service_client::OrderServiceClient, watch_orders_request::Start,
};
use tokio::{sync::Mutex, time::timeout};
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::support::{Running, by, fields, nuts, reason, start};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of all servers of this process together is counted how many watches were cut off: whoever counts does so alone.
pub static COUNTS_CUT_OFF: Mutex<()> = Mutex::const_new(());

struct Watch {
    messages: Streaming<WatchOrdersResponse>,
    seen: Vec<OrderChange>,
    token: String,
}

fn oldest() -> WatchOrdersRequest {
    WatchOrdersRequest {
        start: Start::Oldest.into(),
        ..WatchOrdersRequest::default()
    }
}

fn of(customer: &str) -> WatchOrdersRequest {
    WatchOrdersRequest {
        customer: format!("customers/{customer}"),
        ..oldest()
    }
}

async fn watch(
    server: &Running,
    account: &'static str,
    request: WatchOrdersRequest,
) -> Result<Watch, Status> {
    let mut orders = OrderServiceClient::new(server.connect().await);
    let messages = orders.watch_orders(by(account, request)).await?.into_inner();
    Ok(Watch {
        messages,
        seen: Vec::new(),
        token: String::new(),
    })
}

impl Watch {
    async fn message(&mut self) -> Result<WatchOrdersResponse, Status> {
        let message = timeout(PATIENCE, self.messages.message())
            .await
            .expect("a message in time");
        let message = message?.expect("watches end with a status");
        self.token.clone_from(&message.resume_token);
        Ok(message)
    }

    /// Reads until so many changes have come.
    async fn until(&mut self, changes: usize) {
        while self.seen.len() < changes {
            let message = self.message().await.unwrap();
            self.seen.extend(message.changes);
        }
    }

    /// Reads until a message without changes has come.
    async fn all(&mut self) -> &[OrderChange] {
        loop {
            let message = self.message().await.unwrap();
            if message.changes.is_empty() {
                return &self.seen;
            }
            self.seen.extend(message.changes);
        }
    }
}

/// What each customer's orders went through, in order: name, kind, state, etag.
fn by_customer(changes: &[OrderChange]) -> HashMap<String, Vec<(String, Kind, State, String)>> {
    let mut lives = HashMap::<_, Vec<_>>::new();
    for change in changes {
        let order = change.order.as_ref().unwrap();
        let step = (
            order.name.clone(),
            change.kind(),
            order.state(),
            order.etag.clone(),
        );
        lives.entry(order.customer.clone()).or_default().push(step);
    }
    lives
}

async fn place(
    orders: &mut OrderServiceClient<Channel>,
    id: &str,
    customer: &str,
    quantity: i64,
) -> Option<String> {
    let placed = orders.place_order(by("root", nuts(id, customer, quantity))).await;
    placed.ok().map(|order| order.into_inner().name)
}

async fn cancel(orders: &mut OrderServiceClient<Channel>, name: &str) {
    let request = CancelOrderRequest {
        name: name.to_owned(),
        ..CancelOrderRequest::default()
    };
    orders.cancel_order(by("root", request)).await.unwrap();
}

/// Waits until one more was cut off.
async fn until_cut_off(server: &Running, before: u64) {
    let cut_off = async { while server.cut_off().await == before {} };
    timeout(PATIENCE, cut_off).await.expect("it is cut off");
}

#[tokio::test]
async fn a_watch_shows_every_change_with_the_order_as_it_was() {
    let server = start(|config| config.feed.heartbeat_ms = 100).await;
    server.seed().await;
    let mut orders = OrderServiceClient::new(server.connect().await);
    let name = place(&mut orders, "1", "ada", 2).await.unwrap();
    cancel(&mut orders, &name).await;
    // More than bob can pay.
    assert_eq!(place(&mut orders, "2", "bob", 1_000_001).await, None);
    // Placed, confirmed, cancelled, released; placed and rejected.
    let mut watching = watch(&server, "root", oldest()).await.unwrap();
    watching.until(6).await;
    let lives = by_customer(&watching.seen);
    let step = |kind, state, etag: &str| (name.clone(), kind, state, etag.to_owned());
    assert_eq!(
        lives["customers/ada"],
        [
            step(Kind::Placed, State::Pending, "v1"),
            step(Kind::Confirmed, State::Confirmed, "v2"),
            step(Kind::Cancelled, State::Cancelled, "v3"),
            step(Kind::Released, State::Cancelled, "v4"),
        ]
    );
    let kinds: Vec<_> = lives["customers/bob"].iter().map(|(_, kind, ..)| *kind).collect();
    assert_eq!(kinds, [Kind::Placed, Kind::Rejected]);
    for change in &watching.seen {
        let order = change.order.as_ref().unwrap();
        assert_eq!(order.rejection.is_some(), order.state() == State::Rejected);
        assert!(
            change.change_time.is_some() && order.lines.len() == 1,
            "{change:?}"
        );
    }
    assert_eq!(watching.all().await.len(), 6);
    // One that begins now sees what comes from now on, and nothing twice.
    let mut from_now = watch(&server, "root", WatchOrdersRequest::default())
        .await
        .unwrap();
    assert_eq!(from_now.message().await.unwrap().changes, []);
    place(&mut orders, "3", "ada", 1).await.unwrap();
    from_now.until(2).await;
    watching.until(8).await;
    assert_eq!(from_now.all().await, &watching.all().await[6..]);
    server.stop().await;
}

#[tokio::test]
async fn a_watch_that_is_resumed_at_every_message_sees_what_one_that_never_ends_sees() {
    const ORDERS: usize = 300;
    let server = start(|config| config.feed.heartbeat_ms = 50).await;
    server.seed().await;
    let mut orders = OrderServiceClient::new(server.connect().await);
    let mut whole = watch(&server, "root", oldest()).await.unwrap();
    let placing = tokio::spawn(async move {
        for i in 0..ORDERS {
            let customer = ["ada", "bob"][i % 2];
            let name = place(&mut orders, &format!("r{i}"), customer, 1).await.unwrap();
            if i % 3 == 0 {
                cancel(&mut orders, &name).await;
            }
        }
    });
    let (mut seen, mut token, mut watches) = (Vec::new(), String::new(), 0);
    let expected = ORDERS * 2 + ORDERS / 3 * 2;
    while seen.len() < expected {
        let request = WatchOrdersRequest {
            resume_token: token.clone(),
            ..oldest()
        };
        let mut part = watch(&server, "root", request).await.unwrap();
        let message = part.message().await.unwrap();
        seen.extend(message.changes);
        token = message.resume_token;
        watches += 1;
    }
    placing.await.unwrap();
    whole.until(expected).await;
    assert_eq!(by_customer(&seen), by_customer(&whole.seen), "{watches} watches");
    assert!(watches > 20, "{watches} watches are none that is resumed");
    assert_eq!(whole.all().await.len(), expected);
    server.stop().await;
}

#[tokio::test]
async fn filters_let_through_what_they_name_and_tokens_move_where_they_let_nothing_through() {
    let server = start(|config| config.feed.heartbeat_ms = 50).await;
    server.seed().await;
    let mut orders = OrderServiceClient::new(server.connect().await);
    let name = place(&mut orders, "1", "ada", 1).await.unwrap();
    place(&mut orders, "2", "bob", 1).await.unwrap();
    cancel(&mut orders, &name).await;
    let mut cancelled = watch(
        &server,
        "ada",
        WatchOrdersRequest {
            states: vec![State::Cancelled.into()],
            ..of("ada")
        },
    )
    .await
    .unwrap();
    cancelled.until(2).await;
    let kinds: Vec<_> = cancelled.seen.iter().map(OrderChange::kind).collect();
    assert_eq!(kinds, [Kind::Cancelled, Kind::Released]);
    cancelled.all().await;
    let before = cancelled.token.clone();
    for i in 0..20 {
        place(&mut orders, &format!("b{i}"), "ada", 1).await.unwrap();
    }
    while cancelled.token == before {
        assert_eq!(cancelled.message().await.unwrap().changes, []);
    }
    // Another's customer has no orders, as one that does not exist.
    let mut others = watch(&server, "ada", of("bob")).await.unwrap();
    assert_eq!(others.all().await, []);
    let everybodys = watch(&server, "ada", oldest()).await.err().expect("a refusal");
    assert_eq!(everybodys.code(), Code::PermissionDenied);
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_another_watch_or_of_nobody_is_refused() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut watching = watch(&server, "root", of("ada")).await.unwrap();
    let token = watching.message().await.unwrap().resume_token;
    let resume = |customer: &str, token: &str| WatchOrdersRequest {
        resume_token: token.to_owned(),
        ..of(customer)
    };
    for request in [
        resume("bob", &token),
        resume("ada", "AAAA"),
        resume("ada", &token[1..]),
        WatchOrdersRequest {
            start: 99,
            ..resume("ada", "")
        },
    ] {
        let field = if request.start == 99 {
            "start"
        } else {
            "resume_token"
        };
        let refused = watch(&server, "root", request).await.err().expect("a refusal");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()])
        );
    }
    // Of another cluster, though all else is the same; and of the same from the future.
    let elsewhere = start(|_| {}).await;
    elsewhere.seed().await;
    let refused = watch(&elsewhere, "root", resume("ada", &token))
        .await
        .err()
        .expect("a refusal");
    assert_eq!(fields(&refused), ["resume_token"]);
    let (cluster, shards) = server.docket.positions_of();
    let of_server = docket_proto::api::feed::FeedOf { cluster, shards };
    let asked = docket_proto::api::feed::watch_orders(&of("ada"), &of_server).unwrap();
    let future = docket_proto::feed::FeedPosition::of_entry(1 << 40);
    let forged = asked.tokens(&of_server).token([future].into_iter());
    let refused = watch(&server, "root", resume("ada", &forged))
        .await
        .err()
        .expect("a refusal");
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["resume_token".to_owned()])
    );
    elsewhere.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn there_are_so_many_watches_of_an_account_and_of_the_node() {
    let server = start(|config| {
        config.feed.watches_max = 3;
        config.feed.watches_per_account = 2;
    })
    .await;
    server.seed().await;
    let first = watch(&server, "root", oldest()).await.unwrap();
    let _second = watch(&server, "root", oldest()).await.unwrap();
    let refused = watch(&server, "root", oldest()).await.err().expect("a refusal");
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::ResourceExhausted, "TOO_MANY_WATCHES".into())
    );
    let _third = watch(&server, "shop", oldest()).await.unwrap();
    let refused = watch(&server, "ada", of("ada")).await.err().expect("a refusal");
    assert_eq!(reason(&refused), "TOO_MANY_WATCHES");
    // Its place is free as soon as the server has heard of its end.
    drop(first);
    let place = async {
        while watch(&server, "ada", of("ada")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, place).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_take_what_is_sent_is_cut_off_and_goes_on_with_its_last_token() {
    const ORDERS: usize = 400;
    let _alone = COUNTS_CUT_OFF.lock().await;
    let server = start(|config| {
        config.feed.heartbeat_ms = 50;
        config.feed.buffer_bytes = 4 * 1_024;
        config.feed.stalled_ms = 100;
        config.http2.max_send_buffer_bytes = 16 * 1_024;
    })
    .await;
    server.seed().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.grpc))
        .unwrap()
        .initial_stream_window_size(16 * 1_024)
        .connect()
        .await
        .unwrap();
    let mut orders = OrderServiceClient::new(channel);
    let messages = orders
        .watch_orders(by("root", oldest()))
        .await
        .unwrap()
        .into_inner();
    let mut slow = Watch {
        messages,
        seen: Vec::new(),
        token: String::new(),
    };
    slow.message().await.unwrap();
    let before = server.cut_off().await;
    let mut placer = OrderServiceClient::new(server.connect().await);
    let placing = async {
        for i in 0..ORDERS {
            // Nobody waits for a watch.
            place(&mut placer, &format!("r{i}"), "ada", 1).await.unwrap();
        }
    };
    // Who was cut off hears of it for two seconds, and then its call is dropped: so that it is not first read when all are placed.
    let reading = async {
        until_cut_off(&server, before).await;
        loop {
            match slow.message().await {
                Ok(message) => slow.seen.extend(message.changes),
                Err(status) => break status,
            }
        }
    };
    let ((), ended) = tokio::join!(placing, reading);
    assert_eq!(
        (ended.code(), reason(&ended)),
        (Code::ResourceExhausted, "WATCHER_TOO_SLOW".into())
    );
    let got = slow.seen.len();
    assert!(got < ORDERS * 2, "{got} changes: it was not slow");
    let request = WatchOrdersRequest {
        resume_token: slow.token.clone(),
        ..oldest()
    };
    let mut resumed = watch(&server, "root", request).await.unwrap();
    slow.seen.extend(resumed.all().await.iter().cloned());
    let mut whole = watch(&server, "root", oldest()).await.unwrap();
    assert_eq!(
        by_customer(&slow.seen),
        by_customer(whole.all().await),
        "{got} before it was cut off"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_never_reads_keeps_no_place_once_it_was_cut_off() {
    const ORDERS: usize = 100;
    let _alone = COUNTS_CUT_OFF.lock().await;
    let server = start(|config| {
        config.feed.watches_max = 1;
        config.feed.heartbeat_ms = 50;
        config.feed.buffer_bytes = 4 * 1_024;
        config.feed.stalled_ms = 100;
    })
    .await;
    server.seed().await;
    let mut placer = OrderServiceClient::new(server.connect().await);
    for i in 0..ORDERS {
        place(&mut placer, &format!("r{i}"), "ada", 1).await.unwrap();
    }
    // It gives no window beyond this one, and its connection stays.
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", server.grpc))
        .unwrap()
        .initial_stream_window_size(1_024)
        .connect()
        .await
        .unwrap();
    let mut orders = OrderServiceClient::new(channel.clone());
    let before = server.cut_off().await;
    let unread = orders.watch_orders(by("root", oldest())).await.unwrap();
    let refused = watch(&server, "root", oldest()).await.err().expect("a refusal");
    assert_eq!(reason(&refused), "TOO_MANY_WATCHES");
    until_cut_off(&server, before).await;
    let free = async {
        loop {
            match watch(&server, "root", oldest()).await {
                Ok(next) => return next,
                Err(refused) => assert_eq!(reason(&refused), "TOO_MANY_WATCHES"),
            }
        }
    };
    let mut next = timeout(PATIENCE, free).await.unwrap();
    next.until(2 * ORDERS).await;
    // Its stream was reset: that it can go on elsewhere is what any client takes from that.
    let mut unread = unread.into_inner();
    let ended = loop {
        match unread.message().await {
            Ok(message) => assert!(message.is_some(), "it ended as if all was well"),
            Err(status) => break status,
        }
    };
    assert_eq!(
        (ended.code(), ended.details().len()),
        (Code::Cancelled, 0),
        "{ended}"
    );
    // Nothing else that is asked on its connection has heard of it.
    assert!(
        place(&mut OrderServiceClient::new(channel), "last", "ada", 1)
            .await
            .is_some()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_ends_watches_and_says_so() {
    let server = start(|_| {}).await;
    server.seed().await;
    let mut watching = watch(&server, "root", oldest()).await.unwrap();
    watching.message().await.unwrap();
    let (stopping, _docket, _dir) = server.begin_stop();
    let ended = watching.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended)),
        (Code::Unavailable, "NODE_STOPPING".into())
    );
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}
