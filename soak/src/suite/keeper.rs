//! Keepers: each takes orders that were just placed, or places some that a provider pays, and leads them through their lives while the load is
//! on: held, planned, sent, edited, called off, taken back, refunded. It asks each thing until that is answered, and nobody else asks anything of its orders,
//! so that it knows what each of them must be, to the last piece, and which request must be refused, and why.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use docket_proto::v1::{self, order::State};
use tokio::{sync::watch, time::sleep};

use super::{
    errand::{Errand, draw},
    paying::PROVIDER,
    scene::Scene,
};
use crate::{
    Acknowledged, Chance, Target, Workload,
    books::Led,
    history::{Ask, Outcome, clients::Node},
};

/// Keepers of a round.
pub const KEEPERS: u64 = 3;
/// Orders that are led in a round, at most: what is known of each is kept until the round's end.
const LED_MAX: u64 = 20_000;
/// How long a keeper rests between two things.
const PAUSE: Duration = Duration::from_millis(5);
/// How soon it asks again what was not answered.
pub(super) const RETRY: Duration = Duration::from_millis(50);
/// So many steps it leads an order on, at most, before it takes another.
const STEPS_MAX: u64 = 12;
/// One order in so many is one of an earlier round, and one in so many is paid by a provider, where there are any.
const OLD_EVERY: u64 = 4;
const PAID_EVERY: u64 = 5;
/// Faults that one tells.
const FAULTS_MAX: usize = 20;

/// What keepers did in a round.
#[derive(Debug, Default)]
pub struct Lives {
    /// Orders of this round, by operation, as they are now.
    pub led: HashMap<u64, Led>,
    /// Orders of earlier rounds: as they were before this one, and as they are now.
    pub carried: Vec<(Led, Led)>,
    /// Orders that keepers placed themselves.
    pub placed: Vec<Acknowledged>,
    /// What was answered, by what was asked: how often.
    pub deeds: BTreeMap<&'static str, u64>,
    /// Answers that were looked at.
    pub looks: u64,
    /// What was wrong, told; the first of it.
    pub faults: Vec<String>,
    /// What was asked and never answered, of orders that are in neither of the above.
    pub(super) open: Vec<(Charge, Errand, Question)>,
    /// Orders that were placed and never answered, by operation.
    pub(super) open_orders: Vec<u64>,
}

impl Lives {
    pub(super) fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    fn add(&mut self, other: Self) {
        self.led.extend(other.led);
        self.carried.extend(other.carried);
        self.placed.extend(other.placed);
        for (deed, count) in other.deeds {
            *self.deeds.entry(deed).or_default() += count;
        }
        self.looks += other.looks;
        other.faults.into_iter().for_each(|fault| self.fault(fault));
        self.open.extend(other.open);
        self.open_orders.extend(other.open_orders);
    }

    fn count(&mut self, deed: &'static str) {
        self.looks += 1;
        *self.deeds.entry(deed).or_default() += 1;
    }

    /// Nobody leads this one any more in this round.
    pub(super) fn leave(&mut self, charge: Charge) {
        match charge.before {
            Some(before) => self.carried.push((before, charge.led)),
            None => drop(self.led.insert(charge.led.order.n, charge.led)),
        }
    }

    /// What was answered to the placing of an order that a provider pays.
    pub(super) fn placed(
        &mut self,
        workload: &Arc<Workload>,
        n: u64,
        answer: Result<v1::Order, String>,
    ) -> Option<Charge> {
        self.count("place, paid by a provider");
        let order = match answer {
            Ok(order) => order,
            Err(reason) => {
                self.fault(format!("operation {n}, paid by a provider, is refused: {reason}"));
                return None;
            }
        };
        let named = Acknowledged::new(&order.name, n).filter(|_| order.state() == State::Confirmed);
        let Some(acknowledged) = named else {
            self.fault(format!("operation {n} was answered with {order:?}"));
            return None;
        };
        self.placed.push(acknowledged);
        let led = Led::new(workload, acknowledged, true);
        self.faults.extend(led.difference(&order));
        Some(Charge {
            led,
            before: None,
            etag: order.etag,
        })
    }

