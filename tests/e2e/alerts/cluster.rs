//! Three nodes, of which one after the other goes wrong.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{CLOCK, FAULTS, Followed, OF_THE_MACHINE, log_says, obeys_tests, place, prometheus::Prometheus};
use crate::{
    api::Api,
    cluster::nodes::Nodes,
    server::{LOOK_AGAIN, PATIENCE, Server},
};

/// How often a group's leader stands still: more elections than are usual in a quarter of an hour.
const STANDS_STILL: usize = 5;
/// The group that it leads.
const GROUP: &str = "shard-0";
/// All.
const GROUPS: [&str; 4] = ["meta", "shard-0", "shard-1", "shard-2"];
/// More entries than that are many, as the rules are here.
const MANY: f64 = 101.0;
/// How long that takes where orders are placed.
const LAGS_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_a_cluster_fire_when_their_causes_are_made() {
    let (mut nodes, clock, faults) = (Nodes::new(), Followed::new("0"), Followed::new(""));
    nodes.variable(2, CLOCK, &clock.path());
    nodes.variable(3, FAULTS, &faults.path());
    nodes.found();
    // A leader that stands still is missed soon; and who leads stays so.
    nodes.set("cluster.election_timeout_min_ms", "1500");
    nodes.set("cluster.election_timeout_max_ms", "3000");
    nodes.set("cluster.balance_leads", "false");
    // Nobody calls the second.
    nodes.renew_certificate(2, "tls", 1);
    nodes.renew_certificate(3, "cluster", 1);
    let first = Server::start(nodes.home(1));
    let (second, mut third) = (nodes.launch(2), nodes.launch(3));
    nodes.until_voters(&first, &[1, 2, 3]).await;
    let jobs = [("docket", vec![first.admin, second.admin, third.admin])];
    let Some(prometheus) = Prometheus::start("the alerts of a cluster", &jobs) else {
        return;
    };
    let api = Api::admin(&first, nodes.home(1)).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000).await;
    // The second has a certificate for clients that holds for a day, the third one for peers.
    let mut but = OF_THE_MACHINE.to_vec();
    but.extend(["DocketCertificateExpiresSoon", "DocketCertificateExpires"]);
    prometheus.quiet(&but);
    let of_third = third.admin.to_string();
    prometheus.fires("DocketCertificateExpiresSoon", ("instance", &of_third));
    prometheus.fires("DocketCertificateExpires", ("instance", &of_third));
    prometheus.fires("DocketCertificateExpiresSoon", ("certificate", "server"));
    prometheus.fires("DocketCertificateExpires", ("certificate", "server"));

    if obeys_tests() {
        clock.moves(5_000);
        prometheus.fires("DocketClockOffset", ("job", "docket"));
        clock.moves(0);
    }

    // Leaders that are late are taken for dead, again and again.
    let all = [&first, &second, &third];
    for _ in 0..STANDS_STILL {
        stands_still(&all, leader(&all, GROUP), &[GROUP]);
    }
    prometheus.fires("DocketLeaderChanges", ("group", GROUP));

    // What the third misses.
    let placing = (0..4).map(|client| {
        let api = api.clone();
        tokio::spawn(async move {
            for number in 0_u64.. {
                // Where it is led by one that is gone it is asked again, as another order.
                let _ = place(&api, &format!("lag-{client}-{number}"), "nut", "").await;
                // Of a server that is gone each call fails at once.
                tokio::task::yield_now().await;
            }
        })
    });
    let placing: Vec<_> = placing.collect();
    if obeys_tests() {
        let lag = format!("max(docket_raft_apply_lag_entries{{instance=\"{of_third}\"}})");
        let mut tried = 0;
        loop {
            // Nothing is done where it leads. Where it is elected nevertheless, on a machine with much to do, it is done again.
            stands_still(&all, 2, &GROUPS);
            faults.goes_wrong(nodes.home(3), "apply-waits");
            if prometheus.comes_to(&lag, MANY, LAGS_WITHIN) {
                break;
            }
            tried += 1;
            assert!(tried < 5, "{lag} is {}", prometheus.value(&lag));
            faults.goes_wrong(nodes.home(3), "");
        }
        prometheus.fires("DocketApplyLag", ("instance", &of_third));
        // What it applies then it applies wrongly, and is told to end when that is found.
        faults.goes_wrong(nodes.home(3), "stock-is-wrong");
        prometheus.fires("DocketReplicasDiffer", ("job", "docket"));
        let begun = Instant::now();
        while !third.has_ended() {
            assert!(begun.elapsed() < PATIENCE, "it goes on: {}", nodes.home(3).log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        log_says(nodes.home(3), "DocketReplicasDiffer", "differs from its leader's");
    } else {
        println!(
            "not tried, since the program does not go wrong on demand: entries that are not applied, replicas that differ"
        );
        third.kill();
    }
    prometheus.fires("DocketPeerDown", ("node", "3"));
    prometheus.fires("DocketReplicaLag", ("node", "3"));

    // And the second: no group has a majority, and calls fail.
    let of_first = first.admin.to_string();
    second.kill();
    prometheus.fires("DocketNoLeader", ("group", "meta"));
    for window in ["1h", "6h", "1d", "3d"] {
        prometheus.fires("DocketAvailabilityBudgetBurn", ("window", window));
    }
    prometheus.fires("DocketLimitsShared", ("instance", &of_first));
    placing.iter().for_each(tokio::task::JoinHandle::abort);

    // The first is started anew, and waits for the others.
    let (grpc, admin) = (first.grpc, first.admin);
    first.kill();
    let _first = Server::launch_at(nodes.home(1), grpc, admin);
    prometheus.fires("DocketNotReady", ("instance", &of_first));
}

/// Whether a node leads a group, as far as it knows.
pub fn leads(node: &Server, group: &str) -> bool {
    let line = format!("docket_raft_leader{{group=\"{group}\"}} 1");
    let page = node.get("/metrics");
    page.is_some_and(|(_, page)| page.lines().any(|one| one == line))
}

/// Which of these leads a group, once one that led it before has heard of that.
fn leader(nodes: &[&Server], group: &str) -> usize {
    let begun = Instant::now();
    loop {
        let leading = nodes.iter().enumerate().filter(|(_, node)| leads(node, group));
        if let [(found, _)] = leading.collect::<Vec<_>>()[..] {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not one leads {group}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Has one of these stand still until others lead these groups.
fn stands_still(nodes: &[&Server], stopped: usize, groups: &[&str]) {
    nodes[stopped].signal(Signal::STOP);
    let others = || {
        let others = nodes.iter().enumerate().filter(|(at, _)| *at != stopped);
        others.map(|(_, node)| *node)
    };
    let begun = Instant::now();
    while !groups.iter().all(|group| others().any(|node| leads(node, group))) {
        assert!(begun.elapsed() < PATIENCE, "nobody else leads {groups:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
    nodes[stopped].signal(Signal::CONT);
}
