//! The start of a node, from its recovered journal to shards that take commands, and its end.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use docket_cluster::{ClusterError, GroupId, Node, NodeOptions, ShardId, TaskKind, clock::wall_clock};
use docket_engine::FraudRules;
use docket_persistence::{
    StoreError,
    archive::{ARCHIVE_DIR, Archive, Keyed},
};
use parking_lot::{Mutex, RwLock};
use ractor::Actor;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Docket, Inner};
use crate::{
    AdmissionLimits, AgingOptions,
    access::{Access, AccessMachine},
    admission::Admission,
    aging,
    archive::OrderArchive,
    backorders,
    chaos::Chaos,
    chores,
    committed::Committed,
    decided::Decided,
    feed::{Feed, FeedLimits},
    machine::{Ids, KnownIds, ShardMachine},
    payments::{self, PaymentOptions, Payments},
    peers::Answering,
    proposer,
    scrub::{self, ScrubOptions, Scrubs},
    shard::{ActorLimits, Router, Shard, ShardParts, Supervisor},
    steering::Steering,
    verify::{self, Verifications, VerifyOptions},
    webhooks::Webhooks,
};

/// How long a stopping node waits for what is recorded behind the last answers.
const RECORDED_WITHIN: Duration = Duration::from_millis(250);
/// How long a stopping node waits for who reads what is stored to let go of it.
const SCRUBBED_WITHIN: Duration = Duration::from_secs(2);
/// How long a stopping node looks between two looks at what is in flight.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// How a node is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory, journal, Raft.
    pub node: NodeOptions,
    /// What may be in flight.
    pub admission: AdmissionLimits,
    /// What may be resident.
    pub actors: ActorLimits,
    /// What is kept of orders' changes.
    pub feed: FeedLimits,
    /// What makes an order so suspect that it is held; `None` where nothing does.
    pub fraud: Option<FraudRules>,
    /// Who moves money beside customers' accounts.
    pub payments: PaymentOptions,
    /// How long orders stay as they are, and in memory.
    pub aging: AgingOptions,
    /// On which engine the archive is; `None` for sled, in the data directory. For tests, which have it lose what was not synced.
    pub archive: Option<ArchiveEngine>,
    /// How its books are verified by itself.
    pub verify: VerifyOptions,
    /// How it reads by itself what it has stored.
    pub scrub: ScrubOptions,
    /// Whether it may be asked to go wrong: for whoever tries a cluster. Default false.
    pub chaos: bool,
    /// Called before an actor decides: for tests of supervision, which make it panic. `None` in every real node.
    pub before_decision: Option<BeforeDecision>,
}

impl Options {
    /// The defaults, in this data directory.
    pub fn new(data_dir: impl Into<std::path::PathBuf>) -> Self {
        Self {
            node: NodeOptions::new(data_dir),
            admission: AdmissionLimits::default(),
            actors: ActorLimits::default(),
            feed: FeedLimits::default(),
            fraud: None,
            payments: PaymentOptions::default(),
            aging: AgingOptions::default(),
            archive: None,
            verify: VerifyOptions::default(),
            scrub: ScrubOptions::default(),
            chaos: false,
            before_decision: None,
        }
    }
}

/// What the archive is on.
#[derive(Clone)]
pub struct ArchiveEngine(pub Arc<dyn Keyed>);

impl std::fmt::Debug for ArchiveEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArchiveEngine")
    }
}

/// Gets the kind of an entity (`order`, `customer`, `item`) and its id; `load` and its id before it is loaded from
/// committed state.
#[derive(Clone)]
pub struct BeforeDecision(pub Arc<Interfere>);

/// What a test does before a decision.
pub type Interfere = dyn Fn(&str, &str) + Send + Sync;

impl std::fmt::Debug for BeforeDecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeDecision")
    }
}

