//! Repeated requests: the first answer, whatever has happened since, also after a restart, from the log and from a snapshot.

use docket_actors::{Call, CallError};
use docket_engine::{Amount, CustomerId, Rejection, Sku};
use docket_persistence::mem::MemDisk;

use crate::{
    counted::Counted,
    faults,
    shop::{Shop, reason},
};

fn call(request_id: &str) -> Call {
    Call {
        request_id: Some(request_id.to_owned()),
        ..Call::default()
    }
}

impl Shop {
    async fn price(&self, request_id: &str, price: i64) -> Result<i64, CallError> {
        let tea = Sku::new("tea").unwrap();
        let updated = self
            .docket
            .update_item(call(request_id), tea, None, Some(Amount(price)), None, None);
        updated.await.map(|item| item.unit_price.0)
    }

    async fn limit(&self, request_id: &str, limit: i64) -> Result<i64, CallError> {
        let alice = CustomerId::new("alice").unwrap();
        let updated = self
            .docket
            .update_customer(call(request_id), alice, None, Some(Amount(limit)), None);
        updated.await.map(|customer| customer.credit_limit.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_changed_nothing_is_remembered_like_any_other() {
    let reused = || Err(CallError::Rejected(Rejection::RequestIdReused));
    // With snapshots that come often, and with none.
    for snapshot_bytes_min in [4_096, 1 << 30] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
        let open = async || Shop {
            docket: faults::open(&disk, dir.path(), snapshot_bytes_min).await,
        };
        let shop = open().await;
        shop.customer("alice", 500).await;
        shop.item("tea", 500, 10).await;
        let placed = shop.place("p", "alice", &[("tea", 1, 500)]).await.unwrap();
        let cancel = async |shop: &Shop, request_id, expected| {
            let cancelled = shop
                .docket
                .cancel_order(call(request_id), placed.id, expected)
                .await;
            cancelled.map(|order| order.version)
        };
        let version = cancel(&shop, "c1", None).await.unwrap();

        // As it is already.
        assert_eq!(shop.price("r", 500).await, Ok(500));
        assert_eq!(shop.limit("r", 500).await, Ok(500));
        assert_eq!(cancel(&shop, "c2", None).await, Ok(version));
        // Somebody changes it.
        assert_eq!(shop.price("other", 600).await, Ok(600));
        assert_eq!(shop.limit("other", 600).await, Ok(600));
        let check = async |shop: &Shop| {
            assert_eq!(shop.price("r", 500).await, Ok(500), "the first answer");
            assert_eq!(shop.limit("r", 500).await, Ok(500));
            assert_eq!(shop.price("r", 700).await, reused(), "another content");
            assert_eq!(shop.limit("r", 700).await, reused());
            assert_eq!(cancel(shop, "c2", None).await, Ok(version));
            assert_eq!(cancel(shop, "c2", Some(version)).await.err(), reused().err());
            assert_eq!(shop.price("look", 600).await, Ok(600), "and nothing was undone");
            assert_eq!(shop.limit("look", 600).await, Ok(600));
        };
        check(&shop).await;
        for n in 0..200 {
            shop.price(&format!("fill{n}"), 600 + n % 2).await.unwrap();
        }
        shop.price("back", 600).await.unwrap();
        check(&shop).await;
        shop.close().await;
        let shop = open().await;
        check(&shop).await;
        shop.docket.validate().unwrap();
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_that_changes_nothing_may_be_sent_many_times_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.customer("alice", 500).await;
    shop.item("tea", 500, 10).await;
    let placed = shop.place("p", "alice", &[("tea", 1, 500)]).await.unwrap();
    shop.docket
        .cancel_order(call("c1"), placed.id, None)
        .await
        .unwrap();
    let prices = (0..50).map(|_| shop.price("r", 500));
    for price in futures::future::join_all(prices).await {
        assert_eq!(price, Ok(500));
    }
    let cancels = (0..50).map(|_| shop.docket.cancel_order(call("c2"), placed.id, None));
    for cancelled in futures::future::join_all(cancels).await {
        cancelled.unwrap();
    }
    shop.docket.validate().unwrap();
    shop.close().await;
}

/// An order that is refused is sent again while its customer gets more credit: whichever comes first, it is decided once. Were it
/// decided anew before its refusal is recorded, the log would refuse what the second decision has begun, and its item would hold a
/// reservation for nobody until that is found out.
#[tokio::test]
async fn a_refused_order_that_is_sent_again_at_once_is_not_decided_anew() {
    const STEPS: usize = 10;
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open(dir.path()).await;
    shop.item("tea", 500, 1_000).await;
    let mut confirmed = 0;
    for (credit, again) in (0..STEPS).flat_map(|credit| (0..2 * STEPS).map(move |again| (credit, again))) {
        let customer = format!("c{credit}-{again}");
        shop.customer(&customer, 0).await;
        let lines = [("tea", 1, 500)];
        let later = async |turns: usize| {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        };
        let (one, _, other) = tokio::join!(
            async {
                // In the midst of when the credit comes.
                later(STEPS / 2).await;
                shop.place("r", &customer, &lines).await
            },
            async {
                later(credit).await;
                let id = CustomerId::new(&customer).unwrap();
                let limit = Some(Amount(500));
                let updated = shop.docket.update_customer(call("limit"), id, None, limit, None);
                updated.await.unwrap()
            },
            async {
                later(again).await;
                shop.place("r", &customer, &lines).await
            }
        );
        assert_eq!(one, other);
        confirmed += i64::from(one.is_ok());
        if one.is_err() {
            assert_eq!(reason(one), "INSUFFICIENT_CREDIT");
        }
        assert_eq!(
            shop.stock("tea").await.1,
            confirmed,
            "credit {credit}, again {again}"
        );
    }
    assert_eq!(counted.of("docket_shard_conflicts_total"), 0);
    assert!(
        (1..(2 * STEPS * STEPS) as i64).contains(&confirmed),
        "{confirmed}: both are to happen"
    );
    shop.docket.validate().unwrap();
    shop.close().await;
}
