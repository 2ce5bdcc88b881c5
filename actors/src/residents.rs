//! The registry of running actors of one kind in one shard: started on demand, passivated when idle or too many.
//!
//! A message is handed over while its entry is locked, and an identity is given up while it is locked for
//! writing and no message is on its way, so no message ever reaches a host that is somebody else by then.
//!
//! An entity that begins where hardly anybody can know its name yet (a new order) may be *settled in* as it is, without a host: its actor takes
//! it over with the first message that anybody sends it. A host is needed for as long as messages must queue, not before.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use ractor::{ActorCell, ActorId, ActorRef, MessagingErr};
use rapidhash::fast::RandomState;

use crate::{
    host::{Entity, Host, HostMessage},
    shard::Shard,
};

/// The most hosts without an identity that one kind in one shard keeps for re-use.
const PARKED_MAX: usize = 256;
/// How many residents are looked at to find one to passivate, and how many may go at once.
const EVICTION_SAMPLE: usize = 64;

enum Resident<E: Entity> {
    Hosted(Hosted<E>),
    /// It has got no message yet. (`None` while it is handed over, and where that cannot be, until it is forgotten.)
    Unhosted(Option<Box<E>>),
}

struct Hosted<E: Entity> {
    actor: ActorRef<HostMessage<E>>,
    /// How many messages it was sent since it has this identity. Its actor counts those that it has handled: no memory is shared.
    sent: AtomicU32,
    /// When it last got a message, in seconds of the shard's uptime.
    used: AtomicU32,
}

/// The running actors of one kind.
pub(crate) struct Residents<E: Entity> {
    map: DashMap<E::Key, Resident<E>, RandomState>,
    parked: Mutex<Vec<ActorRef<HostMessage<E>>>>,
    active: AtomicUsize,
    active_max: usize,
    started: AtomicU64,
    passivated: AtomicU64,
}

impl<E: Entity> Residents<E> {
    pub(crate) fn new(active_max: usize) -> Self {
        Self {
            map: DashMap::default(),
            parked: Mutex::default(),
            active: AtomicUsize::new(0),
            active_max,
            started: AtomicU64::new(0),
            passivated: AtomicU64::new(0),
        }
    }

    /// How many have an identity.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How often an identity was assumed and given up, since the last call.
    pub(crate) fn take_counts(&self) -> (u64, u64) {
        (
            self.started.swap(0, Ordering::Relaxed),
            self.passivated.swap(0, Ordering::Relaxed),
        )
    }

    /// Whether this entity is resident: an actor runs for it, or it has begun and waits for one.
    pub(crate) fn contains(&self, key: &E::Key) -> bool {
        self.map.contains_key(key)
    }

    /// Keeps an entity that nobody has a message for yet, without a host. Gives it back where one of its name is there.
    pub(crate) fn settle_in(&self, key: &E::Key, entity: Box<E>) -> Result<(), Box<E>> {
        match self.map.entry(key.clone()) {
            Entry::Occupied(_) => Err(entity),
            Entry::Vacant(vacant) => {
                vacant.insert(Resident::Unhosted(Some(entity)));
                Ok(())
            }
        }
    }

    /// Hands a message to the entity's actor, starting it where none runs. Where that cannot be (the node is stopping),
    /// the message is dropped, which tells its caller.
    pub(crate) fn send(
        &self,
        shard: &Arc<Shard>,
        supervisor: &ActorCell,
        key: &E::Key,
        message: Box<E::Message>,
    ) {
        let mut message = message;
        loop {
            match self.send_to_resident(shard, supervisor, key, message) {
                Ok(()) => return,
                Err(back) => message = back,
            }
            match self.map.entry(key.clone()) {
                // Somebody was faster: look again.
                Entry::Occupied(_) => {}
                Entry::Vacant(vacant) => {
                    let begin = HostMessage::Assume(key.clone(), message);
                    match self.host(shard, supervisor, begin) {
                        Ok(host) => {
                            vacant.insert(Resident::Hosted(host));
                            self.evict_if_many(shard);
                        }
                        Err(begin) => {
                            // What goes tells others, for which nothing may be locked.
                            drop(vacant);
                            drop(begin);
                        }
                    }
                    return;
                }
            }
        }
    }

    /// Hands a message to the entity's actor, where the entity is resident; drops it where it is not.
    pub(crate) fn send_to_running(
        &self,
        shard: &Arc<Shard>,
        supervisor: &ActorCell,
        key: &E::Key,
        message: Box<E::Message>,
    ) {
        // One whose actor has died forgets what it was told.
        let _ = self.send_to_resident(shard, supervisor, key, message);
    }

