//! `docket webhook`: receivers on HTTP that are told of changes of orders.

use clap::Subcommand;
use docket_proto::v1::{
    CreateWebhookRequest, DeleteWebhookRequest, GetWebhookRequest, ListDeadLettersRequest,
    ListWebhooksRequest, ReplayWebhookRequest, RotateWebhookSecretRequest, TestWebhookRequest,
    UpdateWebhookRequest, Webhook, WebhookFilter, order::State, order_change::Kind, webhook,
};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use prost_types::FieldMask;

use super::{
    args::{ClientArgs, Context, Link, Page, PageArgs, RequestArgs},
    order::state,
};
use crate::{
    failure::Failure,
    values::{names, time},
};

/// `docket webhook`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook create https://shop.example/hooks --kind shipped
  docket webhook list
  docket webhook dead-letters 5f0c2a7d9b3e4c1a8d6f7e21
  docket webhook replay 5f0c2a7d9b3e4c1a8d6f7e21 --dead-letters")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with webhooks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a webhook; its secret is shown this once
    Create(Create),
    /// List webhooks
    List(List),
    /// Show one webhook, and how its deliveries go
    Show(Show),
    /// Change a webhook, pause it or let it go on
    Update(Update),
    /// Give a webhook another secret, which is shown this once
    RotateSecret(RotateSecret),
    /// Send a test event, and show what became of it
    Test(Test),
    /// List deliveries that were given up
    DeadLetters(DeadLetters),
    /// Deliver dead letters again, or changes again that were delivered
    Replay(Replay),
    /// Delete a webhook, with its dead letters
    Delete(Delete),
}

/// Which changes a webhook is told of.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    /// Only this customer's orders: ID or customers/ID
    #[arg(long, value_name = "CUSTOMER", value_parser = names::customer)]
    customer: Option<String>,
    /// Only changes that leave an order in this state: pending, confirmed,
    /// partially_fulfilled, fulfilled, cancelled, rejected, expired or closed;
    /// may be given several times
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<State>,
    /// Only changes of this kind, such as confirmed, shipped or refunded; may
    /// be given several times
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<Kind>,
}

/// Create a webhook.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook create https://shop.example/hooks
  docket webhook create https://shop.example/hooks --customer acme \\
    --kind shipped --kind delivered --description \"to the shop\"

It is told of what is committed from now on. See docs/webhooks.md for how to
verify what it is sent.")]
pub struct Create {
    /// Where it is delivered to
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// A note for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    request: RequestArgs,
}

/// List webhooks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook list
  docket webhook list --all -o json")]
pub struct List {
    #[command(flatten)]
    page: PageArgs,
}

/// Show one webhook.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook show 5f0c2a7d9b3e4c1a8d6f7e21
  docket webhook show 5f0c2a7d9b3e4c1a8d6f7e21 -o json | jq .retrying")]
pub struct Show {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
}

/// Change a webhook.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook update 5f0c2a7d9b3e4c1a8d6f7e21 --pause
  docket webhook update 5f0c2a7d9b3e4c1a8d6f7e21 --kind shipped --resume
  docket webhook update 5f0c2a7d9b3e4c1a8d6f7e21 --no-filter

