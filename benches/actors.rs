//! Actors, through the handle that everybody uses: those that are resident, and those that must be started and go again.
//! They are asked what they refuse, so that nothing is recorded and the disk has no part in it; and orders are placed, of
//! which each starts one actor anyway.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;
mod shop;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use criterion::{BenchmarkId, Throughput};
use docket_actors::{ActorLimits, Call, CallError, Options};
use docket_engine::{Amount, Rejection};
use docket_soak::Shape;
use futures::future::join_all;
use shop::{Shop, runtime};

/// Customers, of whom hardly any is asked twice while it is resident: usually, and in the short mode.
const CUSTOMERS: (u64, u64) = (20_000, 200);
/// Customers who are asked, or order, at the same time in an iteration.
const AT_ONCE: usize = 64;
/// A revision that no customer has.
const STALE: u64 = 1 << 40;

fn main() {
    let mut criterion = setting::criterion();
    let mut group = criterion.benchmark_group("actors");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    let runtime = runtime();
    let shape = || Shape {
        customers: setting::or_short(CUSTOMERS.0, CUSTOMERS.1),
        ..Shape::default()
    };
    let cases = [
        ("resident", ActorLimits::default(), AT_ONCE),
        // More than one is idle at once: each that starts sends another away.
        (
            "cold",
            ActorLimits {
                active_max: 1,
                ..ActorLimits::default()
            },
            usize::MAX,
        ),
    ];
    for (name, actors, among) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.actors = actors;
        let shop = runtime.block_on(Shop::open(options, shape()));
        let (next, among) = (AtomicUsize::new(0), among.min(shop.customers.len()));
        group.bench_function(BenchmarkId::new("asked", name), |bench| {
            bench
                .to_async(&runtime)
                .iter(|| join_all((0..AT_ONCE).map(|_| ask(&shop, next.fetch_add(1, Relaxed) % among))));
        });
        group.bench_function(BenchmarkId::new("placed", name), |bench| {
            bench.to_async(&runtime).iter(|| shop.place_many(AT_ONCE, 1));
        });
        runtime.block_on(shop.close());
    }
    group.finish();
    criterion.final_summary();
}

async fn ask(shop: &Shop, customer: usize) {
    let id = shop.customers[customer].clone();
    let limit = Some(Amount(1));
    let answer = shop
        .docket
        .update_customer(Call::default(), id, None, limit, Some(STALE))
        .await;
    assert_eq!(answer, Err(CallError::Rejected(Rejection::StaleEtag)));
}
