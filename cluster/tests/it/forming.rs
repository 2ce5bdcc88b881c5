//! A cluster that forms and changes while it runs, on loopback, each node on a disk in memory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{
    ClusterError, GroupId, Identity, Leader, Leadership, ManageError, MemberOptions, Node, NodeId,
    NodeOptions, NodeState, PeerOptions, Registry,
};

use crate::machine::{Bed, Ledgers, payload};
use crate::peers::{Authority, PATIENCE, eventually};

const CLUSTER: &str = "c1";
pub const GROUPS: [GroupId; 3] = [GroupId(0), GroupId(1), GroupId(2)];

/// One place in the cluster: its disk, and the node on it while it runs.
pub struct Place {
    pub bed: Bed,
    pub options: NodeOptions,
    pub running: Option<(Node, Ledgers)>,
}

impl Place {
    pub fn node(&self) -> &Node {
        &self.running.as_ref().unwrap().0
    }

    pub fn id(&self) -> NodeId {
        self.options.peers.as_ref().unwrap().node_id
    }

    pub fn payloads(&self, group: GroupId) -> Vec<Bytes> {
        self.running.as_ref().unwrap().1.of(group).state().payloads
    }

    pub fn leads(&self, group: GroupId) -> bool {
        let leads = |(node, _): &(Node, _)| {
            let leadership = *node.group(group).unwrap().leadership().borrow();
            matches!(leadership, Leadership::Leader { .. })
        };
        self.running.as_ref().is_some_and(leads)
    }

    pub async fn start(&mut self) {
        self.try_start().await.unwrap();
    }

    async fn try_start(&mut self) -> Result<(), ClusterError> {
        let running = self.bed.try_open(self.options.clone()).await?;
        // A node that comes back is where it was.
        if let Some(peers) = &mut self.options.peers {
            peers.listen = running.0.peer_address().unwrap();
        }
        self.running = Some(running);
        Ok(())
    }

    pub async fn stop(&mut self) {
        let (node, _) = self.running.take().unwrap();
        node.shutdown().await.unwrap();
        self.bed.disk.restart_machine(self.id().0);
    }
}

pub struct Cluster {
    authority: Authority,
    pub places: Vec<Place>,
    /// How long a follower waits for its leader at least, in milliseconds.
    election_ms: u64,
    /// How long it is at rest before its leads are evened out; `None`: they stay.
    balance_leads_after: Option<Duration>,
}

impl Cluster {
    /// A cluster of one: its founder.
    pub async fn found() -> Self {
        Self::found_with(600).await
    }

    async fn found_with(election_ms: u64) -> Self {
        Self::found_as(election_ms, false).await
    }

    async fn found_as(election_ms: u64, closed: bool) -> Self {
        let mut cluster = Self {
            authority: Authority::new(),
            places: Vec::new(),
            election_ms,
            balance_leads_after: None,
        };
        let bed = Bed::new();
        Identity::found(bed.dir.path(), Some(CLUSTER), None, Some(2)).unwrap();
        let mut options = cluster.options(&bed, NodeId(1), Vec::new());
        if let Some(member) = &mut options.member {
            member.closed = closed;
        }
        cluster.add(bed, options).await;
        cluster
    }

    pub async fn of(nodes: u64) -> Self {
        Self::found().await.grown(nodes).await
    }

    pub async fn grown(mut self, nodes: u64) -> Self {
        for id in 2..=nodes {
            self.join(NodeId(id)).await;
        }
        self.settled().await;
        self
    }

    fn options(&self, bed: &Bed, id: NodeId, seeds: Vec<String>) -> NodeOptions {
        NodeOptions {
            shards: None,
            heartbeat_ms: 100,
            election_timeout_min_ms: self.election_ms,
            election_timeout_max_ms: 2 * self.election_ms,
            balance_leads_after: self.balance_leads_after,
            peers: Some(PeerOptions {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                tls: self.authority.issue(id),
                cluster_id: CLUSTER.to_owned(),
                node_id: id,
                founders: Vec::new(),
            }),
            member: Some(MemberOptions {
                peer_address: None,
                client_address: format!("client-{id}:7070"),
                seeds,
                closed: false,
            }),
            ..bed.options()
        }
    }

    async fn add(&mut self, bed: Bed, options: NodeOptions) {
        let mut place = Place {
            bed,
            options,
            running: None,
        };
        place.start().await;
        self.places.push(place);
    }

    /// Where a node that joins knocks: at the one that joined last, which need not lead.
    fn seed(&self) -> String {
        let there = self.places.iter().rev().find(|place| place.running.is_some());
        there.unwrap().node().peer_address().unwrap().to_string()
    }

