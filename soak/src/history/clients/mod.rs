//! Clients whose calls become a history: they place, cancel, book, read and list at all nodes, a bounded number of calls, and
//! send some of those again whose answers they lost.

mod call;
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
    CreateCustomerRequest, CreateItemRequest, Customer, Item, ListCustomersRequest, ListItemsRequest,
    ListOrdersRequest, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order_service_client::OrderServiceClient,
};
use tokio::time::{Instant, sleep};

pub use call::{Node, outcome};

use super::{Ask, Books, History, Line, Outcome, Phase, Recorder};
use crate::{CURRENCY, Chance, Error, Target, books::patiently};

/// Customers, who can afford some dozen orders each.
const CUSTOMERS: u64 = 4;
const CREDIT_LIMIT: i64 = 20_000;
/// Items, of each of which there is enough for some dozen orders.
const ITEMS: u64 = 6;
const ON_HAND: i64 = 60;
/// The orders that clients know of and read and cancel: the newest so many.
const KNOWN_MAX: usize = 64;
/// The largest page that the contract allows.
const PAGE_MAX: i32 = 1_000;
/// How long a request that was not done is asked for again at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon.
const RETRY: Duration = Duration::from_millis(50);

/// What all clients of a history share.
#[derive(Debug)]
pub struct Shop {
    /// The history that they make.
    pub recorder: Recorder,
    seed: u64,
    known: Mutex<VecDeque<String>>,
}

impl Shop {
    /// Creates the customers and items, and begins the history.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn open(target: &Target, seed: u64) -> Result<Self, Error> {
        let channel = target.connect().await?;
        let mut customers = CustomerServiceClient::new(channel.clone());
        for number in 0..CUSTOMERS {
            let request = CreateCustomerRequest {
                customer_id: format!("c{number}"),
                customer: Some(Customer {
                    currency_code: CURRENCY.into(),
                    credit_limit: CREDIT_LIMIT,
                    ..Customer::default()
                }),
                request_id: format!("c{number}"),
            };
            let created =
                patiently(async || customers.create_customer(target.call(request.clone())).await).await;
            created.map_err(Error::refused("cannot create a customer"))?;
        }
        let mut items = ItemServiceClient::new(channel);
        for number in 0..ITEMS {
            let request = CreateItemRequest {
                sku: format!("i{number}"),
                item: Some(Item {
                    currency_code: CURRENCY.into(),
                    unit_price: price(number),
                    on_hand: ON_HAND,
                    ..Item::default()
                }),
                request_id: format!("i{number}"),
            };
            let created = patiently(async || items.create_item(target.call(request.clone())).await).await;
            created.map_err(Error::refused("cannot create an item"))?;
        }
        Ok(Self {
            recorder: Recorder::new(
                (0..ITEMS).map(|number| (item(number), ON_HAND)),
                (0..CUSTOMERS).map(|number| (customer(number), CREDIT_LIMIT)),
            ),
            seed,
            known: Mutex::default(),
        })
    }

    /// Everything that is listed, at one node.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn books(target: &Target) -> Result<Books, Error> {
        let channel = target.connect().await?;
        let mut items = ItemServiceClient::new(channel.clone());
        let all_items = ListItemsRequest {
            page_size: PAGE_MAX,
            ..ListItemsRequest::default()
        };
        let page = patiently(async || items.list_items(target.call(all_items.clone())).await).await;
        let items = page.map_err(Error::refused("cannot list the items"))?.items;
        let mut customers = CustomerServiceClient::new(channel.clone());
        let all_customers = ListCustomersRequest {
            page_size: PAGE_MAX,
            ..ListCustomersRequest::default()
        };
        let page =
            patiently(async || customers.list_customers(target.call(all_customers.clone())).await).await;
        let customers = page
            .map_err(Error::refused("cannot list the customers"))?
            .customers;
        let mut books = Books {
            items: items.into_iter().map(seen::item).collect(),
            customers: customers.into_iter().map(seen::customer).collect(),
            orders: Vec::new(),
        };
        let mut client = OrderServiceClient::new(channel);
        let mut request = ListOrdersRequest {
            page_size: PAGE_MAX,
            ..ListOrdersRequest::default()
        };
        loop {
            let page = patiently(async || client.list_orders(target.call(request.clone())).await).await;
            let page = page.map_err(Error::refused("cannot list the orders"))?;
            books.orders.extend(page.orders.into_iter().map(seen::order));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(books);
            }
        }
    }

    /// The history that was made, with the books at its end.
    pub fn history(self, books: Books) -> History {
        let mut history = self.recorder.history();
        history.books = Some(books);
        history
    }

    /// Somebody was told of an order.
    fn learn(&self, name: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_back(name.to_owned());
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
    }

    fn any_known(&self, chance: &mut Chance) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = chance.below(known.len().max(1) as u64) as usize;
        known.get(at).cloned()
    }
}

fn customer(number: u64) -> String {
    format!("customers/c{number}")
}

fn item(number: u64) -> String {
    format!("items/i{number}")
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
}

impl Client {
    /// The client with this number.
    pub fn new(shop: &Shop, process: u32) -> Self {
        Self {
            process,
            chance: Chance::new(shop.seed, u64::from(process)),
            asked: 0,
            lost: Vec::new(),
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

    /// Makes one call; whether it was answered.
    async fn call(&mut self, shop: &Arc<Shop>, nodes: &[Node], ask: Ask) -> bool {
        let Some(node) = nodes.get(self.chance.below(nodes.len().max(1) as u64) as usize) else {
            return false;
        };
        let call = shop.recorder.begin(self.process, ask.clone());
        let outcome = node.ask(&ask).await;
        if let Outcome::Ok(super::Reply::Order(order)) = &outcome
            && order.phase == Phase::Confirmed
            && matches!(ask, Ask::Place { .. })
        {
            shop.learn(&order.name);
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
        if is_lost {
            // Nobody is there, or there is no room: nobody is to be asked again at once.
            sleep(RETRY).await;
        }
        is_answered
    }

    fn ask(&mut self, shop: &Shop) -> Ask {
        self.asked += 1;
        let request_id = format!("{}-{}-{}", shop.seed, self.process, self.asked);
        let chance = &mut self.chance;
        let customer = customer(chance.below(CUSTOMERS));
        let any_item = chance.below(ITEMS);
        let order = shop.any_known(chance);
        match (chance.below(100), order) {
            (0..4, _) => Ask::Adjust {
                request_id,
                item: item(any_item),
                delta: not_zero(chance.below(12) as i64 - 5),
            },
            (4..8, _) => Ask::Credit {
                request_id,
                customer,
                amount: not_zero(chance.below(1_000) as i64 - 400),
            },
            (8..20, _) => Ask::GetItem { item: item(any_item) },
            (20..28, _) => Ask::GetCustomer { customer },
            (28..34, _) => Ask::ListOrders { customer },
            (34..46, Some(order)) => Ask::GetOrder { order },
            (46..68, Some(order)) => Ask::Cancel {
                request_id,
                order,
                etag: String::new(),
            },
            _ => {
                let lines = (0..1 + chance.below(3)).map(|n| (any_item + n) % ITEMS);
                let lines: Vec<u64> = lines.collect();
                let lines = lines.into_iter().map(|number| Line {
                    item: item(number),
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
