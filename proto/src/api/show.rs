//! Entities as replies show them.

use docket_engine::{
    Customer, Fulfilment, FulfilmentState, Hold, HoldReason, Item, Line, LineQuantity, Order, OrderState,
    Payment, PaymentKind, PaymentOutcome, PaymentState, PaymentStep, Quantity, Refund, Rejection,
    ReservationState, Return, ReturnState, ReturnStep, Time,
};
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
        lines: lines_to_proto(order),
        total: order.total.0,
        rejection: order.rejection.as_deref().map(rejection_to_proto),
        create_time: Some(timestamp(order.created)),
        update_time: Some(timestamp(order.updated)),
        etag: etag(order.version.0),
        holds: order.active_holds().map(hold_to_proto).collect(),
        payment: Some(payment_to_proto(order)),
        fulfilments: fulfilments_to_proto(order),
        returns: returns_to_proto(order),
        refunds: order.refunds().iter().map(refund_to_proto).collect(),
    }
}

/// What became of an order's money.
pub(crate) fn payment_to_proto(order: &Order) -> v1::OrderPayment {
    let provider = order.provider.as_ref();
    let numbered = order.payment_steps().iter().zip(1..);
    v1::OrderPayment {
        provider: provider.map_or("", |provider| provider.name.as_str()).to_owned(),
        steps: numbered
            .map(|(step, number)| payment_step_to_proto(order, step, number))
            .collect(),
        ..figures_to_proto(&order.payment())
    }
}

/// The same without what its provider is to do.
pub(crate) fn figures_to_proto(payment: &Payment) -> v1::OrderPayment {
    v1::OrderPayment {
        state: payment_state_to_proto(payment.state).into(),
        authorized: payment.authorized.0,
        captured: payment.captured.0,
        voided: payment.voided.0,
        refunded: payment.refunded.0,
        ..v1::OrderPayment::default()
    }
}

fn payment_step_to_proto(order: &Order, step: &PaymentStep, number: u32) -> v1::PaymentStep {
    let is_abandoned = step.kind == PaymentKind::Authorize && order.awaits_authorization() != Some(number);
    let (mut reference, mut decline_reason) = (String::new(), String::new());
    let state = match &step.outcome {
        None if is_abandoned => v1::payment_step::State::Abandoned,
        None => v1::payment_step::State::Due,
        Some((PaymentOutcome::Done { reference: by }, _)) => {
            reference = by.to_string();
            v1::payment_step::State::Done
        }
        Some((PaymentOutcome::Declined { reason }, _)) => {
            decline_reason = reason.to_string();
            match step.retried {
                None => v1::payment_step::State::Declined,
                Some(_) => v1::payment_step::State::Retried,
            }
        }
    };
    v1::PaymentStep {
        number: i32::try_from(number).unwrap_or(i32::MAX),
        payment: step.payment.into(),
        kind: match step.kind {
            PaymentKind::Authorize => v1::payment_step::Kind::Authorize,
            PaymentKind::Capture => v1::payment_step::Kind::Capture,
            PaymentKind::Void => v1::payment_step::Kind::Void,
            PaymentKind::Refund => v1::payment_step::Kind::Refund,
        }
        .into(),
        state: state.into(),
        amount: step.amount.0,
        reference,
        decline_reason,
        create_time: Some(timestamp(step.due.at)),
        answer_time: step.outcome.as_ref().map(|(_, stamp)| timestamp(stamp.at)),
    }
}

/// Where an order's money stands, as the API names it.
pub fn payment_state_to_proto(state: PaymentState) -> v1::order_payment::State {
    match state {
        PaymentState::Required => v1::order_payment::State::Required,
        PaymentState::Authorized => v1::order_payment::State::Authorized,
        PaymentState::PartiallyCaptured => v1::order_payment::State::PartiallyCaptured,
        PaymentState::Captured => v1::order_payment::State::Captured,
        PaymentState::Voided => v1::order_payment::State::Voided,
        PaymentState::PartiallyRefunded => v1::order_payment::State::PartiallyRefunded,
        PaymentState::Refunded => v1::order_payment::State::Refunded,
        PaymentState::Failed => v1::order_payment::State::Failed,
    }
}

