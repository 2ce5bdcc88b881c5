//! What orders hear of what they wait for, in the journal's bytes.

use docket_engine::{Fact, OrderEvent};

use crate::{
    parts::{self, required},
    wire::{DecodeError, Field, fields},
};

/// Writes what such an event has beside its order's id, and nothing of any other.
pub(super) fn put(out: &mut Vec<u8>, event: &OrderEvent) {
    if let OrderEvent::Backordered { lines } | OrderEvent::BackorderFilled { lines } = event {
        for of_line in lines {
            parts::put_line_quantity(out, 2, of_line);
        }
    }
}

/// Such an event; `filled` says which.
pub(super) fn get(message: &'static str, field: Field<'_>, filled: bool) -> Result<Fact, DecodeError> {
    let (mut id, mut lines) = (None, Vec::new());
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => lines.push(parts::line_quantity(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let lines = lines.into();
    let event = match filled {
        true => OrderEvent::BackorderFilled { lines },
        false => OrderEvent::Backordered { lines },
    };
    Ok(Fact::Order(required(message, 1, id)?, event))
}
