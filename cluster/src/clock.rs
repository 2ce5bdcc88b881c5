//! The wall clock: the one place where a node asks what time it is.
//!
//! Nothing may be decided by it alone: it jumps, and differs from node to node. Records are stamped with it by who leads, and never go
//! back within a group. Timeouts and elections go by the monotonic clock, which is not this one.
//!
//! So that histories can be checked while clocks jump, a build with debug assertions moves its clock by what a file says
//! ([`VARIABLE`]), forwards and backwards while it runs. In any other build there is nothing to move, and the variable is refused.

use std::time::SystemTime;

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
        Some(path) => moved::follow(path.into()),
        #[cfg(not(debug_assertions))]
        Some(_) => Err(format!(
            "{VARIABLE} moves the clock, which only a build with debug assertions does, for its tests: unset it"
        )),
    }
}

#[cfg(debug_assertions)]
mod moved {
    use std::{
        fs,
        path::PathBuf,
        sync::atomic::{AtomicI64, Ordering},
        thread,
        time::{Duration, SystemTime},
    };

    use super::VARIABLE;

    /// How often the file is read.
    const LOOK_AGAIN: Duration = Duration::from_millis(20);

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

    /// Reads the file now, and again and again as long as the process lives.
    pub(super) fn follow(path: PathBuf) -> Result<(), String> {
        let read = move || {
            let text = fs::read_to_string(&path).map_err(|cause| cause.to_string())?;
            text.trim().parse::<i64>().map_err(|cause| cause.to_string())
        };
        let set = |offset_ms: i64| {
            let before = OFFSET_MS.swap(offset_ms, Ordering::Relaxed);
            if before != offset_ms {
                tracing::warn!(offset_ms, "the clock is moved by a test");
            }
        };
        set(read().map_err(|cause| format!("{VARIABLE}: {cause}"))?);
        let following = thread::Builder::new()
            .name("test-clock".to_owned())
            .spawn(move || {
                loop {
                    thread::sleep(LOOK_AGAIN);
                    // What cannot be read is being written, or its test is over.
                    if let Ok(offset_ms) = read() {
                        set(offset_ms);
                    }
                }
            });
        following
            .map(drop)
            .map_err(|cause| format!("{VARIABLE}: {cause}"))
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
