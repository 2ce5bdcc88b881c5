//! Orders that a provider is paid for: what it is asked, however it answers, over restarts, and what the books say then.

mod edits;
mod till;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use docket_actors::{Call, CallError, Options, PaymentOptions, PlaceOrder, Shipment};
use docket_engine::{
    Amount, CustomerId, HoldReason, LineReservations, Order, OrderId, OrderState, PaymentKind, PaymentState,
    ProviderName, ReservationState, Time,
};
use docket_payments::PaymentProvider;

use crate::shop::{Shop, order, part, reason, request, small, user};
use till::{Fault, Till};

fn cards() -> ProviderName {
    ProviderName::new("cards").unwrap()
}

/// A node with a till, on which what is not settled is asked for again at once.
fn options(dir: &std::path::Path, till: &Arc<Till>) -> Options {
    let provider: Arc<dyn PaymentProvider> = till.clone();
    Options {
        payments: PaymentOptions {
            providers: BTreeMap::from([(cards(), provider)]),
            again_after: (Duration::from_millis(5), Duration::from_millis(50)),
            ..PaymentOptions::default()
        },
        ..small(dir)
    }
}

async fn shop(dir: &std::path::Path, till: &Arc<Till>) -> Shop {
    let shop = Shop::open_with(options(dir, till)).await;
    // Nothing to spend: a provider pays.
    shop.customer("ada", 0).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    shop
}

fn paid_by_cards() -> PlaceOrder {
    PlaceOrder {
        provider: Some(cards()),
        ..order("ada", &[("tea", 5, 7), ("pot", 2, 1_000)])
    }
}

async fn place(shop: &Shop, id: &str) -> Result<Arc<Order>, CallError> {
    shop.docket.place_order(request(id), paid_by_cards()).await
}

async fn ship(shop: &Shop, id: OrderId, lines: &[(u16, i64)]) -> Arc<Order> {
    let shipment = Shipment {
        lines: part(lines),
        fulfilment: None,
        carrier: "".into(),
        tracking: "".into(),
    };
    let asked = shop
        .docket
        .ship_order(Call::default(), id, shipment, user("shop"), None);
    asked.await.unwrap()
}

