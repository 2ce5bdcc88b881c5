//! What comes back: returns that go back on the stock once, and refunds of what was captured, whoever asks how often, over restarts,
//! snapshots, panics, and in the feed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{Call, CallError, Options, Shipment, WatchOrders};
use docket_engine::{Amount, ChangeKind, CustomerId, Order, OrderId, PaymentState, ReturnState, ReturnStep};
use docket_proto::feed::FeedFrom;
use futures::future::join_all;

use crate::{
    panics::Panics,
    shop::{Shop, part, reason, request, small, user},
};

async fn ask(shop: &Shop, call: Call, id: OrderId, lines: &[(u16, i64)]) -> Result<Arc<Order>, CallError> {
    let what = (part(lines), "too small".into());
    shop.docket
        .request_return(call, id, what, user("ada"), None)
        .await
}

async fn step(
    shop: &Shop,
    call: Call,
    id: OrderId,
    number: u32,
    step: ReturnStep,
) -> Result<Arc<Order>, CallError> {
    shop.docket
        .move_return(call, id, (number, step), user("ops"), None)
        .await
}

async fn refund(shop: &Shop, call: Call, id: OrderId, amount: i64) -> Result<Arc<Order>, CallError> {
    let what = (Amount(amount), "late".into());
    shop.docket.refund_order(call, id, what, user("ops"), None).await
}

async fn balance(shop: &Shop) -> i64 {
    let ada = CustomerId::new("ada").unwrap();
    shop.docket
        .get_customer(Call::default(), ada)
        .await
        .unwrap()
        .balance
        .0
}

async fn get(shop: &Shop, id: OrderId) -> Arc<Order> {
    shop.docket.get_order(Call::default(), id).await.unwrap()
}

