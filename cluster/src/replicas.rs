//! Whether the replicas of a group are equal: its leader holds its digests against the followers'.
//!
//! ```text
//!  leader ── Compare: its recent marks, of every group it leads ──▶ follower     looks for the newest entry that both have
//!         ◀────────── nothing in common, equal, or different ───────
//!         ── Condemn: this replica is wrong ──▶                                  stops, says so, and its node with it
//! ```
//!
//! Where replicas differ nobody can know which is right, but most of them agree: those outvoted stop. A follower that says nothing of the
//! entry in question (it is behind, or away) has a vote that is waited for, [`UNDECIDED_MS`] at most; then those that are known decide,
//! and at a draw all of them stop. A replica that stops makes its node exit with the reason; after its start it reads its journal again,
//! and is compared again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use docket_proto::peer as pb;
use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::digest::{Compared, Mark, compare};
use crate::limits::{COMPARE_EVERY_MS, COMPARE_GROUPS_MAX, COMPARE_MS, DIGEST_MARKS_MAX, UNDECIDED_MS};
use crate::peer::{Peers, put_digest, take_digest};
use crate::{Group, GroupId, Leadership, NodeId};

/// What the comparison of one group with one follower came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaCheck {
    /// The group.
    pub group: GroupId,
    /// The node that the follower is on.
    pub node: NodeId,
    /// How it stands to the leader's replica.
    pub outcome: ReplicaOutcome,
}

/// How a follower's state stands to the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaOutcome {
    /// It was equal after the entry of this index.
    Equal {
        /// The entry.
        index: u64,
    },
    /// It was not. The replicas that are outvoted stop.
    Different {
        /// The entry.
        index: u64,
    },
    /// It could not be compared: it does not answer, is too far behind, or carries a digest of another beginning.
    Unknown,
}

/// Compares what is led here with what follows elsewhere.
#[derive(Clone)]
pub(crate) struct Replicas {
    peers: Arc<Peers>,
    groups: Arc<[Group]>,
    /// Since when replicas are known to differ, where it is not decided which are outvoted.
    undecided: Arc<Mutex<HashMap<GroupId, Instant>>>,
}

impl Replicas {
    pub(crate) fn new(peers: Arc<Peers>, groups: &[Group]) -> Self {
        Self {
            peers,
            groups: groups.into(),
            undecided: Arc::default(),
        }
    }

    /// Compares every [`COMPARE_EVERY_MS`] until `closing`.
    pub(crate) async fn run(self, closing: CancellationToken) {
        let mut turns = interval(Duration::from_millis(COMPARE_EVERY_MS));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first turn is due at once, when nothing is led yet.
        turns.tick().await;
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                () = closing.cancelled() => return,
            }
            tokio::select! {
                _ = self.compare() => {}
                () = closing.cancelled() => return,
            }
        }
    }

    /// Compares every group that is led here with all its followers, and has replicas stop that are outvoted.
    pub(crate) async fn compare(&self) -> Vec<ReplicaCheck> {
        let led: Vec<_> = self.groups.iter().filter(|group| leads(group)).collect();
        let mut asks = Vec::new();
        for node in led
            .iter()
            .flat_map(|group| followers(group))
            .collect::<BTreeSet<_>>()
        {
            let of_node: Vec<_> = led
                .iter()
                .filter(|group| followers(group).contains(&node))
                .collect();
            for some in of_node.chunks(COMPARE_GROUPS_MAX) {
                asks.push(self.ask(node, some.iter().map(|group| (**group).clone()).collect()));
            }
        }
        let checks: Vec<_> = join_all(asks).await.into_iter().flatten().collect();
        for group in led {
            let of_group = checks.iter().filter(|check| check.group == group.id());
            self.judge(group, &of_group.collect::<Vec<_>>()).await;
        }
        checks
    }

    async fn ask(&self, node: NodeId, groups: Vec<Group>) -> Vec<ReplicaCheck> {
        let request = pb::CompareRequest {
            groups: groups.iter().map(put_marks).collect(),
        };
        let asked = async {
            let link = &self.peers.links(node).map_err(|error| error.to_string())?.urgent;
            let connection = link.connection().await.map_err(|error| error.to_string())?;
            let reply = connection.client().compare(request).await;
            reply.map_err(|status| status.message().to_owned())
        };
        let reply = timeout(Duration::from_millis(COMPARE_MS), asked).await;
        let compared = match reply {
            Ok(Ok(reply)) => reply.into_inner().groups,
            Ok(Err(cause)) => {
                tracing::debug!(%node, cause, "replicas were not compared");
                Vec::new()
            }
            Err(_elapsed) => Vec::new(),
        };
        let mut compared = compared.into_iter();
        let check = |group: &Group| ReplicaCheck {
            group: group.id(),
            node,
            outcome: compared
                .next()
                .and_then(|compared| compared.result)
                .map_or(ReplicaOutcome::Unknown, take_compared),
        };
        groups.iter().map(check).collect()
    }

    /// Has those stop that are outvoted, if replicas differ.
    async fn judge(&self, group: &Group, checks: &[&ReplicaCheck]) {
        let metrics = &group.progress().metrics;
        let equal = checks.iter().filter_map(|check| match check.outcome {
            ReplicaOutcome::Equal { index } => Some(index),
            _ => None,
        });
        let equal: Vec<u64> = equal.collect();
        if let Some(index) = equal.iter().max() {
            metrics.replicas_equal_index.set(*index as f64);
        }
        let differ = checks.iter().filter_map(|check| match check.outcome {
            ReplicaOutcome::Different { index } => Some((check.node, index)),
            _ => None,
        });
        let differ: Vec<(NodeId, u64)> = differ.collect();
        let Some(index) = differ.iter().map(|(_, index)| *index).min() else {
            self.undecided.lock().remove(&group.id());
            return;
        };
        // Who was equal before that says nothing of it. The leader agrees with itself.
        let agree = 1 + equal.iter().filter(|equal| **equal >= index).count();
        let nodes: Vec<_> = differ.iter().map(|(node, _)| node.0).collect();
        tracing::error!(group = %group.id(), index, ?nodes, agree, "replicas differ");
        let members = 1 + checks.len();
        let decided = 2 * agree.max(differ.len()) > members || agree + differ.len() == members;
        if !decided {
            let now = Instant::now();
            let since = *self.undecided.lock().entry(group.id()).or_insert(now);
            if now.duration_since(since) < Duration::from_millis(UNDECIDED_MS) {
                return;
            }
        }
        self.undecided.lock().remove(&group.id());
        metrics.replica_mismatches.increment(differ.len() as u64);
        if agree >= differ.len() {
            let condemned = differ
                .iter()
                .map(|(node, index)| self.condemn(*node, group.id(), *index));
            join_all(condemned).await;
        }
        if agree <= differ.len() {
            group.fail(
                format!(
                    "{}: after entry {index} the state here differs from the replicas on nodes {nodes:?}, and {agree} of {} agree with it; \
                     keep this data directory for an inquiry, and let the node join again under a new id with an empty one",
                    group.id(),
                    agree + differ.len()
                )
                .into(),
            );
        }
    }

    async fn condemn(&self, node: NodeId, group: GroupId, index: u64) {
        let request = pb::CondemnRequest {
            group: group.0,
            index,
        };
        let told = async {
            let link = &self.peers.links(node).map_err(|error| error.to_string())?.urgent;
            let connection = link.connection().await.map_err(|error| error.to_string())?;
            let reply = connection.client().condemn(request).await;
            reply.map_err(|status| status.message().to_owned())
        };
        match timeout(Duration::from_millis(COMPARE_MS), told).await {
            Ok(Ok(_)) => {}
            // It is compared again at the next turn.
            Ok(Err(cause)) => tracing::warn!(%node, %group, cause, "a replica that differs was not told"),
            Err(_elapsed) => tracing::warn!(%node, %group, "a replica that differs did not answer"),
        }
    }
}