/// The state of an order's money that the API names so; `None` for "not set".
pub fn payment_state_of(state: v1::order_payment::State) -> Option<PaymentState> {
    Some(match state {
        v1::order_payment::State::Unspecified => return None,
        v1::order_payment::State::Authorized => PaymentState::Authorized,
        v1::order_payment::State::PartiallyCaptured => PaymentState::PartiallyCaptured,
        v1::order_payment::State::Captured => PaymentState::Captured,
        v1::order_payment::State::Voided => PaymentState::Voided,
        v1::order_payment::State::PartiallyRefunded => PaymentState::PartiallyRefunded,
        v1::order_payment::State::Refunded => PaymentState::Refunded,
        v1::order_payment::State::Failed => PaymentState::Failed,
        v1::order_payment::State::Required => PaymentState::Required,
    })
}

/// The shipments of an order, numbered from 1.
pub(crate) fn fulfilments_to_proto(order: &Order) -> Vec<v1::Fulfilment> {
    let numbered = order.fulfilments().iter().zip(1..);
    numbered
        .map(|(it, number)| fulfilment_to_proto(it, number))
        .collect()
}

fn fulfilment_to_proto(fulfilment: &Fulfilment, number: i32) -> v1::Fulfilment {
    let (opened, shipped) = (fulfilment.opened.as_ref(), fulfilment.shipped.as_ref());
    let (delivered, cancelled) = (fulfilment.delivered.as_ref(), fulfilment.cancelled.as_ref());
    v1::Fulfilment {
        number,
        state: match fulfilment.state() {
            FulfilmentState::Shipped => v1::fulfilment::State::Shipped,
            FulfilmentState::Delivered => v1::fulfilment::State::Delivered,
            FulfilmentState::Open => v1::fulfilment::State::Open,
            FulfilmentState::Cancelled => v1::fulfilment::State::Cancelled,
        }
        .into(),
        lines: fulfilment.lines.iter().map(line_quantity_to_proto).collect(),
        carrier: fulfilment.carrier.to_string(),
        tracking_code: fulfilment.tracking.to_string(),
        captured: fulfilment.captured.0,
        open_time: opened.map(|stamp| timestamp(stamp.at)),
        ship_time: shipped.map(|stamp| timestamp(stamp.at)),
        deliver_time: delivered.map(|stamp| timestamp(stamp.at)),
        cancel_time: cancelled.map(|stamp| timestamp(stamp.at)),
        opened_by: opened.map(by).unwrap_or_default(),
        shipped_by: shipped.map(by).unwrap_or_default(),
        delivered_by: delivered.map(by).unwrap_or_default(),
        cancelled_by: cancelled.map(by).unwrap_or_default(),
    }
}

/// The returns of an order, numbered from 1.
pub(crate) fn returns_to_proto(order: &Order) -> Vec<v1::OrderReturn> {
    let numbered = order.returns().iter().zip(1..);
    numbered.map(|(it, number)| return_to_proto(it, number)).collect()
}

fn return_to_proto(found: &Return, number: i32) -> v1::OrderReturn {
    let declined = found.steps.iter().find_map(|(step, _)| match step {
        ReturnStep::Decline { note } => Some(note.to_string()),
        _ => None,
    });
    let last = found.steps.last().map_or(&found.requested, |(_, stamp)| stamp);
    v1::OrderReturn {
        number,
        state: match found.state() {
            ReturnState::Requested => v1::order_return::State::Requested,
            ReturnState::Approved => v1::order_return::State::Approved,
            ReturnState::Declined => v1::order_return::State::Declined,
            ReturnState::Received => v1::order_return::State::Received,
            ReturnState::Closed => v1::order_return::State::Closed,
        }
        .into(),
        lines: found.lines.iter().map(line_quantity_to_proto).collect(),
        note: found.note.to_string(),
        decline_note: declined.unwrap_or_default(),
        restocked: found.was_restocked(),
        create_time: Some(timestamp(found.requested.at)),
        update_time: Some(timestamp(last.at)),
        requested_by: by(&found.requested),
    }
}

pub(crate) fn refund_to_proto(refund: &Refund) -> v1::OrderRefund {
    v1::OrderRefund {
        amount: refund.amount.0,
        note: refund.note.to_string(),
        create_time: Some(timestamp(refund.refunded.at)),
        refunded_by: by(&refund.refunded),
    }
}

/// Who did something; empty where nobody in particular.
fn by(stamp: &docket_engine::Stamp) -> String {
    stamp.by.as_ref().map_or("", |by| by.as_str()).to_owned()
}

