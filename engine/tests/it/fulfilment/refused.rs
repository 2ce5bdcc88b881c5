//! Events that nobody could have decided are refused, and leave the order as it was.

use docket_engine::{
    Amount, FULFILMENTS_MAX, HoldReason, LineQuantity, Order, OrderEvent, RETURNS_MAX, Rejection, ReturnStep,
    Time,
};

use super::table::QUIET;
use crate::stage::{Stage, cancel, carry, some, user};

fn shipped(lines: Box<[LineQuantity]>) -> OrderEvent {
    OrderEvent::Shipped {
        lines,
        carrier: "Ape".into(),
        tracking: "".into(),
        by: user("shop"),
    }
}

fn lines_cancelled(lines: Box<[LineQuantity]>) -> OrderEvent {
    OrderEvent::LinesCancelled { lines, by: None }
}

fn delivered(fulfilment: u32) -> OrderEvent {
    let by = user("shop");
    OrderEvent::Delivered { fulfilment, by }
}

fn requested(lines: Box<[LineQuantity]>) -> OrderEvent {
    OrderEvent::ReturnRequested {
        lines,
        note: "".into(),
        by: user("ada"),
    }
}

fn moved(number: u32, step: ReturnStep) -> OrderEvent {
    let by = user("shop");
    OrderEvent::ReturnMoved { number, step, by }
}

fn refunded(amount: i64) -> OrderEvent {
    OrderEvent::Refunded {
        amount: Amount(amount),
        note: "".into(),
        by: user("shop"),
    }
}

fn is_refused(order: &Order, event: &OrderEvent) -> bool {
    let mut after = order.clone();
    let refused = after.evolve(event, Time(9)).is_err();
    match refused {
        true => assert_eq!(after, *order, "{event:?} is refused and changes something"),
        false => after.validate().unwrap(),
    }
    refused
}

/// Of these stages an event is taken, of all others it is refused.
#[track_caller]
fn check(event: &OrderEvent, taken: &[Stage]) {
    for stage in Stage::ON_ACCOUNT {
        if let Some(order) = stage.order() {
            assert_eq!(
                is_refused(&order, event),
                !taken.contains(&stage),
                "{event:?} of {stage:?}"
            );
        }
    }
}

