//! How a node stops: in order, because a state machine panicked, because the disk failed.

use std::time::Duration;

use docket_cluster::{ClusterError, GroupId, Leadership, ProposeError, ReadError, ShardId};
use docket_persistence::mem::Fault;

use crate::machine::{Bed, payload};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shutdown_everything_is_refused_and_nothing_is_called_a_failure() {
    let bed = Bed::new();
    let (node, _) = bed.start().await;
    node.meta().propose(payload(1)).await.unwrap();
    node.shutdown().await.unwrap();
    let refused = node.meta().propose(payload(2)).await.unwrap_err();
    assert!(
        matches!(&refused, ProposeError::Stopped { reason } if reason.contains("shutting down")),
        "{refused}"
    );
    assert!(matches!(
        node.meta().read_barrier().await.unwrap_err(),
        ReadError::Stopped { .. }
    ));
    assert_eq!(node.status().failed, None);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_panics_stops_its_group_and_fails_the_node() {
    let bed = Bed::new();
    let (node, ledgers) = bed.start().await;
    let (sick, sound) = (
        node.shard(ShardId::new(0)).unwrap(),
        node.shard(ShardId::new(1)).unwrap(),
    );
    sick.propose(payload("fine")).await.unwrap();
    let answer = sick.propose(payload("panic")).await.unwrap_err();
    assert!(
        matches!(answer, ProposeError::Unknown | ProposeError::Stopped { .. }),
        "{answer}"
    );
    let reason = tokio::time::timeout(Duration::from_secs(10), node.failed())
        .await
        .unwrap();
    assert!(
        reason.contains("shard-0") && reason.contains("told to panic"),
        "{reason}"
    );

    assert_eq!(
        sound.propose(payload("fine")).await.unwrap(),
        payload(1),
        "its neighbour goes on"
    );
    let mut leadership = sick.leadership();
    leadership
        .wait_for(|now| matches!(now, Leadership::Follower { .. }))
        .await
        .unwrap();
    let refused = sick.propose(payload("more")).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Stopped { .. }), "{refused}");
    assert!(matches!(
        sick.read_barrier().await.unwrap_err(),
        ReadError::Stopped { .. }
    ));
    assert_eq!(ledgers.of(sick.id()).state().payloads.len(), 1);
    assert!(matches!(
        node.shutdown().await.unwrap_err(),
        ClusterError::Failed { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_acknowledges_nothing_and_fails_the_node() {
    let bed = Bed::new();
    let (node, _) = bed.start().await;
    node.meta().propose(payload("before")).await.unwrap();
    bed.disk.inject(Fault::FailSync(1));
    let mut pending = Vec::new();
    for n in 0..50 {
        match node.meta().submit(payload(n)).await {
            Ok(proposal) => pending.push(proposal),
            Err(refused) => assert!(matches!(refused, ProposeError::Stopped { .. }), "{refused}"),
        }
    }
    assert!(!pending.is_empty());
    for pending in pending {
        let answer = pending.await.unwrap_err();
        assert!(
            matches!(answer, ProposeError::Unknown | ProposeError::Stopped { .. }),
            "{answer}"
        );
    }
    let reason = tokio::time::timeout(Duration::from_secs(10), node.failed())
        .await
        .unwrap();
    assert!(!reason.is_empty());
    assert!(matches!(
        node.shutdown().await.unwrap_err(),
        ClusterError::Failed { .. }
    ));

    bed.disk.restart_machine(1);
    let (node, ledgers) = bed.start().await;
    assert_eq!(ledgers.of(GroupId::META).state().payloads[0], payload("before"));
    node.shutdown().await.unwrap();
}
