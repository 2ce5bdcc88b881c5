//! What happens to an order's payment by a provider, in the journal's bytes.

use docket_engine::{Fact, OrderEvent};

use crate::{
    parts::{self, required},
    wire::{self, DecodeError, Field, fields},
};

/// Writes what such an event has beside its order's id.
pub(super) fn put(out: &mut Vec<u8>, event: &OrderEvent) {
    match event {
        OrderEvent::Authorized { reference } => wire::text(out, 2, reference),
        OrderEvent::PaymentAnswered { number, outcome } => {
            wire::number(out, 2, (*number).into());
            parts::put_payment_outcome(out, 3, outcome);
        }
        OrderEvent::PaymentRetried { number, by } => {
            wire::number(out, 2, (*number).into());
            wire::text(out, 3, by.as_str());
        }
        _ => {}
    }
}

pub(super) fn order_authorized(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderAuthorized";
    let (mut id, mut reference) = (None, "");
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => reference = field.text()?,
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Authorized {
        reference: reference.into(),
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_payment_answered(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderPaymentAnswered";
    let (mut id, mut number, mut outcome) = (None, None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => number = Some(field.number_from_1()?),
            3 => outcome = Some(parts::payment_outcome(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::PaymentAnswered {
        number: required(MESSAGE, 2, number)?,
        outcome: required(MESSAGE, 3, outcome)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

pub(super) fn order_payment_retried(field: Field<'_>) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderPaymentRetried";
    let (mut id, mut number, mut by) = (None, None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => number = Some(field.number_from_1()?),
            3 => by = Some(parts::username(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::PaymentRetried {
        number: required(MESSAGE, 2, number)?,
        by: required(MESSAGE, 3, by)?,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}
