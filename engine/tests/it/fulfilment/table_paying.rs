//! Every stage of an order that is paid by a provider × every command; and what is asked of payments × every stage of an order on account.

use super::table::{NOTHING, all_but, check, check_of};
use crate::stage::{
    Ask,
    Stage::{
        self, Authorizing, CalledOff, CalledOffReleasing, CalledOffVoided, CancelledVoidDeclined,
        CancelledVoidDone, CancelledVoidDoneReleasing, CancelledVoidOpen, CancelledVoidOpenReleasing,
        CancelledVoidRetried, CaptureDeclined, CaptureFreed, CaptureOpen, CaptureRetried, Captured,
        CapturesOpen, Declined, DeclinedReleasing, EditAuthorized, EditAuthorizing, EditDeclined,
        EditGivenUp, ExpiredReleasing, ExpiredVoidDeclined, ExpiredVoidDone, ExpiredVoidDoneReleasing,
        ExpiredVoidOpen, FulfilledCaptureDeclined, FulfilledCaptureOpen, FulfilledCaptured, NoOrder,
        ProviderConfirmed, ProviderConfirmedReleasing, ProviderEditing, ProviderPending, ProviderRefused,
        ProviderRejected, ProviderRejectedReleasing, RefundDeclined, RefundDone, RefundOpen, RefundRetried,
    },
    carry,
};

/// What waits for its items, or, with an edit, for its provider.
const BUSY: &[Stage] = &[
    ProviderPending,
    ProviderConfirmedReleasing,
    ProviderEditing,
    EditAuthorizing,
    EditDeclined,
    EditGivenUp,
    CapturesOpen,
];
/// Something of it was shipped, and nothing is under way.
pub(super) const PARTLY: &[Stage] = &[
    CaptureOpen,
    Captured,
    CaptureDeclined,
    CaptureRetried,
    CaptureFreed,
];
pub(super) const FULFILLED: &[Stage] = &[
    FulfilledCaptureOpen,
    FulfilledCaptureDeclined,
    FulfilledCaptured,
    RefundOpen,
    RefundDeclined,
    RefundRetried,
    RefundDone,
];
pub(super) const CANCELLED: &[Stage] = &[
    CalledOffReleasing,
    CalledOff,
    CalledOffVoided,
    CancelledVoidOpenReleasing,
    CancelledVoidOpen,
    CancelledVoidDoneReleasing,
    CancelledVoidDone,
    CancelledVoidDeclined,
    CancelledVoidRetried,
];
pub(super) const EXPIRED: &[Stage] = &[
    ExpiredReleasing,
    ExpiredVoidOpen,
    ExpiredVoidDoneReleasing,
    ExpiredVoidDone,
    ExpiredVoidDeclined,
];
pub(super) const REJECTED: &[Stage] = &[
    DeclinedReleasing,
    Declined,
    ProviderRejectedReleasing,
    ProviderRejected,
    ProviderRefused,
];
/// Its provider was never asked anything.
const UNASKED: &[Stage] = &[
    ProviderPending,
    ProviderRejectedReleasing,
    ProviderRejected,
    ProviderRefused,
];

pub(super) fn provider(command: Ask, expected: &[(&[Stage], &str)]) {
    check_of(&Stage::BY_PROVIDER, command, expected);
}

/// Of those by a provider.
pub(super) fn others(than: &[Stage]) -> Vec<Stage> {
    let stages = Stage::BY_PROVIDER.into_iter();
    stages.filter(|stage| !than.contains(stage)).collect()
}

#[test]
fn an_order_by_a_provider_is_placed_or_refused_once() {
    let there = all_but(&[NoOrder]);
    check(
        Ask::PlaceWithProvider,
        &[
            // Its customer is asked whether it is there, and for nothing.
            (
                &[NoOrder],
                "PLACED; hold 0 of ada; reserve nut 0:3@2 2:1@2; reserve bolt 1:2@5",
            ),
            (&there, NOTHING),
        ],
    );
    check(
        Ask::RefuseWithProvider,
        &[(&[NoOrder], "PLACED REJECTED"), (&there, NOTHING)],
    );
    for again in [
        Ask::Place,
        Ask::Refuse,
        Ask::PlaceWithProvider,
        Ask::RefuseWithProvider,
    ] {
        provider(again, &[(&Stage::BY_PROVIDER, NOTHING)]);
    }
}

