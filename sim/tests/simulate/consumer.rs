//! One consumer of the feed: it watches all orders at one node after the other, each time behind what it was told last.

use std::{
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use docket_actors::{WatchError, WatchOrders};
use docket_proto::{
    api::feed::change_to_proto,
    feed::{FeedFrom, FeedPosition},
    v1,
};
use docket_soak::{
    Chance,
    history::{Books, Recorder, clients::seen},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    ask::call,
    keeper,
    seat::{Running, SHARDS},
    shop::{RETRY, SETTLED_WITHIN, Shop, Stage, WAIT_MAX},
};

pub const CONSUMERS: u64 = 2;
/// Where their chance begins, beside that of clients.
const CHANCES: u64 = 500;
/// It looks at a watch so often at most, and then goes on elsewhere.
const LOOKS_MAX: u64 = 6;
/// How long one look waits for changes.
const LOOK: Duration = Duration::from_millis(300);
/// Changes in one look: few, so that it often goes on in the middle of what there is.
const CHANGES_MAX: u64 = 12;

pub struct Consumer {
    shop: Arc<Shop>,
    recorder: Arc<Recorder>,
    number: usize,
    chance: Chance,
    from: Vec<FeedFrom>,
    is_broken: bool,
}

/// What was told, with where the watch was behind it, one look after the other; and why it cannot go on.
struct Told {
    looks: Vec<(Vec<v1::OrderChange>, Vec<FeedPosition>)>,
    broken: Option<WatchError>,
}

impl Consumer {
    /// Is told of all that happens from now on.
    pub async fn begin(shop: &Arc<Shop>, recorder: &Arc<Recorder>, number: u64) -> Self {
        let mut consumer = Self {
            shop: Arc::clone(shop),
            recorder: Arc::clone(recorder),
            number: recorder.consumer(),
            chance: Chance::new(shop.seed, CHANCES + number),
            from: vec![FeedFrom::Now; SHARDS.into()],
            is_broken: false,
        };
        while consumer.from.contains(&FeedFrom::Now) {
            consumer.look(1).await;
        }
        consumer
    }

    /// Watches until everything is healed.
    pub async fn work(&mut self, stage: &Stage) {
        while !stage.is_healed() && !self.is_broken {
            let looks = 1 + self.chance.below(LOOKS_MAX);
            self.look(looks).await;
        }
    }

    /// Watches on until it was told of each order as it is in these books; of what is missing the check tells.
    pub async fn catch_up(&mut self, books: &Books) {
        let end = Instant::now() + SETTLED_WITHIN;
        while !self.recorder.has_told(self.number, books) && !self.is_broken && Instant::now() < end {
            self.look(1).await;
        }
    }

    /// Begins a watch at any node, and looks at it so often.
    async fn look(&mut self, looks: u64) {
        let at = self.chance.below(self.shop.seats.len() as u64) as usize;
        let (from, limit) = (self.from.clone(), 1 + self.chance.below(CHANGES_MAX) as usize);
        let told = self.shop.seats[at].run(move |running| watch(running, from, looks, limit));
        // Whatever was told and is not heard of is told again elsewhere.
        let Ok(Ok(Some(told))) = timeout(WAIT_MAX, told).await else {
            sleep(RETRY).await;
            return;
        };
        let seen = self.recorder.now();
        if told.looks.is_empty() {
            sleep(RETRY).await;
        }
        for (changes, positions) in told.looks {
            let changes = changes.into_iter();
            let changes = changes.filter_map(|change| seen::change(change, seen));
            let changes = changes.filter(|change| !keeper::owns(&change.order.customer));
            self.recorder.told(self.number, changes);
            self.from = positions.into_iter().map(FeedFrom::At).collect();
        }
        if let Some(why) = told.broken {
            tracing::debug!(target: "client", consumer = self.number, %why);
            if why != WatchError::Unavailable {
                self.is_broken = true;
                self.recorder.broke(self.number, why.to_string());
            }
        }
    }
}

async fn watch(running: Running, from: Vec<FeedFrom>, looks: u64, limit: usize) -> Told {
    let mut told = Told {
        looks: Vec::new(),
        broken: None,
    };
    let asked = WatchOrders {
        customer: None,
        states: Vec::new(),
        from,
    };
    let mut watch = match running.docket.watch_orders(&call(""), asked).await {
        Ok(watch) => watch,
        Err(why) => {
            told.broken = Some(why);
            return told;
        }
    };
    for _ in 0..looks {
        match watch.next(limit, Clock::now() + LOOK).await {
            Ok(changes) => {
                let changes = changes
                    .iter()
                    .map(|told| change_to_proto(told.change.kind, told.change.at, &told.order));
                told.looks.push((changes.collect(), watch.positions().collect()));
            }
            Err(why) => {
                told.broken = Some(why);
                break;
            }
        }
    }
    told
}
