//! Panicking actors, dying processes, failing power: what was acknowledged stays, what was not settles, books balance.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use docket_actors::{ActorLimits, BeforeDecision, Call, CallError, Docket, ListOrders, Options};
use docket_cluster::Node;
use docket_engine::{Amount, CustomerId, Order, OrderId, OrderState};
use docket_persistence::mem::{Fault, MemDisk, Seeded};

use crate::{
    counted::Counted,
    residents::actors_fall_to,
    shop::{Shop, order, reason},
};

/// Seeds in an ordinary run; `DOCKET_SEEDS` sets another number, `DOCKET_SEED` a single seed.
const SEEDS: u64 = 30;
const LIVES: u64 = 3;
const CUSTOMERS: u64 = 3;
const ITEMS: u64 = 4;

fn panicking(kind: &'static str, key: &'static str, times: u32) -> (BeforeDecision, Arc<AtomicU32>) {
    let left = Arc::new(AtomicU32::new(times));
    let count = left.clone();
    let before = move |k: &str, id: &str| {
        let hit = k == kind && (key.is_empty() || id == key);
        if hit
            && count
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1))
                .is_ok()
        {
            panic!("a test made the {kind} {id} panic");
        }
    };
    (BeforeDecision(Arc::new(before)), left)
}

async fn shop_with(dir: &std::path::Path, before: BeforeDecision) -> Shop {
    let shop = Shop::open_with(Options {
        before_decision: Some(before),
        ..Options::new(dir)
    })
    .await;
    shop.customer("alice", 1_000_000).await;
    shop.customer("bob", 1_000_000).await;
    shop.item("pot", 2_000, 100).await;
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_actor_on_the_way_loses_nothing() {
    for kind in ["order", "customer", "item"] {
        let dir = tempfile::tempdir().unwrap();
        let armed = Arc::new(AtomicU32::new(0));
        let shot = Arc::new(AtomicU32::new(0));
        let (seen, count) = (armed.clone(), shot.clone());
        // Each message of an order in turn, from the first on, and those that follow from it.
        let before = BeforeDecision(Arc::new(move |k: &str, _: &str| {
            let at = seen.load(Ordering::Acquire);
            if k == kind && at > 0 && count.fetch_add(1, Ordering::AcqRel) + 1 == at {
                panic!("a test made {kind} message {at} panic");
            }
        }));
        let shop = shop_with(dir.path(), before).await;
        shop.item("tea", 350, 1_000).await;
        for at in 1..8 {
            shot.store(0, Ordering::Release);
            armed.store(at, Ordering::Release);
            let placed = shop
                .place(
                    &format!("{kind}{at}"),
                    "alice",
                    &[("tea", 2, 350), ("pot", 1, 2_000)],
                )
                .await;
            let placed = placed.unwrap_or_else(|error| panic!("{kind} message {at}: {error}"));
            assert_eq!(placed.state, OrderState::Confirmed);
        }
        settle(&shop.docket).await;
        assert_eq!(
            (shop.stock("tea").await.1, shop.stock("pot").await.1),
            (14, 7),
            "{kind}"
        );
        assert_eq!(shop.held("alice").await, 7 * 2_700);
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_always_panics_its_actor_is_refused_and_its_neighbours_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (before, _) = panicking("item", "tea", u32::MAX);
    let shop = shop_with(dir.path(), before).await;
    let refused = shop
        .place("r1", "alice", &[("tea", 1, 350), ("pot", 1, 2_000)])
        .await;
    assert_eq!(reason(refused), "ITEM_FAILED");
    assert_eq!(shop.held("alice").await, 0);
    assert_eq!(shop.stock("pot").await, (100, 0));
    shop.place("r2", "alice", &[("pot", 1, 2_000)]).await.unwrap();
    shop.close().await;

    let dir = tempfile::tempdir().unwrap();
    let (before, left) = panicking("customer", "alice", 0);
    let shop = shop_with(dir.path(), before).await;
    left.store(u32::MAX, Ordering::Release);
    assert_eq!(
        shop.place("r1", "alice", &[("pot", 1, 2_000)]).await.unwrap_err(),
        CallError::Poison
    );
    shop.place("r2", "bob", &[("pot", 1, 2_000)]).await.unwrap();
    settle(&shop.docket).await;
    assert_eq!(shop.stock("pot").await, (100, 1));
    shop.close().await;
}

#[tokio::test]
async fn a_panic_while_an_entity_is_loaded_is_counted_and_its_commands() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let dir = tempfile::tempdir().unwrap();
    let (before, left) = panicking("load", "bob", 0);
    let actors = ActorLimits {
        active_max: 10,
        idle_s: 1,
    };
    let shop = Shop::open_with(Options {
        before_decision: Some(before),
        actors,
        ..Options::new(dir.path())
    })
    .await;
    shop.customer("bob", 1_000_000).await;
    shop.item("pot", 2_000, 100).await;
    actors_fall_to(&shop, 0).await;
    left.store(u32::MAX, Ordering::Release);
    let refused = shop.place("r", "bob", &[("pot", 1, 2_000)]).await;
    assert_eq!(refused.unwrap_err(), CallError::Poison);
    assert_eq!(counted.of("docket_actor_panics_total customer"), 3);
    assert_eq!(counted.of("docket_poison_commands_total"), 1);
    left.store(0, Ordering::Release);
    shop.place("r", "bob", &[("pot", 1, 2_000)]).await.unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn messages_that_wait_behind_one_that_panics_are_not_blamed() {
    let dir = tempfile::tempdir().unwrap();
    const CALLS: u32 = 60;
    let (armed, messages) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
    let sent = Arc::new(AtomicU32::new(0));
    let (seen, all) = (armed.clone(), sent.clone());
    // Every fifth of the first twenty messages, when the others have queued up behind it.
    let before = BeforeDecision(Arc::new(move |kind: &str, id: &str| {
        if (kind, id) == ("customer", "alice") && seen.load(Ordering::Acquire) > 0 {
            let nth = messages.fetch_add(1, Ordering::AcqRel) + 1;
            if nth <= 20 && nth.is_multiple_of(5) {
                let began = Instant::now();
                while all.load(Ordering::Acquire) < CALLS && began.elapsed() < Duration::from_secs(30) {
                    std::thread::yield_now();
                }
                panic!("a test made message {nth} panic");
            }
        }
    }));
    let shop = shop_with(dir.path(), before).await;
    armed.store(1, Ordering::Release);
    let credit = |_| {
        let alice = CustomerId::new("alice").unwrap();
        let (docket, sent) = (shop.docket.clone(), sent.clone());
        tokio::spawn(async move {
            let mut call = std::pin::pin!(docket.credit_account(Call::default(), alice, Amount(1), None));
            let first = futures::poll!(&mut call);
            sent.fetch_add(1, Ordering::AcqRel);
            match first {
                std::task::Poll::Ready(credited) => credited,
                std::task::Poll::Pending => call.await,
            }
        })
    };
    for credited in (0..CALLS).map(credit).collect::<Vec<_>>() {
        credited.await.unwrap().unwrap();
    }
    shop.close().await;
}

#[tokio::test]
async fn an_item_that_always_panics_over_a_release_fails_the_caller_and_is_left_in_peace() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let dir = tempfile::tempdir().unwrap();
    let (armed, panics) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (seen, count) = (armed.clone(), panics.clone());
    let before = BeforeDecision(Arc::new(move |kind: &str, id: &str| {
        if (kind, id) == ("item", "tea") && seen.load(Ordering::Acquire) > 0 {
            count.fetch_add(1, Ordering::AcqRel);
            panic!("a test made the item panic");
        }
    }));
    let shop = shop_with(dir.path(), before).await;
    shop.item("tea", 350, 100).await;
    let lines = [("tea", 1, 350), ("pot", 1, 2_000)];
    let placed = shop.place("r1", "alice", &lines).await.unwrap();
    armed.store(1, Ordering::Release);
    let cancelled = shop.docket.cancel_order(Call::default(), placed.id, None).await;
    assert_eq!(cancelled.unwrap_err(), CallError::Poison);
    assert_eq!(panics.load(Ordering::Acquire), 3);
    assert_eq!(counted.of("docket_poison_commands_total"), 1);
    assert_eq!(shop.held("alice").await, 0, "what could be given back is");
    shop.place("r2", "alice", &[("pot", 1, 2_000)]).await.unwrap();
    // Taken up again after 2 seconds, and after 4 more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let tried = panics.load(Ordering::Acquire);
    assert!((6..=9).contains(&tried), "{tried} panics in 5 seconds");

    armed.store(0, Ordering::Release);
    settle(&shop.docket).await;
    assert_eq!(shop.stock("tea").await, (100, 0));
    let order = shop.docket.get_order(Call::default(), placed.id).await.unwrap();
    assert_eq!((order.state, order.is_settled()), (OrderState::Cancelled, true));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_of_a_large_order_may_fail_now_and_then() {
    // 90 panics, and as many messages that came back from actors that were gone: no item has more than one.
    const LINES: usize = 90;
    let dir = tempfile::tempdir().unwrap();
    let once = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::<String>::new()));
    let armed = Arc::new(AtomicU32::new(0));
    let (seen, count) = (once.clone(), armed.clone());
    let before = BeforeDecision(Arc::new(move |kind: &str, id: &str| {
        let armed = count.load(Ordering::Acquire) > 0;
        if armed && kind == "item" && seen.lock().is_ok_and(|mut seen| seen.insert(id.to_owned())) {
            panic!("a test made the item {id} panic");
        }
    }));
    let shop = shop_with(dir.path(), before).await;
    let skus: Vec<String> = (0..LINES).map(|n| format!("i{n}")).collect();
    for sku in &skus {
        shop.item(sku, 1, 10).await;
    }
    armed.store(1, Ordering::Release);
    let lines: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 1, 1)).collect();
    let placed = shop.place("r1", "alice", &lines).await.unwrap();
    assert_eq!(placed.state, OrderState::Confirmed);
    assert_eq!(once.lock().unwrap().len(), LINES);
    shop.close().await;
}

