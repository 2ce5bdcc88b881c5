//! What a history says of each key: the steps of every item, every customer and every order, each with the time in which
//! it takes effect.
//!
//! An order that is placed touches several keys, at a moment of its own on each of them: so each key is checked by itself. What
//! ties them together is that all of it happens between the begin of the request and its answer.

mod called_off;
mod deeds;
mod orders;
mod placed;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use self::orders::Orders;
use super::{
    life::Life,
    linear::Interval,
    models::{Etags, account, order},
    operation::{Ask, CustomerSeen, History, ItemSeen, Micros, Operation, OrderSeen, Outcome, Phase, Reply},
    requests::Request,
};

/// The steps of every key.
#[derive(Debug, Default)]
pub struct Keys {
    /// Of items and customers.
    pub accounts: BTreeMap<String, Vec<Interval<account::Step>>>,
    /// Of orders.
    pub orders: BTreeMap<String, Vec<Interval<order::Step>>>,
    /// Items and customers that were not listed, and were there, with the operation that listed.
    pub unlisted: Vec<(String, usize)>,
    /// Orders that somebody saw and nobody asked for, with the operation that saw each; none where that is in the books.
    pub unasked: Vec<(String, Option<usize>)>,
    /// What one of each line of an order costs.
    pub prices: HashMap<String, Vec<i64>>,
    etags: HashMap<String, Etags>,
    /// Given to the next order that may have taken something for a while.
    next_number: u32,
}

/// When something happens, and which operation tells of it.
#[derive(Clone, Copy)]
pub struct Span {
    /// Not before.
    pub begin: Micros,
    /// Not behind it; none where it may happen at any time.
    pub end: Option<Micros>,
    /// The operation's number; that behind the last one's for the books.
    pub source: usize,
}

impl<S> From<&Interval<S>> for Span {
    fn from(interval: &Interval<S>) -> Self {
        let Interval {
            begin, end, source, ..
        } = *interval;
        Self { begin, end, source }
    }
}

impl Span {
    fn of(number: usize, operation: &Operation) -> Self {
        Self {
            begin: operation.invoked,
            end: operation.completed,
            source: number,
        }
    }

    /// Behind everything: when the books were read.
    fn behind(history: &History) -> Self {
        let times = history
            .operations
            .iter()
            .map(|it| it.completed.unwrap_or(it.invoked));
        let last = times
            .chain(history.quiet.iter().copied())
            .max()
            .unwrap_or_default()
            + 1;
        Self {
            begin: last,
            end: Some(last),
            source: history.operations.len(),
        }
    }
}

