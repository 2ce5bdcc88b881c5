//! Lives of orders that are edited, and how those were after each of their changes.

use super::*;
use crate::Change;

fn so_many(lines: &[(u16, i64)]) -> Box<[LineQuantity]> {
    let of_line = |&(line, quantity): &(u16, i64)| LineQuantity {
        line,
        quantity: Quantity(quantity),
    };
    lines.iter().map(of_line).collect()
}

fn edited(lines: &[(u16, i64)]) -> OrderEvent {
    let (lines, by) = (so_many(lines), by());
    OrderEvent::Edited { lines, by }
}

fn edit_begun(lines: &[(u16, i64)]) -> OrderEvent {
    let (lines, by) = (so_many(lines), by());
    OrderEvent::EditBegun { lines, by }
}

fn edit_refused() -> OrderEvent {
    OrderEvent::EditRefused {
        rejection: Box::new(Rejection::InsufficientStock {
            line: 0,
            sku: Sku::new("tea").unwrap(),
            wanted: Quantity(3),
            available: Quantity(2),
        }),
    }
}

fn refused(rejection: Rejection) -> OrderEvent {
    OrderEvent::EditRefused {
        rejection: Box::new(rejection),
    }
}

/// Of four of tea and four of jam.
pub(super) fn lives() -> Vec<Vec<OrderEvent>> {
    use OrderEvent::{Cancelled, Confirmed, Consumed, Released};
    let freed = |reason| OrderEvent::HoldReleased { reason, by: by() };
    let operator = HoldReason::Operator;
    vec![
        vec![
            Confirmed,
            edited(&[(0, 2)]),
            Released,
            held(operator),
            // Also while it is held: more of one, less of another.
            edit_begun(&[(0, 5), (1, 1)]),
            freed(operator),
            edited(&[(0, 5), (1, 1)]),
            Released,
            edit_begun(&[(1, 4)]),
            edit_refused(),
            Released,
            shipped(0, 1),
            Consumed,
            held(operator),
            // All that is left.
            edited(&[(0, 1), (1, 0)]),
            Released,
        ],
        vec![
            Confirmed,
            edit_begun(&[(0, 9)]),
            held(operator),
            // Nothing is given back.
            edited(&[(0, 9)]),
            edit_begun(&[(0, 10), (1, 5)]),
            edit_refused(),
            Released,
            lines_cancelled(0, 4),
            Released,
            edited(&[(1, 0)]),
            Released,
            edit_begun(&[(1, 1)]),
            edited(&[(1, 1)]),
            Cancelled,
            Released,
        ],
    ]
}

