//! How the cluster is: what every node says of itself, put together by the one that was asked.
//!
//! ```text
//!   asked ──▶ this node ── all at once, for less than a second ──▶ every other member
//!                 │                                                      │
//!                 └── its own status, the registry ──▶ put_together ◀────┘ their status, or why there is none
//! ```
//!
//! Of a group the leader of the newest term is believed; where that does not answer, what the others know, and the registry.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use docket_actors::{Docket, PeerAnswer, Registry};
use docket_proto::v1::{self, ReplicaRole};

use crate::status;

/// How every node of the cluster is, and every group. This node is asked by its readiness, the others over their peers' connections; a
/// node that is away delays the answer by less than a second.
pub(crate) async fn cluster_status(docket: &Docket, this: v1::NodeStatus) -> v1::ClusterStatus {
    let answers = docket.ask_peers().await;
    let identity = docket.status().cluster.identity;
    let registry = docket.registry();
    put_together(
        (identity.cluster_id, identity.shards.into()),
        this,
        answers,
        registry.as_deref(),
    )
}

fn put_together(
    (cluster_id, shards): (String, u32),
    this: v1::NodeStatus,
    answers: Vec<PeerAnswer>,
    registry: Option<&Registry>,
) -> v1::ClusterStatus {
    let mut liveness = vec![v1::NodeLiveness {
        node_id: this.node_id,
        alive: true,
        silence: Some(prost_types::Duration::default()),
        error: String::new(),
    }];
    let mut nodes = vec![this];
    for answer in answers {
        let (error, status) = match answer.status {
            Ok(status) => (String::new(), Some(status)),
            Err(error) => (error, None),
        };
        liveness.push(v1::NodeLiveness {
            node_id: answer.node.0,
            alive: answer.alive,
            silence: answer
                .silence
                .and_then(|silence| prost_types::Duration::try_from(status::whole_ms(silence)).ok()),
            error,
        });
        nodes.extend(status);
    }
    nodes.sort_by_key(|node| node.node_id);
    liveness.sort_by_key(|one| one.node_id);
    let members = registry
        .map(|registry| {
            let nodes = registry.nodes().iter();
            nodes
                .map(|(id, node)| status::member(registry, *id, node))
                .collect()
        })
        .unwrap_or_default();
    let placements: Vec<_> = registry
        .map(|registry| {
            let groups = registry.groups().iter();
            groups
                .map(|(group, found)| status::placement(*group, found))
                .collect()
        })
        .unwrap_or_default();
    let groups = groups(&nodes, &liveness, &placements);
    let reasons = reasons(&nodes, &liveness, &groups);
    v1::ClusterStatus {
        cluster_id,
        shards,
        nodes,
        members,
        placements,
        liveness,
        groups,
        reasons,
    }
}

/// Every group that a node has told of, in the order in which nodes tell of them.
fn groups(
    nodes: &[v1::NodeStatus],
    liveness: &[v1::NodeLiveness],
    placements: &[v1::GroupPlacement],
) -> Vec<v1::ClusterGroup> {
    let alive: BTreeSet<u64> = liveness
        .iter()
        .filter(|one| one.alive)
        .map(|one| one.node_id)
        .collect();
    let placements: HashMap<&str, _> = placements.iter().map(|one| (&*one.group, one)).collect();
    let mut told = HashMap::<&str, BTreeMap<u64, &v1::GroupStatus>>::new();
    for node in nodes {
        for group in &node.groups {
            told.entry(&group.group).or_default().insert(node.node_id, group);
        }
    }
    // Every node has every group, if only by its name.
    let names = nodes.iter().max_by_key(|node| node.groups.len());
    let names = names.iter().flat_map(|node| &node.groups);
    names
        .filter_map(|named| {
            let name = &*named.group;
            Some(group(
                name,
                told.get(name)?,
                &alive,
                placements.get(name).copied(),
            ))
        })
        .collect()
}

