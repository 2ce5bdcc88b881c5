//! Orders whose items do not answer: the leader of their shard applies nothing.

use std::{iter, time::Instant};

use futures::future::join_all;

use super::{
    CLOCK, FAULTS, Followed, MINUTE_MS, OF_THE_MACHINE, cluster::leads, docket, obeys_tests, place,
    prometheus::Prometheus,
};
use crate::{
    api::{Api, order},
    cluster::nodes::Nodes,
    provider::Provider,
    server::{LOOK_AGAIN, PATIENCE, Server},
};

const GROUPS: [&str; 4] = ["meta", "shard-0", "shard-1", "shard-2"];
/// So many customers, and so many items, that each shard has some of them.
const OF_EACH: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alert_of_stuck_orders_fires_for_those_that_wait_for_their_items() {
    if !obeys_tests() {
        return println!(
            "not tried, since the program does not go wrong on demand: orders that wait for their items"
        );
    }
    let (mut nodes, clock, provider) = (Nodes::new(), Followed::new("0"), Provider::start());
    nodes.each(|home| provider.known_to(home, "card"));
    let faults = [(); 3].map(|()| Followed::new(""));
    for (node, faults) in iter::zip(1.., &faults) {
        // One clock for all, so that none is ahead of another.
        nodes.variable(node, CLOCK, &clock.path());
        nodes.variable(node, FAULTS, &faults.path());
    }
    // Leads go where they are told to, and stay.
    nodes.set("cluster.balance_leads", "false");
    nodes.found();
    let first = Server::start(nodes.home(1));
    let servers = [first, nodes.launch(2), nodes.launch(3)];
    nodes.until_voters(&servers[0], &[1, 2, 3]).await;
    let jobs = [("docket", servers.iter().map(|server| server.admin).collect())];
    let Some(prometheus) = Prometheus::start("the alert of orders that wait for their items", &jobs) else {
        return;
    };
    let slow = leads_a_shard_alone(&nodes, &servers).await;
    let other = (slow + 1) % servers.len();
    let api = Api::admin(&servers[other], nodes.home(1)).await;
    let names = |of: &str| (0..OF_EACH).map(|n| format!("{of}-{n}")).collect::<Vec<_>>();
    let (customers, items) = (names("customer"), names("item"));
    for (customer, item) in iter::zip(&customers, &items) {
        api.customer(customer, i64::MAX / 2).await;
        api.item(item, 5, 1_000).await;
    }
    // The page asks about the provider as well, which is well.
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000).await;
    place(&api, "well", "nut", "card").await.unwrap();
    prometheus.quiet(&OF_THE_MACHINE);

    // Each order has items of all shards; those of customers whose shards are led elsewhere are recorded, and wait.
    faults[slow].goes_wrong(nodes.home(slow + 1), "apply-waits");
    let lines: Vec<_> = items.iter().map(|item| (item.as_str(), 1, 5)).collect();
    let placing: Vec<_> = customers
        .iter()
        .map(|customer| {
            let (request, mut orders) = (order("waits", customer, &lines), api.orders());
            tokio::spawn(async move { orders.place_order(request).await })
        })
        .collect();
    prometheus.reaches("max(docket_orders_oldest_seconds{state=\"pending\"})", 1.0);
    // Two minutes later.
    clock.moves(2 * MINUTE_MS);
    prometheus.fires("DocketOrdersStuck", ("state", "pending"));

    // What the page says: it answers again, and they go on by themselves.
    faults[slow].goes_wrong(nodes.home(slow + 1), "");
    prometheus.reaches("max(docket_orders_stuck{state=\"pending\"}) == bool 0", 1.0);
    for server in &servers {
        server.settled().await;
    }
    // Each of them is there once, also where its call was not waited for; they are told of by who asks again.
    join_all(placing).await;
    for customer in &customers {
        let request = order("waits", customer, &lines);
        let placed = api.orders().place_order(request).await.unwrap().into_inner();
        assert_eq!(placed.state(), docket_proto::v1::order::State::Confirmed);
    }
    for item in api
        .all_items()
        .await
        .iter()
        .filter(|item| item.name != "items/nut")
    {
        assert_eq!(item.reserved, OF_EACH as i64, "{item:?}");
    }
}

/// Spreads the leads; which node leads one shard, and nothing else.
async fn leads_a_shard_alone(nodes: &Nodes, servers: &[Server]) -> usize {
    let begun = Instant::now();
    loop {
        let leading = |server: &Server| GROUPS.map(|group| leads(server, group));
        let alone = servers.iter().position(|server| {
            let leading = leading(server);
            !leading[0] && leading.iter().filter(|leads| **leads).count() == 1
        });
        let led = servers.iter().flat_map(leading).filter(|leads| *leads).count();
        if let (Some(found), true) = (alone, led == GROUPS.len()) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "the leads are not spread");
        // Asked again where it could not be done yet.
        let run = docket(nodes.home(1), &servers[0], "cluster balance");
        println!("{}", String::from_utf8_lossy(&run.stderr));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
