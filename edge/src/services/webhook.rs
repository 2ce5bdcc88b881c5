//! `WebhookService`.

use std::time::{Duration, Instant};

use docket_actors::{
    CallError, Docket, WatchError,
    webhooks::{WebhookError, webhook_request},
};
use docket_audit::Audit;
use docket_engine::{
    CustomerId,
    access::Owner,
    webhook::{
        DeliveryFailure, FeedPositions, NewWebhook, Webhook, WebhookChange, WebhookCommand, WebhookId,
        WebhookRejection, WebhookRequest, WebhookSecret, limits::WEBHOOKS_MAX,
    },
};
use docket_proto::{
    api::{
        feed::FeedOf,
        webhooks::{self, Replay, webhook_name},
    },
    feed::FeedFrom,
    v1::{self, webhook_service_server::WebhookService},
};
use docket_webhooks::{Deliverer, NotDelivered, secret_text};
use prost_types::Duration as ProtoDuration;
use tokio::time::timeout_at;
use tonic::{Code, Request, Response, Status};

use super::{accept, allowed, context};
use crate::{audit::Change, errors::Refusal, gate::CallContext};

/// When to try again where the meta group has no leader here, or the state changed under a command.
const RETRY: Duration = Duration::from_millis(100);
/// How long a read waits for the meta group where its caller waits longer.
const READ_MAX: Duration = Duration::from_secs(5);
/// What is left of a call's time to answer in that a test event was not delivered in the rest.
const ANSWER: Duration = Duration::from_millis(250);

/// The service.
pub(crate) struct WebhookApi {
    docket: Docket,
    deliverer: Deliverer,
    audit: Audit,
}

impl WebhookApi {
    pub(crate) fn new(docket: Docket, deliverer: Deliverer, audit: Audit) -> Self {
        Self {
            docket,
            deliverer,
            audit,
        }
    }

    fn feed_of(&self) -> FeedOf {
        let (cluster, shards) = self.docket.positions_of();
        FeedOf { cluster, shards }
    }

    /// Does what is asked, and says which webhook it was about.
    async fn execute(
        &self,
        request_id: Option<String>,
        request: WebhookRequest,
        about: Option<WebhookId>,
    ) -> Result<WebhookId, Refusal> {
        let command = WebhookCommand {
            time: self.deliverer.now(),
            request_id: request_id.map(|id| webhook_request(&id, &request)),
            request,
        };
        let done = self.docket.webhooks().execute(&command).await;
        done.map_err(|error| refusal(error, about))
    }

    /// Everything that was answered before is seen from here on.
    async fn barrier(&self, context: &CallContext) -> Result<(), Refusal> {
        let most = Instant::now() + READ_MAX;
        let deadline = context.call(None).deadline.map_or(most, |at| at.min(most));
        let passed = self.docket.webhooks().barrier(deadline).await;
        passed.map_err(|error| refusal(error, None))
    }

    fn look<T>(&self, id: WebhookId, look: impl FnOnce(&Webhook) -> T) -> Result<T, Refusal> {
        let found = self
            .docket
            .webhooks()
            .read(|state| state.webhook(id).map(|webhook| look(webhook)));
        found.ok_or_else(|| refusal(WebhookRejection::NotFound.into(), Some(id)))
    }

    fn shown(&self, id: WebhookId) -> Result<v1::Webhook, Refusal> {
        let (now, of) = (self.deliverer.now(), self.feed_of());
        self.look(id, |webhook| webhooks::webhook_to_proto(webhook, now, Some(&of)))
    }

    /// A webhook with its secret: for who has just made it.
    fn with_secret(&self, id: WebhookId) -> Result<(v1::Webhook, String), Refusal> {
        let secret = self.look(id, |webhook| secret_text(&webhook.secret))?;
        Ok((self.shown(id)?, secret))
    }

    /// Positions in the feed. True where it does not keep what comes behind those that were asked for.
    async fn positions(
        &self,
        customer: Option<CustomerId>,
        from: impl Fn(usize) -> FeedFrom,
    ) -> Result<(FeedPositions, bool), Refusal> {
        let shards = match customer {
            Some(_) => 1,
            None => self.feed_of().shards,
        };
        let from = (0..shards).map(from).collect();
        let begun = self.docket.follow_orders(customer, Vec::new(), from).await;
        let (watch, is_gap) = begun.map_err(|error| unread(&error))?;
        let positions = watch.positions().map(|at| (at.index, at.ordinal));
        Ok((FeedPositions(positions.collect()), is_gap))
    }

    async fn now(&self, customer: Option<CustomerId>) -> Result<FeedPositions, Refusal> {
        let (positions, _) = self.positions(customer, |_| FeedFrom::Now).await?;
        Ok(positions)
    }

