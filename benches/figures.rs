//! The first figures: a real `docket serve` process against a bare tonic echo of the same messages, on the same machine in
//! the same run. `cargo bench --bench figures` prints them; it checks its own results (stock and credit are exactly what
//! was acknowledged) and fails where they are not.
//!
//! `FIGURES_ORDERS` sets how many orders the restart is measured with (1,000,000), `FIGURES_SECONDS` how long each load
//! runs (5).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark stops at the first surprise"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use docket_proto::v1::{
    CancelOrderRequest, CreateCustomerRequest, CreateItemRequest, Customer, GetCustomerRequest,
    GetItemRequest, GetOrderRequest, Item, ListOrdersRequest, ListOrdersResponse, Order, OrderLine,
    PlaceOrderRequest, PlaceOrdersResponse, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order::State, order_service_client::OrderServiceClient,
    order_service_server, place_orders_response,
};
use hdrhistogram::Histogram;
use tokio_stream::StreamExt;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

const CUSTOMERS: u64 = 1_000;
const ITEMS: u64 = 1_000;
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;
/// In flight on each stream.
const WINDOW: usize = 256;
const ROUNDS: usize = 3;
const UNIT_PRICE: i64 = 250;
/// Pieces in each order: one of one item, two of another.
const PIECES: i64 = 3;

fn main() {
    if std::env::args().any(|arg| arg == "--echo") {
        return runtime().block_on(echo());
    }
    let asked = |name: &str| std::env::args().any(|arg| arg == name);
    // It has no short form.
    let short = std::env::var_os("DOCKET_BENCH_SHORT").is_some_and(|value| value != "0");
    if !asked("--bench") || asked("--test") || asked("--list") || short {
        println!("figures: measured by `cargo bench --bench figures` only");
        return;
    }
    runtime().block_on(figures());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn figures() {
    let seconds = number("FIGURES_SECONDS", 5);
    let orders = number("FIGURES_ORDERS", 1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path()).await;
    let echo = Echo::start();
    node.seed().await;

    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let bare = unary(&channels(echo.addr).await, None, seconds).await;
        let placed = unary(&channels(node.addr).await, Some(node.key.clone()), seconds).await;
        node.placed.fetch_add(placed.orders, Ordering::Relaxed);
        let ratio = placed.rate / bare.rate;
        println!("round {round}: echo {bare}; PlaceOrder {placed}; ratio {ratio:.3}");
        ratios.push(ratio);
        rates.push(placed.rate);
    }
    let (rate, ratio) = (median(&mut rates), median(&mut ratios));
    println!(
        "PlaceOrder, {IN_FLIGHT} in flight on {CONNECTIONS} connections: {rate:.0}/s, {ratio:.3} of the echo"
    );

    if std::env::var_os("FIGURES_UNARY").is_some() {
        println!("{}", http(node.admin, "/metrics").unwrap_or_default());
        stop(node.child);
        return;
    }
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(stream(&node, u64::MAX, seconds).await);
    }
    let rate = median(&mut rates);
    println!(
        "PlaceOrders, {CONNECTIONS} streams with {WINDOW} in flight: {rate:.0} orders/s (of {rates:.0?})"
    );

    let before = (node.placed.load(Ordering::Relaxed), node.memory());
    let more = orders.saturating_sub(before.0);
    let rate = stream(&node, more, 3_600).await;
    println!("{more} more orders: {rate:.0} orders/s");
    node.check().await;
    let after = (node.placed.load(Ordering::Relaxed), node.memory());
    let each = (after.1 as f64 - before.1 as f64) / (after.0 - before.0).max(1) as f64;
    println!(
        "memory: {} MB with {} orders, {each:.0} bytes an order more",
        after.1 >> 20,
        after.0
    );
    stop(node.child);
    let started = Instant::now();
    let node = Node::start(dir.path()).await;
    let (took, memory) = (started.elapsed().as_secs_f64(), node.memory() >> 20);
    println!(
        "restart with {} orders: ready after {took:.2} s, {memory} MB",
        after.0
    );
    node.placed.store(after.0, Ordering::Relaxed);
    node.check().await;
    stop(node.child);
    println!("the books are exact: stock and credit are what was acknowledged, before the restart and after");
}

struct Node {
    child: Child,
    addr: SocketAddr,
    admin: SocketAddr,
    key: MetadataValue<Ascii>,
    placed: AtomicU64,
}

