//! A fault of every kind, planted in committed state, is found and named; and nothing else is.

use docket_engine::{
    Amount, Backorder, Backorders, Change, ChangeKind, OrderEvent, OrderState, PaymentKind, PaymentOutcome,
    PaymentRequest, ProviderName, Time, Version,
};
use docket_payments::{NotSettled, PaymentProvider};
use docket_proto::{feed::FeedPosition, snapshot::KeptChange};
use futures::{FutureExt as _, future::BoxFuture};

use super::*;
use crate::feed::AsFeed as _;
use DiscrepancyKind::*;

type Plant = fn(&Shop);

/// Plants a fault, and expects these kinds, in their order, of which the first one found is said to be of this entity.
async fn check(name: &str, plant: Plant, expected: &[DiscrepancyKind], entity: impl Fn(&Shop) -> String) {
    let shop = Shop::open().await;
    plant(&shop);
    let report = shop.verify().await;
    assert_eq!(kinds(&report), expected, "{name}: {report:#?}");
    let entity = entity(&shop);
    let is_named = report
        .discrepancies
        .iter()
        .any(|it| it.entity == entity && !it.why.is_empty());
    assert!(is_named, "{name}: no {entity} in {report:#?}");
    assert!(report.discrepancies_total >= expected.len() as u64 && !report.is_clean());
    shop.close().await;
}

fn of_order(shop: &Shop) -> String {
    format!("orders/{}", shop.order)
}

fn of_other(shop: &Shop) -> String {
    format!("orders/{}", shop.other_id())
}

fn of_customer(shop: &Shop) -> String {
    format!("customers/{}", shop.customer())
}

fn of_item(shop: &Shop) -> String {
    format!("items/{}", shop.sku())
}

fn change_customer(shop: &Shop, change: impl FnOnce(&mut docket_engine::Customer)) {
    change(Arc::make_mut(
        &mut shop.home().customers.get_mut(shop.customer()).unwrap(),
    ));
}

fn change_item(shop: &Shop, change: impl FnOnce(&mut docket_engine::Item)) {
    change(Arc::make_mut(
        &mut shop.stock().items.get_mut(shop.sku()).unwrap(),
    ));
}

/// Reserves so many for an order, and has the item's sum say the same.
fn reserve(shop: &Shop, order: OrderId, quantity: i64) {
    let reservations = &shop.stock().reservations;
    let before = reservations.get(shop.sku(), order).unwrap_or_default();
    match quantity {
        0 => reservations.remove(shop.sku(), order),
        _ => reservations.insert(shop.sku(), order, Quantity(quantity)),
    }
    change_item(shop, |item| item.reserved.0 += quantity - before.0);
}