    async fn create(&self, asked: webhooks::CreateWebhook) -> Result<v1::CreateWebhookResponse, Refusal> {
        // Where it begins is recorded with it: what is committed after the answer is not missed, whoever delivers it.
        let positions = self.now(asked.filter.customer.clone()).await?;
        let new = NewWebhook {
            id: WebhookId(random()?),
            secret: WebhookSecret(random()?),
            url: asked.url,
            description: asked.description,
            filter: asked.filter,
            positions,
        };
        let id = self
            .execute(asked.request_id, WebhookRequest::Create(new), None)
            .await?;
        let (webhook, secret) = self.with_secret(id)?;
        Ok(v1::CreateWebhookResponse {
            webhook: Some(webhook),
            secret,
        })
    }

    async fn update(&self, asked: webhooks::UpdateWebhook) -> Result<v1::Webhook, Refusal> {
        let webhook = asked.id;
        let filter = match asked.filter {
            None => None,
            Some(filter) => {
                let is_same = self.look(webhook, |webhook| webhook.filter.customer == filter.customer)?;
                let positions = match is_same {
                    true => None,
                    false => Some(self.now(filter.customer.clone()).await?),
                };
                Some((filter, positions))
            }
        };
        let request = WebhookRequest::Update {
            webhook,
            expected: asked.expected,
            change: WebhookChange {
                url: asked.url,
                description: asked.description,
                filter,
                paused: asked.paused,
            },
        };
        self.execute(asked.request_id, request, Some(webhook)).await?;
        self.shown(webhook)
    }

    async fn replay(&self, asked: webhooks::ReplayWebhook) -> Result<v1::Webhook, Refusal> {
        let webhook = asked.id;
        let filter = self.look(webhook, |webhook| webhook.filter.clone())?;
        let request = match asked.replay {
            Replay::Dead(letters) => WebhookRequest::ReplayDead { webhook, letters },
            Replay::Since(since) => {
                let first = self.docket.feed_since(filter.customer.as_ref(), since);
                let from = |shard: usize| first.get(shard).copied().unwrap_or(FeedFrom::Oldest);
                let (positions, _) = self.positions(filter.customer, from).await?;
                WebhookRequest::ReplayFrom {
                    webhook,
                    positions,
                    since: Some(since),
                }
            }
            Replay::Token(token) => {
                let of = self.feed_of();
                let at = accept(webhooks::positions_of_token(&token, &filter, &of))?;
                let from = |shard: usize| match at.0.get(shard) {
                    Some((index, ordinal)) => FeedFrom::At(docket_proto::feed::FeedPosition {
                        index: *index,
                        ordinal: *ordinal,
                    }),
                    None => FeedFrom::Oldest,
                };
                let (positions, is_gap) = self.positions(filter.customer, from).await?;
                if is_gap {
                    return Err(too_old());
                }
                WebhookRequest::ReplayFrom {
                    webhook,
                    positions,
                    since: None,
                }
            }
        };
        self.execute(asked.request_id, request, Some(webhook)).await?;
        self.shown(webhook)
    }

    async fn test(&self, context: &CallContext, id: WebhookId) -> Result<v1::TestWebhookResponse, Refusal> {
        let now = self.deliverer.now();
        let (url, secrets) = self.look(id, |webhook| {
            (webhook.url.clone(), webhook.secrets(now).collect::<Vec<_>>())
        })?;
        let event_id = format!("test-{}", WebhookId(random()?));
        let body = self.deliverer.events().test(&event_id, id);
        let begun = Instant::now();
        let sender = self.deliverer.sender();
        let sent = sender.deliver(&url, &event_id, body, secrets, now);
        // Whoever asks hears what came of it, also where it has less time than a delivery.
        let sent = match context.call(None).deadline {
            Some(deadline) => {
                match timeout_at(deadline.checked_sub(ANSWER).unwrap_or(deadline).into(), sent).await {
                    Ok(sent) => sent,
                    Err(_) => Err(NotDelivered {
                        failure: DeliveryFailure::TimedOut,
                        retry_after: None,
                    }),
                }
            }
            None => sent.await,
        };
        let took = begun.elapsed();
        let (status, failure) = match sent {
            Ok(delivered) => (delivered.status, String::new()),
            Err(NotDelivered { failure, .. }) => {
                let status = match failure {
                    DeliveryFailure::Status(status) => status,
                    _ => 0,
                };
                (status, failure.to_string())
            }
        };
        Ok(v1::TestWebhookResponse {
            delivered: failure.is_empty(),
            http_status: status.into(),
            failure,
            duration: ProtoDuration::try_from(took).ok(),
            event_id,
        })
    }
}

