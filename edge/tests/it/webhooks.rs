//! Webhooks over gRPC: what an admin can do with them, page by page, and every refusal.

use docket_engine::webhook::limits::WEBHOOKS_MAX;
use docket_proto::v1::{self, webhook_service_client::WebhookServiceClient};
use prost_types::{Duration, FieldMask, Timestamp};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::support::{Running, by, fields, reason, start};

const URL: &str = "https://shop.example/hooks";

struct Hooks(WebhookServiceClient<Channel>);

impl Hooks {
    async fn of(server: &Running) -> Self {
        Self(WebhookServiceClient::new(server.connect().await))
    }

    async fn create(&mut self, url: &str, request_id: &str) -> Result<v1::CreateWebhookResponse, Status> {
        let webhook = v1::Webhook {
            url: url.into(),
            ..Default::default()
        };
        let request = v1::CreateWebhookRequest {
            webhook: Some(webhook),
            request_id: request_id.into(),
        };
        Ok(self.0.create_webhook(by("root", request)).await?.into_inner())
    }

    async fn get(&mut self, name: &str) -> Result<v1::Webhook, Status> {
        let request = v1::GetWebhookRequest { name: name.into() };
        Ok(self.0.get_webhook(by("root", request)).await?.into_inner())
    }

    async fn update(
        &mut self,
        webhook: v1::Webhook,
        paths: &[&str],
        request_id: &str,
    ) -> Result<v1::Webhook, Status> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = v1::UpdateWebhookRequest {
            webhook: Some(webhook),
            update_mask: Some(FieldMask { paths }),
            request_id: request_id.into(),
        };
        Ok(self.0.update_webhook(by("root", request)).await?.into_inner())
    }

    async fn replay(&mut self, request: v1::ReplayWebhookRequest) -> Result<v1::Webhook, Status> {
        let replayed = self.0.replay_webhook(by("root", request)).await?.into_inner();
        Ok(replayed.webhook.unwrap())
    }
}

