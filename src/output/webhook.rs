//! Webhooks and what became of their deliveries.

use docket_proto::v1::{
    CreateWebhookResponse, DeadLetter, RotateWebhookSecretResponse, TestWebhookResponse, Webhook, webhook,
};
use serde_json::json;

use super::record::{Field, Resource, Tone};

impl Resource for Webhook {
    const PLURAL: &'static str = "webhooks";
    const COLUMNS: &'static [&'static str] = &["name", "state", "retrying", "dead_letters", "url"];

    fn fields(&self) -> Vec<Field> {
        let state_tone = match self.state() {
            webhook::State::Active => Tone::Good,
            webhook::State::Paused => Tone::Pending,
            webhook::State::Gone | webhook::State::Unspecified => Tone::Bad,
        };
        let filter = self.filter.clone().unwrap_or_default();
        let states: Vec<_> = filter.states().map(|state| state.as_str_name()).collect();
        let kinds: Vec<_> = filter.kinds().map(|kind| kind.as_str_name()).collect();
        let of = self.deliveries.clone().unwrap_or_default();
        let count = |name, number: i64, tone| {
            let field = Field::number(name, number);
            if number > 0 { field.tone(tone) } else { field }
        };
        let deliveries = [
            Field::number("delivered", of.delivered),
            count("retrying", of.retrying.into(), Tone::Pending),
            count("dead_letters", of.dead_letters.into(), Tone::Bad),
            count("dead_letters_forgotten", of.dead_letters_forgotten, Tone::Bad),
            Field::moment("last_delivery_time", of.last_delivery_time.as_ref()),
            Field::moment("last_failure_time", of.last_failure_time.as_ref()),
            Field::text("last_failure", &of.last_failure),
            count("gaps", of.gaps, Tone::Bad),
            Field::moment("last_gap_time", of.last_gap_time.as_ref()),
            Field::text("resume_token", &of.resume_token),
        ];
        let mut fields = vec![
            Field::resource("name", &self.name),
            Field::text("state", self.state().as_str_name()).tone(state_tone),
            Field::text("url", &self.url),
            Field::text("description", &self.description),
            Field::resource("customer", &filter.customer),
            Field::shown("states", json!(states), states.join(" ")),
            Field::shown("kinds", json!(kinds), kinds.join(" ")),
            Field::text("etag", &self.etag),
            Field::moment("create_time", self.create_time.as_ref()),
            Field::moment("update_time", self.update_time.as_ref()),
        ];
        fields.extend(deliveries);
        fields
    }
}

impl Resource for CreateWebhookResponse {
    const PLURAL: &'static str = "webhooks";
    const COLUMNS: &'static [&'static str] = &["name", "secret"];

    fn fields(&self) -> Vec<Field> {
        with_secret(self.webhook.as_ref(), &self.secret)
    }
}

impl Resource for RotateWebhookSecretResponse {
    const PLURAL: &'static str = "webhooks";
    const COLUMNS: &'static [&'static str] = &["name", "secret"];

    fn fields(&self) -> Vec<Field> {
        with_secret(self.webhook.as_ref(), &self.secret)
    }
}

/// What it is, and its secret; how its deliveries go is for another time.
fn with_secret(webhook: Option<&Webhook>, secret: &str) -> Vec<Field> {
    let mut fields = webhook.map(Resource::fields).unwrap_or_default();
    fields.push(Field::text("secret", secret));
    fields
}

impl Resource for TestWebhookResponse {
    const PLURAL: &'static str = "tests";
    const COLUMNS: &'static [&'static str] = &["delivered", "http_status", "failure"];

    fn fields(&self) -> Vec<Field> {
        let took = self.duration.unwrap_or_default();
        let ms = took.seconds * 1_000 + i64::from(took.nanos) / 1_000_000;
        let tone = if self.delivered { Tone::Good } else { Tone::Bad };
        vec![
            Field::flag("delivered", self.delivered).tone(tone),
            Field::number("http_status", self.http_status),
            Field::text("failure", &self.failure),
            Field::shown("duration_ms", json!(ms), format!("{ms} ms")),
            Field::text("event_id", &self.event_id),
        ]
    }
}

impl Resource for DeadLetter {
    const PLURAL: &'static str = "dead_letters";
    const COLUMNS: &'static [&'static str] = &["event", "kind", "death_time", "failures", "failure"];

    fn fields(&self) -> Vec<Field> {
        let event = self.name.rsplit('/').next().unwrap_or_default();
        vec![
            Field::text("name", &self.name).hidden(),
            Field::text("event", event),
            Field::resource("order", &self.order),
            Field::text("kind", self.kind().as_str_name()),
            Field::moment("change_time", self.change_time.as_ref()),
            Field::moment("first_failure_time", self.first_failure_time.as_ref()),
            Field::moment("death_time", self.death_time.as_ref()),
            Field::number("failures", self.failures),
            Field::text("failure", &self.failure),
        ]
    }
}