#[tonic::async_trait]
impl WebhookService for WebhookApi {
    async fn create_webhook(
        &self,
        request: Request<v1::CreateWebhookRequest>,
    ) -> Result<Response<v1::CreateWebhookResponse>, Status> {
        let context = permitted(&request)?;
        let allow_http = self.deliverer.allows_http();
        let asked = accept(webhooks::create_webhook(request.get_ref(), allow_http))?;
        let change = Change::of(&context, "webhook.create", "").request_id(asked.request_id.as_deref());
        let created = change.run_and_tell(&self.audit, self.create(asked), |created, entry| {
            let webhook = created.webhook.as_ref();
            entry.detail(
                "webhook",
                webhook.map(|webhook| webhook.name.clone()).unwrap_or_default(),
            )
        });
        reply(created.await)
    }

    async fn get_webhook(
        &self,
        request: Request<v1::GetWebhookRequest>,
    ) -> Result<Response<v1::Webhook>, Status> {
        let context = permitted(&request)?;
        let id = accept(webhooks::get_webhook(request.get_ref()))?;
        self.barrier(&context).await?;
        reply(self.shown(id))
    }

    async fn list_webhooks(
        &self,
        request: Request<v1::ListWebhooksRequest>,
    ) -> Result<Response<v1::ListWebhooksResponse>, Status> {
        let context = permitted(&request)?;
        let asked = accept(webhooks::list_webhooks(request.get_ref()))?;
        self.barrier(&context).await?;
        let now = self.deliverer.now();
        let (shown, last) = self.docket.webhooks().read(|state| {
            let mut all = state
                .webhooks()
                .filter(|webhook| asked.after.is_none_or(|after| webhook.id > after))
                .peekable();
            let mut page = Vec::new();
            let mut last = None;
            while let Some(webhook) = all.next_if(|_| page.len() < asked.limit) {
                last = Some(webhook.id);
                page.push(webhooks::webhook_to_proto(webhook, now, None));
            }
            (page, last.filter(|_| all.peek().is_some()))
        });
        Ok(Response::new(v1::ListWebhooksResponse {
            webhooks: shown,
            next_page_token: last.map(webhooks::next_webhook_page).unwrap_or_default(),
        }))
    }

    async fn update_webhook(
        &self,
        request: Request<v1::UpdateWebhookRequest>,
    ) -> Result<Response<v1::Webhook>, Status> {
        let context = permitted(&request)?;
        let allow_http = self.deliverer.allows_http();
        let asked = accept(webhooks::update_webhook(request.get_ref(), allow_http))?;
        self.barrier(&context).await?;
        let change = about(&context, "webhook.update", asked.id).request_id(asked.request_id.as_deref());
        reply(change.run(&self.audit, self.update(asked)).await)
    }

    async fn delete_webhook(
        &self,
        request: Request<v1::DeleteWebhookRequest>,
    ) -> Result<Response<v1::DeleteWebhookResponse>, Status> {
        let context = permitted(&request)?;
        let asked = accept(webhooks::delete_webhook(request.get_ref()))?;
        let delete = WebhookRequest::Delete {
            webhook: asked.id,
            expected: asked.expected,
        };
        let deleted = self.execute(None, delete, Some(asked.id));
        about(&context, "webhook.delete", asked.id)
            .run(&self.audit, deleted)
            .await?;
        Ok(Response::new(v1::DeleteWebhookResponse {}))
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<v1::RotateWebhookSecretRequest>,
    ) -> Result<Response<v1::RotateWebhookSecretResponse>, Status> {
        let context = permitted(&request)?;
        let asked = accept(webhooks::rotate_secret(request.get_ref()))?;
        let rotate = WebhookRequest::RotateSecret {
            webhook: asked.id,
            expected: asked.expected,
            secret: WebhookSecret(random()?),
            overlap_us: asked.overlap_us,
        };
        let change =
            about(&context, "webhook.secret.rotate", asked.id).request_id(asked.request_id.as_deref());
        let rotated = self.execute(asked.request_id, rotate, Some(asked.id));
        change.run(&self.audit, rotated).await?;
        let (webhook, secret) = self.with_secret(asked.id)?;
        Ok(Response::new(v1::RotateWebhookSecretResponse {
            webhook: Some(webhook),
            secret,
        }))
    }

    async fn test_webhook(
        &self,
        request: Request<v1::TestWebhookRequest>,
    ) -> Result<Response<v1::TestWebhookResponse>, Status> {
        let context = permitted(&request)?;
        let id = accept(webhooks::test_webhook(request.get_ref()))?;
        self.barrier(&context).await?;
        let tested = self.test(&context, id);
        reply(about(&context, "webhook.test", id).run(&self.audit, tested).await)
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let context = permitted(&request)?;
        let asked = accept(webhooks::list_dead_letters(request.get_ref()))?;
        self.barrier(&context).await?;
        let (dead_letters, last) = self.look(asked.id, |webhook| {
            let mut all = webhook
                .dead
                .iter()
                .filter(|(id, _)| asked.after.is_none_or(|after| **id > after))
                .peekable();
            let mut page = Vec::new();
            let mut last = None;
            while let Some((id, letter)) = all.next_if(|_| page.len() < asked.limit) {
                last = Some(*id);
                page.push(webhooks::dead_letter_to_proto(asked.id, *id, letter));
            }
            (page, last.filter(|_| all.peek().is_some()))
        })?;
        let token = last.map(|last| webhooks::next_dead_letter_page(asked.id, last));
        Ok(Response::new(v1::ListDeadLettersResponse {
            dead_letters,
            next_page_token: token.unwrap_or_default(),
        }))
    }

