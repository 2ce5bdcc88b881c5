//! One node: killed again and again, and with every fault that one node can have.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_soak::{
    Chance, Credential, Target,
    history::{
        clients::{Client, Node, Shop},
        nemesis::{self, Able},
        net::Net,
    },
};

use super::{Working, assert_checks_out, lasts, settle, stage::Servers};
use crate::{
    environment::seed,
    server::{Home, Server, verify},
};

const CLIENTS: u32 = 8;
/// The process lives for at least this long and at most three times as long.
const LIFE_MS: u64 = 300;
/// Clients go on calling for so long when it is dead.
const DEAD_MS: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_answered_while_it_was_killed_is_linearizable() {
    let (seed, lasts) = (seed(), lasts());
    println!("DOCKET_SEED={seed} DOCKET_HISTORY_SECONDS={}", lasts.as_secs());
    let mut chance = Chance::new(seed, 0);
    let home = Home::new()
        // Snapshots are taken and the journal is cut within a run.
        .set("cluster.snapshot_bytes_min", "65536");
    let mut server = Server::start(&home);
    let shop = Arc::new(Shop::open(&target(&server, &home), seed).await.unwrap());
    let mut clients: Vec<Client> = (1..=CLIENTS).map(|number| Client::new(&shop, number)).collect();

    let begun = Instant::now();
    let mut kills = 0;
    while begun.elapsed() < lasts {
        let nodes = [Node::new(&target(&server, &home))];
        let working = Working::begin(&shop, &nodes, clients);
        tokio::time::sleep(Duration::from_millis(LIFE_MS + chance.below(2 * LIFE_MS))).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(DEAD_MS)).await;
        clients = working.end().await;
        kills += 1;

        server = Server::start(&home);
        let target = target(&server, &home);
        settle(&shop, &target, &[Node::new(&target)], &mut clients).await;
    }
    let books = Shop::books(&target(&server, &home)).await.unwrap();
    server.stop(&home);
    verify(&home);
    println!("{kills} kills, {} orders", books.orders.len());
    let shop = Arc::into_inner(shop).unwrap();
    assert_checks_out(seed, &shop.history(books));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_answered_while_it_was_paused_and_its_disk_was_slow_is_linearizable() {
    let (seed, lasts) = (seed(), lasts());
    println!("DOCKET_SEED={seed} DOCKET_HISTORY_SECONDS={}", lasts.as_secs());
    let net = Net::new(seed);
    let home = Home::new().set("cluster.snapshot_bytes_min", "65536");
    let able = Able::of(1, &home.data());
    println!("{able}");
    let plan = nemesis::plan(seed, &[1], &able.kinds, lasts);
    let mut servers = Servers::alone(&net, home).await;
    let target = at(&servers.address(1), servers.home(1));
    let nodes = [Node::new(&target)];
    let shop = Arc::new(Shop::open(&target, seed).await.unwrap());
    let mut clients: Vec<Client> = (1..=CLIENTS).map(|number| Client::new(&shop, number)).collect();

    for planned in plan {
        let working = Working::begin(&shop, &nodes, clients);
        let began = shop.recorder.now();
        let line = nemesis::run(&[planned], &[1], &net, &mut servers, seed).await;
        clients = working.end().await;
        for mut happened in line.unwrap() {
            happened.at += began;
            println!("{happened}");
        }
        settle(&shop, &target, &nodes, &mut clients).await;
    }
    let books = Shop::books(&target).await.unwrap();
    servers.stop();
    verify(servers.home(1));
    let shop = Arc::into_inner(shop).unwrap();
    assert_checks_out(seed, &shop.history(books));
}

fn target(server: &Server, home: &Home) -> Target {
    at(&format!("http://{}", server.grpc), home)
}

fn at(address: &str, home: &Home) -> Target {
    Target::new(address, Credential::api_key(&home.admin_key())).unwrap()
}
