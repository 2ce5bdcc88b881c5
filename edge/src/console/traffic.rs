//! What this node has had to do lately: every two seconds a look at the registry, kept as one point of each line for fifteen minutes; and the last
//! minute whole, for what is told apart by method, code and limiter. While nobody asks it is looked every thirty seconds, and nothing kept whole: the
//! whole registry is written out for a look.
//!
//! Quantiles are those of Prometheus' `histogram_quantile`: within a bucket, values are taken to lie evenly.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use docket_engine::access::METHOD_TABLE;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::registry::{Measured, measured};

/// Between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Between two looks while nobody asks.
const SELDOM: Duration = Duration::from_secs(30);
/// So long after the last question somebody is taken to be asking.
const ASKED_FOR: Duration = Duration::from_secs(60);
/// How long a point is kept, and how many are.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);
const POINTS_MAX: usize = 450;
/// Looks that are kept whole: a minute, and the one before it.
const WHOLE_FOR: Duration = Duration::from_secs(60);
const TALLIES_MAX: usize = 31;
/// Buckets of a histogram, names under one label: more are not looked at.
const BUCKETS_MAX: usize = 64;
const NAMES_MAX: usize = 64;
/// What asks how the node is, and not for anything of its business.
const NOT_TRAFFIC: [&str; 2] = ["docket.v1.NodeService/", "grpc."];
/// The order as a call, which is counted among the orders.
const PLACE_ORDER: &str = "docket.v1.OrderService/PlaceOrder";
/// Streams last as long as their clients want.
const STREAMS: [&str; 2] = [
    "docket.v1.OrderService/PlaceOrders",
    "docket.v1.OrderService/WatchOrders",
];
const OK: &str = "OK";

/// The gauges and counters that are shown as they are.
const SHOWN: [&str; 9] = [
    "docket_requests_in_flight",
    "docket_streams_open",
    "docket_connections_open",
    "docket_journal_bytes",
    "docket_journal_queue_records",
    "docket_journal_records_total",
    "docket_journal_payload_bytes_total",
    "docket_journal_failed",
    "docket_disk_free_bytes",
];

/// Counts by one label: the metric, the label, and how the answer calls it.
const COUNTED: [(&str, &str, &str); 4] = [
    ("docket_limiter_denials_total", "limiter", "limiters"),
    ("docket_authentication_failures_total", "reason", "credentials"),
    ("docket_auth_logins_total", "outcome", "logins"),
    ("docket_connections_total", "outcome", "connections"),
];

/// What is kept.
#[derive(Default)]
pub(super) struct Traffic(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    points: VecDeque<Point>,
    tallies: VecDeque<Arc<Tally>>,
    /// When somebody asked last, in milliseconds.
    asked_ms: Option<u64>,
}

/// What was counted up to a moment.
#[derive(Debug, Default)]
struct Tally {
    at_ms: u64,
    methods: BTreeMap<String, OfMethod>,
    stream: OfMethod,
    sync: Histogram,
    counted: [BTreeMap<String, f64>; COUNTED.len()],
    shown: BTreeMap<&'static str, f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct OfMethod {
    codes: BTreeMap<String, f64>,
    seconds: Histogram,
}

/// How many values were at or below each bound.
#[derive(Debug, Clone, Default, PartialEq)]
struct Histogram(Vec<(f64, f64)>);

/// One point of each line: rates a second and times in seconds, since the point before. `None` is nothing to tell of.
#[derive(Debug, Clone)]
struct Point {
    at_ms: u64,
    lines: [Option<f64>; LINES.len()],
}

/// How the answer calls the lines.
const LINES: [&str; 14] = [
    "calls",
    "orders",
    "errors",
    "denials",
    "p50",
    "p99",
    "p999",
    "sync_p50",
    "sync_p99",
    "records",
    "bytes",
    "journal",
    "free",
    "in_flight",
];

impl Traffic {
    /// Looks at the registry's text.
    pub(super) fn look(&self, text: &str, at_ms: u64) {
        let tally = Arc::new(Tally::read(text, at_ms));
        let mut kept = self.0.lock();
        if let Some(before) = kept.tallies.back() {
            let point = Point::between(before, &tally);
            kept.points.push_back(point);
        }
        let is_old = |at: u64, most: Duration| at_ms.saturating_sub(at) > most.as_millis() as u64;
        while kept.points.len() > POINTS_MAX
            || kept
                .points
                .front()
                .is_some_and(|point| is_old(point.at_ms, KEPT_FOR))
        {
            kept.points.pop_front();
        }
        kept.tallies.push_back(tally);
        // The one behind the first must be a minute old before the first goes: a minute is between two of them, and one is always there.
        while kept.tallies.len() > TALLIES_MAX
            || kept
                .tallies
                .get(1)
                .is_some_and(|second| is_old(second.at_ms, WHOLE_FOR))
        {
            kept.tallies.pop_front();
        }
    }

