//! Histories drawn at random, told to the engine and to the model: they must answer alike, step by step.
//!
//! ```text
//! DOCKET_MODEL_COMMANDS=1000000 cargo test -p docket-engine --test it run:: -- --nocapture
//! ```
//!
//! `DOCKET_MODEL_SEED=n` draws the same histories again.

mod back;
mod backordering;
mod check;
mod editing;
mod entities;
mod fulfil;
mod orders;
mod paying;
mod planning;
mod reached;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use docket_engine::{
    Currency, CustomerId, Effect, OrderId, OrderState, PaymentOutcome, Rejection, Sku, order,
};
use proptest::{
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use crate::{
    model::{Model, Outcome},
    ops::{Etag, Op, ops},
    world::{Answer, World},
};

const CASES: u32 = 1_000;
/// What is seldom reached is waited for, for so many times as many histories.
const TRIES: u64 = 4;
const OPS_MAX: usize = 150;
const NAMES: [&str; 3] = ["", "Ada", "Grace"];

#[expect(
    clippy::disallowed_macros,
    reason = "a random test says which seed it runs, and what it reached"
)]
#[test]
fn the_engine_does_what_the_model_does() {
    let seed = seed();
    println!("seed {seed}; run again with DOCKET_MODEL_SEED={seed}");
    // In how many histories.
    let reached = RefCell::new(BTreeMap::<String, u32>::new());
    let (wanted, done, mut round) = (commands(), Cell::new(0), 0_u64);
    let missed = || {
        let all = reached::MUST_BE.iter().chain(reached::FAULTS_MUST_BE);
        let reached = reached.borrow();
        all.filter(|what| !reached.contains_key(**what))
            .collect::<Vec<_>>()
    };
    while done.get() < wanted || round < TRIES && !missed().is_empty() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&round.to_le_bytes());
        round += 1;
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let result = runner.run(&ops(OPS_MAX), |ops| {
            let mut run = Run::default();
            for op in &ops {
                run.step(op);
                run.check();
            }
            run.finish();
            done.set(done.get() + ops.len());
            for what in run.reached {
                *reached.borrow_mut().entry(what).or_default() += 1;
            }
            Ok::<(), TestCaseError>(())
        });
        if let Err(error) = result {
            panic!("{error}\nrun again with DOCKET_MODEL_SEED={seed} DOCKET_MODEL_COMMANDS={wanted}");
        }
    }
    let histories = round * u64::from(CASES);
    println!(
        "{} commands; histories of {histories} that reached: {:#?}",
        done.get(),
        reached.borrow()
    );
    let missed = missed();
    assert!(missed.is_empty(), "seed {seed} never reached {missed:#?}");
}

/// So many at least, in histories of their own: from the environment, else none beyond the first histories.
fn commands() -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test may be told how long to run")]
    let told = std::env::var("DOCKET_MODEL_COMMANDS").ok();
    told.map_or(0, |told| {
        told.parse().expect("DOCKET_MODEL_COMMANDS must be a number")
    })
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
    answers: BTreeMap<Sku, Result<i128, Rejection>>,
    /// The items that have done what the order's last step asks of them.
    done: BTreeSet<Sku>,
    /// What the items answered that an edit wants more of.
    raised: BTreeMap<Sku, Result<i128, Rejection>>,
}

