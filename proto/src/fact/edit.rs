//! Edits of orders, in the journal's bytes.

use docket_engine::{Fact, LineQuantity, OrderEvent, OrderId, access::Username};

use crate::{
    parts::{self, Intern, required},
    refusal,
    wire::{self, DecodeError, Field, fields},
};

/// Writes what such an event has beside its order's id; nothing of another.
pub(super) fn put(out: &mut Vec<u8>, event: &OrderEvent) {
    match event {
        OrderEvent::EditBegun { lines, by } | OrderEvent::Edited { lines, by } => {
            for of_line in lines {
                parts::put_line_quantity(out, 2, of_line);
            }
            wire::text(out, 3, by.as_str());
        }
        OrderEvent::EditRefused { rejection } => refusal::put(out, 2, rejection),
        _ => {}
    }
}

pub(super) fn order_edit_begun(field: Field<'_>) -> Result<Fact, DecodeError> {
    let (id, lines, by) = lines_of("OrderEditBegun", field)?;
    Ok(Fact::Order(id, OrderEvent::EditBegun { lines, by }))
}

pub(super) fn order_edited(field: Field<'_>) -> Result<Fact, DecodeError> {
    let (id, lines, by) = lines_of("OrderEdited", field)?;
    Ok(Fact::Order(id, OrderEvent::Edited { lines, by }))
}

type Lines = (OrderId, Box<[LineQuantity]>, Username);

fn lines_of(message: &'static str, field: Field<'_>) -> Result<Lines, DecodeError> {
    let (mut id, mut lines, mut by) = (None, Vec::new(), None);
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => lines.push(parts::line_quantity(field)?),
            3 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok((required(message, 1, id)?, lines.into(), required(message, 3, by)?))
}

pub(super) fn order_edit_refused(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderEditRefused";
    let (mut id, mut rejection) = (None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => rejection = Some(refusal::get(field, ids)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::EditRefused {
        rejection: Box::new(required(MESSAGE, 2, rejection)?),
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}
