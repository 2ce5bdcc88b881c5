//! Who belongs to the cluster: how a node gets in, how it is found, and how it hears that it is out.
//!
//! ```text
//!  a new node ─ knocks at a seed ─▶ any member ─ "node 3 leads" ─▶ the leader of the meta group: Join, into the registry
//!       │                                                                      │
//!       └─ its identity, everybody's addresses ◀── shards, nodes ──────────────┘
//!  then, like every member at every start: its groups, its registry (a replica of the meta group), and Join again, in case it moved
//! ```
//!
//! - An id is one data directory's, for ever; another that shows up with it is refused by name, and so is a node that was removed.
//! - Two processes on copies of one data directory: whoever comes second is refused, and ends after [`TWICE_MS`].
//! - Addresses come from the registry, and are remembered in a file for the start, when there is no registry yet.

mod ask;
mod enter;
mod remembered;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use ask::ManageError;
pub(crate) use enter::{Standing, enter};
use remembered::Remembered;

use crate::limits::ALIVE_MS;
use crate::peer::{Own, PeerError, Peers};
use crate::progress::Stop;
use crate::registry::{Ask, NodeState, Refusal, SharedRegistry};
use crate::{ClusterError, Group, NodeId, NodeOptions};

/// How a node takes part in a cluster that keeps a registry of its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberOptions {
    /// Where other nodes reach this one, `HOST:PORT`. Default: where it listens.
    pub peer_address: Option<String>,
    /// Where clients reach this node, `HOST:PORT`.
    pub client_address: String,
    /// Peer addresses, `HOST:PORT`, at which the cluster is found by who does not know it yet. A name is looked up at every attempt.
    pub seeds: Vec<String>,
    /// Whether nodes that the cluster has not heard of wait, where this node decides, until [`Node::let_nodes_in`](crate::Node::let_nodes_in):
    /// who founds a cluster finishes that before others vote in it.
    pub closed: bool,
}

/// How long a node that was not heard waits before it says again that it is there, in milliseconds.
const ANNOUNCE_AGAIN_MS: u64 = 500;

/// How often a node says that it is there, in milliseconds. It costs the leader of the meta group one read check; and who was removed
/// while nobody talked to him hears of it.
const ANNOUNCE_EVERY_MS: u64 = 5_000;

/// How often a node looks whether it is still let in, in milliseconds.
const LOOK_MS: u64 = 500;

/// How long a node is told that another process is the same node before it gives up, in milliseconds. More than it takes to find out that
/// the process before it is gone, with its machine.
pub const TWICE_MS: u64 = 15_000;

const _: () = assert!(
    TWICE_MS > 2 * (crate::limits::PEER_KEEPALIVE_MS + crate::limits::PEER_KEEPALIVE_TIMEOUT_MS),
    "who comes back after a power cut is not taken for a copy"
);

/// This node as a member of its cluster.
pub(crate) struct Members {
    own: Arc<Own>,
    peers: Arc<Peers>,
    registry: SharedRegistry,
    meta: Group,
    /// Decisions take turns: each is made on what the one before has left.
    deciding: Mutex<()>,
    /// Whether nodes that are not known have to wait.
    closed: AtomicBool,
    shards: u16,
    founded_at: Option<u32>,
    peer_address: String,
    options: MemberOptions,
    remembered: Remembered,
    stop: Stop,
}

