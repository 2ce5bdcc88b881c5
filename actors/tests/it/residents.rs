//! Actors are started on demand and passivated when idle or too many; nothing depends on whether one runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use docket_actors::{ActorLimits, AdmissionLimits, BeforeDecision, Call, CallError, ListOrders, Options};
use docket_engine::OrderState;

use crate::shop::{Shop, order};

/// Waits until at most this many actors run.
pub(crate) async fn actors_fall_to(shop: &Shop, most: u64) {
    let asked = Instant::now();
    loop {
        let actors = shop.docket.status().entities.actors;
        if actors <= most {
            return;
        }
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "{actors} actors still run"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_beyond_the_bound_are_passivated_and_come_back_when_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.node.shards = Some(2);
    options.actors = ActorLimits {
        active_max: 4,
        idle_s: 3_600,
    };
    let shop = Shop::open_with(options).await;
    for n in 0..100 {
        shop.customer(&format!("c{n}"), 10_000).await;
        shop.item(&format!("i{n}"), 100, 10).await;
    }
    // Three kinds in two shards, and those that had something in flight when they were asked to go.
    actors_fall_to(&shop, 3 * 2 * 4 + 8).await;
    for n in 0..100 {
        shop.place(&format!("r{n}"), &format!("c{n}"), &[(&format!("i{n}"), 2, 100)])
            .await
            .unwrap();
    }
    for n in 0..100 {
        assert_eq!(shop.stock(&format!("i{n}")).await, (10, 2));
    }
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_actors_are_passivated_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.actors = ActorLimits {
        active_max: 1_000,
        idle_s: 1,
    };
    let shop = Shop::open_with(options).await;
    shop.customer("alice", 10_000).await;
    shop.item("tea", 100, 10).await;
    shop.place("r1", "alice", &[("tea", 1, 100)]).await.unwrap();
    actors_fall_to(&shop, 0).await;
    shop.place("r2", "alice", &[("tea", 1, 100)]).await.unwrap();
    assert_eq!(shop.stock("tea").await, (10, 2));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_the_bounds_or_comes_too_late_is_refused_and_nothing_of_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.admission = AdmissionLimits {
        calls_max: 8,
        ..AdmissionLimits::default()
    };
    let shop = Shop::open_with(options).await;
    shop.customer("alice", 1_000_000).await;
    shop.item("tea", 100, 1_000).await;
    let place = |n: u32| {
        let docket = shop.docket.clone();
        async move {
            let call = Call {
                request_id: Some(format!("r{n}")),
                ..Call::default()
            };
            docket.place_order(call, order("alice", &[("tea", 1, 100)])).await
        }
    };
    let results = futures::future::join_all((0..100).map(place)).await;
    let placed = results.iter().filter(|result| result.is_ok()).count();
    let overloaded = |result: &Result<_, CallError>| matches!(result, Err(CallError::Overloaded { .. }));
    assert_eq!(
        placed + results.iter().filter(|result| overloaded(result)).count(),
        100
    );
    assert!((1..100).contains(&placed), "{placed} of 100 were placed");
    let late = Call {
        deadline: Some(Instant::now() - Duration::from_millis(1)),
        ..Call::default()
    };
    let late = shop
        .docket
        .place_order(late, order("alice", &[("tea", 1, 100)]))
        .await;
    assert_eq!(late.unwrap_err(), CallError::DeadlineExceeded);
    assert_eq!(shop.stock("tea").await, (1_000, placed as i64));
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_waited_in_a_busy_customers_queue_until_it_was_too_late_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let (armed, first) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(true));
    let (busy, over) = (armed.clone(), Arc::new(AtomicBool::new(false)));
    let is_over = over.clone();
    // The customer is busy with its first message until the others' time is up.
    let before = BeforeDecision(Arc::new(move |kind: &str, _: &str| {
        if kind == "customer" && busy.load(Ordering::Acquire) && first.swap(false, Ordering::AcqRel) {
            let begun = Instant::now();
            while !is_over.load(Ordering::Acquire) && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }));
    let shop = Shop::open_with(Options {
        before_decision: Some(before),
        ..Options::new(dir.path())
    })
    .await;
    shop.customer("alice", 1_000_000).await;
    shop.item("tea", 100, 1_000).await;
    let confirmed = shop.place("r", "alice", &[("tea", 1, 100)]).await.unwrap();
    armed.store(true, Ordering::Release);
    let in_time = |n: u32, millis| Call {
        deadline: Some(Instant::now() + Duration::from_millis(millis)),
        request_id: Some(format!("r{n}")),
        ..Call::default()
    };
    let placing = (0..20).map(|n| {
        let docket = shop.docket.clone();
        let call = in_time(n, 100);
        tokio::spawn(async move { docket.place_order(call, order("alice", &[("tea", 1, 100)])).await })
    });
    let mut placing = placing.collect::<Vec<_>>();
    let docket = shop.docket.clone();
    let (call, id) = (in_time(20, 100), confirmed.id);
    placing.push(tokio::spawn(
        async move { docket.cancel_order(call, id, None).await },
    ));
    // The last one has time enough.
    let docket = shop.docket.clone();
    let call = in_time(21, 30_000);
    let patient =
        tokio::spawn(async move { docket.place_order(call, order("alice", &[("tea", 1, 100)])).await });
    for placed in placing {
        assert_eq!(placed.await.unwrap().unwrap_err(), CallError::DeadlineExceeded);
    }
    over.store(true, Ordering::Release);
    let patient = patient.await.unwrap().unwrap();
    let all = ListOrders {
        limit: 100,
        ..ListOrders::default()
    };
    let listed = shop
        .docket
        .list_orders(Call::default(), all)
        .await
        .unwrap()
        .orders;
    let now: Vec<_> = listed.iter().map(|order| (order.id, order.state)).collect();
    assert_eq!(
        now,
        [
            (patient.id, OrderState::Confirmed),
            (confirmed.id, OrderState::Confirmed)
        ]
    );
    assert_eq!(shop.stock("tea").await, (1_000, 2));
    // Nothing was remembered of them: they are done when they are sent again.
    shop.place("r0", "alice", &[("tea", 1, 100)]).await.unwrap();
    let cancelled = shop
        .docket
        .cancel_order(in_time(20, 10_000), confirmed.id, None)
        .await;
    assert_eq!(cancelled.unwrap().state, OrderState::Cancelled);
    shop.docket.validate().unwrap();
    shop.close().await;
}
