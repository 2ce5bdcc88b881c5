//! Accounts, sessions and API keys.

use docket_proto::v1::{Account, ApiKey, CreateApiKeyResponse, Session};
use serde_json::json;

use super::record::{Field, Resource, Tone};

impl Resource for Account {
    const PLURAL: &'static str = "accounts";
    const COLUMNS: &'static [&'static str] = &["name", "role", "customer", "create_time"];

    fn fields(&self) -> Vec<Field> {
        vec![
            Field::resource("name", &self.name),
            Field::text("role", self.role().as_str_name()),
            Field::resource("customer", &self.customer),
            Field::moment("create_time", self.create_time.as_ref()),
        ]
    }
}

impl Resource for Session {
    const PLURAL: &'static str = "sessions";
    const COLUMNS: &'static [&'static str] = &["access_expire_time", "refresh_expire_time"];

    fn fields(&self) -> Vec<Field> {
        vec![
            Field::text("access_token", &self.access_token),
            Field::moment("access_expire_time", self.access_expire_time.as_ref()),
            Field::text("refresh_token", &self.refresh_token),
            Field::moment("refresh_expire_time", self.refresh_expire_time.as_ref()),
        ]
    }
}

impl Resource for ApiKey {
    const PLURAL: &'static str = "api_keys";
    const COLUMNS: &'static [&'static str] = &["name", "display_name", "account", "role", "scopes", "state"];

    fn fields(&self) -> Vec<Field> {
        let scopes: Vec<_> = self.scopes().map(|scope| scope.as_str_name()).collect();
        let (state, tone) = match (&self.revoke_time, &self.expire_time) {
            (Some(_), _) => ("REVOKED", Tone::Bad),
            (None, Some(end)) if end.seconds <= jiff::Timestamp::now().as_second() => ("EXPIRED", Tone::Bad),
            (None, _) => ("ACTIVE", Tone::Good),
        };
        vec![
            Field::resource("name", &self.name),
            Field::text("display_name", &self.display_name),
            Field::resource("account", &self.account),
            Field::text("role", self.role().as_str_name()),
            Field::resource("customer", &self.customer),
            Field::shown("scopes", json!(scopes), scopes.join(" ")),
            Field::text("state", state).tone(tone),
            Field::moment("create_time", self.create_time.as_ref()),
            Field::moment("expire_time", self.expire_time.as_ref()),
            Field::moment("revoke_time", self.revoke_time.as_ref()),
        ]
    }
}

impl Resource for CreateApiKeyResponse {
    const PLURAL: &'static str = "api_keys";
    const COLUMNS: &'static [&'static str] = &["name", "secret"];

    fn fields(&self) -> Vec<Field> {
        let mut fields = self.api_key.as_ref().map(Resource::fields).unwrap_or_default();
        fields.push(Field::text("secret", &self.secret));
        fields
    }
}
