//! Chaos on demand: what is asked for goes wrong, is bounded, ends by itself, and costs no order that was acknowledged.

use std::time::{Duration, Instant};

use docket_actors::{
    Call, Key,
    chaos::{ChaosError, FOR_MAX, Fault, PAUSE_MAX, SLOWER_MAX},
};
use docket_cluster::{Leader, NodeId};
use docket_engine::{CustomerId, OrderId};

use crate::shop::{Shop, order, small};
use crate::three::{PATIENCE, Three, call, eventually, until_done, until_read};

const SECOND: Duration = Duration::from_secs(1);

async fn shop(chaos: bool) -> (Shop, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small(dir.path());
    options.chaos = chaos;
    let shop = Shop::open_with(options).await;
    shop.customer("ada", 1 << 40).await;
    shop.item("tea", 350, 1 << 30).await;
    (shop, dir)
}

/// How long an order takes.
async fn placed(shop: &Shop, request: &str) -> Duration {
    let begun = Instant::now();
    shop.place(request, "ada", &[("tea", 1, 350)]).await.unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_not_opened_for_it_refuses_and_one_that_was_keeps_the_bounds() {
    let (shop_off, _dir) = shop(false).await;
    let off = shop_off.docket.chaos();
    for fault in [Fault::Kill, Fault::Pause, Fault::SlowDisk { by: SECOND }] {
        assert_eq!(off.begin(fault, SECOND), Err(ChaosError::Off));
    }
    assert!(!off.is_enabled() && off.active().is_empty() && off.undo().is_empty());
    let (shop_on, _dir) = shop(true).await;
    let chaos = shop_on.docket.chaos();
    let (slow, peer) = (
        Fault::SlowDisk { by: SECOND },
        Fault::DropPeer { node: NodeId(2) },
    );
    let moment = Duration::from_nanos(1);
    for (fault, lasts) in [
        (Fault::Pause, Duration::ZERO),
        (Fault::Pause, PAUSE_MAX + moment),
        (slow, FOR_MAX + moment),
        (Fault::SlowDisk { by: Duration::ZERO }, SECOND),
        (
            Fault::SlowDisk {
                by: SLOWER_MAX + moment,
            },
            SECOND,
        ),
        (peer, Duration::ZERO),
    ] {
        let refused = chaos.begin(fault, lasts);
        assert!(
            matches!(refused, Err(ChaosError::OutOfBounds { .. })),
            "{fault:?} for {lasts:?}: {refused:?}"
        );
    }
    assert_eq!(chaos.begin(peer, SECOND), Err(ChaosError::NoPeer(NodeId(2))));
    assert!(chaos.active().is_empty());
    shop_on.close().await;
    shop_off.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_up_orders_until_its_time_is_over_or_it_is_undone() {
    const BY: Duration = Duration::from_millis(300);
    let (shop, _dir) = shop(true).await;
    let chaos = shop.docket.chaos();
    placed(&shop, "before").await;
    assert!(shop.docket.last_sync() < BY);
    chaos.begin(Fault::SlowDisk { by: BY }, 2 * SECOND).unwrap();
    let active = chaos.active();
    assert!(
        active.len() == 1 && active[0].fault == Fault::SlowDisk { by: BY } && active[0].left <= 2 * SECOND
    );
    assert!(placed(&shop, "slow").await >= BY);
    assert!(shop.docket.last_sync() >= BY);
    // Nobody waits for it, and it ends.
    eventually("its end", || chaos.active().is_empty()).await;
    placed(&shop, "after").await;
    eventually("quick syncs", || shop.docket.last_sync() < BY).await;
    // And by hand.
    chaos.begin(Fault::SlowDisk { by: BY }, FOR_MAX).unwrap();
    let undone = chaos.undo();
    assert!(undone.len() == 1 && undone[0].left > FOR_MAX / 2, "{undone:?}");
    assert!(chaos.active().is_empty());
    placed(&shop, "undone").await;
    eventually("quick syncs", || shop.docket.last_sync() < BY).await;
    let report = shop.docket.verify(crate::verify::PACE).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_has_everything_stand_still_for_its_time_and_no_longer() {
    let (shop, _dir) = shop(true).await;
    let docket = shop.docket.clone();
    docket.chaos().begin(Fault::Pause, SECOND).unwrap();
    // On a thread of the runtime, as every call is.
    let placing = tokio::spawn(async move {
        let begun = Instant::now();
        let (mut longest, mut number) = (Duration::ZERO, 0);
        while begun.elapsed() < 3 * SECOND {
            let asked = Instant::now();
            number += 1;
            let call = Call {
                request_id: Some(format!("p{number}")),
                ..Call::default()
            };
            docket
                .place_order(call, order("ada", &[("tea", 1, 350)]))
                .await
                .unwrap();
            longest = longest.max(asked.elapsed());
        }
        (longest, number)
    });
    let (longest, number) = placing.await.unwrap();
    assert!(longest >= SECOND * 9 / 10, "the longest took {longest:?}");
    assert!(number > 2);
    eventually("its end", || shop.docket.chaos().active().is_empty()).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drops_its_peers_leads_nothing_until_it_hears_them_again_and_no_order_is_lost() {
    let three = Three::open_with(|options| options.chaos = true).await;
    three.customer("ada", 1 << 40).await;
    three.item("tea", 10, 1 << 30).await;
    let chaos = three.docket(0).chaos();
    for peer in [2, 3] {
        let fault = Fault::DropPeer { node: NodeId(peer) };
        chaos.begin(fault, Duration::from_secs(8)).unwrap();
    }
    assert_eq!(chaos.active().len(), 2);
    let groups: Vec<_> = three
        .node(0)
        .groups()
        .iter()
        .map(docket_cluster::Group::id)
        .collect();
    let others_lead = || {
        groups.iter().all(|group| {
            [1, 2]
                .iter()
                .any(|at| three.node(*at).leader_of(*group) == Leader::Here)
        })
    };
    eventually("others to lead everything", others_lead).await;
    // The rest goes on.
    let others = [three.docket(1).clone(), three.docket(2).clone()];
    let key = Key::Customer(CustomerId::new("ada").unwrap());
    let mut acknowledged: Vec<OrderId> = Vec::new();
    while acknowledged.len() < 20 {
        let request = format!("r{}", acknowledged.len());
        let placed = until_done(&others, &key, async |docket| {
            docket
                .place_order(call(&request), order("ada", &[("tea", 1, 10)]))
                .await
        });
        acknowledged.push(placed.await.unwrap().id);
    }
    // It ends by itself, and the node catches up.
    let asked = Instant::now();
    while !chaos.active().is_empty() {
        assert!(asked.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for id in &acknowledged {
        let docket = three.docket(0);
        until_read(docket, async |docket| {
            docket.get_order(Call::default(), *id).await
        })
        .await
        .unwrap();
    }
    eventually("it to know who leads", || {
        groups
            .iter()
            .all(|group| three.node(0).leader_of(*group) != Leader::Unknown)
    })
    .await;
    for docket in three.dockets() {
        let report = docket.verify(crate::verify::PACE).await.unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
    three.end().await;
}
