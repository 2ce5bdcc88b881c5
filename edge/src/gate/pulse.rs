//! How far the node is behind with its work, and how many calls it lets in therefore.
//!
//! Whatever overloads a node (many orders, large ones, few cores), what is ready to run then waits for its turn. So that is
//! measured: a task sleeps for [`PERIOD`] and sees how much later than that it is woken. A node that is merely busy is late
//! now and then; one that has a standing queue is always late, so the least of a window's delays tells the two apart
//! (CoDel, RFC 8289). The bound of calls then falls by a share, and rises by a smaller one while there is no such queue
//! (additive increase, multiplicative decrease in spirit: it converges on what the node does in time, and who is refused is
//! refused within a few such delays).

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use crate::telemetry::Telemetry;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(20);
/// Looks before the bound is moved.
const WINDOW: usize = 5;
/// A runtime whose timers tick in milliseconds wakes nobody sooner than this after its time.
const TICK: Duration = Duration::from_millis(1);
/// A standing queue of this length is too long.
const LATE: Duration = Duration::from_millis(10);

/// Moves the bound until `over`.
pub(crate) async fn run(admission: Arc<Admission>, telemetry: Arc<Telemetry>, over: CancellationToken) {
    loop {
        let mut least = Duration::MAX;
        for _ in 0..WINDOW {
            let due = Instant::now() + PERIOD;
            tokio::select! {
                () = over.cancelled() => return,
                () = sleep_until(due) => least = least.min(due.elapsed().saturating_sub(TICK)),
            }
        }
        admission.let_in(next(admission.calls(), least));
        telemetry.delay.set(least.as_secs_f64());
        telemetry.calls_bound.set(admission.calls() as f64);
    }
}

/// The bound that follows `calls` after a window in which every look came at least `late`.
fn next(calls: usize, late: Duration) -> usize {
    if late > LATE {
        calls - calls.div_ceil(4)
    } else if late < LATE / 2 {
        calls + calls.div_ceil(8)
    } else {
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AdmissionConfig;

    #[test]
    fn the_bound_falls_fast_rises_slowly_and_rests_in_between() {
        let on_time = Duration::from_millis(1);
        let late = Duration::from_millis(11);
        assert_eq!(next(100, late), 75);
        assert_eq!(next(100, on_time), 113);
        assert_eq!(next(100, Duration::from_millis(7)), 100);
        let windows = |mut calls: usize, late, until: &dyn Fn(usize) -> bool| {
            let mut count = 0;
            while !until(calls) {
                calls = next(calls, late);
                count += 1;
            }
            count
        };
        // At ten windows a second.
        assert!(
            windows(2_048, late, &|calls| calls <= 64) <= 13,
            "it takes too long"
        );
        assert!(
            windows(64, on_time, &|calls| calls >= 2_048) <= 30,
            "it comes back too late"
        );
        assert_eq!(
            windows(1, on_time, &|calls| calls > 1),
            1,
            "it comes back from anywhere"
        );
    }

    /// Keeps the only thread of the runtime for as long as it is behind.
    async fn keep_busy(for_so_long: Duration, over: CancellationToken) {
        while !over.is_cancelled() {
            std::thread::sleep(for_so_long);
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_runtime_that_is_always_behind_lets_fewer_in_and_one_that_is_idle_more() {
        let admission = Admission::new(AdmissionConfig {
            max_calls: 1_000,
            min_calls: 10,
            ..AdmissionConfig::default()
        });
        let (over, telemetry) = (CancellationToken::new(), Arc::new(Telemetry::new()));
        let pulse = tokio::spawn(run(Arc::clone(&admission), telemetry, over.clone()));
        let busy = CancellationToken::new();
        let load = tokio::spawn(keep_busy(Duration::from_millis(40), busy.clone()));
        let reaches = async |what: &dyn Fn(usize) -> bool| {
            let wait = async {
                while !what(admission.calls()) {
                    tokio::time::sleep(PERIOD).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), wait).await
        };
        reaches(&|calls| calls == 10)
            .await
            .expect("it lets as many in as before");
        busy.cancel();
        load.await.unwrap();
        reaches(&|calls| calls == 1_000)
            .await
            .expect("it does not recover");
        over.cancel();
        pulse.await.unwrap();
    }
}
