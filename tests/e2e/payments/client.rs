//! Clients that lead orders through their lives, and ask again until they are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use docket_persistence::mem::Seeded;
use docket_proto::v1::{
    CancelOrderRequest, EditOrderRequest, GetOrderRequest, LineQuantity, Order, RefundOrderRequest,
    ShipOrderRequest,
};
use tonic::{Code, Response, Status};

use crate::{
    api::{Api, order, reason_of, retry_delay},
    server::PATIENCE,
};

pub const ITEMS: u64 = 4;
pub const CUSTOMERS: u64 = 3;
const RETRY: Duration = Duration::from_millis(20);

/// The price of an item.
pub fn price(item: u64) -> i64 {
    100 + 50 * item as i64
}

/// What became of an order, as its client was told.
#[derive(Debug)]
pub enum Told {
    /// Refused, for this reason.
    Refused(String),
    /// It was placed under this name, and went on as it was asked to: what was captured and refunded of it in the end.
    Done {
        name: String,
        captured: i64,
        refunded: i64,
    },
}

/// A client: one order after the other.
pub struct Client {
    pub api: Api,
    pub name: String,
    pub random: Seeded,
    /// Counted up with every answer.
    pub answers: Arc<AtomicU64>,
}

impl Client {
    pub async fn work(mut self, orders: u64) -> Vec<Told> {
        let mut told = Vec::new();
        for number in 0..orders {
            told.push(self.lead(&format!("{}-{number}", self.name)).await);
        }
        told
    }

    /// Leads an order from its placing to its end.
    async fn lead(&mut self, id: &str) -> Told {
        let customer = format!("c{}", self.random.below(CUSTOMERS));
        let (first, quantity) = (self.random.below(ITEMS), 1 + self.random.below(4) as i64);
        let second = (first + 1) % ITEMS;
        let (one, other) = (format!("i{first}"), format!("i{second}"));
        let lines = [
            (one.as_str(), quantity, price(first)),
            (other.as_str(), 2, price(second)),
        ];
        let mut ask = order(id, &customer, &lines);
        ask.payment_method = "cards".into();
        let placed = self
            .answered(|api| {
                let ask = ask.clone();
                async move { api.orders().place_order(ask).await }
            })
            .await;
        let placed = match placed {
            Ok(placed) => placed,
            Err(reason) => return Told::Refused(reason),
        };
        let placed = match self.random.below(2) {
            0 => placed,
            _ => self.edit(id, placed, quantity).await,
        };
        let (mut captured, mut refunded) = (0, 0);
        let life = self.random.below(4);
        // Of the first line one, or all there is.
        let part = match life {
            1 => Vec::new(),
            _ => vec![LineQuantity { line: 0, quantity: 1 }],
        };
        if life > 0 {
            captured = if life == 1 { placed.total } else { price(first) };
            let ask = ShipOrderRequest {
                name: placed.name.clone(),
                request_id: format!("{id}-ship"),
                lines: part,
                ..Default::default()
            };
            self.done(|api| {
                let ask = ask.clone();
                async move { api.orders().ship_order(ask).await }
            })
            .await;
        }
        if life != 1 {
            let ask = CancelOrderRequest {
                name: placed.name.clone(),
                request_id: format!("{id}-cancel"),
                ..Default::default()
            };
            self.done(|api| {
                let ask = ask.clone();
                async move { api.orders().cancel_order(ask).await }
            })
            .await;
        }
        if life == 3 {
            refunded = 1 + self.random.below(50) as i64;
            self.until_captured(&placed.name, captured).await;
            let ask = RefundOrderRequest {
                name: placed.name.clone(),
                request_id: format!("{id}-refund"),
                amount: refunded,
                ..Default::default()
            };
            self.done(|api| {
                let ask = ask.clone();
                async move { api.orders().refund_order(ask).await }
            })
            .await;
        }
        Told::Done {
            name: placed.name,
            captured,
            refunded,
        }
    }

    /// More of the first line, which the provider is to authorise: as the order is then, whatever it says.
    async fn edit(&mut self, id: &str, placed: Order, quantity: i64) -> Order {
        let more = 1 + self.random.below(3) as i64;
        let ask = EditOrderRequest {
            name: placed.name.clone(),
            request_id: format!("{id}-edit"),
            etag: placed.etag.clone(),
            lines: vec![LineQuantity {
                line: 0,
                quantity: quantity + more,
            }],
        };
        let edited = self
            .answered(|api| {
                let ask = ask.clone();
                async move { api.orders().edit_order(ask).await }
            })
            .await;
        match edited {
            Ok(edited) => edited,
            Err(reason) => {
                assert_eq!(reason, "PAYMENT_DECLINED");
                placed
            }
        }
    }

    /// Waits until the provider has taken so much: no more can be given back.
    async fn until_captured(&self, name: &str, amount: i64) {
        let begun = Instant::now();
        loop {
            let ask = GetOrderRequest {
                name: name.to_owned(),
            };
            let found = self
                .answered(|api| {
                    let ask = ask.clone();
                    async move { api.orders().get_order(ask).await }
                })
                .await
                .unwrap();
            if found.payment.as_ref().unwrap().captured == amount {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it is not captured: {found:?}");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn done<A>(&self, ask: impl Fn(Api) -> A)
    where
        A: Future<Output = Result<Response<Order>, Status>>,
    {
        self.answered(ask).await.unwrap();
    }

    /// Asks until there is an answer: the order, or why it is refused.
    async fn answered<A>(&self, ask: impl Fn(Api) -> A) -> Result<Order, String>
    where
        A: Future<Output = Result<Response<Order>, Status>>,
    {
        let begun = Instant::now();
        loop {
            let status = match ask(self.api.clone()).await {
                Ok(order) => {
                    self.answers.fetch_add(1, Ordering::AcqRel);
                    return Ok(order.into_inner());
                }
                Err(status) => status,
            };
            match (status.code(), reason_of(&status)) {
                (Code::FailedPrecondition, Some(reason)) => return Err(reason),
                (Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted, Some(_))
                | (_, None) => {}
                _ => panic!("was answered with {status:?}"),
            }
            assert!(begun.elapsed() < 2 * PATIENCE, "it does not settle: {status:?}");
            tokio::time::sleep(retry_delay(&status).unwrap_or(RETRY)).await;
        }
    }
}
