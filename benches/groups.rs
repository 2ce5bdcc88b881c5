//! Raft groups over the one journal: from the proposal of an entry to its answer, when it is durable and applied. One group
//! alone, and all of a node's, which share every sync.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod forgetful;
mod setting;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use docket_cluster::{Group, Node, NodeOptions, Pending};
use forgetful::Forgetful;

/// An entry holds what a shard's actors decided while the one before was on its way.
const ENTRY_BYTES: usize = 4_096;
/// Entries that a group has in flight.
const IN_FLIGHT: [usize; 3] = [1, 2, 16];
/// Entries that each group proposes in an iteration, for each that it has in flight.
const TURNS: usize = 8;

fn main() {
    let mut criterion = setting::criterion();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = runtime.block_on(async {
        let node = Node::open(NodeOptions::new(dir.path()), &|_| Arc::new(Forgetful))
            .await
            .unwrap();
        node.ready().await;
        node
    });
    // The first is the accounts'.
    let shards = &node.groups()[1..];
    for (name, groups) in [
        ("propose_one_group", &shards[..1]),
        ("propose_all_groups", shards),
    ] {
        propose(&mut criterion, &runtime, name, groups);
    }
    runtime.block_on(node.shutdown()).unwrap();
    criterion.final_summary();
}

fn propose(criterion: &mut Criterion, runtime: &tokio::runtime::Runtime, name: &str, groups: &[Group]) {
    let mut benches = criterion.benchmark_group(name);
    benches.sampling_mode(SamplingMode::Flat);
    for in_flight in IN_FLIGHT {
        let entries = TURNS * in_flight;
        benches.throughput(Throughput::Elements((entries * groups.len()) as u64));
        benches.bench_function(BenchmarkId::new("in_flight", in_flight), |bench| {
            bench.to_async(runtime).iter(|| async {
                let proposers: Vec<_> = groups
                    .iter()
                    .map(|group| tokio::spawn(propose_in(group.clone(), entries, in_flight)))
                    .collect();
                for proposer in proposers {
                    proposer.await.unwrap();
                }
            });
        });
    }
    benches.finish();
}

async fn propose_in(group: Group, entries: usize, in_flight: usize) {
    let payload = Bytes::from_static(&[7; ENTRY_BYTES]);
    let mut pending: VecDeque<Pending> = VecDeque::with_capacity(in_flight);
    for _ in 0..entries {
        if pending.len() == in_flight
            && let Some(oldest) = pending.pop_front()
        {
            oldest.await.unwrap();
        }
        pending.push_back(group.submit(payload.clone()).await.unwrap());
    }
    for rest in pending {
        rest.await.unwrap();
    }
}
