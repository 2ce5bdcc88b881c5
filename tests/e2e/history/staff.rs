//! Who makes a history: clients that call, and consumers that watch the feed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use docket_soak::{
    Target,
    history::{
        Books,
        clients::{Client, Consumer, Node, Shop},
    },
};
use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::server::{LOOK_AGAIN, PATIENCE};

/// A question to an item that comes late leaves a reservation behind that nobody wants. It is looked for, and an order whose actor lives is left alone: the actor is
/// passivated when it was idle for a minute (`actors.idle_s`), and the next look comes half a minute behind that at the latest.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// A client rests for up to this long between two calls.
const PAUSE: Duration = Duration::from_millis(8);
/// One takes what is there at once, one is a little late, and one is slow.
const CONSUMERS: usize = 3;

/// All of them, while they rest.
pub struct Staff {
    clients: Vec<Client>,
    consumers: Vec<Consumer>,
}

impl Staff {
    /// So many clients, and consumers that are told of all that happens from now on.
    pub async fn new(shop: &Shop, nodes: &[Node], clients: u32) -> Self {
        let mut consumers = Vec::new();
        for _ in 0..CONSUMERS {
            consumers.push(Consumer::begin(shop, nodes).await.unwrap());
        }
        Self {
            clients: (1..=clients).map(|number| Client::new(shop, number)).collect(),
            consumers,
        }
    }

    /// Waits until all that can be done is done: lost requests are sent again, and whatever was taken for orders that never came to
    /// be is given back.
    pub async fn settle(&mut self, shop: &Arc<Shop>, target: &Target, nodes: &[Node]) {
        let settled = join_all(self.clients.iter_mut().map(|client| client.settle(shop, nodes))).await;
        settled.into_iter().for_each(|settled| settled.unwrap());
        let begun = Instant::now();
        while !shop.books(target).await.unwrap().is_settled() {
            if begun.elapsed() > SETTLES_WITHIN {
                // The check says what is wrong with them.
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        shop.recorder.quiet();
    }

    /// Has every consumer read on until it was told of all that the books say; of what is missing the check tells.
    pub async fn catch_up(&mut self, shop: &Arc<Shop>, nodes: &[Node], books: &Books) {
        let reading = self.consumers.iter_mut();
        join_all(reading.map(|consumer| consumer.catch_up(shop, nodes, books, PATIENCE))).await;
    }
}

/// They are at work, until they are told to stop.
pub struct Working {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Client>>,
    consumers: Vec<JoinHandle<Consumer>>,
}

impl Working {
    pub fn begin(shop: &Arc<Shop>, nodes: &[Node], staff: Staff) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let parts = || (shop.clone(), nodes.to_vec(), stop.clone());
        let work = |mut client: Client| {
            let (shop, nodes, stop) = parts();
            tokio::spawn(async move {
                client.work(&shop, &nodes, &stop, PAUSE).await;
                client
            })
        };
        let watch = |mut consumer: Consumer| {
            let (shop, nodes, stop) = parts();
            tokio::spawn(async move {
                consumer.work(&shop, &nodes, &stop).await;
                consumer
            })
        };
        Self {
            clients: staff.clients.into_iter().map(work).collect(),
            consumers: staff.consumers.into_iter().map(watch).collect(),
            stop,
        }
    }

    pub async fn end(self) -> Staff {
        self.stop.store(true, Ordering::Release);
        let ended = async { (join_all(self.clients).await, join_all(self.consumers).await) };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let (clients, consumers) = ended.expect("a call ends in time");
        Staff {
            clients: clients.into_iter().map(Result::unwrap).collect(),
            consumers: consumers.into_iter().map(Result::unwrap).collect(),
        }
    }
}
