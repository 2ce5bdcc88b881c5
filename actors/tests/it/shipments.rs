//! Orders that are shipped and cancelled in part: stock and money exact whoever asks how often, over restarts, snapshots, panics, and in
//! the feed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{Call, CallError, Options, Shipment, WatchOrders};
use docket_engine::{
    Amount, ChangeKind, CustomerId, HoldReason, Order, OrderId, OrderState, PaymentState, Quantity,
};
use docket_proto::feed::FeedFrom;
use futures::future::join_all;

use crate::{
    panics::Panics,
    shop::{Shop, part, reason, request, small, user},
};

async fn ship(shop: &Shop, call: Call, id: OrderId, lines: &[(u16, i64)]) -> Result<Arc<Order>, CallError> {
    let shipment = Shipment {
        lines: part(lines),
        fulfilment: None,
        carrier: "DHL".into(),
        tracking: "JD014".into(),
    };
    shop.docket
        .ship_order(call, id, shipment, user("shop"), None)
        .await
}

async fn cancel(shop: &Shop, call: Call, id: OrderId, lines: &[(u16, i64)]) -> Result<Arc<Order>, CallError> {
    shop.docket.cancel_order_lines(call, id, part(lines), None).await
}

/// What the customer has: balance and holds.
async fn account(shop: &Shop, id: &str) -> (i64, i64) {
    let id = CustomerId::new(id).unwrap();
    let customer = shop.docket.get_customer(Call::default(), id).await.unwrap();
    (customer.balance.0, customer.held.0)
}

async fn get(shop: &Shop, id: OrderId) -> Arc<Order> {
    shop.docket.get_order(Call::default(), id).await.unwrap()
}

/// So that there is a snapshot of what was before.
async fn trade(shop: &Shop, round: usize) {
    let placed = join_all((0..100).map(|n| {
        let request = format!("{round}-{n}");
        async move { shop.place(&request, "bob", &[("pin", 1, 1)]).await.map(drop) }
    }));
    assert!(placed.await.iter().all(Result::is_ok));
}

