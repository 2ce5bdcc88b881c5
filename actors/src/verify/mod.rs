//! Whether the books of a node agree with each other, looked at while it serves.
//!
//! ```text
//!   one shard after the other:   state of one entry ──▶ walk ──▶ discrepancies
//!                                                        │
//!                                            suspects, half-open effects ──▶ looks ──▶ discrepancies
//! ```
//!
//! A **walk** ([`walk`]) goes through the state of a shard as of one entry of its log, as a snapshot does, with a pause after each piece: what
//! is wrong there is wrong. What an order and an item of another shard say of each other cannot be seen at one moment. Where they
//! differ that is a **suspicion**, and is looked at again ([`looks`]) until it has gone or cannot be chance.
//!
//! What is kept meanwhile is a few numbers a customer and item of one shard, the changes that its feed keeps, and the suspects: nothing an
//! order. Nothing is changed, and nothing is repaired.
//!
//! What is stored does not tell how much was ever paid in, or how much stock ever arrived. So a stock on hand cannot be proven, and a balance only
//! against the verification before ([`paid_in`]); how *often* a customer's money was held, released and captured can, and is.

mod archived;
mod indexes;
mod looks;
mod paid_in;
mod report;
mod scheduled;
#[cfg(test)]
mod tests;
mod walk;

use std::{sync::Arc, time::Duration};

use docket_engine::{OrderId, Sku};
use tokio::sync::OwnedSemaphorePermit;

use crate::{Docket, shard::Shard};
use looks::look_again;
use paid_in::PaidIn;
use walk::{Ground, NotWalked, walk};

use report::NO_REPLICA;
pub use report::{Discrepancy, DiscrepancyKind, NotLookedAt, ShardBooks, VerifyReport};
pub use scheduled::{Verification, VerifyOptions, VerifyStatus};
pub(crate) use scheduled::{Verifications, describe_metrics, run};

/// The most suspects, and the most half-open effects, that are looked at again; what is more is counted as undecided.
const SUSPECTS_MAX: usize = 100_000;

/// How patient a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyPace {
    /// The time between two looks at what is suspicious. Default 500 ms.
    pub look_every: Duration,
    /// How long an effect may be without an owner, and a reservation without an order: what is taken up again by itself is
    /// within that, also what only the second look for orphans finds, 30 s behind the first. Default 40 s.
    pub grace: Duration,
    /// How long suspects are looked at altogether. Default 80 s.
    pub give_up: Duration,
}

impl Default for VerifyPace {
    fn default() -> Self {
        Self {
            look_every: Duration::from_millis(500),
            grace: Duration::from_secs(40),
            give_up: Duration::from_secs(80),
        }
    }
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// One goes on already: there is one at a time.
    #[error("the books of this node are being verified already")]
    Busy,
    /// The node closes.
    #[error("the node is stopping")]
    Stopping,
}

/// What walks have found.
#[derive(Default)]
struct Found {
    report: VerifyReport,
    /// Orders and items that said different things of each other, though not at one moment.
    suspects: Vec<(OrderId, Sku)>,
    /// Orders of shards that are led here, and have something still to be done.
    open: Vec<(OrderId, Effect)>,
    /// What was paid in to the customers of the shard that was walked, where all of its orders were seen.
    paid_in: Option<PaidIn>,
}

/// What is still to be done of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// Items are to be asked.
    Items,
    /// Its payment provider is.
    Payment,
}

impl Found {
    fn suspect(&mut self, order: OrderId, sku: &Sku) {
        match self.suspects.len() < SUSPECTS_MAX {
            true => self.suspects.push((order, sku.clone())),
            false => self.report.undecided += 1,
        }
    }

    fn open(&mut self, order: OrderId, effect: Effect) {
        match self.open.len() < SUSPECTS_MAX {
            true => self.open.push((order, effect)),
            false => self.report.undecided += 1,
        }
    }

    fn absorb(&mut self, other: Self) {
        let Self {
            report,
            suspects,
            open,
            paid_in: _,
        } = other;
        self.report.absorb(report);
        suspects.iter().for_each(|(order, sku)| self.suspect(*order, sku));
        open.into_iter()
            .for_each(|(order, effect)| self.open(order, effect));
    }
}

impl Docket {
    /// Verifies the books of all shards that have a replica here, while the node serves. Dropped, it ends with the piece that it is at.
    ///
    /// # Errors
    /// Why there is no report. What is wrong with the books is none: it is in the report.
    pub async fn verify(&self, pace: VerifyPace) -> Result<Arc<VerifyReport>, VerifyError> {
        self.verify_at(pace, false).await
    }