    /// What was answered to something that was asked of an order.
    pub(super) fn answered(
        &mut self,
        charge: &mut Charge,
        errand: &Errand,
        answer: Result<v1::Order, String>,
    ) {
        let led = &mut charge.led;
        let must = errand.after(led);
        match (answer, must) {
            (Ok(order), Ok(life)) => {
                led.life = life;
                if let Some(fault) = led.see(&order) {
                    self.fault(format!("after {}: {fault}", errand.name()));
                }
                charge.etag = order.etag;
                self.count(errand.name());
            }
            (Ok(order), Err(reason)) => {
                self.fault(format!(
                    "{errand:?} was done, and must be refused with {reason} after {:?}: {order:?}",
                    led.life
                ));
            }
            (Err(reason), must) => {
                charge.etag.clear();
                match reason.as_str() {
                    "ORDER_CLOSED" if led.may_be_closed() => led.closed = true,
                    // What its items and its provider did behind an answer changed it; and how often something may be done has a bound.
                    "STALE_ETAG" if errand.needs_etag() => {}
                    "REFUND_TOO_LARGE" if led.by_provider => {}
                    many if many.starts_with("TOO_MANY_") => {}
                    reason if must.as_ref().err() == Some(&reason) => {}
                    reason => {
                        self.fault(format!(
                            "{}: {errand:?} is refused with {reason} after {:?}, which must be {must:?}",
                            led.order.name(),
                            led.life
                        ));
                    }
                }
                self.count("refused");
            }
        }
    }
}

/// An order while it is led.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub(super) led: Led,
    /// As it was before this round, where it is of an earlier one.
    pub(super) before: Option<Led>,
    /// As it was seen last; empty where it may be another by now.
    pub(super) etag: String,
}

/// What the keepers of a round share.
pub struct Keepers {
    /// The run.
    pub scene: Arc<Scene>,
    /// The nodes.
    pub targets: Vec<Target>,
    /// Who places orders in this round.
    pub workload: Arc<Workload>,
    /// The number of the round, which makes its request ids others than all before.
    pub round: u64,
    /// Orders of earlier rounds that are led on.
    pub carried: Vec<Led>,
    /// Whether there is a provider who pays.
    pub paid: bool,
}

/// The keepers of a round at work.
struct Shared {
    scene: Arc<Scene>,
    workload: Arc<Workload>,
    round: u64,
    carried: Mutex<Vec<Led>>,
    paid: bool,
    led: AtomicU64,
}

impl Keepers {
    /// Has them work until `stop` says so, or is gone.
    pub async fn work(self, stop: watch::Receiver<bool>) -> Lives {
        let shared = Arc::new(Shared {
            scene: self.scene,
            workload: self.workload,
            round: self.round,
            carried: Mutex::new(self.carried),
            paid: self.paid,
            led: AtomicU64::new(0),
        });
        let seed = shared.workload.shape().seed ^ 0x6ee9;
        let working: Vec<_> = (0..KEEPERS)
            .map(|number| Keeper {
                shared: Arc::clone(&shared),
                nodes: self.targets.iter().map(Node::new).collect(),
                number,
                asked: 0,
                chance: Chance::new(seed, self.round * KEEPERS + number),
                stop: stop.clone(),
                lives: Lives::default(),
            })
            .map(|keeper| tokio::spawn(keeper.work()))
            .collect();
        let mut all = Lives::default();
        for working in working {
            match working.await {
                Ok(lives) => all.add(lives),
                Err(_) => all.fault("a keeper panicked".to_owned()),
            }
        }
        let carried = &mut *shared.carried.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody came to.
        all.carried
            .extend(carried.drain(..).map(|led| (led.clone(), led)));
        all
    }
}

struct Keeper {
    shared: Arc<Shared>,
    nodes: Vec<Node>,
    number: u64,
    asked: u64,
    chance: Chance,
    stop: watch::Receiver<bool>,
    lives: Lives,
}

