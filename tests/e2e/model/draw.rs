//! What is asked, drawn at random: small worlds, so that things meet, and numbers with a liking for the edges.

use std::collections::BTreeSet;

use docket_engine::{
    Amount, Currency, CustomerId, HoldReason, Line, OrderId, OrderState, Quantity, Sku, money::QUANTITY_MAX,
};
use docket_persistence::mem::Seeded;

use super::{
    cards::Payer,
    commands::{Ask, Command, Meant},
    oracle::Oracle,
    reference::{Order, Plan},
    worlds::Opening,
};

pub const CUSTOMERS: u64 = 3;
pub const ITEMS: u64 = 4;
const NAMES: [&str; 3] = ["", "Ada", "Grace"];
pub const CURRENCIES: [&str; 2] = ["EUR", "JPY"];

/// Draws commands.
pub struct Commands {
    pub(super) random: Seeded,
    pub(super) world: u64,
    asked: u64,
    /// What happens first in a world, last first.
    opening: Vec<Opening>,
    /// What was asked in this world under a request id.
    sent: Vec<Command>,
}

impl Commands {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Seeded::new(seed),
            world: 0,
            asked: 0,
            opening: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Whether this world has begun, and anything may happen in it.
    pub fn has_begun(&self) -> bool {
        self.opening.is_empty()
    }

    /// Other customers and items from here on.
    pub fn enter_another_world(&mut self) {
        self.world += 1;
        self.sent.clear();
        self.opening = self.opening();
        self.opening.reverse();
    }

    pub fn next(&mut self, oracle: &Oracle) -> Command {
        self.asked += 1;
        if !self.sent.is_empty() && self.has_begun() && self.random.below(4) == 0 {
            return self.again(oracle);
        }
        let is_opening = !self.opening.is_empty();
        let (ask, mishap) = match self.opening.pop() {
            Some(Opening::Ask(ask)) => (ask, None),
            Some(Opening::Of(ask)) => (ask(oracle.newest_accepted()), None),
            Some(Opening::With(mishap, ask)) => (ask(oracle.newest_accepted()), Some(mishap)),
            Some(Opening::PlaceWith(mishap)) => (self.place_by(Payer::Cards), Some(mishap)),
            Some(Opening::Retry(mishap)) => (retry(oracle), mishap),
            Some(Opening::Again) => return self.last_again(),
            Some(Opening::Edit(lines)) => (edit(oracle, lines), None),
            Some(Opening::EditWith(mishap, lines)) => (edit(oracle, lines), Some(mishap)),
            None => {
                let ask = self.ask(oracle);
                let mishap = self.mishap(oracle, &ask);
                (ask, mishap)
            }
        };
        let needs_id = is_opening || matches!(ask, Ask::CreditAccount { .. } | Ask::AdjustStock { .. });
        let request_id = match self.random.below(4) {
            0 if !needs_id => String::new(),
            _ => format!("r{}", self.asked),
        };
        let command = Command {
            request_id,
            ask,
            mishap,
        };
        if !command.request_id.is_empty() {
            self.sent.push(command.clone());
        }
        command
    }

    /// What was asked last: the node is as lucky with it as it may.
    fn last_again(&self) -> Command {
        let last = self.sent.last().expect("what comes first has an id");
        Command {
            mishap: None,
            ..last.clone()
        }
    }

    /// What was asked before, or something else under its request id: with another field, or by another method about the
    /// same entity. Of each method alike, and mostly what was recorded.
    fn again(&mut self, oracle: &Oracle) -> Command {
        let methods: BTreeSet<_> = self.sent.iter().map(|command| command.ask.method()).collect();
        let method = methods
            .iter()
            .nth(self.random.below(methods.len() as u64) as usize);
        let sent = self
            .sent
            .iter()
            .filter(|command| Some(&command.ask.method()) == method);
        let recorded = sent.clone().filter(|command| oracle.remembers(command));
        let mut candidates: Vec<_> = match self.random.below(4) {
            0 => sent.collect(),
            _ => recorded.collect(),
        };
        if candidates.is_empty() {
            candidates.extend(&self.sent);
        }
        let mut again = candidates[self.random.below(candidates.len() as u64) as usize].clone();
        again.mishap = None;
        match self.random.below(8) {
            0 => {
                let entity = again.ask.entity();
                let mut others = self.sent.iter().filter(|other| other.ask.entity() == entity);
                if let Some(other) = others.next_back() {
                    again.ask = other.ask.clone();
                }
            }
            1..3 => again.ask = again.ask.altered(&mut self.random),
            // In which order they are named does not matter.
            _ => {
                if let Some(lines) = again.ask.lines() {
                    lines.reverse();
                }
            }
        }
        again
    }