fn keep_change(shop: &Shop, order: OrderId, kind: ChangeKind, version: u64) {
    let committed = shop.home();
    let position = FeedPosition::of_entry(committed.applied_next());
    let change = Change {
        kind,
        version: Version(version),
        at: Time(1),
    };
    committed.feed().put(&[KeptChange {
        position,
        order,
        change,
    }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_that_break_their_own_invariants() {
    let refused = |shop: &Shop| {
        shop.change(|order| order.rejection = Some(Box::new(docket_engine::Rejection::StaleEtag)));
    };
    check("order", refused, &[OrderInvalid], of_order).await;
    let planned = |shop: &Shop| {
        let opened = OrderEvent::FulfilmentOpened {
            lines: Box::new([LineQuantity {
                line: 0,
                quantity: Quantity(1),
            }]),
            by: user(),
        };
        shop.change(|order| {
            order.evolve(&opened, Time(1)).unwrap();
            let plan = order
                .life
                .iter_mut()
                .flat_map(|life| &mut life.fulfilments)
                .last();
            plan.unwrap().lines[0].quantity = Quantity(99);
        });
        keep_change(shop, shop.order, ChangeKind::FulfilmentOpened, 3);
    };
    // It is not among those of which something is planned, and whoever watches is shown it, too.
    let expected = [OrderInvalid, IndexDiffers, FeedDiffers];
    check("more planned than open", planned, &expected, of_order).await;
    let in_debt = |shop: &Shop| change_customer(shop, |customer| customer.credit_limit = Amount(-1));
    check("customer", in_debt, &[CustomerInvalid], of_customer).await;
    let given_away = |shop: &Shop| change_item(shop, |item| item.unit_price = Amount(-1));
    check("item", given_away, &[ItemInvalid], of_item).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_no_events_made() {
    let one_more = |shop: &Shop| shop.change(|order| order.version = order.version.next());
    check("order", one_more, &[VersionChain, FeedDiffers], of_order).await;
    let one_more = |shop: &Shop| change_customer(shop, |customer| customer.version = customer.version.next());
    check("customer", one_more, &[CustomerEvents], of_customer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_that_are_none() {
    let held = |shop: &Shop| change_customer(shop, |customer| customer.held.0 += 1);
    check("held", held, &[HeldSum], of_customer).await;
    let reserved = |shop: &Shop| change_item(shop, |item| item.reserved.0 += 1);
    check("reserved", reserved, &[ReservedSum], of_item).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_that_are_not_what_their_orders_want() {
    check(
        "less",
        |shop| reserve(shop, shop.order, 1),
        &[ReservationDiffers],
        of_order,
    )
    .await;
    check(
        "more",
        |shop| reserve(shop, shop.order, 3),
        &[ReservationDiffers],
        of_order,
    )
    .await;
    check(
        "none",
        |shop| reserve(shop, shop.order, 0),
        &[ReservationDiffers],
        of_order,
    )
    .await;
    let cancelled = |shop: &Shop| reserve(shop, shop.cancelled, 2);
    check("cancelled", cancelled, &[ReservationOrphan], of_item).await;
    let of_nothing = |shop: &Shop| reserve(shop, shop.other_id(), 2);
    check("no order", of_nothing, &[ReservationOrphan], of_item).await;
    let no_item = |shop: &Shop| {
        let sku = Sku::new("nothing").unwrap();
        shop.stock().reservations.insert(&sku, shop.order, Quantity(1));
    };
    check("no item", no_item, &[ReservationOrphan], |_| {
        "items/nothing".to_owned()
    })
    .await;
}

/// Has so many of an order wait, of what it has reserved.
fn wait(shop: &Shop, order: OrderId, quantity: i64) {
    let backorder = Backorder {
        order,
        quantity: Quantity(quantity),
    };
    change_item(shop, |item| {
        // Of a stock that has no more than is reserved.
        item.on_hand = Quantity(item.reserved.0 - quantity);
        item.reserved = item.on_hand;
        item.backorders = Backorders::new(Quantity(9), [backorder].into());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backorders_that_are_not_what_their_orders_know() {
    let unknown = |shop: &Shop| wait(shop, shop.order, 2);
    check("nobody told the order", unknown, &[BackorderDiffers], of_item).await;
    let more = |shop: &Shop| {
        wait(shop, shop.order, 2);
        let told = OrderEvent::Backordered { lines: part(1) };
        shop.change(|order| order.evolve(&told, Time(1)).unwrap());
        shop.home()
            .order_index
            .write()
            .change(OrderState::Confirmed, &shop.get());
        keep_change(shop, shop.order, ChangeKind::Backordered, 3);
    };
    check("the order knows of less", more, &[BackorderDiffers], of_item).await;
    let of_nothing = |shop: &Shop| wait(shop, shop.other_id(), 1);
    check("no order", of_nothing, &[BackorderDiffers], of_item).await;
    let idle = |shop: &Shop| {
        wait(shop, shop.order, 2);
        let told = OrderEvent::Backordered { lines: part(2) };
        shop.change(|order| order.evolve(&told, Time(1)).unwrap());
        shop.home()
            .order_index
            .write()
            .change(OrderState::Confirmed, &shop.get());
        keep_change(shop, shop.order, ChangeKind::Backordered, 3);
        change_item(shop, |item| item.on_hand.0 += 1);
    };
    check("some is available", idle, &[ItemInvalid], of_item).await;
    let hidden = |shop: &Shop| {
        wait(shop, shop.order, 2);
        let told = OrderEvent::Backordered { lines: part(2) };
        shop.change(|order| order.evolve(&told, Time(1)).unwrap());
        keep_change(shop, shop.order, ChangeKind::Backordered, 3);
    };
    check("in no index of what waits", hidden, &[IndexDiffers], of_order).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_that_have_more_or_less_or_something_else() {
    let elsewhere = |shop: &Shop| {
        let mut order = shop.get();
        order.state = OrderState::Fulfilled;
        shop.home()
            .order_index
            .write()
            .change(OrderState::Confirmed, &order);
    };
    check("in another state", elsewhere, &[IndexDiffers], of_order).await;
    let twice = |shop: &Shop| {
        let mut order = shop.get();
        order.state = OrderState::Fulfilled;
        shop.home().order_index.write().insert(&order);
    };
    check("in two states", twice, &[IndexDiffers], of_order).await;
    let stray = |shop: &Shop| {
        let order = Order {
            id: shop.other_id(),
            ..shop.get()
        };
        shop.home().order_index.write().insert(&order);
    };
    check("no order", stray, &[IndexDiffers], of_other).await;
    let hidden = |shop: &Shop| {
        let id = shop.other_id();
        shop.home().orders.insert(Arc::new(Order { id, ..shop.get() }));
    };
    check("not in the index", hidden, &[IndexDiffers], of_other).await;
    let not_its = |shop: &Shop| {
        let mut ids = shop.home().customer_orders.get_mut(shop.customer()).unwrap();
        ids.remove(shop.order);
    };
    check("not its customer's", not_its, &[IndexDiffers], of_order).await;
    let anothers = |shop: &Shop| {
        let bob = CustomerId::new("bob").unwrap();
        shop.home()
            .customer_orders
            .entry(bob)
            .or_default()
            .insert(shop.order, ());
    };
    check("another customer's too", anothers, &[IndexDiffers], of_order).await;
    let no_customer = |shop: &Shop| {
        shop.home()
            .customer_ids
            .write()
            .insert(CustomerId::new("bob").unwrap());
    };
    check("no customer", no_customer, &[IndexDiffers], |_| {
        "customers/bob".to_owned()
    })
    .await;
    let hidden = |shop: &Shop| {
        shop.home().customer_ids.write().remove(shop.customer());
    };
    let expected = [HeldSum, CustomerEvents, IndexDiffers];
    check("customer not in the index", hidden, &expected, of_customer).await;
    let few = |shop: &Shop| {
        let mut stray = Order {
            id: shop.other_id(),
            ..shop.get()
        };
        let hold = OrderEvent::Held {
            reason: HoldReason::Address,
            note: "look".into(),
            by: user(),
        };
        stray.evolve(&hold, Time(1)).unwrap();
        let mut index = shop.home().order_index.write();
        index.change(stray.state, &stray);
    };
    check("no order among the held", few, &[IndexDiffers], of_other).await;
    let hidden = |shop: &Shop| {
        shop.stock().skus.write().remove(shop.sku());
    };
    let expected = [ReservationOrphan, IndexDiffers];
    check("item not in the index", hidden, &expected, of_item).await;
    let no_item = |shop: &Shop| {
        shop.stock().skus.write().insert(Sku::new("nothing").unwrap());
    };
    check("no item", no_item, &[IndexDiffers], |_| {
        "items/nothing".to_owned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_did_not_make_their_orders() {
    let of_nothing = |shop: &Shop| keep_change(shop, shop.other_id(), ChangeKind::Placed, 1);
    check("no order", of_nothing, &[FeedDiffers], of_other).await;
    let gap = |shop: &Shop| keep_change(shop, shop.order, ChangeKind::Cancelled, 9);
    check("a gap", gap, &[FeedDiffers], of_order).await;
    let one_more = |shop: &Shop| keep_change(shop, shop.order, ChangeKind::Cancelled, 3);
    check("one more", one_more, &[FeedDiffers], of_order).await;
    let another_kind = |shop: &Shop| {
        keep_change(shop, shop.order, ChangeKind::Shipped, 3);
        // All would be right if it had been held.
        shop.change(|order| {
            let held = OrderEvent::Held {
                reason: HoldReason::Address,
                note: "look".into(),
                by: user(),
            };
            order.evolve(&held, Time(1)).unwrap();
        });
        let mut index = shop.home().order_index.write();
        index.change(OrderState::Confirmed, &shop.get());
    };
    check("another kind", another_kind, &[FeedDiffers], of_order).await;
    let missing = |shop: &Shop| shop.home().feed().begin_anew();
    check("nothing kept", missing, &[FeedDiffers], of_order).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_that_nobody_sees_to() {
    let forgotten = |shop: &Shop| {
        let total = shop.get().total;
        shop.change(|order| order.evolve(&OrderEvent::Cancelled, Time(1)).unwrap());
        keep_change(shop, shop.order, ChangeKind::Cancelled, 3);
        change_customer(shop, |customer| {
            customer.held.0 -= total.0;
            customer.version = customer.version.next();
        });
        // What is not there as half-way is never taken up.
        let mut settled = shop.get();
        settled.releasing = Box::default();
        let committed = shop.home();
        committed
            .order_index
            .write()
            .change(OrderState::Confirmed, &settled);
    };
    let expected = [IndexDiffers, EffectWithoutOwner];
    check("releasing", forgotten, &expected, of_order).await;
}

/// Moves a balance by what nobody did.
fn pocket(shop: &Shop, amount: i64) {
    change_customer(shop, |customer| customer.balance.0 += amount);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_that_moved_by_what_nobody_did() {
    let shop = Shop::open().await;
    assert!(shop.verify().await.is_clean());
    // What orders and people do is no fault.
    let call = Call::default;
    shop.docket
        .ship_order(call(), shop.order, shipment(1), user(), None)
        .await
        .unwrap();
    let report = shop.verify().await;
    assert!(report.is_clean() && report.balances_compared == 1, "{report:#?}");
    let refund = (Amount(1), "spilt".into());
    let refund = shop.docket.refund_order(call(), shop.order, refund, user(), None);
    refund.await.unwrap();
    let credit = shop
        .docket
        .credit_account(call(), shop.customer().clone(), Amount(77), None);
    credit.await.unwrap();
    let report = shop.verify().await;
    assert!(report.is_clean() && report.balances_compared == 0, "{report:#?}");
    pocket(&shop, -5);
    let report = shop.verify().await;
    assert_eq!(kinds(&report), [BalanceMoved], "{report:#?}");
    assert_eq!(report.discrepancies[0].entity, of_customer(&shop));
    // It is told until a person has changed the account, also with what orders took meanwhile.
    shop.docket
        .ship_order(call(), shop.order, shipment(1), user(), None)
        .await
        .unwrap();
    let report = shop.verify().await;
    assert_eq!(kinds(&report), [BalanceMoved], "{report:#?}");
    let credit = shop
        .docket
        .credit_account(call(), shop.customer().clone(), Amount(5), None);
    credit.await.unwrap();
    assert!(shop.verify().await.is_clean());
    let report = shop.verify().await;
    assert!(report.is_clean() && report.balances_compared == 1, "{report:#?}");
    shop.close().await;
}

/// A provider that authorises, and answers nothing else.
struct Slow;

impl PaymentProvider for Slow {
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        _: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>> {
        let settled = match request.kind {
            PaymentKind::Authorize => Ok(PaymentOutcome::Done {
                reference: "yes".into(),
            }),
            _ => Err(NotSettled {
                why: "it is closed".to_owned(),
                retry_after: None,
            }),
        };
        async { settled }.boxed()
    }
}

/// A shop with an order of which a capture is due.
async fn paid() -> (Shop, OrderId) {
    let cards = ProviderName::new("cards").unwrap();
    let provider: Arc<dyn PaymentProvider> = Arc::new(Slow);
    let shop = Shop::open_with(|options| {
        options.payments.providers = [(cards.clone(), provider)].into();
    })
    .await;
    let place = PlaceOrder {
        provider: Some(cards),
        ..shop.place.clone()
    };
    let order = shop.docket.place_order(Call::default(), place).await.unwrap().id;
    let ship = shop
        .docket
        .ship_order(Call::default(), order, shipment(1), user(), None);
    ship.await.unwrap();
    (shop, order)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_is_due_and_nobody_asks_for() {
    let (shop, order) = paid().await;
    let report = shop.verify().await;
    assert!(report.is_clean() && report.due_payments == 1, "{report:#?}");
    // What is not there as due is never asked for.
    let mut done = Order::clone(&shop.home().orders.get(order).unwrap());
    for step in &mut done.provider.as_mut().unwrap().steps {
        let outcome = PaymentOutcome::Done {
            reference: "yes".into(),
        };
        step.outcome.get_or_insert((outcome, step.due.clone()));
    }
    shop.home().order_index.write().change(done.state, &done);
    let report = shop.verify().await;
    assert_eq!(kinds(&report), [IndexDiffers, EffectWithoutOwner], "{report:#?}");
    assert!(
        report
            .discrepancies
            .iter()
            .all(|it| it.entity == format!("orders/{order}"))
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_was_done_twice() {
    let (shop, order) = paid().await;
    shop.home().orders.change(order, |order| {
        let provider = Arc::make_mut(order).provider.as_mut().unwrap();
        let mut again = provider.steps[1].clone();
        let outcome = PaymentOutcome::Done {
            reference: "yes".into(),
        };
        again.outcome = Some((outcome, again.due.clone()));
        provider.steps[1] = again.clone();
        provider.steps.push(again);
    });
    let report = shop.verify().await;
    assert!(kinds(&report).contains(&OrderInvalid), "{report:#?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_cannot_see_all_orders_compares_and_remembers_no_balance() {
    let shop = Shop::open().await;
    let shipped = shop
        .docket
        .ship_order(Call::default(), shop.order, shipment(1), user(), None);
    shipped.await.unwrap();
    // Not shown by the index of states, it is not walked through.
    let order = shop.get();
    shop.home().order_index.write().remove(&order);
    let report = shop.verify().await;
    assert!(kinds(&report).contains(&IndexDiffers), "{report:#?}");
    shop.home().order_index.write().insert(&order);
    let report = shop.verify().await;
    assert!(report.is_clean() && report.balances_compared == 0, "{report:#?}");
    shop.home().order_index.write().remove(&order);
    let report = shop.verify().await;
    assert!(!kinds(&report).contains(&BalanceMoved), "{report:#?}");
    shop.home().order_index.write().insert(&order);
    let report = shop.verify().await;
    assert!(report.is_clean() && report.balances_compared == 1, "{report:#?}");
    shop.close().await;
}
