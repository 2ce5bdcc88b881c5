//! Orders grow old: whoever leads a shard closes what was fulfilled long ago, and has what is over leave memory for the archive.
//!
//! ```text
//!   FULFILLED, at rest ── unchanged for `close_after` ──▶ CLOSED ─┐
//!                        CANCELLED, REJECTED, EXPIRED, at rest ───┴── unchanged for `archive_after` ──▶ in the archive
//! ```
//!
//! In the background, ten times a second: some of the orders in a state are looked at, oldest first, from where the last look ended, and none
//! that is too young to be due (its id has its time). Those that are due are told; more are told when these are done. It gives way: the more
//! calls are in flight on the node, the fewer, down to one of a shard at a time, so that it goes on under any load.
//!
//! Nothing of this is kept: each order decides for itself, and records it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_engine::{Order, OrderCommand, OrderId, OrderState, Time};

use crate::{
    chores::{Cutoff, before},
    committed::Committed,
    docket::{AT_WORK_CALLS, Inner},
    entity::order::OrderMessage,
    shard::Shard,
};

/// The time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// So many orders of a shard in one state are looked at with one look.
const LOOKED_AT: usize = 256;
/// An order that was told so many looks ago, and is as it was, is told again: what it was told may be lost.
const TOLD_FOR: u32 = 100;
/// Since which version of the peer protocol a node knows orders that were closed, and archives. An older one would stop.
pub(crate) const CLOSING_SINCE: u32 = 6;

/// How long orders stay as they are, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgingOptions {
    /// An order that was fulfilled, and of which nothing is to come, is closed when nothing has come of it for so long; `None`: never. Default
    /// 30 days.
    pub close_after: Option<Duration>,
    /// An order that is over leaves memory for the archive when it has not changed for so long; `None`: never. Default 7 days.
    pub archive_after: Option<Duration>,
    /// So many orders of one shard are closed, and so many archived, at a time, where nothing else is to be done. Default 32.
    pub at_once: usize,
}

impl Default for AgingOptions {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            close_after: Some(30 * DAY),
            archive_after: Some(7 * DAY),
            at_once: 32,
        }
    }
}

impl AgingOptions {
    /// How many with so many calls in flight.
    fn at_once(&self, calls: usize) -> usize {
        let idle = AT_WORK_CALLS.saturating_sub(calls);
        (self.at_once * idle / AT_WORK_CALLS).max(1)
    }
}

/// Runs until the node closes.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A clock that is wrong for a moment closes nothing for ever: what is old comes closer twice as fast as time passes, at most.
    let (mut close, mut archive) = (Cutoff::new(LOOK), Cutoff::new(LOOK));
    let mut of_shards: Vec<OfShard> = inner.router.shards.iter().map(|_| OfShard::default()).collect();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = inner.closing.cancelled() => return,
        }
        let router = &inner.router;
        let node = router.node();
        if node.has_peers() && !node.is_spoken_by_all(CLOSING_SINCE) {
            continue;
        }
        // Where the disk is nearly full only what makes room goes on, and the archive is on the same disk.
        if node.disk_low().is_some() {
            continue;
        }
        let aging = inner.aging;
        let now = Instant::now();
        let due = Due {
            close: aging.close_after.map(|age| close.advance(before(age), now)),
            archive: aging.archive_after.map(|age| archive.advance(before(age), now)),
        };
        let at_once = aging.at_once(inner.admission.calls());
        for (shard, of_shard) in router.shards.iter().zip(&mut of_shards) {
            if shard.is_leading() {
                of_shard.look(shard, &due, at_once);
            } else {
                *of_shard = OfShard::default();
            }
        }
    }
}

/// What has not changed since these times is due.
struct Due {
    close: Option<Time>,
    archive: Option<Time>,
}

/// What is known of a shard while it is led here.
struct OfShard {
    closing: Sweep,
    archiving: [Sweep; OVER.len()],
}

/// The states in which orders end.
const OVER: [OrderState; 4] = [
    OrderState::Closed,
    OrderState::Cancelled,
    OrderState::Rejected,
    OrderState::Expired,
];

impl Default for OfShard {
    fn default() -> Self {
        Self {
            closing: Sweep::of(OrderState::Fulfilled),
            archiving: OVER.map(Sweep::of),
        }
    }
}

