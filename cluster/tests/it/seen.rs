//! What a node sees of the others: who lives, and how far the followers of what it leads are.

use docket_cluster::{GroupStatus, Leadership, NodeId};

use crate::machine::payload;
use crate::peers::{Three, eventually};

/// Which of the other nodes a node takes for alive.
fn alive(three: &Three, at: usize) -> Vec<NodeId> {
    let peers = three.0[at].node().peers();
    let alive = peers.iter().filter(|peer| peer.is_alive());
    alive.map(|peer| peer.node).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_knows_which_others_live_also_where_neither_leads() {
    let mut three = Three::form(|_| {}).await;
    let ids = [NodeId(1), NodeId(2), NodeId(3)];
    let others = |at: usize| {
        ids.iter()
            .copied()
            .filter(|id| *id != ids[at])
            .collect::<Vec<_>>()
    };
    eventually("everybody alive", || {
        (0..3).all(|at| alive(&three, at) == others(at))
    })
    .await;

    let stopped = (three.leader().await + 1) % 3;
    three.stop(stopped).await;
    for at in (0..3).filter(|at| *at != stopped) {
        eventually("one is missed", || {
            !alive(&three, at).contains(&ids[stopped]) && alive(&three, at).len() == 1
        })
        .await;
        let peers = three.0[at].node().peers();
        let missed = peers.iter().find(|peer| peer.node == ids[stopped]).unwrap();
        assert!(missed.silence.is_some(), "it was heard of before");
        assert!(!missed.connected);
    }
    three.start(stopped).await;
    eventually("everybody alive again", || {
        (0..3).all(|at| alive(&three, at) == others(at))
    })
    .await;
    three.end().await;
}

/// Whether one of these nodes leads, and what it says of its group holds.
fn leader_says(three: &Three, running: &[usize], holds: impl Fn(&GroupStatus) -> bool) -> bool {
    running.iter().any(|at| {
        let status = three.0[*at].group().status();
        matches!(status.leadership, Leadership::Leader { .. }) && holds(&status)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_knows_how_far_each_follower_is_and_a_follower_says_nothing_of_others() {
    let mut three = Three::form(|_| {}).await;
    three.propose(payload("before")).await;
    let has_all = |status: &GroupStatus| {
        let replicas = status.replicas.iter();
        let whole =
            replicas.filter(|one| one.votes && one.lag == 0 && one.match_index == status.last_log_index);
        whole.count() == 2
    };
    eventually("followers that have all", || {
        leader_says(&three, &[0, 1, 2], has_all)
    })
    .await;
    let leader = three.leader().await;
    let (behind, other) = ((leader + 1) % 3, (leader + 2) % 3);
    three.stop(behind).await;
    for n in 0..10 {
        three.propose(payload(format!("without-{n}"))).await;
    }
    let missing = NodeId(behind as u64 + 1);
    let lacks_some = |status: &GroupStatus| {
        let replica = status.replicas.iter().find(|one| one.node == missing);
        replica.is_some_and(|replica| replica.lag >= 10)
    };
    eventually("a follower that is behind", || {
        leader_says(&three, &[leader, other], lacks_some)
    })
    .await;
    three.start(behind).await;
    eventually("a follower that has caught up, and says nothing", || {
        let follower = three.0[behind].group().status();
        let follows = matches!(follower.leadership, Leadership::Follower { leader: Some(_) });
        (!follows || follower.replicas.is_empty()) && leader_says(&three, &[0, 1, 2], has_all)
    })
    .await;
    three.end().await;
}
