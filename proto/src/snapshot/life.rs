//! What came after an order was confirmed, in the bytes of snapshots: fields 11 to 17 of `docket.journal.v1.Order`.

use docket_engine::{
    Amount, Fulfilment, Hold, HoldEnd, LineCancellation, OrderLife, Refund, Return, ReturnStep, Sku, Stamp,
    Time, Version, few,
};

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
    for found in &life.returns {
        wire::nested(out, 15, |out| return_fields(out, found));
    }
    for refund in &life.refunds {
        wire::nested(out, 16, |out| {
            wire::signed(out, 1, refund.amount.0);
            wire::text(out, 2, &refund.note);
            put_stamp(out, 3, &refund.refunded);
        });
    }
    for (number, sku) in &life.restocking {
        wire::nested(out, 17, |out| {
            wire::number(out, 1, (*number).into());
            wire::text(out, 2, sku.as_str());
        });
    }
}

/// Takes one of the fields in.
pub(super) fn get(field: Field<'_>, life: &mut OrderLife, ids: &dyn Intern) -> Result<(), DecodeError> {
    match field.number {
        11 => few::add(&mut life.holds, hold(field)?),
        12 => few::add(&mut life.fulfilments, fulfilment(field)?),
        13 => few::add(&mut life.cancellations, cancellation(field)?),
        14 => {
            let sku = parts::sku("Order", field.text()?, ids)?;
            let mut consuming = std::mem::take(&mut life.consuming).into_vec();
            consuming.push(sku);
            life.consuming = consuming.into();
        }
        15 => few::add(&mut life.returns, return_of(field)?),
        16 => few::add(&mut life.refunds, refund(field)?),
        17 => {
            let mut restocking = std::mem::take(&mut life.restocking).into_vec();
            restocking.push(restocked(field, ids)?);
            life.restocking = restocking.into();
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
    let stamps = [
        (5, &fulfilment.shipped),
        (6, &fulfilment.delivered),
        (7, &fulfilment.opened),
        (8, &fulfilment.cancelled),
    ];
    for (field, stamp) in stamps {
        if let Some(stamp) = stamp {
            put_stamp(out, field, stamp);
        }
    }
}

fn return_fields(out: &mut Vec<u8>, found: &Return) {
    for of_line in &found.lines {
        parts::put_line_quantity(out, 1, of_line);
    }
    wire::text(out, 2, &found.note);
    put_stamp(out, 3, &found.requested);
    for (step, taken) in &found.steps {
        wire::nested(out, 4, |out| {
            parts::put_return_step(out, 1, step);
            put_stamp(out, 2, taken);
        });
    }
}

pub(super) fn put_stamp(out: &mut Vec<u8>, field: u32, stamp: &Stamp) {
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
    let (mut opened, mut cancelled) = (None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => lines.push(parts::line_quantity(field)?),
            2 => carrier = field.text()?,
            3 => tracking = field.text()?,
            4 => captured = field.signed()?,
            5 => shipped = Some(stamp(field)?),
            6 => delivered = Some(stamp(field)?),
            7 => opened = Some(stamp(field)?),
            8 => cancelled = Some(stamp(field)?),
            _ => return Err(field.unknown()),
        }
    }
    // It was planned, or else sent.
    if opened.is_none() && shipped.is_none() {
        return required(MESSAGE, 5, None);
    }
    Ok(Fulfilment {
        lines: lines.into(),
        carrier: carrier.into(),
        tracking: tracking.into(),
        captured: Amount(captured),
        opened,
        shipped,
        delivered,
        cancelled,
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

fn return_of(field: Field<'_>) -> Result<Return, DecodeError> {
    const MESSAGE: &str = "Return";
    let (mut lines, mut note, mut requested, mut steps) = (Vec::new(), "", None, Vec::new());
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => lines.push(parts::line_quantity(field)?),
            2 => note = field.text()?,
            3 => requested = Some(stamp(field)?),
            4 => few::add(&mut steps, step_taken(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Return {
        lines: lines.into(),
        note: note.into(),
        requested: required(MESSAGE, 3, requested)?,
        steps,
    })
}

fn step_taken(field: Field<'_>) -> Result<(ReturnStep, Stamp), DecodeError> {
    const MESSAGE: &str = "ReturnStepTaken";
    let (mut step, mut taken) = (None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => step = Some(parts::return_step(field)?),
            2 => taken = Some(stamp(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok((required(MESSAGE, 1, step)?, required(MESSAGE, 2, taken)?))
}

fn refund(field: Field<'_>) -> Result<Refund, DecodeError> {
    const MESSAGE: &str = "Refund";
    let (mut amount, mut note, mut refunded) = (0, "", None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => amount = field.signed()?,
            2 => note = field.text()?,
            3 => refunded = Some(stamp(field)?),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Refund {
        amount: Amount(amount),
        note: note.into(),
        refunded: required(MESSAGE, 3, refunded)?,
    })
}

fn restocked(field: Field<'_>, ids: &dyn Intern) -> Result<(u32, Sku), DecodeError> {
    let (mut number, mut sku) = (0, "");
    for field in fields("Restocking", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => number = field.number32()?,
            2 => sku = field.text()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok((number, parts::sku("Restocking", sku, ids)?))
}

pub(super) fn stamp(field: Field<'_>) -> Result<Stamp, DecodeError> {
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
