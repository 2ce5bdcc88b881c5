//! When a delivery that failed is tried again.

use super::limits::{BACK_OFF_FACTOR, BACK_OFF_FIRST_US, BACK_OFF_MAX_US};

/// The wait after so many failures, in microseconds: 5 seconds, 15, 45, … up to 2 hours, of which `jitter` (0 to 65,535) takes away up
/// to a quarter, so that what failed together does not come back together. At least `retry_after_us`, which the receiver asked for, up to
/// 2 hours.
pub fn back_off(failures: u32, jitter: u16, retry_after_us: Option<i64>) -> i64 {
    let factor = BACK_OFF_FACTOR
        .checked_pow(failures.saturating_sub(1))
        .unwrap_or(i64::MAX);
    let wait = BACK_OFF_FIRST_US.saturating_mul(factor).min(BACK_OFF_MAX_US);
    let less = wait / 4 * i64::from(jitter) / i64::from(u16::MAX);
    let asked = retry_after_us.unwrap_or_default().clamp(0, BACK_OFF_MAX_US);
    (wait - less).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn waits_grow_up_to_two_hours() {
        let waits: Vec<i64> = (1..=9).map(|failures| back_off(failures, 0, None) / S).collect();
        assert_eq!(waits, [5, 15, 45, 135, 405, 1_215, 3_645, 7_200, 7_200]);
        assert_eq!(back_off(u32::MAX, 0, None), BACK_OFF_MAX_US);
        assert_eq!(back_off(0, 0, None), 5 * S);
    }

    #[test]
    fn chance_takes_away_up_to_a_quarter() {
        assert_eq!(back_off(3, u16::MAX, None), 45 * S - 45 * S / 4);
        for jitter in [1, 999, 40_000] {
            let wait = back_off(3, jitter, None);
            assert!((45 * S - 45 * S / 4..=45 * S).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_within_bounds_and_not_for_less() {
        assert_eq!(back_off(1, 0, Some(60 * S)), 60 * S);
        assert_eq!(back_off(1, 0, Some(S)), 5 * S);
        assert_eq!(back_off(1, 0, Some(i64::MAX)), BACK_OFF_MAX_US);
        assert_eq!(back_off(1, 0, Some(-1)), 5 * S);
    }
}
