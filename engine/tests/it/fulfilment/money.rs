//! What is captured and given back is what was held, to the last cent.

use docket_engine::{Amount, Effect, Line, Order, OrderState, PaymentState, Quantity, Rejection};
use proptest::{collection::vec, prelude::*};

use super::bounds::confirmed;
use crate::stage::{Ask, Outcome, Stage, cancel, carry, line, refund, request_return, ship};

/// Some of every line, in so many parts of a thousand; at least one piece of what is open on the first line that has any.
fn piece(order: &Order, parts: &[u16]) -> Vec<(u16, i64)> {
    let open = order.open_quantities();
    let part = |open: Quantity, parts: u16| {
        let part = i128::from(open.0) * i128::from(parts) / 1_000;
        i64::try_from(part).unwrap()
    };
    let lines = (0..).zip(open.iter().zip(parts.iter().cycle()));
    let some: Vec<(u16, i64)> = lines
        .map(|(line, (open, parts))| (line, part(*open, *parts)))
        .filter(|(_, many)| *many > 0)
        .collect();
    if !some.is_empty() {
        return some;
    }
    let first = (0..).zip(&open).find(|(_, open)| open.0 > 0);
    vec![(first.unwrap().0, 1)]
}

fn captured(outcome: &Outcome) -> i128 {
    match outcome.effects.first() {
        Some(Effect::CaptureCredit { amount, .. }) => i128::from(amount.0),
        other => panic!("a shipment is paid for, not {other:?}"),
    }
}

fn given_back(outcome: &Outcome) -> i128 {
    match outcome.effects.first() {
        Some(Effect::ReleaseCredit { amount, .. }) => i128::from(amount.0),
        other => panic!("what is called off is given back, not {other:?}"),
    }
}

fn paid_back(outcome: &Outcome) -> i128 {
    match &outcome.effects[..] {
        [Effect::RefundCredit { amount, .. }] => i128::from(amount.0),
        other => panic!("what is refunded is paid back, not {other:?}"),
    }
}

fn some_lines() -> impl Strategy<Value = Vec<Line>> {
    let quantity = prop_oneof![6 => 1..20i64, 1 => Just(1_000_000_000)];
    let price = prop_oneof![6 => 0..1_000i64, 1 => Just(1_000_000_007)];
    let one = (0..3usize, quantity, price);
    let one = one.prop_map(|(item, many, price)| line(["nut", "bolt", "gear"][item], many, price));
    vec(one, 1..5)
}

/// Whether a piece is shipped, or called off, and how large it is.
fn steps() -> impl Strategy<Value = Vec<(bool, Vec<u16>)>> {
    vec((any::<bool>(), vec(0..=1_000u16, 4)), 0..30)
}

