//! What orders weigh in answers: one with all that may have come after its confirmation is some thousand times as large as most, so answers of
//! many orders are bounded in bytes, too.

use docket_engine::{Edit, Item, Order, OrderEvent, OrderLife, PaymentOutcome, PaymentStep};

/// An answer of several orders ends with the one that passes this. Clients of gRPC take 4 MiB by default.
pub(crate) const ORDERS_BYTES_MAX: usize = 2 << 20;

/// Roughly the bytes of an order as clients and other nodes are shown it; rather more than less.
pub(crate) fn weight(order: &Order) -> usize {
    let life = order.life.as_ref();
    let life = life.map_or(0, |life| bytes_of_life(life) + bytes_of_backorders(life));
    let life = life + bytes_of_edits(order.edits()) + bytes_of_payment(order.payment_steps());
    200 + 120 * order.lines.len() + 2 * (life as usize + order.trail.as_bytes().len())
}

/// Roughly the bytes of a step of a payment, and of the answer to it without its text.
const STEP_BYTES: u64 = 40;
const ANSWER_BYTES: u64 = 20;

/// Roughly the bytes of a hold, and of its end.
fn hold_bytes(note: &str) -> u64 {
    80 + note.len() as u64
}

/// Roughly the bytes of a shipment, with its arrival, of a cancellation, or of a return with what became of it, of so many lines.
fn lines_bytes(lines: usize) -> u64 {
    80 + 8 * lines as u64
}

/// Roughly the bytes of all that came after an order was confirmed, in a snapshot.
pub(crate) fn bytes_of_life(life: &OrderLife) -> u64 {
    let holds = life.holds.iter().map(|hold| hold_bytes(&hold.note));
    let fulfilments = life
        .fulfilments
        .iter()
        .map(|it| lines_bytes(it.lines.len()) + (it.carrier.len() + it.tracking.len()) as u64);
    let cancellations = life.cancellations.iter().map(|it| lines_bytes(it.lines.len()));
    let returns = life
        .returns
        .iter()
        .map(|it| 2 * lines_bytes(it.lines.len()) + it.note.len() as u64);
    let refunds = life.refunds.iter().map(|it| hold_bytes(&it.note));
    holds
        .chain(fulfilments)
        .chain(cancellations)
        .chain(returns)
        .chain(refunds)
        .sum()
}

/// Roughly the bytes of when and by whom a fulfilment was planned, and called off.
const PLAN_BYTES: u64 = 60;

/// Roughly the bytes of what only plans of shipments have, in a snapshot.
pub(crate) fn bytes_of_plans(life: &OrderLife) -> u64 {
    let planned = life.fulfilments.iter().filter(|it| it.opened.is_some());
    PLAN_BYTES * planned.count() as u64
}

/// Roughly the bytes of what an event adds to that.
pub(crate) fn plan_bytes(event: &OrderEvent) -> u64 {
    match event {
        OrderEvent::FulfilmentOpened { .. } => PLAN_BYTES,
        _ => 0,
    }
}

/// Roughly the bytes of what an order heard of what it waits for, in a snapshot.
pub(crate) fn bytes_of_backorders(life: &OrderLife) -> u64 {
    let news = life.backorders.iter();
    news.map(|it| lines_bytes(it.lines.len())).sum()
}

/// Roughly the bytes of what an event adds to that.
pub(crate) fn backorder_bytes(event: &OrderEvent) -> u64 {
    match event {
        OrderEvent::Backordered { lines } | OrderEvent::BackorderFilled { lines } => lines_bytes(lines.len()),
        _ => 0,
    }
}

/// Roughly the bytes of one place in the row of who waits for an item.
const ROW_BYTES: u64 = 25;

/// Roughly the bytes of how many may wait for an item, and of who does; nothing of one that promises no more than there is.
pub(crate) fn bytes_of_row(item: &Item) -> u64 {
    let backorders = item.backorders.as_ref();
    backorders.map_or(0, |it| ROW_BYTES * (1 + it.row().len() as u64))
}

/// Roughly the bytes of edits, each with what came of it, in a snapshot.
pub(crate) fn bytes_of_edits(edits: &[Edit]) -> u64 {
    edits.iter().map(|edit| 2 * lines_bytes(edit.after.len())).sum()
}

/// Roughly the bytes of what an event adds to an order's edits. One that is done at once and one that was begun before count alike there.
pub(crate) fn edit_bytes(event: &OrderEvent) -> u64 {
    match event {
        OrderEvent::EditBegun { lines, .. } | OrderEvent::Edited { lines, .. } => {
            2 * lines_bytes(lines.len())
        }
        _ => 0,
    }
}

/// Roughly the bytes of what a provider is to do, and has done, in a snapshot.
pub(crate) fn bytes_of_payment(steps: &[PaymentStep]) -> u64 {
    let text = |step: &PaymentStep| match &step.outcome {
        None => 0,
        Some((PaymentOutcome::Done { reference: text } | PaymentOutcome::Declined { reason: text }, _)) => {
            ANSWER_BYTES + text.len() as u64
        }
    };
    steps.iter().map(|step| STEP_BYTES + text(step)).sum()
}

/// Roughly the bytes of what an event adds to what a provider is to do, and has done. The steps of shipments, cancellations and refunds are counted where
/// they are answered.
pub(crate) fn payment_bytes(event: &OrderEvent) -> u64 {
    match event {
        OrderEvent::Reserved
        | OrderEvent::EditReserved
        | OrderEvent::Expired
        | OrderEvent::PaymentRetried { .. } => STEP_BYTES,
        OrderEvent::Authorized { reference } => ANSWER_BYTES + reference.len() as u64,
        OrderEvent::PaymentAnswered { outcome, .. } => {
            let (PaymentOutcome::Done { reference: text } | PaymentOutcome::Declined { reason: text }) =
                outcome;
            STEP_BYTES + ANSWER_BYTES + text.len() as u64
        }
        OrderEvent::Placed {
            provider: Some(provider),
            ..
        } => provider.as_str().len() as u64,
        _ => 0,
    }
}

/// Roughly the bytes of what an event adds to what came after an order was confirmed.
pub(crate) fn life_bytes(event: &OrderEvent) -> u64 {
    match event {
        OrderEvent::Held { note, .. } => hold_bytes(note),
        OrderEvent::Shipped {
            lines,
            carrier,
            tracking,
            ..
        } => lines_bytes(lines.len()) + (carrier.len() + tracking.len()) as u64,
        OrderEvent::FulfilmentOpened { lines, .. } | OrderEvent::LinesCancelled { lines, .. } => {
            lines_bytes(lines.len())
        }
        OrderEvent::FulfilmentShipped {
            carrier, tracking, ..
        } => (carrier.len() + tracking.len()) as u64,
        OrderEvent::ReturnRequested { lines, note, .. } => 2 * lines_bytes(lines.len()) + note.len() as u64,
        OrderEvent::Refunded { note, .. } => hold_bytes(note),
        _ => 0,
    }
}
