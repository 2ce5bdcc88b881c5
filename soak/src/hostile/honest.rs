//! The honest client: places orders at an even pace on a connection that it has, and comes anew now and then, as somebody else would.

use std::{sync::Arc, time::Duration};

use docket_proto::v1::{
    CreateApiKeyRequest, CreateCustomerRequest, CreateItemRequest, GetItemRequest, OrderLine,
    PlaceOrderRequest, RegisterRequest, Role, Scope, auth_service_client::AuthServiceClient,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient, order::State,
    order_service_client::OrderServiceClient,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tonic::transport::Channel;

use crate::{CURRENCY, Error, Latencies, Target, Workload, books::patiently};

/// A customer with an account, whose name attackers know.
pub const SHOPPER: &str = "shopper";
/// Customers who mean no good.
pub const CUSTOMERS: usize = 4;
/// Nobody honest waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often somebody comes anew.
const NEWCOMER_EVERY: Duration = Duration::from_millis(500);
/// What was refused is told, the first of it.
const TOLD_MAX: usize = 10;
const SKU: &str = "thing";
const PASSWORD: &str = "correct horse battery";

/// What the honest client found in a window, or in several.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// From when an order was meant to be placed to its confirmation.
    pub orders: Latencies,
    /// From before the connection to the first answer on it.
    pub newcomers: Latencies,
    /// Requests that were not done.
    pub refused: u64,
    /// Why, the first of them.
    pub told: Vec<String>,
}

impl Found {
    /// Takes over what another window found.
    pub fn add(&mut self, other: Self) {
        self.orders.add(&other.orders);
        self.newcomers.add(&other.newcomers);
        self.refused += other.refused;
        other.told.into_iter().for_each(|what| self.tell(what));
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        }
    }
}

/// The honest client.
#[derive(Debug)]
pub struct Honest {
    target: Arc<Target>,
    channel: Channel,
    /// Orders a second.
    rate: f64,
    /// Windows that it has been through: none of its requests repeats another.
    windows: u64,
}

impl Honest {
    /// Opens the shop; gives back the keys of those who mean no good.
    pub async fn open(target: Target, rate: f64) -> Result<(Self, Vec<String>), Error> {
        let channel = target.connect().await?;
        let mut items = ItemServiceClient::new(channel.clone());
        let mut customers = CustomerServiceClient::new(channel.clone());
        let mut auth = AuthServiceClient::new(channel.clone());
        let request = CreateItemRequest {
            sku: SKU.into(),
            item: Some(Workload::new_item(0)),
            ..Default::default()
        };
        patiently(async || items.create_item(target.call(request.clone())).await)
            .await
            .map_err(Error::refused("cannot create an item"))?;
        let mut keys = Vec::new();
        let names = (0..CUSTOMERS).map(|number| format!("mallory-{number}"));
        for name in names.chain([SHOPPER.to_owned()]) {
            let request = CreateCustomerRequest {
                customer_id: name.clone(),
                customer: Some(Workload::new_customer()),
                ..Default::default()
            };
            patiently(async || customers.create_customer(target.call(request.clone())).await)
                .await
                .map_err(Error::refused("cannot create a customer"))?;
            let request = RegisterRequest {
                username: name.clone(),
                password: PASSWORD.into(),
                role: Role::Customer.into(),
                customer: format!("customers/{name}"),
            };
            let registered = auth.register(target.call(request)).await;
            registered.map_err(Error::refused("cannot register an account"))?;
            let request = CreateApiKeyRequest {
                account: format!("accounts/{name}"),
                scopes: vec![Scope::Read.into(), Scope::Orders.into()],
                ..Default::default()
            };
            let key = auth.create_api_key(target.call(request)).await;
            let key = key
                .map_err(Error::refused("cannot create an API key"))?
                .into_inner();
            if name != SHOPPER {
                keys.push(key.secret);
            }
        }
        let honest = Self {
            target: Arc::new(target),
            channel,
            rate,
            windows: 0,
        };
        Ok((honest, keys))
    }

    /// Places orders for so long, and waits for what is under way then.
    pub async fn serve(&mut self, window: Duration) -> Found {
        self.windows += 1;
        let (began, every) = (Instant::now(), Duration::from_secs_f64(1.0 / self.rate));
        let (mut orders, mut newcomers) = (JoinSet::new(), JoinSet::new());
        let (mut n, mut next_newcomer) = (0u32, began);
        loop {
            let at = began + every * n;
            if at >= began + window {
                break;
            }
            sleep_until(at).await;
            let client = OrderServiceClient::new(self.channel.clone());
            orders.spawn(place(client, Arc::clone(&self.target), self.windows, n, at));
            if at >= next_newcomer {
                next_newcomer += NEWCOMER_EVERY;
                newcomers.spawn(come(Arc::clone(&self.target)));
            }
            n += 1;
        }
        let mut found = Found::default();
        for (tasks, is_order) in [(&mut orders, true), (&mut newcomers, false)] {
            while let Some(done) = tasks.join_next().await {
                match done {
                    Ok(Ok(took)) if is_order => found.orders.record(took),
                    Ok(Ok(took)) => found.newcomers.record(took),
                    Ok(Err(why)) => {
                        found.refused += 1;
                        found.tell(why);
                    }
                    Err(panicked) => found.tell(panicked.to_string()),
                }
            }
        }
        found
    }
}

/// Places an order; how long it took since it was meant to be.
async fn place(
    mut client: OrderServiceClient<Channel>,
    target: Arc<Target>,
    window: u64,
    n: u32,
    at: Instant,
) -> Result<Duration, String> {
    let order = PlaceOrderRequest {
        request_id: format!("honest-{window}-{n}"),
        customer: format!("customers/{SHOPPER}"),
        currency_code: CURRENCY.into(),
        lines: vec![OrderLine {
            item: format!("items/{SKU}"),
            quantity: 1,
            unit_price: crate::price(0),
            ..Default::default()
        }],
        ..Default::default()
    };
    match timeout(PATIENCE, client.place_order(target.call(order))).await {
        Ok(Ok(order)) if order.get_ref().state() == State::Confirmed => Ok(at.elapsed()),
        Ok(Ok(order)) => Err(format!("an order is {:?}", order.get_ref().state())),
        Ok(Err(status)) => Err(format!("an order: {:?} {}", status.code(), status.message())),
        Err(_elapsed) => Err(format!("an order was not answered within {PATIENCE:?}")),
    }
}

/// Connects and asks for something; how long that took.
async fn come(target: Arc<Target>) -> Result<Duration, String> {
    let began = Instant::now();
    let come = async {
        let channel = target
            .connect()
            .await
            .map_err(|error| format!("a newcomer: {error}"))?;
        let ask = GetItemRequest {
            name: format!("items/{SKU}"),
        };
        let got = ItemServiceClient::new(channel).get_item(target.call(ask)).await;
        got.map(drop)
            .map_err(|status| format!("a newcomer: {:?} {}", status.code(), status.message()))
    };
    timeout(PATIENCE, come)
        .await
        .unwrap_or_else(|_elapsed| Err(format!("a newcomer was not served within {PATIENCE:?}")))?;
    Ok(began.elapsed())
}
