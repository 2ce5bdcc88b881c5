//! What the libraries alone allow: the steps from the bare echo to Docket, each a server of its own that does one thing more for a call and
//! decides nothing. `cargo bench --bench ladder` prints them beside Docket, in interleaved rounds of the same load.
//!
//! | step | what a call does before it is answered | stands on |
//! |---|---|---|
//! | `echo` | nothing | tonic, h2, hyper |
//! | `actors` | asks a customer's actor, which asks those of two items and waits for their answers | ractor |
//! | `file` | one record, as long as all of an order's, is appended to a bare file with others that wait, and synced | the disk |
//! | `journal` | the same in the journal | sled, the disk |
//! | `groups` | three records, as an order has before its answer, are proposed in the three groups that they fall to, durable and applied | openraft, sled, the disk |
//! | `all` | the actors, each of which proposes its record | all of these |
//! | `docket` | all that Docket does | |
//!
//! | variable | |
//! |---|---|
//! | `LADDER_PROGRAM` | another build's `docket` |
//! | `LADDER_ROUNDS`, `LADDER_SECONDS` | how many rounds (5) of how many seconds (2) for each step |
//! | `LADDER_MODE` | `stream`: by streams, with 1,024 in flight; else by calls, with 64 |
//! | `LADDER_RATE` | an open loop of so many orders a second; else a closed one |

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

#[path = "ladder/actors.rs"]
mod actors;
mod forgetful;

#[path = "../src/allocator.rs"]
#[expect(dead_code, reason = "nothing is given back here")]
mod allocator;
#[path = "ladder/file.rs"]
mod file;
#[path = "ladder/groups.rs"]
mod groups;
#[path = "ladder/steps.rs"]
mod steps;

#[expect(dead_code, reason = "criterion does not measure here")]
mod setting;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use docket_soak::{
    Ledger, Load, Mode, Pace, Progress, Server, Shape, Tally, Target, Usage, Workload, books, drive,
    echo::Echo,
};
use steps::Step;

/// The allocator that the program has.
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

/// With this argument, a step's name and a folder this program is the step.
const STEP: &str = "--step";
const CONNECTIONS: usize = 4;
/// By call and by stream.
const IN_FLIGHT: (usize, usize) = (64, 1_024);
/// In flight at most where calls start at given times.
const IN_FLIGHT_MAX: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// Rounds, and how long each step is measured in one: usually, and in the short mode.
const ROUNDS: (f64, f64) = (5.0, 1.0);
const SECONDS: (f64, f64) = (2.0, 0.05);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == STEP) {
        let step = Step::named(&args[at + 1]).unwrap();
        steps::serve(step, Path::new(&args[at + 2]));
        return;
    }
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(measure());
}

/// The number that a variable holds.
fn number(variable: &str) -> Option<f64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}

async fn measure() {
    let rounds = number("LADDER_ROUNDS").unwrap_or(setting::or_short(ROUNDS.0, ROUNDS.1)) as usize;
    let seconds = number("LADDER_SECONDS").unwrap_or(setting::or_short(SECONDS.0, SECONDS.1));
    let rate = number("LADDER_RATE");
    let (mode, in_flight) = match std::env::var("LADDER_MODE") {
        Ok(mode) if mode == "stream" => (Mode::Stream, IN_FLIGHT.1),
        _ => (Mode::Unary, IN_FLIGHT.0),
    };
    let load = Load {
        mode,
        pace: rate.map_or(Pace::Closed, |per_second| Pace::Open { per_second }),
        in_flight: rate.map_or(in_flight, |_| IN_FLIGHT_MAX),
        connections: CONNECTIONS,
        threads: 1,
        duration: Duration::from_secs_f64(seconds),
        patience: PATIENCE,
    };
    let folder = tempfile::tempdir().unwrap();
    let mut asked: Vec<Asked> = Step::ALL
        .into_iter()
        .map(|step| Asked::step(step, folder.path()))
        .collect();
    asked.push(Asked::docket(&folder.path().join("docket")).await);
    // The first time does not count.
    for one in &mut asked {
        one.drive(&load).await;
        one.rounds.clear();
    }
    for _ in 0..rounds {
        for one in &mut asked {
            one.drive(&load).await;
        }
    }
    println!(
        "\nladder: medians of {rounds} interleaved rounds of {seconds} s, {mode:?}, {}",
        match rate {
            Some(rate) => format!("{rate} a second"),
            None => format!("{in_flight} in flight"),
        }
    );
    println!("step       orders/s    least     most  of echo   p50 us   p99 us   cpu us");
    let echo = asked[0].median(|round| round.rate);
    for one in &asked {
        let rate = one.median(|round| round.rate);
        println!(
            "{:<9} {rate:>9.0} {:>8.0} {:>8.0} {:>8.2} {:>8.0} {:>8.0} {:>8.1}",
            one.name,
            one.sorted(|round| round.rate)[0],
            one.sorted(|round| round.rate)[rounds - 1],
            rate / echo,
            one.median(|round| round.p50_us),
            one.median(|round| round.p99_us),
            one.median(|round| round.cpu_us),
        );
    }
    for one in asked {
        one.end().await;
    }
}

