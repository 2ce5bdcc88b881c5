//! What Docket must do, in the plainest words: maps and wide integers. Nothing here calls `decide`, `evolve`, `total`
//! or any arithmetic of the engine; its types serve as names only. The whole node is held against it as well:
//! `tests/e2e/model.rs` includes this file. What becomes of an order beyond its confirmation and its cancellation is in
//! `life.rs` and `editing.rs`, what it waits for in `backordering.rs`, and what its provider does for it, where it has one, in `paying.rs`.

use std::collections::{BTreeMap, BTreeSet};

use docket_engine::{
    Amount, Currency, CustomerId, HoldReason, Line, OrderId, OrderState, PaymentKind, Quantity, Rejection,
    ReturnState, Sku,
};

const MAX: i128 = i64::MAX as i128;
const MIN: i128 = i64::MIN as i128;
/// So often an order is shipped, and so often it is cancelled in part; all that is left goes once more.
pub const PARTS_MAX: usize = 64;

pub struct Customer {
    pub name: String,
    pub currency: Currency,
    pub limit: i128,
    pub balance: i128,
    pub revision: u64,
    pub version: u64,
}

pub struct Item {
    pub name: String,
    pub currency: Currency,
    pub price: i128,
    pub on_hand: i128,
    /// How many may wait beyond that, and who waits for how many, in the order in which they came.
    pub limit: i128,
    pub row: Vec<(OrderId, i128)>,
    pub revision: u64,
    pub version: u64,
}

pub struct Order {
    pub customer: CustomerId,
    pub currency: Currency,
    pub lines: Vec<Line>,
    pub state: OrderState,
    pub rejection: Option<Rejection>,
    /// Of each line: neither shipped nor called off.
    pub open: Vec<i128>,
    /// Of each line: shipped, and called off.
    pub gone: Vec<(i128, i128)>,
    pub shipments: Vec<Shipment>,
    /// Of those that were planned first, by their place among all, what came of that.
    pub plans: BTreeMap<usize, Plan>,
    /// How often some lines were called off while the rest went on.
    pub cancellations: usize,
    /// Every hold that there was, and whether it still holds.
    pub holds: Vec<(HoldReason, bool)>,
    pub releasing: BTreeSet<Sku>,
    pub consuming: BTreeSet<Sku>,
    pub returns: Vec<Return>,
    /// What was given back of what was taken, each time.
    pub refunds: Vec<i128>,
    /// Which return's items still have to put it back on their stock.
    pub restocking: BTreeSet<(u32, Sku)>,
    /// What its provider is to do, in the order in which that became due; `None` where its customer's account pays.
    pub steps: Option<Vec<Step>>,
    /// What its items are asked for: how many of which lines in all.
    pub edit: Option<BTreeMap<u16, i128>>,
    /// The number of the step for which that waits, when its items have agreed, and a provider pays.
    pub awaited: Option<u32>,
    /// How often it was edited, or was to be.
    pub edits: usize,
    /// What it cost when it was placed, and what edits had it cost more since.
    pub first_cost: i128,
    pub more: i128,
    /// How many of which item it knows to wait, and how often it heard of that.
    pub waiting: BTreeMap<Sku, i128>,
    pub heard: usize,
    pub version: u64,
}

/// What a provider is to do, and what it said.
#[derive(PartialEq)]
pub struct Step {
    pub kind: PaymentKind,
    /// Of which payment, from 1.
    pub payment: u8,
    pub amount: i128,
    /// How often it was tried before, and this once more.
    pub group: u32,
    /// Whether it did it; `None` before it has answered.
    pub answer: Option<bool>,
    pub is_tried_again: bool,
}

/// What is to come back, or has.
pub struct Return {
    pub lines: BTreeMap<u16, i128>,
    pub state: ReturnState,
    /// Whether it was there, whatever became of it then.
    pub has_arrived: bool,
    /// Whether it goes back on the stock.
    pub restocks: bool,
}

/// What came of the plan of a shipment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Open,
    Sent,
    Cancelled,
}

