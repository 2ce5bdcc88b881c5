//! The model's state as replies show it. Without times, which the model does not know.

use docket_engine::{Currency, HoldReason, OrderState, Rejection};
use docket_proto::v1::{self, order::State};

use super::{
    back, cards,
    reference::{Customer, Item, Order, Plan, Shipment, cost},
    send::{ordered, shown},
};

/// The account that everything is asked by.
pub const ADMIN: &str = "admin";

/// What was written on an order, which the model has no use for.
#[derive(Default)]
pub struct Texts {
    /// Of each shipment: who carries it, and how the carrier names it.
    pub shipments: Vec<(String, String)>,
    /// Of each hold.
    pub notes: Vec<String>,
    /// Of each return: why, and why not.
    pub returns: Vec<(String, String)>,
    /// Of each refund.
    pub refunds: Vec<String>,
}

pub fn customer(id: &str, customer: &Customer, held: i128) -> v1::Customer {
    let available = (customer.balance + customer.limit - held).clamp(0, i64::MAX.into());
    v1::Customer {
        name: format!("customers/{id}"),
        display_name: customer.name.clone(),
        currency_code: customer.currency.to_string(),
        credit_limit: small(customer.limit),
        balance: small(customer.balance),
        held: small(held),
        available: small(available),
        create_time: None,
        update_time: None,
        etag: shown(Some(customer.revision)),
    }
}

pub fn item(sku: &str, item: &Item, reserved: i128) -> v1::Item {
    v1::Item {
        name: format!("items/{sku}"),
        display_name: item.name.clone(),
        currency_code: item.currency.to_string(),
        unit_price: small(item.price),
        on_hand: small(item.on_hand),
        reserved: small(reserved),
        available: small(item.on_hand - reserved),
        create_time: None,
        update_time: None,
        etag: shown(Some(item.revision)),
        backorder_limit: small(item.limit),
        backordered: small(item.row.iter().map(|(_, many)| many).sum()),
    }
}

pub fn order(id: &str, order: &Order, texts: &Texts) -> v1::Order {
    let gone = order.lines.iter().zip(order.gone.iter().zip(&order.open));
    let lines = gone.map(|(line, ((fulfilled, cancelled), open))| v1::OrderLine {
        amount: small(cost(std::slice::from_ref(line))),
        fulfilled_quantity: small(*fulfilled),
        cancelled_quantity: small(*cancelled),
        reservations: match order.state {
            // Nobody called it off.
            OrderState::Rejected => reservations(0, 0, line.quantity.0),
            _ => reservations(small(*open), small(*fulfilled), small(*cancelled)),
        },
        ..ordered(line)
    });
    let rejection = order.rejection.as_ref().map(|rejection| v1::Rejection {
        reason: rejection.reason().to_owned(),
        message: rejection.to_string(),
        field: rejection.field(),
    });
    let holds = order.holds.iter().zip(&texts.notes);
    let active = holds.filter(|((_, holds), _)| *holds);
    let shipments = (1..).zip(order.shipments.iter().zip(&texts.shipments));
    v1::Order {
        name: format!("orders/{id}"),
        customer: format!("customers/{}", order.customer),
        state: state(order.state).into(),
        currency_code: Currency::to_string(&order.currency),
        lines: lines.collect(),
        total: small(cost(&order.lines)),
        rejection,
        create_time: None,
        update_time: None,
        etag: shown(Some(order.version)),
        holds: active.map(|((reason, _), note)| hold(*reason, note)).collect(),
        payment: Some(match order.is_to_be_authorized() {
            true => cards::payment(order),
            false => payment(order),
        }),
        fulfilments: shipments
            .map(|(number, (shipment, texts))| fulfilment(order, number, shipment, texts))
            .collect(),
        returns: back::returns(order, texts),
        refunds: back::refunds(order, texts),
    }
}

/// What became of a line's stock, of which so many are open, were sent, and were called off.
pub fn reservations(open: i64, fulfilled: i64, cancelled: i64) -> Vec<v1::LineReservation> {
    use v1::line_reservation::State;
    [
        (State::Committed, open),
        (State::Consumed, fulfilled),
        (State::Released, cancelled),
    ]
    .into_iter()
    .filter(|(_, quantity)| *quantity > 0)
    .map(|(state, quantity)| v1::LineReservation {
        state: state.into(),
        quantity,
        expire_time: None,
    })
    .collect()
}