    /// Hands a message to a resident, and takes it back where there is none, or its actor has died: then it is forgotten.
    fn send_to_resident(
        &self,
        shard: &Arc<Shard>,
        supervisor: &ActorCell,
        key: &E::Key,
        message: Box<E::Message>,
    ) -> Result<(), Box<E::Message>> {
        if E::BEGINS_UNHOSTED {
            // To look for reading first would be to look twice.
            return self.take_over(shard, supervisor, key, message);
        }
        let Some(resident) = self.map.get(key) else {
            return Err(message);
        };
        let Resident::Hosted(host) = resident.value() else {
            drop(resident);
            return self.take_over(shard, supervisor, key, message);
        };
        let sent = host.deliver(shard.uptime_s(), message);
        drop(resident);
        self.or_forget(key, sent)
    }

    /// Forgets a host that has died, and gives back what it was sent.
    fn or_forget(
        &self,
        key: &E::Key,
        sent: Result<(), (ActorId, HostMessage<E>)>,
    ) -> Result<(), Box<E::Message>> {
        let Err((died, back)) = sent else { return Ok(()) };
        self.forget(key, died);
        back.message().map_or(Ok(()), Err)
    }

    /// The same, and has an actor take the entity over if it has none. Where none can be started the entity goes, and what waits for it is
    /// told.
    fn take_over(
        &self,
        shard: &Arc<Shard>,
        supervisor: &ActorCell,
        key: &E::Key,
        message: Box<E::Message>,
    ) -> Result<(), Box<E::Message>> {
        let Some(mut resident) = self.map.get_mut(key) else {
            return Err(message);
        };
        let entity = match resident.value_mut() {
            Resident::Hosted(host) => {
                let sent = host.deliver(shard.uptime_s(), message);
                drop(resident);
                return self.or_forget(key, sent);
            }
            Resident::Unhosted(entity) => entity.take(),
        };
        let Some(entity) = entity else {
            return Err(message);
        };
        match self.host(
            shard,
            supervisor,
            HostMessage::TakeOver(key.clone(), entity, message),
        ) {
            Ok(host) => {
                *resident = Resident::Hosted(host);
                drop(resident);
                self.evict_if_many(shard);
            }
            Err(back) => {
                drop(resident);
                self.discard_if_unhosted(key);
                drop(back);
            }
        }
        Ok(())
    }

    /// Behind an identity that was assumed.
    fn evict_if_many(&self, shard: &Shard) {
        if self.active() > self.active_max {
            self.evict(shard.count_uptime());
        }
    }

