//! The API's rules: what is wrong with a request, all of it at once, and what a reply shows.

mod entities;
mod orders;
mod received;
mod shown;

use docket_engine::{CustomerId, OrderId, Sku};
use docket_proto::{api::Checked, v1};

/// The fields that a request is refused for, in order.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(checked: Checked<T>, fields: &[&str]) {
    let violations = checked.unwrap_err();
    let found: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(found, fields, "{violations:?}");
    assert!(
        violations.iter().all(|v| !v.description.is_empty()),
        "{violations:?}"
    );
}

#[track_caller]
pub fn description<T: std::fmt::Debug>(checked: Checked<T>) -> String {
    let mut violations = checked.unwrap_err();
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations.remove(0).to_string()
}

pub fn line(item: &str, quantity: i64, unit_price: i64) -> v1::OrderLine {
    v1::OrderLine {
        item: item.into(),
        quantity,
        unit_price,
        ..v1::OrderLine::default()
    }
}

pub fn place(lines: Vec<v1::OrderLine>) -> v1::PlaceOrderRequest {
    v1::PlaceOrderRequest {
        request_id: "r-1".into(),
        customer: "customers/ada".into(),
        currency_code: "EUR".into(),
        lines,
        payment_method: String::new(),
    }
}

pub fn ada() -> CustomerId {
    CustomerId::new("ada").unwrap()
}

pub fn nut() -> Sku {
    Sku::new("nut").unwrap()
}

pub fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 5, 77)
}
