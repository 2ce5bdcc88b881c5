//! A shard on the node that leads it: its committed state, its running actors and their supervisor, its proposer.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use docket_cluster::{Group, Leadership, Ring, ShardId, Slot, slot_of};
use docket_engine::{
    Broken, CustomerId, Decider, EntityId, Line, Order, OrderId, OrderState, Record, Rejection, Request, Sku,
    Time, Unchanged, Version,
};
use parking_lot::Mutex;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, watch};

use crate::{
    committed::Committed,
    docket::BeforeDecision,
    entity::{
        customer::{CustomerEntity, CustomerMessage},
        item::{ItemEntity, ItemMessage},
        order::{OrderEntity, OrderMessage},
    },
    host::Entity,
    proposer::{After, Submission},
    remembered::Target,
    reply::{Ask, Caller, Failure, Reply, Step, StepError},
    residents::Residents,
    setbacks::Setbacks,
};

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
    queue: mpsc::UnboundedSender<Submission>,
    orders: Residents<OrderEntity>,
    customers: Residents<CustomerEntity>,
    items: Residents<ItemEntity>,
    supervisor: ActorCell,
    before_decision: Option<BeforeDecision>,
    router: OnceLock<Weak<Router>>,
    leading: watch::Sender<bool>,
    era: Mutex<Era>,
    setbacks: Setbacks,
    /// The next life of an actor.
    decider: AtomicU32,
    /// Reservations of orders that never came to be may exist.
    reconcile: AtomicBool,
    /// The newest time that was given out, in microseconds: time does not go back within a shard.
    clock: AtomicI64,
    started: Instant,
}

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) id: ShardId,
    pub(crate) committed: Arc<Committed>,
    pub(crate) group: Group,
    pub(crate) queue: mpsc::UnboundedSender<Submission>,
    pub(crate) supervisor: ActorCell,
    pub(crate) limits: ActorLimits,
    pub(crate) before_decision: Option<BeforeDecision>,
    /// A random number, so that the lives of this process are not those of the one before.
    pub(crate) decider: u32,
}

/// One leadership of the shard, up to the first time that the log did not take something: what actors of another era
/// believe is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Era {
    number: u64,
    pub(crate) term: u64,
}

/// All shards of the node.
pub(crate) struct Router {
    pub(crate) ring: Ring,
    pub(crate) shards: Vec<Arc<Shard>>,
}

impl Router {
    pub(crate) fn of_key(&self, key: &str) -> &Arc<Shard> {
        self.of_slot(slot_of(key.as_bytes()))
    }

    pub(crate) fn of_slot(&self, slot: Slot) -> &Arc<Shard> {
        &self.shards[usize::from(self.ring.shard_of(slot).number())]
    }

    /// An order as whoever asks is told of it: one that is pending, and of which every reservation is committed, is
    /// confirmed, though the event that says so may still be on its way ([`Order::confirmed`]).
    pub(crate) fn confirmed(&self, order: Arc<Order>) -> Arc<Order> {
        let reserved = |line: &Line| {
            let shard = self.of_key(line.sku.as_str());
            shard.holds_reservation(order.id, &line.sku)
        };
        if order.state != OrderState::Pending {
            return order;
        }
        if order.lines.iter().all(reserved) {
            return Arc::new(order.confirmed());
        }
        // It may have come further between the two looks: then what it is now says all.
        let home = self.of_order(order.id);
        let now = home.and_then(|shard| shard.committed.orders.get(&order.id).map(|now| now.clone()));
        now.unwrap_or(order)
    }

    /// Whether an order of a shard that is led here is half-way.
    pub(crate) fn has_open(&self) -> bool {
        let open =
            |shard: &Arc<Shard>| shard.is_leading() && shard.committed.order_index.read().open_len() > 0;
        self.shards.iter().any(open)
    }

