//! All that runs in one order, side by side.

use std::fmt::Write as _;

use docket_engine::{Effect, Order, Quantity, order};

use super::money::payment_name;
use crate::stage::Stage;

/// The five of them side by side, for an order of three nuts at 2, two bolts at 5, and one nut more at 2.
pub(super) fn regions() -> String {
    let mut text = String::from(
        "## Side by side

An order of three nuts at 2, two bolts at 5, and a nut more at 2 on a line of its own. Where it was shipped from, there were two
shipments before: a nut, and a bolt. *Some* is a nut of the first line.

| | Payment | Captured | Refunded | Given back | Held | Open | Asked of items | Shipments | Returns |
|---|---|---|---|---|---|---|---|---|---|
",
    );
    for stage in Stage::ON_ACCOUNT.into_iter().chain([Stage::Closed]) {
        let Some(order) = stage.order() else { continue };
        let payment = order.payment();
        let returns = order.returns().iter().map(|it| format!("`{}`", it.state()));
        writeln!(
            text,
            "| {} | `{}` | {} | {} | {} | {} | {} | {} | {} | {} |",
            stage.name(),
            payment_name(payment.state),
            payment.captured,
            payment.refunded,
            payment.voided,
            order.held(),
            open_lines(&order),
            list(asked(&order)),
            order.fulfilments().len(),
            list(returns),
        )
        .unwrap();
    }
    text + &by_provider()
}

/// As that, where a provider pays.
fn by_provider() -> String {
    let mut text = String::from(
        "
The same order, where a provider pays. *Not answered*: what is open, by its number; *declined*: what waits for a person.

| | Payment | Authorised | Captured | Refunded | Given back | Not answered | Declined | Open | Asked of items |
|---|---|---|---|---|---|---|---|---|---|
",
    );
    for stage in Stage::BY_PROVIDER.into_iter().chain([Stage::ClosedByProvider]) {
        let order = stage.order().unwrap();
        let payment = order.payment();
        let steps = || (1..).zip(order.payment_steps());
        // The authorisation of what was called off is not asked for any more.
        let is_asked = |number: u32| order.next_payment().is_some_and(|next| next.number <= number);
        let open = steps().filter(|(number, step)| step.is_open() && is_asked(*number));
        let open = open.map(|(number, step)| format!("{number} {} {}", step.kind, step.amount));
        let declined = order.declined_payments().map(|number| number.to_string());
        writeln!(
            text,
            "| {} | `{}` | {} | {} | {} | {} | {} | {} | {} | {} |",
            stage.name(),
            payment_name(payment.state),
            payment.authorized,
            payment.captured,
            payment.refunded,
            payment.voided,
            list(open),
            list(declined),
            open_lines(&order),
            list(asked(&order)),
        )
        .unwrap();
    }
    text
}

fn list(all: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = all.collect();
    match all.is_empty() {
        true => "–".to_owned(),
        false => all.join("; "),
    }
}

fn open_lines(order: &Order) -> String {
    let open = order.open_quantities();
    let open: Vec<_> = open.iter().map(|it| it.0.to_string()).collect();
    open.join(" + ")
}

fn asked(order: &Order) -> impl Iterator<Item = String> {
    order::open_effects(order).into_iter().map(|effect| match effect {
        Effect::ReserveStock { sku, lines, .. } => {
            let many: Quantity = lines.iter().map(|it| it.quantity).sum();
            format!("{sku}: reserve {many}")
        }
        Effect::RaiseStock { sku, quantity, .. } => format!("{sku}: raise to {quantity}"),
        Effect::ReleaseStock { sku, remaining } => format!("{sku}: release, {remaining} stay"),
        Effect::ConsumeStock { sku, remaining } => format!("{sku}: consume, {remaining} stay"),
        Effect::RestockStock { sku, quantity, .. } => format!("{sku}: restock {quantity}"),
        other => panic!("{other:?}"),
    })
}
