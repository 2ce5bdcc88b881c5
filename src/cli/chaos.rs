//! `docket chaos`: has a running node go wrong for a while, where it was started for that.

use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use super::{args::ClientArgs, debug::Nodes};
use crate::{
    client::Operators,
    failure::Failure,
    output::{Field, Format, Output, Records},
    values::time,
};

/// How long an answer may take. Of a node that stands still there is none until it goes on.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// `docket chaos`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos status
  docket chaos slow-disk --by 20ms --for 30s
  docket chaos drop-peer 3 --for 30s --admin http://10.0.0.2:7071
  docket chaos undo

Only a node that was started with chaos.enabled does any of this; every other
refuses it. Each fault has an end from its begin on, also where nobody waits for
it, and all end with the node. docs/chaos.md has a game day, step by step.

It asks a node's address for operators (7071). Needs an admin's credentials with
scope operations; the node records who asked.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    /// The node's address for operators [env: DOCKET_ADMIN_ADDR]
    /// [default: http://127.0.0.1:7071]
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// What goes wrong.
#[derive(Debug, Subcommand)]
enum Command {
    /// Have the process be gone, as by kill -9
    Kill(Kill),
    /// Have the node stand still for a while, 30 seconds at most
    Pause(Pause),
    /// Have each sync of the journal take longer for a while
    SlowDisk(SlowDisk),
    /// Have the node send nothing to another one, and hear nothing from it
    DropPeer(DropPeer),
    /// End all that goes wrong
    Undo(Undo),
    /// Show what goes wrong, and for how long still
    Status(Status),
}

/// Kill.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos kill
  docket chaos kill --admin http://10.0.0.2:7071

Nothing is flushed, closed or told, and no core is asked for. Whatever runs the
node starts it again, or you do.")]
struct Kill {}

/// Pause.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos pause --for 5s

No call is answered, no peer heard, nothing decided, not even `docket chaos`. It
cannot be undone before its time.")]
struct Pause {
    /// For how long: 5s; 30s at most
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration)]
    lasts: Duration,
}

/// Slow disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos slow-disk --by 20ms --for 30s

Every commit waits for one sync: orders take that much longer at least.")]
struct SlowDisk {
    /// By how much each sync is held up: 20ms; 1s at most
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    by: Duration,
    /// For how long: 30s; 5m at most
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration)]
    lasts: Duration,
}

/// Drop peer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos drop-peer 3 --for 30s

The two are cut off from each other, in both directions, by this node alone. To
cut a node off from all others, drop it on each of them, or drop them all on it.")]
struct DropPeer {
    /// The other node's id
    #[arg(value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// For how long: 30s; 5m at most
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration)]
    lasts: Duration,
}

/// Undo.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos undo

What is over already is over. A pause cannot be undone.")]
struct Undo {}

/// Status.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket chaos status
  docket chaos status -o json | jq '.active[].fault'")]
struct Status {}

impl Args {
    /// Asks, and shows what goes wrong then.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let client = self.client.or(outer);
        let nodes = Nodes::find("chaos", self.admin.as_slice(), client, output)?;
        let ms = |time: &Duration| time.as_millis();
        let path = match &self.command {
            Command::Status(_) => None,
            Command::Kill(_) => Some("/chaos/kill".to_owned()),
            Command::Undo(_) => Some("/chaos/undo".to_owned()),
            Command::Pause(Pause { lasts }) => Some(format!("/chaos/pause?for_ms={}", ms(lasts))),
            Command::SlowDisk(SlowDisk { by, lasts }) => {
                Some(format!("/chaos/slow-disk?by_ms={}&for_ms={}", ms(by), ms(lasts)))
            }
            Command::DropPeer(DropPeer { node, lasts }) => {
                Some(format!("/chaos/drop-peer?node={node}&for_ms={}", ms(lasts)))
            }
        };
        for node in &nodes.nodes {
            show(&output, &ask(node, path.as_deref()).await?)?;
        }
        Ok(())
    }
}

async fn ask(node: &Operators, path: Option<&str>) -> Result<Value, Failure> {
    let answer = match path {
        Some(path) => node.post(path, ANSWERS_WITHIN).await,
        None => node.get("/chaos", ANSWERS_WITHIN).await,
    };
    let answer = answer.map_err(|error| Failure::Other(error.to_string()))?;
    serde_json::from_slice(&answer)
        .map_err(|cause| Failure::Other(format!("the node's answer cannot be read: {cause}")))
}

fn show(output: &Output, status: &Value) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return output.json(status);
    }
    output.fields(&[
        Field::number("node_id", status["node_id"].as_u64().unwrap_or_default()),
        Field::flag("enabled", status["enabled"].as_bool().unwrap_or_default()),
    ])?;
    let active = status["active"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |one: &Value| {
        let shown = |name: &'static str, value: String| Field::shown(name, one[name].clone(), value);
        let ms = |name: &str| one[name].as_u64().map(|ms| format!("{ms} ms"));
        let by = ms("by_ms").map(|by| format!("by {by}"));
        let peer = one["peer"].as_u64().map(|peer| format!("node {peer}"));
        vec![
            shown("fault", one["fault"].as_str().unwrap_or_default().to_owned()),
            Field::text("what", &by.or(peer).unwrap_or_default()),
            shown("left_ms", ms("left_ms").unwrap_or_default()),
        ]
    };
    match active {
        [] => output.line("nothing goes wrong"),
        active => output.records(
            "active",
            &Records {
                columns: &["fault", "what", "left_ms"],
                rows: active.iter().map(row).collect(),
            },
        ),
    }
}
