//! Three nodes, behind a network that can be made bad.

use std::{
    fs,
    time::{Duration, Instant},
};

use docket_proto::v1::WatchOrdersRequest;
use docket_soak::history::{
    nemesis::Stage as _,
    net::{Link, Net, Who},
};
use futures::future::join_all;

use super::{
    ASKED_FOR, Acknowledged, furnish, metric,
    page::{Mode, run},
    until,
};
use crate::{
    api::{Api, order, reason_of},
    history::stage::Servers,
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

const GROUPS: [&str; 4] = ["meta", "shard-0", "shard-1", "shard-2"];
/// Customers, so that each shard has some of their orders.
const CUSTOMERS: usize = 12;
/// How late everything is on a slow network: less than an election waits for.
const LATE: Link = Link::Late {
    by: Duration::from_millis(60),
    jitter: Duration::from_millis(60),
};
const LOSSY: Link = Link::Lossy { one_in: 40 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_three_nodes_is_as_the_page_says() {
    if std::env::var_os(ASKED_FOR).is_none() {
        return println!("SKIPPED: what befalls three nodes: {ASKED_FOR} is not set");
    }
    let net = Net::new(1);
    let mut servers = Servers::together(&net, 3).await;
    until_voters(&servers, &[1, 2, 3]).await;
    let api = admin(&servers, 1).await;
    furnish(&api).await;
    for n in 0..CUSTOMERS {
        api.customer(&format!("c{n}"), i64::MAX / 2).await;
    }
    let mut acknowledged = Acknowledged::default();
    acknowledged.are_there(&api).await;

    killed(&mut servers, &mut acknowledged).await;
    cut_off(&net, &servers, &mut acknowledged).await;
    slow(&net, &servers, &mut acknowledged).await;
    no_majority(&mut servers, &mut acknowledged).await;
    disk_gone(&mut servers, &mut acknowledged).await;
    strangers(&mut servers).await;
    servers.stop();
}

async fn admin(servers: &Servers, node: u8) -> Api {
    Api::admin(servers.server(node), servers.home(1)).await
}

/// Waits until these nodes vote in all groups, as the first of them sees it.
async fn until_voters(servers: &Servers, voters: &[u8]) {
    let (first, expected) = (voters[0], serde_json::json!(voters));
    until(
        "all replicas to be in their places",
        servers.home(first),
        async || {
            let status = servers.server(first).get("/status?local");
            let status: serde_json::Value = status
                .and_then(|(_, body)| serde_json::from_str(&body).ok())
                .unwrap_or_default();
            let groups = status["groups"].as_array().cloned().unwrap_or_default();
            groups.len() == GROUPS.len() && groups.iter().all(|group| group["voter_ids"] == expected)
        },
    )
    .await;
}

fn leads(server: &Server, group: &str) -> bool {
    metric(server, &format!("docket_raft_leader{{group=\"{group}\"}}")) == 1.0
}

/// An order of each customer, at one node.
async fn place_all(api: &Api, round: &str) -> Vec<(String, Result<String, tonic::Status>)> {
    let all = (0..CUSTOMERS).map(|n| {
        let request = order(&format!("{round}-{n}"), &format!("c{n}"), &[("nut", 1, 5)]);
        let mut orders = api.orders();
        async move {
            let placed = orders.place_order(request.clone()).await;
            (request.customer, placed.map(|placed| placed.into_inner().name))
        }
    });
    join_all(all).await
}

async fn killed(servers: &mut Servers, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("a node is killed, or its machine");
    let leader = servers.leader().await.unwrap();
    let other = servers.nodes().into_iter().find(|node| *node != leader).unwrap();
    let (of_leader, of_other) = (admin(servers, leader).await, admin(servers, other).await);
    // It stands still, so that what is asked of it is on its way there when it dies.
    servers.pause(leader).unwrap();
    let asked = of_other.clone();
    let asking = tokio::spawn(async move { place_all(&asked, "killed").await });
    let home = servers.home(1);
    until("orders to be on their way", home, async || {
        metric(servers.server(other), "docket_requests_in_flight") > 0.0
    })
    .await;
    let begun = Instant::now();
    servers.kill(leader).unwrap();
    // Whoever is dead does not stand still any more.
    servers.resume(leader).unwrap_err();
    // A lost connection first.
    let mut lost = None;
    until("it not to be reached any more", servers.home(1), async || {
        lost = acknowledged.try_to_place(&of_leader).await.err();
        lost.as_ref()
            .is_some_and(|status| status.code() == tonic::Code::Unavailable)
    })
    .await;
    mode.tells(&lost.unwrap());
    let answers = asking.await.unwrap();
    for (_, answer) in answers.iter() {
        match answer {
            Err(status) if reason_of(status).is_some_and(|reason| reason == "OUTCOME_UNKNOWN") => {
                mode.tells(status)
            }
            Err(status) => println!("{status:?}"),
            Ok(_) => {}
        }
    }
    let home = servers.home(1);
    let alive: Vec<_> = servers
        .nodes()
        .into_iter()
        .filter(|node| *node != leader)
        .collect();
    until("all groups to be led by others", home, async || {
        let led = |group: &str| alive.iter().any(|node| leads(servers.server(*node), group));
        GROUPS.iter().all(|group| led(group))
    })
    .await;
    println!("all groups are led by others after {:.1?}", begun.elapsed());
    // Repeated under their ids all are done, and none twice.
    let mut again = Vec::new();
    until("all to be done", home, async || {
        again = place_all(&of_other, "killed").await;
        again.iter().all(|(_, answer)| answer.is_ok())
    })
    .await;
    for ((customer, before), (_, after)) in answers.iter().zip(&again) {
        let after = after.as_ref().unwrap();
        assert!(
            before.as_ref().map_or(true, |before| before == after),
            "{customer}"
        );
        acknowledged
            .orders
            .insert(format!("killed-{customer}"), after.clone());
    }
    let orders = of_other.all_orders().await;
    for n in 0..CUSTOMERS {
        let customer = format!("customers/c{n}");
        assert_eq!(
            orders.iter().filter(|order| order.customer == customer).count(),
            1
        );
    }
    // What it missed it gets.
    servers.start(leader).await.unwrap();
    servers.well().await;
    acknowledged.are_there(&admin(servers, leader).await).await;
    mode.ends();
}

async fn cut_off(net: &Net, servers: &Servers, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("a node is cut off");
    let (cut, others) = ([Who::Node(3)], [Who::Node(1), Who::Node(2)]);
    let (alone, larger) = (admin(servers, 3).await, admin(servers, 1).await);
    net.set_between(&cut, &others, Link::Cut);
    let home = servers.home(3);
    let mut refused = None;
    until("its side to refuse", home, async || {
        let mut request = tonic::Request::new(order("cut", "ada", &[("nut", 1, 5)]));
        request.set_timeout(Duration::from_secs(20));
        refused = alone.orders().place_order(request).await.err();
        refused
            .as_ref()
            .and_then(reason_of)
            .is_some_and(|reason| reason == "SHARD_UNAVAILABLE")
    })
    .await;
    mode.tells(&refused.unwrap());
    until("the larger side to go on", servers.home(1), async || {
        acknowledged.try_to_place(&larger).await.is_ok()
    })
    .await;
    until("the node to be missed", servers.home(1), async || {
        metric(servers.server(1), "docket_peer_connected{node=\"3\"}") == 0.0
    })
    .await;
    net.heal();
    until("its side to catch up", home, async || {
        acknowledged.try_to_place(&alone).await.is_ok()
    })
    .await;
    acknowledged.are_there(&alone).await;
    mode.ends();
}

async fn slow(net: &Net, servers: &Servers, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("the network is slow, or loses packets");
    mode.names("cluster.election_timeout_min_ms");
    let api = admin(servers, 1).await;
    acknowledged.place(&api).await;
    let all = [Who::Node(1), Who::Node(2), Who::Node(3)];
    for link in [LATE, LOSSY] {
        for (at, one) in all.iter().enumerate() {
            net.set_between(&[*one], &all[at + 1..], link);
        }
        // Late answers, and some that are to be asked for again; none that is wrong.
        for _ in 0..3 {
            until("an order to be placed", servers.home(1), async || {
                acknowledged.try_to_place(&api).await.is_ok()
            })
            .await;
        }
    }
    net.heal();
    until("all to be well", servers.home(1), async || {
        acknowledged.try_to_place(&api).await.is_ok()
    })
    .await;
    acknowledged.are_there(&api).await;
    mode.ends();
}

async fn no_majority(servers: &mut Servers, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("no part has most of a group");
    let waits = Mode::of("it does not become ready");
    servers.kill(2).unwrap();
    servers.kill(3).unwrap();
    let api = admin(servers, 1).await;
    let mut refused = None;
    until("orders to be refused", servers.home(1), async || {
        let mut request = tonic::Request::new(order("alone", "ada", &[("nut", 1, 5)]));
        request.set_timeout(Duration::from_secs(20));
        refused = api.orders().place_order(request).await.err();
        refused
            .as_ref()
            .and_then(reason_of)
            .is_some_and(|reason| reason == "SHARD_UNAVAILABLE")
    })
    .await;
    mode.tells(&refused.unwrap());
    let asked = waits.names("/readyz?verbose");
    // Where it led before, it goes on taking itself for the leader.
    until("it to say that nobody answers", servers.home(1), async || {
        let told = [
            "shard 0 is led here, and not enough of its replicas answer",
            "shard 0 was last led by node",
        ];
        let said = servers.server(1).get(asked);
        said.is_some_and(|(code, why)| code == 503 && told.iter().any(|told| why.contains(told)))
    })
    .await;

    servers.kill(1).unwrap();
    servers.start(1).await.unwrap();
    until("it to say why it is not ready", servers.home(1), async || {
        let said = servers.server(1).get(asked);
        // By whether it has heard of the leader that is gone.
        let told = ["shard 0 has no leader here", "shard 0 was last led by node"];
        said.is_some_and(|(code, why)| code == 503 && told.iter().any(|told| why.contains(told)))
    })
    .await;
    println!("{:?}", servers.server(1).get(asked));
    let mut request = tonic::Request::new(order("not-ready", "ada", &[("nut", 1, 5)]));
    request.set_timeout(Duration::from_secs(20));
    let status = admin(servers, 1)
        .await
        .orders()
        .place_order(request)
        .await
        .unwrap_err();
    waits.tells(&status);

    servers.well().await;
    acknowledged.are_there(&admin(servers, 2).await).await;
    mode.ends();

    // Nor is one ready that stops: it says so to those who listen.
    let mut watch = admin(servers, 2).await.orders();
    let watch = watch.watch_orders(WatchOrdersRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    servers.server(2).terminate();
    let status = loop {
        match watch.message().await {
            Ok(told) => assert!(told.is_some(), "it ends without a word"),
            Err(status) => break status,
        }
    };
    waits.tells(&status);
    let begun = Instant::now();
    while servers.ended(2).is_none() {
        assert!(
            begun.elapsed() < PATIENCE,
            "it does not end: {}",
            servers.home(2).log()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert_eq!(servers.ended(2), Some(0));
    servers.well().await;
    acknowledged.are_there(&admin(servers, 2).await).await;
    waits.ends();
}

/// One with certificates of another authority knocks.
async fn strangers(servers: &mut Servers) {
    let mode = Mode::of("a node with the wrong cluster's certificates");
    let foreign = tempfile::tempdir().unwrap();
    let path = |name: &str| foreign.path().join(name).display().to_string();
    let mut home = servers.one_more(9).await;
    let (ca, out) = (path("ca"), path("certs"));
    home.run(&["certs", "ca", "--out", &ca]);
    let made_for = ["--cluster", "shop", "--node", "9", "--out", &out];
    home.run(&[&["certs", "node", "--ca", &ca][..], &made_for].concat());
    for (key, file) in [
        ("ca", "ca.pem"),
        ("certificate", "node-9.pem"),
        ("key", "node-9.key"),
    ] {
        home = home.set(&format!("cluster.{key}"), &format!("{out}/{file}"));
    }
    let stranger = Server::launch(&home);
    until("it to be named in the other's log", servers.home(1), async || {
        servers
            .home(1)
            .whole_log()
            .contains("a peer is refused: its TLS handshake failed")
    })
    .await;
    stranger.kill();
    mode.ends();
}

async fn disk_gone(servers: &mut Servers, acknowledged: &mut Acknowledged) {
    let mode = Mode::of("it is gone");
    servers.kill(3).unwrap();
    let home = servers.forget(3);
    fs::remove_dir_all(home.data()).unwrap();
    // As if nothing had been: it is not let in under its id.
    let refused = Server::launch(&home).ended();
    assert!(
        refused.code() == Some(1) && home.log().contains("never used again"),
        "{}",
        home.log()
    );
    let remove = mode.command("docket cluster remove");
    let at: &Home = servers.home(1);
    until("it to be removed", at, async || {
        let done = run(at, Some(servers.server(1)), &remove, &[("N", "3")]);
        println!("{}", String::from_utf8_lossy(&done.stderr));
        done.status.success()
    })
    .await;
    // A new one, under a new id.
    let joined = servers.change(0).await;
    assert!(joined.ends_with("joins"), "{joined}");
    servers.well().await;
    until_voters(servers, &[1, 2, 4]).await;
    acknowledged.are_there(&admin(servers, 2).await).await;
    mode.ends();
}
