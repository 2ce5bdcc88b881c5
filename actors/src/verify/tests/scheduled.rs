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
