//! The plots of a run: what each shows, from its samples.

use super::chart::{Band, Chart, Line, Unit};
use crate::suite::{
    Outcome,
    sample::{Activity, Gauges, Sample},
};

/// A plot with what a person should look for in it.
pub struct Plot {
    /// Its title.
    pub title: &'static str,
    /// What to look for.
    pub hint: &'static str,
    /// Names and colours of its lines.
    pub key: Vec<(&'static str, u8, bool)>,
    /// The plot.
    pub svg: String,
}

/// A sample's value on a line; none where there is none.
type Of = Box<dyn Fn(&Sample) -> Option<f64>>;

/// A line as it is drawn from samples.
struct Drawn {
    name: &'static str,
    dashed: bool,
    of: Of,
}

/// Of whatever the load does.
fn of_load(name: &'static str, of: fn(&Sample) -> f64) -> Drawn {
    Drawn {
        name,
        dashed: false,
        // While the books are checked there is no load, and 0 would only look like a stall.
        of: Box::new(move |sample| (sample.stage.activity != Activity::Check).then(|| of(sample))),
    }
}

/// Of whatever the server has.
fn of_server(name: &'static str, of: fn(&Gauges) -> f64) -> Drawn {
    Drawn {
        name,
        dashed: false,
        of: Box::new(move |sample| sample.gauges.as_ref().map(of)),
    }
}

/// The same of each node of a cluster.
fn of_nodes(of: fn(&Gauges) -> f64) -> Vec<Drawn> {
    let names = ["node 1", "node 2", "node 3"];
    let drawn = names.into_iter().enumerate().map(|(at, name)| Drawn {
        name,
        dashed: false,
        of: Box::new(move |sample| sample.nodes[at].as_ref().map(|node| of(&node.gauges))),
    });
    drawn.collect()
}

/// What is seen of the nodes of a cluster; nothing where there was none.
fn nodes(outcome: &Outcome, plot: &Plotter<'_>) -> Vec<Plot> {
    if !outcome
        .samples
        .iter()
        .any(|sample| sample.nodes.iter().any(Option::is_some))
    {
        return Vec::new();
    }
    vec![
        plot.plot(
            "Memory of each node",
            "grows with what the cluster stores; a line that ends is a node that is away, and comes back no larger",
            (false, Unit::Bytes),
            of_nodes(|gauges| gauges.rss_bytes),
        ),
        plot.plot(
            "Disk of each node",
            "journal and snapshots; a node that follows later takes as much in the end",
            (false, Unit::Bytes),
            of_nodes(|gauges| gauges.data_bytes),
        ),
        plot.plot(
            "Open files of each node",
            "after every event back to where they were",
            (false, Unit::Count),
            of_nodes(|gauges| gauges.open_files),
        ),
        plot.plot(
            "Processor of each node, cores busy",
            "who leads more does more",
            (false, Unit::Count),
            of_nodes(|gauges| gauges.cpu_cores),
        ),
    ]
}

/// All plots.
pub fn all(outcome: &Outcome) -> Vec<Plot> {
    let latency = |name, of: fn(&Sample) -> Option<f64>| Drawn {
        name,
        dashed: false,
        of: Box::new(of),
    };
    let plot = Plotter::of(outcome);
    let mut plots = vec![
        plot.plot(
            "Throughput, a second",
            "orders where the load asks for them; refusals only where it asks for too much",
            (false, Unit::Count),
            vec![
                of_load("orders acknowledged", |sample| sample.orders),
                of_load("reads", |sample| sample.reads),
                of_load("refused", |sample| sample.refused),
                of_load("failed", |sample| sample.failed),
            ],
        ),
        plot.plot(
            "Latency of orders (logarithmic)",
            "steady load must look the same at its second turn as at its first",
            (true, Unit::Micros),
            vec![
                latency("p50", |sample| Some(sample.latency?.p50)),
                latency("p99", |sample| Some(sample.latency?.p99)),
                latency("p99.9", |sample| Some(sample.latency?.p99_9)),
            ],
        ),
        plot.plot(
            "Memory of the server",
            "what is resident follows what the stored orders explain, and is flat where they are only read",
            (false, Unit::Bytes),
            vec![
                of_server("resident", |gauges| gauges.rss_bytes),
                explained(outcome),
            ],
        ),
        plot.plot(
            "Disk",
            "the journal grows until it is cut behind a snapshot",
            (false, Unit::Bytes),
            vec![
                of_server("data directory", |gauges| gauges.data_bytes),
                of_server("journal", |gauges| gauges.journal_bytes),
                of_server("snapshots", |gauges| gauges.snapshot_bytes),
            ],
        ),
        plot.plot(
            "Open files and threads",
            "after every storm back to where they were",
            (false, Unit::Count),
            vec![
                of_server("open files", |gauges| gauges.open_files),
                of_server("connections", |gauges| gauges.connections),
                of_server("threads", |gauges| gauges.threads),
            ],
        ),
        plot.plot(
            "Actors and calls in flight (logarithmic)",
            "bounded by configuration, whatever is asked",
            (true, Unit::Count),
            vec![
                of_server("actors", |gauges| gauges.actors),
                of_server("in flight", |gauges| gauges.in_flight),
                of_server("orders not settled", |gauges| gauges.orders_open),
            ],
        ),
        plot.plot(
            "Processor, cores busy",
            "of the server; the load shares the machine with it",
            (false, Unit::Count),
            vec![of_server("cores", |gauges| gauges.cpu_cores)],
        ),
    ];
    plots.extend(nodes(outcome, &plot));
    plots
}

/// What memory should be: where each process began, and what was stored since.
fn explained(outcome: &Outcome) -> Drawn {
    let mut begins: Vec<(u32, f64)> = Vec::new();
    for sample in &outcome.samples {
        let Some(gauges) = &sample.gauges else {
            continue;
        };
        if begins.last().is_none_or(|(life, _)| *life != sample.stage.life) {
            begins.push((sample.stage.life, gauges.rss_bytes - gauges.explained_bytes));
        }
    }
    Drawn {
        name: "explained by what is stored",
        dashed: true,
        of: Box::new(move |sample| {
            let begin = begins.iter().find(|(life, _)| *life == sample.stage.life)?.1;
            Some((begin + sample.gauges?.explained_bytes).max(0.0))
        }),
    }
}

struct Plotter<'a> {
    outcome: &'a Outcome,
    bands: Vec<Band>,
    marks: Vec<f64>,
}

