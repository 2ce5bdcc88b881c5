//! Orders grow old: whoever leads a shard closes what was fulfilled long ago, and has what is over leave memory for the archive.
//!
//! ```text
//!   FULFILLED, at rest ── unchanged for `close_after` ──▶ CLOSED ─┐
//!                        CANCELLED, REJECTED, EXPIRED, at rest ───┴── unchanged for `archive_after` ──▶ in the archive
//! ```
//!
//! In the background, ten times a second: some of the orders in a state are looked at, oldest first, from where the last look ended, and none
//! that is too young to be due (its id has its time). Those that are due are told; more are told when these are done. It gives way: the more
//! calls are in flight on the node, the fewer, down to one of a shard at a time. Where more and more wait it takes its part under any load ([`floor`]):
//! a node that took orders faster than it lets them go would fill its memory.
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
/// Of what waits, one in so many is told under any load.
const WAITING_SHARE: usize = 4;
/// So many of a shard at most, under a load that leaves room for none, as where nothing else is done: 320 a second.
const UNDER_LOAD_MAX: usize = 32;
/// Where the clock is further ahead of a shard's newest record than that when it begins to be led, what is old is told by the record: nobody may have
/// asked for anything for so long, or the clock is wrong.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 60);
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
    /// The program's configuration takes no less than 25 hours, so that the requests that changed an order are forgotten before it leaves. This
    /// takes less, for tests and measurements, and what an order came to be is not asked again when it leaves: a request that is still remembered is
    /// answered then with the order as it is, and not as it was.
    pub archive_after: Option<Duration>,
    /// So many orders of one shard are closed, and so many archived, at a time, where nothing else is to be done; more where many wait. Default 32.
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
    let mut of_shards: Vec<OfShard> = inner.router.shards.iter().map(|_| OfShard::default()).collect();
    let mut aging = *inner.aging.read();
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
        let wanted = *inner.aging.read();
        for of_shard in &mut of_shards {
            of_shard.close.change(aging.close_after, wanted.close_after);
            of_shard.archive.change(aging.archive_after, wanted.archive_after);
        }
        aging = wanted;
        let now = Instant::now();
        let at_once = aging.at_once(inner.admission.calls());
        // What any shard's log says is true of all.
        let logged = router.shards.iter().map(|shard| shard.committed().last_time());
        let logged = logged.max().unwrap_or_default();
        for (shard, of_shard) in router.shards.iter().zip(&mut of_shards) {
            if shard.is_leading() {
                let due = Due {
                    close: aging
                        .close_after
                        .map(|age| of_shard.close.advance(before(age), age, logged, now)),
                    archive: aging
                        .archive_after
                        .map(|age| of_shard.archive.advance(before(age), age, logged, now)),
                };
                of_shard.look(shard, &due, at_once);
            } else {
                of_shard.forget();
            }
        }
    }
}

/// Before which time what has not changed is due, in a shard that was led here. A clock that goes wrong makes nothing old for ever: from where
/// the logs' times say at first, it comes closer twice as fast as time passes, at most, whether the shard is led meanwhile or not. (Times that
/// were logged by a clock that was wrong are believed by the next start.)
#[derive(Default)]
struct Limit(Option<Cutoff>);

impl Limit {
    /// Another age is configured.
    fn change(&mut self, from: Option<Duration>, to: Option<Duration>) {
        match (from, to, &mut self.0) {
            (Some(from), Some(to), Some(cutoff)) => {
                let micros = |age: Duration| age.as_micros() as i64;
                cutoff.shift(micros(from).saturating_sub(micros(to)));
            }
            (Some(_), Some(_), None) | (None, None, _) => {}
            _ => *self = Self::default(),
        }
    }

    /// `wanted` is what the clock says of this age, and `logged` the newest time of the shard's log.
    fn advance(&mut self, wanted: Time, age: Duration, logged: Time, now: Instant) -> Time {
        let back = |time: Time, by: Duration| Time(time.0.saturating_sub(by.as_micros() as i64));
        // There is nothing yet, and so nothing old.
        if self.0.is_none() && logged == Time(0) {
            return back(logged, age);
        }
        if let Some(cutoff) = &mut self.0 {
            return cutoff.advance(wanted, now);
        }
        let believed = Time(logged.0.saturating_add(AHEAD_MAX.as_micros() as i64));
        let begin = wanted.min(back(believed, age));
        // Where the clock is behind what was logged, it may be right again any moment.
        self.0 = Some(Cutoff::from(LOOK, begin.max(back(logged, age)), now));
        begin
    }
}

/// What has not changed since these times is due.
struct Due {
    close: Option<Time>,
    archive: Option<Time>,
}

