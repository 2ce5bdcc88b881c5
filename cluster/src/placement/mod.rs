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
//! the same one after its start, does the step that is next. Only for how long nothing has moved is counted (`rest`): then leads are evened
//! out, too.

mod rest;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::members::{ManageError, Members};
use crate::registry::{Ask, NodeState, Registry};
use crate::{Group, GroupId, Leader, Leadership, NodeId, NodeOptions};

use rest::Rest;
pub(crate) use step::{CATCH_UP_ENTRIES_MAX, hand_over};

/// How long the controller rests between two turns, in milliseconds, unless the registry changes.
const TURN_MS: u64 = 250;

/// The controller of one node.
pub(crate) struct Controller {
    members: Arc<Members>,
    groups: Vec<Group>,
    /// How recently a follower must have answered to count as alive.
    alive: Duration,
    /// How long the cluster is at rest before leads are evened out, if they are.
    balance_leads_after: Option<Duration>,
}

impl Controller {
    pub(crate) fn new(members: Arc<Members>, groups: Vec<Group>, options: &NodeOptions) -> Self {
        Self {
            members,
            groups,
            alive: Duration::from_millis(options.election_timeout_min_ms),
            balance_leads_after: options.balance_leads_after,
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
        let mut rest = Rest::default();
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
                if let Some(after) = self.balance_leads_after {
                    self.even_leads(&mut rest, after).await;
                }
            } else {
                rest = Rest::default();
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

    /// Has the next lead go to another node, where all has been at rest for long enough.
    async fn even_leads(&self, rest: &mut Rest, after: Duration) {
        let registry = self.members.registry().now();
        let groups = self.groups.len() as u32;
        let quiet = registry.is_at_rest(groups) && self.members.are_all_alive();
        if !rest.is_long(quiet, registry.version(), after) {
            return;
        }
        let me = self.members.me();
        let leader = |group: &Group| match group.leader() {
            Leader::Here => Some((group.id(), me)),
            Leader::Node { node, .. } => Some((group.id(), node)),
            Leader::Unknown => None,
        };
        let leaders: BTreeMap<_, _> = self.groups.iter().filter_map(leader).collect();
        if registry.even_leads(groups, &leaders).is_some() {
            self.decide(&Ask::EvenLeads { groups, leaders }).await;
            rest.go_on(self.members.registry().now().version(), after);
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
