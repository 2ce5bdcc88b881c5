//! A login and what is kept of it: the token, and when it has to be renewed.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    InvalidVault, Login, VaultOptions,
    http::{Failed, Http},
};
use crate::{ReadError, Reference, here, seen};

/// However little is left of a token, it is not renewed more often.
const RENEW_PAUSE_MIN: Duration = Duration::from_secs(1);

/// A server, and this node's session there.
pub struct Vault {
    http: Http,
    login: Login,
    token: Option<Token>,
}

/// A token, and how long it is one.
struct Token {
    text: SecretString,
    /// When it was logged in for.
    made: Instant,
    /// How long it lasted when it was made, or renewed for as long as that; none for ever.
    whole: Option<Duration>,
    /// When it was made or renewed, and for how long then.
    since: Instant,
    lasts: Option<Duration>,
    renewable: bool,
}

/// A secret's fields.
pub struct Fields {
    pub fields: BTreeMap<String, SecretString>,
    /// How long they may be used without being read again, where the server says so.
    pub lease: Option<Duration>,
}

impl Vault {
    pub fn new(options: &VaultOptions) -> Result<Self, InvalidVault> {
        options.validate()?;
        Ok(Self {
            http: Http::new(options)?,
            login: options.login.clone(),
            token: None,
        })
    }

    /// When its token has to be renewed: two thirds of its time, so that there are several tries before its end.
    pub fn renew_at(&self) -> Option<Instant> {
        let token = self.token.as_ref()?;
        Some(token.since + (token.lasts? * 2 / 3).max(RENEW_PAUSE_MIN))
    }

    /// Renews the token, or logs in again where that cannot be done, or would not last.
    pub async fn renew(&mut self) -> Result<(), ReadError> {
        let renewed = match &self.token {
            Some(token) if token.renewable => {
                let asked = self
                    .http
                    .ask(
                        Method::POST,
                        "auth/token/renew-self",
                        Some(&token.text),
                        Some(json!({})),
                        &[],
                    )
                    .await;
                seen::renewed(asked.is_ok());
                asked
            }
            _ => return self.log_in().await,
        };
        match renewed {
            Ok(reply) => {
                let lasts = seconds(&reply["auth"]["lease_duration"]);
                if let Some(token) = &mut self.token {
                    (token.since, token.lasts) = (Instant::now(), lasts);
                    seen::vault_token_ends(lasts);
                    tracing::debug!(?lasts, "the token for the secrets' server was renewed");
                    // Towards its last end each renewal gives less: another is needed while this one still works.
                    let is_ending =
                        matches!((lasts, token.whole), (Some(lasts), Some(whole)) if lasts < whole / 2);
                    if is_ending {
                        return self.log_in().await;
                    }
                }
                Ok(())
            }
            Err(Failed::Other(error @ ReadError::NotNow(_))) => Err(error),
            // It was ended, or may not be renewed any more.
            Err(_) => self.log_in().await,
        }
    }

    /// The fields of a secret. Logs in where there is no session, or where the one that there was when the round of reads began does not open
    /// this any more: a second login of the same round would open no more, and leave one more token at the server for its whole time.
    pub async fn read(&mut self, mount: &str, path: &str, begun: Instant) -> Result<Fields, ReadError> {
        if self.token.is_none() {
            self.log_in().await?;
        }
        let is_older = self.token.as_ref().is_some_and(|token| token.made < begun);
        match self.get(mount, path).await {
            Err(Failed::Denied(_)) if is_older => {
                self.log_in().await?;
                self.get(mount, path).await.map_err(Failed::finally)
            }
            read => read.map_err(Failed::finally),
        }
    }

    async fn get(&self, mount: &str, path: &str) -> Result<Fields, Failed> {
        let token = self.token.as_ref().map(|token| &token.text);
        let url = format!("{mount}/data/{path}");
        let mut reply = self.http.ask(Method::GET, &url, token, None, &[]).await?;
        let lease = seconds(&reply["lease_duration"]);
        let Value::Object(members) = reply["data"]["data"].take() else {
            return Err(Failed::Other(ReadError::Unusable(
                "the reply has no fields: is the mount KV version 2?".to_owned(),
            )));
        };
        let fields = members.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, SecretString::from(text))),
            _ => None,
        });
        Ok(Fields {
            fields: fields.collect(),
            lease,
        })
    }

    async fn log_in(&mut self) -> Result<(), ReadError> {
        let login = self.login.clone();
        let made = match &login {
            Login::Token(reference) => self.with_token(reference).await,
            Login::Kubernetes {
                mount,
                role,
                jwt_file,
            } => {
                let path = format!("auth/{mount}/login");
                match here::read_file(jwt_file) {
                    Ok(jwt) => self.with_jwt(&path, role, &jwt).await,
                    Err(why) => Err(ReadError::Unusable(format!("{}: {why}", jwt_file.display()))),
                }
            }
        };
        seen::logged_in(made.is_ok());
        let token = made?;
        seen::vault_token_ends(token.lasts);
        tracing::info!(lasts = ?token.lasts, renewable = token.renewable, "logged in at the secrets' server");
        self.token = Some(token);
        Ok(())
    }

    /// The token that somebody else keeps, which may be another by now.
    async fn with_token(&self, reference: &Reference) -> Result<Token, ReadError> {
        let read = match reference {
            Reference::File(path) => here::read_file(path),
            Reference::Variable(name) => here::read_variable(name),
            Reference::Vault(_) => Err(ReadError::Unusable("it is at that server itself".to_owned())),
        };
        let text = read.map_err(|why| ReadError::Unusable(format!("{reference}: {why}")))?;
        let known = self
            .http
            .ask(Method::GET, "auth/token/lookup-self", Some(&text), None, &[])
            .await
            .map_err(|failed| match failed {
                Failed::Denied(why) => {
                    ReadError::Unusable(format!("the token of {reference} is not accepted: {why}"))
                }
                other => other.finally(),
            })?;
        let data = &known["data"];
        let lasts = seconds(&data["ttl"]);
        Ok(Token {
            text,
            made: Instant::now(),
            // What it was made with: of the one that is read it may be near its end already.
            whole: seconds(&data["creation_ttl"]).or(lasts),
            since: Instant::now(),
            lasts,
            renewable: data["renewable"].as_bool().unwrap_or_default(),
        })
    }

    async fn with_jwt(&self, path: &str, role: &str, jwt: &SecretString) -> Result<Token, ReadError> {
        let body = json!({ "role": role, "jwt": jwt.expose_secret() });
        let mut reply = self
            .http
            .ask(Method::POST, path, None, Some(body), &[jwt])
            .await
            .map_err(|failed| match failed {
                Failed::Denied(why) => ReadError::Unusable(format!("the role {role} is not given: {why}")),
                other => other.finally(),
            })?;
        let auth = &mut reply["auth"];
        let Value::String(text) = auth["client_token"].take() else {
            return Err(ReadError::Unusable("the login gave no token".to_owned()));
        };
        let lasts = seconds(&auth["lease_duration"]);
        Ok(Token {
            text: text.into(),
            made: Instant::now(),
            whole: lasts,
            since: Instant::now(),
            lasts,
            renewable: auth["renewable"].as_bool().unwrap_or_default(),
        })
    }
}

/// A time of the server's; none where there is no end.
fn seconds(value: &Value) -> Option<Duration> {
    value
        .as_u64()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}
