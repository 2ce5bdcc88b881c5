//! The feed over kills and restarts: three consumers, each on its own pace, see the same, and it is what was acknowledged.
//!
//! `DOCKET_FEED_ROUNDS=n` and `DOCKET_SEED=n` as in `kill.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use docket_client::{Client, Credential, Options};
use docket_persistence::mem::Seeded;
use docket_proto::v1::{
    CancelOrderRequest, OrderChange, WatchOrdersRequest, order::State, order_change::Kind,
    watch_orders_request::Start,
};
use tonic::Code;

use crate::{
    api::{Api, order},
    cluster::nodes::Nodes,
    environment::{number, seed},
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

const ROUNDS: u64 = 3;
const CUSTOMERS: [&str; 6] = ["ada", "bob", "dan", "eve", "ida", "joe"];
/// A round's process is killed after so many acknowledgements.
const ACKNOWLEDGED: usize = 120;

/// What a consumer has seen.
type Seen = Arc<Mutex<Vec<OrderChange>>>;

/// Watches everything with the client that resumes by itself, told of each new address, until it is stopped.
fn consume(addresses: Vec<String>, key: &str, pause: Duration) -> (Seen, tokio::task::JoinHandle<()>) {
    let seen = Seen::default();
    let options = Options {
        credential: Credential::ApiKey(key.to_owned()),
        back_off_max: Duration::from_millis(200),
        ..Options::new(addresses)
    };
    let client = Client::new(options).unwrap();
    let into = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let mut watch = client.watch_orders(WatchOrdersRequest {
            start: Start::Oldest.into(),
            ..WatchOrdersRequest::default()
        });
        let begun = Instant::now();
        loop {
            match watch.next().await {
                Ok(message) => into.lock().unwrap().extend(message.changes),
                Err(status) => assert!(
                    matches!(status.code(), Code::Unavailable | Code::Unknown)
                        && begun.elapsed() < PATIENCE * 4,
                    "{status}"
                ),
            }
            tokio::time::sleep(pause).await;
        }
    });
    (seen, task)
}

/// Places and cancels orders until it is stopped, each under an id with which it is tried until it is answered.
struct Work {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    working: Vec<tokio::task::JoinHandle<BTreeMap<String, State>>>,
}

impl Work {
    fn start(api: &Api, round: u64, seed: u64) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let working = CUSTOMERS.iter().enumerate().map(|(at, customer)| {
            let (api, stop, acknowledged) = (api.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            let mut random = Seeded::new(seed ^ (round << 8) ^ at as u64);
            tokio::spawn(async move {
                let mut states = BTreeMap::new();
                for n in 0.. {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    let id = format!("{round}-{customer}-{n}");
                    // Now and then more than there is.
                    let quantity = if random.below(8) == 0 {
                        2_000_000_000 / 2
                    } else {
                        1
                    };
                    let asked = order(&id, customer, &[("nut", quantity, 0), ("bolt", 1, 0)]);
                    let placed = match api.orders().place_order(asked).await {
                        Ok(placed) => placed.into_inner(),
                        Err(status) if status.code() == Code::FailedPrecondition => continue,
                        // What becomes of it the feed says.
                        Err(_) => {
                            tokio::time::sleep(LOOK_AGAIN).await;
                            continue;
                        }
                    };
                    states.insert(placed.name.clone(), State::Confirmed);
                    acknowledged.fetch_add(1, Ordering::Release);
                    if random.below(3) == 0 {
                        let cancel = CancelOrderRequest {
                            name: placed.name.clone(),
                            ..CancelOrderRequest::default()
                        };
                        if api.orders().cancel_order(cancel).await.is_ok() {
                            states.insert(placed.name, State::Cancelled);
                        } else {
                            // Cancelled or not.
                            states.remove(&placed.name);
                        }
                    }
                }
                states
            })
        });
        Self {
            working: working.collect(),
            stop,
            acknowledged,
        }
    }

