//! What is seen of a run while it runs: samples, however long it runs no more than some thousand.

use crate::cluster::NODES;

/// Samples that are kept. When there are so many, neighbours are merged in pairs, and each further one spans twice the time.
pub const SAMPLES_MAX: usize = 4_096;

/// What went on while a sample was taken. Only samples of one kind are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// Orders are placed.
    Load,
    /// Orders are read and none is placed: what grows then is explained by nothing.
    Reads,
    /// The phase has placed all orders that it may.
    Rest,
    /// Nothing but what checks the books.
    Check,
    /// There is no server.
    Down,
}

impl Activity {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Reads => "reads",
            Self::Rest => "rest",
            Self::Check => "check",
            Self::Down => "down",
        }
    }
}

/// Under which circumstances a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stage {
    /// The number of the phase.
    pub phase: usize,
    /// What went on.
    pub activity: Activity,
    /// The number of the server's process: one more with every restart.
    pub life: u32,
}

/// Latencies of the orders that were acknowledged meanwhile, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    /// Orders.
    pub count: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 % of them took no longer.
    pub p99: f64,
    /// 99.9 % of them took no longer.
    pub p99_9: f64,
}

/// What the server has and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Resident memory.
    pub rss_bytes: f64,
    /// Memory that what is stored explains, by the declared size of an order.
    pub explained_bytes: f64,
    /// Cores that it kept busy.
    pub cpu_cores: f64,
    /// File descriptors.
    pub open_files: f64,
    /// Threads.
    pub threads: f64,
    /// Of the journal, on disk.
    pub journal_bytes: f64,
    /// Of the snapshots, on disk.
    pub snapshot_bytes: f64,
    /// Of the whole data directory, on disk.
    pub data_bytes: f64,
    /// Actors that have an identity.
    pub actors: f64,
    /// Calls and orders of streams that are admitted.
    pub in_flight: f64,
    /// Connections.
    pub connections: f64,
    /// Streams.
    pub streams: f64,
    /// Orders in memory.
    pub orders: f64,
    /// Orders that are not settled.
    pub orders_open: f64,
}

/// What a node of a cluster has and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeGauges {
    /// The number of its process: one more with every start.
    pub life: u32,
    /// That.
    pub gauges: Gauges,
}

/// A cluster's nodes, in the order of their numbers; none of one that does not run.
pub type OfNodes<T> = [Option<T>; NODES as usize];

/// What was seen in a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Its end, in seconds since the run began.
    pub at_s: f64,
    /// How long it was.
    pub span_s: f64,
    /// Under which circumstances.
    pub stage: Stage,
    /// Whether they changed meanwhile: then it is compared with nothing.
    pub mixed: bool,
    /// Orders acknowledged a second.
    pub orders: f64,
    /// Orders read a second.
    pub reads: f64,
    /// Calls a second that were refused for want of room or tokens.
    pub refused: f64,
    /// Calls a second that failed otherwise.
    pub failed: f64,
    /// How long the orders took; none where none were acknowledged.
    pub latency: Option<Quantiles>,
    /// The server; none while there is none.
    pub gauges: Option<Gauges>,
    /// The nodes of a cluster; none while there is none.
    pub nodes: OfNodes<NodeGauges>,
}

impl Sample {
    /// Resident memory of the server, or of the cluster's largest node; none where nothing was seen.
    pub fn rss_bytes(&self) -> Option<f64> {
        let nodes = self.nodes.iter().flatten().map(|node| node.gauges.rss_bytes);
        nodes
            .chain(self.gauges.map(|gauges| gauges.rss_bytes))
            .reduce(f64::max)
    }

    /// This and the next one as one: sums and averages, latencies weighted by orders.
    pub fn merged(&self, next: &Self) -> Self {
        let (one, other) = (self.span_s, next.span_s);
        let mean = |a: f64, b: f64| weighted(a, one, b, other);
        let longer = if one >= other { self } else { next };
        Self {
            at_s: next.at_s,
            span_s: one + other,
            stage: longer.stage,
            mixed: self.mixed || next.mixed || self.stage != next.stage,
            orders: mean(self.orders, next.orders),
            reads: mean(self.reads, next.reads),
            refused: mean(self.refused, next.refused),
            failed: mean(self.failed, next.failed),
            latency: either(self.latency, next.latency, |a, b| Quantiles {
                count: a.count + b.count,
                p50: weighted(a.p50, a.count, b.p50, b.count),
                p99: weighted(a.p99, a.count, b.p99, b.count),
                p99_9: weighted(a.p99_9, a.count, b.p99_9, b.count),
            }),
            gauges: either(self.gauges, next.gauges, |a, b| a.averaged(&b, &mean)),
            nodes: std::array::from_fn(|node| {
                // Of two processes the later one is seen.
                either(self.nodes[node], next.nodes[node], |a, b| {
                    match a.life == b.life {
                        true => NodeGauges {
                            life: b.life,
                            gauges: a.gauges.averaged(&b.gauges, &mean),
                        },
                        false => b,
                    }
                })
            }),
        }
    }
}

impl Gauges {
    fn averaged(&self, other: &Self, mean: &impl Fn(f64, f64) -> f64) -> Self {
        let of = |value: fn(&Self) -> f64| mean(value(self), value(other));
        Self {
            rss_bytes: of(|gauges| gauges.rss_bytes),
            explained_bytes: of(|gauges| gauges.explained_bytes),
            cpu_cores: of(|gauges| gauges.cpu_cores),
            open_files: of(|gauges| gauges.open_files),
            threads: of(|gauges| gauges.threads),
            journal_bytes: of(|gauges| gauges.journal_bytes),
            snapshot_bytes: of(|gauges| gauges.snapshot_bytes),
            data_bytes: of(|gauges| gauges.data_bytes),
            actors: of(|gauges| gauges.actors),
            in_flight: of(|gauges| gauges.in_flight),
            connections: of(|gauges| gauges.connections),
            streams: of(|gauges| gauges.streams),
            orders: of(|gauges| gauges.orders),
            orders_open: of(|gauges| gauges.orders_open),
        }
    }
}