/// How many of which lines were sent, or are to be, and whether they have arrived.
pub type Shipment = (Vec<(u16, i128)>, bool);

#[derive(Default)]
pub struct Model {
    pub customers: BTreeMap<CustomerId, Customer>,
    pub items: BTreeMap<Sku, Item>,
    pub orders: BTreeMap<OrderId, Order>,
    /// What was promised, there or not.
    pub reservations: BTreeMap<(OrderId, Sku), i128>,
}

/// Whether anything changed, or why it may not.
pub type Outcome = Result<bool, Rejection>;

fn amount(number: i128) -> Amount {
    Amount(i64::try_from(number).unwrap())
}

fn quantity(number: i128) -> Quantity {
    Quantity(i64::try_from(number).unwrap())
}

/// What those that have agreed have said.
pub fn agreed(answers: &BTreeMap<Sku, Result<i128, Rejection>>) -> BTreeMap<Sku, i128> {
    let agreed = answers
        .iter()
        .filter_map(|(sku, answer)| Some((sku.clone(), *answer.as_ref().ok()?)));
    agreed.collect()
}

/// The sum of the lines, however large.
pub fn cost(lines: &[Line]) -> i128 {
    let costs = lines
        .iter()
        .map(|l| i128::from(l.quantity.0) * i128::from(l.unit_price.0));
    costs.sum()
}

/// Where each item of an order is first named.
pub fn first_lines(lines: &[Line]) -> BTreeMap<Sku, u16> {
    let mut first = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        first.entry(line.sku.clone()).or_insert(i as u16);
    }
    first
}

/// These of what there is of each line, or all of it where none is named; a line that is named twice is meant twice. `too_many` is of a
/// line, how much of it is wanted, and how much there is.
pub fn meant_of(
    there: &[i128],
    lines: &[(u16, i64)],
    too_many: impl Fn(u16, Quantity, Quantity) -> Rejection,
) -> Result<BTreeMap<u16, i128>, Rejection> {
    if lines.is_empty() {
        let there = (0..).zip(there.iter().copied());
        return Ok(there.filter(|(_, there)| *there > 0).collect());
    }
    let mut meant = BTreeMap::<u16, i128>::new();
    for &(line, many) in lines {
        *meant.entry(line).or_default() += i128::from(many);
    }
    for (&line, &wanted) in &meant {
        let there = *there
            .get(usize::from(line))
            .ok_or(Rejection::LineNotFound { line })?;
        if wanted > there {
            return Err(too_many(line, quantity(wanted), quantity(there)));
        }
    }
    Ok(meant)
}

impl Order {
    /// What is held for it: nothing, where a provider pays.
    pub fn held(&self) -> i128 {
        match self.steps {
            None => self.open_cost() + self.held_for_edit(),
            Some(_) => 0,
        }
    }

    /// Its provider, where it has one, is to do something more, unless it is of nothing.
    pub fn owe(&mut self, kind: PaymentKind, amount: i128) {
        if self.steps.is_some() && amount > 0 {
            for (payment, part) in self.parts(kind, amount) {
                self.owe_of(payment, kind, part);
            }
        }
    }

    /// The same of one payment.
    pub fn owe_of(&mut self, payment: u8, kind: PaymentKind, amount: i128) {
        let steps = self.steps.as_mut().unwrap();
        steps.push(Step {
            kind,
            payment,
            amount,
            group: 1,
            answer: None,
            is_tried_again: false,
        });
    }

    /// What is open costs so much.
    pub fn open_cost(&self) -> i128 {
        let costs = self.lines.iter().zip(&self.open);
        costs
            .map(|(line, open)| i128::from(line.unit_price.0) * open)
            .sum()
    }

    /// How many of an item are open.
    pub fn open_of(&self, sku: &Sku) -> i128 {
        let of_it = self.lines.iter().zip(&self.open).filter(|(l, _)| l.sku == *sku);
        of_it.map(|(_, open)| open).sum()
    }

