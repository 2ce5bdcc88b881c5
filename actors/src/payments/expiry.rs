//! Orders and edits whose payment was not authorised in time are given up, by whoever leads their shard.
//!
//! In the background, once a second, oldest first. It gives way: the more calls are in flight on the node, the fewer; where more and more wait it takes
//! its part under any load, since each of them holds stock. What is too old the clock says, within bounds ([`Limit`]): one that jumps
//! ahead gives up nothing at once that is not older than half of the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use docket_engine::{Order, OrderCommand, OrderId};

use super::{Payments, micros};
use crate::{
    admission::Admission, chores::before, docket::AT_WORK_CALLS, entity::order::OrderMessage, shard::Shard,
};

/// The time between two looks at what is due, where nothing changes.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// So many orders that are too old are given up with one look, and so many edits, where nothing else is to be done.
const EXPIRED_AT_ONCE: usize = 256;
/// So many under any load.
const EXPIRED_AT_LEAST: usize = 16;
/// Of what waits to be given up, one in so many is under any load.
const WAITING_SHARE: usize = 4;
/// So many are looked at with one look. The edits that wait are not in the order in which they were asked for.
const LOOKED_AT: usize = 1_024;
/// How much further a clock may have gone between two looks than time has passed: more is a jump.
const JUMP: Duration = LOOK;

/// Whose authorisation was to be asked for no later than this, in microseconds, is too late by now.
#[derive(Debug, Clone)]
pub(super) struct Late(Arc<AtomicI64>);

/// Whether an order, or its edit, has waited too long for its payment to be authorised.
pub(super) fn is_late(order: &Order, late: &Late) -> bool {
    let since = order.authorized_until(0);
    since.is_some_and(|since| since.0 <= late.0.load(Relaxed))
}

/// Since when what was asked for is too late, by a clock that may jump. It is believed when a node begins to lead and where it jumps ahead only as far as time
/// passes, twice as fast, until all that was stamped before is judged: of a node that was down it is not known whether it was, or whether its clock is wrong.
/// What is stamped from then on is judged by the same clock, right or wrong.
#[derive(Default)]
struct Limit {
    last: Option<Last>,
    /// What was stamped up to here is not judged by the clock as it is.
    until: Option<i64>,
    /// Nobody has looked since the shard began to be led: what is in its log may be another's, by another clock.
    is_new: bool,
}

/// A look, all in microseconds.
struct Last {
    at: Instant,
    clock: i64,
    /// The newest time of the shard's log.
    logged: i64,
    /// What was late, and how far that would be by a clock that never goes back.
    base: i64,
    within: i64,
}

impl Limit {
    /// What is late where an order may wait so long.
    fn advance(&mut self, within: i64, clock: i64, logged: i64, at: Instant) -> i64 {
        let wanted = clock.saturating_sub(within);
        let (base, furthest) = match &self.last {
            None => {
                self.until = (logged > 0).then_some(logged);
                (i64::MIN, logged.saturating_sub(within / 2))
            }
            Some(last) => {
                let passed = micros(at.saturating_duration_since(last.at));
                let expected = last.clock.saturating_add(passed).saturating_add(micros(JUMP));
                let is_jump = clock > expected;
                if is_jump {
                    self.until = self.until.max(Some(expected.max(last.logged)));
                }
                let is_of_others = self.is_new && logged != last.logged;
                if is_of_others {
                    self.until = self.until.max(Some(logged));
                }
                // Another time is taken at once.
                let base = last.base.saturating_add(last.within.saturating_sub(within));
                let base = base.saturating_add(passed);
                let furthest = base.saturating_add(passed);
                match self.until {
                    // Whatever was believed before, and however long nobody has looked: what was stamped last keeps half of its time.
                    Some(until) if is_jump || is_of_others || within != last.within => {
                        let most = until.saturating_sub(within / 2);
                        (base.min(most), furthest.min(most))
                    }
                    _ => (base, furthest),
                }
            }
        };
        self.is_new = false;
        let judged = wanted.min(furthest);
        self.until = self.until.filter(|until| judged < *until && judged < wanted);
        let late = if self.until.is_some() { judged } else { wanted };
        self.last = Some(Last {
            at,
            clock,
            logged,
            base: base.max(late),
            within,
        });
        late
    }
}

/// What is known of a shard, also while it is not led here.
pub(super) struct Expiry {
    admission: Arc<Admission>,
    limit: Limit,
    late: Late,
    /// The last of the orders whose edits wait for their provider that was looked at; `None` where all were.
    amending: Option<OrderId>,
}

