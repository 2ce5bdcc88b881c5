//! Requests of `OrderService` about what comes after an order's confirmation: what is shipped, cancelled in part, edited, returned and refunded.

use std::sync::Arc;

use docket_engine::{
    Amount, LINES_MAX, LineQuantity, OrderId, Quantity, RETURN_NOTE_BYTES_MAX, ReturnStep,
    SHIPPING_TEXT_BYTES_MAX, Version, money::QUANTITY_MAX,
};

use super::{
    check::{Check, Checked},
    names::{self, parse_order_name},
};
use crate::v1;

/// A `CancelOrderLinesRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelOrderLines {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// How many of which lines, each once, in their order; at least one.
    pub lines: Box<[LineQuantity]>,
}

/// An `EditOrderRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditOrder {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Version,
    /// How many of which lines in all, each once, in their order; at least one; 0 or more.
    pub lines: Box<[LineQuantity]>,
}

/// A `ShipOrderRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipOrder {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// How many of which lines, each once, in their order; all that is open when empty.
    pub lines: Box<[LineQuantity]>,
    /// Who carries it; may be empty.
    pub carrier: Arc<str>,
    /// How the carrier names it; may be empty.
    pub tracking: Arc<str>,
    /// Which open fulfilment it is, from 1; then no lines are named.
    pub fulfilment: Option<u32>,
}

/// An `OpenFulfilmentRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFulfilment {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// How many of which lines, each once, in their order; all that is free when empty.
    pub lines: Box<[LineQuantity]>,
}

/// A `CancelFulfilmentRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelFulfilment {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// Which, from 1.
    pub fulfilment: u32,
}

/// A `DeliverFulfilmentRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverFulfilment {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// Which shipment, from 1.
    pub fulfilment: u32,
}

/// A `RequestReturnRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestReturn {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// How many of which lines, each once, in their order; all that can be returned when empty.
    pub lines: Box<[LineQuantity]>,
    /// Why; may be empty.
    pub note: Arc<str>,
}

/// A `ResolveReturnRequest`, a `ReceiveReturnRequest` or a `CloseReturnRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveReturn {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// Which return, from 1.
    pub number: u32,
    /// What becomes of it.
    pub step: ReturnStep,
}

/// A `RefundOrderRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundOrder {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// How much; 1 or more.
    pub amount: Amount,
    /// Why; may be empty.
    pub note: Arc<str>,
}

/// A `RetryPaymentRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPayment {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// The step's number, from 1.
    pub number: u32,
}

/// Takes a `RetryPaymentRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn retry_payment(request: &v1::RetryPaymentRequest) -> Checked<RetryPayment> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let number = u32::try_from(request.step).ok().filter(|number| *number > 0);
    let number = check.ok("step", number.ok_or("must be a number from 1 on"));
    let retry = || {
        Some(RetryPayment {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            number: number?,
        })
    };
    check.done(retry())
}

/// Takes a `CancelOrderLinesRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn cancel_order_lines(request: &v1::CancelOrderLinesRequest) -> Checked<CancelOrderLines> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    if request.lines.is_empty() {
        check.violation(
            "lines",
            "must name at least one line; CancelOrder cancels all that is open",
        );
    }
    let lines = line_quantities(&mut check, &request.lines);
    let cancel = || {
        Some(CancelOrderLines {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            lines: lines?,
        })
    };
    check.done(cancel())
}

/// Takes an `EditOrderRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn edit_order(request: &v1::EditOrderRequest) -> Checked<EditOrder> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let expected = names::expected(&request.etag).map(Version);
    let expected = check.ok(
        "etag",
        expected.ok_or("must be the order's etag: what is changed is what was seen"),
    );
    if request.lines.is_empty() {
        check.violation("lines", "must name at least one line");
    }
    let lines = quantities(&mut check, &request.lines, 0);
    let edit = || {
        Some(EditOrder {
            request_id: request_id?,
            order: order?,
            expected: expected?,
            lines: lines?,
        })
    };
    check.done(edit())
}

/// Takes a `ShipOrderRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn ship_order(request: &v1::ShipOrderRequest) -> Checked<ShipOrder> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let lines = line_quantities(&mut check, &request.lines);
    let carrier = check.line_of_text("carrier", &request.carrier, SHIPPING_TEXT_BYTES_MAX);
    let tracking = check.code_of_text("tracking_code", &request.tracking_code, SHIPPING_TEXT_BYTES_MAX);
    let fulfilment = match request.fulfilment {
        0 => Some(None),
        number => {
            if !request.lines.is_empty() {
                check.violation(
                    "lines",
                    "must be empty where a fulfilment is named: what it has is sent",
                );
            }
            let number = u32::try_from(number).map_err(|_| "must be a number from 1 on, or 0 for none");
            check.ok("fulfilment", number).map(Some)
        }
    };
    let ship = || {
        Some(ShipOrder {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            lines: lines?,
            carrier: carrier?,
            tracking: tracking?,
            fulfilment: fulfilment?,
        })
    };
    check.done(ship())
}

/// Takes an `OpenFulfilmentRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn open_fulfilment(request: &v1::OpenFulfilmentRequest) -> Checked<OpenFulfilment> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let lines = line_quantities(&mut check, &request.lines);
    let open = || {
        Some(OpenFulfilment {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            lines: lines?,
        })
    };
    check.done(open())
}

