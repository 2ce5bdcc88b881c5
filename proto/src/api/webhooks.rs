//! The requests of `WebhookService` taken apart, and its replies made. Nothing here prints a secret.

mod fields;
mod shown;

use std::sync::Arc;

use docket_engine::{
    Time,
    webhook::{
        DeadLetters, DeliveryId, FeedPositions, WebhookFilter, WebhookId,
        limits::{DEAD_LETTERS_MAX, OVERLAP_DEFAULT_US, OVERLAP_MAX_US},
    },
};

use self::fields::{description, filter, url};
use super::{
    auth::time_in,
    check::{Check, Checked},
    feed::{FeedOf, watch_orders},
    names::{customer_name, expected},
    page_token::page_token,
};
use crate::{feed::FeedFrom, v1};

pub use shown::{dead_letter_to_proto, webhook_to_proto};

const WEBHOOK: &str = "must have the form webhooks/{webhook}";
const DEAD_LETTER: &str = "must have the form webhooks/{webhook}/deadLetters/{event}, of the same webhook";
/// What page tokens of `ListWebhooks` have in common.
const LIST: &str = "webhooks";
/// What `UpdateWebhook` can change.
const FIELDS: [&str; 4] = ["url", "description", "filter", "state"];
const US_PER_S: i64 = 1_000_000;

/// A `CreateWebhookRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateWebhook {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// Where it is delivered to.
    pub url: Arc<str>,
    /// For people.
    pub description: Arc<str>,
    /// What it is told of.
    pub filter: WebhookFilter,
}

/// An `UpdateWebhookRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateWebhook {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// Which.
    pub id: WebhookId,
    /// Only at this revision.
    pub expected: Option<u64>,
    /// `None` leaves it.
    pub url: Option<Arc<str>>,
    /// `None` leaves it.
    pub description: Option<Arc<str>>,
    /// `None` leaves it.
    pub filter: Option<WebhookFilter>,
    /// `None` leaves it.
    pub paused: Option<bool>,
}

/// A request about one webhook, maybe at one revision only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneWebhook {
    /// Which.
    pub id: WebhookId,
    /// Only at this revision.
    pub expected: Option<u64>,
}

/// A `RotateWebhookSecretRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateSecret {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// Which.
    pub id: WebhookId,
    /// Only at this revision.
    pub expected: Option<u64>,
    /// For how long the secret of now signs too, in microseconds.
    pub overlap_us: i64,
}

/// A `ListWebhooksRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListWebhooks {
    /// Where the page before ended.
    pub after: Option<WebhookId>,
    /// At most this many.
    pub limit: usize,
}

/// A `ListDeadLettersRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListDeadLetters {
    /// Of which webhook.
    pub id: WebhookId,
    /// Where the page before ended.
    pub after: Option<DeliveryId>,
    /// At most this many.
    pub limit: usize,
}

/// What is delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// Dead letters.
    Dead(DeadLetters),
    /// All since then.
    Since(Time),
    /// All behind a token.
    Token(String),
}

/// A `ReplayWebhookRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayWebhook {
    /// The client's id for the request.
    pub request_id: Option<String>,
    /// Which.
    pub id: WebhookId,
    /// What.
    pub replay: Replay,
}

/// `webhooks/{webhook}`.
pub fn webhook_name(id: WebhookId) -> String {
    format!("webhooks/{id}")
}

/// `webhooks/{webhook}/deadLetters/{event}`.
pub fn dead_letter_name(webhook: WebhookId, id: DeliveryId) -> String {
    format!("webhooks/{webhook}/deadLetters/{id}")
}

/// Takes a `CreateWebhookRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn create_webhook(request: &v1::CreateWebhookRequest, allow_http: bool) -> Checked<CreateWebhook> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let Some(webhook) = &request.webhook else {
        check.violation("webhook", "is required");
        return check.done(None);
    };
    let url = url(&mut check, &webhook.url, allow_http);
    let description = description(&mut check, &webhook.description);
    let filter = filter(&mut check, webhook.filter.as_ref());
    let create = || {
        Some(CreateWebhook {
            request_id: request_id?,
            url: url?,
            description: description?,
            filter: filter?,
        })
    };
    check.done(create())
}

/// Takes a `GetWebhookRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn get_webhook(request: &v1::GetWebhookRequest) -> Checked<WebhookId> {
    one(&request.name)
}

/// Takes a `TestWebhookRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn test_webhook(request: &v1::TestWebhookRequest) -> Checked<WebhookId> {
    one(&request.name)
}

/// Takes a `DeleteWebhookRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn delete_webhook(request: &v1::DeleteWebhookRequest) -> Checked<OneWebhook> {
    Ok(OneWebhook {
        id: one(&request.name)?,
        expected: expected(&request.etag),
    })
}

