//! Orders that are edited: stock and money exact whatever is asked, refused or fails on the way, over restarts and in the feed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use docket_actors::{BeforeDecision, Call, CallError, Options, Shipment, VerifyPace, WatchOrders};
use docket_engine::{ChangeKind, CustomerId, HoldReason, Order, OrderId, OrderState, PaymentState, Version};
use docket_proto::feed::FeedFrom;

use crate::{
    panics::Panics,
    shop::{Shop, part, reason, request, small, user},
};

async fn edit(
    shop: &Shop,
    call: Call,
    id: OrderId,
    lines: &[(u16, i64)],
    version: u64,
) -> Result<Arc<Order>, CallError> {
    shop.docket
        .edit_order(call, id, part(lines), user("ada"), Version(version))
        .await
}

async fn ship(shop: &Shop, id: OrderId, lines: &[(u16, i64)]) -> Arc<Order> {
    let shipment = Shipment {
        lines: part(lines),
        fulfilment: None,
        carrier: "".into(),
        tracking: "".into(),
    };
    let asked = shop
        .docket
        .ship_order(Call::default(), id, shipment, user("shop"), None);
    asked.await.unwrap()
}

async fn get(shop: &Shop, id: OrderId) -> Arc<Order> {
    shop.docket.get_order(Call::default(), id).await.unwrap()
}

