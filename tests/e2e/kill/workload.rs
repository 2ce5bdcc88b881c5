//! What the clients do: they place and cancel orders, and book stock and money, all with request ids.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use docket_persistence::mem::Seeded;
use docket_proto::v1::{
    AdjustStockRequest, CancelOrderRequest, CreditAccountRequest, Customer, Item, Order, PlaceOrderRequest,
};
use tonic::{Code, Response, Status};

use crate::{
    api::{Api, order, reason_of, retry_delay},
    server::PATIENCE,
};

/// Customers, who can afford a dozen orders each.
pub const CUSTOMERS: u64 = 6;
/// Items, of each of which there is enough for a dozen orders.
pub const ITEMS: u64 = 8;
/// How soon a request is sent again where the server does not say.
const RETRY: Duration = Duration::from_millis(20);

/// What is asked. Each has a request id, so that it may be asked again.
#[derive(Debug, Clone)]
pub enum Ask {
    Place(PlaceOrderRequest),
    Cancel(CancelOrderRequest),
    Adjust(AdjustStockRequest),
    Credit(CreditAccountRequest),
}

/// A final answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Order(Box<Order>),
    Item(Box<Item>),
    Customer(Box<Customer>),
    Refused(String),
}

/// A request and what its client knows of it.
#[derive(Debug)]
pub struct Request {
    pub ask: Ask,
    /// None: it may have been done, or not.
    pub answer: Option<Answer>,
}

/// One client: it has one request in flight, and cancels only its own orders.
pub struct Client {
    name: String,
    random: Seeded,
    /// Confirmed orders that it has not tried to cancel.
    cancellable: Vec<String>,
    pub requests: Vec<Request>,
}

/// The requests that have no answer yet.
pub fn unanswered(clients: &mut [Client]) -> impl Iterator<Item = &mut Request> {
    clients
        .iter_mut()
        .flat_map(|client| &mut client.requests)
        .filter(|request| request.answer.is_none())
}

/// The price of an item.
pub fn price(item: u64) -> i64 {
    100 + 50 * item as i64
}

impl Client {
    pub fn new(seed: u64, number: u64, random: u64) -> Self {
        Self {
            name: format!("{seed}-{number}"),
            random: Seeded::new(random),
            cancellable: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// Sends one request after the other until the server is gone, or it has sent so many.
    pub async fn work(mut self, api: Api, acknowledged: Arc<AtomicU64>, requests_max: usize) -> Self {
        self.cancellable = self.not_cancelled();
        for _ in 0..requests_max {
            let mut request = Request {
                ask: self.ask(),
                answer: None,
            };
            let sent = request.send(&api).await;
            if let Some(Answer::Order(order)) = &request.answer
                && matches!(request.ask, Ask::Place(_))
            {
                self.cancellable.push(order.name.clone());
            }
            self.requests.push(request);
            match sent {
                Ok(()) => acknowledged.fetch_add(1, Ordering::AcqRel),
                // Not the server's words: the connection is gone.
                Err(status) if reason_of(&status).is_none() => return self,
                Err(_) => 0,
            };
        }
        self
    }

    /// Its confirmed orders, those among them that were placed only when they were asked for again.
    fn not_cancelled(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for request in &self.requests {
            match (&request.ask, &request.answer) {
                (Ask::Place(_), Some(Answer::Order(order))) => names.insert(order.name.clone()),
                (Ask::Cancel(ask), _) => names.remove(&ask.name),
                _ => false,
            };
        }
        names.into_iter().collect()
    }

    fn ask(&mut self) -> Ask {
        let id = format!("{}-{}", self.name, self.requests.len());
        let random = &mut self.random;
        let customer = format!("c{}", random.below(CUSTOMERS));
        let item = random.below(ITEMS);
        match random.below(20) {
            0 => Ask::Adjust(AdjustStockRequest {
                name: format!("items/i{item}"),
                delta: 1 + random.below(2) as i64,
                request_id: id,
                ..Default::default()
            }),
            1 => Ask::Credit(CreditAccountRequest {
                name: format!("customers/{customer}"),
                amount: 1 + random.below(300) as i64,
                request_id: id,
                ..Default::default()
            }),
            2..8 if !self.cancellable.is_empty() => {
                let at = random.below(self.cancellable.len() as u64) as usize;
                Ask::Cancel(CancelOrderRequest {
                    name: self.cancellable.swap_remove(at),
                    request_id: id,
                    ..Default::default()
                })
            }
            kind => {
                let lines: Vec<_> = (0..1 + random.below(3))
                    .map(|n| ((item + n) % ITEMS, 1 + random.below(4) as i64))
                    .map(|(item, quantity)| (format!("i{item}"), quantity, price(item)))
                    .collect();
                let mut lines: Vec<_> = lines
                    .iter()
                    .map(|(sku, quantity, price)| (sku.as_str(), *quantity, *price))
                    .collect();
                if kind == 19 {
                    // What the customer was shown is not the price any more.
                    lines[0].2 += 1;
                }
                Ask::Place(order(&id, &customer, &lines))
            }
        }
    }
}

impl Request {
    /// Sends it once. Without a final answer, why there is none.
    ///
    /// # Panics
    /// Where the answer is one that a server must never give.
    async fn send(&mut self, api: &Api) -> Result<(), Status> {
        let answer = match &self.ask {
            Ask::Place(ask) => api.orders().place_order(ask.clone()).await.map(order_answer),
            Ask::Cancel(ask) => api.orders().cancel_order(ask.clone()).await.map(order_answer),
            Ask::Adjust(ask) => api
                .items()
                .adjust_stock(ask.clone())
                .await
                .map(|item| Answer::Item(Box::new(item.into_inner()))),
            Ask::Credit(ask) => api
                .customers()
                .credit_account(ask.clone())
                .await
                .map(|customer| Answer::Customer(Box::new(customer.into_inner()))),
        };
        self.answer = Some(match answer {
            Ok(answer) => answer,
            Err(status) => match (status.code(), reason_of(&status)) {
                (Code::FailedPrecondition, Some(reason)) => Answer::Refused(reason),
                (Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted, Some(_))
                | (_, None) => {
                    return Err(status);
                }
                _ => panic!("{:?} was answered with {status:?}", self.ask),
            },
        });
        Ok(())
    }

    /// Sends it again and again, until there is a final answer.
    pub async fn send_until_answered(&mut self, api: &Api) {
        let begun = Instant::now();
        while let Err(status) = self.send(api).await {
            assert!(
                begun.elapsed() < PATIENCE && reason_of(&status).is_some(),
                "{:?} does not settle: {status:?}",
                self.ask
            );
            tokio::time::sleep(retry_delay(&status).unwrap_or(RETRY)).await;
        }
    }
}

fn order_answer(order: Response<Order>) -> Answer {
    Answer::Order(Box::new(order.into_inner()))
}