    async fn until(&self, acknowledged: usize) {
        let begun = Instant::now();
        while self.acknowledged.load(Ordering::Acquire) < acknowledged {
            assert!(begun.elapsed() < PATIENCE, "no orders are acknowledged any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What was acknowledged, and of it what is known for sure.
    async fn end(self) -> BTreeMap<String, State> {
        self.stop.store(true, Ordering::Release);
        let mut all = BTreeMap::new();
        for working in self.working {
            all.extend(working.await.unwrap());
        }
        all
    }
}

/// What happened to each customer's orders, in order.
fn by_customer(seen: &[OrderChange]) -> BTreeMap<String, Vec<OrderChange>> {
    let mut lives = BTreeMap::<_, Vec<_>>::new();
    for change in seen {
        let customer = change.order.as_ref().unwrap().customer.clone();
        lives.entry(customer).or_default().push(change.clone());
    }
    lives
}

/// Waits until every consumer has seen what the orders are, and holds them against each other, the orders, and what was
/// acknowledged.
async fn agree(
    consumers: &[(Seen, tokio::task::JoinHandle<()>)],
    api: &Api,
    acknowledged: &BTreeMap<String, State>,
) -> usize {
    let begun = Instant::now();
    loop {
        // An order that is shown as confirmed is so in the feed when the event that says so is committed, a moment later.
        let there: BTreeMap<String, (State, String)> = api
            .all_orders()
            .await
            .into_iter()
            .map(|order| (order.name.clone(), (order.state(), order.etag)))
            .collect();
        let ends = |seen: &Seen| {
            let seen = seen.lock().unwrap();
            let order = |change: &OrderChange| change.order.clone().unwrap();
            let ends = seen
                .iter()
                .map(order)
                .map(|order| (order.name.clone(), (order.state(), order.etag)));
            ends.collect::<BTreeMap<_, _>>()
        };
        let behind = consumers.iter().filter(|(seen, _)| ends(seen) != there).count();
        if behind == 0 {
            break;
        }
        for (_, task) in consumers {
            assert!(!task.is_finished(), "a consumer has ended");
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{behind} consumers do not see what the orders are"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let lives: Vec<_> = consumers
        .iter()
        .map(|(seen, _)| by_customer(&seen.lock().unwrap()))
        .collect();
    for life in &lives[1..] {
        assert_eq!(*life, lives[0]);
    }
    let mut last = BTreeMap::new();
    for of in lives[0].values() {
        for change in of {
            let order = change.order.as_ref().unwrap();
            let version: u64 = order.etag.trim_start_matches('v').parse().unwrap();
            let before = last.insert(order.name.clone(), version).unwrap_or_default();
            assert_eq!(version, before + 1, "a gap, or twice the same: {change:?}");
            assert_eq!(change.kind() == Kind::Placed, version == 1);
        }
    }
    let states: BTreeMap<&str, BTreeSet<i32>> =
        lives[0]
            .values()
            .flatten()
            .fold(BTreeMap::new(), |mut all, change| {
                let order = change.order.as_ref().unwrap();
                all.entry(order.name.as_str())
                    .or_insert_with(BTreeSet::new)
                    .insert(order.state);
                all
            });
    for (name, state) in acknowledged {
        let seen = states.get(name.as_str());
        assert!(
            seen.is_some_and(|seen| seen.contains(&(*state).into())),
            "{name} was acknowledged as {state:?}, and the feed says {seen:?}"
        );
    }
    lives[0].values().map(Vec::len).sum()
}

async fn stock(api: &Api) {
    for customer in CUSTOMERS {
        api.customer(customer, i64::MAX / 2).await;
    }
    api.item("nut", 0, 1_000_000).await;
    api.item("bolt", 0, 1_000_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_consumers_see_the_same_over_kills_and_restarts_and_it_is_what_was_acknowledged() {
    let seed = seed();
    let rounds = number("DOCKET_FEED_ROUNDS").unwrap_or(ROUNDS);
    println!("DOCKET_SEED={seed} DOCKET_FEED_ROUNDS={rounds}");
    let mut random = Seeded::new(seed);
    let home = Home::new().set("cluster.snapshot_bytes_min", "65536");
    let mut server = Server::start(&home);
    let (grpc, admin) = (server.grpc, server.admin);
    stock(&Api::admin(&server, &home).await).await;
    let key = home.admin_key();
    let pauses = [0, 1, 40].map(Duration::from_millis);
    let consumers = pauses.map(|pause| consume(vec![format!("http://{grpc}")], &key, pause));
    let mut acknowledged = BTreeMap::new();
    for round in 1..=rounds {
        let api = Api::admin_later(&server, &home);
        let work = Work::start(&api, round, seed);
        work.until(ACKNOWLEDGED + random.below(200) as usize).await;
        if round.is_multiple_of(2) {
            acknowledged.extend(work.end().await);
            server.stop(&home);
        } else {
            server.kill();
            acknowledged.extend(work.end().await);
        }
        // Where its clients look for it.
        server = Server::launch_at(&home, grpc, admin);
        assert!(server.ready(&home), "{}", home.log());
        server.settled().await;
        let changes = agree(&consumers, &Api::admin(&server, &home).await, &acknowledged).await;
        println!(
            "round {round}: {} acknowledged, {changes} changes",
            acknowledged.len()
        );
    }
    consumers.iter().for_each(|(_, task)| task.abort());
    server.stop(&home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_of_three_nodes_see_the_same_though_each_node_is_killed_in_turn() {
    let seed = seed();
    println!("DOCKET_SEED={seed}");
    let mut nodes = Nodes::new();
    nodes.found();
    let first = Server::start(nodes.home(1));
    let mut servers = vec![first, nodes.launch(2)];
    nodes.until_voters(&servers[0], &[1, 2]).await;
    servers.push(nodes.launch(3));
    nodes.until_voters(&servers[0], &[1, 2, 3]).await;
    let api = Api::admin(&servers[0], nodes.home(1)).await;
    stock(&api).await;
    let key = nodes.home(1).admin_key();
    let addresses: Vec<String> = servers
        .iter()
        .map(|server| format!("http://{}", server.grpc))
        .collect();
    let mut consumers = Vec::new();
    for first in 0..3 {
        let mut addresses = addresses.clone();
        addresses.rotate_left(first);
        consumers.push(consume(addresses, &key, Duration::from_millis(first as u64)));
    }
    let mut acknowledged = BTreeMap::new();
    for victim in 0..3 {
        // Through a node that stays.
        let through = (victim + 1) % 3;
        let api = Api::connect(&servers[through]).await;
        let api = api.by(crate::api::Credentials::key(&key));
        let work = Work::start(&api, victim as u64, seed);
        work.until(ACKNOWLEDGED / 2).await;
        let (grpc, admin) = (servers[victim].grpc, servers[victim].admin);
        servers.remove(victim).kill();
        work.until(ACKNOWLEDGED).await;
        let home = nodes.home(victim + 1);
        servers.insert(victim, Server::launch_at(home, grpc, admin));
        assert!(servers[victim].ready(home), "{}", home.log());
        work.until(ACKNOWLEDGED + ACKNOWLEDGED / 2).await;
        acknowledged.extend(work.end().await);
        let changes = agree(&consumers, &api, &acknowledged).await;
        println!(
            "node {} killed: {} acknowledged, {changes} changes",
            victim + 1,
            acknowledged.len()
        );
    }
    consumers.iter().for_each(|(_, task)| task.abort());
    for (server, node) in servers.into_iter().zip(1..) {
        server.stop(nodes.home(node));
    }
}

/// The orders of which it is told until this one is confirmed.
async fn told_until_confirmed(watch: &mut docket_client::OrderWatch, order: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    loop {
        for change in watch.next().await.unwrap().changes {
            let (kind, name) = (change.kind(), change.order.unwrap().name);
            let is_last = kind == Kind::Confirmed && name == order;
            told.insert(name);
            if is_last {
                return told;
            }
        }
    }
}

/// By the clock of the node, which is moved here: nobody waits for an hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_are_older_than_they_are_kept_for_are_forgotten_and_newer_ones_are_not() {
    if !cfg!(debug_assertions) {
        return println!("skipped: the program has no debug assertions, and does not move its clock");
    }
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "0").unwrap();
    let home = Home::new()
        .variable(docket_cluster::clock::VARIABLE, clock.to_str().unwrap())
        .set("feed.retained_s", "3600");
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    stock(&api).await;
    let options = Options {
        credential: Credential::ApiKey(home.admin_key()),
        ..Options::new([format!("http://{}", server.grpc)])
    };
    let client = Client::new(options).unwrap();
    let watch = |resume_token: &str| {
        client.watch_orders(WatchOrdersRequest {
            start: Start::Oldest.into(),
            resume_token: resume_token.to_owned(),
            ..WatchOrdersRequest::default()
        })
    };
    let at_first = watch("").next().await.unwrap().resume_token;
    let place = async |id: &str| {
        let placed = api.orders().place_order(order(id, "ada", &[("nut", 1, 0)])).await;
        let placed = placed.unwrap().into_inner();
        (placed.name, placed.create_time.unwrap().seconds)
    };
    let (old, placed_s) = place("old").await;
    let mut goes_on = watch(&at_first);
    told_until_confirmed(&mut goes_on, &old).await;

    // Most of an hour is no matter; a little more than one is.
    std::fs::write(&clock, "3500000").unwrap();
    let begun = Instant::now();
    let mut young = place("young").await;
    while young.1 < placed_s + 3_000 {
        assert!(begun.elapsed() < PATIENCE, "the clock is not moved");
        tokio::time::sleep(LOOK_AGAIN).await;
        young = place(&format!("young-{}", begun.elapsed().as_nanos())).await;
    }
    let (young, _) = young;
    assert!(watch(&at_first).next().await.is_ok(), "it is kept for an hour");
    std::fs::write(&clock, "3700000").unwrap();
    let refused = loop {
        match watch(&at_first).next().await {
            Ok(_) => assert!(begun.elapsed() < PATIENCE, "it is kept for longer than an hour"),
            Err(status) => break status,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    // Who was there misses nothing, and who comes now has what is young enough.
    for mut watch in [goes_on, watch("")] {
        let seen = told_until_confirmed(&mut watch, &young).await;
        assert!(!seen.contains(&old), "{old} is shown again");
    }
    server.stop(&home);
}
