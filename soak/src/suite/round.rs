//! A round: a load, and then the books. Rounds keep the memory of a run bounded, and faults close to what caused them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    clerk::{self, Done},
    keeper::Lives,
    lives::quiet,
    memory::Memory,
    paying::Paying,
    scene::Scene,
};
use crate::{
    Chance, Error, Ledger, Target, Workload,
    books::{self, Accounts, Checked, Led},
};

/// How long a server may take to give back what it reserved for orders whose clients, or whose process, went away.
pub(super) const GIVEN_BACK: Duration = Duration::from_secs(30);
/// How soon it is looked at again.
const AGAIN: Duration = Duration::from_millis(250);
/// Faults that are told, of the whole run.
const FAULTS_MAX: usize = 50;

/// What is wrong, from the first fault on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The first of them, told, with the round in which each was found.
    pub told: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, what: String) {
        self.count += 1;
        if self.told.len() < FAULTS_MAX {
            self.told.push(what);
        }
    }
}

/// What was checked, of the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Rounds.
    pub rounds: u64,
    /// Orders that were acknowledged.
    pub acknowledged: u64,
    /// Of those, how many were cancelled.
    pub cancelled: u64,
    /// Orders that were read back one by one.
    pub read: u64,
    /// Orders whose answer was lost, and that were asked for again.
    pub lost_answers: u64,
    /// What the clerk looked at while the load was on.
    pub looks: u64,
    /// Orders that were led through their lives.
    pub led: u64,
    /// Of those, how many a provider paid.
    pub paid_by_provider: u64,
    /// How many of those that were looked at again were closed by the clock.
    pub closed: u64,
    /// Orders that servers, and each node of a cluster, have verified at the end.
    pub verified: u64,
}

/// The run's own model of what the server must know.
#[derive(Debug)]
pub struct Model {
    /// The whole shop.
    pub shop: Arc<Workload>,
    /// What the books must say.
    pub accounts: Accounts,
    /// Some orders of all rounds.
    pub memory: Memory,
    /// Orders of earlier rounds that are led on.
    pub carried: Vec<Led>,
    /// What was asked of orders that were led, and answered: how often.
    pub deeds: BTreeMap<&'static str, u64>,
    /// The provider that pays for some.
    pub paying: Option<Paying>,
    /// What is wrong.
    pub faults: Faults,
    /// What was checked.
    pub sums: Sums,
}

/// What came of a round's load.
pub struct Closing {
    /// Who placed the orders.
    pub workload: Arc<Workload>,
    /// What was acknowledged.
    pub ledger: Ledger,
    /// What the clerk did.
    pub done: Done,
    /// What the keepers did.
    pub lives: Lives,
    /// What the round is called where a fault of it is told.
    pub name: String,
}

impl Model {
    /// That of a shop that was just opened.
    pub fn of(shop: Arc<Workload>) -> Self {
        Self {
            accounts: Accounts::opened(&shop),
            shop,
            memory: Memory::default(),
            carried: Vec::new(),
            deeds: BTreeMap::new(),
            paying: None,
            faults: Faults::default(),
            sums: Sums::default(),
        }
    }

    /// Closes a round: finds out what became of everything whose answer was lost, holds the books of each server in `targets`
    /// against the model, and forgets the round's orders but for their sums. Several servers are the nodes of one cluster.
    ///
    /// # Errors
    /// The server does not answer. What is wrong is a fault.
    pub async fn close(
        &mut self,
        scene: &Scene,
        targets: &[Target],
        mut closing: Closing,
        chance: &mut Chance,
    ) -> Result<(), Error> {
        let target = targets
            .first()
            .ok_or(Error::Broken("there is no server to check"))?;
        let lost = closing.ledger.unknown.len() as u64;
        books::settle(target, &closing.workload, &mut closing.ledger).await?;
        clerk::settle(scene, target, &self.shop, &mut closing.done).await?;
        if let Some(paying) = &self.paying {
            paying.mend().await?;
        }
        closing.lives.settle(target, &closing.workload).await?;
        if !closing.lives.is_empty() {
            quiet(target).await?;
        }
        self.check_lives(targets, &mut closing.lives).await?;
        closing
            .ledger
            .acknowledged
            .extend_from_slice(&closing.lives.placed);
        let Closing {
            workload,
            ledger,
            done,
            lives,
            name,
        } = &closing;
        let round = books::Round {
            workload,
            ledger,
            cancelled: &done.cancelled,
            led: &lives.led,
        };
        self.accounts.enter(&round);
        for (before, now) in &lives.carried {
            self.accounts.lead(before, now);
        }
        done.enter(&mut self.accounts);
        // Where a lead has moved there are orders that were begun by one node and placed by another.
        let may_mend = lost > 0 || targets.len() > 1;
        let mut checked = self.check(target, &round, may_mend).await?;
        for (number, other) in (2..).zip(&targets[1..]) {
            let of_node = self.check(other, &round, may_mend).await?;
            checked.fault_count += of_node.fault_count;
            let named = of_node
                .faults
                .into_iter()
                .map(|fault| format!("node {number}: {fault}"));
            checked.faults.extend(named);
        }
        self.accounts.close(&round);
        let others = done.faults.iter().chain(&lives.faults);
        for fault in others.chain(&checked.faults) {
            self.faults.add(format!("{name}: {fault}"));
        }
        self.faults.count += checked.fault_count - checked.faults.len() as u64;
        self.sums.rounds += 1;
        self.sums.acknowledged += checked.acknowledged;
        self.sums.cancelled = self.accounts.cancelled;
        self.sums.read += checked.read;
        self.sums.lost_answers += lost;
        self.sums.looks += done.looks + lives.looks;
        self.memory.keep(
            workload,
            ledger,
            |n| done.cancelled.contains(&n),
            |n| lives.led.contains_key(&n),
            chance,
        );
        self.carry_on(closing.lives, chance);
        Ok(())
    }

    /// Checks once, and, only where all that is wrong is that something must be given back, again until nothing is. An order
    /// that is not there at the first look is lost, whatever comes later.
    async fn check(&self, target: &Target, round: &books::Round<'_>, mends: bool) -> Result<Checked, Error> {
        let end = Instant::now() + GIVEN_BACK;
        loop {
            let checked = books::check_round(target, &self.shop, &self.accounts, round, 1.0).await?;
            let may_mend = mends && checked.excess_count == checked.fault_count;
            if checked.fault_count == 0 || !may_mend || Instant::now() > end {
                return Ok(checked);
            }
            sleep(AGAIN).await;
        }
    }
}
