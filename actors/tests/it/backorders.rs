//! Items that promise more than there is: who waits is filled in turn, hears of it, and sends nothing before; over restarts, panics, snapshots and
//! in the feed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{Call, CallError, Options, Shipment, VerifyPace, WatchOrders};
use docket_engine::{
    ChangeKind, CustomerId, Item, Order, OrderId, OrderState, Quantity, Rejection, ReservationState,
    ReturnStep, Sku, Version,
};
use docket_proto::feed::FeedFrom;
use futures::future::join_all;

use crate::{
    panics::Panics,
    shop::{Shop, part, reason, request, small, user},
};

fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

async fn item(shop: &Shop, text: &str) -> Arc<Item> {
    shop.docket.get_item(Call::default(), sku(text)).await.unwrap()
}

/// On hand, reserved, waiting.
async fn stock(shop: &Shop, text: &str) -> (i64, i64, i64) {
    let item = item(shop, text).await;
    (item.on_hand.0, item.reserved.0, item.backordered().0)
}

async fn limit(shop: &Shop, text: &str, limit: i64) {
    let limit = Some(Quantity(limit));
    let updated = shop
        .docket
        .update_item(Call::default(), sku(text), None, None, limit, None);
    updated.await.unwrap();
}

async fn arrive(shop: &Shop, text: &str, more: i64) {
    let adjusted = shop
        .docket
        .adjust_stock(Call::default(), sku(text), Quantity(more), None);
    adjusted.await.unwrap();
}

async fn ship(shop: &Shop, call: Call, id: OrderId, lines: &[(u16, i64)]) -> Result<Arc<Order>, CallError> {
    let shipment = Shipment {
        lines: part(lines),
        fulfilment: None,
        carrier: "".into(),
        tracking: "".into(),
    };
    shop.docket
        .ship_order(call, id, shipment, user("shop"), None)
        .await
}

async fn get(shop: &Shop, id: OrderId) -> Arc<Order> {
    shop.docket.get_order(Call::default(), id).await.unwrap()
}

fn waiting(order: &Order) -> Vec<i64> {
    order.backordered_quantities().iter().map(|it| it.0).collect()
}

/// The order, once so much of its lines waits, as far as it knows.
async fn until_waiting(shop: &Shop, id: OrderId, expected: &[i64]) -> Arc<Order> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let order = get(shop, id).await;
        if waiting(&order) == expected {
            return order;
        }
        assert!(Instant::now() < until, "{order:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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

/// Three of tea, of which ten more may be promised; of pots there are enough.
async fn short(shop: &Shop) {
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 7, 3).await;
    shop.item("pot", 1_000, 100).await;
    limit(shop, "tea", 10).await;
}

