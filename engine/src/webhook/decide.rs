//! From a command to its record.

use std::sync::Arc;

use super::{
    Attempt, DeadLetter, DeadLetters, Deferred, NewWebhook, Outcome, PauseCause, Progress, Webhook,
    WebhookChange, WebhookCommand, WebhookEvent, WebhookId, WebhookRecord, WebhookRejection, WebhookRequest,
    WebhookState, back_off,
    limits::{OVERLAP_MAX_US, RETRIED_FOR_US, WEBHOOKS_MAX},
};
use crate::Time;

type Events = Result<Vec<WebhookEvent>, WebhookRejection>;

impl WebhookState {
    /// What a command comes to: the webhook that it is about, and the record of it, where there is anything to be recorded. Changes
    /// nothing.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(
        &self,
        command: &WebhookCommand,
    ) -> Result<(WebhookId, Option<WebhookRecord>), WebhookRejection> {
        if let Some(request) = &command.request_id
            && let Some((fingerprint, webhook)) = self.request(request.key)
        {
            return match fingerprint == request.fingerprint {
                true => Ok((webhook, None)),
                false => Err(WebhookRejection::RequestIdReused),
            };
        }
        // Logged time never runs backwards, even where the next leader's clock does.
        let now = command.time.max(self.last_time);
        let (webhook, events) = match &command.request {
            WebhookRequest::Create(new) => (new.id, self.create(new)?),
            WebhookRequest::Update {
                webhook,
                expected,
                change,
            } => (*webhook, update(self.at(*webhook, *expected)?, change)?),
            WebhookRequest::Delete { webhook, expected } => {
                let webhook = self.at(*webhook, *expected)?.id;
                (webhook, vec![WebhookEvent::Deleted { webhook }])
            }
            WebhookRequest::RotateSecret {
                webhook,
                expected,
                secret,
                overlap_us,
            } => {
                let webhook = self.at(*webhook, *expected)?.id;
                let overlap_us = (*overlap_us).clamp(0, OVERLAP_MAX_US);
                let rotated = WebhookEvent::SecretRotated {
                    webhook,
                    secret: *secret,
                    old_expires: Time(now.0.saturating_add(overlap_us)),
                };
                (webhook, vec![rotated])
            }
            WebhookRequest::ReplayDead { webhook, letters } => {
                (*webhook, replay_dead(self.at(*webhook, None)?, letters)?)
            }
            WebhookRequest::ReplayFrom {
                webhook,
                positions,
                since: _,
            } => {
                let (id, now_at) = (self.at(*webhook, None)?.id, &self.at(*webhook, None)?.positions);
                let webhook = id;
                let rewound = WebhookEvent::Rewound {
                    webhook,
                    positions: positions.or_before(now_at),
                    // What is behind the positions is told, whenever it was: what was not delivered yet may be older.
                    since: None,
                    is_gap: false,
                };
                (webhook, vec![rewound])
            }
            WebhookRequest::Progress(progress) => {
                let webhook = self.at(progress.webhook, None)?;
                (webhook.id, progressed(webhook, progress, now))
            }
        };
        let request = command.request_id.map(|request| (request, webhook));
        let is_something = !events.is_empty() || request.is_some();
        let record = is_something.then_some(WebhookRecord {
            version: self.version,
            time: now,
            request,
            events,
        });
        Ok((webhook, record))
    }

    fn at(&self, id: WebhookId, expected: Option<u64>) -> Result<&Webhook, WebhookRejection> {
        let webhook = self.webhooks.get(&id).ok_or(WebhookRejection::NotFound)?;
        match expected {
            Some(expected) if expected != webhook.revision => Err(WebhookRejection::StaleEtag),
            _ => Ok(webhook),
        }
    }

    fn create(&self, new: &NewWebhook) -> Events {
        if self.webhooks.len() >= WEBHOOKS_MAX {
            return Err(WebhookRejection::TooMany);
        }
        if self.webhooks.contains_key(&new.id) {
            return Err(WebhookRejection::IdTaken);
        }
        Ok(vec![WebhookEvent::Created(new.clone())])
    }
}

fn update(webhook: &Webhook, change: &WebhookChange) -> Events {
    let id = webhook.id;
    let mut events = Vec::new();
    let url = change.url.as_ref().unwrap_or(&webhook.url);
    let description = change.description.as_ref().unwrap_or(&webhook.description);
    let filter = change
        .filter
        .as_ref()
        .map_or(&webhook.filter, |(filter, _)| filter);
    if (url, description, filter) != (&webhook.url, &webhook.description, &webhook.filter) {
        events.push(WebhookEvent::Updated {
            webhook: id,
            url: Arc::clone(url),
            description: Arc::clone(description),
            filter: filter.clone(),
        });
    }
    // Positions of one customer's shard and of all are not each other's.
    if let Some((filter, positions)) = &change.filter
        && filter.customer != webhook.filter.customer
    {
        // Whoever asked took it for another: somebody has changed it in between.
        let positions = positions.as_ref().ok_or(WebhookRejection::StaleEtag)?;
        events.push(WebhookEvent::Rewound {
            webhook: id,
            positions: positions.clone(),
            since: None,
            is_gap: false,
        });
    }
    match (change.paused, webhook.paused) {
        (Some(true), None) => events.push(WebhookEvent::Paused {
            webhook: id,
            cause: PauseCause::Asked,
        }),
        (Some(false), Some(_)) => events.push(WebhookEvent::Resumed { webhook: id }),
        _ => {}
    }
    Ok(events)
}

