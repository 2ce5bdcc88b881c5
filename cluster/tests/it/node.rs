//! A node of one: propose, read, restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{
    ClusterError, GroupId, Leadership, Node, NodeOptions, ProposeError, ShardId, limits, slot_of,
};

use crate::machine::{Bed, Ledgers, payload};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proposed_is_there_after_a_restart() {
    let bed = Bed::new();
    let (node, ledgers) = bed.start().await;
    assert_eq!(node.peer_address(), None, "alone, it listens for no peer");
    for n in 0..100 {
        for group in node.groups() {
            let reply = group.propose(payload(n)).await.unwrap();
            assert_eq!(reply, payload(n + 1), "the machine's reply comes back");
        }
    }
    let before: Vec<_> = (0..3).map(|n| ledgers.of(GroupId(n)).state().payloads).collect();
    node.shutdown().await.unwrap();

    let (node, ledgers) = bed.start().await;
    for (n, before) in (0..).zip(before) {
        assert_eq!(ledgers.of(GroupId(n)).state().payloads, before, "group {n}");
        assert_eq!(before.len(), 100);
    }
    assert_eq!(node.meta().propose(payload("again")).await.unwrap(), payload(101));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_sled_finds_its_data_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut identity = None;
    for life in 0..3 {
        let ledgers = Ledgers::default();
        let node = Node::open(NodeOptions::new(dir.path()), &|group| ledgers.make(group))
            .await
            .unwrap();
        node.ready().await;
        assert_eq!(node.groups().len(), 9, "the meta group and eight shards");
        let known = identity.get_or_insert_with(|| node.identity().clone());
        assert_eq!(node.identity(), known, "the identity stays");
        let shard = node.shard(node.ring().shard_of(slot_of(b"customer-1"))).unwrap();
        for n in 0..20 {
            assert_eq!(
                shard.propose(payload(n)).await.unwrap(),
                payload(life * 20 + n + 1)
            );
        }
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_submission_is_the_order_of_the_log() {
    let bed = Bed::new();
    let (node, ledgers) = bed.start().await;
    let group = node.shard(ShardId::new(0)).unwrap();
    // More than may be in flight: some of the calls wait for room.
    let count = limits::PROPOSALS_IN_FLIGHT_MAX + 1000;
    let mut pending = Vec::new();
    for n in 0..count {
        pending.push(group.submit(payload(n)).await.unwrap());
        assert!(group.proposals_in_flight() <= limits::PROPOSALS_IN_FLIGHT_MAX);
    }
    for (n, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await.unwrap(), payload(n + 1));
    }
    let expected: Vec<_> = (0..count).map(payload).collect();
    assert_eq!(ledgers.of(group.id()).state().payloads, expected);
    assert_eq!(group.proposals_in_flight(), 0);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_nobody_waits_for_is_applied_and_gives_its_place_back() {
    let bed = Bed::new();
    let (node, ledgers) = bed.start().await;
    let group = node.meta();
    for n in 0..100 {
        drop(group.submit(payload(n)).await.unwrap());
    }
    group.propose(payload("last")).await.unwrap();
    assert_eq!(ledgers.of(group.id()).state().payloads.len(), 101);
    assert_eq!(group.proposals_in_flight(), 0);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_are_bounded_and_large_payloads_pass_or_are_refused() {
    let bed = Bed::new();
    let (node, ledgers) = bed.start().await;
    let group = node.meta();
    let large = Bytes::from(vec![7; limits::PAYLOAD_BYTES_MAX]);
    let mut pending = Vec::new();
    for _ in 0..5 {
        pending.push(group.submit(large.clone()).await.unwrap());
        let in_flight = group.proposals_in_flight() * limits::PAYLOAD_BYTES_MAX;
        assert!(
            in_flight <= limits::PROPOSAL_BYTES_IN_FLIGHT_MAX,
            "{in_flight} bytes in flight"
        );
    }
    for pending in pending {
        pending.await.unwrap();
    }
    let too_large = Bytes::from(vec![7; limits::PAYLOAD_BYTES_MAX + 1]);
    let refused = group.propose(too_large).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }), "{refused}");
    let before = ledgers.of(group.id()).state().payloads;
    node.shutdown().await.unwrap();
    let (node, ledgers) = bed.start().await;
    assert!(
        ledgers.of(GroupId::META).state().payloads == before,
        "large entries come back"
    );
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_of_the_journal_delays_and_loses_nothing() {
    let bed = Bed::new();
    let mut options = NodeOptions {
        shards: Some(8),
        ..bed.options()
    };
    options.journal.queue_records_max = 2 * limits::PROPOSALS_IN_FLIGHT_MAX;
    let (node, ledgers) = bed.open(options).await;
    node.ready().await;
    let count = limits::PROPOSALS_IN_FLIGHT_MAX;
    let proposers: Vec<_> = node
        .groups()
        .iter()
        .cloned()
        .map(|group| {
            tokio::spawn(async move {
                let mut pending = Vec::new();
                for n in 0..count {
                    pending.push(group.submit(payload(n)).await.unwrap());
                }
                for pending in pending {
                    pending.await.unwrap();
                }
            })
        })
        .collect();
    for proposer in proposers {
        proposer.await.unwrap();
    }
    let expected: Vec<_> = (0..count).map(payload).collect();
    for group in node.groups() {
        assert!(
            ledgers.of(group.id()).state().payloads == expected,
            "{}",
            group.id()
        );
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_announced_when_everything_before_its_term_is_applied() {
    let bed = Bed::new();
    let mut last_term = 0;
    for life in 0..4 {
        let (node, ledgers) = bed.open(bed.options()).await;
        for group in node.groups() {
            let mut leadership = group.leadership();
            let announced = *leadership
                .wait_for(|now| matches!(now, Leadership::Leader { .. }))
                .await
                .unwrap();
            let applied = ledgers.of(group.id()).state().payloads.len();
            assert_eq!(applied, life * 50, "{}: at the announcement", group.id());
            let Leadership::Leader { term } = announced else {
                unreachable!()
            };
            if group.id() == GroupId::META {
                assert!(term > last_term, "a new life leads in a new term");
                last_term = term;
            }
            let status = group.status();
            assert_eq!((status.leadership, status.term), (announced, term));
            assert_eq!(status.leader, Some(node.identity().node_id));
            assert_eq!(status.voters, [node.identity().node_id]);
        }
        for n in 0..50 {
            for group in node.groups() {
                group.propose(payload(n)).await.unwrap();
            }
        }
        let status = node.meta().status();
        assert_eq!((status.lag, status.applied_index), (0, status.last_log_index));
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_of_eight_shards_is_led_without_waiting_for_timeouts() {
    let bed = Bed::new();
    let options = NodeOptions {
        shards: Some(8),
        election_timeout_min_ms: 60_000,
        election_timeout_max_ms: 120_000,
        ..bed.options()
    };
    for _ in 0..2 {
        let (node, _) = bed.open(options.clone()).await;
        tokio::time::timeout(Duration::from_secs(10), node.ready())
            .await
            .unwrap();
        for group in node.groups() {
            let now = *group.leadership().borrow();
            assert!(
                matches!(now, Leadership::Leader { .. }),
                "{}: {now:?}",
                group.id()
            );
        }
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_pass_on_a_leader_and_see_what_was_answered() {
    let bed = Bed::new();
    let (node, ledgers) = bed.start().await;
    let group = node.meta();
    let ledger = ledgers.of(group.id());
    let readers: Vec<_> = (0..64)
        .map(|n| {
            let (group, ledger) = (group.clone(), Arc::clone(&ledger));
            tokio::spawn(async move {
                for m in 0..20 {
                    let written = payload(format!("{n}/{m}"));
                    group.propose(written.clone()).await.unwrap();
                    group.read_barrier().await.unwrap();
                    assert!(ledger.state().payloads.contains(&written));
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_shards_is_refused_by_name() {
    let bed = Bed::new();
    let (node, _) = bed.start().await;
    node.shutdown().await.unwrap();
    let open = async |shards| {
        let ledgers = Ledgers::default();
        let options = NodeOptions {
            shards,
            ..NodeOptions::new(bed.dir.path())
        };
        let (store, mark) = (Box::new(bed.disk.store()), Box::new(bed.disk.mark()));
        Node::open_with(options, store, mark, &|group| ledgers.make(group)).await
    };
    let refused = open(Some(3)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ClusterError::ShardsDiffer {
                created: 2,
                asked: 3,
                ..
            }
        ),
        "{refused}"
    );
    assert!(refused.to_string().contains("created with 2 shards"), "{refused}");
    for impossible in [0, 5000] {
        let refused = open(Some(impossible)).await.unwrap_err();
        assert!(
            matches!(refused, ClusterError::Option { option: "shards", .. }),
            "{refused}"
        );
    }
    for fine in [None, Some(2)] {
        let node = open(fine).await.unwrap();
        assert_eq!(node.ring().shards(), 2);
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_cannot_be_read_is_refused_and_left_alone() {
    let cases = [
        ("not json", "is not an identity file"),
        (r#"{"format_version": 4, "new_field": 1}"#, "has format version 4"),
        (
            r#"{"format_version": 1, "cluster_id": "x", "node_id": 1, "shards": 0}"#,
            "0 shards",
        ),
    ];
    for (content, message) in cases {
        let bed = Bed::new();
        let path = bed.dir.path().join("identity.json");
        std::fs::write(&path, content).unwrap();
        let (store, mark) = (Box::new(bed.disk.store()), Box::new(bed.disk.mark()));
        let ledgers = Ledgers::default();
        let refused = Node::open_with(bed.options(), store, mark, &|group| ledgers.make(group))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(message), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_disk_is_told_until_space_returns_and_what_was_begun_can_be_finished() {
    let bed = Bed::new();
    bed.disk.set_free_bytes(Some(1));
    let (node, ledgers) = bed.start().await;
    assert_eq!((node.disk_low(), node.status().disk_low), (Some(1), Some(1)));
    assert_eq!(node.meta().propose(payload("begun")).await.unwrap(), payload(1));
    node.meta().read_barrier().await.unwrap();
    bed.disk.set_free_bytes(None);
    let asked = Instant::now();
    while node.disk_low().is_some() && asked.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.disk_low(), None);
    assert_eq!(ledgers.of(GroupId::META).state().payloads, [payload("begun")]);
    node.shutdown().await.unwrap();
}
