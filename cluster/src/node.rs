//! A node: one journal, the meta group and the shards' groups over it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use docket_persistence::mark::Mark;
use docket_persistence::store::Store;
use docket_persistence::{Failure, Journal, JournalStatus, Recovery, SNAPSHOTS_DIR, SnapshotSizes};
use futures::future::{join_all, try_join_all};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::calling::Found;
use crate::chores::{Chores, Space, Ward, bytes_min_of};
use crate::finalizing::{Agreed, ClusterVersion};
use crate::identity::Identity;
use crate::introduction::{advertised, founders, introduce};
use crate::life::Starter;
use crate::limits::{CORE_QUEUE_MAX, LOG_CACHE_BYTES};
use crate::log::{GroupLog, NodeJournal};
use crate::members::Members;
use crate::off_thread::off_thread;
use crate::peer::net::Net;
use crate::peer::{Answering, Peers, Served, Spools, pulse};
use crate::placement::{self, Controller};
use crate::posture::Hush;
use crate::progress::{Progress, Stop};
use crate::recovery::{OpenJournal, recover};
use crate::registry::{MetaMachine, SharedRegistry};
use crate::replicas::{ReplicaCheck, Replicas};
use crate::sampling::{Sampler, others};
use crate::snapshots::Snapshots;
use crate::standby::{self, Fencing};
use crate::{
    ClusterError, Group, GroupId, GroupStatus, Leadership, NodeId, NodeOptions, Ring, ShardId, StateMachine,
    finalizing, leftovers, noted,
};

/// A running node. Clones are the same node.
///
/// Dropping it does not stop it in order: call [`Node::shutdown`].
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    data_dir: PathBuf,
    identity: Identity,
    ring: Ring,
    groups: Vec<Group>,
    journal: Arc<NodeJournal>,
    snapshots: Arc<Snapshots>,
    disk_reserve_bytes: u64,
    recovery: Recovery,
    stop: Stop,
    failed: watch::Receiver<Option<Arc<str>>>,
    closing: watch::Sender<bool>,
    chores: Mutex<Option<JoinHandle<()>>>,
    /// `None` on a node that stands alone.
    peering: Option<Peering>,
    /// `None` where the cluster keeps no registry of its nodes.
    members: Option<Arc<Members>>,
    /// At which version the cluster is finalised.
    agreed: Agreed,
    /// What it may lead.
    fence: Fencing,
    /// How recently a follower must have answered to count as alive.
    alive: Duration,
}

/// A node that may be gone.
pub(crate) struct WeakNode(Weak<Inner>);

impl WeakNode {
    /// The node, if it is there.
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(|inner| Node { inner })
    }
}

/// What a node stands on.
pub struct Ground {
    /// Opens its journal.
    pub journal: OpenJournal,
    /// Carries what it says to its peers; `None`: TLS over TCP.
    pub net: Option<Arc<dyn Net>>,
}

/// How long a member that stops waits for others to take its leads, in milliseconds.
const HAND_OVER_MS: u64 = 1_000;

/// A node's part in its cluster.
pub(crate) struct Peering {
    pub(crate) peers: Arc<Peers>,
    replicas: Replicas,
    pub(crate) answering: Answering,
    pub(crate) found: Found,
    address: SocketAddr,
    closing: CancellationToken,
    /// The listener's task, and those of membership and placement.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a node is and does.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Whose node it is.
    pub identity: Identity,
    /// The meta group, then the shards' in order.
    pub groups: Vec<GroupStatus>,
    /// The journal's figures.
    pub journal: JournalStatus,
    /// What the stored snapshots weigh.
    pub snapshots: SnapshotSizes,
    /// What was found in the journal when the node was opened.
    pub recovery: Recovery,
    /// Bytes free on the disk, if they are so few that writes are refused.
    pub disk_low: Option<u64>,
    /// At which version its cluster is finalised.
    pub version: ClusterVersion,
    /// Why the node must stop, if it must.
    pub failed: Option<Arc<str>>,
}

