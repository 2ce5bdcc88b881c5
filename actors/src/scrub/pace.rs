//! How fast it is read.

use std::{
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

/// Between two looks whether the node stops.
const NAP: Duration = Duration::from_millis(50);
/// What was not read in time is not made up for beyond this.
const BURST: Duration = Duration::from_millis(100);

/// So many bytes a second, over all that is read.
pub(super) struct Pace {
    /// When all that was read so far may have been, at this pace.
    due: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Waits until so many bytes more may have been read; 0 bytes a second is no bound. Ends the whole where it `is_over`.
    pub(super) fn keep(
        &mut self,
        bytes: u64,
        bytes_per_second: u64,
        is_over: &dyn Fn() -> bool,
    ) -> ControlFlow<()> {
        if bytes_per_second > 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
            let now = Instant::now();
            self.due = self.due.max(now.checked_sub(BURST).unwrap_or(now)) + takes;
        }
        loop {
            if is_over() {
                return ControlFlow::Break(());
            }
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            thread::sleep(left.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_in_a_second_than_is_asked_for_and_a_stop_is_heard() {
        let (mut pace, begun) = (Pace::new(), Instant::now());
        for _ in 0..20 {
            assert!(pace.keep(10_000, 1_000_000, &|| false).is_continue());
        }
        // 200,000 bytes at a million a second, of which a tenth of a second may have been saved up.
        assert!(
            begun.elapsed() >= Duration::from_millis(100),
            "{:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        assert!(pace.keep(u64::MAX >> 20, 1, &|| true).is_break());
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert!(Pace::new().keep(1 << 40, 0, &|| false).is_continue());
    }
}