    /// Whether it is time to look: somebody asks, or it is long since it was looked.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        let kept = self.0.lock();
        let is_within = |at: Option<u64>, most: Duration| {
            // A clock that was set back tells nothing of what was before.
            let ago = at.and_then(|at| now_ms.checked_sub(at));
            ago.is_some_and(|ago| ago < most.as_millis() as u64)
        };
        let looked_ms = kept.tallies.back().map(|tally| tally.at_ms);
        is_within(kept.asked_ms, ASKED_FOR) || !is_within(looked_ms, SELDOM)
    }

    /// The points behind this time, and the last minute. Whoever asks at this time has it looked more often from now on.
    pub(super) fn asked(&self, since_ms: u64, now_ms: u64) -> Value {
        self.0.lock().asked_ms = Some(now_ms);
        self.json(since_ms)
    }

    /// The same for who asks once.
    pub(super) fn json(&self, since_ms: u64) -> Value {
        let kept = self.0.lock();
        let points: Vec<_> = kept
            .points
            .iter()
            .filter(|point| point.at_ms > since_ms)
            .cloned()
            .collect();
        let (first, last) = (kept.tallies.front().cloned(), kept.tallies.back().cloned());
        drop(kept);
        let mut lines = Map::new();
        lines.insert("t".into(), points.iter().map(|point| point.at_ms).collect());
        for (n, name) in LINES.into_iter().enumerate() {
            let line = points.iter().map(|point| point.lines[n].map(rounded));
            lines.insert(name.into(), line.collect());
        }
        let minute = first.zip(last).map(|(first, last)| last.json(&first));
        json!({"every_ms": EVERY.as_millis() as u64, "points": lines, "minute": minute})
    }
}

/// Four digits are enough for a line, and half of the bytes.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

impl Tally {
    fn read(text: &str, at_ms: u64) -> Self {
        let mut tally = Self {
            at_ms,
            ..Self::default()
        };
        for it in measured(text) {
            tally.add(&it);
        }
        tally
    }

    fn add(&mut self, it: &Measured<'_>) {
        match it.name {
            "docket_requests_total" => {
                if let Some(of_method) = self.method(it) {
                    of_method.count(it);
                }
            }
            "docket_request_seconds_bucket" => {
                if let Some(of_method) = self.method(it) {
                    of_method.seconds.add(it);
                }
            }
            "docket_stream_orders_total" => self.stream.count(it),
            "docket_stream_order_seconds_bucket" => self.stream.seconds.add(it),
            "docket_journal_sync_seconds_bucket" => self.sync.add(it),
            name => {
                if let Some(shown) = SHOWN.iter().find(|shown| **shown == name) {
                    self.shown.insert(shown, it.value);
                } else if let Some(n) = COUNTED.iter().position(|counted| counted.0 == name)
                    && let Some(label) = it.label(COUNTED[n].1)
                {
                    add_to(&mut self.counted[n], label, it.value);
                }
            }
        }
    }

    /// Where a call of this method is counted; `None` where it is no business of the node's.
    fn method(&mut self, it: &Measured<'_>) -> Option<&mut OfMethod> {
        let method = it.label("method")?;
        if NOT_TRAFFIC.iter().any(|begin| method.starts_with(begin)) {
            return None;
        }
        if !self.methods.contains_key(method) {
            if self.methods.len() > METHOD_TABLE.len() {
                return None;
            }
            self.methods.insert(method.to_owned(), OfMethod::default());
        }
        self.methods.get_mut(method)
    }

    /// What came since an earlier one.
    fn json(&self, earlier: &Self) -> Value {
        let nothing = OfMethod::default();
        let mut codes = BTreeMap::new();
        let mut methods = Vec::new();
        let since = |name: &str| earlier.methods.get(name).unwrap_or(&nothing);
        let all = self
            .methods
            .iter()
            .map(|(name, now)| (name.as_str(), now, since(name)));
        let streamed = (STREAMS[0], &self.stream, &earlier.stream);
        for (name, now, before) in all.chain([streamed]) {
            let came = now.since(before);
            let calls = came.calls();
            if calls == 0.0 {
                continue;
            }
            for (code, count) in &came.codes {
                add_to(&mut codes, code, *count);
            }
            methods.push(json!({
                "method": name,
                "streamed": std::ptr::eq(now, &self.stream),
                "calls": calls,
                "errors": came.errors(),
                "p50": came.seconds.quantile(0.5),
                "p99": came.seconds.quantile(0.99),
                "p999": came.seconds.quantile(0.999),
            }));
        }
        codes.retain(|_, count| *count > 0.0);
        let mut shown = json!({
            "seconds": self.at_ms.saturating_sub(earlier.at_ms) as f64 / 1e3,
            "to_ms": self.at_ms,
            "codes": codes,
            "methods": methods,
            "shown": self.shown,
        });
        for (n, (_, _, name)) in COUNTED.into_iter().enumerate() {
            let counts = self.counted[n].iter().map(|(label, now)| {
                let before = earlier.counted[n].get(label).copied().unwrap_or_default();
                let counts = json!({"minute": now - before, "since_start": now});
                (label.clone(), counts)
            });
            shown[name] = Value::Object(counts.collect());
        }
        shown
    }
}