#[test]
fn each_event_is_taken_only_where_it_could_have_been_decided() {
    use Stage::{
        AllReturned, CancelledReleasing, Confirmed, ConfirmedHeld, ConfirmedPlanned, ConfirmedReleasing,
        ConfirmedUnplanned, EditRefused, Editing, Fulfilled, FulfilledConsuming, Partly, PartlyConsuming,
        PartlyHeld, PartlyPlanned, PartlyRefunded, PartlyReleasing, PartlyRestocking, PartlyReturn, Pending,
        Refunded, RefundedPartly, RejectedReleasing, ReturnApproved, ReturnClosed, ReturnDeclined,
        ReturnReceived, ReturnRequested, ReturnRestocking,
    };
    let shipped_of = shipped_stages();
    // Not while it is held, nor while its items still do what was asked of them before.
    check(
        &shipped(some(&[(0, 1)])),
        &[
            Confirmed,
            ConfirmedPlanned,
            ConfirmedUnplanned,
            Partly,
            PartlyPlanned,
            PartlyReturn,
            PartlyRefunded,
        ],
    );
    check(&lines_cancelled(some(&[(0, 1)])), QUIET);
    // Not while somebody is to send some of it.
    check(
        &OrderEvent::Cancelled,
        &[Confirmed, ConfirmedHeld, ConfirmedUnplanned],
    );
    check(&OrderEvent::Confirmed, &[Pending]);
    // The first shipment has arrived, the second has not, and there is no third but where all was shipped.
    check(&delivered(2), &shipped_of);
    check(&delivered(1), &[]);
    check(
        &delivered(3),
        &[
            Fulfilled,
            FulfilledConsuming,
            ReturnRequested,
            ReturnApproved,
            ReturnRestocking,
            ReturnReceived,
            ReturnClosed,
            ReturnDeclined,
            AllReturned,
            RefundedPartly,
            Refunded,
        ],
    );
    check(&delivered(0), &[]);
    check(&delivered(u32::MAX), &[]);
    check(&OrderEvent::Consumed, &[PartlyConsuming, FulfilledConsuming]);
    check(
        &OrderEvent::Released,
        &[
            ConfirmedReleasing,
            EditRefused,
            PartlyReleasing,
            Stage::FulfilledReleasing,
            CancelledReleasing,
            RejectedReleasing,
        ],
    );
    let edited = OrderEvent::Edited {
        lines: some(&[(0, 2)]),
        by: user("ada"),
    };
    let editable = [
        Confirmed,
        ConfirmedHeld,
        ConfirmedPlanned,
        ConfirmedUnplanned,
        Partly,
        PartlyHeld,
        PartlyPlanned,
        PartlyReturn,
        PartlyRefunded,
    ];
    check(&edited, &editable);
    let begun = OrderEvent::EditBegun {
        lines: some(&[(0, 4)]),
        by: user("ada"),
    };
    check(&begun, &editable);
    let opened = OrderEvent::FulfilmentOpened {
        lines: some(&[(0, 1)]),
        by: user("depot"),
    };
    check(&opened, &editable);
    for (number, taken) in [
        (0, None),
        (1, Some(ConfirmedPlanned)),
        (2, None),
        (3, Some(PartlyPlanned)),
        (u32::MAX, None),
    ] {
        let sent = OrderEvent::FulfilmentShipped {
            fulfilment: number,
            carrier: "".into(),
            tracking: "".into(),
            by: user("depot"),
        };
        check(&sent, taken.as_slice());
        let given_up = OrderEvent::FulfilmentCancelled {
            fulfilment: number,
            by: user("depot"),
        };
        check(&given_up, taken.as_slice());
    }
    let refused = OrderEvent::EditRefused {
        rejection: Box::new(Rejection::StaleEtag),
    };
    check(&refused, &[Editing]);
    let held = OrderEvent::Held {
        reason: HoldReason::Stock,
        note: "".into(),
        by: user("shop"),
    };
    check(
        &held,
        &[
            Confirmed,
            ConfirmedHeld,
            ConfirmedReleasing,
            ConfirmedPlanned,
            ConfirmedUnplanned,
            Editing,
            EditRefused,
            Partly,
            PartlyHeld,
            PartlyPlanned,
            PartlyConsuming,
            PartlyReleasing,
            PartlyReturn,
            PartlyRestocking,
            PartlyRefunded,
        ],
    );
}

/// Of which something was shipped: a nut and a bolt at least.
fn shipped_stages() -> Vec<Stage> {
    let is_shipped = |stage: &Stage| stage.order().is_some_and(|it| it.captured() > Amount(0));
    Stage::ON_ACCOUNT.into_iter().filter(is_shipped).collect()
}

