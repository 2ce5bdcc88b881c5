//! What is steered (feature flags, callers' own limits) on the meta group: the state beside the accounts, what every node goes by, and the
//! handle.
//!
//! ```text
//!   execute ─▶ one at a time ─▶ read barrier ─▶ decide on committed state ─▶ log ─▶ apply ─▶ answer
//!                                                                                     └─▶ InForce, on every node
//! ```
//!
//! Whoever goes by a flag takes one look at [`InForce`], without a lock, before anything is decided: `apply` never asks for one, so that
//! replicas which hear of a change at different moments come to the same.

#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use docket_cluster::{ProposeError, ReadError};
use docket_engine::{
    Broken, CustomerId,
    steering::{
        Flag, Flags, Steering as State, SteeringCommand, SteeringEvent, SteeringRecord, SteeringRejection,
        SteeringRequest, Subject,
    },
};
use docket_proto::steering::encode_steering_record;
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};
use xxhash_rust::xxh3::xxh3_64;

use crate::access::{AccessLog, AccessMachine, DONE};

/// Since which version of the peer protocol a node reads of flags and limits in the log and the snapshots of the meta group. An older one
/// would stop.
pub(crate) const STEERING_SINCE: u32 = 8;
/// How often a command is decided again, because its record met another state than it was decided on. That takes a
/// change of leader in between.
const ATTEMPTS_MAX: usize = 4;
/// What a flag or a limit weighs in a snapshot, roughly, in bytes.
const ENTRY_BYTES: u64 = 200;

/// The flags that this node goes by now. Clones are the same.
#[derive(Clone, Default)]
pub struct InForce(Arc<ArcSwap<Flags>>);

impl InForce {
    /// Whether a flag is on for somebody.
    pub fn is_on(&self, flag: Flag, subject: &Subject<'_>) -> bool {
        self.0.load().is_on(flag, subject)
    }

    /// Whether a flag is on for all; `None` where it is for some only, and has to be asked for each.
    pub fn is_on_for_all(&self, flag: Flag) -> Option<bool> {
        self.0.load().is_on_for_all(flag)
    }

    /// Whether a flag is on for a customer.
    pub(crate) fn is_on_for(&self, flag: Flag, customer: &CustomerId) -> bool {
        self.is_on(flag, &Subject::customer(customer))
    }
}

/// The committed state, shared between the machine that writes it and the handles that read it.
pub(crate) struct SharedSteering {
    state: RwLock<State>,
    in_force: InForce,
    /// A hash of what the entry that was applied last has left.
    effects: AtomicU64,
    /// The state's version, for those who wait for it to change.
    version: watch::Sender<u64>,
}

impl Default for SharedSteering {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            in_force: InForce::default(),
            effects: AtomicU64::new(0),
            version: watch::Sender::new(0),
        }
    }
}

impl SharedSteering {
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.clone()
    }

    /// Applies a record: whether it was decided on this state.
    pub(crate) fn apply(&self, record: &SteeringRecord) -> Result<bool, Broken> {
        let mut state = self.state.write();
        self.skip();
        if !state.fits(record) {
            return Ok(false);
        }
        state.apply(record)?;
        // Of the whole record: it has few bytes, and says all that changed.
        let mut left = state.version().0.to_le_bytes().to_vec();
        left.extend_from_slice(&encode_steering_record(record));
        self.effects.store(xxh3_64(&left), Ordering::Relaxed);
        self.tell(&state);
        Ok(true)
    }

    /// The entry has nothing of it.
    pub(crate) fn skip(&self) {
        self.effects.store(0, Ordering::Relaxed);
    }

    pub(crate) fn effects(&self) -> u64 {
        self.effects.load(Ordering::Relaxed)
    }

    /// Roughly how many bytes a snapshot would weigh.
    pub(crate) fn bytes(&self) -> u64 {
        self.read(|state| (state.flags().len() + state.limit_count()) as u64 * ENTRY_BYTES)
    }

    /// Takes a state that was restored.
    pub(crate) fn put(&self, state: State) {
        let mut current = self.state.write();
        *current = state;
        self.tell(&current);
    }

    /// Whoever goes by it does so from here on, and then hears that it is another.
    fn tell(&self, state: &State) {
        self.in_force.0.store(Arc::new(state.in_force()));
        self.version.send_replace(state.version().0);
    }
}

