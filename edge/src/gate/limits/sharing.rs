//! What callers take at one node counts at all of them.
//!
//! ```text
//!   this node    take, take, take ─┐ every 100 ms                              ┌─▶ heard? else the same again
//!                                  └─▶ Consumption { run, number, who, how many } ──▶ the other nodes: charge, once
//! ```
//!
//! No call waits for any of that, so that a caller who spreads its calls gets more than its limit before the nodes have heard of one
//! another, and owes that from then on. With a bucket of `burst` that fills with `rate`, among `n` nodes that hear of one another within
//! `d` (a turn of [`TELL_EVERY`] and the way), a caller gets in any time `t` from a full bucket at most
//!
//! ```text
//!   burst + rate × t  +  (n − 1) × (burst + rate × d)
//! ```
//!
//! since a node lets in what its own bucket has, and each of the others can have let in a whole bucket of which it has not heard. That
//! excess comes once: buckets go into debt over it, so that on the average a caller gets its rate. Of more than
//! [`CONSUMERS_MAX`](docket_proto::peer_call::CONSUMERS_MAX) callers in one turn those are told of who took most, and the others in later
//! ones.
//!
//! A node that is not heard for [`SILENT`] does not count. Most of the nodes are as good as all: callers get their whole limits there. Where
//! only some can be heard, callers get that part of their limits: `k` of `n` nodes that are cut off from the rest give `k / n`. So all
//! together give at most `1 + k / n` times the rate while a cluster is in two parts, however the calls come.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use docket_actors::{Docket, Told};
use docket_proto::peer_call::{CONSUMERS_MAX, Consumption, Taken};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use governor::clock::{Clock, DefaultClock};
use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Limits, principals::TOLD_AFTER_NS};

/// How often the other nodes are told.
pub(crate) const TELL_EVERY: Duration = Duration::from_nanos(TOLD_AFTER_NS);
/// A node is told that this one is there at least this often.
const TELL_IDLE_EVERY: Duration = Duration::from_millis(400);
/// A node that has not answered for so long is not heard.
pub(crate) const SILENT: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Messages that one node has not heard. What is older has been filled up again where a bucket is not large; its sender counts as cut off.
const UNHEARD_MAX: usize = 16;

const _: () = assert!(TELL_IDLE_EVERY.as_nanos() + ANSWER_MAX.as_nanos() < SILENT.as_nanos());

/// The messages of other nodes that were counted: of each the newest run, and the last of it.
#[derive(Default)]
pub(super) struct Heard(Mutex<HashMap<u64, (u64, u64)>>);

impl Heard {
    /// Whether a message of a node is new. There are as many of these as nodes.
    fn is_new(&self, from: u64, told: &Consumption) -> bool {
        let mut heard = self.0.lock();
        let last = heard.entry(from).or_insert((told.run, 0));
        if last.0 != told.run {
            *last = (told.run, 0);
        }
        let is_new = told.number > last.1;
        if is_new {
            last.1 = told.number;
        }
        is_new
    }
}

impl<C: Clock + Clone> Limits<C> {
    /// Takes what callers have taken at another node, unless that was done.
    pub(crate) fn charge(&self, from: u64, told: &Consumption) {
        if self.heard.is_new(from, told) {
            told.taken.iter().for_each(|taken| self.principals.charge(taken));
        }
    }
}

/// Tells the other nodes what callers take here.
pub(crate) struct Sharing {
    docket: Docket,
    limits: Arc<Limits>,
    outbox: Outbox,
    part: Gauge,
    told: Counter,
    forgotten: Counter,
    late: Counter,
}

/// What is to be told to whom. It knows no clock and no network.
pub(super) struct Outbox<C: Clock = DefaultClock> {
    limits: Arc<Limits<C>>,
    run: u64,
    number: u64,
    peers: HashMap<u64, Peer>,
    /// Messages that were given up, and callers of whom it is told later.
    pub(super) forgotten: u64,
    pub(super) late: u64,
}

struct Peer {
    /// The oldest first.
    unheard: VecDeque<Bytes>,
    heard: Instant,
    /// When it was told last.
    told: Option<Instant>,
    /// Its answer is waited for.
    is_asked: bool,
    /// Its program is told nothing.
    is_older: bool,
}

impl<C: Clock + Clone> Outbox<C> {
    /// `run` is another with every start.
    pub(super) fn new(limits: Arc<Limits<C>>, run: u64) -> Self {
        Self {
            limits,
            run,
            number: 0,
            peers: HashMap::new(),
            forgotten: 0,
            late: 0,
        }
    }