    /// Whether a person may ask anything of it, with such an etag.
    pub fn check_etag(&self, expected: Option<u64>) -> Result<(), Rejection> {
        match expected.is_some() && expected != Some(self.version) {
            true => Err(Rejection::StaleEtag),
            false if self.state == OrderState::Closed => Err(Rejection::OrderClosed),
            false => Ok(()),
        }
    }

    /// Whether it waits for its items.
    pub fn is_busy(&self) -> bool {
        let asks = [
            self.releasing.is_empty(),
            self.consuming.is_empty(),
            self.restocking.is_empty(),
        ];
        asks != [true; 3] || self.edit.is_some()
    }

    /// How many of which lines are meant: all that is open, where none is named. The lowest line that cannot be so says why.
    pub fn meant(&self, lines: &[(u16, i64)]) -> Result<BTreeMap<u16, i128>, Rejection> {
        meant_of(&self.open, lines, |line, wanted, open| {
            Rejection::QuantityNotOpen { line, wanted, open }
        })
    }

    /// The items of some lines.
    pub fn items_of(&self, lines: &BTreeMap<u16, i128>) -> BTreeSet<Sku> {
        let of_lines = lines
            .keys()
            .map(|line| self.lines[usize::from(*line)].sku.clone());
        of_lines.collect()
    }
}

impl Model {
    pub fn held(&self, customer: &CustomerId) -> i128 {
        let orders = self.orders.values().filter(|o| o.customer == *customer);
        orders.map(Order::held).sum()
    }

    pub fn reserved(&self, sku: &Sku) -> i128 {
        let of_it = self.reservations.iter().filter(|((_, s), _)| s == sku);
        of_it.map(|(_, quantity)| quantity).sum::<i128>() - self.waiting(sku)
    }

    pub fn create_customer(
        &mut self,
        id: &CustomerId,
        name: &str,
        currency: Currency,
        limit: i64,
    ) -> Outcome {
        if self.customers.contains_key(id) {
            return Err(Rejection::CustomerExists { customer: id.clone() });
        }
        let customer = Customer {
            name: name.to_owned(),
            currency,
            limit: limit.into(),
            balance: 0,
            revision: 1,
            version: 1,
        };
        self.customers.insert(id.clone(), customer);
        Ok(true)
    }

    fn customer(&mut self, id: &CustomerId, expected: Option<u64>) -> Result<&mut Customer, Rejection> {
        let Some(customer) = self.customers.get_mut(id) else {
            return Err(Rejection::CustomerNotFound { customer: id.clone() });
        };
        if expected.is_some() && expected != Some(customer.revision) {
            return Err(Rejection::StaleEtag);
        }
        Ok(customer)
    }

    pub fn update_customer(
        &mut self,
        id: &CustomerId,
        name: Option<&str>,
        limit: Option<i64>,
        expected: Option<u64>,
    ) -> Outcome {
        let customer = self.customer(id, expected)?;
        let before = (customer.name.clone(), customer.limit);
        if let Some(name) = name {
            customer.name = name.to_owned();
        }
        if let Some(limit) = limit {
            customer.limit = limit.into();
        }
        let changed = before != (customer.name.clone(), customer.limit);
        customer.revision += u64::from(changed);
        customer.version += u64::from(changed);
        Ok(changed)
    }

    pub fn credit(&mut self, id: &CustomerId, money: i64, expected: Option<u64>) -> Outcome {
        let held = self.held(id);
        let customer = self.customer(id, expected)?;
        let after = customer.balance + i128::from(money);
        if !(MIN..=MAX).contains(&after) {
            return Err(Rejection::Overflow { line: None });
        }
        // Out goes what was paid in and not taken, and of that only what the credit limit does not need to cover the holds.
        let free = (customer.balance + customer.limit - held).clamp(0, customer.balance.max(0));
        if i128::from(money) < -free {
            return Err(Rejection::BalanceHeld {
                available: amount(free),
                wanted: amount((-i128::from(money)).min(MAX)),
            });
        }
        customer.balance = after;
        customer.revision += 1;
        customer.version += 1;
        Ok(true)
    }