    /// How the books were when they were last verified, and whether they are being verified now.
    pub fn verified(&self) -> VerifyStatus {
        self.inner.verifications.status()
    }

    /// The same as [`Self::verify`]; one that the node begins by itself gives way, also to who asks for one.
    pub(crate) async fn verify_at(
        &self,
        pace: VerifyPace,
        by_itself: bool,
    ) -> Result<Arc<VerifyReport>, VerifyError> {
        let verifications = &self.inner.verifications;
        let turns = || Arc::clone(&self.inner.verifying);
        let turn = match turns().try_acquire_owned() {
            Ok(turn) => turn,
            // Whoever has broken it off waits alone: to all others it is busy.
            Err(_) if !by_itself && verifications.break_off() => {
                turns().acquire_owned().await.map_err(|_| VerifyError::Stopping)?
            }
            Err(_) => return Err(VerifyError::Busy),
        };
        // Also work that goes on for a moment behind a call that was dropped has the turn.
        let turn = Arc::new(turn);
        // Gone before the turn is, so that nobody breaks off another's.
        let broken_off = verifications.let_break_off(by_itself);
        let running = Running::new(verifications, by_itself);
        let (begun, since) = scheduled::now();
        let report = tokio::select! {
            report = self.walk_all(Arc::clone(&turn), pace, by_itself) => Arc::new(report?),
            () = broken_off.cancelled() => return Err(VerifyError::Busy),
        };
        running.done(Verification {
            begun,
            took: since.elapsed(),
            by_itself,
            report: Arc::clone(&report),
        });
        Ok(report)
    }

    async fn walk_all(
        &self,
        turn: Arc<OwnedSemaphorePermit>,
        pace: VerifyPace,
        by_itself: bool,
    ) -> Result<VerifyReport, VerifyError> {
        let inner = &self.inner;
        let stop = inner.closing.child_token();
        let _ended = stop.clone().drop_guard();
        let node = inner.router.node();
        let has_replica = |shard: &Arc<Shard>| !node.has_peers() || node.has_replica(shard.group().id());
        let here: Arc<[bool]> = inner.router.shards.iter().map(has_replica).collect();
        let mut found = Found::default();
        let mut paid_in = Vec::new();
        for (at, shard) in inner.router.shards.iter().enumerate() {
            let group = shard.group().id();
            if !here[at] {
                found.report.leave_out(group, NO_REPLICA);
                continue;
            }
            let ground = Ground {
                router: Arc::clone(&inner.router),
                ids: self.ids().clone(),
                shard: Arc::clone(shard),
                here: Arc::clone(&here),
                stop: stop.clone(),
                paid_in_before: inner.verifications.paid_in.before(shard.id()),
                gives_way_to: by_itself.then(|| self.clone()),
            };
            let turn = Arc::clone(&turn);
            let walked = docket_cluster::off_thread(move || {
                let _turn = turn;
                walk(&ground)
            });
            match walked.await {
                Ok(Ok(mut of_shard)) => {
                    paid_in.extend(of_shard.paid_in.take().map(|of_it| (shard.id(), of_it)));
                    found.absorb(of_shard);
                }
                Ok(Err(NotWalked::Stopped)) => return Err(VerifyError::Stopping),
                Ok(Err(NotWalked::Because(why))) => found.report.leave_undecided(group, why),
                // What one shard's state did to its walk is no reason to look at no other.
                Err(error) => {
                    tracing::error!(%group, %error, "the walk of a shard has failed");
                    found.report.leave_undecided(group, "its walk has failed");
                }
            }
        }
        tokio::select! {
            () = look_again(&inner.router, &mut found, pace, by_itself.then_some(self)) => {}
            () = stop.cancelled() => return Err(VerifyError::Stopping),
        }
        found.report.discrepancies.sort();
        // Whoever goes away before there is a report was told nothing, and is to be told the next time.
        for (shard, of_it) in paid_in {
            inner.verifications.paid_in.remember(shard, of_it);
        }
        Ok(found.report)
    }
}

/// One goes on, until this is dropped.
struct Running<'a> {
    verifications: &'a Verifications,
    by_itself: bool,
    done: Option<Verification>,
}

impl<'a> Running<'a> {
    fn new(verifications: &'a Verifications, by_itself: bool) -> Self {
        verifications.begin();
        Self {
            verifications,
            by_itself,
            done: None,
        }
    }

    fn done(mut self, done: Verification) {
        self.done = Some(done);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.verifications.end(self.by_itself, self.done.take());
    }
}
