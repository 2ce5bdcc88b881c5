//! What becomes of a round's lives when the load is over: what was not answered is asked until it is, providers do what is due, and then each
//! order that was led is held against what it must be; and at the end of the run against the clock, which closes them, and against the server's own verification.

use std::sync::Arc;

use docket_proto::v1::{
    GetNodeStatusRequest, VerifyBooksRequest, VerifyBooksResponse, node_service_client::NodeServiceClient,
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{
    keeper::{Lives, Question, RETRY, paid_order},
    paying::Paying,
    round::{GIVEN_BACK, Model},
};
use crate::{
    Chance, Error, Target, Workload,
    books::{Led, is_due, patiently},
    history::{Phase, clients::Node},
};

/// How long something may take that is to be done sooner or later.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// Orders of earlier rounds that are led on, and so many more of each round.
const CARRIED_MAX: usize = 64;
const EACH_ROUND: usize = 12;
/// How soon orders that were led are closed by the clock, in seconds.
pub(super) const CLOSE_AFTER_S: u64 = 2;

/// How a server of a run is configured beside what any throw-away server is.
pub(super) fn sections(paying: Option<&Paying>) -> String {
    let provider = paying.map(Paying::section).unwrap_or_default();
    format!("\n[orders]\nclose_after_s = {CLOSE_AFTER_S}\n{provider}")
}

impl Lives {
    /// Asks again for everything that was not answered, until it is, and waits until no provider has anything to do for these orders.
    ///
    /// # Errors
    /// There is no answer within a minute.
    pub async fn settle(&mut self, target: &Target, workload: &Arc<Workload>) -> Result<(), Error> {
        let node = Node::new(target);
        for n in std::mem::take(&mut self.open_orders) {
            let order = Question::Place(Box::new(paid_order(workload, n)));
            let answer = in_the_end(&node, &order).await?;
            if let Some(charge) = self.placed(workload, n, answer) {
                self.leave(charge);
            }
        }
        for (mut charge, errand, ask) in std::mem::take(&mut self.open) {
            let answer = in_the_end(&node, &ask).await?;
            self.answered(&mut charge, &errand, answer);
            self.leave(charge);
        }
        let end = Instant::now() + PATIENCE;
        let paid: Vec<Led> = self.all().filter(|led| led.by_provider).cloned().collect();
        for led in paid {
            while let Ok(order) = in_the_end(&node, &Question::read(&led)).await? {
                if !is_due(&order) {
                    break;
                }
                if Instant::now() > end {
                    self.fault(format!("a provider is still to be asked: {order:?}"));
                    break;
                }
                sleep(RETRY).await;
            }
        }
        Ok(())
    }

    /// All orders that were led in the round, or carried through it.
    pub fn all(&self) -> impl Iterator<Item = &Led> {
        self.led.values().chain(self.carried.iter().map(|(_, led)| led))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.led.is_empty() && self.carried.is_empty()
    }
}

impl Model {
    /// What is wrong with orders of earlier rounds, and with the provider's books.
    ///
    /// # Errors
    /// The server, or the provider, does not answer.
    pub(super) async fn check_lives(&mut self, targets: &[Target], lives: &mut Lives) -> Result<(), Error> {
        for (number, target) in (1..).zip(targets) {
            let node = Node::new(target);
            let mut faults = Vec::new();
            for (_, led) in &mut lives.carried {
                let fault = look(&node, led).await?;
                faults.extend(fault.map(|fault| format!("node {number}: {fault}")));
                self.sums.looks += 1;
            }
            faults.into_iter().for_each(|fault| lives.fault(fault));
        }
        if let Some(paying) = &self.paying {
            let all: Vec<&Led> = lives.all().collect();
            let told = paying.differences(&all).await?;
            told.into_iter().for_each(|fault| lives.fault(fault));
        }
        Ok(())
    }

    /// Keeps some of a round's orders, to be led on.
    pub(super) fn carry_on(&mut self, lives: Lives, chance: &mut Chance) {
        self.sums.led += lives.led.len() as u64;
        self.sums.paid_by_provider += lives.placed.len() as u64;
        for (deed, count) in lives.deeds {
            *self.deeds.entry(deed).or_default() += count;
        }
        let (closed, mut carried): (Vec<Led>, Vec<Led>) = lives
            .carried
            .into_iter()
            .map(|(_, led)| led)
            .partition(|led| led.closed);
        self.sums.closed += closed.len() as u64;
        // Sorted: what is drawn of them is what the seed says.
        let is_alive = |led: &Led| led.life.phase() != Phase::Cancelled;
        let mut new: Vec<Led> = lives.led.into_values().filter(is_alive).collect();
        carried.retain(is_alive);
        new.sort_unstable_by_key(|led| led.order.n);
        for _ in 0..EACH_ROUND.min(new.len()) {
            let led = new.swap_remove(chance.below(new.len() as u64) as usize);
            match carried.len() < CARRIED_MAX {
                true => carried.push(led),
                false => carried[chance.below(CARRIED_MAX as u64) as usize] = led,
            }
        }
        self.carried = carried;
    }

    /// The end of a server, or of a cluster: the clock closes whatever is at rest of the orders that are led still, and each node finds its own books in order.
    ///
    /// # Errors
    /// A server does not answer.
    pub(super) async fn end(&mut self, targets: &[Target]) -> Result<(), Error> {
        let Some(first) = targets.first() else {
            return Ok(());
        };
        let (node, end) = (Node::new(first), Instant::now() + PATIENCE);
        for mut led in std::mem::take(&mut self.carried) {
            loop {
                if let Some(fault) = look(&node, &mut led).await? {
                    self.faults.add(format!("at the end: {fault}"));
                    break;
                }
                if led.closed || !led.may_be_closed() {
                    break;
                }
                if Instant::now() > end {
                    let name = led.order.name();
                    self.faults
                        .add(format!("{name}: nothing comes of it, and it is not closed"));
                    break;
                }
                sleep(RETRY).await;
            }
            self.sums.closed += u64::from(led.closed);
        }
        for target in targets {
            quiet(target).await?;
            let mut service = NodeServiceClient::new(target.connect().await?);
            let verified = patiently(async || service.verify_books(target.call(VerifyBooksRequest {})).await);
            let verified = verified
                .await
                .map_err(Error::refused("cannot verify the books"))?;
            self.sums.verified += verified.shards.iter().map(|shard| shard.orders).sum::<u64>();
            for fault in unverified(&verified) {
                self.faults
                    .add(format!("at the end, by node {}: {fault}", verified.node_id));
            }
        }
        Ok(())
    }
}

/// What a server has found wrong with its own books when nothing was on its way.
fn unverified(books: &VerifyBooksResponse) -> Vec<String> {
    let wrong = books
        .discrepancies
        .iter()
        .map(|it| format!("{} of {}: {}", it.kind, it.name, it.description));
    let unread = books.unverified_shards.iter();
    let unread = unread.map(|it| format!("{} was not verified: {}", it.group, it.reason));
    let mut told: Vec<String> = wrong.chain(unread).collect();
    let left = [
        (books.undecided, "suspicions could not be decided"),
        (books.half_open_orders, "orders are half-way"),
        (books.due_payments, "orders have something due of their provider"),
    ];
    told.extend(
        left.iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}")),
    );
    told
}

