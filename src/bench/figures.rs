//! The figures: each with one value a round, of which the median counts.

use std::time::Duration;

use docket_soak::{Latencies, Tally, WatchOf, disk::Syncs};

use super::{subject::Used, watched::Watched};
use crate::output;

/// The quantiles of a latency, and what they are called.
const QUANTILES: [(f64, &str); 5] = [
    (0.5, "p50_us"),
    (0.9, "p90_us"),
    (0.99, "p99_us"),
    (0.999, "p99_9_us"),
    (0.9999, "p99_99_us"),
];

/// What one round measured.
pub struct Round {
    /// The load on the server.
    pub tally: Tally,
    /// What the server used.
    pub used: Used,
    /// What this process used meanwhile.
    pub used_by_client: Duration,
    /// The same load on the echo, and the time that the echo used.
    pub bare: Option<(Tally, Duration)>,
    /// The same load on the server while orders are watched.
    pub watched: Vec<Watched>,
    /// Far more than the server takes.
    pub overload: Option<Overload>,
    /// The disk.
    pub syncs: Option<Syncs>,
}

/// What an overloaded server does.
pub struct Overload {
    /// What was offered, a second.
    pub offered: f64,
    /// Under it.
    pub tally: Tally,
    /// The usual load, right behind it.
    pub after: Tally,
    /// Memory before and behind it, in bytes, where it is known.
    pub rss_bytes: Option<(u64, u64)>,
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// What callers see.
    Calls,
    /// What the server uses.
    Server,
    /// The echo.
    Echo,
    /// The disk.
    Disk,
    /// The server while orders are watched.
    Watched,
    /// The server when it is offered too much.
    Overload,
    /// The server against echo and disk.
    Ratio,
}

impl About {
    /// All, in the order they are shown in.
    pub const ALL: [Self; 7] = [
        Self::Calls,
        Self::Server,
        Self::Echo,
        Self::Disk,
        Self::Watched,
        Self::Overload,
        Self::Ratio,
    ];
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is about.
    pub about: About,
    /// Its name, which ends with its unit.
    pub name: String,
    /// A value a round, sorted.
    values: Vec<f64>,
}

impl Figure {
    /// The median.
    pub fn median(&self) -> f64 {
        let half = self.values.len() / 2;
        match self.values.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => self.values[half],
            _ => f64::midpoint(self.values[half - 1], self.values[half]),
        }
    }

    /// The least value.
    pub fn least(&self) -> f64 {
        self.values.first().copied().unwrap_or_default()
    }

    /// The largest value.
    pub fn most(&self) -> f64 {
        self.values.last().copied().unwrap_or_default()
    }
}

