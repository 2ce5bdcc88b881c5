//! What the journal's records and the snapshots have in common: ids, lines, rejections, and the sharing of ids.

use docket_engine::{
    Amount, Currency, CustomerId, HoldReason, IdError, Line, LineQuantity, OrderId, OrderState, PackedOrigin,
    PaymentOutcome, ProviderName, Quantity, Request, ReturnState, ReturnStep, Sku, Time, access::Username,
};

use crate::wire::{self, DecodeError, Field, Problem, fields};

/// Makes ids of texts, so that a million orders of one customer can share one copy of its id.
pub trait Intern {
    /// A customer's id.
    ///
    /// # Errors
    /// Where the text is none.
    fn customer(&self, text: &str) -> Result<CustomerId, IdError> {
        CustomerId::new(text)
    }

    /// An item's sku.
    ///
    /// # Errors
    /// Where the text is none.
    fn sku(&self, text: &str) -> Result<Sku, IdError> {
        Sku::new(text)
    }
}

/// Shares nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIntern;

impl Intern for NoIntern {}

/// A field of a message that must be there.
pub(crate) fn required<T>(message: &'static str, field: u32, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError {
        message,
        problem: Problem::Missing(field),
    })
}

pub(crate) fn customer_id(
    message: &'static str,
    text: &str,
    ids: &dyn Intern,
) -> Result<CustomerId, DecodeError> {
    ids.customer(text).map_err(|e| bad_id(message, e))
}

pub(crate) fn sku(message: &'static str, text: &str, ids: &dyn Intern) -> Result<Sku, DecodeError> {
    ids.sku(text).map_err(|e| bad_id(message, e))
}

fn bad_id(message: &'static str, error: IdError) -> DecodeError {
    DecodeError {
        message,
        problem: Problem::Id(error),
    }
}

pub(crate) fn currency(message: &'static str, text: &str) -> Result<Currency, DecodeError> {
    text.parse().map_err(|_| DecodeError {
        message,
        problem: Problem::Currency,
    })
}

pub(crate) fn put_order_id(out: &mut Vec<u8>, field: u32, id: OrderId) {
    let (high, low) = id.halves();
    wire::nested(out, field, |out| {
        wire::fixed(out, 1, high);
        wire::fixed(out, 2, low);
    });
}

pub(crate) fn order_id(field: Field<'_>) -> Result<OrderId, DecodeError> {
    let (mut high, mut low) = (0, 0);
    for field in fields("OrderId", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => high = field.fixed()?,
            2 => low = field.fixed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(OrderId::from_halves(high, low))
}

pub(crate) fn put_line(out: &mut Vec<u8>, field: u32, line: &Line) {
    wire::nested(out, field, |out| {
        wire::text(out, 1, line.sku.as_str());
        wire::signed(out, 2, line.quantity.0);
        wire::signed(out, 3, line.unit_price.0);
    });
}

pub(crate) fn line(field: Field<'_>, ids: &dyn Intern) -> Result<Line, DecodeError> {
    let (mut text, mut quantity, mut unit_price) = ("", 0, 0);
    for field in fields("Line", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => text = field.text()?,
            2 => quantity = field.signed()?,
            3 => unit_price = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(Line {
        sku: sku("Line", text, ids)?,
        quantity: Quantity(quantity),
        unit_price: Amount(unit_price),
    })
}

pub(crate) fn put_line_quantity(out: &mut Vec<u8>, field: u32, of: &LineQuantity) {
    wire::nested(out, field, |out| {
        wire::number(out, 1, of.line.into());
        wire::signed(out, 2, of.quantity.0);
    });
}

/// Some of one line.
pub(crate) fn line_quantity(field: Field<'_>) -> Result<LineQuantity, DecodeError> {
    let (mut line, mut quantity) = (0, 0);
    for field in fields("LineQuantity", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => {
                let number = field.number()?;
                line = u16::try_from(number).map_err(|_| field.has_no_meaning(number))?;
            }
            2 => quantity = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok(LineQuantity {
        line,
        quantity: Quantity(quantity),
    })
}

pub(crate) fn put_return_step(out: &mut Vec<u8>, field: u32, step: &ReturnStep) {
    wire::nested(out, field, |out| {
        wire::number(out, 1, step.leads_to().number().into());
        match step {
            ReturnStep::Decline { note } => wire::text(out, 2, note),
            ReturnStep::Receive { restock } => wire::number(out, 3, u64::from(*restock)),
            ReturnStep::Approve | ReturnStep::Close => {}
        }
    });
}

/// What a return came to.
pub(crate) fn return_step(field: Field<'_>) -> Result<ReturnStep, DecodeError> {
    const MESSAGE: &str = "ReturnStep";
    let (mut state, mut note, mut restock) = (0, "", 0);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => state = field.number()?,
            2 => note = field.text()?,
            3 => restock = field.number()?,
            _ => return Err(field.unknown()),
        }
    }
    let no_meaning = |field, value| DecodeError {
        message: MESSAGE,
        problem: Problem::Value { field, value },
    };
    Ok(match (ReturnState::from_number(state), restock) {
        (Some(ReturnState::Approved), 0) => ReturnStep::Approve,
        (Some(ReturnState::Declined), 0) => ReturnStep::Decline { note: note.into() },
        (Some(ReturnState::Received), 0 | 1) => ReturnStep::Receive {
            restock: restock == 1,
        },
        (Some(ReturnState::Closed), 0) => ReturnStep::Close,
        (None | Some(ReturnState::Requested), _) => return Err(no_meaning(1, state)),
        (Some(_), _) => return Err(no_meaning(3, restock)),
    })
}

/// Who moves an order's money.
pub(crate) fn provider(field: Field<'_>) -> Result<ProviderName, DecodeError> {
    ProviderName::new(field.text()?).map_err(|_| field.error(Problem::Provider(field.number)))
}

pub(crate) fn put_payment_outcome(out: &mut Vec<u8>, field: u32, outcome: &PaymentOutcome) {
    wire::nested(out, field, |out| match outcome {
        PaymentOutcome::Done { reference } => {
            wire::number(out, 1, 1);
            wire::text(out, 2, reference);
        }
        PaymentOutcome::Declined { reason } => {
            wire::number(out, 1, 2);
            wire::text(out, 2, reason);
        }
    });
}

/// What a provider said for good.
pub(crate) fn payment_outcome(field: Field<'_>) -> Result<PaymentOutcome, DecodeError> {
    const MESSAGE: &str = "PaymentOutcome";
    let (mut kind, mut text) = (0, "");
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => kind = field.number()?,
            2 => text = field.text()?,
            _ => return Err(field.unknown()),
        }
    }
    match kind {
        1 => Ok(PaymentOutcome::Done {
            reference: text.into(),
        }),
        2 => Ok(PaymentOutcome::Declined { reason: text.into() }),
        value => Err(DecodeError {
            message: MESSAGE,
            problem: Problem::Value { field: 1, value },
        }),
    }
}

