//! Whether what a node has stored is what was written: asked for, and told.

use std::time::Duration;

use axum::{
    Json,
    extract::{Extension, State},
    http::{HeaderMap, StatusCode},
};
use docket_actors::{Damaged, ScrubError, ScrubStatus, Scrubbing};
use docket_audit::Entry;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::Code;

use super::Operated;
use crate::{
    audit,
    console::{Client, Refused},
    errors::Refusal,
};

/// What is recorded of whoever has all of it read.
const SCRUB: &str = "storage.scrub";
/// When to ask again, where one goes on.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// How the last one ended, and how far the one is that goes on.
pub(super) async fn told(
    State(operated): State<Operated>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let opened = operated.node()?;
    opened.door.admit(SCRUB, (client, &headers)).await?;
    Ok(Json(shown(opened.door.node, &opened.docket.scrubbed())))
}

/// Begins one. It goes on also where nobody waits for it.
pub(super) async fn begun(
    State(operated): State<Operated>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), Refused> {
    let opened = operated.node()?;
    let principal = opened.door.admit(SCRUB, (client, &headers)).await?;
    opened.docket.begin_scrub().map_err(refusal)?;
    // It changes nothing: where nothing can be recorded, somebody may well need it to find out why.
    let who = audit::who(&principal, Some(client.0.ip()));
    let entry = Entry::new(who, SCRUB, format!("nodes/{}", opened.door.node));
    opened.door.audit.note(entry);
    let shown = shown(opened.door.node, &opened.docket.scrubbed());
    Ok((StatusCode::ACCEPTED, Json(shown)))
}

fn refusal(error: ScrubError) -> Refusal {
    match error {
        ScrubError::Busy => Refusal::new(Code::Aborted, "SCRUB_RUNNING", error.to_string()).retry(BUSY_RETRY),
        ScrubError::Stopping => Refusal::stopping(),
    }
}

fn shown(node: u64, status: &ScrubStatus) -> Value {
    json!({
        "node_id": node,
        "ended": status.ended,
        "running": status.now.as_ref().map(one),
        "last": status.last.as_ref().map(one),
    })
}

fn one(scrubbing: &Scrubbing) -> Value {
    let report = &scrubbing.report;
    json!({
        "start_time": Timestamp::from(scrubbing.begun).to_string(),
        "duration_seconds": scrubbing.took.as_secs_f64(),
        "by_itself": scrubbing.by_itself,
        "bytes": report.bytes,
        "damaged_count": report.damaged(),
        "damaged": report.damages.iter().map(damaged).collect::<Vec<_>>(),
    })
}

fn damaged(damaged: &Damaged) -> Value {
    json!({
        "kind": damaged.kind,
        "file": damaged.file.display().to_string(),
        "place": damaged.place,
        "of": damaged.of,
        "reason": damaged.why,
    })
}