impl Node {
    async fn start(dir: &Path) -> Self {
        let (addr, admin) = (free_address(), free_address());
        let log = std::fs::File::create(dir.join("figures.log")).unwrap();
        // The limits are there and count; they are set above what is measured.
        let config = dir.join("figures.toml");
        std::fs::write(&config, include_str!("figures.toml")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_docket"))
            .args(["serve", "--data-dir"])
            .arg(dir.join("data"))
            .args([
                "--listen",
                &addr.to_string(),
                "--admin-listen",
                &admin.to_string(),
                "--config",
            ])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(120);
        while http(admin, "/readyz").is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
            let log = dir.join("figures.log");
            assert!(
                Instant::now() < end,
                "not ready: {}",
                std::fs::read_to_string(log).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let key = std::fs::read_to_string(dir.join("data/admin.key")).unwrap();
        Self {
            child,
            addr,
            admin,
            key: key.trim().parse().unwrap(),
            placed: AtomicU64::new(0),
        }
    }

    fn memory(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
    }

    fn with_key<T>(&self, message: T) -> Request<T> {
        with_key(message, Some(&self.key))
    }

    async fn seed(&self) {
        let channel = channels(self.addr).await.remove(0);
        let mut customers = CustomerServiceClient::new(channel.clone());
        for n in 0..CUSTOMERS {
            let customer = Some(Customer {
                currency_code: "EUR".into(),
                credit_limit: 1_000_000_000_000,
                ..Customer::default()
            });
            let request = CreateCustomerRequest {
                customer_id: format!("c{n}"),
                customer,
                request_id: String::new(),
            };
            customers.create_customer(self.with_key(request)).await.unwrap();
        }
        let mut items = ItemServiceClient::new(channel);
        for n in 0..ITEMS {
            let item = Some(Item {
                currency_code: "EUR".into(),
                unit_price: UNIT_PRICE,
                on_hand: 1_000_000_000,
                ..Item::default()
            });
            let request = CreateItemRequest {
                sku: format!("i{n}"),
                item,
                request_id: String::new(),
            };
            items.create_item(self.with_key(request)).await.unwrap();
        }
    }

    /// Compares the books with what was acknowledged.
    async fn check(&self) {
        let channel = channels(self.addr).await.remove(0);
        let (mut held, mut reserved) = (0, 0);
        let mut customers = CustomerServiceClient::new(channel.clone());
        for n in 0..CUSTOMERS {
            let request = GetCustomerRequest {
                name: format!("customers/c{n}"),
            };
            held += customers
                .get_customer(self.with_key(request))
                .await
                .unwrap()
                .into_inner()
                .held;
        }
        let mut items = ItemServiceClient::new(channel);
        for n in 0..ITEMS {
            let request = GetItemRequest {
                name: format!("items/i{n}"),
            };
            reserved += items
                .get_item(self.with_key(request))
                .await
                .unwrap()
                .into_inner()
                .reserved;
        }
        let pieces = self.placed.load(Ordering::Relaxed) as i64 * PIECES;
        assert_eq!(
            (held, reserved),
            (pieces * UNIT_PRICE, pieces),
            "the books do not balance"
        );
    }
}

struct Load {
    orders: u64,
    rate: f64,
    latencies: Histogram<u64>,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = |quantile| self.latencies.value_at_quantile(quantile);
        write!(f, "{:.0}/s, p50 {} us, p99 {} us", self.rate, us(0.5), us(0.99))
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn place_request() -> PlaceOrderRequest {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    // A multiplicative hash spreads customers and items evenly, and repeats from run to run.
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let line = |item: u64, quantity| OrderLine {
        item: format!("items/i{item}"),
        quantity,
        unit_price: UNIT_PRICE,
        amount: 0,
    };
    let first = spread % ITEMS;
    let second = (first + 1 + spread / 11 % (ITEMS - 1)) % ITEMS;
    PlaceOrderRequest {
        request_id: format!("{:08x}-0000-4000-8000-{n:012x}", std::process::id()),
        customer: format!("customers/c{}", spread / 7 % CUSTOMERS),
        currency_code: "EUR".into(),
        lines: vec![line(first, 1), line(second, PIECES - 1)],
    }
}

/// Unary calls, closed loop.
async fn unary(channels: &[Channel], key: Option<MetadataValue<Ascii>>, seconds: u64) -> Load {
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    let callers = (0..IN_FLIGHT).map(|n| {
        let mut orders = OrderServiceClient::new(channels[n % channels.len()].clone());
        let key = key.clone();
        tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3).unwrap();
            while Instant::now() < end {
                let sent = Instant::now();
                let order = orders
                    .place_order(with_key(place_request(), key.as_ref()))
                    .await
                    .unwrap();
                assert_eq!(order.into_inner().state(), State::Confirmed);
                latencies.record(sent.elapsed().as_micros() as u64).unwrap();
            }
            latencies
        })
    });
    let mut latencies = Histogram::<u64>::new(3).unwrap();
    for caller in callers.collect::<Vec<_>>() {
        latencies.add(caller.await.unwrap()).unwrap();
    }
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    Load {
        orders: latencies.len(),
        rate,
        latencies,
    }
}

