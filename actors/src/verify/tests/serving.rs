//! Books that agree, while the node is at rest and while it serves.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;

use super::*;
use crate::{CallError, NewItem, VerifyError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_at_rest_is_clean_and_every_entity_was_looked_at() {
    let shop = Shop::open().await;
    let report = shop.verify().await;
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.shards.len(), shop.docket.inner.router.shards.len());
    assert!(report.not_looked_at.is_empty() && report.shards.iter().all(|shard| shard.led));
    let sum = |of: fn(&super::super::ShardBooks) -> u64| report.shards.iter().map(of).sum::<u64>();
    assert_eq!(
        (
            sum(|it| it.customers),
            sum(|it| it.items),
            sum(|it| it.orders),
            sum(|it| it.reservations),
            // Placed and confirmed, and cancelled and released, and eight of the one that was shipped; one refused.
            sum(|it| it.changes),
        ),
        (1, 1, 4, 1, 2 + 4 + 9 + 2)
    );
    assert_eq!(
        (report.half_open, report.owned_elsewhere, report.unpaired),
        (0, 0, 0)
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_verification_goes_on_at_a_time_and_one_that_is_dropped_gives_its_turn_up() {
    let shop = Shop::open().await;
    // Suspicious for as long as it takes.
    let sku = shop.sku().clone();
    shop.stock()
        .reservations
        .insert(&sku, shop.other_id(), Quantity(1));
    let patient = VerifyPace {
        grace: Duration::from_secs(60),
        give_up: Duration::from_secs(60),
        ..SOON
    };
    let docket = shop.docket.clone();
    let first = tokio::spawn(async move { docket.verify(patient).await });
    while shop.docket.inner.verifying.available_permits() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(shop.docket.verify(SOON).await, Err(VerifyError::Busy));
    first.abort();
    assert!(first.await.is_err());
    while shop.docket.inner.verifying.available_permits() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Nobody was told what it found, and nothing is remembered of it.
    let report = shop.verify().await;
    assert!(!report.is_clean() && report.balances_compared == 0, "{report:#?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspicion_that_cannot_be_decided_is_counted_and_is_not_clean() {
    let shop = Shop::open().await;
    let sku = shop.sku().clone();
    shop.stock()
        .reservations
        .insert(&sku, shop.other_id(), Quantity(1));
    shop.stock().items.alter(&sku, |_, mut item| {
        Arc::make_mut(&mut item).reserved.0 += 1;
        item
    });
    let hasty = VerifyPace {
        grace: Duration::from_secs(60),
        give_up: Duration::from_millis(200),
        ..SOON
    };
    let report = shop.docket.verify(hasty).await.unwrap();
    assert_eq!((report.discrepancies_total, report.undecided), (0, 1));
    assert!(!report.is_clean());
    shop.close().await;
}

/// What a client does with one order.
async fn trade(docket: &Docket, place: &PlaceOrder, number: usize) -> Result<(), CallError> {
    let call = || Call {
        request_id: Some(format!("trade-{number}-{}", place.lines[0].sku)),
        ..Call::default()
    };
    let id = docket.place_order(call(), place.clone()).await?.id;
    let call = Call::default;
    match number % 5 {
        0 => drop(docket.cancel_order(call(), id, None).await?),
        1 => {
            docket.ship_order(call(), id, shipment(1), user(), None).await?;
            docket.deliver_fulfilment(call(), id, 1, user(), None).await?;
            docket.cancel_order(call(), id, None).await?;
        }
        2 => {
            docket.cancel_order_lines(call(), id, part(1), None).await?;
            docket.ship_order(call(), id, shipment(1), user(), None).await?;
        }
        3 => {
            let hold = (HoldReason::Operator, "wait".into());
            docket.hold_order(call(), id, hold, user(), None).await?;
            docket.cancel_order(call(), id, None).await?;
        }
        _ => {}
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_serves_is_clean_at_every_look() {
    let shop = Shop::open().await;
    let currency = shop.place.currency;
    let mut lines = Vec::new();
    for n in 0..6 {
        let sku = Sku::new(&format!("lot{n}")).unwrap();
        let item = NewItem {
            sku: sku.clone(),
            display_name: "A lot".into(),
            currency,
            unit_price: docket_engine::Amount(1),
            // Of some there is not enough, so that orders are refused and released.
            on_hand: Quantity(if n == 0 { 50 } else { 1_000_000 }),
        };
        shop.docket.create_item(Call::default(), item).await.unwrap();
        lines.push(docket_engine::Line {
            sku,
            quantity: Quantity(2),
            unit_price: docket_engine::Amount(1),
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..8).map(|client: usize| {
        let (docket, over) = (shop.docket.clone(), over.clone());
        let place = PlaceOrder {
            lines: (0..3)
                .map(|k| lines[(client + k) % lines.len()].clone())
                .collect(),
            ..shop.place.clone()
        };
        tokio::spawn(async move {
            let (mut done, mut number) = (0, client * 1_000_000);
            while !over.load(Ordering::Relaxed) {
                match trade(&docket, &place, number).await {
                    Ok(()) => done += 1,
                    Err(CallError::Rejected(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                number += 1;
            }
            done
        })
    });
    let clients: Vec<_> = clients.collect();
    let pace = VerifyPace {
        look_every: Duration::from_millis(20),
        ..VerifyPace::default()
    };
    let begun = std::time::Instant::now();
    let (mut rounds, mut half_open) = (0, 0);
    while rounds < 5 || rounds < 25 && begun.elapsed() < Duration::from_secs(15) {
        let report = shop.docket.verify(pace).await.unwrap();
        assert!(
            report.is_clean() && report.not_looked_at.is_empty(),
            "{report:#?}"
        );
        half_open += report.half_open;
        rounds += 1;
    }
    over.store(true, Ordering::Relaxed);
    let done: usize = join_all(clients).await.into_iter().map(Result::unwrap).sum();
    assert!(
        done > 0 && half_open > 0,
        "{done} orders, {half_open} half-way in {rounds} rounds"
    );
    shop.close().await;
}
