//! The leader of an order's shard is killed while its payments are on their way.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use docket_actors::{Call, CallError, Docket, Key, PaymentOptions, PlaceOrder, Shipment};
use docket_engine::{Amount, CustomerId, Order, OrderId, OrderState, PaymentKind};
use docket_payments::{
    PaymentProvider,
    http::{HttpConfig, HttpProvider},
    stub::{Fault, On, Stub, StubOptions, What},
};

use super::script::cards;
use crate::{
    shop::{order, user},
    three::{PATIENCE, Three, call, until_done, until_read},
};

const PRICE: i64 = 10;
const QUANTITY: i64 = 3;
const TOTAL: i64 = PRICE * QUANTITY;
const REFUNDED: i64 = 7;
const ON_HAND: i64 = 1_000;

/// Three nodes, and a provider that holds what it is asked for longer than its caller lives.
async fn shop(stub: &Stub) -> Three {
    let config = HttpConfig {
        timeout: PATIENCE,
        ..HttpConfig::new("http://127.0.0.1:1")
    };
    let three = Three::open_with(|options| {
        let provider = HttpProvider::over(cards(), &config, stub.connector()).unwrap();
        let provider: Arc<dyn PaymentProvider> = Arc::new(provider);
        options.payments = PaymentOptions {
            providers: BTreeMap::from([(cards(), provider)]),
            again_after: (Duration::from_millis(5), Duration::from_millis(50)),
            ..PaymentOptions::default()
        };
    })
    .await;
    three.customer("ada", 0).await;
    for item in ["tea", "pot"] {
        three.item(item, PRICE, ON_HAND).await;
    }
    three
}

async fn place(dockets: &[Docket], request_id: &str) -> Arc<Order> {
    let key = Key::Customer(CustomerId::new("ada").unwrap());
    let placed = until_done(dockets, &key, async |docket| {
        let paid_by_cards = PlaceOrder {
            provider: Some(cards()),
            ..order("ada", &[("tea", 1, PRICE), ("pot", QUANTITY - 1, PRICE)])
        };
        docket.place_order(call(request_id), paid_by_cards).await
    });
    placed.await.unwrap()
}

async fn change(
    dockets: &[Docket],
    id: OrderId,
    ask: impl AsyncFn(&Docket) -> Result<Arc<Order>, CallError>,
) -> Arc<Order> {
    until_done(dockets, &Key::Order(id), ask).await.unwrap()
}

async fn ship(dockets: &[Docket], id: OrderId) {
    change(dockets, id, async |docket| {
        let all = Shipment {
            lines: Box::default(),
            fulfilment: None,
            carrier: "".into(),
            tracking: "".into(),
        };
        let request = call(&format!("ship-{id}"));
        docket.ship_order(request, id, all, user("shop"), None).await
    })
    .await;
}

