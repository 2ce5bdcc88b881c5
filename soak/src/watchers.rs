//! Watches of orders (`WatchOrders`) beside a load: what they cost whoever writes, and whether they were told of everything.
//!
//! All of them share a thread and few connections, as the load does: what they cost here is taken from what is measured.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime},
};

use docket_proto::v1::{
    WatchOrdersRequest, WatchOrdersResponse, order_change::Kind, order_service_client::OrderServiceClient,
};
use futures::{StreamExt as _, stream::SelectAll};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tonic::{Status, Streaming};

use crate::{Error, Latencies, Tally, Target, Workload};

/// Watches that share a connection: fewer than a server lets a client open streams on one.
const WATCHES_PER_CONNECTION: usize = 125;
/// How often is looked whether they have all.
const LOOK: Duration = Duration::from_millis(20);

/// What each of some watches is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchOf {
    /// One customer's orders. Customers are taken from all over; with more watches than those some share theirs.
    OneCustomer,
    /// All orders.
    Everything,
}

/// Watches that are open, until this is dropped.
pub struct Watchers {
    heard: Arc<Heard>,
    /// They end when this goes.
    _stop: oneshot::Sender<()>,
}

/// What watches were told. The position in a row is the number of a watch.
struct Heard {
    /// Whose orders it is told of; everybody's where that is empty.
    of: Vec<String>,
    /// Of so many orders each has heard that they were placed.
    placed: Vec<AtomicU64>,
    messages: AtomicU64,
    changes: AtomicU64,
    delays: Mutex<Latencies>,
    /// Why one has ended.
    ended: Mutex<Option<Status>>,
}

/// What came of watches.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Messages that all of them got.
    pub messages: u64,
    /// Changes in those.
    pub changes: u64,
    /// From when an order was decided to when its placing was told, by the clocks of both.
    pub delays: Latencies,
}

impl Watchers {
    /// Opens so many, and waits until each has been told where it begins.
    ///
    /// # Errors
    /// There is no connection, or one of them is refused.
    pub async fn open(
        target: &Target,
        workload: &Workload,
        of: WatchOf,
        count: usize,
    ) -> Result<Self, Error> {
        let customers = workload.shape().customers;
        let name = |watch: u64| match of {
            WatchOf::Everything => String::new(),
            WatchOf::OneCustomer if count as u64 >= customers => workload.customer_name(watch % customers),
            WatchOf::OneCustomer => workload.customer_name(watch * customers / count as u64),
        };
        let heard = Arc::new(Heard {
            of: (0..count as u64).map(name).collect(),
            placed: (0..count).map(|_| AtomicU64::new(0)).collect(),
            messages: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            delays: Mutex::default(),
            ended: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let (opened, open) = oneshot::channel();
        let (target, hearing) = (target.clone(), Arc::clone(&heard));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::system("start a runtime for watches"))?;
        thread::Builder::new()
            .name("watches".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = hearing.listen(&target, opened) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(Error::system("start a thread for watches"))?;
        open.await
            .map_err(|_| Error::Broken("the thread of the watches panicked"))??;
        Ok(Self { heard, _stop: stop })
    }

    /// What they have been told so far.
    pub fn told(&self) -> Told {
        Told {
            messages: self.heard.messages.load(Relaxed),
            changes: self.heard.changes.load(Relaxed),
            delays: lock(&self.heard.delays).clone(),
        }
    }

    /// Waits until each was told of all the orders of a load that it should be: those that were acknowledged since it began.
    ///
    /// # Errors
    /// One of them has ended, or was not told in time.
    pub async fn have_all(
        &self,
        tally: &Tally,
        workload: &Workload,
        patience: Duration,
    ) -> Result<(), Error> {
        let mut acknowledged: HashMap<String, u64> = HashMap::new();
        for order in &tally.ledger.acknowledged {
            let customer = workload.customer_name(workload.basket(order.n).customer);
            *acknowledged.entry(customer).or_default() += 1;
        }
        acknowledged.insert(String::new(), tally.ledger.acknowledged.len() as u64);
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = lock(&self.heard.ended).take() {
                return Err(Error::refused("a watch of orders ended")(status));
            }
            match self.heard.missing(&acknowledged) {
                0 => return Ok(()),
                missing if Instant::now() >= until => {
                    return Err(Error::Untold { missing });
                }
                _ => sleep(LOOK).await,
            }
        }
    }
}

impl Heard {
    /// Opens all watches, and listens for as long as they go on.
    async fn listen(&self, target: &Target, opened: oneshot::Sender<Result<(), Error>>) {
        let mut watches = match self.open(target).await {
            Ok(watches) => watches,
            Err(error) => {
                // Whoever waited may have gone.
                let _ = opened.send(Err(error));
                return;
            }
        };
        let _ = opened.send(Ok(()));
        while let Some((watch, message)) = watches.next().await {
            match message {
                Ok(message) => self.hear(watch, &message),
                Err(status) => {
                    lock(&self.ended).get_or_insert(status);
                }
            }
        }
        lock(&self.ended).get_or_insert_with(|| Status::unavailable("all watches have ended"));
    }