proptest! {
    #[test]
    fn whatever_the_pieces_the_last_shipment_captures_exactly_the_rest(lines in some_lines(), steps in steps()) {
        let mut order = Some(confirmed(lines));
        let mut sum = 0;
        for (_, parts) in steps {
            let now = order.as_ref().unwrap();
            if now.state == OrderState::Fulfilled {
                break;
            }
            let piece = piece(now, &parts);
            sum += captured(&carry(&mut order, &ship(&piece)));
            carry(&mut order, &Ask::Consumed.command());
            let now = order.as_ref().unwrap();
            prop_assert_eq!(i128::from(now.held().0), i128::from(now.total.0) - sum);
        }
        if order.as_ref().unwrap().state != OrderState::Fulfilled {
            sum += captured(&carry(&mut order, &ship(&[])));
        }
        let order = order.unwrap();
        prop_assert_eq!(order.state, OrderState::Fulfilled);
        prop_assert_eq!(sum, i128::from(order.total.0));
        prop_assert_eq!((order.captured(), order.held()), (order.total, Amount(0)));
    }

    #[test]
    fn what_is_held_captured_and_given_back_is_always_the_total(lines in some_lines(), steps in steps()) {
        let mut order = Some(confirmed(lines));
        let (mut taken, mut returned) = (0, 0);
        for (is_sent, parts) in steps {
            let now = order.as_ref().unwrap();
            if now.open_quantities().iter().all(|open| open.0 == 0) {
                break;
            }
            let piece = piece(now, &parts);
            if is_sent {
                taken += captured(&carry(&mut order, &ship(&piece)));
                carry(&mut order, &Ask::Consumed.command());
            } else {
                returned += given_back(&carry(&mut order, &cancel(&piece)));
                carry(&mut order, &Ask::Released.command());
            }
            let now = order.as_ref().unwrap();
            let payment = now.payment();
            prop_assert_eq!(i128::from(payment.captured.0), taken);
            prop_assert_eq!(i128::from(payment.voided.0), returned);
            prop_assert_eq!(payment.authorized, now.total);
            prop_assert_eq!(payment.outstanding(), now.held());
            prop_assert_eq!(i128::from(now.held().0) + taken + returned, i128::from(now.total.0));
        }
    }

    #[test]
    fn no_more_is_paid_back_than_was_captured_and_the_payment_says_how_much(
        lines in some_lines(),
        steps in vec((0..4u8, vec(0..=1_000u16, 4)), 0..40),
    ) {
        let mut order = Some(confirmed(lines));
        let (mut taken, mut returned, mut back) = (0, 0, 0);
        for (what, parts) in steps {
            let now = order.as_ref().unwrap();
            let is_open = now.open_quantities().iter().any(|open| open.0 > 0);
            match what {
                0 | 1 if is_open => {
                    let piece = piece(now, &parts);
                    let is_sent = what == 0;
                    if is_sent {
                        taken += captured(&carry(&mut order, &ship(&piece)));
                        carry(&mut order, &Ask::Consumed.command());
                    } else {
                        returned += given_back(&carry(&mut order, &cancel(&piece)));
                        carry(&mut order, &Ask::Released.command());
                    }
                }
                _ if taken > back => {
                    let part = (taken - back) * i128::from(parts[0]) / 1_000;
                    let part = i64::try_from(part.max(1)).unwrap();
                    back += paid_back(&carry(&mut order, &refund(part)));
                }
                _ => {}
            }
            let now = order.as_ref().unwrap();
            let payment = now.payment();
            let amounts = [payment.captured, payment.voided, payment.refunded, now.held()];
            let held = i128::from(now.total.0) - taken - returned;
            prop_assert_eq!(amounts.map(|it| i128::from(it.0)), [taken, returned, back, held]);
            prop_assert_eq!(i128::from(now.refundable().0), taken - back);
            prop_assert!(back <= taken);
            let state = match (back > 0, back == taken && held == 0) {
                (true, true) => Some(PaymentState::Refunded),
                (true, false) => Some(PaymentState::PartiallyRefunded),
                (false, _) => None,
            };
            let of_refunds = [PaymentState::Refunded, PaymentState::PartiallyRefunded];
            prop_assert_eq!(of_refunds.contains(&payment.state).then_some(payment.state), state);
        }
    }
}

#[test]
fn each_stage_says_where_its_money_stands() {
    use PaymentState::{
        Authorized, Captured, Failed, PartiallyCaptured, PartiallyRefunded, Refunded, Voided,
    };
    // Of 18, seven are captured with the first two shipments, two are given back for a nut.
    for (stage, state, [captured, voided, held]) in [
        (Stage::Pending, Authorized, [0, 0, 18]),
        (Stage::Confirmed, Authorized, [0, 0, 18]),
        (Stage::ConfirmedHeld, Authorized, [0, 0, 18]),
        (Stage::ConfirmedReleasing, Authorized, [0, 2, 16]),
        (Stage::Editing, Authorized, [0, 0, 20]),
        (Stage::EditRefused, Authorized, [0, 0, 18]),
        (Stage::Partly, PartiallyCaptured, [7, 0, 11]),
        (Stage::PartlyHeld, PartiallyCaptured, [7, 0, 11]),
        (Stage::PartlyConsuming, PartiallyCaptured, [7, 0, 11]),
        (Stage::PartlyReleasing, PartiallyCaptured, [7, 2, 9]),
        (Stage::PartlyReturn, PartiallyCaptured, [7, 0, 11]),
        (Stage::PartlyRestocking, PartiallyCaptured, [7, 0, 11]),
        // All that was captured, but some is still held.
        (Stage::PartlyRefunded, PartiallyRefunded, [7, 0, 11]),
        (Stage::Fulfilled, Captured, [18, 0, 0]),
        // What comes back is paid back only where somebody says so.
        (Stage::ReturnRequested, Captured, [18, 0, 0]),
        (Stage::ReturnApproved, Captured, [18, 0, 0]),
        (Stage::ReturnRestocking, Captured, [18, 0, 0]),
        (Stage::ReturnReceived, Captured, [18, 0, 0]),
        (Stage::ReturnClosed, Captured, [18, 0, 0]),
        (Stage::ReturnDeclined, Captured, [18, 0, 0]),
        (Stage::AllReturned, Captured, [18, 0, 0]),
        (Stage::RefundedPartly, PartiallyRefunded, [18, 0, 0]),
        (Stage::Refunded, Refunded, [18, 0, 0]),
        (Stage::FulfilledConsuming, Captured, [18, 0, 0]),
        (Stage::FulfilledReleasing, Captured, [7, 11, 0]),
        (Stage::CancelledReleasing, Voided, [0, 18, 0]),
        (Stage::Cancelled, Voided, [0, 18, 0]),
        (Stage::RejectedReleasing, Voided, [0, 18, 0]),
        (Stage::Rejected, Voided, [0, 18, 0]),
        (Stage::RejectedUnpaid, Failed, [0, 0, 0]),
    ] {
        let order = stage.order().unwrap();
        let payment = order.payment();
        assert_eq!(payment.state, state, "{stage:?}");
        let refunded = match stage {
            Stage::PartlyRefunded => 7,
            Stage::RefundedPartly => 1,
            Stage::Refunded => 18,
            _ => 0,
        };
        assert_eq!(payment.refunded, Amount(refunded), "{stage:?}");
        assert_eq!(order.refundable(), Amount(captured - refunded), "{stage:?}");
        let amounts = [payment.captured, payment.voided, payment.outstanding()];
        assert_eq!(amounts, [captured, voided, held].map(Amount), "{stage:?}");
        assert_eq!(order.held(), Amount(held), "{stage:?}");
        assert_eq!(payment.authorized.0, captured + voided + held, "{stage:?}");
    }
}

