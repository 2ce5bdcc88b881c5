//! Replies as histories tell them.

use docket_proto::v1::{self, order::State};

use crate::history::{CustomerSeen, ItemSeen, Line, OrderSeen, Phase};

/// An order.
pub fn order(order: v1::Order) -> OrderSeen {
    let phase = match order.state() {
        State::Pending => Phase::Pending,
        State::Confirmed => Phase::Confirmed,
        State::Cancelled => Phase::Cancelled,
        State::Rejected => Phase::Rejected,
        State::Unspecified => Phase::Odd,
    };
    let created = order.create_time.unwrap_or_default();
    OrderSeen {
        name: order.name,
        customer: order.customer,
        phase,
        lines: order.lines.into_iter().map(line).collect(),
        total: order.total,
        etag: order.etag,
        created: i128::from(created.seconds) * 1_000_000_000 + i128::from(created.nanos),
        rejection: order
            .rejection
            .map(|rejection| rejection.reason)
            .unwrap_or_default(),
    }
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
