//! Replies as histories tell them.

use docket_proto::v1::{self, fulfilment, order::State, order_change::Kind, order_return};

use crate::history::{
    Change, ChangeKind, CustomerSeen, ItemSeen, Line, Micros, OrderSeen, Phase,
    life::{Life, Named, OfLine, ReturnPhase, ReturnSeen, Sent},
};

/// An order.
pub fn order(order: v1::Order) -> OrderSeen {
    let phase = match order.state() {
        State::Pending => Phase::Pending,
        State::Confirmed => Phase::Confirmed,
        State::Cancelled => Phase::Cancelled,
        State::Rejected => Phase::Rejected,
        State::PartiallyFulfilled => Phase::PartlyShipped,
        State::Fulfilled => Phase::Shipped,
        // No provider pays for orders of a history, and none is old enough to be closed.
        State::Expired | State::Closed | State::Unspecified => Phase::Odd,
    };
    let life = life(&order);
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
        life,
    }
}

/// What became of an order.
pub fn life(order: &v1::Order) -> Life {
    let named = |lines: &[v1::LineQuantity]| -> Named {
        let line = |it: &v1::LineQuantity| usize::try_from(it.line).unwrap_or(usize::MAX);
        lines.iter().map(|it| (line(it), it.quantity)).collect()
    };
    let line = |line: &v1::OrderLine| OfLine {
        ordered: line.quantity,
        shipped: line.fulfilled_quantity,
        cancelled: line.cancelled_quantity,
    };
    let phase = |state| match state {
        order_return::State::Requested => ReturnPhase::Requested,
        order_return::State::Approved => ReturnPhase::Approved,
        order_return::State::Declined => ReturnPhase::Declined,
        order_return::State::Received => ReturnPhase::Received,
        order_return::State::Closed => ReturnPhase::Closed,
        order_return::State::Unspecified => ReturnPhase::Odd,
    };
    let back = |it: &v1::OrderReturn| ReturnSeen {
        lines: named(&it.lines),
        phase: phase(it.state()),
        restocked: it.restocked,
    };
    let sent = |it: &v1::Fulfilment| match it.state() {
        fulfilment::State::Open => Sent::Planned,
        fulfilment::State::Cancelled => Sent::GivenUp,
        fulfilment::State::Shipped => Sent::Away,
        fulfilment::State::Delivered => Sent::There,
        fulfilment::State::Unspecified => Sent::Odd,
    };
    Life {
        lines: order.lines.iter().map(line).collect(),
        holds: order
            .holds
            .iter()
            .map(|hold| hold.reason().as_str_name().to_owned())
            .collect(),
        shipments: order
            .fulfilments
            .iter()
            .map(|it| (named(&it.lines), sent(it)))
            .collect(),
        returns: order.returns.iter().map(back).collect(),
        refunds: order.refunds.iter().map(|it| it.amount).collect(),
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
        Kind::Held | Kind::HoldReleased => ChangeKind::Holds,
        Kind::Shipped => ChangeKind::Shipped,
        Kind::Delivered => ChangeKind::Delivered,
        Kind::LinesCancelled => ChangeKind::LinesCancelled,
        Kind::Consumed => ChangeKind::Consumed,
        Kind::ReturnRequested
        | Kind::ReturnApproved
        | Kind::ReturnDeclined
        | Kind::ReturnReceived
        | Kind::ReturnClosed => ChangeKind::Returns,
        Kind::Restocked => ChangeKind::Restocked,
        Kind::Refunded => ChangeKind::Refunded,
        Kind::EditBegun => ChangeKind::EditBegun,
        Kind::Edited => ChangeKind::Edited,
        Kind::EditRefused => ChangeKind::EditRefused,
        // No provider pays for orders of a history.
        Kind::Reserved
        | Kind::EditReserved
        | Kind::Expired
        | Kind::Closed
        | Kind::PaymentDone
        | Kind::PaymentDeclined
        | Kind::PaymentRetried
        | Kind::FulfilmentOpened
        | Kind::FulfilmentCancelled
        | Kind::Backordered
        | Kind::BackorderFilled
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
