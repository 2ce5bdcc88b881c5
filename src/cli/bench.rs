//! `docket bench`: what a server does under load, against what the machine could do.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use docket_soak::{Load, Mode, Pace, Shape, WatchOf, echo};

use super::args::ClientArgs;
use crate::{
    bench::{self, Old, Plan, Where},
    dev,
    failure::Failure,
    output::Output,
    values::time,
};

/// How many are in flight when nobody says otherwise: one call an order in a closed loop, and all others.
const IN_FLIGHT: (usize, usize) = (64, 1_024);

/// `docket bench`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket bench
  docket bench --mode stream --duration 20s
  docket bench --rate 5000 --duration 1m           latency at a given load
  docket bench --lines 100 --in-flight 256 --overload 10
  docket bench --watchers 1000 --customers 10000 --watchers-of-all 3
  docket bench --skew 1.2 --lines 5 --read-share 0.5
  docket bench -o json > new.json
  docket bench --compare old.json
  docket bench --nodes 3 --no-baselines
  docket bench --addr http://10.0.0.5:7070 --api-key-file admin.key

Without --addr a server of its own is started, in a folder that is removed
afterwards, with limits that count but do not bite; DOCKET__SECTION__KEY
variables configure it. With --addr customers, items and orders are made on
that server and stay there; it needs an admin's or a service's credentials.

Each round measures a bare gRPC echo of the same messages, the server, and
appending what one of its commits holds to a file with fdatasync, one after
the other. Figures are medians of the rounds, with the least and the most.
With --rate the latency of a call counts from when it was meant to start, and
the echo is asked, and the disk synced, as often as the server was and did.

With --watchers each round has the usual load once more while watches are
open; each must be told of every acknowledged order that it is of.

Afterwards the books are checked: every acknowledged order is there once, as
it was asked for, and stock and credit are exact.
Exit codes: 0 the books balance, 1 they do not, or it could not be measured.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    /// How orders are placed: unary (a call each) or stream (PlaceOrders)
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value = "unary",
        hide_possible_values = true
    )]
    mode: ModeArg,
    /// Orders in flight over all connections; with --rate at most [default: 64;
    /// with --rate or --mode stream 1024]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Start so many a second, however long the answers take
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// Threads that share the connections [default: half of the cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Customers who order
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    customers: u64,
    /// Items that are ordered
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    items: u64,
    /// Lines of each order
    #[arg(long, value_name = "N", default_value_t = 2)]
    lines: u32,
    /// Zipf exponent of customers and items: 0 is uniform, 1 makes some hot
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.0)]
    skew: f64,
    /// Which share of the calls reads an order instead, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    read_share: f64,
    /// How long each round measures the server, and the echo
    #[arg(long, value_name = "TIME", value_parser = time::duration, default_value = "5s")]
    duration: Duration,
    /// How long both are warmed up before
    #[arg(long, value_name = "TIME", value_parser = time::duration, default_value = "2s")]
    warm_up: Duration,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// In each round, offer so many times what the server just did as well, and
    /// then the usual load again
    #[arg(long, value_name = "TIMES")]
    overload: Option<f64>,
    /// In each round, measure the server also while so many watches are open of a
    /// customer's orders each (WatchOrders)
    #[arg(long, value_name = "N", default_value_t = 0)]
    watchers: usize,
    /// The same with watches of all orders
    #[arg(long, value_name = "N", default_value_t = 0)]
    watchers_of_all: usize,
    /// Repeats the same orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the folder of the server is made, whose disk is measured
    /// [default: where temporary files are]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Nodes of the server, 1 to 9; connections take turns among them
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=dev::NODES_MAX as u64))]
    nodes: Option<u64>,
    /// Measure the server only, neither the echo nor the disk
    #[arg(long)]
    no_baselines: bool,
    /// Of which share of the customers every order is read back, 0 to 1; stock
    /// and credit are always compared
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    check_share: f64,
    /// Compare with the JSON of an earlier run: new divided by old
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// How orders are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// A call each.
    Unary,
    /// PlaceOrders.
    Stream,
}

impl Args {
    /// Measures, shows, and fails where the books do not balance.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let old = self.compare.as_deref().map(Old::read).transpose()?;
        let client = self.client.clone().or(outer);
        let timeout = client.timeout;
        let place = if client.addr.is_some() {
            if self.dir.is_some() || self.nodes.is_some() {
                return Err(Failure::Usage(
                    "--dir and --nodes are for a server of its own, not for one at --addr".into(),
                ));
            }
            Where::There(Box::new(client.link(output)?))
        } else {
            client.refuse("bench without --addr")?;
            Where::Here {
                dir: self.dir.clone().unwrap_or_else(std::env::temp_dir),
                nodes: self.nodes.unwrap_or(1) as usize,
            }
        };
        let plan = self.plan(place, timeout)?;
        bench::run(plan, old, &output).await
    }

    fn plan(self, place: Where, timeout: Option<Duration>) -> Result<Plan, Failure> {
        let mode = match self.mode {
            ModeArg::Unary => Mode::Unary,
            ModeArg::Stream => Mode::Stream,
        };
        let pace = self
            .rate
            .map_or(Pace::Closed, |per_second| Pace::Open { per_second });
        let usual = if mode == Mode::Unary && pace == Pace::Closed {
            IN_FLIGHT.0
        } else {
            IN_FLIGHT.1
        };
        if !(0.0..=1.0).contains(&self.check_share) {
            return Err(Failure::Usage("--check-share must be from 0 to 1".into()));
        }
        if self
            .overload
            .is_some_and(|times| !(times >= 1.0 && times.is_finite()))
        {
            return Err(Failure::Usage("--overload must be 1 or more".into()));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Plan {
            load: Load {
                mode,
                pace,
                in_flight: self.in_flight.unwrap_or(usual),
                connections: self.connections,
                threads: self.threads.unwrap_or((cores / 2).max(1)),
                duration: self.duration,
                patience: timeout.unwrap_or(bench::PATIENCE),
            },
            shape: Shape {
                customers: self.customers,
                items: self.items,
                lines: self.lines,
                skew: self.skew,
                read_share: self.read_share,
                seed: self.seed,
                prefix: String::new(),
            },
            overload: self.overload,
            watches: [
                (WatchOf::OneCustomer, self.watchers),
                (WatchOf::Everything, self.watchers_of_all),
            ]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect(),
            warm_up: self.warm_up,
            rounds: self.rounds,
            baselines: !self.no_baselines,
            check_share: self.check_share,
            place,
        })
    }
}

/// The echo that `bench` starts: on several threads, as the server is.
pub fn echo() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::Other(format!("cannot start the runtime: {cause}")))?;
    Ok(runtime.block_on(echo::serve())?)
}
