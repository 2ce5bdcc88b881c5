//! Clients that place orders while the cluster changes, and what each shard's clients noticed of it.
//!
//! Two clients a shard: one whose orders touch that shard alone, so that a pause of it is seen as what it is, and one whose orders also
//! take from the shard after it, as most orders do.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use docket_client::{Client, method};
use docket_cluster::{Ring, slot_of};
use docket_proto::v1::{CreateCustomerRequest, CreateItemRequest, Customer, Item, Order, order::State};
use tokio::task::JoinHandle;

use super::stage::{SHARDS, Stage};
use crate::{
    api::order,
    server::{LOOK_AGAIN, PATIENCE},
};

const CREDIT_LIMIT: i64 = i64::MAX / 4;
pub const ON_HAND: i64 = 1_000_000_000;
const PRICE: i64 = 5;
/// Orders that each client must see acknowledged between two events.
const SOME: usize = 8;
/// A client rests between two orders: the machine has other things to do, and a pause is longer than that.
const REST: Duration = Duration::from_millis(4);

/// A key of this kind whose entity is in the shard.
fn key_in(shard: u16, kind: &str) -> String {
    let ring = Ring::new(SHARDS).unwrap();
    let mut keys = (0_u32..).map(|number| format!("{kind}{number}"));
    let lies = |key: &String| ring.shard_of(slot_of(key.as_bytes())).number() == shard;
    keys.find(lies).unwrap()
}

/// What a client orders.
#[derive(Clone)]
struct Wish {
    shard: u16,
    customer: String,
    skus: Vec<String>,
}

fn wishes() -> Vec<Wish> {
    let wishes = (0..SHARDS).flat_map(|shard| {
        let own = key_in(shard, "i");
        let next = key_in((shard + 1) % SHARDS, "i");
        [("own", vec![own.clone()]), ("across", vec![own, next])].map(|(kind, skus)| Wish {
            shard,
            customer: key_in(shard, kind),
            skus,
        })
    });
    wishes.collect()
}

/// One that was acknowledged.
struct Acknowledged {
    order: Order,
    at: Instant,
    took: Duration,
}

/// Clients at work.
pub struct Load {
    counts: Vec<Arc<AtomicUsize>>,
    stop: Arc<AtomicBool>,
    working: Vec<JoinHandle<Vec<Acknowledged>>>,
    wishes: Vec<Wish>,
    /// When something began, and what.
    phases: Vec<(Instant, String)>,
}

impl Load {
    /// Creates what they order, and begins. Each is one of `name`'s, which no other load may be called.
    pub async fn begin(stage: &Stage, nodes: &[usize], name: &str) -> Self {
        let client = stage.client(nodes);
        let wishes = wishes();
        for wish in &wishes {
            create(&client, wish).await;
        }
        let stop = Arc::<AtomicBool>::default();
        let mut load = Self {
            counts: Vec::new(),
            stop: Arc::clone(&stop),
            working: Vec::new(),
            wishes: wishes.clone(),
            phases: vec![(Instant::now(), "before".to_owned())],
        };
        for wish in wishes {
            let count = Arc::<AtomicUsize>::default();
            load.counts.push(Arc::clone(&count));
            // Each is a client of its own, with connections of its own.
            let (client, stop, name) = (stage.client(nodes), Arc::clone(&stop), name.to_owned());
            load.working
                .push(tokio::spawn(work(client, wish, name, count, stop)));
        }
        load.goes_on(stage).await;
        load
    }

    /// What the figures from now on are about.
    pub fn phase(&mut self, name: &str) {
        println!("  {name}");
        self.phases.push((Instant::now(), name.to_owned()));
    }