    async fn replay_webhook(
        &self,
        request: Request<v1::ReplayWebhookRequest>,
    ) -> Result<Response<v1::ReplayWebhookResponse>, Status> {
        let context = permitted(&request)?;
        let asked = accept(webhooks::replay_webhook(request.get_ref()))?;
        self.barrier(&context).await?;
        let change = about(&context, "webhook.replay", asked.id).request_id(asked.request_id.as_deref());
        let webhook = Some(change.run(&self.audit, self.replay(asked)).await?);
        Ok(Response::new(v1::ReplayWebhookResponse { webhook }))
    }
}

/// Webhooks are nobody's: who may use one may use all.
fn permitted<T>(request: &Request<T>) -> Result<CallContext, Refusal> {
    let context = context(request)?;
    allowed(&context, Owner::Nobody, || {
        refusal(WebhookRejection::NotFound.into(), None)
    })?;
    Ok(context)
}

/// Something that is done to a webhook, as it is recorded.
fn about(context: &CallContext, action: &'static str, webhook: WebhookId) -> Change {
    Change::of(context, action, webhook_name(webhook))
}

fn reply<T>(answer: Result<T, Refusal>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(Status::from)
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system has no randomness to give");
        let message = "the server failed on this request; it was recorded for its operators";
        Refusal::new(Code::Internal, "INTERNAL", message)
    })?;
    Ok(bytes)
}

/// What a rejection, or a failure, answers.
fn refusal(error: WebhookError, about: Option<WebhookId>) -> Refusal {
    let message = error.to_string();
    let about = |refusal: Refusal| match about {
        Some(id) => refusal.resource("docket.v1.Webhook", webhook_name(id)),
        None => refusal,
    };
    let try_again = || {
        let message = "nothing was done: try again";
        Refusal::new(Code::Unavailable, "TRY_AGAIN", message).retry(RETRY)
    };
    match error {
        WebhookError::Rejected(rejection) => match rejection {
            WebhookRejection::RequestIdReused => {
                Refusal::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message).with("field", "request_id")
            }
            WebhookRejection::NotFound => about(Refusal::new(Code::NotFound, "WEBHOOK_NOT_FOUND", message)),
            WebhookRejection::StaleEtag => about(Refusal::new(Code::Aborted, "STALE_ETAG", message)),
            WebhookRejection::TooMany => Refusal::new(Code::ResourceExhausted, "TOO_MANY_WEBHOOKS", message)
                .with("limit", WEBHOOKS_MAX.to_string())
                .quota("webhooks"),
            WebhookRejection::DeadLetterNotFound => {
                about(Refusal::new(Code::NotFound, "DEAD_LETTER_NOT_FOUND", message))
            }
            WebhookRejection::TooManyRetries => about(
                Refusal::new(Code::ResourceExhausted, "TOO_MANY_RETRIES", message).quota("webhook:retries"),
            ),
            // Chance draws no id twice.
            WebhookRejection::IdTaken => try_again(),
        },
        WebhookError::NotLeader => Refusal::new(Code::Unavailable, "META_UNAVAILABLE", message).retry(RETRY),
        WebhookError::LowSpace { free_bytes } => CallError::LowSpace { free_bytes }.into(),
        WebhookError::OlderNodes => CallError::OlderNodes.into(),
        WebhookError::OutcomeUnknown => Refusal::new(
            Code::Unavailable,
            "OUTCOME_UNKNOWN",
            "the outcome is not known: repeat the request with the same request_id, or look whether it was done",
        ),
        WebhookError::Contended => try_again(),
    }
}

fn too_old() -> Refusal {
    let message = "changes behind this token are not kept any more: replay from a start_time instead";
    Refusal::new(Code::OutOfRange, "RESUME_TOKEN_TOO_OLD", message).with("field", "resume_token")
}

/// Why positions cannot be found.
fn unread(error: &WatchError) -> Refusal {
    match error {
        WatchError::TooOld | WatchError::Unknown => too_old(),
        WatchError::Unavailable | WatchError::Broken(_) => {
            let message = "a shard's changes cannot be read here now: nothing was done";
            Refusal::new(Code::Unavailable, "SHARD_UNAVAILABLE", message).retry(RETRY)
        }
    }
}
