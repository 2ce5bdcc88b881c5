//! What an administrator takes off a node to find out what is wrong with it: everything in one archive, or a profile of its processor time alone.
//!
//! ```text
//!  GET /debug/bundle?seconds=5     status, metrics, configuration, log, threads, profile ──▶ one .tar.gz, with a list of what is not in it, and why
//!  GET /debug/profile?seconds=10   the profile: for `pprof`, or ?format=svg, a picture, or ?format=folded
//!
//!  x-api-key ──▶ gate: whose key? ──▶ an administrator, with scope operations ──▶ nobody else at it? ──▶ recorded ──▶ taken
//! ```
//!
//! What it guarantees:
//! - Nothing is measured, kept or started for it before somebody asks.
//! - One at a time is taken, and no longer than [`SECONDS_MAX`]; whoever goes away ends it.
//! - What cannot be had keeps nobody from the rest: the archive says what is missing.
//! - There is no secret in it: the configuration is shown as `docket config show` shows it.

mod archive;
mod bundle;
mod flames;
mod pprof;
mod process;
mod profile;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Extension, Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use docket_audit::{Audit, Entry};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Code;

use crate::{
    audit,
    console::{Client, Console, Refused},
    door::{Door, unopened},
    errors::Refusal,
    gate::Gate,
    readiness::Readiness,
};

/// A profile takes no longer, in seconds.
const SECONDS_MAX: u64 = 60;
/// What it takes where nobody says, and in a bundle.
const PROFILE_SECONDS: u64 = 10;
const BUNDLE_SECONDS: u64 = 5;
/// How long somebody may still be at it behind the time that was asked for: names are looked up then.
const BEHIND: Duration = Duration::from_secs(5);

/// What is recorded of whoever takes one.
const BUNDLE: &str = "debug.bundle";
const PROFILE: &str = "debug.profile";

/// What the program around the edge tells of itself, beside what the edge knows.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration that is in force, as it may be shown to whoever runs the node.
    pub configuration: Option<Arc<dyn Fn() -> Value + Send + Sync>>,
    /// The last lines of its log, the oldest first.
    pub log: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// The folder for the files that are needed while a profile is taken; the system's for such files where there is none.
    pub folder: Option<PathBuf>,
}

/// What gives bundles and profiles. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Diagnosis {
    inner: Arc<Inner>,
}

struct Inner {
    sources: Sources,
    readiness: Readiness,
    metrics: PrometheusHandle,
    /// What the node has had to do lately is the console's to know.
    console: Option<Console>,
    opened: OnceLock<Door>,
    turn: Arc<Semaphore>,
    /// When whoever has the turn is probably done.
    until: Mutex<Instant>,
}

/// What is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    seconds: Option<u64>,
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Pprof,
    Folded,
    Svg,
}

/// Somebody who may, and whose turn it is.
struct Turn {
    seconds: u64,
    node: u64,
    permit: OwnedSemaphorePermit,
}

impl Diagnosis {
    /// It gives nothing before [`Self::opened`]: who may have it is not known before.
    pub(crate) fn new(
        sources: Sources,
        readiness: Readiness,
        metrics: PrometheusHandle,
        console: Option<Console>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                sources,
                readiness,
                metrics,
                console,
                opened: OnceLock::new(),
                turn: Arc::new(Semaphore::new(1)),
                until: Mutex::new(Instant::now()),
            }),
        }
    }

    /// From here on whoever this gate knows as an administrator is given what is asked for.
    pub(crate) fn opened(&self, gate: Arc<Gate>, audit: Audit, node: u64) {
        // One server is bound with one of these.
        let _ = self.inner.opened.set(Door::new(gate, audit, node));
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/debug/bundle", get(take_bundle))
            .route("/debug/profile", get(take_profile))
            .with_state(self)
    }

    /// Whether it may be had, in this order: by this caller, for so long, now. Whoever gets the turn is recorded.
    async fn begin(
        &self,
        action: &'static str,
        (client, headers): (Client, &HeaderMap),
        seconds: u64,
        at_least: u64,
    ) -> Result<Turn, Refusal> {
        let opened = self.inner.opened.get();
        let opened = opened.ok_or_else(|| unopened(&self.inner.readiness.status().reasons))?;
        let address = client.0.ip();
        let principal = opened.admit(action, (client, headers)).await?;
        if !(at_least..=SECONDS_MAX).contains(&seconds) {
            let must = format!("must be from {at_least} to {SECONDS_MAX}");
            return Err(Refusal::invalid([("seconds", must)]));
        }
        let permit = self.turn(seconds)?;
        // It changes nothing. Where nothing can be recorded, somebody may well need it to find out why: it is recorded when that can be done again.
        let who = audit::who(&principal, Some(address));
        let entry = Entry::new(who, action, format!("nodes/{}", opened.node));
        opened.audit.note(entry.detail("seconds", seconds.to_string()));
        let account = principal.account.as_str();
        tracing::info!(account, %address, seconds, action, "somebody looks into this node");
        Ok(Turn {
            seconds,
            node: opened.node,
            permit,
        })
    }

    fn turn(&self, seconds: u64) -> Result<OwnedSemaphorePermit, Refusal> {
        let now = Instant::now();
        let mut until = self.inner.until.lock();
        let Ok(permit) = Arc::clone(&self.inner.turn).try_acquire_owned() else {
            let wait = until.saturating_duration_since(now).max(Duration::from_secs(1));
            let message = format!(
                "a bundle or a profile of this node is being taken, one at a time: ask again in {} s",
                wait.as_secs()
            );
            return Err(Refusal::new(Code::Aborted, "DEBUG_BUSY", message).retry(wait));
        };
        *until = now + Duration::from_secs(seconds) + BEHIND;
        Ok(permit)
    }
}

async fn take_bundle(
    State(diagnosis): State<Diagnosis>,
    Extension(client): Extension<Client>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let seconds = asked.seconds.unwrap_or(BUNDLE_SECONDS);
    let turn = diagnosis.begin(BUNDLE, (client, &headers), seconds, 0).await?;
    let name = format!("docket-debug-node-{}", turn.node);
    let bytes = bundle::take(&diagnosis.inner, turn, &name).await?;
    Ok(file(&format!("{name}.tar.gz"), "application/gzip", bytes))
}

async fn take_profile(
    State(diagnosis): State<Diagnosis>,
    Extension(client): Extension<Client>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let seconds = asked.seconds.unwrap_or(PROFILE_SECONDS);
    let turn = diagnosis.begin(PROFILE, (client, &headers), seconds, 1).await?;
    let folder = diagnosis.inner.sources.folder.clone();
    let (taken, _turn) = profile::take(seconds, folder, turn.permit).await;
    let profile = taken.map_err(|why| {
        tracing::error!(why, "no profile could be taken");
        Refusal::new(
            Code::Unavailable,
            "NO_PROFILE",
            format!("no profile could be taken: {why}"),
        )
    })?;
    let text = |kind: &str, content_type, text: String| {
        let name = format!("docket-cpu-node-{}.{kind}", turn.node);
        file(&name, content_type, text.into_bytes())
    };
    Ok(match asked.format {
        Format::Pprof => {
            let name = format!("docket-cpu-node-{}.pb.gz", turn.node);
            file(&name, "application/octet-stream", profile.pprof)
        }
        Format::Folded => text("folded.txt", "text/plain; charset=utf-8", profile.folded),
        Format::Svg => text("svg", "image/svg+xml", profile.svg),
    })
}

fn file(name: &str, content_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // The name is of letters and a number.
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
