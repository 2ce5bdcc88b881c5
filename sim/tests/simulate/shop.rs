//! The clients: they place, hold, ship, edit, take back, cancel, book, read and list at all nodes while things go wrong, and look at the end
//! whether all is well. Consumers of the feed watch meanwhile, and keepers lead orders of their own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use docket_actors::{ListOrders, NewCustomer, NewItem};
use docket_cluster::{ReplicaCheck, ReplicaOutcome};
use docket_engine::{Amount, CustomerId, OrderFilter, OrderState, Quantity, Sku};
use docket_proto::api::show::{customer_to_proto, item_to_proto, order_to_proto};
use docket_soak::{
    CURRENCY, Chance,
    history::{
        Ask, Books, Line, OrderSeen, Outcome, Phase, Recorder, Reply,
        clients::{deeds, seen},
    },
};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    ask::{Told, ask, call},
    consumer::{CONSUMERS, Consumer},
    keeper::{self, Keeper},
    provider::Provider,
    seat::{Running, Seat},
};

const CLIENTS: u32 = 4;
const CUSTOMERS: u64 = 3;
const CREDIT_LIMIT: i64 = 6_000;
const ITEMS: u64 = 4;
const ON_HAND: i64 = 40;
/// The orders that clients know of and read and cancel: the newest so many.
const KNOWN_MAX: usize = 24;
/// The longest pause of a client between two calls, in milliseconds.
const PAUSE_MS: u64 = 160;
/// A client waits no longer than this for an answer.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// How soon a client comes again that got no answer.
pub const RETRY: Duration = Duration::from_millis(50);
/// How often a call is sent on to who is said to lead.
pub const HOPS_MAX: usize = 2;
/// How long it may take from when nothing is wrong any more until it serves again, and until nothing is left to do.
const SERVES_AGAIN_WITHIN: Duration = Duration::from_secs(15);
pub const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// How far a run is.
#[derive(Default)]
pub struct Stage {
    /// The shop is open: things may go wrong from here on.
    pub open: AtomicBool,
    /// Nothing is wrong any more.
    pub healed: AtomicBool,
    /// How long it took to serve again, in milliseconds.
    pub recovery_ms: AtomicU64,
}

/// What is found wrong, and the history of a run.
pub struct Shop {
    pub seats: Vec<Arc<Seat>>,
    pub recorder: Mutex<Option<Arc<Recorder>>>,
    pub books: Mutex<Option<Books>>,
    pub faults: Mutex<Vec<String>>,
    pub seed: u64,
    /// What the keepers were told, counted.
    pub led: Mutex<BTreeMap<&'static str, u64>>,
    provider: Arc<Provider>,
    /// The newest orders, as they were seen last.
    known: Mutex<VecDeque<OrderSeen>>,
}

impl Stage {
    /// Whether nothing is wrong any more.
    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }
}

struct Client {
    shop: Arc<Shop>,
    recorder: Arc<Recorder>,
    process: u32,
    chance: Chance,
    asked: u64,
    /// Asked, and nobody knows what came of it.
    lost: Vec<Ask>,
}

