//! The ractor actor around an entity.
//!
//! A host has an identity only while it is needed: [`HostMessage::Assume`] gives it one with its first message, which loads
//! the entity from committed state ([`HostMessage::TakeOver`] brings it along), and when the entity is done or has been idle, the host gives it up and is parked for the next
//! (starting an actor costs ten times what re-using one does). A panic ends the host: its supervisor reports it, its
//! waiting messages say to their callers that they are gone, and the next message to the entity finds a new host with
//! the committed state.

use std::{
    hash::Hash,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{residents::Residents, shard::Shard};

/// The kind that [`BeforeDecision`](crate::BeforeDecision) is told before an entity is loaded.
const LOADING: &str = "load";

/// What an actor decides for. All of it is synchronous: an entity never waits, it is told.
pub(crate) trait Entity: Sized + Send + 'static {
    /// Its name.
    type Key: Clone + Eq + Hash + std::fmt::Display + Send + Sync + 'static;
    /// What it is told.
    type Message: Send + 'static;
    /// For logs and metrics: `order`, `customer` or `item`.
    const KIND: &'static str;
    /// Whether most of them begin without a host.
    const BEGINS_UNHOSTED: bool = false;

    /// The entity from committed state.
    fn load(shard: &Arc<Shard>, key: Self::Key) -> Self;
    /// Does what a message says.
    fn handle(&mut self, shard: &Arc<Shard>, message: Box<Self::Message>);
    /// Tells those who wait that the entity's actor has panicked. (The message that made it panic tells its own sender.)
    fn panicked(&mut self, _shard: &Arc<Shard>) {}
    /// True when nothing would be lost by forgetting the entity now.
    fn is_idle(&self, shard: &Arc<Shard>) -> bool;
    /// True when it will most likely not be needed again.
    fn is_done(&self) -> bool;
    /// Where the shard keeps the hosts of this kind.
    fn residents(shard: &Shard) -> &Residents<Self>;
}

/// What a host is told. (Messages are boxed: each is moved a dozen times on its way.)
pub(crate) enum HostMessage<E: Entity> {
    /// Become this entity, and tell it.
    Assume(E::Key, Box<E::Message>),
    /// Take over this entity, which has begun without a host, and tell it.
    TakeOver(E::Key, Box<E>, Box<E::Message>),
    /// Tell the entity.
    Deliver(Box<E::Message>),
    /// Give the identity up, if nothing needs it.
    Passivate,
}

impl<E: Entity> HostMessage<E> {
    /// What the entity is told.
    pub(crate) fn message(self) -> Option<Box<E::Message>> {
        match self {
            Self::Assume(_, message) | Self::TakeOver(_, _, message) | Self::Deliver(message) => {
                Some(message)
            }
            Self::Passivate => None,
        }
    }
}

/// The actor.
pub(crate) struct Host<E>(PhantomData<fn() -> E>);

impl<E> Host<E> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// What a host knows.
pub(crate) struct HostState<E: Entity> {
    shard: Arc<Shard>,
    /// How many messages have been taken since the identity was assumed: while more were sent it is kept.
    handled: u32,
    /// Loaded with the first message, so that a panic of loading is that message's.
    current: Option<(E::Key, Option<Box<E>>)>,
}

impl<E: Entity> Actor for Host<E> {
    type Msg = HostMessage<E>;
    type State = HostState<E>;
    type Arguments = Arc<Shard>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        shard: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(HostState {
            shard,
            handled: 0,
            current: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            HostMessage::Assume(key, message) => {
                (state.handled, state.current) = (0, Some((key, None)));
                return state.deliver(&myself, message);
            }
            HostMessage::TakeOver(key, entity, message) => {
                (state.handled, state.current) = (0, Some((key, Some(entity))));
                return state.deliver(&myself, message);
            }
            HostMessage::Deliver(message) => return state.deliver(&myself, message),
            HostMessage::Passivate => state.passivate(&myself),
        }
        Ok(())
    }
}

impl<E: Entity> HostState<E> {
    fn deliver(
        &mut self,
        myself: &ActorRef<HostMessage<E>>,
        message: Box<E::Message>,
    ) -> Result<(), ActorProcessingErr> {
        self.handled = self.handled.wrapping_add(1);
        let Some((key, entity)) = &mut self.current else {
            // Cannot be: an identity is only given up when no message is on its way. Dropping it tells the caller.
            return Ok(());
        };
        let shard = &self.shard;
        let handled = catch_unwind(AssertUnwindSafe(|| {
            let entity = match entity {
                Some(entity) => entity,
                None => {
                    shard.before_decision(LOADING, key);
                    entity.insert(Box::new(E::load(shard, key.clone())))
                }
            };
            shard.before_decision(E::KIND, key);
            entity.handle(shard, message);
            entity.is_done()
        }));
        match handled {
            Ok(true) => self.passivate(myself),
            Ok(false) => {}
            Err(panic) => {
                let key = key.clone();
                // Out of the registry first: whoever is told may send again at once.
                E::residents(shard).forget(&key, myself.get_id());
                if let Some(entity) = entity {
                    entity.panicked(shard);
                }
                report::<E>(shard, &key);
                // An error, not the panic again: the messages that wait behind this one are not to blame.
                return Err(panic_text(panic.as_ref()).into());
            }
        }
        Ok(())
    }

    fn passivate(&mut self, myself: &ActorRef<HostMessage<E>>) {
        let residents = E::residents(&self.shard);
        let Some((key, entity)) = &self.current else {
            return;
        };
        let is_idle = entity.as_ref().is_none_or(|entity| entity.is_idle(&self.shard));
        if !is_idle || !residents.release(key, myself.get_id(), self.handled) {
            return;
        }
        self.current = None;
        if !residents.park(myself.clone()) {
            myself.stop(None);
        }
    }
}

/// Has an entity begin that has no host yet, as its host would: a panic of it is reported, and is not the caller's task's. Who waits for
/// what panicked is told when that is dropped.
pub(crate) fn guarded<E: Entity, T>(
    shard: &Arc<Shard>,
    key: &E::Key,
    begin: impl FnOnce() -> Option<T>,
) -> Option<T> {
    let began = catch_unwind(AssertUnwindSafe(|| {
        shard.before_decision(LOADING, key);
        shard.before_decision(E::KIND, key);
        begin()
    }));
    began.unwrap_or_else(|_| {
        report::<E>(shard, key);
        None
    })
}

/// Says that an entity has panicked, and that what it left half-way is to be looked for.
fn report<E: Entity>(shard: &Arc<Shard>, key: &E::Key) {
    metrics::counter!("docket_actor_panics_total", "kind" => E::KIND).increment(1);
    tracing::error!(kind = E::KIND, %key, shard = %shard.id(), "an actor panicked; it is rebuilt from committed state");
    shard.needs_reconciling();
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without a message".to_owned())
}
