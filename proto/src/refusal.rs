//! [`Rejection`] in the journal's bytes.
//!
//! Each kind has a number that never changes and fills, of the message's fields, those that it has a value for:
//!
//! | kind | rejection | line | subject | wanted | found | taken | texts |
//! |---|---|---|---|---|---|---|---|
//! | 1 | RequestIdReused | | | | | | |
//! | 2 | CustomerNotFound | | customer | | | | |
//! | 3 | ItemNotFound | line | sku | | | | |
//! | 4 | OrderNotFound | | order | | | | |
//! | 5 | CustomerExists | | customer | | | | |
//! | 6 | ItemExists | | sku | | | | |
//! | 7 | StaleEtag | | | | | | |
//! | 8 | CurrencyMismatch | line | | | | | ordered, expected |
//! | 9 | Overflow | line | | | | | |
//! | 10 | InsufficientCredit | | | needed | available | | |
//! | 11 | PriceChanged | line | sku | offered | current | | |
//! | 12 | InsufficientStock | line | sku | wanted | available | | |
//! | 13 | OrderPending | | | | | | |
//! | 14 | NotCancellable | | | | state | | |
//! | 15 | StockReserved | | | wanted | on hand | reserved | |
//! | 16 | BalanceHeld | | | wanted | available | | |
//! | 17 | ItemFailed | line | sku | | | | |
//! | 18 | NotHoldable | | | | state | | |
//! | 19 | HoldExists | | | | reason | | |
//! | 20 | HoldNotFound | | | | reason | | |
//! | 21 | TooManyHolds | | | | | | |
//! | 22 | NotShippable | | | | state | | |
//! | 23 | OrderHeld | | | | reason | | |
//! | 24 | LineNotFound | line | | | | | |
//! | 25 | QuantityNotOpen | line | | wanted | open | | |
//! | 26 | TooManyFulfilments | | | | | | |
//! | 27 | FulfilmentNotFound | | | | fulfilment | | |
//! | 28 | NotReturnable | | | | state | | |
//! | 29 | QuantityNotReturnable | line | | wanted | returnable | | |
//! | 30 | ReturnNotFound | | | | number | | |
//! | 31 | ReturnNotOpen | | | number | state | | |
//! | 32 | TooManyReturns | | | | | | |
//! | 33 | RefundTooLarge | | | wanted | refundable | | |
//! | 34 | PaymentDeclined | | | | | | reason |
//! | 35 | PaymentExpired | | | | | | |
//! | 36 | ProviderNotFound | | provider | | | | |
//! | 37 | PaymentStepNotFound | | | | number | | |
//! | 38 | PaymentNotDeclined | | | | number | | |
//! | 39 | TooManyPayments | | | | | | |
//! | 45 | NotEditable | | | | state | | |
//! | 46 | QuantityTooLow | line | | wanted | gone | | |
//! | 47 | EditLeavesNothing | | | | | | |
//! | 48 | EditNeedsAuthorization | | | more | | | |
//! | 49 | TooManyEdits | | | | | | |
//! | 50 | OrderClosed | | | | | | |
//! | 53 | QuantityPlanned | line | | | planned | | |
//! | 54 | FulfilmentNotOpen | | | fulfilment | state | | |
//! | 55 | FulfilmentNotShipped | | | fulfilment | state | | |
//! | 56 | QuantityBackordered | line | | wanted | there | | |
//! | 59 | TooManyAuthorizations | | | | | | |
//!
//! A line is written as its number from 1, so that 0 is no line.

use docket_engine::{
    Amount, FulfilmentState, HoldReason, IdError, OrderId, ProviderName, Quantity, Rejection, ReturnState,
};

use crate::{
    parts::{self, Intern},
    wire::{self, DecodeError, Field, Problem, fields},
};

const MESSAGE: &str = "Rejection";

