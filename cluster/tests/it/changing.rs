//! A cluster that changes while it runs: nodes leave or die, leads and replicas move.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use docket_cluster::{Leader, ManageError, Node, NodeId, NodeState};

use crate::cluster::{Cluster, GROUPS, placed};
use crate::machine::payload;
use crate::peers::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_hands_everything_over_and_leaves() {
    let mut cluster = Cluster::of(4).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    let gone = NodeId(1);
    cluster.change(async |node| node.drain(gone).await).await;
    cluster
        .until("a drained node", |registry| {
            registry.replicas_of(gone) == 0 && placed(registry, 3)
        })
        .await;
    for group in GROUPS {
        assert_ne!(cluster.leader(group).await.id(), gone);
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster
        .change(async |_| cluster_node(&cluster, NodeId(2)).remove(gone).await)
        .await;
    // It hears of it, and stops.
    let failed = tokio::time::timeout(PATIENCE, cluster.places[0].node().failed()).await;
    assert!(failed.unwrap().contains("was removed"), "it goes on");
    let (node, _) = cluster.places[0].running.take().unwrap();
    let ended = node.shutdown().await.unwrap_err();
    assert!(ended.to_string().contains("was removed"), "{ended}");
    // And is not let in again.
    cluster.places[0].start().await;
    let failed = tokio::time::timeout(PATIENCE, cluster.places[0].node().failed()).await;
    assert!(failed.unwrap().contains("was removed"), "it is let in again");
    let (node, _) = cluster.places[0].running.take().unwrap();
    node.shutdown().await.unwrap_err();
    cluster.propose(GROUPS[1], payload("without it")).await;
    cluster.equal().await;
    cluster.end().await;
}

fn cluster_node(cluster: &Cluster, id: NodeId) -> &Node {
    cluster.running().find(|place| place.id() == id).unwrap().node()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_replaced_when_it_is_removed_by_force() {
    let mut cluster = Cluster::of(4).await;
    cluster.propose(GROUPS[1], payload("before")).await;
    let dead = NodeId(2);
    cluster.place(dead).stop().await;
    let asked = Instant::now();
    let refused = loop {
        match cluster.any().remove(dead).await.unwrap_err() {
            // It may have led the meta group.
            ManageError::Unavailable { reason } => assert!(asked.elapsed() < PATIENCE, "{reason}"),
            ManageError::Refused { reason } => break reason,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(refused.contains("holds"), "{refused}");
    cluster
        .change(async |node| node.remove_by_force(dead, "its disk burnt").await)
        .await;
    cluster
        .until("three replicas without it", |registry| {
            registry.replicas_of(dead) == 0 && placed(registry, 3)
        })
        .await;
    let registry = cluster.any().registry().unwrap();
    let node = registry.node(dead).unwrap();
    assert_eq!(
        (node.state, node.reason.as_str()),
        (NodeState::Removed, "its disk burnt")
    );
    cluster.propose(GROUPS[1], payload("after")).await;
    cluster.equal().await;
    cluster.end().await;
}

/// Waits until the leads are even, and sees that all groups take entries then and that replicas are equal.
async fn every_node_comes_to_lead_one_and_goes_on(cluster: Cluster) {
    eventually("one lead a node", || {
        cluster
            .running()
            .all(|place| GROUPS.iter().filter(|group| place.leads(**group)).count() == 1)
    })
    .await;
    for group in GROUPS {
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_balanced_by_transfer() {
    let cluster = Cluster::of(3).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    cluster.change(async |node| node.balance().await).await;
    every_node_comes_to_lead_one_and_goes_on(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_are_evened_out_by_themselves_where_the_cluster_is_at_rest() {
    let mut cluster = Cluster::found().await;
    cluster.balance_leads_after = Some(Duration::from_millis(300));
    cluster.place(NodeId(1)).stop().await;
    cluster.place(NodeId(1)).options.balance_leads_after = cluster.balance_leads_after;
    cluster.place(NodeId(1)).start().await;
    let cluster = cluster.grown(3).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    // Nobody asks.
    every_node_comes_to_lead_one_and_goes_on(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_in_order_hands_its_leads_over_and_nobody_waits_for_an_election() {
    // An election would come after two minutes, when the test has long failed.
    let mut cluster = Cluster::found_with(120_000).await.grown(3).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    let first = cluster.leader(GROUPS[1]).await.id();
    cluster.place(first).stop().await;
    for group in GROUPS {
        assert_ne!(cluster.leader(group).await.id(), first);
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_although_its_target_and_the_leader_crash_on_the_way() {
    let mut cluster = Cluster::of(4).await;
    let group = GROUPS[2];
    // The fourth gets its share, and nothing moves by itself after that.
    cluster
        .until("an even cluster", |registry| {
            let share = GROUPS.len() * 3 / 4;
            placed(registry, 3) && (1..=4).all(|node| registry.replicas_of(NodeId(node)) >= share)
        })
        .await;
    for n in 0..50 {
        cluster.propose(group, payload(format!("before-{n}"))).await;
    }
    let registry = cluster.any().registry().unwrap();
    let voters = registry.groups()[&group].placed.clone();
    let to = *registry.active().difference(&voters).next().unwrap();
    let leader = cluster.leader(group).await.id();
    let from = *voters.iter().find(|node| **node != leader).unwrap();
    cluster
        .change(async |node| node.move_replica(group, from, to).await)
        .await;
    cluster.place(to).stop().await;
    cluster.place(leader).stop().await;
    cluster.place(leader).start().await;
    cluster.place(to).start().await;
    let expected: BTreeSet<_> = voters
        .iter()
        .copied()
        .filter(|node| *node != from)
        .chain([to])
        .collect();
    cluster
        .until("the moved replica", |registry| {
            registry.groups()[&group].placed == expected && placed(registry, 3)
        })
        .await;
    cluster.propose(group, payload("after")).await;
    cluster.equal().await;
    assert_eq!(cluster.place(to).payloads(group).len(), 51);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_replica_was_moved_away_finds_who_leads_when_the_one_it_knew_is_gone() {
    let mut cluster = Cluster::of(4).await;
    // The fourth gets its share, and nothing moves by itself after that.
    cluster
        .until("an even cluster", |registry| {
            let share = GROUPS.len() * 3 / 4;
            placed(registry, 3) && (1..=4).all(|node| registry.replicas_of(NodeId(node)) >= share)
        })
        .await;
    let group = GROUPS[1];
    let leader = cluster.leader(group).await.id();
    let placement = cluster.any().registry().unwrap().groups()[&group].clone();
    let from = *placement.placed.iter().find(|node| **node != leader).unwrap();
    let nodes = (1..=4).map(NodeId);
    let to = nodes
        .clone()
        .find(|node| !placement.placed.contains(node))
        .unwrap();
    cluster
        .change(async |node| node.move_replica(group, from, to).await)
        .await;
    cluster
        .until("the replica has moved", |registry| {
            let placement = &registry.groups()[&group];
            placement.placed.contains(&to) && !placement.placed.contains(&from)
        })
        .await;
    assert!(!cluster.place(from).node().has_replica(group));
    let leader = cluster.leader(group).await.id();
    cluster.place(leader).stop().await;
    let heir = cluster.leader(group).await.id();
    assert_ne!(heir, leader);
    let asked = Instant::now();
    let away = cluster.place(from).node();
    loop {
        let deadline = Instant::now() + Duration::from_secs(5);
        match away.find_leader(group, deadline).await {
            Leader::Node { node, .. } if node == heir => break,
            found => assert!(asked.elapsed() < PATIENCE, "{found:?} and not {heir}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(away.leader_of(group), Leader::Node { node, .. } if node == heir));
    cluster.place(leader).start().await;
    cluster.end().await;
}
