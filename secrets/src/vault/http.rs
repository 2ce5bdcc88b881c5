//! One request and its reply, over HTTP/1.1 and rustls, bounded in time and bytes. Follows no redirect.

use std::{error::Error, fmt, fs, net::IpAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{InvalidVault, VaultOptions, refused};
use crate::{ReadError, SECRET_BYTES_MAX};

/// The longest reply, in bytes: a secret of several fields, as JSON.
const REPLY_BYTES_MAX: usize = 16 * SECRET_BYTES_MAX as usize;
/// The most that is repeated of what the server says to a refusal, in bytes.
const SAID_BYTES_MAX: usize = 200;
/// How long a connection is kept open while nothing is asked.
const IDLE_MAX: Duration = Duration::from_secs(30);

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Without it an agent in between refuses (its `require_request_header`).
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// A client of one server.
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    namespace: Option<HeaderValue>,
    timeout: Duration,
}

/// What came of a request that was answered with something else than success.
#[derive(Debug)]
pub enum Failed {
    /// The token does not open this.
    Denied(String),
    /// There is nothing.
    Missing,
    /// Whatever else.
    Other(ReadError),
}

impl Failed {
    /// The same, where nothing else is to be done about it.
    pub fn finally(self) -> ReadError {
        match self {
            Self::Denied(why) => ReadError::Unusable(why),
            Self::Missing => ReadError::Unusable("the server has nothing there".to_owned()),
            Self::Other(error) => error,
        }
    }
}

impl Http {
    pub fn new(options: &VaultOptions) -> Result<Self, InvalidVault> {
        let base = base(options)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.timeout));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(options.ca_file.as_deref())?);
        let connector = match base.starts_with("https:") {
            true => connector.https_only().enable_http1().wrap_connector(tcp),
            false => connector.https_or_http().enable_http1().wrap_connector(tcp),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            client,
            base,
            namespace: namespace(options)?,
            timeout: options.timeout,
        })
    }

    /// Asks, and reads the whole reply. `hidden` is what no error repeats.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Option<Value>,
        hidden: &[&SecretString],
    ) -> Result<Value, Failed> {
        let not_now = |why: String| Failed::Other(ReadError::NotNow(format!("{}: {why}", self.base)));
        let request = self.request(method, path, token, body).map_err(not_now)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| told(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, REPLY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => format!("the reply is longer than {REPLY_BYTES_MAX} bytes"),
                false => format!("the reply broke off: {}", told(error.as_ref())),
            })?;
            Ok((head.status, body.to_bytes()))
        };
        let (status, body) = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answered) => answered.map_err(not_now)?,
            Err(_) => return Err(not_now(format!("no reply within {:?}", self.timeout))),
        };
        if status.is_success() {
            return match body.is_empty() {
                true => Ok(Value::Null),
                // What serde says repeats what it read.
                false => {
                    serde_json::from_slice(&body).map_err(|_| not_now("the reply is not JSON".to_owned()))
                }
            };
        }
        let why = format!("{}: {}", self.base, said(status, &body, token, hidden));
        Err(match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Failed::Denied(why),
            StatusCode::NOT_FOUND => Failed::Missing,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PRECONDITION_FAILED => {
                Failed::Other(ReadError::NotNow(why))
            }
            status if status.is_client_error() => Failed::Other(ReadError::Unusable(why)),
            _ => Failed::Other(ReadError::NotNow(why)),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Option<Value>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.base))
            .header(http::header::ACCEPT, "application/json")
            .header(
                http::header::USER_AGENT,
                concat!("docket/", env!("CARGO_PKG_VERSION")),
            )
            .header(REQUEST, "true");
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret().trim())
                .map_err(|_| "the token is not one line of visible characters".to_owned())?;
            value.set_sensitive(true);
            request = request.header(TOKEN, value);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        let body = match body {
            Some(body) => serde_json::to_vec(&body).map_err(|error| error.to_string())?,
            None => Vec::new(),
        };
        request
            .body(Bytes::from(body).into())
            .map_err(|error| error.to_string())
    }
}

