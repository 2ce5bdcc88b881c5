//! Backorders in the bytes of snapshots: fields 11 and 12 of `docket.journal.v1.Item`, and field 29 of `Order`.

use std::collections::VecDeque;

use docket_engine::{Backorder, BackorderNews, Backorders, Quantity};

use super::life::{put_stamp, stamp};
use crate::{
    parts::{self, required},
    wire::{self, DecodeError, Field, fields},
};

/// Writes how much an item may promise beyond what there is, and who waits.
pub(super) fn put_row(out: &mut Vec<u8>, backorders: &Backorders) {
    wire::signed(out, 11, backorders.limit().0);
    for place in backorders.row() {
        wire::nested(out, 12, |out| {
            parts::put_order_id(out, 1, place.order);
            wire::signed(out, 2, place.quantity.0);
        });
    }
}

/// An item's limit, and who waits, as they are read.
#[derive(Default)]
pub(super) struct Row {
    pub(super) limit: i64,
    pub(super) places: VecDeque<Backorder>,
}

impl Row {
    pub(super) fn backorders(self) -> Option<Box<Backorders>> {
        Backorders::new(Quantity(self.limit), self.places)
    }
}

/// One place of the row.
pub(super) fn place(field: Field<'_>) -> Result<Backorder, DecodeError> {
    const MESSAGE: &str = "Backorder";
    let (mut order, mut quantity) = (None, 0);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => order = Some(parts::order_id(field)?),
            2 => quantity = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(Backorder {
        order: required(MESSAGE, 1, order)?,
        quantity: Quantity(quantity),
    })
}

/// Writes what an order heard.
pub(super) fn put_news(out: &mut Vec<u8>, news: &BackorderNews) {
    wire::nested(out, 29, |out| {
        for of_line in &news.lines {
            parts::put_line_quantity(out, 1, of_line);
        }
        wire::number(out, 2, news.filled.into());
        put_stamp(out, 3, &news.heard);
    });
}

/// What an order heard.
pub(super) fn news(field: Field<'_>) -> Result<BackorderNews, DecodeError> {
    const MESSAGE: &str = "BackorderNews";
    let (mut lines, mut filled, mut heard) = (Vec::new(), false, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => lines.push(parts::line_quantity(field)?),
            2 => {
                filled = match field.number()? {
                    0 => false,
                    1 => true,
                    other => return Err(field.has_no_meaning(other)),
                }
            }
            3 => heard = Some(stamp(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(BackorderNews {
        lines: lines.into(),
        filled,
        heard: required(MESSAGE, 3, heard)?,
    })
}