#[test]
fn what_comes_back_is_taken_only_where_it_could_have_been_decided() {
    use Stage::{
        AllReturned, Fulfilled, Partly, PartlyHeld, PartlyPlanned, PartlyRefunded, PartlyRestocking,
        PartlyReturn, RefundedPartly, ReturnApproved, ReturnClosed, ReturnDeclined, ReturnReceived,
        ReturnRequested, ReturnRestocking,
    };
    let shipped = shipped_stages();
    assert_eq!(shipped.len(), 20);
    let but = |but: &[Stage]| -> Vec<Stage> {
        let left = shipped.iter().copied().filter(|stage| !but.contains(stage));
        left.collect()
    };
    let no_nut = [PartlyReturn, PartlyRestocking, AllReturned];
    check(&requested(some(&[(0, 1)])), &but(&no_nut));
    // A bolt was shipped too.
    check(&requested(some(&[(1, 1)])), &but(&[AllReturned]));

    let requested_of = [PartlyReturn, ReturnRequested, AllReturned];
    let decline = ReturnStep::Decline { note: "".into() };
    check(&moved(1, ReturnStep::Approve), &requested_of);
    check(&moved(1, decline.clone()), &requested_of);
    // Nothing is under way there.
    for restock in [false, true] {
        check(&moved(1, ReturnStep::Receive { restock }), &[ReturnApproved]);
    }
    check(
        &moved(1, ReturnStep::Close),
        &[ReturnApproved, PartlyRestocking, ReturnRestocking, ReturnReceived],
    );
    for missing in [0, 2, u32::MAX] {
        check(&moved(missing, ReturnStep::Approve), &[]);
        check(&moved(missing, decline.clone()), &[]);
        check(&moved(missing, ReturnStep::Close), &[]);
    }
    check(&OrderEvent::Restocked, &[PartlyRestocking, ReturnRestocking]);

    let captured = [
        Fulfilled,
        ReturnRequested,
        ReturnApproved,
        ReturnReceived,
        ReturnClosed,
        ReturnDeclined,
        AllReturned,
    ];
    let seven = [Partly, PartlyHeld, PartlyPlanned, PartlyReturn];
    check(&refunded(18), &captured);
    check(&refunded(17), &[&captured[..], &[RefundedPartly]].concat());
    check(&refunded(7), &[&captured[..], &[RefundedPartly], &seven].concat());
    for never in [0, -1, i64::MIN, 19, i64::MAX] {
        check(&refunded(never), &[]);
    }
    let is_all_refunded = |stage: Stage| {
        let order = stage.order().unwrap();
        is_refused(&order, &refunded(1))
    };
    assert!(is_all_refunded(PartlyRefunded) && is_all_refunded(Stage::Refunded));
}

#[test]
fn stock_is_not_put_back_while_something_is_under_way() {
    let mut order = Stage::FulfilledConsuming.order().unwrap();
    order.evolve(&requested(some(&[(0, 1)])), Time(9)).unwrap();
    order.evolve(&moved(1, ReturnStep::Approve), Time(9)).unwrap();
    assert!(is_refused(
        &order,
        &moved(1, ReturnStep::Receive { restock: true })
    ));
    assert!(!is_refused(
        &order,
        &moved(1, ReturnStep::Receive { restock: false })
    ));
    order.evolve(&OrderEvent::Consumed, Time(9)).unwrap();
    assert!(!is_refused(
        &order,
        &moved(1, ReturnStep::Receive { restock: true })
    ));
}

#[test]
fn lines_that_cannot_come_back_are_refused() {
    // Shipped are three, two and one.
    let order = Stage::Fulfilled.order().unwrap();
    for (lines, is_taken) in [
        (&[][..], false),
        (&[(0, 0)], false),
        (&[(0, -1)], false),
        (&[(0, 3)], true),
        (&[(0, 4)], false),
        (&[(0, i64::MAX)], false),
        (&[(0, 3), (1, 2), (2, 1)], true),
        // Not in their order, or a line twice.
        (&[(2, 1), (0, 1)], false),
        (&[(0, 1), (0, 1)], false),
        (&[(0, 1), (1, 3)], false),
        (&[(0, 1), (3, 1)], false),
        (&[(u16::MAX, 1)], false),
    ] {
        assert_eq!(
            is_refused(&order, &requested(some(lines))),
            !is_taken,
            "{lines:?}"
        );
    }
}

#[test]
fn one_return_or_refund_more_than_there_may_be_is_refused() {
    let mut order = many();
    order.evolve(&shipped(some(&[(0, 1_000)])), Time(9)).unwrap();
    order.evolve(&OrderEvent::Consumed, Time(9)).unwrap();
    for _ in 0..RETURNS_MAX {
        order.evolve(&requested(some(&[(0, 1)])), Time(9)).unwrap();
    }
    assert!(is_refused(&order, &requested(some(&[(0, 1)]))));
    for _ in 0..RETURNS_MAX {
        order.evolve(&refunded(1), Time(9)).unwrap();
    }
    assert!(is_refused(&order, &refunded(1)));
}