    async fn open(&self, target: &Target) -> Result<Open, Error> {
        let (mut watches, mut orders) = (SelectAll::new(), None);
        for (watch, customer) in self.of.iter().enumerate() {
            let client = match &mut orders {
                Some(client) if watch % WATCHES_PER_CONNECTION != 0 => client,
                orders => {
                    let channel = target.connect_in_turn(watch / WATCHES_PER_CONNECTION).await?;
                    orders.insert(OrderServiceClient::new(channel))
                }
            };
            let request = WatchOrdersRequest {
                customer: customer.clone(),
                ..WatchOrdersRequest::default()
            };
            let refused = || Error::refused("open a watch of orders");
            let opened = client.watch_orders(target.call(request)).await;
            let mut messages = opened.map_err(refused())?.into_inner();
            // The first message says where it begins.
            let first = messages.message().await.map_err(refused())?;
            first.ok_or(Error::Broken("a watch of orders ended at once"))?;
            watches.push(numbered(watch, messages));
        }
        Ok(watches)
    }

    fn hear(&self, watch: usize, message: &WatchOrdersResponse) {
        self.messages.fetch_add(1, Relaxed);
        self.changes.fetch_add(message.changes.len() as u64, Relaxed);
        let (now, mut placed, mut delays) = (SystemTime::now(), 0, lock(&self.delays));
        for change in message
            .changes
            .iter()
            .filter(|change| change.kind() == Kind::Placed)
        {
            placed += 1;
            let at = change.change_time.and_then(|at| SystemTime::try_from(at).ok());
            if let Some(at) = at {
                delays.record(now.duration_since(at).unwrap_or_default());
            }
        }
        drop(delays);
        if let Some(count) = self.placed.get(watch) {
            count.fetch_add(placed, Relaxed);
        }
    }

    /// How many orders a watch should have been told of, and was not. Of one whose answer was lost it may be told besides.
    fn missing(&self, acknowledged: &HashMap<String, u64>) -> u64 {
        let watches = self.of.iter().zip(&self.placed);
        let missing = watches.map(|(of, placed)| {
            let wanted = acknowledged.get(of).copied().unwrap_or_default();
            wanted.saturating_sub(placed.load(Relaxed))
        });
        missing.sum()
    }
}

/// Messages with the number of their watch.
type Numbered = futures::stream::BoxStream<'static, (usize, Result<WatchOrdersResponse, Status>)>;
type Open = SelectAll<Numbered>;

fn numbered(watch: usize, messages: Streaming<WatchOrdersResponse>) -> Numbered {
    messages.map(move |message| (watch, message)).boxed()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is counted is whole at any moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
