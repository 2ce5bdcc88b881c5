//! Clusters for tests, on loopback: they form and change while they run, each node on a disk in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{
    ClusterError, GroupId, Identity, Leadership, ManageError, MemberOptions, Node, NodeId, NodeOptions,
    PeerOptions, Registry,
};

use crate::machine::{Bed, Ledgers};
use crate::peers::{Authority, PATIENCE, eventually};

/// What they are called.
pub const CLUSTER: &str = "c1";
/// The meta group and two shards.
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

/// All of it.
pub struct Cluster {
    pub authority: Authority,
    pub places: Vec<Place>,
    /// How long a follower waits for its leader at least, in milliseconds.
    election_ms: u64,
    /// How long it is at rest before its leads are evened out; `None`: they stay.
    pub balance_leads_after: Option<Duration>,
}

impl Cluster {
    /// Nobody yet.
    pub fn empty(election_ms: u64) -> Self {
        Self {
            authority: Authority::new(),
            places: Vec::new(),
            election_ms,
            balance_leads_after: None,
        }
    }

    /// A cluster of one: its founder.
    pub async fn found() -> Self {
        Self::found_with(600).await
    }

    /// One whose followers wait so long for their leader, in milliseconds.
    pub async fn found_with(election_ms: u64) -> Self {
        Self::found_as(election_ms, false).await
    }

    /// One that lets nobody in before it is told to, if it is closed.
    pub async fn found_as(election_ms: u64, closed: bool) -> Self {
        let mut cluster = Self::empty(election_ms);
        let bed = Bed::new();
        Identity::found(bed.dir.path(), Some(CLUSTER), None, Some(2)).unwrap();
        let mut options = cluster.options(&bed, NodeId(1), Vec::new());
        if let Some(member) = &mut options.member {
            member.closed = closed;
        }
        cluster.add(bed, options).await;
        cluster
    }

    /// One of so many nodes.
    pub async fn of(nodes: u64) -> Self {
        Self::found().await.grown(nodes).await
    }

    /// The same, once it has so many nodes.
    pub async fn grown(mut self, nodes: u64) -> Self {
        for id in 2..=nodes {
            self.join(NodeId(id)).await;
        }
        self.settled().await;
        self
    }

    /// How a node of it is opened, which knocks there.
    pub fn options(&self, bed: &Bed, id: NodeId, seeds: Vec<String>) -> NodeOptions {
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

    /// Starts a node.
    pub async fn add(&mut self, bed: Bed, options: NodeOptions) {
        let mut place = Place {
            bed,
            options,
            running: None,
        };
        place.start().await;
        self.places.push(place);
    }

    /// Where a node that joins knocks: at the one that joined last, which need not lead.
    pub fn seed(&self) -> String {
        let there = self.places.iter().rev().find(|place| place.running.is_some());
        there.unwrap().node().peer_address().unwrap().to_string()
    }

    /// Starts a new node, which knocks at the last one.
    pub async fn join(&mut self, id: NodeId) {
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

/// Whether every group has so many replicas, and none is on its way.
pub fn placed(registry: &Registry, replicas: usize) -> bool {
    registry.groups().len() == GROUPS.len()
        && registry
            .groups()
            .values()
            .all(|placement| placement.placed.len() == replicas && !placement.is_moving())
}
