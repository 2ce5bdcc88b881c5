//! Whether a node with a new program is as good as the others: what it measures in a window, held against the objectives, against what the
//! others measure meanwhile, and against what all of them measured before.
//!
//! A machine that is slow makes all nodes slow: that is no fault of a new program. So what is told by time or by share counts only where it
//! breaks the objective *and* is much worse than at the others, and than it was. What must never happen counts at once.

use std::time::Duration;

use super::metrics::Counts;

/// What has to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slo {
    /// 99 of 100 acknowledged orders take at most this, and so do 99 of 100 syncs of the journal.
    pub order: Duration,
    /// This part of the calls may fail by the service's fault, at most.
    pub failed_part: f64,
    /// Entries that a node may be behind the others.
    pub lag: u64,
    /// How many times worse than the others a node has to be.
    pub factor: f64,
    /// With fewer calls in a window nothing is made of the share that failed.
    pub least: f64,
    /// With fewer orders or syncs in a window that took too long nothing is made of them. It is these that are counted, and not all: a node whose
    /// syncs are slow has few of them.
    pub least_slow: f64,
}

impl Default for Slo {
    /// Those of docs/monitoring.md: a burn of 14.4 times the budgets, the threshold of a slow disk, and that of a replica that is behind.
    fn default() -> Self {
        Self {
            order: Duration::from_millis(50),
            failed_part: 14.4 * 0.0001,
            lag: 500,
            factor: 2.0,
            least: 20.0,
            least_slow: 5.0,
        }
    }
}

/// A node in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Whether it was ready at the end.
    pub is_ready: bool,
    /// What it measured.
    pub counts: Counts,
    /// Entries that it was behind the others at the end, in the group where that was most.
    pub lag: u64,
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What, in words.
    pub what: String,
    /// Whether once is enough.
    pub is_fatal: bool,
}

impl Slo {
    /// What is wrong with a node, held against the others, and against what the nodes measured before the first was exchanged.
    pub fn judge(&self, node: &Window, others: &[Window], before: &Counts) -> Option<Breach> {
        let breach = |what: String| {
            Some(Breach {
                what,
                is_fatal: false,
            })
        };
        let counts = &node.counts;
        if let Some((name, value)) = counts.never.iter().find(|(_, value)| **value > 0.0) {
            return Some(Breach {
                what: format!("{name} has grown by {value}"),
                is_fatal: true,
            });
        }
        if !node.is_ready {
            return breach("it is not ready".to_owned());
        }
        if node.lag > self.lag {
            return breach(format!("it is {} entries behind the others", node.lag));
        }
        let theirs = others
            .iter()
            .fold(Counts::default(), |sum, other| sum.and(&other.counts));
        let failed = counts.failed_part();
        let they_failed = theirs.failed_part().max(before.failed_part());
        if counts.calls >= self.least && self.is_worse(failed, self.failed_part, Some(they_failed)) {
            return breach(format!(
                "{:.2} % of its calls failed, and {:.2} % of the others', or before",
                failed * 100.0,
                they_failed * 100.0
            ));
        }
        let limit = self.order.as_secs_f64();
        for (what, ours, others, before) in [
            ("orders", &counts.orders, &theirs.orders, &before.orders),
            ("syncs", &counts.syncs, &theirs.syncs, &before.syncs),
        ] {
            let p99 = ours.quantile(0.99);
            let Some(p99) = p99.filter(|_| ours.over(limit) >= self.least_slow) else {
                continue;
            };
            let known = [others.quantile(0.99), before.quantile(0.99)];
            let their_p99 = known.into_iter().flatten().max_by(f64::total_cmp);
            if self.is_worse(p99, limit, their_p99) {
                let shown = |seconds: f64| match seconds.is_finite() {
                    true => format!("{:.0} ms", seconds * 1_000.0),
                    false => "longer than is measured".to_owned(),
                };
                return breach(format!(
                    "the p99 of its {what} is {}, and the others', or before, {}",
                    shown(p99),
                    their_p99.map_or_else(|| "is not known".to_owned(), shown)
                ));
            }
        }
        None
    }

