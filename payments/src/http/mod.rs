//! A provider that is asked over HTTP. docs/payments.md has the contract that it has to keep.
//!
//! The rule: who may have been asked already is asked what happened before it is asked again.
//!
//! ```text
//!               ┌────────────── not known, after a pause ───────────────┐
//!               ▼                                                       │
//!   may have been asked? ──yes──▶ GET what became of the key ──────────▶┤
//!               │                     │            │                    │
//!               no                 unseen       settled ──▶ outcome     │
//!               ▼                     │                        ▲        │
//!     POST under the key ◀────────────┘                        │        │
//!               ├──────────────────────────────────────────────┘        │
//!               └───────────────────────────────────────────────────────┘
//! ```
//!
//! The key is the same however often it is asked, and whoever asks, so that a request that is late finds its key settled.

mod answer;
mod breaker;
mod config;
mod seen;
mod transport;

use std::{fmt, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use docket_engine::{PaymentOutcome, PaymentRequest, ProviderName};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Method, Request, header};
use hyper_util::client::legacy::connect::Connect;
use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

pub use breaker::BreakerConfig;
pub use config::{HttpConfig, HttpConfigError};
pub use seen::describe_metrics;

use crate::{
    NotSettled, PaymentProvider,
    wire::{self, StepBody},
};
use answer::{Answer, Question};
use breaker::Breaker;
use transport::Transport;

/// A provider that is asked over HTTP.
pub struct HttpProvider {
    name: ProviderName,
    base: String,
    /// Exchanged as a whole, so that what is hidden in a reply is what was sent with its request.
    credentials: RwLock<Arc<Credentials>>,
    transport: Transport,
    breaker: Breaker,
    attempts: u32,
    backoff: ExponentialBuilder,
    backoff_max: Duration,
}

/// By what the provider knows whoever asks.
struct Credentials {
    authorization: Option<HeaderValue>,
    token: Option<SecretString>,
}