impl Node {
    /// Opens the node in its data directory, which is created if need be: reads the journal, restores every group and starts it.
    ///
    /// `machine` is asked once for the state machine of each group, the meta group first, then the shards in order. The groups' leaders
    /// are elected by and by: see [`Node::ready`].
    ///
    /// # Errors
    /// An option is out of range or contradicts the directory, or the directory cannot be read; the message says what to do.
    pub async fn open(
        options: NodeOptions,
        machine: &dyn Fn(GroupId) -> Arc<dyn StateMachine>,
    ) -> Result<Self, ClusterError> {
        let journal = options.journal.clone();
        let journal: OpenJournal = Box::new(|replay| Journal::open(journal, replay));
        Self::open_on(options, Ground { journal, net: None }, machine).await
    }

    /// As [`open`](Self::open), with the journal on another engine; identity and snapshots stay in the data directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        options: NodeOptions,
        store: Box<dyn Store>,
        mark: Box<dyn Mark>,
        machine: &dyn Fn(GroupId) -> Arc<dyn StateMachine>,
    ) -> Result<Self, ClusterError> {
        let journal = options.journal.clone();
        let journal: OpenJournal = Box::new(|replay| Journal::open_with(store, mark, journal, replay));
        Self::open_on(options, Ground { journal, net: None }, machine).await
    }

    /// As [`open`](Self::open), on this journal and this network: for simulations.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_on(
        options: NodeOptions,
        ground: Ground,
        machine: &dyn Fn(GroupId) -> Arc<dyn StateMachine>,
    ) -> Result<Self, ClusterError> {
        options.validate()?;
        let Ground {
            journal: open_journal,
            net,
        } = ground;
        // Before anything is written: a certificate that cannot be used, or an address, is found out here.
        let (identity, peering) = introduce(&options, net).await?;
        let ring = Ring::new(identity.shards).ok_or_else(|| ClusterError::Option {
            option: "shards",
            value: identity.shards.to_string(),
            requirement: "it must be from 1 to 4096",
        })?;
        let snapshots = Snapshots::open(&options.data_dir.join(SNAPSHOTS_DIR), &options.journal.keys)?;
        let (failed_tx, failed) = watch::channel(None);
        let call = Arc::new(Notify::new());
        let registry = SharedRegistry::new();
        let agreed = Agreed::new(&options, &identity, &registry);
        let registry_of = registry.clone();
        let mut parts = Vec::new();
        let mut appliers = Vec::new();
        for id in group_ids(ring) {
            let progress = Arc::new(Progress::new(
                id,
                identity.node_id.0,
                Arc::clone(&call),
                bytes_min_of(id, options.snapshot_bytes_min),
            ));
            let above = machine(id);
            let machine: Arc<dyn StateMachine> = match id {
                GroupId::META => Arc::new(MetaMachine::new(
                    registry.clone(),
                    above,
                    options.peer_versions.newest,
                )),
                _ => above,
            };
            let stop = Stop::new(failed_tx.clone());
            appliers.push(Applier::new(
                Arc::clone(&machine),
                Arc::clone(&progress),
                Arc::clone(&snapshots),
                stop.clone(),
            ));
            parts.push((progress, machine, stop));
        }

        let cache_bytes_max = LOG_CACHE_BYTES / parts.len();
        let stored = Arc::clone(&snapshots);
        let recovering = off_thread(move || recover(appliers, cache_bytes_max, &stored, open_journal, &[]));
        let (journal, recovery, recovered) = recovering.await.map_err(|error| ClusterError::Group {
            group: GroupId::META,
            cause: format!("recovery panicked: {error}"),
        })??;
        let hush = Hush::new(standby::at_start(&options, &registry.now()));
        let journal = Arc::new(NodeJournal::new(journal));
        let node_stop = Stop::new(failed_tx);
        let tell = node_stop.clone();
        journal.journal.on_failure(Box::new(move |failure: Failure| {
            tell.fail(failure.to_string().into())
        }));

        let of_groups = hush.clone();
        let starts = parts
            .into_iter()
            .zip(recovered)
            .map(|((progress, machine, stop), recovered)| {
                let hush = of_groups.clone();
                let log = GroupLog::new(Arc::clone(&journal), Arc::clone(&progress), recovered.index);
                let applier = recovered.applier;
                let newest_snapshot = applier.snapshot_next().checked_sub(1);
                let starter = Starter {
                    config: config(&options, progress.group),
                    founders: founders(&options, &identity),
                    peers: peering.as_ref().map(|(peers, _)| Arc::clone(peers)),
                    progress,
                    machine: Arc::clone(&machine),
                    snapshots: Arc::clone(&snapshots),
                    stop,
                    leadership: watch::Sender::new(Leadership::Follower { leader: None }),
                    hush,
                };
                async move {
                    let id = starter.progress.group;
                    // Of a drop that was interrupted the rest has been done by now.
                    log.note_dropped().await.map_err(|error| ClusterError::Group {
                        group: id,
                        cause: error.to_string(),
                    })?;
                    let group = Group::start(starter, log.clone(), applier).await?;
                    Ok::<_, ClusterError>(Ward::new(group, log, machine, newest_snapshot))
                }
            });
        let wards = match try_join_all(starts).await {
            Ok(wards) => wards,
            Err(error) => {
                // The directory is let go, so that it can be looked at or opened again.
                snapshots.close();
                journal.journal.close();
                return Err(error);
            }
        };
        let groups: Vec<_> = wards.iter().map(|ward| ward.group.clone()).collect();
        let mut members = None;
        if let (Some(member), Some((peers, listener))) = (&options.member, &peering) {
            let address = advertised(member, listener);
            let (own, meta) = (peers.own(), groups[0].clone());
            let (peers, shards) = (Arc::clone(peers), (identity.shards, identity.founded_at));
            let stop = node_stop.clone();
            members = Some(Members::new(
                &options, member, own, peers, registry, meta, shards, address, stop,
            )?);
        }
        let peering = peering.map(|(peers, listener)| {
            let (address, closing) = (listener.address(), CancellationToken::new());
            let answering = Answering::default();
            let found = Found::default();
            let spools = Arc::new(Spools::new(&options.data_dir, options.journal.keys.clone()));
            let served = Served::new(
                peers.own(),
                &groups,
                Arc::clone(&journal),
                Arc::clone(&spools),
                members.clone(),
                answering.clone(),
            );
            let of_disk = Arc::clone(&journal);
            let low = move || of_disk.disk_low().is_some();
            let mut tasks = vec![
                tokio::spawn(listener.serve(served, closing.clone())),
                tokio::spawn(spools.tidy(low, closing.clone())),
            ];
            if let Some(members) = &members {
                let controller = Controller::new(Arc::clone(members), groups.clone(), &options);
                tasks.push(tokio::spawn(controller.run(closing.clone())));
                tasks.push(tokio::spawn(Arc::clone(members).run(closing.clone())));
            }
            let replicas = Replicas::new(Arc::clone(&peers), &groups);
            tasks.push(tokio::spawn(replicas.clone().run(closing.clone())));
            let sampler = Sampler::new(Arc::clone(&peers), groups.clone(), members.clone());
            tasks.push(tokio::spawn(sampler.run(closing.clone())));
            let (of_pulse, of_members) = (Arc::clone(&peers), members.clone());
            let others = move || others(&of_pulse, of_members.as_deref());
            tasks.push(tokio::spawn(pulse(Arc::clone(&peers), others, closing.clone())));
            Peering {
                peers,
                replicas,
                answering,
                found,
                address,
                closing,
                tasks: Mutex::new(tasks),
            }
        });
        let fence = Fencing::new(hush.clone(), registry_of.clone(), groups.clone());
        let (closing, closing_rx) = watch::channel(false);
        let (leave, leaves) = leftovers::queue();
        let chores = Chores {
            groups: wards,
            journal: Arc::clone(&journal),
            snapshots: Arc::clone(&snapshots),
            space: Space::new(options.journal.disk_reserve_bytes),
            call,
            leaves,
            closing: closing_rx,
        };
        let chores = Mutex::new(Some(tokio::spawn(chores.run())));
        let inner = Inner {
            data_dir: options.data_dir.clone(),
            identity,
            ring,
            groups,
            journal,
            snapshots,
            disk_reserve_bytes: options.journal.disk_reserve_bytes,
            recovery,
            stop: node_stop,
            failed,
            closing,
            chores,
            peering,
            members,
            agreed,
            fence,
            alive: Duration::from_millis(options.election_timeout_min_ms),
        };
        let node = Self {
            inner: Arc::new(inner),
        };
        if options.auto_finalize {
            tokio::spawn(finalizing::by_itself(node.downgrade()));
        }
        if let Some(peering) = node.peering().filter(|_| node.members().is_some()) {
            let dropping = leftovers::run(node.downgrade(), leave, peering.closing.clone());
            peering.tasks.lock().push(tokio::spawn(dropping));
        }
        Ok(node)
    }

    /// What it keeps, and where.
    pub(crate) fn storage(&self) -> (&NodeJournal, &Snapshots, &std::path::Path) {
        (&self.inner.journal, &self.inner.snapshots, &self.inner.data_dir)
    }

    fn downgrade(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.inner))
    }

    /// The meta group: nodes, placement, accounts, keys, settings.
    pub fn meta(&self) -> Group {
        self.inner.groups[0].clone()
    }

    /// The group of a shard; `None` if the cluster has no such shard.
    pub fn shard(&self, shard: ShardId) -> Option<Group> {
        self.group(shard.group())
    }

    /// The group of this name, if this node has it.
    pub fn group(&self, id: GroupId) -> Option<Group> {
        self.inner.groups.get(id.0 as usize).cloned()
    }

    /// Every group: the meta group, then the shards' in order.
    pub fn groups(&self) -> &[Group] {
        &self.inner.groups
    }

    /// Which shard owns which slots.
    pub fn ring(&self) -> Ring {
        self.inner.ring
    }

    /// Whose node this is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// Where peers connect; `None` on a node that stands alone.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.inner.peering.as_ref().map(|peering| peering.address)
    }

    /// Where another node of the cluster is connected to, `HOST:PORT`; `None` where that is not known, or this one stands alone.
    pub fn address_of(&self, node: NodeId) -> Option<Arc<str>> {
        self.inner.peering.as_ref()?.peers.address_of(node)
    }

    /// Says where another node of the cluster is, or has moved to: `HOST:PORT`, looked up at every connection. On a node that stands
    /// alone it changes nothing.
    pub fn set_peer_address(&self, node: NodeId, address: impl fmt::Display) {
        if let Some(peering) = &self.inner.peering {
            peering.peers.set_address(node, address);
        }
    }

    /// Compares the state of every group that this node leads with its followers' now, as it does every
    /// [`COMPARE_EVERY_MS`](crate::limits::COMPARE_EVERY_MS); replicas that are outvoted stop. Empty on a node that stands alone.
    pub async fn compare_replicas(&self) -> Vec<ReplicaCheck> {
        match &self.inner.peering {
            Some(peering) => peering.replicas.compare().await,
            None => Vec::new(),
        }
    }

    pub(crate) fn peering(&self) -> Option<&Peering> {
        self.inner.peering.as_ref()
    }

    /// `None` where the cluster keeps no registry of its nodes.
    pub(crate) fn members(&self) -> Option<&Arc<Members>> {
        self.inner.members.as_ref()
    }

    /// Leaves behind, for whoever replays the journal, what was made of it here.
    async fn note_digests(&self) {
        let groups = self.inner.groups.iter();
        let marks: Vec<_> = groups
            .map(|group| (group.id(), group.progress().marks.all()))
            .collect();
        let dir = self.inner.data_dir.clone();
        // Nothing is lost without it but what a replay could be held against.
        match off_thread(move || noted::write(&dir, &marks)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => tracing::warn!(%error, "the digests of the states were not noted"),
        }
    }

    /// Gives the leads of this node to others that are ready for them, for at most `limit`. What nobody can take stays.
    async fn hand_over(&self, limit: Duration) {
        let me = self.inner.identity.node_id;
        let handed = self.inner.groups.iter().map(|group| async move {
            if placement::leads(group) && placement::hand_over(group, me, self.inner.alive).await {
                let mut leadership = group.leadership();
                // An error means that the group has ended.
                let _ = leadership
                    .wait_for(|now| !matches!(now, Leadership::Leader { .. }))
                    .await;
            }
        });
        // What takes longer is decided by an election.
        let _ = tokio::time::timeout(limit, join_all(handed)).await;
    }

    /// Waits until the node cannot go on, and says why: a write or sync failed, or a group's core died. The program must exit then.
    /// Never ready if the node is shut down in order.
    pub fn failed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        let mut failed = self.inner.failed.clone();
        async move {
            match failed
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|reason| reason.clone())
            {
                Some(reason) => reason,
                // The node is gone, in order.
                None => std::future::pending().await,
            }
        }
    }

    /// Bytes free on the disk, if they are so few that new writes are to be refused. Cheap. Proposals are still taken: what was
    /// begun can be finished in the reserve.
    pub fn disk_low(&self) -> Option<u64> {
        self.inner.journal.disk_low()
    }

    /// Bytes free on the disk, if no more than a quarter of the reserve is left: then even what lets clients go on reading is to be
    /// refused. Cheap.
    pub fn disk_nearly_full(&self) -> Option<u64> {
        self.disk_low()
            .filter(|free_bytes| *free_bytes <= self.inner.disk_reserve_bytes / 4)
    }

    /// How long the journal's last sync took. Cheap.
    pub fn last_sync(&self) -> Duration {
        self.inner.journal.journal.last_sync()
    }

    /// Sets the gauges of the disk.
    pub(crate) fn measure_disk(&self) {
        self.inner.journal.journal.measure_disk();
    }

    /// What it may lead.
    pub(crate) fn fencing(&self) -> &Fencing {
        &self.inner.fence
    }

    pub(crate) fn hush(&self) -> &Hush {
        self.inner.fence.hush()
    }

    /// At which version the cluster is finalised.
    pub(crate) fn agreed(&self) -> &Agreed {
        &self.inner.agreed
    }

    /// What the node is and does now.
    pub fn status(&self) -> NodeStatus {
        let inner = &*self.inner;
        NodeStatus {
            identity: inner.identity.clone(),
            groups: inner.groups.iter().map(Group::status).collect(),
            journal: inner.journal.journal.status(),
            snapshots: inner.snapshots.sizes(),
            recovery: inner.recovery.clone(),
            disk_low: inner.journal.disk_low(),
            version: self.cluster_version(),
            failed: inner.failed.borrow().clone(),
        }
    }

    /// Stops every group, makes durable what was written and closes the journal. Proposals that still wait are answered
    /// [`ProposeError::Stopped`](crate::ProposeError::Stopped); let them finish first. Shutting down twice is harmless.
    ///
    /// A member of a cluster first gives its leads to others that are ready for them, so that nobody has to wait for elections.
    ///
    /// # Errors
    /// The node had failed before, or a part of it ended badly.
    pub async fn shutdown(&self) -> Result<(), ClusterError> {
        let inner = &*self.inner;
        let runs = inner.failed.borrow().is_none() && !*inner.closing.borrow();
        if inner.members.is_some() && runs {
            self.hand_over(Duration::from_millis(HAND_OVER_MS)).await;
        }
        inner.stop.close();
        for group in &inner.groups {
            group.close();
        }
        inner.closing.send_replace(true);
        if let Some(peering) = &inner.peering {
            peering.closing.cancel();
            let tasks = std::mem::take(&mut *peering.tasks.lock());
            // A panic there has cost the peers' connections, or a step of placement, which end now anyway.
            join_all(tasks).await;
        }
        let chores = inner.chores.lock().take();
        if let Some(chores) = chores {
            // A panic there has cost a snapshot at most.
            let _ = chores.await;
        }
        join_all(inner.groups.iter().map(Group::shutdown)).await;
        if let Some(peering) = &inner.peering {
            peering.peers.close();
        }
        if runs {
            self.note_digests().await;
        }
        inner.snapshots.close();
        let journal = inner.journal.journal.clone();
        let closed = off_thread(move || journal.close()).await;
        let failed = inner
            .failed
            .borrow()
            .clone()
            .or(closed.err().map(|error| error.to_string().into()));
        match failed {
            Some(reason) => Err(ClusterError::Failed { reason }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}

/// The groups of a node, by their numbers from 0.
pub(crate) fn group_ids(ring: Ring) -> impl Iterator<Item = GroupId> {
    std::iter::once(GroupId::META).chain(ring.shard_ids().map(ShardId::group))
}

fn config(options: &NodeOptions, group: GroupId) -> Config {
    Config {
        cluster_name: group.to_string(),
        heartbeat_interval: options.heartbeat_ms,
        heartbeat_min_interval: Some(options.heartbeat_ms),
        election_timeout_min: options.election_timeout_min_ms,
        election_timeout_max: options.election_timeout_max_ms,
        enable_pre_vote: Some(true),
        // A new term with every start: what an earlier life of this node sent out and did not make durable cannot be taken for the new
        // life's.
        enable_leader_restore: Some(false),
        // The chores decide, by bytes, when a snapshot is due and how far the log is purged.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        api_channel_size: Some(CORE_QUEUE_MAX as u64),
        ..Config::default()
    }
}
