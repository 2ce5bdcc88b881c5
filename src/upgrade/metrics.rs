//! What a node has measured, read from its `/metrics`: as much of it as an upgrade's gate goes by.

use std::collections::BTreeMap;

/// Codes of calls that failed by the service's fault, as docs/monitoring.md counts them.
const FAILED: [&str; 5] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];
/// Who is refused by one of these had no room, which is the service's fault as well.
const NO_ROOM: [&str; 10] = [
    "calls_in_flight",
    "orders_in_flight",
    "open_calls_in_flight",
    "streams",
    "open_streams",
    "bytes_in_flight",
    "reply_bytes_in_flight",
    "watches",
    "actors_in_flight",
    "disk",
];
const PLACE: &str = "docket.v1.OrderService/PlaceOrder";

/// Counts since the node's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Calls of clients, and orders of streams.
    pub calls: f64,
    /// Those that failed by the service's fault.
    pub failed: f64,
    /// How long acknowledged orders took.
    pub orders: Histogram,
    /// How long the journal's syncs took.
    pub syncs: Histogram,
    /// What must never happen, by name.
    pub never: BTreeMap<String, f64>,
}

/// How long something took: how many took at most so many seconds, by the seconds as they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    buckets: BTreeMap<Bound, f64>,
}

/// Seconds, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Histogram {
    fn add(&mut self, seconds: &str, count: f64) {
        let seconds = match seconds {
            "+Inf" => Some(f64::INFINITY),
            written => written.parse().ok(),
        };
        if let Some(seconds) = seconds {
            *self.buckets.entry(Bound(seconds)).or_default() += count;
        }
    }

    /// How many there were.
    pub fn count(&self) -> f64 {
        self.buckets.last_key_value().map_or(0.0, |(_, count)| *count)
    }

    /// How many took longer than that: those of the buckets whose bound is longer.
    pub fn over(&self, seconds: f64) -> f64 {
        let within = self.buckets.iter().rev().find(|(bound, _)| bound.0 <= seconds);
        self.count() - within.map_or(0.0, |(_, count)| *count)
    }

    /// What came since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: &Bound| earlier.buckets.get(bound).copied().unwrap_or(0.0);
        let grown = self
            .buckets
            .iter()
            .map(|(bound, count)| (*bound, count - before(bound)));
        Self {
            buckets: grown.collect(),
        }
    }

    /// The seconds within which this part of them was done: the bound of the bucket that it falls into. `None` where there were none.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() * part;
        if self.count() <= 0.0 {
            return None;
        }
        self.buckets
            .iter()
            .find(|(_, count)| **count >= wanted)
            .map(|(bound, _)| bound.0)
    }
}