/// One group of what these nodes tell of it.
fn group(
    name: &str,
    told: &BTreeMap<u64, &v1::GroupStatus>,
    alive: &BTreeSet<u64>,
    placement: Option<&v1::GroupPlacement>,
) -> v1::ClusterGroup {
    let term = told.values().map(|group| group.term).max().unwrap_or(0);
    // Who says so itself, in the newest term. A leader that was left behind says so, too, in an older one.
    let leads = told
        .iter()
        .filter(|(_, group)| group.leader)
        .max_by_key(|(_, group)| group.term)
        .map(|(node, group)| (*node, *group));
    // Else, whom others take for it, in their newest term. Who is not alive leads nothing.
    let named = told
        .values()
        .filter(|group| group.leader_id != 0)
        .max_by_key(|group| group.term);
    let leader_id = match (leads, named) {
        (Some((node, own)), Some(other)) if own.term >= other.term => node,
        (Some((node, _)), None) => node,
        (_, Some(other)) => other.leader_id,
        (None, None) => 0,
    };
    let leader_id = if alive.contains(&leader_id) { leader_id } else { 0 };
    let leader = leads
        .filter(|(node, _)| *node == leader_id)
        .map(|(_, group)| group);
    let knows = leader.or_else(|| {
        told.values()
            .copied()
            .max_by_key(|group| (group.term, group.voter_ids.len()))
    });
    let (mut voters, learners) = match knows {
        Some(group) => (group.voter_ids.clone(), group.learner_ids.clone()),
        None => Default::default(),
    };
    if voters.is_empty() {
        voters.extend(placement.iter().flat_map(|placement| &placement.placed_ids));
    }
    let last = told.values().map(|group| group.last_log_index).max().unwrap_or(0);
    let last_log_index = leader.map_or(last, |leader| leader.last_log_index);
    let ids: BTreeSet<u64> = voters.iter().chain(&learners).copied().collect();
    let replicas: Vec<_> = ids
        .into_iter()
        .map(|node_id| {
            let role = match node_id {
                id if id == leader_id => ReplicaRole::Leader,
                id if voters.contains(&id) => ReplicaRole::Follower,
                _ => ReplicaRole::Learner,
            };
            let of_leader =
                leader.and_then(|leader| leader.replicas.iter().find(|one| one.node_id == node_id));
            let (known, match_index, lag) = match of_leader {
                Some(one) => (true, one.match_index, one.lag),
                // What a leader has is what there is.
                None if node_id == leader_id && leader.is_some() => (true, last_log_index, 0),
                None => (false, 0, 0),
            };
            v1::ReplicaStatus {
                node_id,
                role: role.into(),
                known,
                match_index,
                lag,
                applied_index: told.get(&node_id).map_or(0, |group| group.applied_index),
                held_back: of_leader.map(|one| one.held_back.clone()).unwrap_or_default(),
            }
        })
        .collect();
    let (wanted, placed) = placement
        .map(|one| (&one.wanted_ids[..], &one.placed_ids[..]))
        .unwrap_or_default();
    let without = |some: &[u64], others: &[u64]| {
        let left = some.iter().copied().filter(|id| !others.contains(id));
        left.collect()
    };
    v1::ClusterGroup {
        group: name.to_owned(),
        leader_id,
        term,
        last_log_index,
        lag: replicas.iter().map(|one| one.lag).max().unwrap_or(0),
        replicas,
        arriving_ids: without(wanted, placed),
        leaving_ids: without(placed, wanted),
    }
}