/// As those, where a provider pays: never for more than it has authorised.
pub(super) fn lives_by_provider() -> Vec<Vec<OrderEvent>> {
    use OrderEvent::{Cancelled, Consumed, EditReserved, Released, Reserved};
    let authorized = || OrderEvent::Authorized {
        reference: "p-1".into(),
    };
    let (operator, payment) = (HoldReason::Operator, HoldReason::Payment);
    let freed = |reason| OrderEvent::HoldReleased { reason, by: by() };
    vec![
        // More is authorised, and what is sent then is taken of both payments.
        vec![
            Reserved,
            authorized(),
            edit_begun(&[(0, 6)]),
            EditReserved,
            held(operator),
            answered(2, true),
            edited(&[(0, 6)]),
            freed(operator),
            shipped(0, 6),
            Consumed,
            answered(3, true),
            shipped(1, 4),
            answered(5, false),
            Consumed,
            answered(4, true),
            retried(5),
            answered(6, true),
        ],
        vec![
            Reserved,
            authorized(),
            edit_begun(&[(0, 6), (1, 3)]),
            EditReserved,
            answered(2, false),
            refused(Rejection::PaymentDeclined {
                reason: "no funds".into(),
            }),
            Released,
            edit_begun(&[(0, 6), (1, 3)]),
            EditReserved,
            answered(3, true),
            edited(&[(0, 6), (1, 3)]),
            Released,
            Cancelled,
            answered(4, true),
            Released,
            answered(5, true),
        ],
        vec![
            Reserved,
            authorized(),
            shipped(0, 1),
            answered(2, false),
            held(payment),
            Consumed,
            edit_begun(&[(0, 5)]),
            EditReserved,
            retried(2),
            refused(Rejection::PaymentExpired),
            answered(4, true),
            answered(5, true),
            Released,
            edited(&[(0, 1), (1, 0)]),
            Released,
            answered(6, true),
        ],
        vec![
            Reserved,
            authorized(),
            edited(&[(1, 2)]),
            answered(2, true),
            Released,
            edit_begun(&[(0, 3), (1, 3)]),
            edited(&[(0, 3), (1, 3)]),
            Released,
            shipped(0, 1),
            Consumed,
            edit_begun(&[(0, 1), (1, 4)]),
            edit_refused(),
            answered(3, false),
            Released,
            edited(&[(0, 1), (1, 0)]),
            retried(3),
            Released,
            answered(4, true),
        ],
        vec![
            Reserved,
            authorized(),
            edited(&[(0, 1)]),
            Released,
            Cancelled,
            answered(2, true),
            Released,
        ],
    ]
}

#[test]
fn an_order_that_was_edited_tells_how_it_was_after_each_of_its_changes() {
    let of_account = lives().into_iter().map(|life| (placed(), life));
    let by_provider = lives_by_provider().into_iter();
    let all = of_account.chain(by_provider.map(|life| (placed_with(350, Some("mint")), life)));
    for (placed, life) in all {
        let mut now = Order::create(OrderId(9), &placed, Time(1)).unwrap();
        let mut then = vec![(ChangeKind::Placed, now.clone())];
        for (event, at) in life.iter().zip(2..) {
            now.evolve(event, Time(at)).unwrap();
            now.validate().unwrap();
            then.push((ChangeKind::of(event), now.clone()));
        }
        for later in 0..then.len() {
            for (i, (kind, earlier)) in then[..=later].iter().enumerate() {
                let change = Change {
                    kind: *kind,
                    version: earlier.version,
                    at: Time(i as i64 + 1),
                };
                let mut expected = earlier.clone();
                expected.releasing = Box::default();
                if let Some(life) = &mut expected.life {
                    life.consuming = Box::default();
                }
                let told = then[later].1.after(&change);
                assert_eq!(told, expected, "{i} of {later}");
                assert_eq!(told.payment(), earlier.payment(), "{i} of {later}");
                told.validate().unwrap();
            }
        }
    }
}

#[test]
fn what_an_edit_costs_more_is_held_until_it_has_ended_and_for_as_long_as_it_is_done() {
    let mut order = Order::create(OrderId(9), &placed(), Time(1)).unwrap();
    let total = order.total.0;
    // Held, authorised and given back, above what was ordered first, in teas and jams of one price.
    let money = [
        (0, 0, 0),
        (-2, 0, 2),
        (-2, 0, 2),
        (-2, 0, 2),
        // Three more of one, and three fewer of the other: it costs the same.
        (-2, 0, 2),
        (-2, 0, 2),
        (-2, 0, 2),
        (-2, 0, 2),
        (1, 3, 2),
        (-2, 0, 2),
    ];
    for (event, (held, authorized, voided)) in lives()[0].iter().zip(money) {
        order.evolve(event, Time(2)).unwrap();
        let payment = order.payment();
        let found = (order.held().0, payment.authorized.0, payment.voided.0);
        let expected = (total + held * 350, total + authorized * 350, voided * 350);
        assert_eq!(found, expected, "after {event:?}");
        assert_eq!(payment.outstanding(), order.held());
    }
}

