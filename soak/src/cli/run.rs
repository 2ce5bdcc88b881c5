//! `docket-soak run`

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use jiff::{Span, SpanRelativeTo};
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, Format, Output, print, progress};
use crate::{
    Error, report,
    report::text::{bytes, count, micros, seconds},
    suite::{self, Outcome, Plan, Scenario, Scene, Stub, word},
};

/// `docket-soak run`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket-soak run
  docket-soak run --duration 3d --sample 10s --out soak-3d
  docket-soak run --scenario overload --scenario steady --duration 5m
  docket-soak run --scenario partition --scenario node-loss --duration 1h
  docket-soak run --program target/release/docket --dir /mnt/disk

The scenarios share the time, in the order of `docket-soak list`, on one
server process and data directory, so that leaks add up; steady load comes
again when the others are over, then kills, and last of all three servers
that are a cluster, whose scenarios take as long as what happens in them, if
that is longer. The report is one HTML page, and the same as JSON. The server's folder is removed where the run
passed, and kept where it failed. Ctrl-C ends the run early, with a report.

The server keeps every order in memory: long runs place no more than
--orders-max in all, and rest in between.")]
pub struct Args {
    /// Which scenario, or all; can be given more than once [default: all]
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// How long all scenarios take together: 2m, 6h, 3d
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    duration: Duration,
    /// Repeats the same orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The server's program [default: docket, beside this program]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// The payment provider's program, which pays for some orders
    /// [default: docket-payment-stub, beside this program, if it is there]
    #[arg(long, value_name = "PATH")]
    payments: Option<PathBuf>,
    /// Where the report is written: report.html and report.json
    #[arg(long, value_name = "DIR", default_value = "soak-report")]
    out: PathBuf,
    /// Where the server's folder is made, whose disk it uses
    /// [default: where temporary files are]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How often samples are taken
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    sample: Duration,
    /// Connections of the load
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// Orders in flight where the scenario does not say otherwise
    #[arg(long, value_name = "N", default_value_t = 64)]
    in_flight: usize,
    /// About so many orders are placed in the whole run at most
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    orders_max: u64,
    #[command(flatten)]
    output: Output,
}

impl Args {
    /// Runs, writes the report, and says how it went.
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let (out, output) = (self.out.clone(), self.output.format);
        let stub = self.stub()?;
        let plan = Plan {
            paying: stub.as_ref().map(Stub::paying),
            ..self.plan()?
        };
        // Told before hours have passed.
        plan.validate()?;
        std::fs::create_dir_all(&out).map_err(Error::system(format!("make {}", out.display())))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::system("start a runtime"))?;
        let outcome = runtime.block_on(conduct(plan))?;
        progress::done();
        let page = report::write(&outcome, &out)?;
        match output {
            Format::Json => print(&format!("{:#}\n", outcome.to_json()))?,
            Format::Table => print(&format!("{}\nreport: {}\n", table(&outcome), page.display()))?,
        }
        Ok(ExitCode::from(if outcome.passed() { 0 } else { FAILED }))
    }

    /// The provider at work; none where there is no program of one.
    fn stub(&self) -> Result<Option<Stub>, Error> {
        let program = match &self.payments {
            Some(program) => program.clone(),
            None => {
                let beside = beside("docket-payment-stub")?;
                if !beside.is_file() {
                    return Ok(None);
                }
                beside
            }
        };
        Stub::start(&program).map(Some)
    }

    fn plan(self) -> Result<Plan, Error> {
        let mut scenarios = Vec::new();
        for name in &self.scenario {
            match (name.as_str(), Scenario::named(name)) {
                ("all", _) => scenarios.extend(Scenario::ALL),
                (_, Some(scenario)) => scenarios.push(scenario),
                (_, None) => {
                    let names = Scenario::ALL.map(Scenario::name).join(", ");
                    return Err(Error::Shape(format!(
                        "there is no scenario {name:?}: all, or {names}"
                    )));
                }
            }
        }
        if scenarios.is_empty() {
            scenarios.extend(Scenario::ALL);
        }
        scenarios.sort_unstable();
        scenarios.dedup();
        let program = match self.program {
            Some(program) => program,
            None => beside("docket")?,
        };
        Ok(Plan {
            scenarios,
            duration: self.duration,
            seed: self.seed,
            sample: self.sample,
            connections: self.connections,
            in_flight: self.in_flight,
            orders_max: self.orders_max,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            ..Plan::new(program, self.dir.unwrap_or_else(std::env::temp_dir))
        })
    }
}

