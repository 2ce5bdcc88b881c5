//! A node in this process with the customers and items of the one workload, and its orders as the engine's values.

use std::{sync::Arc, time::Duration};

use docket_actors::{Call, Docket, NewCustomer, NewItem, Options, PlaceOrder};
use docket_engine::{Amount, Currency, CustomerId, Line, Order, OrderState, Quantity, Sku};
use docket_soak::{CREDIT_LIMIT, CURRENCY, ON_HAND, Shape, Workload, price};
use futures::{StreamExt as _, stream};

/// Customers and items that are created at the same time.
const CREATED_AT_ONCE: usize = 256;
/// How long a node may take to finish what it does.
const GRACE: Duration = Duration::from_secs(10);

/// A shop that is open. Clones are the same one.
#[derive(Clone)]
pub struct Shop {
    /// Its node.
    pub docket: Docket,
    /// Who orders.
    pub customers: Arc<[CustomerId]>,
    items: Arc<[Sku]>,
    currency: Currency,
    workload: Arc<Workload>,
}

impl Shop {
    /// Opens the node, without its customers and items: for a folder that has them.
    pub async fn reopen(options: Options, shape: Shape) -> Self {
        let docket = Docket::open(options).await.unwrap();
        docket.ready().await;
        let workload = Workload::new(shape).unwrap();
        let shape = workload.shape();
        Self {
            docket,
            customers: (0..shape.customers)
                .map(|n| CustomerId::new(&workload.customer_id(n)).unwrap())
                .collect(),
            items: (0..shape.items)
                .map(|n| Sku::new(&workload.sku(n)).unwrap())
                .collect(),
            currency: CURRENCY.parse().unwrap(),
            workload: Arc::new(workload),
        }
    }

    /// Opens the node and creates them.
    pub async fn open(options: Options, shape: Shape) -> Self {
        let shop = Self::reopen(options, shape).await;
        stream::iter(0..shop.customers.len())
            .for_each_concurrent(CREATED_AT_ONCE, |n| shop.create_customer(n))
            .await;
        stream::iter(0..shop.items.len())
            .for_each_concurrent(CREATED_AT_ONCE, |n| shop.create_item(n))
            .await;
        shop
    }

    async fn create_customer(&self, n: usize) {
        let new = NewCustomer {
            id: self.customers[n].clone(),
            display_name: "".into(),
            currency: self.currency,
            credit_limit: Amount(CREDIT_LIMIT),
        };
        self.docket.create_customer(Call::default(), new).await.unwrap();
    }

    async fn create_item(&self, n: usize) {
        let new = NewItem {
            sku: self.items[n].clone(),
            display_name: "".into(),
            currency: self.currency,
            unit_price: Amount(price(n as u64)),
            on_hand: Quantity(ON_HAND),
        };
        self.docket.create_item(Call::default(), new).await.unwrap();
    }

    /// Places the workload's next order, and sees it confirmed.
    pub async fn place(&self) -> Arc<Order> {
        let n = self.workload.take();
        let basket = self.workload.basket(n);
        let line = |(item, quantity): &(u64, i64)| Line {
            sku: self.items[*item as usize].clone(),
            quantity: Quantity(*quantity),
            unit_price: Amount(price(*item)),
        };
        let place = PlaceOrder {
            customer: self.customers[basket.customer as usize].clone(),
            currency: self.currency,
            lines: basket.lines.iter().map(line).collect(),
            provider: None,
        };
        let call = Call {
            request_id: Some(self.workload.request_id(n)),
            ..Call::default()
        };
        let order = self.docket.place_order(call, place).await.unwrap();
        assert_eq!(order.state, OrderState::Confirmed);
        order
    }

    /// Places orders in `in_flight` tasks, `each` of them one after the other.
    pub async fn place_many(&self, in_flight: usize, each: usize) {
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| {
                let shop = self.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        shop.place().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Closes it; its state keeps the invariants.
    pub async fn close(self) {
        // What says that the last orders are confirmed is being applied until then.
        self.docket.close(GRACE).await.unwrap();
        self.docket.validate().unwrap();
    }
}

/// The runtime of a node, as the program's: a thread a core.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}