Flags of a filter replace all of it. One that goes on is told of all that it
missed and that is kept; with another customer, of what comes from now on.")]
#[group(skip)]
pub struct Update {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
    /// Where it is delivered to from now on
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Tell it of every change
    #[arg(long, conflicts_with_all = ["customer", "state", "kind"])]
    no_filter: bool,
    /// Tell it nothing until it goes on
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Let it go on, also where its receiver was gone
    #[arg(long)]
    resume: bool,
    /// Only if this is still the webhook's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Give a webhook another secret.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook rotate-secret 5f0c2a7d9b3e4c1a8d6f7e21
  docket webhook rotate-secret 5f0c2a7d9b3e4c1a8d6f7e21 --overlap 2d")]
pub struct RotateSecret {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
    /// For how long the secret of now signs too, up to 7d; 0s for not at all
    /// [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = overlap)]
    overlap: Option<SignedDuration>,
    /// Only if this is still the webhook's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Send a test event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook test 5f0c2a7d9b3e4c1a8d6f7e21")]
pub struct Test {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
}

/// List deliveries that were given up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook dead-letters 5f0c2a7d9b3e4c1a8d6f7e21
  docket webhook dead-letters 5f0c2a7d9b3e4c1a8d6f7e21 --all -o json")]
pub struct DeadLetters {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
    #[command(flatten)]
    page: PageArgs,
}

/// Deliver again.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "docket webhook replay [OPTIONS] <WEBHOOK>",
    after_help = "\
Examples:
  docket webhook replay 5f0c2a7d9b3e4c1a8d6f7e21 --dead-letters
  docket webhook replay 5f0c2a7d9b3e4c1a8d6f7e21 --since 2h
  docket webhook replay 5f0c2a7d9b3e4c1a8d6f7e21 \\
    --event 01KAVQX5C8R7ZJ3M9T2B4N6P8Q-2

Changes are there as far back as the feed keeps them (feed.retained_max)."
)]
#[group(id = "what", required = true, multiple = false, args = ["event", "dead_letters", "since", "resume"])]
pub struct Replay {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
    /// This dead letter, by what was sent as webhook-id; may be given several
    /// times
    #[arg(long, value_name = "EVENT", num_args = 1)]
    event: Vec<String>,
    /// All dead letters
    #[arg(long)]
    dead_letters: bool,
    /// All changes since then: a span back from now (2h) or a moment in RFC
    /// 3339
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// All changes behind a resume_token that `show` has shown
    #[arg(long, value_name = "TOKEN")]
    resume: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
}

/// Delete a webhook.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket webhook delete 5f0c2a7d9b3e4c1a8d6f7e21")]
pub struct Delete {
    /// The webhook: ID or webhooks/ID
    #[arg(value_name = "WEBHOOK", value_parser = names::webhook)]
    name: String,
    /// Only if this is still the webhook's etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

impl Command {
    /// Does it.
    pub async fn run(self, link: &Link) -> Result<(), Failure> {
        match self {
            Self::Create(args) => args.run(link).await,
            Self::List(args) => args.run(link).await,
            Self::Show(args) => args.run(link).await,
            Self::Update(args) => args.run(link).await,
            Self::RotateSecret(args) => args.run(link).await,
            Self::Test(args) => args.run(link).await,
            Self::DeadLetters(args) => args.run(link).await,
            Self::Replay(args) => args.run(link).await,
            Self::Delete(args) => args.run(link).await,
        }
    }
}

impl FilterArgs {
    fn filter(self) -> Option<WebhookFilter> {
        let is_set = self.customer.is_some() || !self.state.is_empty() || !self.kind.is_empty();
        is_set.then(|| WebhookFilter {
            customer: self.customer.unwrap_or_default(),
            states: self.state.into_iter().map(i32::from).collect(),
            kinds: self.kind.into_iter().map(i32::from).collect(),
        })
    }
}

impl Create {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = CreateWebhookRequest {
            webhook: Some(Webhook {
                url: self.url,
                description: self.description,
                filter: self.filter.filter(),
                ..Webhook::default()
            }),
            request_id: request_id.clone(),
        };
        let created = client
            .answer(client.webhooks().create_webhook(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&created)?;
        output.note(KEEP);
        Ok(())
    }
}

impl List {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let ask = async |page_size, page_token| {
            let request = ListWebhooksRequest {
                page_size,
                page_token,
            };
            let page = client.answer(client.webhooks().list_webhooks(request).await)?;
            Ok(Page::whole(page.webhooks, page.next_page_token))
        };
        self.page.show(&output, ask).await
    }
}

impl Show {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = GetWebhookRequest { name: self.name };
        output.one(&client.answer(client.webhooks().get_webhook(request).await)?)
    }
}

