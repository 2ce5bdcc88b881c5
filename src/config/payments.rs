//! The section `[payments]`: who is asked for money, each provider under a name of its own.
//!
//! ```text
//! [payments.providers.cards]
//! url = "https://pay.example.org/docket"
//! token = "file:cards.token"
//! ```

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use docket_actors::PaymentOptions;
use docket_payments::http::{BreakerConfig, HttpConfig};
use docket_secrets::Reference;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::sections::Invalid;

/// Who fails more often than that in a row and is asked all the same is never left alone.
const FAILURES_MAX: u32 = 1_000;
/// An order that waits for its payment keeps stock from others: 30 days are a slip.
const AUTHORIZE_WITHIN_S_MAX: u64 = 30 * 24 * 60 * 60;
/// A provider that is asked so much at once by each shard is asked more than a node has connections for.
const AT_ONCE_MAX: usize = 1_024;

/// Who is asked for money.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Payments {
    /// An order whose payment was not authorised so long after it was placed is given up, in seconds, 1 to 2,592,000. Default 900.
    pub authorize_within_s: u64,
    /// So many steps are asked of one provider at once, for each shard that the node leads, 1 to 1,024. Default 16.
    pub at_once: usize,
    /// Providers by name: 1 to 32 characters of `a-z 0-9 - _`, and not `account`, which is what a customer has here. An order that is
    /// paid by one keeps its name. Default none.
    pub providers: BTreeMap<String, Provider>,
}

impl Default for Payments {
    fn default() -> Self {
        let defaults = PaymentOptions::default();
        Self {
            authorize_within_s: defaults.authorize_within.as_secs(),
            at_once: defaults.at_once,
            providers: BTreeMap::new(),
        }
    }
}

impl Payments {
    /// What a node is opened with, beside its providers.
    pub fn options(&self) -> PaymentOptions {
        PaymentOptions {
            authorize_within: Duration::from_secs(self.authorize_within_s),
            at_once: self.at_once,
            ..PaymentOptions::default()
        }
    }
}

/// Somebody who is asked for money.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// How it is asked. Default `http`.
    pub kind: ProviderKind,
    /// What its addresses begin with, `https://HOST[:PORT][/PATH]`; `http` only for a loopback address, or with
    /// `allow_http`. Needed.
    pub url: Option<String>,
    /// Whether `http` is allowed to others: then everybody on the way reads the token. Default false.
    pub allow_http: bool,
    /// Where the token is that is sent as `authorization: Bearer …`: `file:PATH`, `env:VARIABLE` or `vault:MOUNT/PATH#FIELD`. White space at
    /// its ends is not part of it. Another one is sent as soon as it is there. Default none: none is sent.
    pub token: Option<Reference>,
    /// A file with the same, as it was said before there was `token`. It is looked at as that is. Default none.
    pub token_file: Option<PathBuf>,
    /// A PEM file with authorities that are trusted beside the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take, in milliseconds. This and each other time: 1 to 3,600,000. Default 3,000.
    pub connect_timeout_ms: u64,
    /// How long one request may take, from connecting to the last byte of the reply, in milliseconds. Default 10,000.
    pub timeout_ms: u64,
    /// How often in a row a step is asked, 1 to 100, before it waits for its next turn. Default 3.
    pub attempts: u32,
    /// The least pause between these, in milliseconds; each is twice the one before, and by chance up to twice that.
    /// Default 100.
    pub backoff_min_ms: u64,
    /// The most that the pause grows to, before chance, in milliseconds. Default 2,000.
    pub backoff_max_ms: u64,
    /// After so many failures in a row, 1 to 1,000, the provider is left alone for a while. Default 5.
    pub breaker_failures_max: u32,
    /// For how long, in milliseconds; then one request tries. Default 10,000.
    pub breaker_open_ms: u64,
    /// The longest reply, in bytes, 256 to 16,777,216. Default 65,536.
    pub reply_bytes_max: usize,
    /// Connections that are kept open while nothing is asked, 0 to 1,024. Default 8.
    pub idle_connections_max: usize,
}

