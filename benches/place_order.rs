//! Orders placed in this process, without gRPC: actors, log, disk. Each is durable when it is answered.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;
mod shop;

use criterion::{BenchmarkId, SamplingMode, Throughput};
use docket_actors::Options;
use docket_soak::Shape;
use shop::{Shop, runtime};

/// Orders in flight.
const IN_FLIGHT: [usize; 3] = [1, 64, 1_024];
/// Orders of an iteration, for each that is in flight.
const TURNS: (usize, usize) = (8, 1);

fn main() {
    let mut criterion = setting::criterion();
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let shop = runtime.block_on(Shop::open(Options::new(dir.path()), Shape::default()));
    let turns = setting::or_short(TURNS.0, TURNS.1);
    let mut group = criterion.benchmark_group("place_order");
    group.sampling_mode(SamplingMode::Flat);
    for in_flight in IN_FLIGHT {
        group.throughput(Throughput::Elements((in_flight * turns) as u64));
        group.bench_function(BenchmarkId::new("in_flight", in_flight), |bench| {
            bench
                .to_async(&runtime)
                .iter(|| shop.place_many(in_flight, turns));
        });
    }
    group.finish();
    runtime.block_on(shop.close());
    criterion.final_summary();
}
