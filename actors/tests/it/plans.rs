//! Fulfilments that are planned: what one has taken nobody else ships, however many ask at once, over restarts, snapshots, and in the feed.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{Call, CallError, Shipment, WatchOrders};
use docket_engine::{ChangeKind, CustomerId, FulfilmentState, HoldReason, Order, OrderId, OrderState};
use docket_proto::feed::FeedFrom;
use futures::future::join_all;

use crate::shop::{Shop, part, reason, request, small, user};

async fn sold(shop: &Shop) -> OrderId {
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    let lines = [("tea", 5, 7), ("pot", 2, 1_000)];
    shop.place("first", "ada", &lines).await.unwrap().id
}

async fn plan(shop: &Shop, call: Call, id: OrderId, lines: &[(u16, i64)]) -> Result<Arc<Order>, CallError> {
    shop.docket
        .open_fulfilment(call, id, part(lines), user("depot"), None)
        .await
}

async fn give_up(shop: &Shop, call: Call, id: OrderId, number: u32) -> Result<Arc<Order>, CallError> {
    shop.docket
        .cancel_fulfilment(call, id, number, user("depot"), None)
        .await
}

/// Ships what was planned, or else these lines.
async fn ship(
    shop: &Shop,
    call: Call,
    id: OrderId,
    what: Result<u32, &[(u16, i64)]>,
) -> Result<Arc<Order>, CallError> {
    let shipment = Shipment {
        lines: what.err().map(part).unwrap_or_default(),
        fulfilment: what.ok(),
        carrier: "DHL".into(),
        tracking: "JD014".into(),
    };
    shop.docket
        .ship_order(call, id, shipment, user("depot"), None)
        .await
}

fn states(order: &Order) -> Vec<FulfilmentState> {
    order.fulfilments().iter().map(|it| it.state()).collect()
}