#[test]
fn an_order_whose_stock_is_reserved_waits_for_its_authorisation() {
    let settled = others(&[ProviderPending]);
    provider(
        Ask::SettleAgreed,
        &[
            (&[ProviderPending], "RESERVED; step 1: authorize 18"),
            (&settled, NOTHING),
        ],
    );
    provider(
        Ask::SettleRefused,
        &[
            (&[ProviderPending], "REJECTED; give ada 0 back; release nut to 0"),
            (&settled, NOTHING),
        ],
    );
    provider(Ask::SettleEarly, &[(&Stage::BY_PROVIDER, NOTHING)]);
}

#[test]
fn only_an_order_that_waits_for_it_hears_of_its_authorisation() {
    // A late one, behind the end, takes nothing: the void sees to that.
    let deaf = others(&[Authorizing]);
    let expired = others(&[Authorizing, EditAuthorizing]);
    provider(
        Ask::Authorized,
        &[(&[Authorizing], "CONFIRMED"), (&deaf, NOTHING)],
    );
    provider(
        Ask::AuthorizationDeclined,
        &[
            (
                &[Authorizing],
                "REJECTED; give ada 0 back; release nut to 0; release bolt to 0",
            ),
            (&deaf, NOTHING),
        ],
    );
    provider(
        Ask::Expire,
        &[
            (
                &[Authorizing],
                "EXPIRED; give ada 0 back; release nut to 0; release bolt to 0; step 2: void 18",
            ),
            (
                &[EditAuthorizing],
                "EDIT_REFUSED; give ada 0 back; release nut to 4; step 3: void 2",
            ),
            (&expired, NOTHING),
        ],
    );
}

/// Its last step is open, and not its authorisation.
const OPEN: &[Stage] = &[
    ProviderConfirmedReleasing,
    EditGivenUp,
    CaptureRetried,
    FulfilledCaptureOpen,
    RefundOpen,
    RefundRetried,
    CalledOffReleasing,
    CalledOff,
    CancelledVoidOpenReleasing,
    CancelledVoidOpen,
    CancelledVoidRetried,
    ExpiredReleasing,
    ExpiredVoidOpen,
];
/// As that: a shipment's, of an order of which more is to be shipped.
const OPEN_CAPTURE: &[Stage] = &[CapturesOpen, CaptureOpen];

#[test]
fn what_its_provider_answers_is_heard_once() {
    let heard = others(&[&[Authorizing, EditAuthorizing], OPEN, OPEN_CAPTURE].concat());
    provider(
        Ask::LastDone,
        &[
            (&[Authorizing], "CONFIRMED"),
            (&[EditAuthorizing], "PAYMENT_DONE EDITED; give ada 0 back"),
            (&[OPEN, OPEN_CAPTURE].concat(), "PAYMENT_DONE"),
            (&heard, NOTHING),
        ],
    );
    provider(
        Ask::LastDeclined,
        &[
            (
                &[Authorizing],
                "REJECTED; give ada 0 back; release nut to 0; release bolt to 0",
            ),
            (
                &[EditAuthorizing],
                "PAYMENT_DECLINED EDIT_REFUSED; give ada 0 back; release nut to 4",
            ),
            // Nothing more is sent of it until a person has looked; where it is held for that already, or all of it was sent, that is all.
            (OPEN_CAPTURE, "PAYMENT_DECLINED HELD"),
            (OPEN, "PAYMENT_DECLINED"),
            (&heard, NOTHING),
        ],
    );
    provider(Ask::PaidMissing, &[(&Stage::BY_PROVIDER, NOTHING)]);
}

