//! Three nodes on loopback, each on a disk in memory: what a quorum has acknowledged stays.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{
    Group, GroupId, Leadership, Node, NodeId, NodeOptions, PROTOCOL_VERSION, PeerOptions, PeerTls, Versions,
    certificate_name,
};
use docket_persistence::mem::MemDisk;
use docket_persistence::{Journal, JournalOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::machine::{Bed, Ledger, Ledgers, payload};

const CLUSTER: &str = "c1";
pub const GROUP: GroupId = GroupId(1);
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn issue(&self, node: NodeId) -> PeerTls {
        self.issue_for(CLUSTER, node)
    }

    pub fn issue_for(&self, cluster: &str, node: NodeId) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([certificate_name(cluster, node)]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        PeerTls {
            authority: self.0.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// One place in the cluster: its disk, and the node on it while it runs.
pub struct Place {
    bed: Bed,
    pub options: NodeOptions,
    running: Option<(Node, Ledgers)>,
    /// Where the others believe that it is, if that is not where it is.
    pub via: Option<SocketAddr>,
}

impl Place {
    pub fn node(&self) -> &Node {
        &self.running.as_ref().unwrap().0
    }

    pub fn group(&self) -> Group {
        self.node().group(GROUP).unwrap()
    }

    pub fn payloads(&self) -> Vec<Bytes> {
        self.running.as_ref().unwrap().1.of(GROUP).state().payloads
    }

    pub fn ledger(&self) -> Arc<Ledger> {
        self.running.as_ref().unwrap().1.of(GROUP)
    }

    fn leads(&self) -> bool {
        let leads = |(node, _): &(Node, _)| {
            let leadership = *node.group(GROUP).unwrap().leadership().borrow();
            matches!(leadership, Leadership::Leader { .. })
        };
        self.running.as_ref().is_some_and(leads)
    }
}

pub struct Three(pub Vec<Place>);

impl Three {
    pub async fn form(change: impl Fn(&mut NodeOptions)) -> Self {
        let authority = Authority::new();
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let mut places = Vec::new();
        for id in ids {
            let bed = Bed::new();
            let mut options = NodeOptions {
                shards: Some(1),
                heartbeat_ms: 100,
                election_timeout_min_ms: 600,
                election_timeout_max_ms: 1_200,
                peers: Some(PeerOptions {
                    listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                    tls: authority.issue(id),
                    cluster_id: CLUSTER.to_owned(),
                    node_id: id,
                    founders: if id == ids[0] { ids.to_vec() } else { Vec::new() },
                }),
                ..bed.options()
            };
            change(&mut options);
            places.push(Place {
                bed,
                options,
                running: None,
                via: None,
            });
        }
        let mut three = Self(places);
        for at in 0..3 {
            three.start(at).await;
        }
        three
    }

    pub async fn start(&mut self, at: usize) {
        let place = &mut self.0[at];
        let running = place.bed.open(place.options.clone()).await;
        let address = running.0.peer_address().unwrap();
        if let Some(peers) = &mut place.options.peers {
            peers.listen = address;
        }
        place.running = Some(running);
        let addresses: Vec<_> = (1..)
            .zip(&self.0)
            .filter_map(|(id, place)| {
                let own = place.running.as_ref()?.0.peer_address()?;
                Some((NodeId(id), place.via.unwrap_or(own)))
            })
            .collect();
        for (node, _) in self.0.iter().filter_map(|place| place.running.as_ref()) {
            for (id, address) in &addresses {
                if *id != node.identity().node_id {
                    node.set_peer_address(*id, *address);
                }
            }
        }
    }

    /// Stops a node, and its machine with it: what was not synced may be lost.
    pub async fn stop(&mut self, at: usize) {
        let (node, _) = self.0[at].running.take().unwrap();
        let failed = node.status().failed.is_some();
        assert_eq!(node.shutdown().await.is_err(), failed, "it ends as it was");
        self.0[at].bed.disk.restart_machine(at as u64);
    }

    pub async fn leader(&self) -> usize {
        let mut leader = None;
        eventually("a leader", || {
            leader = self.0.iter().position(Place::leads);
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// Proposes where the lead is until it is acknowledged.
    pub async fn propose(&self, payload: Bytes) {
        let asked = Instant::now();
        loop {
            let leader = self.leader().await;
            match self.0[leader].group().propose(payload.clone()).await {
                Ok(_) => return,
                Err(error) => assert!(asked.elapsed() < PATIENCE, "{error}"),
            }
        }
    }

    pub async fn equal(&self) {
        let leader = self.leader().await;
        let expected = self.0[leader].payloads();
        for place in self.0.iter().filter(|place| place.running.is_some()) {
            eventually("equal replicas", || place.payloads() == expected).await;
        }
    }

    pub async fn end(mut self) {
        for at in 0..3 {
            if self.0[at].running.is_some() {
                self.stop(at).await;
            }
        }
    }
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < PATIENCE, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the journal would hold the payload if the power failed now.
fn holds_synced(disk: &MemDisk, payload: &Bytes) -> bool {
    let (disk, dir) = (disk.fork(), tempfile::tempdir().unwrap());
    disk.restart_machine(7);
    let mut found = false;
    let opened = Journal::open_with(
        Box::new(disk.store()),
        Box::new(disk.mark()),
        JournalOptions::new(dir.path()),
        &mut |_, record: &[u8]| found |= record.ends_with(payload),
    );
    opened.unwrap().0.close();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_synced_on_a_quorum_and_reaches_all() {
    let three = Three::form(|_| {}).await;
    for n in 0..20 {
        let payload = payload(format!("entry-number-{n:04}"));
        three.propose(payload.clone()).await;
        let synced = three
            .0
            .iter()
            .filter(|place| holds_synced(&place.bed.disk, &payload));
        assert!(synced.count() >= 2, "{n} is synced on less than a quorum");
    }
    three.equal().await;
    let leader = three.leader().await;
    let status = three.0[leader].group().status();
    assert_eq!(status.voters, [NodeId(1), NodeId(2), NodeId(3)]);
    three.0[leader].group().read_barrier().await.unwrap();
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_neighbouring_versions_are_one_cluster() {
    // As in the middle of an upgrade, and one that is two versions ahead.
    let three = Three::form(|options| {
        let node = options.peers.as_ref().unwrap().node_id;
        options.peer_versions = match node.0 {
            1 => Versions::default(),
            2 => Versions {
                newest: PROTOCOL_VERSION + 1,
                ..Versions::default()
            },
            _ => Versions {
                oldest: PROTOCOL_VERSION + 2,
                newest: PROTOCOL_VERSION + 3,
            },
        };
    })
    .await;
    let texts = [payload("one"), payload("two")];
    for text in &texts {
        three.propose(text.clone()).await;
    }
    assert_ne!(three.leader().await, 2, "nobody speaks with it");
    for place in &three.0[..2] {
        eventually("equal replicas", || place.payloads() == texts).await;
    }
    assert_eq!(three.0[2].payloads(), [] as [Bytes; 0]);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_acknowledged_and_with_it_again_all_goes_on() {
    let mut three = Three::form(|_| {}).await;
    three.propose(payload("before")).await;
    let leader = three.leader().await;
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    for at in &others {
        three.stop(*at).await;
    }
    let lonely = payload("alone");
    let (disk, asked) = (three.0[leader].bed.disk.clone(), lonely.clone());
    let pending = three.0[leader].group().submit(lonely.clone()).await.unwrap();
    eventually("the leader's own sync", || holds_synced(&disk, &asked)).await;
    let waiting = tokio::time::timeout(Duration::from_millis(300), pending).await;
    assert!(
        !matches!(waiting, Ok(Ok(_))),
        "acknowledged by one of three: {waiting:?}"
    );
    three.start(others[0]).await;
    three.propose(payload("after")).await;
    three.start(others[1]).await;
    three.equal().await;
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut three = Three::form(|_| {}).await;
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        for n in 0..50 {
            let payload = payload(format!("{round}-{n}"));
            three.propose(payload.clone()).await;
            acknowledged.push(payload);
        }
        let leader = three.leader().await;
        three.stop(leader).await;
        three.propose(payload(format!("{round}-without"))).await;
        let there: BTreeSet<_> = three.0[three.leader().await].payloads().into_iter().collect();
        assert!(
            acknowledged.iter().all(|payload| there.contains(payload)),
            "lost with the leader"
        );
        // It was away, and catches up from the log.
        three.start(leader).await;
        three.equal().await;
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_for_long_catches_up_by_snapshot() {
    let mut three = Three::form(|options| options.snapshot_bytes_min = 16 * 1024).await;
    three.propose(payload("before")).await;
    let leader = three.leader().await;
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
    three.stop(follower).await;
    let behind = three.0[leader].group().status().last_log_index.unwrap();
    let mut snapshots = BTreeSet::new();
    let asked = Instant::now();
    // With the second snapshot the log is purged up to the first; a third is not begun before that.
    while snapshots.len() < 3 {
        assert!(asked.elapsed() < PATIENCE, "only the snapshots {snapshots:?}");
        three.propose(Bytes::from(vec![1; 1024])).await;
        let now = three.0[other].group().status().snapshot_index;
        snapshots.extend(now.filter(|index| *index > behind));
    }
    let ledger = |three: &Three, at: usize| three.0[at].running.as_ref().unwrap().1.of(GROUP);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    ledger(&three, other).aside.store(1, relaxed);
    // A leader keeps what a follower that is away has not got; the other follower does not, and leads now.
    three.stop(leader).await;
    three.start(follower).await;
    three.equal().await;
    let place = &three.0[follower];
    // It was asked what it keeps aside, which is not sent and of which no log will tell any more.
    let synced = ledger(&three, follower).asides_synced.load(relaxed);
    assert!(synced > 0, "it said what it has, durable or not");
    let applied = ledger(&three, follower).applied.load(relaxed);
    assert!(
        applied < place.payloads().len() as u64,
        "{applied} applied one by one: there was no snapshot"
    );
    three.propose(payload("after")).await;
    three.start(leader).await;
    three.equal().await;
    // And it opens again from what it was sent.
    three.stop(follower).await;
    three.start(follower).await;
    three.equal().await;
    three.end().await;
}
