//! Webhooks on the meta group: the state beside the accounts, and the handle.
//!
//! ```text
//!   execute ─▶ one at a time ─▶ read barrier ─▶ decide on committed state ─▶ log ─▶ apply ─▶ answer
//! ```
//!
//! As with accounts there is no speculation. Who delivers records what came of it with the same commands, some seconds' worth in one.

mod request;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use docket_cluster::{ProposeError, ReadError};
use docket_engine::{
    Broken, ChangeKind,
    webhook::{
        WebhookCommand, WebhookEvent, WebhookId, WebhookRecord, WebhookRejection, WebhookRequest,
        WebhookState,
    },
};
use docket_proto::webhook::encode_webhook_record;
use parking_lot::RwLock;
use tokio::{
    sync::{Mutex, watch},
    time::timeout_at,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::access::{AccessLog, AccessMachine, DONE};

pub use request::webhook_request;

/// Since which version of the peer protocol a node reads webhooks in the log and the snapshots of the meta group. An older one would stop.
pub(crate) const WEBHOOKS_SINCE: u32 = 5;
/// How often a command is decided again, because its record met another state than it was decided on. That takes a
/// change of leader in between.
const ATTEMPTS_MAX: usize = 4;
/// What a delivery that is deferred or dead weighs in a snapshot, in bytes.
const DELIVERY_BYTES: u64 = 80;
/// And a webhook without any.
const WEBHOOK_BYTES: u64 = 1_024;

/// The committed state, shared between the machine that writes it and the handles that read it.
pub(crate) struct SharedWebhooks {
    state: RwLock<WebhookState>,
    /// A hash of what the entry that was applied last has left.
    effects: AtomicU64,
    /// The state's version, for those who wait for it to change.
    version: watch::Sender<u64>,
}

impl Default for SharedWebhooks {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            effects: AtomicU64::new(0),
            version: watch::Sender::new(0),
        }
    }
}

impl SharedWebhooks {
    pub(crate) fn read<T>(&self, look: impl FnOnce(&WebhookState) -> T) -> T {
        look(&self.state.read())
    }

    /// Applies a record: whether it was decided on this state.
    pub(crate) fn apply(&self, record: &WebhookRecord) -> Result<bool, Broken> {
        let mut state = self.state.write();
        self.skip();
        if !state.fits(record) {
            return Ok(false);
        }
        state.apply(record)?;
        self.effects.store(effects(&state, record), Ordering::Relaxed);
        self.version.send_replace(state.version().0);
        Ok(true)
    }

    /// The entry has nothing for the webhooks.
    pub(crate) fn skip(&self) {
        self.effects.store(0, Ordering::Relaxed);
    }

    pub(crate) fn effects(&self) -> u64 {
        self.effects.load(Ordering::Relaxed)
    }

    /// Roughly how many bytes a snapshot would weigh.
    pub(crate) fn bytes(&self) -> u64 {
        self.read(|state| {
            let of = state.webhooks().map(|webhook| {
                let deliveries = webhook.deferred.len() + webhook.dead.len();
                WEBHOOK_BYTES + deliveries as u64 * DELIVERY_BYTES + webhook.positions.0.len() as u64 * 8
            });
            of.sum()
        })
    }

    /// Takes a state that was restored.
    pub(crate) fn put(&self, state: WebhookState) {
        let version = state.version().0;
        *self.state.write() = state;
        self.version.send_replace(version);
    }
}

/// A hash of what a record has left of the webhooks that it is about.
fn effects(state: &WebhookState, record: &WebhookRecord) -> u64 {
    let mut bytes = state.version().0.to_le_bytes().to_vec();
    let mut put = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
    let mut last = None;
    for event in &record.events {
        let id = about(event);
        if last.replace(id) == Some(id) {
            continue;
        }
        let Some(webhook) = state.webhook(id) else {
            put(0);
            continue;
        };
        for number in [
            webhook.revision,
            webhook.epoch,
            webhook.delivered,
            webhook.gaps,
            webhook.deferred.len() as u64,
            webhook.dead.len() as u64,
            webhook.dead_forgotten,
        ] {
            put(number);
        }
        for (index, ordinal) in webhook.positions.0.iter() {
            put(*index);
            put(u64::from(*ordinal));
        }
    }
    xxh3_64(&bytes)
}

fn about(event: &WebhookEvent) -> WebhookId {
    match event {
        WebhookEvent::Created(new) => new.id,
        WebhookEvent::Updated { webhook, .. }
        | WebhookEvent::Paused { webhook, .. }
        | WebhookEvent::Resumed { webhook }
        | WebhookEvent::Deleted { webhook }
        | WebhookEvent::SecretRotated { webhook, .. }
        | WebhookEvent::Advanced { webhook, .. }
        | WebhookEvent::Rewound { webhook, .. }
        | WebhookEvent::Delivered { webhook, .. }
        | WebhookEvent::Deferred { webhook, .. }
        | WebhookEvent::Settled { webhook, .. }
        | WebhookEvent::Died { webhook, .. }
        | WebhookEvent::Replayed { webhook, .. } => *webhook,
    }
}

