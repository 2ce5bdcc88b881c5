//! Entities as replies show them.

use docket_engine::{Customer, Hold, HoldReason, Item, Line, Order, OrderState, Rejection, Time};
use prost_types::Timestamp;

use super::names::{customer_name, etag, item_name, order_name};
use crate::v1;

/// An order as the API shows it.
pub fn order_to_proto(order: &Order) -> v1::Order {
    v1::Order {
        name: order_name(order.id),
        customer: customer_name(&order.customer),
        state: state_to_proto(order.state).into(),
        currency_code: order.currency.as_str().to_owned(),
        lines: order.lines.iter().map(line_to_proto).collect(),
        total: order.total.0,
        rejection: order.rejection.as_deref().map(rejection_to_proto),
        create_time: Some(timestamp(order.created)),
        update_time: Some(timestamp(order.updated)),
        etag: etag(order.version.0),
        holds: order.active_holds().map(hold_to_proto).collect(),
    }
}

/// A hold as its order shows it.
pub(crate) fn hold_to_proto(hold: &Hold) -> v1::OrderHold {
    v1::OrderHold {
        reason: hold_reason_to_proto(hold.reason).into(),
        note: hold.note.to_string(),
        placed_by: hold.by.as_str().to_owned(),
        create_time: Some(timestamp(hold.since)),
    }
}

/// Why an order is held, as the API names it.
pub fn hold_reason_to_proto(reason: HoldReason) -> v1::order_hold::Reason {
    match reason {
        HoldReason::FraudReview => v1::order_hold::Reason::FraudReview,
        HoldReason::Address => v1::order_hold::Reason::Address,
        HoldReason::Stock => v1::order_hold::Reason::Stock,
        HoldReason::Payment => v1::order_hold::Reason::Payment,
        HoldReason::Operator => v1::order_hold::Reason::Operator,
    }
}

/// The reason that the API names so; `None` for "not set".
pub fn hold_reason_of(reason: v1::order_hold::Reason) -> Option<HoldReason> {
    HoldReason::ALL
        .into_iter()
        .find(|known| hold_reason_to_proto(*known) == reason)
}

fn line_to_proto(line: &Line) -> v1::OrderLine {
    v1::OrderLine {
        item: item_name(&line.sku),
        quantity: line.quantity.0,
        unit_price: line.unit_price.0,
        amount: line_amount(line),
    }
}

/// What a line comes to. (An order whose lines overflow cannot be placed.)
pub(crate) fn line_amount(line: &Line) -> i64 {
    line.unit_price.0.saturating_mul(line.quantity.0)
}

/// A rejection as an order shows it.
pub fn rejection_to_proto(rejection: &Rejection) -> v1::Rejection {
    v1::Rejection {
        reason: rejection.reason().to_owned(),
        message: rejection.to_string(),
        field: rejection.field(),
    }
}

/// A customer as the API shows it.
pub fn customer_to_proto(customer: &Customer) -> v1::Customer {
    v1::Customer {
        name: customer_name(&customer.id),
        display_name: customer.display_name.to_string(),
        currency_code: customer.currency.to_string(),
        credit_limit: customer.credit_limit.0,
        balance: customer.balance.0,
        held: customer.held.0,
        available: customer.available().0,
        create_time: Some(timestamp(customer.created)),
        update_time: Some(timestamp(customer.updated)),
        etag: etag(customer.revision),
    }
}

/// An item as the API shows it.
pub fn item_to_proto(item: &Item) -> v1::Item {
    v1::Item {
        name: item_name(&item.sku),
        display_name: item.display_name.to_string(),
        currency_code: item.currency.to_string(),
        unit_price: item.unit_price.0,
        on_hand: item.on_hand.0,
        reserved: item.reserved.0,
        available: item.available().0,
        create_time: Some(timestamp(item.created)),
        update_time: Some(timestamp(item.updated)),
        etag: etag(item.revision),
    }
}

/// An order's state as the API names it.
pub fn state_to_proto(state: OrderState) -> v1::order::State {
    match state {
        OrderState::Pending => v1::order::State::Pending,
        OrderState::Confirmed => v1::order::State::Confirmed,
        OrderState::Cancelled => v1::order::State::Cancelled,
        OrderState::Rejected => v1::order::State::Rejected,
    }
}

/// The state that the API names so; `None` for "not set".
pub fn state_of(state: v1::order::State) -> Option<OrderState> {
    match state {
        v1::order::State::Unspecified => None,
        v1::order::State::Pending => Some(OrderState::Pending),
        v1::order::State::Confirmed => Some(OrderState::Confirmed),
        v1::order::State::Cancelled => Some(OrderState::Cancelled),
        v1::order::State::Rejected => Some(OrderState::Rejected),
    }
}

/// A point in time as the API shows it.
pub fn timestamp(time: Time) -> Timestamp {
    const MICROS: i64 = 1_000_000;
    Timestamp {
        seconds: time.0.div_euclid(MICROS),
        nanos: (time.0.rem_euclid(MICROS) * 1_000) as i32,
    }
}
