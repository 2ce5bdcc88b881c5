//! What the contract returns, as JSON for the console: names without the kind in front, amounts as texts (a browser's numbers are too short for
//! them), times as RFC 3339.

use docket_actors::OrderCounts;
use docket_engine::OrderState;
use docket_proto::v1;
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

fn id(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, id)| id)
}

fn time(time: Option<&Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.to_string().into())
}

fn amount(amount: i64) -> Value {
    amount.to_string().into()
}

/// How many orders there are of which kind.
pub(super) fn counts(counts: &OrderCounts) -> Value {
    // What waits for its payment's authorisation is PENDING to who reads it, and shown by itself to who looks for what is stuck.
    let states = counts.by_state.iter().map(|(state, count)| {
        let name = match state {
            OrderState::Pending => "PENDING",
            OrderState::Authorizing => "AUTHORIZING",
            OrderState::Confirmed => "CONFIRMED",
            OrderState::PartiallyFulfilled => "PARTIALLY_FULFILLED",
            OrderState::Fulfilled => "FULFILLED",
            OrderState::Cancelled => "CANCELLED",
            OrderState::Rejected => "REJECTED",
            OrderState::Expired => "EXPIRED",
            OrderState::Closed => "CLOSED",
        };
        (name.to_owned(), Value::from(*count))
    });
    json!({
        "states": states.collect::<Map<_, _>>(),
        "held": counts.held,
        "backordered": counts.backordered,
        "unpaid": counts.unpaid,
        "declined": counts.declined,
        "paying": counts.paying,
        "releasing": counts.releasing,
        "planned": counts.planned,
        "archived": counts.archived,
        "shards": counts.shards,
        "of_shards": counts.of_shards,
    })
}

/// An order in a list.
pub(super) fn row(order: &v1::Order) -> Value {
    json!({
        "id": id(&order.name),
        "customer": id(&order.customer),
        "state": order.state().as_str_name(),
        "currency": order.currency_code,
        "total": amount(order.total),
        "lines": order.lines.len(),
        "payment": order.payment.as_ref().map(|payment| payment.state().as_str_name()),
        "holds": order.holds.iter().map(|hold| hold.reason().as_str_name()).collect::<Vec<_>>(),
        "created": time(order.create_time.as_ref()),
        "updated": time(order.update_time.as_ref()),
    })
}

/// All of an order.
pub(super) fn order(order: &v1::Order) -> Value {
    let mut shown = row(order);
    shown["etag"] = order.etag.as_str().into();
    shown["rejection"] = order.rejection.as_ref().map(rejection).into();
    shown["lines"] = order.lines.iter().map(line).collect();
    shown["payment"] = order.payment.as_ref().map(payment).into();
    shown["holds"] = order.holds.iter().map(hold).collect();
    shown["fulfilments"] = order.fulfilments.iter().map(fulfilment).collect();
    shown["returns"] = order.returns.iter().map(returned).collect();
    shown["refunds"] = order.refunds.iter().map(refund).collect();
    shown
}

fn rejection(rejection: &v1::Rejection) -> Value {
    json!({"reason": rejection.reason, "message": rejection.message, "field": rejection.field})
}

fn line(line: &v1::OrderLine) -> Value {
    let stock = line.reservations.iter().map(|it| {
        json!({
            "state": it.state().as_str_name(),
            "quantity": it.quantity,
            "until": time(it.expire_time.as_ref()),
        })
    });
    json!({
        "item": id(&line.item),
        "quantity": line.quantity,
        "unit_price": amount(line.unit_price),
        "amount": amount(line.amount),
        "fulfilled": line.fulfilled_quantity,
        "cancelled": line.cancelled_quantity,
        "stock": stock.collect::<Vec<_>>(),
    })
}

fn payment(payment: &v1::OrderPayment) -> Value {
    let mut shown = money(payment);
    shown["provider"] = payment.provider.as_str().into();
    let steps = payment.steps.iter().map(|step| {
        json!({
            "number": step.number,
            "payment": step.payment,
            "kind": step.kind().as_str_name(),
            "state": step.state().as_str_name(),
            "amount": amount(step.amount),
            "reference": step.reference,
            "why": step.decline_reason,
            "created": time(step.create_time.as_ref()),
            "answered": time(step.answer_time.as_ref()),
        })
    });
    shown["steps"] = steps.collect();
    shown
}

fn money(payment: &v1::OrderPayment) -> Value {
    json!({
        "state": payment.state().as_str_name(),
        "authorized": amount(payment.authorized),
        "captured": amount(payment.captured),
        "voided": amount(payment.voided),
        "refunded": amount(payment.refunded),
    })
}

