//! One connection of a load: what it has in flight, and what came of it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use docket_proto::{
    code_name,
    v1::{Order, order::State},
};
use tokio::time::Instant;
use tonic::Code;

use super::{Progress, pacer::Pacer};
use crate::{Acknowledged, Chance, Tally, Workload};

/// What is counted of calls that got no answer within the patience.
const NO_ANSWER: &str = "NO_ANSWER";
/// After a failure a closed loop pauses so long: a server that refuses everything is not measured by how fast it does so.
const PAUSE: Duration = Duration::from_millis(5);

/// One connection of a load.
pub struct Lane<'a> {
    pub workload: &'a Workload,
    pub pacer: Pacer,
    /// What may be in flight.
    pub window: usize,
    progress: &'a Progress,
    started: Instant,
    /// The order that each caller waits for.
    slots: Vec<Slot>,
    /// The orders that the stream waits for, and since when.
    pub streamed: RefCell<HashMap<u64, Pending>>,
    tally: RefCell<Tally>,
}

/// The order that a caller waits for.
#[derive(Debug, Default)]
pub struct Slot(pub Cell<Option<u64>>);

/// An order that is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// When it was meant to start.
    pub intended: Instant,
    /// When it did.
    pub sent: Instant,
    /// What it costs.
    pub total: i64,
}

impl Pending {
    /// On its way from now on.
    pub fn sent_now(intended: Instant, total: i64) -> Self {
        Self {
            intended,
            sent: Instant::now(),
            total,
        }
    }
}

/// What an operation does.
pub enum Operation {
    /// Places an order.
    Place,
    /// Reads one that was acknowledged.
    Read(Acknowledged),
}

impl<'a> Lane<'a> {
    pub fn new(
        workload: &'a Workload,
        progress: &'a Progress,
        pacer: Pacer,
        window: usize,
        started: Instant,
    ) -> Self {
        Self {
            workload,
            pacer,
            window,
            progress,
            started,
            slots: (0..window).map(|_| Slot::default()).collect(),
            streamed: RefCell::default(),
            tally: RefCell::default(),
        }
    }

    /// One for each caller.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Waits until the next operation is meant to start; none when the load is over.
    pub async fn turn(&self) -> Option<Instant> {
        let turn = self.pacer.turn().await;
        turn.filter(|_| !self.progress.is_over())
    }

    /// Whether no more operations start.
    pub fn is_over(&self) -> bool {
        self.pacer.is_over() || self.progress.is_over()
    }

    /// The next operation, which was meant to start at `intended`.
    pub fn begin(&self, intended: Instant) -> (u64, Operation) {
        let mut tally = self.tally.borrow_mut();
        if self.pacer.is_open() {
            tally.late.record(intended.elapsed());
        }
        let n = self.workload.take();
        let known = &tally.ledger.acknowledged;
        if known.is_empty() || !self.workload.is_read(n) {
            return (n, Operation::Place);
        }
        let read = Chance::new(n, 0).below(known.len() as u64);
        (n, Operation::Read(known[read as usize]))
    }

    /// Order `n` was answered; whether it was acknowledged.
    pub fn placed(&self, n: u64, pending: Pending, answer: Result<Order, Code>) -> bool {
        let order = match answer {
            Ok(order) => order,
            Err(code) => {
                self.failed(code_name(code));
                if code == Code::ResourceExhausted {
                    self.tally.borrow_mut().refusals.record(pending.sent.elapsed());
                }
                if may_be_done(code) {
                    self.tally.borrow_mut().ledger.unknown.push(n);
                }
                return false;
            }
        };
        let mut tally = self.tally.borrow_mut();
        let took = pending.intended.elapsed();
        tally.orders.record(took);
        let acknowledged = Acknowledged::new(&order.name, n);
        self.progress.acknowledged(acknowledged, took);
        match acknowledged {
            Some(acknowledged) if order.state() == State::Confirmed && order.total == pending.total => {
                tally.ledger.acknowledged.push(acknowledged);
            }
            _ => tally
                .ledger
                .wrong(format!("operation {n} was answered with {order:?}")),
        }
        true
    }

    /// `asked` was read; whether it came back.
    pub fn read(&self, asked: Acknowledged, intended: Instant, answer: Result<Order, Code>) -> bool {
        let order = match answer {
            Ok(order) => order,
            Err(code) => {
                self.failed(code_name(code));
                return false;
            }
        };
        let mut tally = self.tally.borrow_mut();
        tally.reads.record(intended.elapsed());
        self.progress.reads.fetch_add(1, Relaxed);
        if Acknowledged::new(&order.name, asked.n) != Some(asked) {
            tally
                .ledger
                .wrong(format!("{} was read, and came as {order:?}", asked.name()));
        }
        true
    }

    /// A call failed.
    pub fn failed(&self, code: &'static str) {
        *self.tally.borrow_mut().errors.entry(code).or_default() += 1;
        self.progress.failed.fetch_add(1, Relaxed);
        if code == code_name(Code::ResourceExhausted) {
            self.progress.refused.fetch_add(1, Relaxed);
        }
    }

    /// An answer is not what was asked for.
    pub fn wrong(&self, what: String) {
        self.tally.borrow_mut().ledger.wrong(what);
    }

    /// The stream broke: what is in flight on it may be done or not.
    pub fn broke(&self, code: Code) {
        self.failed(code_name(code));
        let lost = self.streamed.take();
        self.tally.borrow_mut().ledger.unknown.extend(lost.into_keys());
    }

    /// The pause after a failure.
    pub async fn pause(&self) {
        if !self.pacer.is_open() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What came of it, with what is still not answered.
    pub fn close(mut self) -> Tally {
        let mut tally = self.tally.take();
        tally.elapsed = self.started.elapsed();
        tally.missed = self.pacer.missed();
        let slots = self.slots.iter().filter_map(|slot| slot.0.get());
        let lost: Vec<u64> = slots.chain(self.streamed.take().into_keys()).collect();
        if !lost.is_empty() {
            *tally.errors.entry(NO_ANSWER).or_default() += lost.len() as u64;
            tally.ledger.unknown.extend(lost);
        }
        tally
    }
}

/// Whether an order that failed so may be there all the same.
pub fn may_be_done(code: Code) -> bool {
    use Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, Internal, Unavailable, Unknown};
    matches!(
        code,
        Aborted | Cancelled | DataLoss | DeadlineExceeded | Internal | Unavailable | Unknown
    )
}