impl Keeper {
    async fn work(mut self) -> Lives {
        while !self.is_over() {
            if let Some(charge) = self.next().await {
                self.lead(charge).await;
            }
            self.pause(PAUSE).await;
        }
        self.lives
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = sleep(time) => {}
        }
    }

    /// An order to lead: of before, of a provider's, or one that was placed just now.
    async fn next(&mut self) -> Option<Charge> {
        if self.chance.below(OLD_EVERY) == 0 {
            let mut carried = self.shared.carried.lock().unwrap_or_else(PoisonError::into_inner);
            if !carried.is_empty() {
                let at = self.chance.below(carried.len() as u64) as usize;
                let led = carried.swap_remove(at);
                return Some(Charge {
                    before: Some(led.clone()),
                    led,
                    etag: String::new(),
                });
            }
        }
        if self.shared.led.load(Relaxed) >= LED_MAX {
            return None;
        }
        let charge = match self.shared.paid && self.chance.below(PAID_EVERY) == 0 {
            true => self.place().await,
            false => self.recent(),
        };
        if charge.is_some() {
            self.shared.led.fetch_add(1, Relaxed);
        }
        charge
    }

    fn recent(&mut self) -> Option<Charge> {
        let mut watched = self.shared.scene.progress.watch()?;
        let count = watched.recent.len() as u64;
        if count == 0 {
            return None;
        }
        let order = watched.lead(self.chance.below(count) as usize)?;
        Some(Charge {
            led: Led::new(&self.shared.workload, order, false),
            before: None,
            etag: String::new(),
        })
    }

    async fn place(&mut self) -> Option<Charge> {
        let n = self.shared.workload.take();
        let order = Question::Place(Box::new(paid_order(&self.shared.workload, n)));
        match self.until_answered(&order).await {
            Some(answer) => {
                let workload = Arc::clone(&self.shared.workload);
                self.lives.placed(&workload, n, answer)
            }
            None => {
                self.lives.open_orders.push(n);
                None
            }
        }
    }

    /// Leads an order on for some steps.
    async fn lead(&mut self, mut charge: Charge) {
        for _ in 0..=self.chance.below(STEPS_MAX) {
            let Some(errand) = draw(&mut self.chance, &charge.led) else {
                break;
            };
            if errand.needs_etag() && charge.etag.is_empty() && !self.see(&mut charge).await {
                break;
            }
            self.asked += 1;
            let request_id = format!(
                "keeper-{:x}-{}-{}-{}",
                self.shared.workload.shape().seed,
                self.shared.round,
                self.number,
                self.asked
            );
            let ask = Question::About(errand.ask(&charge.led, request_id, &charge.etag));
            match self.until_answered(&ask).await {
                Some(answer) => {
                    self.shared.scene.remembered();
                    self.lives.answered(&mut charge, &errand, answer);
                }
                None => return self.lives.open.push((charge, errand, ask)),
            }
            self.pause(PAUSE).await;
            if self.is_over() {
                break;
            }
        }
        self.lives.leave(charge);
    }

    /// Reads the order; whether that was answered.
    async fn see(&mut self, charge: &mut Charge) -> bool {
        match self.until_answered(&Question::read(&charge.led)).await {
            Some(Ok(order)) => {
                self.lives.looks += 1;
                self.lives.faults.extend(charge.led.see(&order));
                charge.etag = order.etag;
                true
            }
            Some(Err(reason)) => {
                let name = charge.led.order.name();
                self.lives
                    .fault(format!("{name} is led and cannot be read: {reason}"));
                false
            }
            None => false,
        }
    }

    /// Asks again, at one node after the other, until there is an answer: an order, or why there is none. None where there was none when
    /// the round ended.
    async fn until_answered(&mut self, question: &Question) -> Option<Result<v1::Order, String>> {
        loop {
            let at = self.chance.below(self.nodes.len() as u64) as usize;
            if let Some(answer) = question.put(self.nodes.get(at)?).await {
                return Some(answer);
            }
            if self.is_over() {
                return None;
            }
            self.pause(RETRY).await;
        }
    }
}

/// What a node is asked, in the same words however often.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// That an order be placed.
    Place(Box<v1::PlaceOrderRequest>),
    /// Something of one that is there.
    About(Ask),
}

impl Question {
    /// How an order is.
    pub(super) fn read(led: &Led) -> Self {
        Self::About(Ask::GetOrder {
            order: led.order.name(),
        })
    }

    /// Asks a node; none where it is to be asked again.
    pub(super) async fn put(&self, node: &Node) -> Option<Result<v1::Order, String>> {
        let answer = match self {
            Self::Place(order) => node.place(v1::PlaceOrderRequest::clone(order)).await,
            Self::About(ask) => node.order(ask).await,
        };
        match answer {
            Ok(order) => Some(Ok(order)),
            // What it asked others before is not done yet.
            Err(Outcome::Refused(refusal)) if refusal.reason == "ORDER_PENDING" => None,
            Err(Outcome::Refused(refusal)) => Some(Err(refusal.reason)),
            Err(Outcome::Ok(_) | Outcome::Failed(_) | Outcome::Unknown(_)) => None,
        }
    }
}

/// The order of an operation, paid by the provider.
pub(super) fn paid_order(workload: &Workload, n: u64) -> v1::PlaceOrderRequest {
    let (order, _) = workload.order(n);
    v1::PlaceOrderRequest {
        payment_method: PROVIDER.to_owned(),
        ..order
    }
}
