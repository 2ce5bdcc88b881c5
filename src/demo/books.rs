//! The books: what the server says it has, against what it told its clients.

use std::collections::{BTreeMap, BTreeSet};

use docket_proto::v1::{
    Customer, GetCustomerRequest, GetItemRequest, GetOrderRequest, Item, ListOrdersRequest, Order,
    order::State,
};

use super::{
    script::{BUYERS, CLIENTS, Diary, GOODS, Kind},
    story,
};
use crate::{client::Client, failure::Failure};

/// The largest page that the contract allows.
const PAGE_SIZE: i32 = 1_000;

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What must hold.
    pub rule: &'static str,
    /// What does not; empty when all is well.
    pub faults: Vec<String>,
}

/// What the server says it has.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Every order, newest first.
    pub orders: Vec<Order>,
    /// Every customer.
    pub customers: Vec<Customer>,
    /// Every item.
    pub items: Vec<Item>,
    /// Acknowledged orders, read one by one.
    pub read: BTreeMap<String, Order>,
}

/// Asks the server for everything.
pub async fn open(client: &Client, diaries: &[Diary]) -> Result<Books, Failure> {
    let mut books = Books::default();
    let mut page_token = String::new();
    loop {
        let request = ListOrdersRequest {
            page_size: PAGE_SIZE,
            page_token,
            ..ListOrdersRequest::default()
        };
        let page = client.answer(client.orders().list_orders(request).await)?;
        // One order has a story of its own.
        let others = page
            .orders
            .into_iter()
            .filter(|order| order.customer != story::CUSTOMER);
        books.orders.extend(others);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    for buyer in &BUYERS {
        let request = GetCustomerRequest {
            name: format!("customers/{}", buyer.id),
        };
        books
            .customers
            .push(client.answer(client.customers().get_customer(request).await)?);
    }
    for good in &GOODS {
        let request = GetItemRequest {
            name: format!("items/{}", good.sku),
        };
        books
            .items
            .push(client.answer(client.items().get_item(request).await)?);
    }
    for order in diaries.iter().flat_map(acknowledged) {
        let request = GetOrderRequest {
            name: order.name.clone(),
        };
        let found = client.answer(client.orders().get_order(request).await)?;
        books.read.insert(order.name.clone(), found);
    }
    Ok(books)
}

/// Holds the books against the diaries.
pub fn check(books: &Books, diaries: &[Diary]) -> Vec<Check> {
    vec![
        Check {
            rule: "every acknowledged order is readable, as it was acknowledged",
            faults: readable(books, diaries),
        },
        Check {
            rule: "there is no order that nobody asked for, and none twice",
            faults: complete(books, diaries),
        },
        Check {
            rule: "stock: reserved = what confirmed orders have, none invented",
            faults: stock(books),
        },
        Check {
            rule: "credit: held = what confirmed orders cost, none invented",
            faults: credit(books),
        },
        Check {
            rule: "scarce stock and credit went to as many as there was for",
            faults: contested(diaries),
        },
        Check {
            rule: "a repeated request got the first answer, a changed one none",
            faults: repeated(diaries),
        },
    ]
}

/// The orders a client was told about, as they must be now: the cancelled ones as cancelled.
fn acknowledged(diary: &Diary) -> impl Iterator<Item = &Order> {
    let placed = diary
        .placed
        .iter()
        .filter_map(|placed| placed.answer.as_ref().ok());
    placed.map(|order| {
        diary
            .cancelled
            .iter()
            .find(|cancelled| cancelled.name == order.name)
            .unwrap_or(order)
    })
}

fn readable(books: &Books, diaries: &[Diary]) -> Vec<String> {
    let mut faults = Vec::new();
    for told in diaries.iter().flat_map(acknowledged) {
        match books.read.get(&told.name) {
            Some(found) if found == told => {}
            Some(found) => faults.push(format!(
                "{}: is {:?}, was told as {:?}",
                told.name,
                found.state(),
                told.state()
            )),
            None => faults.push(format!("{}: is not there", told.name)),
        }
    }
    faults
}

fn complete(books: &Books, diaries: &[Diary]) -> Vec<String> {
    let mut faults = Vec::new();
    let told: BTreeSet<&str> = diaries
        .iter()
        .flat_map(acknowledged)
        .map(|order| order.name.as_str())
        .collect();
    let mut listed = BTreeSet::new();
    for order in &books.orders {
        if !listed.insert(order.name.as_str()) {
            faults.push(format!("{}: is listed twice", order.name));
        }
        if order.state() != State::Rejected && !told.contains(order.name.as_str()) {
            faults.push(format!(
                "{}: is {:?}, and nobody was told",
                order.name,
                order.state()
            ));
        }
    }
    faults.extend(
        told.difference(&listed)
            .map(|name| format!("{name}: is not listed")),
    );
    let refused = diaries
        .iter()
        .flat_map(|diary| &diary.placed)
        .filter(|placed| placed.answer.is_err())
        .count();
    let rejected = books
        .orders
        .iter()
        .filter(|order| order.state() == State::Rejected)
        .count();
    if refused != rejected {
        faults.push(format!(
            "{refused} orders were refused, {rejected} are recorded as REJECTED"
        ));
    }
    faults
}

fn stock(books: &Books) -> Vec<String> {
    let mut faults = Vec::new();
    for (good, item) in GOODS.iter().zip(&books.items) {
        let lines = confirmed(books).flat_map(|order| &order.lines);
        let reserved: i64 = lines
            .filter(|line| line.item == item.name)
            .map(|line| line.quantity)
            .sum();
        let expected = (good.on_hand, reserved, good.on_hand - reserved);
        let found = (item.on_hand, item.reserved, item.available);
        if found != expected || item.available < 0 {
            faults.push(format!(
                "{}: on hand, reserved, available are {found:?}, must be {expected:?}",
                item.name
            ));
        }
    }
    faults
}

fn credit(books: &Books) -> Vec<String> {
    let mut faults = Vec::new();
    for (buyer, customer) in BUYERS.iter().zip(&books.customers) {
        let held: i64 = confirmed(books)
            .filter(|order| order.customer == customer.name)
            .map(|order| order.total)
            .sum();
        let expected = (buyer.balance, held, buyer.balance + buyer.credit_limit - held);
        let found = (customer.balance, customer.held, customer.available);
        if found != expected || customer.available < 0 {
            faults.push(format!(
                "{}: balance, held, available are {found:?}, must be {expected:?}",
                customer.name
            ));
        }
    }
    faults
}

fn confirmed(books: &Books) -> impl Iterator<Item = &Order> {
    books
        .orders
        .iter()
        .filter(|order| order.state() == State::Confirmed)
}

fn contested(diaries: &[Diary]) -> Vec<String> {
    let mut faults = Vec::new();
    for kind in Kind::ALL {
        let placed = || {
            diaries
                .iter()
                .flat_map(|diary| &diary.placed)
                .filter(|placed| placed.kind == kind)
        };
        let confirmed = placed().filter(|placed| placed.answer.is_ok()).count();
        if confirmed != kind.confirmed() {
            faults.push(format!(
                "{}: {confirmed} were confirmed, must be {}",
                kind.title(),
                kind.confirmed()
            ));
        }
        let others = placed().filter_map(|placed| placed.answer.as_ref().err());
        faults.extend(
            others
                .filter(|reason| *reason != kind.refusal())
                .map(|reason| format!("{}: refused with {reason}", kind.title())),
        );
    }
    faults
}

fn repeated(diaries: &[Diary]) -> Vec<String> {
    let mut faults = Vec::new();
    if diaries.len() != CLIENTS {
        faults.push(format!("{} clients came back, {CLIENTS} set out", diaries.len()));
    }
    for diary in diaries {
        if diary.repeated.len() != 2 || diary.cancelled.len() != 1 {
            faults.push("a client did not come to repeat and to cancel".to_owned());
        }
        faults.extend(
            diary
                .repeated
                .iter()
                .filter(|(first, second)| first != second)
                .map(|(first, second)| format!("a repeat was answered {second:?}, the first time {first:?}")),
        );
        faults.extend(
            diary
                .cancelled
                .iter()
                .filter(|order| order.state() != State::Cancelled)
                .map(|order| format!("{}: is {:?} after it was cancelled", order.name, order.state())),
        );
        match diary.reused.as_deref() {
            Some("REQUEST_ID_REUSED") => {}
            other => faults.push(format!(
                "a used request id with other content was answered {other:?}"
            )),
        }
    }
    faults
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
