//! Orders that are placed, shipped, cancelled in part and edited, by several at once, over all shards.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use docket_proto::v1;
use parking_lot::Mutex;
use tonic::{Code, Status};

use crate::{
    api::{Api, order},
    server::{LOOK_AGAIN, PATIENCE},
};

/// Each on a shard that its hash says.
const ITEMS: [&str; 6] = ["nut", "bolt", "gear", "cog", "axle", "spring"];
const CUSTOMERS: [&str; 4] = ["ada", "bob", "eve", "joe"];
/// Each has one request on its way.
pub const CLIENTS: usize = CUSTOMERS.len();
/// Orders whose end must have come between two events of a test.
const SOME: usize = 40;

/// Asks, again and again where it may pass.
macro_rules! asked {
    ($ask:expr) => {{
        let begun = Instant::now();
        loop {
            match $ask.await {
                Ok(answer) => break answer.into_inner(),
                Err(status) => assert!(is_again(&status, begun), "{status}"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }};
}

/// What there is of each item at first.
pub fn stock() -> i64 {
    1_000_000
}

/// Customers and items.
pub async fn furnish(api: &Api) {
    for customer in CUSTOMERS {
        api.customer(customer, i64::MAX / 4).await;
    }
    for item in ITEMS {
        api.item(item, 5, stock()).await;
    }
}

/// Clients at work.
pub struct Work {
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Work {
    /// One client a customer.
    pub fn start(api: &Api, name: &'static str) -> Self {
        let (done, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let acknowledged = Arc::<Mutex<BTreeSet<String>>>::default();
        let client = |(number, customer): (usize, &'static str)| {
            let (api, done, stop) = (api.clone(), Arc::clone(&done), Arc::clone(&stop));
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let id = format!("{name}-{customer}-{round}");
                    let placed = place(&api, &id, customer, number + round).await;
                    acknowledged.lock().insert(placed.name.clone());
                    go_on(&api, &id, placed, round).await;
                    done.fetch_add(1, Ordering::Release);
                }
            })
        };
        Self {
            clients: CUSTOMERS.into_iter().enumerate().map(client).collect(),
            done,
            stop,
            acknowledged,
        }
    }

    /// The orders that were acknowledged by now.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().clone()
    }

    /// Waits until some more are done.
    pub async fn goes_on(&self) {
        let (begun, target) = (Instant::now(), self.done.load(Ordering::Acquire) + SOME);
        while self.done.load(Ordering::Acquire) < target {
            let failed = self.clients.iter().any(tokio::task::JoinHandle::is_finished);
            assert!(begun.elapsed() < PATIENCE && !failed, "nothing is done any more");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until nobody is at work any more.
    pub async fn end(self) {
        self.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// Places an order of three items.
async fn place(api: &Api, id: &str, customer: &str, number: usize) -> v1::Order {
    let item = |at: usize| ITEMS[(number + at) % ITEMS.len()];
    let lines = [(item(0), 4, 5), (item(1), 2, 5), (item(3), 1, 5)];
    asked!(api.orders().place_order(order(id, customer, &lines)))
}

/// What becomes of it: each kind makes its items change behind the order's own record.
async fn go_on(api: &Api, id: &str, placed: v1::Order, round: usize) {
    let (name, request_id) = (placed.name.clone(), format!("{id}-then"));
    let of_first = |quantity| v1::LineQuantity { line: 0, quantity };
    match round % 4 {
        0 => {
            let request = v1::ShipOrderRequest {
                name,
                request_id,
                lines: vec![of_first(3)],
                ..Default::default()
            };
            asked!(api.orders().ship_order(request.clone()));
        }
        1 => {
            let request = v1::CancelOrderRequest {
                name,
                request_id,
                ..Default::default()
            };
            asked!(api.orders().cancel_order(request.clone()));
        }
        2 => {
            let request = v1::CancelOrderLinesRequest {
                name,
                request_id,
                lines: vec![of_first(1)],
                ..Default::default()
            };
            asked!(api.orders().cancel_order_lines(request.clone()));
        }
        _ => {}
    }
}

/// Whether to ask again under the same id, since it is not known whether it was done.
fn is_again(status: &Status, begun: Instant) -> bool {
    let may_pass = matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown
    );
    may_pass && begun.elapsed() < PATIENCE
}