    /// The shard of an order: its id carries its customer's slot.
    pub(crate) fn of_order(&self, id: OrderId) -> Option<&Arc<Shard>> {
        Some(self.of_slot(Slot::new(id.slot())?))
    }
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
            router: OnceLock::new(),
            leading: watch::Sender::new(false),
            era: Mutex::default(),
            setbacks: Setbacks::default(),
            decider: AtomicU32::new(parts.decider),
            reconcile: AtomicBool::new(true),
            clock: AtomicI64::new(0),
            started: Instant::now(),
        })
    }

    /// Lets a test interfere.
    pub(crate) fn before_decision(&self, kind: &str, key: &dyn std::fmt::Display) {
        if let Some(before) = &self.before_decision {
            (before.0)(kind, &key.to_string());
        }
    }

    pub(crate) fn set_router(&self, router: &Arc<Router>) {
        // Set once, when the node opens.
        let _ = self.router.set(Arc::downgrade(router));
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

    pub(crate) fn is_leading(&self) -> bool {
        *self.leading.borrow()
    }

    /// Waits until the shard is led here.
    pub(crate) async fn led(&self) {
        // The sender lives in the shard itself.
        let _ = self.leading.subscribe().wait_for(|leads| *leads).await;
    }

    /// Stops the shard's actors: its supervisor takes them along.
    pub(crate) fn close(&self) {
        self.leading.send_replace(false);
        self.supervisor.stop(None);
    }

    /// Whole seconds since the shard was opened.
    pub(crate) fn uptime_s(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// The time, never before one that was given out earlier or is in the log.
    pub(crate) fn now(&self) -> Time {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros() as i64;
        let wall = wall.max(self.committed.last_time().0);
        Time(self.clock.fetch_max(wall, Ordering::Relaxed).max(wall))
    }

    /// What an actor knows of itself when it begins to live.
    pub(crate) fn begin_life(&self) -> Life {
        Life {
            era: self.era(),
            decider: Decider(self.decider.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub(crate) fn era(&self) -> Era {
        *self.era.lock()
    }

    /// Puts a record into the log's queue, decided in this life.
    pub(crate) fn submit(&self, life: Life, record: Record, after: After) {
        // The proposer only ends with the node; then dropping what was submitted tells whoever waits for it.
        let _ = self.queue.send(Submission {
            life,
            record: Some(record),
            after,
        });
    }

    /// Answers a request that leaves its entity as it is, and has it remembered where it has an id.
    pub(crate) fn answer_unchanged(
        &self,
        life: Life,
        (entity, version): (EntityId, Version),
        request: Option<Request>,
        caller: Caller,
        reply: Reply,
    ) {
        if request.is_none() {
            return self.answer(life, caller, reply);
        }
        let record = Record {
            time: self.now(),
            events: Vec::new(),
            request,
            unchanged: Some(Unchanged {
                entity,
                version,
                decider: life.decider,
            }),
        };
        let after = After::Answer {
            callers: vec![caller],
            reply,
            settled: None,
        };
        self.submit(life, record, after);
    }

    /// Does something when all that was submitted before is committed.
    pub(crate) fn barrier(&self, life: Life, after: After) {
        let _ = self.queue.send(Submission {
            life,
            record: None,
            after,
        });
    }

    /// Answers a caller when all that the answer may depend on is committed.
    pub(crate) fn answer(&self, life: Life, caller: Caller, reply: Reply) {
        self.barrier(
            life,
            After::Answer {
                callers: vec![caller],
                reply,
                settled: None,
            },
        );
    }

    /// Lets a caller try again when all that was submitted before is committed.
    pub(crate) fn retry_behind_barrier(&self, life: Life, caller: Caller) {
        self.barrier(life, After::Retry { caller });
    }

    /// What a request that was done before is answered.
    pub(crate) fn stored_reply(&self, request: Request) -> Option<Reply> {
        let stored = self.committed.requests.get(&request.key)?;
        if stored.fingerprint != request.fingerprint {
            return Some(Reply::Rejected(Rejection::RequestIdReused));
        }
        Some(match &stored.target {
            Target::Order(id) => Reply::Elsewhere(*id),
            Target::Customer(customer) => Reply::Customer(customer.clone()),
            Target::Item(item) => Reply::Item(item.clone()),
        })
    }

    /// Tells an order of this shard. Where the shard is not led here the message is dropped, which tells its caller.
    pub(crate) fn tell_order(self: &Arc<Self>, id: OrderId, message: OrderMessage) {
        if self.is_leading() {
            self.orders.send(self, &self.supervisor, &id, message);
        }
    }

    /// Answers an order. Only the life that asked knows what to make of it: where that is gone no other is started for it.
    pub(crate) fn answer_order(&self, id: OrderId, message: OrderMessage) {
        if self.is_leading() {
            self.orders.send_to_running(self, &id, message);
        }
    }

    /// Reminds an order of a question after a while.
    pub(crate) fn tell_order_later(
        self: &Arc<Self>,
        id: OrderId,
        decider: Decider,
        step: Step,
        after: Duration,
    ) {
        let shard = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            shard.answer_order(id, OrderMessage::Again { decider, step });
        });
    }

    /// Tells a customer of this shard.
    pub(crate) fn tell_customer(self: &Arc<Self>, id: &CustomerId, message: CustomerMessage) {
        if self.is_leading() {
            self.customers.send(self, &self.supervisor, id, message);
        }
    }

    /// Tells an item, wherever it is.
    pub(crate) fn tell_item(&self, sku: Sku, message: ItemMessage) {
        let Some(router) = self.router.get().and_then(Weak::upgrade) else {
            return;
        };
        let shard = router.of_key(sku.as_str());
        if shard.is_leading() {
            shard.items.send(shard, &shard.supervisor, &sku, message);
        } else if let ItemMessage::Ask { ask, .. } = message {
            ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
    }

    /// Answers an order when all that an item's actors have decided so far is committed. Where the item's shard is not led here nobody
    /// here knows what that is.
    pub(crate) fn answer_behind_item(&self, sku: &Sku, ask: Ask, result: Result<(), StepError>) {
        let Some(router) = self.router.get().and_then(Weak::upgrade) else {
            return;
        };
        let shard = router.of_key(sku.as_str());
        // Before it is asked who leads: what changes in between ends the life.
        let life = shard.begin_life();
        if shard.is_leading() {
            shard.barrier(life, After::Answered { ask, result });
        } else {
            ask.answer(Err(StepError::Failed(Failure::NotLeader)));
        }
    }

    /// Whether the order's reservation of an item is committed.
    pub(crate) fn has_reserved(&self, order: OrderId, sku: &Sku) -> bool {
        let router = self.router.get().and_then(Weak::upgrade);
        router.is_some_and(|router| router.of_key(sku.as_str()).holds_reservation(order, sku))
    }

    fn holds_reservation(&self, order: OrderId, sku: &Sku) -> bool {
        self.committed.reservations.contains_key(&(order, sku.clone()))
    }

    /// Notes that reservations without an order may have been left.
    pub(crate) fn needs_reconciling(&self) {
        match self.router.get().and_then(Weak::upgrade) {
            Some(router) => router
                .shards
                .iter()
                .for_each(|shard| shard.reconcile.store(true, Ordering::Release)),
            None => self.reconcile.store(true, Ordering::Release),
        }
    }

    pub(crate) fn take_needs_reconciling(&self) -> bool {
        self.reconcile.swap(false, Ordering::AcqRel)
    }

    /// Throws all actors away, what they believe may never be committed, and takes nothing from them any more.
    pub(crate) fn discard_all(&self, term: Option<u64>) {
        {
            let mut era = self.era.lock();
            *era = Era {
                number: era.number + 1,
                term: term.unwrap_or(era.term),
            };
        }
        self.orders.discard_all();
        self.customers.discard_all();
        self.items.discard_all();
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

    /// Follows who leads the shard: starts and throws away its actors accordingly.
    pub(crate) async fn follow_leadership(self: Arc<Self>) {
        let mut leadership = self.group.leadership();
        loop {
            let term = match *leadership.borrow_and_update() {
                Leadership::Leader { term } => Some(term),
                Leadership::Follower { .. } => None,
            };
            let leads = term.is_some();
            if leads && (!self.is_leading() || term != Some(self.era().term)) {
                // Before anybody is let in: whoever begins to live now lives in the new era.
                self.discard_all(term);
            }
            if self.leading.send_replace(leads) != leads {
                tracing::info!(shard = %self.id, leads, "leadership changed");
                if !leads {
                    self.discard_all(None);
                }
                if leads {
                    self.reconcile.store(true, Ordering::Release);
                    self.resume_open(usize::MAX);
                }
            }
            if leadership.changed().await.is_err() {
                self.leading.send_replace(false);
                return;
            }
        }
    }

    /// Orders that could not go on.
    pub(crate) fn setbacks(&self) -> &Setbacks {
        &self.setbacks
    }

    /// Takes up orders that are half-way and that no actor drives, unless they are to wait for a while.
    pub(crate) fn resume_open(self: &Arc<Self>, most: usize) {
        let open = self.committed.order_index.read().open().collect::<Vec<_>>();
        let now = Instant::now();
        let due = |id: &OrderId| !self.orders.contains(id) && !self.setbacks.holds_up(*id, now);
        for id in open.into_iter().filter(due).take(most) {
            self.tell_order(id, OrderMessage::Resume);
        }
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

/// One life of an actor: what it decides is only taken in its era, and not after something of it was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) era: Era,
    pub(crate) decider: Decider,
}

/// The kind of an entity, for labels.
pub(crate) fn kind<E: Entity>() -> &'static str {
    E::KIND
}

#[cfg(test)]
mod tests;
