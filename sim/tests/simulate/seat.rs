//! A node's place: the disk that outlives it, and the program that runs on it from each start to the next crash.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use docket_actors::{Docket, Options};
use docket_cluster::{Ground, Node, NodeId, OpenJournal, PeerOptions, PeerTls};
use docket_persistence::{Journal, Stepper, mem::MemDisk};
use docket_soak::Chance;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use crate::{
    net::{PORT, Simulated},
    provider::Provider,
};

/// Nodes of the cluster, all of them voters of every group.
pub const NODES: usize = 3;
/// Shards: enough that an order is one of several groups.
pub const SHARDS: u16 = 3;
pub const CLUSTER: &str = "simulated";
/// The longest that a commit waits before it is written, and its sync takes on a disk that is well, in milliseconds.
const GATHER_MS: u64 = 2;
const SYNC_MS: u64 = 6;

/// What is done at a node, on its own runtime.
type Job = Box<dyn FnOnce(Running) + Send>;

/// A node that runs.
#[derive(Clone)]
pub struct Running {
    pub docket: Docket,
    pub node: Node,
}

pub struct Seat {
    pub at: usize,
    pub disk: MemDisk,
    tls: PeerTls,
    provider: Arc<Provider>,
    seed: u64,
    starts: AtomicU64,
    /// How long a sync takes beyond what it takes on a disk that is well, in milliseconds.
    pub slow_ms: AtomicU64,
    running: Mutex<Option<Running>>,
    door: Mutex<Option<mpsc::UnboundedSender<Job>>>,
}

/// The name of a host.
pub fn name(at: usize) -> String {
    format!("n{}", at + 1)
}

pub fn id(at: usize) -> NodeId {
    NodeId(at as u64 + 1)
}

impl Seat {
    pub fn new(at: usize, seed: u64, tls: PeerTls, provider: &Arc<Provider>) -> Arc<Self> {
        Arc::new(Self {
            at,
            disk: MemDisk::new(),
            tls,
            provider: Arc::clone(provider),
            seed,
            starts: AtomicU64::new(0),
            slow_ms: AtomicU64::new(0),
            running: Mutex::new(None),
            door: Mutex::new(None),
        })
    }

    pub fn running(&self) -> Option<Running> {
        self.running.lock().clone()
    }

    /// The node is gone, and whoever asks it something finds nobody.
    pub fn vacate(&self) {
        *self.door.lock() = None;
        *self.running.lock() = None;
    }

    /// Has something done at the node. `Err` where it was not begun, `Ok(None)` where the node went meanwhile.
    pub async fn run<T, F>(&self, work: impl FnOnce(Running) -> F + Send + 'static) -> Result<Option<T>, Down>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let (tell, heard) = oneshot::channel();
        let job: Job = Box::new(move |running| {
            tokio::spawn(async move {
                // Whoever asked may have given up.
                let _ = tell.send(work(running).await);
            });
        });
        let door = self.door.lock().clone().ok_or(Down)?;
        door.send(job).map_err(|_| Down)?;
        Ok(heard.await.ok())
    }

    /// The node's program, from its start to its crash. It ends only where the node gives up by itself.
    pub async fn live(self: Arc<Self>) -> Result<(), String> {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let chance = Chance::new(self.seed ^ self.at as u64, 1_000 + start);
        let (seat, mut opened) = (Arc::clone(&self), None);
        let docket = Docket::open_with(self.options(), async |options, machine| {
            let journal = options.journal.clone();
            let journal: OpenJournal = Box::new(move |replay| {
                let (store, mark) = (Box::new(seat.disk.store()), Box::new(seat.disk.mark()));
                let (journal, recovery, stepper) = Journal::open_stepped(store, mark, journal, replay)?;
                tokio::spawn(seat.write(stepper, chance));
                Ok((journal, recovery))
            });
            let net = Arc::new(Simulated);
            let ground = Ground {
                journal,
                net: Some(net),
            };
            let node = Node::open_on(options, ground, machine).await?;
            opened = Some(node.clone());
            Ok(node)
        });
        let docket = docket.await.map_err(|error| error.to_string())?;
        let node = opened.ok_or("no node was opened")?;
        for other in (0..NODES).filter(|other| *other != self.at) {
            node.set_peer_address(id(other), format_args!("{}:{PORT}", name(other)));
        }
        let running = Running { docket, node };
        let (door, mut jobs) = mpsc::unbounded_channel::<Job>();
        *self.running.lock() = Some(running.clone());
        *self.door.lock() = Some(door);
        let failed = running.docket.failed();
        tokio::pin!(failed);
        loop {
            tokio::select! {
                biased;
                why = &mut failed => return Err(format!("node {} stopped by itself: {why}", id(self.at))),
                job = jobs.recv() => match job {
                    Some(job) => job(running.clone()),
                    None => return Ok(()),
                },
            }
        }
    }

    /// The disk's side of the journal: what is written may be lost until it is synced, and that takes its time.
    async fn write(self: Arc<Self>, mut stepper: Stepper, mut chance: Chance) {
        while !stepper.has_ended() {
            sleep(Duration::from_millis(1 + chance.below(GATHER_MS))).await;
            if stepper.write() {
                let slow = self.slow_ms.load(Ordering::Relaxed);
                let takes = 1 + chance.below(SYNC_MS) + chance.below(slow + 1);
                sleep(Duration::from_millis(takes)).await;
                stepper.sync();
            }
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::new(PathBuf::from(name(self.at)));
        options.payments = self.provider.options();
        options.node.shards = Some(SHARDS);
        options.node.peers = Some(PeerOptions {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            tls: self.tls.clone(),
            cluster_id: CLUSTER.to_owned(),
            node_id: id(self.at),
            founders: match self.at {
                0 => (0..NODES).map(id).collect(),
                _ => Vec::new(),
            },
        });
        options
    }
}

/// The node does not run.
#[derive(Clone, Copy, Debug)]
pub struct Down;
