//! What a replica that was moved away leaves behind, and how it goes: its log, its snapshots and its state.
//!
//! ```text
//!  the registry says that no replica is, or is to be, here
//!    │ the gate: peers are refused from here on, so that nothing that is said here counts for a membership that comes later
//!    │ the registry again, after a read barrier: nobody has decided to move it back
//!    │ the group's leader, after one of the group: this node is none of its members, and that is committed
//!    ▼
//!  the core ends ─▶ the journal says "drop" ─▶ snapshots and state go ─▶ the journal says "dropped" ─▶ an empty core, the gate opens
//! ```
//!
//! A group without a leader is not dropped from: what is left of it may be all there is. What the node keeps for ever is its vote, and how
//! long its log was (`life.rs` says why).

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::apply::blocking;
use crate::call::{Lane, Leader};
use crate::group::Gate;
use crate::node::{Node, WeakNode};
use crate::peer::{READ, put_who_is_member, take_members};
use crate::{Group, GroupId};

/// How often to look, in milliseconds, even where the registry does not change.
const LOOK_EVERY_MS: u64 = 1_000;

/// How long the others may take to say whether a replica may go, in milliseconds.
const ASK_MS: u64 = 5_000;

/// Replicas that wait to be dropped: they go one after another.
const QUEUE_MAX: usize = 1;

/// A replica that is to be dropped.
pub(crate) struct Leave {
    pub(crate) group: GroupId,
    /// Open again when it is gone.
    _gate: Gate,
    /// Dropped when it is gone.
    _done: oneshot::Sender<()>,
}

/// The way to who drops replicas.
pub(crate) fn queue() -> (mpsc::Sender<Leave>, mpsc::Receiver<Leave>) {
    mpsc::channel(QUEUE_MAX)
}

/// Has dropped what was moved away, until `closing`.
pub(crate) async fn run(node: WeakNode, leave: mpsc::Sender<Leave>, closing: CancellationToken) {
    tokio::select! {
        () = closing.cancelled() => {}
        () = turns(node, leave) => {}
    }
}

async fn turns(node: WeakNode, leave: mpsc::Sender<Leave>) {
    let changes = node.upgrade().and_then(|node| node.registry_changes());
    let Some(mut changes) = changes else { return };
    loop {
        changes.mark_unchanged();
        let Some(there) = node.upgrade() else { return };
        for group in there.groups() {
            if is_left(&there, group) {
                try_leave(&there, group, &leave).await;
            }
        }
        drop(there);
        tokio::select! {
            () = sleep(Duration::from_millis(LOOK_EVERY_MS)) => {}
            _ = changes.changed() => {}
        }
    }
}

fn is_left(node: &Node, group: &Group) -> bool {
    node.has_given_away(group.id()) && !group.inner().log.is_pristine()
}

async fn try_leave(node: &Node, group: &Group, leave: &mpsc::Sender<Leave>) {
    let Some(gate) = group.close_gate() else { return };
    if let Err(why) = may_leave(node, group).await {
        tracing::debug!(group = %group.id(), why, "a replica that was moved away is not dropped yet");
        return;
    }
    let (done, gone) = oneshot::channel();
    let leaving = Leave {
        group: group.id(),
        _gate: gate,
        _done: done,
    };
    if leave.send(leaving).await.is_ok() {
        // It answers by being dropped.
        let _ = gone.await;
    }
}

/// Whether the replica here counts for nobody any more, and will not unless it begins anew. The gate is closed.
async fn may_leave(node: &Node, group: &Group) -> Result<(), String> {
    let (id, me) = (group.id(), node.identity().node_id);
    let deadline = Instant::now() + Duration::from_millis(ASK_MS);
    let decided = node.read_barrier([GroupId::META], deadline).await;
    decided.map_err(|error| error.to_string())?;
    if !node.has_given_away(id) {
        return Err("it is to come back".to_owned());
    }
    let Leader::Node { node: leader, .. } = node.find_leader(id, deadline).await else {
        return Err("nobody knows who leads the group".to_owned());
    };
    let asked = node.call(leader, (Lane::Step, READ), put_who_is_member(id.0), deadline);
    let answer = asked.await.map_err(|error| error.to_string())?;
    match take_members(answer) {
        None => Err("the members are not known".to_owned()),
        Some(members) if members.contains(&me) => Err("it is a member still".to_owned()),
        Some(_) => Ok(()),
    }
}

impl Group {
    /// Drops the replica here, with all that is in the journal, in snapshots and in memory, and begins an empty one. The gate is closed.
    ///
    /// # Errors
    /// A write has failed. There may be no core any more: the node must stop. The next start does the rest.
    pub(crate) async fn drop_replica(&self) -> Result<(), io::Error> {
        let (inner, id) = (self.inner(), self.id());
        let starter = &inner.starter;
        self.life().end(&starter.progress).await;
        inner.log.drop_all().await?;
        let (snapshots, mut applier) = (Arc::clone(&starter.snapshots), starter.applier());
        let emptied = blocking(move || {
            snapshots.remove(id)?;
            applier.clear()?;
            // Before the journal says that all of it is gone: from there on it may come back, and this would be of its new life.
            applier.forget_aside().map(|()| applier)
        });
        let applier = emptied.await?;
        inner.log.note_dropped().await?;
        let life = starter.start(&inner.log, applier).await;
        self.set_life(life.map_err(io::Error::other)?);
        crate::metrics::note_dropped(1);
        tracing::info!(group = %id, "dropped the replica that was moved away");
        Ok(())
    }
}
