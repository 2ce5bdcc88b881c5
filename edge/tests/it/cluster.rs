//! Three nodes with their edges: whichever is called, the call is done.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use docket_actors::{Docket, Key, Place};
use docket_edge::{
    Parts, Server,
    auth::{AuthOptions, Clock, create_admin_key},
};
use docket_engine::CustomerId;
use docket_proto::v1::{
    self, auth_service_client::AuthServiceClient, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order, order_service_client::OrderServiceClient,
    place_orders_response::Result as Answer,
};
use futures::future::join_all;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    rest::client::ask_at,
    support::{bind, by, config, metrics, reason, with},
    three::{PATIENCE, Three},
};

const CUSTOMERS: [&str; 3] = ["ada", "bob", "eve"];
const ITEMS: [&str; 6] = ["nut", "tea", "pot", "cup", "jug", "pan"];

/// A node's edge, and a connection to it.
pub struct Edge {
    pub channel: Channel,
    /// Where it serves REST, if it does.
    rest: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Edge {
    pub async fn run(server: Server) -> Self {
        let (address, rest) = (format!("http://{}", server.local_addr()), server.rest_addr());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Self {
            channel,
            rest,
            stop,
            task,
        }
    }

    async fn over(docket: &Docket) -> Self {
        let mut config = config();
        config.rest.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self::run(bind(config, docket.clone()).await.unwrap()).await
    }

    pub async fn end(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

async fn edges(three: &Three) -> Vec<Edge> {
    join_all((0..3).map(|at| Edge::over(three.docket(at)))).await
}

/// Customers with credit, and items at 5, made at one node after the other.
async fn seed(edges: &[Edge]) {
    for (n, id) in CUSTOMERS.iter().enumerate() {
        let customer = v1::Customer {
            currency_code: "EUR".into(),
            credit_limit: 100_000_000,
            ..Default::default()
        };
        let request = v1::CreateCustomerRequest {
            customer_id: (*id).into(),
            customer: Some(customer),
            ..Default::default()
        };
        let mut client = CustomerServiceClient::new(edges[n % 3].channel.clone());
        client.create_customer(by("root", request)).await.unwrap();
    }
    for (n, sku) in ITEMS.iter().enumerate() {
        let item = v1::Item {
            currency_code: "EUR".into(),
            unit_price: 5,
            on_hand: 1_000_000,
            ..Default::default()
        };
        let request = v1::CreateItemRequest {
            sku: (*sku).into(),
            item: Some(item),
            ..Default::default()
        };
        let mut client = ItemServiceClient::new(edges[n % 3].channel.clone());
        client.create_item(by("root", request)).await.unwrap();
    }
}

/// The order of this number: two items, of several shards.
fn order_of(request_id: &str, n: usize) -> v1::PlaceOrderRequest {
    let line = |k: usize| v1::OrderLine {
        item: format!("items/{}", ITEMS[(n + k) % ITEMS.len()]),
        quantity: 1 + (n % 3) as i64,
        unit_price: 5,
        ..v1::OrderLine::default()
    };
    v1::PlaceOrderRequest {
        request_id: request_id.into(),
        customer: format!("customers/{}", CUSTOMERS[n % CUSTOMERS.len()]),
        currency_code: "EUR".into(),
        lines: vec![line(0), line(2)],
        payment_method: String::new(),
    }
}

/// Every order, a page from one node and the next from another.
async fn all(edges: &[Edge], first: usize) -> Vec<v1::Order> {
    let (mut orders, mut page_token) = (Vec::new(), String::new());
    for n in first.. {
        let request = v1::ListOrdersRequest {
            page_size: 17,
            page_token,
            ..Default::default()
        };
        let client = OrderServiceClient::new(edges[n % edges.len()].channel.clone());
        let page = until_served(async || client.clone().list_orders(by("root", request.clone())).await);
        let page = page.await.unwrap().into_inner();
        orders.extend(page.orders);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    orders
}

/// Asks until there is an answer, and again only where it says that nothing was done, or repeats are harmless.
async fn until_served<T>(ask: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let asked = Instant::now();
    loop {
        match ask().await {
            Err(status) if status.code() == Code::Unavailable => {
                assert!(asked.elapsed() < PATIENCE, "{status:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

/// Holds what items have reserved and customers hold against all orders.
async fn books_balance(edges: &[Edge]) {
    let asked = Instant::now();
    loop {
        let orders = all(edges, 0).await;
        let (mut reserved, mut held) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
        for order in orders
            .iter()
            .filter(|order| order.state() == order::State::Confirmed)
        {
            for line in &order.lines {
                *reserved.entry(line.item.clone()).or_default() += line.quantity;
            }
            *held.entry(order.customer.clone()).or_default() += order.total;
        }
        let mut differ = Vec::new();
        for edge in edges {
            for sku in ITEMS {
                let name = format!("items/{sku}");
                let request = v1::GetItemRequest { name: name.clone() };
                let client = ItemServiceClient::new(edge.channel.clone());
                let item = until_served(async || client.clone().get_item(by("root", request.clone())).await);
                let found = item.await.unwrap().into_inner().reserved;
                if found != reserved.get(&name).copied().unwrap_or_default() {
                    differ.push(format!("{found} {sku}"));
                }
            }
            for id in CUSTOMERS {
                let name = format!("customers/{id}");
                let request = v1::GetCustomerRequest { name: name.clone() };
                let client = CustomerServiceClient::new(edge.channel.clone());
                let customer =
                    until_served(async || client.clone().get_customer(by("root", request.clone())).await);
                let found = customer.await.unwrap().into_inner().held;
                if found != held.get(&name).copied().unwrap_or_default() {
                    differ.push(format!("{found} for {id}"));
                }
            }
        }
        let pending = orders
            .iter()
            .filter(|order| order.state() == order::State::Pending)
            .count();
        if differ.is_empty() && pending == 0 {
            return;
        }
        assert!(
            asked.elapsed() < PATIENCE,
            "{pending} pending, {differ:?}: {reserved:?} {held:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub async fn end(three: Three, edges: Vec<Edge>) {
    join_all(edges.into_iter().map(Edge::end)).await;
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_done_where_it_is_led_whichever_node_takes_it() {
    let three = Three::open_with(|_| {}).await;
    for docket in three.dockets() {
        docket.set_client_addresses(Arc::new(|node| Some(format!("node-{node}.example:7000"))));
    }
    let edges = edges(&three).await;
    seed(&edges).await;
    let mut forwarded = 0;
    let mut placed = Vec::new();
    for n in 0..60 {
        let at = n % 7 % 3;
        let key = Key::Customer(CustomerId::new(CUSTOMERS[n % 3]).unwrap());
        let mut client = OrderServiceClient::new(edges[at].channel.clone());
        let reply = client
            .place_order(by("shop", order_of(&format!("r{n}"), n)))
            .await
            .unwrap();
        // Who did it is told where that is not whoever was asked.
        let hint = reply
            .metadata()
            .get("docket-leader")
            .map(|hint| hint.to_str().unwrap().to_owned());
        match three.docket(at).place_of(&key) {
            Place::Here => assert_eq!(hint, None),
            Place::Node(node) => {
                forwarded += 1;
                assert_eq!(hint, Some(node.to_string()));
                let address = reply.metadata().get("docket-leader-address").unwrap();
                assert_eq!(address.to_str().unwrap(), format!("node-{node}.example:7000"));
            }
            Place::Unknown => panic!("nobody leads {key:?}"),
        }
        placed.push(reply.into_inner());
    }
    assert!(forwarded > 10, "{forwarded} of 60 were led elsewhere");
    for (n, order) in placed.iter().enumerate() {
        let mut client = OrderServiceClient::new(edges[(n + 1) % 3].channel.clone());
        let name = order.name.clone();
        let get = v1::GetOrderRequest { name: name.clone() };
        let found = client.get_order(by("root", get)).await.unwrap().into_inner();
        assert_eq!(found.state(), order::State::Confirmed);
        if n % 6 == 0 {
            let cancel = v1::CancelOrderRequest {
                name,
                ..Default::default()
            };
            let cancelled = client.cancel_order(by("shop", cancel)).await.unwrap();
            assert_eq!(cancelled.into_inner().state(), order::State::Cancelled);
        }
    }
    // A repeat at another node is the same order.
    let mut client = OrderServiceClient::new(edges[2].channel.clone());
    let again = client.place_order(by("shop", order_of("r1", 1))).await.unwrap();
    assert_eq!(again.into_inner().name, placed[1].name);
    books_balance(&edges).await;
    let names: Vec<_> = all(&edges, 0).await.into_iter().map(|order| order.name).collect();
    assert_eq!(names.len(), 60);
    for first in 1..3 {
        let others = all(&edges, first).await;
        assert!(
            others
                .into_iter()
                .map(|order| order.name)
                .eq(names.iter().cloned())
        );
    }
    end(three, edges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_rest_a_call_is_done_where_it_is_led_too() {
    let three = Three::open_with(|_| {}).await;
    let edges = edges(&three).await;
    seed(&edges).await;
    let mut forwarded = 0;
    for (n, id) in CUSTOMERS.iter().enumerate() {
        let order = json!({
            "customer": format!("customers/{id}"),
            "currencyCode": "EUR",
            "lines": [{ "item": format!("items/{}", ITEMS[n]), "quantity": 1, "unitPrice": 5 }],
        });
        let mut names = Vec::new();
        for edge in &edges {
            let at = edge.rest.unwrap();
            // The same request at each node: it is done once.
            let headers = format!("idempotency-key: {id}\r\n");
            let placed = ask_at(at, "root", "POST /v1/orders", &headers, &order.to_string()).await;
            assert_eq!(placed.status, 200, "{placed:?}");
            forwarded += usize::from(placed.headers.contains_key("docket-leader"));
            names.push(placed.json()["name"].clone());
        }
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    }
    assert!(forwarded >= CUSTOMERS.len(), "{forwarded} calls were passed on");
    books_balance(&edges).await;
    end(three, edges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_the_same_whichever_node_gives_it_and_nobody_sees_more_at_another() {
    let three = Three::open_with(|_| {}).await;
    let edges = edges(&three).await;
    seed(&edges).await;
    let mut client = OrderServiceClient::new(edges[0].channel.clone());
    let of_bob = client
        .place_order(by("shop", order_of("bob", 1)))
        .await
        .unwrap()
        .into_inner();
    for edge in &edges {
        let mut orders = OrderServiceClient::new(edge.channel.clone());
        let mut wrong_price = order_of("price", 0);
        wrong_price.lines[0].unit_price = 6;
        let mut no_lines = order_of("shape", 0);
        no_lines.lines.clear();
        let reused = order_of("bob", 4);
        for (account, request, code, told) in [
            ("shop", wrong_price, Code::FailedPrecondition, "PRICE_CHANGED"),
            ("shop", no_lines, Code::InvalidArgument, "INVALID_ARGUMENT"),
            ("shop", reused, Code::AlreadyExists, "REQUEST_ID_REUSED"),
            ("ada", order_of("other", 1), Code::NotFound, "CUSTOMER_NOT_FOUND"),
            (
                "reader",
                order_of("scope", 1),
                Code::PermissionDenied,
                "SCOPE_MISSING",
            ),
            (
                "nobody",
                order_of("who", 1),
                Code::Unauthenticated,
                "CREDENTIALS_INVALID",
            ),
        ] {
            let refused = orders.place_order(by(account, request)).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (code, told));
        }
        let get = |name: &str| v1::GetOrderRequest { name: name.into() };
        let hidden = orders.get_order(by("ada", get(&of_bob.name))).await.unwrap_err();
        assert_eq!(reason(&hidden), "ORDER_NOT_FOUND");
        orders.get_order(by("bob", get(&of_bob.name))).await.unwrap();
        let mut items = ItemServiceClient::new(edge.channel.clone());
        let missing = v1::GetItemRequest {
            name: "items/nothing".into(),
        };
        let missing = items.get_item(by("root", missing)).await.unwrap_err();
        assert_eq!(
            missing.get_details_resource_info().unwrap().resource_name,
            "items/nothing"
        );
    }
    end(three, edges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_orders_that_are_led_on_every_node() {
    let three = Three::open_with(|_| {}).await;
    let edges = edges(&three).await;
    seed(&edges).await;
    for (at, edge) in edges.iter().enumerate() {
        let mut client = OrderServiceClient::new(edge.channel.clone());
        let mut requests: Vec<_> = (0..300).map(|n| order_of(&format!("s{at}-{n}"), n)).collect();
        requests[7].lines[0].unit_price = 6;
        let stream = by("shop", futures::stream::iter(requests));
        let mut answers = client.place_orders(stream).await.unwrap().into_inner();
        let mut told = HashMap::new();
        while let Some(answer) = answers.message().await.unwrap() {
            let outcome = match answer.result.unwrap() {
                Answer::Order(order) => order.state(),
                Answer::Status(status) => {
                    assert_eq!(Code::from(status.code), Code::FailedPrecondition, "{status:?}");
                    assert!(!status.details.is_empty());
                    order::State::Rejected
                }
            };
            assert!(
                told.insert(answer.request_id, outcome).is_none(),
                "answered twice"
            );
        }
        assert_eq!(told.len(), 300);
        let confirmed = told.values().filter(|state| **state == order::State::Confirmed);
        assert_eq!(confirmed.count(), 299);
    }
    books_balance(&edges).await;
    end(three, edges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_led_by_one_node_and_known_to_all() {
    let three = Three::open_with(|_| {}).await;
    let leader = three.leader(&Key::Accounts).await;
    let admin = create_admin_key(three.docket(leader).access(), Clock::system().now()).await;
    let admin = admin.unwrap().unwrap();
    let admin = admin.expose_secret();
    let mut edges = Vec::new();
    for docket in three.dockets() {
        let parts = Parts::of(docket, &AuthOptions::default(), metrics()).unwrap();
        edges.push(Edge::run(Server::bind(config(), parts).await.unwrap()).await);
    }
    for (at, edge) in edges.iter().enumerate() {
        let mut auth = AuthServiceClient::new(edge.channel.clone());
        let (username, password) = (format!("clerk-{at}"), "correct horse battery".to_owned());
        let register = v1::RegisterRequest {
            username: username.clone(),
            password: password.clone(),
            role: v1::Role::Service.into(),
            customer: String::new(),
        };
        auth.register(with("x-api-key", admin, register)).await.unwrap();
        // At the next node, with what the one before was told.
        let next = &edges[(at + 1) % 3];
        let mut auth = AuthServiceClient::new(next.channel.clone());
        let login = |password: String| v1::LoginRequest {
            username: username.clone(),
            password,
        };
        let wrong = auth
            .login(login("incorrect horse battery".into()))
            .await
            .unwrap_err();
        assert_eq!(reason(&wrong), "LOGIN_FAILED");
        let session = auth.login(login(password)).await.unwrap().into_inner();
        let bearer = format!("Bearer {}", session.access_token);
        // And used at once at every node.
        for edge in &edges {
            let mut items = ItemServiceClient::new(edge.channel.clone());
            let list = v1::ListItemsRequest::default();
            items
                .list_items(with("authorization", &bearer, list))
                .await
                .unwrap();
        }
        let logout = v1::LogoutRequest {
            refresh_token: session.refresh_token,
        };
        auth.logout(logout).await.unwrap();
        let mut items = ItemServiceClient::new(next.channel.clone());
        let list = v1::ListItemsRequest::default();
        let ended = items
            .list_items(with("authorization", &bearer, list))
            .await
            .unwrap_err();
        assert_eq!(ended.code(), Code::Unauthenticated);
    }
    end(three, edges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_costs_clients_of_other_nodes_nothing_but_time() {
    let mut three = Three::open_with(|_| {}).await;
    let mut edges = edges(&three).await;
    seed(&edges).await;
    let victim = three
        .leader(&Key::Customer(CustomerId::new("ada").unwrap()))
        .await;
    let dying = edges.remove(victim);
    let going = AtomicBool::new(true);
    let (edges_left, going_on) = (&edges, &going);
    let clients = (0..6usize).map(|client| async move {
        let orders = OrderServiceClient::new(edges_left[client % 2].channel.clone());
        let (mut confirmed, mut refused) = (Vec::new(), 0);
        for n in 0.. {
            if !going_on.load(Ordering::Acquire) {
                break;
            }
            let request = order_of(&format!("k{client}-{n}"), n + client);
            let asked = Instant::now();
            let placed = loop {
                let mut timed: Request<_> = by("shop", request.clone());
                timed.set_timeout(Duration::from_secs(10));
                match orders.clone().place_order(timed).await {
                    Ok(placed) => break placed.into_inner(),
                    // What may be repeated is repeated; nothing else may happen.
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                        assert!(asked.elapsed() < PATIENCE, "{status:?}");
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            };
            confirmed.push(placed.name);
        }
        (confirmed, refused)
    });
    let killing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        three.kill(victim).await;
        dying.end().await;
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        going.store(false, Ordering::Release);
    };
    let (outcomes, ()) = tokio::join!(join_all(clients), killing);
    let told: usize = outcomes.iter().map(|(_, refused)| refused).sum();
    let placed: usize = outcomes.iter().map(|(confirmed, _)| confirmed.len()).sum();
    println!("{placed} orders; {told} times told to try again");
    for (at, name) in outcomes
        .into_iter()
        .flat_map(|(confirmed, _)| confirmed)
        .enumerate()
    {
        let client = OrderServiceClient::new(edges[at % 2].channel.clone());
        let get = v1::GetOrderRequest { name };
        let found = until_served(async || client.clone().get_order(by("root", get.clone())).await);
        assert_eq!(found.await.unwrap().into_inner().state(), order::State::Confirmed);
    }
    books_balance(&edges).await;
    end(three, edges).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_replicas_takes_any_call() {
    let three = Three::open_with(|options| {
        let peers = options.node.peers.as_mut().unwrap();
        peers.founders.retain(|founder| founder.0 != 3);
    })
    .await;
    let edges = edges(&three).await;
    seed(&edges).await;
    let mut client = OrderServiceClient::new(edges[2].channel.clone());
    for n in 0..20 {
        let placed = client
            .place_order(by("shop", order_of(&format!("r{n}"), n)))
            .await
            .unwrap();
        assert!(placed.metadata().contains_key("docket-leader"));
        let name = placed.into_inner().name;
        let get = v1::GetOrderRequest { name };
        let found = client.get_order(by("root", get)).await.unwrap().into_inner();
        assert_eq!(found.state(), order::State::Confirmed);
    }
    assert_eq!(all(&edges, 2).await.len(), 20);
    books_balance(&edges).await;
    // What happened is told by a node that has none of it, and goes on at one that has, and back.
    let (mut seen, mut token) = (Vec::new(), String::new());
    for at in [2, 0, 2, 1].into_iter().cycle() {
        let request = v1::WatchOrdersRequest {
            start: v1::watch_orders_request::Start::Oldest.into(),
            resume_token: token.clone(),
            ..Default::default()
        };
        let mut client = OrderServiceClient::new(edges[at].channel.clone());
        let mut messages = client
            .watch_orders(by("root", request))
            .await
            .unwrap()
            .into_inner();
        let before = seen.len();
        while seen.len() == before {
            let message = messages.message().await.unwrap().unwrap();
            seen.extend(message.changes);
            token = message.resume_token;
        }
        if seen.len() >= 40 {
            break;
        }
    }
    let mut steps: Vec<_> = seen.iter().map(|change| change.order.as_ref().unwrap()).collect();
    steps.sort_by_key(|order| (order.name.clone(), order.etag.clone()));
    assert_eq!(steps.len(), 40);
    for of_order in steps.chunks(2) {
        let etags: Vec<&str> = of_order.iter().map(|order| order.etag.as_str()).collect();
        assert_eq!((etags, &of_order[0].name), (vec!["v1", "v2"], &of_order[1].name));
    }
    end(three, edges).await;
}