/// The status, and what the server says to it, without what nobody may see.
fn said(status: StatusCode, body: &[u8], token: Option<&SecretString>, hidden: &[&SecretString]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut said = errors
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    for secret in token.into_iter().chain(hidden.iter().copied()) {
        said = said.replace(secret.expose_secret(), "(redacted)");
    }
    let mut said = said.replace(char::is_control, " ");
    if said.len() > SAID_BYTES_MAX {
        let cut = (0..=SAID_BYTES_MAX).rev().find(|at| said.is_char_boundary(*at));
        said.truncate(cut.unwrap_or_default());
    }
    match said.is_empty() {
        true => status.to_string(),
        false => format!("{status} ({said})"),
    }
}

/// The address without a slash at its end.
pub fn base(options: &VaultOptions) -> Result<String, InvalidVault> {
    const RULE: &str = "must be https://HOST[:PORT], without a user, a path or a query";
    let uri: Uri = options.address.parse().map_err(|_| refused("address", RULE))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refused("address", RULE));
    };
    if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(refused("address", RULE));
    }
    match scheme {
        "https" => {}
        "http" if options.allow_http || is_loopback(authority.host()) => {}
        "http" => {
            return Err(refused(
                "address",
                "must be https, unless allow_http is true: everybody on the way would read all secrets",
            ));
        }
        _ => return Err(refused("address", RULE)),
    }
    Ok(format!("{scheme}://{authority}"))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub fn namespace(options: &VaultOptions) -> Result<Option<HeaderValue>, InvalidVault> {
    let value = options.namespace.as_deref().map(HeaderValue::from_str);
    value
        .transpose()
        .map_err(|_| refused("namespace", "must be one line of visible ASCII characters"))
}

/// An error with its causes.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many repeat their cause.
        if !told.ends_with(&next) {
            told = format!("{told}: {next}");
        }
        cause = error.source();
    }
    told
}

/// Trusts the system's authorities and those in `ca_file`.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, InvalidVault> {
    let mut roots = RootCertStore::empty();
    // One of the system's that cannot be read is no reason to trust none of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unusable = |why: &dyn fmt::Display| refused("ca_file", format!("{}: {why}", path.display()));
        let pem = fs::read(path).map_err(|error| unusable(&error))?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
            found += 1;
        }
        if found == 0 {
            return Err(unusable(&"there is no certificate in it"));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("ca_file", error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Login;

    fn options(address: &str) -> VaultOptions {
        VaultOptions {
            address: address.to_owned(),
            allow_http: false,
            ca_file: None,
            namespace: None,
            login: Login::Token("env:VAULT_TOKEN".parse().unwrap()),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn an_address_is_https_unless_it_is_here() {
        for good in [
            "https://vault:8200",
            "https://vault:8200/",
            "http://127.0.0.1:8200",
            "http://[::1]:1",
        ] {
            assert_eq!(options(good).validate(), Ok(()), "{good}");
        }
        for bad in [
            "",
            "vault:8200",
            "http://vault:8200",
            "ftp://vault",
            "https://ada:hunter2@vault",
            "https://vault/v1",
            "https://vault?a=b",
        ] {
            let refused = options(bad).validate().unwrap_err();
            assert_eq!(refused.option, "address", "{bad}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        let mut open = options("http://vault:8200");
        open.allow_http = true;
        assert_eq!(open.validate(), Ok(()));
        open.login = Login::Token("vault:secret/a#b".parse().unwrap());
        assert_eq!(open.validate().unwrap_err().option, "token");
    }

    #[test]
    fn what_the_server_says_is_repeated_without_secrets_and_short() {
        let body = br#"{"errors":["no hunter2 and\nno swordfish here"]}"#;
        let (token, jwt): (SecretString, SecretString) = ("hunter2".into(), "swordfish".into());
        let shown = said(StatusCode::BAD_REQUEST, body, Some(&token), &[&jwt]);
        assert_eq!(shown, "400 Bad Request (no (redacted) and no (redacted) here)");
        let long = format!(r#"{{"errors":["{}"]}}"#, "ä".repeat(500));
        assert!(said(StatusCode::BAD_REQUEST, long.as_bytes(), None, &[]).len() < 240);
        assert_eq!(
            said(StatusCode::BAD_GATEWAY, b"<html>", None, &[]),
            "502 Bad Gateway"
        );
    }
}
