//! A shard that loses its leader while others need it. (One node alone cannot lose one from outside.)

use std::time::Duration;

use docket_engine::{OrderId, OrderState, Quantity};

use super::*;
use crate::{Call, CallError, Options, PlaceOrder, docket::PANICS_MAX, shop::shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_not_refused_for_an_item_that_panics_while_the_item_s_shard_has_no_leader() {
    let dir = tempfile::tempdir().unwrap();
    let armed = Arc::new(OnceLock::<Arc<Shard>>::new());
    let (seen, disarmed) = (armed.clone(), Arc::new(AtomicBool::new(false)));
    let (panics, is_over) = (AtomicU32::new(0), disarmed.clone());
    let before = move |kind: &str, _: &str| {
        let Some(shard) = seen
            .get()
            .filter(|_| kind == "item" && !is_over.load(Ordering::Acquire))
        else {
            return;
        };
        // With the last panic that it takes to be refused, the shard is led elsewhere.
        if panics.fetch_add(1, Ordering::AcqRel) + 1 == PANICS_MAX {
            shard.set_leading(false);
        }
        panic!("a test made the item panic");
    };
    let (docket, order) = shop(Options {
        before_decision: Some(BeforeDecision(Arc::new(before))),
        ..Options::new(dir.path())
    })
    .await;
    let (customer, sku) = (order.customer.clone(), order.lines[0].sku.clone());
    let shard = docket.inner.router.of_key(sku.as_str()).clone();
    assert!(armed.set(shard.clone()).is_ok());
    let call = Call {
        deadline: Some(Instant::now() + Duration::from_millis(500)),
        ..Call::default()
    };
    let placed = docket.place_order(call, order).await;
    assert_eq!(placed.unwrap_err(), CallError::DeadlineExceeded);
    assert!(!shard.is_leading(), "the item has panicked often enough");
    let home = docket.inner.router.of_key(customer.as_str());
    let state = || {
        home.committed
            .orders
            .all()
            .iter()
            .map(|order| order.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(state(), [OrderState::Pending]);

    disarmed.store(true, Ordering::Release);
    shard.set_leading(true);
    let asked = Instant::now();
    while state() != [OrderState::Confirmed] {
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", state());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shard.committed.items.get(&sku).unwrap().reserved, Quantity(2));
    docket.validate().unwrap();
    docket.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_dropped_behind_a_read_check_is_steady_and_yet_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (docket, PlaceOrder { customer, .. }) = shop(Options::new(dir.path())).await;
    let router = docket.inner.router.clone();
    let home = router.of_key(customer.as_str()).clone();
    let drops = router.drops();
    router.nothing_dropped_since(drops).unwrap();
    // Looked for in memory, and before the archive is asked the replica is dropped: what was in it is in neither.
    let as_of = home.committed().as_of();
    let ids = || vec![OrderId(7)];
    assert_eq!(router.archived_orders(&home, ids(), as_of).await.unwrap(), []);

    home.committed().begin_anew();
    router.archived_orders(&home, ids(), as_of).await.unwrap_err();
    home.committed().begin_restoring();
    let as_of = home.committed().as_of();
    router.archived_orders(&home, ids(), as_of).await.unwrap_err();
    home.committed().end_restoring();
    router.archived_orders(&home, ids(), as_of).await.unwrap_err();
    assert!(home.committed().customers.get(&customer).is_none());
    assert!(router.restores().is_some(), "nothing is being replaced any more");
    router.nothing_dropped_since(drops).unwrap_err();
    // Whoever watches goes on with what the next replica makes, and is not told that it is too late.
    assert_eq!(home.committed().applied_next(), 0);
    docket.close(Duration::from_secs(10)).await.unwrap();
}
