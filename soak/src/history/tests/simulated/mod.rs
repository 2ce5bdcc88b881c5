//! A shop that answers one step after the other, whose steps come at random moments between a call and its answer.
//!
//! It does what the contract says and nothing else, so that its histories are right by construction: orders pass their
//! customer and their items at moments of their own, answers are lost, and requests are sent again. Two consumers are told of
//! all that becomes of orders, one of them late.

mod deeds;
mod shop;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use super::{
    super::{Change, ChangeKind, Feed},
    *,
};
use crate::Chance;

const ITEMS: u64 = 4;
const CUSTOMERS: u64 = 3;
/// The longest time between two steps of a call, in microseconds.
const STEP_MAX: u64 = 3_000;
/// So many calls are made between two moments at which all is quiet.
const CALLS_BETWEEN: usize = 60;
/// How long after a change each consumer is told of it, in microseconds.
const TOLD_AFTER: [Micros; 2] = [0, 2_500];
/// How many orders a page lists.
const PAGE: usize = 5;

/// What happens at a moment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A client makes its next call.
    Call(u32),
    /// A call reaches the shop.
    Arrive(usize),
    /// An item is asked to reserve for an order.
    Reserve(String, String),
    /// An item gives back what it reserved for an order.
    Release(String, String),
    /// An order has heard of all items.
    Settle(String),
    /// A client hears.
    Answer(usize),
    /// A client has waited for long enough.
    GiveUp(usize),
}

/// An order on its way.
#[derive(Debug, Default)]
struct Way {
    /// How many items have not answered.
    waits_for: usize,
    /// The first that refused, with what was available, by the number of its line.
    short: Option<(usize, String, i64, i64)>,
    reserved: Vec<String>,
    request_id: String,
}

/// The shop, its clients, and the history that they make.
pub struct Simulated {
    chance: Chance,
    now: Micros,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    scheduled: u64,
    history: History,
    calls_left: usize,
    items: BTreeMap<String, ItemSeen>,
    customers: BTreeMap<String, CustomerSeen>,
    orders: BTreeMap<String, OrderSeen>,
    ways: HashMap<String, Way>,
    /// By request id: its answer, or the calls that wait for it.
    answers: HashMap<String, Outcome>,
    waiting: HashMap<String, Vec<usize>>,
    /// The outcome that a call will be answered with.
    outcomes: HashMap<usize, Outcome>,
    again: HashMap<u32, Ask>,
    /// Orders as some client saw them last.
    known: BTreeMap<String, OrderSeen>,
}

/// The history that `clients` make with `calls` calls.
pub fn history(seed: u64, clients: u32, calls: usize) -> History {
    let mut shop = Simulated::new(seed);
    while shop.history.operations.len() < calls {
        shop.calls_left = CALLS_BETWEEN;
        (0..clients).for_each(|client| shop.soon(Event::Call(client)));
        while let Some(Reverse((at, _, event))) = shop.events.pop() {
            shop.now = at;
            shop.happen(event);
        }
        shop.now += 1;
        shop.history.quiet.push(shop.now);
    }
    let mut history = shop.history;
    history.books = Some(Books {
        items: shop.items.into_values().collect(),
        customers: shop.customers.into_values().collect(),
        orders: shop.orders.into_values().rev().collect(),
    });
    history
}

impl Simulated {
    fn new(seed: u64) -> Self {
        let item = |n| item(&format!("items/i{n}"), 8, 0, "1");
        let customer = |n| CustomerSeen {
            name: format!("customers/c{n}"),
            credit_limit: 300,
            available: 300,
            etag: "1".into(),
            ..CustomerSeen::default()
        };
        let items: BTreeMap<_, _> = (0..ITEMS)
            .map(item)
            .map(|item| (item.name.clone(), item))
            .collect();
        let customers: BTreeMap<_, _> = (0..CUSTOMERS)
            .map(customer)
            .map(|customer| (customer.name.clone(), customer))
            .collect();
        let history = History {
            stock: items
                .values()
                .map(|item| (item.name.clone(), item.on_hand))
                .collect(),
            credit: customers
                .values()
                .map(|customer| (customer.name.clone(), customer.credit_limit))
                .collect(),
            feeds: vec![Feed::default(); TOLD_AFTER.len()],
            ..History::default()
        };
        Self {
            chance: Chance::new(seed, 0),
            now: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            history,
            calls_left: 0,
            items,
            customers,
            orders: BTreeMap::new(),
            ways: HashMap::new(),
            answers: HashMap::new(),
            waiting: HashMap::new(),
            outcomes: HashMap::new(),
            again: HashMap::new(),
            known: BTreeMap::new(),
        }
    }

