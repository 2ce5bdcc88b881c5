//! What the samples say: whether something leaks, or drifts, and whether the run came to anything. `docs/soak.md` tells the
//! same to people.
//!
//! A leak is a slope, not a size. But memory grows with what is stored, and must. So it is judged twice: by what it grows with
//! every order, which is declared, and by what it grows while orders are only read, when nothing explains it.

use super::{
    PhaseReport, Scenario, Settled,
    sample::{Activity, Gauges, Sample},
    trend::{Point, Trend, halves, median, trend},
};

/// A trend that is likelier than this by chance is none.
const CHANCE_MAX: f64 = 0.001;
const HOUR_S: f64 = 3_600.0;
const MIB: f64 = 1_048_576.0;
/// Until so much is stored, memory by order says nothing: what the allocator keeps is more.
const EXPLAINED_MIN: f64 = 64.0 * MIB;
/// Memory may grow by so much with every byte that what is stored explains.
const MEMORY_MAX: f64 = 1.5;
/// The data directory may grow by so much with it: the journal until it is cut, and snapshots while there are two.
const DISK_MAX: f64 = 5.0;
/// What is taken for growth while nothing is stored: so much, or as much less as the time is longer than [`NOISE_S`], down
/// to the second. Allocators, caches and timers move by that much without meaning anything.
const MEMORY_NOISE: (f64, f64) = (32.0 * MIB, MIB);
const DISK_NOISE: (f64, f64) = (256.0 * MIB, 16.0 * MIB);
const NOISE_S: f64 = 600.0;
/// This share of each time of reads is left out: until then caches fill, and the allocator gives back what the load before
/// had needed.
const SETTLING: f64 = 0.2;
/// Files and threads come and go in such numbers.
const FILES_MIN: f64 = 64.0;
const THREADS_MIN: f64 = 32.0;
/// Of each of three kinds 4,096 actors in 8 shards may be idle, by default, and as many calls may be in flight.
const ACTORS_MAX: f64 = 3.0 * 4_096.0 * 8.0 + 4_096.0;
/// A scenario whose load was on for so long must have come to something.
const LOADED_S: f64 = 1.0;
/// Where calls fail though nothing is wrong: too much is asked, or somebody vanishes.
const FAILURES: [Scenario; 3] = [Scenario::Overload, Scenario::ReconnectStorm, Scenario::Kill];
/// Rounds over which something must be left in flight to be left behind.
const LEFT_ROUNDS: usize = 3;
/// From so much steady load on, a slope says more than a comparison of begin and end.
const LONG_S: f64 = 600.0;
/// Fewer samples than that on either side are not compared.
const SAMPLES_MIN: usize = 5;

/// How something is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is fine.
    Passed,
    /// It is not.
    Failed,
    /// There is too little to say.
    Open,
}

/// One judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What is judged.
    pub name: &'static str,
    /// How.
    pub verdict: Verdict,
    /// What was found, with its numbers.
    pub found: String,
    /// What would have failed.
    pub limit: String,
    /// The number that was compared, if there is one.
    pub value: Option<f64>,
}

impl Judgement {
    /// Whether it does not fail the run.
    pub fn is_fine(&self) -> bool {
        self.verdict != Verdict::Failed
    }

    fn new(name: &'static str, fails: bool, value: f64, found: String, limit: String) -> Self {
        Self {
            name,
            verdict: if fails { Verdict::Failed } else { Verdict::Passed },
            found,
            limit,
            value: Some(value),
        }
    }

