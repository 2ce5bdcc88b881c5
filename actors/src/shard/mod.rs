//! A shard on the node that leads it: its committed state, its running actors and their supervisor, its proposer.
//!
//! Here is what it consists of and what can be asked of it. Who leads it is in `leadership`, what its actors are told in
//! `telling`, what they hand to the log in `submitting`, and the shards beside it in `router`.

mod leadership;
mod refused;
mod router;
mod submitting;
mod telling;

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;
use docket_cluster::{
    Group, ShardId,
    faults::{self, Fault},
};
use docket_engine::{Broken, FraudRules, OrderId, Quantity, Rejection, Request, Sku, Time};
use parking_lot::Mutex;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, watch};

use crate::{
    committed::Committed,
    docket::BeforeDecision,
    entity::{customer::CustomerEntity, item::ItemEntity, order::OrderEntity},
    host::Entity,
    proposer::{SettledCounters, Submission},
    remembered::Target,
    reply::Reply,
    residents::Residents,
    setbacks::Setbacks,
    steering::InForce,
};

pub(crate) use leadership::{Era, Life};
pub(crate) use refused::{LastAsked, Refused, Watched};
pub(crate) use router::Router;

/// How many actors of each kind one shard runs before it passivates some, and when they count as idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorLimits {
    /// Actors of one kind in one shard. Above it the idle ones are passivated at once. Default 4,096.
    pub active_max: usize,
    /// Seconds without a message after which an actor is passivated. Default 60.
    pub idle_s: u32,
}

impl Default for ActorLimits {
    fn default() -> Self {
        Self {
            active_max: 4_096,
            idle_s: 60,
        }
    }
}