/// How a provider is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// JSON over HTTP, by the contract in docs/payments.md.
    #[default]
    Http,
}

impl Default for Provider {
    fn default() -> Self {
        let defaults = HttpConfig::new("");
        // All of them are seconds.
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind: ProviderKind::Http,
            url: None,
            allow_http: defaults.allow_http,
            token: None,
            token_file: None,
            ca_file: None,
            connect_timeout_ms: ms(defaults.connect_timeout),
            timeout_ms: ms(defaults.timeout),
            attempts: defaults.attempts,
            backoff_min_ms: ms(defaults.backoff_min),
            backoff_max_ms: ms(defaults.backoff_max),
            breaker_failures_max: defaults.breaker.failures_max,
            breaker_open_ms: ms(defaults.breaker.open_for),
            reply_bytes_max: defaults.reply_bytes_max,
            idle_connections_max: defaults.idle_connections_max,
        }
    }
}

impl Provider {
    /// Where its token is, whichever key says so.
    pub fn token(&self) -> Option<Reference> {
        let file = || self.token_file.clone().map(Reference::File);
        self.token.clone().or_else(file)
    }

    /// The key that says it.
    pub fn token_option(&self) -> &'static str {
        if self.token.is_some() {
            "token"
        } else {
            "token_file"
        }
    }

    /// What it is asked with, where it is asked over HTTP.
    pub fn http(&self, token: Option<SecretString>) -> HttpConfig {
        let ms = Duration::from_millis;
        HttpConfig {
            allow_http: self.allow_http,
            token,
            ca_file: self.ca_file.clone(),
            connect_timeout: ms(self.connect_timeout_ms),
            timeout: ms(self.timeout_ms),
            attempts: self.attempts,
            backoff_min: ms(self.backoff_min_ms),
            backoff_max: ms(self.backoff_max_ms),
            breaker: BreakerConfig {
                failures_max: self.breaker_failures_max,
                open_for: ms(self.breaker_open_ms),
            },
            reply_bytes_max: self.reply_bytes_max,
            idle_connections_max: self.idle_connections_max,
            ..HttpConfig::new(self.url.clone().unwrap_or_default())
        }
    }
}

/// What an option of [`HttpConfig`] is called here.
pub fn key(name: &str, option: &str) -> String {
    let field = match option {
        "connect_timeout" => "connect_timeout_ms",
        "timeout" => "timeout_ms",
        "backoff_min" => "backoff_min_ms",
        "backoff_max" => "backoff_max_ms",
        "breaker_open_for" => "breaker_open_ms",
        same => same,
    };
    format!("payments.providers.{name}.{field}")
}

/// Everything that is wrong with the section; of each provider the first thing. Reads no file.
pub fn problems(payments: &Payments) -> Vec<Invalid> {
    let problem = |(name, provider): (&String, &Provider)| {
        if provider.url.is_none() {
            return Some(Invalid {
                key: key(name, "url"),
                requirement: "is needed: https://HOST[:PORT][/PATH] of the provider".to_owned(),
            });
        }
        if !(1..=FAILURES_MAX).contains(&provider.breaker_failures_max) {
            return Some(Invalid {
                key: key(name, "breaker_failures_max"),
                requirement: "must be from 1 to 1,000".to_owned(),
            });
        }
        let invalid = provider.http(None).validate().err()?;
        Some(Invalid {
            key: key(name, invalid.option),
            requirement: invalid.requirement,
        })
    };
    let is_bad = |key: &str, is_good: bool, range: &str| {
        (!is_good).then(|| Invalid {
            key: format!("payments.{key}"),
            requirement: format!("must be from {range}"),
        })
    };
    let within = (1..=AUTHORIZE_WITHIN_S_MAX).contains(&payments.authorize_within_s);
    let at_once = (1..=AT_ONCE_MAX).contains(&payments.at_once);
    let bounds = [
        is_bad("authorize_within_s", within, "1 to 2,592,000, which is 30 days"),
        is_bad("at_once", at_once, "1 to 1,024"),
    ];
    let providers = payments.providers.iter().filter_map(problem);
    bounds.into_iter().flatten().chain(providers).collect()
}
