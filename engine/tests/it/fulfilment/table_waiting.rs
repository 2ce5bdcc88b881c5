//! An order that waits for some of its items × every command; and every other order × what tells of that.

use super::table::{NOTHING, QUIET, all_but, check, check_of};
use crate::stage::{
    Ask,
    Stage::{
        self, Authorizing, CaptureDeclined, CaptureFreed, CaptureOpen, CaptureRetried, Captured,
        EditAuthorized, Pending, ProviderConfirmed, ProviderPending, Waiting, WaitingAuthorizing,
        WaitingConsuming, WaitingFilled, WaitingPartly,
    },
};

const ALL: &[Stage] = &Stage::BACKORDERED;
/// Nothing was sent.
const WHOLE: &[Stage] = &[Waiting, WaitingFilled];
/// Two nuts and two bolts were sent.
const SENT: &[Stage] = &[WaitingConsuming, WaitingPartly];
/// What a person asks of these waits for others.
const PENDING: &[Stage] = &[WaitingConsuming, WaitingAuthorizing];
const UNSENT: &[Stage] = &[Waiting, WaitingFilled, WaitingAuthorizing];
const ON_ACCOUNT: &[Stage] = &[Waiting, WaitingFilled, WaitingConsuming, WaitingPartly];

#[track_caller]
fn checked(command: Ask, expected: &[(&[Stage], &str)]) {
    check_of(ALL, command, expected);
}

#[test]
fn what_waits_is_neither_called_off_nor_sent_as_if_it_were_there() {
    checked(
        Ask::CancelAll,
        &[
            (
                WHOLE,
                "CANCELLED; give ada 18 back; release nut to 0; release bolt to 0",
            ),
            (&[WaitingConsuming], "OrderPending"),
            (
                &[WaitingPartly],
                "LINES_CANCELLED; give ada 4 back; release nut to 0",
            ),
            (
                &[WaitingAuthorizing],
                "CANCELLED; give ada 0 back; release nut to 0; release bolt to 0; step 2: void 18",
            ),
        ],
    );
    checked(
        Ask::CancelSome,
        &[
            (WHOLE, "LINES_CANCELLED; give ada 2 back; release nut to 3"),
            (PENDING, "OrderPending"),
            (
                &[WaitingPartly],
                "LINES_CANCELLED; give ada 2 back; release nut to 1",
            ),
        ],
    );
    checked(
        Ask::ShipAll,
        &[
            (
                &[Waiting],
                "SHIPPED; capture 14 of ada; consume nut to 2; consume bolt to 0",
            ),
            (
                &[WaitingFilled],
                "SHIPPED; capture 18 of ada; consume nut to 0; consume bolt to 0",
            ),
            (PENDING, "OrderPending"),
            (
                &[WaitingPartly],
                "QuantityBackordered { line: 0, wanted: Quantity(1), there: Quantity(0) }",
            ),
        ],
    );
    checked(
        Ask::ShipSome,
        &[
            (WHOLE, "SHIPPED; capture 2 of ada; consume nut to 3"),
            (PENDING, "OrderPending"),
            (
                &[WaitingPartly],
                "QuantityBackordered { line: 0, wanted: Quantity(1), there: Quantity(0) }",
            ),
        ],
    );
    checked(
        Ask::OpenAll,
        &[
            (&[Waiting, WaitingFilled, WaitingPartly], "FULFILMENT_OPENED"),
            (PENDING, "OrderPending"),
        ],
    );
    checked(
        Ask::OpenSome,
        &[
            (&[Waiting, WaitingFilled, WaitingPartly], "FULFILMENT_OPENED"),
            (PENDING, "OrderPending"),
        ],
    );
    checked(
        Ask::ShipPlanned,
        &[
            (UNSENT, "FulfilmentNotFound { fulfilment: 1 }"),
            (SENT, "FulfilmentNotOpen { fulfilment: 1, state: Shipped }"),
        ],
    );
    checked(
        Ask::CancelPlanned,
        &[
            (UNSENT, "FulfilmentNotFound { fulfilment: 1 }"),
            (SENT, "FulfilmentNotOpen { fulfilment: 1, state: Shipped }"),
        ],
    );
    checked(
        Ask::DeliverOnItsWay,
        &[(ALL, "FulfilmentNotFound { fulfilment: 2 }")],
    );
    checked(
        Ask::DeliverArrived,
        &[
            (UNSENT, "FulfilmentNotFound { fulfilment: 1 }"),
            (SENT, "DELIVERED"),
        ],
    );
    checked(
        Ask::DeliverMissing,
        &[(ALL, "FulfilmentNotFound { fulfilment: 9 }")],
    );
}

