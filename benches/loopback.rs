//! Orders over gRPC on loopback, from the built program: a call each, and in streams; and the same of a bare echo, which is
//! the most that there is to be had. `docket bench` tells more about the same load.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;

use std::{path::Path, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use docket_soak::{
    Ledger, Load, Mode, Pace, Progress, Server, Shape, Target, Workload, books, drive, echo::Echo,
};
use tokio::runtime::Runtime;

const PROGRAM: &str = env!("CARGO_BIN_EXE_docket");
/// The hidden command with which the program is the echo.
const ECHO_COMMAND: &str = "bench-echo";
const CONNECTIONS: usize = 4;
/// How orders travel, and how many are in flight.
const CASES: [(&str, Mode, usize); 2] = [("unary", Mode::Unary, 64), ("stream", Mode::Stream, 1_024)];
/// The shortest load that says something: usually, and in the short mode.
const LOAD_MIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(20));
/// The longest, so that a sample stays one.
const LOAD_MAX: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let mut criterion = setting::criterion();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(PROGRAM);
    let server = runtime.block_on(Server::start(program, dir.path())).unwrap();
    let echo = Echo::start(program, &[ECHO_COMMAND]).unwrap();
    let mut docket = Asked::new(&runtime, "loopback", server.target().unwrap());
    runtime
        .block_on(books::open(&docket.target, &docket.workload))
        .unwrap();
    docket.measure(&mut criterion);
    Asked::new(&runtime, "loopback_echo", echo.target().unwrap()).measure(&mut criterion);
    runtime.block_on(docket.check());
    runtime.block_on(server.stop()).unwrap();
    criterion.final_summary();
}

/// Who is asked, and what it answered.
struct Asked<'a> {
    runtime: &'a Runtime,
    name: &'static str,
    target: Target,
    workload: Arc<Workload>,
    ledger: Ledger,
}

impl<'a> Asked<'a> {
    fn new(runtime: &'a Runtime, name: &'static str, target: Target) -> Self {
        Self {
            runtime,
            name,
            target,
            workload: Arc::new(Workload::new(Shape::default()).unwrap()),
            ledger: Ledger::default(),
        }
    }

    fn measure(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(self.name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.throughput(Throughput::Elements(1));
        for (name, mode, in_flight) in CASES {
            // What an order takes, as far as known: loads are of a time, not of a number.
            let mut each = Duration::from_micros(20);
            group.bench_function(BenchmarkId::new(name, in_flight), |bench| {
                bench.iter_custom(|orders| {
                    let least = setting::or_short(LOAD_MIN.0, LOAD_MIN.1);
                    let wanted = each.mul_f64(orders as f64).clamp(least, LOAD_MAX);
                    each = self.drive(mode, in_flight, wanted);
                    each.mul_f64(orders as f64)
                });
            });
        }
        group.finish();
    }

    /// Drives a load and returns the time that an order took of it. A load in which a machine with much else to do has finished no order
    /// says nothing, and is followed by a longer one.
    fn drive(&mut self, mode: Mode, in_flight: usize, wanted: Duration) -> Duration {
        let mut duration = wanted;
        loop {
            if let Some(each) = self.drive_for(mode, in_flight, duration) {
                return each;
            }
            assert!(duration < LOAD_MAX, "no order is finished within {duration:?}");
            duration = (duration * 4).min(LOAD_MAX);
        }
    }

    /// Drives a load for so long; `None` where no order was finished.
    fn drive_for(&mut self, mode: Mode, in_flight: usize, duration: Duration) -> Option<Duration> {
        let load = Load {
            mode,
            pace: Pace::Closed,
            in_flight,
            connections: CONNECTIONS,
            threads: 1,
            duration,
            patience: PATIENCE,
        };
        let progress = Arc::new(Progress::default());
        let driven = drive(&self.target, &self.workload, &load, &progress);
        let tally = self.runtime.block_on(driven).unwrap();
        assert_eq!(tally.failed(), 0, "{:?}", tally.errors);
        let finished = tally.orders.count();
        self.ledger.add(tally.ledger);
        (finished > 0).then(|| tally.elapsed.div_f64(finished as f64))
    }

    /// What was acknowledged is in the books.
    async fn check(mut self) {
        books::settle(&self.target, &self.workload, &mut self.ledger)
            .await
            .unwrap();
        let share = 0.01;
        let checked = books::check(&self.target, &self.workload, &self.ledger, share)
            .await
            .unwrap();
        assert_eq!(checked.fault_count, 0, "{:?}", checked.faults);
    }
}
