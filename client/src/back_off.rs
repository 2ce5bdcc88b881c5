//! How long to wait before the next try: by chance, up to a bound that doubles, so that many clients do not come back at the same moment.

use std::time::Duration;

/// The waits of one call.
pub(crate) struct BackOff {
    bound: Duration,
    max: Duration,
}

impl BackOff {
    pub(crate) fn new((min, max): (Duration, Duration)) -> Self {
        Self {
            bound: min.min(max),
            max,
        }
    }

    /// The next wait: at least as long as a node asked for.
    pub(crate) fn next(&mut self, asked: Duration) -> Duration {
        let wait = self.bound.mul_f64(chance());
        self.bound = (2 * self.bound).min(self.max);
        // Behind what was asked for by chance, too: all were asked the same.
        asked + wait
    }
}

/// A number from 0 to 1. Where the system has no randomness it is the middle: the wait is still bounded.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_are_never_shorter_than_asked() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(100));
        let mut back_off = BackOff::new((min, max));
        let mut bound = min;
        for _ in 0..20 {
            assert!(back_off.next(Duration::ZERO) <= bound);
            bound = (2 * bound).min(max);
        }
        let asked = Duration::from_secs(1);
        let wait = back_off.next(asked);
        assert!(asked <= wait && wait <= asked + max);
    }
}
