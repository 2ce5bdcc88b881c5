//! Clients whose calls become a history: they place, hold, ship, edit, take back, cancel, book, read and list at all nodes, a bounded number of calls, and
//! send some of those again whose answers they lost. Consumers watch the feed meanwhile ([`Consumer`]).

mod books;
mod call;
mod consumer;
pub mod deeds;
pub mod seen;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docket_proto::v1::{
    CreateCustomerRequest, CreateItemRequest, Customer, Item, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient,
};
use tokio::time::{Instant, sleep};

pub use call::{Node, outcome};
pub use consumer::Consumer;

use super::{Ask, Books, History, Line, OrderSeen, Outcome, Phase, Recorder};
use crate::{CURRENCY, Chance, Error, Target, books::patiently};

/// Customers, who can afford some dozen orders each.
const CUSTOMERS: u64 = 4;
const CREDIT_LIMIT: i64 = 20_000;
/// Items, of each of which there is enough for some dozen orders.
const ITEMS: u64 = 6;
const ON_HAND: i64 = 60;
/// The orders that clients know of and read and cancel: the newest so many.
const KNOWN_MAX: usize = 64;
/// How long a request that was not done is asked for again at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon.
const RETRY: Duration = Duration::from_millis(50);
/// Who has no answer waits twice as long each time, so often: up to 0.8 s.
const RETRIES_SLOWER: u32 = 4;

/// What all clients of a history share.
#[derive(Debug)]
pub struct Shop {
    /// The history that they make.
    pub recorder: Recorder,
    seed: u64,
    names: Names,
    /// As they were seen last.
    known: Mutex<VecDeque<OrderSeen>>,
}

impl Shop {
    /// Creates the customers and items, and begins the history.
    ///
    /// A server can have one history after the other, each checked by itself, so that what a check takes does not grow with the time:
    /// an `episode` has customers, items and request ids of its own.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn open(target: &Target, seed: u64, episode: u64) -> Result<Self, Error> {
        let channel = target.connect().await?;
        let mut customers = CustomerServiceClient::new(channel.clone());
        let names = Names(episode);
        for number in 0..CUSTOMERS {
            let request = CreateCustomerRequest {
                customer_id: names.customer_id(number),
                customer: Some(Customer {
                    currency_code: CURRENCY.into(),
                    credit_limit: CREDIT_LIMIT,
                    ..Customer::default()
                }),
                request_id: names.customer_id(number),
            };
            let created =
                patiently(async || customers.create_customer(target.call(request.clone())).await).await;
            created.map_err(Error::refused("cannot create a customer"))?;
        }
        let mut items = ItemServiceClient::new(channel);
        for number in 0..ITEMS {
            let request = CreateItemRequest {
                sku: names.sku(number),
                item: Some(Item {
                    currency_code: CURRENCY.into(),
                    unit_price: price(number),
                    on_hand: ON_HAND,
                    ..Item::default()
                }),
                request_id: names.sku(number),
            };
            let created = patiently(async || items.create_item(target.call(request.clone())).await).await;
            created.map_err(Error::refused("cannot create an item"))?;
        }
        Ok(Self {
            recorder: Recorder::new(
                (0..ITEMS).map(|number| (names.item(number), ON_HAND)),
                (0..CUSTOMERS).map(|number| (names.customer(number), CREDIT_LIMIT)),
            ),
            seed,
            names,
            known: Mutex::default(),
        })
    }

    /// Everything of this history that is listed, at one node.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn books(&self, target: &Target) -> Result<Books, Error> {
        self.names.books(target).await
    }

    /// What its customers and items are called: to look at its books when the history is over.
    pub fn names(&self) -> Names {
        self.names
    }

    /// The history that was made, with the books at its end.
    pub fn history(self, books: Books) -> History {
        let mut history = self.recorder.history();
        history.books = Some(books);
        history
    }

    /// Somebody was told of an order, which may be a new one.
    fn learn(&self, order: &OrderSeen, is_new: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.iter_mut().find(|it| it.name == order.name) {
            Some(before) => before.clone_from(order),
            None if is_new => known.push_back(order.clone()),
            None => {}
        }
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
    }

    fn any_known(&self, chance: &mut Chance) -> Option<OrderSeen> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = chance.below(known.len().max(1) as u64) as usize;
        known.get(at).cloned()
    }
}

