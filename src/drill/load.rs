//! Clients that place orders as long as somebody takes them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use docket_proto::v1::{
    CreateCustomerRequest, CreateItemRequest, Customer, Item, OrderLine, PlaceOrderRequest,
};
use parking_lot::Mutex;
use tokio::{task::JoinHandle, time::sleep};

use super::node::connect;
use crate::{client::Client, failure::Failure};

const CURRENCY: &str = "EUR";
/// Each on a shard that its hash says.
const ITEMS: [&str; 4] = ["nut", "bolt", "gear", "cog"];
const PRICE: i64 = 5;
/// More than any drill sells.
const STOCK: i64 = 1_000_000_000;
/// How often it is looked whether something was acknowledged.
const LOOK: Duration = Duration::from_millis(1);
/// How long a client waits behind what failed.
const AGAIN: Duration = Duration::from_millis(20);

/// An order whose placing was answered.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// `orders/…`
    pub name: String,
    /// When the answer was there.
    pub at: SystemTime,
}

/// Clients at work.
pub struct Load {
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients, each with a connection of its own.
    pub async fn start(
        address: &str,
        key_file: &Path,
        clients: usize,
        name: &'static str,
    ) -> Result<Self, Failure> {
        let mut load = Self {
            acknowledged: Arc::default(),
            over: Arc::default(),
            clients: Vec::with_capacity(clients),
        };
        for number in 0..clients {
            let client = connect(address, key_file).await?;
            let (acknowledged, over) = (Arc::clone(&load.acknowledged), Arc::clone(&load.over));
            load.clients.push(tokio::spawn(async move {
                while !over.load(Ordering::Acquire) {
                    match client.orders().place_order(order(number, name)).await {
                        Ok(placed) => acknowledged.lock().push(Acknowledged {
                            name: placed.into_inner().name,
                            at: SystemTime::now(),
                        }),
                        // It is gone, or not there yet.
                        Err(_) => sleep(AGAIN).await,
                    }
                }
            }));
        }
        Ok(load)
    }

    /// Waits until something was acknowledged.
    pub async fn first(&self, within: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.acknowledged.lock().is_empty() {
            if begun.elapsed() >= within {
                return Err(Failure::Other("the promoted standby takes no orders".to_owned()));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Has them stop, and tells what was acknowledged.
    pub async fn end(self) -> Vec<Acknowledged> {
        self.over.store(true, Ordering::Release);
        for client in self.clients {
            // A panic there is an order less.
            let _ = client.await;
        }
        std::mem::take(&mut self.acknowledged.lock())
    }
}

/// What the clients need.
pub async fn furnish(client: &Client, clients: usize) -> Result<(), Failure> {
    for number in 0..clients {
        let request = CreateCustomerRequest {
            customer_id: format!("drill-{number}"),
            customer: Some(Customer {
                currency_code: CURRENCY.to_owned(),
                credit_limit: i64::MAX / 4,
                ..Customer::default()
            }),
            ..CreateCustomerRequest::default()
        };
        client.answer(client.customers().create_customer(request).await)?;
    }
    for sku in ITEMS {
        let request = CreateItemRequest {
            sku: sku.to_owned(),
            item: Some(Item {
                currency_code: CURRENCY.to_owned(),
                unit_price: PRICE,
                on_hand: STOCK,
                ..Item::default()
            }),
            ..CreateItemRequest::default()
        };
        client.answer(client.items().create_item(request).await)?;
    }
    Ok(())
}

/// An order of a client's.
pub fn order(number: usize, name: &str) -> PlaceOrderRequest {
    let line = |at: usize| OrderLine {
        item: format!("items/{}", ITEMS[(number + at) % ITEMS.len()]),
        quantity: 1,
        unit_price: PRICE,
        ..OrderLine::default()
    };
    PlaceOrderRequest {
        request_id: format!("{name}-{}", uuid::Uuid::now_v7().simple()),
        customer: format!("customers/drill-{number}"),
        currency_code: CURRENCY.to_owned(),
        lines: vec![line(0), line(1)],
        payment_method: String::new(),
    }
}
