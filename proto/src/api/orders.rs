//! Requests of `OrderService`.

use std::sync::Arc;

use docket_engine::{
    Amount, Currency, CustomerId, HOLD_NOTE_BYTES_MAX, HoldReason, LINES_MAX, Line, OrderId, ProviderName,
    Quantity, Version, money::QUANTITY_MAX,
};

use super::{
    check::{Check, Checked},
    names::{self, customer_in, item_in, parse_order_name},
    show::hold_reason_of,
};
use crate::{Intern, LineView, ReceivedOrder, v1};

/// A `PlaceOrderRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// Whose order it is.
    pub customer: CustomerId,
    /// Of all its amounts.
    pub currency: Currency,
    /// What is ordered: 1 to [`LINES_MAX`] lines.
    pub lines: Arc<[Line]>,
    /// Who moves its money; `None` for the customer's account.
    pub provider: Option<ProviderName>,
}

/// A `CancelOrderRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelOrder {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
}

/// A `HoldOrderRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldOrder {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// Why.
    pub reason: HoldReason,
    /// In the client's words; may be empty.
    pub note: Arc<str>,
}

/// A `ReleaseOrderHoldRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseOrderHold {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// The order.
    pub order: OrderId,
    /// Only at this version.
    pub expected: Option<Version>,
    /// Of which hold.
    pub reason: HoldReason,
}

/// Takes a `PlaceOrderRequest` of the unary call apart, with ids that `ids` makes: its request id may be left out.
///
/// # Errors
/// Everything that is wrong with it.
pub fn place_order(request: &ReceivedOrder, ids: &dyn Intern) -> Checked<PlaceOrder> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(request.request_id());
    place(check, request_id, request, ids)
}

/// Takes a `PlaceOrderRequest` of a stream apart, with ids that `ids` makes: its request id is required.
///
/// # Errors
/// Everything that is wrong with it.
pub fn streamed_order(request: &ReceivedOrder, ids: &dyn Intern) -> Checked<PlaceOrder> {
    let mut check = Check::default();
    let request_id = check.request_id(request.request_id()).map(Some);
    place(check, request_id, request, ids)
}

fn place(
    mut check: Check,
    request_id: Option<Option<String>>,
    request: &ReceivedOrder,
    ids: &dyn Intern,
) -> Checked<PlaceOrder> {
    let customer = check.ok("customer", customer_in(request.customer(), ids));
    let currency = check.currency("currency_code", request.currency_code());
    let lines = lines(&mut check, request.lines(), ids);
    let provider = provider(&mut check, request.payment_method());
    let order = || {
        Some(PlaceOrder {
            request_id: request_id?,
            customer: customer?,
            currency: currency?,
            lines: lines?,
            provider: provider?,
        })
    };
    check.done(order())
}

/// Who moves the money: `Some(None)` for the customer's account.
fn provider(check: &mut Check, method: &str) -> Option<Option<ProviderName>> {
    if matches!(method, "" | "account") {
        return Some(None);
    }
    let name = ProviderName::new(method).map_err(
        |_| "must be `account`, or the name of a payment provider: 1 to 32 characters of a-z 0-9 - _",
    );
    check.ok("payment_method", name).map(Some)
}

fn lines<'a>(
    check: &mut Check,
    lines: impl ExactSizeIterator<Item = LineView<'a>>,
    ids: &dyn Intern,
) -> Option<Arc<[Line]>> {
    let count = lines.len();
    if count == 0 || count > LINES_MAX {
        check.violation("lines", format!("must be 1 to {LINES_MAX} lines"));
        return None;
    }
    let mut good = Vec::with_capacity(count);
    for (i, shown) in lines.enumerate() {
        good.extend(line(check, i, shown, ids));
    }
    if good.len() < count {
        return None;
    }
    Some(good.into())
}

fn line(check: &mut Check, i: usize, line: LineView<'_>, ids: &dyn Intern) -> Option<Line> {
    let sku = item_in(line.item, ids)
        .map_err(|e| check.violation(format!("lines[{i}].item"), e))
        .ok();
    let quantity = (1..=QUANTITY_MAX).contains(&line.quantity);
    if !quantity {
        check.violation(
            format!("lines[{i}].quantity"),
            format!("must be 1 to {QUANTITY_MAX}"),
        );
    }
    if line.unit_price < 0 {
        check.violation(format!("lines[{i}].unit_price"), "must be 0 or more");
        return None;
    }
    quantity.then_some(Line {
        sku: sku?,
        quantity: Quantity(line.quantity),
        unit_price: Amount(line.unit_price),
    })
}

/// Takes a `GetOrderRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn get_order(request: &v1::GetOrderRequest) -> Checked<OrderId> {
    let mut check = Check::default();
    let order = check.ok("name", parse_order_name(&request.name));
    check.done(order)
}

/// Takes a `CancelOrderRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn cancel_order(request: &v1::CancelOrderRequest) -> Checked<CancelOrder> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let cancel = || {
        Some(CancelOrder {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
        })
    };
    check.done(cancel())
}

/// Takes a `HoldOrderRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn hold_order(request: &v1::HoldOrderRequest) -> Checked<HoldOrder> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let reason = hold_reason(&mut check, request.reason);
    let note = check.line_of_text("note", &request.note, HOLD_NOTE_BYTES_MAX);
    let hold = || {
        Some(HoldOrder {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            reason: reason?,
            note: note?,
        })
    };
    check.done(hold())
}

/// Takes a `ReleaseOrderHoldRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn release_order_hold(request: &v1::ReleaseOrderHoldRequest) -> Checked<ReleaseOrderHold> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let order = check.ok("name", parse_order_name(&request.name));
    let reason = hold_reason(&mut check, request.reason);
    let release = || {
        Some(ReleaseOrderHold {
            request_id: request_id?,
            order: order?,
            expected: names::expected(&request.etag).map(Version),
            reason: reason?,
        })
    };
    check.done(release())
}

fn hold_reason(check: &mut Check, number: i32) -> Option<HoldReason> {
    let reason = v1::order_hold::Reason::try_from(number)
        .ok()
        .and_then(hold_reason_of);
    check.ok("reason", reason.ok_or("must be a reason"))
}
