//! Faults that go on, and the thread that ends them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_cluster::{Node, NodeId};
use metrics::gauge;
use parking_lot::{Condvar, Mutex};

use super::{ACTIVE, ActiveFault, ChaosError, Fault, NAMES, spawn};

/// Those of a node. Clones are the same.
#[derive(Clone)]
pub(super) struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    on: BTreeMap<Key, On>,
    /// Whether the thread runs: it ends when nothing goes on.
    is_kept: bool,
}

/// There is one at a time of each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Pause,
    SlowDisk,
    DropPeer(NodeId),
}

#[derive(Clone, Copy)]
struct On {
    fault: Fault,
    until: Instant,
}

impl Faults {
    pub(super) fn new(node: Node) -> Self {
        Self {
            inner: Arc::new(Inner {
                node,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    pub(super) fn active(&self) -> Vec<ActiveFault> {
        let (state, now) = (self.inner.state.lock(), Instant::now());
        state.on.values().map(|on| on.at(now)).collect()
    }

    /// Begins one, whose end is kept from before its begin on.
    pub(super) fn begin(&self, fault: Fault, lasts: Duration) -> Result<(), ChaosError> {
        if let Fault::DropPeer { node } = fault
            && !self.inner.node.knows_peer(node)
        {
            return Err(ChaosError::NoPeer(node));
        }
        self.note(fault, lasts)?;
        let state = self.inner.state.lock();
        // Unless it has ended meanwhile: nothing is begun behind its end.
        if key(fault).is_some_and(|key| state.on.contains_key(&key)) {
            self.inner.set(fault, true);
        }
        Ok(())
    }

    /// Notes that one goes on, and has it end.
    pub(super) fn note(&self, fault: Fault, lasts: Duration) -> Result<(), ChaosError> {
        let Some(key) = key(fault) else { return Ok(()) };
        let mut state = self.inner.state.lock();
        if !state.is_kept {
            let inner = Arc::clone(&self.inner);
            spawn("docket-chaos", move || inner.keep())?;
            state.is_kept = true;
        }
        let until = Instant::now() + lasts;
        state.on.insert(key, On { fault, until });
        show(&state);
        self.inner.changed.notify_all();
        Ok(())
    }

    pub(super) fn undo(&self) -> Vec<ActiveFault> {
        let mut state = self.inner.state.lock();
        let now = Instant::now();
        let on = std::mem::take(&mut state.on);
        // Threads that sleep cannot be woken; that they do is told until they do no more.
        state.on.extend(
            on.iter()
                .filter(|(key, _)| **key == Key::Pause)
                .map(|(key, on)| (*key, *on)),
        );
        let ended: Vec<_> = on.values().filter(|on| on.fault != Fault::Pause).collect();
        ended.iter().for_each(|on| self.inner.set(on.fault, false));
        show(&state);
        self.inner.changed.notify_all();
        ended.into_iter().map(|on| on.at(now)).collect()
    }
}

impl Inner {
    /// Ends each when its time is over; ends itself when nothing goes on.
    fn keep(&self) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let over: Vec<_> = state
                .on
                .iter()
                .filter(|(_, on)| on.until <= now)
                .map(|(key, on)| (*key, on.fault))
                .collect();
            for (key, fault) in over {
                state.on.remove(&key);
                self.set(fault, false);
                tracing::warn!(fault = fault.name(), "chaos: it goes wrong no more");
            }
            show(&state);
            let Some(next) = state.on.values().map(|on| on.until).min() else {
                state.is_kept = false;
                return;
            };
            self.changed.wait_until(&mut state, next);
        }
    }

    fn set(&self, fault: Fault, is_on: bool) {
        match fault {
            // The threads wake by themselves.
            Fault::Kill | Fault::Pause => {}
            Fault::SlowDisk { by } => self.node.slow_syncs(if is_on { by } else { Duration::ZERO }),
            Fault::DropPeer { node } => self.node.drop_peer(node, is_on),
        }
    }
}

impl On {
    fn at(&self, now: Instant) -> ActiveFault {
        ActiveFault {
            fault: self.fault,
            left: self.until.saturating_duration_since(now),
        }
    }
}

fn key(fault: Fault) -> Option<Key> {
    match fault {
        Fault::Kill => None,
        Fault::Pause => Some(Key::Pause),
        Fault::SlowDisk { .. } => Some(Key::SlowDisk),
        Fault::DropPeer { node } => Some(Key::DropPeer(node)),
    }
}

fn show(state: &State) {
    for name in NAMES {
        let count = state.on.values().filter(|on| on.fault.name() == name).count();
        gauge!(ACTIVE, "fault" => name).set(count as f64);
    }
}
