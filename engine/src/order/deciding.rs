//! What a confirmed order makes of what is asked of it.

use std::sync::Arc;

use super::{Effect, Order, OrderEvent, OrderState, backordering, check_version, life::value, planning};
use crate::{
    Amount, Decision, FULFILMENTS_MAX, FulfilmentState, HOLDS_MAX, HoldReason, LineQuantity, Quantity,
    Rejection, Version, access::Username,
};

pub(super) fn hold(
    order: &Order,
    reason: HoldReason,
    note: &Arc<str>,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    may_be_held(order, expected)?;
    if order.active_holds().any(|hold| hold.reason == reason) {
        return Err(Rejection::HoldExists { reason });
    }
    if order.holds().len() >= HOLDS_MAX {
        return Err(Rejection::TooManyHolds);
    }
    Ok(Decision::event(OrderEvent::Held {
        reason,
        note: note.clone(),
        by: by.clone(),
    }))
}

pub(super) fn release_hold(
    order: &Order,
    reason: HoldReason,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    may_be_held(order, expected)?;
    if !order.active_holds().any(|hold| hold.reason == reason) {
        return Err(Rejection::HoldNotFound { reason });
    }
    Ok(Decision::event(OrderEvent::HoldReleased {
        reason,
        by: by.clone(),
    }))
}

/// Whether an order's holds may change: there is something to hold up.
fn may_be_held(order: &Order, expected: Option<Version>) -> Result<(), Rejection> {
    check_version(order, expected)?;
    match order.state {
        OrderState::Pending | OrderState::Authorizing => Err(Rejection::OrderPending),
        OrderState::Confirmed | OrderState::PartiallyFulfilled => Ok(()),
        state @ (OrderState::Fulfilled
        | OrderState::Cancelled
        | OrderState::Rejected
        | OrderState::Expired
        | OrderState::Closed) => Err(Rejection::NotHoldable { state }),
    }
}

/// What is asked of an order's lines: these, or all that is open where none is named.
fn wanted(order: &Order, lines: &[LineQuantity]) -> Result<Box<[LineQuantity]>, Rejection> {
    chosen(&order.open_quantities(), lines, |line, wanted, open| {
        Rejection::QuantityNotOpen { line, wanted, open }
    })
}

/// These of what there is of each line, or all of it where none is named. `too_many` says of which line more is wanted than there is, how
/// much, and how much there is.
pub(super) fn chosen(
    open: &[Quantity],
    lines: &[LineQuantity],
    too_many: impl Fn(u16, Quantity, Quantity) -> Rejection,
) -> Result<Box<[LineQuantity]>, Rejection> {
    if lines.is_empty() {
        let open = open.iter().zip(0_u16..).filter(|(open, _)| open.0 > 0);
        return Ok(open
            .map(|(&quantity, line)| LineQuantity { line, quantity })
            .collect());
    }
    let mut lines = lines.to_vec();
    lines.sort_unstable();
    // A line that is named twice is meant twice.
    lines.dedup_by(|more, of_line| {
        let is_same = more.line == of_line.line;
        if is_same {
            of_line.quantity = Quantity(of_line.quantity.0.saturating_add(more.quantity.0));
        }
        is_same
    });
    for &LineQuantity { line, quantity } in &lines {
        let open = *open
            .get(usize::from(line))
            .ok_or(Rejection::LineNotFound { line })?;
        if quantity > open || quantity.0 < 1 {
            return Err(too_many(line, quantity, open));
        }
    }
    Ok(lines.into())
}

/// What a shipment is made of.
pub(super) struct Shipping<'a> {
    pub(super) lines: &'a [LineQuantity],
    pub(super) carrier: &'a Arc<str>,
    pub(super) tracking: &'a Arc<str>,
    pub(super) by: &'a Username,
}

pub(super) fn ship(
    order: &Order,
    shipping: &Shipping<'_>,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    may_be_shipped(order)?;
    if let Some(hold) = order.active_holds().next() {
        return Err(Rejection::OrderHeld { reason: hold.reason });
    }
    let lines = backordering::sendable(order, shipping.lines)?;
    // What is left may always go.
    if planning::standing(order.fulfilments()) >= FULFILMENTS_MAX && lines != wanted(order, &[])? {
        return Err(Rejection::TooManyFulfilments);
    }
    let captured = value(&order.lines, &lines).ok_or(Rejection::Overflow { line: None })?;
    Ok(Decision {
        events: vec![OrderEvent::Shipped {
            lines,
            carrier: shipping.carrier.clone(),
            tracking: shipping.tracking.clone(),
            by: shipping.by.clone(),
        }],
        effects: vec![capture(order, captured)],
    })
}

