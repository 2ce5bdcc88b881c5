//! A node with a shop, and what delivers its changes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use docket_actors::{Call, Docket, NewCustomer, NewItem, Options, PlaceOrder, wall_clock};
use docket_engine::{
    Amount, CustomerId, Line, Order, Quantity, Sku, Time,
    webhook::{
        DeadLetters, FeedPositions, NewWebhook, Webhook, WebhookChange, WebhookCommand, WebhookFilter,
        WebhookId, WebhookRequest, WebhookSecret,
    },
};
use docket_proto::feed::FeedFrom;
use docket_webhooks::{Deliverer, WebhookOptions};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub const SHARDS: u16 = 4;
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
pub const HOUR: i64 = 3_600 * 1_000_000;

/// The clock of everything here, which a test moves on.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn now(&self) -> Time {
        let since = wall_clock().duration_since(UNIX_EPOCH).unwrap();
        Time(since.as_micros() as i64 + self.0.load(Ordering::SeqCst))
    }

    pub fn advance(&self, us: i64) {
        self.0.fetch_add(us, Ordering::SeqCst);
    }
}

pub struct Shop {
    pub docket: Docket,
    pub clock: TestClock,
    delivering: Option<AbortOnDropHandle<()>>,
    /// What delivers, or did last.
    pub deliverer: Option<Deliverer>,
    options: WebhookOptions,
}

/// Options that let tests deliver to this machine.
pub fn lenient() -> WebhookOptions {
    WebhookOptions {
        allow_http: true,
        allow_private: true,
        timeout_ms: 1_000,
        ..WebhookOptions::default()
    }
}

impl Shop {
    pub async fn open(dir: &Path) -> Self {
        Self::open_with(dir, lenient(), |_| {}).await
    }

    pub async fn open_with(dir: &Path, options: WebhookOptions, change: impl FnOnce(&mut Options)) -> Self {
        let mut node = Options::new(dir);
        node.node.shards = Some(SHARDS);
        change(&mut node);
        let docket = Docket::open(node).await.unwrap();
        docket.ready().await;
        let mut shop = Self {
            docket,
            clock: TestClock::default(),
            delivering: None,
            deliverer: None,
            options,
        };
        shop.deliver();
        shop
    }

    /// Begins to deliver.
    pub fn deliver(&mut self) {
        let clock = self.clock.clone();
        let now = Arc::new(move || clock.now());
        let deliverer = Deliverer::new(self.docket.clone(), &self.options, now).unwrap();
        self.deliverer = Some(deliverer.clone());
        let running = tokio::spawn(deliverer.run(CancellationToken::new()));
        self.delivering = Some(AbortOnDropHandle::new(running));
    }

    /// Stops delivering at once, whatever is in flight or not recorded.
    pub fn stop_delivering(&mut self) {
        self.delivering = None;
    }

    /// With a customer and an item.
    pub async fn stock(&self, customers: &[&str]) {
        for customer in customers {
            let new = NewCustomer {
                id: CustomerId::new(customer).unwrap(),
                display_name: "".into(),
                currency: "EUR".parse().unwrap(),
                credit_limit: Amount(1_000_000_000),
            };
            self.docket.create_customer(Call::default(), new).await.unwrap();
        }
        let new = NewItem {
            sku: Sku::new("tea").unwrap(),
            display_name: "".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(350),
            on_hand: Quantity(1_000_000),
        };
        self.docket.create_item(Call::default(), new).await.unwrap();
    }

    pub async fn place(&self, customer: &str) -> Arc<Order> {
        let order = PlaceOrder {
            customer: CustomerId::new(customer).unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: [Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(350),
            }]
            .into(),
            provider: None,
        };
        self.docket.place_order(Call::default(), order).await.unwrap()
    }

    pub async fn cancel(&self, order: &Order) {
        self.docket
            .cancel_order(Call::default(), order.id, None)
            .await
            .unwrap();
    }

    pub async fn ask(&self, request: WebhookRequest) -> WebhookId {
        let command = WebhookCommand {
            time: self.clock.now(),
            request_id: None,
            request,
        };
        self.docket.webhooks().execute(&command).await.unwrap()
    }

    pub async fn positions(&self, customer: Option<CustomerId>, from: FeedFrom) -> FeedPositions {
        let shards = if customer.is_some() { 1 } else { SHARDS };
        self.begin(customer, vec![from; shards.into()]).await
    }

    /// Where all changes from this time on are.
    pub async fn positions_since(&self, time: Time) -> FeedPositions {
        self.begin(None, self.docket.feed_since(None, time)).await
    }

    async fn begin(&self, customer: Option<CustomerId>, from: Vec<FeedFrom>) -> FeedPositions {
        let (watch, _) = self
            .docket
            .follow_orders(customer, Vec::new(), from)
            .await
            .unwrap();
        FeedPositions(watch.positions().map(|at| (at.index, at.ordinal)).collect())
    }

    pub async fn webhook_with(&self, url: &str, filter: WebhookFilter) -> WebhookId {
        let new = NewWebhook {
            id: WebhookId([url.len() as u8; 12]),
            secret: WebhookSecret([7; 32]),
            url: url.into(),
            description: "".into(),
            positions: self.positions(filter.customer.clone(), FeedFrom::Now).await,
            filter,
        };
        self.ask(WebhookRequest::Create(new)).await
    }

    pub async fn webhook(&self, url: &str) -> WebhookId {
        self.webhook_with(url, WebhookFilter::default()).await
    }

    pub async fn pause(&self, webhook: WebhookId, paused: bool) {
        let change = WebhookChange {
            paused: Some(paused),
            ..WebhookChange::default()
        };
        self.ask(WebhookRequest::Update {
            webhook,
            expected: None,
            change,
        })
        .await;
    }

    pub async fn replay_dead(&self, webhook: WebhookId) {
        let letters = DeadLetters::All;
        self.ask(WebhookRequest::ReplayDead { webhook, letters }).await;
    }

    pub fn look(&self, id: WebhookId) -> Arc<Webhook> {
        let webhooks = self.docket.webhooks();
        webhooks.read(|state| Arc::clone(state.webhook(id).unwrap()))
    }

    /// Waits until a webhook is as it should be.
    #[track_caller]
    pub fn until(
        &self,
        id: WebhookId,
        is_so: impl Fn(&Webhook) -> bool,
    ) -> impl Future<Output = Arc<Webhook>> {
        let place = std::panic::Location::caller();
        let (docket, begun) = (self.docket.clone(), Instant::now());
        async move {
            let mut changed = docket.webhooks().watch();
            loop {
                let now = docket
                    .webhooks()
                    .read(|state| Arc::clone(state.webhook(id).unwrap()));
                if is_so(&now) {
                    return now;
                }
                let left = PATIENCE.saturating_sub(begun.elapsed());
                let waiting = tokio::time::timeout(left, changed.changed()).await;
                assert!(waiting.is_ok(), "{place}: it is not so: {now:?}");
            }
        }
    }

    pub async fn close(mut self) {
        self.stop_delivering();
        self.docket.close(Duration::from_secs(5)).await.unwrap();
    }
}