/// All figures, in the order they are shown in.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// All of them.
    pub fn all(&self) -> &[Figure] {
        &self.0
    }

    /// Adds what a round measured.
    pub fn add(&mut self, round: &Round) {
        let Round {
            tally,
            used,
            used_by_client,
            bare,
            watched,
            overload,
            syncs,
        } = round;
        self.calls(tally);
        self.server(tally, used);
        let operations = operations(tally);
        self.per(
            About::Server,
            "client_cpu_us_per_order",
            micros(*used_by_client),
            operations,
        );
        if let Some((bare, used)) = bare {
            self.bare(bare, *used);
            self.put(
                About::Ratio,
                "rate_to_echo",
                tally.rate(operations as u64) / bare.rate(self::operations(bare) as u64),
            );
            self.per(About::Ratio, "p50_to_echo", us(tally, 0.5), us(bare, 0.5));
            self.per(About::Ratio, "p99_to_echo", us(tally, 0.99), us(bare, 0.99));
        }
        for watched in watched {
            self.watched(watched, (tally, used));
        }
        if let Some(overload) = overload {
            self.overload(overload, tally.rate(tally.orders.count()));
        }
        if let Some(syncs) = syncs {
            self.disk(syncs);
            // Beside the disk an order waits for what the echo waits for, too.
            let without =
                |quantile| us(tally, quantile) - bare.as_ref().map_or(0.0, |(bare, _)| us(bare, quantile));
            self.per(
                About::Ratio,
                "p50_less_echo_to_disk",
                without(0.5),
                syncs.latencies.us(0.5) as f64,
            );
            self.per(
                About::Ratio,
                "p99_less_echo_to_disk",
                without(0.99),
                syncs.latencies.us(0.99) as f64,
            );
            if let Some(count) = used.syncs
                && syncs.per_second.is_none()
            {
                let raw = syncs.latencies.count() as f64 / syncs.elapsed.as_secs_f64();
                self.per(About::Ratio, "syncs_to_disk", tally.rate(count), raw);
            }
        }
    }

    fn calls(&mut self, tally: &Tally) {
        let about = About::Calls;
        self.put(about, "orders_per_second", tally.rate(tally.orders.count()));
        self.latencies(about, "", &tally.orders);
        if tally.reads.count() > 0 {
            self.put(about, "reads_per_second", tally.rate(tally.reads.count()));
            self.latencies(about, "read_", &tally.reads);
        }
        if tally.late.count() > 0 {
            self.put(about, "started_late_p50_us", tally.late.us(0.5) as f64);
            self.put(about, "started_late_p99_us", tally.late.us(0.99) as f64);
            self.put(about, "never_started", tally.missed as f64);
        }
        self.put(about, "failed", tally.failed() as f64);
    }

    fn server(&mut self, tally: &Tally, used: &Used) {
        let about = About::Server;
        let (orders, operations) = (tally.orders.count() as f64, operations(tally));
        if let Some(cpu) = used.cpu {
            self.put(about, "server_cpu_seconds", cpu.as_secs_f64());
            self.per(about, "server_cpu_us_per_order", micros(cpu), operations);
        }
        let mut bytes = |name, count: Option<u64>| {
            if let Some(count) = count {
                self.put(about, name, count as f64);
            }
        };
        bytes("server_rss_bytes", used.rss_bytes);
        bytes("server_rss_peak_bytes", used.rss_peak_bytes);
        let mut per_order = |name, count: Option<u64>| {
            if let Some(count) = count {
                self.per(about, name, count as f64, orders);
            }
        };
        per_order("journal_record_bytes_per_order", used.payload_bytes);
        per_order("journal_disk_bytes_per_order", used.disk_bytes);
        per_order("syncs_per_order", used.syncs);
        if let Some(syncs) = used.syncs {
            self.put(about, "syncs_per_second", tally.rate(syncs));
        }
    }

    fn bare(&mut self, tally: &Tally, cpu: Duration) {
        let about = About::Echo;
        let operations = operations(tally);
        self.put(about, "echo_calls_per_second", tally.rate(operations as u64));
        self.latencies(about, "echo_", &tally.orders);
        self.per(about, "echo_cpu_us_per_call", micros(cpu), operations);
    }

    fn watched(&mut self, watched: &Watched, (usual, usual_used): (&Tally, &Used)) {
        let Watched {
            of,
            tally,
            used,
            told,
        } = watched;
        let prefix = match of {
            WatchOf::OneCustomer => "watched",
            WatchOf::Everything => "all_watched",
        };
        let about = About::Watched;
        let rate = tally.rate(tally.orders.count());
        self.put(about, &format!("{prefix}_orders_per_second"), rate);
        self.put(about, &format!("{prefix}_p50_us"), us(tally, 0.5));
        self.put(about, &format!("{prefix}_p99_us"), us(tally, 0.99));
        self.put(
            about,
            &format!("{prefix}_changes_told_per_second"),
            tally.rate(told.changes),
        );
        self.put(
            about,
            &format!("{prefix}_messages_per_second"),
            tally.rate(told.messages),
        );
        for (quantile, name) in [(0.5, "told_after_p50_us"), (0.99, "told_after_p99_us")] {
            self.put(
                about,
                &format!("{prefix}_{name}"),
                told.delays.us(quantile) as f64,
            );
        }
        let per_order = |tally: &Tally, used: &Used| Some(micros(used.cpu?) / operations(tally));
        if let Some(cost) = per_order(tally, used) {
            self.put(about, &format!("{prefix}_cpu_us_per_order"), cost);
            if let Some(usual) = per_order(usual, usual_used) {
                self.per(About::Ratio, &format!("{prefix}_cpu_to_usual"), cost, usual);
            }
        }
        let usual = usual.rate(usual.orders.count());
        self.per(About::Ratio, &format!("{prefix}_orders_to_usual"), rate, usual);
    }

    fn overload(&mut self, overload: &Overload, usual: f64) {
        let Overload {
            offered,
            tally,
            after,
            rss_bytes,
        } = overload;
        let about = About::Overload;
        let goodput = tally.rate(tally.orders.count());
        // What the load generator did not get to start was not offered.
        let asked = tally.orders.count() + tally.failed();
        self.put(about, "overload_meant_per_second", *offered);
        self.put(about, "overload_offered_per_second", tally.rate(asked));
        self.put(about, "overload_orders_per_second", goodput);
        self.put(
            about,
            "overload_refused_per_second",
            tally.rate(tally.refusals.count()),
        );
        self.put(about, "overload_refused_p50_us", tally.refusals.us(0.5) as f64);
        self.put(about, "overload_refused_p99_us", tally.refusals.us(0.99) as f64);
        if let Some((before, behind)) = rss_bytes {
            self.put(
                about,
                "overload_rss_growth_bytes",
                behind.saturating_sub(*before) as f64,
            );
        }
        self.per(
            About::Ratio,
            "overload_offered_to_usual",
            tally.rate(asked),
            usual,
        );
        self.per(About::Ratio, "overload_orders_to_usual", goodput, usual);
        let after = after.rate(after.orders.count());
        self.per(About::Ratio, "after_overload_to_usual", after, usual);
    }

    fn disk(&mut self, syncs: &Syncs) {
        let about = About::Disk;
        self.put(about, "disk_commit_bytes", syncs.bytes as f64);
        self.put(
            about,
            "disk_syncs_per_second",
            syncs.latencies.count() as f64 / syncs.elapsed.as_secs_f64(),
        );
        self.put(about, "disk_p50_us", syncs.latencies.us(0.5) as f64);
        self.put(about, "disk_p99_us", syncs.latencies.us(0.99) as f64);
    }

    fn latencies(&mut self, about: About, prefix: &str, latencies: &Latencies) {
        for (quantile, name) in QUANTILES {
            self.put(about, &format!("{prefix}{name}"), latencies.us(quantile) as f64);
        }
        self.put(about, &format!("{prefix}max_us"), latencies.max_us() as f64);
    }

    /// Nothing where there is nothing to divide by.
    fn per(&mut self, about: About, name: &str, count: f64, of: f64) {
        if of > 0.0 {
            self.put(about, name, count / of);
        }
    }

    fn put(&mut self, about: About, name: &str, value: f64) {
        let known = self.0.iter().position(|figure| figure.name == name);
        let index = known.unwrap_or_else(|| {
            self.0.push(Figure {
                about,
                name: name.to_owned(),
                values: Vec::new(),
            });
            self.0.len() - 1
        });
        let values = &mut self.0[index].values;
        values.push(value);
        values.sort_by(f64::total_cmp);
    }
}

