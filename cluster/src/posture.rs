//! What a node may lead. Normally whatever it is elected for; a *standby* leads nothing, since another cluster decides, and neither does a node whose
//! cluster was *fenced*, because its standby was promoted, or one that is still *asking* its standby whether that was so.
//!
//! ```text
//!   Standby ──promoted──▶ Open ◀──the standby was not promoted, or does not answer── Asking
//!                          │                                                          │
//!                          └────────fenced──────▶ Fenced ◀───the standby was promoted─┘      for ever
//! ```
//!
//! Raft itself goes on beneath: entries are replicated, and reads are checked. But to the layer above nobody leads, so that no actor, chore or delivery begins
//! anything, and nothing is proposed but what the registry decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tokio::sync::watch;

/// What a node may lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Posture {
    /// Whatever it is elected for.
    #[default]
    Open,
    /// Nothing: it follows another cluster.
    Standby {
        /// Where that is, as people write it.
        of: String,
    },
    /// Nothing yet: it asks its standby whether that was promoted.
    Asking {
        /// Where the standby is.
        standby: String,
    },
    /// Nothing any more: its standby was promoted.
    Fenced {
        /// The epoch that began with that.
        epoch: u64,
        /// Where the new primary is.
        by: String,
    },
}

impl Posture {
    /// Whether it leads what it is elected for.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "primary",
            Self::Standby { .. } => "standby",
            Self::Asking { .. } => "asking",
            Self::Fenced { .. } => "fenced",
        }
    }
}

/// A node's posture, shared by its groups.
#[derive(Clone)]
pub(crate) struct Hush(Arc<Shared>);

struct Shared {
    now: RwLock<Arc<Posture>>,
    /// Whether it is any but open: what every proposal looks at.
    closed: AtomicBool,
    changed: watch::Sender<bool>,
}

impl Hush {
    pub(crate) fn new(posture: Posture) -> Self {
        let closed = !posture.is_open();
        Self(Arc::new(Shared {
            now: RwLock::new(Arc::new(posture)),
            closed: AtomicBool::new(closed),
            changed: watch::Sender::new(closed),
        }))
    }

    pub(crate) fn now(&self) -> Arc<Posture> {
        Arc::clone(&self.0.now.read())
    }

    /// Cheap.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Whether it follows another cluster.
    pub(crate) fn is_standby(&self) -> bool {
        self.is_closed() && matches!(*self.now(), Posture::Standby { .. })
    }

    /// Takes another posture; who is fenced stays so.
    pub(crate) fn set(&self, posture: Posture) {
        let closed = !posture.is_open();
        let mut now = self.0.now.write();
        if matches!(**now, Posture::Fenced { .. }) {
            return;
        }
        *now = Arc::new(posture);
        self.0.closed.store(closed, Ordering::SeqCst);
        // Told in the order in which it was set: of two at a time the last one told has to be the one that holds.
        self.0.changed.send_replace(closed);
    }

    /// Whether it is closed, now and from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.0.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_fenced_stays_so() {
        let hush = Hush::new(Posture::Asking {
            standby: "there".to_owned(),
        });
        assert!(hush.is_closed() && !hush.is_standby());
        hush.set(Posture::Open);
        assert!(!hush.is_closed());
        let fenced = Posture::Fenced {
            epoch: 2,
            by: "there".to_owned(),
        };
        hush.set(fenced.clone());
        hush.set(Posture::Open);
        assert!(hush.is_closed());
        assert_eq!(*hush.now(), fenced);
    }
}
