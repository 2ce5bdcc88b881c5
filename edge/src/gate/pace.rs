//! How many orders are in flight at a time: as many as are done within the time that an order may take.
//!
//! More in flight than that makes nothing faster, only later: by Little's law (J. D. C. Little, "A Proof for the Queuing
//! Formula L = λW", 1961) what is in flight is the rate times the time that each takes. So the rate of the last window times
//! the time that is meant is the bound. It is drawn in only when orders take longer than that, and let out again when
//! some were refused though they do not.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    time::{Duration, Instant},
};

/// How long orders are watched before the bound is set again.
const WINDOW: Duration = Duration::from_millis(100);
/// Of fewer orders in a window the mean says little.
const SAMPLE_MIN: u64 = 16;
/// The bound is never lower: group commit needs company, and a few callers are no overload on the slowest machine.
pub const LEAST: usize = 256;
/// An order waits for one commit of others and for its own, each of which may have to wait for one more: a disk that is
/// slow is not a queue that is long.
const SYNCS: u32 = 4;

/// An order may take as long as it takes.
const UNBOUNDED: u64 = u64::MAX;

/// The bound of orders in flight.
#[derive(Debug)]
pub struct Pace {
    bound: AtomicUsize,
    most: AtomicUsize,
    /// What an order may take beside the disk, in µs; [`UNBOUNDED`] where the bound is always the most.
    meant_us: AtomicU64,
    /// What an order may take, in µs.
    allowed_us: AtomicU64,
    began: Instant,
    /// When the window ends, in µs since `began`.
    ends_us: AtomicU64,
    orders: AtomicU64,
    took_us: AtomicU64,
    /// Some were refused in this window.
    reached: AtomicBool,
}

impl Pace {
    /// At most `most`, of which each is meant to take `meant` and what the disk takes.
    pub fn new(most: usize, meant: Option<Duration>) -> Self {
        Self {
            bound: AtomicUsize::new(most),
            most: AtomicUsize::new(most),
            meant_us: AtomicU64::new(micros(meant)),
            allowed_us: AtomicU64::new(meant.unwrap_or_default().as_micros() as u64),
            began: Instant::now(),
            ends_us: AtomicU64::new(WINDOW.as_micros() as u64),
            orders: AtomicU64::new(0),
            took_us: AtomicU64::new(0),
            reached: AtomicBool::new(false),
        }
    }

    /// Goes by these from now on, as one that was made with them.
    pub fn set_bounds(&self, most: usize, meant: Option<Duration>) {
        self.most.store(most, Relaxed);
        self.meant_us.store(micros(meant), Relaxed);
        // The disk adds to it when it is next looked at.
        self.allowed_us
            .store(meant.unwrap_or_default().as_micros() as u64, Relaxed);
        self.bound.store(most, Relaxed);
    }

    /// How many may be in flight now.
    pub fn bound(&self) -> usize {
        self.bound.load(Relaxed)
    }

    /// One was refused, since so many are in flight.
    pub fn reached(&self) {
        self.reached.store(true, Relaxed);
    }

    /// The disk takes so long for a sync now.
    pub fn disk(&self, sync: Duration) {
        let meant = self.meant_us.load(Relaxed);
        let meant = if meant == UNBOUNDED { 0 } else { meant };
        let sync = (SYNCS * sync).as_micros() as u64;
        self.allowed_us.store(meant.saturating_add(sync), Relaxed);
    }

    /// An order that was let in at `since` is answered. Says whether more may be in flight from now on.
    pub fn done(&self, since: Instant) -> bool {
        if self.meant_us.load(Relaxed) == UNBOUNDED {
            return false;
        }
        let now = Instant::now();
        self.took_us
            .fetch_add(now.duration_since(since).as_micros() as u64, Relaxed);
        self.orders.fetch_add(1, Relaxed);
        let at_us = now.duration_since(self.began).as_micros() as u64;
        let ends_us = self.ends_us.load(Acquire);
        if at_us < ends_us || self.orders.load(Relaxed) < SAMPLE_MIN {
            return false;
        }
        let next_us = at_us + WINDOW.as_micros() as u64;
        // Whoever is first sets the bound.
        let first = self.ends_us.compare_exchange(ends_us, next_us, AcqRel, Relaxed);
        first.is_ok() && self.set(at_us - ends_us + WINDOW.as_micros() as u64)
    }

