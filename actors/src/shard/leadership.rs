//! Who leads a shard: its eras, the actors that are thrown away with each, and the half-way orders that a new leader takes up.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Instant,
};

use docket_cluster::{Leader, Leadership};
use docket_engine::{Decider, OrderId};

use super::Shard;
use crate::entity::order::OrderMessage;

/// One leadership of the shard, up to the first time that the log did not take something: what actors of another era
/// believe is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Era {
    number: u64,
    pub(crate) term: u64,
}

/// One life of an actor: what it decides is only taken in its era, and not after something of it was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) era: Era,
    pub(crate) decider: Decider,
}

impl Shard {
    pub(crate) fn is_leading(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }

    /// Lets actors be told things, or no more; whether they were before.
    pub(super) fn set_leading(&self, leads: bool) -> bool {
        self.leads.store(leads, Ordering::SeqCst);
        self.leading.send_replace(leads)
    }

    /// Waits until the shard is led here.
    pub(crate) async fn led(&self) {
        // The sender lives in the shard itself.
        let _ = self.leading.subscribe().wait_for(|leads| *leads).await;
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
            if self.set_leading(leads) != leads {
                tracing::info!(shard = %self.id, leads, "leadership changed");
                if !leads {
                    self.discard_all(None);
                }
                if leads {
                    self.reconcile.store(true, Ordering::Release);
                    self.resume_open(usize::MAX, |_| true);
                }
            }
            if self.group.leader() != Leader::Here {
                // Whoever led before may have left something half-way, and cannot say so.
                self.orphans_may_be_here();
            }
            if leadership.changed().await.is_err() {
                self.set_leading(false);
                return;
            }
        }
    }

    /// Throws all actors away, what they believe may never be committed, and takes nothing from them any more.
    pub(crate) fn discard_all(&self, term: Option<u64>) {
        if docket_cluster::planted!(KeepActors) {
            let mut era = self.era.lock();
            era.term = term.unwrap_or(era.term);
            return;
        }
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

    /// Takes up orders that are half-way, that no actor drives, and that are `wanted`, unless they are to wait for a while.
    pub(crate) fn resume_open(self: &Arc<Self>, most: usize, wanted: impl Fn(&OrderId) -> bool) {
        let open = self.committed.order_index.read().open().collect::<Vec<_>>();
        let now = Instant::now();
        let due = |id: &OrderId| wanted(id) && !self.orders.contains(id) && !self.setbacks.holds_up(*id, now);
        for id in open.into_iter().filter(due).take(most) {
            self.tell_order(id, OrderMessage::Resume);
        }
    }

    /// Notes that reservations without an order may have been left, here or elsewhere.
    pub(crate) fn needs_reconciling(&self) {
        match self.router.get().and_then(Weak::upgrade) {
            Some(router) => router.needs_reconciling(),
            None => self.look_for_orphans(),
        }
    }

    /// Notes that orders of this shard may have left reservations with items that are led here.
    fn orphans_may_be_here(&self) {
        if let Some(router) = self.router.get().and_then(Weak::upgrade) {
            router.shards.iter().for_each(|shard| shard.look_for_orphans());
        }
    }

    /// Notes that this shard's items may have reservations without an order.
    pub(crate) fn look_for_orphans(&self) {
        self.reconcile.store(true, Ordering::Release);
    }

    pub(crate) fn take_needs_reconciling(&self) -> bool {
        self.reconcile.swap(false, Ordering::AcqRel)
    }
}
