//! Replicas that are compared by their digests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use docket_cluster::{ReplicaCheck, ReplicaOutcome};

use crate::machine::payload;
use crate::peers::{GROUP, Three, eventually};

/// What the leader of the group finds of both followers, once they have applied all that it has now.
async fn found(three: &Three) -> Vec<ReplicaCheck> {
    let asked = std::time::Instant::now();
    let leader = three.leader().await;
    let applied = three.0[leader].group().status().applied_index.unwrap();
    let seen = |check: &&ReplicaCheck| match check.outcome {
        ReplicaOutcome::Equal { index } | ReplicaOutcome::Different { index } => index >= applied,
        ReplicaOutcome::Unknown => false,
    };
    loop {
        let checks = three.0[leader].node().compare_replicas().await;
        let of_group: Vec<_> = checks.into_iter().filter(|check| check.group == GROUP).collect();
        if of_group.iter().filter(seen).count() == 2 {
            return of_group;
        }
        assert!(asked.elapsed() < Duration::from_secs(60), "{of_group:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn outcomes(checks: &[ReplicaCheck]) -> Vec<bool> {
    let equal = |check: &ReplicaCheck| matches!(check.outcome, ReplicaOutcome::Equal { .. });
    checks.iter().map(equal).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_did_the_same_are_found_equal_also_after_a_start_and_a_snapshot() {
    let mut three = Three::form(|options| options.snapshot_bytes_min = 16 * 1024).await;
    for n in 0..100 {
        three.propose(payload(format!("{n}"))).await;
    }
    assert_eq!(outcomes(&found(&three).await), [true, true]);
    let follower = (three.leader().await + 1) % 3;
    let before = three.0[follower].group().status().snapshot_index;
    // Enough for snapshots on all three.
    for _ in 0..60 {
        three.propose(Bytes::from(vec![1; 1024])).await;
    }
    eventually("a snapshot", || {
        three.0[follower].group().status().snapshot_index > before
    })
    .await;
    // It comes back from its snapshot and what its journal has behind it.
    three.stop(follower).await;
    three.start(follower).await;
    three.propose(payload("after")).await;
    assert_eq!(outcomes(&found(&three).await), [true, true]);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_replica_that_differs_stops_and_says_so_and_the_others_go_on() {
    let three = Three::form(|_| {}).await;
    three.propose(payload("before")).await;
    assert_eq!(outcomes(&found(&three).await), [true, true]);
    let follower = (three.leader().await + 1) % 3;
    three.0[follower].ledger().effects.store(7, Ordering::Relaxed);
    three.propose(payload("after")).await;
    let mut checks = outcomes(&found(&three).await);
    checks.sort_unstable();
    assert_eq!(checks, [false, true]);
    let reason = three.0[follower].node().failed().await;
    assert!(reason.contains("differs from its leader's on node"), "{reason}");
    three.propose(payload("without it")).await;
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_all_others_contradict_is_the_one_that_stops() {
    let three = Three::form(|_| {}).await;
    three.propose(payload("before")).await;
    let leader = three.leader().await;
    three.0[leader].ledger().effects.store(7, Ordering::Relaxed);
    three.propose(payload("after")).await;
    assert_eq!(outcomes(&found(&three).await), [false, false]);
    let reason = three.0[leader].node().failed().await;
    assert!(
        reason.contains("differs from the replicas on nodes") && reason.contains("1 of 3 agree"),
        "{reason}"
    );
    for other in (0..3).filter(|at| *at != leader) {
        assert_eq!(three.0[other].group().status().stopped, None);
    }
    three.end().await;
}
