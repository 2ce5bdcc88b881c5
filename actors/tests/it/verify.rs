//! The books of every node of a cluster, verified while it serves, while a node dies, and where a node has no replica.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use docket_actors::{Call, CallError, Docket, Key, ListOrders, Shipment, VerifyPace, VerifyReport};
use docket_cluster::NodeId;
use docket_engine::{CustomerId, LineQuantity, Quantity, access::Username};
use futures::future::join_all;

use crate::shop::order;
use crate::three::{PATIENCE, Three, call, until_done, until_read};

const ITEMS: [&str; 6] = ["i0", "i1", "i2", "i3", "i4", "i5"];
const CUSTOMERS: [&str; 4] = ["ada", "bob", "eve", "dan"];
pub(crate) const PACE: VerifyPace = VerifyPace {
    look_every: Duration::from_millis(100),
    grace: Duration::from_secs(5),
    give_up: Duration::from_secs(30),
};

async fn shop(change: impl Fn(&mut docket_actors::Options)) -> Three {
    let three = Three::open_with(change).await;
    for customer in CUSTOMERS {
        three.customer(customer, 100_000_000).await;
    }
    for (n, item) in ITEMS.into_iter().enumerate() {
        // Of one there is not enough for all.
        three.item(item, 10, if n == 0 { 60 } else { 1_000_000 }).await;
    }
    three
}

/// Places an order of several shards' items, and does something to it, wherever it is led.
async fn trade(dockets: &[Docket], client: usize, number: usize) -> Result<(), CallError> {
    let customer = CUSTOMERS[client % CUSTOMERS.len()];
    let line = |k: usize| (ITEMS[(client + number + 2 * k) % ITEMS.len()], 2, 10);
    let lines: Vec<_> = (0..3).map(line).collect();
    let request = format!("{client}-{number}");
    let key = Key::Customer(CustomerId::new(customer).unwrap());
    let placed = until_done(dockets, &key, async |docket| {
        docket.place_order(call(&request), order(customer, &lines)).await
    });
    let placed = placed.await?;
    let (id, version) = (placed.id, placed.version);
    // More of one item, less of another.
    let edited: Box<[LineQuantity]> = [(0, 3), (1, 1)]
        .map(|(line, quantity)| LineQuantity {
            line,
            quantity: Quantity(quantity),
        })
        .into();
    let part: Box<[LineQuantity]> = Box::new([LineQuantity {
        line: 1,
        quantity: Quantity(1),
    }]);
    let shipment = Shipment {
        lines: part.clone(),
        fulfilment: None,
        carrier: "post".into(),
        tracking: "1".into(),
    };
    let by = Username::new("shop").unwrap();
    let key = Key::Order(id);
    let done = until_done(dockets, &key, async |docket| {
        let call = call(&format!("then-{request}"));
        match number % 4 {
            0 => docket.cancel_order(call, id, None).await.map(drop),
            1 => docket
                .ship_order(call, id, shipment.clone(), by.clone(), None)
                .await
                .map(drop),
            2 => docket
                .cancel_order_lines(call, id, part.clone(), None)
                .await
                .map(drop),
            _ => docket
                .edit_order(call, id, edited.clone(), by.clone(), version)
                .await
                .map(drop),
        }
    });
    done.await
}

/// Clients that trade until it is over; how many orders were traded.
async fn clients(dockets: &[Docket], over: &AtomicBool) -> usize {
    let client = async |client: usize| {
        let (mut done, mut number) = (0, 0);
        while !over.load(Ordering::Relaxed) {
            match trade(dockets, client, number).await {
                Ok(()) => done += 1,
                Err(CallError::Rejected(_)) => {}
                Err(error) => panic!("{error}"),
            }
            number += 1;
        }
        done
    };
    let done = join_all((0..6).map(client)).await;
    done.into_iter().sum()
}

fn sum(report: &VerifyReport, of: fn(&docket_actors::ShardBooks) -> u64) -> u64 {
    report.shards.iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_cluster_that_serves_is_clean_at_every_look() {
    let three = shop(|_| {}).await;
    let (dockets, over) = (three.dockets(), AtomicBool::new(false));
    let mut owned_elsewhere = 0;
    let looks = async {
        let (begun, mut rounds) = (Instant::now(), 0);
        while rounds < 9 || begun.elapsed() < Duration::from_secs(8) {
            let report = dockets[rounds % 3].verify(PACE).await.unwrap();
            assert!(report.is_clean(), "{report:#?}");
            assert!(report.not_looked_at.is_empty() && report.shards.len() == 4);
            let led = report.shards.iter().filter(|shard| shard.led).count();
            assert!((1..4).contains(&led), "{report:#?}");
            owned_elsewhere += report.owned_elsewhere;
            rounds += 1;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (done, ()) = futures::future::join(clients(&dockets, &over), looks).await;
    assert!(
        done > 0 && owned_elsewhere > 0,
        "{done} orders, {owned_elsewhere} half-way elsewhere"
    );
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_left_half_way_is_taken_up_and_then_all_is_clean() {
    let mut three = shop(|_| {}).await;
    let (dockets, over) = (three.dockets(), AtomicBool::new(false));
    // Clients that go away, and a node that dies, with orders half-way.
    let traded = tokio::time::timeout(Duration::from_millis(800), clients(&dockets, &over)).await;
    assert!(traded.is_err());
    three.kill(2).await;
    three.start(2).await;
    for at in 0..3 {
        let asked = Instant::now();
        loop {
            let report = three.docket(at).verify(PACE).await.unwrap();
            if report.is_clean() && report.half_open == 0 && report.not_looked_at.is_empty() {
                assert!(sum(&report, |shard| shard.orders) > 0);
                break;
            }
            // What was reserved for an order that never came to be is found at one of the next looks for that.
            assert!(asked.elapsed() < PATIENCE, "node {at}: {report:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_replicas_says_what_it_did_not_look_at() {
    let three = shop(|options| {
        let peers = options.node.peers.as_mut().unwrap();
        peers.founders.retain(|founder| *founder != NodeId(3));
    })
    .await;
    let dockets = three.dockets();
    for number in 0..8 {
        trade(&dockets, number, number).await.unwrap();
    }
    let report = three.docket(2).verify(PACE).await.unwrap();
    assert!(report.is_clean() && report.shards.is_empty(), "{report:#?}");
    assert_eq!(report.not_looked_at.len(), 4);
    for at in 0..2 {
        // Who reads here has what the leaders have.
        let all = ListOrders {
            limit: 100,
            ..ListOrders::default()
        };
        let list = async |docket: &Docket| docket.list_orders(Call::default(), all.clone()).await;
        assert_eq!(until_read(three.docket(at), list).await.unwrap().orders.len(), 8);
        let report = three.docket(at).verify(PACE).await.unwrap();
        assert!(
            report.is_clean() && report.not_looked_at.is_empty(),
            "{report:#?}"
        );
        assert_eq!(sum(&report, |shard| shard.orders), 8);
    }
    let call = Call::default();
    assert!(three.docket(2).list_customers(call, None, 1).await.is_ok());
    three.end().await;
}