    fn open(name: &'static str, why: &str, limit: String) -> Self {
        Self {
            name,
            verdict: Verdict::Open,
            found: why.to_owned(),
            limit,
            value: None,
        }
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The phases, as samples number them.
    pub phases: &'a [PhaseReport],
    /// All samples.
    pub samples: &'a [Sample],
    /// How the server was after each round.
    pub settled: &'a [Settled],
}

/// All judgements.
pub fn all(evidence: &Evidence) -> Vec<Judgement> {
    let rss = |gauges: &Gauges| gauges.rss_bytes;
    let disk = |gauges: &Gauges| gauges.data_bytes;
    vec![
        acknowledged(evidence),
        failed(evidence),
        stored(evidence, "memory of what is stored", rss, MEMORY_MAX),
        unexplained(evidence, "memory while nothing is stored", rss, MEMORY_NOISE),
        stored(evidence, "disk of what is stored", disk, DISK_MAX),
        unexplained(evidence, "disk while nothing is stored", disk, DISK_NOISE),
        counted(evidence, "open files", |gauges| gauges.open_files, FILES_MIN),
        counted(evidence, "threads", |gauges| gauges.threads, THREADS_MIN),
        actors(evidence),
        left_behind(evidence),
        drift(evidence, &P50),
        drift(evidence, &P99),
    ]
}

/// Points of samples, in one block for each `key`; samples without one are left out.
fn blocks<K: PartialEq>(
    samples: &[Sample],
    key: impl Fn(&Sample) -> Option<K>,
    point: impl Fn(&Sample) -> Option<Point>,
) -> Vec<Vec<Point>> {
    let mut blocks: Vec<(K, Vec<Point>)> = Vec::new();
    for sample in samples.iter().filter(|sample| !sample.mixed) {
        let Some((key, point)) = key(sample).zip(point(sample)) else {
            continue;
        };
        match blocks.iter_mut().find(|(other, _)| *other == key) {
            Some((_, points)) => points.push(point),
            None => blocks.push((key, vec![point])),
        }
    }
    blocks.into_iter().map(|(_, points)| points).collect()
}

/// Whether orders were acknowledged: of a server that refuses everything nothing can be lost.
fn acknowledged(evidence: &Evidence) -> Judgement {
    let name = "orders in every scenario";
    let limit = format!(
        "none acknowledged in a scenario whose load was on for {LOADED_S} s or longer, and began anything"
    );
    let loaded = evidence
        .phases
        .iter()
        .filter(|phase| phase.load_s >= LOADED_S && !phase.began_nothing());
    let Some(least) = loaded.min_by_key(|phase| phase.orders.count()) else {
        return Judgement::open(name, "no load was on for so long, and began anything", limit);
    };
    let (count, scenario) = (least.orders.count(), least.scenario.name());
    let found = format!("{count} at least, in {scenario}");
    Judgement::new(name, count == 0, count as f64, found, limit)
}

/// Whether calls failed, or were never answered, where nothing explains it.
fn failed(evidence: &Evidence) -> Judgement {
    let name = "calls that failed";
    let limit = format!(
        "any but a refusal for want of room, outside of {}",
        FAILURES.map(Scenario::name).join(", ")
    );
    let judged: Vec<_> = evidence
        .phases
        .iter()
        .filter(|phase| phase.load_s > 0.0 && !FAILURES.contains(&phase.scenario))
        .collect();
    let Some(most) = judged.iter().max_by_key(|phase| phase.failed()) else {
        return Judgement::open(name, "there was no load of that kind", limit);
    };
    let all: u64 = judged.iter().map(|phase| phase.failed()).sum();
    let found = match all {
        0 => "0".to_owned(),
        all => format!(
            "{all}, most of them in {}: {:?}",
            most.scenario.name(),
            most.errors
        ),
    };
    Judgement::new(name, all > 0, all as f64, found, limit)
}

/// How much something grows with what is stored, against what is declared.
fn stored(evidence: &Evidence, name: &'static str, of: impl Fn(&Gauges) -> f64, most: f64) -> Judgement {
    let limit = format!(
        "more than {most} bytes for each byte that the stored orders explain, with 99.9 % confidence"
    );
    let point = |sample: &Sample| {
        let gauges = sample.gauges?;
        Some((gauges.explained_bytes, of(&gauges)))
    };
    let blocks = blocks(evidence.samples, |sample| Some(sample.stage.life), point);
    match trend(&blocks).filter(|trend| trend.reach >= EXPLAINED_MIN) {
        Some(trend) => Judgement::new(
            name,
            trend.least > most,
            trend.slope,
            format!(
                "{:.2} bytes for each byte explained ({:.2} to {:.2}), over {} of explained bytes",
                trend.slope,
                trend.least,
                trend.most,
                mib(trend.reach)
            ),
            limit,
        ),
        None => Judgement::open(
            name,
            &format!("fewer orders were stored than make {}", mib(EXPLAINED_MIN)),
            limit,
        ),
    }
}

/// How much something grows while orders are only read.
fn unexplained(
    evidence: &Evidence,
    name: &'static str,
    of: impl Fn(&Gauges) -> f64,
    noise: (f64, f64),
) -> Judgement {
    let key = |sample: &Sample| {
        (sample.stage.activity == Activity::Reads).then_some((sample.stage.life, sample.stage.phase))
    };
    let point = |sample: &Sample| Some((sample.at_s / HOUR_S, of(&sample.gauges?)));
    let mut blocks = blocks(evidence.samples, key, point);
    for block in &mut blocks {
        block.drain(..(block.len() as f64 * SETTLING).ceil() as usize);
    }
    let trend = trend(&blocks);
    let reach_s = trend.map_or(0.0, |trend| trend.reach * HOUR_S);
    let least = (noise.0 * (NOISE_S / reach_s.max(1.0)).min(1.0)).max(noise.1);
    let limit = format!(
        "a growth of more than {} in that time that chance does not explain (p < {CHANCE_MAX}) and that goes on in both halves",
        mib(least)
    );
    let Some(trend) = trend else {
        return Judgement::open(name, "orders were not read long enough", limit);
    };
    let found = format!(
        "{} an hour ({} in {:.1} min, p = {:.3})",
        mib(trend.slope),
        mib(trend.growth()),
        reach_s / 60.0,
        trend.chance
    );
    Judgement::new(name, grows(&trend, &blocks, least), trend.slope, found, limit)
}

/// Whether a trend is one, is large enough to matter, and no mere step.
fn grows(whole: &Trend, blocks: &[Vec<Point>], least: f64) -> bool {
    whole.chance < CHANCE_MAX
        && whole.growth() > least
        && halves(blocks)
            .iter()
            .all(|half| trend(half).is_none_or(|half| half.slope > whole.slope / 4.0))
}

/// How something grows from round to round, when nothing is asked.
fn counted(evidence: &Evidence, name: &'static str, of: impl Fn(&Gauges) -> f64, least: f64) -> Judgement {
    let limit =
        format!("{least} more, round by round, than chance explains (p < {CHANCE_MAX}), and in both halves");
    let mut blocks: Vec<Vec<Point>> = Vec::new();
    let mut life = None;
    for settled in evidence.settled {
        let point = (settled.at_s / HOUR_S, of(&settled.gauges));
        match blocks.last_mut().filter(|_| life == Some(settled.life)) {
            Some(block) => block.push(point),
            None => blocks.push(vec![point]),
        }
        life = Some(settled.life);
    }
    let values = || evidence.settled.iter().map(|settled| of(&settled.gauges));
    let (fewest, most) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(0.0, f64::max),
    );
    let Some(trend) = trend(&blocks) else {
        return Judgement::open(name, "too few rounds", limit);
    };
    let found = format!(
        "{fewest:.0} to {most:.0} after {} rounds, {:+.1} in all (p = {:.3})",
        evidence.settled.len(),
        trend.growth(),
        trend.chance
    );
    Judgement::new(name, grows(&trend, &blocks, least), trend.growth(), found, limit)
}