/// A program in the folder of this one.
pub(super) fn beside(name: &str) -> Result<PathBuf, Error> {
    let this = std::env::current_exe().map_err(Error::system("find this program"))?;
    Ok(this.with_file_name(name))
}

async fn conduct(plan: Plan) -> Result<Outcome, Error> {
    let scene = Arc::new(Scene::new(plan.sample));
    let told = progress::told(&plan);
    let listen = |kind| signal(kind).map_err(Error::system("listen for signals"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let running = suite::run(plan, Arc::clone(&scene), told);
    tokio::pin!(running);
    loop {
        tokio::select! {
            outcome = &mut running => return outcome,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if scene.is_interrupted() {
            return Err(Error::Broken("stopped by a second signal, without a report"));
        }
        // What is in flight is answered and checked, and there is a report of what was run.
        scene.interrupt();
    }
}

/// Reads a span of time such as `2m`, `6h` or `3d` (a day is 24 hours), longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || "write a number and a unit, for instance 30s, 2m, 6h or 3d".to_owned();
    let span: Span = text.parse().map_err(|_| refused())?;
    let span = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| refused())?;
    match Duration::try_from(span) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than nothing".to_owned()),
    }
}

/// The result for people, within 80 columns where names and numbers allow.
fn table(outcome: &Outcome) -> String {
    let mut lines = vec![format!(
        "{:<16} {:>8} {:>8} {:>9} {:>9} {:>9} {:>7} {:>6}",
        "SCENARIO", "ORDERS", "PER S", "P50", "P99", "P99.9", "REFUSED", "FAILED"
    )];
    for phase in &outcome.phases {
        let us = |quantile: f64| micros(phase.orders.us(quantile) as f64);
        lines.push(format!(
            "{:<16} {:>8} {:>8} {:>9} {:>9} {:>9} {:>7} {:>6}",
            phase.scenario.name(),
            count(phase.orders.count() as f64),
            count(phase.per_second(phase.orders.count())),
            us(0.5),
            us(0.99),
            us(0.999),
            count(phase.refused() as f64),
            count(phase.failed() as f64)
        ));
    }
    lines.push(String::new());
    for one in &outcome.judgements {
        lines.push(format!("{:<10} {}: {}", word(one.verdict), one.name, one.found));
    }
    for restart in &outcome.restarts {
        lines.push(format!(
            "{:<10} killed after {}, ready again in {:.2} s",
            "restart",
            seconds(restart.at_s),
            restart.ready_s
        ));
    }
    for event in &outcome.events {
        lines.push(format!(
            "{:<10} {}, after {}",
            "event",
            event.what,
            seconds(event.at_s)
        ));
    }
    for fault in &outcome.faults.told {
        lines.push(format!("{:<10} {fault}", "FAULT"));
    }
    if let Some(folder) = &outcome.kept.folder {
        lines.push(format!("{:<10} {}", "kept", folder.display()));
    }
    lines.push(String::new());
    let peak = outcome.samples.iter().filter_map(|sample| sample.rss_bytes());
    let peak = peak.fold(0.0, f64::max);
    lines.push(format!(
        "{} after {}, {} of memory at most: {}",
        if outcome.passed() { "PASSED" } else { "FAILED" },
        seconds(outcome.took_s),
        bytes(peak),
        outcome.headline()
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_may_be_days() {
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("3d"), Ok(Duration::from_secs(3 * 86_400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for wrong in ["", "5", "0s", "-2m", "a while"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