const NEVER_HEARD: &[(&str, i64, i64)] = &[("tea", 2, 7), ("pot", 1, 1_000), ("tea", 4, 7)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_waits_for_what_is_not_there_and_is_sent_it_when_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_with(small(dir.path())).await;
    short(&shop).await;
    let placed = shop.place("first", "ada", NEVER_HEARD).await.unwrap();
    let id = placed.id;
    // What is there is the first lines'.
    assert_eq!((placed.state, placed.version.0), (OrderState::Confirmed, 3));
    assert_eq!(waiting(&placed), [0, 0, 3]);
    let told = |order: &Order, line: usize| -> Vec<(ReservationState, i64)> {
        let told = &order.reservations()[line];
        told.iter().map(|(state, many)| (*state, many.0)).collect()
    };
    assert_eq!(
        told(&placed, 2),
        [
            (ReservationState::Committed, 1),
            (ReservationState::Backordered, 3)
        ]
    );
    assert_eq!(stock(&shop, "tea").await, (3, 3, 3));
    assert_eq!(shop.held("ada").await, 1_042);
    // A repeat is answered as it was.
    assert_eq!(shop.place("first", "ada", NEVER_HEARD).await.unwrap(), placed);
    // Of another there is room for seven, and not for eight.
    let beyond = shop.place("beyond", "ada", &[("tea", 8, 7)]).await.unwrap_err();
    let CallError::Rejected(rejection) = beyond else {
        panic!("{beyond:?}")
    };
    assert!(
        matches!(
            &rejection,
            Rejection::InsufficientStock {
                available: Quantity(7),
                ..
            }
        ),
        "{rejection:?}"
    );
    let second = shop.place("second", "ada", &[("tea", 7, 7)]).await.unwrap();
    assert_eq!(waiting(&second), [7]);

    let refused = ship(&shop, request("too-much"), id, &[(2, 2)]).await.unwrap_err();
    let CallError::Rejected(rejection) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        rejection,
        Rejection::QuantityBackordered {
            line: 2,
            wanted: Quantity(2),
            there: Quantity(1)
        }
    );
    // All of it is what is there.
    let sent = ship(&shop, request("what-is-there"), id, &[]).await.unwrap();
    assert_eq!(
        (sent.state, sent.captured().0),
        (OrderState::PartiallyFulfilled, 1_021)
    );
    assert_eq!(waiting(&sent), [0, 0, 3]);
    assert_eq!(stock(&shop, "tea").await, (0, 0, 10));
    is_clean(&shop).await;
    shop.close().await;
    shop = Shop::open_with(small(dir.path())).await;
    assert_eq!(*get(&shop, id).await, *sent);
    assert_eq!(stock(&shop, "tea").await, (0, 0, 10));
    let nothing = ship(&shop, request("nothing"), id, &[]).await;
    assert_eq!(reason(nothing), "QUANTITY_BACKORDERED");

    // Some comes in: whoever came first has it, and is told without asking.
    arrive(&shop, "tea", 4).await;
    assert_eq!(stock(&shop, "tea").await, (4, 4, 6));
    let filled = until_waiting(&shop, id, &[0, 0, 0]).await;
    until_waiting(&shop, second.id, &[6]).await;
    assert_eq!(filled.backorder_news().len(), 2);
    let sent = ship(&shop, Call::default(), id, &[]).await.unwrap();
    assert_eq!((sent.state, sent.captured().0), (OrderState::Fulfilled, 1_042));
    is_clean(&shop).await;
    // The limit takes nothing back, and lets nobody else wait.
    limit(&shop, "tea", 0).await;
    assert_eq!(stock(&shop, "tea").await, (1, 1, 6));
    let none = shop.place("none", "ada", &[("tea", 1, 7)]).await;
    assert_eq!(reason(none), "INSUFFICIENT_STOCK");
    // What is cancelled is what waits, first.
    let less = shop
        .docket
        .cancel_order_lines(Call::default(), second.id, part(&[(0, 4)]), None);
    assert_eq!(waiting(&less.await.unwrap()), [2]);
    assert_eq!(stock(&shop, "tea").await, (1, 1, 2));
    // What comes back is somebody's, too.
    let asked = shop.docket.request_return(
        Call::default(),
        id,
        (part(&[(0, 1)]), "".into()),
        user("ada"),
        None,
    );
    asked.await.unwrap();
    for step in [ReturnStep::Approve, ReturnStep::Receive { restock: true }] {
        let moved = shop
            .docket
            .move_return(Call::default(), id, (1, step), user("shop"), None);
        moved.await.unwrap();
    }
    until_waiting(&shop, second.id, &[1]).await;
    assert_eq!(stock(&shop, "tea").await, (2, 2, 1));
    shop.docket
        .cancel_order(Call::default(), second.id, None)
        .await
        .unwrap();
    assert_eq!(stock(&shop, "tea").await, (2, 0, 0));
    assert!(item(&shop, "tea").await.backorders.is_none());
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipment_asks_what_has_come_in_since() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    short(&shop).await;
    for n in 0..20 {
        let placed = shop
            .place(&format!("{n}"), "ada", &[("tea", 5, 7)])
            .await
            .unwrap();
        let known: i64 = waiting(&placed).iter().sum();
        assert!(known > 0);
        let version = placed.version.0;
        arrive(&shop, "tea", known).await;
        // At once: it cannot have been told, or has just been.
        let asked = || ship(&shop, request(&format!("ship-{n}")), placed.id, &[(0, 5)]);
        let sent = asked().await.unwrap();
        // Filled, shipped, consumed.
        assert_eq!((sent.state, sent.version.0), (OrderState::Fulfilled, version + 3));
        assert!(sent.backorder_news()[1].filled);
        assert_eq!(*asked().await.unwrap(), *sent);
        arrive(&shop, "tea", 3 - stock(&shop, "tea").await.0).await;
    }
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_waits_for_more_behind_others_and_gives_back_what_waits_first() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    short(&shop).await;
    let edit = async |id, lines: &[(u16, i64)], version| {
        shop.docket
            .edit_order(Call::default(), id, part(lines), user("ada"), Version(version))
            .await
    };
    let first = shop
        .place("first", "ada", &[("tea", 3, 7), ("pot", 1, 1_000)])
        .await
        .unwrap();
    let second = shop.place("second", "ada", &[("tea", 2, 7)]).await.unwrap();
    assert_eq!((waiting(&first), waiting(&second)), (vec![0, 0], vec![2]));
    // Begun, edited, and what of it waits.
    let more = edit(first.id, &[(0, 6)], 2).await.unwrap();
    assert_eq!((more.version.0, waiting(&more)), (5, vec![3, 0]));
    let row = |item: &Item| -> Vec<(OrderId, i64)> {
        let row = item.backorders.iter().flat_map(|it| it.row());
        row.map(|it| (it.order, it.quantity.0)).collect()
    };
    assert_eq!(row(&*item(&shop, "tea").await), [(second.id, 2), (first.id, 3)]);
    // Refused for the pots: what was promised meanwhile is taken back, and no more.
    let refused = edit(first.id, &[(0, 9), (1, 500)], 5).await;
    assert_eq!(reason(refused), "INSUFFICIENT_STOCK");
    let until = Instant::now() + Duration::from_secs(60);
    while !get(&shop, first.id).await.is_settled() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(row(&*item(&shop, "tea").await), [(second.id, 2), (first.id, 3)]);
    is_clean(&shop).await;
    // Begun, refused, released.
    let less = edit(first.id, &[(0, 4)], 8).await.unwrap();
    assert_eq!(waiting(&less), [1, 0]);
    assert_eq!(stock(&shop, "tea").await, (3, 3, 3));
    arrive(&shop, "tea", 3).await;
    until_waiting(&shop, first.id, &[0, 0]).await;
    until_waiting(&shop, second.id, &[0]).await;
    is_clean(&shop).await;
    shop.close().await;
}

