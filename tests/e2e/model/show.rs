//! Commands as requests, and the model's state as replies show it.

use docket_engine::{Currency, Line, OrderState, Rejection};
use docket_proto::v1::{self, order::State};
use prost_types::FieldMask;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    commands::{Ask, Command},
    reference::{Customer, Item, Order, cost},
};
use crate::api::{Api, fields, reason};

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Customer(v1::Customer),
    Item(v1::Item),
    Order(v1::Order),
    Refused(Refused),
}

/// A refusal, as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub reason: String,
    /// Empty where it is not the model's to say.
    pub message: String,
    pub field: String,
}

impl Command {
    pub async fn send(&self, api: &Api) -> Answer {
        let request_id = self.request_id.clone();
        let (mut customers, mut items, mut orders) = (api.customers(), api.items(), api.orders());
        let answer = match self.ask.clone() {
            Ask::CreateCustomer {
                id,
                name,
                currency,
                limit,
            } => {
                let request = v1::CreateCustomerRequest {
                    customer_id: id.to_string(),
                    customer: Some(v1::Customer {
                        display_name: name,
                        currency_code: currency.to_string(),
                        credit_limit: limit,
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = customers.create_customer(request).await;
                reply.map(|reply| Answer::Customer(reply.into_inner()))
            }
            Ask::UpdateCustomer {
                id,
                name,
                limit,
                etag,
            } => {
                let request = v1::UpdateCustomerRequest {
                    update_mask: mask(
                        ("display_name", name.is_some()),
                        ("credit_limit", limit.is_some()),
                    ),
                    customer: Some(v1::Customer {
                        name: format!("customers/{id}"),
                        display_name: name.unwrap_or_default(),
                        credit_limit: limit.unwrap_or_default(),
                        etag: shown(etag),
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = customers.update_customer(request).await;
                reply.map(|reply| Answer::Customer(reply.into_inner()))
            }
            Ask::CreditAccount { id, amount, etag } => {
                let request = v1::CreditAccountRequest {
                    name: format!("customers/{id}"),
                    amount,
                    request_id,
                    etag: shown(etag),
                };
                let reply = customers.credit_account(request).await;
                reply.map(|reply| Answer::Customer(reply.into_inner()))
            }
            Ask::CreateItem {
                sku,
                name,
                currency,
                price,
                on_hand,
            } => {
                let request = v1::CreateItemRequest {
                    sku: sku.to_string(),
                    item: Some(v1::Item {
                        display_name: name,
                        currency_code: currency.to_string(),
                        unit_price: price,
                        on_hand,
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = items.create_item(request).await;
                reply.map(|reply| Answer::Item(reply.into_inner()))
            }
            Ask::UpdateItem {
                sku,
                name,
                price,
                etag,
            } => {
                let request = v1::UpdateItemRequest {
                    update_mask: mask(("display_name", name.is_some()), ("unit_price", price.is_some())),
                    item: Some(v1::Item {
                        name: format!("items/{sku}"),
                        display_name: name.unwrap_or_default(),
                        unit_price: price.unwrap_or_default(),
                        etag: shown(etag),
                        ..Default::default()
                    }),
                    request_id,
                };
                let reply = items.update_item(request).await;
                reply.map(|reply| Answer::Item(reply.into_inner()))
            }
            Ask::AdjustStock { sku, delta, etag } => {
                let request = v1::AdjustStockRequest {
                    name: format!("items/{sku}"),
                    delta,
                    request_id,
                    etag: shown(etag),
                };
                let reply = items.adjust_stock(request).await;
                reply.map(|reply| Answer::Item(reply.into_inner()))
            }
            Ask::PlaceOrder {
                customer,
                currency,
                lines,
            } => {
                let request = v1::PlaceOrderRequest {
                    request_id,
                    customer: format!("customers/{customer}"),
                    currency_code: currency.to_string(),
                    lines: lines.iter().map(ordered).collect(),
                };
                let reply = orders.place_order(request).await;
                reply.map(|reply| Answer::Order(reply.into_inner()))
            }
            Ask::CancelOrder { order, etag } => {
                let request = v1::CancelOrderRequest {
                    name: format!("orders/{order}"),
                    request_id,
                    etag: shown(etag),
                    lines: Vec::new(),
                };
                let reply = orders.cancel_order(request).await;
                reply.map(|reply| Answer::Order(reply.into_inner()))
            }
        };
        answer.unwrap_or_else(|status| Answer::Refused(refused(&status)))
    }
}

fn mask(one: (&str, bool), other: (&str, bool)) -> Option<FieldMask> {
    let named = [one, other].into_iter().filter(|(_, named)| *named);
    let paths = named.map(|(path, _)| path.to_owned()).collect();
    Some(FieldMask { paths })
}

fn shown(etag: Option<u64>) -> String {
    etag.map(|number| format!("v{number}")).unwrap_or_default()
}

fn ordered(line: &Line) -> v1::OrderLine {
    v1::OrderLine {
        item: format!("items/{}", line.sku),
        quantity: line.quantity.0,
        unit_price: line.unit_price.0,
        ..v1::OrderLine::default()
    }
}

pub fn refused(status: &Status) -> Refused {
    let info = status.get_details_error_info();
    let field = info.and_then(|info| info.metadata.get("field").cloned());
    let reason = reason(status);
    if status.code() == Code::InvalidArgument {
        assert!(!fields(status).is_empty(), "{status:?}");
    }
    Refused {
        code: status.code(),
        message: status.message().to_owned(),
        field: field.unwrap_or_default(),
        reason,
    }
}

/// A rejection as a client of this method must see it. No kind is left out: a new one has to say here what it looks like.
pub fn rejected(method: &str, rejection: &Rejection) -> Refused {
    use Rejection as R;
    let code = match rejection {
        R::CustomerNotFound { .. } | R::OrderNotFound { .. } | R::ItemNotFound { line: None, .. } => {
            Code::NotFound
        }
        R::RequestIdReused | R::CustomerExists { .. } | R::ItemExists { .. } => Code::AlreadyExists,
        R::StaleEtag => Code::Aborted,
        R::Overflow { line: Some(_) } | R::LineNotFound { .. } => Code::InvalidArgument,
        R::ItemNotFound { line: Some(_), .. }
        | R::CurrencyMismatch { .. }
        | R::InsufficientCredit { .. }
        | R::Overflow { line: None }
        | R::PriceChanged { .. }
        | R::InsufficientStock { .. }
        | R::NotCancellable { .. }
        | R::NotHoldable { .. }
        | R::HoldExists { .. }
        | R::HoldNotFound { .. }
        | R::TooManyHolds
        | R::NotShippable { .. }
        | R::OrderHeld { .. }
        | R::QuantityNotOpen { .. }
        | R::TooManyFulfilments
        | R::FulfilmentNotFound { .. }
        | R::StockReserved { .. }
        | R::BalanceHeld { .. } => Code::FailedPrecondition,
        // An order is never pending between two commands, and its actor makes a cancelling wait until it is settled.
        R::OrderPending => panic!("an order is pending, with nothing under way"),
        // Actors panic in `actors/tests/it/faults.rs`.
        R::ItemFailed { .. } => panic!("an item's actor failed"),
    };
    Refused {
        code,
        reason: rejection.reason().to_owned(),
        message: rejection.to_string(),
        field: own_field(method, rejection.field()),
    }
}

/// What the method's own request calls the field.
fn own_field(method: &str, field: String) -> String {
    let own = match (method, field.as_str()) {
        ("CreateCustomer", "customer") => "customer_id",
        ("GetCustomer" | "CreditAccount", "customer") => "name",
        ("UpdateCustomer", "customer") => "customer.name",
        ("UpdateCustomer", "etag") => "customer.etag",
        ("CreditAccount", "lines") => "amount",
        ("UpdateItem", "name") => "item.name",
        ("UpdateItem", "etag") => "item.etag",
        ("AdjustStock", "lines") => "delta",
        _ => return field,
    };
    own.to_owned()
}

/// Without times, which the model does not know.
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

/// As [`customer`].
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
    }
}

/// As [`customer`].
pub fn order(id: &str, order: &Order) -> v1::Order {
    let line = |line: &Line| v1::OrderLine {
        amount: small(cost(std::slice::from_ref(line))),
        cancelled_quantity: match order.state {
            OrderState::Cancelled => line.quantity.0,
            _ => 0,
        },
        ..ordered(line)
    };
    let rejection = order.rejection.as_ref().map(|rejection| v1::Rejection {
        reason: rejection.reason().to_owned(),
        message: rejection.to_string(),
        field: rejection.field(),
    });
    v1::Order {
        name: format!("orders/{id}"),
        customer: format!("customers/{}", order.customer),
        state: state(order.state).into(),
        currency_code: Currency::to_string(&order.currency),
        lines: order.lines.iter().map(line).collect(),
        total: small(cost(&order.lines)),
        rejection,
        create_time: None,
        update_time: None,
        etag: shown(Some(order.version)),
        holds: Vec::new(),
        payment: Some(payment(order)),
        fulfilments: Vec::new(),
    }
}

fn payment(order: &Order) -> v1::OrderPayment {
    use v1::order_payment::State;
    let total = small(cost(&order.lines));
    let never_held = matches!(
        order.rejection,
        Some(
            Rejection::InsufficientCredit { .. }
                | Rejection::CurrencyMismatch { line: None, .. }
                | Rejection::Overflow { .. }
        )
    );
    let (state, authorized, voided) = match order.state {
        OrderState::Rejected if never_held => (State::Failed, 0, 0),
        OrderState::Rejected | OrderState::Cancelled => (State::Voided, total, total),
        _ => (State::Authorized, total, 0),
    };
    v1::OrderPayment {
        state: state.into(),
        authorized,
        captured: 0,
        voided,
    }
}

pub fn state(state: OrderState) -> State {
    match state {
        OrderState::Pending => State::Pending,
        OrderState::Confirmed => State::Confirmed,
        OrderState::PartiallyFulfilled => State::PartiallyFulfilled,
        OrderState::Fulfilled => State::Fulfilled,
        OrderState::Cancelled => State::Cancelled,
        OrderState::Rejected => State::Rejected,
    }
}

fn small(number: i128) -> i64 {
    number.try_into().expect("the model keeps what fits")
}