/// Its customer's account pays what is sent.
pub(super) fn capture(order: &Order, amount: Amount) -> Effect {
    Effect::CaptureCredit {
        customer: order.customer.clone(),
        amount: order.on_account(amount),
    }
}

/// Whether something of an order can be sent, or planned to be: but for what holds it.
pub(super) fn may_be_shipped(order: &Order) -> Result<(), Rejection> {
    match order.state {
        OrderState::Pending | OrderState::Authorizing => Err(Rejection::OrderPending),
        // What it asked others before is not done yet.
        OrderState::Confirmed | OrderState::PartiallyFulfilled => match order.is_quiet() {
            true => Ok(()),
            false => Err(Rejection::OrderPending),
        },
        state @ (OrderState::Fulfilled
        | OrderState::Cancelled
        | OrderState::Rejected
        | OrderState::Expired
        | OrderState::Closed) => Err(Rejection::NotShippable { state }),
    }
}

pub(super) fn deliver(
    order: &Order,
    fulfilment: u32,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let state = order.fulfilment(fulfilment).map(|found| found.state());
    match state.ok_or(Rejection::FulfilmentNotFound { fulfilment })? {
        FulfilmentState::Delivered => Ok(Decision::nothing()),
        FulfilmentState::Shipped => Ok(Decision::event(OrderEvent::Delivered {
            fulfilment,
            by: by.clone(),
        })),
        state @ (FulfilmentState::Open | FulfilmentState::Cancelled) => {
            Err(Rejection::FulfilmentNotShipped { fulfilment, state })
        }
    }
}

/// Calls off some of what is open, or all of it where no line is named.
pub(super) fn cancel(
    order: &Order,
    lines: &[LineQuantity],
    by: Option<&Username>,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    match order.state {
        OrderState::Pending => return Err(Rejection::OrderPending),
        // Its provider may take long to answer; all of it can be called off meanwhile.
        OrderState::Authorizing if wanted(order, lines) == wanted(order, &[]) => {
            return Ok(Decision {
                events: vec![OrderEvent::Cancelled],
                effects: vec![Effect::ReleaseCredit {
                    customer: order.customer.clone(),
                    amount: order.held(),
                }],
            });
        }
        OrderState::Authorizing => return Err(Rejection::OrderPending),
        OrderState::Cancelled if lines.is_empty() => return Ok(Decision::nothing()),
        state @ (OrderState::Fulfilled
        | OrderState::Cancelled
        | OrderState::Rejected
        | OrderState::Expired
        | OrderState::Closed) => {
            return Err(Rejection::NotCancellable { state });
        }
        OrderState::Confirmed | OrderState::PartiallyFulfilled => {}
    }
    if !order.is_quiet() {
        return Err(Rejection::OrderPending);
    }
    let all = wanted(order, &[])?;
    // All is all: also what somebody is to send, which has to say first that it does not.
    let planned = || planning::all_planned(&order.planned_quantities());
    let lines = match lines.is_empty() {
        true => planned().map_or_else(|| Ok(all.clone()), Err)?,
        false => planning::free(order, lines)?,
    };
    let is_all = lines == all;
    let release = |amount| Effect::ReleaseCredit {
        customer: order.customer.clone(),
        amount: order.on_account(amount),
    };
    // What nothing was sent of is no longer an order.
    if is_all && order.state == OrderState::Confirmed {
        return Ok(Decision {
            events: vec![OrderEvent::Cancelled],
            effects: vec![release(order.outstanding())],
        });
    }
    let by = by.cloned();
    if order.cancellations().len() >= FULFILMENTS_MAX && !is_all {
        return Err(Rejection::TooManyFulfilments);
    }
    let voided = value(&order.lines, &lines).ok_or(Rejection::Overflow { line: None })?;
    Ok(Decision {
        events: vec![OrderEvent::LinesCancelled { lines, by }],
        effects: vec![release(voided)],
    })
}
