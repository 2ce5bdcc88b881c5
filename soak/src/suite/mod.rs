//! The soak suite: scenarios one after the other on one server process and one data directory, then those of a cluster on three, for
//! minutes or days.
//!
//! ```text
//!   phase: one scenario's turn             sampled all along: rates, latencies, memory, files, threads, actors, disk
//!   ┌ round ─────────────────────────────────────────────────────────────┐
//!   │ load, clerk and keepers beside it ─▶ rest ─▶ settle ─▶ check ─▶ sums │ ─▶ next round ─▶ … ─▶ next phase
//!   └─────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A round is short, so that what is remembered of single orders is bounded however long the run is. Every order is read
//! back once, in the check of its round; some are asked for again all along; and the sums of all must be exact after every
//! round. What the samples say is judged at the end ([`judge`]).
//!
//! The server keeps every order in memory. So a run of any length places no more orders than [`Plan::orders_max`]: each
//! round may place its share, and rests when it has.

mod clerk;
mod conduct;
mod errand;
pub mod judge;
mod keeper;
mod lives;
mod load;
mod memory;
mod outcome;
mod paying;
mod round;
pub mod sample;
pub mod scenario;
mod scene;
mod spread;
mod storm;
mod together;
pub mod trend;
mod watch;

use std::{path::PathBuf, time::Duration};

use crate::{Error, Workload};

pub use clerk::{Change, Clerk, Done};
pub use conduct::run;
pub use keeper::{KEEPERS, Keepers, Lives};
pub use memory::{Memory, Remembered};
pub use outcome::{Event, Kept, Outcome, PhaseReport, Restart, SCHEMA_VERSION, cores, grouped, word};
pub use paying::{PROVIDER, Paying, Stub};
pub use round::{Closing, Faults, Model, Sums};
pub use scenario::Scenario;
pub use scene::{AfterRounds, Scene, Settled, order_bytes};
pub use watch::{Probe, Told};

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's program.
    pub program: PathBuf,
    /// Where the folder of the server is made.
    pub dir: PathBuf,
    /// Which scenarios, each once.
    pub scenarios: Vec<Scenario>,
    /// How long all of them take together, about.
    pub duration: Duration,
    /// Repeats what is asked.
    pub seed: u64,
    /// How often samples are taken.
    pub sample: Duration,
    /// Connections of a load.
    pub connections: usize,
    /// Orders in flight in a closed loop.
    pub in_flight: usize,
    /// About so many orders are placed at most: the server keeps each in memory.
    pub orders_max: u64,
    /// Customers who order.
    pub customers: u64,
    /// Items that are ordered.
    pub items: u64,
    /// The provider that pays for some orders; none pays for any where there is none.
    pub paying: Option<Paying>,
    /// How it was asked for, for the report.
    pub command: String,
}

impl Plan {
    /// Two minutes of everything.
    pub fn new(program: PathBuf, dir: PathBuf) -> Self {
        Self {
            program,
            dir,
            scenarios: Scenario::ALL.to_vec(),
            duration: Duration::from_secs(120),
            seed: 1,
            sample: Duration::from_secs(1),
            connections: 4,
            in_flight: 64,
            orders_max: 5_000_000,
            customers: 1_000,
            items: 1_000,
            paying: None,
            command: String::new(),
        }
    }

    /// Whether it can be run; the shop.
    ///
    /// # Errors
    /// Says why not.
    pub fn validate(&self) -> Result<Workload, Error> {
        let refuse = |why: &str| Err(Error::Shape(why.to_owned()));
        if self.scenarios.is_empty() {
            return refuse("no scenario is chosen");
        }
        if self.connections == 0 || self.in_flight < self.connections {
            return refuse("at least one order is in flight on each connection, and there is at least one");
        }
        if self.sample < Duration::from_millis(50) {
            return refuse("samples are at least 50ms apart");
        }
        if self.duration < self.sample * 10 {
            return refuse("a run has at least 10 samples: make it longer, or --sample shorter");
        }
        if self.orders_max == 0 {
            return refuse("at least one order is needed");
        }
        if !self.program.is_file() {
            return Err(Error::Shape(format!(
                "there is no server at {}: build it (cargo build --release), or say where it is (--program)",
                self.program.display()
            )));
        }
        Workload::new(Scenario::Steady.shape(self.customers, self.items, self.seed))
    }
}
