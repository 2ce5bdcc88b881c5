//! What a run came to, and the same as JSON.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Value, json};

use super::{
    Faults, Plan, Scenario, Settled, Sums,
    judge::{Judgement, Verdict},
    sample::{Gauges, Sample},
    scene::AfterRounds,
};
use crate::{Latencies, Ledger, Tally};

/// The version of the JSON's schema: one more whenever a field is removed or means something else.
pub const SCHEMA_VERSION: u32 = 1;
/// The quantiles of a phase's latency.
const QUANTILES: [(&str, f64); 5] = [
    ("p50_us", 0.5),
    ("p90_us", 0.9),
    ("p99_us", 0.99),
    ("p99_9_us", 0.999),
    ("p99_99_us", 0.9999),
];

/// What came of a phase.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    /// Its scenario.
    pub scenario: Scenario,
    /// When it began, in seconds since the run did.
    pub from_s: f64,
    /// When it ended.
    pub to_s: f64,
    /// How long orders took.
    pub orders: Latencies,
    /// How long reads took.
    pub reads: Latencies,
    /// Time in which the load was on, in seconds.
    pub load_s: f64,
    /// Calls that failed, by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// Operations that never started, because too much was in flight.
    pub missed: u64,
}

impl PhaseReport {
    /// One that begins.
    pub fn begun(scenario: Scenario, from_s: f64) -> Self {
        Self {
            scenario,
            from_s,
            to_s: from_s,
            orders: Latencies::default(),
            reads: Latencies::default(),
            load_s: 0.0,
            errors: BTreeMap::new(),
            missed: 0,
        }
    }

    /// Adds a load; its ledger is somebody else's.
    pub fn add(&mut self, tally: Tally) -> Ledger {
        self.orders.add(&tally.orders);
        self.reads.add(&tally.reads);
        self.load_s += tally.elapsed.as_secs_f64();
        self.missed += tally.missed;
        for (code, count) in tally.errors {
            *self.errors.entry(code).or_default() += count;
        }
        tally.ledger
    }

    /// Whether the load was to start operations at moments of their own, and started none: each of its moments had passed before it was carried out, on a
    /// machine that had other things to do. That says nothing of the server.
    pub fn began_nothing(&self) -> bool {
        self.missed > 0 && self.orders.count() + self.reads.count() == 0 && self.errors.is_empty()
    }

    /// Calls that were refused for want of room or tokens.
    pub fn refused(&self) -> u64 {
        self.errors.get("RESOURCE_EXHAUSTED").copied().unwrap_or_default()
    }

    /// Calls that failed otherwise.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum::<u64>() - self.refused()
    }

    /// Orders a second of the time in which the load was on.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.load_s.max(1e-3)
    }
}

/// A restart after a kill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// When the process was killed, in seconds since the run began.
    pub at_s: f64,
    /// From its start until it was ready.
    pub ready_s: f64,
    /// Orders that were stored before the round in which it was killed.
    pub orders: u64,
}

/// Something that happened to a node of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in seconds since the run began.
    pub at_s: f64,
    /// What.
    pub what: String,
}

/// What is left of the server.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its folder, where something failed.
    pub folder: Option<PathBuf>,
    /// Whether that is only in memory.
    pub in_memory: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// How long it took.
    pub took_s: f64,
    /// Whether somebody ended it early.
    pub interrupted: bool,
    /// Its phases.
    pub phases: Vec<PhaseReport>,
    /// Its restarts.
    pub restarts: Vec<Restart>,
    /// What happened to the nodes of a cluster.
    pub events: Vec<Event>,
    /// What was seen.
    pub samples: Vec<Sample>,
    /// How the server was after each round.
    pub settled: Vec<Settled>,
    /// How the nodes of a cluster were after each round.
    pub nodes_settled: AfterRounds,
    /// What is wrong with the books.
    pub faults: Faults,
    /// What was checked.
    pub sums: Sums,
    /// What was asked of orders that were led through their lives, and answered: how often.
    pub deeds: BTreeMap<&'static str, u64>,
    /// What the samples say.
    pub judgements: Vec<Judgement>,
    /// What is left.
    pub kept: Kept,
}

