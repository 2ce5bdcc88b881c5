//! Every stage × every command about what comes back. Return 1, where there is one, is of a nut of the first line.

use super::table::{CANCELLED, NOTHING, REJECTED, UNSHIPPED, all_but, check};
use crate::stage::{
    Ask,
    Stage::{
        self, AllReturned, Confirmed, ConfirmedHeld, ConfirmedPlanned, ConfirmedReleasing,
        ConfirmedUnplanned, EditRefused, Editing, Fulfilled, FulfilledConsuming, FulfilledReleasing, NoOrder,
        Partly, PartlyConsuming, PartlyHeld, PartlyPlanned, PartlyRefunded, PartlyReleasing,
        PartlyRestocking, PartlyReturn, Pending, Refunded, RefundedPartly, ReturnApproved, ReturnClosed,
        ReturnDeclined, ReturnReceived, ReturnRequested, ReturnRestocking,
    },
};

const REQUESTED: &[Stage] = &[PartlyReturn, ReturnRequested, AllReturned];
const RECEIVED: &[Stage] = &[PartlyRestocking, ReturnRestocking, ReturnReceived];
const WITH_A_RETURN: &[Stage] = &[
    PartlyReturn,
    PartlyRestocking,
    ReturnRequested,
    ReturnApproved,
    ReturnRestocking,
    ReturnReceived,
    ReturnClosed,
    ReturnDeclined,
    AllReturned,
];

/// An order that is there, and of which no return was ever requested.
fn without_a_return() -> Vec<Stage> {
    all_but(&[&[NoOrder], WITH_A_RETURN].concat())
}

#[test]
fn what_was_shipped_and_is_in_no_return_can_come_back() {
    let unshipped = [
        Confirmed,
        ConfirmedHeld,
        ConfirmedReleasing,
        ConfirmedPlanned,
        ConfirmedUnplanned,
        Editing,
        EditRefused,
    ];
    // A nut was shipped with the first of two shipments, and that is in a return already.
    let no_nut = [PartlyReturn, PartlyRestocking];
    let there = all_but(&[&[NoOrder], UNSHIPPED, &no_nut, &[AllReturned]].concat());
    let check = |command, of_no_nut| {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (&[Pending], "OrderPending"),
                (&unshipped, "NotReturnable { state: Confirmed }"),
                (CANCELLED, "NotReturnable { state: Cancelled }"),
                (REJECTED, "NotReturnable { state: Rejected }"),
                // Whatever is under way: nothing is asked of others.
                (&there, "RETURN_REQUESTED"),
                (&no_nut, of_no_nut),
                (&[AllReturned], "NotReturnable { state: Fulfilled }"),
            ],
        );
    };
    check(Ask::RequestReturnAll, "RETURN_REQUESTED");
    check(
        Ask::RequestReturnSome,
        "QuantityNotReturnable { line: 0, wanted: Quantity(1), returnable: Quantity(0) }",
    );
}

#[test]
fn a_return_is_approved_or_declined_once() {
    let without = without_a_return();
    let check = |command, event, of_approved, of_declined| {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (&without, "ReturnNotFound { number: 1 }"),
                (REQUESTED, event),
                (&[ReturnApproved], of_approved),
                (&[ReturnDeclined], of_declined),
                (RECEIVED, "ReturnNotOpen { number: 1, state: Received }"),
                (&[ReturnClosed], "ReturnNotOpen { number: 1, state: Closed }"),
            ],
        );
    };
    check(
        Ask::ReturnApprove,
        "RETURN_APPROVED",
        NOTHING,
        "ReturnNotOpen { number: 1, state: Declined }",
    );
    check(
        Ask::ReturnDecline,
        "RETURN_DECLINED",
        "ReturnNotOpen { number: 1, state: Approved }",
        NOTHING,
    );
}

#[test]
fn a_return_that_was_approved_arrives_once() {
    let without = without_a_return();
    for (command, event) in [
        (Ask::ReturnReceive, "RETURN_RECEIVED"),
        (Ask::ReturnRestock, "RETURN_RECEIVED; restock 1 nut of return 1"),
    ] {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                (&without, "ReturnNotFound { number: 1 }"),
                (REQUESTED, "ReturnNotOpen { number: 1, state: Requested }"),
                (&[ReturnApproved], event),
                (&[ReturnDeclined], "ReturnNotOpen { number: 1, state: Declined }"),
                // Also where it went back on the stock, and is now said not to: what was said first stays.
                (RECEIVED, NOTHING),
                (&[ReturnClosed], "ReturnNotOpen { number: 1, state: Closed }"),
            ],
        );
    }
}

