//! What is in a bundle.

use std::{io, time::Duration};

use docket_actors::wall_clock;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};
use tonic::Code;

use super::{
    Inner, Turn,
    archive::{self, Part},
    process::{self, Look},
    profile,
};
use crate::{
    errors::Refusal,
    status_json::{cluster_json, status_json},
};

/// How long other nodes are waited for.
const CLUSTER_MAX: Duration = Duration::from_secs(3);

/// Gathers all of it, for as long as the turn says, and puts it together.
pub(super) async fn take(inner: &Inner, turn: Turn, folder: &str) -> Result<Vec<u8>, Refusal> {
    let Turn {
        seconds,
        node,
        permit,
    } = turn;
    let (began, look) = (wall_clock(), Look::now());
    let (profile, _turn) = match seconds {
        0 => (Err("it was not asked for: seconds=0".to_owned()), Some(permit)),
        _ => profile::take(seconds, inner.sources.folder.clone(), permit).await,
    };
    let parts = parts(inner, &look, profile).await;
    let about = json!({
        "node": node,
        "version": env!("CARGO_PKG_VERSION"),
        "began": Timestamp::from(began).to_string(),
        "seconds": seconds,
    });
    let folder = folder.to_owned();
    let made = spawn_blocking(move || archive::make(&folder, began, about, &parts)).await;
    made.map_err(io::Error::from).flatten().map_err(|error| {
        tracing::error!(%error, "no bundle could be made");
        Refusal::new(
            Code::Unavailable,
            "NO_BUNDLE",
            format!("no bundle could be made: {error}"),
        )
    })
}

async fn parts(inner: &Inner, look: &Look, profile: Result<profile::Profile, String>) -> Vec<Part> {
    let (pprof, folded, svg) = match profile {
        Ok(profile) => (Ok(profile.pprof), Ok(profile.folded), Ok(profile.svg)),
        Err(why) => (Err(why.clone()), Err(why.clone()), Err(why)),
    };
    let sources = &inner.sources;
    let not_told = |what: &str| format!("this program does not tell {what}");
    let configuration = match &sources.configuration {
        Some(configuration) => Ok(pretty(&configuration())),
        None => Err(not_told("its configuration")),
    };
    let log = match &sources.log {
        Some(log) => Ok(log()),
        None => Err(not_told("its log")),
    };
    let console = inner.console.as_ref().map(|console| pretty(&console.traffic()));
    let off = "the console is off, which keeps it".to_owned();
    crate::process::measure();
    vec![
        Part::new(
            "status.json",
            "how the node is, as /status?local tells it",
            status(inner),
        ),
        Part::new(
            "cluster.json",
            "how its cluster is, as far as other nodes answered",
            cluster(inner).await,
        ),
        Part::new(
            "metrics.txt",
            "everything that is measured, as /metrics tells it",
            Ok(inner.metrics.render()),
        ),
        Part::new(
            "traffic.json",
            "rates and latencies of the last quarter of an hour",
            console.ok_or(off),
        ),
        Part::new(
            "configuration.json",
            "what is in force, and where each value came from",
            configuration,
        ),
        Part::new("log.txt", "the last lines of its log (log.kept_lines)", log),
        Part::new(
            "runtime.json",
            "the runtime: its tasks, its queue, how busy each of its threads was",
            look.runtime_since().map(|it| pretty(&it)),
        ),
        Part::new(
            "threads.json",
            "every thread, and the processor time that it had meanwhile",
            look.threads_since().map(|it| pretty(&it)),
        ),
        Part::new(
            "process.txt",
            "what the kernel tells of the process: memory, limits, input and output",
            Ok(process::kernel()),
        ),
        Part::new(
            "cpu.pb.gz",
            "a profile of processor time, for `go tool pprof` and others",
            pprof,
        ),
        Part::new(
            "cpu.folded.txt",
            "the same, a line a stack, for whatever draws flames",
            folded,
        ),
        Part::new("cpu.svg", "the same as a flame graph, for a browser", svg),
    ]
}

fn status(inner: &Inner) -> Result<String, String> {
    Ok(pretty(&status_json(&inner.readiness.status())))
}

async fn cluster(inner: &Inner) -> Result<String, String> {
    match timeout(CLUSTER_MAX, inner.readiness.cluster(inner.readiness.status())).await {
        Ok(Some(cluster)) => Ok(pretty(&cluster_json(&cluster))),
        Ok(None) => Err("the node stands alone".to_owned()),
        Err(_elapsed) => Err(format!("it could not be put together within {CLUSTER_MAX:?}")),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
