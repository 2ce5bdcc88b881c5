//! How fast a snapshot of this node's own state is written: for a part of the time on one thread, what it waits for the disk included, so
//! that it costs those who write a little for some seconds rather than a core for a moment.
//!
//! It goes faster the more the log has grown beyond what made a snapshot due, of this group or of another that waits for its turn; and
//! without any pause where somebody waits for it, or the disk is short. So it is never for the pauses that more log is kept than twice what
//! makes a snapshot due, and what a group writes while one is made:
//!
//! ```text
//!  share of the time
//!   1    │                    ╭────────
//!        │                 ╱
//!   1/8  │──────────────╯
//!        └───────────────┬─────┬───────▶ log since the last snapshot, for what makes one due
//!                       1.5    2
//! ```

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::progress::Progress;

/// The part of the time that is worked on a snapshot where nothing presses.
const SHARE: f64 = 1.0 / 8.0;
/// From here on it goes faster: the log since the last snapshot, for what makes one due.
const HASTEN_AT: f64 = 1.5;
/// And without pauses from here on.
const HURRY_AT: f64 = 2.0;
/// No pause is longer, however slow the disk was: who closes the node waits for it.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A group's log, and the bytes of it that make a snapshot due.
pub(crate) struct Watched {
    pub(crate) progress: Arc<Progress>,
    pub(crate) due_at: u64,
}

/// The pace of one snapshot.
pub(crate) struct SnapshotPace {
    groups: Vec<Watched>,
    /// Somebody waits.
    urgent: Arc<AtomicBool>,
    /// Since when it works.
    begun: Cell<Instant>,
}

impl SnapshotPace {
    /// Of a snapshot that begins now, among groups whose logs are these.
    pub(crate) fn begin(groups: Vec<Watched>, urgent: Arc<AtomicBool>) -> Self {
        Self {
            groups,
            urgent,
            begun: Cell::new(Instant::now()),
        }
    }

    /// Pauses for the work that was done since the last pause. Blocks.
    pub(crate) fn pause(&self, is_disk_short: bool) {
        let share = match is_disk_short || self.urgent.load(Ordering::Relaxed) {
            true => 1.0,
            false => share_at(self.pressure()),
        };
        let pause = pause_for(self.begun.get().elapsed(), share);
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        self.begun.set(Instant::now());
    }

    /// How far the log of the group that has most is beyond what makes a snapshot due: 1 where it just is.
    fn pressure(&self) -> f64 {
        let of = |group: &Watched| group.progress.bytes_since_snapshot() as f64 / group.due_at.max(1) as f64;
        self.groups.iter().map(of).fold(0.0, f64::max)
    }
}

fn share_at(pressure: f64) -> f64 {
    let hurry = ((pressure - HASTEN_AT) / (HURRY_AT - HASTEN_AT)).clamp(0.0, 1.0);
    SHARE + (1.0 - SHARE) * hurry
}

/// How long is paused for so much work, to take this part of a core.
fn pause_for(worked: Duration, share: f64) -> Duration {
    worked.mul_f64(share.recip() - 1.0).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::GroupId;

    const DUE_AT: u64 = 1_000;

    fn pace(logs: &[u64]) -> SnapshotPace {
        let watched = logs.iter().map(|bytes| {
            let progress = Progress::new(GroupId(1), 1, Arc::new(Notify::new()), DUE_AT);
            progress.note_appended(*bytes);
            Watched {
                progress: Arc::new(progress),
                due_at: DUE_AT,
            }
        });
        SnapshotPace::begin(watched.collect(), Arc::default())
    }

    #[test]
    fn the_more_log_there_is_the_faster_it_goes() {
        for (logs, share) in [
            (&[][..], SHARE),
            (&[1_000], SHARE),
            (&[1_499, 0], SHARE),
            (&[0, 1_750], (1.0 + SHARE) / 2.0),
            (&[1_000, 2_000], 1.0),
            (&[9_000], 1.0),
        ] {
            let found = share_at(pace(logs).pressure());
            assert!((found - share).abs() < 0.01, "{logs:?}: {found}, not {share}");
        }
    }

    #[test]
    fn it_pauses_for_what_it_did_and_never_long() {
        let ms = Duration::from_millis;
        for (worked, share, pause) in [
            (ms(1), SHARE, ms(7)),
            (ms(1), 0.5, ms(1)),
            (ms(1), 1.0, ms(0)),
            (ms(5_000), SHARE, PAUSE_MAX),
        ] {
            assert_eq!(pause_for(worked, share), pause, "{worked:?} at {share}");
        }
    }

    #[test]
    fn nobody_is_kept_waiting_by_a_pause() {
        // Of work without end: any pause would be as long as there is.
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
        let paused = |pace: &SnapshotPace, is_disk_short| {
            pace.begun.set(long_ago.unwrap_or_else(Instant::now));
            let asked = Instant::now();
            pace.pause(is_disk_short);
            asked.elapsed()
        };
        let pace = pace(&[DUE_AT]);
        if long_ago.is_some() {
            assert!(paused(&pace, false) >= PAUSE_MAX);
        }
        assert!(paused(&pace, true) < PAUSE_MAX);
        pace.urgent.store(true, Ordering::Relaxed);
        assert!(paused(&pace, false) < PAUSE_MAX);
    }
}