/// Streams, each with a window in flight, until the time or the number is up. Returns orders a second.
async fn stream(node: &Node, orders: u64, seconds: u64) -> f64 {
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    let left = Arc::new(AtomicU64::new(orders));
    let streams = channels(node.addr).await.into_iter().map(|channel| {
        let (left, key) = (left.clone(), node.key.clone());
        tokio::spawn(async move {
            let take = || {
                let take_one = |n: u64| n.checked_sub(1);
                Instant::now() < end
                    && left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                        .is_ok()
            };
            let (sender, receiver) = tokio::sync::mpsc::channel(WINDOW);
            let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
            let mut in_flight = 0;
            while in_flight < WINDOW && take() {
                sender.send(place_request()).await.unwrap();
                in_flight += 1;
            }
            let mut client = OrderServiceClient::new(channel);
            let mut responses = client
                .place_orders(with_key(requests, Some(&key)))
                .await
                .unwrap()
                .into_inner();
            let mut done = 0u64;
            while in_flight > 0 {
                match responses.next().await.unwrap().unwrap().result.unwrap() {
                    place_orders_response::Result::Order(order) => {
                        assert_eq!(order.state(), State::Confirmed)
                    }
                    place_orders_response::Result::Status(status) => panic!("{status:?}"),
                }
                done += 1;
                in_flight -= 1;
                if take() {
                    sender.send(place_request()).await.unwrap();
                    in_flight += 1;
                }
            }
            done
        })
    });
    let mut done = 0;
    for stream in streams.collect::<Vec<_>>() {
        done += stream.await.unwrap();
    }
    node.placed.fetch_add(done, Ordering::Relaxed);
    done as f64 / started.elapsed().as_secs_f64()
}

fn with_key<T>(message: T, key: Option<&MetadataValue<Ascii>>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("x-api-key", key.clone());
    }
    request
}

async fn channels(addr: SocketAddr) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Channel::from_shared(format!("http://{addr}"))
            .unwrap()
            .tcp_nodelay(true);
        channels.push(endpoint.connect().await.unwrap());
    }
    channels
}

/// A server that answers PlaceOrder with an order of the same size and does nothing else, in a process of its own.
struct Echo {
    child: Child,
    addr: SocketAddr,
}

impl Echo {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--echo")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            addr: line.trim().parse().unwrap(),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It has nothing to finish.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn echo() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = order_service_server::OrderServiceServer::new(Bare);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming)
        .await
        .unwrap();
}

struct Bare;

const NOT_HERE: &str = "the echo answers PlaceOrder only";

#[tonic::async_trait]
impl order_service_server::OrderService for Bare {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<Order>, Status> {
        let request = request.into_inner();
        Ok(Response::new(Order {
            name: "orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q".into(),
            customer: request.customer,
            state: State::Confirmed.into(),
            currency_code: request.currency_code,
            total: PIECES * UNIT_PRICE,
            lines: request.lines,
            create_time: Some(Default::default()),
            update_time: Some(Default::default()),
            etag: "v2".into(),
            ..Order::default()
        }))
    }

    type PlaceOrdersStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<PlaceOrdersResponse, Status>> + Send>>;

    async fn place_orders(
        &self,
        _: Request<Streaming<PlaceOrderRequest>>,
    ) -> Result<Response<Self::PlaceOrdersStream>, Status> {
        Err(Status::unimplemented(NOT_HERE))
    }

    async fn get_order(&self, _: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented(NOT_HERE))
    }

    async fn list_orders(
        &self,
        _: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        Err(Status::unimplemented(NOT_HERE))
    }

    async fn cancel_order(&self, _: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented(NOT_HERE))
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn http(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: docket\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn stop(mut child: Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success(), "the node did not stop in order");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
