//! `docket bench`: rounds of echo, server and disk, one after the other, then the books.
//!
//! ```text
//!   start ─▶ open the shop ─▶ warm up ─▶ ┌ echo ─▶ server ─▶ disk ┐ × rounds ─▶ settle what was lost ─▶ check the books
//!                                        └────────────────────────┘
//! ```
//!
//! The rounds are interleaved so that whatever else the machine does meets all three alike.

mod figures;
mod progress;
mod report;
mod subject;
mod watched;

use std::{path::PathBuf, sync::Arc, time::Duration};

use docket_soak::{
    Error, Ledger, Load, Mode, Pace, Shape, Tally, Target, Usage, WatchOf, Workload, books, disk, echo::Echo,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{cli::Link, failure::Failure, output::Output};
use figures::{Figures, Overload, Round};
use progress::Shown;
pub use report::{Old, Report};
use subject::Subject;

/// The hidden command with which this program is the echo.
pub const ECHO_COMMAND: &str = "bench-echo";
/// How long the last answers may take after a round, unless configured.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long the disk is measured in a round, at most.
const DISK_MAX: Duration = Duration::from_secs(1);
/// In flight on each connection at most while too much is offered: what the server's HTTP/2 lets a client open, so that
/// nothing waits unseen in the client. What is beyond it was meant and is not offered.
const OVERLOAD_IN_FLIGHT: usize = 250;
/// What is appended where no commit of the server's was seen.
const COMMIT_BYTES: usize = 4_096;

/// What is measured.
#[derive(Debug)]
pub struct Plan {
    /// The load of each round.
    pub load: Load,
    /// What is asked.
    pub shape: Shape,
    /// How many times what it did the server is offered besides, in a round's second part.
    pub overload: Option<f64>,
    /// How many watches of orders there are besides in a part of each round, of each kind.
    pub watches: Vec<(WatchOf, usize)>,
    /// How long server and echo are warmed up.
    pub warm_up: Duration,
    /// How often everything is measured.
    pub rounds: u32,
    /// Whether the echo and the disk are measured, too.
    pub baselines: bool,
    /// Of which share of the customers every order is read back.
    pub check_share: f64,
    /// Which server.
    pub place: Where,
}

/// Which server is measured.
#[derive(Debug)]
pub enum Where {
    /// One of its own, in a new folder in this one; with more than one node, a cluster.
    Here {
        /// Where the folder is made.
        dir: PathBuf,
        /// How many nodes.
        nodes: usize,
    },
    /// One that runs already.
    There(Box<Link>),
}

/// Measures, shows, and holds the new figures against `old` ones.
///
/// # Errors
/// It cannot be measured, or the books do not balance.
pub async fn run(plan: Plan, old: Option<Old>, output: &Output) -> Result<(), Failure> {
    let report = tokio::select! {
        // What is left behind here is dropped: the server, its folder, the echo.
        stopped = stopped() => return Err(stopped),
        report = conduct(&plan) => report?,
    };
    report.show(output, old.as_ref())?;
    match report.faults() {
        0 => Ok(()),
        faults => Err(Failure::Other(format!(
            "the books do not balance: {faults} faults"
        ))),
    }
}

/// Resolves when a signal asks to stop.
async fn stopped() -> Failure {
    let listen =
        |kind| signal(kind).map_err(|cause| Failure::Other(format!("cannot listen for signals: {cause}")));
    let (interrupt, terminate, hangup) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
        listen(SignalKind::hangup()),
    );
    let (mut interrupt, mut terminate, mut hangup) = match (interrupt, terminate, hangup) {
        (Ok(interrupt), Ok(terminate), Ok(hangup)) => (interrupt, terminate, hangup),
        (Err(failure), ..) | (_, Err(failure), _) | (.., Err(failure)) => return failure,
    };
    tokio::select! {
        _ = interrupt.recv() => Failure::Signal { name: "SIGINT", code: 130 },
        _ = terminate.recv() => Failure::Signal { name: "SIGTERM", code: 143 },
        _ = hangup.recv() => Failure::Signal { name: "SIGHUP", code: 129 },
    }
}

