//! Orders placed in this process, without gRPC: actors, log, disk. Each is durable when it is answered.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;
mod shop;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, SamplingMode, Throughput};
use docket_actors::{Call, Options, WatchOrders};
use docket_proto::feed::FeedFrom;
use docket_soak::Shape;
use shop::{Shop, runtime};
use tokio::task::JoinSet;

/// Orders in flight.
const IN_FLIGHT: [usize; 3] = [1, 64, 1_024];
/// Watches of a customer each, of which hardly any is of one that orders at the moment.
const WATCHES: usize = 1_000;
/// Orders in flight meanwhile.
const WATCHED_IN_FLIGHT: usize = 64;
/// As the edge reads: so many changes at once, and a look every second.
const CHANGES: usize = 64;
const EVERY: Duration = Duration::from_secs(1);
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
    let watches = runtime.block_on(watch(&shop));
    group.throughput(Throughput::Elements((WATCHED_IN_FLIGHT * turns) as u64));
    group.bench_function(BenchmarkId::new("watched", WATCHED_IN_FLIGHT), |bench| {
        bench
            .to_async(&runtime)
            .iter(|| shop.place_many(WATCHED_IN_FLIGHT, turns));
    });
    drop(watches);
    group.finish();
    runtime.block_on(shop.close());
    criterion.final_summary();
}

/// Watches the orders of customers, each by a task that reads what comes, until what is returned is dropped.
async fn watch(shop: &Shop) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for customer in shop.customers.iter().cycle().take(WATCHES) {
        let watch = WatchOrders {
            customer: Some(customer.clone()),
            states: Vec::new(),
            from: vec![FeedFrom::Now],
        };
        let mut watch = shop.docket.watch_orders(&Call::default(), watch).await.unwrap();
        tasks.spawn(async move {
            loop {
                let until = Instant::now() + EVERY;
                watch.next(CHANGES, until).await.unwrap();
            }
        });
    }
    tasks
}