/// What the customers and items of an episode are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    fn customer_id(self, number: u64) -> String {
        format!("c{}-{number}", self.0)
    }

    fn sku(self, number: u64) -> String {
        format!("i{}-{number}", self.0)
    }

    /// Whether a customer is one of these.
    fn has_customer(self, name: &str) -> bool {
        (0..CUSTOMERS).any(|number| self.customer(number) == name)
    }

    fn customer(self, number: u64) -> String {
        format!("customers/{}", self.customer_id(number))
    }

    fn item(self, number: u64) -> String {
        format!("items/{}", self.sku(number))
    }
}

/// The price of an item, in minor units.
fn price(number: u64) -> i64 {
    100 + 50 * number as i64
}

/// One client: one call at a time, each at a node that is drawn.
#[derive(Debug)]
pub struct Client {
    process: u32,
    chance: Chance,
    asked: u64,
    /// Requests whose answers were lost, and that may be sent again.
    lost: Vec<Ask>,
    /// How many calls in a row came to nothing.
    failures: u32,
}

impl Client {
    /// The client with this number.
    pub fn new(shop: &Shop, process: u32) -> Self {
        Self {
            process,
            chance: Chance::new(shop.seed, (shop.names.0 << 32) | u64::from(process)),
            asked: 0,
            lost: Vec::new(),
            failures: 0,
        }
    }

    /// Calls until it is told to stop, with a pause of up to `pause` between two calls.
    pub async fn work(&mut self, shop: &Arc<Shop>, nodes: &[Node], stop: &AtomicBool, pause: Duration) {
        while !stop.load(Ordering::Acquire) {
            let ask = match self.chance.below(4) {
                0 => self.lost.pop(),
                _ => None,
            };
            let ask = match ask {
                Some(ask) => ask,
                None => self.ask(shop),
            };
            self.call(shop, nodes, ask).await;
            sleep(pause.mul_f64(self.chance.unit())).await;
        }
    }

    /// Sends half of the requests again whose answers were lost, until they are answered; of the others nobody will ever know.
    ///
    /// # Errors
    /// One that is not answered within a minute.
    pub async fn settle(&mut self, shop: &Arc<Shop>, nodes: &[Node]) -> Result<(), Error> {
        for ask in std::mem::take(&mut self.lost) {
            if self.chance.below(2) == 0 {
                continue;
            }
            let end = Instant::now() + PATIENCE;
            while !self.call(shop, nodes, ask.clone()).await {
                if Instant::now() > end {
                    return Err(Error::Shape(format!(
                        "is not answered within {PATIENCE:?}: {ask}"
                    )));
                }
                sleep(RETRY).await;
            }
            self.lost.clear();
        }
        Ok(())
    }

    /// Places a small order for every customer at this node, again until each is decided, confirmed or refused; how long that took.
    /// Customers and items are all over the ring, and so are the leaders that have to take part.
    ///
    /// # Errors
    /// It takes longer than `at_most`.
    pub async fn until_served(
        &mut self,
        shop: &Arc<Shop>,
        node: &Node,
        at_most: Duration,
    ) -> Result<Duration, String> {
        let begun = Instant::now();
        for number in 0..CUSTOMERS {
            self.asked += 1;
            let item = (number + self.asked) % ITEMS;
            let ask = Ask::Place {
                request_id: format!("{}-{}-{}-{}", shop.seed, shop.names.0, self.process, self.asked),
                customer: shop.names.customer(number),
                lines: vec![Line {
                    item: shop.names.item(item),
                    quantity: 1,
                    unit_price: price(item),
                }],
            };
            while !self.call_at(shop, node, ask.clone()).await {
                if begun.elapsed() > at_most {
                    return Err(format!("is not decided within {at_most:?}: {ask}"));
                }
                sleep(RETRY).await;
            }
            self.lost.clear();
        }
        match begun.elapsed() {
            took if took > at_most => Err(format!("it took {took:?}, longer than {at_most:?}")),
            took => Ok(took),
        }
    }

