//! Figures, not assertions: run with `cargo test -p docket-cluster --release --test it measure -- --ignored --nocapture`.

use std::time::Instant;

use bytes::Bytes;
use docket_cluster::{Group, Node, NodeOptions};
use docket_persistence::Journal;

use crate::machine::Ledgers;

/// Entries of each measurement, all groups together.
const ENTRIES: usize = 80_000;
const PAYLOAD_BYTES: usize = 4096;

#[ignore = "it measures"]
#[tokio::test(flavor = "multi_thread")]
async fn measure_proposals_and_restart_on_sled() {
    let dir = tempfile::tempdir().unwrap();
    // No snapshots: the restart is to replay everything.
    let options = NodeOptions {
        snapshot_bytes_min: u64::MAX / 2,
        ..NodeOptions::new(dir.path())
    };
    let ledgers = Ledgers::default();
    let opened = Instant::now();
    let node = Node::open(options.clone(), &|group| ledgers.make(group))
        .await
        .unwrap();
    println!("a new node opened in {:?}", opened.elapsed());
    node.ready().await;
    println!("and was led after {:?}", opened.elapsed());
    for in_flight in [1, 8, 64] {
        let shards = &node.groups()[1..];
        let entries = if in_flight == 1 { ENTRIES / 20 } else { ENTRIES };
        let started = Instant::now();
        let proposers: Vec<_> = shards
            .iter()
            .map(|group| tokio::spawn(propose(group.clone(), entries / shards.len(), in_flight)))
            .collect();
        for proposer in proposers {
            proposer.await.unwrap();
        }
        let rate = entries as f64 / started.elapsed().as_secs_f64();
        println!(
            "{in_flight} in flight on each of {} shards: {rate:.0} entries/s",
            shards.len()
        );
    }
    let started = Instant::now();
    for _ in 0..100_000 {
        node.meta().read_barrier().await.unwrap();
    }
    println!("a read check: {:?}", started.elapsed() / 100_000);
    println!("{:?}", node.status().journal);
    node.shutdown().await.unwrap();

    let (journal, read) = Journal::open(options.journal.clone(), &mut |_, _| {}).unwrap();
    println!("the journal alone: {:?}", read.elapsed);
    journal.close();
    let ledgers = Ledgers::default();
    let opened = Instant::now();
    let node = Node::open(options, &|group| ledgers.make(group)).await.unwrap();
    println!("replayed {:?} in {:?}", node.status().recovery, opened.elapsed());
    node.ready().await;
    println!("and was led after {:?}", opened.elapsed());
    node.shutdown().await.unwrap();
}

async fn propose(group: Group, entries: usize, in_flight: usize) {
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let mut pending = std::collections::VecDeque::new();
    for _ in 0..entries {
        if pending.len() == in_flight {
            let oldest: docket_cluster::Pending = pending.pop_front().unwrap();
            oldest.await.unwrap();
        }
        pending.push_back(group.submit(payload.clone()).await.unwrap());
    }
    for rest in pending {
        rest.await.unwrap();
    }
}
