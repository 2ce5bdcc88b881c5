//! The registry of running actors of one kind in one shard: started on demand, passivated when idle or too many.
//!
//! A message is handed over while its entry is locked for reading, and an identity is given up while it is locked for
//! writing and no message is on its way, so no message ever reaches a host that is somebody else by then.

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

struct Resident<E: Entity> {
    actor: ActorRef<HostMessage<E>>,
    queued: Arc<AtomicUsize>,
    /// When it last got a message, in seconds of the shard's uptime.
    used: AtomicU32,
}

/// A host and how many messages are on their way to it.
type Idle<E> = (ActorRef<HostMessage<E>>, Arc<AtomicUsize>);

/// The running actors of one kind.
pub(crate) struct Residents<E: Entity> {
    map: DashMap<E::Key, Resident<E>, RandomState>,
    parked: Mutex<Vec<Idle<E>>>,
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

    /// Whether an actor runs for this entity.
    pub(crate) fn contains(&self, key: &E::Key) -> bool {
        self.map.contains_key(key)
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
            if let Some(resident) = self.map.get(key) {
                let id = resident.actor.get_id();
                match resident.deliver(shard.uptime_s(), message) {
                    Ok(()) => return,
                    Err(back) => message = back,
                }
                drop(resident);
                // It died and has not been forgotten yet.
                self.forget(key, id);
            }
            match self.map.entry(key.clone()) {
                // Somebody was faster: look again.
                Entry::Occupied(_) => {}
                Entry::Vacant(vacant) => {
                    let Some((actor, queued)) = self.host(shard, supervisor) else {
                        return;
                    };
                    let resident = Resident {
                        actor,
                        queued,
                        used: AtomicU32::new(0),
                    };
                    match resident.begin(shard.uptime_s(), key, message) {
                        Ok(()) => {
                            vacant.insert(resident);
                            self.started.fetch_add(1, Ordering::Relaxed);
                            if self.active.fetch_add(1, Ordering::Relaxed) >= self.active_max {
                                self.evict(shard.count_uptime());
                            }
                            return;
                        }
                        Err(back) => message = back,
                    }
                }
            }
        }
    }

    /// Hands a message to the entity's actor, where one runs; drops it where none does.
    pub(crate) fn send_to_running(&self, shard: &Shard, key: &E::Key, message: Box<E::Message>) {
        if let Some(resident) = self.map.get(key) {
            // One that has died forgets what it was told.
            let _ = resident.deliver(shard.uptime_s(), message);
        }
    }

    /// A parked host, or a new one.
    fn host(&self, shard: &Arc<Shard>, supervisor: &ActorCell) -> Option<Idle<E>> {
        if let Some(parked) = self.parked.lock().pop() {
            return Some(parked);
        }
        let queued = Arc::new(AtomicUsize::new(0));
        let arguments = (shard.clone(), queued.clone());
        match ractor::ActorRuntime::spawn_linked_instant(
            None,
            Host::<E>::new(),
            arguments,
            supervisor.clone(),
        ) {
            Ok((actor, _)) => Some((actor, queued)),
            Err(error) => {
                tracing::error!(kind = E::KIND, %error, "an actor could not be started");
                None
            }
        }
    }

    /// Gives an identity up, unless a message is on its way to it. True when it is given up.
    pub(crate) fn release(&self, key: &E::Key, actor: ActorId) -> bool {
        let unused =
            |_: &E::Key, r: &Resident<E>| r.actor.get_id() == actor && r.queued.load(Ordering::Acquire) == 0;
        let released = self.map.remove_if(key, unused).is_some();
        if released {
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.passivated.fetch_add(1, Ordering::Relaxed);
        }
        released
    }

    /// Keeps a host without identity for the next entity; false where there are enough.
    pub(crate) fn park(&self, actor: ActorRef<HostMessage<E>>, queued: Arc<AtomicUsize>) -> bool {
        let mut parked = self.parked.lock();
        let room = parked.len() < PARKED_MAX;
        if room {
            parked.push((actor, queued));
        }
        room
    }

    /// Takes a dead actor out of the registry.
    pub(crate) fn forget(&self, key: &E::Key, actor: ActorId) {
        if self
            .map
            .remove_if(key, |_, r| r.actor.get_id() == actor)
            .is_some()
        {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Throws all of them away.
    pub(crate) fn discard_all(&self) {
        self.map.retain(|_, resident| {
            resident.actor.stop(None);
            self.active.fetch_sub(1, Ordering::Relaxed);
            false
        });
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
            if now_s.saturating_sub(resident.used.load(Ordering::Relaxed)) >= idle_s {
                resident.ask_to_passivate();
            }
        }
    }

    /// Asks some that got no message in this second, among a sample, to give up their identity.
    fn evict(&self, now_s: u32) {
        for resident in self.map.iter().take(EVICTION_SAMPLE) {
            if resident.used.load(Ordering::Relaxed) < now_s {
                resident.ask_to_passivate();
            }
        }
    }
}

impl<E: Entity> Resident<E> {
    /// Gives the host its identity with its first message.
    fn begin(&self, now_s: u32, key: &E::Key, message: Box<E::Message>) -> Result<(), Box<E::Message>> {
        self.send(now_s, HostMessage::Assume(key.clone(), message))
    }

    fn deliver(&self, now_s: u32, message: Box<E::Message>) -> Result<(), Box<E::Message>> {
        self.send(now_s, HostMessage::Deliver(message))
    }

    fn send(&self, now_s: u32, message: HostMessage<E>) -> Result<(), Box<E::Message>> {
        self.used.store(now_s, Ordering::Relaxed);
        self.queued.fetch_add(1, Ordering::AcqRel);
        match self.actor.send_message(message) {
            Ok(()) => Ok(()),
            Err(MessagingErr::SendErr(HostMessage::Assume(_, message) | HostMessage::Deliver(message))) => {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                Err(message)
            }
            // Only for typed handles of other actors, which these are not.
            Err(_) => Ok(()),
        }
    }

    fn ask_to_passivate(&self) {
        // One that has died needs not be asked.
        let _ = self.actor.send_message(HostMessage::Passivate);
    }
}
