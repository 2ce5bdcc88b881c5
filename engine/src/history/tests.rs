mod edits;

use std::sync::Arc;

use super::*;
use crate::{
    Amount, CustomerId, HoldReason, Line, LineQuantity, OrderEvent, OrderId, PaymentOutcome, ProviderName,
    Quantity, Rejection, Sku, Time, access::Username,
};

fn by() -> Username {
    Username::new("shop").unwrap()
}

fn held(reason: HoldReason) -> OrderEvent {
    OrderEvent::Held {
        reason,
        note: "look".into(),
        by: by(),
    }
}

fn of(line: u16, quantity: i64) -> Box<[LineQuantity]> {
    let quantity = Quantity(quantity);
    Box::new([LineQuantity { line, quantity }])
}

fn shipped(line: u16, quantity: i64) -> OrderEvent {
    OrderEvent::Shipped {
        lines: of(line, quantity),
        carrier: "post".into(),
        tracking: "1".into(),
        by: by(),
    }
}

fn lines_cancelled(line: u16, quantity: i64) -> OrderEvent {
    let by = Some(by());
    OrderEvent::LinesCancelled {
        lines: of(line, quantity),
        by,
    }
}

fn placed() -> OrderEvent {
    placed_with(350, None)
}

/// Four of tea, and four of jam at this price.
fn placed_with(price: i64, provider: Option<&str>) -> OrderEvent {
    let line = |sku: &str, price| Line {
        sku: Sku::new(sku).unwrap(),
        quantity: Quantity(4),
        unit_price: Amount(price),
    };
    OrderEvent::Placed {
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([line("tea", 350), line("jam", price)]),
        provider: provider.map(|name| ProviderName::new(name).unwrap()),
    }
}

/// Every kind of life that an order can have, each as far as it goes.
fn lives() -> Vec<Vec<OrderEvent>> {
    use OrderEvent::{Cancelled, Confirmed, Consumed, Released, Restocked};
    let asked = |line, quantity| OrderEvent::ReturnRequested {
        lines: of(line, quantity),
        note: "".into(),
        by: by(),
    };
    let moved = |number, step| OrderEvent::ReturnMoved {
        number,
        step,
        by: by(),
    };
    let refunded = |amount| OrderEvent::Refunded {
        amount: Amount(amount),
        note: "".into(),
        by: by(),
    };
    let delivered = |fulfilment| OrderEvent::Delivered { fulfilment, by: by() };
    let planned = |line, quantity| OrderEvent::FulfilmentOpened {
        lines: of(line, quantity),
        by: by(),
    };
    let as_planned = |fulfilment| OrderEvent::FulfilmentShipped {
        fulfilment,
        carrier: "".into(),
        tracking: "".into(),
        by: by(),
    };
    let given_up = |fulfilment| OrderEvent::FulfilmentCancelled { fulfilment, by: by() };
    let freed = |reason| OrderEvent::HoldReleased { reason, by: by() };
    let rejected = OrderEvent::Rejected {
        rejection: Box::new(Rejection::StaleEtag),
        release: Box::new([Sku::new("tea").unwrap()]),
    };
    let (address, operator) = (HoldReason::Address, HoldReason::Operator);
    vec![
        vec![rejected, Released],
        vec![
            Confirmed,
            held(address),
            held(operator),
            freed(address),
            Cancelled,
            Released,
        ],
        vec![
            Confirmed,
            held(address),
            freed(address),
            shipped(0, 1),
            held(operator),
            delivered(1),
            Consumed,
            lines_cancelled(1, 3),
            Released,
            freed(operator),
            shipped(1, 1),
            Consumed,
            delivered(2),
            held(address),
            lines_cancelled(0, 3),
            Released,
        ],
        vec![
            Confirmed,
            lines_cancelled(0, 4),
            Released,
            held(address),
            Cancelled,
            Released,
        ],
        vec![
            Confirmed,
            shipped(0, 4),
            Consumed,
            shipped(1, 4),
            delivered(2),
            Consumed,
        ],
        vec![
            Confirmed,
            shipped(0, 4),
            asked(0, 1),
            Consumed,
            moved(1, ReturnStep::Approve),
            refunded(1),
            moved(1, ReturnStep::Receive { restock: true }),
            asked(0, 2),
            Restocked,
            moved(1, ReturnStep::Close),
            moved(2, ReturnStep::Decline { note: "".into() }),
            lines_cancelled(1, 4),
            Released,
            asked(0, 3),
            moved(3, ReturnStep::Approve),
            moved(3, ReturnStep::Receive { restock: false }),
            refunded(9),
        ],
        vec![
            Confirmed,
            planned(0, 2),
            planned(1, 4),
            as_planned(2),
            delivered(2),
            given_up(1),
            Consumed,
            lines_cancelled(0, 1),
            Released,
            held(address),
            planned(0, 1),
            freed(address),
            shipped(0, 2),
            Consumed,
            as_planned(3),
            Consumed,
        ],
        vec![Confirmed, planned(0, 1), given_up(1), Cancelled, Released],
    ]
}