/// Takes a `CancelFulfilmentRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn cancel_fulfilment(request: &v1::CancelFulfilmentRequest) -> Checked<CancelFulfilment> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let fulfilment = u32::try_from(request.fulfilment)
        .ok()
        .filter(|number| *number > 0);
    let fulfilment = check.ok("fulfilment", fulfilment.ok_or("must be a number from 1 on"));
    let cancel = || {
        Some(CancelFulfilment {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            fulfilment: fulfilment?,
        })
    };
    check.done(cancel())
}

/// Takes a `DeliverFulfilmentRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn deliver_fulfilment(request: &v1::DeliverFulfilmentRequest) -> Checked<DeliverFulfilment> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let fulfilment = u32::try_from(request.fulfilment)
        .ok()
        .filter(|number| *number > 0);
    let fulfilment = check.ok("fulfilment", fulfilment.ok_or("must be a number from 1 on"));
    let deliver = || {
        Some(DeliverFulfilment {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            fulfilment: fulfilment?,
        })
    };
    check.done(deliver())
}

/// Takes a `RequestReturnRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn request_return(request: &v1::RequestReturnRequest) -> Checked<RequestReturn> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let lines = line_quantities(&mut check, &request.lines);
    let note = check.line_of_text("note", &request.note, RETURN_NOTE_BYTES_MAX);
    let asked = || {
        Some(RequestReturn {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            lines: lines?,
            note: note?,
        })
    };
    check.done(asked())
}

/// Takes a `ResolveReturnRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn resolve_return(request: &v1::ResolveReturnRequest) -> Checked<MoveReturn> {
    let mut check = Check::default();
    let note = check.line_of_text("note", &request.note, RETURN_NOTE_BYTES_MAX);
    if request.approve && !request.note.is_empty() {
        check.violation("note", "must be empty where the return is approved");
    }
    let step = note.map(|note| match request.approve {
        true => ReturnStep::Approve,
        false => ReturnStep::Decline { note },
    });
    let ids = (&*request.request_id, &*request.name, &*request.etag);
    move_return(check, ids, request.return_number, step)
}

/// Takes a `ReceiveReturnRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn receive_return(request: &v1::ReceiveReturnRequest) -> Checked<MoveReturn> {
    let step = ReturnStep::Receive {
        restock: request.restock,
    };
    let ids = (&*request.request_id, &*request.name, &*request.etag);
    move_return(Check::default(), ids, request.return_number, Some(step))
}

/// Takes a `CloseReturnRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn close_return(request: &v1::CloseReturnRequest) -> Checked<MoveReturn> {
    let ids = (&*request.request_id, &*request.name, &*request.etag);
    move_return(
        Check::default(),
        ids,
        request.return_number,
        Some(ReturnStep::Close),
    )
}

fn move_return(
    mut check: Check,
    (request_id, name, etag): (&str, &str, &str),
    number: i32,
    step: Option<ReturnStep>,
) -> Checked<MoveReturn> {
    let request_id = check.optional_request_id(request_id);
    let order = check.ok("name", parse_order_name(name));
    let number = u32::try_from(number).ok().filter(|number| *number > 0);
    let number = check.ok("return_number", number.ok_or("must be a number from 1 on"));
    let moved = || {
        Some(MoveReturn {
            request_id: request_id?,
            order: order?,
            expected: names::expected(etag).map(Version),
            number: number?,
            step: step?,
        })
    };
    check.done(moved())
}

/// Takes a `RefundOrderRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn refund_order(request: &v1::RefundOrderRequest) -> Checked<RefundOrder> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let amount = (request.amount > 0).then_some(Amount(request.amount));
    let amount = check.ok("amount", amount.ok_or("must be 1 or more"));
    let note = check.line_of_text("note", &request.note, RETURN_NOTE_BYTES_MAX);
    let refund = || {
        Some(RefundOrder {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            amount: amount?,
            note: note?,
        })
    };
    check.done(refund())
}

/// How many of which lines, in their order; of each 1 or more.
fn line_quantities(check: &mut Check, lines: &[v1::LineQuantity]) -> Option<Box<[LineQuantity]>> {
    quantities(check, lines, 1)
}

/// How many of which lines, in their order; of each so many at least.
fn quantities(check: &mut Check, lines: &[v1::LineQuantity], least: i64) -> Option<Box<[LineQuantity]>> {
    if lines.len() > LINES_MAX {
        check.violation("lines", format!("must be at most {LINES_MAX} lines"));
        return None;
    }
    let mut good = Vec::with_capacity(lines.len());
    for (i, of_line) in lines.iter().enumerate() {
        let line = u16::try_from(of_line.line)
            .ok()
            .filter(|line| usize::from(*line) < LINES_MAX);
        if line.is_none() {
            check.violation(
                format!("lines[{i}].line"),
                format!("must be 0 to {}", LINES_MAX - 1),
            );
        }
        let is_good = (least..=QUANTITY_MAX).contains(&of_line.quantity);
        if !is_good {
            check.violation(
                format!("lines[{i}].quantity"),
                format!("must be {least} to {QUANTITY_MAX}"),
            );
        }
        good.extend(line.filter(|_| is_good).map(|line| LineQuantity {
            line,
            quantity: Quantity(of_line.quantity),
        }));
    }
    if good.len() < lines.len() {
        return None;
    }
    good.sort_unstable();
    if good.windows(2).any(|two| two[0].line == two[1].line) {
        check.violation("lines", "must name each line at most once");
        return None;
    }
    Some(good.into())
}
