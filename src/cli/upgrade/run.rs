//! `docket upgrade run`: the program of one node after another, with a gate behind each.

use std::time::Duration;

use crate::{
    failure::Failure,
    output::{Field, Format, Output, Records, Tone},
    upgrade::{Hooks, NodeAt, Outcome, Plan, Report, Slo},
    values::time,
};

/// Run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket upgrade run --node 3=10.0.0.3:7071 --node 2=10.0.0.2:7071 \\
      --node 1=10.0.0.1:7071 --exchange './ssh to-new' --restore './ssh to-old'
  docket upgrade run ... --canary 10m --canary-only

The nodes are exchanged in the order in which they are named; the first is the
canary. A command is run by `sh -c` with DOCKET_NODE, DOCKET_NODE_ADMIN and
DOCKET_STEP (exchange or restore) set: it stops the node, puts the other program
in its place and starts it. deploy/upgrade has some.

Then the node has to be ready with the new version, and is watched beside the
others: share of failed calls, p99 of orders and of syncs, lag, panics. What
breaks an objective and is worse than at the others, and than all were before,
by --factor, at --looks of the last 2 x --looks looks, is taken back with all
that was exchanged before.
Who runs the new version already counts as exchanged: an upgrade that was
stopped goes on, and is taken back as a whole.
Exit codes: 0 upgraded, 10 rolled back, 1 not begun, or stuck half-way.")]
#[command(override_usage = "docket upgrade run --node <ID=ADDR>... --exchange <CMD> --restore <CMD>")]
pub struct Run {
    /// A node and its admin port, as 2=10.0.0.2:7071; all of them: repeat
    #[arg(long, value_name = "ID=ADDR", required = true)]
    node: Vec<NodeAt>,
    /// Command that gives a node the new program
    #[arg(long, value_name = "CMD")]
    exchange: String,
    /// Command that gives it the old one back
    #[arg(long, value_name = "CMD")]
    restore: String,
    /// Version that nodes have to say they are then [default: this program's]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// How long the first node is watched
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time::duration)]
    canary: Duration,
    /// How long each other node is watched
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::duration)]
    watch: Duration,
    /// Stop behind the first node
    #[arg(long)]
    canary_only: bool,
    /// Within which 99 of 100 orders are to be acknowledged
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = time::duration)]
    slo: Duration,
    /// Share of calls that may fail, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.144)]
    failed: f64,
    /// How many times worse than the others is bad
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    factor: f64,
    /// Over which time it is judged
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time::duration)]
    window: Duration,
    /// How many of twice as many looks, one a second, have to be bad
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    looks: u32,
    /// How long a command may take
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time::duration)]
    command_within: Duration,
    /// How long a node may take until it serves
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time::duration)]
    ready_within: Duration,
}

impl Run {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut ids: Vec<u64> = self.node.iter().map(|node| node.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|two| two[0] == two[1]) {
            return Err(Failure::Usage("--node names a node twice".to_owned()));
        }
        let plan = Plan {
            nodes: self.node,
            hooks: Hooks {
                exchange: self.exchange,
                restore: self.restore,
                within: self.command_within,
            },
            version: self.to.unwrap_or_else(|| docket_actors::version().to_owned()),
            slo: Slo {
                order: self.slo,
                failed_part: self.failed / 100.0,
                factor: self.factor,
                ..Slo::default()
            },
            canary: self.canary,
            watch: self.watch,
            window: self.window,
            looks: self.looks,
            ready_within: self.ready_within,
            canary_only: self.canary_only,
        };
        let report = plan.run(&|text: &str| output.note(text)).await;
        let report = report.map_err(|cause| Failure::Other(format!("nothing was exchanged: {cause}")))?;
        show(&report, output)?;
        match report.outcome {
            Outcome::Upgraded => Ok(()),
            Outcome::RolledBack { node, why, took } => Err(Failure::Unhealthy(format!(
                "rolled back within {took:.1?}: node {node}: {why}"
            ))),
            Outcome::Stuck { why } => Err(Failure::Other(format!(
                "the upgrade is stuck half-way: {why}\n      do: see to the node; run this again when it serves"
            ))),
        }
    }
}

fn show(report: &Report, output: &Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return output.json(&report.json());
    }
    let seconds = |name, time: Duration| Field::text(name, &format!("{:.1} s", time.as_secs_f64()));
    let p99 =
        |seconds: Option<f64>| seconds.map_or_else(String::new, |p99| format!("{:.0} ms", p99 * 1_000.0));
    let rows = report.steps.iter().map(|step| {
        vec![
            Field::number("node", step.node),
            Field::text("step", step.hook),
            seconds("ready_after", step.ready_after),
            seconds("watched", step.watched),
            Field::number("calls", step.counts.calls as u64),
            Field::number("failed", step.counts.failed as u64).tone(match step.counts.failed > 0.0 {
                true => Tone::Bad,
                false => Tone::Plain,
            }),
            Field::text("orders_p99", &p99(step.counts.orders.quantile(0.99))),
        ]
    });
    output.records(
        "steps",
        &Records {
            columns: &[
                "node",
                "step",
                "ready_after",
                "watched",
                "calls",
                "failed",
                "orders_p99",
            ],
            rows: rows.collect(),
        },
    )
}
