//! The lives of a group's Raft core: one, unless the replica is moved away, which ends it; the next begins empty.
//!
//! A replica that comes back under the id of one that was dropped must not be taken for that one. It has the vote of the old one, which
//! is never forgotten. But the old one also refused its vote to whoever had less of the log than itself, and the entries that it had
//! helped to commit rest on that. So as long as the new log is shorter than the old one was (its *floor*), it does here:
//!
//! - no vote for a candidate whose log is shorter than that (`peer/service.rs`);
//! - no election of its own: old entries may name it a voter, the only one even.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, Raft};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::apply::Applier;
use crate::log::GroupLog;
use crate::machine::StateMachine;
use crate::network::Network;
use crate::peer::Peers;
use crate::posture::Hush;
use crate::progress::{Progress, Stop};
use crate::raft::TypeConfig;
use crate::reads::ReadChecks;
use crate::snapshots::Snapshots;
use crate::{ClusterError, Leadership, leadership};

/// A core that runs, or has ended.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) raft: Raft<TypeConfig, Applier>,
    pub(crate) reads: ReadChecks,
    /// It has ended because it should.
    ended: Arc<AtomicBool>,
    following: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Life {
    /// Whether it has ended, since the replica is moved away.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends it, and waits until nothing of it goes on.
    pub(crate) async fn end(&self, progress: &Progress) {
        self.ended.store(true, Ordering::SeqCst);
        // It answers no error.
        let _ = self.raft.shutdown().await;
        progress.no_applier().await;
        let following = self.following.lock().take();
        if let Some(following) = following {
            // A panic there is one less who tells of the leader.
            let _ = following.await;
        }
    }
}

/// What a group's core is begun with.
pub(crate) struct Starter {
    pub(crate) config: Config,
    /// The voters of a new group; empty where it waits for a leader of others.
    pub(crate) founders: BTreeSet<u64>,
    /// `None` on a node that stands alone.
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) stop: Stop,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) hush: Hush,
}

impl Starter {
    /// An applier for a replica that begins anew.
    pub(crate) fn applier(&self) -> Applier {
        Applier::new(
            Arc::clone(&self.machine),
            Arc::clone(&self.progress),
            Arc::clone(&self.snapshots),
            self.stop.clone(),
        )
    }

    /// Begins a life with this log and this state.
    ///
    /// # Errors
    /// [`ClusterError::Group`].
    pub(crate) async fn start(&self, log: &GroupLog, applier: Applier) -> Result<Life, ClusterError> {
        let progress = &self.progress;
        let failed = |error: &dyn Display| ClusterError::Group {
            group: progress.group,
            cause: error.to_string(),
        };
        let below_floor = log.floor().is_some();
        let follows = self.hush.is_standby();
        let config = Config {
            enable_elect: !below_floor && !follows,
            ..self.config.clone()
        };
        let config = config.validate().map_err(|error| failed(&error))?;
        let pristine = log.is_pristine() && applier.applied().is_none();
        let network = Network {
            progress: Arc::clone(progress),
            peers: self.peers.clone(),
            machine: Arc::clone(&self.machine),
        };
        let raft: Raft<TypeConfig, Applier> =
            Raft::new(progress.node(), Arc::new(config), network, log.clone(), applier)
                .await
                .map_err(|error| failed(&error))?;
        let ended = Arc::new(AtomicBool::new(false));
        let following = leadership::follow(
            &raft,
            Arc::clone(progress),
            self.leadership.clone(),
            (Arc::clone(&ended), self.hush.clone()),
            self.stop.clone(),
        );
        // Who has left a group that he founded does not found it again.
        let waits = pristine && (self.founders.is_empty() || log.was_dropped() || follows);
        if pristine && !waits {
            raft.initialize(self.founders.clone())
                .await
                .map_err(|error| failed(&error))?;
        }
        if follows {
            // It is told to stand once it is promoted.
        } else if below_floor {
            tokio::spawn(elect_above_floor(raft.clone(), log.clone()));
        } else if !waits {
            // Alone there is nobody to wait for; among others the vote decides.
            raft.trigger()
                .elect(!progress.votes_alone())
                .await
                .map_err(|error| failed(&error))?;
        }
        let reads = ReadChecks::start(raft.clone(), self.stop.clone());
        Ok(Life {
            raft,
            reads,
            ended,
            following: Arc::new(Mutex::new(Some(following))),
        })
    }
}

/// Lets a core stand for election as soon as its log is as long as the one that was dropped. Ends with the core.
async fn elect_above_floor(raft: Raft<TypeConfig, Applier>, log: GroupLog) {
    let mut changes = raft.metrics();
    while log.floor().is_some() {
        if changes.changed().await.is_err() {
            return;
        }
    }
    raft.runtime_config().elect(true);
}