fn answered(number: u32, is_done: bool) -> OrderEvent {
    let (reference, reason) = ("p-2".into(), "no funds".into());
    let outcome = match is_done {
        true => PaymentOutcome::Done { reference },
        false => PaymentOutcome::Declined { reason },
    };
    OrderEvent::PaymentAnswered { number, outcome }
}

fn retried(number: u32) -> OrderEvent {
    OrderEvent::PaymentRetried { number, by: by() }
}

/// As [`lives`], where a provider pays.
fn lives_by_provider() -> Vec<Vec<OrderEvent>> {
    use OrderEvent::{Cancelled, Consumed, Expired, Released, Reserved, Restocked};
    let authorized = || OrderEvent::Authorized {
        reference: "p-1".into(),
    };
    let refunded = |amount| OrderEvent::Refunded {
        amount: Amount(amount),
        note: "".into(),
        by: by(),
    };
    let freed = |reason| OrderEvent::HoldReleased { reason, by: by() };
    let rejected = |rejection, release: &[&str]| OrderEvent::Rejected {
        rejection: Box::new(rejection),
        release: release.iter().map(|sku| Sku::new(sku).unwrap()).collect(),
    };
    let declined = Rejection::PaymentDeclined {
        reason: "no funds".into(),
    };
    let returned = |step| OrderEvent::ReturnMoved {
        number: 1,
        step,
        by: by(),
    };
    let payment = HoldReason::Payment;
    vec![
        vec![rejected(Rejection::StaleEtag, &["tea"]), Released],
        vec![Reserved, rejected(declined, &["tea", "jam"]), Released],
        // Behind the end, before and behind that all is released.
        vec![Reserved, Expired, answered(2, true), Released],
        vec![Reserved, Expired, Released, answered(2, true)],
        vec![
            Reserved,
            Expired,
            answered(2, false),
            Released,
            retried(2),
            answered(3, false),
            retried(3),
            answered(4, true),
        ],
        vec![Reserved, Cancelled, answered(2, true), Released],
        vec![Reserved, Cancelled, Released, answered(2, false), retried(2)],
        vec![
            Reserved,
            authorized(),
            held(payment),
            Cancelled,
            answered(2, false),
            retried(2),
            Released,
            answered(3, true),
        ],
        vec![
            Reserved,
            authorized(),
            lines_cancelled(0, 2),
            Released,
            answered(2, false),
            held(HoldReason::Address),
            Cancelled,
            retried(2),
            answered(3, true),
            Released,
            answered(4, true),
        ],
        vec![
            Reserved,
            authorized(),
            shipped(0, 4),
            answered(2, false),
            held(payment),
            Consumed,
            retried(2),
            freed(payment),
            shipped(1, 1),
            answered(4, true),
            answered(3, true),
            Consumed,
            refunded(350),
            lines_cancelled(1, 3),
            answered(5, false),
            retried(5),
            Released,
            OrderEvent::ReturnRequested {
                lines: of(0, 1),
                note: "".into(),
                by: by(),
            },
            returned(ReturnStep::Approve),
            answered(6, true),
            returned(ReturnStep::Receive { restock: true }),
            answered(7, true),
            Restocked,
        ],
    ]
}

