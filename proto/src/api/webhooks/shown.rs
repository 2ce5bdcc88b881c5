//! Webhooks and dead letters as the API shows them. Never with a secret.

use docket_engine::{
    Time,
    webhook::{DeadLetter, DeliveryId, PauseCause, Webhook, WebhookFilter, WebhookId},
};

use super::{dead_letter_name, webhook_name};
use crate::{
    api::{
        feed::{FeedOf, WatchOrders, kind_to_proto},
        names::{customer_name, etag, order_name},
        show::{state_to_proto, timestamp},
    },
    feed::FeedPosition,
    v1,
};

/// A webhook as the API shows it: with its position where that is asked for. Never with a secret.
pub fn webhook_to_proto(webhook: &Webhook, now: Time, of: Option<&FeedOf>) -> v1::Webhook {
    let state = match webhook.paused {
        None => v1::webhook::State::Active,
        Some(PauseCause::Asked) => v1::webhook::State::Paused,
        Some(PauseCause::Gone) => v1::webhook::State::Gone,
    };
    let old_secrets = webhook.old_secrets.iter().rev();
    let old_secrets = old_secrets.filter(|old| now < old.expires);
    let count = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let deliveries = v1::WebhookDeliveries {
        delivered: number(webhook.delivered),
        retrying: count(webhook.deferred.len()),
        dead_letters: count(webhook.dead.len()),
        dead_letters_forgotten: number(webhook.dead_forgotten),
        last_delivery_time: webhook.last_delivered.map(timestamp),
        last_failure_time: webhook.last_failure.map(|(at, _)| timestamp(at)),
        last_failure: webhook
            .last_failure
            .map(|(_, why)| why.to_string())
            .unwrap_or_default(),
        gaps: number(webhook.gaps),
        last_gap_time: webhook.last_gap.map(timestamp),
        resume_token: of.map(|of| token(webhook, of)).unwrap_or_default(),
        old_secret_expire_times: old_secrets.map(|old| timestamp(old.expires)).collect(),
    };
    v1::Webhook {
        name: webhook_name(webhook.id),
        url: webhook.url.to_string(),
        description: webhook.description.to_string(),
        filter: (webhook.filter != WebhookFilter::default()).then(|| filter_to_proto(&webhook.filter)),
        state: state.into(),
        etag: etag(webhook.revision),
        create_time: Some(timestamp(webhook.created)),
        update_time: Some(timestamp(webhook.updated)),
        deliveries: Some(deliveries),
    }
}

/// A dead letter as the API shows it.
pub fn dead_letter_to_proto(webhook: WebhookId, id: DeliveryId, letter: &DeadLetter) -> v1::DeadLetter {
    v1::DeadLetter {
        name: dead_letter_name(webhook, id),
        order: order_name(id.order),
        kind: kind_to_proto(letter.kind).into(),
        change_time: Some(timestamp(letter.at)),
        first_failure_time: Some(timestamp(letter.first)),
        death_time: Some(timestamp(letter.died)),
        failures: i32::try_from(letter.failures).unwrap_or(i32::MAX),
        failure: letter.failure.to_string(),
    }
}

fn filter_to_proto(filter: &WebhookFilter) -> v1::WebhookFilter {
    v1::WebhookFilter {
        customer: filter.customer.as_ref().map(customer_name).unwrap_or_default(),
        states: filter
            .states
            .iter()
            .map(|state| state_to_proto(*state).into())
            .collect(),
        kinds: filter
            .kinds
            .iter()
            .map(|kind| kind_to_proto(*kind).into())
            .collect(),
    }
}

/// The token of a webhook's positions.
fn token(webhook: &Webhook, of: &FeedOf) -> String {
    let watch = WatchOrders {
        customer: webhook.filter.customer.clone(),
        states: Vec::new(),
        from: Vec::new(),
    };
    let positions: Vec<FeedPosition> = webhook
        .positions
        .0
        .iter()
        .map(|(index, ordinal)| FeedPosition {
            index: *index,
            ordinal: *ordinal,
        })
        .collect();
    watch.tokens(of).token(positions.into_iter())
}
