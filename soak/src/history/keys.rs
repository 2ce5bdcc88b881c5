//! What a history says of each key: the steps of every item, every customer and every order, each with the time in which
//! it takes effect.
//!
//! An order that is placed touches several keys, at a moment of its own on each of them: so each key is checked by itself. What
//! ties them together is that all of it happens between the begin of the request and its answer.

use std::collections::{BTreeMap, HashMap};

use super::{
    linear::Interval,
    models::{
        Etags,
        account::{self, ForNow, LOST},
        order,
    },
    operation::{
        Ask, CustomerSeen, History, ItemSeen, Line, Micros, Operation, OrderSeen, Outcome, Phase, Refusal,
        Reply, by_item,
    },
    requests::{Request, given_up},
};

/// A certain failure with this reason may leave something reserved for a while: the order's shard lost its lead behind it.
const LOST_LEAD: &str = "SHARD_UNAVAILABLE";

/// The steps of every key.
#[derive(Debug, Default)]
pub struct Keys {
    /// Of items and customers.
    pub accounts: BTreeMap<String, Vec<Interval<account::Step>>>,
    /// Of orders.
    pub orders: BTreeMap<String, Vec<Interval<order::Step>>>,
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

    /// What a request for an order does to its items and its customer.
    fn place(&mut self, history: &History, request: &Request<'_>, customer: &str, lines: &[Line]) {
        let total = Ask::total(lines);
        let span = Span {
            begin: request.begin,
            end: request.until(history),
            source: request.answer.unwrap_or(request.attempts[0]),
        };
        match request.answered(history).map(|answer| &answer.outcome) {
            Some(Outcome::Ok(_)) => {
                for (item, quantity) in by_item(lines) {
                    self.account(item, span, account::Step::Take(quantity));
                }
                self.account(customer, span, account::Step::Take(total));
                self.left_overs(history, request, lines);
            }
            Some(Outcome::Refused(refusal)) => {
                self.refused(history, request, span, refusal, customer, lines);
                self.left_overs(history, request, lines);
            }
            _ if request.may_be_done(history) => {
                for (item, quantity) in by_item(lines) {
                    self.lost_now(item, span, quantity, false);
                }
                self.lost_now(customer, span, total, false);
            }
            _ => {}
        }
        for (number, operation) in of_attempts(history, request) {
            let lost_lead = matches!(&operation.outcome, Outcome::Failed(why) if why.starts_with(LOST_LEAD));
            if lost_lead {
                self.left_over(history, number, operation, lines);
            }
        }
    }

    /// An attempt that was lost may have left reservations for an order that never came to be. They are given back in time.
    fn left_overs(&mut self, history: &History, request: &Request<'_>, lines: &[Line]) {
        for (number, operation) in request.unknown(history) {
            self.left_over(history, number, operation, lines);
        }
    }

    fn left_over(&mut self, history: &History, number: usize, operation: &Operation, lines: &[Line]) {
        let span = Span {
            begin: operation.invoked,
            end: history.quiet_after(given_up(operation)),
            source: number,
        };
        for (item, quantity) in by_item(lines) {
            self.lost_now(item, span, quantity, true);
        }
    }

    fn refused(
        &mut self,
        history: &History,
        request: &Request<'_>,
        span: Span,
        refusal: &Refusal,
        customer: &str,
        lines: &[Line],
    ) {
        let available = refusal.figures.get("available").copied();
        match refusal.reason.as_str() {
            "INSUFFICIENT_CREDIT" => {
                if let Some(available) = available {
                    self.account(customer, span, account::Step::SeeAvailable(available));
                }
                return;
            }
            "CUSTOMER_NOT_FOUND" | "REQUEST_ID_REUSED" | "INVALID_ARGUMENT" | "AMOUNT_OVERFLOW" => return,
            _ => {}
        }
        // It has given everything back when it is answered. The answer to a repeat may come before.
        let given_back = match request
            .unknown(history)
            .map(|(_, operation)| given_up(operation))
            .max()
        {
            None => span.end,
            Some(last) => history.quiet_after(last.max(span.begin)),
        };
        let for_now = Span {
            end: given_back,
            ..span
        };
        let is_short = refusal.reason == "INSUFFICIENT_STOCK";
        for (item, quantity) in by_item(lines) {
            match available.filter(|_| is_short && refusal.resource == item) {
                Some(available) => self.account(item, span, account::Step::SeeAvailable(available)),
                None => self.refused_now(item, for_now, quantity),
            }
        }
        self.refused_now(customer, for_now, Ask::total(lines));
    }

    /// Something may be taken and given back.
    fn for_now(&mut self, key: &str, span: Span, order: ForNow) {
        self.account(key, span, account::Step::TakeForNow(order));
        self.account(key, span, account::Step::GiveBackForNow(order));
    }

