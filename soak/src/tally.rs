//! What came of a load: how long it took, what failed, and what was acknowledged.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in microseconds: an hour. What takes longer counts as that.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;
/// What is kept of answers that are wrong: a server that is wrong once is often wrong a million times.
const WRONG_MAX: usize = 100;

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants, and hdrhistogram takes them"
    )]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("bounds of the histogram"))
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        self.0
            .saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST_US));
    }

    /// Counts those of `other`.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// The latency that `quantile` of all do not exceed, in microseconds.
    pub fn us(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

/// An order that the server said is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    /// The part of its name behind `orders/`.
    pub id: [u8; Acknowledged::ID_BYTES],
    /// The operation that placed it.
    pub n: u64,
}

impl Acknowledged {
    /// An order's id has so many characters.
    pub const ID_BYTES: usize = 26;

    /// The order `name` of operation `n`; none where that is no order's name.
    pub fn new(name: &str, n: u64) -> Option<Self> {
        let id = name.strip_prefix("orders/")?.as_bytes().try_into().ok()?;
        Some(Self { id, n })
    }

    /// The resource name.
    pub fn name(&self) -> String {
        format!("orders/{}", String::from_utf8_lossy(&self.id))
    }
}

/// What a client knows of the server's books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Orders that are confirmed.
    pub acknowledged: Vec<Acknowledged>,
    /// Operations that were done or not: their answer was lost. Asked again, they tell.
    pub unknown: Vec<u64>,
    /// Answers that are not what was asked for, told; the first hundred.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// Notes an answer that is not what was asked for.
    pub fn wrong(&mut self, what: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what);
        }
    }

    /// Takes over what `other` knows.
    pub fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
        other.wrong.into_iter().for_each(|what| self.wrong(what));
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// Orders that were acknowledged: from when each was meant to start to its answer.
    pub orders: Latencies,
    /// The same of reads.
    pub reads: Latencies,
    /// How much later than meant calls of an open loop started: how far the latencies are the load generator's.
    pub late: Latencies,
    /// Operations of an open loop that never started, because too many others were in flight until the end.
    pub missed: u64,
    /// Calls that failed, by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// How long those took that were refused for want of room or tokens, from when they were sent.
    pub refusals: Latencies,
    /// What was acknowledged.
    pub ledger: Ledger,
}

impl Tally {
    /// Takes over what another part of the same load counted.
    pub fn add(&mut self, other: Self) {
        self.elapsed = self.elapsed.max(other.elapsed);
        self.orders.add(&other.orders);
        self.reads.add(&other.reads);
        self.late.add(&other.late);
        self.missed += other.missed;
        self.refusals.add(&other.refusals);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.ledger.add(other.ledger);
    }

    /// How many calls failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// `count` a second of the time that it took.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}