#[test]
fn lines_that_cannot_be_meant_are_refused() {
    // Open are three, two and one; and, where it was shipped from, two, one and one.
    for (lines, of_confirmed, of_partly) in [
        (&[][..], false, false),
        (&[(0, 0)], false, false),
        (&[(0, -1)], false, false),
        (&[(0, i64::MIN)], false, false),
        (&[(0, 2)], true, true),
        (&[(0, 3)], true, false),
        (&[(0, 4)], false, false),
        (&[(0, i64::MAX)], false, false),
        (&[(0, 1), (1, 1), (2, 1)], true, true),
        (&[(0, 1), (2, 1)], true, true),
        // Not in their order, or a line twice.
        (&[(2, 1), (0, 1)], false, false),
        (&[(0, 1), (0, 1)], false, false),
        // One of them is too many, or not there.
        (&[(0, 1), (1, 3)], false, false),
        (&[(0, 1), (1, 0)], false, false),
        (&[(0, 1), (3, 1)], false, false),
        (&[(3, 1)], false, false),
        (&[(u16::MAX, 1)], false, false),
    ] {
        for (stage, is_taken) in [(Stage::Confirmed, of_confirmed), (Stage::Partly, of_partly)] {
            let order = stage.order().unwrap();
            for event in [shipped(some(lines)), lines_cancelled(some(lines))] {
                assert_eq!(is_refused(&order, &event), !is_taken, "{event:?} of {stage:?}");
            }
        }
    }
}

#[test]
fn what_is_called_off_altogether_before_anything_was_shipped_is_told_by_an_event_of_its_own() {
    let all = lines_cancelled(some(&[(0, 3), (1, 2), (2, 1)]));
    assert!(is_refused(&Stage::Confirmed.order().unwrap(), &all));
    // Also where some of it was called off before.
    let mut order = Stage::ConfirmedReleasing.order().unwrap();
    order.evolve(&OrderEvent::Released, Time(9)).unwrap();
    let rest = lines_cancelled(some(&[(0, 2), (1, 2), (2, 1)]));
    assert!(is_refused(&order, &rest));
    assert!(!is_refused(&order, &OrderEvent::Cancelled));
    // Where something was shipped, it is the other way round.
    let rest = lines_cancelled(some(&[(0, 2), (1, 1), (2, 1)]));
    assert!(!is_refused(&Stage::Partly.order().unwrap(), &rest));
}

#[test]
fn one_shipment_more_than_there_may_be_is_refused_unless_it_is_of_all_that_is_left() {
    let mut order = many();
    for _ in 0..FULFILMENTS_MAX {
        order.evolve(&shipped(some(&[(0, 1)])), Time(9)).unwrap();
        order.evolve(&OrderEvent::Consumed, Time(9)).unwrap();
    }
    assert!(is_refused(&order, &shipped(some(&[(0, 1)]))));
    assert!(!is_refused(&order, &lines_cancelled(some(&[(0, 1)]))));
    let left = 1_000 - FULFILMENTS_MAX as i64;
    assert!(is_refused(&order, &shipped(some(&[(0, left - 1)]))));
    assert!(!is_refused(&order, &shipped(some(&[(0, left)]))));
}

#[test]
fn one_cancellation_more_than_there_may_be_is_refused_unless_it_is_of_all_that_is_left() {
    for ships in [false, true] {
        let mut order = many();
        if ships {
            order.evolve(&shipped(some(&[(0, 1)])), Time(9)).unwrap();
            order.evolve(&OrderEvent::Consumed, Time(9)).unwrap();
        }
        for _ in 0..FULFILMENTS_MAX {
            order.evolve(&lines_cancelled(some(&[(0, 1)])), Time(9)).unwrap();
            order.evolve(&OrderEvent::Released, Time(9)).unwrap();
        }
        assert!(is_refused(&order, &lines_cancelled(some(&[(0, 1)]))));
        let mut order = Some(order);
        carry(&mut order, &cancel(&[]));
    }
}

/// More than can be sent or called off piece by piece.
fn many() -> Order {
    super::bounds::confirmed(vec![crate::stage::line("nut", 1_000, 1)])
}