#[test]
fn a_return_that_was_approved_is_closed_whether_it_arrived_or_not() {
    check(
        Ask::ReturnClose,
        &[
            (&[NoOrder], NOTHING),
            (&without_a_return(), "ReturnNotFound { number: 1 }"),
            (REQUESTED, "ReturnNotOpen { number: 1, state: Requested }"),
            (&[&[ReturnApproved], RECEIVED].concat(), "RETURN_CLOSED"),
            (&[ReturnDeclined], "ReturnNotOpen { number: 1, state: Declined }"),
            (&[ReturnClosed], NOTHING),
        ],
    );
}

#[test]
fn nothing_becomes_of_a_return_that_is_not_there() {
    check(
        Ask::ReturnMissing,
        &[
            (&[NoOrder], NOTHING),
            (&all_but(&[NoOrder]), "ReturnNotFound { number: 9 }"),
        ],
    );
}

#[test]
fn that_everything_is_back_on_the_stock_is_heard_once() {
    let restocking = [PartlyRestocking, ReturnRestocking];
    check(
        Ask::Restocked,
        &[(&restocking, "RESTOCKED"), (&all_but(&restocking), NOTHING)],
    );
}

/// Of all others but these, as nothing is under way, all 18 were captured and nothing was given back.
const CAPTURED: &[Stage] = &[
    Fulfilled,
    ReturnRequested,
    ReturnApproved,
    ReturnReceived,
    ReturnClosed,
    ReturnDeclined,
    AllReturned,
];
const CAPTURED_BUSY: &[Stage] = &[FulfilledConsuming, ReturnRestocking];
/// Of these, seven.
const SEVEN: &[Stage] = &[Partly, PartlyHeld, PartlyPlanned, PartlyReturn];
const SEVEN_BUSY: &[Stage] = &[
    PartlyConsuming,
    PartlyReleasing,
    PartlyRestocking,
    FulfilledReleasing,
];
const ALL_REFUNDED: &[Stage] = &[PartlyRefunded, Refunded];

#[test]
fn what_was_captured_is_given_back_when_nothing_is_under_way() {
    let busy = [CAPTURED_BUSY, SEVEN_BUSY].concat();
    let nothing_left = [UNSHIPPED, ALL_REFUNDED].concat();
    let check = |command, of_captured, of_seven, of_refunded_partly| {
        check(
            command,
            &[
                (&[NoOrder], NOTHING),
                // That nothing was captured is told before that something is under way.
                (
                    &nothing_left,
                    "RefundTooLarge { wanted: Amount(1), refundable: Amount(0) }",
                ),
                (CAPTURED, of_captured),
                (SEVEN, of_seven),
                (&busy, "OrderPending"),
                (&[RefundedPartly], of_refunded_partly),
            ],
        );
    };
    let one = "REFUNDED; refund 1 to ada";
    check(Ask::RefundSome, one, one, one);
    check(
        Ask::RefundAll,
        "REFUNDED; refund 18 to ada",
        "REFUNDED; refund 7 to ada",
        "REFUNDED; refund 17 to ada",
    );
}

#[test]
fn no_more_is_given_back_than_was_captured() {
    check(
        Ask::RefundTooMuch,
        &[
            (&[NoOrder], NOTHING),
            (
                &[UNSHIPPED, ALL_REFUNDED].concat(),
                "RefundTooLarge { wanted: Amount(1), refundable: Amount(0) }",
            ),
            (
                &[CAPTURED, CAPTURED_BUSY].concat(),
                "RefundTooLarge { wanted: Amount(19), refundable: Amount(18) }",
            ),
            (
                &[SEVEN, SEVEN_BUSY].concat(),
                "RefundTooLarge { wanted: Amount(8), refundable: Amount(7) }",
            ),
            (
                &[RefundedPartly],
                "RefundTooLarge { wanted: Amount(18), refundable: Amount(17) }",
            ),
        ],
    );
}