    /// The window is over now, however little of it has passed.
    #[cfg(test)]
    pub fn end_window(&self) {
        self.ends_us.store(0, Relaxed);
    }

    fn set(&self, window_us: u64) -> bool {
        let (orders, took_us) = (self.orders.swap(0, Relaxed), self.took_us.swap(0, Relaxed));
        let reached = self.reached.swap(false, Relaxed);
        let (allowed_us, bound) = (self.allowed_us.load(Relaxed), self.bound());
        let next = if took_us / orders.max(1) > allowed_us {
            // Only ever less: a window with a pause in it has a low rate, and the next one a high one.
            (u128::from(orders) * u128::from(allowed_us) / u128::from(window_us.max(1))).min(bound as u128)
                as usize
        } else if reached {
            bound + bound / 8
        } else {
            return false;
        };
        let next = next.max(LEAST).min(self.most.load(Relaxed));
        self.bound.store(next, Relaxed);
        next > bound
    }
}

fn micros(meant: Option<Duration>) -> u64 {
    meant.map_or(UNBOUNDED, |meant| meant.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEANT: Duration = Duration::from_millis(50);

    /// A window of orders that took so long each.
    fn window(pace: &Pace, orders: u64, each: Duration) {
        pace.orders.store(orders, Relaxed);
        pace.took_us.store(orders * each.as_micros() as u64, Relaxed);
        pace.set(WINDOW.as_micros() as u64);
    }

    #[test]
    fn what_takes_too_long_is_drawn_in_to_what_is_done_in_time() {
        let pace = Pace::new(2_048, Some(MEANT));
        // 20,000 a second: 1,000 of them in 50 ms.
        window(&pace, 2_000, Duration::from_secs(1));
        assert_eq!(pace.bound(), 1_000);
        window(&pace, 2_000, MEANT);
        assert_eq!(pace.bound(), 1_000, "in time, and nobody is refused");
        window(&pace, 1, Duration::from_secs(1));
        assert_eq!(pace.bound(), LEAST);
    }

    #[test]
    fn whoever_is_refused_though_all_is_in_time_lets_it_out() {
        let pace = Pace::new(2_048, Some(MEANT));
        window(&pace, 2_000, Duration::from_secs(1));
        pace.reached();
        window(&pace, 2_000, Duration::from_millis(10));
        assert_eq!(pace.bound(), 1_125);
        for _ in 0..100 {
            pace.reached();
            window(&pace, 2_000, Duration::from_millis(10));
        }
        assert_eq!(pace.bound(), 2_048, "and never further than configured");
    }

    #[test]
    fn other_bounds_are_those_of_one_that_was_made_with_them() {
        let pace = Pace::new(2_048, Some(MEANT));
        window(&pace, 1, Duration::from_secs(1));
        assert_eq!(pace.bound(), LEAST);
        pace.set_bounds(1_024, Some(2 * MEANT));
        assert_eq!(pace.bound(), 1_024);
        window(&pace, 2_000, MEANT + MEANT / 2);
        assert_eq!(pace.bound(), 1_024, "within the new time");
        pace.set_bounds(4_096, None);
        pace.disk(Duration::from_secs(1));
        assert!(pace.bound() == 4_096 && !pace.done(pace.began));
    }

    #[test]
    fn a_slow_disk_is_not_a_long_queue() {
        let pace = Pace::new(2_048, Some(MEANT));
        pace.disk(Duration::from_millis(100));
        window(&pace, 2_000, Duration::from_millis(400));
        assert_eq!(pace.bound(), 2_048);
        pace.disk(Duration::from_millis(1));
        window(&pace, 2_000, Duration::from_millis(400));
        assert_eq!(pace.bound(), 1_080);
    }

    #[test]
    fn it_is_set_by_the_orders_themselves() {
        let pace = Pace::new(2_048, Some(Duration::ZERO));
        let since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        pace.end_window();
        for _ in 0..SAMPLE_MIN {
            pace.done(since);
        }
        assert_eq!(pace.bound(), LEAST);
        let off = Pace::new(2_048, None);
        off.end_window();
        for _ in 0..SAMPLE_MIN {
            off.done(since);
        }
        assert_eq!(off.bound(), 2_048);
        assert_eq!(Pace::new(10, Some(MEANT)).bound(), 10, "fewer than the least");
    }
}
