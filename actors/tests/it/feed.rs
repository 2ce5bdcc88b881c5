//! The feed: every change once, in each customer's order, wherever it is read, and whatever happens meanwhile.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use docket_actors::{Call, Docket, ListOrders, Options, OrderChange, OrderWatch, WatchError, WatchOrders};
use docket_cluster::NodeId;
use docket_engine::{ChangeKind, CustomerId, OrderState};
use docket_proto::feed::{FeedFrom, FeedPosition};
use futures::future::join_all;

use crate::{
    shop::{Shop, order},
    three::{PATIENCE, Three, call, until_done},
};

const CUSTOMERS: [&str; 4] = ["ada", "bob", "eve", "dan"];
/// A watch is over when nothing has come for so long, and a barrier was passed since.
const QUIET: Duration = Duration::from_millis(300);

fn everything(shards: usize, from: FeedFrom) -> WatchOrders {
    WatchOrders {
        customer: None,
        states: Vec::new(),
        from: vec![from; shards],
    }
}

async fn watch(docket: &Docket, watch: WatchOrders) -> Result<OrderWatch, WatchError> {
    docket.watch_orders(&Call::default(), watch).await
}

/// All that comes until nothing more does.
async fn drain(watch: &mut OrderWatch, batch: usize) -> Vec<OrderChange> {
    let mut seen = Vec::new();
    loop {
        let found = watch.next(batch, Instant::now() + QUIET).await.unwrap();
        if found.is_empty() {
            return seen;
        }
        seen.extend(found);
    }
}

/// What happened to each customer's orders, in the order in which it was told.
fn by_customer(changes: &[OrderChange]) -> BTreeMap<String, Vec<OrderChange>> {
    let mut lives = BTreeMap::<_, Vec<_>>::new();
    for change in changes {
        let of = lives.entry(change.order.customer.to_string()).or_default();
        of.push(change.clone());
    }
    lives
}

/// Holds that each order's versions come one after the other, and its time does not go back.
#[track_caller]
fn has_no_gap(changes: &[OrderChange]) {
    for (customer, of) in by_customer(changes) {
        let (mut versions, mut times) = (BTreeMap::new(), BTreeMap::new());
        for change in &of {
            let version = versions.entry(change.order.id).or_insert(0);
            *version += 1;
            assert_eq!(change.order.version.0, *version, "{customer}: {change:?}");
            assert_eq!(change.order.version, change.change.version);
            let before = times.insert(change.order.id, change.change.at);
            assert!(
                before.is_none_or(|before| before <= change.change.at),
                "{customer}: {change:?}"
            );
        }
    }
}