/// Takes an `UpdateWebhookRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn update_webhook(request: &v1::UpdateWebhookRequest, allow_http: bool) -> Checked<UpdateWebhook> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let Some(webhook) = &request.webhook else {
        check.violation("webhook", "is required");
        return check.done(None);
    };
    let id = webhook_in(&mut check, "webhook.name", &webhook.name);
    let set = [
        !webhook.url.is_empty(),
        !webhook.description.is_empty(),
        webhook.filter.is_some(),
        webhook.state != 0,
    ];
    let named = check.mask(request.update_mask.as_ref(), FIELDS, set);
    // A field that the mask leaves out is not looked at.
    let [has_url, has_description, has_filter, has_state] = named.unwrap_or_default();
    let url = has_url.then(|| url(&mut check, &webhook.url, allow_http));
    let description = has_description.then(|| description(&mut check, &webhook.description));
    let filter = has_filter.then(|| filter(&mut check, webhook.filter.as_ref()));
    let paused = has_state.then(|| match v1::webhook::State::try_from(webhook.state) {
        Ok(v1::webhook::State::Active) => Some(false),
        Ok(v1::webhook::State::Paused) => Some(true),
        _ => {
            check.violation("webhook.state", "must be ACTIVE or PAUSED");
            None
        }
    });
    let update = || {
        Some(UpdateWebhook {
            request_id: request_id?,
            id: id?,
            expected: expected(&webhook.etag),
            url: url.flatten(),
            description: description.flatten(),
            filter: filter.flatten(),
            paused: paused.flatten(),
        })
    };
    let update = update();
    check.done(update)
}

/// Takes a `RotateWebhookSecretRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn rotate_secret(request: &v1::RotateWebhookSecretRequest) -> Checked<RotateSecret> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let id = webhook_in(&mut check, "name", &request.name);
    let overlap_us = match &request.overlap {
        None => Some(OVERLAP_DEFAULT_US),
        Some(overlap) => {
            let us = overlap
                .seconds
                .checked_mul(US_PER_S)
                .map(|us| us.saturating_add(i64::from(overlap.nanos) / 1_000));
            let us = us.filter(|us| (0..=OVERLAP_MAX_US).contains(us));
            if us.is_none() {
                check.violation("overlap", "must be from 0 seconds to 7 days");
            }
            us
        }
    };
    let rotate = || {
        Some(RotateSecret {
            request_id: request_id?,
            id: id?,
            expected: expected(&request.etag),
            overlap_us: overlap_us?,
        })
    };
    check.done(rotate())
}

/// Takes a `ListWebhooksRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_webhooks(request: &v1::ListWebhooksRequest) -> Checked<ListWebhooks> {
    let mut check = Check::default();
    let limit = check.page_size(request.page_size);
    let after = check.page_token(LIST, &request.page_token, |last| last.parse().ok());
    let list = || {
        Some(ListWebhooks {
            after: after?,
            limit: limit?,
        })
    };
    check.done(list())
}

/// The token of the page behind `last`.
pub fn next_webhook_page(last: WebhookId) -> String {
    page_token(LIST, &last.to_string())
}

/// Takes a `ListDeadLettersRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_dead_letters(request: &v1::ListDeadLettersRequest) -> Checked<ListDeadLetters> {
    let mut check = Check::default();
    let id = webhook_in(&mut check, "parent", &request.parent);
    let limit = check.page_size(request.page_size);
    let after = check.page_token(&request.parent, &request.page_token, |last| last.parse().ok());
    let list = || {
        Some(ListDeadLetters {
            id: id?,
            after: after?,
            limit: limit?,
        })
    };
    check.done(list())
}

/// The token of the page behind `last`.
pub fn next_dead_letter_page(webhook: WebhookId, last: DeliveryId) -> String {
    page_token(&webhook_name(webhook), &last.to_string())
}

/// Takes a `ReplayWebhookRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn replay_webhook(request: &v1::ReplayWebhookRequest) -> Checked<ReplayWebhook> {
    let mut check = Check::default();
    let request_id = check.optional_request_id(&request.request_id);
    let id = webhook_in(&mut check, "name", &request.name);
    let set = [
        !request.dead_letters.is_empty(),
        request.all_dead_letters,
        request.start_time.is_some(),
        !request.resume_token.is_empty(),
    ];
    let replay = match set {
        [true, false, false, false] => {
            dead_letters(&mut check, request).map(|ids| Replay::Dead(DeadLetters::These(ids)))
        }
        [false, true, false, false] => Some(Replay::Dead(DeadLetters::All)),
        [false, false, true, false] => request
            .start_time
            .as_ref()
            .and_then(|at| time_in(&mut check, "start_time", at))
            .map(Replay::Since),
        [false, false, false, true] => Some(Replay::Token(request.resume_token.clone())),
        _ => {
            check.violation(
                "",
                "exactly one of dead_letters, all_dead_letters, start_time and resume_token must be set",
            );
            None
        }
    };
    let replay = || {
        Some(ReplayWebhook {
            request_id: request_id?,
            id: id?,
            replay: replay?,
        })
    };
    let replay = replay();
    check.done(replay)
}

