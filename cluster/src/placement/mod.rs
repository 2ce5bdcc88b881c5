//! The controller: compares where the replicas should be with where they are, and does the next step.
//!
//! One runs on every member. For each group that is led here it brings the group's members to what the registry wants, one step a turn
//! (`step`); where the meta group is led here, it also says what is wanted next (`Registry::plan`).
//!
//! ```text
//!  wanted = {1,2,4}   members = {1,2,3}      add 4 as a learner
//!                     {1,2,3} + learner 4    wait until 4 has caught up
//!                     {1,2,3} × {1,2,4}      joint, then {1,2,4} alone
//!                     {1,2,4}                report: placed = {1,2,4}
//! ```
//!
//! Nothing is remembered between turns: the registry says what is wanted, the group's log what is. So whoever crashes, another one, or
//! the same one after its start, does the step that is next.

mod step;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::members::{ManageError, Members};
use crate::registry::{Ask, NodeState, Registry};
use crate::{Group, GroupId, Leadership, NodeId};

pub(crate) use step::{CATCH_UP_ENTRIES_MAX, hand_over};

/// How long the controller rests between two turns, in milliseconds, unless the registry changes.
const TURN_MS: u64 = 250;

/// The controller of one node.
pub(crate) struct Controller {
    members: Arc<Members>,
    groups: Vec<Group>,
    /// How recently a follower must have answered to count as alive.
    alive: Duration,
}

impl Controller {
    pub(crate) fn new(members: Arc<Members>, groups: Vec<Group>, election_timeout_min_ms: u64) -> Self {
        Self {
            members,
            groups,
            alive: Duration::from_millis(election_timeout_min_ms),
        }
    }

    /// Works until `closing`.
    pub(crate) async fn run(self, closing: CancellationToken) {
        tokio::select! {
            () = closing.cancelled() => {}
            () = self.turns() => {}
        }
    }

    async fn turns(&self) {
        let mut changed = self.members.registry().watch();
        loop {
            changed.mark_unchanged();
            for group in &self.groups {
                if leads(group) {
                    let registry = self.members.registry().now();
                    step::step(group, &registry, &self.members, self.alive).await;
                }
            }
            if self.groups.first().is_some_and(leads) {
                self.plan().await;
            }
            tokio::select! {
                () = sleep(Duration::from_millis(TURN_MS)) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// What the leader of the meta group does: lets in who has caught up, and says what is wanted next.
    async fn plan(&self) {
        let registry = self.members.registry().now();
        let Some(meta) = self.groups.first() else { return };
        for id in caught_up_joiners(&registry, meta, self.members.me()) {
            self.decide(&Ask::Activate { id }).await;
        }
        let groups = self.groups.len() as u32;
        if self.members.registry().now().plan(groups).is_some() {
            self.decide(&Ask::Plan { groups }).await;
        }
    }

    async fn decide(&self, ask: &Ask) {
        match self.members.execute(ask).await {
            Ok(()) => {}
            // The lead has moved, or the quorum is away: whoever leads next decides anew.
            Err(error @ (ManageError::Unavailable { .. } | ManageError::Refused { .. })) => {
                tracing::debug!(?ask, "{error}");
            }
        }
    }
}

pub(crate) fn leads(group: &Group) -> bool {
    matches!(*group.leadership().borrow(), Leadership::Leader { .. })
}

/// The nodes that join and have the meta group's log: they know who is who, and can hold replicas.
fn caught_up_joiners(registry: &Registry, meta: &Group, me: NodeId) -> BTreeSet<NodeId> {
    let joining = registry
        .members()
        .filter(|(_, node)| node.state == NodeState::Joining)
        .map(|(id, _)| id);
    let metrics = meta.raft().metrics();
    let metrics = metrics.borrow_watched();
    let has_log = |id: &NodeId| *id == me || step::has_caught_up(&metrics, *id);
    joining.filter(has_log).collect()
}

/// The nodes that should hear a group's log without a vote: of the meta group everybody, because every node needs the registry and the
/// accounts; of the others nobody but who is to vote next.
fn wanted_learners(group: GroupId, registry: &Registry, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    if group != GroupId::META {
        return BTreeSet::new();
    }
    let members = registry.members().map(|(id, _)| id);
    members.filter(|id| !voters.contains(id)).collect()
}
