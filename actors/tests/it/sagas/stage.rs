//! One case: a node and a provider, what goes wrong with both, and whether all agrees in the end.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docket_actors::{Call, CallError, Docket, Options, PaymentOptions, VerifyPace};
use docket_cluster::{GroupId, Node, StateMachine};
use docket_engine::{CustomerId, Order, OrderState, PaymentKind};
use docket_payments::{
    PaymentProvider,
    http::{BreakerConfig, HttpConfig, HttpProvider},
    stub::{Fault, On, Payment, Stub, StubOptions, What},
};
use docket_persistence::mem::MemDisk;

use super::{
    power::{Crash, Power, Powered, Watched},
    script::{KEPT, LEFT, RAISED, REFUNDED, SHIPPED, Story, TOTAL, cards, orders, quiet},
};
use crate::shop::Shop;

/// What must come comes within this.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Of each item, before any is sold.
const ON_HAND: i64 = 100;
/// An order that is to expire waits so long for its payment.
const EXPIRES_WITHIN: Duration = Duration::from_millis(100);
/// An edit that is to be given up: so long that the order itself is placed before, on most machines.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(700);

/// What goes wrong with a node and its provider.
#[derive(Debug, Clone)]
pub struct Case {
    pub story: Story,
    /// The provider's fault is at the first step of this kind.
    pub step: PaymentKind,
    pub fault: What,
    pub crash: Crash,
    /// And in the life after that.
    pub again: Crash,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How many records were committed in the first life, and how many final answers the provider gave.
    pub counted: (u64, u64),
    /// What was committed last, where the node lost its power.
    pub crashed_at: Option<&'static str>,
    /// The order's state, and what was authorised, captured, voided and refunded.
    pub state: Option<OrderState>,
    pub money: [i64; 4],
}

/// A disk with a customer and two items on it, which cases begin with.
pub async fn furnished(dir: &Path) -> MemDisk {
    let disk = MemDisk::new();
    let (store, mark) = (Box::new(disk.store()), Box::new(disk.mark()));
    let docket = Docket::open_with(node_options(dir), async move |options, machine| {
        Node::open_with(options, store, mark, machine).await
    });
    let shop = Shop {
        docket: docket.await.unwrap(),
    };
    shop.docket.ready().await;
    // Nothing to spend: a provider pays.
    shop.customer("ada", 0).await;
    shop.item("tea", 7, ON_HAND).await;
    shop.item("pot", 1_000, ON_HAND).await;
    shop.close().await;
    disk
}

fn node_options(dir: &Path) -> Options {
    let mut options = Options::new(dir);
    options.node.shards = Some(3);
    options
}

/// A provider and a disk, which outlive the node.
struct Stage {
    case: Case,
    disk: MemDisk,
    dir: tempfile::TempDir,
    stub: Stub,
    /// Whether the order was called off, in any life.
    is_off: Arc<AtomicBool>,
}

/// Plays a case to its end.
pub async fn play(case: Case, disk: MemDisk) -> Outcome {
    let stage = Stage {
        stub: Stub::open(StubOptions::default()).unwrap(),
        dir: tempfile::tempdir().unwrap(),
        is_off: Arc::default(),
        case,
        disk,
    };
    stage.plan();
    let mender = {
        let stub = stage.stub.clone();
        tokio::spawn(async move {
            loop {
                stub.died().await;
                stub.restart().await.unwrap();
            }
        })
    };
    let outcome = tokio::time::timeout(PATIENCE, stage.lives()).await;
    mender.abort();
    outcome.unwrap_or_else(|_elapsed| panic!("it hangs; asked was {:#?}", stage.stub.requests()))
}