/// Of what costs nothing: nothing is asked of its provider where all that costs something is gone already.
fn lives_with_free_jam() -> Vec<Vec<OrderEvent>> {
    use OrderEvent::{Cancelled, Released, Reserved};
    let authorized = OrderEvent::Authorized {
        reference: "p-1".into(),
    };
    let until_cancelled = [
        Reserved,
        authorized,
        lines_cancelled(0, 4),
        Released,
        held(HoldReason::Address),
    ];
    let behind = [
        vec![Cancelled, Released, answered(2, true)],
        vec![
            Cancelled,
            answered(2, false),
            Released,
            retried(2),
            answered(3, true),
        ],
        vec![answered(2, true), Cancelled, Released],
        vec![answered(2, false), Cancelled, retried(2), Released],
    ];
    behind
        .into_iter()
        .map(|behind| [until_cancelled.to_vec(), behind].concat())
        .collect()
}

fn every_life() -> impl Iterator<Item = (OrderEvent, Vec<OrderEvent>)> {
    let of_account = lives().into_iter().chain(edits::lives());
    let of_account = of_account.map(|life| (placed(), life));
    let with = |price| move |life| (placed_with(price, Some("mint")), life);
    of_account
        .chain(lives_by_provider().into_iter().map(with(350)))
        .chain(edits::lives_by_provider().into_iter().map(with(350)))
        .chain(lives_with_free_jam().into_iter().map(with(0)))
}

#[test]
fn every_state_of_every_life_tells_the_events_that_made_it_and_no_others() {
    for (placed, life) in every_life() {
        let mut order = Order::create(OrderId(9), &placed, Time(1)).unwrap();
        let mut kinds = vec![ChangeKind::Placed];
        for event in std::iter::once(None).chain(life.iter().map(Some)) {
            if let Some(event) = event {
                order.evolve(event, Time(2)).unwrap();
                kinds.push(ChangeKind::of(event));
            }
            order.validate().unwrap();
            let history = order.history().unwrap();
            let told: Vec<_> = (1..).map_while(|at| history.kind(Version(at))).collect();
            assert_eq!(told, kinds);
            assert_eq!(history.kind(Version(0)), None);
            // One version more, or less, is one event that nothing tells of.
            for version in [order.version.0 - 1, order.version.0 + 1] {
                // Of what was refused, and no provider was asked for, it is not told whether there was anything to release.
                let is_released = order.state == OrderState::Rejected && order.is_settled();
                let is_asked = !order.payment_steps().is_empty();
                let mut wrong = order.clone();
                wrong.version = Version(version);
                let may_be = is_released && !is_asked && (2..=3).contains(&version);
                assert_eq!(wrong.history().is_ok(), may_be, "{version} of {order:?}");
            }
        }
    }
}