impl OfMethod {
    fn count(&mut self, it: &Measured<'_>) {
        if let Some(code) = it.label("code") {
            add_to(&mut self.codes, code, it.value);
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let codes = self.codes.iter().map(|(code, now)| {
            let before = earlier.codes.get(code).copied().unwrap_or_default();
            (code.clone(), now - before)
        });
        Self {
            codes: codes.collect(),
            seconds: self.seconds.since(&earlier.seconds),
        }
    }

    fn calls(&self) -> f64 {
        self.codes.values().sum()
    }

    fn errors(&self) -> f64 {
        let failed = self.codes.iter().filter(|(code, _)| *code != OK);
        failed.map(|(_, count)| count).sum()
    }
}

fn add_to(counts: &mut BTreeMap<String, f64>, name: &str, value: f64) {
    if let Some(count) = counts.get_mut(name) {
        *count += value;
    } else if counts.len() < NAMES_MAX {
        counts.insert(name.to_owned(), value);
    }
}

impl Histogram {
    fn add(&mut self, it: &Measured<'_>) {
        let Some(bound) = it.label("le").and_then(|bound| bound.parse::<f64>().ok()) else {
            return;
        };
        self.put(bound, it.value);
    }

    fn put(&mut self, bound: f64, count: f64) {
        match self.0.binary_search_by(|(other, _)| other.total_cmp(&bound)) {
            Ok(at) => self.0[at].1 += count,
            Err(at) if self.0.len() < BUCKETS_MAX => self.0.insert(at, (bound, count)),
            Err(_) => {}
        }
    }

    /// What was added since an earlier one.
    fn since(&self, earlier: &Self) -> Self {
        let came = self.0.iter().map(|(bound, now)| {
            let before = earlier
                .0
                .binary_search_by(|(other, _)| other.total_cmp(bound))
                .map_or(0.0, |at| earlier.0[at].1);
            (*bound, now - before)
        });
        Self(came.collect())
    }

    /// The value that this part of all are at or below; of those above the last bound, that bound. `None` where there are none.
    fn quantile(&self, part: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let rank = part * all;
        let (mut below, mut count_below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank {
                if bound.is_infinite() {
                    return Some(below);
                }
                let within = (rank - count_below) / (count - count_below).max(f64::MIN_POSITIVE);
                return Some(below + (bound - below) * within.clamp(0.0, 1.0));
            }
            (below, count_below) = (*bound, *count);
        }
        Some(below)
    }
}

impl Point {
    fn between(before: &Tally, now: &Tally) -> Self {
        let seconds = now.at_ms.saturating_sub(before.at_ms) as f64 / 1e3;
        let rate = |count: f64| (seconds > 0.0).then(|| count / seconds);
        let stream = now.stream.since(&before.stream);
        let (mut calls, mut orders, mut errors) = (0.0, stream.calls(), stream.errors());
        let mut latency = stream.seconds;
        let nothing = OfMethod::default();
        for (name, of_method) in &now.methods {
            let came = of_method.since(before.methods.get(name).unwrap_or(&nothing));
            calls += came.calls();
            errors += came.errors();
            if name == PLACE_ORDER {
                orders += came.calls();
            }
            if !STREAMS.contains(&name.as_str()) {
                for (bound, count) in came.seconds.0 {
                    latency.put(bound, count);
                }
            }
        }
        let denials = |tally: &Tally| tally.counted[0].values().sum::<f64>();
        let sync = now.sync.since(&before.sync);
        let shown = |name: &str| now.shown.get(name).copied();
        let came = |name: &str| {
            let (now, before) = (now.shown.get(name)?, before.shown.get(name)?);
            rate(now - before)
        };
        Self {
            at_ms: now.at_ms,
            lines: [
                rate(calls),
                rate(orders),
                rate(errors),
                rate(denials(now) - denials(before)),
                latency.quantile(0.5),
                latency.quantile(0.99),
                latency.quantile(0.999),
                sync.quantile(0.5),
                sync.quantile(0.99),
                came("docket_journal_records_total"),
                came("docket_journal_payload_bytes_total"),
                shown("docket_journal_bytes"),
                shown("docket_disk_free_bytes"),
                shown("docket_requests_in_flight"),
            ],
        }
    }
}

#[cfg(test)]
mod tests;