pub(crate) fn line_quantity_to_proto(of_line: &LineQuantity) -> v1::LineQuantity {
    v1::LineQuantity {
        line: of_line.line.into(),
        quantity: of_line.quantity.0,
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

fn lines_to_proto(order: &Order) -> Vec<v1::OrderLine> {
    let line_to_proto = |line: &Line| v1::OrderLine {
        item: item_name(&line.sku),
        quantity: line.quantity.0,
        unit_price: line.unit_price.0,
        amount: line_amount(line),
        ..v1::OrderLine::default()
    };
    let mut lines: Vec<_> = order.lines.iter().map(line_to_proto).collect();
    for (line, reservations) in lines.iter_mut().zip(order.reservations()) {
        let reservations = reservations.into_iter();
        line.reservations = reservations
            .map(|(state, quantity)| reservation_to_proto(state, quantity))
            .collect();
    }
    if has_moved(order) {
        let moved = order.fulfilled_quantities().into_iter();
        for (line, (fulfilled, cancelled)) in lines.iter_mut().zip(moved.zip(order.cancelled_quantities())) {
            line.fulfilled_quantity = fulfilled.0;
            line.cancelled_quantity = cancelled.0;
        }
    }
    lines
}

/// What became of the stock of some of a line. When that ends by itself is not known here: who knows the settings adds it.
pub(crate) fn reservation_to_proto(state: ReservationState, quantity: Quantity) -> v1::LineReservation {
    v1::LineReservation {
        state: match state {
            ReservationState::Held => v1::line_reservation::State::Held,
            ReservationState::Committed => v1::line_reservation::State::Committed,
            ReservationState::Backordered => v1::line_reservation::State::Backordered,
            ReservationState::Consumed => v1::line_reservation::State::Consumed,
            ReservationState::Released => v1::line_reservation::State::Released,
            ReservationState::Expired => v1::line_reservation::State::Expired,
        }
        .into(),
        quantity: quantity.0,
        expire_time: None,
    }
}

/// Says until when an order's stock is held for it.
pub fn expire_at(order: &mut v1::Order, until: Time) {
    let reservations = order.lines.iter_mut().flat_map(|line| &mut line.reservations);
    for held in reservations.filter(|it| it.state() == v1::line_reservation::State::Held) {
        held.expire_time = Some(timestamp(until));
    }
}

/// Whether any of its lines is not as it was ordered, as those of nearly all orders are that are shown.
pub(crate) fn has_moved(order: &Order) -> bool {
    order.life.is_some() || order.state == OrderState::Cancelled
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
        backorder_limit: item.backorder_limit().0,
        backordered: item.backordered().0,
    }
}

/// An order's state as the API names it.
pub fn state_to_proto(state: OrderState) -> v1::order::State {
    match state {
        OrderState::Pending | OrderState::Authorizing => v1::order::State::Pending,
        OrderState::Confirmed => v1::order::State::Confirmed,
        OrderState::Cancelled => v1::order::State::Cancelled,
        OrderState::Rejected => v1::order::State::Rejected,
        OrderState::PartiallyFulfilled => v1::order::State::PartiallyFulfilled,
        OrderState::Fulfilled => v1::order::State::Fulfilled,
        OrderState::Expired => v1::order::State::Expired,
        OrderState::Closed => v1::order::State::Closed,
    }
}

/// The state that the API names so; `None` for "not set". What is PENDING may also be [`OrderState::Authorizing`].
pub fn state_of(state: v1::order::State) -> Option<OrderState> {
    match state {
        v1::order::State::Unspecified => None,
        v1::order::State::Pending => Some(OrderState::Pending),
        v1::order::State::Confirmed => Some(OrderState::Confirmed),
        v1::order::State::Cancelled => Some(OrderState::Cancelled),
        v1::order::State::Rejected => Some(OrderState::Rejected),
        v1::order::State::PartiallyFulfilled => Some(OrderState::PartiallyFulfilled),
        v1::order::State::Fulfilled => Some(OrderState::Fulfilled),
        v1::order::State::Expired => Some(OrderState::Expired),
        v1::order::State::Closed => Some(OrderState::Closed),
    }
}

/// The point in time that the API shows so; `None` where it is none, or too far away. Parts of a microsecond are no time of an order: it
/// is the first whole one from there on.
pub(crate) fn time_of(timestamp: &Timestamp) -> Option<Time> {
    let nanos = i64::from(timestamp.nanos);
    let micros = timestamp.seconds.checked_mul(1_000_000)?;
    let is_one = (0..1_000_000_000).contains(&nanos);
    is_one
        .then(|| micros.checked_add(nanos.unsigned_abs().div_ceil(1_000) as i64))?
        .map(Time)
}

/// A point in time as the API shows it.
pub fn timestamp(time: Time) -> Timestamp {
    const MICROS: i64 = 1_000_000;
    Timestamp {
        seconds: time.0.div_euclid(MICROS),
        nanos: (time.0.rem_euclid(MICROS) * 1_000) as i32,
    }
}