    fn soon(&mut self, event: Event) {
        let after = 1 + self.chance.below(STEP_MAX);
        self.scheduled += 1;
        self.events
            .push(Reverse((self.now + after, self.scheduled, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Call(client) => self.call(client),
            Event::Arrive(call) => self.arrive(call),
            Event::Reserve(order, item) => self.reserve(order, &item),
            Event::Release(order, item) => self.release(order, &item),
            Event::Settle(order) => self.settle(&order),
            Event::Answer(call) => {
                if let Some(outcome) = self.outcomes.remove(&call) {
                    self.heard(call, outcome);
                }
            }
            Event::GiveUp(call) => {
                if self.history.operations[call].completed.is_none() {
                    let client = self.history.operations[call].process;
                    if self.chance.below(2) == 0 {
                        self.again
                            .insert(client, self.history.operations[call].ask.clone());
                    }
                    self.heard(call, unknown());
                }
            }
        }
    }

    fn call(&mut self, process: u32) {
        if self.calls_left == 0 {
            return;
        }
        self.calls_left -= 1;
        let again = self
            .again
            .remove(&process)
            .filter(|ask| ask.request_id().is_some());
        let ask = again.unwrap_or_else(|| self.ask());
        self.history.operations.push(Operation {
            process,
            invoked: self.now,
            completed: None,
            ask,
            outcome: unknown(),
        });
        let call = self.history.operations.len() - 1;
        match self.chance.below(20) {
            // It is lost on its way.
            0 => self.soon(Event::GiveUp(call)),
            // Its answer may come too late.
            1 | 2 => {
                self.soon(Event::Arrive(call));
                self.soon(Event::GiveUp(call));
            }
            _ => self.soon(Event::Arrive(call)),
        }
    }

    fn heard(&mut self, call: usize, outcome: Outcome) {
        let operation = &mut self.history.operations[call];
        if operation.completed.is_none() {
            // As clients do: of those that somebody was told to be placed.
            if let Outcome::Ok(Reply::Order(order)) = &outcome
                && (matches!(operation.ask, Ask::Place { .. }) || self.known.contains_key(&order.name))
            {
                self.known.insert(order.name.clone(), OrderSeen::clone(order));
            }
            operation.completed = Some(self.now);
            operation.outcome = outcome;
            let client = operation.process;
            self.soon(Event::Call(client));
        }
    }

    fn ask(&mut self) -> Ask {
        let request_id = format!("r{}", self.history.operations.len());
        let customer = format!("customers/c{}", self.chance.below(CUSTOMERS));
        let item = format!("items/i{}", self.chance.below(ITEMS));
        let order = match self.orders.len() as u64 {
            0 => None,
            orders => {
                let at = self.chance.below(orders) as usize;
                self.orders.keys().nth(at).cloned()
            }
        };
        match (self.chance.below(20), order) {
            (0, _) => Ask::Adjust {
                request_id,
                item,
                delta: self.chance.below(9) as i64 - 3,
            },
            (1, _) => Ask::Credit {
                request_id,
                customer,
                amount: self.chance.below(200) as i64 - 60,
            },
            (2, _) => Ask::GetItem { item },
            (3, _) => Ask::ListItems,
            (4, _) => Ask::GetCustomer { customer },
            (5, _) => Ask::ListCustomers,
            (6 | 7, _) => Ask::ListOrders { customer },
            (8 | 9, Some(order)) => Ask::GetOrder { order },
            (10 | 11, Some(order)) => Ask::Cancel {
                request_id,
                order,
                etag: String::new(),
            },
            (12..16, Some(_)) if !self.known.is_empty() => self.ask_an_order(request_id),
            _ => Ask::Place {
                request_id,
                customer,
                lines: self.lines(),
            },
        }
    }

    fn lines(&mut self) -> Vec<Line> {
        let first = self.chance.below(ITEMS);
        let line = |chance: &mut Chance, n: u64| Line {
            item: format!("items/i{}", (first + n) % ITEMS),
            quantity: 1 + chance.below(3) as i64,
            unit_price: PRICE,
        };
        (0..1 + self.chance.below(3))
            .map(|n| line(&mut self.chance, n))
            .collect()
    }

    fn arrive(&mut self, call: usize) {
        let ask = self.history.operations[call].ask.clone();
        if let Some(id) = ask.request_id() {
            if let Some(outcome) = self.answers.get(id) {
                let outcome = match (&ask, outcome) {
                    // With the order as it is now.
                    (Ask::Cancel { order, .. } | Ask::Do { order, .. }, Outcome::Ok(_)) => {
                        Outcome::Ok(Reply::Order(Box::new(self.orders[order].clone())))
                    }
                    _ => outcome.clone(),
                };
                self.answer(call, outcome);
                return;
            }
            if let Some(waiting) = self.waiting.get_mut(id) {
                waiting.push(call);
                return;
            }
        }
        let outcome = match ask {
            Ask::GetItem { item } => Outcome::Ok(Reply::Item(self.items[&item].clone())),
            Ask::GetCustomer { customer } => Outcome::Ok(Reply::Customer(self.customers[&customer].clone())),
            Ask::GetOrder { order } => Outcome::Ok(Reply::Order(Box::new(self.orders[&order].clone()))),
            Ask::ListItems => Outcome::Ok(Reply::Items(self.items.values().cloned().collect())),
            Ask::ListCustomers => Outcome::Ok(Reply::Customers(self.customers.values().cloned().collect())),
            Ask::ListOrders { customer } => self.list(&customer),
            Ask::Adjust {
                request_id,
                item,
                delta,
            } => {
                let outcome = self.adjust(&item, delta);
                self.done(&request_id, outcome.clone());
                outcome
            }
            Ask::Credit {
                request_id,
                customer,
                amount,
            } => {
                let outcome = self.credit(&customer, amount);
                self.done(&request_id, outcome.clone());
                outcome
            }
            Ask::Place {
                request_id,
                customer,
                lines,
            } => {
                self.waiting.insert(request_id.clone(), vec![call]);
                self.place(request_id, customer, lines);
                return;
            }
            Ask::Do {
                request_id,
                order,
                deed,
                etag,
            } => {
                let outcome = self.does(&order, Some(&deed), &etag);
                // A refusal is not remembered.
                if matches!(outcome, Outcome::Ok(_)) {
                    self.done(&request_id, outcome.clone());
                }
                outcome
            }
            Ask::Cancel {
                request_id, order, ..
            } if self.is_led_on(&order) => {
                let outcome = self.does(&order, None, "");
                self.done(&request_id, outcome.clone());
                outcome
            }
            Ask::Cancel {
                request_id, order, ..
            } => match self.cancel(&request_id, order, call) {
                Some(outcome) => outcome,
                None => return,
            },
        };
        self.answer(call, outcome);
    }

    /// Tells the consumers what an order has become.
    fn tell(&mut self, kind: ChangeKind, order: &OrderSeen) {
        for (feed, after) in self.history.feeds.iter_mut().zip(TOLD_AFTER) {
            feed.changes.push(Change {
                seen: self.now + after,
                kind,
                order: order.clone(),
                at: self.now.into(),
            });
        }
    }

    fn answer(&mut self, call: usize, outcome: Outcome) {
        self.outcomes.insert(call, outcome);
        self.soon(Event::Answer(call));
    }

    /// A request has its answer, for whoever waits for it and for all who ask again.
    fn done(&mut self, request_id: &str, outcome: Outcome) {
        self.answers.insert(request_id.to_owned(), outcome.clone());
        for call in self.waiting.remove(request_id).unwrap_or_default() {
            self.answer(call, outcome.clone());
        }
    }
}