async fn sold(shop: &Shop) -> OrderId {
    shop.customer("ada", 1_000_000).await;
    shop.customer("bob", 1_000_000).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    shop.item("pin", 1, 1_000_000).await;
    let lines = [("tea", 5, 7), ("pot", 2, 1_000), ("tea", 3, 7)];
    shop.place("first", "ada", &lines).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_shipped_in_parts_and_the_books_follow_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    assert_eq!(account(&shop, "ada").await, (0, 2_056));
    // What is asked, what becomes of the order, its version; then stock of tea and pot, and the account.
    type Books = ((i64, i64), (i64, i64), (i64, i64));
    type Part = &'static [(u16, i64)];
    let steps: [(bool, Part, OrderState, u64, Books); 4] = [
        (
            true,
            &[(0, 2), (1, 1)],
            OrderState::PartiallyFulfilled,
            4,
            ((98, 6), (99, 1), (-1_014, 1_042)),
        ),
        (
            false,
            &[(0, 1), (2, 3)],
            OrderState::PartiallyFulfilled,
            6,
            ((98, 2), (99, 1), (-1_014, 1_014)),
        ),
        (
            true,
            &[(1, 1)],
            OrderState::PartiallyFulfilled,
            8,
            ((98, 2), (98, 0), (-2_014, 14)),
        ),
        (
            true,
            &[],
            OrderState::Fulfilled,
            10,
            ((96, 0), (98, 0), (-2_028, 0)),
        ),
    ];
    for (n, (ships, lines, state, version, books)) in steps.into_iter().enumerate() {
        let step = |call| async {
            match ships {
                true => ship(&shop, call, id, lines).await,
                false => cancel(&shop, call, id, lines).await,
            }
        };
        let call = || request(&format!("step-{n}"));
        let done = step(call()).await.unwrap();
        assert_eq!((done.state, done.version.0), (state, version), "step {n}");
        let found = (
            shop.stock("tea").await,
            shop.stock("pot").await,
            account(&shop, "ada").await,
        );
        assert_eq!(found, books, "step {n}");
        // The same again is answered, and does nothing.
        assert_eq!(step(call()).await.unwrap().version, done.version);
        trade(&shop, n).await;
        shop.docket.validate().unwrap();
        shop.close().await;
        shop = Shop::open_with(small(dir.path())).await;
        assert_eq!(*get(&shop, id).await, *done);
        let found = (
            shop.stock("tea").await,
            shop.stock("pot").await,
            account(&shop, "ada").await,
        );
        assert_eq!(found, books, "step {n}, after a restart");
        let again = match ships {
            true => ship(&shop, call(), id, lines).await,
            false => cancel(&shop, call(), id, lines).await,
        };
        assert_eq!(again.unwrap().version, done.version);
        let other = ship(&shop, call(), id, &[(0, 9)]).await;
        assert_eq!(reason(other), "REQUEST_ID_REUSED");
    }
    let order = get(&shop, id).await;
    let payment = order.payment();
    assert_eq!(
        (
            payment.state,
            payment.authorized,
            payment.captured,
            payment.voided
        ),
        (PaymentState::Captured, Amount(2_056), Amount(2_028), Amount(28))
    );
    let counts = |of: Vec<Quantity>| of.into_iter().map(|n| n.0).collect::<Vec<_>>();
    assert_eq!(counts(order.fulfilled_quantities()), [4, 2, 0]);
    assert_eq!(counts(order.cancelled_quantities()), [1, 0, 3]);
    assert_eq!(
        reason(ship(&shop, Call::default(), id, &[]).await),
        "NOT_SHIPPABLE"
    );
    assert_eq!(
        reason(cancel(&shop, Call::default(), id, &[]).await),
        "NOT_CANCELLABLE"
    );

    // Arrived once, however often that is said.
    let deliver = |n| {
        let docket = &shop.docket;
        async move {
            docket
                .deliver_fulfilment(Call::default(), id, n, user("driver"), None)
                .await
        }
    };
    assert_eq!(reason(deliver(4).await), "FULFILMENT_NOT_FOUND");
    let delivered = deliver(2).await.unwrap();
    assert_eq!(deliver(2).await.unwrap().version, delivered.version);
    assert_eq!(
        delivered.fulfilment(2).unwrap().delivered.as_ref().unwrap().by,
        Some(user("driver"))
    );
    // What was owed can be paid, and what was never paid in cannot be taken out.
    let credit = async |amount| {
        let ada = CustomerId::new("ada").unwrap();
        shop.docket
            .credit_account(Call::default(), ada, Amount(amount), None)
            .await
    };
    assert!(credit(-1).await.is_err());
    assert_eq!(credit(2_000).await.unwrap().balance, Amount(-28));
    assert!(credit(-1).await.is_err());
    assert_eq!(credit(30).await.unwrap().balance, Amount(2));
    assert_eq!(credit(-2).await.unwrap().balance, Amount(0));
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_order_ships_nothing_and_nobody_ships_more_than_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    let held = shop
        .docket
        .hold_order(
            Call::default(),
            id,
            (HoldReason::Stock, "".into()),
            user("shop"),
            None,
        )
        .await
        .unwrap();
    assert_eq!(
        reason(ship(&shop, Call::default(), id, &[(0, 1)]).await),
        "ORDER_HELD"
    );
    // What is held may be called off in part, and stays held.
    let less = cancel(&shop, Call::default(), id, &[(1, 1)]).await.unwrap();
    assert_eq!(less.active_holds().count(), 1);
    let released = shop
        .docket
        .release_order_hold(Call::default(), id, HoldReason::Stock, user("ops"), None);
    released.await.unwrap();
    assert_eq!(
        reason(ship(&shop, Call::default(), id, &[(1, 2)]).await),
        "QUANTITY_NOT_OPEN"
    );
    assert_eq!(
        reason(ship(&shop, Call::default(), id, &[(3, 1)]).await),
        "LINE_NOT_FOUND"
    );
    let stale = shop.docket.ship_order(
        Call::default(),
        id,
        Shipment {
            lines: part(&[]),
            fulfilment: None,
            carrier: "".into(),
            tracking: "".into(),
        },
        user("shop"),
        Some(held.version),
    );
    assert_eq!(reason(stale.await), "STALE_ETAG");
    let nobody = OrderId::compose(1, 2, 3);
    assert_eq!(
        reason(ship(&shop, Call::default(), nobody, &[]).await),
        "ORDER_NOT_FOUND"
    );
    // A cancel of all that is left, once something was shipped, is no CANCELLED order.
    ship(&shop, Call::default(), id, &[(0, 1)]).await.unwrap();
    let rest = shop.docket.cancel_order(Call::default(), id, None).await.unwrap();
    assert_eq!((rest.state, rest.held()), (OrderState::Fulfilled, Amount(0)));
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((99, 0), (100, 0))
    );
    assert_eq!(account(&shop, "ada").await, (-7, 0));
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_ship_and_cancel_at_once_each_piece_goes_once() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 7, 1_000).await;
    let (mut on_hand, mut spent) = (1_000, 0);
    for round in 0..20 {
        let id = shop
            .place(&format!("{round}"), "ada", &[("tea", 10, 7)])
            .await
            .unwrap()
            .id;
        let ships = (0..12).map(|n| {
            let shop = &shop;
            async move {
                match n % 3 {
                    2 => (0, cancel(shop, Call::default(), id, &[(0, 1)]).await),
                    _ => (1, ship(shop, Call::default(), id, &[(0, 1)]).await),
                }
            }
        });
        let (mut shipped, mut cancelled) = (0, 0);
        for (ships, outcome) in join_all(ships).await {
            match outcome {
                Ok(_) if ships == 1 => shipped += 1,
                Ok(_) => cancelled += 1,
                Err(CallError::Rejected(r)) => {
                    assert!(["QUANTITY_NOT_OPEN", "NOT_SHIPPABLE", "NOT_CANCELLABLE"].contains(&r.reason()));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(shipped + cancelled, 10);
        on_hand -= shipped;
        spent += 7 * shipped;
        let order = get(&shop, id).await;
        assert_eq!(
            (order.state, order.captured().0),
            (OrderState::Fulfilled, 7 * shipped)
        );
        assert_eq!(shop.stock("tea").await, (on_hand, 0));
        assert_eq!(account(&shop, "ada").await, (-spent, 0));
    }
    shop.docket.validate().unwrap();
    shop.close().await;
}

/// Whichever message of whichever actor fails: what was asked for is done once, though it was asked without a request id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_actor_on_the_way_ships_nothing_twice() {
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
        shop.item("pot", 1_000, 1_000).await;
        for at in 1..9 {
            let lines = [("tea", 9, 7), ("pot", 9, 1_000)];
            let id = shop.place(&format!("{at}"), "ada", &lines).await.unwrap().id;
            panics.arm(at);
            let shipped = ship(&shop, Call::default(), id, &[(0, 2), (1, 1)]).await;
            let cancelled = cancel(&shop, Call::default(), id, &[(1, 3)]).await;
            panics.disarm();
            for outcome in [shipped, cancelled] {
                // What an item fails over is done later, and its caller is told that nobody knows yet.
                match outcome {
                    Ok(_) | Err(CallError::OutcomeUnknown) => {}
                    Err(other) => panic!("{kind} message {at}: {other}"),
                }
            }
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                let order = get(&shop, id).await;
                if order.is_settled() && order.version.0 >= 6 {
                    assert_eq!(order.version.0, 6, "{kind} message {at}: {order:?}");
                    assert_eq!(order.captured(), Amount(1_014), "{kind} message {at}");
                    assert_eq!(order.held(), Amount(9_063 - 1_014 - 3_000));
                    break;
                }
                assert!(Instant::now() < until, "{kind} message {at}: {order:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(shop.stock("tea").await, (1_000 - 16, 8 * 7), "{kind}");
        assert_eq!(shop.stock("pot").await, (1_000 - 8, 8 * 5), "{kind}");
        assert_eq!(account(&shop, "ada").await, (-8 * 1_014, 8 * 5_049));
        shop.docket.validate().unwrap();
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_tells_of_shipments_as_the_order_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    ship(&shop, Call::default(), id, &[(0, 5)]).await.unwrap();
    shop.docket
        .deliver_fulfilment(Call::default(), id, 1, user("driver"), None)
        .await
        .unwrap();
    cancel(&shop, Call::default(), id, &[(1, 1)]).await.unwrap();
    ship(&shop, Call::default(), id, &[]).await.unwrap();
    let expected = [
        (ChangeKind::Placed, OrderState::Pending, 0),
        (ChangeKind::Confirmed, OrderState::Confirmed, 0),
        (ChangeKind::Shipped, OrderState::PartiallyFulfilled, 35),
        (ChangeKind::Consumed, OrderState::PartiallyFulfilled, 35),
        (ChangeKind::Delivered, OrderState::PartiallyFulfilled, 35),
        (ChangeKind::LinesCancelled, OrderState::PartiallyFulfilled, 35),
        (ChangeKind::Released, OrderState::PartiallyFulfilled, 35),
        (ChangeKind::Shipped, OrderState::Fulfilled, 1_056),
        (ChangeKind::Consumed, OrderState::Fulfilled, 1_056),
    ];
    for states in [
        vec![],
        vec![OrderState::PartiallyFulfilled],
        vec![OrderState::Fulfilled],
    ] {
        let watch = WatchOrders {
            customer: Some(CustomerId::new("ada").unwrap()),
            states: states.clone(),
            from: vec![FeedFrom::Oldest],
        };
        let wanted = |state: &OrderState| states.is_empty() || states.contains(state);
        let expected: Vec<_> = expected
            .iter()
            .copied()
            .filter(|(_, state, _)| wanted(state))
            .collect();
        let mut watching = shop.docket.watch_orders(&Call::default(), watch).await.unwrap();
        let mut told = Vec::new();
        while told.len() < expected.len() {
            let until = Instant::now() + Duration::from_secs(30);
            let found = watching.next(100, until).await.unwrap();
            assert!(!found.is_empty(), "only {told:?}");
            told.extend(found.into_iter().map(|change| {
                let order = &change.order;
                (change.change.kind, order.state, order.captured().0)
            }));
        }
        assert_eq!(told, expected, "{states:?}");
    }
    shop.close().await;
}