/// What is known of a shard while it is led here.
struct OfShard {
    close: Limit,
    archive: Limit,
    closing: Sweep,
    archiving: [Sweep; OVER.len()],
    /// Which of those goes first with the next look.
    first: usize,
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
            close: Limit::default(),
            archive: Limit::default(),
            first: 0,
        }
    }
}

impl OfShard {
    /// It is not led here: what was told is another's. The limits go on.
    fn forget(&mut self) {
        let (close, archive) = (std::mem::take(&mut self.close), std::mem::take(&mut self.archive));
        *self = Self {
            close,
            archive,
            ..Self::default()
        };
    }

    fn look(&mut self, shard: &Arc<Shard>, due: &Due, at_once: usize) {
        if let Some(cutoff) = due.close {
            for id in self.due_to_close(shard.committed(), cutoff, at_once) {
                let command = OrderCommand::Close;
                shard.tell_order(id, OrderMessage::Tell { command });
            }
        }
        if let Some(cutoff) = due.archive {
            for id in self.due_to_archive(shard.committed(), cutoff, at_once) {
                shard.tell_order(id, OrderMessage::Archive);
            }
        }
    }

    fn due_to_close(&mut self, committed: &Committed, cutoff: Time, at_once: usize) -> Vec<OrderId> {
        let at_once = at_once.max(floor(self.closing.waiting));
        self.closing.due(committed, cutoff, at_once, Order::is_at_rest)
    }

    fn due_to_archive(&mut self, committed: &Committed, cutoff: Time, at_once: usize) -> Vec<OrderId> {
        let waiting = self.archiving.iter().map(|sweep| sweep.waiting).sum();
        let (mut left, mut due) = (at_once.max(floor(waiting)), Vec::new());
        for turn in 0..OVER.len() {
            let sweep = &mut self.archiving[(self.first + turn) % OVER.len()];
            // One has a place in any case: what is stuck in a state, and was told, holds up no other.
            due.extend(sweep.due(committed, cutoff, left.max(1), Order::is_over));
            left = left.saturating_sub(sweep.told.len());
        }
        self.first = (self.first + 1) % OVER.len();
        due
    }
}

/// A walk over the orders in one state, again and again.
struct Sweep {
    state: OrderState,
    /// Up to here they were looked at this time.
    behind: Option<OrderId>,
    /// Those that were told and are as they were, and how many looks ago.
    told: Vec<(OrderId, u32)>,
    /// So many were found due by the last look, and not told yet: of those that it saw.
    waiting: usize,
}

/// So many are told at a time under any load where so many wait: a part of them, so that a node which steadily has more to close, or to archive,
/// does that as steadily, at most [`UNDER_LOAD_MAX`] a shard with a look.
fn floor(waiting: usize) -> usize {
    (1 + waiting / WAITING_SHARE).min(UNDER_LOAD_MAX)
}

