//! Orders and edits whose payment was not authorised in time are given up, by whoever leads their shard.
//!
//! In the background, once a second, oldest first. It gives way: the more calls are in flight on the node, the fewer; where more and more wait it takes
//! its part under any load, since each of them holds stock. What is too old the clock says, within bounds ([`Limit`]): one that jumps
//! ahead gives up at once only what would have been given up soon.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use docket_engine::{Order, OrderCommand, OrderId, Time};

use super::Payments;
use crate::{
    admission::Admission, aging::Limit, chores::before, docket::AT_WORK_CALLS, entity::order::OrderMessage,
    shard::Shard,
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
/// A clock further ahead of the newest record is believed so far at most, when a shard begins to be led: longer than any pause of a node that serves.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 60);

/// Whose authorisation was to be asked for no later than this, in microseconds, is too late by now.
#[derive(Debug, Clone)]
pub(super) struct Late(Arc<AtomicI64>);

/// Whether an order, or its edit, has waited too long for its payment to be authorised.
pub(super) fn is_late(order: &Order, late: &Late) -> bool {
    let since = order.authorized_until(0);
    since.is_some_and(|since| since.0 <= late.0.load(Relaxed))
}

/// What is known of a shard, also while it is not led here.
pub(super) struct Expiry {
    admission: Arc<Admission>,
    limit: Limit,
    /// How long an order might wait when it was looked last.
    within: Duration,
    late: Late,
    /// The last of the orders whose edits wait for their provider that was looked at; `None` where all were.
    amending: Option<OrderId>,
}

impl Expiry {
    pub(super) fn new(admission: Arc<Admission>, payments: &Payments) -> Self {
        let within = payments.authorize_within();
        Self {
            admission,
            limit: Limit::new(LOOK, AHEAD_MAX.min(within / 2)),
            within,
            late: Late(Arc::new(AtomicI64::new(i64::MIN))),
            amending: None,
        }
    }

    /// What is late, as it will be.
    pub(super) fn late(&self) -> Late {
        self.late.clone()
    }

    /// Tells those that have waited too long that their payment, or their edit's, was not authorised in time.
    pub(super) fn look(&mut self, shard: &Arc<Shard>, payments: &Payments) {
        let within = payments.authorize_within();
        self.advance(
            within,
            before(within),
            shard.committed().last_time(),
            Instant::now(),
        );
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

    /// `wanted` is what the clock says is late, and `logged` the newest time of the shard's log.
    fn advance(&mut self, within: Duration, wanted: Time, logged: Time, now: Instant) {
        self.limit.change(Some(self.within), Some(within));
        self.within = within;
        let late = self.limit.advance(wanted, within, logged, now);
        self.late.0.store(late.0, Relaxed);
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
    use crate::{admission::AdmissionLimits, payments::PaymentOptions};

    const WITHIN: Duration = Duration::from_secs(15 * 60);

    fn micros(by: Duration) -> i64 {
        by.as_micros() as i64
    }

    fn expiry() -> Expiry {
        let payments = Payments::new(PaymentOptions {
            authorize_within: WITHIN,
            ..PaymentOptions::default()
        });
        Expiry::new(Admission::new(AdmissionLimits::default()), &payments)
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
    fn a_clock_that_jumps_ahead_gives_nothing_up_at_once() {
        let (mut expiry, start) = (expiry(), Instant::now());
        let logged = Time(micros(Duration::from_secs(1_000_000)));
        let late = expiry.late();
        let late = || late.0.load(Relaxed);
        let wanted = Time(logged.0 - micros(WITHIN));
        expiry.advance(WITHIN, wanted, logged, start);
        assert_eq!(late(), wanted.0);
        // An hour ahead: it comes closer twice as fast as time passes, and what was asked for just now has half of its time at least.
        for second in 1..=450 {
            let ahead = Time(wanted.0 + micros(Duration::from_secs(3_600)));
            expiry.advance(WITHIN, ahead, logged, start + Duration::from_secs(second));
            assert_eq!(late() - wanted.0, micros(Duration::from_secs(2 * second)));
            assert_eq!(late() < logged.0, second < 450);
        }
    }

    #[test]
    fn who_was_down_gives_what_waits_some_of_its_time_anew() {
        // Of a day nobody asked for anything, or the clock is wrong: it is not known which.
        let (mut expiry, start) = (expiry(), Instant::now());
        let logged = Time(micros(Duration::from_secs(1_000_000)));
        let day = Duration::from_secs(24 * 60 * 60);
        let wanted = |passed| Time(logged.0 + micros(day + passed) - micros(WITHIN));
        expiry.advance(WITHIN, wanted(Duration::ZERO), logged, start);
        let late = expiry.late();
        let late = || late.0.load(Relaxed);
        assert_eq!(late(), logged.0 - micros(WITHIN / 2));
        let mut passed = Duration::ZERO;
        while late() < logged.0 {
            passed += LOOK;
            expiry.advance(WITHIN, wanted(passed), logged, start + passed);
        }
        assert_eq!(passed, WITHIN / 4);
        // Another time is taken at once, in both directions.
        let before = late();
        passed += LOOK;
        expiry.advance(WITHIN / 3, wanted(passed), logged, start + passed);
        assert_eq!(late() - before, micros(2 * LOOK + WITHIN * 2 / 3));
        passed += LOOK;
        expiry.advance(WITHIN, wanted(passed), logged, start + passed);
        assert_eq!(late() - before, micros(4 * LOOK));
    }
}
