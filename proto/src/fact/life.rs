//! What happens to an order after its confirmation, in the journal's bytes.

use docket_engine::{Amount, Fact, OrderEvent};

use crate::{
    parts::{self, required},
    wire::{self, DecodeError, Field, fields},
};

/// Writes what such an event has beside its order's id: nothing, where it says all by itself.
pub(super) fn put(out: &mut Vec<u8>, event: &OrderEvent) {
    match event {
        OrderEvent::Held { reason, note, by } => {
            wire::number(out, 2, reason.number().into());
            wire::text(out, 3, note);
            wire::text(out, 4, by.as_str());
        }
        OrderEvent::HoldReleased { reason, by } => {
            wire::number(out, 2, reason.number().into());
            wire::text(out, 3, by.as_str());
        }
        OrderEvent::Shipped {
            lines,
            carrier,
            tracking,
            by,
        } => {
            for of_line in lines {
                parts::put_line_quantity(out, 2, of_line);
            }
            wire::text(out, 3, carrier);
            wire::text(out, 4, tracking);
            wire::text(out, 5, by.as_str());
        }
        OrderEvent::Delivered { fulfilment, by } => {
            wire::number(out, 2, (*fulfilment).into());
            wire::text(out, 3, by.as_str());
        }
        OrderEvent::LinesCancelled { lines, by } => {
            for of_line in lines {
                parts::put_line_quantity(out, 2, of_line);
            }
            wire::text(out, 3, by.as_ref().map_or("", |by| by.as_str()));
        }
        OrderEvent::ReturnRequested { lines, note, by } => {
            for of_line in lines {
                parts::put_line_quantity(out, 2, of_line);
            }
            wire::text(out, 3, note);
            wire::text(out, 4, by.as_str());
        }
        OrderEvent::ReturnMoved { number, step, by } => {
            wire::number(out, 2, (*number).into());
            parts::put_return_step(out, 3, step);
            wire::text(out, 4, by.as_str());
        }
        OrderEvent::Refunded { amount, note, by } => {
            wire::signed(out, 2, amount.0);
            wire::text(out, 3, note);
            wire::text(out, 4, by.as_str());
        }
        OrderEvent::Placed { .. }
        | OrderEvent::Rejected { .. }
        | OrderEvent::Confirmed
        | OrderEvent::Cancelled
        | OrderEvent::Released
        | OrderEvent::Consumed
        | OrderEvent::Restocked
        | OrderEvent::Reserved
        | OrderEvent::Authorized { .. }
        | OrderEvent::Expired
        | OrderEvent::Backordered { .. }
        | OrderEvent::BackorderFilled { .. }
        | OrderEvent::Closed
        | OrderEvent::PaymentAnswered { .. }
        | OrderEvent::PaymentRetried { .. }
        | OrderEvent::EditBegun { .. }
        | OrderEvent::EditReserved
        | OrderEvent::Edited { .. }
        | OrderEvent::EditRefused { .. }
        | OrderEvent::FulfilmentOpened { .. }
        | OrderEvent::FulfilmentShipped { .. }
        | OrderEvent::FulfilmentCancelled { .. } => {}
    }
}

pub(super) fn order_held(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderHeld";
    let (mut id, mut reason, mut note, mut by) = (None, None, "", None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => reason = Some(parts::hold_reason(field)?),
            3 => note = field.text()?,
            4 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Held {
        reason: required(MESSAGE, 2, reason)?,
        note: note.into(),
        by: required(MESSAGE, 4, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_hold_released(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderHoldReleased";
    let (mut id, mut reason, mut by) = (None, None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => reason = Some(parts::hold_reason(field)?),
            3 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::HoldReleased {
        reason: required(MESSAGE, 2, reason)?,
        by: required(MESSAGE, 3, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_shipped(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderShipped";
    let (mut id, mut lines, mut by) = (None, Vec::new(), None);
    let (mut carrier, mut tracking) = ("", "");
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => lines.push(parts::line_quantity(field)?),
            3 => carrier = field.text()?,
            4 => tracking = field.text()?,
            5 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Shipped {
        lines: lines.into(),
        carrier: carrier.into(),
        tracking: tracking.into(),
        by: required(MESSAGE, 5, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_delivered(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderDelivered";
    let (mut id, mut fulfilment, mut by) = (None, None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => fulfilment = Some(field.number_from_1()?),
            3 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Delivered {
        fulfilment: required(MESSAGE, 2, fulfilment)?,
        by: required(MESSAGE, 3, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_lines_cancelled(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderLinesCancelled";
    let (mut id, mut lines, mut by) = (None, Vec::new(), None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => lines.push(parts::line_quantity(field)?),
            3 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::LinesCancelled {
        lines: lines.into(),
        by,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_return_requested(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderReturnRequested";
    let (mut id, mut lines, mut note, mut by) = (None, Vec::new(), "", None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => lines.push(parts::line_quantity(field)?),
            3 => note = field.text()?,
            4 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::ReturnRequested {
        lines: lines.into(),
        note: note.into(),
        by: required(MESSAGE, 4, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_return_moved(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderReturnMoved";
    let (mut id, mut number, mut step, mut by) = (None, None, None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => number = Some(field.number_from_1()?),
            3 => step = Some(parts::return_step(field)?),
            4 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::ReturnMoved {
        number: required(MESSAGE, 2, number)?,
        step: required(MESSAGE, 3, step)?,
        by: required(MESSAGE, 4, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_refunded(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderRefunded";
    let (mut id, mut amount, mut note, mut by) = (None, 0, "", None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => amount = field.signed()?,
            3 => note = field.text()?,
            4 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Refunded {
        amount: Amount(amount),
        note: note.into(),
        by: required(MESSAGE, 4, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}