#[test]
fn what_was_declined_is_tried_again_once() {
    let asked = others(UNASKED);
    let not_found = "PaymentStepNotFound { number: 1 }";
    let not_declined = "PaymentNotDeclined { number: 1 }";
    let declined = [
        (CaptureDeclined, "PAYMENT_RETRIED; step 4: capture 5"),
        (CaptureFreed, "PAYMENT_RETRIED; step 4: capture 5"),
        (FulfilledCaptureDeclined, "PAYMENT_RETRIED; step 5: capture 11"),
        (RefundDeclined, "PAYMENT_RETRIED; step 6: refund 1"),
        (CancelledVoidDeclined, "PAYMENT_RETRIED; step 3: void 18"),
        (ExpiredVoidDeclined, "PAYMENT_RETRIED; step 3: void 18"),
        (CancelledVoidRetried, "PaymentNotDeclined { number: 2 }"),
        (CaptureRetried, "PaymentNotDeclined { number: 3 }"),
        (RefundRetried, "PaymentNotDeclined { number: 5 }"),
        // What ended its edit is not tried again.
        (EditDeclined, "PaymentNotDeclined { number: 2 }"),
    ];
    let with_declined: Vec<Stage> = declined.iter().map(|(stage, _)| *stage).collect();
    // An authorisation that was declined ended its order.
    let without = others(&[UNASKED, &with_declined].concat());
    let mut expected: Vec<(&[Stage], &str)> = vec![(UNASKED, not_found), (&without, not_declined)];
    expected.extend(
        declined
            .iter()
            .map(|(stage, outcome)| (std::slice::from_ref(stage), *outcome)),
    );
    provider(Ask::Retry, &expected);
    provider(
        Ask::RetryAuthorization,
        &[(UNASKED, not_found), (&asked, not_declined)],
    );
    provider(
        Ask::RetryMissing,
        &[(&Stage::BY_PROVIDER, "PaymentStepNotFound { number: 9 }")],
    );
}

#[test]
fn an_order_on_account_has_no_steps() {
    let there = all_but(&[NoOrder]);
    let paid = [
        Ask::Authorized,
        Ask::AuthorizationDeclined,
        Ask::LastDone,
        Ask::LastDeclined,
        Ask::PaidMissing,
        Ask::Expire,
    ];
    for command in paid {
        check(command, &[(&Stage::ON_ACCOUNT, NOTHING)]);
    }
    for (command, rejection) in [
        (Ask::Retry, "PaymentStepNotFound { number: 1 }"),
        (Ask::RetryAuthorization, "PaymentStepNotFound { number: 1 }"),
        (Ask::RetryMissing, "PaymentStepNotFound { number: 9 }"),
    ] {
        check(command, &[(&[NoOrder], NOTHING), (&there, rejection)]);
    }
}

#[test]
fn what_is_called_off_is_given_back_by_the_provider() {
    provider(
        Ask::CancelAll,
        &[
            (BUSY, "OrderPending"),
            // Its provider may never answer: it need not be waited for.
            (
                &[Authorizing, ProviderConfirmed],
                "CANCELLED; give ada 0 back; release nut to 0; release bolt to 0; step 2: void 18",
            ),
            // Of each payment by itself, the newest first.
            (
                &[EditAuthorized],
                "CANCELLED; give ada 0 back; release nut to 0; release bolt to 0; step 3: void 2; step 4: void 18",
            ),
            (
                &[CaptureOpen, Captured, CaptureDeclined, CaptureFreed],
                "LINES_CANCELLED; give ada 0 back; release nut to 0; release bolt to 0; step 4: void 11",
            ),
            (
                &[CaptureRetried],
                "LINES_CANCELLED; give ada 0 back; release nut to 0; release bolt to 0; step 5: void 11",
            ),
            (FULFILLED, "NotCancellable { state: Fulfilled }"),
            (CANCELLED, NOTHING),
            (EXPIRED, "NotCancellable { state: Expired }"),
            (REJECTED, "NotCancellable { state: Rejected }"),
        ],
    );
    provider(
        Ask::CancelSome,
        &[
            (&[BUSY, &[Authorizing]].concat(), "OrderPending"),
            (
                &[ProviderConfirmed],
                "LINES_CANCELLED; give ada 0 back; release nut to 3; step 2: void 2",
            ),
            (
                &[EditAuthorized],
                "LINES_CANCELLED; give ada 0 back; release nut to 4; step 3: void 2",
            ),
            (
                &[CaptureOpen, Captured, CaptureDeclined, CaptureFreed],
                "LINES_CANCELLED; give ada 0 back; release nut to 2; step 4: void 2",
            ),
            (
                &[CaptureRetried],
                "LINES_CANCELLED; give ada 0 back; release nut to 2; step 5: void 2",
            ),
            (FULFILLED, "NotCancellable { state: Fulfilled }"),
            (CANCELLED, "NotCancellable { state: Cancelled }"),
            (EXPIRED, "NotCancellable { state: Expired }"),
            (REJECTED, "NotCancellable { state: Rejected }"),
        ],
    );
}