async fn reopened(shop: Shop, dir: &Path) -> Shop {
    shop.docket.validate().unwrap();
    shop.close().await;
    Shop::open_with(small(dir)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planned_is_nobody_elses_over_restarts() {
    use FulfilmentState::{Cancelled, Delivered, Open, Shipped};
    let dir = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    let planned = plan(&shop, request("p-1"), id, &[(0, 3), (1, 2)]).await.unwrap();
    assert_eq!(
        (states(&planned), planned.state),
        (vec![Open], OrderState::Confirmed)
    );
    // Neither stock nor money is moved by that.
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((100, 5), (100, 2))
    );
    assert_eq!(shop.held("ada").await, 2_035);
    for n in 0..2 {
        // The same again, also behind a restart.
        let again = plan(&shop, request("p-1"), id, &[(0, 3), (1, 2)]).await.unwrap();
        assert_eq!(again.version, planned.version, "{n}");
        let other = plan(&shop, request("p-1"), id, &[(0, 1)]).await;
        assert_eq!(reason(other), "REQUEST_ID_REUSED");
        for refused in [
            ship(&shop, Call::default(), id, Err(&[(1, 1)])).await,
            plan(&shop, Call::default(), id, &[(0, 3)]).await,
            shop.docket.cancel_order(Call::default(), id, None).await,
            shop.docket
                .cancel_order_lines(Call::default(), id, part(&[(0, 3)]), None)
                .await,
            shop.docket
                .edit_order(Call::default(), id, part(&[(1, 1)]), user("ada"), planned.version)
                .await,
        ] {
            assert_eq!(reason(refused), "QUANTITY_PLANNED", "{n}");
        }
        let early = shop
            .docket
            .deliver_fulfilment(Call::default(), id, 1, user("driver"), None)
            .await;
        assert_eq!(reason(early), "FULFILMENT_NOT_SHIPPED", "{n}");
        shop = reopened(shop, dir.path()).await;
        let order = shop.docket.get_order(Call::default(), id).await.unwrap();
        assert_eq!(order, planned);
    }

    // What is free goes, and what was planned when nothing holds it.
    let sent = ship(&shop, request("s-1"), id, Err(&[])).await.unwrap();
    assert_eq!((states(&sent), sent.captured().0), (vec![Open, Shipped], 14));
    let hold = (HoldReason::Address, "".into());
    shop.docket
        .hold_order(Call::default(), id, hold, user("ops"), None)
        .await
        .unwrap();
    assert_eq!(
        reason(ship(&shop, Call::default(), id, Ok(1)).await),
        "ORDER_HELD"
    );
    shop.docket
        .release_order_hold(Call::default(), id, HoldReason::Address, user("ops"), None)
        .await
        .unwrap();
    let sent = ship(&shop, request("s-2"), id, Ok(1)).await.unwrap();
    assert_eq!(
        (states(&sent), sent.state),
        (vec![Shipped; 2], OrderState::Fulfilled)
    );
    assert_eq!(sent.captured().0, 2_035);
    let first = sent.fulfilment(1).unwrap();
    assert_eq!((&*first.carrier, first.captured.0), ("DHL", 2_021));
    shop = reopened(shop, dir.path()).await;
    let again = ship(&shop, request("s-2"), id, Ok(1)).await.unwrap();
    assert_eq!(again.version, sent.version);
    // Another fulfilment under the same id is another request.
    assert_eq!(
        reason(ship(&shop, request("s-2"), id, Ok(2)).await),
        "REQUEST_ID_REUSED"
    );
    assert_eq!(
        reason(ship(&shop, Call::default(), id, Ok(1)).await),
        "FULFILMENT_NOT_OPEN"
    );
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((95, 0), (98, 0))
    );
    let delivered = shop
        .docket
        .deliver_fulfilment(Call::default(), id, 1, user("driver"), None)
        .await
        .unwrap();
    assert_eq!(states(&delivered), [Delivered, Shipped]);

    // A plan that is given up is free again, and the order can be called off.
    let id = shop.place("second", "ada", &[("tea", 5, 7)]).await.unwrap().id;
    plan(&shop, Call::default(), id, &[]).await.unwrap();
    let free = give_up(&shop, request("u-1"), id, 1).await.unwrap();
    assert_eq!(states(&free), [Cancelled]);
    let again = give_up(&shop, Call::default(), id, 1).await.unwrap();
    assert_eq!(again.version, free.version);
    assert_eq!(
        reason(give_up(&shop, Call::default(), id, 2).await),
        "FULFILMENT_NOT_FOUND"
    );
    let cancelled = shop.docket.cancel_order(Call::default(), id, None).await.unwrap();
    assert_eq!(cancelled.state, OrderState::Cancelled);
    assert_eq!((shop.stock("tea").await, shop.held("ada").await), ((95, 0), 0));
    shop = reopened(shop, dir.path()).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_plan_at_once_no_more_is_planned_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    // Five of one line and two of the other: of these twelve, five and two.
    let asks = (0..12).map(|n| {
        let shop = &shop;
        async move { plan(shop, request(&format!("p-{n}")), id, &[(n % 2, 1)]).await }
    });
    let answers = join_all(asks).await;
    let planned = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(planned, 7, "{answers:?}");
    for refused in answers.into_iter().filter(Result::is_err) {
        assert_eq!(reason(refused), "QUANTITY_PLANNED");
    }
    // Each is shipped once, or given up once, whoever else wants to.
    let ends = (1..=7).flat_map(|number| {
        let shop = &shop;
        [0, 1].map(|way| async move {
            match way {
                0 => ship(shop, Call::default(), id, Ok(number)).await,
                _ => give_up(shop, Call::default(), id, number).await,
            }
        })
    });
    let ends = join_all(ends.map(futures::FutureExt::boxed)).await;
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 7, "{ends:?}");
    let order = shop.docket.get_order(Call::default(), id).await.unwrap();
    assert!(order.fulfilments().iter().all(|it| !it.is_open()));
    let sent: i64 = order.fulfilled_quantities().iter().map(|it| it.0).sum();
    let open: i64 = order.open_quantities().iter().map(|it| it.0).sum();
    assert_eq!(sent + open, 7);
    let (tea, pot) = (shop.stock("tea").await, shop.stock("pot").await);
    assert_eq!((200 - tea.0 - pot.0, tea.1 + pot.1), (sent, open));
    assert_eq!(shop.held("ada").await + order.captured().0, 2_035);
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_tells_of_plans_as_the_order_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    let id = sold(&shop).await;
    plan(&shop, Call::default(), id, &[(0, 1)]).await.unwrap();
    plan(&shop, Call::default(), id, &[(1, 2)]).await.unwrap();
    give_up(&shop, Call::default(), id, 1).await.unwrap();
    ship(&shop, Call::default(), id, Ok(2)).await.unwrap();
    let expected = [
        (ChangeKind::Placed, 0, 0),
        (ChangeKind::Confirmed, 0, 0),
        (ChangeKind::FulfilmentOpened, 1, 0),
        (ChangeKind::FulfilmentOpened, 3, 0),
        (ChangeKind::FulfilmentCancelled, 2, 0),
        (ChangeKind::Shipped, 0, 2_000),
        (ChangeKind::Consumed, 0, 2_000),
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
        told.extend(found.into_iter().map(|change| {
            let order = &change.order;
            let planned: i64 = order.planned_quantities().iter().map(|it| it.0).sum();
            (change.change.kind, planned, order.captured().0)
        }));
    }
    assert_eq!(told, expected);
    shop.close().await;
}
