//! One node: killed again and again, and with every fault that one node can have.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_soak::{
    Chance, Credential, Target,
    history::{
        clients::{Node, Shop},
        net::Net,
    },
};

use super::{
    EPISODE, assert_checks_out, histories, lasts,
    staff::{Staff, Working},
    stage::Servers,
};
use crate::{
    environment::seed,
    server::{Home, Server, verify},
};

/// How long a run takes, in seconds, where the environment does not say.
const SECONDS: u64 = 3;
const CLIENTS: u32 = 8;
/// The process lives for at least this long and at most three times as long.
const LIFE_MS: u64 = 300;
/// Clients go on calling for so long when it is dead.
const DEAD_MS: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_answered_while_it_was_killed_is_linearizable() {
    let (seed, lasts) = (seed(), lasts(SECONDS));
    println!("DOCKET_SEED={seed} DOCKET_HISTORY_SECONDS={}", lasts.as_secs());
    let mut chance = Chance::new(seed, 0);
    let home = Home::new()
        // Snapshots are taken and the journal is cut within a run.
        .set("cluster.snapshot_bytes_min", "65536");
    let mut server = Server::start(&home);
    let begun = Instant::now();
    for episode in 0_u64.. {
        let ends = lasts.min(begun.elapsed() + EPISODE);
        let shop = Shop::open(&target(&server, &home), seed, episode).await.unwrap();
        let shop = Arc::new(shop);
        let node = Node::new(&target(&server, &home));
        let mut staff = Staff::new(&shop, &[node], CLIENTS).await;
        let mut kills = 0;
        while begun.elapsed() < ends {
            let nodes = [Node::new(&target(&server, &home))];
            let working = Working::begin(&shop, &nodes, staff);
            tokio::time::sleep(Duration::from_millis(LIFE_MS + chance.below(2 * LIFE_MS))).await;
            server.kill();
            tokio::time::sleep(Duration::from_millis(DEAD_MS)).await;
            staff = working.end().await;
            kills += 1;

            server = Server::start(&home);
            let target = target(&server, &home);
            staff.settle(&shop, &target, &[Node::new(&target)]).await;
        }
        let target = target(&server, &home);
        let books = shop.books(&target).await.unwrap();
        staff.catch_up(&shop, &[Node::new(&target)], &books).await;
        println!("episode {episode}: {kills} kills, {} orders", books.orders.len());
        let shop = Arc::into_inner(shop).unwrap();
        assert_checks_out(seed, &shop.history(books));
        if begun.elapsed() >= lasts {
            break;
        }
    }
    server.stop(&home);
    verify(&home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_answered_while_everything_went_wrong_that_one_node_can_have_is_linearizable() {
    let (seed, lasts) = (seed(), lasts(SECONDS));
    println!("DOCKET_SEED={seed} DOCKET_HISTORY_SECONDS={}", lasts.as_secs());
    let net = Net::new(seed);
    // On a disk in memory, which can be full, or on the machine's, which can be slow.
    let servers = Servers::alone(&net, seed.is_multiple_of(2)).await;
    histories(servers, seed, CLIENTS, lasts).await;
}

fn target(server: &Server, home: &Home) -> Target {
    at(&format!("http://{}", server.grpc), home)
}

fn at(address: &str, home: &Home) -> Target {
    Target::new(address, Credential::api_key(&home.admin_key())).unwrap()
}