/// A shard.
pub(crate) struct Shard {
    id: ShardId,
    committed: Arc<Committed>,
    group: Group,
    queue: mpsc::UnboundedSender<Box<Submission>>,
    orders: Residents<OrderEntity>,
    customers: Residents<CustomerEntity>,
    items: Residents<ItemEntity>,
    supervisor: ActorCell,
    before_decision: Option<BeforeDecision>,
    /// What makes an order suspect; `None` where nothing does.
    fraud: Arc<ArcSwapOption<FraudRules>>,
    /// What is switched off, and for whom.
    flags: InForce,
    router: OnceLock<Weak<Router>>,
    leading: watch::Sender<bool>,
    /// The same: it is asked for every message, and to look into a watch is to take a lock.
    leads: AtomicBool,
    era: Mutex<Era>,
    setbacks: Setbacks,
    /// The next life of an actor.
    decider: AtomicU32,
    /// Reservations of orders that never came to be may exist.
    reconcile: AtomicBool,
    /// Reservations that are about to be released, unless an order asks for them meanwhile.
    watched: Watched,
    /// What items refused lately, where orders of other nodes ask them.
    refused: Option<Refused>,
    /// What edited orders asked items last, where orders of other nodes ask items of this shard.
    last_asked: Option<LastAsked>,
    /// The newest time that was given out, in microseconds: time does not go back within a shard.
    clock: AtomicI64,
    started: Instant,
    uptime_s: AtomicU32,
    settled: SettledCounters,
}

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) id: ShardId,
    pub(crate) committed: Arc<Committed>,
    pub(crate) group: Group,
    pub(crate) queue: mpsc::UnboundedSender<Box<Submission>>,
    pub(crate) supervisor: ActorCell,
    pub(crate) limits: ActorLimits,
    pub(crate) before_decision: Option<BeforeDecision>,
    pub(crate) fraud: Arc<ArcSwapOption<FraudRules>>,
    pub(crate) flags: InForce,
    /// A random number, so that the lives of this process are not those of the one before.
    pub(crate) decider: u32,
    /// Whether the node has peers.
    pub(crate) among_peers: bool,
}

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> Arc<Self> {
        let active_max = parts.limits.active_max;
        Arc::new(Self {
            id: parts.id,
            committed: parts.committed,
            group: parts.group,
            queue: parts.queue,
            orders: Residents::new(active_max),
            customers: Residents::new(active_max),
            items: Residents::new(active_max),
            supervisor: parts.supervisor,
            before_decision: parts.before_decision,
            fraud: parts.fraud,
            flags: parts.flags,
            router: OnceLock::new(),
            leading: watch::Sender::new(false),
            leads: AtomicBool::new(false),
            era: Mutex::default(),
            setbacks: Setbacks::default(),
            decider: AtomicU32::new(parts.decider),
            reconcile: AtomicBool::new(true),
            watched: Watched::default(),
            refused: parts.among_peers.then(Refused::default),
            last_asked: parts.among_peers.then(LastAsked::default),
            clock: AtomicI64::new(0),
            started: Instant::now(),
            uptime_s: AtomicU32::new(0),
            settled: SettledCounters::default(),
        })
    }

    /// Lets a test interfere.
    pub(crate) fn before_decision(&self, kind: &str, key: &dyn std::fmt::Display) {
        let panics = kind == ItemEntity::KIND && faults::is(Fault::ItemsPanic);
        assert!(!panics, "a test made the {kind} {key} panic");
        if let Some(before) = &self.before_decision {
            (before.0)(kind, &key.to_string());
        }
    }

    pub(crate) fn set_router(&self, router: &Arc<Router>) {
        // Set once, when the node opens.
        let _ = self.router.set(Arc::downgrade(router));
    }

    /// All shards of the node, as long as it is open.
    pub(crate) fn router(&self) -> Option<&Weak<Router>> {
        self.router.get()
    }

    /// What makes an order suspect.
    pub(crate) fn fraud(&self) -> Option<Arc<FraudRules>> {
        self.fraud.load_full()
    }

    /// The flags that this node goes by.
    pub(crate) fn flags(&self) -> &InForce {
        &self.flags
    }

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    pub(crate) fn committed(&self) -> &Arc<Committed> {
        &self.committed
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    pub(crate) fn orders(&self) -> &Residents<OrderEntity> {
        &self.orders
    }

    pub(crate) fn customers(&self) -> &Residents<CustomerEntity> {
        &self.customers
    }

    pub(crate) fn items(&self) -> &Residents<ItemEntity> {
        &self.items
    }

    /// Stops the shard's actors: its supervisor takes them along. What has no actor yet is nobody's child.
    pub(crate) fn close(&self) {
        self.set_leading(false);
        self.orders.discard_unhosted();
        self.supervisor.stop(None);
    }

    /// Whole seconds since the shard was opened, as they were counted last: a look at a clock for each message costs more than it is
    /// worth.
    pub(crate) fn uptime_s(&self) -> u32 {
        self.uptime_s.load(Ordering::Relaxed)
    }

    /// Counts them, once a second.
    pub(crate) fn count_uptime(&self) -> u32 {
        let uptime_s = self.started.elapsed().as_secs() as u32;
        self.uptime_s.store(uptime_s, Ordering::Relaxed);
        uptime_s
    }

    /// The time, never before one that was given out earlier, on whatever shard of this node, or is in the log.
    pub(crate) fn now(&self) -> Time {
        let now = self.committed.clock().now_us();
        // Behind what is in the log also where that was stamped by a clock that is not followed.
        let now = now.max(self.committed.last_time().0);
        Time(self.clock.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// What a request that was done before is answered.
    pub(crate) fn stored_reply(&self, request: Request) -> Option<Reply> {
        let stored = self.committed.requests.get(request.key)?;
        if stored.fingerprint != request.fingerprint {
            return Some(Reply::Rejected(Rejection::RequestIdReused));
        }
        Some(match stored.target {
            Target::Order(id) => Reply::Elsewhere(id),
            Target::Customer(customer) => Reply::Customer(customer),
            Target::Item(item) => Reply::Item(item),
        })
    }

    /// How much of an order's reservation of an item waits, as it is committed; `None` where none is, as far as is known here.
    pub(crate) fn has_reserved(&self, order: OrderId, sku: &Sku) -> Option<Quantity> {
        let router = self.router.get().and_then(Weak::upgrade)?;
        router.of_key(sku.as_str()).holds_reservation(order, sku)
    }

    /// How much of what an order has reserved of an item of this shard waits; `None` where it has reserved nothing.
    pub(crate) fn holds_reservation(&self, order: OrderId, sku: &Sku) -> Option<Quantity> {
        // In this order: the item says what waits as soon as its reservation is seen.
        self.committed.reservations.get(sku, order)?;
        let item = self.committed.items.get(sku)?;
        Some(item.waiting_of(order))
    }

    /// Actors with an identity.
    pub(crate) fn active(&self) -> usize {
        self.orders.active() + self.customers.active() + self.items.active()
    }

    /// An invariant is broken: ends the actor that saw it. It is rebuilt from committed state.
    #[expect(
        clippy::panic,
        reason = "a broken invariant must not be carried on; the supervisor takes it from here"
    )]
    pub(crate) fn broken(&self, broken: &Broken) -> ! {
        panic!("{broken}")
    }

    /// Reservations that are about to be released.
    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// What edited orders asked items last; `None` on a node that stands alone.
    pub(crate) fn last_asked(&self) -> Option<&LastAsked> {
        self.last_asked.as_ref()
    }

    /// What items refused lately; `None` on a node that stands alone.
    pub(crate) fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Orders that were settled here, by outcome.
    pub(crate) fn settled(&self) -> &SettledCounters {
        &self.settled
    }

    /// Orders that could not go on.
    pub(crate) fn setbacks(&self) -> &Setbacks {
        &self.setbacks
    }
}

/// Supervises a shard's actors: one that fails is reported, and the next message to its entity starts another from
/// committed state. Its neighbours go on.
pub(crate) struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = ShardId;
    type Arguments = ShardId;

    async fn pre_start(&self, _myself: ActorRef<()>, shard: ShardId) -> Result<ShardId, ActorProcessingErr> {
        Ok(shard)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        shard: &mut ShardId,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(actor, error) = event {
            tracing::error!(%shard, actor = %actor.get_id(), %error, "an actor failed");
        }
        Ok(())
    }
}

/// The kind of an entity, for labels.
pub(crate) fn kind<E: Entity>() -> &'static str {
    E::KIND
}

#[cfg(test)]
mod tests;