fn actors(evidence: &Evidence) -> Judgement {
    let gauges = evidence.samples.iter().filter_map(|sample| sample.gauges);
    let most = gauges.map(|gauges| gauges.actors).fold(0.0, f64::max);
    Judgement::new(
        "actors",
        most > ACTORS_MAX,
        most,
        format!("{most:.0} at most"),
        format!("more than {ACTORS_MAX}: what may be idle, and in flight, by the server's configuration"),
    )
}

/// What is in flight, and which streams are open, when nobody asks anything.
fn left_behind(evidence: &Evidence) -> Judgement {
    let name = "left in flight";
    let limit =
        format!("calls or streams after each of the last {LEFT_ROUNDS} rounds, when nothing is asked");
    // After one round alone something may be on its way still: only what stays is left behind.
    let Some(last) = evidence.settled.last_chunk::<LEFT_ROUNDS>() else {
        return Judgement::open(name, "too few rounds", limit);
    };
    let left = last
        .iter()
        .map(|settled| settled.gauges.in_flight + settled.gauges.streams);
    let least = left.fold(f64::INFINITY, f64::min);
    Judgement::new(name, least > 0.0, least, format!("{least:.0}"), limit)
}

/// A quantile whose drift is judged.
struct Drifting {
    name: &'static str,
    of: fn(&Sample) -> Option<f64>,
    /// The share of the median, and the microseconds, by which it may grow over a long run.
    long: (f64, f64),
    /// How many times the first third, and by how many microseconds more than it, the last third of a short run may be.
    short: (f64, f64),
}

