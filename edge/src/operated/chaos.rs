//! Faults that an administrator has a node make, where it was started for that.

use std::time::Duration;

use axum::{
    Json,
    extract::{Extension, Path, Query, State},
    http::HeaderMap,
};
use docket_actors::{
    NodeId,
    chaos::{ActiveFault, ChaosError, Fault},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Code;

use super::{Opened, Operated};
use crate::{
    audit::Change,
    console::{Client, Refused},
    door::Door,
    errors::Refusal,
};

/// What is recorded of whoever is not let in, or only looks.
const CHAOS: &str = "chaos";

/// More about a fault.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// For how long, in milliseconds.
    for_ms: u64,
    /// By how much a sync is held up, in milliseconds.
    by_ms: u64,
    /// Which peer.
    node: u64,
}

/// Whether it may be asked to go wrong, and what does.
pub(super) async fn told(
    State(operated): State<Operated>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let opened = operated.node()?;
    opened.door.admit(CHAOS, (client, &headers)).await?;
    Ok(Json(shown(opened)))
}

/// Has something go wrong, or nothing any more (`undo`).
pub(super) async fn begun(
    State(operated): State<Operated>,
    Path(what): Path<String>,
    Extension(client): Extension<Client>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let opened = operated.node()?;
    let principal = opened.door.admit(CHAOS, (client, &headers)).await?;
    let (action, fault) = match &*what {
        "kill" => ("chaos.kill", Some(Fault::Kill)),
        "pause" => ("chaos.pause", Some(Fault::Pause)),
        "slow-disk" => {
            let by = Duration::from_millis(asked.by_ms);
            ("chaos.slow-disk", Some(Fault::SlowDisk { by }))
        }
        "drop-peer" => {
            let node = NodeId(asked.node);
            ("chaos.drop-peer", Some(Fault::DropPeer { node }))
        }
        "undo" => ("chaos.undo", None),
        _ => return Err(Refusal::new(Code::NotFound, "UNKNOWN_FAULT", "there is no such fault").into()),
    };
    let chaos = opened.docket.chaos();
    if !chaos.is_enabled() {
        return Err(refusal(&ChaosError::Off).into());
    }
    let context = Door::context(&principal, client);
    let mut change = Change::of(&context, action, format!("nodes/{}", opened.door.node));
    for (name, value) in [
        ("for_ms", asked.for_ms),
        ("by_ms", asked.by_ms),
        ("peer", asked.node),
    ] {
        if value > 0 {
            change = change.detail(name, value.to_string());
        }
    }
    let lasts = Duration::from_millis(asked.for_ms);
    let done = change.run(&opened.door.audit, async {
        match fault {
            Some(fault) => chaos.begin(fault, lasts).map_err(|error| refusal(&error)),
            None => {
                chaos.undo();
                Ok(())
            }
        }
    });
    done.await?;
    Ok(Json(shown(opened)))
}

fn refusal(error: &ChaosError) -> Refusal {
    let (code, reason) = match error {
        ChaosError::Off => (Code::PermissionDenied, "CHAOS_OFF"),
        ChaosError::OutOfBounds { .. } => (Code::InvalidArgument, "OUT_OF_BOUNDS"),
        ChaosError::NoPeer(_) => (Code::NotFound, "NO_SUCH_PEER"),
        ChaosError::NoThread => (Code::Unavailable, "NO_THREAD"),
    };
    Refusal::new(code, reason, error.to_string())
}

fn shown(opened: &Opened) -> Value {
    let chaos = opened.docket.chaos();
    json!({
        "node_id": opened.door.node,
        "enabled": chaos.is_enabled(),
        "active": chaos.active().iter().map(active).collect::<Vec<_>>(),
    })
}

fn active(active: &ActiveFault) -> Value {
    let mut shown = json!({
        "fault": active.fault.name(),
        "left_ms": u64::try_from(active.left.as_millis()).unwrap_or(u64::MAX),
    });
    match active.fault {
        Fault::SlowDisk { by } => shown["by_ms"] = json!(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        Fault::DropPeer { node } => shown["peer"] = json!(node.0),
        Fault::Kill | Fault::Pause => {}
    }
    shown
}
