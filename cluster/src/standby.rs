//! A node's part in what its cluster is to another one: who follows it, whether it was fenced, and what it may lead by that.
//!
//! What the registry says is durable and agreed. Each node goes by it as soon as it has applied it: it leads nothing any more, lets in no further proposal, waits until none is on its
//! way, and only then says that it is *drained*. Once all nodes of a cluster say so, nothing is acknowledged there any more.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use tokio_util::task::AbortOnDropHandle;

use crate::posture::Hush;
use crate::registry::{Ask, FIRST_EPOCH, Fence, RegisteredStandby, Registry, STANDBY_SINCE, SharedRegistry};
use crate::{Group, ManageError, Node, NodeOptions, Posture};

/// Why something about standbys is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StandbyError {
    /// Another standby is registered.
    #[error(
        "the cluster has a standby already (at {address}), and of two only one could take its place: `docket standby forget` lets it \
         have another"
    )]
    Taken {
        /// Where the other is.
        address: String,
    },
    /// The cluster was fenced.
    #[error("the cluster was fenced: its standby at {by} has taken its place, in epoch {epoch}")]
    Fenced {
        /// The epoch that began with that.
        epoch: u64,
        /// Where the new primary is.
        by: String,
    },
    /// It is not the standby that is registered.
    #[error("this is not the standby that is registered: it was forgotten, or another was registered since")]
    Unknown,
    /// The epoch is not a newer one.
    #[error("epoch {asked} is not after epoch {ours}, which this cluster is in")]
    StaleEpoch {
        /// What was asked.
        asked: u64,
        /// What it is in.
        ours: u64,
    },
    /// A node has an older program, or the cluster is not finalised at the version that brings standbys.
    #[error(
        "the cluster is not finalised at version {STANDBY_SINCE} of the peer protocol, which brings standbys: `docket upgrade finalize` once \
         all of its nodes have this program"
    )]
    OlderNodes,
    /// It cannot be decided now. Asking again is harmless.
    #[error("{0}")]
    Unavailable(String),
}

/// What a node may lead, and how far it is with letting go.
pub(crate) struct Fencing {
    hush: Hush,
    drained: Arc<AtomicBool>,
    _following: AbortOnDropHandle<()>,
}

/// What a node may lead at its start, by what its registry says as far as it has it.
pub(crate) fn at_start(options: &NodeOptions, registry: &Registry) -> Posture {
    match (registry.fenced(), registry.standby()) {
        (Some(fence), _) => fenced(fence),
        (None, Some(standby)) if options.asks_standby && options.posture.is_open() => Posture::Asking {
            standby: standby.address.clone(),
        },
        _ => options.posture.clone(),
    }
}

fn fenced(fence: &Fence) -> Posture {
    Posture::Fenced {
        epoch: fence.epoch,
        by: fence.by.clone(),
    }
}

impl Fencing {
    pub(crate) fn new(hush: Hush, registry: SharedRegistry, groups: Vec<Group>) -> Self {
        let drained = Arc::new(AtomicBool::new(false));
        let (of_task, done) = (hush.clone(), Arc::clone(&drained));
        let following = tokio::spawn(async move {
            let mut version = registry.watch();
            // The sender is the registry's own, which this holds.
            if version
                .wait_for(|_| registry.now().fenced().is_some())
                .await
                .is_err()
            {
                return;
            }
            if let Some(fence) = registry.now().fenced() {
                tracing::warn!(epoch = fence.epoch, by = %fence.by, "the cluster was fenced: it takes no writes any more");
                of_task.set(fenced(fence));
            }
            join_all(groups.iter().map(Group::drained)).await;
            done.store(true, Ordering::SeqCst);
        });
        Self {
            hush,
            drained,
            _following: AbortOnDropHandle::new(following),
        }
    }

    pub(crate) fn hush(&self) -> &Hush {
        &self.hush
    }
}

impl Node {
    /// What it may lead.
    pub fn posture(&self) -> Arc<Posture> {
        self.hush().now()
    }

