//! What a replica that was moved away leaves behind: nothing, and it may come back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{GroupId, ManageError, NodeId};
use tokio::time::sleep;

use crate::cluster::{Cluster, GROUPS, placed};
use crate::machine::payload;
use crate::peers::{PATIENCE, eventually};

const GROUP: GroupId = GROUPS[1];

/// A node that follows in the group, and one that has no replica of it, once nothing moves by itself any more.
async fn follower_and_other(cluster: &Cluster) -> (NodeId, NodeId) {
    cluster
        .until("an even cluster", |registry| {
            let share = GROUPS.len() * 3 / 4;
            placed(registry, 3) && (1..=4).all(|node| registry.replicas_of(NodeId(node)) >= share)
        })
        .await;
    let leader = cluster.leader(GROUP).await.id();
    let on = cluster.any().registry().unwrap().groups()[&GROUP].placed.clone();
    let from = *on.iter().find(|node| **node != leader).unwrap();
    let to = (1..=4).map(NodeId).find(|node| !on.contains(node)).unwrap();
    (from, to)
}

async fn moved(cluster: &Cluster, from: NodeId, to: NodeId) {
    let asked = Instant::now();
    while let Err(error) = cluster.any().move_replica(GROUP, from, to).await {
        // What was moved before may have the cluster spread others.
        let later = matches!(error, ManageError::Unavailable { .. })
            || error.to_string().contains("on its way already");
        assert!(later && asked.elapsed() < PATIENCE, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
    known(cluster, from, to).await;
}

/// Waits until every node knows that the replica has moved; who was just started may not.
async fn known(cluster: &Cluster, from: NodeId, to: NodeId) {
    cluster
        .until("the replica has moved", |registry| {
            registry.groups().get(&GROUP).is_some_and(|placement| {
                placement.placed.contains(&to) && !placement.placed.contains(&from) && !placement.is_moving()
            })
        })
        .await;
}

/// Whether there is nothing of the group on a node.
fn is_empty(cluster: &mut Cluster, node: NodeId) -> bool {
    let place = cluster.place(node);
    let status = place.node().group(GROUP).unwrap().status();
    let snapshots = place.bed.dir.path().join("snapshots").join(GROUP.0.to_string());
    place.payloads(GROUP).is_empty()
        && (status.last_log_index, status.applied_index, status.snapshot_index) == (None, None, None)
        && (
            status.voters.len() + status.learners.len(),
            status.bytes_since_snapshot,
        ) == (0, 0)
        && !snapshots.exists()
}

async fn until_empty(cluster: &mut Cluster, node: NodeId) {
    let begun = Instant::now();
    while !is_empty(cluster, node) {
        let status = cluster.place(node).node().group(GROUP).unwrap().status();
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_moved_away_leaves_nothing_and_comes_back_as_a_new_one() {
    let mut cluster = Cluster::of(4).await;
    for node in 1..=4 {
        let place = cluster.place(NodeId(node));
        place.stop().await;
        place.options.snapshot_bytes_min = 8 * 1024;
        place.start().await;
    }
    let (from, to) = follower_and_other(&cluster).await;
    let mut expected = 0;
    for _ in 0..30 {
        cluster.propose(GROUP, Bytes::from(vec![1; 1024])).await;
        expected += 1;
    }
    {
        let group = cluster.place(from).node().group(GROUP).unwrap();
        eventually("a snapshot", || group.status().snapshot_index.is_some()).await;
    }
    moved(&cluster, from, to).await;
    until_empty(&mut cluster, from).await;
    assert!(!cluster.place(from).node().has_replica(GROUP));

    // It stays so over a start, and nobody misses it.
    cluster.place(from).stop().await;
    cluster.propose(GROUP, payload("without it")).await;
    expected += 1;
    cluster.place(from).start().await;
    assert!(is_empty(&mut cluster, from));
    known(&cluster, from, to).await;
    cluster.equal().await;

    // Back again, and away, and back: each time a new one.
    for (from, to) in [(to, from), (from, to), (to, from)] {
        moved(&cluster, from, to).await;
        cluster.propose(GROUP, payload("moved")).await;
        expected += 1;
        cluster.equal().await;
        assert_eq!(cluster.place(to).payloads(GROUP).len(), expected);
        until_empty(&mut cluster, from).await;
    }
    for node in [from, to] {
        cluster.place(node).stop().await;
        cluster.place(node).start().await;
    }
    known(&cluster, to, from).await;
    cluster.equal().await;
    assert_eq!(cluster.place(from).payloads(GROUP).len(), expected);
    assert!(is_empty(&mut cluster, to));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_not_dropped_while_its_group_has_no_leader_who_says_so() {
    let mut cluster = Cluster::of(4).await;
    let (from, to) = follower_and_other(&cluster).await;
    cluster.propose(GROUP, payload("before")).await;
    cluster.place(from).stop().await;
    // It is moved away while it does not hear of it; then those who have it are gone, two of three.
    moved(&cluster, from, to).await;
    let on: BTreeSet<NodeId> = cluster.any().registry().unwrap().groups()[&GROUP].placed.clone();
    let gone: Vec<_> = on.iter().copied().filter(|node| *node != to).collect();
    for node in &gone {
        cluster.place(*node).stop().await;
    }
    cluster.place(from).start().await;
    let last = |place: &crate::cluster::Place| place.node().group(GROUP).unwrap().status().last_log_index;
    let had = last(cluster.place(from));
    assert!(had.is_some());
    // A second look at least.
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(last(cluster.place(from)), had, "the last copy but one is gone");
    for node in gone {
        cluster.place(node).start().await;
    }
    until_empty(&mut cluster, from).await;
    cluster.propose(GROUP, payload("after")).await;
    cluster.equal().await;
    cluster.end().await;
}