impl<'a> Plotter<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let bands = outcome.phases.iter().map(|phase| Band {
            name: phase.scenario.name().to_owned(),
            from_s: phase.from_s,
            to_s: phase.to_s,
        });
        Self {
            outcome,
            bands: bands.collect(),
            marks: outcome
                .restarts
                .iter()
                .map(|restart| restart.at_s)
                .chain(outcome.events.iter().map(|event| event.at_s))
                .collect(),
        }
    }

    fn plot(
        &self,
        title: &'static str,
        hint: &'static str,
        (logarithmic, unit): (bool, Unit),
        drawn: Vec<Drawn>,
    ) -> Plot {
        let lines: Vec<Line> = (1..)
            .zip(drawn)
            .map(|(colour, drawn)| Line {
                name: drawn.name,
                colour,
                dashed: drawn.dashed,
                points: self
                    .outcome
                    .samples
                    .iter()
                    .map(|sample| (sample.at_s, (drawn.of)(sample)))
                    .collect(),
            })
            .collect();
        let key = lines
            .iter()
            .map(|line| (line.name, line.colour, line.dashed))
            .collect();
        let chart = Chart {
            title,
            logarithmic,
            unit,
            lines,
            bands: &self.bands,
            marks: &self.marks,
            to_s: self.outcome.took_s,
        };
        Plot {
            title,
            hint,
            key,
            svg: chart.svg(),
        }
    }
}
