//! The state of all webhooks and how it is read.
//!
//! Webhooks are behind `Arc`s, so that a clone of the whole (for a snapshot) copies pointers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DeliveryFailure, DeliveryId, FeedPositions, PauseCause, WebhookFilter, WebhookId, WebhookSecret,
    limits::{DEAD_LETTERS_MAX, OLD_SECRETS_MAX, REQUESTS_MAX, RETRIES_MAX, WEBHOOKS_MAX},
};
use crate::{Broken, ChangeKind, Request, Time, Version};

/// A secret that was replaced, and signs until its end beside the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldSecret {
    /// The secret.
    pub secret: WebhookSecret,
    /// When it signs no more.
    pub expires: Time,
}

/// A delivery that failed and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deferred {
    /// What happened to the order.
    pub kind: ChangeKind,
    /// When.
    pub at: Time,
    /// When it first failed, or was taken from the dead letters: what its 24 hours are counted from.
    pub first: Time,
    /// How often it has failed since.
    pub failures: u32,
    /// When it is tried again.
    pub due: Time,
    /// Why it failed last.
    pub failure: DeliveryFailure,
}

/// A delivery that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    /// What happened to the order.
    pub kind: ChangeKind,
    /// When.
    pub at: Time,
    /// When it first failed.
    pub first: Time,
    /// How often it failed.
    pub failures: u32,
    /// When it was given up.
    pub died: Time,
    /// Why it failed last.
    pub failure: DeliveryFailure,
}

/// Someone who is told of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where it is delivered to.
    pub url: Arc<str>,
    /// For people.
    pub description: Arc<str>,
    /// What it is told of.
    pub filter: WebhookFilter,
    /// Why it is told nothing now, if that is so.
    pub paused: Option<PauseCause>,
    /// What signs.
    pub secret: WebhookSecret,
    /// What signed before and still does, or did; the oldest first.
    pub old_secrets: Vec<OldSecret>,
    /// Rises with every change that somebody asked for, and when it is paused.
    pub revision: u64,
    /// Rises whenever it is put to another position than the one behind what was delivered.
    pub epoch: u64,
    /// How far it is.
    pub positions: FeedPositions,
    /// It is told of no change from before.
    pub since: Option<Time>,
    /// When it was created.
    pub created: Time,
    /// When somebody last changed it.
    pub updated: Time,
    /// What is tried again.
    pub deferred: BTreeMap<DeliveryId, Deferred>,
    /// What was given up.
    pub dead: BTreeMap<DeliveryId, DeadLetter>,
    /// How many dead letters were forgotten for newer ones.
    pub dead_forgotten: u64,
    /// How many deliveries succeeded, as far as is recorded.
    pub delivered: u64,
    /// When one last did.
    pub last_delivered: Option<Time>,
    /// When one last failed, and why.
    pub last_failure: Option<(Time, DeliveryFailure)>,
    /// How often it missed changes, because they were not kept any more when it came to them.
    pub gaps: u64,
    /// When that was noticed last.
    pub last_gap: Option<Time>,
}

impl Webhook {
    /// What signs at a time, the newest first.
    pub fn secrets(&self, now: Time) -> impl Iterator<Item = WebhookSecret> + '_ {
        let old = self.old_secrets.iter().rev();
        let old = old.filter(move |old| now < old.expires).map(|old| old.secret);
        std::iter::once(self.secret).chain(old)
    }

    /// How many more deliveries may be deferred.
    pub fn room(&self) -> usize {
        RETRIES_MAX.saturating_sub(self.deferred.len())
    }
}

/// A request that was done, by its client's id for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) fingerprint: u64,
    pub(super) webhook: WebhookId,
    pub(super) at: Time,
}

/// All webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookState {
    pub(super) version: Version,
    pub(super) last_time: Time,
    pub(super) webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    pub(super) requests: BTreeMap<u128, Remembered>,
}

impl WebhookState {
    /// How many records made it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The time of the newest record.
    pub fn last_time(&self) -> Time {
        self.last_time
    }

    /// The webhook of this id.
    pub fn webhook(&self, id: WebhookId) -> Option<&Arc<Webhook>> {
        self.webhooks.get(&id)
    }

    /// Every webhook, by id.
    pub fn webhooks(&self) -> impl ExactSizeIterator<Item = &Arc<Webhook>> {
        self.webhooks.values()
    }

    /// What was asked under this client's id: the fingerprint of it, and which webhook it was about.
    pub fn request(&self, key: u128) -> Option<(u64, WebhookId)> {
        let found = self.requests.get(&key)?;
        Some((found.fingerprint, found.webhook))
    }

    /// Every request that is remembered: with its webhook, and when it was done.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = (Request, WebhookId, Time)> + '_ {
        self.requests.iter().map(|(key, found)| {
            let request = Request {
                key: *key,
                fingerprint: found.fingerprint,
            };
            (request, found.webhook, found.at)
        })
    }

    /// A state with nothing in it but how far the log has come: where a snapshot's entries are then put.
    pub fn restored(version: Version, last_time: Time) -> Self {
        Self {
            version,
            last_time,
            ..Self::default()
        }
    }

    /// Puts a webhook in as it is.
    ///
    /// # Errors
    /// Where its id is taken.
    pub fn insert(&mut self, webhook: Webhook) -> Result<(), Broken> {
        match self.webhooks.insert(webhook.id, Arc::new(webhook)) {
            Some(_) => Err(broken("two webhooks have one id")),
            None => Ok(()),
        }
    }

    /// Puts a request in that was done.
    ///
    /// # Errors
    /// Where its key is taken.
    pub fn insert_request(&mut self, request: Request, webhook: WebhookId, at: Time) -> Result<(), Broken> {
        let found = Remembered {
            fingerprint: request.fingerprint,
            webhook,
            at,
        };
        match self.requests.insert(request.key, found) {
            Some(_) => Err(broken("two requests have one key")),
            None => Ok(()),
        }
    }

    /// Checks every invariant. Takes time in proportion to the state: for tests and after a snapshot.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        check(self.webhooks.len() <= WEBHOOKS_MAX, "there are too many webhooks")?;
        check(self.requests.len() <= REQUESTS_MAX, "too many requests are kept")?;
        for (id, webhook) in &self.webhooks {
            check(*id == webhook.id, "a webhook is filed under another id")?;
            check(webhook.revision > 0, "a webhook has no revision")?;
            check(webhook.deferred.len() <= RETRIES_MAX, "too much is deferred")?;
            check(
                webhook.dead.len() <= DEAD_LETTERS_MAX,
                "there are too many dead letters",
            )?;
            check(
                webhook.old_secrets.len() <= OLD_SECRETS_MAX,
                "there are too many secrets",
            )?;
            check(
                webhook.deferred.keys().all(|id| !webhook.dead.contains_key(id)),
                "a delivery is deferred and dead",
            )?;
        }
        Ok(())
    }
}

pub(super) fn broken(why: &'static str) -> Broken {
    Broken::new("the state of the webhooks", why)
}

fn check(holds: bool, why: &'static str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken(why)) }
}
