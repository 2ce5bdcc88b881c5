//! A disk that is nearly full: what grows is refused, what is read or was done before is answered, and space that
//! returns is taken.

use std::time::{Duration, Instant};

use docket_actors::{Call, CallError, ListOrders};
use docket_engine::{CustomerId, OrderState, Sku};
use docket_persistence::mem::MemDisk;

use crate::{
    faults,
    shop::{Shop, order},
};

fn call(request_id: &str) -> Call {
    Call {
        request_id: Some(request_id.to_owned()),
        ..Call::default()
    }
}

/// Sets what is free, and waits until the node knows.
async fn set_free(shop: &Shop, disk: &MemDisk, free_bytes: Option<u64>) {
    disk.set_free_bytes(free_bytes);
    let asked = Instant::now();
    for attempt in 0.. {
        // Nobody has this customer: nothing is recorded.
        let probe = shop
            .docket
            .place_order(
                call(&format!("probe{attempt}")),
                order("nobody", &[("tea", 1, 1)]),
            )
            .await;
        let is_low = matches!(probe, Err(CallError::LowSpace { free_bytes: 1 }));
        if is_low == free_bytes.is_some() {
            return;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{probe:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_refuses_what_grows_and_nothing_else_and_recovers() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
    let shop = Shop {
        docket: faults::open(&disk, dir.path(), 1 << 20).await,
    };
    shop.customer("alice", 10_000).await;
    shop.item("tea", 350, 10).await;
    let tea = Sku::new("tea").unwrap();
    let placed = shop.place("r1", "alice", &[("tea", 1, 350)]).await.unwrap();
    let gone = shop.place("r2", "alice", &[("tea", 2, 350)]).await.unwrap();
    let cancel = async |id| shop.docket.cancel_order(call("c"), id, None).await;
    let cancelled = cancel(gone.id).await.unwrap();
    let adjust = async || {
        shop.docket
            .adjust_stock(call("a"), tea.clone(), docket_engine::Quantity(5), None)
            .await
    };
    let adjusted = adjust().await.unwrap();

    set_free(&shop, &disk, Some(1)).await;
    let low = CallError::LowSpace { free_bytes: 1 };
    let refused = shop.place("r3", "alice", &[("tea", 1, 350)]).await;
    assert_eq!(refused.unwrap_err(), low);
    let refused = shop.docket.cancel_order(call("c2"), placed.id, None).await;
    assert_eq!(refused.unwrap_err(), low);
    let refused = shop
        .docket
        .update_customer(
            call("u"),
            CustomerId::new("alice").unwrap(),
            Some("A".into()),
            None,
            None,
        )
        .await;
    assert_eq!(refused.unwrap_err(), low);
    // Reads go on.
    assert_eq!(
        shop.docket.get_order(Call::default(), placed.id).await.unwrap(),
        placed
    );
    let all = ListOrders {
        limit: 10,
        ..ListOrders::default()
    };
    let listed = shop.docket.list_orders(Call::default(), all).await.unwrap();
    assert_eq!(listed.orders.len(), 2);
    assert_eq!(shop.stock("tea").await, (15, 1));
    // So do the answers to what was done.
    assert_eq!(
        shop.place("r1", "alice", &[("tea", 1, 350)]).await.unwrap(),
        placed
    );
    assert_eq!(cancel(gone.id).await.unwrap(), cancelled);
    assert_eq!(adjust().await.unwrap(), adjusted);

    set_free(&shop, &disk, None).await;
    let placed = shop.place("r3", "alice", &[("tea", 1, 350)]).await.unwrap();
    assert_eq!(placed.state, OrderState::Confirmed);
    shop.docket.validate().unwrap();
    shop.close().await;
}