#[test]
fn an_edit_or_a_hold_of_an_order_that_waits_is_as_of_any_other() {
    checked(
        Ask::Hold,
        &[(ON_ACCOUNT, "HELD"), (&[WaitingAuthorizing], "OrderPending")],
    );
    checked(
        Ask::ReleaseHold,
        &[
            (ON_ACCOUNT, "HoldNotFound { reason: Address }"),
            (&[WaitingAuthorizing], "OrderPending"),
        ],
    );
    checked(
        Ask::EditLess,
        &[
            (WHOLE, "EDITED; give ada 2 back; release nut to 3"),
            (PENDING, "OrderPending"),
            (&[WaitingPartly], "EDITED; give ada 2 back; release nut to 1"),
        ],
    );
    checked(
        Ask::EditMore,
        &[
            (WHOLE, "EDIT_BEGUN; hold 2 of ada; raise nut to 5 for line 0"),
            (PENDING, "OrderPending"),
            (
                &[WaitingPartly],
                "EDIT_BEGUN; hold 2 of ada; raise nut to 3 for line 0",
            ),
        ],
    );
    checked(
        Ask::EditBoth,
        &[
            (WHOLE, "EDIT_BEGUN; hold 0 of ada; raise nut to 5 for line 0"),
            (PENDING, "OrderPending"),
            (
                &[WaitingPartly],
                "QuantityTooLow { line: 1, wanted: Quantity(1), gone: Quantity(2) }",
            ),
        ],
    );
    checked(
        Ask::Consumed,
        &[
            (
                &[Waiting, WaitingFilled, WaitingPartly, WaitingAuthorizing],
                NOTHING,
            ),
            (&[WaitingConsuming], "CONSUMED"),
        ],
    );
}

#[test]
fn only_what_was_sent_comes_back() {
    checked(
        Ask::RequestReturnAll,
        &[
            (WHOLE, "NotReturnable { state: Confirmed }"),
            (SENT, "RETURN_REQUESTED"),
            (&[WaitingAuthorizing], "OrderPending"),
        ],
    );
    checked(
        Ask::RequestReturnSome,
        &[
            (WHOLE, "NotReturnable { state: Confirmed }"),
            (SENT, "RETURN_REQUESTED"),
            (&[WaitingAuthorizing], "OrderPending"),
        ],
    );
    checked(Ask::ReturnApprove, &[(ALL, "ReturnNotFound { number: 1 }")]);
    checked(Ask::ReturnDecline, &[(ALL, "ReturnNotFound { number: 1 }")]);
    checked(Ask::ReturnReceive, &[(ALL, "ReturnNotFound { number: 1 }")]);
    checked(Ask::ReturnRestock, &[(ALL, "ReturnNotFound { number: 1 }")]);
    checked(Ask::ReturnClose, &[(ALL, "ReturnNotFound { number: 1 }")]);
    checked(Ask::ReturnMissing, &[(ALL, "ReturnNotFound { number: 9 }")]);
    checked(
        Ask::RefundSome,
        &[
            (
                UNSENT,
                "RefundTooLarge { wanted: Amount(1), refundable: Amount(0) }",
            ),
            (&[WaitingConsuming], "OrderPending"),
            (&[WaitingPartly], "REFUNDED; refund 1 to ada"),
        ],
    );
    checked(
        Ask::RefundAll,
        &[
            (
                UNSENT,
                "RefundTooLarge { wanted: Amount(1), refundable: Amount(0) }",
            ),
            (&[WaitingConsuming], "OrderPending"),
            (&[WaitingPartly], "REFUNDED; refund 14 to ada"),
        ],
    );
    checked(
        Ask::RefundTooMuch,
        &[
            (
                UNSENT,
                "RefundTooLarge { wanted: Amount(1), refundable: Amount(0) }",
            ),
            (
                SENT,
                "RefundTooLarge { wanted: Amount(15), refundable: Amount(14) }",
            ),
        ],
    );
}

