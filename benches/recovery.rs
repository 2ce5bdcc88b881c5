//! The restart of a node: from its folder to a node that is ready, with a million events in the journal.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;
mod shop;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, SamplingMode, Throughput};
use docket_actors::Options;
use docket_soak::Shape;
use shop::{Shop, runtime};

/// Events that are recovered: usually, and in the short mode.
const EVENTS: (usize, usize) = (1_000_000, 10_000);
/// Placed, held, reserved twice, confirmed.
const EVENTS_OF_AN_ORDER: usize = 5;
/// Orders in flight while they are placed.
const IN_FLIGHT: usize = 1_000;

fn main() {
    let mut criterion = setting::criterion();
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let options = || {
        let mut options = Options::new(dir.path());
        // No snapshots: every event is read again.
        options.node.snapshot_bytes_min = u64::MAX / 2;
        options
    };
    let events = setting::or_short(EVENTS.0, EVENTS.1);
    let orders = events / EVENTS_OF_AN_ORDER;
    runtime.block_on(async {
        let shop = Shop::open(options(), Shape::default()).await;
        shop.place_many(IN_FLIGHT, orders / IN_FLIGHT).await;
        shop.close().await;
    });
    let mut group = criterion.benchmark_group("recovery");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(events as u64));
    group.bench_function(BenchmarkId::new("events", events), |bench| {
        bench.iter_custom(|restarts| {
            (0..restarts)
                .map(|_| {
                    let started = Instant::now();
                    let shop = runtime.block_on(Shop::reopen(options(), Shape::default()));
                    let took = started.elapsed();
                    assert_eq!(shop.docket.status().entities.orders, orders as u64);
                    runtime.block_on(shop.close());
                    took
                })
                .sum::<Duration>()
        });
    });
    group.finish();
    criterion.final_summary();
}
