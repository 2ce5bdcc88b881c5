//! The orders that somebody saw, and who may have asked for them.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    super::{
        operation::{Ask, History, Line, Micros, Operation, OrderSeen},
        requests::Request,
    },
    Span,
};

/// An order that somebody saw.
pub struct Known<'a> {
    /// As it was seen first.
    pub order: &'a OrderSeen,
    /// The operation that saw it first; none where it is only in the books.
    pub seen_by: Option<usize>,
    /// The request that was answered with it.
    pub request: Option<&'a Request<'a>>,
}

/// Every order that somebody saw, and the requests that may be behind those that nobody was answered with.
pub struct Orders<'a> {
    /// By name.
    pub known: BTreeMap<&'a str, Known<'a>>,
    by_customer: HashMap<&'a str, Vec<&'a str>>,
    /// Those of which more was asked than that they end.
    done_to: HashSet<&'a str>,
    /// As they were seen, by their etags then.
    seen: HashMap<(&'a str, &'a str), &'a OrderSeen>,
    unnamed: HashMap<(&'a str, &'a [Line]), Vec<&'a Request<'a>>>,
}

impl<'a> Orders<'a> {
    /// All of a history.
    pub fn of(history: &'a History, requests: &'a [Request<'a>]) -> Self {
        let mut orders = Self {
            known: BTreeMap::new(),
            by_customer: HashMap::new(),
            done_to: HashSet::new(),
            seen: HashMap::new(),
            unnamed: HashMap::new(),
        };
        let in_books = history.books.iter().flat_map(|books| &books.orders);
        let seen = history.orders_seen().map(|(number, order)| (Some(number), order));
        for (seen_by, order) in seen.chain(in_books.map(|order| (None, order))) {
            orders.seen.insert((&order.name, &order.etag), order);
            orders.known.entry(&order.name).or_insert(Known {
                order,
                seen_by,
                request: None,
            });
        }
        for request in requests {
            if let Ask::Do { order, .. } = request.ask {
                orders.done_to.insert(order);
            }
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

    /// Whether it may wait for its items, though it is confirmed.
    pub fn is_busy(&self, name: &str) -> bool {
        self.done_to.contains(name)
    }

    /// An order as somebody saw it at this etag.
    pub fn at(&self, name: &str, etag: &str) -> Option<&'a OrderSeen> {
        self.seen.get(&(name, etag)).copied()
    }

    /// The names of a customer's orders that are newer than this one, as far as they were asked for until then: names are in
    /// the order of time, so that all behind the first that was not are newer still.
    pub fn newer(
        &self,
        customer: &str,
        than: Option<&str>,
        asked_until: Option<Micros>,
    ) -> impl Iterator<Item = &'a str> {
        let names = self.by_customer.get(customer).map_or(&[][..], Vec::as_slice);
        let older = names.partition_point(|name| than.is_some_and(|than| *name <= than));
        let was_asked = move |name: &&str| {
            let request = self.known.get(*name).and_then(|known| known.request);
            request.is_none_or(|request| asked_until.is_none_or(|until| request.begin <= until))
        };
        names[older..].iter().copied().take_while(was_asked)
    }

    /// When an order that nobody was answered with can have come to be; none where nobody asked for it.
    pub(super) fn asked_for(&self, history: &History, known: &Known<'_>) -> Option<Span> {
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
