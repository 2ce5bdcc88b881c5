//! Histories drawn at random, told to the engine and to the model: they must answer alike, step by step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use docket_engine::{
    Amount, Currency, CustomerCommand, CustomerId, Effect, ItemCommand, Line, OrderCommand, OrderId,
    OrderState, Quantity, Rejection, Sku, Version, item::ReserveLine, order,
};
use proptest::{
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use crate::{
    model::{self, Model, Outcome},
    ops::{Etag, Op, Price, ops},
    world::{Answer, World},
};

const CASES: u32 = 500;
const OPS_MAX: usize = 150;
const NAMES: [&str; 3] = ["", "Ada", "Grace"];

/// Every rejection that the engine makes, every transition, every fault. REQUEST_ID_REUSED and ORDER_NOT_FOUND are the
/// shard's to answer.
const MUST_BE_REACHED: [&str; 34] = [
    "AMOUNT_OVERFLOW in Adjust",
    "AMOUNT_OVERFLOW in Credit",
    "AMOUNT_OVERFLOW in Place",
    "BALANCE_HELD in Credit",
    "CURRENCY_MISMATCH in Place",
    "CURRENCY_MISMATCH in Reserve",
    "CUSTOMER_EXISTS in CreateCustomer",
    "CUSTOMER_NOT_FOUND in Credit",
    "CUSTOMER_NOT_FOUND in Place",
    "CUSTOMER_NOT_FOUND in UpdateCustomer",
    "INSUFFICIENT_CREDIT in Place",
    "INSUFFICIENT_STOCK in Reserve",
    "ITEM_EXISTS in CreateItem",
    "ITEM_NOT_FOUND in Adjust",
    "ITEM_NOT_FOUND in Reserve",
    "ITEM_NOT_FOUND in UpdateItem",
    "NOT_CANCELLABLE in Cancel",
    "ORDER_PENDING in Cancel",
    "PRICE_CHANGED in Reserve",
    "STALE_ETAG in Adjust",
    "STALE_ETAG in Cancel",
    "STALE_ETAG in Credit",
    "STALE_ETAG in UpdateCustomer",
    "STALE_ETAG in UpdateItem",
    "STOCK_RESERVED in Adjust",
    "none to PENDING",
    "none to REJECTED",
    "PENDING to CONFIRMED",
    "PENDING to REJECTED",
    "CONFIRMED to CANCELLED",
    "CANCELLED, all released",
    "REJECTED, all released",
    "an order held beyond what an amount can add up",
    "an item on several lines",
];
const FAULTS_MUST_BE_REACHED: [&str; 9] = [
    "Update changes nothing",
    "Reserve again",
    "Release again",
    "Settle again",
    "Settle too early",
    "Settle before all have answered",
    "Cancel again",
    "Released again",
    "Place again",
];

#[expect(
    clippy::disallowed_macros,
    reason = "a random test says which seed it runs, and what it reached"
)]
#[test]
fn the_engine_does_what_the_model_does() {
    let seed = seed();
    println!("seed {seed}; run again with DOCKET_MODEL_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    // In how many histories.
    let reached = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let result = runner.run(&ops(OPS_MAX), |ops| {
        let mut run = Run::default();
        for op in &ops {
            run.step(op);
            run.check();
        }
        run.finish();
        for what in run.reached {
            *reached.borrow_mut().entry(what).or_default() += 1;
        }
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = result {
        panic!("{error}\nrun again with DOCKET_MODEL_SEED={seed}");
    }
    let reached = reached.into_inner();
    let all = MUST_BE_REACHED.iter().chain(&FAULTS_MUST_BE_REACHED);
    let missed: Vec<_> = all.filter(|what| !reached.contains_key(**what)).collect();
    println!("histories of {CASES} that reached: {reached:#?}");
    assert!(missed.is_empty(), "seed {seed} never reached {missed:#?}");
}

/// From the environment, else drawn.
fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
    let told = std::env::var("DOCKET_MODEL_SEED").ok();
    match told {
        Some(seed) => seed.parse().expect("DOCKET_MODEL_SEED must be a number"),
        None => {
            #[expect(clippy::disallowed_types, reason = "the test's own chance, which it prints")]
            let random = std::hash::RandomState::new();
            std::hash::BuildHasher::hash_one(&random, 0)
        }
    }
}

/// What an order has been told so far; a crash loses it.
#[derive(Default)]
struct Told {
    answers: BTreeMap<Sku, Result<(), Rejection>>,
    released: BTreeSet<Sku>,
}

#[derive(Default)]
struct Run {
    world: World,
    model: Model,
    told: BTreeMap<OrderId, Told>,
    reached: BTreeSet<String>,
    placed: u64,
}

fn customer(number: usize) -> CustomerId {
    CustomerId::new(&format!("customer-{number}")).unwrap()
}

fn sku(number: usize) -> Sku {
    Sku::new(&format!("item-{number}")).unwrap()
}

fn currency(number: usize) -> Currency {
    ["EUR", "JPY"][number].parse().unwrap()
}

fn pick(etag: Etag, current: Option<u64>) -> Option<u64> {
    match etag {
        Etag::None => None,
        Etag::Current => Some(current.unwrap_or(1)),
        Etag::Stale => Some(current.unwrap_or(1) - 1),
    }
}

/// Whether the engine changed something.
fn changed(answer: Answer) -> Outcome {
    answer.map(|(events, effects)| {
        assert_eq!(effects, [], "only orders ask others");
        events > 0
    })
}

impl Run {
    fn reach(&mut self, what: impl Into<String>) {
        self.reached.insert(what.into());
    }

    #[track_caller]
    fn same(&mut self, op: &str, engine: Outcome, model: Outcome) {
        assert_eq!(engine, model, "{op}: engine, then model");
        if let Err(rejection) = model {
            self.reach(format!("{} in {op}", rejection.reason()));
        }
    }

    fn order(&self, index: &Index) -> Option<OrderId> {
        let orders = self.model.orders.len();
        (orders > 0).then(|| *self.model.orders.keys().nth(index.index(orders)).unwrap())
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::CreateCustomer { .. } | Op::UpdateCustomer { .. } | Op::Credit { .. } => {
                self.keep_customer(op)
            }
            Op::CreateItem { .. } | Op::UpdateItem { .. } | Op::Adjust { .. } => self.keep_item(op),
            Op::Place {
                customer: who,
                currency: code,
                lines,
            } => self.place(&customer(*who), currency(*code), lines),
            Op::PlaceAgain { order, refuse } => {
                if let Some(id) = self.order(order) {
                    self.place_again(id, *refuse);
                }
            }
            Op::Deliver { order, effect } => {
                if let Some(id) = self.order(order) {
                    let effects = order::open_effects(&self.world.orders[&id]);
                    if !effects.is_empty() {
                        self.deliver(id, &effects[effect.index(effects.len())]);
                    }
                }
            }
            Op::Settle { order } => {
                if let Some(id) = self.order(order) {
                    self.settle(id);
                }
            }
            Op::Cancel { order, etag } => {
                if let Some(id) = self.order(order) {
                    self.cancel(id, *etag);
                }
            }
            Op::Released { order } => {
                if let Some(id) = self.order(order) {
                    self.released(id);
                }
            }
            Op::Forget { order } => {
                if let Some(id) = self.order(order) {
                    self.told.remove(&id);
                }
            }
            Op::Finish { order } => {
                if let Some(id) = self.order(order) {
                    self.complete(id);
                }
            }
        }
    }

    fn keep_customer(&mut self, op: &Op) {
        match *op {
            Op::CreateCustomer {
                customer: who,
                name,
                currency: code,
                limit,
            } => {
                let command = CustomerCommand::Create {
                    display_name: NAMES[name].into(),
                    currency: currency(code),
                    credit_limit: Amount(limit),
                };
                let engine = changed(self.world.ask_customer(&customer(who), &command));
                let model = self
                    .model
                    .create_customer(&customer(who), NAMES[name], currency(code), limit);
                self.same("CreateCustomer", engine, model);
            }
            Op::UpdateCustomer {
                customer: who,
                name,
                limit,
                etag,
            } => {
                let id = customer(who);
                let name = name.map(|name| NAMES[name]);
                let expected = pick(etag, self.model.customers.get(&id).map(|c| c.revision));
                let command = CustomerCommand::Update {
                    display_name: name.map(Into::into),
                    credit_limit: limit.map(Amount),
                    expected,
                };
                let engine = changed(self.world.ask_customer(&id, &command));
                let model = self.model.update_customer(&id, name, limit, expected);
                if model == Ok(false) {
                    self.reach("Update changes nothing");
                }
                self.same("UpdateCustomer", engine, model);
            }
            Op::Credit {
                customer: who,
                amount,
                etag,
            } => {
                let id = customer(who);
                let expected = pick(etag, self.model.customers.get(&id).map(|c| c.revision));
                let command = CustomerCommand::Credit {
                    amount: Amount(amount),
                    expected,
                };
                let engine = changed(self.world.ask_customer(&id, &command));
                let model = self.model.credit(&id, amount, expected);
                self.same("Credit", engine, model);
            }
            _ => unreachable!("not a customer's: {op:?}"),
        }
    }

    fn keep_item(&mut self, op: &Op) {
        match *op {
            Op::CreateItem {
                item,
                name,
                currency: code,
                price,
                on_hand,
            } => {
                let command = ItemCommand::Create {
                    display_name: NAMES[name].into(),
                    currency: currency(code),
                    unit_price: Amount(price),
                    on_hand: Quantity(on_hand),
                };
                let engine = changed(self.world.ask_item(&sku(item), &command));
                let model = self
                    .model
                    .create_item(&sku(item), NAMES[name], currency(code), price, on_hand);
                self.same("CreateItem", engine, model);
            }
            Op::UpdateItem {
                item,
                name,
                price,
                etag,
            } => {
                let sku = sku(item);
                let name = name.map(|name| NAMES[name]);
                let expected = pick(etag, self.model.items.get(&sku).map(|i| i.revision));
                let command = ItemCommand::Update {
                    display_name: name.map(Into::into),
                    unit_price: price.map(Amount),
                    expected,
                };
                let engine = changed(self.world.ask_item(&sku, &command));
                let model = self.model.update_item(&sku, name, price, expected);
                if model == Ok(false) {
                    self.reach("Update changes nothing");
                }
                self.same("UpdateItem", engine, model);
            }
            Op::Adjust { item, delta, etag } => {
                let sku = sku(item);
                let expected = pick(etag, self.model.items.get(&sku).map(|i| i.revision));
                let command = ItemCommand::Adjust {
                    delta: Quantity(delta),
                    expected,
                };
                let engine = changed(self.world.ask_item(&sku, &command));
                let model = self.model.adjust(&sku, delta, expected);
                self.same("Adjust", engine, model);
            }
            _ => unreachable!("not an item's: {op:?}"),
        }
    }

    fn place(&mut self, customer: &CustomerId, currency: Currency, ordered: &[(usize, i64, Price)]) {
        let price_of = |number: usize, price: Price| match price {
            Price::Other(price) => price,
            Price::Current => {
                let item = self.model.items.get(&sku(number));
                item.map_or(1, |item| i64::try_from(item.price).unwrap())
            }
        };
        let lines: Arc<[Line]> = ordered
            .iter()
            .map(|&(number, quantity, price)| Line {
                sku: sku(number),
                quantity: Quantity(quantity),
                unit_price: Amount(price_of(number, price)),
            })
            .collect();
        self.placed += 1;
        let id = OrderId::compose(self.placed, 7, 0);
        let held_before = self.model.held(customer);

        let engine = self.ask_to_place(id, customer, currency, &lines);
        let model = self.model.place(id, customer, currency, &lines);
        match &model {
            Ok(_) => self.reach("none to PENDING"),
            Err(Rejection::Overflow { .. }) if self.model.orders.contains_key(&id) => {
                assert!(held_before + model::cost(&lines) > i128::from(i64::MAX));
                self.reach("an order held beyond what an amount can add up");
                self.reach("none to REJECTED");
            }
            Err(_) if self.model.orders.contains_key(&id) => self.reach("none to REJECTED"),
            Err(_) => {}
        }
        if model::first_lines(&lines).len() < lines.len() {
            self.reach("an item on several lines");
        }
        self.same("Place", engine, model);
    }

    /// As a shard does it: the customer holds, then the order is placed; or refused, if the customer cannot.
    fn ask_to_place(
        &mut self,
        id: OrderId,
        customer: &CustomerId,
        currency: Currency,
        lines: &[Line],
    ) -> Outcome {
        let hold = CustomerCommand::Hold {
            order: id,
            amount: order::total(lines)?,
            currency,
        };
        match changed(self.world.ask_customer(customer, &hold)) {
            Ok(held) => {
                assert!(held);
                let place = OrderCommand::Place {
                    customer: customer.clone(),
                    currency,
                    lines: lines.into(),
                };
                let (events, effects) = self.world.ask_order(id, &place)?;
                assert_eq!(events, 1);
                let held = Effect::HoldCredit {
                    customer: customer.clone(),
                    amount: self.world.orders[&id].total,
                };
                assert_eq!(effects[0], held);
                assert_eq!(effects[1..], order::open_effects(&self.world.orders[&id]));
                Ok(true)
            }
            Err(unknown @ Rejection::CustomerNotFound { .. }) => Err(unknown),
            Err(rejection) => {
                let refuse = OrderCommand::Refuse {
                    customer: customer.clone(),
                    currency,
                    lines: lines.into(),
                    rejection: rejection.clone(),
                };
                assert_eq!(self.world.ask_order(id, &refuse)?, (2, Vec::new()));
                Err(rejection)
            }
        }
    }

    fn place_again(&mut self, id: OrderId, refuse: bool) {
        let (customer, currency, lines) = {
            let order = &self.world.orders[&id];
            (order.customer.clone(), order.currency, order.lines.clone())
        };
        let command = match refuse {
            true => OrderCommand::Refuse {
                customer,
                currency,
                lines,
                rejection: Rejection::Overflow { line: None },
            },
            false => OrderCommand::Place {
                customer,
                currency,
                lines,
            },
        };
        assert_eq!(self.world.ask_order(id, &command), Ok((0, Vec::new())));
        self.reach("Place again");
    }

    fn deliver(&mut self, id: OrderId, effect: &Effect) {
        match effect {
            Effect::ReserveStock { sku, currency, lines } => {
                let reserve = ItemCommand::Reserve {
                    order: id,
                    currency: *currency,
                    lines: lines.clone(),
                };
                let engine = changed(self.world.ask_item(sku, &reserve));
                let model = self.model.reserve(id, sku);
                if model == Ok(false) {
                    self.reach("Reserve again");
                }
                self.told
                    .entry(id)
                    .or_default()
                    .answers
                    .insert(sku.clone(), model.clone().map(|_| ()));
                self.same("Reserve", engine, model);
            }
            Effect::ReleaseStock { sku } => {
                let engine = changed(self.world.ask_item(sku, &ItemCommand::Release { order: id }));
                let model = self.model.release(id, sku);
                if !model {
                    self.reach("Release again");
                }
                self.told.entry(id).or_default().released.insert(sku.clone());
                self.same("Release", engine, Ok(model));
            }
            Effect::HoldCredit { .. } | Effect::ReleaseCredit { .. } => {
                panic!("{effect:?} is done with the order's own events")
            }
        }
    }

    fn settle(&mut self, id: OrderId) {
        let answers = self.told.entry(id).or_default().answers.clone();
        let state = self.model.orders[&id].state;
        let all = model::first_lines(&self.model.orders[&id].lines).len();
        let settle = OrderCommand::Settle {
            answers: answers.clone().into_iter().collect(),
        };
        let (events, effects) = self.world.ask_order(id, &settle).unwrap();
        let settled = self.model.settle(id, &answers);
        assert_eq!(events, usize::from(settled));
        match (state, self.model.orders[&id].state) {
            (OrderState::Pending, OrderState::Confirmed) => {
                assert_eq!(effects, []);
                self.reach("PENDING to CONFIRMED");
            }
            (OrderState::Pending, OrderState::Rejected) => {
                self.give_back(id, &effects);
                self.reach("PENDING to REJECTED");
                if answers.len() < all {
                    self.reach("Settle before all have answered");
                }
            }
            (OrderState::Pending, _) => {
                assert_eq!(effects, []);
                self.reach("Settle too early");
            }
            _ => {
                assert_eq!(effects, []);
                self.reach("Settle again");
            }
        }
    }

    fn cancel(&mut self, id: OrderId, etag: Etag) {
        let expected = pick(etag, Some(self.model.orders[&id].version));
        let cancel = OrderCommand::Cancel {
            expected: expected.map(Version),
        };
        let answer = self.world.ask_order(id, &cancel);
        let model = self.model.cancel(id, expected);
        let engine = match answer {
            Ok((events, effects)) if events > 0 => {
                self.give_back(id, &effects);
                self.reach("CONFIRMED to CANCELLED");
                Ok(true)
            }
            other => {
                if other.is_ok() {
                    self.reach("Cancel again");
                }
                changed(other)
            }
        };
        self.same("Cancel", engine, model);
    }

    /// Checks that an order gives back what it has, and does with its customer what its shard does in the same record.
    fn give_back(&mut self, id: OrderId, effects: &[Effect]) {
        let order = &self.model.orders[&id];
        let amount = Amount(i64::try_from(model::cost(&order.lines)).unwrap());
        let customer = order.customer.clone();
        let release = Effect::ReleaseCredit {
            customer: customer.clone(),
            amount,
        };
        assert_eq!(effects.first(), Some(&release));
        assert_eq!(effects[1..], order::open_effects(&self.world.orders[&id]));
        let release = CustomerCommand::Release { order: id, amount };
        assert_eq!(changed(self.world.ask_customer(&customer, &release)), Ok(true));
    }

    fn released(&mut self, id: OrderId) {
        let releasing = &self.model.orders[&id].releasing;
        if !releasing.is_subset(&self.told.entry(id).or_default().released) {
            return;
        }
        let (events, effects) = self.world.ask_order(id, &OrderCommand::Released).unwrap();
        let released = self.model.released(id);
        assert_eq!((events, effects), (usize::from(released), Vec::new()));
        match (released, self.model.orders[&id].state) {
            (false, _) => self.reach("Released again"),
            (true, OrderState::Cancelled) => self.reach("CANCELLED, all released"),
            (true, _) => self.reach("REJECTED, all released"),
        }
    }

    /// What a new leader does with an order that it finds half-way.
    fn complete(&mut self, id: OrderId) {
        for step in [Self::settle, Self::released] {
            for effect in order::open_effects(&self.world.orders[&id]) {
                self.deliver(id, &effect);
            }
            step(self, id);
        }
        assert!(self.world.orders[&id].is_settled());
    }

    fn finish(&mut self) {
        let orders: Vec<OrderId> = self.model.orders.keys().copied().collect();
        for id in orders {
            self.complete(id);
        }
        self.check();
        assert!(self.model.orders.values().all(|o| o.releasing.is_empty()));
    }

    /// Engine and model are in the same state, and nothing got lost in either.
    fn check(&self) {
        self.world.check_conservation();
        assert!(self.world.customers.keys().eq(self.model.customers.keys()));
        for (id, is) in &self.world.customers {
            let should = &self.model.customers[id];
            assert_eq!((&*is.display_name, is.currency), (&*should.name, should.currency));
            let numbers = [is.credit_limit, is.balance, is.held].map(|a| i128::from(a.0));
            assert_eq!(
                numbers,
                [should.limit, should.balance, self.model.held(id)],
                "{id}"
            );
            assert_eq!(
                (is.version.0, is.revision),
                (should.version, should.revision),
                "{id}"
            );
        }
        assert!(self.world.items.keys().eq(self.model.items.keys()));
        for (sku, is) in &self.world.items {
            let should = &self.model.items[sku];
            assert_eq!((&*is.display_name, is.currency), (&*should.name, should.currency));
            let numbers = [is.unit_price.0, is.on_hand.0, is.reserved.0].map(i128::from);
            assert_eq!(
                numbers,
                [should.price, should.on_hand, self.model.reserved(sku)],
                "{sku}"
            );
            assert_eq!(
                (is.version.0, is.revision),
                (should.version, should.revision),
                "{sku}"
            );
        }
        assert!(self.world.orders.keys().eq(self.model.orders.keys()));
        for (id, is) in &self.world.orders {
            self.check_order(*id, is);
        }
    }

    fn check_order(&self, id: OrderId, is: &docket_engine::Order) {
        let should = &self.model.orders[&id];
        assert_eq!((&is.customer, is.currency), (&should.customer, should.currency));
        assert_eq!((*is.lines).to_vec(), should.lines);
        assert_eq!(i128::from(is.total.0), model::cost(&should.lines));
        assert_eq!((is.state, is.version.0), (should.state, should.version), "{id}");
        assert_eq!(is.rejection.as_deref(), should.rejection.as_ref(), "{id}");
        let releasing: BTreeSet<Sku> = is.releasing.iter().cloned().collect();
        assert_eq!(releasing.len(), is.releasing.len(), "{id} releases an item twice");
        assert_eq!(releasing, should.releasing, "{id}");

        let mut open = BTreeMap::new();
        for effect in order::open_effects(is) {
            let (sku, lines) = match effect {
                Effect::ReserveStock { sku, currency, lines } => {
                    assert_eq!(currency, should.currency);
                    (sku, lines)
                }
                Effect::ReleaseStock { sku } => (sku, Vec::new()),
                other => panic!("{other:?} is never open"),
            };
            assert_eq!(open.insert(sku, lines), None, "{id} asks an item twice");
        }
        let expected: BTreeMap<Sku, Vec<ReserveLine>> = match should.state {
            OrderState::Pending => {
                let mut by_item: BTreeMap<Sku, Vec<ReserveLine>> = BTreeMap::new();
                for (line, ordered) in (0..).zip(&should.lines) {
                    by_item.entry(ordered.sku.clone()).or_default().push(ReserveLine {
                        line,
                        quantity: ordered.quantity,
                        unit_price: ordered.unit_price,
                    });
                }
                by_item
            }
            _ => should
                .releasing
                .iter()
                .map(|sku| (sku.clone(), Vec::new()))
                .collect(),
        };
        assert_eq!(open, expected, "{id}");
    }
}
