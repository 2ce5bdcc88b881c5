//! Three nodes behind the bad network, whose clients call all of them.

use std::{sync::Arc, time::Duration};

use docket_soak::{
    Credential, Target,
    history::{
        clients::{Client, Node, Shop},
        nemesis::{self, Able},
        net::Net,
    },
};

use super::{Working, assert_checks_out, lasts, members::Members, settle, stage::Servers};
use crate::{environment::seed, server::verify};

const NODES: [u8; 3] = [1, 2, 3];
const CLIENTS: u32 = 6;
/// A run is longer than that of one node: there is more that can go wrong.
const LONGER: u32 = 3;
/// The longest that the default may take, so that the tests of the whole program stay short.
const LASTS_MAX: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_three_nodes_answered_while_the_network_was_bad_is_linearizable() {
    let seed = seed();
    let lasts = match std::env::var_os("DOCKET_HISTORY_SECONDS") {
        Some(_) => lasts(),
        None => (lasts() * LONGER).min(LASTS_MAX),
    };
    println!("DOCKET_SEED={seed} DOCKET_HISTORY_SECONDS={}", lasts.as_secs());
    let net = Net::new(seed);
    let (members, _certificates) = Members::new(&net, 3).await;
    let mut servers = Servers::together(&net, members).await;
    let key = Credential::api_key(&servers.home(1).admin_key());
    let target = |node: u8| Target::new(&servers.address(node), key.clone()).unwrap();
    let targets = NODES.map(target);
    let nodes = targets.each_ref().map(Node::new);
    let able = Able::of(NODES.len(), &servers.home(1).data());
    println!("{able}");
    let shop = Arc::new(Shop::open(&targets[0], seed).await.unwrap());
    let mut clients: Vec<Client> = (1..=CLIENTS).map(|number| Client::new(&shop, number)).collect();

    for planned in nemesis::plan(seed, &NODES, &able.kinds, lasts) {
        let working = Working::begin(&shop, &nodes, clients);
        let began = shop.recorder.now();
        let line = nemesis::run(&[planned], &NODES, &net, &mut servers, seed).await;
        clients = working.end().await;
        for mut happened in line.unwrap() {
            happened.at += began;
            println!("{happened}");
        }
        settle(&shop, &targets[0], &nodes, &mut clients).await;
    }
    // What one node lists, the others list as well.
    let books = Shop::books(&targets[0]).await.unwrap();
    for target in &targets[1..] {
        assert_eq!(Shop::books(target).await.unwrap(), books);
    }
    servers.stop();
    NODES.iter().for_each(|node| verify(servers.home(*node)));
    let shop = Arc::into_inner(shop).unwrap();
    assert_checks_out(seed, &shop.history(books));
}