    /// Gives an identity to a parked host, or to a new one. Gives it back where a new one cannot be started, or does not even take its first
    /// message: both are so while the node stops.
    fn host(
        &self,
        shard: &Arc<Shard>,
        supervisor: &ActorCell,
        begin: HostMessage<E>,
    ) -> Result<Hosted<E>, HostMessage<E>> {
        // First: who begins may be done, and counted off, before this goes on.
        self.active.fetch_add(1, Ordering::Relaxed);
        let host = self.begin(shard, supervisor, begin);
        if host.is_ok() {
            self.started.fetch_add(1, Ordering::Relaxed);
        } else {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        host
    }

    fn begin(
        &self,
        shard: &Arc<Shard>,
        supervisor: &ActorCell,
        mut begin: HostMessage<E>,
    ) -> Result<Hosted<E>, HostMessage<E>> {
        let hosted = |actor| Hosted {
            actor,
            sent: AtomicU32::new(0),
            used: AtomicU32::new(0),
        };
        loop {
            // Who was parked last is first: what it is made of is in the caches still.
            let Some(parked) = self.parked.lock().pop() else {
                break;
            };
            let host = hosted(parked);
            match host.send(shard.uptime_s(), begin) {
                Ok(()) => return Ok(host),
                // It has died.
                Err(back) => begin = back,
            }
        }
        match ractor::ActorRuntime::spawn_linked_instant(
            None,
            Host::<E>::new(),
            shard.clone(),
            supervisor.clone(),
        ) {
            Ok((actor, _)) => {
                let host = hosted(actor);
                host.send(shard.uptime_s(), begin).map(|()| host)
            }
            Err(error) => {
                tracing::error!(kind = E::KIND, %error, "an actor could not be started");
                Err(begin)
            }
        }
    }

    /// Gives an identity up, unless a message is on its way to it that is not among those `handled`. True when it is given up.
    pub(crate) fn release(&self, key: &E::Key, actor: ActorId, handled: u32) -> bool {
        let unused = |_: &E::Key, r: &Resident<E>| r.is_hosted_by(actor) && r.was_sent(handled);
        let released = self.map.remove_if(key, unused).is_some();
        if released {
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.passivated.fetch_add(1, Ordering::Relaxed);
        }
        released
    }

    /// Keeps a host without identity for the next entity; false where there are enough.
    pub(crate) fn park(&self, actor: ActorRef<HostMessage<E>>) -> bool {
        let mut parked = self.parked.lock();
        let room = parked.len() < PARKED_MAX;
        if room {
            parked.push(actor);
        }
        room
    }

    /// Takes a dead actor out of the registry.
    pub(crate) fn forget(&self, key: &E::Key, actor: ActorId) {
        if self.map.remove_if(key, |_, r| r.is_hosted_by(actor)).is_some() {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Throws all of them away that are there. (One that settles in meanwhile sees to itself: `Shard::place_order`.)
    pub(crate) fn discard_all(&self) {
        self.discard_unhosted();
        self.map.retain(|_, resident| match resident {
            Resident::Hosted(host) => {
                host.actor.stop(None);
                self.active.fetch_sub(1, Ordering::Relaxed);
                false
            }
            // It has come since.
            Resident::Unhosted(_) => true,
        });
    }

    /// Throws one away, if it has no host.
    pub(crate) fn discard_if_unhosted(&self, key: &E::Key) {
        // What goes tells others, for which nothing may be locked.
        drop(self.map.remove_if(key, |_, r| !r.is_hosted()));
    }

    /// Throws those away that have no host.
    pub(crate) fn discard_unhosted(&self) {
        let unhosted = self.map.iter().filter(|resident| !resident.is_hosted());
        let names: Vec<E::Key> = unhosted.map(|resident| resident.key().clone()).collect();
        for name in names {
            self.discard_if_unhosted(&name);
        }
    }

    /// Asks those that got no message for this many seconds to give up their identity; where there are too many, all that
    /// got none in this second.
    pub(crate) fn passivate_idle(&self, now_s: u32, idle_s: u32) {
        let idle_s = if self.active() > self.active_max {
            1
        } else {
            idle_s
        };
        for resident in &self.map {
            resident.ask_to_passivate(|used| now_s.saturating_sub(used) >= idle_s);
        }
    }

    /// Asks some that got no message in this second, among a sample, to give up their identity.
    fn evict(&self, now_s: u32) {
        for resident in self.map.iter().take(EVICTION_SAMPLE) {
            resident.ask_to_passivate(|used| used < now_s);
        }
    }
}

impl<E: Entity> Resident<E> {
    fn is_hosted(&self) -> bool {
        matches!(self, Self::Hosted(_))
    }

    fn is_hosted_by(&self, actor: ActorId) -> bool {
        matches!(self, Self::Hosted(host) if host.actor.get_id() == actor)
    }

    fn was_sent(&self, count: u32) -> bool {
        matches!(self, Self::Hosted(host) if host.sent.load(Ordering::Relaxed) == count)
    }

    /// Asks it to give up its identity, if it was used last at such a time. (One without a host waits for an answer, and is not idle.)
    fn ask_to_passivate(&self, is_due: impl FnOnce(u32) -> bool) {
        if let Self::Hosted(host) = self
            && is_due(host.used.load(Ordering::Relaxed))
        {
            // One that has died needs not be asked.
            let _ = host.actor.send_message(HostMessage::Passivate);
        }
    }
}

impl<E: Entity> Hosted<E> {
    /// Gives the message back where the actor has died, and which that was.
    fn deliver(&self, now_s: u32, message: Box<E::Message>) -> Result<(), (ActorId, HostMessage<E>)> {
        self.send(now_s, HostMessage::Deliver(message))
            .map_err(|back| (self.actor.get_id(), back))
    }

    /// Gives the message back where the actor has died.
    fn send(&self, now_s: u32, message: HostMessage<E>) -> Result<(), HostMessage<E>> {
        self.used.store(now_s, Ordering::Relaxed);
        // Wraps around, as its actor's count does. Whoever gives the identity up has locked it for writing.
        self.sent.fetch_add(1, Ordering::Relaxed);
        match self.actor.send_message(message) {
            Err(MessagingErr::SendErr(message)) => {
                self.sent.fetch_sub(1, Ordering::Relaxed);
                Err(message)
            }
            // Other errors are only for typed handles of other actors, which these are not.
            _ => Ok(()),
        }
    }
}