impl OfShard {
    fn look(&mut self, shard: &Arc<Shard>, due: &Due, at_once: usize) {
        if let Some(cutoff) = due.close {
            let due = self
                .closing
                .due(shard.committed(), cutoff, at_once, Order::is_at_rest);
            for id in due {
                let command = OrderCommand::Close;
                shard.tell_order(id, OrderMessage::Tell { command });
            }
        }
        let Some(cutoff) = due.archive else {
            return;
        };
        let mut left = at_once;
        for sweep in &mut self.archiving {
            let due = sweep.due(shard.committed(), cutoff, left, Order::is_over);
            left = left.saturating_sub(sweep.told.len());
            for id in due {
                shard.tell_order(id, OrderMessage::Archive);
            }
        }
    }
}

/// A walk over the orders in one state, again and again.
struct Sweep {
    state: OrderState,
    /// Up to here they were looked at this time.
    behind: Option<OrderId>,
    /// Those that were told and are as they were, and how many looks ago.
    told: Vec<(OrderId, u32)>,
}

impl Sweep {
    fn of(state: OrderState) -> Self {
        Self {
            state,
            behind: None,
            told: Vec::new(),
        }
    }

    /// The next orders that have not changed since `cutoff` and of which this holds, so that with those told before there are no more than
    /// `at_once`. They count as told.
    fn due(
        &mut self,
        committed: &Committed,
        cutoff: Time,
        at_once: usize,
        is_due: impl Fn(&Order) -> bool,
    ) -> Vec<OrderId> {
        let state = self.state;
        let is_due = |order: &Order| order.state == state && order.updated <= cutoff && is_due(order);
        let is_as_it_was = |id: OrderId| committed.orders.see(id, is_due) == Some(true);
        self.told.retain_mut(|(id, looks)| {
            *looks += 1;
            *looks < TOLD_FOR && is_as_it_was(*id)
        });
        let room = at_once.saturating_sub(self.told.len());
        let mut due = Vec::new();
        if room == 0 {
            return due;
        }
        // Of a later time is no order that has not changed since.
        let cutoff_ms = u64::try_from(cutoff.0 / 1_000).unwrap_or_default();
        let below = OrderId::compose((cutoff_ms + 1).min((1 << 48) - 1), 0, 0);
        let mut ids = Vec::with_capacity(LOOKED_AT);
        committed
            .order_index
            .read()
            .oldest(state, (self.behind, below), LOOKED_AT, &mut ids);
        let is_end = ids.len() < LOOKED_AT;
        for id in ids {
            if due.len() == room {
                return due;
            }
            self.behind = Some(id);
            if is_as_it_was(id) && !self.told.iter().any(|(told, _)| *told == id) {
                self.told.push((id, 0));
                due.push(id);
            }
        }
        if is_end {
            // From the oldest on again.
            self.behind = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::{archive, id, refused};

    #[test]
    fn orders_are_told_oldest_first_no_more_at_a_time_and_none_that_is_too_young() {
        let committed = refused(600);
        let mut sweep = Sweep::of(OrderState::Rejected);
        let cutoff = Time(500 * 1_000_000);
        let mut gone = 0;
        for _ in 0..1_000 {
            let due = sweep.due(&committed, cutoff, 7, Order::is_over);
            assert!(sweep.told.len() <= 7);
            // One is slow: it holds up nobody but takes its place.
            for id in due {
                if id != self::id(3) {
                    archive(&committed, id);
                    gone += 1;
                }
            }
        }
        // (It was told again and again.)
        assert_eq!((gone, committed.orders.len()), (499, 101));
        assert!(committed.orders.get(id(3)).is_some() && committed.orders.get(id(501)).is_some());
        committed.validate().unwrap();
        assert_eq!(committed.archive.count(), 499);
    }

    #[test]
    fn with_more_calls_in_flight_it_does_less_and_never_nothing() {
        let aging = AgingOptions::default();
        assert_eq!(aging.at_once(0), 32);
        assert_eq!(aging.at_once(AT_WORK_CALLS / 2), 16);
        for calls in [AT_WORK_CALLS - 1, AT_WORK_CALLS, 10_000] {
            assert_eq!(aging.at_once(calls), 1, "{calls} calls");
        }
        let rising = (0..100).map(|calls| aging.at_once(calls)).collect::<Vec<_>>();
        assert!(rising.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn what_has_changed_since_is_not_due_and_one_look_sees_a_few_only() {
        let committed = refused(1_000);
        let mut sweep = Sweep::of(OrderState::Rejected);
        // All are old enough by their ids, and none is by its last change.
        let seen = std::cell::Cell::new(0);
        let never = |_: &Order| {
            seen.set(seen.get() + 1);
            false
        };
        for _ in 0..4 {
            seen.set(0);
            assert_eq!(sweep.due(&committed, Time(i64::MAX / 2), 5, never), []);
            assert!(seen.get() <= LOOKED_AT);
        }
        assert_eq!(sweep.behind, None, "it begins again behind the last");
    }
}