impl Keys {
    /// What a history says.
    pub fn new(history: &History, requests: &[Request<'_>]) -> Self {
        let mut keys = Self::default();
        let orders = Orders::of(history, requests);
        for request in requests {
            match request.ask {
                Ask::Place { customer, lines, .. } => keys.place(history, request, customer, lines),
                Ask::Adjust { item: key, delta, .. }
                | Ask::Credit {
                    customer: key,
                    amount: delta,
                    ..
                } => keys.book(history, request, key, *delta),
                _ => {}
            }
        }
        keys.come_to_be(history, &orders);
        keys.deeds(history, requests, &orders);
        keys.ends(history, &orders);
        for (number, operation) in history.operations.iter().enumerate() {
            keys.read(number, operation, &orders);
            keys.listed_accounts(history, number, operation);
        }
        keys
    }

    fn account(&mut self, key: &str, span: Span, step: account::Step) {
        push(&mut self.accounts, key, span, step);
    }

    fn order(&mut self, key: &str, span: Span, step: order::Step) {
        push(&mut self.orders, key, span, step);
    }

    fn etag(&mut self, key: &str, etag: &str) -> u32 {
        self.etags.entry(key.to_owned()).or_default().number(etag)
    }

    /// How orders came to be.
    fn come_to_be(&mut self, history: &History, orders: &Orders<'_>) {
        for (name, known) in &orders.known {
            let (must, span) = match known.request {
                Some(request) => {
                    let answer = request.answered(history).and_then(Operation::order);
                    let span = Span {
                        begin: request.begin,
                        end: request.end,
                        source: request.answer.unwrap_or(request.attempts[0]),
                    };
                    if let Some(order) = answer {
                        self.see(span, order);
                    }
                    (true, span)
                }
                None => match orders.asked_for(history, known) {
                    Some(span) => (false, span),
                    None => {
                        self.unasked.push(((*name).to_owned(), known.seen_by));
                        continue;
                    }
                },
            };
            let lines = match known.request.map(|request| request.ask) {
                Some(Ask::Place { lines, .. }) => lines,
                _ => &known.order.lines,
            };
            let prices = lines.iter().map(|line| line.unit_price);
            self.prices.insert((*name).to_owned(), prices.collect());
            let life = Arc::new(Life::of(lines));
            self.order(name, span, order::Step::Create { life, must });
            let phase = Phase::Confirmed;
            self.order(name, span, order::Step::Settle { phase, must });
            if !must {
                let phase = Phase::Rejected;
                self.order(name, span, order::Step::Settle { phase, must });
            }
        }
    }

    fn see(&mut self, span: Span, seen: &OrderSeen) {
        let etag = self.etag(&seen.name, &seen.etag);
        let life = Arc::new(seen.life.clone());
        self.order(&seen.name, span, order::Step::See(seen.phase, etag, life));
    }

    /// The books at the end are a read of each order, behind everything.
    fn ends(&mut self, history: &History, orders: &Orders<'_>) {
        let Some(books) = &history.books else { return };
        let span = Span::behind(history);
        for order in &books.orders {
            let is_known = orders.known.contains_key(order.name.as_str());
            if is_known && self.orders.contains_key(&order.name) {
                self.see(span, order);
            }
        }
    }

    /// The etags of items and customers in the books, as far as anybody else saw them.
    pub fn at_the_end<'h>(&self, history: &'h History) -> Vec<(&'h str, u32, Span)> {
        let Some(books) = &history.books else {
            return Vec::new();
        };
        let span = Span::behind(history);
        let items = books.items.iter().map(|item| (&item.name, &item.etag));
        let customers = books
            .customers
            .iter()
            .map(|customer| (&customer.name, &customer.etag));
        items
            .chain(customers)
            .filter_map(|(name, etag)| Some((name.as_str(), self.etags.get(name)?.known(etag)?, span)))
            .collect()
    }

    /// What was seen.
    fn read(&mut self, number: usize, operation: &Operation, orders: &Orders<'_>) {
        let span = Span::of(number, operation);
        match (&operation.ask, &operation.outcome) {
            (Ask::GetOrder { .. } | Ask::Cancel { .. } | Ask::Do { .. }, Outcome::Ok(Reply::Order(seen))) => {
                self.see(span, seen)
            }
            (Ask::GetItem { item }, Outcome::Ok(Reply::Item(seen))) => {
                let etag = self.etag(item, &seen.etag);
                self.account(item, span, see_item(seen, etag));
            }
            (Ask::GetCustomer { customer }, Outcome::Ok(Reply::Customer(seen))) => {
                let etag = self.etag(customer, &seen.etag);
                self.account(customer, span, see_customer(seen, etag));
            }
            (
                Ask::ListOrders { customer },
                Outcome::Ok(Reply::Orders {
                    orders: listed,
                    complete,
                }),
            ) => {
                self.listed(span, orders, customer, listed, *complete);
            }
            (Ask::GetOrder { order }, Outcome::Refused(refusal)) if refusal.reason == "ORDER_NOT_FOUND" => {
                self.order(order, span, order::Step::SeeAbsent);
            }
            // Of an order that nobody ever saw, nothing can be said.
            (Ask::Cancel { order, etag, .. }, Outcome::Refused(refusal))
                if orders.known.contains_key(order.as_str()) =>
            {
                let step = match refusal.reason.as_str() {
                    // Or it waits for its items, with something that was asked of it.
                    "ORDER_PENDING" if orders.is_busy(order) => return,
                    "ORDER_PENDING" => order::Step::SeePhase(Phase::Pending),
                    "NOT_CANCELLABLE" => order::Step::SeeOver,
                    "STALE_ETAG" => order::Step::SeeOther(self.etag(order, etag)),
                    "ORDER_NOT_FOUND" => order::Step::SeeAbsent,
                    _ => return,
                };
                self.order(order, span, step);
            }
            (
                Ask::Do {
                    order, deed, etag, ..
                },
                Outcome::Refused(refusal),
            ) if orders.known.contains_key(order.as_str()) => {
                let step = match refusal.reason.as_str() {
                    "ORDER_PENDING" | "REQUEST_ID_REUSED" => return,
                    "STALE_ETAG" => order::Step::SeeOther(self.etag(order, etag)),
                    "ORDER_NOT_FOUND" => order::Step::SeeAbsent,
                    reason => order::Step::Refuse(Arc::new(deed.clone()), reason.to_owned()),
                };
                self.order(order, span, step);
            }
            _ => {}
        }
    }