    /// Waits until each client has seen some more acknowledged.
    pub async fn goes_on(&self, stage: &Stage) {
        let begun = Instant::now();
        let counts = || self.counts.iter().map(|count| count.load(Ordering::Acquire));
        let targets: Vec<_> = counts().map(|count| count + SOME).collect();
        while counts().zip(&targets).any(|(count, target)| count < *target) {
            let failed = self.working.iter().any(JoinHandle::is_finished);
            assert!(
                begun.elapsed() < PATIENCE && !failed,
                "orders are not acknowledged any more: {:?}\n{}",
                counts().collect::<Vec<_>>(),
                stage.logs()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Stops the clients; what was acknowledged, with the figures.
    pub async fn end(mut self) -> Placed {
        self.stop.store(true, Ordering::Release);
        let mut clients = Vec::new();
        for (working, wish) in self.working.drain(..).zip(&self.wishes) {
            clients.push((wish.clone(), working.await.unwrap()));
        }
        let ended = Instant::now();
        let mut figures = Vec::new();
        let ends = self.phases.iter().skip(1).map(|(at, _)| *at).chain([ended]);
        for ((began, name), end) in self.phases.iter().zip(ends) {
            for (wish, acknowledged) in &clients {
                figures.push(Figures::of(name, wish, acknowledged, *began, end));
            }
        }
        let orders = clients.into_iter().flat_map(|(_, acknowledged)| acknowledged);
        Placed {
            orders: orders
                .map(|one| one.order)
                .map(|order| (order.name.clone(), order))
                .collect(),
            figures,
        }
    }
}

async fn create(client: &Client, wish: &Wish) {
    let customer = CreateCustomerRequest {
        customer_id: wish.customer.clone(),
        customer: Some(Customer {
            currency_code: "EUR".into(),
            credit_limit: CREDIT_LIMIT,
            ..Customer::default()
        }),
        request_id: format!("create-{}", wish.customer),
    };
    client.call(&method::CREATE_CUSTOMER, customer).await.unwrap();
    for sku in &wish.skus {
        let item = CreateItemRequest {
            sku: sku.clone(),
            item: Some(Item {
                currency_code: "EUR".into(),
                unit_price: PRICE,
                on_hand: ON_HAND,
                ..Item::default()
            }),
            request_id: format!("create-{sku}"),
        };
        client.call(&method::CREATE_ITEM, item).await.unwrap();
    }
}

/// Places one order after the other. The client repeats what is safe; anything else would be a failed request.
async fn work(
    client: Client,
    wish: Wish,
    name: String,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::<Acknowledged>::new();
    let lines: Vec<_> = wish.skus.iter().map(|sku| (sku.as_str(), 1, PRICE)).collect();
    while !stop.load(Ordering::Acquire) {
        let request_id = format!("{name}-{}-{}", wish.customer, acknowledged.len());
        let begun = Instant::now();
        let placed = client
            .call(&method::PLACE_ORDER, order(&request_id, &wish.customer, &lines))
            .await;
        let order = placed.unwrap_or_else(|status| panic!("{request_id} failed: {status:?}"));
        assert_eq!(order.state(), State::Confirmed, "{request_id}: {order:?}");
        let at = Instant::now();
        acknowledged.push(Acknowledged {
            order,
            at,
            took: at - begun,
        });
        count.fetch_add(1, Ordering::Release);
        tokio::time::sleep(REST).await;
    }
    acknowledged
}

/// What clients were told, and how long it took.
pub struct Placed {
    /// By name, as they were acknowledged.
    pub orders: BTreeMap<String, Order>,
    figures: Vec<Figures>,
}

impl Placed {
    /// What the books of the cluster must say is reserved of each item, and held of each customer, by their names.
    pub fn sums(&self) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
        let (mut reserved, mut held) = (BTreeMap::new(), BTreeMap::new());
        for order in self.orders.values() {
            for line in &order.lines {
                *reserved.entry(line.item.clone()).or_default() += line.quantity;
            }
            *held.entry(order.customer.clone()).or_default() += order.total;
        }
        (reserved, held)
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<34} {:<8} {:<7} {:>6} {:>9} {:>9} {:>9}",
            "while", "shard", "orders", "count", "p50 ms", "p99 ms", "pause ms"
        )?;
        self.figures
            .iter()
            .try_for_each(|figures| writeln!(f, "{figures}"))?;
        write!(f, "{} orders acknowledged", self.orders.len())
    }
}

/// What one client noticed of one phase.
struct Figures {
    phase: String,
    shard: u16,
    across: bool,
    count: usize,
    p50: Duration,
    p99: Duration,
    /// The longest time without an acknowledgement.
    pause: Duration,
}

impl Figures {
    fn of(phase: &str, wish: &Wish, acknowledged: &[Acknowledged], began: Instant, ended: Instant) -> Self {
        let within: Vec<_> = acknowledged
            .iter()
            .filter(|one| began <= one.at && one.at < ended)
            .collect();
        let mut took: Vec<_> = within.iter().map(|one| one.took).collect();
        took.sort_unstable();
        let quantile = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1)));
        let times = [began].into_iter().chain(within.iter().map(|one| one.at));
        let next = within.iter().map(|one| one.at).chain([ended]);
        Self {
            phase: phase.to_owned(),
            shard: wish.shard,
            across: wish.skus.len() > 1,
            count: within.len(),
            p50: quantile(50).copied().unwrap_or_default(),
            p99: quantile(99).copied().unwrap_or_default(),
            pause: times
                .zip(next)
                .map(|(one, other)| other - one)
                .max()
                .unwrap_or_default(),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{:<34} {:<8} {:<7} {:>6} {:>9.1} {:>9.1} {:>9.1}",
            self.phase,
            format!("shard-{}", self.shard),
            if self.across { "across" } else { "own" },
            self.count,
            ms(self.p50),
            ms(self.p99),
            ms(self.pause)
        )
    }
}