/// Why a command has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// A domain answer.
    #[error(transparent)]
    Rejected(#[from] WebhookRejection),
    /// This node does not lead the meta group, or nobody does. Nothing was done.
    #[error("the meta group has no leader here")]
    NotLeader,
    /// The disk is nearly full. Nothing was done.
    #[error("the node's disk is nearly full: {free_bytes} bytes are free")]
    LowSpace {
        /// What is free.
        free_bytes: u64,
    },
    /// A node of the cluster has a program that does not know webhooks, and would stop at one. Nothing was done.
    #[error("a node of the cluster has an older program, which does not know webhooks: upgrade it first")]
    OlderNodes,
    /// The leadership was lost, or the node stops, while the command was on its way: it may have been done or not.
    #[error("the outcome is not known")]
    OutcomeUnknown,
    /// The state changed under the command again and again. Nothing was done.
    #[error("the webhooks changed {ATTEMPTS_MAX} times while a command was decided")]
    Contended,
}

impl From<ProposeError> for WebhookError {
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
pub struct Webhooks {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<SharedWebhooks>,
    log: Box<dyn AccessLog>,
    deciding: Mutex<()>,
}

impl Webhooks {
    /// The handle of a machine and of the log that feeds it.
    pub fn new(machine: &AccessMachine, log: impl AccessLog) -> Self {
        Self {
            inner: Arc::new(Inner {
                shared: Arc::clone(&machine.webhooks),
                log: Box::new(log),
                deciding: Mutex::new(()),
            }),
        }
    }

    /// Does what a command asks, and says which webhook it was about: of a repeat of a request the one that the first was about. When it
    /// returns, what it did is durable and every [`Self::read`] sees it.
    ///
    /// Waits for the commands before it: who calls bounds how many wait. Dropping the future takes nothing back.
    ///
    /// # Errors
    /// Why it was not done, or is not known to be done.
    pub async fn execute(&self, command: &WebhookCommand) -> Result<WebhookId, WebhookError> {
        let inner = &*self.inner;
        let _turn = inner.deciding.lock().await;
        if inner.log.oldest_version_spoken() < since(&command.request) {
            return Err(WebhookError::OlderNodes);
        }
        for _ in 0..ATTEMPTS_MAX {
            // A refusal, too, must not come from a state that is out of date.
            inner.log.barrier().await.map_err(|error| match error {
                ReadError::NotLeader { .. } | ReadError::Stopped { .. } => WebhookError::NotLeader,
            })?;
            let (webhook, record) = inner.shared.read(|state| state.decide(command))?;
            let Some(record) = record else { return Ok(webhook) };
            if is_growth(&command.request)
                && let Some(free_bytes) = inner.log.disk_low()
            {
                return Err(WebhookError::LowSpace { free_bytes });
            }
            let outcome = inner.log.propose(encode_webhook_record(&record).into()).await?;
            if outcome.first() == Some(&DONE) {
                return Ok(webhook);
            }
            metrics::counter!("docket_webhook_conflicts_total").increment(1);
        }
        Err(WebhookError::Contended)
    }

    /// Looks at the committed state. The closure must be quick: it holds up the next command's application.
    pub fn read<T>(&self, look: impl FnOnce(&WebhookState) -> T) -> T {
        self.inner.shared.read(look)
    }

    /// The version of the committed state, now and from now on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.shared.version.subscribe()
    }

    /// Passes when [`Self::read`] sees all that was answered before, or fails at the deadline.
    ///
    /// # Errors
    /// This node does not lead the meta group, or cannot find out.
    pub async fn barrier(&self, deadline: Instant) -> Result<(), WebhookError> {
        let passed = timeout_at(deadline.into(), self.inner.log.barrier()).await;
        passed
            .map_err(|_| WebhookError::NotLeader)?
            .map_err(|_| WebhookError::NotLeader)
    }
}

/// Since which version of the peer protocol a node knows a kind of changes, or webhooks.
fn known_since(kind: ChangeKind) -> u32 {
    // By their numbers, which are for ever, so that a new kind is counted among the newest.
    match kind.number() {
        35.. => 7,
        24 | 33 | 34 => 6,
        _ => WEBHOOKS_SINCE,
    }
}

/// Since which version of the peer protocol a node can read of what a request leads to: one that names a kind of changes which is newer than
/// webhooks are would stop an older node.
fn since(request: &WebhookRequest) -> u32 {
    let filter = match request {
        WebhookRequest::Create(new) => Some(&new.filter),
        WebhookRequest::Update { change, .. } => change.filter.as_ref().map(|(filter, _)| filter),
        _ => None,
    };
    let kinds = filter.into_iter().flat_map(|filter| &filter.kinds);
    let since = kinds.map(|kind| known_since(*kind));
    since.max().unwrap_or(WEBHOOKS_SINCE)
}

/// Whether a request adds to the state. What ends something, or records what was delivered, must not wait for space: that is little, and
/// without it a node would deliver the same again and again.
fn is_growth(request: &WebhookRequest) -> bool {
    match request {
        WebhookRequest::Create(_)
        | WebhookRequest::RotateSecret { .. }
        | WebhookRequest::ReplayDead { .. } => true,
        WebhookRequest::Update { .. }
        | WebhookRequest::Delete { .. }
        | WebhookRequest::ReplayFrom { .. }
        | WebhookRequest::Progress(_) => false,
    }
}