    /// The same where that is nothing; cheap where it may lead.
    pub fn leads_nothing_by(&self) -> Option<Arc<Posture>> {
        self.hush().is_closed().then(|| self.posture())
    }

    /// Whether it is fenced, and nothing that it was asked before is on its way any more.
    pub fn is_drained(&self) -> bool {
        self.fencing().drained.load(Ordering::SeqCst)
    }

    /// Its standby was not promoted, or does not say: it leads what it is elected for.
    pub fn open_up(&self) {
        if matches!(*self.posture(), Posture::Asking { .. }) {
            self.hush().set(Posture::Open);
        }
    }

    /// The epoch that the cluster is in, as far as this node knows.
    pub fn epoch(&self) -> u64 {
        self.shared_registry().now().epoch()
    }

    /// Who follows the cluster.
    pub fn registered_standby(&self) -> Option<RegisteredStandby> {
        self.shared_registry().now().standby().cloned()
    }

    /// Who took its place.
    pub fn fence_of(&self) -> Option<Fence> {
        self.shared_registry().now().fenced().cloned()
    }

    /// Registers a cluster that follows this one. To be asked where the meta group is led, as are the others.
    ///
    /// # Errors
    /// [`StandbyError`].
    pub async fn register_standby(&self, standby: RegisteredStandby) -> Result<(), StandbyError> {
        if !self.is_spoken_by_all(STANDBY_SINCE) {
            return Err(StandbyError::OlderNodes);
        }
        self.decide_standby(Ask::RegisterStandby { standby }).await
    }

    /// Forgets who follows.
    ///
    /// # Errors
    /// [`StandbyError`].
    pub async fn forget_standby(&self) -> Result<(), StandbyError> {
        self.decide_standby(Ask::ForgetStandby).await
    }

    /// Has the cluster be written to no more, for ever.
    ///
    /// # Errors
    /// [`StandbyError`].
    pub async fn fence(&self, fence: Fence) -> Result<(), StandbyError> {
        self.decide_standby(Ask::Fence { fence }).await
    }

    /// Notes that the cluster has taken another's place.
    ///
    /// # Errors
    /// [`StandbyError`].
    pub async fn note_promoted(&self, epoch: u64) -> Result<(), StandbyError> {
        self.decide_standby(Ask::Promote { epoch }).await
    }

    async fn decide_standby(&self, ask: Ask) -> Result<(), StandbyError> {
        // Who leads nothing any more cannot decide, and need not where it is so already.
        match self.shared_registry().now().decide(&ask) {
            Ok(changes) if changes.is_empty() => return Ok(()),
            Ok(_) => {}
            Err(refusal) => return Err(self.refused(&ask, &refusal)),
        }
        let decided = match self.members() {
            Some(members) => members.ask(&ask).await,
            None => self.decide_alone(&ask).await,
        };
        match decided {
            Ok(()) => Ok(()),
            Err(ManageError::Unavailable { reason }) => Err(StandbyError::Unavailable(reason)),
            // Why is in what the registry is now.
            Err(ManageError::Refused { reason }) => Err(self.refused(&ask, &reason)),
        }
    }

    fn refused(&self, ask: &Ask, reason: &dyn Display) -> StandbyError {
        let registry = self.shared_registry().now();
        match (ask, registry.fenced(), registry.standby()) {
            (Ask::Fence { fence }, _, standby) if standby.is_none_or(|known| known.id != fence.standby) => {
                StandbyError::Unknown
            }
            (Ask::Fence { fence }, _, _) if fence.epoch <= registry.epoch() => StandbyError::StaleEpoch {
                asked: fence.epoch,
                ours: registry.epoch().max(FIRST_EPOCH),
            },
            (_, Some(fence), _) => StandbyError::Fenced {
                epoch: fence.epoch,
                by: fence.by.clone(),
            },
            (Ask::RegisterStandby { .. }, _, Some(other)) => StandbyError::Taken {
                address: other.address.clone(),
            },
            _ => StandbyError::Unavailable(reason.to_string()),
        }
    }
}
