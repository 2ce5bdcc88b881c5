//! Placing and cancelling.

use docket_actors::{Call, ListOrders};
use docket_engine::{CustomerId, OrderFilter, OrderState};

use crate::shop::{Shop, order, reason};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_holds_money_and_stock_until_it_is_cancelled_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.customer("alice", 10_000).await;
    shop.item("tea", 350, 10).await;
    shop.item("pot", 2_000, 1).await;
    let placed = shop
        .place(
            "r1",
            "alice",
            &[("tea", 2, 350), ("pot", 1, 2_000), ("tea", 1, 350)],
        )
        .await
        .unwrap();
    assert_eq!((placed.state, placed.total.0), (OrderState::Confirmed, 3_050));
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((10, 3), (1, 1))
    );
    assert_eq!(shop.held("alice").await, 3_050);
    shop.docket.validate().unwrap();
    shop.close().await;

    let shop = Shop::open(dir.path()).await;
    assert_eq!(
        shop.docket.get_order(Call::default(), placed.id).await.unwrap(),
        placed
    );
    let again = shop
        .place(
            "r1",
            "alice",
            &[("tea", 2, 350), ("pot", 1, 2_000), ("tea", 1, 350)],
        )
        .await
        .unwrap();
    assert_eq!(again, placed);
    assert_eq!(
        reason(shop.place("r1", "alice", &[("tea", 3, 350)]).await),
        "REQUEST_ID_REUSED"
    );
    let cancelled = shop
        .docket
        .cancel_order(Call::default(), placed.id, Some(placed.version))
        .await
        .unwrap();
    assert_eq!(
        (cancelled.state, cancelled.is_settled()),
        (OrderState::Cancelled, true)
    );
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((10, 0), (1, 0))
    );
    assert_eq!(shop.held("alice").await, 0);
    // The first answer, not what became of the order since.
    let again = shop
        .place(
            "r1",
            "alice",
            &[("tea", 2, 350), ("pot", 1, 2_000), ("tea", 1, 350)],
        )
        .await
        .unwrap();
    assert_eq!(again, placed);
    shop.docket.validate().unwrap();
    shop.close().await;

    let shop = Shop::open(dir.path()).await;
    assert_eq!(
        shop.docket.get_order(Call::default(), placed.id).await.unwrap(),
        cancelled
    );
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_gives_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.customer("alice", 1_000).await;
    shop.item("tea", 350, 10).await;
    shop.item("pot", 2_000, 1).await;
    shop.item("cup", 100, 1).await;
    assert_eq!(
        reason(shop.place("r1", "bob", &[("tea", 1, 350)]).await),
        "CUSTOMER_NOT_FOUND"
    );
    assert_eq!(
        reason(shop.place("r2", "alice", &[("pot", 1, 2_000)]).await),
        "INSUFFICIENT_CREDIT"
    );
    assert_eq!(
        reason(
            shop.place("r3", "alice", &[("tea", 1, 350), ("cup", 2, 100)])
                .await
        ),
        "INSUFFICIENT_STOCK"
    );
    assert_eq!(
        reason(
            shop.place("r4", "alice", &[("tea", 1, 350), ("cup", 1, 99)])
                .await
        ),
        "PRICE_CHANGED"
    );
    assert_eq!(
        reason(
            shop.place("r5", "alice", &[("tea", 1, 350), ("jug", 1, 100)])
                .await
        ),
        "ITEM_NOT_FOUND"
    );
    assert_eq!(
        reason(
            shop.place("r3", "alice", &[("tea", 1, 350), ("cup", 2, 100)])
                .await
        ),
        "INSUFFICIENT_STOCK"
    );
    assert_eq!(
        (
            shop.stock("tea").await,
            shop.stock("cup").await,
            shop.held("alice").await
        ),
        ((10, 0), (1, 0), 0)
    );
    let query = ListOrders {
        filter: OrderFilter {
            customer: Some(CustomerId::new("alice").unwrap()),
            ..OrderFilter::default()
        },
        limit: 10,
        ..ListOrders::default()
    };
    let page = shop.docket.list_orders(Call::default(), query).await.unwrap();
    let states = page.orders.iter().map(|o| o.state).collect::<Vec<_>>();
    assert_eq!(
        states,
        [OrderState::Rejected; 4],
        "the unknown customer's is not recorded"
    );
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_piece_is_sold_once_however_many_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    for n in 0..8 {
        shop.customer(&format!("c{n}"), 1_000_000).await;
    }
    shop.item("tea", 350, 100).await;
    shop.item("pot", 1, 1_000_000).await;
    let place = |n: usize| {
        let docket = shop.docket.clone();
        async move {
            let call = Call {
                request_id: Some(format!("r{n}")),
                ..Call::default()
            };
            docket
                .place_order(
                    call,
                    order(&format!("c{}", n % 8), &[("tea", 1, 350), ("pot", 2, 1)]),
                )
                .await
        }
    };
    let results = futures::future::join_all((0..1_000).map(place)).await;
    let sold = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(sold, 100);
    assert!(
        results
            .into_iter()
            .filter(Result::is_err)
            .all(|result| reason(result) == "INSUFFICIENT_STOCK")
    );
    assert_eq!(
        (shop.stock("tea").await, shop.stock("pot").await),
        ((100, 100), (1_000_000, 200))
    );
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_sent_many_times_at_once_is_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.customer("alice", 1_000_000).await;
    shop.item("tea", 350, 100).await;
    let results =
        futures::future::join_all((0..50).map(|_| shop.place("r1", "alice", &[("tea", 1, 350)]))).await;
    let first = results[0].clone().unwrap();
    assert!(results.into_iter().all(|result| result.unwrap() == first));
    assert_eq!(shop.stock("tea").await, (100, 1));
    shop.docket.validate().unwrap();
    shop.close().await;
}
