//! The wall clock: the one place where a node asks what time it is.
//!
//! Nothing may be decided by it alone: it jumps, and differs from node to node. Records are stamped with it by who leads, and never go
//! back within a group. Timeouts and elections go by the monotonic clock, which is not this one.
//!
//! So that histories can be checked while clocks jump, a build with debug assertions moves its clock by what a file says
//! ([`VARIABLE`]), forwards and backwards while it runs. In any other build there is nothing to move, and the variable is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// So far, in microseconds, may another clock be ahead of this node's and still be followed: five minutes. Whoever is further ahead has a clock that
/// is wrong, and the others are not to have it, too.
pub const AHEAD_MAX_US: i64 = 5 * 60 * 1_000_000;

/// The times that a node stamps records with. Of two records of which one comes of the other, on whatever shard and node, this one's time is
/// not the earlier: what a node stamps is never before what it has stamped, applied or heard of from another node.
///
/// So all records up to some time, of all groups, are a state that there could have been after a crash: of nothing that is in it the
/// cause is missing (`docs/backup.md`). Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct CausalClock(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Microseconds since 1970.
    latest: AtomicI64,
    /// How often another clock was not followed.
    refused: AtomicU64,
}

impl CausalClock {
    /// The time, in microseconds since 1970: never before one that was given out earlier, or observed.
    pub fn now_us(&self) -> i64 {
        let wall = wall_us();
        self.0.latest.fetch_max(wall, Ordering::AcqRel).max(wall)
    }

    /// A time from which on this clock has gone. Without a look at the wall clock.
    pub fn latest_us(&self) -> i64 {
        self.0.latest.load(Ordering::Acquire)
    }

    /// Something is known here that was stamped so. False where that is so far ahead that it is not followed.
    pub fn observe(&self, time_us: i64) -> bool {
        // Nearly always: what comes from elsewhere is a little old.
        if time_us <= self.latest_us() {
            return true;
        }
        if time_us > wall_us().saturating_add(AHEAD_MAX_US) {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.0.latest.fetch_max(time_us, Ordering::AcqRel);
        true
    }

    /// How often something was stamped so far ahead that it was not followed.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// Which clock it is makes no difference to what a node is opened with.
impl PartialEq for CausalClock {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CausalClock {}

fn wall_us() -> i64 {
    wall_clock()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros() as i64
}

/// The variable that names a file with the milliseconds to add to the clock, a number that may be negative.
pub const VARIABLE: &str = "DOCKET_TEST_CLOCK";

/// What time it is here.
#[cfg(not(debug_assertions))]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// What time it is here, moved by what a test says.
#[cfg(debug_assertions)]
pub fn wall_clock() -> SystemTime {
    moved::by_offset(SystemTime::now())
}

/// Moves the clock from now on by what the file says that [`VARIABLE`] names. Does nothing where that is not set.
///
/// # Errors
/// This build does not move its clock, or the file cannot be followed.
pub fn follow_variable() -> Result<(), String> {
    match std::env::var_os(VARIABLE) {
        None => Ok(()),
        #[cfg(debug_assertions)]
        Some(path) => crate::followed::follow(VARIABLE, path.into(), moved::take),
        #[cfg(not(debug_assertions))]
        Some(_) => Err(format!(
            "{VARIABLE} moves the clock, which only a build with debug assertions does, for its tests: unset it"
        )),
    }
}

#[cfg(debug_assertions)]
mod moved {
    use std::{
        sync::atomic::{AtomicI64, Ordering},
        time::{Duration, SystemTime},
    };

    static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

    pub(super) fn by_offset(now: SystemTime) -> SystemTime {
        moved(now, OFFSET_MS.load(Ordering::Relaxed))
    }

    /// Another time; the same where there is no such time.
    pub(super) fn moved(now: SystemTime, offset_ms: i64) -> SystemTime {
        let by = Duration::from_millis(offset_ms.unsigned_abs());
        let moved = if offset_ms < 0 {
            now.checked_sub(by)
        } else {
            now.checked_add(by)
        };
        moved.unwrap_or(now)
    }

    /// Moves the clock by so many milliseconds.
    pub(super) fn take(text: &str) -> Result<(), String> {
        let offset_ms = text.parse::<i64>().map_err(|cause| cause.to_string())?;
        if OFFSET_MS.swap(offset_ms, Ordering::Relaxed) != offset_ms {
            tracing::warn!(offset_ms, "the clock is moved by a test");
        }
        Ok(())
    }
}

#[cfg(test)]
mod causal_tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_not_before_what_was_observed_unless_that_is_far_ahead() {
        let clock = CausalClock::default();
        let now = clock.now_us();
        let soon = now + AHEAD_MAX_US - 60_000_000;
        assert!(clock.observe(soon) && clock.clone().now_us() == soon);
        assert!(clock.observe(now), "what is old is nothing new");
        assert_eq!((clock.now_us(), clock.refused()), (soon, 0));
        // A year, and the end of time.
        for far in [now + 365 * 86_400 * 1_000_000, i64::MAX] {
            assert!(!clock.observe(far));
        }
        assert_eq!((clock.now_us(), clock.refused()), (soon, 2));
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::moved::moved;

    #[test]
    fn a_clock_is_moved_forwards_and_backwards_and_never_out_of_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(moved(now, 0), now);
        assert_eq!(moved(now, 1_500), now + Duration::from_millis(1_500));
        assert_eq!(moved(now, -1_500), now - Duration::from_millis(1_500));
        // Whatever it is, it does not panic.
        let _ = (moved(now, i64::MIN), moved(now, i64::MAX));
    }
}