/// Why a node does not open or close.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Journal, snapshots or Raft.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The archive.
    #[error("the archive cannot be opened: {0}")]
    Archive(#[from] StoreError),
    /// A supervisor could not be started.
    #[error("the supervisor of a shard could not be started: {0}")]
    Supervisor(String),
}

impl Docket {
    /// Opens the node: recovers its journal, starts its groups, its shards and their chores. Leaders are elected by and
    /// by: see [`Docket::ready`].
    ///
    /// # Errors
    /// Where the data directory cannot be used; the message says why and what to do.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_with(options, async |options, machine| {
            Node::open(options, machine).await
        })
        .await
    }

    /// Opens the node on a node that `open` makes: for tests that bring their own storage.
    ///
    /// # Errors
    /// As [`Docket::open`].
    pub async fn open_with<F>(options: Options, open: F) -> Result<Self, OpenError>
    where
        F: AsyncFnOnce(
            NodeOptions,
            &dyn Fn(GroupId) -> Arc<dyn docket_cluster::StateMachine>,
        ) -> Result<Node, ClusterError>,
    {
        let ids = Arc::new(Ids::default());
        let meta = AccessMachine::new();
        let clock = options.node.clock.clone();
        let archive = match &options.archive {
            Some(engine) => Archive::new(engine.0.clone()),
            None => {
                let dir = options.node.data_dir.join(ARCHIVE_DIR);
                let keys = options.node.journal.keys.clone();
                let opened = docket_cluster::off_thread(move || Archive::open(&dir, &keys)).await;
                let opened = opened.unwrap_or_else(|error| {
                    Err(StoreError::other(
                        "open",
                        std::path::Path::new(ARCHIVE_DIR),
                        error,
                    ))
                });
                opened?
            }
        };
        let states = Mutex::new(Vec::<(ShardId, Arc<Committed>, Arc<Decided>)>::new());
        let machine = |group: GroupId| -> Arc<dyn docket_cluster::StateMachine> {
            match group.shard() {
                Some(shard) => {
                    let archive = OrderArchive::of(&archive, shard.number(), &ids);
                    let committed = Committed::new(options.feed, archive).on_clock(clock.clone());
                    let committed = Arc::new(committed);
                    let decided = Arc::new(Decided::default());
                    states.lock().push((shard, committed.clone(), decided.clone()));
                    Arc::new(ShardMachine::new(committed, ids.clone(), decided))
                }
                None => Arc::new(meta.clone()),
            }
        };
        let node = open(options.node, &machine).await?;
        let fraud = Arc::new(ArcSwapOption::from_pointee(options.fraud));
        let mut shards = Vec::new();
        let mut tasks = Vec::new();
        for (id, committed, decided) in states.into_inner() {
            let Some(group) = node.shard(id) else { continue };
            let supervisor = Actor::spawn(None, Supervisor, id).await;
            let (supervisor, _) = supervisor.map_err(|error| OpenError::Supervisor(error.to_string()))?;
            let (sender, queue) = mpsc::unbounded_channel();
            let shard = Shard::new(ShardParts {
                id,
                committed,
                group: group.clone(),
                queue: sender,
                supervisor: supervisor.get_cell(),
                limits: options.actors,
                before_decision: options.before_decision.clone(),
                fraud: fraud.clone(),
                flags: meta.flags(),
                decider: random_u64() as u32,
                among_peers: node.has_peers(),
            });
            tasks.push(tokio::spawn(TaskKind::Proposer.measure(proposer::run(
                shard.clone(),
                group,
                decided,
                queue,
            ))));
            tasks.push(tokio::spawn(
                TaskKind::Feed.measure(Feed::dispatch(shard.committed().clone())),
            ));
            shards.push(shard);
        }
        let router = Arc::new(Router::new(node.clone(), shards));
        let answering = Arc::new(Answering::new(&router));
        node.answer_calls(answering.clone());
        for shard in &router.shards {
            shard.set_router(&router);
            tasks.push(tokio::spawn(shard.clone().follow_leadership()));
        }
        let closing = CancellationToken::new();
        let payments = Arc::new(Payments::new(options.payments));
        let admission = Admission::new(options.admission);
        for shard in &router.shards {
            let driver = payments::run(
                shard.clone(),
                payments.clone(),
                admission.clone(),
                closing.clone(),
            );
            tasks.push(tokio::spawn(TaskKind::Payments.measure(driver)));
        }
        let inner = Arc::new(Inner {
            access: Access::new(&meta, node.clone()),
            webhooks: Webhooks::new(&meta, node.clone()),
            chaos: Arc::new(Chaos::new(node.clone(), options.chaos)),
            steering: Steering::new(&meta, node.clone()),
            node,
            ids: KnownIds(ids),
            clock,
            router,
            answering,
            client_addresses: OnceLock::new(),
            admission,
            actors: options.actors,
            feed: options.feed,
            started: wall_clock(),
            closing,
            payments,
            aging: RwLock::new(options.aging),
            archive,
            fraud,
            verifying: Arc::new(Semaphore::new(1)),
            verifications: Verifications::default(),
            verify: watch::Sender::new(options.verify),
            scrubs: Scrubs::new(options.scrub),
            unique: AtomicU64::new(0),
            unique_prefix: random_u64(),
            standby: OnceLock::new(),
            tasks: Mutex::new(tasks),
        });
        let chores = tokio::spawn(TaskKind::Background.measure(chores::run(inner.clone())));
        let aging = tokio::spawn(TaskKind::Background.measure(aging::run(inner.clone())));
        let backorders = tokio::spawn(TaskKind::Background.measure(backorders::run(inner.clone())));
        let verifying = tokio::spawn(TaskKind::Background.measure(verify::run(inner.clone())));
        let scrubbing = tokio::spawn(TaskKind::Background.measure(scrub::run(inner.clone())));
        let tasks = [chores, aging, backorders, verifying, scrubbing];
        inner.tasks.lock().extend(tasks);
        Ok(Self { inner })
    }

    /// How long the journal's last sync took.
    pub fn last_sync(&self) -> Duration {
        self.inner.node.last_sync()
    }

    /// Waits until every shard has a leader and takes commands.
    pub async fn ready(&self) {
        self.inner.node.ready().await;
        if self.inner.node.has_peers() || self.inner.node.leads_nothing_by().is_some() {
            // Led, here or elsewhere.
            return;
        }
        for shard in &self.inner.router.shards {
            shard.led().await;
        }
    }

    /// Resolves with the reason when the node can go on no longer: its journal failed, or a group did.
    pub fn failed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        self.inner.node.failed()
    }

    /// Finishes what is in flight (for at most `grace`), makes everything durable and stops. New commands are refused.
    ///
    /// # Errors
    /// Where the node had failed before, or the journal cannot be closed.
    pub async fn close(&self, grace: Duration) -> Result<(), OpenError> {
        let inner = &self.inner;
        inner.closing.cancel();
        inner.chaos.undo();
        let end = Instant::now() + grace;
        while inner.admission.calls() > 0 && Instant::now() < end {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        // Confirmations that nobody waits for are still to be recorded. Where that takes longer the next start does it.
        let end = end.min(Instant::now() + RECORDED_WITHIN);
        while inner.router.has_open() && Instant::now() < end {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        // It holds files for as long as a piece of them takes.
        inner.scrubs.ended(SCRUBBED_WITHIN).await;
        let closed = inner.node.shutdown().await;
        for shard in &inner.router.shards {
            shard.close();
        }
        let tasks = std::mem::take(&mut *inner.tasks.lock());
        tasks.iter().for_each(JoinHandle::abort);
        inner.archive.close();
        Ok(closed?)
    }
}

/// Random bits of the operating system; where it has none, the time, which only has to differ from process to process.
fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos() as u64
    })
}