fn weighted(a: f64, of_a: f64, b: f64, of_b: f64) -> f64 {
    let all = of_a + of_b;
    if all > 0.0 { (a * of_a + b * of_b) / all } else { a }
}

fn either<T>(one: Option<T>, other: Option<T>, both: impl Fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

/// Samples of a run of any length in bounded memory.
#[derive(Clone, Debug)]
pub struct Series {
    samples: Vec<Sample>,
    /// What does not span a whole interval yet.
    pending: Option<Sample>,
    interval_s: f64,
    samples_max: usize,
}

impl Series {
    /// None yet; each further one spans so long.
    pub fn new(interval_s: f64) -> Self {
        Self::bounded(interval_s, SAMPLES_MAX)
    }

    fn bounded(interval_s: f64, samples_max: usize) -> Self {
        Self {
            samples: Vec::new(),
            pending: None,
            interval_s,
            samples_max,
        }
    }

    /// Adds what was seen since the last one.
    pub fn push(&mut self, sample: Sample) {
        let pending = match self.pending.take() {
            // A change of circumstances ends a sample early, so that those on either side stay comparable.
            Some(pending) if pending.stage != sample.stage => {
                self.keep(pending);
                sample
            }
            Some(pending) => pending.merged(&sample),
            None => sample,
        };
        // A tick that came a little early is a whole one.
        if pending.span_s > 0.75 * self.interval_s {
            self.keep(pending);
        } else {
            self.pending = Some(pending);
        }
    }

    fn keep(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() >= self.samples_max {
            self.interval_s *= 2.0;
            self.halve(false);
            // Where circumstances changed all the time, samples that belong to several are better than no bound.
            if self.samples.len() > self.samples_max * 3 / 4 {
                self.halve(true);
            }
        }
    }

    fn halve(&mut self, across: bool) {
        let mut halved: Vec<Sample> = Vec::with_capacity(self.samples_max);
        let mut samples = std::mem::take(&mut self.samples).into_iter().peekable();
        while let Some(sample) = samples.next() {
            let next = samples.next_if(|next| across || next.stage == sample.stage);
            halved.push(next.map_or(sample, |next| sample.merged(&next)));
        }
        self.samples = halved;
    }

    /// All of them, with the one that is not whole.
    pub fn into_samples(mut self) -> Vec<Sample> {
        self.samples.extend(self.pending);
        self.samples
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A second of a run with nothing in it.
    pub(crate) fn second(at_s: f64, phase: usize) -> Sample {
        Sample {
            at_s,
            span_s: 1.0,
            stage: Stage {
                phase,
                activity: Activity::Load,
                life: 0,
            },
            mixed: false,
            orders: 10.0,
            reads: 0.0,
            refused: 0.0,
            failed: 0.0,
            latency: None,
            gauges: None,
            nodes: [None; NODES as usize],
        }
    }

    #[test]
    fn days_of_samples_stay_below_the_bound_and_lose_no_time_and_no_order() {
        let mut series = Series::bounded(1.0, 64);
        for at in 0..100_000 {
            series.push(second(f64::from(at + 1), at as usize / 7_000));
        }
        let samples = series.into_samples();
        assert!(samples.len() <= 64, "{}", samples.len());
        let span: f64 = samples.iter().map(|sample| sample.span_s).sum();
        let orders: f64 = samples.iter().map(|sample| sample.orders * sample.span_s).sum();
        assert_eq!((span, orders), (100_000.0, 1_000_000.0));
        assert!(samples.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
        assert!(samples.iter().filter(|sample| sample.mixed).count() <= 15);
    }

    #[test]
    fn circumstances_that_change_all_the_time_do_not_break_the_bound() {
        let mut series = Series::bounded(1.0, 64);
        for at in 0..10_000 {
            series.push(second(f64::from(at), at as usize));
        }
        assert!(series.into_samples().len() <= 65);
    }

    #[test]
    fn nodes_are_averaged_within_a_process_and_not_across() {
        let node = |life, rss_bytes| {
            Some(NodeGauges {
                life,
                gauges: Gauges {
                    rss_bytes,
                    ..Gauges::default()
                },
            })
        };
        let (mut one, mut other) = (second(1.0, 0), second(2.0, 0));
        one.nodes = [node(1, 100.0), node(1, 100.0), None];
        other.nodes = [node(1, 300.0), node(2, 300.0), node(4, 50.0)];
        assert_eq!(
            one.merged(&other).nodes,
            [node(1, 200.0), node(2, 300.0), node(4, 50.0)]
        );
    }

    #[test]
    fn latencies_are_weighted_by_orders_and_gauges_by_time() {
        let (mut one, mut other) = (second(1.0, 0), second(2.0, 0));
        let of = |count, p50| Quantiles {
            count,
            p50,
            ..Quantiles::default()
        };
        (one.latency, other.latency) = (Some(of(30.0, 100.0)), Some(of(10.0, 500.0)));
        one.gauges = Some(Gauges {
            rss_bytes: 8.0,
            ..Gauges::default()
        });
        let merged = one.merged(&other);
        assert_eq!(merged.latency.map(|latency| latency.p50), Some(200.0));
        assert_eq!(merged.gauges.map(|gauges| gauges.rss_bytes), Some(8.0));
        assert_eq!(merged.nodes, [None; 3]);
        assert_eq!(merged.span_s, 2.0);
    }
}
