//! What a provider is to do for an order, in the bytes of snapshots: field 19 of `docket.journal.v1.Order`.

use docket_engine::{Amount, PaymentKind, PaymentStep, ProviderPayment};

use super::life::{put_stamp, stamp};
use crate::{
    parts::{self, required},
    wire::{self, DecodeError, Field, fields},
};

pub(super) fn put(out: &mut Vec<u8>, provider: &ProviderPayment) {
    wire::text(out, 18, provider.name.as_str());
    for step in &provider.steps {
        wire::nested(out, 19, |out| {
            wire::number(out, 1, step.kind.number().into());
            wire::signed(out, 2, step.amount.0);
            wire::number(out, 3, step.group.into());
            put_stamp(out, 4, &step.due);
            if let Some((outcome, stamp)) = &step.outcome {
                parts::put_payment_outcome(out, 5, outcome);
                put_stamp(out, 6, stamp);
            }
            if let Some(retried) = &step.retried {
                put_stamp(out, 7, retried);
            }
            // As it ever was, where there is one payment.
            if step.payment > 1 {
                wire::number(out, 13, step.payment.into());
            }
        });
    }
}

pub(super) fn step(field: Field<'_>) -> Result<PaymentStep, DecodeError> {
    const MESSAGE: &str = "PaymentStep";
    let (mut kind, mut amount, mut group, mut due) = (None, 0, 0, None);
    let (mut outcome, mut answered, mut retried) = (None, None, None);
    let mut payment = 1;
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => {
                let number = field.number()?;
                kind = Some(PaymentKind::from_number(number).ok_or_else(|| field.has_no_meaning(number))?);
            }
            2 => amount = field.signed()?,
            3 => group = field.number32()?,
            4 => due = Some(stamp(field)?),
            5 => outcome = Some(parts::payment_outcome(field)?),
            6 => answered = Some(stamp(field)?),
            7 => retried = Some(stamp(field)?),
            13 => {
                let number = field.number()?;
                let counted = u8::try_from(number).ok().filter(|payment| *payment > 0);
                payment = counted.ok_or_else(|| field.has_no_meaning(number))?;
            }
            _ => return Err(field.unknown()),
        }
    }
    let outcome = match outcome {
        None => None,
        Some(outcome) => Some((outcome, required(MESSAGE, 6, answered)?)),
    };
    Ok(PaymentStep {
        kind: required(MESSAGE, 1, kind)?,
        payment,
        amount: Amount(amount),
        group,
        due: required(MESSAGE, 4, due)?,
        outcome,
        retried,
    })
}