    fn ask(&mut self, oracle: &Oracle) -> Ask {
        match self.random.below(76) {
            0..2 => self.create_customer(),
            2..4 => {
                let id = self.customer();
                let revision = oracle.model.customers.get(&id).map(|customer| customer.revision);
                Ask::UpdateCustomer {
                    name: self.maybe(Self::name),
                    limit: self.maybe(Self::money),
                    etag: self.etag(revision),
                    id,
                }
            }
            4..7 => {
                let id = self.customer();
                let revision = oracle.model.customers.get(&id).map(|customer| customer.revision);
                Ask::CreditAccount {
                    amount: self.change(),
                    etag: self.etag(revision),
                    id,
                }
            }
            7..9 => self.create_item(),
            9..11 => {
                let sku = self.sku();
                let revision = oracle.model.items.get(&sku).map(|item| item.revision);
                Ask::UpdateItem {
                    name: self.maybe(Self::name),
                    price: self.maybe(Self::price),
                    etag: self.etag(revision),
                    sku,
                }
            }
            11..14 => {
                let sku = self.sku();
                let revision = oracle.model.items.get(&sku).map(|item| item.revision);
                Ask::AdjustStock {
                    delta: self.change(),
                    etag: self.etag(revision),
                    sku,
                }
            }
            14..25 => self.place(oracle),
            25..30 => self.cancel(oracle),
            30..39 => self.ship(oracle),
            39..43 => self.deliver(oracle),
            43..46 => self.hold(oracle),
            46..48 => self.release_hold(oracle),
            48..52 => self.request_return(oracle),
            52..58 => self.move_return(oracle),
            58..60 => self.refund(oracle),
            60..64 => self.plan(oracle),
            64..66 => self.ship_plan(oracle),
            66..68 => self.give_up(oracle),
            68..74 => self.edit(oracle),
            _ => self.retry_payment(oracle),
        }
    }

    fn place(&mut self, oracle: &Oracle) -> Ask {
        if self.random.below(3) > 0 {
            return self.place_soundly(oracle);
        }
        let lines = (0..1 + self.random.below(4)).map(|_| {
            let sku = self.sku();
            let current = oracle.model.items.get(&sku).map_or(1, |item| item.price);
            let unit_price = match self.random.below(13) {
                0 => self.price(),
                _ => i64::try_from(current).unwrap(),
            };
            let quantity = match self.random.below(13) {
                0 => QUANTITY_MAX,
                _ => 1 + self.random.below(5) as i64,
            };
            Line {
                sku,
                quantity: Quantity(quantity),
                unit_price: Amount(unit_price),
            }
        });
        let lines = lines.collect();
        Ask::PlaceOrder {
            customer: self.customer(),
            currency: self.currency(),
            lines,
            payer: self.payer(),
        }
    }

    /// By who can pay for much, of items that there mostly are, so that something becomes of it.
    fn place_soundly(&mut self, oracle: &Oracle) -> Ask {
        let lines = (0..1 + self.random.below(3)).map(|_| {
            let sku = sku(self.world, 1 + self.random.below(ITEMS - 2));
            let price = oracle.model.items.get(&sku).map_or(1, |item| item.price);
            Line {
                sku,
                quantity: Quantity(1 + self.random.below(9) as i64),
                unit_price: Amount(i64::try_from(price).unwrap()),
            }
        });
        Ask::PlaceOrder {
            lines: lines.collect(),
            customer: customer(self.world, 1),
            currency: CURRENCIES[0].parse().unwrap(),
            payer: self.payer(),
        }
    }