impl Outcome {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.faults.count == 0 && self.judgements.iter().all(Judgement::is_fine)
    }

    /// The verdict in words.
    pub fn headline(&self) -> String {
        let Sums {
            acknowledged,
            read,
            rounds,
            ..
        } = self.sums;
        let books = match self.faults.count {
            0 => format!(
                "{} orders acknowledged and {} read back in {rounds} rounds, none lost, none doubled, stock and money exact",
                grouped(acknowledged),
                grouped(read)
            ),
            count => format!(
                "{} {}; {} acknowledged orders were checked",
                grouped(count),
                if count == 1 { "fault" } else { "faults" },
                grouped(acknowledged)
            ),
        };
        let failed: Vec<&str> = self
            .judgements
            .iter()
            .filter(|one| !one.is_fine())
            .map(|one| one.name)
            .collect();
        // What could not be judged must not read as if it were fine.
        let judged = self
            .judgements
            .iter()
            .filter(|one| one.verdict != Verdict::Open)
            .count();
        let all = self.judgements.len();
        let trends = match failed.as_slice() {
            [] if judged == all => "no leak, no drift".to_owned(),
            [] => format!("of leaks and drift only {judged} of {all} could be judged, and are fine"),
            failed => format!("judged as failed: {}", failed.join(", ")),
        };
        let early = if self.interrupted { "; ended early" } else { "" };
        format!("{books}; {trends}{early}")
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let plan = &self.plan;
        json!({
            "schema_version": SCHEMA_VERSION,
            "verdict": if self.passed() { "passed" } else { "failed" },
            "headline": self.headline(),
            "setup": {
                "version": env!("CARGO_PKG_VERSION"),
                "command": plan.command,
                "program": plan.program.display().to_string(),
                "cores": cores(),
                "seed": plan.seed,
                "scenarios": plan.scenarios.iter().map(|one| one.name()).collect::<Vec<_>>(),
                "duration_seconds": plan.duration.as_secs_f64(),
                "took_seconds": self.took_s,
                "interrupted": self.interrupted,
                "connections": plan.connections,
                "in_flight": plan.in_flight,
                "orders_max": plan.orders_max,
                "customers": plan.customers,
                "items": plan.items,
                "folder_in_memory": self.kept.in_memory,
                "folder_kept": self.kept.folder.as_ref().map(|folder| folder.display().to_string()),
            },
            "books": {
                "fault_count": self.faults.count,
                "faults": self.faults.told,
                "rounds": self.sums.rounds,
                "acknowledged": self.sums.acknowledged,
                "cancelled": self.sums.cancelled,
                "read_back": self.sums.read,
                "lost_answers_settled": self.sums.lost_answers,
                "looked_at_under_load": self.sums.looks,
                "led": self.sums.led,
                "paid_by_provider": self.sums.paid_by_provider,
                "closed": self.sums.closed,
                "verified": self.sums.verified,
                "deeds": self.deeds,
            },
            "judgements": self.judgements.iter().map(judgement).collect::<Vec<_>>(),
            "phases": self.phases.iter().map(phase).collect::<Vec<_>>(),
            "restarts": self.restarts.iter().map(|one| json!({
                "at_seconds": one.at_s,
                "ready_seconds": one.ready_s,
                "orders_before": one.orders,
            })).collect::<Vec<_>>(),
            "events": self.events.iter().map(|one| json!({
                "at_seconds": one.at_s,
                "what": one.what,
            })).collect::<Vec<_>>(),
            "samples": self.samples.iter().map(|one| self.sample(one)).collect::<Vec<_>>(),
            "after_rounds": self.settled.iter().map(after_round).collect::<Vec<_>>(),
            "nodes_after_rounds": (1..).zip(&self.nodes_settled).flat_map(|(node, settled): (u8, _)| {
                settled.iter().map(move |one| {
                    let mut settled = after_round(one);
                    settled["node"] = json!(node);
                    settled
                })
            }).collect::<Vec<_>>(),
        })
    }

    fn sample(&self, sample: &Sample) -> Value {
        let scenario = self
            .phases
            .get(sample.stage.phase)
            .map(|phase| phase.scenario.name());
        let mut value = json!({
            "at_seconds": sample.at_s,
            "span_seconds": sample.span_s,
            "phase": sample.stage.phase,
            "scenario": scenario,
            "activity": sample.stage.activity.name(),
            "process": sample.stage.life,
            "mixed": sample.mixed,
            "orders_per_second": sample.orders,
            "reads_per_second": sample.reads,
            "refused_per_second": sample.refused,
            "failed_per_second": sample.failed,
        });
        if let Some(latency) = &sample.latency {
            value["p50_us"] = json!(latency.p50);
            value["p99_us"] = json!(latency.p99);
            value["p99_9_us"] = json!(latency.p99_9);
        }
        if let Some(of_server) = &sample.gauges {
            value["server"] = gauges(of_server);
        }
        let nodes = (1..).zip(&sample.nodes).filter_map(|(number, node): (u8, _)| {
            let node = node.as_ref()?;
            let mut of_node = gauges(&node.gauges);
            of_node["node"] = json!(number);
            of_node["process"] = json!(node.life);
            Some(of_node)
        });
        let nodes: Vec<Value> = nodes.collect();
        if !nodes.is_empty() {
            value["nodes"] = nodes.into();
        }
        value
    }
}

/// Cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Digits in threes.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a judgement came to, in a word.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Open => "not judged",
    }
}

fn judgement(one: &Judgement) -> Value {
    json!({
        "name": one.name,
        "verdict": word(one.verdict),
        "found": one.found,
        "fails_with": one.limit,
        "value": one.value,
    })
}

fn phase(phase: &PhaseReport) -> Value {
    let latencies = |latencies: &Latencies| -> Value {
        let mut values: Map<String, Value> = QUANTILES
            .iter()
            .map(|(name, quantile)| ((*name).to_owned(), json!(latencies.us(*quantile))))
            .collect();
        values.insert("max_us".to_owned(), json!(latencies.max_us()));
        values.insert("count".to_owned(), json!(latencies.count()));
        values.into()
    };
    json!({
        "scenario": phase.scenario.name(),
        "from_seconds": phase.from_s,
        "to_seconds": phase.to_s,
        "load_seconds": phase.load_s,
        "orders": latencies(&phase.orders),
        "reads": latencies(&phase.reads),
        "refused": phase.refused(),
        "failed": phase.failed(),
        "errors": phase.errors,
        "never_started": phase.missed,
    })
}

fn after_round(one: &Settled) -> Value {
    let mut settled = gauges(&one.gauges);
    settled["at_seconds"] = json!(one.at_s);
    settled["process"] = json!(one.life);
    settled
}

fn gauges(gauges: &Gauges) -> Value {
    json!({
        "rss_bytes": gauges.rss_bytes,
        "explained_bytes": gauges.explained_bytes,
        "cpu_cores": gauges.cpu_cores,
        "open_files": gauges.open_files,
        "threads": gauges.threads,
        "journal_bytes": gauges.journal_bytes,
        "snapshot_bytes": gauges.snapshot_bytes,
        "data_bytes": gauges.data_bytes,
        "actors": gauges.actors,
        "in_flight": gauges.in_flight,
        "connections": gauges.connections,
        "streams": gauges.streams,
        "orders": gauges.orders,
        "orders_open": gauges.orders_open,
    })
}