fn hold(hold: &v1::OrderHold) -> Value {
    json!({
        "reason": hold.reason().as_str_name(),
        "note": hold.note,
        "by": id(&hold.placed_by),
        "created": time(hold.create_time.as_ref()),
    })
}

fn fulfilment(it: &v1::Fulfilment) -> Value {
    json!({
        "number": it.number,
        "state": it.state().as_str_name(),
        "lines": it.lines.iter().map(quantity).collect::<Vec<_>>(),
        "carrier": it.carrier,
        "tracking": it.tracking_code,
        "captured": amount(it.captured),
        "opened": time(it.open_time.as_ref()),
        "shipped": time(it.ship_time.as_ref()),
        "delivered": time(it.deliver_time.as_ref()),
        "cancelled": time(it.cancel_time.as_ref()),
    })
}

fn returned(it: &v1::OrderReturn) -> Value {
    json!({
        "number": it.number,
        "state": it.state().as_str_name(),
        "lines": it.lines.iter().map(quantity).collect::<Vec<_>>(),
        "note": it.note,
        "restocked": it.restocked,
        "created": time(it.create_time.as_ref()),
        "updated": time(it.update_time.as_ref()),
    })
}

fn refund(it: &v1::OrderRefund) -> Value {
    json!({
        "amount": amount(it.amount),
        "note": it.note,
        "by": id(&it.refunded_by),
        "created": time(it.create_time.as_ref()),
    })
}

/// Lines are numbered from 1 for people.
fn quantity(it: &v1::LineQuantity) -> Value {
    json!({"line": it.line.saturating_add(1), "quantity": it.quantity})
}

/// Something that happened to an order.
pub(super) fn event(event: &v1::OrderEvent) -> Value {
    let hold = event.hold_reason();
    json!({
        "kind": event.kind().as_str_name(),
        "time": time(event.event_time.as_ref()),
        "by": id(&event.requested_by),
        "request_id": event.request_id,
        "trace_id": event.trace_id,
        "before": event.before.as_ref().map(situation),
        "after": event.after.as_ref().map(situation),
        "lines": event.lines.iter().map(quantity).collect::<Vec<_>>(),
        "hold": (hold != v1::order_hold::Reason::Unspecified).then(|| hold.as_str_name()),
        "fulfilment": event.fulfilment,
        "return": event.return_number,
        "restock": event.restock,
        "amount": amount(event.amount),
        "currency": event.currency_code,
        "note": event.note,
        "rejection": event.rejection.as_ref().map(rejection),
    })
}

fn situation(it: &v1::OrderSituation) -> Value {
    let lines = it.lines.iter().map(|line| {
        json!([
            line.open_quantity,
            line.fulfilled_quantity,
            line.cancelled_quantity
        ])
    });
    json!({
        "state": it.state().as_str_name(),
        "payment": it.payment.as_ref().map(money),
        "lines": lines.collect::<Vec<_>>(),
    })
}

/// A customer's account.
pub(super) fn customer(customer: &v1::Customer) -> Value {
    json!({
        "id": id(&customer.name),
        "display_name": customer.display_name,
        "currency": customer.currency_code,
        "credit_limit": amount(customer.credit_limit),
        "balance": amount(customer.balance),
        "held": amount(customer.held),
        "available": amount(customer.available),
    })
}

/// An item's stock.
pub(super) fn item(item: &v1::Item) -> Value {
    json!({
        "id": id(&item.name),
        "display_name": item.display_name,
        "on_hand": amount(item.on_hand),
        "reserved": amount(item.reserved),
        "available": amount(item.available),
        "backordered": amount(item.backordered),
    })
}

/// A page of API keys; their secrets nobody has.
pub(super) fn keys(page: &v1::ListApiKeysResponse) -> Value {
    let keys = page.api_keys.iter().map(|key| {
        json!({
            "id": id(&key.name),
            "display_name": key.display_name,
            "account": id(&key.account),
            "role": key.role().as_str_name(),
            "customer": id(&key.customer),
            "scopes": key.scopes().map(|scope| scope.as_str_name()).collect::<Vec<_>>(),
            "created": time(key.create_time.as_ref()),
            "expires": time(key.expire_time.as_ref()),
            "revoked": time(key.revoke_time.as_ref()),
        })
    });
    json!({"keys": keys.collect::<Vec<_>>(), "next_page_token": page.next_page_token})
}