    async fn join(&mut self, id: NodeId) {
        let bed = Bed::new();
        let options = self.options(&bed, id, vec![self.seed()]);
        self.add(bed, options).await;
    }

    pub fn running(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.running.is_some())
    }

    pub fn place(&mut self, id: NodeId) -> &mut Place {
        self.places.iter_mut().find(|place| place.id() == id).unwrap()
    }

    /// A node that runs; any will do.
    pub fn any(&self) -> &Node {
        self.running().next().unwrap().node()
    }

    pub async fn leader(&self, group: GroupId) -> &Place {
        eventually("a leader", || self.running().any(|place| place.leads(group))).await;
        self.running().find(|place| place.leads(group)).unwrap()
    }

    /// Waits until every running node sees every group placed as this says.
    pub async fn until(&self, what: &str, holds: impl Fn(&Registry) -> bool) {
        eventually(what, || {
            self.running()
                .all(|place| holds(&place.node().registry().unwrap()))
        })
        .await;
    }

    /// Waits until every node is active and nothing is on its way any more.
    pub async fn settled(&self) {
        let count = self.running().count();
        self.until("a settled cluster", |registry| {
            registry.active().len() == count && placed(registry, count.min(3))
        })
        .await;
    }

    /// Proposes where the lead is until it is acknowledged.
    pub async fn propose(&self, group: GroupId, payload: Bytes) {
        let asked = Instant::now();
        loop {
            let leader = self.leader(group).await;
            match leader.node().group(group).unwrap().propose(payload.clone()).await {
                Ok(_) => return,
                Err(error) => assert!(asked.elapsed() < PATIENCE, "{error}"),
            }
        }
    }

    /// Waits until all replicas of all groups are equal.
    pub async fn equal(&self) {
        // Of who leads it: a node that has just started shows an older one for a moment.
        let registry = self.leader(GroupId::META).await.node().registry().unwrap();
        for group in GROUPS {
            let expected = self.leader(group).await.payloads(group);
            let placed = &registry.groups()[&group].placed;
            for place in self.running().filter(|place| placed.contains(&place.id())) {
                let asked = Instant::now();
                while place.payloads(group) != expected {
                    let status = place.node().group(group).unwrap().status();
                    let (has, of) = (place.payloads(group).len(), expected.len());
                    assert!(
                        asked.elapsed() < PATIENCE,
                        "node {} has {has} of {of} and not the same: {status:?}",
                        place.id()
                    );
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    /// Asks for a change of the cluster until it is decided.
    pub async fn change(&self, ask: impl AsyncFn(&Node) -> Result<(), ManageError>) {
        let asked = Instant::now();
        while let Err(error) = ask(self.any()).await {
            assert!(
                matches!(error, ManageError::Unavailable { .. }) && asked.elapsed() < PATIENCE,
                "{error}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn end(mut self) {
        for place in &mut self.places {
            if place.running.is_some() {
                place.stop().await;
            }
        }
    }
}

pub fn placed(registry: &Registry, replicas: usize) -> bool {
    registry.groups().len() == GROUPS.len()
        && registry
            .groups()
            .values()
            .all(|placement| placement.placed.len() == replicas && !placement.is_moving())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_alone_becomes_a_cluster_of_three_with_its_data() {
    let bed = Bed::new();
    let (node, _) = bed.start().await;
    for n in 0..20 {
        node.group(GROUPS[1])
            .unwrap()
            .propose(payload(format!("alone-{n}")))
            .await
            .unwrap();
    }
    node.shutdown().await.unwrap();
    bed.disk.restart_machine(1);

    let cluster_id = Identity::read(bed.dir.path()).unwrap().unwrap().cluster_id;
    let founded = Identity::found(bed.dir.path(), None, None, None).unwrap();
    assert_eq!(founded.cluster_id, cluster_id, "it keeps its cluster's id");
    let authority = Authority::new();
    let mut cluster = Cluster {
        authority,
        places: Vec::new(),
        election_ms: 600,
        balance_leads_after: None,
    };
    let of_cluster = |mut options: NodeOptions, authority: &Authority, id: NodeId| {
        let peers = options.peers.as_mut().unwrap();
        peers.cluster_id.clone_from(&cluster_id);
        peers.tls = authority.issue_for(&cluster_id, id);
        options
    };
    let options = cluster.options(&bed, NodeId(1), Vec::new());
    let options = of_cluster(options, &cluster.authority, NodeId(1));
    cluster.add(bed, options).await;
    for id in [NodeId(2), NodeId(3)] {
        let bed = Bed::new();
        let options = cluster.options(&bed, id, vec![cluster.seed()]);
        let options = of_cluster(options, &cluster.authority, id);
        cluster.add(bed, options).await;
        cluster
            .propose(GROUPS[1], payload(format!("while {id} joins")))
            .await;
    }
    cluster.settled().await;
    cluster.equal().await;
    let payloads = cluster.places[2].payloads(GROUPS[1]);
    assert_eq!(payloads.len(), 22);
    for place in &cluster.places {
        place.node().ready().await;
        for group in GROUPS {
            assert_eq!(place.node().group(group).unwrap().status().voters.len(), 3);
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_forms_under_load_and_loses_nothing() {
    let mut cluster = Cluster::found().await;
    cluster.leader(GROUPS[1]).await;
    let first = cluster.places[0].node().group(GROUPS[1]).unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        while stopped.try_recv().is_err() {
            let payload = payload(format!("load-{}", acknowledged.len()));
            // Nobody takes the lead from node 1 meanwhile, so that each is acknowledged.
            first.propose(payload.clone()).await.unwrap();
            acknowledged.push(payload);
        }
        acknowledged
    });
    cluster.join(NodeId(2)).await;
    cluster.join(NodeId(3)).await;
    cluster.settled().await;
    stop.send(()).unwrap();
    let acknowledged = load.await.unwrap();
    assert!(!acknowledged.is_empty());
    cluster.equal().await;
    for place in &cluster.places {
        assert_eq!(place.payloads(GROUPS[1]), acknowledged);
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_one_another_again_after_all_were_stopped_and_wherever_they_are_then() {
    let mut cluster = Cluster::of(3).await;
    cluster.propose(GROUPS[2], payload("before")).await;
    for at in 0..3 {
        cluster.places[at].stop().await;
    }
    // The third comes back elsewhere, and says so; nobody has seeds any more.
    for at in 0..3 {
        let options = &mut cluster.places[at].options;
        options.member.as_mut().unwrap().seeds.clear();
        if at == 2 {
            options.peers.as_mut().unwrap().listen.set_port(0);
        }
        cluster.places[at].start().await;
    }
    cluster.propose(GROUPS[2], payload("after")).await;
    let address = cluster.places[2].node().peer_address().unwrap().to_string();
    cluster
        .until("the new address", |registry| {
            registry.node(NodeId(3)).unwrap().peer_address == address
        })
        .await;
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_waits_until_the_founder_lets_nodes_in() {
    let mut cluster = Cluster::found_as(600, true).await;
    // It knows itself, closed or not.
    cluster
        .until("the founder", |registry| registry.active().len() == 1)
        .await;
    let bed = Bed::new();
    let options = cluster.options(&bed, NodeId(2), vec![cluster.seed()]);
    let early = tokio::time::timeout(Duration::from_secs(2), bed.try_open(options.clone())).await;
    assert!(early.is_err(), "it got in");
    assert_eq!(cluster.any().registry().unwrap().nodes().len(), 1);
    cluster.any().let_nodes_in();
    cluster.add(bed, options).await;
    cluster.settled().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_used_again_is_refused_by_name() {
    let mut cluster = Cluster::of(2).await;
    cluster.place(NodeId(2)).stop().await;
    // Its disk is lost, and somebody starts it again under the old id.
    let bed = Bed::new();
    let options = cluster.options(&bed, NodeId(2), vec![cluster.seed()]);
    let refused = bed.try_open(options).await.err().unwrap();
    assert!(
        matches!(&refused, ClusterError::NotAdmitted { cause } if cause.contains("never used again")),
        "{refused}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_is_refused_where_it_does_not_belong() {
    let cluster = Cluster::found().await;
    // One that is new and knows nobody.
    let bed = Bed::new();
    let options = cluster.options(&bed, NodeId(2), Vec::new());
    let refused = bed.try_open(options.clone()).await.err().unwrap();
    assert!(matches!(refused, ClusterError::NobodyToJoin { .. }), "{refused}");
    // One that stood alone.
    let (node, _) = bed.start().await;
    node.shutdown().await.unwrap();
    let refused = bed.try_open(options).await.err().unwrap();
    assert!(matches!(refused, ClusterError::StoodAlone { .. }), "{refused}");
    // A member that is to stand alone, or to be another.
    let dir = cluster.places[0].bed.dir.path();
    let refused = Identity::found(dir, None, None, None).unwrap_err();
    assert!(matches!(refused, ClusterError::MemberAlready { .. }), "{refused}");
    let bed = Bed::new();
    Identity::found(bed.dir.path(), Some(CLUSTER), Some(NodeId(7)), None).unwrap();
    let refused = bed.try_open(bed.options()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            ClusterError::ShardsDiffer { .. } | ClusterError::MemberAlone { .. }
        ),
        "{refused}"
    );
    let options = cluster.options(&bed, NodeId(2), Vec::new());
    let refused = bed.try_open(options).await.err().unwrap();
    assert!(
        matches!(refused, ClusterError::IdentityDiffers { .. }),
        "{refused}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_hands_everything_over_and_leaves() {
    let mut cluster = Cluster::of(4).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    let gone = NodeId(1);
    cluster.change(async |node| node.drain(gone).await).await;
    cluster
        .until("a drained node", |registry| {
            registry.replicas_of(gone) == 0 && placed(registry, 3)
        })
        .await;
    for group in GROUPS {
        assert_ne!(cluster.leader(group).await.id(), gone);
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster
        .change(async |_| cluster_node(&cluster, NodeId(2)).remove(gone).await)
        .await;
    // It hears of it, and stops.
    let failed = tokio::time::timeout(PATIENCE, cluster.places[0].node().failed()).await;
    assert!(failed.unwrap().contains("was removed"), "it goes on");
    let (node, _) = cluster.places[0].running.take().unwrap();
    let ended = node.shutdown().await.unwrap_err();
    assert!(ended.to_string().contains("was removed"), "{ended}");
    // And is not let in again.
    cluster.places[0].start().await;
    let failed = tokio::time::timeout(PATIENCE, cluster.places[0].node().failed()).await;
    assert!(failed.unwrap().contains("was removed"), "it is let in again");
    let (node, _) = cluster.places[0].running.take().unwrap();
    node.shutdown().await.unwrap_err();
    cluster.propose(GROUPS[1], payload("without it")).await;
    cluster.equal().await;
    cluster.end().await;
}

fn cluster_node(cluster: &Cluster, id: NodeId) -> &Node {
    cluster.running().find(|place| place.id() == id).unwrap().node()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_replaced_when_it_is_removed_by_force() {
    let mut cluster = Cluster::of(4).await;
    cluster.propose(GROUPS[1], payload("before")).await;
    let dead = NodeId(2);
    cluster.place(dead).stop().await;
    let asked = Instant::now();
    let refused = loop {
        match cluster.any().remove(dead).await.unwrap_err() {
            // It may have led the meta group.
            ManageError::Unavailable { reason } => assert!(asked.elapsed() < PATIENCE, "{reason}"),
            ManageError::Refused { reason } => break reason,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(refused.contains("holds"), "{refused}");
    cluster
        .change(async |node| node.remove_by_force(dead, "its disk burnt").await)
        .await;
    cluster
        .until("three replicas without it", |registry| {
            registry.replicas_of(dead) == 0 && placed(registry, 3)
        })
        .await;
    let registry = cluster.any().registry().unwrap();
    let node = registry.node(dead).unwrap();
    assert_eq!(
        (node.state, node.reason.as_str()),
        (NodeState::Removed, "its disk burnt")
    );
    cluster.propose(GROUPS[1], payload("after")).await;
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_balanced_by_transfer() {
    let cluster = Cluster::of(3).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    cluster.change(async |node| node.balance().await).await;
    eventually("one lead a node", || {
        cluster
            .running()
            .all(|place| GROUPS.iter().filter(|group| place.leads(**group)).count() == 1)
    })
    .await;
    for group in GROUPS {
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_are_evened_out_by_themselves_where_the_cluster_is_at_rest() {
    let mut cluster = Cluster::found().await;
    cluster.balance_leads_after = Some(Duration::from_millis(300));
    cluster.place(NodeId(1)).stop().await;
    cluster.place(NodeId(1)).options.balance_leads_after = cluster.balance_leads_after;
    cluster.place(NodeId(1)).start().await;
    let cluster = cluster.grown(3).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    // Nobody asks.
    eventually("one lead a node", || {
        cluster
            .running()
            .all(|place| GROUPS.iter().filter(|group| place.leads(**group)).count() == 1)
    })
    .await;
    for group in GROUPS {
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_in_order_hands_its_leads_over_and_nobody_waits_for_an_election() {
    // An election would come after two minutes, when the test has long failed.
    let mut cluster = Cluster::found_with(120_000).await.grown(3).await;
    for group in GROUPS {
        cluster.propose(group, payload("before")).await;
    }
    let first = cluster.leader(GROUPS[1]).await.id();
    cluster.place(first).stop().await;
    for group in GROUPS {
        assert_ne!(cluster.leader(group).await.id(), first);
        cluster.propose(group, payload("after")).await;
    }
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_although_its_target_and_the_leader_crash_on_the_way() {
    let mut cluster = Cluster::of(4).await;
    let group = GROUPS[2];
    // The fourth gets its share, and nothing moves by itself after that.
    cluster
        .until("an even cluster", |registry| {
            let share = GROUPS.len() * 3 / 4;
            placed(registry, 3) && (1..=4).all(|node| registry.replicas_of(NodeId(node)) >= share)
        })
        .await;
    for n in 0..50 {
        cluster.propose(group, payload(format!("before-{n}"))).await;
    }
    let registry = cluster.any().registry().unwrap();
    let voters = registry.groups()[&group].placed.clone();
    let to = *registry.active().difference(&voters).next().unwrap();
    let leader = cluster.leader(group).await.id();
    let from = *voters.iter().find(|node| **node != leader).unwrap();
    cluster
        .change(async |node| node.move_replica(group, from, to).await)
        .await;
    cluster.place(to).stop().await;
    cluster.place(leader).stop().await;
    cluster.place(leader).start().await;
    cluster.place(to).start().await;
    let expected: BTreeSet<_> = voters
        .iter()
        .copied()
        .filter(|node| *node != from)
        .chain([to])
        .collect();
    cluster
        .until("the moved replica", |registry| {
            registry.groups()[&group].placed == expected && placed(registry, 3)
        })
        .await;
    cluster.propose(group, payload("after")).await;
    cluster.equal().await;
    assert_eq!(cluster.place(to).payloads(group).len(), 51);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_replica_that_only_catches_up_keeps_the_pace() {
    const MIB: usize = 1024 * 1024;
    const ENTRY: usize = 8 * 1024;
    let mut cluster = Cluster::found().await;
    let founder = cluster.place(NodeId(1));
    founder.stop().await;
    founder.options.snapshot_bytes_per_second = 2 * MIB as u64;
    founder.start().await;
    let entries = 8 * MIB / ENTRY;
    let group = cluster.leader(GROUPS[1]).await.node().group(GROUPS[1]).unwrap();
    let proposals = (0..entries).map(|n| {
        let group = group.clone();
        async move { group.propose(Bytes::from(vec![n as u8; ENTRY])).await }
    });
    futures::future::try_join_all(proposals).await.unwrap();
    let begun = Instant::now();
    cluster.join(NodeId(2)).await;
    cluster.settled().await;
    let took = begun.elapsed();
    cluster.equal().await;
    // What it may lack when it counts as having caught up, and what may go at once after a pause, keep no pace.
    let paced = 8 * MIB - 256 * ENTRY - MIB;
    let least = Duration::from_secs_f64(paced as f64 / (2 * MIB) as f64);
    println!("8 MiB of log at 2 MiB/s: {took:.1?}, at least {least:.1?}");
    assert!(took >= least, "{took:?}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_replica_was_moved_away_finds_who_leads_when_the_one_it_knew_is_gone() {
    let mut cluster = Cluster::of(4).await;
    // The fourth gets its share, and nothing moves by itself after that.
    cluster
        .until("an even cluster", |registry| {
            let share = GROUPS.len() * 3 / 4;
            placed(registry, 3) && (1..=4).all(|node| registry.replicas_of(NodeId(node)) >= share)
        })
        .await;
    let group = GROUPS[1];
    let leader = cluster.leader(group).await.id();
    let placement = cluster.any().registry().unwrap().groups()[&group].clone();
    let from = *placement.placed.iter().find(|node| **node != leader).unwrap();
    let nodes = (1..=4).map(NodeId);
    let to = nodes
        .clone()
        .find(|node| !placement.placed.contains(node))
        .unwrap();
    cluster
        .change(async |node| node.move_replica(group, from, to).await)
        .await;
    cluster
        .until("the replica has moved", |registry| {
            let placement = &registry.groups()[&group];
            placement.placed.contains(&to) && !placement.placed.contains(&from)
        })
        .await;
    assert!(!cluster.place(from).node().has_replica(group));
    let leader = cluster.leader(group).await.id();
    cluster.place(leader).stop().await;
    let heir = cluster.leader(group).await.id();
    assert_ne!(heir, leader);
    let asked = Instant::now();
    let away = cluster.place(from).node();
    loop {
        let deadline = Instant::now() + Duration::from_secs(5);
        match away.find_leader(group, deadline).await {
            Leader::Node { node, .. } if node == heir => break,
            found => assert!(asked.elapsed() < PATIENCE, "{found:?} and not {heir}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(away.leader_of(group), Leader::Node { node, .. } if node == heir));
    cluster.place(leader).start().await;
    cluster.end().await;
}