    /// A refused order has given back what it took when it is answered.
    fn refused_now(&mut self, key: &str, span: Span, amount: i64) {
        self.next_number += 1;
        let order = ForNow {
            number: self.next_number,
            amount,
            must: true,
        };
        self.for_now(key, span, order);
    }

    fn lost_now(&mut self, key: &str, span: Span, amount: i64, must: bool) {
        let order = ForNow {
            number: LOST,
            amount,
            must,
        };
        self.for_now(key, span, order);
    }

    /// What a booking does.
    fn book(&mut self, history: &History, request: &Request<'_>, key: &str, delta: i64) {
        let span = Span {
            begin: request.begin,
            end: request.until(history),
            source: request.answer.unwrap_or(request.attempts[0]),
        };
        let step = match request.answered(history).map(|answer| &answer.outcome) {
            Some(Outcome::Ok(reply)) => {
                let told = match reply {
                    Reply::Item(item) => (item.on_hand, item.reserved, self.etag(key, &item.etag)),
                    Reply::Customer(customer) => {
                        (customer.balance, customer.held, self.etag(key, &customer.etag))
                    }
                    Reply::Order(_) | Reply::Orders { .. } => return,
                };
                account::Step::Book {
                    delta,
                    told: Some(told),
                }
            }
            Some(Outcome::Refused(refusal)) => match refused_booking(refusal) {
                Some(step) => step,
                None => return,
            },
            _ if request.may_be_done(history) => account::Step::Book { delta, told: None },
            _ => return,
        };
        self.account(key, span, step);
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
            .of_customer(customer)
            .filter(|name| oldest.is_none_or(|oldest| *name > oldest))
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

fn of_attempts<'h>(
    history: &'h History,
    request: &Request<'_>,
) -> impl Iterator<Item = (usize, &'h Operation)> {
    request
        .attempts
        .iter()
        .map(|number| (*number, &history.operations[*number]))
}

fn refused_booking(refusal: &Refusal) -> Option<account::Step> {
    let figure = |name: &str| refusal.figures.get(name).copied();
    match refusal.reason.as_str() {
        "STOCK_RESERVED" => Some(account::Step::SeeFigures {
            within: figure("on_hand")?,
            taken: figure("reserved")?,
        }),
        "BALANCE_HELD" => Some(account::Step::SeeFree(figure("available")?)),
        _ => None,
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

/// An order that somebody saw.
struct Known<'a> {
    order: &'a OrderSeen,
    seen_by: Option<usize>,
    /// The request that was answered with it.
    request: Option<&'a Request<'a>>,
}

/// Every order that somebody saw, and the requests that may be behind those that nobody was answered with.
struct Orders<'a> {
    known: BTreeMap<&'a str, Known<'a>>,
    by_customer: HashMap<&'a str, Vec<&'a str>>,
    unnamed: HashMap<(&'a str, &'a [Line]), Vec<&'a Request<'a>>>,
}

impl<'a> Orders<'a> {
    fn of(history: &'a History, requests: &'a [Request<'a>]) -> Self {
        let mut orders = Self {
            known: BTreeMap::new(),
            by_customer: HashMap::new(),
            unnamed: HashMap::new(),
        };
        let in_books = history.books.iter().flat_map(|books| &books.orders);
        let seen = history.orders_seen().map(|(number, order)| (Some(number), order));
        for (seen_by, order) in seen.chain(in_books.map(|order| (None, order))) {
            orders.known.entry(&order.name).or_insert(Known {
                order,
                seen_by,
                request: None,
            });
        }
        for request in requests {
            let Ask::Place { customer, lines, .. } = request.ask else {
                continue;
            };
            match request.answered(history).and_then(Operation::order) {
                Some(order) => {
                    if let Some(known) = orders.known.get_mut(order.name.as_str()) {
                        known.request = Some(request);
                    }
                }
                None if request.begin != Micros::MAX => {
                    orders.unnamed.entry((customer, lines)).or_default().push(request);
                }
                None => {}
            }
        }
        for (name, known) in &orders.known {
            orders
                .by_customer
                .entry(&known.order.customer)
                .or_default()
                .push(name);
        }
        orders
    }

    fn of_customer(&self, customer: &str) -> impl Iterator<Item = &'a str> {
        self.by_customer.get(customer).into_iter().flatten().copied()
    }

    /// When an order that nobody was answered with can have come to be; none where nobody asked for it.
    fn asked_for(&self, history: &History, known: &Known<'_>) -> Option<Span> {
        let order = known.order;
        let requests = self
            .unnamed
            .get(&(order.customer.as_str(), order.lines.as_slice()))?;
        let first = requests.iter().min_by_key(|request| request.begin)?;
        let ends = requests.iter().map(|request| request.until(history));
        let end = ends
            .collect::<Option<Vec<_>>>()
            .and_then(|ends| ends.into_iter().max());
        Some(Span {
            begin: first.begin,
            end,
            source: first.attempts[0],
        })
    }
}