impl Stage {
    /// Sets the faults that the story begins with.
    fn plan(&self) {
        let own = Fault::at(self.case.step.into(), self.case.fault.clone());
        let for_ever = |on, what| Fault {
            count: u64::MAX,
            ..Fault::at(on, what)
        };
        let second = |on| Fault {
            nth: 2,
            ..Fault::at(on, declined())
        };
        let unheard = What::Status {
            status: 503,
            retry_after: None,
        };
        let faults = match self.case.story {
            Story::Whole => vec![own],
            Story::Declined => vec![own, second(On::Authorize)],
            Story::Retried => vec![own, second(On::Capture)],
            // (Where there is one only, it is the first.)
            Story::Raised => match self.case.step {
                PaymentKind::Void => vec![own],
                _ => vec![Fault { nth: 2, ..own }],
            },
            // What is held is known when the order is.
            Story::RaisedBefore | Story::RaisedAfter => Vec::new(),
            // The step's own fault is set when the order is called off.
            Story::CancelledBefore | Story::ExpiredBefore => {
                vec![for_ever(On::Authorize, What::HoldRequest)]
            }
            Story::CancelledAfter | Story::ExpiredAfter => {
                vec![
                    for_ever(On::Authorize, What::HoldReply),
                    for_ever(On::Lookup, unheard),
                ]
            }
        };
        self.stub.add_faults(faults).unwrap();
    }

    async fn open(&self, crash: Crash) -> (Docket, Arc<Power>) {
        let (stub, is_off) = (self.stub.clone(), self.is_off.clone());
        let own = Fault::at(self.case.step.into(), self.case.fault.clone());
        let is_called_off = self.case.story.is_called_off();
        let power = Power::new(&self.disk, crash, move || {
            if is_called_off && !is_off.swap(true, Ordering::AcqRel) {
                stub.clear_faults();
                stub.add_faults(vec![own.clone()]).unwrap();
            }
        });
        let config = HttpConfig {
            timeout: Duration::from_millis(150),
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
            breaker: BreakerConfig {
                failures_max: u32::MAX,
                ..BreakerConfig::default()
            },
            jitter_seed: Some(7),
            ..HttpConfig::new("http://127.0.0.1:1")
        };
        let provider: Arc<dyn PaymentProvider> = Arc::new(Powered {
            provider: HttpProvider::over(cards(), &config, self.stub.connector()).unwrap(),
            power: power.clone(),
        });
        let mut options = node_options(self.dir.path());
        options.payments = PaymentOptions {
            providers: BTreeMap::from([(cards(), provider)]),
            again_after: (Duration::from_millis(5), Duration::from_millis(50)),
            ..PaymentOptions::default()
        };
        if self.case.story.expires() {
            options.payments.authorize_within = EXPIRES_WITHIN;
        }
        if self.case.story.is_given_up() {
            options.payments.authorize_within = GIVEN_UP_WITHIN;
        }
        let (store, mark) = (Box::new(self.disk.store()), Box::new(self.disk.mark()));
        let watching = power.clone();
        let docket = Docket::open_with(options, async move |options, machine| {
            let watched = move |group: GroupId| -> Arc<dyn StateMachine> {
                let machine = machine(group);
                let power = watching.clone();
                match group.shard() {
                    Some(_) => Arc::new(Watched { machine, power }),
                    None => machine,
                }
            };
            Node::open_with(options, store, mark, &watched).await
        });
        let docket = docket.await.unwrap();
        docket.ready().await;
        power.count();
        (docket, power)
    }

    /// One life behind the other, until one in which the power stays.
    async fn lives(&self) -> Outcome {
        let mut first = None;
        for crash in [self.case.crash, self.case.again, Crash::Never] {
            let (docket, power) = self.open(crash).await;
            let told = tokio::select! {
                biased;
                () = power.gone() => None,
                told = self.live(&docket, first.is_some(), crash == Crash::Never) => Some(told),
            };
            if !power.is_gone() {
                told.unwrap().unwrap();
                let (state, money) = self.end(&docket).await;
                let (counted, crashed_at) = match first {
                    None => (power.counted(), None),
                    Some((counted, last)) => (counted, Some(last)),
                };
                return Outcome {
                    counted,
                    crashed_at,
                    state,
                    money,
                };
            }
            // Whether it notices depends on whether it had something to write.
            let _ = docket.close(Duration::ZERO).await;
            let (records, answers) = power.counted();
            self.disk.restart_machine(records * 31 + answers);
            first.get_or_insert((power.counted(), power.last()));
            // What is held comes now, or when all is over.
            if records % 2 == 1 {
                self.stub.release();
            }
        }
        panic!("the power stays in the last life")
    }

