//! What many clients were told, against what there is.

use std::collections::{BTreeMap, BTreeSet};

use docket_proto::v1::{self, fulfilment, order::State, order_payment};

use super::{
    commands::{Ask, Command, Meant},
    send::Answer,
    show::reservations,
    together::{CREDIT_LIMIT, CUSTOMERS, ITEMS, ON_HAND, REFUSALS, customer, number_in, sku},
};
use crate::api::Api;

type Sums = BTreeMap<String, i64>;

/// What clients were told was done to an order.
#[derive(Default)]
struct Done {
    /// How many of which line were shipped by name, and how many called off.
    shipped: BTreeMap<u16, i64>,
    cancelled: BTreeMap<u16, i64>,
    shipments: u64,
    cancellations: u64,
    /// How often all that was open was shipped, and called off.
    shipped_rest: u64,
    cancelled_rest: u64,
    arrived: BTreeSet<u32>,
    held: u64,
    released: u64,
}

impl Done {
    fn add(&mut self, ask: &Ask) {
        let sum = |of: &mut BTreeMap<u16, i64>, lines: &Meant| {
            for (line, many) in lines {
                *of.entry(*line).or_default() += many;
            }
        };
        match ask {
            Ask::ShipOrder { lines, .. } if lines.is_empty() => self.shipped_rest += 1,
            Ask::ShipOrder { lines, .. } => {
                sum(&mut self.shipped, lines);
                self.shipments += 1;
            }
            Ask::CancelOrder { .. } => self.cancelled_rest += 1,
            Ask::CancelOrderLines { lines, .. } => {
                sum(&mut self.cancelled, lines);
                self.cancellations += 1;
            }
            Ask::DeliverFulfilment { fulfilment, .. } => {
                self.arrived.insert(*fulfilment);
            }
            Ask::HoldOrder { .. } => self.held += 1,
            Ask::ReleaseOrderHold { .. } => self.released += 1,
            _ => panic!("not of an order that is there: {ask:?}"),
        }
    }

    /// What all of that must have made of the confirmed order. In which order it was done does not matter.
    fn check(&self, confirmed: &v1::Order, is: &v1::Order) {
        let (mut rest, mut open) = (0, 0);
        let mut lines = confirmed.lines.clone();
        for (number, line) in (0..).zip(&mut lines) {
            line.fulfilled_quantity = self.shipped.get(&number).copied().unwrap_or_default();
            line.cancelled_quantity = self.cancelled.get(&number).copied().unwrap_or_default();
            let left = line.quantity - line.fulfilled_quantity - line.cancelled_quantity;
            rest += left;
            match (self.shipped_rest, self.cancelled_rest) {
                (0, 0) => open += left,
                (0, _) => line.cancelled_quantity += left,
                (_, _) => line.fulfilled_quantity += left,
            }
            let gone = (line.fulfilled_quantity, line.cancelled_quantity);
            line.reservations = reservations(line.quantity - gone.0 - gone.1, gone.0, gone.1);
        }
        assert_eq!(is.lines, lines, "{is:?}");
        assert!(self.shipped_rest <= u64::from(rest > 0), "{is:?}");
        assert!(self.shipped_rest == 0 || self.cancelled_rest == 0, "{is:?}");
        let shipments = self.shipments + self.shipped_rest;
        let state = match (shipments, open) {
            (0, 0) => State::Cancelled,
            (_, 0) => State::Fulfilled,
            (0, _) => State::Confirmed,
            _ => State::PartiallyFulfilled,
        };
        assert_eq!(is.state(), state, "{is:?}");
        assert_eq!(is.fulfilments.len() as u64, shipments, "{is:?}");
        for it in &is.fulfilments {
            let has_arrived = self.arrived.contains(&(it.number as u32));
            assert_eq!(it.state() == fulfilment::State::Delivered, has_arrived, "{is:?}");
        }
        // An order that is cancelled can be cancelled again: that changes nothing.
        let cancelled_rest = u64::from(self.cancelled_rest > 0 && rest > 0);
        // Each of them is heard of again when its items have done their part.
        let with_items = shipments + self.cancellations + cancelled_rest;
        let changes = 2 * with_items + self.arrived.len() as u64 + self.held + self.released;
        let version = number_in(&confirmed.etag) + changes;
        assert_eq!(number_in(&is.etag), version, "{is:?}");
        if open > 0 {
            assert_eq!(is.holds.len() as u64, self.held - self.released, "{is:?}");
        } else {
            assert_eq!(is.holds, [], "{is:?}");
        }
        check_payment(is);
        if changes == 0 {
            assert_eq!(is, confirmed);
        }
    }
}

/// Every one of a line costs the same, whatever becomes of it.
fn check_payment(order: &v1::Order) {
    let payment = order.payment.as_ref().unwrap();
    let of = |quantity: fn(&v1::OrderLine) -> i64| -> i64 {
        let costs = order.lines.iter().map(|line| quantity(line) * line.unit_price);
        costs.sum()
    };
    let (captured, voided) = (
        of(|line| line.fulfilled_quantity),
        of(|line| line.cancelled_quantity),
    );
    assert_eq!(
        (payment.authorized, payment.captured, payment.voided),
        (order.total, captured, voided),
        "{order:?}"
    );
    let with_shipments: i64 = order.fulfilments.iter().map(|it| it.captured).sum();
    assert_eq!(with_shipments, captured, "{order:?}");
    let state = match (captured, order.total - captured - voided) {
        (0, 0) => order_payment::State::Voided,
        (_, 0) => order_payment::State::Captured,
        (0, _) => order_payment::State::Authorized,
        _ => order_payment::State::PartiallyCaptured,
    };
    assert_eq!(payment.state(), state, "{order:?}");
}