impl Expiry {
    pub(super) fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            limit: Limit::default(),
            late: Late(Arc::new(AtomicI64::new(i64::MIN))),
            amending: None,
        }
    }

    /// The shard begins to be led. What is late, as it will be.
    pub(super) fn begin(&mut self) -> Late {
        self.limit.is_new = true;
        self.late.clone()
    }

    /// Tells those that have waited too long that their payment, or their edit's, was not authorised in time.
    pub(super) fn look(&mut self, shard: &Arc<Shard>, payments: &Payments) {
        let (clock, logged) = (before(Duration::ZERO), shard.committed().last_time());
        let within = payments.authorize_within_us();
        let late = self.limit.advance(within, clock.0, logged.0, Instant::now());
        self.late.0.store(late, Relaxed);
        let (orders, edits) = {
            let index = shard.committed().order_index.read();
            let orders: Vec<OrderId> = index.authorizing().take(LOOKED_AT).collect();
            let edits: Vec<OrderId> = index.amending(self.amending).take(LOOKED_AT).collect();
            (orders, edits)
        };
        // From the first again, behind the last.
        let is_all = edits.len() < LOOKED_AT;
        self.amending = edits.last().copied().filter(|_| !is_all);
        // Orders are in the order in which they were placed: behind one that is not late there is none that is.
        self.give_up(
            shard,
            orders.into_iter().map_while(|id| self.late_step(shard, id)),
        );
        self.give_up(
            shard,
            edits.into_iter().filter_map(|id| self.late_step(shard, id)),
        );
    }

    fn late_step(&self, shard: &Shard, id: OrderId) -> Option<(OrderId, u32)> {
        let late = |order: &Order| {
            let awaited = order.awaits_authorization();
            awaited.filter(|_| is_late(order, &self.late))
        };
        let number = shard.committed().orders.see(id, late).flatten();
        number.map(|number| (id, number))
    }

    fn give_up(&self, shard: &Arc<Shard>, late: impl Iterator<Item = (OrderId, u32)>) {
        let late: Vec<_> = late.collect();
        for (id, number) in late.iter().take(at_once(self.admission.calls(), late.len())) {
            let command = OrderCommand::Expire { number: *number };
            shard.tell_order(*id, OrderMessage::Tell { command });
        }
    }
}