#[test]
fn edits_that_nobody_could_have_decided_are_refused() {
    let mut order = Order::create(OrderId(9), &placed(), Time(1)).unwrap();
    let mut check = |before: &[OrderEvent], event: &OrderEvent| {
        for event in before {
            order.evolve(event, Time(2)).unwrap();
        }
        let was = order.clone();
        assert!(order.evolve(event, Time(2)).is_err(), "{event:?}");
        assert_eq!(order, was);
    };
    check(&[], &edited(&[(0, 1)]));
    check(&[OrderEvent::Confirmed], &edited(&[]));
    check(&[], &edited(&[(0, 4)]));
    check(&[], &edited(&[(2, 1)]));
    check(&[], &edited(&[(1, 1), (0, 1)]));
    check(&[], &edited(&[(0, 0), (1, 0)]));
    // Items would have to be asked, and would not.
    check(&[], &edited(&[(0, 5)]));
    check(&[], &edit_begun(&[(0, 3)]));
    check(&[], &edit_begun(&[(0, 1_000_000_001)]));
    check(&[], &edit_refused());
    check(&[edit_begun(&[(0, 5)])], &edited(&[(0, 6)]));
    check(&[], &edit_begun(&[(0, 7)]));
    check(&[], &shipped(0, 1));
    check(&[], &OrderEvent::Cancelled);
    check(&[], &OrderEvent::Released);
    check(&[edit_refused()], &edited(&[(0, 1)]));
    check(&[OrderEvent::Released, shipped(0, 2)], &edited(&[(0, 1)]));
    check(&[OrderEvent::Consumed], &edited(&[(0, 1)]));
}

/// What it costs more its provider authorises before it is so, and nothing but that, or that it is late, refuses it then.
#[test]
fn an_edit_by_a_provider_ends_as_that_has_answered_and_not_otherwise() {
    let mut order = Order::create(OrderId(9), &placed_with(350, Some("mint")), Time(1)).unwrap();
    let mut check = |before: &[OrderEvent], wrong: &[OrderEvent]| {
        for event in before {
            order.evolve(event, Time(2)).unwrap();
        }
        for event in wrong {
            let was = order.clone();
            assert!(order.evolve(event, Time(2)).is_err(), "{event:?}");
            assert_eq!(order, was);
        }
        order.clone()
    };
    let (reserved, expired) = (OrderEvent::EditReserved, refused(Rejection::PaymentExpired));
    let declined = refused(Rejection::PaymentDeclined {
        reason: "no funds".into(),
    });
    let begin = &lives_by_provider()[0][..2];
    check(
        begin,
        &[
            reserved.clone(),
            edited(&[(0, 5)]),
            declined.clone(),
            expired.clone(),
        ],
    );
    check(
        &[edit_begun(&[(0, 5)])],
        &[edited(&[(0, 5)]), expired.clone(), answered(2, true)],
    );
    let waiting = check(
        std::slice::from_ref(&reserved),
        &[
            reserved.clone(),
            edited(&[(0, 5)]),
            edit_refused(),
            declined.clone(),
            edit_begun(&[(0, 6)]),
            shipped(0, 1),
            OrderEvent::Cancelled,
            answered(1, true),
            retried(2),
        ],
    );
    check(
        &[answered(2, true)],
        &[
            declined.clone(),
            expired.clone(),
            edit_refused(),
            answered(2, false),
            edited(&[(0, 6)]),
        ],
    );
    check(
        &[edited(&[(0, 5)])],
        &[answered(2, true), expired.clone(), reserved],
    );
    for (end, wrong) in [
        (vec![expired], answered(2, true)),
        (vec![answered(2, false), declined], edited(&[(0, 5)])),
    ] {
        let mut order = waiting.clone();
        for event in end {
            order.evolve(&event, Time(3)).unwrap();
        }
        order.validate().unwrap();
        assert!(order.evolve(&wrong, Time(3)).is_err(), "{wrong:?}");
    }
}