    /// Makes one call at any node; whether it was answered.
    async fn call(&mut self, shop: &Arc<Shop>, nodes: &[Node], ask: Ask) -> bool {
        let Some(node) = nodes.get(self.chance.below(nodes.len().max(1) as u64) as usize) else {
            return false;
        };
        self.call_at(shop, node, ask).await
    }

    /// Makes one call; whether it was answered.
    async fn call_at(&mut self, shop: &Arc<Shop>, node: &Node, ask: Ask) -> bool {
        let call = shop.recorder.begin(self.process, ask.clone());
        let outcome = node.ask(&ask).await;
        if let Outcome::Ok(super::Reply::Order(order)) = &outcome {
            let is_new = order.phase == Phase::Confirmed && matches!(ask, Ask::Place { .. });
            shop.learn(order, is_new);
        }
        let is_answered = match &outcome {
            Outcome::Ok(_) => true,
            Outcome::Refused(refusal) => refusal.reason != "ORDER_PENDING",
            Outcome::Failed(_) | Outcome::Unknown(_) => false,
        };
        if matches!(outcome, Outcome::Unknown(_)) && ask.request_id().is_some() {
            self.lost.push(ask);
        }
        let is_lost = matches!(outcome, Outcome::Failed(_) | Outcome::Unknown(_));
        shop.recorder.end(call, outcome);
        self.failures = if is_lost { self.failures + 1 } else { 0 };
        if is_lost {
            // Nobody is there, or there is no room: nobody is to be asked again at once, and less and less. Of what many ask and nobody
            // answers nothing could be checked.
            sleep(RETRY * (1 << self.failures.min(RETRIES_SLOWER))).await;
        }
        is_answered
    }

    fn ask(&mut self, shop: &Shop) -> Ask {
        self.asked += 1;
        let names = shop.names;
        let request_id = format!("{}-{}-{}-{}", shop.seed, names.0, self.process, self.asked);
        let chance = &mut self.chance;
        let customer = names.customer(chance.below(CUSTOMERS));
        let any_item = chance.below(ITEMS);
        let order = shop.any_known(chance);
        match (chance.below(100), order) {
            (0..4, _) => Ask::Adjust {
                request_id,
                item: names.item(any_item),
                delta: not_zero(chance.below(12) as i64 - 5),
            },
            (4..8, _) => Ask::Credit {
                request_id,
                customer,
                amount: not_zero(chance.below(1_000) as i64 - 400),
            },
            (8..20, _) => Ask::GetItem {
                item: names.item(any_item),
            },
            (20..28, _) => Ask::GetCustomer { customer },
            (28..34, _) => Ask::ListOrders { customer },
            (66, _) => Ask::ListItems,
            (67, _) => Ask::ListCustomers,
            (34..42, Some(order)) => Ask::GetOrder { order: order.name },
            (42..48, Some(order)) => Ask::Cancel {
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
            _ => {
                let lines = (0..1 + chance.below(3)).map(|n| (any_item + n) % ITEMS);
                let lines: Vec<u64> = lines.collect();
                let lines = lines.into_iter().map(|number| Line {
                    item: names.item(number),
                    quantity: 1 + chance.below(4) as i64,
                    unit_price: price(number),
                });
                Ask::Place {
                    request_id,
                    customer,
                    lines: lines.collect(),
                }
            }
        }
    }
}

fn not_zero(number: i64) -> i64 {
    if number == 0 { 1 } else { number }
}