impl Update {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let filter = self.filter.filter();
        let state = match (self.pause, self.resume) {
            (true, _) => Some(webhook::State::Paused),
            (_, true) => Some(webhook::State::Active),
            _ => None,
        };
        let named = [
            ("url", self.url.is_some()),
            ("description", self.description.is_some()),
            ("filter", filter.is_some() || self.no_filter),
            ("state", state.is_some()),
        ];
        let paths: Vec<String> = named
            .iter()
            .filter(|(_, named)| *named)
            .map(|(path, _)| (*path).to_owned())
            .collect();
        if paths.is_empty() {
            return Err(Failure::Usage(
                "say what to change: --url, --description, --pause, --resume, or flags of the filter"
                    .to_owned(),
            ));
        }
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = UpdateWebhookRequest {
            webhook: Some(Webhook {
                name: self.name,
                url: self.url.unwrap_or_default(),
                description: self.description.unwrap_or_default(),
                filter,
                state: state.unwrap_or_default().into(),
                etag: self.etag.unwrap_or_default(),
                ..Webhook::default()
            }),
            update_mask: Some(FieldMask { paths }),
            request_id: request_id.clone(),
        };
        let updated = client
            .answer(client.webhooks().update_webhook(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&updated)
    }
}

impl RotateSecret {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let request = RotateWebhookSecretRequest {
            name: self.name,
            overlap: self.overlap.map(|overlap| prost_types::Duration {
                seconds: overlap.as_secs(),
                nanos: overlap.subsec_nanos(),
            }),
            etag: self.etag.unwrap_or_default(),
            request_id: request_id.clone(),
        };
        let rotated = client
            .answer(client.webhooks().rotate_webhook_secret(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&rotated)?;
        output.note(KEEP);
        Ok(())
    }
}

impl Test {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = TestWebhookRequest { name: self.name };
        let tested = client.answer(client.webhooks().test_webhook(request).await)?;
        output.one(&tested)?;
        match tested.delivered {
            true => Ok(()),
            false => Err(Failure::Other(format!(
                "the test event was not delivered: {}",
                tested.failure
            ))),
        }
    }
}

impl DeadLetters {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let ask = async |page_size, page_token| {
            let request = ListDeadLettersRequest {
                parent: self.name.clone(),
                page_size,
                page_token,
            };
            let page = client.answer(client.webhooks().list_dead_letters(request).await)?;
            Ok(Page::whole(page.dead_letters, page.next_page_token))
        };
        self.page.show(&output, ask).await
    }
}

impl Replay {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request_id = self.request.id(&output);
        let whole = |event: &String| match event.contains('/') {
            true => event.clone(),
            false => format!("{}/deadLetters/{event}", self.name),
        };
        let request = ReplayWebhookRequest {
            dead_letters: self.event.iter().map(whole).collect(),
            all_dead_letters: self.dead_letters,
            start_time: self.since.map(time::to_proto),
            resume_token: self.resume.unwrap_or_default(),
            request_id: request_id.clone(),
            name: self.name,
        };
        let replayed = client
            .answer(client.webhooks().replay_webhook(request).await)
            .map_err(|refusal| refusal.of_request(&request_id))?;
        output.one(&replayed.webhook.unwrap_or_default())
    }
}

impl Delete {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let Context { client, output } = link.connect().await?;
        let request = DeleteWebhookRequest {
            name: self.name,
            etag: self.etag.unwrap_or_default(),
        };
        client.answer(client.webhooks().delete_webhook(request).await)?;
        output.note("the webhook is deleted");
        Ok(())
    }
}

/// What is told beside a secret.
const KEEP: &str = "the secret cannot be shown again: keep it now";

/// Reads a kind of change in small or capital letters, for clap.
fn kind(text: &str) -> Result<Kind, String> {
    match Kind::from_str_name(&text.to_ascii_uppercase()) {
        Some(kind) if kind != Kind::Unspecified => Ok(kind),
        _ => Err("write a kind of change such as placed, confirmed, shipped or refunded".to_owned()),
    }
}

/// Reads a span of time that may be nothing; a day is 24 hours.
fn overlap(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text
        .parse()
        .map_err(|_| "write a span such as 24h or 2d".to_owned())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours());
    match span {
        Ok(span) if span >= SignedDuration::ZERO => Ok(span),
        _ => Err("must not be negative".to_owned()),
    }
}

/// Reads a moment in RFC 3339, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let refused = || "write a span such as 2h, or a moment such as 2030-01-31T00:00:00Z".to_owned();
    let span = overlap(text).map_err(|_| refused())?;
    Timestamp::now().checked_sub(span).map_err(|_| refused())
}