async fn settled(shop: &Shop, id: OrderId) -> Arc<Order> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let order = get(shop, id).await;
        if order.is_settled() {
            return order;
        }
        assert!(Instant::now() < until, "{order:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Five pieces of tea on two lines, and a pot: shipped.
async fn sent(shop: &Shop, request_id: &str) -> OrderId {
    let lines = [("tea", 3, 7), ("pot", 1, 1_000), ("tea", 2, 7)];
    let id = shop.place(request_id, "ada", &lines).await.unwrap().id;
    let shipment = Shipment {
        lines: Box::default(),
        fulfilment: None,
        carrier: "".into(),
        tracking: "".into(),
    };
    shop.docket
        .ship_order(Call::default(), id, shipment, user("shop"), None)
        .await
        .unwrap();
    id
}

async fn open(options: Options) -> Shop {
    let shop = Shop::open_with(options).await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_back_is_on_the_stock_once_and_its_money_with_the_customer_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut shop = open(small(dir.path())).await;
    let id = sent(&shop, "first").await;
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((95, 0), (99, 0))
    );
    assert_eq!(balance(&shop).await, -1_035);
    assert_eq!(
        reason(ask(&shop, Call::default(), id, &[(0, 4)]).await),
        "QUANTITY_NOT_RETURNABLE"
    );
    assert_eq!(
        reason(ask(&shop, Call::default(), id, &[(3, 1)]).await),
        "LINE_NOT_FOUND"
    );
    assert_eq!(
        reason(refund(&shop, Call::default(), id, 1_036).await),
        "REFUND_TOO_LARGE"
    );
    let receive = |restock| ReturnStep::Receive { restock };
    let decline = || ReturnStep::Decline { note: "worn".into() };

    // Somebody else's customer does not see the order.
    let stranger = Call {
        owner: Some(CustomerId::new("eve").unwrap()),
        ..Call::default()
    };
    assert_eq!(
        reason(ask(&shop, stranger, id, &[(0, 1)]).await),
        "ORDER_NOT_FOUND"
    );
    let asked = ask(&shop, request("ask"), id, &[(0, 2), (2, 1)]).await.unwrap();
    assert_eq!(
        ask(&shop, request("ask"), id, &[(0, 2), (2, 1)])
            .await
            .unwrap()
            .version,
        asked.version
    );
    assert_eq!(
        reason(ask(&shop, request("ask"), id, &[(0, 1)]).await),
        "REQUEST_ID_REUSED"
    );
    for early in [receive(true), ReturnStep::Close] {
        assert_eq!(
            reason(step(&shop, Call::default(), id, 1, early).await),
            "RETURN_NOT_OPEN"
        );
    }
    assert_eq!(
        reason(step(&shop, Call::default(), id, 2, ReturnStep::Approve).await),
        "RETURN_NOT_FOUND"
    );
    let approved = step(&shop, Call::default(), id, 1, ReturnStep::Approve)
        .await
        .unwrap();
    // Said again it is so already; the other answer comes too late.
    let again = step(&shop, Call::default(), id, 1, ReturnStep::Approve)
        .await
        .unwrap();
    assert_eq!(again.version, approved.version);
    assert_eq!(
        reason(step(&shop, Call::default(), id, 1, decline()).await),
        "RETURN_NOT_OPEN"
    );

    step(&shop, request("in"), id, 1, receive(true)).await.unwrap();
    settled(&shop, id).await;
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((98, 0), (99, 0))
    );
    let back = refund(&shop, request("money"), id, 21).await.unwrap();
    assert_eq!(back.payment().state, PaymentState::PartiallyRefunded);
    assert_eq!(balance(&shop).await, -1_014);
    for round in 0..2 {
        shop.docket.validate().unwrap();
        shop.close().await;
        shop = Shop::open_with(small(dir.path())).await;
        assert_eq!(*get(&shop, id).await, *back, "round {round}");
        step(&shop, request("in"), id, 1, receive(true)).await.unwrap();
        refund(&shop, request("money"), id, 21).await.unwrap();
        assert_eq!((shop.stock("tea").await, balance(&shop).await), ((98, 0), -1_014));
        // So that there is a snapshot with it.
        let placed = join_all((0..100).map(|n| {
            let (shop, request) = (&shop, format!("{round}-{n}"));
            async move { shop.place(&request, "ada", &[("tea", 1, 1)]).await.map(drop) }
        }));
        assert!(
            placed.await.iter().all(Result::is_err),
            "they have another price, and are recorded"
        );
    }
    step(&shop, Call::default(), id, 1, ReturnStep::Close)
        .await
        .unwrap();

    // What was declined, and what was approved and never came, may be asked for again; what does not go on the stock does not.
    ask(&shop, Call::default(), id, &[]).await.unwrap();
    assert_eq!(
        reason(ask(&shop, Call::default(), id, &[]).await),
        "NOT_RETURNABLE"
    );
    step(&shop, Call::default(), id, 2, decline()).await.unwrap();
    ask(&shop, Call::default(), id, &[(1, 1)]).await.unwrap();
    step(&shop, Call::default(), id, 3, ReturnStep::Approve)
        .await
        .unwrap();
    step(&shop, Call::default(), id, 3, ReturnStep::Close)
        .await
        .unwrap();
    ask(&shop, Call::default(), id, &[(1, 1)]).await.unwrap();
    step(&shop, Call::default(), id, 4, ReturnStep::Approve)
        .await
        .unwrap();
    step(&shop, Call::default(), id, 4, receive(false)).await.unwrap();
    assert_eq!(shop.stock("pot").await, (99, 0));
    let rest = refund(&shop, Call::default(), id, 1_014).await.unwrap();
    assert_eq!(
        (rest.payment().state, balance(&shop).await),
        (PaymentState::Refunded, 0)
    );
    let states: Vec<_> = rest.returns().iter().map(|it| it.state()).collect();
    use ReturnState::{Closed, Declined, Received};
    assert_eq!(states, [Closed, Declined, Closed, Received]);
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_refund_at_once_no_more_is_given_back_than_was_captured() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(small(dir.path())).await;
    for round in 0..10 {
        let id = sent(&shop, &format!("{round}")).await;
        let refunds = (0..12).map(|_| refund(&shop, Call::default(), id, 100));
        let (done, refused): (Vec<_>, Vec<_>) = join_all(refunds).await.into_iter().partition(Result::is_ok);
        assert_eq!((done.len(), refused.len()), (10, 2));
        // Each is answered with the order as it was then.
        let mut told: Vec<_> = done.into_iter().map(|done| done.unwrap().refunded().0).collect();
        told.sort_unstable();
        assert_eq!(told, [100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
        assert!(
            refused
                .into_iter()
                .all(|refused| reason(refused) == "REFUND_TOO_LARGE")
        );
        assert_eq!(get(&shop, id).await.refunded(), Amount(1_000));
        assert_eq!(balance(&shop).await, -35 * (round + 1));
    }
    shop.docket.validate().unwrap();
    shop.close().await;
}

/// Whichever message of whichever actor fails: what came back is on the stock once, and its money with the customer once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_any_actor_on_the_way_restocks_and_refunds_nothing_twice() {
    for kind in ["order", "customer", "item"] {
        let dir = tempfile::tempdir().unwrap();
        let (before, panics) = Panics::of(kind);
        let shop = open(Options {
            before_decision: Some(before),
            ..small(dir.path())
        })
        .await;
        for at in 1..9 {
            let id = sent(&shop, &format!("{at}")).await;
            let what = format!("{kind} message {at}");
            ask(&shop, Call::default(), id, &[(0, 1), (1, 1)]).await.unwrap();
            step(&shop, Call::default(), id, 1, ReturnStep::Approve)
                .await
                .unwrap();
            panics.arm(at);
            let received = step(
                &shop,
                Call::default(),
                id,
                1,
                ReturnStep::Receive { restock: true },
            )
            .await;
            let refunded = refund(&shop, Call::default(), id, 1_007).await;
            panics.disarm();
            for outcome in [received, refunded] {
                assert!(outcome.is_ok(), "{what}: {outcome:?}");
            }
            let order = settled(&shop, id).await;
            assert_eq!(order.refunded(), Amount(1_007), "{what}");
            let n = i64::from(at);
            let stock = (shop.stock("tea").await.0, shop.stock("pot").await.0);
            assert_eq!(stock, (100 - 4 * n, 100), "{what}");
            assert_eq!(balance(&shop).await, -28 * n, "{what}");
        }
        shop.docket.validate().unwrap();
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_tells_of_returns_and_refunds_as_the_order_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(small(dir.path())).await;
    let id = sent(&shop, "first").await;
    ask(&shop, Call::default(), id, &[(1, 1)]).await.unwrap();
    step(&shop, Call::default(), id, 1, ReturnStep::Approve)
        .await
        .unwrap();
    step(
        &shop,
        Call::default(),
        id,
        1,
        ReturnStep::Receive { restock: true },
    )
    .await
    .unwrap();
    settled(&shop, id).await;
    refund(&shop, Call::default(), id, 1_000).await.unwrap();
    step(&shop, Call::default(), id, 1, ReturnStep::Close)
        .await
        .unwrap();
    let watch = WatchOrders {
        customer: Some(CustomerId::new("ada").unwrap()),
        states: Vec::new(),
        from: vec![FeedFrom::Oldest],
    };
    let mut watching = shop.docket.watch_orders(&Call::default(), watch).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 10 {
        let until = Instant::now() + Duration::from_secs(30);
        let found = watching.next(3, until).await.unwrap();
        assert!(!found.is_empty(), "only {told:?}");
        told.extend(found.into_iter().map(|change| {
            let state = change.order.returns().first().map(|it| it.state());
            (change.change.kind, state, change.order.refunded().0)
        }));
    }
    use ReturnState::{Approved, Closed, Received, Requested};
    assert_eq!(
        told[4..],
        [
            (ChangeKind::ReturnRequested, Some(Requested), 0),
            (ChangeKind::ReturnApproved, Some(Approved), 0),
            (ChangeKind::ReturnReceived, Some(Received), 0),
            (ChangeKind::Restocked, Some(Received), 0),
            (ChangeKind::Refunded, Some(Received), 1_000),
            (ChangeKind::ReturnClosed, Some(Closed), 1_000),
        ]
    );
    drop(watching);
    shop.close().await;
}