/// Waits until no order is open and the shards' books agree: half-done work is taken up without a client asking.
async fn settle(docket: &Docket) {
    let asked = Instant::now();
    loop {
        let open = docket.status().entities.open_orders;
        let valid = docket.validate();
        if open == 0 && valid.is_ok() {
            return;
        }
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "{open} orders are open, {valid:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_survive_dying_processes_and_failing_power() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match number("DOCKET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DOCKET_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        println!("DOCKET_SEED={seed}");
        die_and_recover(seed).await;
    }
}

/// What the clients know of one request.
#[derive(Debug, Clone)]
struct Request {
    id: String,
    customer: String,
    lines: Vec<(String, i64, i64)>,
    answer: Option<Answer>,
    /// Whether a cancelling was sent, and acknowledged.
    cancel: (bool, bool),
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Placed(Arc<Order>),
    Refused(&'static str),
}

pub(crate) async fn open(disk: &MemDisk, dir: &std::path::Path, snapshot_bytes_min: u64) -> Docket {
    let mut options = Options::new(dir);
    options.node.shards = Some(3);
    options.node.snapshot_bytes_min = snapshot_bytes_min;
    let (store, mark) = (Box::new(disk.store()), Box::new(disk.mark()));
    let docket = Docket::open_with(options, async move |options, machine| {
        Node::open_with(options, store, mark, machine).await
    })
    .await
    .unwrap();
    docket.ready().await;
    docket
}

async fn die_and_recover(seed: u64) {
    let mut random = Seeded::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let disk = MemDisk::new();
    let snapshot_bytes_min = 4_096 << random.below(4);
    let shop = Shop {
        docket: open(&disk, dir.path(), snapshot_bytes_min).await,
    };
    for n in 0..CUSTOMERS {
        shop.customer(&format!("c{n}"), 40_000).await;
    }
    for n in 0..ITEMS {
        shop.item(&format!("i{n}"), 100, 60).await;
    }
    shop.close().await;

    let mut requests = Vec::<Request>::new();
    for life in 0..LIVES {
        let docket = open(&disk, dir.path(), snapshot_bytes_min).await;
        let call = 1 + random.below(60);
        disk.inject(Fault::Kill {
            call,
            takes_effect: random.below(2) == 0,
        });
        let wave = (0..24).map(|n| Request {
            id: format!("{seed}-{life}-{n}"),
            customer: format!("c{}", random.below(CUSTOMERS)),
            lines: (0..1 + random.below(3))
                .map(|_| {
                    (
                        format!("i{}", random.below(ITEMS)),
                        1 + random.below(4) as i64,
                        100,
                    )
                })
                .collect(),
            answer: None,
            cancel: (random.below(4) == 0, false),
        });
        let wave = wave.collect::<Vec<_>>();
        let sent = wave
            .into_iter()
            .map(|request| tokio::spawn(place_and_cancel(docket.clone(), request)));
        for request in sent.collect::<Vec<_>>() {
            let done = tokio::time::timeout(Duration::from_secs(20), request).await;
            requests.push(
                done.unwrap_or_else(|_| panic!("a call hangs: {:?}", docket.status()))
                    .unwrap(),
            );
        }
        // The node has failed: closing says so.
        let closing = docket.close(Duration::from_secs(5));
        tokio::time::timeout(Duration::from_secs(20), closing)
            .await
            .expect("closing hangs")
            .ok();
        if random.below(4) == 0 {
            disk.restart_process()
        } else {
            disk.restart_machine(random.draw())
        }
    }

    let docket = open(&disk, dir.path(), snapshot_bytes_min).await;
    settle(&docket).await;
    // What was not acknowledged settles when it is sent again; what was answers the same.
    for request in &mut requests {
        let before = request.answer.clone();
        let (cancel, acknowledged) = request.cancel;
        request.cancel.0 = false;
        let again = place_and_cancel(docket.clone(), request.clone()).await;
        assert!(again.answer.is_some(), "seed {seed}: {again:?} has no answer");
        assert!(
            before.is_none() || before == again.answer,
            "seed {seed}: {before:?} became {:?}",
            again.answer
        );
        request.answer = again.answer;
        request.cancel = (cancel, acknowledged);
    }
    settle(&docket).await;
    check(seed, &docket, &requests).await;
    docket.close(Duration::from_secs(5)).await.unwrap();
}

async fn place_and_cancel(docket: Docket, mut request: Request) -> Request {
    let lines = request
        .lines
        .iter()
        .map(|(sku, q, p)| (sku.as_str(), *q, *p))
        .collect::<Vec<_>>();
    let call = Call {
        request_id: Some(request.id.clone()),
        ..Call::default()
    };
    request.answer = match docket.place_order(call, order(&request.customer, &lines)).await {
        Ok(order) => Some(Answer::Placed(order)),
        Err(CallError::Rejected(rejection)) => Some(Answer::Refused(rejection.reason())),
        Err(_) => None,
    };
    if let (true, Some(Answer::Placed(order))) = (request.cancel.0, &request.answer) {
        request.cancel.1 = docket.cancel_order(Call::default(), order.id, None).await.is_ok();
    }
    request
}

/// The books against what the clients were told.
async fn check(seed: u64, docket: &Docket, requests: &[Request]) {
    let (mut reserved, mut held) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    let mut placed = BTreeMap::<OrderId, &Request>::new();
    for request in requests {
        let Some(Answer::Placed(order)) = &request.answer else {
            continue;
        };
        assert!(
            placed.insert(order.id, request).is_none(),
            "seed {seed}: one order for two requests"
        );
        let now = docket.get_order(Call::default(), order.id).await.unwrap();
        match (now.state, request.cancel) {
            (OrderState::Confirmed, (_, false)) => {
                for line in now.lines.iter() {
                    *reserved.entry(line.sku.to_string()).or_default() += line.quantity.0;
                }
                *held.entry(now.customer.to_string()).or_default() += now.total.0;
            }
            (OrderState::Cancelled, (true, _)) => {}
            (state, cancel) => panic!(
                "seed {seed}: order {} is {state}, cancelling {cancel:?}",
                order.id
            ),
        }
    }
    let all = ListOrders {
        limit: usize::MAX,
        ..ListOrders::default()
    };
    let all = docket.list_orders(Call::default(), all).await.unwrap();
    assert_eq!(all.next, None);
    for order in all.orders {
        let known = placed.contains_key(&order.id) || order.state == OrderState::Rejected;
        assert!(known, "seed {seed}: order {} came out of nowhere", order.id);
    }
    let shop = Shop {
        docket: docket.clone(),
    };
    for n in 0..ITEMS {
        let sku = format!("i{n}");
        assert_eq!(
            shop.stock(&sku).await,
            (60, reserved.get(&sku).copied().unwrap_or_default()),
            "seed {seed}"
        );
    }
    for n in 0..CUSTOMERS {
        let customer = format!("c{n}");
        assert_eq!(
            shop.held(&customer).await,
            held.get(&customer).copied().unwrap_or_default(),
            "seed {seed}"
        );
    }
}