/// What is not as it should be.
fn reasons(
    nodes: &[v1::NodeStatus],
    liveness: &[v1::NodeLiveness],
    groups: &[v1::ClusterGroup],
) -> Vec<String> {
    let mut reasons = Vec::new();
    for one in liveness.iter().filter(|one| !one.alive || !one.error.is_empty()) {
        // One that is just starting, or takes longer than it was waited for, is there; more than that nobody knows of it.
        let what = match one.alive {
            true => "does not say how it is",
            false => "is not alive",
        };
        reasons.push(format!("node {} {what}: {}", one.node_id, one.error));
    }
    // Every node takes itself for the only one of what it is alone with; among others it is enough that somebody leads.
    for group in groups.iter().filter(|group| group.leader_id == 0) {
        reasons.push(format!("{} has no leader", group.group));
    }
    for group in groups {
        for replica in group
            .replicas
            .iter()
            .filter(|replica| !replica.held_back.is_empty())
        {
            let (node, name, why) = (replica.node_id, &group.group, &replica.held_back);
            reasons.push(format!("node {node}: its replica of {name} waits: {why}"));
        }
    }
    for node in nodes {
        for group in node.groups.iter().filter(|group| !group.stopped.is_empty()) {
            reasons.push(format!(
                "node {}: {} has stopped: {}",
                node.node_id, group.group, group.stopped
            ));
        }
        if let Some(journal) = node.journal.filter(|journal| journal.low_space) {
            reasons.push(format!(
                "node {}: its disk is low, and new writes are refused: {} MiB are free",
                node.node_id,
                journal.free_bytes / (1_024 * 1_024)
            ));
        }
        if let Some(books) = node.books.as_ref().filter(|books| books.discrepancy_count > 0) {
            reasons.push(format!(
                "node {}: its books do not agree: {} discrepancies",
                node.node_id, books.discrepancy_count
            ));
        }
        if let Some(scrub) = node.scrub.as_ref().filter(|scrub| scrub.damaged_count > 0) {
            reasons.push(format!(
                "node {}: what it has stored is damaged in {} places: docket scrub --last",
                node.node_id, scrub.damaged_count
            ));
        }
        if !node.ready {
            reasons.push(format!(
                "node {} is not ready: {}",
                node.node_id,
                node.reasons.join("; ")
            ));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use docket_actors::NodeId;

    use super::*;

    fn follower(node_id: u64, match_index: u64, lag: u64) -> v1::ReplicaStatus {
        v1::ReplicaStatus {
            node_id,
            role: ReplicaRole::Follower.into(),
            known: true,
            match_index,
            lag,
            applied_index: 0,
            held_back: String::new(),
        }
    }

    /// A node that takes `leader_id` for the leader of its only shard in this term.
    fn node(node_id: u64, leader_id: u64, term: u64) -> v1::NodeStatus {
        let leader = leader_id == node_id;
        let others = (1..=3).filter(|other| *other != node_id);
        v1::NodeStatus {
            node_id,
            ready: true,
            groups: vec![v1::GroupStatus {
                group: "shard-0".into(),
                leader,
                leader_id,
                term,
                last_log_index: 100 + term,
                applied_index: 90 + node_id,
                voter_ids: vec![1, 2, 3],
                replicas: others
                    .filter(|_| leader)
                    .map(|other| follower(other, 100, term))
                    .collect(),
                ..v1::GroupStatus::default()
            }],
            ..v1::NodeStatus::default()
        }
    }

    fn answers(status: v1::NodeStatus) -> PeerAnswer {
        PeerAnswer {
            node: NodeId(status.node_id),
            alive: true,
            silence: Some(Duration::ZERO),
            status: Ok(status),
        }
    }

    fn dead(node: u64) -> PeerAnswer {
        PeerAnswer {
            node: NodeId(node),
            alive: false,
            silence: Some(Duration::from_millis(7_250)),
            status: Err("it cannot be reached".into()),
        }
    }

    fn of(this: v1::NodeStatus, others: Vec<PeerAnswer>) -> v1::ClusterStatus {
        put_together(("shop".into(), 1), this, others, None)
    }

    #[test]
    fn a_whole_cluster_is_as_its_leaders_say_whoever_is_asked() {
        let others = vec![answers(node(2, 2, 5)), answers(node(3, 2, 5))];
        let status = of(node(1, 2, 5), others);
        assert_eq!(status.reasons, [""; 0]);
        assert_eq!(status.nodes.len(), 3);
        let [group] = &status.groups[..] else {
            panic!("one group, not {:?}", status.groups)
        };
        assert_eq!((group.leader_id, group.term, group.lag), (2, 5, 5));
        assert_eq!(group.last_log_index, 105);
        let roles: Vec<_> = group.replicas.iter().map(|one| one.role()).collect();
        let (leads, follows) = (ReplicaRole::Leader, ReplicaRole::Follower);
        assert_eq!(roles, [follows, leads, follows]);
        let matched: Vec<_> = group.replicas.iter().map(|one| one.match_index).collect();
        assert_eq!(matched, [100, 105, 100]);
        let applied: Vec<_> = group.replicas.iter().map(|one| one.applied_index).collect();
        assert_eq!(applied, [91, 92, 93]);
    }

    #[test]
    fn a_leader_that_does_not_answer_leads_nothing() {
        let status = of(node(1, 2, 5), vec![dead(2), answers(node(3, 2, 5))]);
        assert_eq!(status.groups[0].leader_id, 0);
        assert!(status.groups[0].replicas.iter().all(|one| !one.known));
        assert_eq!(
            status.reasons,
            [
                "node 2 is not alive: it cannot be reached",
                "shard-0 has no leader"
            ]
        );
        let liveness = &status.liveness[1];
        assert_eq!((liveness.node_id, liveness.alive), (2, false));
        let silence = liveness.silence.unwrap();
        assert_eq!((silence.seconds, silence.nanos), (7, 250_000_000));
    }

    #[test]
    fn of_two_that_take_themselves_for_the_leader_the_newer_one_is_believed() {
        let others = vec![answers(node(2, 2, 6)), answers(node(3, 2, 6))];
        let status = of(node(1, 1, 5), others);
        assert_eq!((status.groups[0].leader_id, status.groups[0].term), (2, 6));
        // Also where only its follower is heard of.
        let status = of(node(1, 1, 5), vec![answers(node(3, 3, 6)), dead(2)]);
        assert_eq!(status.groups[0].leader_id, 3);
    }

    #[test]
    fn a_replica_that_its_leader_sends_nothing_is_a_reason() {
        let mut leader = node(1, 1, 5);
        let replicas = &mut leader.groups[0].replicas;
        let old = replicas.iter_mut().find(|one| one.node_id == 3).unwrap();
        old.held_back = "its program is too old".into();
        let status = of(leader, vec![answers(node(2, 1, 5)), answers(node(3, 1, 5))]);
        assert_eq!(
            status.reasons,
            ["node 3: its replica of shard-0 waits: its program is too old"]
        );
    }

    #[test]
    fn a_replica_that_is_on_its_way_is_a_learner_that_catches_up_with_its_leader() {
        let mut leader = node(1, 1, 5);
        let group = &mut leader.groups[0];
        group.learner_ids = vec![4];
        group.replicas.push(v1::ReplicaStatus {
            role: ReplicaRole::Learner.into(),
            ..follower(4, 40, 65)
        });
        let placement = v1::GroupPlacement {
            group: "shard-0".into(),
            wanted_ids: vec![1, 2, 4],
            placed_ids: vec![1, 2, 3],
            preferred_leader_id: 0,
        };
        let alive = |node_id| v1::NodeLiveness {
            node_id,
            alive: true,
            ..v1::NodeLiveness::default()
        };
        let liveness: Vec<_> = (1..=4).map(alive).collect();
        let nodes = [leader, node(2, 1, 5), node(3, 1, 5)];
        let [group] = &groups(&nodes, &liveness, &[placement])[..] else {
            panic!("not one group")
        };
        assert_eq!(
            (&group.arriving_ids[..], &group.leaving_ids[..]),
            (&[4][..], &[3][..])
        );
        let learner = group.replicas.iter().find(|one| one.node_id == 4).unwrap();
        assert_eq!(learner.role(), ReplicaRole::Learner);
        assert_eq!((learner.match_index, learner.lag, group.lag), (40, 65, 65));
        assert_eq!(reasons(&nodes, &liveness, std::slice::from_ref(group)), [""; 0]);
    }

    #[test]
    fn whatever_is_wrong_is_named_with_its_node() {
        let mut ill = node(2, 2, 5);
        ill.ready = false;
        ill.reasons = vec!["the node has failed: shard-0: it differs".into()];
        ill.groups[0].stopped = "it differs".into();
        ill.journal = Some(v1::JournalStatus {
            free_bytes: 3 << 20,
            low_space: true,
            ..v1::JournalStatus::default()
        });
        let starting = PeerAnswer {
            alive: true,
            status: Err("it is just starting".into()),
            ..dead(3)
        };
        let status = of(node(1, 2, 5), vec![answers(ill), starting]);
        assert_eq!(
            status.reasons,
            [
                "node 3 does not say how it is: it is just starting",
                "node 2: shard-0 has stopped: it differs",
                "node 2: its disk is low, and new writes are refused: 3 MiB are free",
                "node 2 is not ready: the node has failed: shard-0: it differs",
            ]
        );
    }
}