/// The order, when it is so.
async fn when(shop: &Shop, id: OrderId, is_so: impl Fn(&Order) -> bool) -> Arc<Order> {
    let wait = async {
        loop {
            let order = shop.docket.get_order(Call::default(), id).await.unwrap();
            if is_so(&order) {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("the order came to what was awaited")
}

fn is_paid_up(order: &Order) -> bool {
    order.next_payment().is_none()
}

/// What became of the order's money, as it says itself: authorised, captured, voided, refunded.
fn figures(order: &Order) -> (i64, i64, i64, i64) {
    let payment = order.payment();
    (
        payment.authorized.0,
        payment.captured.0,
        payment.voided.0,
        payment.refunded.0,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_paid_by_its_provider_from_its_placing_to_its_refund_over_restarts() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let mut shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let (id, total) = (placed.id, 2_035);
    assert_eq!((placed.state, placed.version.0), (OrderState::Confirmed, 3));
    assert_eq!(placed.payment().state, PaymentState::Authorized);
    assert_eq!(figures(&placed), (total, 0, 0, 0));
    assert_eq!(till.of(id), (total, 0, 0, 0));
    assert_eq!((shop.held("ada").await, shop.stock("tea").await), (0, (100, 5)));
    // Done twice it is the same order.
    assert_eq!(place(&shop, "r1").await.unwrap(), placed);

    let again = async |shop: Shop| {
        shop.close().await;
        Shop::open_with(options(dir.path(), &till)).await
    };
    ship(&shop, id, &[(0, 2), (1, 1)]).await;
    let sent = when(&shop, id, is_paid_up).await;
    assert_eq!(sent.payment().state, PaymentState::PartiallyCaptured);
    assert_eq!(
        (figures(&sent), till.of(id)),
        ((total, 1_014, 0, 0), (total, 1_014, 0, 0))
    );
    shop = again(shop).await;
    assert_eq!(shop.docket.get_order(Call::default(), id).await.unwrap(), sent);

    let rest = shop
        .docket
        .cancel_order_lines(Call::default(), id, part(&[(0, 3)]), None);
    rest.await.unwrap();
    ship(&shop, id, &[]).await;
    let done = when(&shop, id, is_paid_up).await;
    assert_eq!(
        (done.state, done.payment().state),
        (OrderState::Fulfilled, PaymentState::Captured)
    );
    assert_eq!(
        (figures(&done), till.of(id)),
        ((total, 2_014, 21, 0), (total, 2_014, 21, 0))
    );
    shop = again(shop).await;

    let refund = (Amount(14), "late".into());
    let refunded = shop
        .docket
        .refund_order(Call::default(), id, refund, user("shop"), None);
    refunded.await.unwrap();
    let refunded = when(&shop, id, is_paid_up).await;
    assert_eq!(refunded.payment().state, PaymentState::PartiallyRefunded);
    assert_eq!(till.of(id), (total, 2_014, 21, 14));
    // As much as the provider has, and no more.
    let refund = (Amount(2_001), "".into());
    let too_much = shop
        .docket
        .refund_order(Call::default(), id, refund, user("shop"), None);
    assert_eq!(reason(too_much.await), "REFUND_TOO_LARGE");
    assert_eq!(
        (
            shop.held("ada").await,
            shop.stock("tea").await,
            shop.stock("pot").await
        ),
        (0, (98, 0), (98, 0))
    );
    shop.docket.validate().unwrap();
    // Each was asked for once.
    assert_eq!(till.asked(), 5);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_payment_is_declined_is_refused_and_gives_its_stock_back() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    till.plan(PaymentKind::Authorize, [Fault::Decline]);
    assert_eq!(reason(place(&shop, "r1").await), "PAYMENT_DECLINED");
    let free = async || (shop.stock("tea").await.1, shop.stock("pot").await.1);
    while free().await != (0, 0) {
        tokio::task::yield_now().await;
    }
    // And it says so again.
    assert_eq!(reason(place(&shop, "r1").await), "PAYMENT_DECLINED");
    let unknown = PlaceOrder {
        provider: Some(ProviderName::new("cash").unwrap()),
        ..paid_by_cards()
    };
    let refused = shop.docket.place_order(request("r2"), unknown).await;
    assert_eq!(reason(refused), "PAYMENT_PROVIDER_NOT_FOUND");
    // The same request, paid by somebody else, is another.
    let by_account = order("ada", &[("tea", 5, 7), ("pot", 2, 1_000)]);
    let reused = shop.docket.place_order(request("r1"), by_account).await;
    assert_eq!(reason(reused), "REQUEST_ID_REUSED");
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_not_paid_in_time_expires_and_a_late_authorisation_takes_nothing() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let mut options = options(dir.path(), &till);
    options.payments.authorize_within = Duration::from_millis(300);
    let shop = Shop::open_with(options).await;
    shop.customer("ada", 0).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    // It has come through, and nobody hears that.
    till.plan(PaymentKind::Authorize, [Fault::Held]);
    let placing = {
        let docket = shop.docket.clone();
        tokio::spawn(async move { docket.place_order(request("r1"), paid_by_cards()).await })
    };
    let held = till.until_held().await;
    let pending = shop.docket.get_order(Call::default(), held.order).await.unwrap();
    assert_eq!(
        (pending.state, pending.payment().state),
        (OrderState::Authorizing, PaymentState::Required)
    );
    // What is reserved is held until then, and no longer.
    let lines = pending.reservations();
    let held_all = |line: &LineReservations| matches!(line[..], [(ReservationState::Held, _)]);
    assert!(lines.len() == 2 && lines.iter().all(held_all), "{lines:?}");
    assert_eq!(
        shop.docket.held_until(&pending),
        Some(Time(pending.created.0 + 300_000))
    );
    // Whoever asks for the same waits for the same.
    let in_vain = Call {
        deadline: Some(std::time::Instant::now() + Duration::from_millis(20)),
        ..request("r1")
    };
    let late = shop.docket.place_order(in_vain, paid_by_cards()).await;
    assert_eq!(late.unwrap_err(), CallError::DeadlineExceeded);

    // It is given up while the till still holds it, and only then does the till let go.
    when(&shop, held.order, |order| order.state == OrderState::Expired).await;
    till.lose(&held);
    assert_eq!(reason(placing.await.unwrap()), "PAYMENT_EXPIRED");
    let expired = when(&shop, held.order, is_paid_up).await;
    assert_eq!(
        (expired.state, expired.payment().state),
        (OrderState::Expired, PaymentState::Voided)
    );
    let lines = expired.reservations();
    let gone_all = |line: &LineReservations| matches!(line[..], [(ReservationState::Expired, _)]);
    assert!(lines.len() == 2 && lines.iter().all(gone_all), "{lines:?}");
    assert_eq!(shop.docket.held_until(&expired), None);
    // The network delivers it now.
    till.deliver(&held);
    assert_eq!(till.of(held.order), (0, 0, 0, 0));
    assert_eq!(reason(place(&shop, "r1").await), "PAYMENT_EXPIRED");
    while shop.stock("tea").await.1 != 0 || shop.stock("pot").await.1 != 0 {
        tokio::task::yield_now().await;
    }
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_can_be_cancelled_while_its_payment_is_being_authorised() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    till.plan(PaymentKind::Authorize, [Fault::Held]);
    let docket = shop.docket.clone();
    let placing = tokio::spawn(async move { docket.place_order(request("r1"), paid_by_cards()).await });
    let held = till.until_held().await;
    let cancelled = shop
        .docket
        .cancel_order(Call::default(), held.order, None)
        .await
        .unwrap();
    assert_eq!(cancelled.state, OrderState::Cancelled);
    // Whoever placed it hears that.
    assert_eq!(placing.await.unwrap().unwrap().state, OrderState::Cancelled);
    // It was done, and nobody heard: what was set aside is given back.
    till.deliver(&held);
    till.lose(&held);
    let over = when(&shop, held.order, is_paid_up).await;
    let (authorized, _, voided, _) = till.of(held.order);
    assert_eq!((authorized, over.payment().state), (voided, PaymentState::Voided));
    assert_eq!(shop.stock("pot").await.1, 0);
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_is_declined_holds_the_order_until_a_person_has_it_tried_again() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    let id = place(&shop, "r1").await.unwrap().id;
    till.plan(PaymentKind::Capture, [Fault::Decline]);
    ship(&shop, id, &[(0, 1)]).await;
    let failed = when(&shop, id, |order| {
        // Both are in one record, and are seen one behind the other.
        order.payment().state == PaymentState::Failed && order.active_holds().next().is_some()
    })
    .await;
    let holds: Vec<_> = failed.active_holds().map(|hold| hold.reason).collect();
    assert_eq!(holds, [HoldReason::Payment]);
    assert_eq!(failed.declined_payments().collect::<Vec<_>>(), [2]);
    let wrong = shop
        .docket
        .retry_payment(Call::default(), id, 1, user("ops"), None);
    assert_eq!(reason(wrong.await), "PAYMENT_NOT_DECLINED");
    let missing = shop
        .docket
        .retry_payment(Call::default(), id, 9, user("ops"), None);
    assert_eq!(reason(missing.await), "PAYMENT_STEP_NOT_FOUND");

    // The order goes on with a request id of its own: twice is once.
    for _ in 0..2 {
        let retried = shop
            .docket
            .retry_payment(request("again"), id, 2, user("ops"), None);
        retried.await.unwrap();
    }
    let paid = when(&shop, id, is_paid_up).await;
    assert_eq!(paid.payment().state, PaymentState::PartiallyCaptured);
    assert_eq!(till.of(id), (2_035, 7, 0, 0));
    assert_eq!(paid.payment_steps().len(), 3);
    let free = shop
        .docket
        .release_order_hold(Call::default(), id, HoldReason::Payment, user("ops"), None);
    free.await.unwrap();
    ship(&shop, id, &[]).await;
    let done = when(&shop, id, is_paid_up).await;
    assert_eq!(
        (done.payment().state, till.of(id)),
        (PaymentState::Captured, (2_035, 2_035, 0, 0))
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_did_and_did_not_say_is_asked_for_and_not_done_again() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let mut shop = shop(dir.path(), &till).await;
    for kind in PaymentKind::ALL {
        // Done and not said, not done, and not reached.
        till.plan(kind, [Fault::Silent, Fault::Refuse, Fault::Silent]);
    }
    let id = place(&shop, "r1").await.unwrap().id;
    ship(&shop, id, &[(0, 5)]).await;
    // The till is asked by whoever leads next what became of what this one asked.
    shop.close().await;
    shop = Shop::open_with(options(dir.path(), &till)).await;
    when(&shop, id, is_paid_up).await;
    let refund = (Amount(35), "".into());
    let refunded = shop
        .docket
        .refund_order(Call::default(), id, refund, user("shop"), None);
    refunded.await.unwrap();
    let cancelled = shop.docket.cancel_order(Call::default(), id, None);
    cancelled.await.unwrap();
    let over = when(&shop, id, is_paid_up).await;
    assert_eq!(
        (figures(&over), till.of(id)),
        ((2_035, 35, 2_000, 35), (2_035, 35, 2_000, 35))
    );
    till.check();
    let customer = CustomerId::new("ada").unwrap();
    let account = shop.docket.get_customer(Call::default(), customer).await.unwrap();
    assert_eq!((account.balance, account.held), (Amount(0), Amount(0)));
    shop.docket.validate().unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_by_a_provider_is_edited_to_cost_less_and_the_rest_is_voided() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let (id, total) = (placed.id, 2_035);
    let edit = async |shop: &Shop, request_id: &str, lines: &[(u16, i64)], version| {
        let asked = shop
            .docket
            .edit_order(request(request_id), id, part(lines), user("ada"), version);
        asked.await
    };
    let less = edit(&shop, "less", &[(0, 3)], placed.version).await.unwrap();
    assert_eq!(less.total, Amount(total - 14));
    let paid = when(&shop, id, is_paid_up).await;
    assert_eq!(
        (figures(&paid), till.of(id)),
        ((total, 0, 14, 0), (total, 0, 14, 0))
    );
    assert_eq!((shop.stock("tea").await.1, shop.stock("pot").await.1), (3, 2));
    // Fewer of what is dear, and more of what is cheap.
    let settled = when(&shop, id, |order| order.is_settled() && is_paid_up(order)).await;
    edit(&shop, "both", &[(0, 6), (1, 1)], settled.version)
        .await
        .unwrap();
    let voided = 14 + 1_000 - 21;
    let paid = when(&shop, id, |order| order.is_settled() && is_paid_up(order)).await;
    assert_eq!(
        (figures(&paid), till.of(id)),
        ((total, 0, voided, 0), (total, 0, voided, 0))
    );
    assert_eq!((shop.stock("tea").await.1, shop.stock("pot").await.1), (6, 1));
    shop.close().await;
    let shop = Shop::open_with(options(dir.path(), &till)).await;
    ship(&shop, id, &[]).await;
    let sent = when(&shop, id, is_paid_up).await;
    let captured = 6 * 7 + 1_000;
    assert_eq!(
        (sent.state, sent.payment().state),
        (OrderState::Fulfilled, PaymentState::Captured)
    );
    assert_eq!(
        (figures(&sent), till.of(id)),
        ((total, captured, voided, 0), (total, captured, voided, 0))
    );
    till.check();
    shop.docket.validate().unwrap();
    shop.close().await;
}