#[track_caller]
fn check<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, why: &str) -> Status {
    let status = answer.expect_err(why);
    assert_eq!((status.code(), reason(&status).as_str()), (code, why), "{status}");
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_made_changed_and_deleted() {
    let server = start(|_| {}).await;
    let mut hooks = Hooks::of(&server).await;
    let created = hooks.create(URL, "one").await.unwrap();
    let webhook = created.webhook.unwrap();
    assert!(created.secret.starts_with("whsec_"));
    assert_eq!(
        (webhook.url.as_str(), webhook.state(), webhook.etag.as_str()),
        (URL, v1::webhook::State::Active, "v1")
    );
    assert!(!webhook.deliveries.as_ref().unwrap().resume_token.is_empty());
    let again = hooks.create(URL, "one").await.unwrap();
    assert_eq!(
        (again.webhook, again.secret),
        (Some(webhook.clone()), created.secret.clone())
    );
    let name = webhook.name.as_str();
    assert_eq!(hooks.get(name).await.unwrap(), webhook);

    let filter = v1::WebhookFilter {
        customer: "customers/ada".into(),
        states: vec![v1::order::State::Confirmed.into()],
        kinds: vec![v1::order_change::Kind::Confirmed.into()],
    };
    let change = v1::Webhook {
        name: name.into(),
        filter: Some(filter.clone()),
        state: v1::webhook::State::Paused.into(),
        etag: "v1".into(),
        ..Default::default()
    };
    let changed = hooks
        .update(change.clone(), &["filter", "state"], "two")
        .await
        .unwrap();
    assert_eq!((changed.filter, changed.url.as_str()), (Some(filter), URL));
    assert_eq!(changed.etag, "v3", "each of both is a change");
    // The same request again is done already; another one at that etag comes too late.
    let repeated = hooks
        .update(change.clone(), &["filter", "state"], "two")
        .await
        .unwrap();
    assert_eq!(repeated.etag, "v3");
    check(
        hooks.update(change.clone(), &["state"], "").await,
        Code::Aborted,
        "STALE_ETAG",
    );
    check(
        hooks.update(change, &["state"], "two").await,
        Code::AlreadyExists,
        "REQUEST_ID_REUSED",
    );

    let rotate = v1::RotateWebhookSecretRequest {
        name: name.into(),
        overlap: Some(Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..Default::default()
    };
    let rotated = hooks
        .0
        .rotate_webhook_secret(by("root", rotate))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(rotated.secret, created.secret);
    let deliveries = rotated.webhook.unwrap().deliveries.unwrap();
    assert_eq!(deliveries.old_secret_expire_times.len(), 1);

    let delete = v1::DeleteWebhookRequest {
        name: name.into(),
        etag: "v9".into(),
    };
    check(
        hooks.0.delete_webhook(by("root", delete.clone())).await,
        Code::Aborted,
        "STALE_ETAG",
    );
    let delete = v1::DeleteWebhookRequest {
        etag: String::new(),
        ..delete
    };
    hooks.0.delete_webhook(by("root", delete)).await.unwrap();
    let gone = check(hooks.get(name).await, Code::NotFound, "WEBHOOK_NOT_FOUND");
    assert_eq!(gone.get_details_resource_info().unwrap().resource_name, name);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_webhooks_which_are_listed_page_by_page() {
    let server = start(|_| {}).await;
    let mut hooks = Hooks::of(&server).await;
    for _ in 0..WEBHOOKS_MAX {
        hooks.create(URL, "").await.unwrap();
    }
    let refused = check(
        hooks.create(URL, "").await,
        Code::ResourceExhausted,
        "TOO_MANY_WEBHOOKS",
    );
    assert_eq!(refused.get_details_quota_failure().unwrap().violations.len(), 1);
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListWebhooksRequest {
            page_size: 30,
            page_token,
        };
        let page = hooks
            .0
            .list_webhooks(by("root", request))
            .await
            .unwrap()
            .into_inner();
        names.extend(page.webhooks.into_iter().map(|webhook| webhook.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(names.is_sorted() && names.len() == WEBHOOKS_MAX);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_reason() {
    let server = start(|_| {}).await;
    let mut hooks = Hooks::of(&server).await;
    let status = check(
        hooks.create("http://shop.example", "").await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    assert_eq!(fields(&status), ["webhook.url"]);
    let webhook = hooks.create(URL, "").await.unwrap().webhook.unwrap();
    let replay = v1::ReplayWebhookRequest {
        name: webhook.name.clone(),
        ..Default::default()
    };
    check(
        hooks.replay(replay.clone()).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    let letter = format!("{}/deadLetters/01KAVQX5C8R7ZJ3M9T2B4N6P8Q-1", webhook.name);
    let of_none = v1::ReplayWebhookRequest {
        dead_letters: vec![letter],
        ..replay.clone()
    };
    check(
        hooks.replay(of_none).await,
        Code::NotFound,
        "DEAD_LETTER_NOT_FOUND",
    );
    let nonsense = v1::ReplayWebhookRequest {
        resume_token: "x".into(),
        ..replay.clone()
    };
    let status = check(
        hooks.replay(nonsense).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    assert_eq!(fields(&status), ["resume_token"]);
    let own = v1::ReplayWebhookRequest {
        resume_token: webhook.deliveries.unwrap().resume_token,
        ..replay.clone()
    };
    hooks.replay(own).await.unwrap();
    let since = v1::ReplayWebhookRequest {
        start_time: Some(Timestamp { seconds: 1, nanos: 0 }),
        ..replay
    };
    hooks.replay(since).await.unwrap();
    let list = v1::ListDeadLettersRequest {
        parent: webhook.name.clone(),
        ..Default::default()
    };
    let page = hooks
        .0
        .list_dead_letters(by("root", list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.dead_letters.len(), page.next_page_token.as_str()), (0, ""));
    server.stop().await;
}