const P50: Drifting = Drifting {
    name: "drift of the median latency",
    of: |sample| Some(sample.latency?.p50),
    long: (0.25, 250.0),
    short: (3.0, 5_000.0),
};

const P99: Drifting = Drifting {
    name: "drift of the 99th percentile",
    of: |sample| Some(sample.latency?.p99),
    long: (0.5, 2_000.0),
    short: (4.0, 25_000.0),
};

fn drift(evidence: &Evidence, quantile: &Drifting) -> Judgement {
    let is_steady = |sample: &&Sample| {
        let scenario = evidence
            .phases
            .get(sample.stage.phase)
            .map(|phase| phase.scenario);
        !sample.mixed && sample.stage.activity == Activity::Load && scenario == Some(Scenario::Steady)
    };
    let steady: Vec<&Sample> = evidence.samples.iter().filter(is_steady).collect();
    let load_s: f64 = steady.iter().map(|sample| sample.span_s).sum();
    let points = steady
        .iter()
        .filter_map(|sample| Some((sample.at_s / HOUR_S, (quantile.of)(sample)?)));
    let points: Vec<Point> = points.collect();
    if load_s < LONG_S {
        return drift_of_short(quantile, &points);
    }
    let limit = format!(
        "a growth over the run of more than {:.0} % of the median and {:.1} ms that chance does not explain (p < {CHANCE_MAX})",
        quantile.long.0 * 100.0,
        quantile.long.1 / 1e3
    );
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    values.sort_by(f64::total_cmp);
    let middle = median(&values);
    let Some(trend) = trend(&[points]) else {
        return Judgement::open(quantile.name, "too few samples", limit);
    };
    let growth = trend.growth();
    let found = format!(
        "{:+.1} % of the median ({:.2} ms) an hour, {:+.2} ms over {:.1} h (p = {:.3})",
        100.0 * trend.slope / middle.max(1.0),
        middle / 1e3,
        growth / 1e3,
        trend.reach,
        trend.chance
    );
    let fails = trend.chance < CHANCE_MAX && growth > quantile.long.0 * middle && growth > quantile.long.1;
    Judgement::new(quantile.name, fails, growth, found, limit)
}

fn drift_of_short(quantile: &Drifting, points: &[Point]) -> Judgement {
    let limit = format!(
        "in the last third of the steady samples {} times the first third's, and {:.0} ms more",
        quantile.short.0,
        quantile.short.1 / 1e3
    );
    let third = points.len() / 3;
    if third < SAMPLES_MIN {
        return Judgement::open(quantile.name, "too few samples of steady load", limit);
    }
    let of = |part: &[Point]| {
        let mut values: Vec<f64> = part.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        median(&values)
    };
    let (first, last) = (of(&points[..third]), of(&points[points.len() - third..]));
    let found = format!(
        "{:.2} ms in the first third, {:.2} ms in the last",
        first / 1e3,
        last / 1e3
    );
    let fails = last > quantile.short.0 * first && last > first + quantile.short.1;
    Judgement::new(quantile.name, fails, last - first, found, limit)
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / MIB)
}

mod nodes;
#[cfg(test)]
mod tests;

pub use nodes::nodes;
