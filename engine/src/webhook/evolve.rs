//! From a fact to the next state.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Deferred, NewWebhook, OldSecret, Webhook, WebhookEvent, WebhookId, WebhookRecord, WebhookState,
    limits::{DEAD_LETTERS_MAX, OLD_SECRETS_MAX, REQUESTS_KEPT_US, REQUESTS_MAX},
    state::{Remembered, broken},
};
use crate::{Broken, Time};

impl WebhookState {
    /// Whether a record was decided on this very state. One that was not is refused: decide again.
    pub fn fits(&self, record: &WebhookRecord) -> bool {
        record.version == self.version
    }

    /// Carries a whole record into the state.
    ///
    /// # Errors
    /// Where the record does not [`fit`](Self::fits), or a fact does not fit what is there: the log is not the one that
    /// made this state. The state is then of no use.
    pub fn apply(&mut self, record: &WebhookRecord) -> Result<(), Broken> {
        if !self.fits(record) {
            return Err(broken("a record was decided on another state"));
        }
        self.version = self.version.next();
        self.last_time = self.last_time.max(record.time);
        for event in &record.events {
            self.evolve(event, record.time)?;
        }
        if let Some((request, webhook)) = record.request {
            let found = Remembered {
                fingerprint: request.fingerprint,
                webhook,
                at: record.time,
            };
            self.requests.insert(request.key, found);
            self.forget_requests(record.time);
        }
        Ok(())
    }

    /// Forgets requests that are too old, and the oldest where there are too many.
    fn forget_requests(&mut self, now: Time) {
        let old = Time(now.0.saturating_sub(REQUESTS_KEPT_US));
        self.requests.retain(|_, found| found.at > old);
        while self.requests.len() > REQUESTS_MAX {
            let oldest = self.requests.iter().min_by_key(|(key, found)| (found.at, **key));
            let Some(key) = oldest.map(|(key, _)| *key) else {
                return;
            };
            self.requests.remove(&key);
        }
    }

    fn evolve(&mut self, event: &WebhookEvent, at: Time) -> Result<(), Broken> {
        match event {
            WebhookEvent::Created(new) => self.insert(created(new, at)),
            WebhookEvent::Deleted { webhook } => match self.webhooks.remove(webhook) {
                Some(_) => Ok(()),
                None => Err(broken("no webhook is deleted")),
            },
            WebhookEvent::Updated {
                webhook,
                url,
                description,
                filter,
            } => {
                let webhook = self.changed(*webhook, at)?;
                webhook.url = Arc::clone(url);
                webhook.description = Arc::clone(description);
                webhook.filter = filter.clone();
                Ok(())
            }
            WebhookEvent::Paused { webhook, cause } => {
                self.changed(*webhook, at)?.paused = Some(*cause);
                Ok(())
            }
            WebhookEvent::Resumed { webhook } => {
                self.changed(*webhook, at)?.paused = None;
                Ok(())
            }
            WebhookEvent::SecretRotated {
                webhook,
                secret,
                old_expires,
            } => {
                let webhook = self.changed(*webhook, at)?;
                let old = OldSecret {
                    secret: webhook.secret,
                    expires: *old_expires,
                };
                webhook.secret = *secret;
                webhook.old_secrets.retain(|old| at < old.expires);
                if at < old.expires {
                    webhook.old_secrets.push(old);
                }
                let too_many = webhook.old_secrets.len().saturating_sub(OLD_SECRETS_MAX);
                webhook.old_secrets.drain(..too_many);
                Ok(())
            }
            WebhookEvent::Advanced { webhook, positions } => {
                self.of(*webhook)?.positions = positions.clone();
                Ok(())
            }
            WebhookEvent::Rewound {
                webhook,
                positions,
                since,
                is_gap,
            } => {
                let webhook = self.of(*webhook)?;
                webhook.positions = positions.clone();
                webhook.since = *since;
                webhook.epoch = webhook.epoch.saturating_add(1);
                if *is_gap {
                    webhook.gaps = webhook.gaps.saturating_add(1);
                    webhook.last_gap = Some(at);
                }
                Ok(())
            }
            WebhookEvent::Delivered { webhook, count } => {
                let webhook = self.of(*webhook)?;
                webhook.delivered = webhook.delivered.saturating_add(*count);
                webhook.last_delivered = Some(at);
                Ok(())
            }
            WebhookEvent::Deferred {
                webhook,
                id,
                deferred,
            } => {
                let webhook = self.of(*webhook)?;
                webhook.last_failure = Some((at, deferred.failure));
                webhook.dead.remove(id);
                webhook.deferred.insert(*id, *deferred);
                Ok(())
            }
            WebhookEvent::Settled { webhook, id } => {
                let webhook = self.of(*webhook)?;
                webhook.delivered = webhook.delivered.saturating_add(1);
                webhook.last_delivered = Some(at);
                // Where it is not deferred any more it has arrived twice.
                webhook.deferred.remove(id);
                Ok(())
            }
            WebhookEvent::Died { webhook, id, letter } => {
                let webhook = self.of(*webhook)?;
                webhook.last_failure = Some((at, letter.failure));
                webhook.deferred.remove(id);
                webhook.dead.insert(*id, *letter);
                while webhook.dead.len() > DEAD_LETTERS_MAX {
                    let oldest = webhook.dead.iter().min_by_key(|(id, letter)| (letter.died, **id));
                    let Some(id) = oldest.map(|(id, _)| *id) else {
                        break;
                    };
                    webhook.dead.remove(&id);
                    webhook.dead_forgotten = webhook.dead_forgotten.saturating_add(1);
                }
                Ok(())
            }
            WebhookEvent::Replayed { webhook, id } => {
                let webhook = self.of(*webhook)?;
                let letter = webhook
                    .dead
                    .remove(id)
                    .ok_or_else(|| broken("no dead letter is replayed"))?;
                let deferred = Deferred {
                    kind: letter.kind,
                    at: letter.at,
                    first: at,
                    failures: 0,
                    due: at,
                    failure: letter.failure,
                };
                webhook.deferred.insert(*id, deferred);
                Ok(())
            }
        }
    }

    fn of(&mut self, id: WebhookId) -> Result<&mut Webhook, Broken> {
        let found = self.webhooks.get_mut(&id).map(Arc::make_mut);
        found.ok_or_else(|| broken("a fact is about no webhook"))
    }

    /// The same, of a change that whoever changes it next must have seen.
    fn changed(&mut self, id: WebhookId, at: Time) -> Result<&mut Webhook, Broken> {
        let webhook = self.of(id)?;
        webhook.revision = webhook.revision.saturating_add(1);
        webhook.updated = at;
        Ok(webhook)
    }
}

fn created(new: &NewWebhook, at: Time) -> Webhook {
    Webhook {
        id: new.id,
        url: Arc::clone(&new.url),
        description: Arc::clone(&new.description),
        filter: new.filter.clone(),
        paused: None,
        secret: new.secret,
        old_secrets: Vec::new(),
        revision: 1,
        epoch: 1,
        positions: new.positions.clone(),
        since: None,
        created: at,
        updated: at,
        deferred: BTreeMap::new(),
        dead: BTreeMap::new(),
        dead_forgotten: 0,
        delivered: 0,
        last_delivered: None,
        last_failure: None,
        gaps: 0,
        last_gap: None,
    }
}
