//! Orders that are held: once for each reason, also when asked twice, over restarts, snapshots and in the feed.

use std::time::{Duration, Instant};

use docket_actors::{Call, CallError, Options, WatchOrders};
use docket_engine::{ChangeKind, HoldReason, OrderId, OrderState, Version, access::Username};
use docket_proto::feed::FeedFrom;
use futures::future::join_all;

use crate::shop::{Shop, reason};

fn user(name: &str) -> Username {
    Username::new(name).unwrap()
}

fn request(id: &str) -> Call {
    Call {
        request_id: Some(id.to_owned()),
        ..Call::default()
    }
}

async fn open(dir: &std::path::Path) -> Shop {
    let mut options = Options::new(dir);
    options.node.shards = Some(2);
    options.node.snapshot_bytes_min = 4_096;
    Shop::open_with(options).await
}

async fn sold(shop: &Shop) -> OrderId {
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 1, 1_000_000).await;
    shop.place("first", "ada", &[("tea", 2, 1)]).await.unwrap().id
}

async fn hold(shop: &Shop, call: Call, id: OrderId, why: HoldReason) -> Result<Version, CallError> {
    let placed = shop
        .docket
        .hold_order(call, id, (why, "look".into()), user("shop"), None)
        .await;
    placed.map(|order| order.version)
}

async fn active(shop: &Shop, id: OrderId) -> Vec<HoldReason> {
    let order = shop.docket.get_order(Call::default(), id).await.unwrap();
    order.active_holds().map(|hold| hold.reason).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_stays_over_restarts_and_snapshots_and_ends_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = open(dir.path()).await;
    let id = sold(&shop).await;
    let held = hold(&shop, request("h1"), id, HoldReason::Address).await.unwrap();
    hold(&shop, request("h2"), id, HoldReason::Stock).await.unwrap();
    for round in 0..3 {
        shop.close().await;
        shop = open(dir.path()).await;
        assert_eq!(active(&shop, id).await, [HoldReason::Address, HoldReason::Stock]);
        // The same again is answered, and changes nothing.
        hold(&shop, request("h1"), id, HoldReason::Address).await.unwrap();
        let new = hold(&shop, request(&format!("new-{round}")), id, HoldReason::Address).await;
        assert!(matches!(new, Err(CallError::Rejected(r)) if r.reason() == "HOLD_EXISTS"));
        let other = hold(&shop, request("h1"), id, HoldReason::Stock).await;
        assert!(matches!(other, Err(CallError::Rejected(r)) if r.reason() == "REQUEST_ID_REUSED"));
        // So that there is a snapshot with it.
        let placed = join_all((0..100).map(|n| {
            let (shop, request) = (&shop, format!("{round}-{n}"));
            async move { shop.place(&request, "ada", &[("tea", 1, 1)]).await.map(drop) }
        }));
        assert!(placed.await.iter().all(Result::is_ok));
    }
    let release = |call: Call, why, expected| {
        let docket = &shop.docket;
        async move {
            docket
                .release_order_hold(call, id, why, user("ops"), expected)
                .await
        }
    };
    let stale = release(Call::default(), HoldReason::Stock, Some(held)).await;
    assert_eq!(reason(stale), "STALE_ETAG");
    let released = release(request("r1"), HoldReason::Stock, None).await.unwrap();
    assert_eq!(released.active_holds().count(), 1);
    assert_eq!(
        released.version,
        release(request("r1"), HoldReason::Stock, None)
            .await
            .unwrap()
            .version,
        "the same again"
    );
    let again = release(Call::default(), HoldReason::Stock, None).await;
    assert_eq!(reason(again), "HOLD_NOT_FOUND");
    let cancelled = shop.docket.cancel_order(Call::default(), id, None).await.unwrap();
    assert_eq!(cancelled.state, OrderState::Cancelled);
    assert!(active(&shop, id).await.is_empty());
    let late = release(Call::default(), HoldReason::Address, None).await;
    assert_eq!(reason(late), "NOT_HOLDABLE");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_hold_an_order_for_one_reason_at_once_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(dir.path()).await;
    let id = sold(&shop).await;
    for round in 0..20 {
        let why = HoldReason::ALL[round % HoldReason::ALL.len()];
        let calls = (0..8).map(|n| hold(&shop, request(&format!("{round}-{n}")), id, why));
        let held = join_all(calls).await;
        let (done, refused): (Vec<_>, Vec<_>) = held.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1, "{refused:?}");
        // And of one request that is sent eight times all are told so.
        let release = |_| {
            let call = request(&format!("release-{round}"));
            shop.docket.release_order_hold(call, id, why, user("ops"), None)
        };
        for released in join_all((0..8).map(release)).await {
            assert_eq!(released.unwrap().active_holds().count(), 0);
        }
    }
    let nobody = OrderId::compose(1, 2, 3);
    let missing = hold(&shop, Call::default(), nobody, HoldReason::Stock).await;
    assert!(matches!(missing, Err(CallError::Rejected(r)) if r.reason() == "ORDER_NOT_FOUND"));
    shop.close().await;
}

