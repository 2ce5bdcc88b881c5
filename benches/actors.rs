//! Actors, through the handle that everybody uses: asking one that is resident, and one that must be started for it and
//! goes again when it has answered. Both are asked what they refuse, so that nothing is recorded and the disk has no part
//! in it.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;
mod shop;

use criterion::{Criterion, Throughput};
use docket_actors::{Call, CallError, Options};
use docket_engine::{Amount, CustomerId, OrderId, Rejection, Version};
use docket_soak::Shape;
use futures::future::{join_all, try_join_all};
use shop::{Shop, runtime};

/// Actors that are asked at the same time in an iteration.
const ASKED_AT_ONCE: usize = 64;
/// A version that nothing has.
const STALE: u64 = 1 << 40;

fn main() {
    let mut criterion = setting::criterion();
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let shop = runtime.block_on(Shop::open(Options::new(dir.path()), Shape::default()));
    let orders = runtime.block_on(placed(&shop));
    ask(&mut criterion, &runtime, &shop, &orders);
    runtime.block_on(shop.close());
    criterion.final_summary();
}

/// Orders that are settled, so that no actor has them.
async fn placed(shop: &Shop) -> Vec<OrderId> {
    shop.place_many(ASKED_AT_ONCE, 1).await;
    let orders = join_all((0..ASKED_AT_ONCE).map(|_| shop.place())).await;
    orders.iter().map(|order| order.id).collect()
}

fn ask(criterion: &mut Criterion, runtime: &tokio::runtime::Runtime, shop: &Shop, orders: &[OrderId]) {
    let mut group = criterion.benchmark_group("actors");
    group.throughput(Throughput::Elements(ASKED_AT_ONCE as u64));
    // A customer stays for a minute after the last question.
    let customers = &shop.customers[..ASKED_AT_ONCE];
    group.bench_function("asked", |bench| {
        bench.to_async(runtime).iter(|| async {
            let asked = customers.iter().map(|id| refused_by_customer(shop, id));
            try_join_all(asked).await.unwrap();
        });
    });
    // An order that is settled goes as soon as it has answered.
    group.bench_function("started_asked_passivated", |bench| {
        bench.to_async(runtime).iter(|| async {
            let asked = orders.iter().map(|id| refused_by_order(shop, *id));
            try_join_all(asked).await.unwrap();
        });
    });
    group.finish();
}

async fn refused_by_customer(shop: &Shop, id: &CustomerId) -> Result<(), CallError> {
    let limit = Some(Amount(1));
    let changed = shop
        .docket
        .update_customer(Call::default(), id.clone(), None, limit, Some(STALE));
    refused(changed.await)
}

async fn refused_by_order(shop: &Shop, id: OrderId) -> Result<(), CallError> {
    let cancelled = shop
        .docket
        .cancel_order(Call::default(), id, Some(Version(STALE)));
    refused(cancelled.await)
}

fn refused<T>(answer: Result<T, CallError>) -> Result<(), CallError> {
    match answer {
        Err(CallError::Rejected(Rejection::StaleEtag)) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(CallError::Broken),
    }
}
