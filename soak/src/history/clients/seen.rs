//! Replies as histories tell them.

use docket_proto::v1::{self, order::State, order_change::Kind};

use crate::history::{Change, ChangeKind, CustomerSeen, ItemSeen, Line, Micros, OrderSeen, Phase};

/// An order.
pub fn order(order: v1::Order) -> OrderSeen {
    let phase = match order.state() {
        State::Pending => Phase::Pending,
        State::Confirmed => Phase::Confirmed,
        State::Cancelled => Phase::Cancelled,
        State::Rejected => Phase::Rejected,
        // Nobody ships orders in a history.
        State::PartiallyFulfilled | State::Fulfilled | State::Expired | State::Unspecified => Phase::Odd,
    };
    OrderSeen {
        name: order.name,
        customer: order.customer,
        phase,
        lines: order.lines.into_iter().map(line).collect(),
        total: order.total,
        etag: order.etag,
        created: order
            .create_time
            .map(|created| nanos(created.seconds, created.nanos))
            .unwrap_or_default(),
        rejection: order
            .rejection
            .map(|rejection| rejection.reason)
            .unwrap_or_default(),
    }
}

/// A change of an order, which a consumer of the feed had at this moment; none without an order, which no server tells.
pub fn change(change: v1::OrderChange, seen: Micros) -> Option<Change> {
    let kind = match change.kind() {
        Kind::Placed => ChangeKind::Placed,
        Kind::Confirmed => ChangeKind::Confirmed,
        Kind::Rejected => ChangeKind::Rejected,
        Kind::Cancelled => ChangeKind::Cancelled,
        Kind::Released => ChangeKind::Released,
        // Nobody holds or ships orders in a history.
        Kind::Held
        | Kind::HoldReleased
        | Kind::Shipped
        | Kind::Delivered
        | Kind::LinesCancelled
        | Kind::Consumed
        | Kind::ReturnRequested
        | Kind::ReturnApproved
        | Kind::ReturnDeclined
        | Kind::ReturnReceived
        | Kind::ReturnClosed
        | Kind::Restocked
        | Kind::Refunded
        | Kind::Reserved
        | Kind::Expired
        | Kind::PaymentDone
        | Kind::PaymentDeclined
        | Kind::PaymentRetried
        | Kind::EditBegun
        | Kind::Edited
        | Kind::EditRefused
        | Kind::FulfilmentOpened
        | Kind::FulfilmentCancelled
        | Kind::Unspecified => ChangeKind::Odd,
    };
    let at = change.change_time;
    Some(Change {
        seen,
        kind,
        order: order(change.order?),
        at: at.map(|at| nanos(at.seconds, at.nanos)).unwrap_or_default(),
    })
}

/// Nanoseconds since 1970.
fn nanos(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

fn line(line: v1::OrderLine) -> Line {
    Line {
        item: line.item,
        quantity: line.quantity,
        unit_price: line.unit_price,
    }
}

/// An item.
pub fn item(item: v1::Item) -> ItemSeen {
    ItemSeen {
        name: item.name,
        on_hand: item.on_hand,
        reserved: item.reserved,
        available: item.available,
        etag: item.etag,
    }
}

/// A customer.
pub fn customer(customer: v1::Customer) -> CustomerSeen {
    CustomerSeen {
        name: customer.name,
        balance: customer.balance,
        held: customer.held,
        credit_limit: customer.credit_limit,
        available: customer.available,
        etag: customer.etag,
    }
}