#[derive(Default)]
struct Run {
    world: World,
    model: Model,
    told: BTreeMap<OrderId, Told>,
    /// What every order ever asked of its items, and how often it was edited then: it may reach them again.
    sent: BTreeMap<OrderId, Vec<(usize, Effect)>>,
    /// The orders that their customer was not able to pay for.
    unpaid: BTreeSet<OrderId>,
    /// What came back with which return is on which item's stock, and what no stock had room for. No crash loses that.
    restocked: BTreeSet<(OrderId, u32, Sku)>,
    no_room: BTreeSet<(OrderId, u32, Sku)>,
    /// What providers have answered: which step, and what.
    answers: BTreeMap<OrderId, Vec<(u32, PaymentOutcome)>>,
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
                by_provider,
            } => self.place(&customer(*who), currency(*code), lines, *by_provider),
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
            Op::ReserveAll => {
                let orders: Vec<OrderId> = self.model.orders.keys().copied().collect();
                for id in orders {
                    self.reserve_all(id);
                }
            }
            Op::Settle { order } => {
                if let Some(id) = self.order(order) {
                    self.settle(id);
                }
            }
            Op::Cancel { order, lines, etag } => {
                if let Some(id) = self.order(order) {
                    self.cancel(id, lines, *etag);
                }
            }
            Op::Ship { order, lines, etag } => {
                if let Some(id) = self.order(order) {
                    self.ship(id, lines, *etag);
                }
            }
            Op::Plan { order, lines, etag } => {
                if let Some(id) = self.order(order) {
                    self.plan(id, lines, *etag);
                }
            }
            Op::ShipPlan {
                order,
                fulfilment,
                etag,
            } => {
                if let Some(id) = self.order(order) {
                    self.ship_plan(id, fulfilment, *etag);
                }
            }
            Op::Unplan {
                order,
                fulfilment,
                etag,
            } => {
                if let Some(id) = self.order(order) {
                    self.unplan(id, fulfilment, *etag);
                }
            }
            Op::Edit {
                order,
                lines,
                etag,
                may_authorize,
            } => {
                if let Some(id) = self.order(order) {
                    self.edit(id, lines, (*etag, *may_authorize));
                }
            }
            Op::Raised { order } => {
                if let Some(id) = self.order(order) {
                    self.raised(id);
                }
            }
            Op::HearBackorders { order } => {
                if let Some(id) = self.order(order) {
                    self.hear_backorders(id);
                }
            }
            Op::Arrive {
                order,
                fulfilment,
                etag,
            } => {
                if let Some(id) = self.order(order) {
                    self.arrive(id, fulfilment, *etag);
                }
            }
            Op::Hold { order, reason, etag } => {
                if let Some(id) = self.order(order) {
                    self.hold(id, *reason, *etag);
                }
            }
            Op::ReleaseHold { order, reason, etag } => {
                if let Some(id) = self.order(order) {
                    self.release_hold(id, *reason, *etag);
                }
            }
            Op::Echo { order, effect } => {
                if let Some(id) = self.order(order) {
                    self.echo(id, effect);
                }
            }
            Op::Consumed { order } => {
                if let Some(id) = self.order(order) {
                    self.consumed(id);
                }
            }
            Op::RequestReturn { order, lines, etag } => {
                if let Some(id) = self.order(order) {
                    self.request_return(id, lines, *etag);
                }
            }
            Op::MoveReturn {
                order,
                number,
                step,
                etag,
            } => {
                if let Some(id) = self.order(order) {
                    self.move_return(id, *number, *step, *etag);
                }
            }
            Op::Refund { order, amount, etag } => {
                if let Some(id) = self.order(order) {
                    self.refund(id, *amount, *etag);
                }
            }
            Op::Restocked { order } => {
                if let Some(id) = self.order(order) {
                    self.restocked(id);
                }
            }
            Op::AskProvider {
                order,
                step,
                declines,
            } => {
                if let Some(id) = self.order(order) {
                    self.ask_provider(id, *step, *declines);
                }
            }
            Op::HearProvider { order, answer } => {
                if let Some(id) = self.order(order) {
                    self.hear_provider(id, *answer);
                }
            }
            Op::HearOfNoStep { order, is_zero } => {
                if let Some(id) = self.order(order) {
                    self.hear_of_no_step(id, *is_zero);
                }
            }
            Op::RetryPayment { order, step, etag } => {
                if let Some(id) = self.order(order) {
                    self.retry_payment(id, *step, *etag);
                }
            }
            Op::Expire { order } => {
                if let Some(id) = self.order(order) {
                    self.expire(id);
                }
            }
            Op::Close { order } => {
                if let Some(id) = self.order(order) {
                    self.close(id);
                }
            }
            Op::Released { order } => {
                if let Some(id) = self.order(order) {
                    self.released(id);
                }
            }
            Op::Forget { order } => {
                if let Some(id) = self.order(order) {
                    self.crash(id);
                }
            }
            Op::Finish { order } => {
                if let Some(id) = self.order(order) {
                    self.complete(id);
                }
            }
        }
    }

    /// What the order was told is lost; what it asked for may be half done.
    fn crash(&mut self, id: OrderId) {
        let told = self.told.remove(&id).unwrap_or_default();
        if !told.raised.is_empty() && self.model.orders[&id].edit.is_some() {
            self.reach("a crash while items are asked for more");
        }
        let order = &self.model.orders[&id];
        if order.releasing.intersection(&told.done).next().is_some() {
            self.reach("a crash while items release");
        }
        if self.model.orders[&id]
            .consuming
            .intersection(&told.done)
            .next()
            .is_some()
        {
            self.reach("a crash while items consume");
        }
        let mut restocking = self.model.orders[&id].restocking.iter();
        if restocking.any(|(_, sku)| told.done.contains(sku)) {
            self.reach("a crash while items restock");
        }
    }

    /// What a new leader does with an order that it finds half-way.
    fn complete(&mut self, id: OrderId) {
        for step in [
            Self::settle,
            Self::authorized,
            Self::raised,
            Self::amended,
            Self::released,
            Self::consumed,
            Self::restocked,
        ] {
            for effect in order::open_effects(&self.world.orders[&id]) {
                self.deliver(id, &effect);
            }
            step(self, id);
        }
        assert!(self.world.orders[&id].is_settled());
    }

    fn reserve_all(&mut self, id: OrderId) {
        if self.model.orders[&id].state == OrderState::Pending {
            for effect in order::open_effects(&self.world.orders[&id]) {
                self.deliver(id, &effect);
            }
            self.settle(id);
        }
    }

    /// What is to be authorised before anything else becomes of it.
    fn authorized(&mut self, id: OrderId) {
        if self.model.orders[&id].state == OrderState::Authorizing {
            self.pay(id);
        }
    }

    /// What an edit waits for, as that.
    fn amended(&mut self, id: OrderId) {
        if self.model.orders[&id].awaited.is_some() {
            self.pay(id);
        }
    }

    fn finish(&mut self) {
        let orders: Vec<OrderId> = self.model.orders.keys().copied().collect();
        for id in orders {
            self.complete(id);
            self.pay_in_full(id);
        }
        self.world.check_past();
        self.check();
        assert!(self.model.orders.values().all(|o| !o.is_busy()));
    }
}
