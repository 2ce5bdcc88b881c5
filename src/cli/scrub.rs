//! `docket scrub`: whether what a running server has stored is what was written (exit code 10 where it is not).

use std::time::Duration;

use serde_json::Value;

use super::{args::ClientArgs, debug::Nodes};
use crate::{
    client::{NoAnswer, Operators},
    failure::Failure,
    output::{Field, Format, Output, Records, bytes},
};

/// How long an answer may take: whoever asks is told how far it is, and does not wait for its end.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Why none is begun.
const RUNNING: &str = "SCRUB_RUNNING";

/// `docket scrub`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket scrub
  docket scrub --admin http://10.0.0.2:7071
  docket scrub --last -o json | jq '.damaged[].file'

Has the server read all that it has stored once more, while it serves, at the
pace of scrub.bytes_per_second: every frame of the journal, every snapshot, every
order of the archive. Checksums are compared; nothing is changed. What is not
what was written is shown with its file, its place there, and whose it is: the
group, and of the journal the entries of its log. Nobody's is what no log needs
any more.

It waits for the end. Ctrl-C leaves it going on. Where one goes on already, it
waits for that one. With --last nothing is read: what the last one found is shown.

A server does so by itself once a day (scrub.every_s): `docket status --node`,
the metrics docket_scrub_* and the log tell what it found. What to do then is in
docs/runbooks/DocketScrubFoundDamage.md.

Needs an admin's credentials with scope operations.
Exit codes: 0 nothing is damaged, 10 something is, 1 refused or not reachable.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    /// The node's address for operators [env: DOCKET_ADMIN_ADDR]
    /// [default: http://127.0.0.1:7071]
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Show what the last one found, and read nothing
    #[arg(long)]
    last: bool,
}

impl Args {
    /// Asks, waits and shows.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let client = self.client.or(outer);
        let nodes = Nodes::find("scrub", self.admin.as_slice(), client, output)?;
        for node in &nodes.nodes {
            let last = match self.last {
                true => look(node).await?["last"].take(),
                false => read(node, &output).await?,
            };
            show(&output, &last)?;
        }
        Ok(())
    }
}

/// Has all of it read, and waits.
async fn read(node: &Operators, output: &Output) -> Result<Value, Failure> {
    let before = ended(&look(node).await?);
    match node.post("/scrub", ANSWERS_WITHIN).await {
        Ok(_) => {}
        Err(NoAnswer::Refused { reason, .. }) if reason == RUNNING => {
            output.note("one goes on already: this waits for its end");
        }
        Err(error) => return Err(Failure::Other(error.to_string())),
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut status = look(node).await?;
        if ended(&status) > before {
            return Ok(status["last"].take());
        }
        if status["running"].is_null() {
            let why = "the server has stopped reading before the end: it stops";
            return Err(Failure::Other(why.to_owned()));
        }
    }
}

fn ended(status: &Value) -> u64 {
    status["ended"].as_u64().unwrap_or_default()
}

async fn look(node: &Operators) -> Result<Value, Failure> {
    let answer = node.get("/scrub", ANSWERS_WITHIN).await;
    let answer = answer.map_err(|error| Failure::Other(error.to_string()))?;
    serde_json::from_slice(&answer)
        .map_err(|cause| Failure::Other(format!("the server's answer cannot be read: {cause}")))
}

fn show(output: &Output, last: &Value) -> Result<(), Failure> {
    if last.is_null() {
        return Err(Failure::Unhealthy(
            "nothing was read since the server started".to_owned(),
        ));
    }
    let damaged = last["damaged_count"].as_u64().unwrap_or_default();
    if output.format() == Format::Json {
        output.json(last)?;
    } else {
        let read = last["bytes"].as_u64().unwrap_or_default();
        let seconds = last["duration_seconds"].as_f64().unwrap_or_default();
        output.fields(&[
            Field::text("start_time", last["start_time"].as_str().unwrap_or_default()),
            Field::shown(
                "duration_seconds",
                last["duration_seconds"].clone(),
                format!("{seconds:.1} s"),
            ),
            Field::shown("bytes", last["bytes"].clone(), bytes(read)),
            Field::number("damaged_count", damaged),
        ])?;
        if let Some(places) = last["damaged"].as_array().filter(|places| !places.is_empty()) {
            output.records("damaged", &places_of(places))?;
        }
    }
    match damaged {
        0 => Ok(()),
        1 => Err(Failure::Unhealthy("1 place is not what was written".to_owned())),
        _ => Err(Failure::Unhealthy(format!(
            "{damaged} places are not what was written"
        ))),
    }
}

fn places_of(places: &[Value]) -> Records {
    let row = |place: &Value| {
        let text = |name: &'static str| Field::text(name, place[name].as_str().unwrap_or_default());
        let of = place["of"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of: Vec<&str> = of.iter().filter_map(Value::as_str).collect();
        let of = match &of[..] {
            [] => "nobody's any more".to_owned(),
            of => of.join(", "),
        };
        vec![
            text("kind"),
            text("file"),
            text("place"),
            Field::shown("of", place["of"].clone(), of),
            text("reason"),
        ]
    };
    Records {
        columns: &["kind", "file", "place", "of", "reason"],
        rows: places.iter().map(row).collect(),
    }
}
