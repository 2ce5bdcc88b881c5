//! Orders that a provider is paid for, edited to cost more: what that costs more is a payment of its own, and until it is authorised all is as it was.

use std::{sync::Arc, time::Duration};

use docket_actors::{Call, CallError, Options, VerifyPace};
use docket_engine::{
    Amount, ChangeKind, FraudRules, HoldReason, Order, OrderId, OrderState, PaymentKind, PaymentOutcome,
    PaymentState, ReturnStep, Version,
};

use super::{
    figures, is_paid_up, options, paid_by_cards, place, ship, shop,
    till::{Fault, Till},
    when,
};
use crate::shop::{Shop, part, reason, request, user};

const TOTAL: i64 = 2_035;

async fn edit(
    shop: &Shop,
    request_id: &str,
    order: &Order,
    lines: &[(u16, i64)],
) -> Result<Arc<Order>, CallError> {
    let (id, version) = (order.id, order.version);
    let call = match request_id {
        "" => Call::default(),
        request_id => request(request_id),
    };
    shop.docket
        .edit_order(call, id, part(lines), user("ada"), version)
        .await
}

/// So much is reserved of tea, and of pots.
async fn reserved(shop: &Shop) -> (i64, i64) {
    (shop.stock("tea").await.1, shop.stock("pot").await.1)
}

