//! What is sampled of groups, peers and moves, on a node that has peers: their gauges are set once a second, away from all work.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::limits::{LED_MS, SAMPLE_EVERY_MS};
use crate::members::Members;
use crate::metrics::{MoveMetrics, PeerGauges, Role, groups_as, replica_lag};
use crate::peer::Peers;
use crate::{Group, GroupId, Leader, Leadership, Node, NodeId, PeerStatus};

impl Node {
    /// Sets the gauges that every node has, also one that stands alone: of its disk, and whether its groups are led and how old their
    /// snapshots are. To be called about once a second.
    pub fn measure(&self) {
        self.measure_disk();
        let led = self.led_groups();
        for group in self.groups() {
            let metrics = &group.progress().metrics;
            let led = led.contains(&group.id());
            metrics.has_leader.set(if led { 1.0 } else { 0.0 });
            let age = group.progress().snapshot_age().unwrap_or_default();
            metrics.snapshot_age.set(age.as_secs_f64());
        }
    }

    /// The groups that have a replica here and a leader: one that was heard of lately, or, where that is this node, that most of the group has
    /// answered lately.
    pub fn led_groups(&self) -> BTreeSet<GroupId> {
        let peers = self.peers().into_iter().filter(PeerStatus::is_alive);
        let alive: HashSet<NodeId> = peers.map(|peer| peer.node).collect();
        let led = self.groups().iter().filter(|group| {
            // Where there is no majority nobody stands for election, and the leader that is gone is the last that was heard of.
            let is_there = match group.leader() {
                Leader::Node { node, .. } => alive.contains(&node),
                Leader::Here | Leader::Unknown => true,
            };
            self.has_replica(group.id()) && group.is_led() && is_there
        });
        led.map(Group::id).collect()
    }
}

impl Group {
    /// Whether it has a leader, as far as is known here. One that is cut off goes on taking itself for the leader: it is believed as long as
    /// most of the group has answered it lately.
    fn is_led(&self) -> bool {
        match self.leader() {
            Leader::Unknown => false,
            Leader::Node { .. } => true,
            Leader::Here => {
                let metrics = self.raft().metrics();
                let metrics = metrics.borrow_watched();
                let acked = metrics.last_quorum_acked.map(|acked| acked.elapsed());
                self.leads_alone() || acked.is_some_and(|acked| acked < Duration::from_millis(LED_MS))
            }
        }
    }
}

/// Sets the gauges.
pub(crate) struct Sampler {
    peers: Arc<Peers>,
    groups: Vec<Group>,
    /// `None` where the cluster keeps no registry.
    members: Option<Arc<Members>>,
    since: Instant,
    moves: MoveMetrics,
    of_peers: HashMap<NodeId, PeerGauges>,
    /// Lags that are not 0 or may not be.
    lags: HashMap<(GroupId, NodeId), metrics::Gauge>,
}

impl Sampler {
    pub(crate) fn new(peers: Arc<Peers>, groups: Vec<Group>, members: Option<Arc<Members>>) -> Self {
        Self {
            peers,
            groups,
            members,
            since: Instant::now(),
            moves: MoveMetrics::new(),
            of_peers: HashMap::new(),
            lags: HashMap::new(),
        }
    }

    /// Samples until `closing`.
    pub(crate) async fn run(mut self, closing: CancellationToken) {
        let mut turns = interval(Duration::from_millis(SAMPLE_EVERY_MS));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = turns.tick() => self.sample(),
                () = closing.cancelled() => return,
            }
        }
    }

    fn sample(&mut self) {
        self.sample_groups();
        self.sample_peers();
        if let Some(members) = &self.members {
            let registry = members.registry().now();
            let moving = registry
                .groups()
                .values()
                .filter(|placement| placement.is_moving());
            self.moves.in_progress.set(moving.count() as f64);
        }
    }

    fn sample_groups(&mut self) {
        let mut roles = Vec::with_capacity(self.groups.len());
        let mut followed = HashSet::new();
        for group in &self.groups {
            let metrics = group.raft().metrics();
            let metrics = metrics.borrow_watched();
            let leads = matches!(*group.leadership().borrow(), Leadership::Leader { .. });
            let membership = metrics.membership_config.membership();
            roles.push(if leads {
                Role::Leader
            } else if membership.voter_ids().any(|voter| voter == metrics.id) {
                Role::Follower
            } else if membership.get_node(&metrics.id).is_some() {
                Role::Learner
            } else {
                Role::None
            });
            let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
            let committed = next(metrics.local_committed.as_ref().map(|id| id.index));
            let applied = next(group.progress().applied_index());
            let apply_lag = &group.progress().metrics.apply_lag;
            apply_lag.set(committed.saturating_sub(applied) as f64);
            if !leads {
                continue;
            }
            let end = next(metrics.last_log_index);
            for (node, matched) in metrics.replication.iter().flatten() {
                if *node == metrics.id {
                    continue;
                }
                let key = (group.id(), NodeId(*node));
                let matched = next(matched.as_ref().map(|id| id.index));
                let gauge = self.lags.entry(key).or_insert_with(|| replica_lag(key.0, key.1));
                gauge.set(end.saturating_sub(matched) as f64);
                followed.insert(key);
            }
        }
        // Who leads no more knows nothing of them.
        self.lags.retain(|key, gauge| {
            let kept = followed.contains(key);
            if !kept {
                gauge.set(0.0);
            }
            kept
        });
        for role in Role::ALL {
            let count = roles.iter().filter(|one| **one == role).count();
            groups_as(role).set(count as f64);
        }
    }

    fn sample_peers(&mut self) {
        let there = others(&self.peers, self.members.as_deref());
        for node in &there {
            let Ok(links) = self.peers.links(*node) else {
                continue;
            };
            let gauges = self
                .of_peers
                .entry(*node)
                .or_insert_with(|| PeerGauges::new(*node));
            gauges.connected.set(if links.is_connected() { 1.0 } else { 0.0 });
            let silence = links.silence().unwrap_or_else(|| self.since.elapsed());
            gauges.silence.set(silence.as_secs_f64());
        }
        // Who was removed is missed by nobody.
        for (node, gauges) in &self.of_peers {
            if !there.contains(node) {
                gauges.connected.set(0.0);
                gauges.silence.set(0.0);
            }
        }
    }
}

/// The other nodes of the cluster, without those that were removed.
pub(crate) fn others(peers: &Peers, members: Option<&Members>) -> Vec<NodeId> {
    let me = peers.own().node_id;
    let mut others: Vec<NodeId> = match members {
        Some(members) => members.registry().now().members().map(|(id, _)| id).collect(),
        None => peers.known(),
    };
    others.retain(|node| *node != me);
    others.sort_unstable();
    others
}
