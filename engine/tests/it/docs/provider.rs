//! What becomes of an order's money where a provider outside moves it.

use std::{collections::BTreeMap, fmt::Write as _};

use docket_engine::{Amount, ChangeKind, Order, PAYMENT_RETRIES_MAX, PAYMENTS_MAX, PaymentKind, PaymentStep};

use super::{
    ASKED, BACKWARDS, DELIVERIES, Diagram, EDITS, PAID, PLACED, REFUNDS, RETRIES, TOLD, money, moves, table,
};
use crate::stage::{Ask, Stage, ask};

pub(super) fn payments() -> String {
    let last = [Stage::WaitingAuthorizing, Stage::ClosedByProvider];
    let stages = [&Stage::BY_PROVIDER[..], &last].concat();
    let of_provider = |commands: &[Ask]| table(&stages, commands);
    let placed = table(
        &[Stage::NoOrder, Stage::Confirmed, Stage::ProviderConfirmed],
        &PLACED,
    );
    // What an order on account makes of these is all the same, whatever its stage.
    let of_account = table(&[Stage::Confirmed], &[&PAID[..], &RETRIES].concat());
    format!(
        "## Payment by a provider

An order may name a *provider*: somebody outside who moves its money. Its customer's account is then neither held nor charged for
it. What the provider is to do is recorded as a step of the order, in one record with what makes it due; then the provider is asked,
under a key that is the same however often it is asked (`order/kind-number/group`); then what it answers for good is recorded. Of the
steps that are open the first is asked; answers may come late, again, or in another order. The first answer to a step stays.

{steps}
An order by a provider that costs nothing has no steps: it is confirmed when its stock is reserved. What follows, and costs nothing,
makes no step either.

{step_diagram}
A step that was declined waits for a person, who can have it tried again, which is another step of the same amount and of the next
group: {PAYMENT_RETRIES_MAX} times in one order (`TOO_MANY_PAYMENTS`). What became due behind it does not wait. Where it was a
shipment's capture, and there is more to be shipped, the order is held (`PAYMENT`, by `docket`) until a person releases that. An
authorisation that was declined is not tried again: its order is refused (`PAYMENT_DECLINED`).

An order has one *payment* at its provider for what it cost when it was placed, and one more for each edit that has it cost more: {PAYMENTS_MAX} at
most, with those that were not authorised (`TOO_MANY_AUTHORIZATIONS`). Each is authorised, captured, voided and refunded by itself, by the order's name
and its number. What is shipped is captured of the oldest payment that has something left, what is called off or edited away is voided of the newest, and
what is refunded is given back of the oldest of which more was captured than was given back; where one has not enough, the rest is of the next, which is
another step. Of each, and of all, refunded ≤ captured and captured + voided ≤ authorised.

An edit that has the order cost more is begun, and where its items have agreed its provider is asked (*edit to be authorised*); until it has answered
the order is what it was, and nothing else is done with its items or its money (`ORDER_PENDING`). Declined, or not authorised in time, the edit is
refused, what was reserved for it goes back, and that payment is voided where nobody knows whether it was authorised; the order goes on as it was.

An order that is not authorised in time expires (`PAYMENT_EXPIRED`), and one that waits for that can be cancelled, though only
altogether. Nobody knows then whether it was authorised, or will be: the provider is asked to void what it knows by the order, so that
nothing is ever taken. An authorisation that comes behind that is not heard. What the provider answers is recorded also behind the
order's end, before or after its items have released their stock.

### Where its money stands

{payment_diagram}
As the provider has answered, not as it was asked: what was shipped is captured, what was cancelled voided and what was refunded
given back once it says so. Refunded is never more than the provider says that it took; a refund that is due, or was declined, counts
towards that. `REQUIRED` says that it is not authorised yet, as far as anybody knows: also of an order that was called off meanwhile, until
its provider has barred it. `FAILED` says that it never will be, or that a step was declined and waits for a person; `VOIDED`, that its provider
has said that nothing of it is taken, or ever will be. The others say what they say of an account. Authorised = captured + voided + still authorised, always.

### What comes of each command

As above, of orders that a provider pays. *Step 1* is the authorisation; *the last step* is the one that became due last, whether it is
open or not.

{placed}
Of a step, and of one that does not come to be:

{paid}
Of a person, about a step that was declined. (*What was declined* is the last such step, or step 1 where there is none.)

{retries}
An order that its customer's account pays makes nothing of these:

{of_account}
All others:

{asked}
{edits}
{deliveries}
{backwards}
{refunds}
{told}",
        steps = steps(),
        step_diagram = step_diagram(),
        payment_diagram = money::diagram(true).draw(),
        paid = of_provider(&PAID),
        retries = of_provider(&RETRIES),
        asked = of_provider(&ASKED),
        edits = of_provider(&EDITS),
        deliveries = of_provider(&DELIVERIES),
        backwards = of_provider(&BACKWARDS),
        refunds = of_provider(&REFUNDS),
        told = of_provider(&TOLD),
    )
}