/// The message's fields, whatever its kind makes of them.
#[derive(Default)]
struct Parts<'a> {
    kind: u32,
    line: Option<u16>,
    subject: &'a str,
    wanted: i64,
    found: i64,
    wanted_text: &'a str,
    found_text: &'a str,
    taken: i64,
}

pub(crate) fn put(out: &mut Vec<u8>, field: u32, rejection: &Rejection) {
    // Only an order's id has no text of its own to lend.
    let order = match rejection {
        Rejection::OrderNotFound { order } => order.to_string(),
        _ => String::new(),
    };
    let parts = take_apart(rejection, &order);
    wire::nested(out, field, |out| write(out, &parts));
}

/// The message by itself.
pub(crate) fn encode(rejection: &Rejection) -> Vec<u8> {
    let order = match rejection {
        Rejection::OrderNotFound { order } => order.to_string(),
        _ => String::new(),
    };
    let mut out = Vec::new();
    write(&mut out, &take_apart(rejection, &order));
    out
}

fn write(out: &mut Vec<u8>, parts: &Parts<'_>) {
    wire::number(out, 1, parts.kind.into());
    wire::number(out, 2, parts.line.map_or(0, |line| u64::from(line) + 1));
    wire::text(out, 3, parts.subject);
    wire::signed(out, 4, parts.wanted);
    wire::signed(out, 5, parts.found);
    wire::text(out, 6, parts.wanted_text);
    wire::text(out, 7, parts.found_text);
    wire::signed(out, 8, parts.taken);
}

pub(crate) fn get(field: Field<'_>, ids: &dyn Intern) -> Result<Rejection, DecodeError> {
    decode(field.bytes()?, ids)
}