pub(crate) fn put_request(out: &mut Vec<u8>, field: u32, request: &Request) {
    wire::nested(out, field, |out| {
        wire::fixed(out, 1, (request.key >> 64) as u64);
        wire::fixed(out, 2, request.key as u64);
        wire::fixed(out, 3, request.fingerprint);
    });
}

pub(crate) fn request(field: Field<'_>) -> Result<Request, DecodeError> {
    let (mut high, mut low, mut fingerprint) = (0, 0, 0);
    for field in fields("Request", field.bytes()?) {
        let field = field?;
        match field.number {
            1 => high = field.fixed()?,
            2 => low = field.fixed()?,
            3 => fingerprint = field.fixed()?,
            _ => return Err(field.unknown()),
        }
    }
    let key = u128::from(high) << 64 | u128::from(low);
    Ok(Request { key, fingerprint })
}

/// The number of an order's state, for ever.
pub(crate) fn state_number(state: OrderState) -> u32 {
    match state {
        OrderState::Pending => 1,
        OrderState::Confirmed => 2,
        OrderState::Cancelled => 3,
        OrderState::Rejected => 4,
        OrderState::PartiallyFulfilled => 5,
        OrderState::Fulfilled => 6,
        OrderState::Authorizing => 7,
        OrderState::Expired => 8,
        OrderState::Closed => 9,
    }
}

pub(crate) fn state_of(number: u64) -> Option<OrderState> {
    Some(match number {
        1 => OrderState::Pending,
        2 => OrderState::Confirmed,
        3 => OrderState::Cancelled,
        4 => OrderState::Rejected,
        5 => OrderState::PartiallyFulfilled,
        6 => OrderState::Fulfilled,
        7 => OrderState::Authorizing,
        8 => OrderState::Expired,
        9 => OrderState::Closed,
        _ => return None,
    })
}

/// The numbers of some states, as other nodes are told them: what is PENDING may wait for its provider, which older programs do not know.
pub(crate) fn told_states(states: &[OrderState]) -> impl Iterator<Item = u32> {
    let implied = states.contains(&OrderState::Pending);
    let told = states
        .iter()
        .filter(move |state| !(implied && **state == OrderState::Authorizing));
    told.map(|state| state_number(*state))
}

/// The states that another node means by some of them: each once, in their order.
pub(crate) fn meant_states(mut states: Vec<OrderState>) -> Vec<OrderState> {
    if states.contains(&OrderState::Pending) {
        states.push(OrderState::Authorizing);
    }
    states.sort_unstable();
    states.dedup();
    states
}

/// Why an order is held.
pub(crate) fn hold_reason(field: Field<'_>) -> Result<HoldReason, DecodeError> {
    let number = field.number()?;
    HoldReason::from_number(number).ok_or_else(|| field.has_no_meaning(number))
}

/// Who did something.
pub(crate) fn username(field: Field<'_>) -> Result<Username, DecodeError> {
    Username::new(field.text()?).map_err(|_| field.error(Problem::Username(field.number)))
}

/// Where a change comes from.
pub(crate) fn origin(field: Field<'_>) -> Result<PackedOrigin, DecodeError> {
    let bytes = field.bytes()?;
    PackedOrigin::of_bytes(bytes).ok_or_else(|| field.has_no_meaning(bytes.len() as u64))
}

pub(crate) fn time(field: Field<'_>) -> Result<Time, DecodeError> {
    field.signed().map(Time)
}