#[test]
fn a_provider_authorises_what_waits_too() {
    checked(
        Ask::Authorized,
        &[(ON_ACCOUNT, NOTHING), (&[WaitingAuthorizing], "CONFIRMED")],
    );
    checked(
        Ask::AuthorizationDeclined,
        &[
            (ON_ACCOUNT, NOTHING),
            (
                &[WaitingAuthorizing],
                "REJECTED; give ada 0 back; release nut to 0; release bolt to 0",
            ),
        ],
    );
    checked(
        Ask::LastDone,
        &[(ON_ACCOUNT, NOTHING), (&[WaitingAuthorizing], "CONFIRMED")],
    );
    checked(
        Ask::LastDeclined,
        &[
            (ON_ACCOUNT, NOTHING),
            (
                &[WaitingAuthorizing],
                "REJECTED; give ada 0 back; release nut to 0; release bolt to 0",
            ),
        ],
    );
    checked(
        Ask::Retry,
        &[
            (ON_ACCOUNT, "PaymentStepNotFound { number: 1 }"),
            (&[WaitingAuthorizing], "PaymentNotDeclined { number: 1 }"),
        ],
    );
    checked(
        Ask::RetryAuthorization,
        &[
            (ON_ACCOUNT, "PaymentStepNotFound { number: 1 }"),
            (&[WaitingAuthorizing], "PaymentNotDeclined { number: 1 }"),
        ],
    );
    checked(Ask::RetryMissing, &[(ALL, "PaymentStepNotFound { number: 9 }")]);
    checked(
        Ask::Expire,
        &[
            (ON_ACCOUNT, NOTHING),
            (
                &[WaitingAuthorizing],
                "EXPIRED; give ada 0 back; release nut to 0; release bolt to 0; step 2: void 18",
            ),
        ],
    );
}

#[test]
fn what_comes_in_is_heard_and_so_is_more_that_waits() {
    checked(
        Ask::HearNothing,
        &[
            (&[Waiting, WaitingPartly, WaitingAuthorizing], "BACKORDER_FILLED"),
            (&[WaitingFilled, WaitingConsuming], NOTHING),
        ],
    );
    checked(
        Ask::HearSome,
        &[
            (&[Waiting, WaitingPartly, WaitingAuthorizing], "BACKORDER_FILLED"),
            (&[WaitingFilled], "BACKORDERED"),
            (&[WaitingConsuming], NOTHING),
        ],
    );
    checked(Ask::HearMore, &[(UNSENT, "BACKORDERED"), (SENT, NOTHING)]);
}

#[test]
fn what_is_over_of_it_or_was_never_begun_is_not_heard() {
    for command in [
        Ask::Place,
        Ask::Refuse,
        Ask::SettleAgreed,
        Ask::SettleRefused,
        Ask::SettleEarly,
        Ask::Released,
        Ask::RaiseAgreed,
        Ask::RaiseRefused,
        Ask::Restocked,
        Ask::PlaceWithProvider,
        Ask::RefuseWithProvider,
        Ask::PaidMissing,
        Ask::Close,
        Ask::SettleWaiting,
    ] {
        checked(command, &[(ALL, NOTHING)]);
    }
}

/// Whatever a single item says is believed where nothing is under way that it may have changed since.
#[test]
fn an_order_of_which_nothing_waits_hears_what_does_and_not_while_something_is_under_way() {
    let by_provider = [
        Authorizing,
        ProviderConfirmed,
        EditAuthorized,
        CaptureOpen,
        Captured,
        CaptureDeclined,
        CaptureRetried,
        CaptureFreed,
    ];
    let others = |of: &[Stage], but: &[Stage]| -> Vec<Stage> {
        of.iter().copied().filter(|stage| !but.contains(stage)).collect()
    };
    for command in [Ask::HearSome, Ask::HearMore] {
        check(command, &[(QUIET, "BACKORDERED"), (&all_but(QUIET), NOTHING)]);
        let deaf = others(&Stage::BY_PROVIDER, &by_provider);
        check_of(
            &Stage::BY_PROVIDER,
            command,
            &[(&by_provider, "BACKORDERED"), (&deaf, NOTHING)],
        );
        check_of(&Stage::CLOSED, command, &[(&Stage::CLOSED, NOTHING)]);
    }
    for of in [&Stage::ON_ACCOUNT[..], &Stage::BY_PROVIDER, &Stage::CLOSED] {
        check_of(of, Ask::HearNothing, &[(of, NOTHING)]);
    }
    check(
        Ask::SettleWaiting,
        &[
            (&[Pending], "CONFIRMED BACKORDERED"),
            (&all_but(&[Pending]), NOTHING),
        ],
    );
    check_of(
        &Stage::BY_PROVIDER,
        Ask::SettleWaiting,
        &[
            (&[ProviderPending], "RESERVED BACKORDERED; step 1: authorize 18"),
            (&others(&Stage::BY_PROVIDER, &[ProviderPending]), NOTHING),
        ],
    );
    check_of(&Stage::CLOSED, Ask::SettleWaiting, &[(&Stage::CLOSED, NOTHING)]);
}
