//! What a history says of each key: the steps of every item, every customer and every order, each with the time in which
//! it takes effect.
//!
//! An order that is placed touches several keys, at a moment of its own on each of them: so each key is checked by itself. What
//! ties them together is that all of it happens between the begin of the request and its answer.

mod orders;
mod placed;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::orders::Orders;
use super::{
    linear::Interval,
    models::{Etags, account, order},
    operation::{
        Ask, CustomerSeen, History, ItemSeen, Micros, Operation, OrderSeen, Outcome, Phase, Reply, by_item,
    },
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
    etags: HashMap<String, Etags>,
    /// Given to the next order that may have taken something for a while.
    next_number: u32,
}

/// When something happens, and which operation tells of it.
#[derive(Clone, Copy)]
struct Span {
    begin: Micros,
    end: Option<Micros>,
    source: usize,
}

impl Span {
    fn of(number: usize, operation: &Operation) -> Self {
        Self {
            begin: operation.invoked,
            end: operation.completed,
            source: number,
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
        keys.cancels(history, requests, &orders);
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
                        let etag = self.etag(name, &order.etag);
                        self.order(name, span, order::Step::See(order.phase, etag));
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
            self.order(name, span, order::Step::Create { must });
            let phase = Phase::Confirmed;
            self.order(name, span, order::Step::Settle { phase, must });
            if !must {
                let phase = Phase::Rejected;
                self.order(name, span, order::Step::Settle { phase, must });
            }
        }
    }

    /// What the requests to cancel do to the orders, their items and their customers.
    fn cancels(&mut self, history: &History, requests: &[Request<'_>], orders: &Orders<'_>) {
        let mut by_order: BTreeMap<&str, Vec<&Request<'_>>> = BTreeMap::new();
        for request in requests {
            if let Ask::Cancel { order, .. } = request.ask
                && request.may_be_done(history)
            {
                by_order.entry(order).or_default().push(request);
            }
        }
        for (name, cancels) in by_order {
            for request in &cancels {
                let span = Span {
                    begin: request.begin,
                    end: request.until(history),
                    source: request.answer.unwrap_or(request.attempts[0]),
                };
                let answer = request.answered(history).and_then(Operation::order);
                let must = answer.is_some();
                self.order(name, span, order::Step::Cancel { must });
                if let Some(order) = answer {
                    let etag = self.etag(name, &order.etag);
                    self.order(name, span, order::Step::See(order.phase, etag));
                }
            }
            let Some(known) = orders.known.get(name) else {
                continue;
            };
            self.give_back(history, &cancels, known.order);
        }
    }

    /// What a cancelled order gives back. Who cancels it a second time is answered at once, even while it gives back: so all
    /// is certain only when all of them are answered.
    fn give_back(&mut self, history: &History, cancels: &[&Request<'_>], order: &OrderSeen) {
        let done = |request: &&&Request<'_>| request.answer.is_some();
        let last = cancels.iter().filter(done).max_by_key(|request| request.end);
        let must = last.is_some();
        let Some(told_by) = last.or(cancels.last()) else {
            return;
        };
        let ends: Vec<Option<Micros>> = cancels.iter().map(|request| request.until(history)).collect();
        let span = Span {
            begin: cancels
                .iter()
                .map(|request| request.begin)
                .min()
                .unwrap_or_default(),
            end: match must {
                true => told_by.end,
                false => ends
                    .iter()
                    .copied()
                    .collect::<Option<Vec<_>>>()
                    .and_then(|ends| ends.into_iter().max()),
            },
            source: told_by.answer.unwrap_or(told_by.attempts[0]),
        };
        for (item, amount) in by_item(&order.lines) {
            self.account(item, span, account::Step::GiveBack { amount, must });
        }
        let amount = order.total;
        self.account(&order.customer, span, account::Step::GiveBack { amount, must });
    }

    /// What was seen.
    fn read(&mut self, number: usize, operation: &Operation, orders: &Orders<'_>) {
        let span = Span::of(number, operation);
        match (&operation.ask, &operation.outcome) {
            (Ask::GetOrder { order }, Outcome::Ok(Reply::Order(seen))) => {
                let etag = self.etag(order, &seen.etag);
                self.order(order, span, order::Step::See(seen.phase, etag));
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
                    "ORDER_PENDING" => order::Step::SeePhase(Phase::Pending),
                    "NOT_CANCELLABLE" => order::Step::SeePhase(Phase::Rejected),
                    "STALE_ETAG" => order::Step::SeeOther(self.etag(order, etag)),
                    "ORDER_NOT_FOUND" => order::Step::SeeAbsent,
                    _ => return,
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
            let etag = self.etag(&seen.name, &seen.etag);
            self.order(&seen.name, span, order::Step::See(seen.phase, etag));
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