/// The order, when a node shows that nothing is due of it.
async fn paid_up(docket: &Docket, id: OrderId) -> Arc<Order> {
    let wait = async {
        loop {
            let found = until_read(docket, async |docket| docket.get_order(Call::default(), id).await);
            let found = found.await.unwrap();
            if found.state != OrderState::Authorizing && found.next_payment().is_none() && found.is_settled()
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, wait).await;
    found.expect("the next leader goes on")
}

/// What was asked about a step, in the order of arrival.
fn asked(stub: &Stub, id: OrderId, kind: PaymentKind) -> Vec<On> {
    let prefix = format!("{id}/{kind}-");
    let seen = stub.requests().into_iter();
    seen.filter(|seen| seen.key.starts_with(&prefix))
        .map(|seen| seen.on)
        .collect()
}

/// Brings an order of its own to each kind of step, kills their leader while the provider holds all of them, and sees the next one go on.
async fn kill_while_held(three: &mut Three, stub: &Stub, hold: What, round: &str) {
    let dockets = three.dockets();
    let own = |kind| format!("{round}-{kind}");
    let hold_step = |kind: PaymentKind, id: Option<OrderId>| {
        let fault = Fault {
            order: id.map(|id| id.to_string()),
            ..Fault::at(kind.into(), hold.clone())
        };
        stub.add_faults(vec![fault]).unwrap();
    };
    let captured = place(&dockets, &own(PaymentKind::Capture)).await.id;
    let voided = place(&dockets, &own(PaymentKind::Void)).await.id;
    let refunded = place(&dockets, &own(PaymentKind::Refund)).await.id;
    ship(&dockets, refunded).await;
    paid_up(&dockets[0], refunded).await;
    hold_step(PaymentKind::Capture, Some(captured));
    ship(&dockets, captured).await;
    hold_step(PaymentKind::Void, Some(voided));
    change(&dockets, voided, async |docket| {
        docket
            .cancel_order(call(&format!("cancel-{voided}")), voided, None)
            .await
    })
    .await;
    hold_step(PaymentKind::Refund, Some(refunded));
    change(&dockets, refunded, async |docket| {
        let request = call(&format!("refund-{refunded}"));
        let refund = (Amount(REFUNDED), "".into());
        docket
            .refund_order(request, refunded, refund, user("shop"), None)
            .await
    })
    .await;
    hold_step(PaymentKind::Authorize, None);

    let victim = three.leader(&Key::Order(captured)).await;
    let request_id = own(PaymentKind::Authorize);
    let placing = place(&dockets, &request_id);
    let killing = async {
        stub.holds(PaymentKind::ALL.len()).await;
        three.kill(victim).await;
    };
    let (authorized, ()) = tokio::join!(placing, killing);
    assert_eq!(authorized.state, OrderState::Confirmed);
    let authorized = authorized.id;

    let next = &three.dockets()[0];
    let orders = [
        (PaymentKind::Authorize, authorized, [TOTAL, 0, 0, 0]),
        (PaymentKind::Capture, captured, [TOTAL, TOTAL, 0, 0]),
        (PaymentKind::Void, voided, [TOTAL, 0, TOTAL, 0]),
        (PaymentKind::Refund, refunded, [TOTAL, TOTAL, 0, REFUNDED]),
    ];
    let mut settled = Vec::new();
    for (kind, id, _) in orders {
        settled.push(paid_up(next, id).await);
        let asked = asked(stub, id, kind);
        let (first, later) = asked.split_first().unwrap();
        assert_eq!(
            (*first, later.first()),
            (kind.into(), Some(&On::Lookup)),
            "{asked:?}"
        );
        // Done and not told is not asked again; what was never seen is, once.
        let again = later.iter().filter(|on| **on != On::Lookup).count();
        assert_eq!(again, usize::from(hold == What::HoldRequest), "{asked:?}");
    }
    // What the dead leader asked comes now.
    stub.release();
    stub.holds_nothing().await;
    three.start(victim).await;
    let report = stub.report();
    assert_eq!(
        (report.violations, report.repeats_unasked),
        (Vec::new(), Vec::new())
    );
    for docket in three.dockets() {
        for ((_, id, expected), settled) in orders.iter().zip(&settled) {
            let found = paid_up(&docket, *id).await;
            assert_eq!(found, *settled);
            let (own, theirs) = (found.payment(), stub.payment(&id.to_string()));
            let own = [own.authorized.0, own.captured.0, own.voided.0, own.refunded.0];
            let theirs = [theirs.authorized, theirs.captured, theirs.voided, theirs.refunded];
            assert_eq!((own, theirs), (*expected, *expected));
        }
        docket.validate().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_next_asks_what_became_of_the_payments_of_a_leader_that_was_killed_and_does_nothing_twice()
{
    let stub = Stub::open(StubOptions::default()).unwrap();
    let mut three = shop(&stub).await;
    kill_while_held(&mut three, &stub, What::HoldRequest, "before").await;
    kill_while_held(&mut three, &stub, What::HoldReply, "after").await;
    // Two of each round were shipped, one was cancelled, one is still to be sent.
    for at in three.at() {
        assert_eq!(three.stock(at, "tea").await, (ON_HAND - 4, 2));
        assert_eq!(
            three.stock(at, "pot").await,
            (ON_HAND - 4 * (QUANTITY - 1), 2 * (QUANTITY - 1))
        );
        assert_eq!(three.account(at, "ada").await, (0, 0));
    }
    three.end().await;
}