#[test]
fn what_is_shipped_is_captured_by_the_provider() {
    let check = |command, of_confirmed, of_edited, of_partly| {
        provider(
            command,
            &[
                (&[BUSY, &[Authorizing]].concat(), "OrderPending"),
                (&[ProviderConfirmed], of_confirmed),
                (&[EditAuthorized], of_edited),
                // Whether its provider has taken what was shipped before, or a person has let it go on.
                (&[CaptureOpen, Captured, CaptureFreed], of_partly),
                (
                    &[CaptureDeclined, CaptureRetried],
                    "OrderHeld { reason: Payment }",
                ),
                (FULFILLED, "NotShippable { state: Fulfilled }"),
                (CANCELLED, "NotShippable { state: Cancelled }"),
                (EXPIRED, "NotShippable { state: Expired }"),
                (REJECTED, "NotShippable { state: Rejected }"),
            ],
        );
    };
    check(
        Ask::ShipAll,
        "SHIPPED; capture 0 of ada; consume nut to 0; consume bolt to 0; step 2: capture 18",
        // Of each payment by itself, the oldest first.
        "SHIPPED; capture 0 of ada; consume nut to 0; consume bolt to 0; step 3: capture 18; step 4: capture 2",
        "SHIPPED; capture 0 of ada; consume nut to 0; consume bolt to 0; step 4: capture 11",
    );
    check(
        Ask::ShipSome,
        "SHIPPED; capture 0 of ada; consume nut to 3; step 2: capture 2",
        "SHIPPED; capture 0 of ada; consume nut to 4; step 3: capture 2",
        "SHIPPED; capture 0 of ada; consume nut to 2; step 4: capture 2",
    );
}

#[test]
fn whoever_pays_what_is_open_is_planned() {
    for command in [Ask::OpenAll, Ask::OpenSome] {
        provider(
            command,
            &[
                (&[BUSY, &[Authorizing]].concat(), "OrderPending"),
                // Nothing is captured for it, also while a capture waits for a person.
                (
                    &[&[ProviderConfirmed, EditAuthorized], PARTLY].concat(),
                    "FULFILMENT_OPENED",
                ),
                (FULFILLED, "NotShippable { state: Fulfilled }"),
                (CANCELLED, "NotShippable { state: Cancelled }"),
                (EXPIRED, "NotShippable { state: Expired }"),
                (REJECTED, "NotShippable { state: Rejected }"),
            ],
        );
    }
    let shipped = [&[CapturesOpen], PARTLY, FULFILLED].concat();
    for command in [Ask::ShipPlanned, Ask::CancelPlanned] {
        provider(
            command,
            &[
                (&others(&shipped), "FulfilmentNotFound { fulfilment: 1 }"),
                (&shipped, "FulfilmentNotOpen { fulfilment: 1, state: Delivered }"),
            ],
        );
    }
    let mut order = ProviderConfirmed.order();
    carry(&mut order, &Ask::OpenSome.command());
    let outcome = carry(&mut order, &Ask::ShipPlanned.command());
    let order = order.unwrap();
    assert_eq!(outcome.events, [docket_engine::ChangeKind::Shipped]);
    let steps = order.payment_steps();
    assert_eq!(
        (steps.len(), steps[1].kind, steps[1].amount.0),
        (2, docket_engine::PaymentKind::Capture, 2)
    );
}

#[test]
fn whoever_pays_what_was_sent_arrives_once() {
    let shipped = [&[CapturesOpen], PARTLY, FULFILLED].concat();
    let unshipped = others(&shipped);
    for (command, not_found, of_shipped) in [
        (
            Ask::DeliverOnItsWay,
            "FulfilmentNotFound { fulfilment: 2 }",
            "DELIVERED",
        ),
        (
            Ask::DeliverArrived,
            "FulfilmentNotFound { fulfilment: 1 }",
            NOTHING,
        ),
    ] {
        provider(command, &[(&unshipped, not_found), (&shipped, of_shipped)]);
    }
    provider(
        Ask::DeliverMissing,
        &[(&Stage::BY_PROVIDER, "FulfilmentNotFound { fulfilment: 9 }")],
    );
}