async fn open(dir: &Path, retained_max: usize) -> Shop {
    let mut options = Options::new(dir);
    options.node.shards = Some(4);
    // Nearly every restart finds a snapshot with a journal behind it.
    options.node.snapshot_bytes_min = 4_096;
    options.feed.retained_max = retained_max;
    Shop::open_with(options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_go_on_over_restarts_and_snapshots_as_if_nothing_had_happened() {
    const ROUNDS: usize = 5;
    const ORDERS: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let mut shop = open(dir.path(), 10_000).await;
    for customer in CUSTOMERS {
        shop.customer(customer, 1_000_000).await;
    }
    shop.item("tea", 1, 1_000_000).await;
    let mut resumed = Vec::new();
    let mut at = vec![FeedFrom::Oldest; 4];
    for round in 0..ROUNDS {
        let watching = WatchOrders {
            customer: None,
            states: Vec::new(),
            from: at,
        };
        let mut watching = watch(&shop.docket, watching).await.unwrap();
        for i in 0..ORDERS {
            let customer = CUSTOMERS[i % 4];
            let placed = shop
                .place(&format!("{round}-{i}"), customer, &[("tea", 1, 1)])
                .await;
            let placed = placed.unwrap();
            if i % 5 == 0 {
                shop.docket
                    .cancel_order(Call::default(), placed.id, None)
                    .await
                    .unwrap();
            }
            // Some of it is read before the restart, and the rest behind it.
            if i % 7 == 0 && i < ORDERS / 2 {
                resumed.extend(watching.next(3, Instant::now() + QUIET).await.unwrap());
            }
        }
        at = watching.positions().map(FeedFrom::At).collect();
        drop(watching);
        shop.close().await;
        shop = open(dir.path(), 10_000).await;
    }
    let last = WatchOrders {
        customer: None,
        states: Vec::new(),
        from: at,
    };
    let mut last = watch(&shop.docket, last).await.unwrap();
    resumed.extend(drain(&mut last, 17).await);
    let mut whole = watch(&shop.docket, everything(4, FeedFrom::Oldest))
        .await
        .unwrap();
    let whole = drain(&mut whole, 1_000).await;
    has_no_gap(&whole);
    assert_eq!(by_customer(&resumed), by_customer(&whole));
    // And it ends where the orders are.
    let mut ends = BTreeMap::new();
    for change in &whole {
        ends.insert(change.order.id, (change.order.state, change.order.version));
    }
    let query = ListOrders {
        limit: 1_000,
        ..ListOrders::default()
    };
    let listed = shop.docket.list_orders(Call::default(), query).await.unwrap();
    let listed: BTreeMap<_, _> = listed
        .orders
        .iter()
        .map(|order| (order.id, (order.state, order.version)))
        .collect();
    assert_eq!(listed.len(), ROUNDS * ORDERS);
    assert_eq!(ends, listed);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_kept_any_more_is_an_error_and_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(dir.path(), 40).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 1, 1_000_000).await;
    let ada = |from| WatchOrders {
        customer: Some(CustomerId::new("ada").unwrap()),
        states: Vec::new(),
        from: vec![from],
    };
    let mut behind = watch(&shop.docket, ada(FeedFrom::Now)).await.unwrap();
    let begin = behind.positions().next().unwrap();
    for i in 0..100 {
        shop.place(&format!("r{i}"), "ada", &[("tea", 1, 1)])
            .await
            .unwrap();
    }
    let late = behind.next(10, Instant::now() + PATIENCE).await;
    assert_eq!(late.err(), Some(WatchError::TooOld));
    let late = watch(&shop.docket, ada(FeedFrom::At(begin))).await;
    assert_eq!(late.err(), Some(WatchError::TooOld));
    let mut oldest = watch(&shop.docket, ada(FeedFrom::Oldest)).await.unwrap();
    let kept = drain(&mut oldest, 9).await;
    assert!((30..=45).contains(&kept.len()), "{} are kept", kept.len());
    let future = FeedPosition::of_entry(1 << 40);
    let unknown = watch(&shop.docket, ada(FeedFrom::At(future))).await;
    assert_eq!(unknown.err(), Some(WatchError::Unknown));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_is_woken_by_what_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(dir.path(), 10_000).await;
    for customer in CUSTOMERS {
        shop.customer(customer, 1_000_000).await;
    }
    shop.item("tea", 1, 1_000_000).await;
    let of = |customer: &str| WatchOrders {
        customer: Some(CustomerId::new(customer).unwrap()),
        states: Vec::new(),
        from: vec![FeedFrom::Now],
    };
    let mut waiting = Vec::new();
    for customer in CUSTOMERS {
        waiting.push((customer, watch(&shop.docket, of(customer)).await.unwrap()));
    }
    let all = everything(4, FeedFrom::Now);
    waiting.push(("", watch(&shop.docket, all).await.unwrap()));
    // Each waits until something comes: nothing else ends its waiting in time.
    let waiting = waiting.into_iter().map(|(customer, mut watch)| {
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 2 {
                let found = watch.next(10, Instant::now() + PATIENCE).await.unwrap();
                assert!(!found.is_empty(), "{customer} was not woken");
                seen.extend(found);
            }
            (customer, seen)
        })
    });
    let waiting: Vec<_> = waiting.collect();
    for customer in CUSTOMERS {
        shop.place(customer, customer, &[("tea", 1, 1)]).await.unwrap();
    }
    for waiting in waiting {
        let (customer, seen) = waiting.await.unwrap();
        has_no_gap(&seen);
        let is_theirs = |change: &OrderChange| change.order.customer.as_str() == customer;
        assert!(
            customer.is_empty() || seen.iter().all(is_theirs),
            "{customer}: {seen:?}"
        );
    }
    shop.close().await;
}

async fn shop_of_three(voters: &'static [NodeId], change: impl Fn(&mut Options)) -> Three {
    let three = Three::open_with(|options| {
        let peers = options.node.peers.as_mut().unwrap();
        if !peers.founders.is_empty() {
            peers.founders = voters.to_vec();
        }
        change(options);
    })
    .await;
    for customer in CUSTOMERS {
        three.customer(customer, 100_000_000).await;
    }
    three.item("tea", 1, 1_000_000).await;
    three
}

/// Places an order where its customer is led, and cancels every fifth.
async fn place(dockets: &[Docket], number: usize) {
    let customer = CUSTOMERS[number % 4];
    let key = docket_actors::Key::Customer(CustomerId::new(customer).unwrap());
    let placed = until_done(dockets, &key, async |docket| {
        let placed = order(customer, &[("tea", 1, 1)]);
        docket.place_order(call(&format!("r{number}")), placed).await
    });
    let placed = placed.await.unwrap();
    if number.is_multiple_of(5) {
        let key = docket_actors::Key::Order(placed.id);
        let cancelled = until_done(dockets, &key, async |docket| {
            docket
                .cancel_order(call(&format!("c{number}")), placed.id, None)
                .await
        });
        cancelled.await.unwrap();
    }
}

