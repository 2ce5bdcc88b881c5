//! Facts of webhooks in the bytes of records.

use docket_engine::{
    Time,
    webhook::{NewWebhook, WebhookEvent},
};

use super::parts::{
    cause, cause_number, dead_of, dead_to_wire, deferred_of, deferred_to_wire, delivery, delivery_to_wire,
    filter, filter_to_wire, positions, positions_to_wire, secret, unknown, webhook_id,
};
use crate::{
    access::AccessDecodeError,
    journal::{self as wire, webhook_event::Fact},
};

pub(super) fn event_to_wire(event: &WebhookEvent) -> wire::WebhookEvent {
    let (webhook, fact) = match event {
        WebhookEvent::Created(new) => {
            let created = wire::WebhookCreated {
                secret: new.secret.0.to_vec(),
                url: new.url.to_string(),
                description: new.description.to_string(),
                filter: Some(filter_to_wire(&new.filter)),
                positions: Some(positions_to_wire(&new.positions)),
            };
            (new.id, Fact::Created(created))
        }
        WebhookEvent::Updated {
            webhook,
            url,
            description,
            filter,
        } => {
            let updated = wire::WebhookUpdated {
                url: url.to_string(),
                description: description.to_string(),
                filter: Some(filter_to_wire(filter)),
            };
            (*webhook, Fact::Updated(updated))
        }
        WebhookEvent::Paused { webhook, cause } => (*webhook, Fact::Paused(cause_number(Some(*cause)))),
        WebhookEvent::Resumed { webhook } => (*webhook, Fact::Resumed(wire::WebhookResumed {})),
        WebhookEvent::Deleted { webhook } => (*webhook, Fact::Deleted(wire::WebhookDeleted {})),
        WebhookEvent::SecretRotated {
            webhook,
            secret,
            old_expires,
        } => {
            let rotated = wire::WebhookSecretRotated {
                secret: secret.0.to_vec(),
                old_expires: old_expires.0,
            };
            (*webhook, Fact::SecretRotated(rotated))
        }
        WebhookEvent::Advanced { webhook, positions } => {
            (*webhook, Fact::Advanced(positions_to_wire(positions)))
        }
        WebhookEvent::Rewound {
            webhook,
            positions,
            since,
            is_gap,
        } => {
            let rewound = wire::WebhookRewound {
                positions: Some(positions_to_wire(positions)),
                since: since.map(|time| time.0),
                gap: *is_gap,
            };
            (*webhook, Fact::Rewound(rewound))
        }
        WebhookEvent::Delivered { webhook, count } => (*webhook, Fact::Delivered(*count)),
        WebhookEvent::Deferred {
            webhook,
            id,
            deferred,
        } => (*webhook, Fact::Deferred(deferred_to_wire(*id, deferred))),
        WebhookEvent::Settled { webhook, id } => (*webhook, Fact::Settled(delivery_to_wire(*id))),
        WebhookEvent::Died { webhook, id, letter } => (*webhook, Fact::Died(dead_to_wire(*id, letter))),
        WebhookEvent::Replayed { webhook, id } => (*webhook, Fact::Replayed(delivery_to_wire(*id))),
    };
    wire::WebhookEvent {
        webhook: webhook.0.to_vec(),
        fact: Some(fact),
    }
}

pub(super) fn event_of(event: wire::WebhookEvent) -> Result<WebhookEvent, AccessDecodeError> {
    let webhook = webhook_id(&event.webhook)?;
    Ok(match event.fact.ok_or_else(|| unknown("fact"))? {
        Fact::Created(created) => WebhookEvent::Created(NewWebhook {
            id: webhook,
            secret: secret(&created.secret)?,
            url: created.url.into(),
            description: created.description.into(),
            filter: filter(created.filter)?,
            positions: positions(created.positions)?,
        }),
        Fact::Updated(updated) => WebhookEvent::Updated {
            webhook,
            url: updated.url.into(),
            description: updated.description.into(),
            filter: filter(updated.filter)?,
        },
        Fact::Paused(number) => WebhookEvent::Paused {
            webhook,
            cause: cause(number)?.ok_or_else(|| unknown("paused"))?,
        },
        Fact::Resumed(_) => WebhookEvent::Resumed { webhook },
        Fact::Deleted(_) => WebhookEvent::Deleted { webhook },
        Fact::SecretRotated(rotated) => WebhookEvent::SecretRotated {
            webhook,
            secret: secret(&rotated.secret)?,
            old_expires: Time(rotated.old_expires),
        },
        Fact::Advanced(at) => WebhookEvent::Advanced {
            webhook,
            positions: positions(Some(at))?,
        },
        Fact::Rewound(rewound) => WebhookEvent::Rewound {
            webhook,
            positions: positions(rewound.positions)?,
            since: rewound.since.map(Time),
            is_gap: rewound.gap,
        },
        Fact::Delivered(count) => WebhookEvent::Delivered { webhook, count },
        Fact::Deferred(it) => {
            let (id, deferred) = deferred_of(it)?;
            WebhookEvent::Deferred {
                webhook,
                id,
                deferred,
            }
        }
        Fact::Settled(id) => WebhookEvent::Settled {
            webhook,
            id: delivery(Some(id))?,
        },
        Fact::Died(it) => {
            let (id, letter) = dead_of(it)?;
            WebhookEvent::Died { webhook, id, letter }
        }
        Fact::Replayed(id) => WebhookEvent::Replayed {
            webhook,
            id: delivery(Some(id))?,
        },
    })
}