    /// Gathers what was taken, and says whom to tell what. `peers` are all other nodes, and whether each is told anything.
    pub(super) fn turn(&mut self, peers: &[(u64, bool)], now: Instant) -> Vec<(u64, Bytes)> {
        self.peers
            .retain(|node, _| peers.iter().any(|(peer, _)| peer == node));
        for (node, hears) in peers {
            let peer = self.peers.entry(*node).or_insert_with(|| Peer {
                unheard: VecDeque::new(),
                // Whoever is new is given the time to be heard.
                heard: now,
                told: None,
                is_asked: false,
                is_older: false,
            });
            peer.is_older = !hears;
        }
        self.limits.principals.set_tells(!peers.is_empty());
        let (taken, late) = self.limits.principals.untold(CONSUMERS_MAX);
        self.late += late as u64;
        if !taken.is_empty() {
            let told = self.message(taken);
            for peer in self.peers.values_mut().filter(|peer| !peer.is_older) {
                if peer.unheard.len() >= UNHEARD_MAX {
                    peer.unheard.pop_front();
                    self.forgotten += 1;
                }
                peer.unheard.push_back(told.clone());
            }
        }
        let idle = |peer: &Peer| {
            peer.told
                .is_none_or(|told| now.duration_since(told) >= TELL_IDLE_EVERY)
        };
        let is_idle = |peer: &Peer| !peer.is_older && !peer.is_asked && peer.unheard.is_empty() && idle(peer);
        if self.peers.values().any(is_idle) {
            let told = self.message(Vec::new());
            for peer in self.peers.values_mut().filter(|peer| is_idle(peer)) {
                peer.unheard.push_back(told.clone());
            }
        }
        let mut due = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.is_asked || peer.is_older {
                continue;
            }
            if let Some(told) = peer.unheard.front() {
                due.push((*node, told.clone()));
                peer.is_asked = true;
                peer.told = Some(now);
            }
        }
        self.count(now);
        due
    }

    /// What came of telling a node.
    pub(super) fn heard(&mut self, node: u64, told: Told, now: Instant) -> Option<Bytes> {
        let peer = self.peers.get_mut(&node)?;
        peer.is_asked = false;
        match told {
            Told::Heard => {
                peer.unheard.pop_front();
                peer.heard = now;
                // What came meanwhile need not wait for the next turn.
                let next = peer.unheard.front().cloned()?;
                peer.is_asked = true;
                peer.told = Some(now);
                Some(next)
            }
            // It is there, and starts.
            Told::Declined => {
                peer.heard = now;
                None
            }
            Told::Unknown => None,
        }
    }

    fn message(&mut self, taken: Vec<Taken>) -> Bytes {
        self.number += 1;
        Consumption {
            run: self.run,
            number: self.number,
            taken,
        }
        .encode()
    }

    /// How many nodes are heard. Those with an older program tell nothing, and are no reason to hold callers shorter.
    fn count(&self, now: Instant) {
        let is_heard = |peer: &&Peer| peer.is_older || now.duration_since(peer.heard) < SILENT;
        let heard = self.peers.values().filter(is_heard).count();
        let count = |peers: usize| u32::try_from(peers + 1).unwrap_or(u32::MAX);
        self.limits
            .principals
            .set_heard(count(heard), count(self.peers.len()));
    }
}

/// A node that is told, and what came of it.
type Telling = BoxFuture<'static, (u64, Told)>;

impl Sharing {
    /// Of a node's limits. What other nodes tell is heard from now on.
    pub(crate) fn new(docket: Docket, limits: Arc<Limits>, run: u64) -> Self {
        let hearing = Arc::clone(&limits);
        docket.hear_consumption(Arc::new(move |from, told| hearing.charge(from, &told)));
        Self {
            outbox: Outbox::new(Arc::clone(&limits), run),
            docket,
            limits,
            part: gauge!("docket_limit_share"),
            told: counter!("docket_limit_messages_total"),
            forgotten: counter!("docket_limit_messages_dropped_total"),
            late: counter!("docket_limit_callers_told_late_total"),
        }
    }

    /// Tells until `over`.
    pub(crate) async fn run(mut self, over: CancellationToken) {
        self.part.set(1.0);
        if !self.docket.has_peers() {
            return;
        }
        let mut turns = interval(TELL_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut telling = FuturesUnordered::<Telling>::new();
        let mut part = (1, 1);
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                _ = turns.tick() => {
                    let peers = self.docket.consumption_peers();
                    for (node, told) in self.outbox.turn(&peers, Instant::now()) {
                        telling.push(self.tell(node, told));
                    }
                    self.forgotten.absolute(self.outbox.forgotten);
                    self.late.absolute(self.outbox.late);
                    let now = self.limits.principals.part();
                    if now != part {
                        self.show(part, now);
                        part = now;
                    }
                }
                Some((node, told)) = telling.next() => {
                    if let Some(next) = self.outbox.heard(node, told, Instant::now()) {
                        telling.push(self.tell(node, next));
                    }
                }
            }
        }
    }

    fn tell(&self, node: u64, told: Bytes) -> Telling {
        self.told.increment(1);
        let docket = self.docket.clone();
        Box::pin(async move {
            let deadline = Instant::now() + ANSWER_MAX;
            (node, docket.tell_consumption(node, told, deadline).await)
        })
    }

    fn show(&self, before: (u32, u32), (heard, all): (u32, u32)) {
        self.part.set(f64::from(heard) / f64::from(all.max(1)));
        if heard < all {
            tracing::warn!(
                heard,
                all,
                "most nodes are not heard: callers get a part of their limits here"
            );
        } else if before.0 < before.1 {
            tracing::info!("most nodes are heard again: callers get their whole limits here");
        }
    }
}