    /// Some lines are to have more, or less; mostly what can be.
    fn edit(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, is_open);
        let there = oracle.model.orders.get(&order);
        let ordered = there.map_or(&[][..], |order| &order.lines);
        let mut lines = Meant::new();
        for _ in 0..1 + self.random.below(2) {
            let beyond = u64::from(self.random.below(15) == 0);
            let line = self.random.below(ordered.len().max(1) as u64 + beyond);
            let now = ordered.get(line as usize).map_or(1, |line| line.quantity.0);
            let gone = there.and_then(|order| order.gone.get(line as usize));
            let gone = gone.map_or(0, |(sent, called_off)| i64::try_from(sent + called_off).unwrap());
            let wanted = match self.random.below(16) {
                0 => QUANTITY_MAX,
                1 => gone - 1,
                2 => 0,
                3 => now,
                4 | 5 => gone,
                6..11 => now + 1 + self.random.below(12) as i64,
                _ => now - 1,
            };
            let line = line as u16;
            if lines.iter().all(|(other, _)| *other != line) {
                lines.push((line, wanted.clamp(0, QUANTITY_MAX)));
            }
        }
        let version = there.map_or(1, |order| order.version);
        let is_stale = self.random.below(9) == 0;
        Ask::EditOrder {
            order,
            lines,
            etag: Some(version - u64::from(is_stale)),
        }
    }

    fn cancel(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| {
            is_open(order) || order.state == OrderState::Cancelled
        });
        let etag = self.version(oracle, order);
        let lines = self.meant(open_of(oracle, order));
        match lines.is_empty() {
            true => Ask::CancelOrder { order, etag },
            false => Ask::CancelOrderLines { order, lines, etag },
        }
    }

    fn ship(&mut self, oracle: &Oracle) -> Ask {
        const TEXTS: [&str; 3] = ["", "Ape", "Post 77"];
        let order = self.order(oracle, is_open);
        Ask::ShipOrder {
            order,
            lines: self.meant(open_of(oracle, order)),
            carrier: self.one_of(&TEXTS).to_string(),
            tracking: self.one_of(&TEXTS).to_string(),
            etag: self.version(oracle, order),
        }
    }

    fn plan(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, is_open);
        Ask::OpenFulfilment {
            order,
            lines: self.meant(open_of(oracle, order)),
            etag: self.version(oracle, order),
        }
    }

    /// Mostly one that is to be sent; or any, or one that is not there.
    fn planned(&mut self, oracle: &Oracle) -> (OrderId, u32) {
        let is_planned = |order: &Order| order.plans.values().any(|plan| *plan == Plan::Open);
        let id = self.order(oracle, is_planned);
        let Some(order) = oracle.model.orders.get(&id) else {
            return (id, 1);
        };
        let mut open = order.plans.iter().filter(|(_, plan)| **plan == Plan::Open);
        match open.next() {
            Some((place, _)) if self.random.below(4) > 0 => (id, *place as u32 + 1),
            _ => (id, 1 + self.random.below(order.shipments.len() as u64 + 1) as u32),
        }
    }

    fn ship_plan(&mut self, oracle: &Oracle) -> Ask {
        let (order, fulfilment) = self.planned(oracle);
        Ask::ShipFulfilment {
            order,
            fulfilment,
            carrier: self.one_of(&["", "Ape"]).to_string(),
            tracking: self.one_of(&["", "P 77"]).to_string(),
            etag: self.version(oracle, order),
        }
    }

    fn give_up(&mut self, oracle: &Oracle) -> Ask {
        let (order, fulfilment) = self.planned(oracle);
        Ask::CancelFulfilment {
            order,
            fulfilment,
            etag: self.version(oracle, order),
        }
    }

    fn deliver(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| !order.shipments.is_empty());
        let sent = oracle
            .model
            .orders
            .get(&order)
            .map_or(0, |order| order.shipments.len());
        Ask::DeliverFulfilment {
            order,
            // Or one that was never sent.
            fulfilment: 1 + self.random.below(sent as u64 + 1) as u32,
            etag: self.version(oracle, order),
        }
    }

    fn hold(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, is_open);
        Ask::HoldOrder {
            order,
            reason: self.reason(),
            note: self.one_of(&["", "look"]).to_string(),
            etag: self.version(oracle, order),
        }
    }

    fn release_hold(&mut self, oracle: &Oracle) -> Ask {
        let order = self.order(oracle, |order| order.holds.iter().any(|(_, holds)| *holds));
        let there = oracle.model.orders.get(&order);
        let is_unpaid = there.is_some_and(|order| order.is_held_for(HoldReason::Payment));
        Ask::ReleaseOrderHold {
            order,
            reason: match is_unpaid && self.random.below(2) == 0 {
                true => HoldReason::Payment,
                false => self.reason(),
            },
            etag: self.version(oracle, order),
        }
    }

    /// Nearly always one of the newest orders, and mostly one that it is meant for.
    pub(super) fn order(&mut self, oracle: &Oracle, is_meant: fn(&Order) -> bool) -> OrderId {
        const NEWEST: usize = 12;
        const MEANT: usize = 4;
        let newest = oracle.placed.iter().rev().copied();
        let meant = newest
            .clone()
            .take(2 * NEWEST)
            .filter(|id| is_meant(&oracle.model.orders[id]));
        let mut orders: Vec<_> = meant.take(MEANT).collect();
        let which = self.random.below(15);
        if which < 3 || orders.is_empty() {
            orders = newest.take(NEWEST).collect();
        }
        if which == 0 || orders.is_empty() {
            return OrderId(self.random.draw().into());
        }
        *self.one_of(&orders)
    }

    /// All that is there, or some of some lines; seldom what is not there.
    pub(super) fn meant(&mut self, there: Option<&[i128]>) -> Meant {
        let open = match there {
            Some(open) if self.random.below(7) > 1 => open,
            None if self.random.below(2) == 0 => return vec![(0, 1)],
            _ => return Vec::new(),
        };
        let mut meant = Meant::new();
        for _ in 0..1 + self.random.below(3) {
            let line = match self.random.below(17) {
                0 => open.len(),
                _ => self.random.below(open.len() as u64) as usize,
            };
            let there = open.get(line).map_or(0, |open| i64::try_from(*open).unwrap());
            let many = match self.random.below(14) {
                0 => there + 1,
                1..5 => there,
                5..8 => there / 2,
                _ => 1,
            };
            let line = line as u16;
            if meant.iter().all(|(other, _)| *other != line) {
                meant.push((line, many.clamp(1, QUANTITY_MAX)));
            }
        }
        meant
    }

    pub(super) fn version(&mut self, oracle: &Oracle, order: OrderId) -> Option<u64> {
        self.etag(oracle.model.orders.get(&order).map(|order| order.version))
    }

    /// Of five, so that they meet.
    fn reason(&mut self) -> HoldReason {
        *self.one_of(&HoldReason::ALL[..2])
    }

    fn create_customer(&mut self) -> Ask {
        Ask::CreateCustomer {
            id: self.customer(),
            name: self.name(),
            currency: self.currency(),
            limit: self.money(),
        }
    }

    fn create_item(&mut self) -> Ask {
        Ask::CreateItem {
            sku: self.sku(),
            name: self.name(),
            currency: self.currency(),
            price: self.price(),
            on_hand: self.stock(),
        }
    }

    fn customer(&mut self) -> CustomerId {
        customer(self.world, self.random.below(CUSTOMERS))
    }

    fn sku(&mut self) -> Sku {
        sku(self.world, self.random.below(ITEMS))
    }

    fn name(&mut self) -> String {
        self.one_of(&NAMES).to_string()
    }

    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.random.below(all.len() as u64) as usize]
    }

    /// Mostly the first: those of the second currency are the odd ones out.
    fn currency(&mut self) -> Currency {
        let second = self.random.below(9) == 0;
        CURRENCIES[usize::from(second)].parse().unwrap()
    }

    fn etag(&mut self, current: Option<u64>) -> Option<u64> {
        let current = current.unwrap_or(1);
        match self.random.below(9) {
            0 => Some(current - 1),
            1 | 2 => Some(current),
            _ => None,
        }
    }

    fn maybe<T>(&mut self, draw: fn(&mut Self) -> T) -> Option<T> {
        (self.random.below(2) == 0).then(|| draw(self))
    }

    /// 0 or more, of money.
    fn money(&mut self) -> i64 {
        match self.random.below(12) {
            0 => i64::MAX,
            1 => i64::MAX - 1,
            2..7 => 1_000 + self.random.below(1_000_000) as i64,
            _ => self.random.below(100) as i64,
        }
    }

    fn price(&mut self) -> i64 {
        match self.random.below(10) {
            0 => i64::MAX,
            1 => i64::MAX / QUANTITY_MAX,
            _ => self.random.below(20) as i64,
        }
    }

    fn stock(&mut self) -> i64 {
        match self.random.below(10) {
            0 => i64::MAX,
            1 | 2 => 3 * QUANTITY_MAX,
            _ => self.random.below(40) as i64,
        }
    }

    /// Not 0.
    fn change(&mut self) -> i64 {
        match self.random.below(14) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => -i64::MAX,
            3 | 4 => 1_000 + self.random.below(1_000_000) as i64,
            5..9 => -1 - self.random.below(50) as i64,
            _ => 1 + self.random.below(50) as i64,
        }
    }
}

