//! Plans of shipments, and what became of them, in the journal's bytes.

use docket_engine::{Fact, OrderEvent};

use crate::{
    parts::{self, required},
    wire::{self, DecodeError, Field, fields},
};

/// Writes what such an event has beside its order's id, and nothing of any other.
pub(super) fn put(out: &mut Vec<u8>, event: &OrderEvent) {
    match event {
        OrderEvent::FulfilmentOpened { lines, by } => {
            for of_line in lines {
                parts::put_line_quantity(out, 2, of_line);
            }
            wire::text(out, 3, by.as_str());
        }
        OrderEvent::FulfilmentShipped {
            fulfilment,
            carrier,
            tracking,
            by,
        } => {
            wire::number(out, 2, (*fulfilment).into());
            wire::text(out, 3, carrier);
            wire::text(out, 4, tracking);
            wire::text(out, 5, by.as_str());
        }
        OrderEvent::FulfilmentCancelled { fulfilment, by } => {
            wire::number(out, 2, (*fulfilment).into());
            wire::text(out, 3, by.as_str());
        }
        _ => {}
    }
}

pub(super) fn order_fulfilment_opened(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderFulfilmentOpened";
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
    let event = OrderEvent::FulfilmentOpened {
        lines: lines.into(),
        by: required(MESSAGE, 3, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_fulfilment_shipped(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderFulfilmentShipped";
    let (mut id, mut fulfilment, mut by) = (None, None, None);
    let (mut carrier, mut tracking) = ("", "");
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => fulfilment = Some(field.number_from_1()?),
            3 => carrier = field.text()?,
            4 => tracking = field.text()?,
            5 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::FulfilmentShipped {
        fulfilment: required(MESSAGE, 2, fulfilment)?,
        carrier: carrier.into(),
        tracking: tracking.into(),
        by: required(MESSAGE, 5, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_fulfilment_cancelled(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderFulfilmentCancelled";
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
    let event = OrderEvent::FulfilmentCancelled {
        fulfilment: required(MESSAGE, 2, fulfilment)?,
        by: required(MESSAGE, 3, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}
