//! What becomes of an order's money.

use docket_engine::{PaymentState, RETURNS_MAX};

use super::{Diagram, moves};

pub(super) fn payment_name(state: PaymentState) -> &'static str {
    match state {
        PaymentState::Required => "REQUIRED",
        PaymentState::Authorized => "AUTHORIZED",
        PaymentState::PartiallyCaptured => "PARTIALLY_CAPTURED",
        PaymentState::Captured => "CAPTURED",
        PaymentState::PartiallyRefunded => "PARTIALLY_REFUNDED",
        PaymentState::Refunded => "REFUNDED",
        PaymentState::Voided => "VOIDED",
        PaymentState::Failed => "FAILED",
    }
}

/// How orders' payments move, of those that a provider pays, or of the others.
pub(super) fn diagram(is_by_provider: bool) -> Diagram {
    let mut diagram = Diagram::default();
    let number = |payment: Option<PaymentState>| payment.map_or(0, |it| it as usize + 1);
    let name = |payment: Option<PaymentState>| payment.map_or("[*]", payment_name).to_owned();
    for (_, command, before, after) in moves() {
        if after.provider.is_some() != is_by_provider {
            continue;
        }
        let from = before.as_ref().map(|it| it.payment());
        let to = after.payment();
        if from == Some(to) {
            continue;
        }
        let (from, to) = (from.map(|it| it.state), Some(to.state));
        diagram.arrow((number(from), number(to)), name(from), name(to), command.name());
    }
    diagram
}

pub(super) fn payments() -> String {
    let diagram = diagram(false);
    format!(
        "## Payment

Where its customer's account pays, what the order costs is held when it is placed (`AUTHORIZED`), taken with each shipment for what
is in it, and given back with each cancellation for what is in that. An edit holds what the order comes to cost more,
or gives back what it costs less. Authorised = captured + voided + still held, always; the last
shipment takes exactly the rest. What was captured is off the customer's balance, which falls below nothing where that was on credit;
what is refunded of it is on the balance again. A refund is of an amount, and of no return: the shop says how much it gives back, when,
and for what. Refunded is never more than captured (`REFUND_TOO_LARGE`), and there are at most {RETURNS_MAX} refunds
(`TOO_MANY_RETURNS`).

{}
`PARTIALLY_REFUNDED` and `REFUNDED` tell of refunds before all else; `REFUNDED` says that all that was captured is given back and that
nothing is held any more. `CAPTURED` says that nothing is held any more and all that was not given back was taken; `VOIDED`, that all was given back; `FAILED`,
that nothing was ever held. What costs nothing is `AUTHORIZED` until all of it was shipped or called off, and then `CAPTURED`, or `VOIDED` where nothing was shipped.
",
        diagram.draw()
    )
}