    pub fn create_item(
        &mut self,
        sku: &Sku,
        name: &str,
        currency: Currency,
        price: i64,
        on_hand: i64,
    ) -> Outcome {
        if self.items.contains_key(sku) {
            return Err(Rejection::ItemExists { sku: sku.clone() });
        }
        let item = Item {
            name: name.to_owned(),
            currency,
            price: price.into(),
            on_hand: on_hand.into(),
            limit: 0,
            row: Vec::new(),
            revision: 1,
            version: 1,
        };
        self.items.insert(sku.clone(), item);
        Ok(true)
    }

    fn item(&mut self, sku: &Sku, expected: Option<u64>) -> Result<&mut Item, Rejection> {
        let Some(item) = self.items.get_mut(sku) else {
            return Err(Rejection::ItemNotFound {
                line: None,
                sku: sku.clone(),
            });
        };
        if expected.is_some() && expected != Some(item.revision) {
            return Err(Rejection::StaleEtag);
        }
        Ok(item)
    }

    pub fn update_item(
        &mut self,
        sku: &Sku,
        name: Option<&str>,
        price: Option<i64>,
        limit: Option<i64>,
        expected: Option<u64>,
    ) -> Outcome {
        let item = self.item(sku, expected)?;
        let before = (item.name.clone(), item.price, item.limit);
        if let Some(name) = name {
            item.name = name.to_owned();
        }
        if let Some(price) = price {
            item.price = price.into();
        }
        if let Some(limit) = limit {
            item.limit = limit.into();
        }
        let changed = before != (item.name.clone(), item.price, item.limit);
        item.revision += u64::from(changed);
        item.version += u64::from(changed);
        Ok(changed)
    }

    pub fn adjust(&mut self, sku: &Sku, delta: i64, expected: Option<u64>) -> Outcome {
        let reserved = self.reserved(sku);
        let item = self.item(sku, expected)?;
        let after = item.on_hand + i128::from(delta);
        if after > MAX {
            return Err(Rejection::Overflow { line: None });
        }
        if after < reserved {
            return Err(Rejection::StockReserved {
                on_hand: quantity(item.on_hand),
                reserved: quantity(reserved),
                wanted: quantity((-i128::from(delta)).min(MAX)),
            });
        }
        item.on_hand = after;
        item.revision += 1;
        item.version += 1;
        self.fill(sku);
        Ok(true)
    }

    /// Money first: an order that cannot be paid for is recorded as rejected, one of an unknown customer, or one that no
    /// number can hold, is not.
    pub fn place(
        &mut self,
        id: OrderId,
        customer: &CustomerId,
        currency: Currency,
        lines: &[Line],
    ) -> Outcome {
        self.place_with(id, customer, currency, lines, false)
    }