/// Watches everything at a node, beginning anew where a watch is ended, until so many changes have been seen.
async fn watch_until(docket: Docket, changes: usize) -> Vec<OrderChange> {
    let asked = Instant::now();
    let (mut seen, mut at) = (Vec::new(), vec![FeedFrom::Oldest; 4]);
    'again: loop {
        assert!(asked.elapsed() < PATIENCE, "{} of {changes} changes", seen.len());
        let watching = WatchOrders {
            customer: None,
            states: Vec::new(),
            from: at.clone(),
        };
        let mut watching = match watch(&docket, watching).await {
            Ok(watching) => watching,
            Err(WatchError::Unavailable) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        while seen.len() < changes {
            assert!(asked.elapsed() < PATIENCE, "{} of {changes} changes", seen.len());
            match watching.next(16, Instant::now() + QUIET).await {
                Ok(found) => seen.extend(found),
                Err(WatchError::Unavailable) => continue 'again,
                Err(error) => panic!("{error}"),
            }
            at = watching.positions().map(FeedFrom::At).collect();
        }
        return seen;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_replicas_shows_the_same_as_those_that_have_them_though_a_leader_moves() {
    const ORDERS: usize = 150;
    let three = shop_of_three(&[NodeId(1), NodeId(2)], |_| {}).await;
    assert!(!three.node(2).has_replica(three.group_of("ada")));
    let expected = ORDERS * 2 + ORDERS / 5 * 2;
    let watches = [0, 1, 2].map(|at| tokio::spawn(watch_until(three.docket(at).clone(), expected)));
    let dockets = three.dockets();
    for number in 0..ORDERS {
        place(&dockets, number).await;
        if number == ORDERS / 2 {
            let group = three.group_of("ada");
            let (from, to) = match three.node(0).leader_of(group) {
                docket_cluster::Leader::Here => (0, NodeId(2)),
                _ => (1, NodeId(1)),
            };
            three
                .node(from)
                .group(group)
                .unwrap()
                .transfer_lead(to)
                .await
                .unwrap();
        }
    }
    let seen: Vec<_> = join_all(watches).await.into_iter().map(Result::unwrap).collect();
    for seen in &seen {
        has_no_gap(seen);
        assert_eq!(seen.len(), expected);
    }
    assert_eq!(by_customer(&seen[0]), by_customer(&seen[1]));
    assert_eq!(by_customer(&seen[0]), by_customer(&seen[2]));
    // Of one customer, in one state, from a node that has nothing of it; and from now on nothing has happened.
    let mut cancelled = watch(
        three.docket(2),
        WatchOrders {
            customer: Some(CustomerId::new("ada").unwrap()),
            states: vec![OrderState::Cancelled],
            from: vec![FeedFrom::Oldest],
        },
    )
    .await
    .unwrap();
    let cancelled = drain(&mut cancelled, 5).await;
    let wanted: Vec<_> = seen[0]
        .iter()
        .filter(|of| of.order.customer.as_str() == "ada" && of.order.state == OrderState::Cancelled)
        .cloned()
        .collect();
    assert_eq!(cancelled, wanted);
    assert!(cancelled.iter().any(|of| of.change.kind == ChangeKind::Released));
    let mut now = watch(three.docket(2), everything(4, FeedFrom::Now))
        .await
        .unwrap();
    assert_eq!(drain(&mut now, 5).await, []);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_outlives_the_leader_of_what_it_watches() {
    const ORDERS: usize = 120;
    let mut three = shop_of_three(&[NodeId(1), NodeId(2), NodeId(3)], |options| {
        options.node.snapshot_bytes_min = 16 * 1_024;
    })
    .await;
    let expected = ORDERS * 2 + ORDERS / 5 * 2;
    let key = docket_actors::Key::Customer(CustomerId::new("ada").unwrap());
    let leader = three.leader(&key).await;
    let watched = (leader + 1) % 3;
    let watching = tokio::spawn(watch_until(three.docket(watched).clone(), expected));
    for number in 0..ORDERS {
        if number == ORDERS / 3 {
            three.kill(leader).await;
        }
        if number == ORDERS * 2 / 3 {
            three.start(leader).await;
        }
        place(&three.dockets(), number).await;
    }
    let seen = watching.await.unwrap();
    has_no_gap(&seen);
    // Who was away shows the same.
    let there = watch_until(three.docket(leader).clone(), expected).await;
    assert_eq!(by_customer(&there), by_customer(&seen));
    three.end().await;
}