    /// What happens in a life; looked at closely in the last one.
    async fn live(&self, docket: &Docket, is_later: bool, is_last: bool) -> Result<(), CallError> {
        if is_later {
            self.without_help(docket, is_last).await?;
        }
        self.case.story.tell(docket, &self.stub).await
    }

    /// All that was begun comes to its end without a client that asks again: but for what no provider answers until somebody cancels it.
    async fn without_help(&self, docket: &Docket, is_last: bool) -> Result<(), CallError> {
        if self.case.story.is_cancelled() && !self.is_off.load(Ordering::Acquire) {
            return Ok(());
        }
        quiet(docket).await?;
        let found = orders(docket).await?;
        assert!(found.len() <= 1, "one order became {found:?}");
        if let (Some(order), true) = (found.first(), is_last) {
            self.releases_what_no_order_wants(docket, order).await;
            self.agrees(docket, order).await;
        }
        Ok(())
    }

    /// Everything is told: what is late arrives, and all agrees.
    async fn end(&self, docket: &Docket) -> (Option<OrderState>, [i64; 4]) {
        let found = orders(docket).await.unwrap();
        let [order] = found.as_slice() else {
            panic!("one order became {found:?}");
        };
        self.releases_what_no_order_wants(docket, order).await;
        let before = self.agrees(docket, order).await;
        self.stub.release();
        self.stub.holds_nothing().await;
        let after = self.agrees(docket, order).await;
        assert_eq!(before, after, "what came late moved money");
        let again = orders(docket).await.unwrap();
        assert_eq!(again, found, "the order went on");
        self.is_as_told(order);
        let report = docket.verify(VerifyPace::default()).await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        docket.close(Duration::from_secs(5)).await.unwrap();
        let mut money = [0; 4];
        for payment in after {
            let of = [
                payment.authorized,
                payment.captured,
                payment.voided,
                payment.refunded,
            ];
            money = std::array::from_fn(|at| money[at] + of[at]);
        }
        (Some(order.state), money)
    }

    /// The order, its customer, its items and its provider say the same. Gives what the provider says, of each payment.
    async fn agrees(&self, docket: &Docket, order: &Order) -> Vec<Payment> {
        let asked = || format!("{order:#?} {:#?}", self.stub.requests());
        let report = self.stub.report();
        assert_eq!(report.violations, Vec::<String>::new(), "{}", asked());
        assert_eq!(report.repeats_unasked, Vec::<String>::new(), "{}", asked());
        let all = self.payments(order);
        for (number, theirs) in (1..).zip(&all) {
            let done = |kind| -> i64 {
                let steps = order.payment_steps().iter();
                let done = steps.filter(|it| it.payment == number && it.kind == kind && it.is_done());
                done.map(|it| it.amount.0).sum()
            };
            let [authorized, captured, voided, refunded] = PaymentKind::ALL.map(done);
            assert_eq!(
                (captured, refunded),
                (theirs.captured, theirs.refunded),
                "{}",
                asked()
            );
            // An authorisation that an order has not heard of before it was called off is given back untaken all the same.
            match authorized {
                0 => assert_eq!(
                    self.unsettled(order, theirs) + theirs.voided,
                    theirs.authorized,
                    "{}",
                    asked()
                ),
                _ => assert_eq!(
                    (authorized, voided),
                    (theirs.authorized, theirs.voided),
                    "{}",
                    asked()
                ),
            }
        }
        let quantities = order
            .open_quantities()
            .into_iter()
            .zip(order.fulfilled_quantities());
        for (line, (open, gone)) in order.lines.iter().zip(quantities) {
            let item = docket.get_item(Call::default(), line.sku.clone()).await.unwrap();
            assert_eq!(item.on_hand.0, ON_HAND - gone.0, "{}: {}", line.sku, asked());
            assert!(item.reserved >= open, "{}: {}", line.sku, asked());
        }
        let ada = CustomerId::new("ada").unwrap();
        let ada = docket.get_customer(Call::default(), ada).await.unwrap();
        assert_eq!((ada.balance.0, ada.held.0), (0, 0));
        docket.validate().unwrap();
        all
    }