fn dead_letters(check: &mut Check, request: &v1::ReplayWebhookRequest) -> Option<Vec<DeliveryId>> {
    if request.dead_letters.len() > DEAD_LETTERS_MAX {
        check.violation("dead_letters", format!("must be at most {DEAD_LETTERS_MAX}"));
        return None;
    }
    let collection = format!("{}/deadLetters/", request.name);
    let mut ids = Vec::with_capacity(request.dead_letters.len());
    for (i, name) in request.dead_letters.iter().enumerate() {
        let id = name
            .strip_prefix(&collection)
            .and_then(|id| id.parse::<DeliveryId>().ok());
        match id {
            Some(id) => ids.push(id),
            None => {
                check.violation(format!("dead_letters[{i}]"), DEAD_LETTER);
                return None;
            }
        }
    }
    Some(ids)
}

/// The positions of a webhook's token.
///
/// # Errors
/// What is wrong with it.
pub fn positions_of_token(token: &str, filter: &WebhookFilter, of: &FeedOf) -> Checked<FeedPositions> {
    let request = v1::WatchOrdersRequest {
        customer: filter.customer.as_ref().map(customer_name).unwrap_or_default(),
        resume_token: token.to_owned(),
        ..v1::WatchOrdersRequest::default()
    };
    let watch = watch_orders(&request, of)?;
    let positions = watch.from.iter().map(|from| match from {
        FeedFrom::At(at) => (at.index, at.ordinal),
        FeedFrom::Now | FeedFrom::Oldest => (0, 0),
    });
    Ok(FeedPositions(positions.collect()))
}

fn one(name: &str) -> Checked<WebhookId> {
    let mut check = Check::default();
    let id = webhook_in(&mut check, "name", name);
    check.done(id)
}

fn webhook_in(check: &mut Check, field: &str, name: &str) -> Option<WebhookId> {
    let id = name.strip_prefix("webhooks/").and_then(|id| id.parse().ok());
    if id.is_none() {
        check.violation(field, WEBHOOK);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: std::fmt::Debug>(answer: Checked<T>, fields: &[&str]) {
        let found: Vec<_> = answer.unwrap_err().into_iter().map(|one| one.field).collect();
        assert_eq!(found, fields);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let webhook = v1::Webhook {
            url: "ftp://x".into(),
            description: "a\nb".into(),
            filter: Some(v1::WebhookFilter {
                customer: "ada".into(),
                states: vec![99],
                kinds: vec![0],
            }),
            ..v1::Webhook::default()
        };
        let request = v1::CreateWebhookRequest {
            webhook: Some(webhook),
            request_id: "\n".into(),
        };
        refused(
            create_webhook(&request, false),
            &[
                "request_id",
                "webhook.url",
                "webhook.description",
                "webhook.filter.customer",
                "states[0]",
                "webhook.filter.kinds",
            ],
        );
        refused(
            create_webhook(&v1::CreateWebhookRequest::default(), false),
            &["webhook"],
        );
        refused(
            get_webhook(&v1::GetWebhookRequest {
                name: "webhooks/x".into(),
            }),
            &["name"],
        );
    }

    #[test]
    fn what_is_replayed_is_named_once() {
        let name = "webhooks/010101010101010101010101";
        let request = v1::ReplayWebhookRequest {
            name: name.into(),
            ..v1::ReplayWebhookRequest::default()
        };
        refused(replay_webhook(&request), &[""]);
        let all = v1::ReplayWebhookRequest {
            all_dead_letters: true,
            ..request.clone()
        };
        assert_eq!(
            replay_webhook(&all).unwrap().replay,
            Replay::Dead(DeadLetters::All)
        );
        let both = v1::ReplayWebhookRequest {
            resume_token: "x".into(),
            ..all
        };
        refused(replay_webhook(&both), &[""]);
        let of_another = v1::ReplayWebhookRequest {
            dead_letters: vec![
                "webhooks/020202020202020202020202/deadLetters/01KAVQX5C8R7ZJ3M9T2B4N6P8Q-1".into(),
            ],
            ..request.clone()
        };
        refused(replay_webhook(&of_another), &["dead_letters[0]"]);
        let these = v1::ReplayWebhookRequest {
            dead_letters: vec![format!("{name}/deadLetters/01KAVQX5C8R7ZJ3M9T2B4N6P8Q-1")],
            ..request
        };
        assert!(matches!(
            replay_webhook(&these).unwrap().replay,
            Replay::Dead(DeadLetters::These(ids)) if ids.len() == 1
        ));
    }
}
