//! One group's next step, on the node that leads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, EmptyNode, Instant as _, RaftMetrics};
use tokio::time::timeout;

use super::wanted_learners;
use crate::members::Members;
use crate::raft::TypeConfig;
use crate::registry::{Ask, NodeState, Placement, Registry};
use crate::{Group, NodeId};

/// Entries that a follower may lack and still count as having caught up: about what is in flight under load.
pub(crate) const CATCH_UP_ENTRIES_MAX: u64 = 256;

/// How long a turn waits for one change of members, in milliseconds. What takes longer goes on by itself, and is looked at again.
const CHANGE_MS: u64 = 10_000;

type Metrics = RaftMetrics<TypeConfig>;

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A change that was interrupted in its joint phase is finished.
    Flatten,
    /// These hear the log from now on.
    Listen(BTreeSet<NodeId>),
    /// These need not hear it any more.
    Forget(BTreeSet<NodeId>),
    /// These vote from now on, and no others.
    Vote(BTreeSet<NodeId>),
    /// Another one leads from now on.
    HandOver(NodeId),
    /// The registry is told who votes.
    Report(BTreeSet<NodeId>),
}

/// Does a group's next step, if there is one.
pub(super) async fn step(group: &Group, registry: &Registry, members: &Members, alive: Duration) {
    let metrics = group.raft().metrics();
    let (next, seen) = {
        let metrics = metrics.borrow_watched();
        (
            next(group, registry, members.me(), &metrics, alive),
            *metrics.membership_config.log_id(),
        )
    };
    let Some(next) = next else { return };
    let id = group.id();
    tracing::info!(group = %id, step = ?next, "placement");
    let change = match &next {
        Step::Flatten => ChangeMembers::AddVoterIds(BTreeSet::new()),
        Step::Listen(nodes) => ChangeMembers::AddNodes(numbers(nodes).map(|id| (id, EmptyNode {})).collect()),
        Step::Forget(nodes) => ChangeMembers::RemoveNodes(numbers(nodes).collect()),
        Step::Vote(nodes) => ChangeMembers::ReplaceAllVoters(numbers(nodes).collect()),
        Step::HandOver(to) => {
            // An error means that the core has ended, which is noticed elsewhere.
            let _ = group.raft().trigger().transfer_leader(to.0).await;
            return;
        }
        Step::Report(voters) => {
            let report = Ask::Report {
                group: id,
                voters: voters.clone(),
            };
            match members.ask(&report).await {
                Ok(()) => {
                    let placement = registry.groups().get(&id);
                    let done = placement
                        .is_some_and(|placement| placement.is_moving() && placement.wanted == *voters);
                    crate::metrics::note_moves_done(u64::from(done));
                }
                Err(error) => tracing::debug!(group = %id, "{error}"),
            }
            return;
        }
    };
    // Who votes no more goes on to hear the meta group; the others' old copies are left behind.
    let retain = id == crate::GroupId::META;
    let unchanged = Precondition::LastMembershipLogId {
        last_membership_log_id: seen,
    };
    let raft = group.raft();
    let changing = raft.change_membership_if(change, retain, [unchanged]);
    match timeout(Duration::from_millis(CHANGE_MS), changing).await {
        Ok(Ok(_)) => {}
        // Somebody else was faster, or leads: the next turn sees what has come of it.
        Ok(Err(RaftError::APIError(
            error @ (ClientWriteError::ForwardToLeader(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_)),
        ))) => tracing::debug!(group = %id, "{error}"),
        Ok(Err(error)) => {
            crate::metrics::note_step_failures(1);
            tracing::warn!(group = %id, %error, "the group's members could not be changed");
        }
        Err(_elapsed) => {
            crate::metrics::note_step_failures(1);
            tracing::warn!(group = %id, step = ?next, "a change of members takes long");
        }
    }
}

fn numbers(nodes: &BTreeSet<NodeId>) -> impl Iterator<Item = u64> {
    nodes.iter().map(|node| node.0)
}

/// The voters, once their membership is committed: another leader may take back one that is not.
fn report(metrics: &Metrics, voters: BTreeSet<NodeId>) -> Option<Step> {
    let of = metrics.membership_config.log_id().map(|id| id.index);
    let committed = metrics.local_committed.map(|id| id.index);
    (of <= committed).then_some(Step::Report(voters))
}

