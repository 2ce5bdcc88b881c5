//! `docket-soak hostile`

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use serde_json::json;

use super::{
    FAILED, Format, Output, print,
    run::{beside, duration},
};
use crate::{
    Error,
    hostile::{self, Attack, Outcome, Plan, Verdict},
    report::text::{bytes, count, micros},
};

/// `docket-soak hostile`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket-soak hostile
  docket-soak hostile --attack connections --attack login-storm
  docket-soak hostile --windows 10 --window 5s -o json > hostile.json
  docket-soak hostile --list

Each attack is made in windows, with quiet ones between them, on a server of
its own, while an honest client places orders and others come anew. It fails
where memory grows by more than 256 MiB, an honest request is not done, the
bound that is meant for the attack is not seen to hold, or the honest client's
p99 is more than twice its quiet one. Attackers share this machine's
processors: their rates are bounded, and are told with --list.")]
pub struct Args {
    /// Which attack; can be given more than once [default: all]
    #[arg(long, value_name = "NAME")]
    attack: Vec<String>,
    /// List the attacks, with their rates, and do nothing
    #[arg(long)]
    list: bool,
    /// How often it is quiet and attacked, for each attack
    #[arg(long, value_name = "N", default_value_t = 5)]
    windows: u32,
    /// How long each of those is
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "3s")]
    window: Duration,
    /// The honest client's orders a second
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    rate: f64,
    /// Whether a ratio of times is no fault, as on a machine that others use
    #[arg(long)]
    no_times: bool,
    /// The server's program [default: docket, beside this program]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Where the servers' folders are made [default: where temporary files are]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Args {
    /// Attacks, and says what came of it.
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let attacks = self.attacks()?;
        if self.list {
            print(&list(&attacks, self.output.format))?;
            return Ok(ExitCode::SUCCESS);
        }
        let program = match self.program {
            Some(program) => program,
            None => beside("docket")?,
        };
        let plan = Plan {
            attacks,
            windows: self.windows,
            window: self.window,
            quiet: self.window,
            rate: self.rate,
            ..Plan::new(program, self.dir.unwrap_or_else(std::env::temp_dir))
        };
        plan.validate()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::system("start a runtime"))?;
        let told = |outcome: &Outcome| {
            // Whoever closed stderr is told in the end.
            let _ = writeln!(std::io::stderr(), "{}", row(outcome));
        };
        let outcomes = runtime.block_on(hostile::run(&plan, told))?;
        let times_count = !self.no_times;
        let passed = outcomes
            .iter()
            .all(|outcome| outcome.faults(times_count).is_empty());
        match self.output.format {
            Format::Json => {
                let outcomes: Vec<_> = outcomes.iter().map(Outcome::to_json).collect();
                print(&format!(
                    "{:#}\n",
                    json!({ "passed": passed, "attacks": outcomes })
                ))?;
            }
            Format::Table => print(&table(&outcomes, times_count))?,
        }
        Ok(ExitCode::from(if passed { 0 } else { FAILED }))
    }

    fn attacks(&self) -> Result<Vec<Attack>, Error> {
        if self.attack.is_empty() {
            return Ok(Attack::ALL.to_vec());
        }
        let found = self.attack.iter().map(|name| {
            Attack::named(name).ok_or_else(|| {
                let names = Attack::ALL.map(Attack::name).join(", ");
                Error::Shape(format!("there is no attack {name:?}: {names}"))
            })
        });
        found.collect()
    }
}

fn list(attacks: &[Attack], format: Format) -> String {
    match format {
        Format::Json => {
            let one = |attack: &Attack| {
                let force = attack.force();
                json!({
                    "attack": attack.name(),
                    "does": attack.does(),
                    "visitors": force.visitors,
                    "addresses": force.addresses,
                    "visits_per_second": force.visits_per_second,
                    "work_per_second": force.work_per_second,
                })
            };
            format!("{:#}\n", json!(attacks.iter().map(one).collect::<Vec<_>>()))
        }
        Format::Table => attacks
            .iter()
            .map(|attack| {
                let force = attack.force();
                format!(
                    "{}\n  {}\n  {} at a time from {} addresses, {}/s come, {}/s are done\n",
                    attack.name(),
                    attack.does(),
                    count(force.visitors as f64),
                    force.addresses,
                    count(force.visits_per_second),
                    count(force.work_per_second)
                )
            })
            .collect(),
    }
}

const HEAD: &str = "ATTACK               QUIET P99  UNDER IT  RATIO  NEWCOMERS   GREW  CONNECTIONS";

fn row(outcome: &Outcome) -> String {
    let us = |us: u64| micros(us as f64);
    format!(
        "{:<18} {:>11} {:>9} {:>6} {:>10} {:>9} {:>9}",
        outcome.attack.name(),
        us(outcome.quiet.orders.us(0.99)),
        us(outcome.attacked.orders.us(0.99)),
        outcome
            .ratio()
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        us(outcome.attacked.newcomers.us(0.99)),
        bytes(outcome.growth() as f64),
        count(outcome.connections as f64),
    )
}

fn table(outcomes: &[Outcome], times_count: bool) -> String {
    let mut lines = vec![HEAD.to_owned()];
    lines.extend(outcomes.iter().map(row));
    lines.push(String::new());
    for outcome in outcomes {
        let mut answers = outcome.answers.clone();
        answers.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        let answers: Vec<String> = answers
            .iter()
            .take(3)
            .map(|(answer, times)| format!("{answer} {}", count(*times as f64)))
            .collect();
        lines.push(format!(
            "{:<18} {} visits, {}: {}",
            outcome.attack.name(),
            count(outcome.visits as f64),
            bytes(outcome.bytes as f64),
            answers.join(", ")
        ));
    }
    lines.push(String::new());
    let mut faults = 0;
    for outcome in outcomes {
        for fault in outcome.faults(times_count) {
            faults += 1;
            lines.push(format!("FAULT {}: {}", outcome.attack.name(), said(&fault)));
        }
        for told in &outcome.attacked.told {
            lines.push(format!("      {told}"));
        }
    }
    lines.push(match faults {
        0 => "PASSED".to_owned(),
        faults => format!("FAILED: {faults} faults"),
    });
    lines.join("\n") + "\n"
}

fn said(fault: &Verdict) -> String {
    match fault {
        Verdict::Grew(by) => format!("memory grew by {}", bytes(*by as f64)),
        Verdict::Refused(requests) => format!("{requests} honest requests were not done"),
        Verdict::NotHeld => "the bound that is meant for it was not seen to hold".to_owned(),
        Verdict::Slow(ratio) => format!("the honest client's p99 is {ratio:.2} times its quiet one"),
    }
}
