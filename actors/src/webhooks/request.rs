//! Names and fingerprints of clients' requests about webhooks, as of those about entities.

use docket_engine::{
    Request,
    webhook::{DeadLetters, NewWebhook, WebhookChange, WebhookFilter, WebhookId, WebhookRequest},
};

use crate::request::Content;

/// The request with this client's id. One that makes a webhook counts among all of those, any other for its webhook. What whoever asks
/// draws by chance or reads from the feed does not count: a repeat has other ids, secrets and positions.
pub fn webhook_request(request_id: &str, request: &WebhookRequest) -> Request {
    match request {
        WebhookRequest::Create(NewWebhook {
            url,
            description,
            filter: of,
            ..
        }) => {
            let content = Content::of("CreateWebhook").text(url).text(description);
            filter(content, of).about_webhook(WebhookId([0; 12]), request_id)
        }
        WebhookRequest::Update {
            webhook,
            expected,
            change:
                WebhookChange {
                    url,
                    description,
                    filter: of,
                    paused,
                },
        } => {
            let content = Content::of("UpdateWebhook")
                .revision(*expected)
                .name(url.as_deref())
                .name(description.as_deref())
                .number(paused.map_or(-1, i64::from));
            let content = match of {
                Some((of, _)) => filter(content.number(1), of),
                None => content.number(0),
            };
            content.about_webhook(*webhook, request_id)
        }
        WebhookRequest::Delete { webhook, expected } => Content::of("DeleteWebhook")
            .revision(*expected)
            .about_webhook(*webhook, request_id),
        WebhookRequest::RotateSecret {
            webhook,
            expected,
            overlap_us,
            ..
        } => Content::of("RotateWebhookSecret")
            .revision(*expected)
            .number(*overlap_us)
            .about_webhook(*webhook, request_id),
        WebhookRequest::ReplayDead { webhook, letters } => {
            let content = Content::of("ReplayWebhook");
            let content = match letters {
                DeadLetters::All => content.number(-1),
                DeadLetters::These(ids) => {
                    ids.iter().fold(content.number(ids.len() as i64), |content, id| {
                        content.text(&id.to_string())
                    })
                }
            };
            content.about_webhook(*webhook, request_id)
        }
        WebhookRequest::ReplayFrom {
            webhook,
            positions,
            since,
        } => {
            let content = Content::of("ReplayWebhook").number(-2);
            let content = match since {
                Some(since) => content.number(since.0),
                None => positions.0.iter().fold(content, |content, (index, ordinal)| {
                    content.number(*index as i64).number(i64::from(*ordinal))
                }),
            };
            content.about_webhook(*webhook, request_id)
        }
        WebhookRequest::Progress(progress) => {
            Content::of("Progress").about_webhook(progress.webhook, request_id)
        }
    }
}

fn filter(content: Content, filter: &WebhookFilter) -> Content {
    let content = content
        .name(filter.customer.as_ref().map(|customer| customer.as_str()))
        .number(filter.states.len() as i64);
    let content = filter
        .states
        .iter()
        .fold(content, |content, state| content.text(&state.to_string()));
    let content = content.number(filter.kinds.len() as i64);
    filter
        .kinds
        .iter()
        .fold(content, |content, kind| content.number(kind.number().into()))
}
