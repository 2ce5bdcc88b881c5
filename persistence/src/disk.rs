//! Whether the disk has room: new client writes are refused before it is full, so that what the node needs for itself still fits.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::options::DISK_POLL_MS;

/// The disk's room, as callers decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// There is room (or it cannot be told).
    Ok,
    /// Less than the reserve is left: refuse new client writes. Appends still work, into the reserve.
    Low {
        /// Bytes left.
        free_bytes: u64,
    },
}

/// Judges free space with hysteresis: low below the reserve, recovered a quarter above it.
pub(crate) struct Space {
    reserve_bytes: u64,
    seen: Mutex<Seen>,
}

struct Seen {
    disk: Disk,
    at: Option<Instant>,
}

impl Space {
    pub(crate) fn new(reserve_bytes: u64) -> Self {
        Self {
            reserve_bytes,
            seen: Mutex::new(Seen {
                disk: Disk::Ok,
                at: None,
            }),
        }
    }

    /// Takes a fresh reading.
    pub(crate) fn observe(&self, free_bytes: Option<u64>, now: Instant) -> Disk {
        let mut seen = self.seen.lock();
        seen.at = Some(now);
        let low_below = match seen.disk {
            Disk::Ok => self.reserve_bytes,
            Disk::Low { .. } => self.reserve_bytes.saturating_add(self.reserve_bytes / 4),
        };
        seen.disk = match free_bytes {
            Some(free_bytes) if free_bytes < low_below => Disk::Low { free_bytes },
            _ => Disk::Ok,
        };
        seen.disk
    }

    /// The last reading, renewed by `free_bytes` when it is too old.
    pub(crate) fn current(&self, free_bytes: impl FnOnce() -> Option<u64>, now: Instant) -> Disk {
        let fresh = {
            let seen = self.seen.lock();
            let age = seen.at.map(|at| now.saturating_duration_since(at));
            age.is_some_and(|age| age < Duration::from_millis(DISK_POLL_MS))
                .then_some(seen.disk)
        };
        fresh.unwrap_or_else(|| self.observe(free_bytes(), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_low_below_the_reserve_and_recovers_a_quarter_above_it() {
        let space = Space::new(1_000);
        let now = Instant::now();
        let readings = [
            (Some(1_000), Disk::Ok),
            (Some(999), Disk::Low { free_bytes: 999 }),
            (Some(1_200), Disk::Low { free_bytes: 1_200 }),
            (Some(1_250), Disk::Ok),
            (Some(1_000), Disk::Ok),
            (None, Disk::Ok),
        ];
        for (free, expected) in readings {
            assert_eq!(space.observe(free, now), expected, "{free:?} bytes free");
        }
    }

    #[test]
    fn a_reading_is_renewed_only_when_it_is_old() {
        let space = Space::new(1_000);
        let now = Instant::now();
        space.observe(Some(10), now);
        assert_eq!(space.current(|| Some(5_000), now), Disk::Low { free_bytes: 10 });
        let later = now + Duration::from_millis(DISK_POLL_MS);
        assert_eq!(space.current(|| Some(5_000), later), Disk::Ok);
    }
}