    /// What the provider has of each payment of an order.
    fn payments(&self, order: &Order) -> Vec<Payment> {
        let steps = order.payment_steps().iter();
        let last = steps.map(|step| step.payment).max().unwrap_or(1);
        let name = |payment| match payment {
            1 => order.id.to_string(),
            _ => format!("{}-{payment}", order.id),
        };
        (1..=last)
            .map(|payment| self.stub.payment(&name(payment)))
            .collect()
    }

    /// What was reserved for an order that was lost with the power before it was placed is found and given back.
    async fn releases_what_no_order_wants(&self, docket: &Docket, order: &Order) {
        for (line, open) in order.lines.iter().zip(order.open_quantities()) {
            let reserved = async || {
                let item = docket.get_item(Call::default(), line.sku.clone()).await;
                item.unwrap().reserved
            };
            while reserved().await != open {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// What is left of an authorisation that its order has not heard of, while the void behind it waits for a person.
    fn unsettled(&self, order: &Order, theirs: &Payment) -> i64 {
        match order.declined_payments().next() {
            Some(_) => theirs.authorized - theirs.voided,
            None => 0,
        }
    }

    /// The order is what its story makes of it.
    fn is_as_told(&self, order: &Order) {
        let payment = order.payment();
        let money = (
            payment.authorized.0,
            payment.captured.0,
            payment.voided.0,
            payment.refunded.0,
        );
        assert!(order.next_payment().is_none() && order.is_settled(), "{order:#?}");
        assert_eq!(order.declined_payments().count(), 0);
        let expected = match (self.case.story, order.state) {
            (Story::Whole | Story::Declined, OrderState::Rejected) => (0, 0, 0, 0),
            (Story::Whole, _) => (TOTAL, SHIPPED, TOTAL - SHIPPED, REFUNDED),
            (Story::Declined | Story::Retried, OrderState::Fulfilled) => (TOTAL, TOTAL, 0, 0),
            (Story::Raised, OrderState::Fulfilled) => {
                let total = if order.edits()[0].is_done() {
                    TOTAL + RAISED
                } else {
                    TOTAL
                };
                (total, total - LEFT, LEFT, total - LEFT - KEPT)
            }
            (Story::RaisedBefore | Story::RaisedAfter, OrderState::Fulfilled) => {
                assert!(!order.edits()[0].is_done());
                (TOTAL, TOTAL, 0, 0)
            }
            // Where all took so long that it was not placed in time.
            (Story::RaisedBefore | Story::RaisedAfter, OrderState::Expired) => {
                let given_back = payment.authorized.0;
                (given_back, 0, given_back, 0)
            }
            (Story::CancelledBefore | Story::CancelledAfter, OrderState::Cancelled)
            | (Story::ExpiredBefore | Story::ExpiredAfter, OrderState::Expired) => {
                let given_back = payment.authorized.0;
                assert!(given_back == 0 || given_back == TOTAL);
                (given_back, 0, given_back, 0)
            }
            (story, state) => panic!("{story:?} ends {state}"),
        };
        assert_eq!(money, expected, "{order:#?}");
    }
}

pub fn declined() -> What {
    What::Decline {
        reason: "on demand".to_owned(),
    }
}