fn operations(tally: &Tally) -> f64 {
    (tally.orders.count() + tally.reads.count()) as f64
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A quantile of the orders' latency; of the reads', where nothing but reads was asked.
fn us(tally: &Tally, quantile: f64) -> f64 {
    let latencies = if tally.orders.count() > 0 {
        &tally.orders
    } else {
        &tally.reads
    };
    latencies.us(quantile) as f64
}

/// A value as people read it, by its name's unit.
pub fn show(name: &str, value: f64) -> String {
    if name.ends_with("_bytes") {
        return output::bytes(value as u64);
    }
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => grouped(value.round() as i64),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// Digits in threes.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_rounds() {
        let mut figures = Figures::default();
        for value in [3.0, 1.0, 2.0] {
            figures.put(About::Calls, "p50_us", value);
        }
        let figure = &figures.all()[0];
        assert_eq!((figure.least(), figure.median(), figure.most()), (1.0, 2.0, 3.0));
        figures.put(About::Calls, "p50_us", 4.0);
        assert_eq!(figures.all()[0].median(), 2.5);
        assert_eq!(figures.all().len(), 1);
    }

    #[test]
    fn values_are_shown_as_long_as_they_need() {
        for (name, value, text) in [
            ("orders_per_second", 1_234_567.4, "1,234,567"),
            ("p50_us", 999.0, "999"),
            ("cpu_us_per_order", 42.26, "42.3"),
            ("rate_to_echo", 0.3456, "0.346"),
            ("syncs_per_order", 0.00512, "0.00512"),
            ("server_rss_bytes", 1_536.0, "1.5 KiB"),
            ("failed", 0.0, "0"),
            ("x", -1_000.0, "-1,000"),
        ] {
            assert_eq!(show(name, value), text, "{name}");
        }
    }
}