/// Why a command has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SteeringError {
    /// A domain answer.
    #[error(transparent)]
    Rejected(#[from] SteeringRejection),
    /// This node does not lead the meta group, or nobody does. Nothing was done.
    #[error("the meta group has no leader here")]
    NotLeader,
    /// The disk is nearly full. Nothing was done.
    #[error("the node's disk is nearly full: {free_bytes} bytes are free")]
    LowSpace {
        /// What is free.
        free_bytes: u64,
    },
    /// A node of the cluster has a program that does not know flags and limits, or it is not known whether it has, and would stop at one. Nothing was done.
    #[error(
        "a node of the cluster has an older program, which knows no flags and no limits of callers, or was not heard of since this one was started: \
         upgrade it, or have it come back, first"
    )]
    OlderNodes,
    /// The leadership was lost, or the node stops, while the command was on its way: it may have been done or not.
    #[error("the outcome is not known")]
    OutcomeUnknown,
    /// The state changed under the command again and again. Nothing was done.
    #[error("flags and limits changed {ATTEMPTS_MAX} times while a command was decided")]
    Contended,
}

impl From<ProposeError> for SteeringError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Self::NotLeader,
            // No record comes near the bound of an entry; if one ever does, nothing was done.
            ProposeError::TooLarge { .. } => Self::Contended,
            ProposeError::Unknown | ProposeError::Stopped { .. } => Self::OutcomeUnknown,
        }
    }
}

/// The handle. Cloning it is cheap.
#[derive(Clone)]
pub struct Steering {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<SharedSteering>,
    log: Box<dyn AccessLog>,
    deciding: Mutex<()>,
}

impl Steering {
    /// The handle of a machine and of the log that feeds it.
    pub fn new(machine: &AccessMachine, log: impl AccessLog) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared: Arc::clone(&machine.steering),
                log: Box::new(log),
                deciding: Mutex::new(()),
            }),
        }
    }

    /// Does what a command asks. When it returns, what it did is durable and every [`Self::read`] here sees it; the other nodes see it when
    /// they hear that it is committed.
    ///
    /// Waits for the commands before it: who calls bounds how many wait. Dropping the future takes nothing back.
    ///
    /// # Errors
    /// Why it was not done, or is not known to be done.
    pub async fn execute(&self, command: &SteeringCommand) -> Result<(), SteeringError> {
        let inner = &*self.inner;
        let _turn = inner.deciding.lock().await;
        // The first record is what an older node would stop at, also one that is away now. Behind it, whoever is in the cluster knows such records, and
        // something has to be switched off while a node is down.
        let is_first = inner.shared.read(|state| state.version().0 == 0);
        let is_known = match is_first {
            true => inner.log.is_spoken_by_all(STEERING_SINCE),
            false => inner.log.oldest_version_spoken() >= STEERING_SINCE,
        };
        if !is_known {
            return Err(SteeringError::OlderNodes);
        }
        for _ in 0..ATTEMPTS_MAX {
            // A refusal, too, must not come from a state that is out of date.
            inner.log.barrier().await.map_err(|error| match error {
                ReadError::NotLeader { .. } | ReadError::Stopped { .. } => SteeringError::NotLeader,
            })?;
            let decided = inner.shared.read(|state| state.decide(command))?;
            let Some(record) = decided else { return Ok(()) };
            if is_growth(&command.request)
                && let Some(free_bytes) = inner.log.disk_low()
            {
                return Err(SteeringError::LowSpace { free_bytes });
            }
            let outcome = inner.log.propose(encode_steering_record(&record).into()).await?;
            if outcome.first() == Some(&DONE) {
                changed(&record);
                return Ok(());
            }
            metrics::counter!("docket_steering_conflicts_total").increment(1);
        }
        Err(SteeringError::Contended)
    }

    /// Looks at the committed state. The closure must be quick: it holds up the next command's application.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.inner.shared.read(look)
    }

    /// The flags that this node goes by.
    pub fn in_force(&self) -> &InForce {
        &self.inner.shared.in_force
    }

    /// The version of the committed state, now and from now on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.shared.version.subscribe()
    }
}

/// A change was made, and is durable: once for each, on the node that leads the meta group. Who did it is the audit log's to tell.
fn changed(record: &SteeringRecord) {
    for event in &record.events {
        match event {
            SteeringEvent::FlagSet { flag, rule } => {
                let share = rule.share.hundredths();
                let (customers, roles) = (rule.customers.len(), rule.roles.len());
                tracing::info!(%flag, share, customers, roles, "a flag was set");
            }
            SteeringEvent::FlagUnset { flag } => tracing::info!(%flag, "a flag was unset"),
            SteeringEvent::LimitSet { limit, .. } => {
                let (per_second, burst) = (limit.per_second, limit.burst);
                tracing::info!(per_second, burst, "a caller got a limit of its own");
            }
            SteeringEvent::LimitUnset { .. } => tracing::info!("a caller has its role's limit again"),
        }
    }
}

/// Whether a request adds to the state. What ends something must not wait for space; nor must a flag, by which something is switched off that
/// fills the disk: there are few.
fn is_growth(request: &SteeringRequest) -> bool {
    match request {
        SteeringRequest::SetLimit { .. } => true,
        SteeringRequest::SetFlag { .. }
        | SteeringRequest::UnsetFlag { .. }
        | SteeringRequest::UnsetLimit { .. } => false,
    }
}