impl Counts {
    /// Reads them from Prometheus' text format.
    pub fn read(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = sample(line) {
                counts.take(name, &labels, value);
            }
        }
        counts
    }

    fn take(&mut self, name: &str, labels: &BTreeMap<&str, &str>, value: f64) {
        let label = |name: &str| labels.get(name).copied().unwrap_or_default();
        let has_failed = || FAILED.contains(&label("code"));
        match name {
            "docket_requests_total"
                if !label("method").starts_with("docket.v1.NodeService/") && label("method") != "unknown" =>
            {
                self.calls += value;
                self.failed += if has_failed() { value } else { 0.0 };
            }
            "docket_stream_orders_total" => {
                self.calls += value;
                self.failed += if has_failed() { value } else { 0.0 };
            }
            "docket_limiter_denials_total" if NO_ROOM.contains(&label("limiter")) => self.failed += value,
            "docket_request_seconds_bucket" if label("method") == PLACE && label("code") == "OK" => {
                self.orders.add(label("le"), value);
            }
            "docket_stream_order_seconds_bucket" if label("code") == "OK" => {
                self.orders.add(label("le"), value);
            }
            "docket_journal_sync_seconds_bucket" => self.syncs.add(label("le"), value),
            "docket_panics_total"
            | "docket_actor_panics_total"
            | "docket_poison_commands_total"
            | "docket_raft_replica_mismatches_total"
            | "docket_journal_failed"
            | "docket_verify_discrepancies" => *self.never.entry(name.to_owned()).or_default() += value,
            _ => {}
        }
    }

    /// What came since an earlier look at the same life of the node.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name: &String| earlier.never.get(name).copied().unwrap_or(0.0);
        let grown = self
            .never
            .iter()
            .map(|(name, value)| (name.clone(), value - before(name)));
        Self {
            calls: self.calls - earlier.calls,
            failed: self.failed - earlier.failed,
            orders: self.orders.since(&earlier.orders),
            syncs: self.syncs.since(&earlier.syncs),
            never: grown.collect(),
        }
    }

    /// The part of its calls that failed by the service's fault.
    pub fn failed_part(&self) -> f64 {
        if self.calls > 0.0 {
            self.failed / self.calls
        } else {
            0.0
        }
    }

    /// Both together.
    pub fn and(mut self, other: &Self) -> Self {
        self.calls += other.calls;
        self.failed += other.failed;
        for (histogram, more) in [(&mut self.orders, &other.orders), (&mut self.syncs, &other.syncs)] {
            for (bound, count) in &more.buckets {
                *histogram.buckets.entry(*bound).or_default() += count;
            }
        }
        self
    }
}

/// A line's name, labels and value.
fn sample(line: &str) -> Option<(&str, BTreeMap<&str, &str>, f64)> {
    let (series, value) = line.trim_end().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series, BTreeMap::new(), value));
    };
    let labels = labels.strip_suffix('}')?;
    // No label of these metrics has a comma or a quotation mark in it.
    let pairs = labels.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name, value.trim_matches('"')))
    });
    Some((name, pairs.collect(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP docket_requests_total Calls
# TYPE docket_requests_total counter
docket_requests_total{method="docket.v1.OrderService/PlaceOrder",code="OK"} 90
docket_requests_total{method="docket.v1.OrderService/PlaceOrder",code="UNAVAILABLE"} 10
docket_requests_total{method="docket.v1.OrderService/PlaceOrder",code="FAILED_PRECONDITION"} 100
docket_requests_total{method="docket.v1.NodeService/GetNodeStatus",code="INTERNAL"} 7
docket_stream_orders_total{code="OK"} 200
docket_limiter_denials_total{limiter="disk"} 3
docket_limiter_denials_total{limiter="principal"} 900
docket_request_seconds_bucket{method="docket.v1.OrderService/PlaceOrder",code="OK",le="0.01"} 50
docket_request_seconds_bucket{method="docket.v1.OrderService/PlaceOrder",code="OK",le="0.05"} 89
docket_request_seconds_bucket{method="docket.v1.OrderService/PlaceOrder",code="OK",le="+Inf"} 90
docket_stream_order_seconds_bucket{code="OK",le="0.01"} 10
docket_stream_order_seconds_bucket{code="OK",le="0.05"} 10
docket_stream_order_seconds_bucket{code="OK",le="+Inf"} 10
docket_panics_total 1
"#;

    #[test]
    fn calls_failures_and_orders_are_counted_as_the_objectives_say() {
        let counts = Counts::read(TEXT);
        assert_eq!((counts.calls, counts.failed), (400.0, 13.0));
        assert_eq!(counts.orders.count(), 100.0);
        assert_eq!(counts.orders.quantile(0.5), Some(0.01));
        assert_eq!(counts.orders.quantile(0.99), Some(0.05));
        assert_eq!(counts.orders.quantile(1.0), Some(f64::INFINITY));
        assert_eq!(counts.never.get("docket_panics_total"), Some(&1.0));
        let nothing = counts.since(&counts);
        assert_eq!((nothing.calls, nothing.orders.quantile(0.99)), (0.0, None));
        let twice = counts.clone().and(&counts);
        assert_eq!((twice.calls, twice.orders.count()), (800.0, 200.0));
    }
}
