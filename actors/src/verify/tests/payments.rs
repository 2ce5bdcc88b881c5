//! Faults in the payments of an order that an edit has had pay more than once: each is found, and named.

use std::time::Instant;

use docket_engine::{
    EditEnd, PaymentKind, PaymentOutcome, PaymentRequest, PaymentStep, ProviderName, Rejection, Stamp,
};
use docket_payments::{NotSettled, PaymentProvider};
use futures::{FutureExt as _, future::BoxFuture};

use super::*;
use DiscrepancyKind::*;

/// A provider that does what it is asked, but for authorisations of the third payment: about these it says nothing.
struct Mint;

impl PaymentProvider for Mint {
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        _: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>> {
        let settled = match (request.kind, request.payment) {
            (PaymentKind::Authorize, 3) => Err(NotSettled {
                why: "it is closed".to_owned(),
                retry_after: None,
            }),
            _ => Ok(PaymentOutcome::Done {
                reference: "yes".into(),
            }),
        };
        async { settled }.boxed()
    }
}

/// An order that has two payments since it was edited, of which nothing is due.
async fn edited() -> (Shop, OrderId) {
    let mint = ProviderName::new("mint").unwrap();
    let provider: Arc<dyn PaymentProvider> = Arc::new(Mint);
    let shop = Shop::open_with(|options| {
        options.payments.providers = [(mint.clone(), provider)].into();
    })
    .await;
    let place = PlaceOrder {
        provider: Some(mint),
        ..shop.place.clone()
    };
    let order = shop.docket.place_order(Call::default(), place).await.unwrap();
    edit(&shop, order.id, None).await.unwrap();
    (shop, order.id)
}

/// One more of its line.
async fn edit(shop: &Shop, id: OrderId, within: Option<Duration>) -> Result<Arc<Order>, crate::CallError> {
    let order = shop.docket.get_order(Call::default(), id).await.unwrap();
    let more = part(order.lines[0].quantity.0 + 1);
    let call = Call {
        deadline: within.map(|within| Instant::now() + within),
        ..Call::default()
    };
    shop.docket
        .edit_order(call, id, more, user(), order.version)
        .await
}

/// The same, whose third payment the provider says nothing about.
async fn edited_and_waiting() -> (Shop, OrderId) {
    let (shop, id) = edited().await;
    let waits = edit(&shop, id, Some(Duration::from_millis(300))).await;
    assert_eq!(waits.unwrap_err(), crate::CallError::DeadlineExceeded);
    let report = shop.verify().await;
    assert!(report.is_clean() && report.due_payments == 1, "{report:#?}");
    (shop, id)
}

/// Plants a fault in the order, and expects that it is found and told so.
async fn check((shop, id): (Shop, OrderId), plant: impl FnOnce(&mut Order), why: &str) {
    shop.home().orders.change(id, |order| plant(Arc::make_mut(order)));
    let report = shop.verify().await;
    let told = report.discrepancies.iter();
    let mut told = told.filter(|it| it.kind == OrderInvalid && it.entity == format!("orders/{id}"));
    assert!(told.any(|it| it.why.contains(why)), "{why}: {report:#?}");
    shop.close().await;
}

fn steps(order: &mut Order) -> &mut Vec<PaymentStep> {
    &mut order.provider.as_mut().unwrap().steps
}

async fn shipped() -> (Shop, OrderId) {
    let (shop, id) = edited().await;
    let all = shop.docket.get_order(Call::default(), id).await.unwrap();
    let all = shipment(all.lines[0].quantity.0);
    shop.docket
        .ship_order(Call::default(), id, all, user(), None)
        .await
        .unwrap();
    let paid = |order: &Order| order.next_payment().is_none();
    while shop.home().orders.see(id, paid) != Some(true) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = shop.verify().await;
    assert!(report.is_clean(), "{report:#?}");
    let captures = |order: &Order| {
        let steps = order.payment_steps().iter();
        let captures = steps.filter(|step| step.kind == PaymentKind::Capture);
        captures.map(|step| step.payment).collect::<Vec<_>>()
    };
    assert_eq!(shop.home().orders.see(id, captures), Some(vec![1, 2]));
    (shop, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_takes_what_was_authorised_for_another() {
    let too_much = "of a payment more is taken or given back than was authorised";
    check(shipped().await, |order| steps(order)[3].payment = 1, too_much).await;
    // The sum of both is right.
    let shift = |order: &mut Order| {
        steps(order)[2].amount.0 -= 1;
        steps(order)[3].amount.0 += 1;
    };
    check(shipped().await, shift, too_much).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_of_which_no_edit_knows_and_an_edit_that_was_not_paid_for() {
    let one_more = |order: &mut Order| {
        let more = PaymentStep {
            payment: 3,
            ..steps(order)[1].clone()
        };
        steps(order).push(more);
    };
    check(edited().await, one_more, "it has a payment that is of no edit").await;
    check(
        edited().await,
        |order| drop(steps(order).pop()),
        "it was edited without what it costs more being authorised",
    )
    .await;
}

/// An edit that was given up without seeing to it that its late authorisation takes nothing; and one that nobody asks anything for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_ended_otherwise_than_its_provider_has_answered() {
    let end = |order: &mut Order| {
        let version = order.version.next();
        let edit = order.life.as_mut().unwrap().edits.last_mut().unwrap();
        let at = Stamp {
            version,
            ..edit.begun.clone()
        };
        let refused = Some(Box::new(Rejection::PaymentExpired));
        edit.ended = Some(EditEnd { at, refused });
    };
    let not_right = "what became of an edit is not what follows from its authorisation";
    check(edited_and_waiting().await, end, not_right).await;
    let answer = |order: &mut Order| {
        let begun = order.edits().last().unwrap().begun.clone();
        let done = PaymentOutcome::Done {
            reference: "yes".into(),
        };
        steps(order).last_mut().unwrap().outcome = Some((done, begun));
    };
    check(
        edited_and_waiting().await,
        answer,
        "it is edited, and asks nobody for anything",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorisation_of_an_edit_that_nobody_asks_for_and_nobody_gives_up() {
    let (shop, id) = edited_and_waiting().await;
    let mut done = Order::clone(&shop.home().orders.get(id).unwrap());
    done.life.as_mut().unwrap().edits.pop();
    shop.home().order_index.write().change(done.state, &done);
    let report = shop.verify().await;
    assert_eq!(kinds(&report), [IndexDiffers, EffectWithoutOwner], "{report:#?}");
    shop.close().await;
}

/// What its items have agreed to is reserved while the provider is asked: no less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_that_an_edit_waits_with_and_its_item_does_not_have() {
    let (shop, id) = edited_and_waiting().await;
    let reservations = &shop.stock().reservations;
    let before = reservations.get(shop.sku(), id).unwrap();
    let wanted = shop.home().orders.get(id).unwrap().wanted_of(shop.sku());
    assert!(wanted.allows(before));
    reservations.insert(shop.sku(), id, Quantity(before.0 - 1));
    Arc::make_mut(&mut shop.stock().items.get_mut(shop.sku()).unwrap())
        .reserved
        .0 -= 1;
    let report = shop.verify().await;
    let told = report.discrepancies.iter();
    let entities: Vec<_> = told.map(|it| (it.kind, it.entity.clone())).collect();
    assert_eq!(
        entities,
        [(ReservationDiffers, format!("orders/{id}"))],
        "{report:#?}"
    );
    shop.close().await;
}
