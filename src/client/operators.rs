//! A node's address for operators: plain HTTP, one question a connection.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Credentials, Target};

/// Where it is looked for when nobody says otherwise.
pub const DEFAULT_OPERATORS: &str = "http://127.0.0.1:7071";
/// What an answer may have in bytes at most.
const ANSWER_BYTES_MAX: usize = 256 * 1_024 * 1_024;

/// A node's address for operators, and who asks there.
pub struct Operators {
    target: Target,
    authority: String,
    credentials: Option<(&'static str, HeaderValue)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The address is not one.
    #[error(
        "`{address}` is no address for operators: {why}\n      do: write, for instance, --admin {DEFAULT_OPERATORS}"
    )]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers there, or not in time.
    #[error(
        "the node does not answer\n   tried: {tried}\n  failed: {failed}\n      do: name its address for operators with --admin or \
         DOCKET_ADMIN_ADDR; it is on its own machine alone, unless admin.listen says otherwise"
    )]
    Failed {
        /// What was tried.
        tried: String,
        /// What failed.
        failed: String,
    },
    /// The node says no.
    #[error("the node refused: {message} ({reason})")]
    Refused {
        /// How HTTP calls it.
        status: u16,
        /// The reason, in UPPER_SNAKE_CASE.
        reason: String,
        /// The same for people.
        message: String,
    },
}

impl NoAnswer {
    /// Whether the caller is to blame, and not the node's state.
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400..=403,
                ..
            } | Self::Address { .. }
        )
    }
}

impl Operators {
    /// The way there. Nothing is connected yet.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(address: &str, credentials: &Credentials, connect_max: Duration) -> Result<Self, NoAnswer> {
        let invalid = |why| NoAnswer::Address {
            address: address.to_owned(),
            why,
        };
        let uri: Uri = address.parse().map_err(|_| invalid("it is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(invalid(
                "it must begin with http://, since it is served without TLS",
            ));
        }
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| invalid("it names no host"))?;
        if uri.port_u16().is_none() {
            return Err(invalid("it names no port"));
        }
        let credentials = credentials.as_header().and_then(|(name, value)| {
            let mut value = HeaderValue::from_bytes(value.as_encoded_bytes()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        Ok(Self {
            authority: authority.to_string(),
            target: Target {
                address: address.to_owned(),
                ca: None,
                timeout: connect_max,
            },
            credentials,
        })
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.target.address
    }

    /// Whether credentials are sent there that can be read on the way.
    pub fn exposes(&self) -> bool {
        self.credentials.is_some() && self.target.exposes()
    }

    /// Asks for a path, with the credentials.
    ///
    /// # Errors
    /// Nobody answers within that time, or the node says no.
    pub async fn get(&self, path: &str, within: Duration) -> Result<Bytes, NoAnswer> {
        self.ask((Method::GET, path), self.credentials.as_ref(), within)
            .await
    }

    /// Asks for something to be done, with the credentials.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &str, within: Duration) -> Result<Bytes, NoAnswer> {
        self.ask((Method::POST, path), self.credentials.as_ref(), within)
            .await
    }

    /// Asks for a path that everybody may see, whatever the status of the answer is.
    ///
    /// # Errors
    /// Nobody answers within that time.
    pub async fn get_open(&self, path: &str, within: Duration) -> Result<Bytes, NoAnswer> {
        match self.ask((Method::GET, path), None, within).await {
            Err(NoAnswer::Refused { message, .. }) => Ok(message.into()),
            answer => answer,
        }
    }

    async fn ask(
        &self,
        (method, path): (Method, &str),
        credentials: Option<&(&'static str, HeaderValue)>,
        within: Duration,
    ) -> Result<Bytes, NoAnswer> {
        let failed = |failed: String| NoAnswer::Failed {
            tried: format!("{method} {}{path}", self.address().trim_end_matches('/')),
            failed,
        };
        let tcp = timeout(self.target.timeout, TcpStream::connect(&self.authority)).await;
        let tcp = tcp.map_err(|_| failed(format!("no connection within {:?}", self.target.timeout)))?;
        let tcp = tcp.map_err(|cause| failed(cause.to_string()))?;
        let asked = timeout(within, self.exchange(tcp, (&method, path), credentials)).await;
        let answer = asked.map_err(|_| failed(format!("no answer within {within:?}")))?;
        let (status, body) = answer.map_err(|cause| failed(cause.to_string()))?;
        match status.is_success() {
            true => Ok(body),
            false => Err(refused(status, &body)),
        }
    }

    async fn exchange(
        &self,
        tcp: TcpStream,
        (method, path): (&Method, &str),
        credentials: Option<&(&'static str, HeaderValue)>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, "close");
        if let Some((name, value)) = credentials {
            request = request.header(*name, value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    }
}

/// What an answer says that is none: the node's own words, where there are any.
fn refused(status: StatusCode, body: &[u8]) -> NoAnswer {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let told = |name: &str| {
        let error = json.as_ref()?.get("error")?;
        Some(error.get(name)?.as_str()?.to_owned())
    };
    NoAnswer::Refused {
        status: status.as_u16(),
        reason: told("reason").unwrap_or_else(|| status.to_string()),
        message: told("message").unwrap_or_else(|| String::from_utf8_lossy(body).trim_end().to_owned()),
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operators({})", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_plain_http_and_has_a_port() {
        let new = |address: &str| Operators::new(address, &Credentials::none(), Duration::from_secs(1));
        for address in [
            "http://127.0.0.1:7071",
            "http://[::1]:7071/",
            "http://docket-0:7071",
        ] {
            assert_eq!(new(address).unwrap().address(), address);
        }
        for (address, why) in [
            ("https://127.0.0.1:7071", "without TLS"),
            ("127.0.0.1:7071", ""),
            ("http://127.0.0.1", "no port"),
            ("http://somebody@127.0.0.1:1", "no host"),
            ("", "not a URL"),
        ] {
            let error = new(address).unwrap_err();
            assert!(
                error.is_denied() && error.to_string().contains(why),
                "{address}: {error}"
            );
        }
    }

    #[test]
    fn what_the_node_says_is_told_in_its_words() {
        let body = br#"{"error":{"code":"ABORTED","reason":"DEBUG_BUSY","message":"ask again in 3 s"}}"#;
        let error = refused(StatusCode::CONFLICT, body);
        assert_eq!(
            error.to_string(),
            "the node refused: ask again in 3 s (DEBUG_BUSY)"
        );
        assert!(!error.is_denied());
        let error = refused(StatusCode::NOT_FOUND, b"no such page\n");
        assert_eq!(
            error.to_string(),
            "the node refused: no such page (404 Not Found)"
        );
        assert!(refused(StatusCode::UNAUTHORIZED, b"").is_denied());
    }
}
