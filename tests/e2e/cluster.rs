//! Three processes over mutual TLS: a node that stood alone becomes the first of three while orders are placed, and nothing that was
//! acknowledged is lost, whichever of the others is killed.

mod certificates;
pub mod nodes;
mod status;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tonic::Code;

use crate::{
    api::{Api, order},
    server::{LOOK_AGAIN, PATIENCE, Server, verify},
};
use nodes::{Nodes, SHARDS};

/// Orders that must be acknowledged between two events of a test.
const SOME: usize = 20;

/// A client that places one order after the other, and remembers which were acknowledged.
struct Load {
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    placing: tokio::task::JoinHandle<BTreeSet<String>>,
}

impl Load {
    fn start(api: Api, name: &'static str) -> Self {
        let (count, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, stopped) = (Arc::clone(&count), Arc::clone(&stop));
        let placing = tokio::spawn(async move {
            let mut acknowledged = BTreeSet::new();
            while !stopped.load(Ordering::Acquire) {
                acknowledged.insert(place(&api, &format!("{name}-{}", acknowledged.len())).await);
                counted.fetch_add(1, Ordering::Release);
            }
            acknowledged
        });
        Self { count, stop, placing }
    }

    /// Waits until so many more have been acknowledged.
    async fn goes_on(&self) {
        let (begun, target) = (Instant::now(), self.count.load(Ordering::Acquire) + SOME);
        while self.count.load(Ordering::Acquire) < target {
            assert!(
                begun.elapsed() < PATIENCE && !self.placing.is_finished(),
                "no orders are acknowledged any more"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Release);
        self.placing.await.unwrap()
    }
}

/// Places an order, again and again under the same id where it is not known whether it was; its name.
async fn place(api: &Api, request_id: &str) -> String {
    let begun = Instant::now();
    loop {
        let request = order(request_id, "ada", &[("nut", 1, 5), ("bolt", 2, 3)]);
        match api.orders().place_order(request).await {
            Ok(placed) => return placed.into_inner().name,
            Err(status) => assert!(
                matches!(
                    status.code(),
                    Code::Unavailable | Code::DeadlineExceeded | Code::Unknown
                ) && begun.elapsed() < PATIENCE,
                "{request_id}: {status}"
            ),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn all_there(api: &Api, acknowledged: &BTreeSet<String>) {
    let there: BTreeSet<_> = api
        .all_orders()
        .await
        .into_iter()
        .map(|order| order.name)
        .collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
    assert_eq!(
        there.len(),
        acknowledged.len(),
        "an order was placed twice, or never acknowledged"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_becomes_three_under_load_and_a_follower_may_be_killed() {
    let mut nodes = Nodes::new();
    // Alone, as any node begins.
    let server = Server::start(nodes.home(1));
    let api = Api::admin(&server, nodes.home(1)).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000_000).await;
    api.item("bolt", 3, 1_000_000_000).await;
    let mut acknowledged = BTreeSet::new();
    for n in 0..SOME {
        acknowledged.insert(place(&api, &format!("alone-{n}")).await);
    }
    server.stop(nodes.home(1));

    nodes.found();
    let first = Server::start(nodes.home(1));
    let api = Api::admin(&first, nodes.home(1)).await;
    all_there(&api, &acknowledged).await;
    let load = Load::start(api.clone(), "joining");
    load.goes_on().await;
    let second = nodes.launch(2);
    load.goes_on().await;
    let third = nodes.launch(3);
    nodes.until_voters(&first, &[1, 2, 3]).await;
    load.goes_on().await;

    // A follower dies, and two are enough.
    second.kill();
    load.goes_on().await;
    // It comes back; and when the other one dies, it is needed.
    let second = nodes.launch(2);
    third.kill();
    load.goes_on().await;
    acknowledged.extend(load.end().await);
    all_there(&api, &acknowledged).await;

    second.stop(nodes.home(2));
    first.stop(nodes.home(1));
    for node in 1..=3 {
        verify(nodes.home(node));
    }
    println!(
        "{} orders acknowledged over {SHARDS} shards, all there",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_and_a_copied_one_are_refused_by_name() {
    let mut nodes = Nodes::new();
    nodes.found();
    let first = Server::start(nodes.home(1));
    let second = nodes.launch(2);
    nodes.until_voters(&first, &[1, 2]).await;
    let third = nodes.launch(3);
    nodes.until_voters(&first, &[1, 2, 3]).await;

    // A copy of node 2's data directory, which goes on: with a way of its own to be reached.
    let mut copy = nodes.launch_copy(2, &second);
    let refusal = nodes.log_says(&mut copy, 4, "copies of one another").await;
    assert!(refusal.contains("node 2"), "{refusal}");
    copy.kill();

    // Node 3 loses its disk, and is started again as if nothing had been.
    third.kill();
    std::fs::remove_dir_all(nodes.home(3).data()).unwrap();
    let mut third = nodes.launch(3);
    nodes.log_says(&mut third, 3, "never used again").await;
    let status = third.ended();
    assert_eq!(status.code(), Some(1), "{status}");
    second.stop(nodes.home(2));
    drop(first);
}