impl Shop {
    pub fn new(seats: Vec<Arc<Seat>>, provider: Arc<Provider>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seats,
            recorder: Mutex::new(None),
            books: Mutex::new(None),
            faults: Mutex::default(),
            seed,
            led: Mutex::default(),
            provider,
            known: Mutex::default(),
        })
    }

    pub fn fault(&self, what: impl Into<String>) {
        self.faults.lock().push(what.into());
    }

    /// Opens the shop, uses it, and looks at it when all is over.
    pub async fn play(self: Arc<Self>, stage: Arc<Stage>) {
        self.open().await;
        let recorder = Arc::new(Recorder::new(
            (0..ITEMS).map(|n| (item(n), ON_HAND)),
            (0..CUSTOMERS).map(|n| (customer(n), CREDIT_LIMIT)),
        ));
        *self.recorder.lock() = Some(Arc::clone(&recorder));
        let mut consumers = Vec::new();
        for number in 0..CONSUMERS {
            consumers.push(Consumer::begin(&self, &recorder, number).await);
        }
        stage.open.store(true, Ordering::Relaxed);
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|process| Client {
                shop: Arc::clone(&self),
                recorder: Arc::clone(&recorder),
                process,
                chance: Chance::new(self.seed, u64::from(process)),
                asked: 0,
                lost: Vec::new(),
            })
            .collect();
        let mut keepers: Vec<_> = (0..keeper::KEEPERS)
            .map(|number| Keeper::new(&self, number))
            .collect();
        let keeping = join_all(keepers.iter_mut().map(|keeper| keeper.work(&stage)));
        let calling = join_all(clients.iter_mut().map(|client| client.work(&stage)));
        let watching = join_all(consumers.iter_mut().map(|consumer| consumer.work(&stage)));
        let healed = async {
            while !stage.is_healed() {
                sleep(POLL).await;
            }
            self.provider.heal();
        };
        tokio::join!(calling, watching, keeping, healed);

        let healed = Instant::now();
        if !clients[0].serves().await {
            self.fault(format!(
                "no order is placed within {SERVES_AGAIN_WITHIN:?} after everything was healed"
            ));
            return;
        }
        let recovery = healed.elapsed().as_millis() as u64;
        stage.recovery_ms.store(recovery, Ordering::Relaxed);
        join_all(clients.iter_mut().map(Client::settle)).await;
        join_all(keepers.iter_mut().map(Keeper::finish)).await;
        keepers[0].finish_others().await;
        // A node gives up what nobody waits for.
        sleep(WAIT_MAX).await;
        if self.settled().await {
            recorder.quiet();
            self.look().await;
            let books = self.books.lock().clone();
            if let Some(books) = &books {
                join_all(consumers.iter_mut().map(|consumer| consumer.catch_up(books))).await;
            }
            keeper::look(&self, &keepers, &self.provider).await;
            let mut led = self.led.lock();
            for (what, times) in keepers.iter().flat_map(|keeper| &keeper.counts) {
                *led.entry(what).or_default() += times;
            }
        }
    }

    /// Creates customers and items, whoever leads them.
    async fn open(&self) {
        for n in 0..CUSTOMERS {
            self.create_customer(format!("c{n}"), CREDIT_LIMIT).await;
        }
        for n in 0..ITEMS {
            self.create_item(format!("i{n}"), price(n), ON_HAND).await;
        }
        for n in 0..keeper::CUSTOMERS {
            self.create_customer(keeper::customer_id(n), keeper::CREDIT_LIMIT)
                .await;
        }
        for n in 0..keeper::ITEMS {
            self.create_item(keeper::sku(n), keeper::price(n), keeper::ON_HAND)
                .await;
        }
    }

    async fn create_customer(&self, name: String, credit_limit: i64) {
        let id = good(CustomerId::new(&name));
        self.until_done(move |running| {
            let new = NewCustomer {
                id: id.clone(),
                display_name: "".into(),
                currency: currency(),
                credit_limit: Amount(credit_limit),
            };
            let call = call("open");
            async move { running.docket.create_customer(call, new).await.is_ok() }
        })
        .await;
    }

    async fn create_item(&self, name: String, price: i64, on_hand: i64) {
        let sku = good(Sku::new(&name));
        self.until_done(move |running| {
            let new = NewItem {
                sku: sku.clone(),
                display_name: "".into(),
                currency: currency(),
                unit_price: Amount(price),
                on_hand: Quantity(on_hand),
            };
            let call = call("open");
            async move { running.docket.create_item(call, new).await.is_ok() }
        })
        .await;
    }

    async fn until_done<F>(&self, work: impl Fn(Running) -> F + Clone + Send + 'static)
    where
        F: Future<Output = bool> + Send,
    {
        loop {
            for seat in &self.seats {
                if let Ok(Some(true)) = seat.run(work.clone()).await {
                    return;
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Whether nothing is left to do in time: no order is pending, and what every node has holds together.
    async fn settled(&self) -> bool {
        let end = Instant::now() + SETTLED_WITHIN;
        let mut why = String::new();
        while Instant::now() < end {
            why = match self.unsettled().await {
                None => return true,
                Some(why) => why,
            };
            sleep(POLL).await;
        }
        self.fault(format!("it does not settle within {SETTLED_WITHIN:?}: {why}"));
        false
    }

    async fn unsettled(&self) -> Option<String> {
        for seat in &self.seats {
            let looked = seat.run(|running| async move {
                let pending = ListOrders {
                    filter: OrderFilter {
                        states: vec![OrderState::Pending],
                        ..OrderFilter::default()
                    },
                    limit: 1,
                    ..all_orders()
                };
                match running.docket.list_orders(call(""), pending).await {
                    Err(error) => return Err(format!("its orders cannot be listed: {error}")),
                    Ok(page) if !page.orders.is_empty() => {
                        return Err(format!("order {} is pending", page.orders[0].id));
                    }
                    Ok(_) => {}
                }
                running.docket.validate().map_err(|broken| broken.to_string())
            });
            match looked.await {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(why))) => return Some(format!("node {}: {why}", seat.at + 1)),
                _ => return Some(format!("node {} is down", seat.at + 1)),
            }
        }
        None
    }

    /// The books of all nodes are one, and their replicas equal.
    async fn look(&self) {
        let mut first: Option<Books> = None;
        for seat in &self.seats {
            match seat.run(books).await {
                Ok(Some(Ok(books))) => match &first {
                    None => first = Some(books),
                    Some(first) if *first == books => {}
                    Some(first) => self.fault(format!(
                        "node {} has other books than node 1: {books:?}, not {first:?}",
                        seat.at + 1
                    )),
                },
                Ok(Some(Err(why))) => self.fault(format!("node {}: {why}", seat.at + 1)),
                _ => self.fault(format!("node {} is down at the end", seat.at + 1)),
            }
        }
        *self.books.lock() = first;
        self.compare().await;
    }

    /// Every group's replicas are equal, as their leaders find.
    async fn compare(&self) {
        let end = Instant::now() + SETTLED_WITHIN;
        let mut found = Vec::new();
        while Instant::now() < end {
            found.clear();
            let mut groups = 0;
            for seat in &self.seats {
                let compared = seat.run(|running| async move {
                    (running.node.groups().len(), running.node.compare_replicas().await)
                });
                let (count, checks) = compared.await.ok().flatten().unwrap_or_default();
                groups = count;
                found.extend(checks);
            }
            let equal = |check: &&ReplicaCheck| matches!(check.outcome, ReplicaOutcome::Equal { .. });
            if found
                .iter()
                .any(|check| matches!(check.outcome, ReplicaOutcome::Different { .. }))
            {
                break;
            }
            if found.iter().filter(equal).count() == groups * (self.seats.len() - 1) {
                return;
            }
            sleep(POLL).await;
        }
        self.fault(format!("replicas are not equal: {found:?}"));
    }
}

impl Client {
    /// Calls until everything is healed.
    async fn work(&mut self, stage: &Stage) {
        while !stage.is_healed() {
            let again = if self.chance.below(4) == 0 {
                self.lost.pop()
            } else {
                None
            };
            let ask = again.unwrap_or_else(|| self.ask());
            self.call(ask).await;
            sleep(Duration::from_millis(self.chance.below(PAUSE_MS))).await;
        }
    }

    /// Whether an order is decided in time.
    async fn serves(&mut self) -> bool {
        let end = Instant::now() + SERVES_AGAIN_WITHIN;
        while Instant::now() < end {
            self.asked += 1;
            let ask = self.place();
            if self.call(ask).await {
                return true;
            }
            sleep(RETRY).await;
        }
        false
    }

    /// Sends half of the requests again whose answers were lost, until they are answered; of the others nobody will ever know.
    async fn settle(&mut self) {
        for ask in std::mem::take(&mut self.lost) {
            if self.chance.below(2) == 0 {
                continue;
            }
            let end = Instant::now() + SETTLED_WITHIN;
            while !self.call(ask.clone()).await {
                if Instant::now() > end {
                    self.shop
                        .fault(format!("is not answered within {SETTLED_WITHIN:?}: {ask}"));
                    return;
                }
                sleep(RETRY).await;
            }
        }
        self.lost.clear();
    }

    /// Makes one call; whether it was answered.
    async fn call(&mut self, ask: Ask) -> bool {
        let call = self.recorder.begin(self.process, ask.clone());
        let outcome = self.send(ask.clone()).await;
        tracing::debug!(target: "client", process = self.process, %ask, ?outcome);
        if let Outcome::Ok(Reply::Order(order)) = &outcome {
            let mut known = self.shop.known.lock();
            match known.iter_mut().find(|it| it.name == order.name) {
                Some(before) => before.clone_from(order),
                None if order.phase == Phase::Confirmed && matches!(ask, Ask::Place { .. }) => {
                    known.push_back(OrderSeen::clone(order));
                }
                None => {}
            }
            if known.len() > KNOWN_MAX {
                known.pop_front();
            }
        }
        let answered = match &outcome {
            Outcome::Ok(_) => true,
            Outcome::Refused(refusal) => refusal.reason != "ORDER_PENDING",
            Outcome::Failed(_) | Outcome::Unknown(_) => false,
        };
        if matches!(outcome, Outcome::Unknown(_)) && ask.request_id().is_some() {
            self.lost.push(ask);
        }
        self.recorder.end(call, outcome);
        if !answered {
            sleep(RETRY).await;
        }
        answered
    }

    /// To any node, and on to who leads it.
    async fn send(&mut self, asked: Ask) -> Outcome {
        let seats = self.shop.seats.len() as u64;
        let mut at = self.chance.below(seats) as usize;
        for _ in 0..=HOPS_MAX {
            let (seat, this) = (Arc::clone(&self.shop.seats[at]), asked.clone());
            let told = seat.run(move |running: Running| ask(running.docket, this));
            match timeout(WAIT_MAX, told).await {
                Err(_) => return Outcome::Unknown(format!("no answer within {WAIT_MAX:?}")),
                Ok(Err(_down)) => return Outcome::Failed(format!("node {} is down", at + 1)),
                Ok(Ok(None)) => return Outcome::Unknown(format!("node {} went down meanwhile", at + 1)),
                Ok(Ok(Some(Told::Outcome(outcome)))) => return outcome,
                Ok(Ok(Some(Told::Elsewhere(node)))) => {
                    at = (node as usize).saturating_sub(1) % seats as usize
                }
            }
        }
        Outcome::Failed("nobody leads it for long enough".into())
    }

    fn ask(&mut self) -> Ask {
        self.asked += 1;
        let request_id = self.request_id();
        let chance = &mut self.chance;
        let customer = customer(chance.below(CUSTOMERS));
        let any_item = item(chance.below(ITEMS));
        let order = {
            let known = self.shop.known.lock();
            let at = chance.below(known.len().max(1) as u64) as usize;
            known.get(at).cloned()
        };
        match (chance.below(100), order) {
            // Often more is taken out than there is: refusals are answers, too.
            (0..7, _) => Ask::Adjust {
                request_id,
                item: any_item,
                delta: not_zero(chance.below(40) as i64 - 20),
            },
            (7..14, _) => Ask::Credit {
                request_id,
                customer,
                amount: not_zero(chance.below(6_000) as i64 - 3_000),
            },
            (14..20, _) => Ask::GetItem { item: any_item },
            (20..28, _) => Ask::GetCustomer { customer },
            (28..34, _) => Ask::ListOrders { customer },
            (34..40, Some(order)) => Ask::GetOrder { order: order.name },
            (40..48, Some(order)) => Ask::Cancel {
                request_id,
                order: order.name,
                etag: String::new(),
            },
            (48..66, Some(order)) => {
                let (deed, is_picky) = deeds::draw(chance, &order);
                Ask::Do {
                    request_id,
                    order: order.name,
                    deed,
                    etag: if is_picky { order.etag } else { String::new() },
                }
            }
            _ => self.place(),
        }
    }

    fn place(&mut self) -> Ask {
        let request_id = self.request_id();
        let chance = &mut self.chance;
        let customer = customer(chance.below(CUSTOMERS));
        let (first, count) = (chance.below(ITEMS), 1 + chance.below(3));
        let lines = (0..count).map(|n| {
            let n = (first + n) % ITEMS;
            Line {
                item: item(n),
                quantity: 1 + chance.below(4) as i64,
                unit_price: price(n),
            }
        });
        Ask::Place {
            request_id,
            customer,
            lines: lines.collect(),
        }
    }

    fn request_id(&self) -> String {
        format!("{}-{}", self.process, self.asked)
    }
}

/// Everything there is but what the keepers' is, as one node lists it.
async fn books(running: Running) -> Result<Books, String> {
    let docket = running.docket;
    let limit = 1_000;
    let items = docket.list_items(call(""), None, limit).await;
    let customers = docket.list_customers(call(""), None, limit).await;
    let mut books = Books {
        items: (items.map_err(|error| error.to_string())?.iter())
            .map(|item| seen::item(item_to_proto(item)))
            .filter(|item| !keeper::owns(&item.name))
            .collect(),
        customers: (customers.map_err(|error| error.to_string())?.iter())
            .map(|customer| seen::customer(customer_to_proto(customer)))
            .filter(|customer| !keeper::owns(&customer.name))
            .collect(),
        orders: Vec::new(),
    };
    let mut query = ListOrders {
        limit,
        ..all_orders()
    };
    loop {
        let page = docket.list_orders(call(""), query.clone()).await;
        let page = page.map_err(|error| error.to_string())?;
        let orders = page.orders.iter().map(|order| seen::order(order_to_proto(order)));
        books
            .orders
            .extend(orders.filter(|order| !keeper::owns(&order.customer)));
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(books),
        }
    }
}

fn all_orders() -> ListOrders {
    ListOrders::default()
}

fn good<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("the simulation makes what is malformed: {error:?}"),
    }
}

pub fn currency() -> docket_engine::Currency {
    good(CURRENCY.parse())
}

fn item(n: u64) -> String {
    format!("items/i{n}")
}

fn customer(n: u64) -> String {
    format!("customers/c{n}")
}

fn price(n: u64) -> i64 {
    100 + 37 * n as i64
}

fn not_zero(number: i64) -> i64 {
    if number == 0 { 1 } else { number }
}