/// Of the newest order, as it is.
fn edit(oracle: &Oracle, lines: &[(u16, i64)]) -> Ask {
    let order = oracle.newest_accepted();
    Ask::EditOrder {
        order,
        lines: lines.to_vec(),
        etag: oracle.model.orders.get(&order).map(|order| order.version),
    }
}

/// What its provider declined of the newest order last.
fn retry(oracle: &Oracle) -> Ask {
    let order = oracle.newest_accepted();
    let waiting = oracle.model.orders.get(&order).map(Order::waiting);
    Ask::RetryPayment {
        order,
        step: waiting.and_then(|steps| steps.last().copied()).unwrap_or(1),
        etag: None,
    }
}

/// What of each line of an order that there is may be shipped, or called off.
fn open_of(oracle: &Oracle, order: OrderId) -> Option<&[i128]> {
    let order = oracle.model.orders.get(&order);
    order.map(|order| order.open.as_slice())
}

/// Whether some of it may be shipped, or called off.
fn is_open(order: &Order) -> bool {
    matches!(
        order.state,
        OrderState::Confirmed | OrderState::PartiallyFulfilled
    )
}

pub fn customer(world: u64, number: u64) -> CustomerId {
    CustomerId::new(&format!("c{world}-{number}")).unwrap()
}

pub fn sku(world: u64, number: u64) -> Sku {
    Sku::new(&format!("i{world}-{number}")).unwrap()
}
