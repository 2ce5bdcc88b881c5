//! Certificates of peers are exchanged while orders are placed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::Signal;

use super::nodes::Nodes;
use crate::{
    api::{Api, order},
    server::{LOOK_AGAIN, PATIENCE, Server},
};

const CLIENTS: usize = 4;
const DAY_S: f64 = 86_400.0;

/// In how many days the certificate ends that a node shows its peers.
fn ends_in_days(server: &Server) -> f64 {
    let (_, page) = server.get("/metrics").unwrap();
    let line = "docket_certificate_expiry_timestamp_seconds{certificate=\"peer\"} ";
    let ends: f64 = page
        .lines()
        .find_map(|one| one.strip_prefix(line))
        .unwrap()
        .parse()
        .unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (ends - now.as_secs_f64()) / DAY_S
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_for_peers_are_exchanged_under_load_and_no_call_fails() {
    let mut nodes = Nodes::new();
    nodes.set("cluster.balance_leads", "false");
    nodes.found();
    let first = Server::start(nodes.home(1));
    let mut second = nodes.launch(2);
    nodes.until_voters(&first, &[1, 2]).await;
    assert!(second.ready(nodes.home(2)), "{}", nodes.home(2).log());
    // What the second is asked it has done by the first, which leads all.
    let api = Api::admin(&second, nodes.home(1)).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000_000).await;
    let (over, placed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (api, over, placed) = (api.clone(), Arc::clone(&over), Arc::clone(&placed));
            tokio::spawn(async move {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let request = order(&format!("{client}-{n}"), "ada", &[("nut", 1, 5)]);
                    api.orders().place_order(request).await.unwrap();
                    placed.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let servers = [&first, &second];
    for (round, days) in [30_u32, 60, 90, 120].into_iter().enumerate() {
        let before = placed.load(Ordering::Relaxed);
        for (server, node) in servers.iter().zip(1..) {
            nodes.exchange_certificate(node, days);
            // By itself, and where somebody says so.
            if round % 2 == 1 {
                server.signal(Signal::HUP);
            }
        }
        let begun = Instant::now();
        let are_shown = || {
            let is_new = |server: &&Server| (ends_in_days(server) - f64::from(days)).abs() < 2.0;
            servers.iter().all(is_new)
        };
        while !are_shown() || placed.load(Ordering::Relaxed) == before {
            assert!(
                begun.elapsed() < PATIENCE,
                "the certificates are not exchanged: {}",
                nodes.home(1).log()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    // Who comes now is shown those, and shows one of the same authority.
    let third = nodes.launch(3);
    nodes.until_voters(&first, &[1, 2, 3]).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no call fails");
    }
    println!("{} orders were placed meanwhile", placed.load(Ordering::Relaxed));
    drop(third);
}
