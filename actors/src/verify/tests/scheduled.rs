//! Verifications that the node begins by itself.

use std::sync::atomic::Ordering;

use docket_engine::Amount;

use super::*;
use crate::{Verification, VerifyOptions};

/// As often as there is time for it.
fn always(options: &mut Options) {
    options.verify = VerifyOptions {
        every: Some(Duration::from_millis(5)),
        // For as long as it takes.
        gives_way_for: Duration::from_secs(1 << 30),
        pace: SOON,
    };
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Shop {
    fn begun_by_itself(&self) -> u64 {
        let verifications = &self.docket.inner.verifications;
        verifications.begun_by_itself.load(Ordering::Relaxed)
    }

    fn last(&self) -> Option<Verification> {
        self.docket.verified().last
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_found_with_nobody_asking() {
    let shop = Shop::open_with(always).await;
    until(|| {
        shop.last()
            .is_some_and(|last| last.report.is_clean() && last.report.shards.iter().any(|it| it.orders == 4))
    })
    .await;
    shop.home().customers.alter(shop.customer(), |_, mut customer| {
        Arc::make_mut(&mut customer).held = Amount(customer.held.0 + 1);
        customer
    });
    until(|| shop.last().is_some_and(|last| !last.report.is_clean())).await;
    let last = shop.last().unwrap();
    assert!(last.by_itself);
    let by_kind: Vec<_> = last.report.by_kind.clone().into_iter().collect();
    assert_eq!(by_kind, [(DiscrepancyKind::HeldSum, 1)]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_begun_while_the_node_is_at_work_and_one_is_when_it_is_no_more() {
    let shop = Shop::open_with(always).await;
    let admission = &shop.docket.inner.admission;
    let work: Vec<_> = (0..64).map(|_| admission.admit(0).unwrap()).collect();
    assert!(shop.docket.is_at_work());
    until(|| {
        let verified = shop.docket.verified();
        verified.gives_way && !verified.is_running
    })
    .await;
    let begun = shop.begun_by_itself();
    // Who asks for one has it, and what is ordered is done.
    assert!(shop.verify().await.is_clean());
    assert!(!shop.last().unwrap().by_itself);
    shop.docket
        .place_order(Call::default(), shop.place.clone())
        .await
        .unwrap();
    assert_eq!(shop.begun_by_itself(), begun);
    assert!(shop.docket.verified().gives_way);
    drop(work);
    until(|| shop.last().is_some_and(|last| last.by_itself)).await;
    assert!(shop.begun_by_itself() > begun);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_to_does_not() {
    let shop = Shop::open_with(|options| {
        always(options);
        options.verify.every = None;
    })
    .await;
    assert!(shop.verify().await.is_clean());
    assert_eq!(shop.begun_by_itself(), 0);
    let last = shop.last().unwrap();
    assert!(!last.by_itself && !shop.docket.verified().is_running);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_breaks_off_one_that_the_node_began_and_it_is_begun_anew() {
    let shop = Shop::open_with(|options| {
        always(options);
        options.verify.pace = VerifyPace {
            grace: Duration::from_secs(1 << 30),
            give_up: Duration::from_secs(1 << 30),
            ..SOON
        };
    })
    .await;
    let admission = &shop.docket.inner.admission;
    let work: Vec<_> = (0..64).map(|_| admission.admit(0).unwrap()).collect();
    until(|| {
        let verified = shop.docket.verified();
        verified.gives_way && !verified.is_running
    })
    .await;
    // Suspicious for as long as it takes.
    let sku = shop.sku().clone();
    shop.stock()
        .reservations
        .insert(&sku, shop.other_id(), Quantity(1));
    drop(work);
    until(|| shop.docket.verified().is_running).await;
    let report = shop.verify().await;
    assert!(!report.is_clean());
    assert!(!shop.last().unwrap().by_itself);
    let begun = shop.begun_by_itself();
    until(|| shop.begun_by_itself() > begun && shop.docket.verified().is_running).await;
    shop.stock().reservations.remove(&sku, shop.other_id());
    until(|| {
        shop.last()
            .is_some_and(|last| last.by_itself && last.report.is_clean())
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_strays_and_suspects_it_looks_at_a_batch_and_pauses() {
    let shop = Shop::open().await;
    let pauses = async || {
        let count = || shop.docket.inner.verifications.pauses.load(Ordering::Relaxed);
        let before = count();
        shop.docket.verify_at(SOON, true).await.unwrap();
        count() - before
    };
    let none = pauses().await;
    let batches = 4;
    let strays: Vec<Order> = (1..=batches * super::super::indexes::BATCH)
        .map(|n| Order {
            id: OrderId(shop.order.0 + n as u128),
            ..shop.get()
        })
        .collect();
    strays
        .iter()
        .for_each(|stray| shop.home().order_index.write().insert(stray));
    let by_strays = pauses().await;
    assert!(by_strays >= none + batches as u64, "{by_strays} and {none}");
    strays
        .iter()
        .for_each(|stray| shop.home().order_index.write().remove(stray));
    let orphans = strays.iter().take(2 * super::super::looks::BATCH);
    for orphan in orphans {
        shop.stock()
            .reservations
            .insert(shop.sku(), orphan.id, Quantity(1));
    }
    let by_suspects = pauses().await;
    // At each of three looks, at least.
    assert!(by_suspects >= none + 2 * 3, "{by_suspects} and {none}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_itself_it_counts_what_an_index_lacks_and_who_asks_is_told_which() {
    let shop = Shop::open().await;
    let id = shop.other_id();
    shop.home().orders.insert(Arc::new(Order { id, ..shop.get() }));
    let by_itself = shop.docket.verify_at(SOON, true).await.unwrap();
    let group = shop
        .docket
        .inner
        .router
        .of_key(shop.customer().as_str())
        .group()
        .id();
    let entities = |report: &VerifyReport| -> Vec<String> {
        let found = report.discrepancies.iter();
        found.map(|it| format!("{} {}", it.kind, it.entity)).collect()
    };
    assert_eq!(entities(&by_itself), [format!("INDEX_DIFFERS {group}")]);
    assert_eq!(
        entities(&*shop.verify().await),
        [format!("INDEX_DIFFERS orders/{id}")]
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_setting_is_gone_by_at_once() {
    let shop = Shop::open_with(|options| options.verify.every = None).await;
    let mut options = Options::new("");
    always(&mut options);
    shop.docket.set_verify(options.verify.clone());
    until(|| shop.begun_by_itself() > 0).await;
    options.verify.every = None;
    shop.docket.set_verify(options.verify);
    // One may be going on.
    let mut last = shop.begun_by_itself();
    let quiet = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = shop.begun_by_itself();
            if now == last {
                return;
            }
            last = now;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), quiet)
        .await
        .unwrap();
    shop.close().await;
}