/// A process that is asked, and how fast it was.
struct Asked {
    name: &'static str,
    process: Process,
    target: Target,
    workload: Arc<Workload>,
    ledger: Ledger,
    rounds: Vec<Round>,
}

enum Process {
    Step(Echo),
    Docket(Box<Server>),
}

/// One round: calls a second, latencies, and what the server used of the processor for each.
struct Round {
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

impl Asked {
    fn step(step: Step, folder: &Path) -> Self {
        let this = std::env::current_exe().unwrap();
        let folder = folder.join(step.name());
        std::fs::create_dir(&folder).unwrap();
        let process = Echo::start(&this, &[STEP, step.name(), folder.to_str().unwrap()]).unwrap();
        let target = process.target().unwrap();
        Self::new(step.name(), Process::Step(process), target)
    }

    async fn docket(folder: &Path) -> Self {
        let program = std::env::var_os("LADDER_PROGRAM")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_docket")), PathBuf::from);
        std::fs::create_dir(folder).unwrap();
        let server = Server::start(&program, folder).await.unwrap();
        let target = server.target().unwrap();
        let asked = Self::new("docket", Process::Docket(Box::new(server)), target);
        books::open(&asked.target, &asked.workload).await.unwrap();
        asked
    }

    fn new(name: &'static str, process: Process, target: Target) -> Self {
        Self {
            name,
            process,
            target,
            workload: Arc::new(Workload::new(Shape::default()).unwrap()),
            ledger: Ledger::default(),
            rounds: Vec::new(),
        }
    }

    fn usage(&self) -> Usage {
        match &self.process {
            Process::Step(echo) => echo.usage().unwrap(),
            Process::Docket(server) => server.usage().unwrap(),
        }
    }

    async fn drive(&mut self, load: &Load) {
        let before = self.usage().cpu;
        let progress = Arc::new(Progress::default());
        let mut tally: Tally = drive(&self.target, &self.workload, load, &progress)
            .await
            .unwrap();
        assert_eq!(tally.failed(), 0, "{}: {:?}", self.name, tally.errors);
        let calls = tally.orders.count();
        self.rounds.push(Round {
            rate: tally.rate(calls),
            p50_us: tally.orders.us(0.5) as f64,
            p99_us: tally.orders.us(0.99) as f64,
            cpu_us: (self.usage().cpu - before).as_secs_f64() * 1e6 / calls as f64,
        });
        // The steps have no books.
        if matches!(self.process, Process::Docket(_)) {
            self.ledger.add(std::mem::take(&mut tally.ledger));
        }
    }

    fn sorted(&self, of: impl Fn(&Round) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        self.sorted(of)[self.rounds.len() / 2]
    }

    /// Docket's books are exact.
    async fn end(mut self) {
        let Process::Docket(server) = self.process else {
            return;
        };
        books::settle(&self.target, &self.workload, &mut self.ledger)
            .await
            .unwrap();
        let checked = books::check(&self.target, &self.workload, &self.ledger, 0.01)
            .await
            .unwrap();
        assert_eq!(checked.fault_count, 0, "{:?}", checked.faults);
        server.stop().await.unwrap();
    }
}
