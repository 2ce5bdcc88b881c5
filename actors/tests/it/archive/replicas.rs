//! The archive of three nodes: each has its own, and one that has lost its disk gets it from the others.

use docket_actors::{Call, Key, ListOrders};
use docket_cluster::{GroupId, Leader};
use docket_engine::{CustomerId, OrderFilter, OrderState};

use super::AT_ONCE;
use crate::{
    shop::order,
    three::{Three, call, eventually, until_done, until_read},
};

const CUSTOMERS: [&str; 4] = ["ada", "bob", "eve", "dan"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_gets_the_archive_and_reads_it_once_it_leads() {
    const ORDERS: usize = 40;
    let mut three = Three::open_with(|options| {
        options.node.snapshot_bytes_min = 4_096;
        options.aging = AT_ONCE;
    })
    .await;
    for customer in CUSTOMERS {
        three.customer(customer, 1_000_000).await;
    }
    three.item("tea", 1, 1_000_000).await;
    let mut ids = Vec::new();
    let trade = async |three: &Three, number: usize, is_cancelled: bool| {
        let customer = CUSTOMERS[number % CUSTOMERS.len()];
        let (key, dockets) = (Key::Customer(CustomerId::new(customer).unwrap()), three.dockets());
        let placed = until_done(&dockets, &key, async |docket| {
            let call = call(&format!("r{number}"));
            docket.place_order(call, order(customer, &[("tea", 1, 1)])).await
        });
        let id = placed.await.unwrap().id;
        if is_cancelled {
            let key = Key::Order(id);
            let cancelled = until_done(&dockets, &key, async |docket| {
                docket.cancel_order(call(&format!("c{number}")), id, None).await
            });
            cancelled.await.unwrap();
        }
        id
    };
    for number in 0..ORDERS {
        ids.push(trade(&three, number, true).await);
    }
    let archived = |three: &Three, at: usize| three.docket(at).status().entities.archived_orders;
    eventually("every node has archived all", || {
        (0..3).all(|at| archived(&three, at) == ORDERS as u64)
    })
    .await;
    // Until no log has what was archived any more.
    let groups: Vec<GroupId> = three
        .node(0)
        .groups()
        .iter()
        .skip(1)
        .map(|group| group.id())
        .collect();
    let snapshots = |three: &Three| -> Vec<Option<u64>> {
        let status = three.docket(0).status().cluster.groups;
        status.iter().skip(1).map(|group| group.snapshot_index).collect()
    };
    let (before, mut number) = (snapshots(&three), ORDERS);
    while snapshots(&three)
        .iter()
        .zip(&before)
        .any(|(now, before)| now.unwrap_or(0) < before.unwrap_or(0) + 60)
    {
        assert!(number < 5_000, "no snapshots are taken");
        trade(&three, number, false).await;
        number += 1;
    }
    three.kill(2).await;
    three.lose_disk(2);
    // Who leads from here on has not heard from it what it had.
    for at in [0, 1] {
        three.kill(at).await;
    }
    for at in [0, 1, 2] {
        three.start(at).await;
    }
    eventually("the archive is there", || archived(&three, 2) == ORDERS as u64).await;
    for group in groups {
        eventually("it leads", || {
            let to = three.node(2).identity().node_id;
            for at in 0..2 {
                let node = three.node(at).clone();
                if node.leader_of(group) == Leader::Here {
                    tokio::spawn(async move { node.group(group).unwrap().transfer_lead(to).await });
                }
            }
            three.node(2).leader_of(group) == Leader::Here
        })
        .await;
    }
    let docket = three.docket(2);
    for id in &ids {
        let found = until_read(docket, async |docket| {
            docket.get_order(Call::default(), *id).await
        });
        assert_eq!(found.await.unwrap().state, OrderState::Cancelled);
        let (key, dockets) = (Key::Order(*id), three.dockets());
        let again = until_done(&dockets, &key, async |docket| {
            docket
                .hold_order(
                    call("hold"),
                    *id,
                    (docket_engine::HoldReason::Address, "".into()),
                    crate::shop::user("ops"),
                    None,
                )
                .await
        });
        assert_eq!(crate::shop::reason(again.await), "NOT_HOLDABLE");
    }
    let query = ListOrders {
        filter: OrderFilter {
            states: vec![OrderState::Cancelled],
            ..OrderFilter::default()
        },
        limit: 1_000,
        ..ListOrders::default()
    };
    let page = until_read(docket, async |docket| {
        docket.list_orders(Call::default(), query.clone()).await
    });
    let listed: Vec<_> = page.await.unwrap().orders.iter().map(|order| order.id).collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(listed, ids);
    let report = docket.verify(super::crashes::PACE).await.unwrap();
    assert_eq!(report.discrepancies, []);
    three.end().await;
}
