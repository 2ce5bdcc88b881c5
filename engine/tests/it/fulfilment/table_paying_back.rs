//! What comes back of an order that is paid by a provider: every stage of one × returns and refunds.

use super::table_paying::{CANCELLED, EXPIRED, FULFILLED, PARTLY, REJECTED, others, provider};
use crate::stage::{
    Ask,
    Stage::{
        self, Authorizing, CaptureDeclined, CaptureFreed, CaptureOpen, CaptureRetried, Captured,
        CapturesOpen, EditAuthorized, EditAuthorizing, EditDeclined, EditGivenUp, FulfilledCaptureDeclined,
        FulfilledCaptureOpen, FulfilledCaptured, ProviderConfirmed, ProviderConfirmedReleasing,
        ProviderEditing, ProviderPending, RefundDeclined, RefundDone, RefundOpen, RefundRetried,
    },
};

#[test]
fn whoever_pays_what_was_sent_can_come_back() {
    for command in [Ask::RequestReturnAll, Ask::RequestReturnSome] {
        provider(
            command,
            &[
                (&[ProviderPending, Authorizing], "OrderPending"),
                (
                    &[
                        ProviderConfirmed,
                        ProviderConfirmedReleasing,
                        ProviderEditing,
                        EditAuthorizing,
                        EditAuthorized,
                        EditDeclined,
                        EditGivenUp,
                    ],
                    "NotReturnable { state: Confirmed }",
                ),
                (&[&[CapturesOpen], PARTLY, FULFILLED].concat(), "RETURN_REQUESTED"),
                (CANCELLED, "NotReturnable { state: Cancelled }"),
                (EXPIRED, "NotReturnable { state: Expired }"),
                (REJECTED, "NotReturnable { state: Rejected }"),
            ],
        );
    }
    for command in [
        Ask::ReturnApprove,
        Ask::ReturnDecline,
        Ask::ReturnReceive,
        Ask::ReturnRestock,
        Ask::ReturnClose,
    ] {
        provider(command, &[(&Stage::BY_PROVIDER, "ReturnNotFound { number: 1 }")]);
    }
    provider(
        Ask::ReturnMissing,
        &[(&Stage::BY_PROVIDER, "ReturnNotFound { number: 9 }")],
    );
}

/// Its provider has taken two.
const TWO: &[Stage] = &[CaptureOpen, CaptureDeclined, CaptureFreed];
/// And seven.
const SEVEN: &[Stage] = &[Captured, FulfilledCaptureOpen, FulfilledCaptureDeclined];

/// Its provider has taken nothing, or has not said so.
fn nothing_taken() -> Vec<Stage> {
    let taken = [TWO, SEVEN, &[CaptureRetried], FULFILLED].concat();
    others(&taken)
}

#[test]
fn what_the_provider_has_taken_is_given_back_by_it() {
    let nothing = nothing_taken();
    let none = "RefundTooLarge { wanted: Amount(1), refundable: Amount(0) }";
    for (command, amounts) in [(Ask::RefundSome, [1; 4]), (Ask::RefundAll, [2, 7, 17, 18])] {
        let due =
            |number: u32, amount: u32| format!("REFUNDED; refund 0 to ada; step {number}: refund {amount}");
        let [two, seven, rest, all] = amounts;
        provider(
            command,
            &[
                (&nothing, none),
                (TWO, &due(4, two)),
                (&[CaptureRetried], &due(5, two)),
                (&[Captured], &due(4, seven)),
                // What it declined to take, or has not taken yet, cannot be given back.
                (&[FulfilledCaptureOpen, FulfilledCaptureDeclined], &due(5, seven)),
                (&[FulfilledCaptured], &due(5, all)),
                // Also while the refund before is open, or was declined: that one is owed all the same.
                (&[RefundOpen, RefundDeclined, RefundDone], &due(6, rest)),
                (&[RefundRetried], &due(7, rest)),
            ],
        );
    }
    provider(
        Ask::RefundTooMuch,
        &[
            (&nothing, none),
            (
                &[TWO, &[CaptureRetried]].concat(),
                "RefundTooLarge { wanted: Amount(3), refundable: Amount(2) }",
            ),
            (
                SEVEN,
                "RefundTooLarge { wanted: Amount(8), refundable: Amount(7) }",
            ),
            (
                &[FulfilledCaptured],
                "RefundTooLarge { wanted: Amount(19), refundable: Amount(18) }",
            ),
            (
                &[RefundOpen, RefundDeclined, RefundRetried, RefundDone],
                "RefundTooLarge { wanted: Amount(18), refundable: Amount(17) }",
            ),
        ],
    );
}