/// A plan may be of what is not there, and is sent when it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_may_be_planned_and_is_not_sent_before_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    short(&shop).await;
    let id = shop.place("first", "ada", &[("tea", 5, 7)]).await.unwrap().id;
    let planned = shop
        .docket
        .open_fulfilment(Call::default(), id, part(&[]), user("shop"), None);
    planned.await.unwrap();
    let send = async || {
        let shipment = Shipment {
            lines: part(&[]),
            fulfilment: Some(1),
            carrier: "".into(),
            tracking: "".into(),
        };
        shop.docket
            .ship_order(Call::default(), id, shipment, user("shop"), None)
            .await
    };
    assert_eq!(reason(send().await), "QUANTITY_BACKORDERED");
    arrive(&shop, "tea", 1).await;
    assert_eq!(reason(send().await), "QUANTITY_BACKORDERED");
    arrive(&shop, "tea", 1).await;
    assert_eq!(send().await.unwrap().state, OrderState::Fulfilled);
    is_clean(&shop).await;
    shop.close().await;
}

/// Whichever message of whichever actor fails: nothing is promised, filled or sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_actor_on_the_way_promises_nothing_twice() {
    for kind in ["order", "customer", "item"] {
        let dir = tempfile::tempdir().unwrap();
        let (before, panics) = Panics::of(kind);
        let shop = Shop::open_with(Options {
            before_decision: Some(before),
            ..small(dir.path())
        })
        .await;
        shop.customer("ada", 1_000_000).await;
        shop.item("tea", 7, 0).await;
        shop.item("pot", 1_000, 1_000).await;
        limit(&shop, "tea", 1_000).await;
        for at in 1..9 {
            panics.arm(at);
            let lines = [("tea", 4, 7), ("pot", 1, 1_000)];
            let placed = shop.place(&format!("{kind}{at}"), "ada", &lines).await;
            let placed = placed.unwrap_or_else(|error| panic!("{kind} message {at}: {error}"));
            assert_eq!(placed.state, OrderState::Confirmed);
            assert_eq!(waiting(&placed), [4, 0], "{kind} message {at}");
            panics.count_anew();
            let in_vain = ship(
                &shop,
                request(&format!("{kind}{at}-in-vain")),
                placed.id,
                &[(0, 4)],
            )
            .await;
            assert_eq!(reason(in_vain), "QUANTITY_BACKORDERED", "{kind} message {at}");
            panics.disarm();
            arrive(&shop, "tea", 4).await;
            panics.arm(at);
            let sent = ship(&shop, request(&format!("{kind}{at}-sent")), placed.id, &[(0, 4)]).await;
            panics.disarm();
            match sent {
                Ok(_) | Err(CallError::OutcomeUnknown) => {}
                Err(other) => panic!("{kind} message {at}: {other}"),
            }
            let until = Instant::now() + Duration::from_secs(60);
            while stock(&shop, "tea").await != (0, 0, 0) {
                assert!(Instant::now() < until, "{kind} message {at}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(get(&shop, placed.id).await.fulfilments().len(), 1);
        }
        is_clean(&shop).await;
        shop.close().await;
    }
}

/// Many at once, with stock coming in meanwhile: each waits for what it does, and everybody is sent all in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_orders_wait_and_all_are_served_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_with(small(dir.path())).await;
    shop.customer("ada", 1_000_000_000).await;
    shop.item("tea", 7, 50).await;
    limit(&shop, "tea", 1_000).await;
    let placing = (0..200).map(|n| {
        let (shop, request) = (&shop, format!("{n}"));
        async move { shop.place(&request, "ada", &[("tea", 2, 7)]).await.unwrap() }
    });
    let (placed, ()) = futures::join!(join_all(placing), async {
        for _ in 0..20 {
            arrive(&shop, "tea", 5).await;
        }
    });
    assert_eq!(stock(&shop, "tea").await, (150, 150, 250));
    is_clean(&shop).await;
    shop.close().await;
    shop = Shop::open_with(small(dir.path())).await;
    assert_eq!(stock(&shop, "tea").await, (150, 150, 250));
    arrive(&shop, "tea", 250).await;
    for order in &placed {
        let sent = ship(&shop, Call::default(), order.id, &[]).await.unwrap();
        assert_eq!(sent.state, OrderState::Fulfilled);
    }
    assert_eq!(stock(&shop, "tea").await, (0, 0, 0));
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_tells_of_what_waits_and_what_has_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    short(&shop).await;
    let id = shop.place("first", "ada", &[("tea", 5, 7)]).await.unwrap().id;
    arrive(&shop, "tea", 1).await;
    until_waiting(&shop, id, &[1]).await;
    arrive(&shop, "tea", 1).await;
    ship(&shop, Call::default(), id, &[]).await.unwrap();
    let expected = [
        (ChangeKind::Placed, vec![0]),
        (ChangeKind::Confirmed, vec![0]),
        (ChangeKind::Backordered, vec![2]),
        (ChangeKind::BackorderFilled, vec![1]),
        (ChangeKind::BackorderFilled, vec![0]),
        (ChangeKind::Shipped, vec![0]),
        (ChangeKind::Consumed, vec![0]),
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
                .map(|change| (change.change.kind, waiting(&change.order))),
        );
    }
    assert_eq!(told, expected);
    shop.close().await;
}
