//! How fast a node sends what is not urgent and can be much: snapshots, and the log to replicas that only catch up.
//!
//! One pace for the whole node, whatever it sends to whom, because its disk and its network are one. Who sends reserves its turn and
//! waits for it; turns are taken in the order of asking. A sender that gives up while it waits has used its turn up, which costs the
//! others the time of one message.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// What may be sent at once after a pause, in milliseconds of the pace.
const BURST_MS: u64 = 100;

/// The pace of one node.
pub(crate) struct Pace {
    /// 0: no bound.
    bytes_per_second: AtomicU64,
    /// When all that was let through so far is sent at this pace.
    sent_at: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: AtomicU64::new(bytes_per_second),
            sent_at: Mutex::new(Instant::now()),
        }
    }

    /// At this pace from now on; turns that were given stay.
    pub(crate) fn set(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Relaxed);
    }

    /// Waits until so many bytes may be sent.
    pub(crate) async fn turn(&self, bytes: usize) {
        let bytes_per_second = self.bytes_per_second.load(Relaxed);
        if bytes_per_second == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        let begins = {
            let mut sent_at = self.sent_at.lock();
            let now = Instant::now();
            let burst = Duration::from_millis(BURST_MS);
            let begins = (*sent_at).max(now.checked_sub(burst).unwrap_or(now));
            *sent_at = begins + takes;
            begins
        };
        sleep_until(begins).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    const KIB: usize = 1024;

    #[tokio::test(start_paused = true)]
    async fn all_senders_together_keep_the_pace() {
        let pace = Pace::new(1024 * KIB as u64);
        let begun = Instant::now();
        let sender = async || {
            for _ in 0..16 {
                pace.turn(64 * KIB).await;
            }
        };
        // 4 MiB at 1 MiB a second; the last message's own time is nobody's to wait for.
        join_all((0..4).map(|_| sender())).await;
        let took = begun.elapsed();
        let least = Duration::from_millis(4_000 - BURST_MS - 70);
        assert!(least <= took && took <= Duration::from_secs(4), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_no_more_than_the_burst() {
        let pace = Pace::new(1024 * KIB as u64);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..32 {
            pace.turn(64 * KIB).await;
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(1_750),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nobody_waits() {
        let pace = Pace::new(0);
        let begun = Instant::now();
        pace.turn(1 << 40).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