#[test]
fn an_order_that_its_provider_has_authorised_is_held() {
    let confirmed = [
        ProviderConfirmed,
        ProviderConfirmedReleasing,
        ProviderEditing,
        EditAuthorizing,
        EditAuthorized,
        EditDeclined,
        EditGivenUp,
        CapturesOpen,
    ];
    for (command, of_confirmed) in [
        (Ask::Hold, "HELD"),
        (Ask::ReleaseHold, "HoldNotFound { reason: Address }"),
    ] {
        provider(
            command,
            &[
                (&[ProviderPending, Authorizing], "OrderPending"),
                (&[&confirmed, PARTLY].concat(), of_confirmed),
                (FULFILLED, "NotHoldable { state: Fulfilled }"),
                (CANCELLED, "NotHoldable { state: Cancelled }"),
                (EXPIRED, "NotHoldable { state: Expired }"),
                (REJECTED, "NotHoldable { state: Rejected }"),
            ],
        );
    }
}

#[test]
fn an_order_by_a_provider_is_edited_with_the_difference_authorised() {
    let check = |command, of_confirmed, of_edited, of_partly, of_retried| {
        provider(
            command,
            &[
                (&[BUSY, &[Authorizing]].concat(), "OrderPending"),
                (&[ProviderConfirmed], of_confirmed),
                (&[EditAuthorized], of_edited),
                (&[CaptureOpen, Captured, CaptureDeclined, CaptureFreed], of_partly),
                (&[CaptureRetried], of_retried),
                (FULFILLED, "NotEditable { state: Fulfilled }"),
                (CANCELLED, "NotEditable { state: Cancelled }"),
                (EXPIRED, "NotEditable { state: Expired }"),
                (REJECTED, "NotEditable { state: Rejected }"),
            ],
        );
    };
    check(
        Ask::EditLess,
        "EDITED; give ada 0 back; release nut to 3; step 2: void 2",
        "EDITED; give ada 0 back; release nut to 3; step 3: void 2; step 4: void 2",
        "EDITED; give ada 0 back; release nut to 2; step 4: void 2",
        "EDITED; give ada 0 back; release nut to 2; step 5: void 2",
    );
    let (of_confirmed, of_partly) = (
        "EDIT_BEGUN; hold 0 of ada; raise nut to 5 for line 0",
        "EDIT_BEGUN; hold 0 of ada; raise nut to 4 for line 0",
    );
    check(Ask::EditMore, of_confirmed, NOTHING, of_partly, of_partly);
    check(
        Ask::EditBoth,
        of_confirmed,
        "EDITED; give ada 0 back; release bolt to 1; step 3: void 2; step 4: void 3",
        of_partly,
        of_partly,
    );
    for (command, outcome) in [
        (Ask::RaiseAgreed, "EDIT_RESERVED; step 2: authorize 2"),
        (
            Ask::RaiseRefused,
            "EDIT_REFUSED; give ada 0 back; release nut to 4",
        ),
    ] {
        provider(
            command,
            &[
                (&[ProviderEditing], outcome),
                (&others(&[ProviderEditing]), NOTHING),
            ],
        );
    }
}

#[test]
fn whoever_pays_what_the_items_have_done_is_heard_once() {
    let releasing = [
        ProviderConfirmedReleasing,
        EditDeclined,
        EditGivenUp,
        CalledOffReleasing,
        CancelledVoidOpenReleasing,
        CancelledVoidDoneReleasing,
        ExpiredReleasing,
        ExpiredVoidDoneReleasing,
        DeclinedReleasing,
        ProviderRejectedReleasing,
    ];
    provider(
        Ask::Released,
        &[(&releasing, "RELEASED"), (&others(&releasing), NOTHING)],
    );
    provider(
        Ask::Consumed,
        &[(&[CapturesOpen], "CONSUMED"), (&others(&[CapturesOpen]), NOTHING)],
    );
    provider(Ask::Restocked, &[(&Stage::BY_PROVIDER, NOTHING)]);
}
