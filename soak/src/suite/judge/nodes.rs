//! What the samples of a cluster's nodes say: each is judged as a server by itself, and the worst of them is told.

use super::{
    DISK_MAX, Evidence, FILES_MIN, Judgement, MEMORY_MAX, P50, P99, SAMPLES_MIN, THREADS_MIN, Verdict,
    counted, stored,
};
use crate::suite::{
    AfterRounds, PhaseReport, Settled,
    sample::{Activity, Sample},
    trend::median,
};

/// How many times its first third, and by how many microseconds more than it, the last third of a scenario may be. What happens to a
/// cluster moves latencies more than anything that drifts: this finds what gets slower and slower.
const DRIFT_P50: (f64, f64) = (3.0, 10_000.0);
const DRIFT_P99: (f64, f64) = (4.0, 250_000.0);

/// All judgements of a cluster; none where there was none. `after` is how its nodes were after each round.
pub fn nodes(evidence: &Evidence, after: &AfterRounds) -> Vec<Judgement> {
    if !evidence.phases.iter().any(|phase| phase.scenario.is_together()) {
        return Vec::new();
    }
    let each: Vec<OfNode> = (0..after.len())
        .map(|at| OfNode::of(evidence, at, &after[at]))
        .collect();
    let worst = |judge: &dyn Fn(&Evidence) -> Judgement| {
        let judged = (1..).zip(&each).map(|(number, node)| {
            let mut judged = judge(&node.evidence());
            judged.found = format!("node {number}: {}", judged.found);
            judged
        });
        judged.reduce(worse)
    };
    let judged = [
        worst(&|node| {
            stored(
                node,
                "memory of what nodes store",
                |gauges| gauges.rss_bytes,
                MEMORY_MAX,
            )
        }),
        worst(&|node| {
            stored(
                node,
                "disk of what nodes store",
                |gauges| gauges.data_bytes,
                DISK_MAX,
            )
        }),
        worst(&|node| counted(node, "open files of nodes", |gauges| gauges.open_files, FILES_MIN)),
        worst(&|node| counted(node, "threads of nodes", |gauges| gauges.threads, THREADS_MIN)),
    ];
    let mut judged: Vec<Judgement> = judged.into_iter().flatten().collect();
    judged.push(drift(
        evidence,
        after,
        "drift of a cluster's median",
        P50.of,
        DRIFT_P50,
    ));
    judged.push(drift(
        evidence,
        after,
        "drift of a cluster's 99th percentile",
        P99.of,
        DRIFT_P99,
    ));
    judged
}

/// A run as one node saw it.
struct OfNode<'a> {
    phases: &'a [PhaseReport],
    samples: Vec<Sample>,
    settled: &'a [Settled],
}

impl<'a> OfNode<'a> {
    fn of(evidence: &Evidence<'a>, at: usize, settled: &'a [Settled]) -> Self {
        let samples = evidence.samples.iter().filter_map(|sample| {
            let node = sample.nodes[at]?;
            let mut of_node = *sample;
            of_node.gauges = Some(node.gauges);
            of_node.stage.life = node.life;
            Some(of_node)
        });
        Self {
            phases: evidence.phases,
            samples: samples.collect(),
            settled,
        }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            phases: self.phases,
            samples: &self.samples,
            settled: self.settled,
        }
    }
}

/// What failed is worse than what did not, and both than what could not be judged; and more is worse.
fn worse(one: Judgement, other: Judgement) -> Judgement {
    let rank = |judged: &Judgement| match judged.verdict {
        Verdict::Open => 0,
        Verdict::Passed => 1,
        Verdict::Failed => 2,
    };
    let (ranks, values) = ((rank(&one), rank(&other)), (one.value, other.value));
    if ranks.0 > ranks.1 || ranks.0 == ranks.1 && values.0 >= values.1 {
        one
    } else {
        other
    }
}

/// Whether a scenario's orders take longer in its last rounds than in its first ones. Within a round they do as what happens in it does.
fn drift(
    evidence: &Evidence,
    after: &AfterRounds,
    name: &'static str,
    of: fn(&Sample) -> Option<f64>,
    (times, more_us): (f64, f64),
) -> Judgement {
    let limit = format!(
        "in the last third of a scenario's rounds {times} times the first third's, and {:.0} ms more",
        more_us / 1e3
    );
    let ends: Vec<f64> = after
        .iter()
        .max_by_key(|rounds| rounds.len())
        .map(|rounds| rounds.iter().map(|round| round.at_s).collect())
        .unwrap_or_default();
    let mut worst: Option<(f64, f64, &'static str)> = None;
    let mut fails = false;
    for (index, phase) in evidence.phases.iter().enumerate() {
        let of_phase = |index| {
            evidence
                .samples
                .iter()
                .filter(move |sample| sample.stage.phase == index)
        };
        let Some(begin) = of_phase(index).next().filter(|_| phase.scenario.is_together()) else {
            continue;
        };
        let end = of_phase(index + 1).next().map_or(f64::INFINITY, |next| next.at_s);
        let rounds: Vec<f64> = ends
            .iter()
            .copied()
            .filter(|at_s| (begin.at_s..end).contains(at_s))
            .collect();
        let third = rounds.len() / 3;
        if third == 0 {
            continue;
        }
        let (first_until, last_from) = (rounds[third - 1], rounds[rounds.len() - third - 1]);
        let middle = |is_in: &dyn Fn(f64) -> bool| {
            let loaded = of_phase(index).filter(|sample| {
                !sample.mixed && sample.stage.activity == Activity::Load && is_in(sample.at_s)
            });
            let mut values: Vec<f64> = loaded.filter_map(of).collect();
            values.sort_by(f64::total_cmp);
            (values.len() >= SAMPLES_MIN).then(|| median(&values))
        };
        let first = middle(&|at_s| at_s <= first_until);
        let last = middle(&|at_s| at_s > last_from);
        let Some((first, last)) = first.zip(last) else {
            continue;
        };
        fails |= last > times * first && last > first + more_us;
        if worst.is_none_or(|worst| last - first > worst.1 - worst.0) {
            worst = Some((first, last, phase.scenario.name()));
        }
    }
    match worst {
        None => Judgement::open(name, "too few rounds of a scenario", limit),
        Some((first, last, scenario)) => {
            let found = format!(
                "at most {:.2} ms in the first third, {:.2} ms in the last, in {scenario}",
                first / 1e3,
                last / 1e3
            );
            Judgement::new(name, fails, last - first, found, limit)
        }
    }
}