/// The rejection in a message by itself.
pub(crate) fn decode(message: &[u8], ids: &dyn Intern) -> Result<Rejection, DecodeError> {
    let mut parts = Parts::default();
    for field in fields(MESSAGE, message) {
        let field = field?;
        match field.number {
            1 => parts.kind = field.number32()?,
            2 => parts.line = line(field)?,
            3 => parts.subject = field.text()?,
            4 => parts.wanted = field.signed()?,
            5 => parts.found = field.signed()?,
            6 => parts.wanted_text = field.text()?,
            7 => parts.found_text = field.text()?,
            8 => parts.taken = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    put_together(&parts, ids)
}

fn line(field: Field<'_>) -> Result<Option<u16>, DecodeError> {
    let number = field.number()?;
    match number.checked_sub(1) {
        None => Ok(None),
        Some(line) => u16::try_from(line)
            .map(Some)
            .map_err(|_| field.has_no_meaning(number)),
    }
}

fn take_apart<'a>(rejection: &'a Rejection, order: &'a str) -> Parts<'a> {
    let none = Parts::default();
    match rejection {
        Rejection::RequestIdReused => Parts { kind: 1, ..none },
        Rejection::CustomerNotFound { customer } => Parts {
            kind: 2,
            subject: customer.as_str(),
            ..none
        },
        Rejection::ItemNotFound { line, sku } => Parts {
            kind: 3,
            line: *line,
            subject: sku.as_str(),
            ..none
        },
        Rejection::OrderNotFound { .. } => Parts {
            kind: 4,
            subject: order,
            ..none
        },
        Rejection::CustomerExists { customer } => Parts {
            kind: 5,
            subject: customer.as_str(),
            ..none
        },
        Rejection::ItemExists { sku } => Parts {
            kind: 6,
            subject: sku.as_str(),
            ..none
        },
        Rejection::StaleEtag => Parts { kind: 7, ..none },
        Rejection::CurrencyMismatch {
            line,
            ordered,
            expected,
        } => Parts {
            kind: 8,
            line: *line,
            wanted_text: ordered.as_str(),
            found_text: expected.as_str(),
            ..none
        },
        Rejection::Overflow { line } => Parts {
            kind: 9,
            line: *line,
            ..none
        },
        Rejection::InsufficientCredit { needed, available } => Parts {
            kind: 10,
            wanted: needed.0,
            found: available.0,
            ..none
        },
        Rejection::PriceChanged {
            line,
            sku,
            offered,
            current,
        } => Parts {
            kind: 11,
            line: Some(*line),
            subject: sku.as_str(),
            wanted: offered.0,
            found: current.0,
            ..none
        },
        Rejection::InsufficientStock {
            line,
            sku,
            wanted,
            available,
        } => Parts {
            kind: 12,
            line: Some(*line),
            subject: sku.as_str(),
            wanted: wanted.0,
            found: available.0,
            ..none
        },
        Rejection::OrderPending => Parts { kind: 13, ..none },
        Rejection::NotCancellable { state } => Parts {
            kind: 14,
            found: parts::state_number(*state).into(),
            ..none
        },
        Rejection::StockReserved {
            on_hand,
            reserved,
            wanted,
        } => Parts {
            kind: 15,
            wanted: wanted.0,
            found: on_hand.0,
            taken: reserved.0,
            ..none
        },
        Rejection::BalanceHeld { available, wanted } => Parts {
            kind: 16,
            wanted: wanted.0,
            found: available.0,
            ..none
        },
        Rejection::ItemFailed { line, sku } => Parts {
            kind: 17,
            line: Some(*line),
            subject: sku.as_str(),
            ..none
        },
        Rejection::NotHoldable { state } => Parts {
            kind: 18,
            found: parts::state_number(*state).into(),
            ..none
        },
        Rejection::HoldExists { reason } => Parts {
            kind: 19,
            found: reason.number().into(),
            ..none
        },
        Rejection::HoldNotFound { reason } => Parts {
            kind: 20,
            found: reason.number().into(),
            ..none
        },
        Rejection::TooManyHolds => Parts { kind: 21, ..none },
        Rejection::NotShippable { state } => Parts {
            kind: 22,
            found: parts::state_number(*state).into(),
            ..none
        },
        Rejection::OrderHeld { reason } => Parts {
            kind: 23,
            found: reason.number().into(),
            ..none
        },
        Rejection::LineNotFound { line } => Parts {
            kind: 24,
            line: Some(*line),
            ..none
        },
        Rejection::QuantityNotOpen { line, wanted, open } => Parts {
            kind: 25,
            line: Some(*line),
            wanted: wanted.0,
            found: open.0,
            ..none
        },
        Rejection::TooManyFulfilments => Parts { kind: 26, ..none },
        Rejection::FulfilmentNotFound { fulfilment } => Parts {
            kind: 27,
            found: (*fulfilment).into(),
            ..none
        },
        Rejection::QuantityPlanned { line, planned } => Parts {
            kind: 53,
            line: Some(*line),
            found: planned.0,
            ..none
        },
        Rejection::QuantityBackordered { line, wanted, there } => Parts {
            kind: 56,
            line: Some(*line),
            wanted: wanted.0,
            found: there.0,
            ..none
        },
        Rejection::FulfilmentNotOpen { fulfilment, state } => Parts {
            kind: 54,
            wanted: (*fulfilment).into(),
            found: state.number().into(),
            ..none
        },
        Rejection::FulfilmentNotShipped { fulfilment, state } => Parts {
            kind: 55,
            wanted: (*fulfilment).into(),
            found: state.number().into(),
            ..none
        },
        Rejection::NotReturnable { state } => Parts {
            kind: 28,
            found: parts::state_number(*state).into(),
            ..none
        },
        Rejection::QuantityNotReturnable {
            line,
            wanted,
            returnable,
        } => Parts {
            kind: 29,
            line: Some(*line),
            wanted: wanted.0,
            found: returnable.0,
            ..none
        },
        Rejection::ReturnNotFound { number } => Parts {
            kind: 30,
            found: (*number).into(),
            ..none
        },
        Rejection::ReturnNotOpen { number, state } => Parts {
            kind: 31,
            wanted: (*number).into(),
            found: state.number().into(),
            ..none
        },
        Rejection::TooManyReturns => Parts { kind: 32, ..none },
        Rejection::RefundTooLarge { wanted, refundable } => Parts {
            kind: 33,
            wanted: wanted.0,
            found: refundable.0,
            ..none
        },
        Rejection::PaymentDeclined { reason } => Parts {
            kind: 34,
            wanted_text: reason,
            ..none
        },
        Rejection::PaymentExpired => Parts { kind: 35, ..none },
        Rejection::OrderClosed => Parts { kind: 50, ..none },
        Rejection::ProviderNotFound { provider } => Parts {
            kind: 36,
            subject: provider.as_str(),
            ..none
        },
        Rejection::PaymentStepNotFound { number } => Parts {
            kind: 37,
            found: (*number).into(),
            ..none
        },
        Rejection::PaymentNotDeclined { number } => Parts {
            kind: 38,
            found: (*number).into(),
            ..none
        },
        Rejection::TooManyPayments => Parts { kind: 39, ..none },
        Rejection::NotEditable { state } => Parts {
            kind: 45,
            found: parts::state_number(*state).into(),
            ..none
        },
        Rejection::QuantityTooLow { line, wanted, gone } => Parts {
            kind: 46,
            line: Some(*line),
            wanted: wanted.0,
            found: gone.0,
            ..none
        },
        Rejection::EditLeavesNothing => Parts { kind: 47, ..none },
        Rejection::EditNeedsAuthorization { more } => Parts {
            kind: 48,
            wanted: more.0,
            ..none
        },
        Rejection::TooManyEdits => Parts { kind: 49, ..none },
        Rejection::TooManyAuthorizations => Parts { kind: 59, ..none },
    }
}

fn put_together(parts: &Parts<'_>, ids: &dyn Intern) -> Result<Rejection, DecodeError> {
    let error = |problem| DecodeError {
        message: MESSAGE,
        problem,
    };
    let customer = || parts::customer_id(MESSAGE, parts.subject, ids);
    let sku = || parts::sku(MESSAGE, parts.subject, ids);
    let line = || parts.line.ok_or_else(|| error(Problem::Missing(2)));
    let found = parts.found as u64;
    let unknown = || {
        error(Problem::Value {
            field: 5,
            value: found,
        })
    };
    let state = || parts::state_of(found).ok_or_else(unknown);
    let number = || u32::try_from(found).map_err(|_| unknown());
    let wanted_number = || {
        u32::try_from(parts.wanted).map_err(|_| {
            error(Problem::Value {
                field: 4,
                value: parts.wanted as u64,
            })
        })
    };
    let reason = || HoldReason::from_number(found).ok_or_else(unknown);
    Ok(match parts.kind {
        1 => Rejection::RequestIdReused,
        2 => Rejection::CustomerNotFound {
            customer: customer()?,
        },
        3 => Rejection::ItemNotFound {
            line: parts.line,
            sku: sku()?,
        },
        4 => Rejection::OrderNotFound {
            order: order_id(parts.subject).map_err(|e| error(Problem::Id(e)))?,
        },
        5 => Rejection::CustomerExists {
            customer: customer()?,
        },
        6 => Rejection::ItemExists { sku: sku()? },
        7 => Rejection::StaleEtag,
        8 => Rejection::CurrencyMismatch {
            line: parts.line,
            ordered: parts::currency(MESSAGE, parts.wanted_text)?,
            expected: parts::currency(MESSAGE, parts.found_text)?,
        },
        9 => Rejection::Overflow { line: parts.line },
        10 => Rejection::InsufficientCredit {
            needed: Amount(parts.wanted),
            available: Amount(parts.found),
        },
        11 => Rejection::PriceChanged {
            line: line()?,
            sku: sku()?,
            offered: Amount(parts.wanted),
            current: Amount(parts.found),
        },
        12 => Rejection::InsufficientStock {
            line: line()?,
            sku: sku()?,
            wanted: Quantity(parts.wanted),
            available: Quantity(parts.found),
        },
        13 => Rejection::OrderPending,
        14 => Rejection::NotCancellable { state: state()? },
        15 => Rejection::StockReserved {
            on_hand: Quantity(parts.found),
            reserved: Quantity(parts.taken),
            wanted: Quantity(parts.wanted),
        },
        16 => Rejection::BalanceHeld {
            available: Amount(parts.found),
            wanted: Amount(parts.wanted),
        },
        17 => Rejection::ItemFailed {
            line: line()?,
            sku: sku()?,
        },
        18 => Rejection::NotHoldable { state: state()? },
        19 => Rejection::HoldExists { reason: reason()? },
        20 => Rejection::HoldNotFound { reason: reason()? },
        21 => Rejection::TooManyHolds,
        22 => Rejection::NotShippable { state: state()? },
        23 => Rejection::OrderHeld { reason: reason()? },
        24 => Rejection::LineNotFound { line: line()? },
        25 => Rejection::QuantityNotOpen {
            line: line()?,
            wanted: Quantity(parts.wanted),
            open: Quantity(parts.found),
        },
        26 => Rejection::TooManyFulfilments,
        27 => Rejection::FulfilmentNotFound {
            fulfilment: u32::try_from(found).map_err(|_| unknown())?,
        },
        28 => Rejection::NotReturnable { state: state()? },
        29 => Rejection::QuantityNotReturnable {
            line: line()?,
            wanted: Quantity(parts.wanted),
            returnable: Quantity(parts.found),
        },
        30 => Rejection::ReturnNotFound {
            number: u32::try_from(found).map_err(|_| unknown())?,
        },
        31 => Rejection::ReturnNotOpen {
            number: wanted_number()?,
            state: ReturnState::from_number(found).ok_or_else(unknown)?,
        },
        32 => Rejection::TooManyReturns,
        33 => Rejection::RefundTooLarge {
            wanted: Amount(parts.wanted),
            refundable: Amount(parts.found),
        },
        34 => Rejection::PaymentDeclined {
            reason: parts.wanted_text.into(),
        },
        35 => Rejection::PaymentExpired,
        50 => Rejection::OrderClosed,
        36 => Rejection::ProviderNotFound {
            provider: ProviderName::new(parts.subject).map_err(|_| error(Problem::Provider(3)))?,
        },
        37 => Rejection::PaymentStepNotFound { number: number()? },
        38 => Rejection::PaymentNotDeclined { number: number()? },
        39 => Rejection::TooManyPayments,
        45 => Rejection::NotEditable { state: state()? },
        46 => Rejection::QuantityTooLow {
            line: line()?,
            wanted: Quantity(parts.wanted),
            gone: Quantity(parts.found),
        },
        47 => Rejection::EditLeavesNothing,
        48 => Rejection::EditNeedsAuthorization {
            more: Amount(parts.wanted),
        },
        49 => Rejection::TooManyEdits,
        53 => Rejection::QuantityPlanned {
            line: line()?,
            planned: Quantity(parts.found),
        },
        56 => Rejection::QuantityBackordered {
            line: line()?,
            wanted: Quantity(parts.wanted),
            there: Quantity(parts.found),
        },
        54 => Rejection::FulfilmentNotOpen {
            fulfilment: wanted_number()?,
            state: FulfilmentState::from_number(found).ok_or_else(unknown)?,
        },
        55 => Rejection::FulfilmentNotShipped {
            fulfilment: wanted_number()?,
            state: FulfilmentState::from_number(found).ok_or_else(unknown)?,
        },
        59 => Rejection::TooManyAuthorizations,
        kind => {
            return Err(error(Problem::Value {
                field: 1,
                value: kind.into(),
            }));
        }
    })
}

/// An order's id, as it is written here and not otherwise: in a call it may be of small letters as well, and what a journal has changed is found.
fn order_id(text: &str) -> Result<OrderId, IdError> {
    let id: OrderId = text.parse()?;
    match id.to_string() == text {
        true => Ok(id),
        false => Err(IdError::NotAnOrder),
    }
}
