//! One delivery: a POST, signed, and what the receiver answers. Connections are kept for the next one.
//!
//! What bounds it: the time of the whole, the bytes of the answer's head and of as much of its body as is read. Redirects are
//! not followed: they would lead where nobody has signed for.

mod connector;

use std::{
    error::Error as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use docket_engine::{
    Time,
    webhook::{DeliveryFailure, WebhookSecret},
};
use http::{HeaderMap, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use self::connector::{Connector, NotConnected};
use crate::{WebhookOptions, event::MEDIA_TYPE, secret::signature_header};

/// Bytes of an answer's body that are read, so that its connection can be used again. Where there are more, it is closed.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of an answer.
const HEADERS_MAX: usize = 64;
/// How long a connection is kept that nothing is sent on.
const IDLE: Duration = Duration::from_secs(30);
/// How many of those are kept for one receiver.
const IDLE_MAX: usize = 16;

/// What this program calls itself.
const USER_AGENT: &str = concat!("Docket/", env!("CARGO_PKG_VERSION"));

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The file of authorities cannot be read.
    #[error("webhooks.ca: cannot read {}: {why}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for webhooks: {0}")]
    Tls(#[from] rustls::Error),
}

/// A delivery that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The status that was answered, 2xx.
    pub status: u16,
}

/// A delivery that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDelivered {
    /// Why.
    pub failure: DeliveryFailure,
    /// When the receiver asks for it to be tried again.
    pub retry_after: Option<Duration>,
}

/// Sends. Cloning it is cheap; clones share their connections.
#[derive(Clone)]
pub struct Sender {
    client: Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl Sender {
    /// One that follows these options.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(options: &WebhookOptions) -> Result<Self, SenderError> {
        let connector = Connector::new(options)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(connector);
        Ok(Self {
            client,
            timeout: Duration::from_millis(options.timeout_ms),
        })
    }

    /// Delivers a body under an id, signed at this time with these secrets.
    ///
    /// # Errors
    /// Why it did not arrive, as far as is known: it may have all the same.
    pub async fn deliver(
        &self,
        url: &str,
        id: &str,
        body: Bytes,
        secrets: Vec<WebhookSecret>,
        now: Time,
    ) -> Result<Delivered, NotDelivered> {
        let sent = timeout(self.timeout, self.send(url, id, body, secrets, now));
        sent.await.unwrap_or(Err(failed(DeliveryFailure::TimedOut)))
    }

    async fn send(
        &self,
        url: &str,
        id: &str,
        body: Bytes,
        secrets: Vec<WebhookSecret>,
        now: Time,
    ) -> Result<Delivered, NotDelivered> {
        let timestamp_s = now.0.div_euclid(1_000_000);
        let signature = signature_header(secrets, id, timestamp_s, &body);
        let request = url.parse::<Uri>().ok().and_then(|uri| {
            Request::post(uri)
                .header(header::CONTENT_TYPE, MEDIA_TYPE)
                .header(header::USER_AGENT, USER_AGENT)
                .header("webhook-id", id)
                .header("webhook-timestamp", timestamp_s)
                .header("webhook-signature", signature)
                .body(Full::new(body))
                .ok()
        });
        // A URL was looked at when it was taken.
        let request = request.ok_or(failed(DeliveryFailure::NotHttp))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| failed(failure_of(&error)))?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        // What it says is of no interest; that it was read lets the connection be used again.
        let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        match status.is_success() {
            true => Ok(Delivered {
                status: status.as_u16(),
            }),
            false => Err(NotDelivered {
                failure: DeliveryFailure::Status(status.as_u16()),
                retry_after,
            }),
        }
    }
}

fn failed(failure: DeliveryFailure) -> NotDelivered {
    NotDelivered {
        failure,
        retry_after: None,
    }
}

fn failure_of(error: &hyper_util::client::legacy::Error) -> DeliveryFailure {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<NotConnected>() {
            return error.failure();
        }
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            return DeliveryFailure::NotHttp;
        }
        cause = error.source();
    }
    DeliveryFailure::NotConnected
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            Some(at.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<u64>) {
        let headers = [(header::RETRY_AFTER, value.parse().unwrap())]
            .into_iter()
            .collect();
        assert_eq!(
            retry_after(&headers).map(|wait| wait.as_secs()),
            expected,
            "{value:?}"
        );
    }

    #[test]
    fn a_receiver_asks_to_be_tried_again_in_seconds_or_at_a_date() {
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("99999999999999999999999999", None);
        check("-1", None);
        check("soon", None);
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600));
        let headers = [(header::RETRY_AFTER, later.parse().unwrap())]
            .into_iter()
            .collect();
        let wait = retry_after(&headers).unwrap().as_secs();
        assert!((3_590..=3_600).contains(&wait), "{wait}");
    }
}