async fn look(node: &Node, led: &mut Led) -> Result<Option<String>, Error> {
    Ok(match in_the_end(node, &Question::read(led)).await? {
        Ok(order) => led.see(&order),
        Err(reason) => Some(format!("{}: cannot be read: {reason}", led.order.name())),
    })
}

/// Asks until there is an answer.
async fn in_the_end(
    node: &Node,
    question: &Question,
) -> Result<Result<docket_proto::v1::Order, String>, Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = question.put(node).await {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(Error::Shape(format!("stays without an answer: {question:?}")));
        }
        sleep(RETRY).await;
    }
}

/// Waits until no order of a server has anything left to be done by its items: what came back to the stock is put there behind the answer. What does not settle
/// shows in its books.
///
/// # Errors
/// It does not answer.
pub(super) async fn quiet(target: &Target) -> Result<(), Error> {
    let end = Instant::now() + GIVEN_BACK;
    let mut service = NodeServiceClient::new(target.connect().await?);
    while Instant::now() < end {
        let asked = patiently(async || {
            service
                .get_node_status(target.call(GetNodeStatusRequest {}))
                .await
        });
        match asked.await {
            Ok(status) if status.entities.is_some_and(|entities| entities.open_orders > 0) => {
                sleep(RETRY).await;
            }
            Ok(_) => break,
            // Of who does not tell nothing is waited for.
            Err(status) if status.code() == Code::Unimplemented => break,
            Err(status) => return Err(Error::refused("cannot see a node")(status)),
        }
    }
    Ok(())
}