    fn is_worse(&self, value: f64, limit: f64, others: Option<f64>) -> bool {
        value > limit && others.is_none_or(|others| value > others * self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many orders, of which these many took 20 ms, 90 ms and 400 ms.
    fn window(fast: u32, slow: u32, slowest: u32, failed: u32) -> Window {
        let ok = fast + slow + slowest;
        let bucket = |le: &str, count: u32| {
            format!(
                "docket_request_seconds_bucket{{method=\"docket.v1.OrderService/PlaceOrder\",code=\"OK\",le=\"{le}\"}} {count}\n"
            )
        };
        let text = [
            format!(
                "docket_requests_total{{method=\"docket.v1.OrderService/PlaceOrder\",code=\"OK\"}} {ok}\n"
            ),
            format!(
                "docket_requests_total{{method=\"docket.v1.OrderService/PlaceOrder\",code=\"UNAVAILABLE\"}} {failed}\n"
            ),
            bucket("0.02", fast),
            bucket("0.1", fast + slow),
            bucket("0.5", ok),
            bucket("+Inf", ok),
        ];
        Window {
            is_ready: true,
            counts: Counts::read(&text.concat()),
            lag: 0,
        }
    }

    #[track_caller]
    fn check(node: Window, others: &[Window], expected: Option<(&str, bool)>) {
        check_since(&Counts::default(), node, others, expected);
    }

    #[track_caller]
    fn check_since(before: &Counts, node: Window, others: &[Window], expected: Option<(&str, bool)>) {
        let breach = Slo::default().judge(&node, others, before);
        match (&breach, expected) {
            (None, None) => {}
            (Some(found), Some((words, is_fatal))) => {
                assert!(found.what.contains(words), "{found:?}");
                assert_eq!(found.is_fatal, is_fatal, "{found:?}");
            }
            _ => panic!("{breach:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn a_node_that_is_as_good_as_the_others_passes() {
        check(window(1_000, 0, 0, 0), &[window(900, 0, 0, 0)], None);
        // One order in a thousand may be slow.
        check(window(1_000, 1, 0, 0), &[window(900, 0, 0, 0)], None);
        // Nothing was asked of it.
        check(window(0, 0, 0, 0), &[window(900, 0, 0, 0)], None);
    }

    #[test]
    fn slow_orders_and_failures_are_a_breach_where_the_others_have_none() {
        let good = [window(900, 0, 0, 0), window(900, 0, 0, 0)];
        check(
            window(900, 100, 0, 0),
            &good,
            Some(("p99 of its orders is 100 ms", false)),
        );
        check(window(900, 0, 0, 10), &good, Some(("of its calls failed", false)));
        // With nobody to be held against the objective counts alone.
        check(window(900, 100, 0, 0), &[], Some(("is not known", false)));
    }

    #[test]
    fn what_the_others_suffer_from_as_well_is_no_fault_of_the_node() {
        let as_slow = [window(900, 100, 0, 10)];
        check(window(900, 100, 0, 12), &as_slow, None);
        check(window(900, 0, 100, 0), &as_slow, Some(("500 ms", false)));
        check(
            window(900, 100, 0, 300),
            &as_slow,
            Some(("of its calls failed", false)),
        );
    }

    #[test]
    fn what_was_as_bad_before_is_no_fault_of_the_node() {
        let before = window(900, 100, 0, 10).counts;
        check_since(&before, window(900, 100, 0, 12), &[], None);
        check_since(&before, window(900, 100, 0, 12), &[window(900, 0, 0, 0)], None);
        check_since(&before, window(900, 0, 100, 0), &[], Some(("500 ms", false)));
        check_since(
            &before,
            window(900, 0, 0, 300),
            &[],
            Some(("of its calls failed", false)),
        );
    }

    #[test]
    fn a_few_calls_say_nothing() {
        check(window(0, 2, 2, 5), &[window(900, 0, 0, 0)], None);
        check(window(1_000, 0, 4, 0), &[window(900, 0, 0, 0)], None);
    }

    #[test]
    fn a_few_that_are_slow_say_enough_where_slowness_leaves_few() {
        check(
            window(0, 5, 5, 0),
            &[window(900, 0, 0, 0)],
            Some(("p99 of its orders", false)),
        );
        let syncs = |fast: u32, slow: u32| {
            let all = fast + slow;
            let text = format!(
                "docket_journal_sync_seconds_bucket{{le=\"0.05\"}} {fast}\n\
                 docket_journal_sync_seconds_bucket{{le=\"0.2\"}} {all}\n\
                 docket_journal_sync_seconds_bucket{{le=\"+Inf\"}} {all}\n"
            );
            Window {
                is_ready: true,
                counts: Counts::read(&text),
                lag: 0,
            }
        };
        check(
            syncs(2, 7),
            &[syncs(300, 0)],
            Some(("p99 of its syncs is 200 ms", false)),
        );
        check(syncs(2, 7), &[syncs(300, 10)], None);
        check(syncs(2, 4), &[syncs(300, 0)], None);
    }

    #[test]
    fn what_must_never_happen_counts_at_once_and_what_may_pass_does_not() {
        let mut node = window(900, 0, 0, 0);
        node.lag = 501;
        check(node.clone(), &[], Some(("501 entries behind", false)));
        node.is_ready = false;
        check(node.clone(), &[], Some(("not ready", false)));
        node.counts.never.insert("docket_panics_total".to_owned(), 1.0);
        check(node, &[], Some(("docket_panics_total has grown by 1", true)));
    }
}
