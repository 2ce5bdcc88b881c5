//! What came after an order was confirmed, in the bytes of snapshots: fields 11 to 14 of `docket.journal.v1.Order`.

use docket_engine::{Amount, Fulfilment, Hold, HoldEnd, LineCancellation, OrderLife, Stamp, Time, Version};

use crate::{
    parts::{self, Intern, required},
    wire::{self, DecodeError, Field, fields},
};

pub(super) fn put(out: &mut Vec<u8>, life: &OrderLife) {
    for hold in &life.holds {
        wire::nested(out, 11, |out| hold_fields(out, hold));
    }
    for fulfilment in &life.fulfilments {
        wire::nested(out, 12, |out| fulfilment_fields(out, fulfilment));
    }
    for cancellation in &life.cancellations {
        wire::nested(out, 13, |out| {
            for of_line in &cancellation.lines {
                parts::put_line_quantity(out, 1, of_line);
            }
            wire::signed(out, 2, cancellation.voided.0);
            put_stamp(out, 3, &cancellation.cancelled);
        });
    }
    for sku in &life.consuming {
        wire::element(out, 14, sku.as_str());
    }
}

/// Takes one of the fields in.
pub(super) fn get(field: Field<'_>, life: &mut OrderLife, ids: &dyn Intern) -> Result<(), DecodeError> {
    match field.number {
        11 => life.holds.push(hold(field)?),
        12 => life.fulfilments.push(fulfilment(field)?),
        13 => life.cancellations.push(cancellation(field)?),
        14 => {
            let sku = parts::sku("Order", field.text()?, ids)?;
            let mut consuming = std::mem::take(&mut life.consuming).into_vec();
            consuming.push(sku);
            life.consuming = consuming.into();
        }
        _ => return Err(field.unknown()),
    }
    Ok(())
}

fn hold_fields(out: &mut Vec<u8>, hold: &Hold) {
    wire::number(out, 1, hold.reason.number().into());
    wire::text(out, 2, &hold.note);
    wire::text(out, 3, hold.by.as_str());
    wire::signed(out, 4, hold.since.0);
    wire::number(out, 5, hold.version.0);
    if let Some(HoldEnd { at, version, by }) = &hold.ended {
        wire::number(out, 6, version.0);
        wire::signed(out, 7, at.0);
        if let Some(by) = by {
            wire::text(out, 8, by.as_str());
        }
    }
}

fn fulfilment_fields(out: &mut Vec<u8>, fulfilment: &Fulfilment) {
    for of_line in &fulfilment.lines {
        parts::put_line_quantity(out, 1, of_line);
    }
    wire::text(out, 2, &fulfilment.carrier);
    wire::text(out, 3, &fulfilment.tracking);
    wire::signed(out, 4, fulfilment.captured.0);
    put_stamp(out, 5, &fulfilment.shipped);
    if let Some(delivered) = &fulfilment.delivered {
        put_stamp(out, 6, delivered);
    }
}

fn put_stamp(out: &mut Vec<u8>, field: u32, stamp: &Stamp) {
    wire::nested(out, field, |out| {
        wire::signed(out, 1, stamp.at.0);
        wire::number(out, 2, stamp.version.0);
        wire::text(out, 3, stamp.by.as_ref().map_or("", |by| by.as_str()));
    });
}

fn hold(field: Field<'_>) -> Result<Hold, DecodeError> {
    const MESSAGE: &str = "Hold";
    let (mut reason, mut note, mut by) = (None, "", None);
    let (mut since, mut version, mut end_version) = (Time(0), 0, 0);
    let (mut ended, mut ended_by) = (Time(0), None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => reason = Some(parts::hold_reason(field)?),
            2 => note = field.text()?,
            3 => by = Some(parts::username(field)?),
            4 => since = parts::time(field)?,
            5 => version = field.number()?,
            6 => end_version = field.number()?,
            7 => ended = parts::time(field)?,
            8 => ended_by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Hold {
        reason: required(MESSAGE, 1, reason)?,
        note: note.into(),
        by: required(MESSAGE, 3, by)?,
        since,
        version: Version(version),
        ended: (end_version > 0).then_some(HoldEnd {
            at: ended,
            version: Version(end_version),
            by: ended_by,
        }),
    })
}

fn fulfilment(field: Field<'_>) -> Result<Fulfilment, DecodeError> {
    const MESSAGE: &str = "Fulfilment";
    let (mut lines, mut carrier, mut tracking) = (Vec::new(), "", "");
    let (mut captured, mut shipped, mut delivered) = (0, None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => lines.push(parts::line_quantity(field)?),
            2 => carrier = field.text()?,
            3 => tracking = field.text()?,
            4 => captured = field.signed()?,
            5 => shipped = Some(stamp(field)?),
            6 => delivered = Some(stamp(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Fulfilment {
        lines: lines.into(),
        carrier: carrier.into(),
        tracking: tracking.into(),
        captured: Amount(captured),
        shipped: required(MESSAGE, 5, shipped)?,
        delivered,
    })
}

fn cancellation(field: Field<'_>) -> Result<LineCancellation, DecodeError> {
    const MESSAGE: &str = "LineCancellation";
    let (mut lines, mut voided, mut cancelled) = (Vec::new(), 0, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => lines.push(parts::line_quantity(field)?),
            2 => voided = field.signed()?,
            3 => cancelled = Some(stamp(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(LineCancellation {
        lines: lines.into(),
        voided: Amount(voided),
        cancelled: required(MESSAGE, 3, cancelled)?,
    })
}

fn stamp(field: Field<'_>) -> Result<Stamp, DecodeError> {
    let (mut at, mut version, mut by) = (Time(0), 0, None);
    for field in fields("Stamp", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => at = parts::time(field)?,
            2 => version = field.number()?,
            3 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Stamp {
        at,
        version: Version(version),
        by,
    })
}