fn replay_dead(webhook: &Webhook, letters: &DeadLetters) -> Events {
    let ids: Vec<_> = match letters {
        DeadLetters::All => webhook.dead.keys().copied().take(webhook.room()).collect(),
        DeadLetters::These(ids) => {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            if !ids.iter().all(|id| webhook.dead.contains_key(id)) {
                return Err(WebhookRejection::DeadLetterNotFound);
            }
            ids
        }
    };
    let is_too_many = ids.len() > webhook.room() || (ids.is_empty() && !webhook.dead.is_empty());
    if is_too_many {
        return Err(WebhookRejection::TooManyRetries);
    }
    let replayed = ids.into_iter().map(|id| WebhookEvent::Replayed {
        webhook: webhook.id,
        id,
    });
    Ok(replayed.collect())
}

fn progressed(webhook: &Webhook, progress: &Progress, now: Time) -> Vec<WebhookEvent> {
    let id = webhook.id;
    let mut events = Vec::with_capacity(progress.outcomes.len() + 3);
    if progress.delivered > 0 {
        events.push(WebhookEvent::Delivered {
            webhook: id,
            count: progress.delivered,
        });
    }
    let mut room = webhook.room();
    for outcome in one_each(&progress.outcomes) {
        events.extend(settled(webhook, outcome, &mut room, now));
    }
    // Where somebody has put it elsewhere meanwhile, it stays there.
    if let Some(positions) = progress
        .positions
        .as_ref()
        .filter(|_| progress.epoch == webhook.epoch)
    {
        let positions = positions.clone();
        if progress.is_gap {
            events.push(WebhookEvent::Rewound {
                webhook: id,
                positions,
                since: webhook.since,
                is_gap: true,
            });
        } else if positions != webhook.positions {
            events.push(WebhookEvent::Advanced {
                webhook: id,
                positions,
            });
        }
    }
    if progress.is_gone && webhook.paused.is_none() {
        events.push(WebhookEvent::Paused {
            webhook: id,
            cause: PauseCause::Gone,
        });
    }
    events
}

/// Of each delivery one outcome, in their order: it may have been tried twice at once, as a retry and since the feed was gone through again. That it
/// arrived counts for more than that it did not.
fn one_each(outcomes: &[Outcome]) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().enumerate().filter_map(move |(i, outcome)| {
        let arrived = |other: &Outcome| matches!(other.attempt, Attempt::Delivered);
        let others = outcomes
            .iter()
            .enumerate()
            .filter(|(_, other)| other.id == outcome.id);
        let chosen = others
            .clone()
            .find(|(_, other)| arrived(other))
            .or_else(|| others.clone().next());
        chosen.is_some_and(|(at, _)| at == i).then_some(outcome)
    })
}

/// What follows from the outcome of one delivery; nothing where it is known already.
fn settled(webhook: &Webhook, outcome: &Outcome, room: &mut usize, now: Time) -> Option<WebhookEvent> {
    let before = webhook.deferred.get(&outcome.id);
    let Attempt::Failed {
        failure,
        retry_after_us,
        jitter,
    } = outcome.attempt
    else {
        return before.map(|_| WebhookEvent::Settled {
            webhook: webhook.id,
            id: outcome.id,
        });
    };
    // It was delivered again by somebody's wish; that it was given up once is on record.
    if webhook.dead.contains_key(&outcome.id) {
        return None;
    }
    let failures = before.map_or(0, |before| before.failures).saturating_add(1);
    let first = before.map_or(now, |before| before.first);
    let due = now.0.saturating_add(back_off(failures, jitter, retry_after_us));
    let is_over = due > first.0.saturating_add(RETRIED_FOR_US);
    if is_over || (before.is_none() && *room == 0) {
        return Some(WebhookEvent::Died {
            webhook: webhook.id,
            id: outcome.id,
            letter: DeadLetter {
                kind: outcome.kind,
                at: outcome.at,
                first,
                failures,
                died: now,
                failure,
            },
        });
    }
    if before.is_none() {
        *room -= 1;
    }
    Some(WebhookEvent::Deferred {
        webhook: webhook.id,
        id: outcome.id,
        deferred: Deferred {
            kind: outcome.kind,
            at: outcome.at,
            first,
            failures,
            due: Time(due),
            failure,
        },
    })
}