#[test]
fn what_costs_nothing_is_captured_when_it_is_sent() {
    let mut order = Some(confirmed(vec![line("nut", 2, 0)]));
    let state = |order: &Option<Order>| order.as_ref().unwrap().payment().state;
    assert_eq!(state(&order), PaymentState::Authorized);
    assert_eq!(captured(&carry(&mut order, &ship(&[(0, 1)]))), 0);
    assert_eq!(state(&order), PaymentState::Authorized);
    carry(&mut order, &Ask::Consumed.command());
    let mut cancelled = order.clone();
    carry(&mut order, &ship(&[]));
    assert_eq!(state(&order), PaymentState::Captured);
    assert_eq!(given_back(&carry(&mut cancelled, &cancel(&[]))), 0);
    assert_eq!(state(&cancelled), PaymentState::Captured);

    let mut order = Some(confirmed(vec![line("nut", 2, 0)]));
    carry(&mut order, &cancel(&[]));
    assert_eq!(state(&order), PaymentState::Voided);

    // All that costs something is sent: all of the money is taken, though something is left to be sent.
    let mut order = Some(confirmed(vec![line("nut", 2, 5), line("gift", 1, 0)]));
    carry(&mut order, &ship(&[(0, 2)]));
    assert_eq!(order.as_ref().unwrap().state, OrderState::PartiallyFulfilled);
    assert_eq!(state(&order), PaymentState::Captured);
}

#[test]
fn where_all_that_was_captured_is_paid_back_the_rest_decides_where_the_money_stands() {
    let state = |order: &Option<Order>| order.as_ref().unwrap().payment().state;
    let mut order = Stage::PartlyRefunded.order();
    let mut cancelled = order.clone();
    // The rest is captured too: then only some is paid back.
    carry(&mut order, &ship(&[]));
    assert_eq!(state(&order), PaymentState::PartiallyRefunded);
    carry(&mut order, &Ask::Consumed.command());
    assert_eq!(paid_back(&carry(&mut order, &refund(11))), 11);
    assert_eq!(state(&order), PaymentState::Refunded);
    // The rest is called off: then all is paid back.
    carry(&mut cancelled, &cancel(&[]));
    assert_eq!(state(&cancelled), PaymentState::Refunded);
    assert_eq!(cancelled.unwrap().state, OrderState::Fulfilled);
}

#[test]
fn of_what_costs_nothing_nothing_is_paid_back() {
    let mut order = Some(confirmed(vec![line("gift", 2, 0)]));
    carry(&mut order, &ship(&[]));
    carry(&mut order, &Ask::Consumed.command());
    for amount in [0, 1] {
        let refused = crate::stage::ask(&mut order, &refund(amount)).map(|it| it.events);
        let (wanted, refundable) = (Amount(amount), Amount(0));
        assert_eq!(refused, Err(Rejection::RefundTooLarge { wanted, refundable }));
    }
    // It comes back all the same.
    carry(&mut order, &request_return(&[]));
    assert_eq!(order.unwrap().payment().state, PaymentState::Captured);
}