fn payment(order: &Order) -> v1::OrderPayment {
    use v1::order_payment::State;
    let never_held = matches!(
        order.rejection,
        Some(
            Rejection::InsufficientCredit { .. }
                | Rejection::CurrencyMismatch { line: None, .. }
                | Rejection::Overflow { .. }
        )
    );
    if never_held {
        return v1::OrderPayment {
            state: State::Failed.into(),
            provider: cards::provider_of(order),
            ..v1::OrderPayment::default()
        };
    }
    // What edits had it cost less was given back.
    let ever = order.first_cost + order.more;
    let (held, captured) = (order.held(), order.captured());
    let refunded = order.refunded();
    let state = match order.state {
        OrderState::Rejected | OrderState::Cancelled => State::Voided,
        _ if captured > 0 && held == 0 && refunded == captured => State::Refunded,
        _ if refunded > 0 => State::PartiallyRefunded,
        // Also where that is nothing.
        OrderState::Fulfilled => State::Captured,
        // What is left to be sent may cost nothing.
        _ if captured > 0 && held == 0 => State::Captured,
        _ if captured > 0 => State::PartiallyCaptured,
        _ => State::Authorized,
    };
    v1::OrderPayment {
        state: state.into(),
        authorized: small(ever),
        captured: small(captured),
        voided: small(ever - held - captured),
        refunded: small(refunded),
        provider: cards::provider_of(order),
        ..v1::OrderPayment::default()
    }
}

fn fulfilment(
    order: &Order,
    number: i32,
    (lines, has_arrived): &Shipment,
    (carrier, tracking): &(String, String),
) -> v1::Fulfilment {
    use v1::fulfilment::State;
    let plan = order.plans.get(&(number as usize - 1)).copied();
    let state = match (plan, has_arrived) {
        (Some(Plan::Open), _) => State::Open,
        (Some(Plan::Cancelled), _) => State::Cancelled,
        (_, true) => State::Delivered,
        (_, false) => State::Shipped,
    };
    let is_sent = matches!(state, State::Shipped | State::Delivered);
    let by = |was: bool| if was { ADMIN.into() } else { String::new() };
    let sent = lines.iter().map(|(line, many)| v1::LineQuantity {
        line: i32::from(*line),
        quantity: small(*many),
    });
    v1::Fulfilment {
        number,
        state: state.into(),
        lines: sent.collect(),
        carrier: carrier.clone(),
        tracking_code: tracking.clone(),
        captured: match is_sent {
            true => small(order.cost_of(lines.iter().map(|(line, many)| (line, many)))),
            false => 0,
        },
        open_time: None,
        ship_time: None,
        deliver_time: None,
        cancel_time: None,
        opened_by: by(plan.is_some()),
        cancelled_by: by(state == State::Cancelled),
        shipped_by: by(is_sent),
        delivered_by: by(*has_arrived),
    }
}

fn hold(why: HoldReason, note: &str) -> v1::OrderHold {
    v1::OrderHold {
        reason: reason(why).into(),
        note: note.into(),
        // Nobody else asks for that one.
        placed_by: match why {
            HoldReason::Payment => cards::ITSELF.into(),
            _ => ADMIN.into(),
        },
        create_time: None,
    }
}

pub fn reason(reason: HoldReason) -> v1::order_hold::Reason {
    use v1::order_hold::Reason;
    match reason {
        HoldReason::FraudReview => Reason::FraudReview,
        HoldReason::Address => Reason::Address,
        HoldReason::Stock => Reason::Stock,
        HoldReason::Payment => Reason::Payment,
        HoldReason::Operator => Reason::Operator,
    }
}

pub fn state(state: OrderState) -> State {
    match state {
        OrderState::Pending | OrderState::Authorizing => State::Pending,
        OrderState::Confirmed => State::Confirmed,
        OrderState::PartiallyFulfilled => State::PartiallyFulfilled,
        OrderState::Fulfilled => State::Fulfilled,
        OrderState::Cancelled => State::Cancelled,
        OrderState::Rejected => State::Rejected,
        OrderState::Expired => State::Expired,
        OrderState::Closed => State::Closed,
    }
}

pub fn small(number: i128) -> i64 {
    number.try_into().expect("the model keeps what fits")
}