/// The order, once nothing is left to be asked of others.
async fn settled(shop: &Shop, id: OrderId) -> Arc<Order> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let order = get(shop, id).await;
        if order.is_settled() {
            return order;
        }
        assert!(Instant::now() < until, "{order:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is reserved of tea and of pots, and what the customer holds.
async fn books(shop: &Shop) -> (i64, i64, i64) {
    let (tea, pot) = (shop.stock("tea").await.1, shop.stock("pot").await.1);
    (tea, pot, shop.held("ada").await)
}

async fn is_clean(shop: &Shop) {
    shop.docket.validate().unwrap();
    let pace = VerifyPace {
        look_every: Duration::from_millis(20),
        grace: Duration::from_secs(2),
        give_up: Duration::from_secs(10),
    };
    let report = shop.docket.verify(pace).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

async fn sold(shop: &Shop) -> OrderId {
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    let lines = [("tea", 5, 7), ("pot", 2, 1_000), ("tea", 3, 7)];
    shop.place("first", "ada", &lines).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_edited_and_the_books_follow_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    assert_eq!(books(&shop).await, (8, 2, 2_056));
    // How many of which lines, the version that this makes, and the books.
    type Lines = &'static [(u16, i64)];
    let steps: [(Lines, u64, (i64, i64, i64)); 6] = [
        // Less: edited, and released.
        (&[(0, 2)], 4, (5, 2, 2_035)),
        // More: begun, and edited.
        (&[(1, 4)], 6, (5, 4, 4_035)),
        // More of one and less of another, of which something is given back.
        (&[(0, 4), (1, 1)], 9, (7, 1, 1_049)),
        // A line is taken off.
        (&[(2, 0)], 11, (4, 1, 1_028)),
        // As many of the item as before, on other lines.
        (&[(0, 3), (2, 1)], 12, (4, 1, 1_028)),
        // As it is.
        (&[(0, 3)], 12, (4, 1, 1_028)),
    ];
    let mut before = 2;
    for (n, (lines, version, expected)) in steps.into_iter().enumerate() {
        let call = || request(&format!("step-{n}"));
        let done = edit(&shop, call(), id, lines, before).await.unwrap();
        assert_eq!(
            (done.state, done.version.0),
            (OrderState::Confirmed, version),
            "step {n}"
        );
        for (line, quantity) in lines {
            assert_eq!(done.lines[usize::from(*line)].quantity.0, *quantity);
        }
        assert_eq!((done.total.0, done.held()), (expected.2, done.total));
        assert_eq!(books(&shop).await, expected, "step {n}");
        // The same again is answered, and does nothing.
        assert_eq!(edit(&shop, call(), id, lines, before).await.unwrap(), done);
        is_clean(&shop).await;
        shop.close().await;
        shop = Shop::open_with(small(dir.path())).await;
        assert_eq!(*get(&shop, id).await, *done);
        assert_eq!(books(&shop).await, expected, "step {n}, after a restart");
        assert_eq!(edit(&shop, call(), id, lines, before).await.unwrap(), done);
        let other = edit(&shop, call(), id, &[(0, 9)], before).await;
        assert_eq!(reason(other), "REQUEST_ID_REUSED");
        before = version;
    }
    ship(&shop, id, &[(0, 1)]).await;
    // All that is left is taken off: nothing is open any more.
    let rest = edit(&shop, Call::default(), id, &[(0, 1), (1, 0), (2, 0)], 14)
        .await
        .unwrap();
    assert_eq!((rest.state, rest.total.0), (OrderState::Fulfilled, 7));
    assert_eq!(rest.payment().state, PaymentState::Captured);
    assert_eq!(books(&shop).await, (0, 0, 0));
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_edit_gives_back_all_that_it_took_and_stays_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    // Of tea there is enough; of pots there is not.
    let more: &[(u16, i64)] = &[(0, 50), (1, 101)];
    for n in 0..3 {
        let refused = edit(&shop, request("too-many"), id, more, 2).await;
        assert_eq!(reason(refused), "INSUFFICIENT_STOCK", "{n}");
        let order = settled(&shop, id).await;
        // Begun, refused, released; the same again does nothing.
        assert_eq!((order.version.0, order.total.0), (5, 2_056));
        assert_eq!(books(&shop).await, (8, 2, 2_056), "{n}");
        is_clean(&shop).await;
        if n == 1 {
            shop.close().await;
            shop = Shop::open_with(small(dir.path())).await;
        }
    }
    // Nothing is recorded of what the customer cannot pay, and it may be asked again.
    let credit = edit(&shop, request("too-dear"), id, &[(1, 1_000)], 5).await;
    assert_eq!(reason(credit), "INSUFFICIENT_CREDIT");
    assert_eq!(get(&shop, id).await.version.0, 5);
    shop.docket
        .hold_order(
            Call::default(),
            id,
            (HoldReason::Stock, "".into()),
            user("shop"),
            None,
        )
        .await
        .unwrap();
    // What is held can be edited.
    let edited = edit(&shop, Call::default(), id, &[(0, 6)], 6).await.unwrap();
    assert_eq!((edited.version.0, edited.active_holds().count()), (8, 1));
    let released = shop
        .docket
        .release_order_hold(Call::default(), id, HoldReason::Stock, user("ops"), None);
    released.await.unwrap();
    assert_eq!(ship(&shop, id, &[(1, 2)]).await.version.0, 11);
    for (lines, version, why) in [
        (&[(0, 1)][..], 10, "STALE_ETAG"),
        (&[(1, 1)], 11, "QUANTITY_TOO_LOW"),
        (&[(3, 1)], 11, "LINE_NOT_FOUND"),
    ] {
        assert_eq!(
            reason(edit(&shop, Call::default(), id, lines, version).await),
            why
        );
    }
    let stranger = Call {
        owner: Some(CustomerId::new("bob").unwrap()),
        ..Call::default()
    };
    assert_eq!(
        reason(edit(&shop, stranger, id, &[(0, 1)], 11).await),
        "ORDER_NOT_FOUND"
    );
    let other = shop.place("other", "ada", &[("tea", 1, 7)]).await.unwrap().id;
    let nothing = edit(&shop, Call::default(), other, &[(0, 0)], 2).await;
    assert_eq!(reason(nothing), "EDIT_LEAVES_NOTHING");
    shop.docket
        .cancel_order(Call::default(), other, None)
        .await
        .unwrap();
    let gone = edit(&shop, Call::default(), other, &[(0, 2)], 4).await;
    assert_eq!(reason(gone), "NOT_EDITABLE");
    is_clean(&shop).await;
    shop.close().await;
}

/// Whichever message of whichever actor fails: the edit is done once, though it was asked without a request id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_actor_on_the_way_edits_nothing_twice() {
    for kind in ["order", "customer", "item"] {
        let dir = tempfile::tempdir().unwrap();
        let (before, panics) = Panics::of(kind);
        let shop = Shop::open_with(Options {
            before_decision: Some(before),
            ..small(dir.path())
        })
        .await;
        shop.customer("ada", 1_000_000).await;
        shop.item("tea", 7, 1_000).await;
        shop.item("pot", 1_000, 130).await;
        for at in 1..9 {
            let lines = [("tea", 9, 7), ("pot", 9, 1_000)];
            let id = shop.place(&format!("{at}"), "ada", &lines).await.unwrap().id;
            panics.arm(at);
            let edited = edit(&shop, Call::default(), id, &[(0, 12), (1, 5)], 2).await;
            let after_edit = settled(&shop, id).await.version.0;
            let refused = edit(&shop, Call::default(), id, &[(0, 13), (1, 500)], after_edit).await;
            panics.disarm();
            match edited {
                Ok(_) | Err(CallError::OutcomeUnknown) => {}
                Err(other) => panic!("{kind} message {at}: {other}"),
            }
            match refused {
                Err(CallError::Rejected(_) | CallError::OutcomeUnknown) => {}
                other => panic!("{kind} message {at}: {other:?}"),
            }
            let order = settled(&shop, id).await;
            // Begun, edited, released; begun, refused, released.
            assert_eq!(
                (after_edit, order.version.0),
                (5, 8),
                "{kind} message {at}: {order:?}"
            );
            assert_eq!(order.held().0, 12 * 7 + 5_000, "{kind} message {at}");
        }
        assert_eq!(books(&shop).await, (8 * 12, 8 * 5, 8 * 5_084), "{kind}");
        is_clean(&shop).await;
        shop.close().await;
    }
}

/// A node of which every message of this kind fails, from the moment that it is told so.
async fn failing(dir: &std::path::Path, kind: &'static str, name: &'static str) -> (Shop, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let seen = fails.clone();
    let before = BeforeDecision(Arc::new(move |k: &str, n: &str| {
        if k == kind && n == name && seen.load(Ordering::Acquire) {
            panic!("a test made all of {kind} {name} panic");
        }
    }));
    let shop = Shop::open_with(Options {
        before_decision: Some(before),
        ..small(dir)
    })
    .await;
    (shop, fails)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_always_fails_refuses_the_edit_and_gives_back_later() {
    let dir = tempfile::tempdir().unwrap();
    let (shop, fails) = failing(dir.path(), "item", "pot").await;
    let id = sold(&shop).await;
    fails.store(true, Ordering::Release);
    let refused = edit(&shop, request("more"), id, &[(0, 6), (1, 3)], 2).await;
    assert!(refused.is_err());
    let order = get(&shop, id).await;
    assert_eq!(
        order.edits()[0].refusal().map(|why| why.reason()),
        Some("ITEM_FAILED")
    );
    assert!(
        !order.is_settled(),
        "what may have been reserved is to be given back"
    );
    let ships = shop.docket.ship_order(
        Call::default(),
        id,
        Shipment {
            lines: part(&[(0, 1)]),
            fulfilment: None,
            carrier: "".into(),
            tracking: "".into(),
        },
        user("shop"),
        None,
    );
    assert!(ships.await.is_err());
    shop.close().await;
    let shop = Shop::open_with(small(dir.path())).await;
    let order = settled(&shop, id).await;
    assert_eq!((order.version.0, order.total.0), (5, 2_056));
    assert_eq!(books(&shop).await, (8, 2, 2_056));
    assert_eq!(
        reason(edit(&shop, request("more"), id, &[(0, 6), (1, 3)], 2).await),
        "ITEM_FAILED"
    );
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_a_node_left_half_way_is_carried_on_with_by_the_next_life() {
    // There is enough of it, and there is not.
    for (pots, total) in [(3, 3_063), (101, 2_056)] {
        let dir = tempfile::tempdir().unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let (count, armed) = (seen.clone(), Arc::new(AtomicBool::new(false)));
        let is_armed = armed.clone();
        // The customer takes what the edit holds, and never hears what came of it.
        let before = BeforeDecision(Arc::new(move |kind: &str, _: &str| {
            if kind == "customer"
                && is_armed.load(Ordering::Acquire)
                && count.fetch_add(1, Ordering::AcqRel) > 0
            {
                panic!("a test made the customer panic");
            }
        }));
        let shop = Shop::open_with(Options {
            before_decision: Some(before),
            ..small(dir.path())
        })
        .await;
        let id = sold(&shop).await;
        // So that its confirmation is in the log, and the customer is told of nothing but the edit.
        let hold = (HoldReason::Stock, "".into());
        let held = shop
            .docket
            .hold_order(Call::default(), id, hold, user("shop"), None);
        assert_eq!(held.await.unwrap().version.0, 3);
        armed.store(true, Ordering::Release);
        let more = [(0, 6), (1, pots)];
        let asked = edit(&shop, request("more"), id, &more, 3);
        let _given_up = tokio::time::timeout(Duration::from_secs(2), asked).await;
        let order = get(&shop, id).await;
        assert_eq!((order.version.0, order.total.0), (4, 2_056), "{order:?}");
        assert!(order.open_edit().is_some() && order.held().0 > 2_056);
        shop.close().await;

        let shop = Shop::open_with(small(dir.path())).await;
        let order = settled(&shop, id).await;
        let done = pots == 3;
        assert_eq!(order.total.0, total);
        assert_eq!(order.version.0, if done { 5 } else { 6 });
        let again = edit(&shop, request("more"), id, &more, 3).await;
        match done {
            true => assert_eq!(again.unwrap(), order),
            false => assert_eq!(reason(again), "INSUFFICIENT_STOCK"),
        }
        let (tea, pot) = if done { (9, 3) } else { (8, 2) };
        assert_eq!(books(&shop).await, (tea, pot, total));
        is_clean(&shop).await;
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_tells_of_edits_as_the_order_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    edit(&shop, Call::default(), id, &[(0, 6), (1, 1)], 2)
        .await
        .unwrap();
    let refused = edit(&shop, Call::default(), id, &[(0, 600)], 5).await;
    assert_eq!(reason(refused), "INSUFFICIENT_STOCK");
    edit(&shop, Call::default(), id, &[(2, 0)], 8).await.unwrap();
    let expected = [
        (ChangeKind::Placed, 2_056),
        (ChangeKind::Confirmed, 2_056),
        (ChangeKind::EditBegun, 2_056),
        (ChangeKind::Edited, 1_063),
        (ChangeKind::Released, 1_063),
        (ChangeKind::EditBegun, 1_063),
        (ChangeKind::EditRefused, 1_063),
        (ChangeKind::Released, 1_063),
        (ChangeKind::Edited, 1_042),
        (ChangeKind::Released, 1_042),
    ];
    let watch = WatchOrders {
        customer: Some(CustomerId::new("ada").unwrap()),
        states: Vec::new(),
        from: vec![FeedFrom::Oldest],
    };
    let mut watching = shop.docket.watch_orders(&Call::default(), watch).await.unwrap();
    let mut told = Vec::new();
    while told.len() < expected.len() {
        let until = Instant::now() + Duration::from_secs(30);
        let found = watching.next(100, until).await.unwrap();
        assert!(!found.is_empty(), "only {told:?}");
        told.extend(
            found
                .into_iter()
                .map(|change| (change.change.kind, change.order.total.0)),
        );
    }
    assert_eq!(told, expected);
    shop.close().await;
}