#[test]
fn the_events_of_its_customer_that_came_with_an_order_are_told() {
    use ChangeKind::{
        Cancelled, EditBegun, EditRefused, Edited, Expired, LinesCancelled, Placed, Refunded, Rejected,
        Shipped,
    };
    // Also those of nothing, where a provider pays.
    let with_one = [
        Placed,
        Rejected,
        Cancelled,
        Expired,
        Shipped,
        LinesCancelled,
        Refunded,
        EditBegun,
        Edited,
        EditRefused,
    ];
    for (placed, life) in every_life() {
        let mut order = Order::create(OrderId(9), &placed, Time(1)).unwrap();
        let mut events = 1;
        for event in &life {
            assert_eq!(order.customer_events(), events, "before {event:?}");
            order.evolve(event, Time(2)).unwrap();
            events += u64::from(with_one.contains(&ChangeKind::of(event)));
        }
        assert_eq!(order.customer_events(), events);
    }
    // Who could not be asked for it was not changed by it.
    let mut order = Order::create(OrderId(9), &placed_with(350, Some("mint")), Time(1)).unwrap();
    let refused = OrderEvent::Rejected {
        rejection: Box::new(Rejection::CurrencyMismatch {
            line: None,
            ordered: order.currency,
            expected: "JPY".parse().unwrap(),
        }),
        release: Box::default(),
    };
    order.evolve(&refused, Time(1)).unwrap();
    assert_eq!(order.customer_events(), 0);
}

#[test]
fn answers_that_cannot_have_come_in_that_order_are_told() {
    let life = &lives_by_provider()[9][..6];
    let mut order = Order::create(OrderId(9), &placed_with(350, Some("mint")), Time(1)).unwrap();
    for event in life {
        order.evolve(event, Time(2)).unwrap();
    }
    order.history().unwrap();
    let check = |order: &Order, change: &dyn Fn(&mut Order), expected: &str| {
        let mut wrong = order.clone();
        change(&mut wrong);
        let broken = wrong.history().unwrap_err();
        assert!(broken.why.contains(expected), "{broken}");
    };
    let step = |order: &mut Order, at: usize, version| {
        let step = &mut order.provider.as_mut().unwrap().steps[at];
        step.outcome.as_mut().unwrap().1.version = Version(version);
    };
    check(&order, &|it| step(it, 1, 4), "the same version");
    check(&order, &|it| step(it, 1, 2), "cannot have made");
    check(&order, &|it| step(it, 1, 99), "cannot have made");
    // It is confirmed by what is behind that its stock is reserved.
    check(&order, &|it| step(it, 0, 7), "cannot have made");
    let mut expired = Order::create(OrderId(9), &placed_with(350, Some("mint")), Time(1)).unwrap();
    for event in [OrderEvent::Reserved, OrderEvent::Expired, answered(2, true)] {
        expired.evolve(&event, Time(2)).unwrap();
    }
    let void = |it: &mut Order, version| {
        it.provider.as_mut().unwrap().steps[1].due.version = Version(version);
    };
    check(&expired, &|it| void(it, 4), "the same version");
    check(&expired, &|it| void(it, 2), "cannot have made");
}

#[test]
fn events_that_cannot_have_come_in_that_order_are_told() {
    let mut order = Order::create(OrderId(9), &placed(), Time(1)).unwrap();
    for event in &lives()[2][..9] {
        order.evolve(event, Time(2)).unwrap();
    }
    order.history().unwrap();
    let check = |change: &dyn Fn(&mut OrderLife), expected: &str| {
        let mut wrong = order.clone();
        change(wrong.life.as_mut().unwrap());
        let broken = wrong.history().unwrap_err();
        assert!(broken.why.contains(expected), "{broken}");
    };
    check(&|life| life.holds[1].version = Version(3), "the same version");
    check(&|life| life.holds[0].version = Version(2), "cannot have made");
    check(&|life| life.holds[1].version = Version(99), "cannot have made");
    check(
        &|life| life.fulfilments[0].shipped.as_mut().unwrap().version = Version(8),
        "not the number",
    );
    check(&|life| drop(life.holds.pop()), "not the number");
    let tea = Sku::new("tea").unwrap();
    check(&|life| life.consuming = Box::new([tea.clone()]), "not the number");
    let ended = |life: &mut OrderLife| {
        let end = life.holds[0].ended.clone().unwrap();
        life.holds[1].ended = Some(crate::HoldEnd { by: None, ..end });
    };
    check(&ended, "a hold ended by itself");
}