/// Which event makes which step due, as the engine does it.
fn steps() -> String {
    let mut due: BTreeMap<ChangeKind, Vec<PaymentKind>> = BTreeMap::new();
    for stage in Stage::all() {
        for command in Ask::ALL {
            let before = stage.order();
            let mut after = before.clone();
            let asked = command.command_of(before.as_ref());
            let Ok(outcome) = ask(&mut after, &asked) else {
                continue;
            };
            let known = before.as_ref().map_or(0, |order| order.payment_steps().len());
            let steps = after.as_ref().map_or(&[][..], Order::payment_steps);
            for step in &steps[known..] {
                let event = *outcome.events.first().unwrap();
                let is_news = |event: &ChangeKind| *event == ChangeKind::Backordered;
                let others = outcome.events[1..].iter().filter(|event| !is_news(event));
                assert_eq!(others.count(), 0, "{event} alone makes a step due");
                let kinds = due.entry(event).or_default();
                if !kinds.contains(&step.kind) {
                    kinds.push(step.kind);
                }
            }
        }
    }
    let mut text = "| What happens | Makes due | As much as |\n|---|---|---|\n".to_owned();
    for (event, how_much) in [
        (ChangeKind::Reserved, "the order's total"),
        (ChangeKind::Shipped, "what is in the shipment costs"),
        (ChangeKind::EditReserved, "the order comes to cost more"),
        (ChangeKind::LinesCancelled, "what is called off costs"),
        (ChangeKind::Edited, "it costs less"),
        (
            ChangeKind::EditRefused,
            "it was to cost more, where that was not authorised in time",
        ),
        (ChangeKind::Cancelled, "all that was left costs"),
        (ChangeKind::Expired, "the order's total"),
        (ChangeKind::Refunded, "what is refunded"),
        (ChangeKind::PaymentRetried, "what was declined"),
    ] {
        let kinds = due.remove(&event).unwrap();
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("*{kind}*")).collect();
        let kinds = match event {
            ChangeKind::PaymentRetried => "the same again".to_owned(),
            _ => kinds.join(", "),
        };
        writeln!(text, "| **{event}** | {kinds} | {how_much} |").unwrap();
    }
    assert!(due.is_empty(), "{due:?} make steps due as well");
    text
}

fn step_diagram() -> String {
    let name = |step: Option<&PaymentStep>| match step {
        None => (0, "[*]"),
        Some(step) if step.is_open() => (1, "OPEN"),
        Some(step) if step.is_done() => (2, "DONE"),
        Some(step) if step.retried.is_none() => (3, "DECLINED"),
        Some(_) => (4, "TRIED_AGAIN"),
    };
    let mut diagram = Diagram::default();
    for (_, command, before, after) in moves() {
        for (i, step) in after.payment_steps().iter().enumerate() {
            assert!(step.amount > Amount(0));
            let was = before.as_ref().and_then(|order| order.payment_steps().get(i));
            let (from, to) = (name(was), name(Some(step)));
            if from == to {
                continue;
            }
            let label = match command {
                Ask::Authorized | Ask::LastDone => "done",
                Ask::AuthorizationDeclined | Ask::LastDeclined => "declined",
                Ask::Retry if to.0 == 4 => "tried again",
                _ if to.0 == 1 => "becomes due",
                other => panic!("{other:?} moves a step"),
            };
            diagram.arrow((from.0, to.0), from.1.to_owned(), to.1.to_owned(), label);
        }
    }
    diagram.draw()
}