    /// As [`Model::place`]; where a provider pays, the customer need not be able to.
    pub fn place_with(
        &mut self,
        id: OrderId,
        customer: &CustomerId,
        currency: Currency,
        lines: &[Line],
        is_by_provider: bool,
    ) -> Outcome {
        let total = cost(lines);
        if total > MAX {
            let line = (0..lines.len()).find(|i| cost(&lines[..=*i]) > MAX);
            return Err(Rejection::Overflow {
                line: line.map(|line| line as u16),
            });
        }
        let held = self.held(customer);
        let payer = self.customer(customer, None)?;
        let can_spend = (payer.balance + payer.limit - held).clamp(0, MAX);
        let refusal = if currency != payer.currency {
            Some(Rejection::CurrencyMismatch {
                line: None,
                ordered: currency,
                expected: payer.currency,
            })
        } else if !is_by_provider && total > can_spend {
            Some(Rejection::InsufficientCredit {
                needed: amount(total),
                available: amount(can_spend),
            })
        } else if !is_by_provider && held + total > MAX {
            Some(Rejection::Overflow { line: None })
        } else {
            payer.version += 1;
            None
        };
        let order = Order {
            customer: customer.clone(),
            currency,
            lines: lines.to_vec(),
            state: if refusal.is_some() {
                OrderState::Rejected
            } else {
                OrderState::Pending
            },
            version: if refusal.is_some() { 2 } else { 1 },
            rejection: refusal.clone(),
            open: lines
                .iter()
                .map(|l| match refusal {
                    Some(_) => 0,
                    None => l.quantity.0.into(),
                })
                .collect(),
            gone: vec![(0, 0); lines.len()],
            shipments: Vec::new(),
            plans: BTreeMap::new(),
            cancellations: 0,
            holds: Vec::new(),
            releasing: BTreeSet::new(),
            consuming: BTreeSet::new(),
            returns: Vec::new(),
            refunds: Vec::new(),
            restocking: BTreeSet::new(),
            steps: is_by_provider.then(Vec::new),
            edit: None,
            awaited: None,
            edits: 0,
            first_cost: total,
            more: 0,
            waiting: BTreeMap::new(),
            heard: 0,
        };
        self.orders.insert(id, order);
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(true),
        }
    }

    pub fn reserve(&mut self, id: OrderId, sku: &Sku) -> Outcome {
        let order = &self.orders[&id];
        let lines: Vec<(u16, &Line)> = (0..).zip(&order.lines).filter(|(_, l)| l.sku == *sku).collect();
        let first = lines[0].0;
        if self.reservations.contains_key(&(id, sku.clone())) {
            return Ok(false);
        }
        let Some(item) = self.items.get_mut(sku) else {
            return Err(Rejection::ItemNotFound {
                line: Some(first),
                sku: sku.clone(),
            });
        };
        if item.currency != order.currency {
            return Err(Rejection::CurrencyMismatch {
                line: Some(first),
                ordered: order.currency,
                expected: item.currency,
            });
        }
        for (line, wanted) in &lines {
            if i128::from(wanted.unit_price.0) != item.price {
                return Err(Rejection::PriceChanged {
                    line: *line,
                    sku: sku.clone(),
                    offered: wanted.unit_price,
                    current: amount(item.price),
                });
            }
        }
        let wanted: i128 = lines.iter().map(|(_, l)| i128::from(l.quantity.0)).sum();
        let available = self.obtainable(sku);
        if wanted > available {
            return Err(Rejection::InsufficientStock {
                line: first,
                sku: sku.clone(),
                wanted: quantity(wanted),
                available: quantity(available),
            });
        }
        self.promise(id, sku, wanted);
        self.items.get_mut(sku).unwrap().version += 1;
        Ok(true)
    }

    /// All agreed: confirmed. One refused: rejected for the refusal of the lowest line, and whatever is not known to be
    /// without a reservation must release. Otherwise the order waits on.
    pub fn settle(&mut self, id: OrderId, answers: &BTreeMap<Sku, Result<i128, Rejection>>) -> bool {
        let Some(order) = self
            .orders
            .get_mut(&id)
            .filter(|o| o.state == OrderState::Pending)
        else {
            return false;
        };
        let items: BTreeSet<Sku> = order.lines.iter().map(|l| l.sku.clone()).collect();
        let refusals = answers.values().filter_map(|a| a.clone().err());
        if let Some(refusal) = refusals.min_by_key(|r| r.line()) {
            order.state = OrderState::Rejected;
            order.rejection = Some(refusal);
            order.open.fill(0);
            let may_have = |sku: &Sku| !matches!(answers.get(sku), Some(Err(_)));
            order.releasing = items.into_iter().filter(may_have).collect();
        } else if items.iter().all(|sku| answers.contains_key(sku)) {
            order.state = OrderState::Confirmed;
            let total = cost(&order.lines);
            if order.steps.is_some() && total > 0 {
                order.state = OrderState::Authorizing;
                order.owe_of(1, PaymentKind::Authorize, total);
            }
            order.version += 1;
            order.hear(&agreed(answers));
            return true;
        } else {
            return false;
        }
        order.version += 1;
        let customer = order.customer.clone();
        self.customers.get_mut(&customer).unwrap().version += 1;
        true
    }

    pub fn cancel(&mut self, id: OrderId, expected: Option<u64>) -> Outcome {
        self.cancel_lines(id, &[], expected)
    }

    /// Calls off some of what is open, or all of it where no line is named. Where nothing was shipped and nothing is left,
    /// that is the end of the order; where something was, the rest of it is all that there will be.
    pub fn cancel_lines(&mut self, id: OrderId, lines: &[(u16, i64)], expected: Option<u64>) -> Outcome {
        let order = self.orders.get_mut(&id).unwrap();
        order.check_etag(expected)?;
        match order.state {
            OrderState::Cancelled if lines.is_empty() => return Ok(false),
            OrderState::Cancelled
            | OrderState::Rejected
            | OrderState::Expired
            | OrderState::Fulfilled
            | OrderState::Closed => {
                return Err(Rejection::NotCancellable { state: order.state });
            }
            OrderState::Pending => return Err(Rejection::OrderPending),
            // Only altogether.
            OrderState::Authorizing if order.meant(lines) != order.meant(&[]) => {
                return Err(Rejection::OrderPending);
            }
            _ if order.is_busy() => return Err(Rejection::OrderPending),
            OrderState::Authorizing | OrderState::Confirmed | OrderState::PartiallyFulfilled => {}
        }
        // All that is open is not there to be called off while somebody is to send some of it.
        if lines.is_empty() {
            order.none_planned()?;
        }
        let meant = order.meant_free(lines)?;
        let left: i128 = order.open.iter().sum::<i128>() - meant.values().sum::<i128>();
        if left > 0 && order.cancellations == PARTS_MAX {
            return Err(Rejection::TooManyFulfilments);
        }
        for (&line, many) in &meant {
            order.open[usize::from(line)] -= many;
            order.gone[usize::from(line)].1 += many;
            let sku = order.lines[usize::from(line)].sku.clone();
            order.waits_for_less(&sku, *many);
        }
        order.releasing = order.items_of(&meant);
        order.owe(PaymentKind::Void, order.cost_of(&meant));
        let is_sent = order.sent().next().is_some();
        if left > 0 || is_sent {
            order.cancellations += 1;
        }
        if left == 0 {
            order.state = match is_sent {
                false => OrderState::Cancelled,
                true => OrderState::Fulfilled,
            };
            order.holds.iter_mut().for_each(|hold| hold.1 = false);
        }
        order.version += 1;
        let customer = order.customer.clone();
        self.customers.get_mut(&customer).unwrap().version += 1;
        Ok(true)
    }

    /// An item gives back what an order has no more use for.
    pub fn release(&mut self, id: OrderId, sku: &Sku) -> bool {
        let remaining = self.orders[&id].open_of(sku);
        self.reduce(id, sku, remaining) > 0
    }

    /// Of what an item has promised to an order only so many stay, and what goes is others'. How many went?
    pub fn reduce(&mut self, id: OrderId, sku: &Sku, remaining: i128) -> i128 {
        let gone = self.promise_less(id, sku, remaining);
        if gone > 0 {
            self.take_back(id, sku, gone);
        }
        gone
    }

    /// Of what an item has promised to an order only so many stay. How many went?
    pub fn promise_less(&mut self, id: OrderId, sku: &Sku, remaining: i128) -> i128 {
        let key = (id, sku.clone());
        let reserved = self.reservations.get(&key).copied().unwrap_or(0);
        if reserved <= remaining {
            return 0;
        }
        match remaining {
            0 => self.reservations.remove(&key),
            _ => self.reservations.insert(key, remaining),
        };
        self.items.get_mut(sku).unwrap().version += 1;
        reserved - remaining
    }

    pub fn released(&mut self, id: OrderId) -> bool {
        let order = self.orders.get_mut(&id).unwrap();
        if order.releasing.is_empty() {
            return false;
        }
        order.releasing.clear();
        order.version += 1;
        true
    }
}
