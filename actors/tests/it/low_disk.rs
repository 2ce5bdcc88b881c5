//! A disk that is nearly full: what grows is refused, what is read or was done before is answered, sessions are opened and
//! renewed for long, and space that returns is taken.

use std::time::{Duration, Instant};

use docket_actors::{Call, CallError, ListOrders, Options, access::AccessError};
use docket_engine::{
    CustomerId, OrderState, Sku, Version,
    access::{Request, SecretHash, SessionId, SigningKeyId, SigningSeed},
};
use docket_persistence::mem::MemDisk;

use crate::{
    access::{bootstrap, execute, name, register},
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
        let seen = match probe {
            Err(CallError::LowSpace { free_bytes }) => Some(free_bytes),
            _ => None,
        };
        if seen == free_bytes {
            return;
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{seen:?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_low_disk_sessions_are_opened_and_renewed_until_a_quarter_of_the_reserve_is_left() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
    let reserve_bytes = Options::new(dir.path()).node.journal.disk_reserve_bytes;
    let shop = Shop {
        docket: faults::open(&disk, dir.path(), 1 << 20).await,
    };
    let access = shop.docket.access();
    execute(access, bootstrap()).await.unwrap();
    execute(access, register("ada")).await.unwrap();
    let family = SecretHash([7; 32]);
    let expires = docket_engine::Time(1_000_000_000);
    let open = |session| Request::OpenSession {
        account: name("ada"),
        version: Version(1),
        session: SessionId([session; 16]),
        family,
        token: SecretHash([0; 32]),
        expires,
    };
    let refresh = |token| Request::Refresh {
        session: SessionId([1; 16]),
        family,
        token: SecretHash([token; 32]),
        next: SecretHash([token + 1; 32]),
        expires,
    };
    let signing_key = |key: u8| Request::CreateSigningKey {
        key: SigningKeyId([key; 8]),
        seed: SigningSeed([key; 32]),
        replaces: (key > 1).then(|| SigningKeyId([key - 1; 8])),
    };
    let low = |free_bytes| Err(AccessError::LowSpace { free_bytes });

    let above = reserve_bytes / 4 + 1;
    set_free(&shop, &disk, Some(above)).await;
    assert_eq!(execute(access, register("bob")).await, low(above));
    for request in [open(1), refresh(0), refresh(1), signing_key(1)] {
        execute(access, request).await.unwrap();
    }

    let quarter = reserve_bytes / 4;
    set_free(&shop, &disk, Some(quarter)).await;
    for request in [register("bob"), open(2), refresh(2), signing_key(2)] {
        assert_eq!(execute(access, request).await, low(quarter));
    }
    // A session is ended all the same, and the one that was refused was not opened.
    let logout = Request::Logout {
        session: SessionId([1; 16]),
        family,
    };
    execute(access, logout).await.unwrap();
    assert!(access.read(|state| state.session(SessionId([2; 16])).is_none()));

    set_free(&shop, &disk, None).await;
    for request in [register("bob"), open(2), signing_key(2)] {
        execute(access, request).await.unwrap();
    }
    shop.close().await;
}