/// How many are given up with one look, with so many calls in flight, where so many wait for that.
fn at_once(calls: usize, waiting: usize) -> usize {
    let idle = AT_WORK_CALLS.saturating_sub(calls);
    let least = EXPIRED_AT_LEAST.max(waiting / WAITING_SHARE);
    (EXPIRED_AT_ONCE * idle / AT_WORK_CALLS)
        .max(least)
        .min(EXPIRED_AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    /// A quarter of an hour.
    const WITHIN: i64 = 900 * SECOND;
    const LOGGED: i64 = 1_000_000 * SECOND;

    /// A limit, and what time it is since it began to be asked, in seconds.
    struct Looks {
        limit: Limit,
        start: Instant,
        second: i64,
        logged: i64,
    }

    impl Looks {
        fn new() -> Self {
            Self {
                limit: Limit::default(),
                start: Instant::now(),
                second: 0,
                logged: LOGGED,
            }
        }

        /// For so long it is not led here.
        fn pause(&mut self, seconds: i64) {
            self.second += seconds;
            self.limit.is_new = true;
        }

        /// What time it is by a clock that is right.
        fn now(&self) -> i64 {
            LOGGED + self.second * SECOND
        }

        /// What is late behind so many seconds, one look after another, by a clock that is so far ahead of what was logged first.
        fn after(&mut self, seconds: i64, within: i64, ahead: i64) -> i64 {
            let mut late = 0;
            for _ in 0..seconds.max(1) {
                let at = self.start + Duration::from_secs(self.second.unsigned_abs());
                let clock = self.now() + ahead;
                late = self.limit.advance(within, clock, self.logged, at);
                self.second += 1;
            }
            late
        }
    }

    #[test]
    fn with_more_calls_in_flight_fewer_are_given_up_but_where_many_wait_a_part_of_them() {
        assert_eq!(at_once(0, 1), EXPIRED_AT_ONCE);
        assert_eq!(at_once(AT_WORK_CALLS / 2, 1), EXPIRED_AT_ONCE / 2);
        for calls in [AT_WORK_CALLS, 10_000] {
            assert_eq!(at_once(calls, 30), EXPIRED_AT_LEAST, "{calls} calls");
            assert_eq!(at_once(calls, 400), 100, "{calls} calls");
            assert_eq!(at_once(calls, LOOKED_AT), EXPIRED_AT_ONCE, "{calls} calls");
        }
        let falling = (0..100).map(|calls| at_once(calls, 0)).collect::<Vec<_>>();
        assert!(falling.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_clock_that_is_right_is_believed() {
        let mut looks = Looks::new();
        for second in 0..2_000 {
            assert_eq!(looks.after(1, WITHIN, 0), LOGGED + second * SECOND - WITHIN);
        }
        // Another time is taken at once, in both directions.
        assert_eq!(looks.after(1, SECOND, 0), LOGGED + 1_999 * SECOND);
        assert_eq!(looks.after(1, WITHIN, 0), LOGGED + 2_001 * SECOND - WITHIN);
        // Nothing was logged yet.
        let clock = LOGGED + WITHIN;
        assert_eq!(Limit::default().advance(WITHIN, clock, 0, Instant::now()), LOGGED);
    }

    #[test]
    fn a_clock_that_jumps_ahead_gives_nothing_up_at_once() {
        for jump in [WITHIN, 365 * 24 * 3_600 * SECOND] {
            let mut looks = Looks::new();
            let before = looks.after(1_000, WITHIN, 0);
            let jumped = LOGGED + 999 * SECOND;
            assert_eq!(before, jumped - WITHIN);
            // What was asked for just before has half of its time at least.
            assert_eq!(looks.after(1, WITHIN, jump), before + 2 * SECOND);
            assert_eq!(looks.after(448, WITHIN, jump), jumped - 2 * SECOND);
            // All that was stamped before is judged then, and what was stamped since by the clock as it is.
            assert_eq!(looks.after(1, WITHIN, jump), jumped);
            for second in [451, 452] {
                let late = jumped + second * SECOND + jump - WITHIN;
                assert_eq!(looks.after(1, WITHIN, jump), late);
            }
        }
        // Back, and right again.
        let mut looks = Looks::new();
        looks.after(1_000, WITHIN, 0);
        let hour = 3_600 * SECOND;
        assert_eq!(
            looks.after(1, WITHIN, -hour),
            LOGGED + 1_000 * SECOND - WITHIN - hour
        );
        looks.after(500, WITHIN, 0);
        assert_eq!(looks.after(1, WITHIN, 0), LOGGED + 1_501 * SECOND - WITHIN);
    }

    /// Whatever this node believed while it led before.
    #[test]
    fn who_leads_again_gives_what_another_has_stamped_half_of_its_time() {
        let hour = 3_600 * SECOND;
        for ahead_before in [0, hour] {
            let mut looks = Looks::new();
            looks.after(1, WITHIN, 0);
            looks.after(2_000, WITHIN, ahead_before);
            looks.pause(3_600);
            // Another one has logged until now, by a clock that is right.
            looks.logged = looks.now();
            let until = looks.logged;
            // (What else was stamped by the next look is not told apart.)
            assert!(looks.after(1, WITHIN, hour) <= until + SECOND - WITHIN / 2);
            assert!(looks.after(224, WITHIN, hour) < until);
            assert!(looks.after(10, WITHIN, hour) >= until);
        }
        // With a clock that is right all is as it was, at once; and where nothing was logged it has waited all the while.
        for logs in [true, false] {
            let mut looks = Looks::new();
            looks.after(100, WITHIN, 0);
            looks.pause(3_600);
            if logs {
                looks.logged = looks.now();
            }
            let wanted = looks.now() - WITHIN;
            assert_eq!(looks.after(1, WITHIN, 0), wanted);
        }
    }

    #[test]
    fn a_clock_that_was_believed_once_is_not_when_it_jumps_again() {
        let mut looks = Looks::new();
        let hour = 3_600 * SECOND;
        looks.after(100, WITHIN, 0);
        assert!(looks.after(600, WITHIN, hour) > looks.now());
        // What it stamped: records never go back.
        looks.logged = looks.now() + hour;
        looks.after(1_000, WITHIN, 0);
        assert!(looks.after(1, WITHIN, 2 * hour) <= looks.logged - WITHIN / 2);
    }

    #[test]
    fn another_time_within_the_grace_leaves_half_of_it() {
        let (mut looks, day) = (Looks::new(), 24 * 3_600 * SECOND);
        looks.after(1, WITHIN, day);
        assert_eq!(looks.after(1, WITHIN / 3, day), LOGGED - WITHIN / 6);
        assert!(looks.after(74, WITHIN / 3, day) < LOGGED);
        assert!(looks.after(2, WITHIN / 3, day) > LOGGED);
    }

    #[test]
    fn who_was_down_gives_what_waits_some_of_its_time_anew() {
        // For a day nobody asked for anything, or the clock is wrong: it is not known which.
        let (mut looks, day) = (Looks::new(), 24 * 3_600 * SECOND);
        assert_eq!(looks.after(1, WITHIN, day), LOGGED - WITHIN / 2);
        assert_eq!(looks.after(224, WITHIN, day), LOGGED - 2 * SECOND);
        // A quarter of its time; what is placed since has all of its own, and no more.
        assert_eq!(looks.after(1, WITHIN, day), LOGGED + day + 225 * SECOND - WITHIN);
        assert_eq!(looks.after(1, WITHIN, day), LOGGED + day + 226 * SECOND - WITHIN);
    }
}