    /// A list of items or customers is a read of each, at moments of their own. All were there before the history began. What is listed
    /// and not of this history is none of its business.
    fn listed_accounts(&mut self, history: &History, number: usize, operation: &Operation) {
        let span = Span::of(number, operation);
        let missing: BTreeSet<&str> = match &operation.outcome {
            Outcome::Ok(Reply::Items(listed)) => {
                for seen in listed
                    .iter()
                    .filter(|seen| history.stock.contains_key(&seen.name))
                {
                    let etag = self.etag(&seen.name, &seen.etag);
                    self.account(&seen.name, span, see_item(seen, etag));
                }
                let there: BTreeSet<&str> = history.stock.keys().map(String::as_str).collect();
                &there - &listed.iter().map(|seen| seen.name.as_str()).collect()
            }
            Outcome::Ok(Reply::Customers(listed)) => {
                for seen in listed
                    .iter()
                    .filter(|seen| history.credit.contains_key(&seen.name))
                {
                    let etag = self.etag(&seen.name, &seen.etag);
                    self.account(&seen.name, span, see_customer(seen, etag));
                }
                let there: BTreeSet<&str> = history.credit.keys().map(String::as_str).collect();
                &there - &listed.iter().map(|seen| seen.name.as_str()).collect()
            }
            _ => return,
        };
        self.unlisted
            .extend(missing.into_iter().map(|name| (name.to_owned(), number)));
    }

    /// A page of the newest orders: each was there as it is shown, and what is not shown and not older was not there.
    fn listed(
        &mut self,
        span: Span,
        orders: &Orders<'_>,
        customer: &str,
        listed: &[OrderSeen],
        complete: bool,
    ) {
        for seen in listed {
            self.see(span, seen);
        }
        let oldest = listed
            .last()
            .map(|order| order.name.as_str())
            .filter(|_| !complete);
        let missing: Vec<&str> = orders
            .newer(customer, oldest, span.end)
            .filter(|name| !listed.iter().any(|seen| seen.name == *name))
            .collect();
        for name in missing {
            self.order(name, span, order::Step::SeeAbsent);
        }
    }
}

fn push<S>(keys: &mut BTreeMap<String, Vec<Interval<S>>>, key: &str, span: Span, step: S) {
    let Span { begin, end, source } = span;
    let interval = Interval {
        begin,
        end,
        step,
        source,
    };
    match keys.get_mut(key) {
        Some(steps) => steps.push(interval),
        None => drop(keys.insert(key.to_owned(), vec![interval])),
    }
}

fn see_item(seen: &ItemSeen, etag: u32) -> account::Step {
    account::Step::See {
        within: seen.on_hand,
        taken: seen.reserved,
        available: seen.available,
        etag,
    }
}

fn see_customer(seen: &CustomerSeen, etag: u32) -> account::Step {
    account::Step::See {
        within: seen.balance,
        taken: seen.held,
        available: seen.available,
        etag,
    }
}
