//! Many runs: each in a process of its own, as many at a time as there are cores.

use std::{
    env,
    process::{Command, ExitCode, Output, Stdio},
    sync::OnceLock,
    thread,
};

use parking_lot::Mutex;

use crate::number;

/// Says to a process that it is the run of this seed.
pub const CHILD: &str = "DOCKET_SIM_CHILD";
/// Says to it which bug is planted: its number.
pub const BUG: &str = "DOCKET_SIM_BUG";
/// Says to it to print the whole trace.
pub const PRINT: &str = "DOCKET_SIM_PRINT";
const SETARCH: &str = "setarch";
/// Without random addresses.
const FIXED: &str = "-R";
const SEEDS: u64 = 24;
/// So many seeds are run twice, to see that they repeat themselves.
const TWICE: u64 = 3;

/// What came of one seed.
pub struct Came {
    pub seed: u64,
    pub good: bool,
    pub told: String,
}

pub fn run() -> ExitCode {
    if let Some(seed) = number("DOCKET_SIM_TRACE") {
        let came = one(seed, true, None);
        println!("{}", came.told);
        return ExitCode::from(u8::from(!came.good));
    }
    let (first, count) = (
        number("DOCKET_SIM_FIRST").unwrap_or(1),
        number("DOCKET_SIM_SEEDS").unwrap_or(SEEDS),
    );
    let began = uptime();
    let came = all((first..first + count).collect());
    let mut wrong: Vec<String> = came
        .iter()
        .filter(|came| !came.good)
        .map(|came| came.told.clone())
        .collect();
    let twice = if addresses_can_be_fixed() {
        TWICE.min(count)
    } else {
        0
    };
    for came in came.iter().take(twice as usize) {
        let again = one(came.seed, false, None);
        if again.told != came.told {
            wrong.push(format!(
                "seed {} does not repeat itself: {} and {}",
                came.seed, came.told, again.told
            ));
        }
    }
    println!(
        "{count} seeds from {first} in {:.0} s, {twice} of them twice: {} wrong",
        uptime() - began,
        wrong.len()
    );
    wrong.iter().for_each(|wrong| println!("{wrong}\n"));
    ExitCode::from(u8::from(!wrong.is_empty()))
}

/// Runs seeds side by side; what came of them, in their order.
fn all(seeds: Vec<u64>) -> Vec<Came> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (left, done) = (Mutex::new(seeds.into_iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(seed) = left.lock().next() else { return };
                    let came = one(seed, false, None);
                    if let Some(line) = came.told.lines().next() {
                        println!("{line}");
                    }
                    done.lock().push(came);
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|came| came.seed);
    done
}

/// Runs one seed in a process whose memory lies where it lay before, and which knows nothing of this machine but what it is told.
pub fn one(seed: u64, print: bool, bug: Option<String>) -> Came {
    let dir = tempfile::tempdir().unwrap();
    let exe = env::current_exe().unwrap();
    let mut command = match addresses_can_be_fixed() {
        true => Command::new(SETARCH),
        false => Command::new(&exe),
    };
    if addresses_can_be_fixed() {
        command.arg(FIXED).arg(&exe);
    }
    command
        .env_clear()
        .env(CHILD, seed.to_string())
        .current_dir(dir.path())
        .stdin(Stdio::null());
    if let Some(bug) = bug {
        command.env(BUG, bug);
    }
    if print {
        command.env(PRINT, "1").stderr(Stdio::inherit());
    }
    let output = command.output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap_or_else(|error| {
        panic!("{command:?} cannot be started: {error}");
    });
    let mut told = String::from_utf8_lossy(&stdout).trim_end().to_owned();
    if !status.success() {
        told.push_str(&format!(
            "\n{status} {}",
            String::from_utf8_lossy(&stderr).trim_end()
        ));
    }
    Came {
        seed,
        good: status.success(),
        told,
    }
}

/// Whether this machine lets a process lie where it lay before. Some containers forbid it: hash maps that are seeded by addresses then
/// differ from run to run, and a seed may not repeat itself.
fn addresses_can_be_fixed() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let tried = Command::new(SETARCH).args([FIXED, "true"]).status();
        let can = tried.is_ok_and(|status| status.success());
        if !can {
            println!(
                "`setarch -R true` (util-linux) fails here: whether seeds repeat themselves is not looked at"
            );
        }
        can
    })
}

/// Seconds since the machine was started: this program's clock is the simulation's.
pub fn uptime() -> f64 {
    let read = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    read.split(' ')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or_default()
}