impl Sweep {
    fn of(state: OrderState) -> Self {
        Self {
            state,
            behind: None,
            told: Vec::new(),
            waiting: 0,
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
        self.waiting = 0;
        for id in ids {
            if !is_as_it_was(id) || self.told.iter().any(|(told, _)| *told == id) {
                if self.waiting == 0 {
                    self.behind = Some(id);
                }
            } else if due.len() == room {
                self.waiting += 1;
            } else {
                self.behind = Some(id);
                self.told.push((id, 0));
                due.push(id);
            }
        }
        if is_end && self.waiting == 0 {
            // From the oldest on again.
            self.behind = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::{archive, id, over, refused};

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
    fn where_many_wait_a_part_of_them_is_told_under_any_load_up_to_a_bound() {
        assert_eq!([0, 3, 4, 40].map(floor), [1, 1, 2, 11]);
        assert_eq!(floor(1_000_000), UNDER_LOAD_MAX);
        // One that takes 30 orders between two looks lets 30 go, and those that wait are no more and more.
        let committed = refused(3_000);
        let (mut shard, mut gone, mut waits) = (OfShard::default(), 0, Vec::new());
        for look in 1..=100 {
            let cutoff = Time(look * 30 * 1_000_000);
            for id in shard.due_to_archive(&committed, cutoff, 1) {
                archive(&committed, id);
                gone += 1;
            }
            waits.push(look * 30 - gone);
        }
        assert!(waits.iter().all(|waiting| *waiting <= 30 * 8), "{waits:?}");
        assert!(gone >= 3_000 - 30 * 8, "{gone}");
    }

    #[test]
    fn what_is_stuck_in_one_state_holds_up_no_other() {
        // (A closed one would need its shipments, an expired one its provider.)
        let states = [OrderState::Cancelled, OrderState::Rejected];
        for stuck in states {
            let committed = Committed::default();
            for number in 0..30 {
                over(&committed, number, states[(number % 2) as usize]);
            }
            let is_stuck = |id: OrderId| states[(id.time_ms() / 1_000 % 2) as usize] == stuck;
            let (mut shard, mut gone) = (OfShard::default(), 0);
            for _ in 0..40 {
                for id in shard.due_to_archive(&committed, Time(i64::MAX / 2), 1) {
                    if !is_stuck(id) {
                        archive(&committed, id);
                        gone += 1;
                    }
                }
            }
            assert_eq!(gone, 15, "{stuck:?} is stuck");
        }
    }

    #[test]
    fn another_age_makes_old_at_once_what_that_says_and_trusts_a_wrong_clock_no_more() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let micros = |by: Duration| by.as_micros() as i64;
        let (start, logged) = (Instant::now(), Time(micros(20_000 * DAY)));
        let old = |age: Duration| Time(logged.0 - micros(age));
        // A clock that is right: all that is older than the new age, at once.
        let mut limit = Limit::default();
        assert_eq!(
            limit.advance(old(30 * DAY), 30 * DAY, logged, start),
            old(30 * DAY)
        );
        limit.change(Some(30 * DAY), Some(DAY));
        assert_eq!(limit.advance(old(DAY), DAY, logged, start + LOOK), old(DAY));
        // And back again.
        limit.change(Some(DAY), Some(30 * DAY));
        assert_eq!(
            limit.advance(old(30 * DAY), 30 * DAY, logged, start + 2 * LOOK),
            old(30 * DAY)
        );
        // One that is a year ahead is believed as little as before.
        let ahead = |age: Duration| Time(old(age).0 + micros(365 * DAY));
        let mut limit = Limit::default();
        let begin = limit.advance(ahead(30 * DAY), 30 * DAY, logged, start);
        limit.change(Some(30 * DAY), Some(DAY));
        let then = limit.advance(ahead(DAY), DAY, logged, start + LOOK);
        assert_eq!(then.0 - begin.0, micros(29 * DAY + 2 * LOOK));
        // Off and on again begins anew.
        limit.change(Some(DAY), None);
        limit.change(None, Some(DAY));
        assert_eq!(
            limit.advance(ahead(DAY), DAY, logged, start),
            Time(old(DAY).0 + micros(AHEAD_MAX))
        );
    }

    #[test]
    fn a_clock_that_is_wrong_from_the_start_on_makes_next_to_nothing_old() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let micros = |by: Duration| by.as_micros() as i64;
        let (start, logged) = (Instant::now(), Time(micros(20_000 * DAY)));
        let old = |at: Time| Time(at.0 - micros(30 * DAY));
        // A year ahead: what was logged last says what is old, and half an hour more.
        let mut limit = Limit::default();
        let clock = |passed: Duration| old(Time(logged.0 + micros(365 * DAY + passed)));
        let begin = limit.advance(clock(Duration::ZERO), 30 * DAY, logged, start);
        assert_eq!(begin, Time(old(logged).0 + micros(AHEAD_MAX)));
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += LOOK;
            let cutoff = limit.advance(clock(now), 30 * DAY, logged, start + now);
            assert_eq!(
                cutoff.0 - begin.0,
                micros(2 * now),
                "twice as fast as time passes"
            );
        }
        // One that is right has all that is old at once, and so it goes on.
        let mut limit = Limit::default();
        for passed in [Duration::ZERO, LOOK, 5 * LOOK] {
            let wanted = old(Time(logged.0 + micros(LOOK + passed)));
            assert_eq!(limit.advance(wanted, 30 * DAY, logged, start + passed), wanted);
        }
        // One that is behind makes less old, at the beginning as later, and all that is old as soon as it is right.
        let (behind, right) = (old(old(logged)), old(logged));
        let mut limit = Limit::default();
        for (wanted, passed) in [(behind, 0), (right, 1), (behind, 2), (right, 3)] {
            let cutoff = limit.advance(wanted, 30 * DAY, logged, start + passed * LOOK);
            assert_eq!(cutoff, wanted, "look {passed}");
        }
        // Whoever loses the lead, and has it again, believes a clock no more than before: not what that has logged itself since.
        let mut of_shard = OfShard::default();
        let begin = of_shard
            .close
            .advance(clock(Duration::ZERO), 30 * DAY, logged, start);
        of_shard.forget();
        let of_it = Time(logged.0 + micros(365 * DAY));
        let again = of_shard.close.advance(clock(LOOK), 30 * DAY, of_it, start + LOOK);
        assert_eq!(again.0 - begin.0, micros(2 * LOOK));
        // Where nothing was logged nothing is old, and what comes is told by its own time.
        let mut limit = Limit::default();
        let nothing = limit.advance(clock(Duration::ZERO), Duration::ZERO, Time(0), start);
        assert_eq!(nothing, Time(0));
        let wanted = Time(logged.0 + 1);
        assert_eq!(limit.advance(wanted, Duration::ZERO, logged, start), wanted);
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