/// The next step of a group that is led by `me`.
fn next(group: &Group, registry: &Registry, me: NodeId, metrics: &Metrics, alive: Duration) -> Option<Step> {
    let membership = metrics.membership_config.membership();
    if membership.get_joint_config().len() > 1 {
        return Some(Step::Flatten);
    }
    let voters: BTreeSet<_> = membership.voter_ids().map(NodeId).collect();
    let learners: BTreeSet<_> = membership.learner_ids().map(NodeId).collect();
    // Before its group was heard of, everything stays as it is.
    let Some(placement) = registry.groups().get(&group.id()) else {
        return (registry.version() > 0)
            .then(|| report(metrics, voters))
            .flatten();
    };
    let Placement {
        wanted,
        placed,
        preferred,
        ..
    } = placement;
    let ready = |node: &NodeId| has_caught_up(metrics, *node) && is_alive(metrics, *node, alive);
    if !wanted.is_empty() && *wanted != voters {
        let new: BTreeSet<_> = wanted.difference(&voters).copied().collect();
        let unheard: BTreeSet<_> = new.difference(&learners).copied().collect();
        if !unheard.is_empty() {
            return Some(Step::Listen(unheard));
        }
        if !new.iter().all(ready) {
            return None;
        }
        // Who leads and is to go leaves the lead to one that stays, if there is one yet; else openraft sees to it at the end.
        let stays = || voters.intersection(wanted).find(|node| ready(node)).copied();
        return match stays() {
            Some(heir) if !wanted.contains(&me) => Some(Step::HandOver(heir)),
            _ => Some(Step::Vote(wanted.clone())),
        };
    }
    if *placed != voters {
        return report(metrics, voters);
    }
    let listen = wanted_learners(group.id(), registry, &voters);
    let unheard: BTreeSet<_> = listen.difference(&learners).copied().collect();
    if !unheard.is_empty() {
        return Some(Step::Listen(unheard));
    }
    let idle: BTreeSet<_> = learners.difference(&listen).copied().collect();
    if !idle.is_empty() {
        return Some(Step::Forget(idle));
    }
    heir(registry, &voters, *preferred, me, ready).map(Step::HandOver)
}

/// Who should lead instead of `me`, if anybody should and can.
fn heir(
    registry: &Registry,
    voters: &BTreeSet<NodeId>,
    preferred: Option<NodeId>,
    me: NodeId,
    ready: impl Fn(&NodeId) -> bool,
) -> Option<NodeId> {
    let active = registry.active();
    let can = |node: &NodeId| *node != me && voters.contains(node) && active.contains(node) && ready(node);
    if let Some(preferred) = preferred.filter(&can) {
        return Some(preferred);
    }
    let drained = registry
        .node(me)
        .is_some_and(|node| node.state == NodeState::Draining);
    voters.iter().copied().find(|node| drained && can(node))
}

/// Whether a follower has nearly all of the log, as the leader sees it.
pub(super) fn has_caught_up(metrics: &Metrics, node: NodeId) -> bool {
    let matching = metrics
        .replication
        .as_ref()
        .and_then(|of| of.get(&node.0))
        .cloned();
    let Some(Some(matching)) = matching else {
        return false;
    };
    metrics
        .last_log_index
        .is_none_or(|last| matching.index + CATCH_UP_ENTRIES_MAX >= last)
}

fn is_alive(metrics: &Metrics, node: NodeId, alive: Duration) -> bool {
    let heard: Option<&BTreeMap<u64, _>> = metrics.heartbeat.as_ref();
    let heard = heard.and_then(|of| of.get(&node.0)).cloned();
    heard.flatten().is_some_and(|at| at.elapsed() < alive)
}

/// Gives the lead of a group to another voter that is ready for it, if there is one. Whether there was.
pub(crate) async fn hand_over(group: &Group, me: NodeId, alive: Duration) -> bool {
    let metrics = group.raft().metrics();
    let heir = {
        let metrics = metrics.borrow_watched();
        let mut voters = metrics.membership_config.membership().voter_ids().map(NodeId);
        voters.find(|node| *node != me && has_caught_up(&metrics, *node) && is_alive(&metrics, *node, alive))
    };
    match heir {
        Some(heir) => group.raft().trigger().transfer_leader(heir.0).await.is_ok(),
        None => false,
    }
}
