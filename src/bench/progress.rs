//! How far a bench is: one line on stderr that is written over, if stderr is a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use docket_soak::{Error, Load, Progress, Tally, Target, Workload, drive};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the line is written.
const TICK: Duration = Duration::from_millis(250);
/// What fits on a terminal.
const COLUMNS: usize = 80;
/// Back to the line's begin, and away with the rest of it.
const CLEAR: &str = "\r\x1b[K";

/// The line.
pub struct Shown {
    terminal: bool,
}

impl Shown {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Says what is done now.
    pub fn step(&self, what: &str) {
        self.write(what);
    }

    /// Takes the line away.
    pub fn done(&self) {
        self.write("");
    }

    /// Drives a load, and says how it goes.
    pub async fn drive(
        &self,
        what: &str,
        target: &Target,
        workload: &Arc<Workload>,
        load: &Load,
    ) -> Result<Tally, Error> {
        let progress = Arc::new(Progress::default());
        let driving = drive(target, workload, load, &progress);
        tokio::pin!(driving);
        let started = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut at, mut done) = (started, 0);
        loop {
            tokio::select! {
                tally = &mut driving => return tally,
                now = ticks.tick(), if self.terminal => {
                    let so_far = progress.done();
                    let rate = (so_far - done) as f64 / now.duration_since(at).as_secs_f64().max(TICK.as_secs_f64());
                    (at, done) = (now, so_far);
                    let (past, all) = (started.elapsed().as_secs_f64(), load.duration.as_secs_f64());
                    let failed = progress.failed.load(Relaxed);
                    self.write(&format!("{what}: {past:.1} of {all:.1} s, {rate:.0} a second, {failed} failed"));
                }
            }
        }
    }

    fn write(&self, text: &str) {
        if self.terminal {
            let text: String = text.chars().take(COLUMNS - 1).collect();
            // Whoever closed the terminal sees nothing more.
            let _ = write!(io::stderr(), "{CLEAR}{text}");
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.done();
    }
}