impl Members {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with everything it is made of"
    )]
    pub(crate) fn new(
        options: &NodeOptions,
        member: &MemberOptions,
        own: Arc<Own>,
        peers: Arc<Peers>,
        registry: SharedRegistry,
        meta: Group,
        (shards, founded_at): (u16, Option<u32>),
        peer_address: String,
        stop: Stop,
    ) -> Result<Arc<Self>, ClusterError> {
        let members = Self {
            own,
            peers,
            registry,
            meta,
            deciding: Mutex::new(()),
            closed: AtomicBool::new(member.closed),
            shards,
            founded_at,
            peer_address,
            options: member.clone(),
            remembered: Remembered::new(&options.data_dir),
            stop,
        };
        for (node, address) in members.remembered.read()? {
            members.peers.set_address(node, address);
        }
        members.follow_addresses();
        Ok(Arc::new(members))
    }

    /// This node.
    pub(crate) fn me(&self) -> NodeId {
        self.own.node_id
    }

    pub(crate) fn registry(&self) -> &SharedRegistry {
        &self.registry
    }

    pub(crate) fn let_nodes_in(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }

    /// Whether an ask is one of a node that has to wait until the cluster is founded.
    fn is_early(&self, ask: &Ask) -> bool {
        let closed = self.closed.load(Ordering::Relaxed);
        matches!(ask, Ask::Join { id, .. } if closed && *id != self.me() && self.registry.now().node(*id).is_none())
    }

    /// Whether a data directory may speak as a node.
    pub(crate) fn admit(&self, node: NodeId, instance: &str) -> Result<(), Refusal> {
        self.registry.now().admit(node, instance)
    }

    pub(crate) fn is_removed(&self, node: NodeId) -> bool {
        let registry = self.registry.now();
        registry
            .node(node)
            .is_some_and(|node| node.state == NodeState::Removed)
    }

    /// Whether every other member has been heard of lately.
    pub(crate) fn are_all_alive(&self) -> bool {
        let registry = self.registry.now();
        let mut others = registry.members().map(|(id, _)| id).filter(|id| *id != self.me());
        let lately = Duration::from_millis(ALIVE_MS);
        others.all(|node| {
            let silence = self.peers.links(node).ok().and_then(|links| links.silence());
            silence.is_some_and(|silence| silence < lately)
        })
    }

    /// Says that this node is there, follows who else is, and notices when it is let in no more. Ends with `closing`.
    pub(crate) async fn run(self: Arc<Self>, closing: CancellationToken) {
        tokio::select! {
            () = closing.cancelled() => {}
            ((), (), ()) = async { tokio::join!(self.announce(), self.follow(), self.look_out()) } => {}
        }
    }

    async fn announce(&self) {
        let join = Ask::Join {
            id: self.me(),
            instance: self.own.instance.clone(),
            peer_address: self.peer_address.clone(),
            client_address: self.options.client_address.clone(),
            founded_at: self.founded_at,
        };
        let mut told = String::new();
        loop {
            match self.ask_anybody(&join).await {
                Ok(()) => {
                    told.clear();
                    sleep(Duration::from_millis(ANNOUNCE_EVERY_MS)).await;
                    continue;
                }
                Err(ManageError::Refused { reason }) => {
                    self.stop
                        .fail(ClusterError::NotAdmitted { cause: reason }.to_string().into());
                    return;
                }
                Err(later) => {
                    let now = later.to_string();
                    if told != now {
                        tracing::info!("this node is not announced yet: {now}");
                        told = now;
                    }
                }
            }
            sleep(Duration::from_millis(ANNOUNCE_AGAIN_MS)).await;
        }
    }

    async fn follow(&self) {
        let mut version = self.registry.watch();
        loop {
            self.follow_addresses();
            if self.is_removed(self.me()) {
                let reason = self
                    .registry
                    .now()
                    .node(self.me())
                    .map(|node| node.reason.clone());
                let removed = Refusal::Removed {
                    id: self.me(),
                    reason: reason.unwrap_or_default(),
                };
                self.stop.fail(removed.to_string().into());
                return;
            }
            // The sender is the registry's own, which this holds.
            if version.changed().await.is_err() {
                return;
            }
        }
    }

    fn follow_addresses(&self) {
        let registry = self.registry.now();
        let others: Vec<_> = registry
            .members()
            .filter(|(id, _)| *id != self.me())
            .map(|(id, node)| (id, node.peer_address.clone()))
            .collect();
        for (id, address) in &others {
            self.peers.set_address(*id, address);
        }
        if registry.version() > 0
            && let Err(error) = self.remembered.write(&others)
        {
            // Only the next start would miss it, and finds the seeds.
            tracing::warn!("{error}");
        }
    }

    /// Notices that peers do not let this node in: at once where that is for good, after a while where another process may be gone soon.
    async fn look_out(&self) {
        let mut twice_since: Option<Instant> = None;
        loop {
            sleep(Duration::from_millis(LOOK_MS)).await;
            match self.peers.refusal() {
                Some(PeerError::Expelled { cause }) => {
                    self.stop
                        .fail(ClusterError::NotAdmitted { cause }.to_string().into());
                    return;
                }
                Some(PeerError::Twice { cause }) => {
                    let since = *twice_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= Duration::from_millis(TWICE_MS) {
                        self.stop.fail(cause.into());
                        return;
                    }
                }
                _ => twice_since = None,
            }
        }
    }
}
