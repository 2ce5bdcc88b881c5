//! `docket drill`: a primary is lost, its standby promoted, and what that costs is measured.

use std::{path::PathBuf, time::Duration};

use super::args::OutputArgs;
use crate::{
    drill::{self, Wanted},
    failure::Failure,
    output::Output,
    values::time,
};

/// `docket drill`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket drill
  docket drill --for 60s --clients 16
  docket drill --report drill.json --folder ./drill -o json

Two servers of this program on loopback: a primary and its standby. Clients
place orders; the primary is killed (SIGKILL), the standby is promoted by force,
its books are verified, each order that was acknowledged is looked for, and the
old primary is started again, which has to refuse writes. All processes end with
this one, and nothing of a real cluster is touched.

Exit codes: 0 all is as it must be, 1 not.")]
pub struct Args {
    #[command(flatten)]
    pub output: OutputArgs,
    /// How long the clients place orders before the primary is killed
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration, default_value = "10s")]
    load_for: Duration,
    /// How many clients, each with one order on its way
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    clients: u64,
    /// A file for the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// A folder for data and logs, which stays; must not exist [default: none]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Args {
    /// Drills.
    pub async fn run(self, output: Output) -> Result<(), Failure> {
        let wanted = Wanted {
            load_for: self.load_for,
            clients: self.clients as usize,
            report: self.report,
            folder: self.folder,
        };
        drill::run(&wanted, &output).await
    }
}