fn leads(group: &Group) -> bool {
    matches!(*group.leadership().borrow(), Leadership::Leader { .. })
}

/// The other members of a group, those that do not vote yet included.
fn followers(group: &Group) -> Vec<NodeId> {
    let metrics = group.raft().metrics();
    let metrics = metrics.borrow_watched();
    let members = metrics.membership_config.membership().nodes();
    let others = members.map(|(id, _)| *id).filter(|id| *id != metrics.id);
    others.map(NodeId).collect()
}

fn put_marks(group: &Group) -> pb::GroupMarks {
    let put = |mark: Mark| pb::Mark {
        index: mark.index,
        digest: Some(put_digest(mark.digest)),
    };
    pb::GroupMarks {
        group: group.id().0,
        marks: group.progress().marks.all().into_iter().map(put).collect(),
    }
}

fn take_compared(compared: pb::group_compared::Result) -> ReplicaOutcome {
    use pb::group_compared::Result as R;
    match compared {
        R::Equal(index) => ReplicaOutcome::Equal { index },
        R::Different(index) => ReplicaOutcome::Different { index },
        R::Unknown(_) => ReplicaOutcome::Unknown,
    }
}

/// A follower's answer: its own marks against the leader's.
pub(crate) fn answer(group: &Group, theirs: Vec<pb::Mark>) -> pb::GroupCompared {
    use pb::group_compared::Result as R;
    let take = |mark: pb::Mark| {
        Some(Mark {
            index: mark.index,
            digest: take_digest(mark.digest?),
        })
    };
    let theirs: Vec<_> = theirs
        .into_iter()
        .take(DIGEST_MARKS_MAX + 1)
        .filter_map(take)
        .collect();
    let rising = theirs.is_sorted_by(|a, b| a.index < b.index);
    let result = match compare(&group.progress().marks.all(), &theirs) {
        _ if !rising => R::Unknown(pb::Blank {}),
        Compared::Nothing => R::Unknown(pb::Blank {}),
        Compared::Equal { index } => R::Equal(index),
        Compared::Different { index } => R::Different(index),
    };
    pb::GroupCompared { result: Some(result) }
}

/// Stops a replica that its leader has found to differ from most.
pub(crate) fn condemned(group: &Group, by: NodeId, index: u64) {
    group.progress().metrics.replica_mismatches.increment(1);
    tracing::error!(group = %group.id(), %by, index, "this replica differs from its leader's");
    group.fail(
        format!(
            "{}: after entry {index} the state here differs from its leader's on node {by}; keep this data directory for an inquiry, and \
             let the node join again under a new id with an empty one",
            group.id()
        )
        .into(),
    );
}