/// A hold on its way to the log is waited for: another life of the order's actor would decide without it, and be refused by the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_hold_is_on_its_way_is_decided_behind_it() {
    const ORDERS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let shop = open(dir.path()).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 1, 1_000_000).await;
    let orders = (0..ORDERS).map(|n| {
        let shop = &shop;
        async move {
            let id = shop
                .place(&format!("{n}"), "ada", &[("tea", 1, 1)])
                .await
                .unwrap()
                .id;
            let holds = async {
                hold(shop, Call::default(), id, HoldReason::Stock).await.unwrap();
            };
            // Polled behind the first, so that it is on its way.
            let more = async {
                tokio::task::yield_now().await;
                hold(shop, Call::default(), id, HoldReason::Address)
                    .await
                    .unwrap();
                shop.docket.cancel_order(Call::default(), id, None).await.unwrap()
            };
            let ((), cancelled) = tokio::join!(holds, more);
            (id, cancelled.version)
        }
    });
    for (id, version) in join_all(orders).await {
        let order = shop.docket.get_order(Call::default(), id).await.unwrap();
        assert_eq!((order.version, order.holds().len()), (version, 2));
        assert!(version >= Version(6), "{order:?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_tells_of_holds_as_the_order_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(dir.path()).await;
    let id = sold(&shop).await;
    hold(&shop, Call::default(), id, HoldReason::Payment)
        .await
        .unwrap();
    hold(&shop, Call::default(), id, HoldReason::Operator)
        .await
        .unwrap();
    let docket = &shop.docket;
    docket
        .release_order_hold(Call::default(), id, HoldReason::Payment, user("ops"), None)
        .await
        .unwrap();
    docket.cancel_order(Call::default(), id, None).await.unwrap();
    let watch = WatchOrders {
        customer: None,
        states: Vec::new(),
        from: vec![FeedFrom::Oldest; 2],
    };
    let mut watching = docket.watch_orders(&Call::default(), watch).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 7 {
        let until = Instant::now() + Duration::from_secs(30);
        let found = watching.next(100, until).await.unwrap();
        assert!(!found.is_empty(), "only {told:?}");
        told.extend(found.into_iter().map(|change| {
            let held: Vec<_> = change.order.active_holds().map(|hold| hold.reason).collect();
            (change.change.kind, held)
        }));
    }
    assert_eq!(
        told,
        [
            (ChangeKind::Placed, vec![]),
            (ChangeKind::Confirmed, vec![]),
            (ChangeKind::Held, vec![HoldReason::Payment]),
            (ChangeKind::Held, vec![HoldReason::Payment, HoldReason::Operator]),
            (ChangeKind::HoldReleased, vec![HoldReason::Operator]),
            (ChangeKind::Cancelled, vec![]),
            (ChangeKind::Released, vec![]),
        ]
    );
    drop(watching);
    shop.close().await;
}