async fn is_clean(shop: &Shop) {
    shop.docket.validate().unwrap();
    let report = shop.docket.verify(VerifyPace::default()).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

/// An edit that waits for the till, asked for in a task of its own.
async fn held_edit(
    shop: &Shop,
    till: &Till,
    order: &Arc<Order>,
    lines: &[(u16, i64)],
) -> (
    tokio::task::JoinHandle<Result<Arc<Order>, CallError>>,
    docket_engine::PaymentRequest,
) {
    till.plan(PaymentKind::Authorize, [Fault::Held]);
    let editing = {
        let (docket, order, lines) = (shop.docket.clone(), order.clone(), part(lines));
        tokio::spawn(async move {
            docket
                .edit_order(request("edit"), order.id, lines, user("ada"), order.version)
                .await
        })
    };
    (editing, till.until_held().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_edit_costs_more_is_a_payment_of_its_own_from_its_authorisation_to_its_refund() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let mut shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let id = placed.id;
    let edited = edit(&shop, "edit", &placed, &[(0, 8)]).await.unwrap();
    assert_eq!(
        (edited.total, edited.lines[0].quantity.0),
        (Amount(TOTAL + 21), 8)
    );
    assert_eq!(figures(&edited), (TOTAL + 21, 0, 0, 0));
    assert_eq!(till.of_payment(id, 1), [TOTAL, 0, 0, 0]);
    assert_eq!(till.of_payment(id, 2), [21, 0, 0, 0]);
    assert_eq!(reserved(&shop).await, (8, 2));
    // Done twice it is the same.
    assert_eq!(edit(&shop, "edit", &placed, &[(0, 8)]).await.unwrap(), edited);

    shop.close().await;
    shop = Shop::open_with(options(dir.path(), &till)).await;
    assert_eq!(shop.docket.get_order(Call::default(), id).await.unwrap(), edited);
    // More than the first payment has: it is taken of both, and the rest given back of the newest.
    ship(&shop, id, &[(0, 7), (1, 2)]).await;
    when(&shop, id, is_paid_up).await;
    assert_eq!(till.of_payment(id, 1), [TOTAL, TOTAL, 0, 0]);
    assert_eq!(till.of_payment(id, 2), [21, 14, 0, 0]);
    shop.docket.cancel_order(Call::default(), id, None).await.unwrap();
    when(&shop, id, is_paid_up).await;
    let refund = (Amount(TOTAL + 5), "".into());
    let refunded = shop
        .docket
        .refund_order(Call::default(), id, refund, user("shop"), None);
    refunded.await.unwrap();
    let done = when(&shop, id, is_paid_up).await;
    assert_eq!(till.of_payment(id, 1), [TOTAL, TOTAL, 0, TOTAL]);
    assert_eq!(till.of_payment(id, 2), [21, 14, 7, 5]);
    assert_eq!(done.payment().state, PaymentState::PartiallyRefunded);
    assert_eq!((shop.held("ada").await, reserved(&shop).await), (0, (0, 0)));
    till.check();
    is_clean(&shop).await;
    let found = shop.docket.get_order(Call::default(), id).await.unwrap();
    shop.close().await;
    // As a snapshot has it, too.
    shop = Shop::open_with(options(dir.path(), &till)).await;
    assert_eq!(shop.docket.get_order(Call::default(), id).await.unwrap(), found);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_its_provider_declines_leaves_all_as_it_was() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let id = placed.id;
    till.plan(PaymentKind::Authorize, [Fault::Decline]);
    let declined = edit(&shop, "edit", &placed, &[(0, 6), (1, 3)]).await;
    let CallError::Rejected(rejection) = declined.unwrap_err() else {
        panic!("it is refused")
    };
    assert_eq!(
        (rejection.reason(), rejection.to_string()),
        (
            "PAYMENT_DECLINED",
            "the payment was declined: no money".to_owned()
        )
    );
    // Whoever asks for the same is told the same.
    let again = edit(&shop, "edit", &placed, &[(0, 6), (1, 3)]).await;
    assert_eq!(reason(again), "PAYMENT_DECLINED");
    let found = when(&shop, id, Order::is_settled).await;
    assert_eq!((&found.lines, found.total), (&placed.lines, placed.total));
    assert_eq!(
        (figures(&found), till.of(id)),
        ((TOTAL, 0, 0, 0), (TOTAL, 0, 0, 0))
    );
    assert_eq!(reserved(&shop).await, (5, 2));
    // No person is asked about that: the next edit has a payment of its own.
    assert_eq!(found.declined_payments().count(), 0);
    let edited = edit(&shop, "", &found, &[(1, 3)]).await.unwrap();
    assert_eq!(till.of_payment(id, 3), [1_000, 0, 0, 0]);
    assert_eq!(edited.total, Amount(TOTAL + 1_000));
    ship(&shop, id, &[]).await;
    let sent = when(&shop, id, is_paid_up).await;
    let captured = TOTAL + 1_000;
    assert_eq!(figures(&sent), (captured, captured, 0, 0));
    till.check();
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_provider_is_asked_about_an_edit_the_order_is_as_it_was_and_conflicting_commands_are_refused()
{
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let id = placed.id;
    ship(&shop, id, &[(0, 1)]).await;
    let sent = when(&shop, id, is_paid_up).await;
    let docket = &shop.docket;
    docket
        .request_return(
            request("return"),
            id,
            (part(&[(0, 1)]), "".into()),
            user("ada"),
            None,
        )
        .await
        .unwrap();
    let approve = (1, ReturnStep::Approve);
    let order = docket
        .move_return(request("approve"), id, approve, user("shop"), None)
        .await
        .unwrap();
    let (editing, held) = held_edit(&shop, &till, &order, &[(0, 8)]).await;
    assert_eq!(
        (held.payment_name(), held.kind, held.amount),
        (format!("{id}-2"), PaymentKind::Authorize, Amount(21))
    );
    let waiting = docket.get_order(Call::default(), id).await.unwrap();
    assert_eq!((&waiting.lines, waiting.state), (&sent.lines, sent.state));
    assert_eq!(waiting.payment(), sent.payment());
    assert!(waiting.open_edit().is_some() && waiting.is_settled());
    // What it needs more of is its own already.
    assert_eq!(reserved(&shop).await, (7, 2));
    let in_vain = Call {
        deadline: Some(std::time::Instant::now() + Duration::from_millis(20)),
        ..request("edit")
    };
    let late = docket.edit_order(in_vain, id, part(&[(0, 8)]), user("ada"), order.version);
    assert_eq!(late.await.unwrap_err(), CallError::DeadlineExceeded);
    let refusals = [
        docket.cancel_order(Call::default(), id, None).await,
        docket
            .cancel_order_lines(Call::default(), id, part(&[(0, 1)]), None)
            .await,
        edit(&shop, "other", &waiting, &[(0, 2)]).await,
        docket
            .refund_order(Call::default(), id, (Amount(1), "".into()), user("shop"), None)
            .await,
        docket
            .open_fulfilment(Call::default(), id, part(&[]), user("depot"), None)
            .await,
        docket
            .move_return(
                Call::default(),
                id,
                (1, ReturnStep::Receive { restock: true }),
                user("shop"),
                None,
            )
            .await,
    ];
    assert_eq!(refusals.map(reason), ["ORDER_PENDING"; 6]);
    let stale = edit(&shop, "stale", &order, &[(0, 2)]).await;
    assert_eq!(reason(stale), "STALE_ETAG");
    let hold = (HoldReason::Address, "".into());
    docket
        .hold_order(request("hold"), id, hold, user("ops"), None)
        .await
        .unwrap();
    // It is nobody's orphan: what is reserved stays, also while somebody looks.
    is_clean(&shop).await;
    assert_eq!(reserved(&shop).await, (7, 2));
    till.deliver(&held);
    till.lose(&held);
    let edited = editing.await.unwrap().unwrap();
    assert_eq!(edited.total, Amount(TOTAL + 21));
    till.check();
    is_clean(&shop).await;
    shop.close().await;
}

/// The power goes while the provider is asked: whoever leads next asks what became of that, and the edit ends as it answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_waited_for_its_provider_ends_after_a_restart_and_whoever_asks_again_hears_how() {
    for is_done in [true, false] {
        let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
        let mut shop = shop(dir.path(), &till).await;
        let placed = place(&shop, "r1").await.unwrap();
        let (editing, held) = held_edit(&shop, &till, &placed, &[(0, 8)]).await;
        shop.close().await;
        assert!(editing.await.unwrap().is_err());
        if is_done {
            till.deliver(&held);
        } else {
            till.plan(PaymentKind::Authorize, [Fault::Decline]);
        }
        shop = Shop::open_with(options(dir.path(), &till)).await;
        let again = edit(&shop, "edit", &placed, &[(0, 8)]).await;
        let more = if is_done { 21 } else { 0 };
        match is_done {
            true => assert_eq!(again.unwrap().total, Amount(TOTAL + 21)),
            false => assert_eq!(reason(again), "PAYMENT_DECLINED"),
        }
        ship(&shop, placed.id, &[]).await;
        let sent = when(&shop, placed.id, |order| order.is_settled() && is_paid_up(order)).await;
        let captured = TOTAL + more;
        assert_eq!(
            (figures(&sent), till.of(placed.id)),
            ((captured, captured, 0, 0), (captured, captured, 0, 0))
        );
        till.check();
        is_clean(&shop).await;
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_is_not_authorised_in_time_is_refused_and_what_comes_late_takes_nothing() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let mut patient = options(dir.path(), &till);
    patient.payments.authorize_within = Duration::from_millis(700);
    let shop = Shop::open_with(patient).await;
    shop.customer("ada", 0).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    let placed = place(&shop, "r1").await.unwrap();
    let id = placed.id;
    let (editing, held) = held_edit(&shop, &till, &placed, &[(0, 8)]).await;
    // It is given up while the till still holds it.
    assert_eq!(reason(editing.await.unwrap()), "PAYMENT_EXPIRED");
    assert_eq!(reserved(&shop).await, (5, 2));
    let refused = shop.docket.get_order(Call::default(), id).await.unwrap();
    assert_eq!(
        (&refused.lines, refused.state),
        (&placed.lines, OrderState::Confirmed)
    );
    till.lose(&held);
    when(&shop, id, is_paid_up).await;
    // The network delivers it now: only that payment is barred.
    till.deliver(&held);
    assert_eq!(till.of_payment(id, 2), [0, 0, 0, 0]);
    let again = edit(&shop, "edit", &placed, &[(0, 8)]).await;
    assert_eq!(reason(again), "PAYMENT_EXPIRED");
    let settled = when(&shop, id, Order::is_settled).await;
    let edited = edit(&shop, "", &settled, &[(0, 6)]).await;
    assert_eq!(edited.unwrap().total, Amount(TOTAL + 7));
    assert_eq!(till.of_payment(id, 3), [7, 0, 0, 0]);
    ship(&shop, id, &[]).await;
    let sent = when(&shop, id, |order| order.is_settled() && is_paid_up(order)).await;
    assert_eq!(figures(&sent), (TOTAL + 7, TOTAL + 7, 0, 0));
    till.check();
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_for_which_there_is_not_enough_asks_no_provider() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let asked = till.asked();
    let refused = edit(&shop, "edit", &placed, &[(0, 6), (1, 101)]).await;
    assert_eq!(reason(refused), "INSUFFICIENT_STOCK");
    let found = when(&shop, placed.id, Order::is_settled).await;
    assert_eq!((found.payment_steps().len(), till.asked()), (1, asked));
    assert_eq!(reserved(&shop).await, (5, 2));
    shop.close().await;
}

/// The first payment gives its part of a shipment, and the second declines its own: a person has that tried again, and nothing is taken twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_is_declined_by_one_payment_waits_for_a_person_and_the_books_say_what_was_taken() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let mut shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    let id = placed.id;
    edit(&shop, "edit", &placed, &[(0, 8)]).await.unwrap();
    // Two questions come: what the first does is not said, and the second is declined.
    till.plan(PaymentKind::Capture, [Fault::Silent, Fault::Decline]);
    ship(&shop, id, &[(0, 7), (1, 2)]).await;
    let declined = when(&shop, id, |order| order.declined_payments().next().is_some()).await;
    assert_eq!(declined.payment().state, PaymentState::Failed);
    assert_eq!(figures(&declined), (TOTAL + 21, TOTAL, 0, 0));
    assert_eq!((till.of_payment(id, 1)[1], till.of_payment(id, 2)[1]), (TOTAL, 0));
    shop.close().await;
    shop = Shop::open_with(options(dir.path(), &till)).await;
    let held: Vec<_> = declined.active_holds().map(|hold| hold.reason).collect();
    assert_eq!(held, [HoldReason::Payment]);
    let step = declined.declined_payments().next().unwrap();
    let retried = shop
        .docket
        .retry_payment(request("retry"), id, step, user("ops"), None);
    retried.await.unwrap();
    let paid = when(&shop, id, is_paid_up).await;
    assert_eq!(figures(&paid), (TOTAL + 21, TOTAL + 14, 0, 0));
    assert_eq!(till.of_payment(id, 2), [21, 14, 0, 0]);
    let release = shop
        .docket
        .release_order_hold(request("go"), id, HoldReason::Payment, user("ops"), None);
    release.await.unwrap();
    ship(&shop, id, &[]).await;
    let sent = when(&shop, id, |order| order.is_settled() && is_paid_up(order)).await;
    assert_eq!(figures(&sent), (TOTAL + 21, TOTAL + 21, 0, 0));
    till.check();
    is_clean(&shop).await;
    shop.close().await;
}

/// What the feed and the history tell of it, in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_tells_when_its_provider_was_asked_and_what_it_answered() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = shop(dir.path(), &till).await;
    let placed = place(&shop, "r1").await.unwrap();
    edit(&shop, "edit", &placed, &[(0, 8)]).await.unwrap();
    let found = when(&shop, placed.id, Order::is_settled).await;
    let changes = found.changes(Version(3), usize::MAX).unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|it| {
            (
                it.kind,
                it.details.amount.map(|amount| amount.0),
                it.after.payment.authorized.0,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (ChangeKind::EditBegun, None, TOTAL),
            (ChangeKind::EditReserved, Some(21), TOTAL),
            (ChangeKind::PaymentDone, Some(21), TOTAL + 21),
            (ChangeKind::Edited, None, TOTAL + 21),
        ]
    );
    let answered: Vec<_> = found
        .payment_steps()
        .iter()
        .map(|step| step.outcome.is_some())
        .collect();
    assert_eq!(answered, [true, true]);
    assert!(
        found
            .payment_steps()
            .iter()
            .all(|step| matches!(step.outcome, Some((PaymentOutcome::Done { .. }, _))))
    );
    shop.close().await;
}

/// A hundred orders are edited at once by one provider that says nothing at first: each is authorised once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_many_orders_wait_for_their_turn_and_each_is_authorised_once() {
    const ORDERS: usize = 40;
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let shop = Shop::open_with(options(dir.path(), &till)).await;
    shop.customer("ada", 0).await;
    shop.item("tea", 7, 1_000).await;
    shop.item("pot", 1_000, 1_000).await;
    let mut placed: Vec<(OrderId, Arc<Order>)> = Vec::new();
    for number in 0..ORDERS {
        let order = shop
            .docket
            .place_order(request(&format!("r{number}")), paid_by_cards())
            .await
            .unwrap();
        placed.push((order.id, order));
    }
    till.plan(
        PaymentKind::Authorize,
        [Fault::Silent, Fault::Refuse].into_iter().cycle().take(ORDERS),
    );
    let edits = placed.iter().map(|(_, order)| edit(&shop, "", order, &[(0, 6)]));
    for edited in futures::future::join_all(edits).await {
        assert_eq!(edited.unwrap().total, Amount(TOTAL + 7));
    }
    for (id, _) in &placed {
        assert_eq!(till.of_payment(*id, 2), [7, 0, 0, 0]);
    }
    let total = ORDERS as i64;
    assert_eq!(reserved(&shop).await, (6 * total, 2 * total));
    till.check();
    is_clean(&shop).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_its_provider_has_authorised_is_held_against_the_rules_as_well() {
    let (dir, till) = (tempfile::tempdir().unwrap(), Arc::new(Till::default()));
    let rules = FraudRules {
        threshold: 60,
        new_customer_amount: Amount(TOTAL + 20),
        ..FraudRules::default()
    };
    let shop = Shop::open_with(Options {
        fraud: Some(rules),
        ..options(dir.path(), &till)
    })
    .await;
    shop.customer("ada", 0).await;
    shop.item("tea", 7, 100).await;
    shop.item("pot", 1_000, 100).await;
    let placed = place(&shop, "r1").await.unwrap();
    assert_eq!(placed.active_holds().count(), 0);
    edit(&shop, "edit", &placed, &[(0, 8)]).await.unwrap();
    let edited = shop.docket.get_order(Call::default(), placed.id).await.unwrap();
    assert_eq!(edited.total, Amount(TOTAL + 21));
    let holds: Vec<_> = edited.active_holds().map(|hold| hold.reason).collect();
    assert_eq!(holds, [HoldReason::FraudReview]);
    is_clean(&shop).await;
    shop.close().await;
}
