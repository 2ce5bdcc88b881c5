//! Three nodes in one process, each on a disk in memory, with what tests of orders need to say what they mean.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use docket_actors::{BeforeDecision, Call, CallError, Docket, Key, NewCustomer, NewItem, Options, Place};
use docket_cluster::{Group, GroupId, Leader, Node, NodeId, PeerOptions, PeerTls, certificate_name, slot_of};
use docket_engine::{Amount, CustomerId, Quantity, Sku};
use docket_persistence::mem::MemDisk;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

const CLUSTER: &str = "c1";
/// How long a test waits for what must come: elections, and looks for what was left half-way.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A node's place: its disk, and the node on it while it runs.
pub(crate) struct Seat {
    dir: TempDir,
    disk: MemDisk,
    options: Options,
    running: Option<(Docket, Node)>,
}

pub(crate) struct Three {
    pub(crate) seats: Vec<Seat>,
}

impl Three {
    pub(crate) async fn open_with(change: impl Fn(&mut Options)) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let mut three = Self { seats: Vec::new() };
        for id in ids {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([certificate_name(CLUSTER, id)]).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let mut options = Options::new(dir.path());
            options.node.shards = Some(4);
            options.node.heartbeat_ms = 100;
            options.node.election_timeout_min_ms = 600;
            options.node.election_timeout_max_ms = 1_200;
            options.node.peers = Some(PeerOptions {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                tls: PeerTls {
                    authority: authority.pem(),
                    certificate: params.signed_by(&key, &authority).unwrap().pem(),
                    key: key.serialize_pem(),
                },
                cluster_id: CLUSTER.to_owned(),
                node_id: id,
                founders: if id == ids[0] { ids.to_vec() } else { Vec::new() },
            });
            change(&mut options);
            three.seats.push(Seat {
                dir,
                disk: MemDisk::new(),
                options,
                running: None,
            });
        }
        for at in 0..3 {
            three.start(at).await;
        }
        for at in 0..three.voters() {
            three.docket(at).ready().await;
        }
        three.spread().await;
        three
    }

    /// How many nodes vote, the first ones: the others have no replica of anything.
    fn voters(&self) -> usize {
        let founders = self.seats[0]
            .options
            .node
            .peers
            .as_ref()
            .map(|peers| peers.founders.len());
        founders.unwrap_or(1)
    }

    /// Has every node lead some groups: the first is voted for by all otherwise.
    async fn spread(&self) {
        let groups: Vec<GroupId> = self.node(0).groups().iter().map(Group::id).collect();
        for (n, id) in groups.into_iter().enumerate() {
            let wanted = n % self.voters();
            let asked = Instant::now();
            while self.node(wanted).leader_of(id) != Leader::Here {
                assert!(asked.elapsed() < PATIENCE, "node {wanted} does not lead {id}");
                for (_, node) in self.running() {
                    if node.leader_of(id) == Leader::Here {
                        let to = self.node(wanted).identity().node_id;
                        node.group(id).unwrap().transfer_lead(to).await.unwrap();
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        for at in 0..self.voters() {
            self.node(at).ready().await;
        }
    }

    pub(crate) async fn start(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        let (store, mark) = (Box::new(seat.disk.store()), Box::new(seat.disk.mark()));
        let mut node = None;
        let docket = Docket::open_with(seat.options.clone(), async |options, machine| {
            let opened = Node::open_with(options, store, mark, machine).await?;
            node = Some(opened.clone());
            Ok(opened)
        });
        let docket = docket.await.unwrap();
        let node = node.unwrap();
        if let Some(peers) = &mut seat.options.node.peers {
            peers.listen = node.peer_address().unwrap();
        }
        seat.running = Some((docket, node));
        let addresses: Vec<_> = self
            .running()
            .map(|(_, node)| (node.identity().node_id, node.peer_address().unwrap()))
            .collect();
        for (_, node) in self.running() {
            for (id, address) in &addresses {
                if *id != node.identity().node_id {
                    node.set_peer_address(*id, *address);
                }
            }
        }
    }

    /// Stops a node as a crash of its machine does: what was not synced may be lost.
    pub(crate) async fn kill(&mut self, at: usize) {
        let (docket, node) = self.seats[at].running.take().unwrap();
        node.shutdown().await.unwrap();
        docket.close(Duration::ZERO).await.unwrap();
        self.seats[at].disk.restart_machine(at as u64);
    }

    /// Takes a node's disk away, with all that is on it. It does not run.
    pub(crate) fn lose_disk(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        assert!(seat.running.is_none());
        seat.disk = MemDisk::new();
        seat.dir = tempfile::tempdir().unwrap();
        seat.options.node.data_dir = seat.dir.path().to_owned();
    }

    fn running(&self) -> impl Iterator<Item = &(Docket, Node)> {
        self.seats.iter().filter_map(|seat| seat.running.as_ref())
    }

    /// Which nodes run.
    pub(crate) fn at(&self) -> Vec<usize> {
        (0..3).filter(|at| self.seats[*at].running.is_some()).collect()
    }

    pub(crate) fn dockets(&self) -> Vec<Docket> {
        self.running().map(|(docket, _)| docket.clone()).collect()
    }

    pub(crate) fn docket(&self, at: usize) -> &Docket {
        &self.seats[at].running.as_ref().unwrap().0
    }

    pub(crate) fn node(&self, at: usize) -> &Node {
        &self.seats[at].running.as_ref().unwrap().1
    }

    /// The group that leads what has this key.
    pub(crate) fn group_of(&self, key: &str) -> GroupId {
        let ring = self.node(0).ring();
        ring.shard_of(slot_of(key.as_bytes())).group()
    }

    /// Which node leads something, once one does.
    pub(crate) async fn leader(&self, key: &Key) -> usize {
        let mut leader = None;
        eventually("a leader", || {
            leader = self.seats.iter().position(|seat| {
                let running = seat.running.as_ref();
                running.is_some_and(|(docket, _)| docket.place_of(key) == Place::Here)
            });
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    pub(crate) async fn customer(&self, id: &str, credit_limit: i64) {
        let new = NewCustomer {
            id: CustomerId::new(id).unwrap(),
            display_name: id.into(),
            currency: "EUR".parse().unwrap(),
            credit_limit: Amount(credit_limit),
        };
        let key = Key::Customer(new.id.clone());
        until_done(&self.dockets(), &key, async |docket| {
            docket
                .create_customer(call(&format!("create-{id}")), new.clone())
                .await
        })
        .await
        .unwrap();
    }

    pub(crate) async fn item(&self, sku: &str, unit_price: i64, on_hand: i64) {
        let new = NewItem {
            sku: Sku::new(sku).unwrap(),
            display_name: sku.into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(unit_price),
            on_hand: Quantity(on_hand),
        };
        let key = Key::Item(new.sku.clone());
        until_done(&self.dockets(), &key, async |docket| {
            docket
                .create_item(call(&format!("create-{sku}")), new.clone())
                .await
        })
        .await
        .unwrap();
    }

    /// What is on hand of an item and reserved of it, as this node tells.
    pub(crate) async fn stock(&self, at: usize, sku: &str) -> (i64, i64) {
        let sku = Sku::new(sku).unwrap();
        let item = until_read(self.docket(at), async |docket| {
            docket.get_item(Call::default(), sku.clone()).await
        });
        let item = item.await.unwrap();
        (item.on_hand.0, item.reserved.0)
    }

    /// A customer's balance and what its orders hold, as this node tells.
    pub(crate) async fn account(&self, at: usize, customer: &str) -> (i64, i64) {
        let id = CustomerId::new(customer).unwrap();
        let customer = until_read(self.docket(at), async |docket| {
            docket.get_customer(Call::default(), id.clone()).await
        });
        let customer = customer.await.unwrap();
        (customer.balance.0, customer.held.0)
    }

    pub(crate) async fn end(mut self) {
        for at in 0..3 {
            if self.seats[at].running.is_some() {
                self.kill(at).await;
            }
            assert!(self.seats[at].dir.path().exists());
        }
    }
}

pub(crate) fn call(request_id: &str) -> Call {
    Call {
        deadline: Some(Instant::now() + Duration::from_secs(10)),
        request_id: Some(request_id.to_owned()),
        ..Call::default()
    }
}

/// Asks who leads until there is an answer that is one.
pub(crate) async fn until_done<T>(
    dockets: &[Docket],
    key: &Key,
    ask: impl AsyncFn(&Docket) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let asked = Instant::now();
    loop {
        for docket in dockets
            .iter()
            .filter(|docket| docket.place_of(key) == Place::Here)
        {
            match ask(docket).await {
                Err(
                    CallError::Unavailable { .. } | CallError::OutcomeUnknown | CallError::DeadlineExceeded,
                ) => {}
                answer => return answer,
            }
        }
        assert!(asked.elapsed() < PATIENCE, "nobody answers about {key:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads at a node until it can be read there.
pub(crate) async fn until_read<T>(
    docket: &Docket,
    read: impl AsyncFn(&Docket) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let asked = Instant::now();
    loop {
        match read(docket).await {
            Err(error @ CallError::Unavailable { .. }) => {
                if asked.elapsed() > PATIENCE {
                    panic!("{error}: {}", groups(docket));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return answer,
        }
    }
}

/// What a node knows of its groups.
fn groups(docket: &Docket) -> String {
    let groups = docket.status().cluster.groups;
    let shown = groups.iter().map(|group| {
        let (id, leadership, term) = (group.id, group.leadership, group.term);
        let (last, committed, applied) = (group.last_log_index, group.committed_index, group.applied_index);
        format!(
            "{id}: {leadership:?} in term {term}, log {last:?}, committed {committed:?}, applied {applied:?}"
        )
    });
    shown.collect::<Vec<_>>().join("; ")
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(asked.elapsed() < PATIENCE, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets a test interfere before decisions.
pub(crate) fn interfering(interfere: impl Fn(&str, &str) + Send + Sync + 'static) -> BeforeDecision {
    BeforeDecision(Arc::new(interfere))
}