/// What all clients were told, together.
#[derive(Default)]
struct Books<'a> {
    /// Paid in, and adjusted.
    paid: Sums,
    adjusted: Sums,
    /// How often each was changed: every change raises the revision by one, and nothing else does.
    changes: BTreeMap<String, u64>,
    confirmed: BTreeMap<&'a str, &'a v1::Order>,
    done: BTreeMap<String, Done>,
    rejected: usize,
}

impl<'a> Books<'a> {
    fn add(&mut self, command: &'a Command, answer: &'a Answer) {
        match (&command.ask, answer) {
            (ask, Answer::Refused(refused)) => {
                let is_method = |(method, _): &&(&str, &[&str])| *method == ask.method();
                let (_, allowed) = REFUSALS.iter().find(is_method).unwrap();
                assert!(
                    allowed.contains(&&*refused.reason),
                    "{command:?} was answered with {refused:?}"
                );
                self.rejected += usize::from(matches!(ask, Ask::PlaceOrder { .. }));
            }
            (Ask::CreditAccount { amount, .. }, Answer::Customer(customer)) => {
                *self.paid.entry(customer.name.clone()).or_default() += amount;
                *self.changes.entry(customer.name.clone()).or_default() += 1;
            }
            (Ask::AdjustStock { delta, .. }, Answer::Item(item)) => {
                *self.adjusted.entry(item.name.clone()).or_default() += delta;
                *self.changes.entry(item.name.clone()).or_default() += 1;
            }
            (Ask::PlaceOrder { .. }, Answer::Order(order)) => {
                assert_eq!(order.state(), State::Confirmed);
                let before = self.confirmed.insert(&order.name, order);
                assert!(before.is_none(), "one order for two requests: {order:?}");
            }
            (ask, Answer::Order(order)) => self.done.entry(order.name.clone()).or_default().add(ask),
            _ => panic!("{command:?} was answered with {answer:?}"),
        }
    }
}

/// What all clients were told, against what there is.
pub async fn check(api: &Api, told: &[(Command, Answer)]) {
    let mut books = Books::default();
    for (command, answer) in told {
        books.add(command, answer);
    }
    let (mut held, mut captured) = (Sums::new(), Sums::new());
    let (mut reserved, mut shipped) = (Sums::new(), Sums::new());
    let (mut accepted, mut rejected) = (0, 0);
    for order in api.all_orders().await {
        let ours = (0..CUSTOMERS).any(|n| order.customer == format!("customers/{}", customer(n)));
        if !ours {
            continue;
        }
        if order.state() == State::Rejected {
            rejected += 1;
            continue;
        }
        accepted += 1;
        let nothing = Done::default();
        let done = books.done.get(&order.name).unwrap_or(&nothing);
        done.check(books.confirmed[&*order.name], &order);
        let payment = order.payment.unwrap();
        *held.entry(order.customer.clone()).or_default() +=
            payment.authorized - payment.captured - payment.voided;
        *captured.entry(order.customer).or_default() += payment.captured;
        for line in order.lines {
            let open = line.quantity - line.fulfilled_quantity - line.cancelled_quantity;
            *reserved.entry(line.item.clone()).or_default() += open;
            *shipped.entry(line.item).or_default() += line.fulfilled_quantity;
        }
    }
    assert_eq!((accepted, rejected), (books.confirmed.len(), books.rejected));

    let of = |sums: &Sums, name: &str| sums.get(name).copied().unwrap_or_default();
    for n in 0..CUSTOMERS {
        let name = format!("customers/{}", customer(n));
        let request = v1::GetCustomerRequest { name: name.clone() };
        let found = api.customers().get_customer(request).await.unwrap().into_inner();
        let balance = of(&books.paid, &name) - of(&captured, &name);
        assert_eq!(found.balance, balance, "{found:?}");
        assert_eq!(found.held, of(&held, &name), "{found:?}");
        assert_eq!(found.available, found.balance + CREDIT_LIMIT - found.held);
        assert!(found.available >= 0, "{found:?}");
        let changes = books.changes.get(&name).copied().unwrap_or_default();
        assert_eq!(number_in(&found.etag), 1 + changes, "{found:?}");
    }
    for n in 0..ITEMS {
        let name = format!("items/{}", sku(n));
        let request = v1::GetItemRequest { name: name.clone() };
        let found = api.items().get_item(request).await.unwrap().into_inner();
        let on_hand = ON_HAND + of(&books.adjusted, &name) - of(&shipped, &name);
        assert_eq!(found.on_hand, on_hand, "{found:?}");
        assert_eq!(found.reserved, of(&reserved, &name), "{found:?}");
        assert_eq!(found.available, found.on_hand - found.reserved);
        assert!(found.available >= 0, "{found:?}");
        let changes = books.changes.get(&name).copied().unwrap_or_default();
        assert_eq!(number_in(&found.etag), 1 + changes, "{found:?}");
    }
}