impl fmt::Debug for HttpProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProvider")
            .field("name", &self.name)
            .field("base", &self.base)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl HttpProvider {
    /// The provider of this name. Connects when it is first asked.
    ///
    /// # Errors
    /// Names the option that cannot be; the file of authorities is read here.
    pub fn new(name: ProviderName, config: &HttpConfig) -> Result<Self, HttpConfigError> {
        config.validate()?;
        let (_, encrypted) = config.base()?;
        Self::with(name, config, Transport::new(config, encrypted)?)
    }

    /// The same over another way to connect, such as the stub's own, or a simulated network.
    ///
    /// # Errors
    /// Names the option that cannot be.
    pub fn over<C>(name: ProviderName, config: &HttpConfig, connector: C) -> Result<Self, HttpConfigError>
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        config.validate()?;
        Self::with(name, config, Transport::over(config, connector))
    }

    fn with(name: ProviderName, config: &HttpConfig, transport: Transport) -> Result<Self, HttpConfigError> {
        let (base, _) = config.base()?;
        let backoff = ExponentialBuilder::new()
            .with_min_delay(config.backoff_min)
            .with_max_delay(config.backoff_max)
            .with_max_times(config.attempts as usize)
            .with_jitter();
        let provider = Self {
            name,
            base,
            credentials: RwLock::new(Arc::new(Credentials {
                authorization: config::authorization(config.token.as_ref())?,
                token: config.token.clone(),
            })),
            transport,
            breaker: Breaker::new(config.breaker),
            attempts: config.attempts,
            backoff: match config.jitter_seed {
                Some(seed) => backoff.with_jitter_seed(seed),
                None => backoff,
            },
            backoff_max: config.backoff_max,
        };
        seen::breaker(&provider.name, true);
        Ok(provider)
    }

    /// From the next request on another token is sent. What is on its way goes on with the one before, and is asked again with this one.
    ///
    /// # Errors
    /// A token that cannot be; then the one before stays.
    pub fn set_token(&self, token: SecretString) -> Result<(), HttpConfigError> {
        let credentials = Credentials {
            authorization: config::authorization(Some(&token))?,
            token: Some(token),
        };
        *self.credentials.write() = Arc::new(credentials);
        Ok(())
    }

    /// Asks by the rule, so often.
    async fn settle_by_rule(
        &self,
        request: &PaymentRequest,
        may_be_asked: bool,
    ) -> Result<PaymentOutcome, NotSettled> {
        let key = request.key();
        let mut may_be_asked = may_be_asked;
        let mut pauses = self.backoff.build();
        let mut attempt = 1;
        loop {
            let answer = match may_be_asked {
                true => match self.ask(Question::WhatHappened, request, &key).await? {
                    Answer::Unseen => self.ask(Question::Do, request, &key).await?,
                    answer => answer,
                },
                false => self.ask(Question::Do, request, &key).await?,
            };
            let (why, retry_after) = match answer {
                Answer::Settled(outcome) => return Ok(outcome),
                Answer::NotNow { why, retry_after } | Answer::Unknown { why, retry_after } => {
                    (why, retry_after)
                }
                Answer::Broken { why } => {
                    return Err(NotSettled {
                        why,
                        retry_after: None,
                    });
                }
                // Only a question what happened is answered so.
                Answer::Unseen => ("the key was not seen".to_owned(), None),
            };
            may_be_asked = true;
            let waits_too_long = retry_after.is_some_and(|pause| pause > self.backoff_max);
            let pause = pauses.next().unwrap_or(self.backoff_max);
            if attempt >= self.attempts || waits_too_long {
                return Err(NotSettled { why, retry_after });
            }
            attempt += 1;
            tokio::time::sleep(pause.max(retry_after.unwrap_or_default())).await;
        }
    }

    /// Asks once, where the breaker lets it.
    async fn ask(
        &self,
        question: Question,
        request: &PaymentRequest,
        key: &str,
    ) -> Result<Answer, NotSettled> {
        let pass = self.breaker.pass().map_err(|left| NotSettled {
            why: "the provider failed too often and is left alone for a while".to_owned(),
            retry_after: Some(left),
        })?;
        let began = Instant::now();
        let credentials = Arc::clone(&self.credentials.read());
        let answer = match self.request(question, request, key, credentials.authorization.as_ref()) {
            Ok(http) => match self.transport.exchange(http).await {
                Ok(reply) => {
                    let secret = credentials.token.as_ref().map(|token| token.expose_secret());
                    answer::read(question, key, &reply, secret)
                }
                Err(why) => Answer::Unknown {
                    why,
                    retry_after: None,
                },
            },
            Err(why) => Answer::Broken { why },
        };
        match &answer {
            Answer::Unknown { .. } => pass.failed(),
            // That it can be asked what happened does not say that it can do anything.
            Answer::Unseen => drop(pass),
            _ => pass.succeeded(),
        }
        seen::breaker(&self.name, self.breaker.is_closed());
        seen::asked(&self.name, question, request.kind, &answer, began.elapsed());
        Ok(answer)
    }

    fn request(
        &self,
        question: Question,
        request: &PaymentRequest,
        key: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request<http_body_util::Full<Bytes>>, String> {
        let payment = request.payment_name();
        let (method, path, body) = match question {
            Question::Do => (
                Method::POST,
                wire::step_path(&payment, request.kind),
                serde_json::to_vec(&StepBody::of(request)).map_err(|error| error.to_string())?,
            ),
            Question::WhatHappened => (Method::GET, wire::lookup_path(&payment, key), Vec::new()),
        };
        let mut http = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("docket/", env!("CARGO_PKG_VERSION")));
        if method == Method::POST {
            http = http
                .header(header::CONTENT_TYPE, "application/json")
                .header(wire::KEY_HEADER, key);
        }
        if let Some(authorization) = authorization {
            http = http.header(header::AUTHORIZATION, authorization);
        }
        http.body(Bytes::from(body).into())
            .map_err(|error| error.to_string())
    }
}

impl PaymentProvider for HttpProvider {
    fn settle<'a>(
        &'a self,
        request: &'a PaymentRequest,
        may_be_asked: bool,
    ) -> BoxFuture<'a, Result<PaymentOutcome, NotSettled>> {
        self.settle_by_rule(request, may_be_asked).boxed()
    }
}