async fn conduct(plan: &Plan) -> Result<Report, Failure> {
    let mut shape = plan.shape.clone();
    if matches!(plan.place, Where::There(_)) {
        shape.prefix = format!("bench-{:08x}-", uuid::Uuid::new_v4().as_fields().0);
    }
    plan.load.validate()?;
    let workload = Arc::new(Workload::new(shape.clone())?);
    let shown = Shown::new();
    shown.step("the server starts");
    let subject = Subject::start(&plan.place).await?;
    let target = subject.target()?;
    let echo = match plan.baselines {
        true => Some(Bare::start(shape)?),
        false => None,
    };
    shown.step("customers and items are created");
    books::open(&target, &workload).await?;

    let warm_up = Load {
        duration: plan.warm_up,
        ..plan.load.clone()
    };
    if let Some(echo) = &echo {
        echo.drive(&warm_up, &shown, "warm-up, echo").await?;
    }
    let warmed = shown
        .drive("warm-up, server", &target, &workload, &warm_up)
        .await?;
    let (mut ledger, mut errors) = (warmed.ledger, warmed.errors);
    let mut figures = Figures::default();
    for number in 1..=plan.rounds {
        let of = plan.rounds;
        let bare = match &echo {
            Some(echo) => Some(
                echo.drive(&plan.load, &shown, &format!("round {number} of {of}, echo"))
                    .await?,
            ),
            None => None,
        };
        // Every other round begins with them, so that what grows meanwhile meets both alike.
        let mut watched = Vec::new();
        if number % 2 == 0 {
            watched = watched::all(plan, &subject, (&target, &workload), &shown, number).await?;
        }
        let (used, before) = (own()?, subject.sample().await?);
        let what = format!("round {number} of {of}, server");
        let mut tally = shown.drive(&what, &target, &workload, &plan.load).await?;
        let (after, used) = (subject.sample().await?, own()?.saturating_sub(used));
        ledger.add(std::mem::take(&mut tally.ledger));
        for (code, count) in std::mem::take(&mut tally.errors) {
            *errors.entry(code).or_default() += count;
        }
        let used_by_server = after.since(&before);
        if number % 2 == 1 {
            watched = watched::all(plan, &subject, (&target, &workload), &shown, number).await?;
        }
        for part in &mut watched {
            ledger.add(std::mem::take(&mut part.tally.ledger));
            for (code, count) in std::mem::take(&mut part.tally.errors) {
                *errors.entry(code).or_default() += count;
            }
        }
        let overload = match plan.overload {
            Some(factor) => {
                let what = format!("round {number} of {of}");
                let mut overload = overload(
                    plan,
                    factor,
                    &tally,
                    &subject,
                    (&target, &workload),
                    &shown,
                    &what,
                )
                .await?;
                for tally in [&mut overload.tally, &mut overload.after] {
                    ledger.add(std::mem::take(&mut tally.ledger));
                    for (code, count) in &tally.errors {
                        *errors.entry(code).or_default() += count;
                    }
                }
                Some(overload)
            }
            None => None,
        };
        let syncs = match (plan.baselines, subject.folder()) {
            (true, Some(folder)) => {
                shown.step(&format!("round {number} of {of}, disk"));
                let bytes = used_by_server.bytes_of_a_commit().unwrap_or(COMMIT_BYTES);
                // What is measured at a given rate is compared with a disk that has as much to do.
                let per_second = match (plan.load.pace, used_by_server.syncs) {
                    (Pace::Open { .. }, Some(syncs)) if syncs > 0 => Some(tally.rate(syncs)),
                    _ => None,
                };
                let duration = plan.load.duration.min(DISK_MAX);
                Some(disk::measure(folder, bytes, per_second, duration).await?)
            }
            _ => None,
        };
        figures.add(&Round {
            tally,
            used: used_by_server,
            used_by_client: used,
            bare,
            watched,
            overload,
            syncs,
        });
    }
    shown.step("orders whose answers were lost are asked for again");
    books::settle(&target, &workload, &mut ledger).await?;
    shown.step("the books are checked");
    let checked = books::check(&target, &workload, &ledger, plan.check_share).await?;
    drop(echo);
    let in_memory = subject
        .folder()
        .map(disk::is_memory)
        .transpose()?
        .unwrap_or(false);
    shown.step("the server stops");
    let place = subject.stop().await?;
    shown.done();
    Ok(Report::new(plan, place, in_memory, figures, errors, checked))
}

/// Offers `factor` times what the server just did, and then the usual load again.
async fn overload(
    plan: &Plan,
    factor: f64,
    usual: &Tally,
    subject: &Subject,
    (target, workload): (&Target, &Arc<Workload>),
    shown: &Shown,
    what: &str,
) -> Result<Overload, Error> {
    let offered = factor * usual.rate(usual.orders.count());
    let load = Load {
        mode: match plan.load.mode {
            Mode::Unary => Mode::UnaryWritten,
            other => other,
        },
        pace: Pace::Open { per_second: offered },
        in_flight: plan
            .load
            .in_flight
            .max(plan.load.connections * OVERLOAD_IN_FLIGHT),
        ..plan.load.clone()
    };
    let before = subject.sample().await?.rss_bytes();
    let told = format!("{what}, {factor} times as much");
    let tally = shown.drive(&told, target, workload, &load).await?;
    let behind = subject.sample().await?.rss_bytes();
    let after = shown
        .drive(&format!("{what}, as before"), target, workload, &plan.load)
        .await?;
    Ok(Overload {
        offered,
        tally,
        after,
        rss_bytes: before.zip(behind),
    })
}

/// The time that this process has used.
fn own() -> Result<Duration, Error> {
    Usage::own()
        .map(|usage| usage.cpu)
        .map_err(Error::system("see what this process uses"))
}

/// The echo, and what it is asked.
struct Bare {
    process: Echo,
    target: Target,
    workload: Arc<Workload>,
}

impl Bare {
    fn start(shape: Shape) -> Result<Self, Error> {
        let program = subject::program()?;
        let process = Echo::start(&program, &[ECHO_COMMAND])?;
        Ok(Self {
            target: process.target()?,
            process,
            workload: Arc::new(Workload::new(shape)?),
        })
    }

    async fn drive(&self, load: &Load, shown: &Shown, what: &str) -> Result<(Tally, Duration), Error> {
        let before = self.process.usage()?.cpu;
        let mut tally = shown.drive(what, &self.target, &self.workload, load).await?;
        // It has no books.
        tally.ledger = Ledger::default();
        Ok((tally, self.process.usage()?.cpu.saturating_sub(before)))
    }
}
