//! A bucket of an S3-compatible store: whole files of some MiB, put, read, listed and removed, over HTTP/1.1 and rustls. Addresses are
//! path-style (`ENDPOINT/BUCKET/PREFIX/NAME`), which all such stores know.
//!
//! Every request can be made twice, so that what fails in a way that may pass is tried again. It is ours, because the crates at hand for it bring an HTTP client and a
//! TLS set-up of their own, and what is needed of S3 are four requests.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::SecretString;

use crate::place::FILE_BYTES_MAX;
use crate::sigv4::{Signed, Signer, sha256};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one request may take, with its reply.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How often a request is made at most.
const ATTEMPTS_MAX: usize = 4;
/// How long a connection is kept open while nothing is asked.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The most that is repeated of what the store says, in bytes.
const SAID_BYTES_MAX: usize = 300;

/// Where a bucket is, and who uses it.
#[derive(Clone)]
pub struct BucketOptions {
    /// `https://HOST[:PORT]`; `http://` where that is what there is.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// What all names begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The access key's id.
    pub access_key: String,
    /// Its secret.
    pub secret_key: SecretString,
    /// Of credentials that were lent.
    pub session_token: Option<SecretString>,
    /// PEM certificates to trust; `None`: the system's.
    pub ca: Option<Vec<u8>>,
}

/// A bucket. Clones are the same.
#[derive(Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    options: BucketOptions,
    /// Of the endpoint.
    authority: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Options that no bucket has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct NoBucket {
    /// Which option.
    pub what: &'static str,
    /// What it must be.
    pub rule: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.0.options;
        match options.prefix.is_empty() {
            true => write!(f, "s3://{}", options.bucket),
            false => write!(f, "s3://{}/{}", options.bucket, options.prefix),
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
struct Failed {
    why: String,
    may_pass: bool,
}

impl Failed {
    fn for_now(why: String) -> Self {
        Self { why, may_pass: true }
    }

    fn for_good(why: String) -> Self {
        Self { why, may_pass: false }
    }
}

impl Bucket {
    /// The bucket that these describe. Nothing is asked yet.
    ///
    /// # Errors
    /// Options that cannot be used.
    pub fn new(options: BucketOptions) -> Result<Self, NoBucket> {
        let refused = |what, rule: &str| NoBucket {
            what,
            rule: rule.to_owned(),
        };
        let rule = "must be https://HOST[:PORT] or http://HOST[:PORT], without a user, a path or a query";
        let no_endpoint = || refused("the store's endpoint", rule);
        let uri: Uri = options.endpoint.parse().map_err(|_| no_endpoint())?;
        let authority = uri.authority().ok_or_else(no_endpoint)?.as_str().to_owned();
        let is_web = matches!(uri.scheme_str(), Some("https" | "http"));
        if !is_web || authority.contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(no_endpoint());
        }
        let parts = options.prefix.split('/');
        if !is_plain(&options.bucket) || !options.prefix.is_empty() && !parts.into_iter().all(is_plain) {
            return Err(refused(
                "a bucket's name and what stands behind it",
                "have letters, digits, `-`, `_` and `.` between slashes",
            ));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        let tls = tls(options.ca.as_deref()).map_err(|why| refused("the trusted certificates", &why))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self(Arc::new(Inner {
            options,
            authority,
            client,
        })))
    }

    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        let bytes = Bytes::from(bytes);
        let put = self.ask(Method::PUT, &self.path(name)?, "", bytes).await?;
        match put {
            Some(_) => Ok(()),
            None => Err("there is no such bucket".to_owned()),
        }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let got = self.ask(Method::GET, &self.path(name)?, "", Bytes::new()).await?;
        Ok(got.map(Vec::from))
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), String> {
        self.ask(Method::DELETE, &self.path(name)?, "", Bytes::new())
            .await?;
        Ok(())
    }

    /// The names of the files in a folder, without it, sorted; all there are, where none is named.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let options = &self.0.options;
        let parts = [options.prefix.as_str(), folder];
        let mut prefix = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let (mut names, mut next) = (Vec::new(), None::<String>);
        loop {
            // In the order of the names.
            let from = next.map(|next| format!("continuation-token={}&", quoted(&next)));
            let query = format!(
                "{}list-type=2&prefix={}",
                from.unwrap_or_default(),
                quoted(&prefix)
            );
            let path = format!("/{}", options.bucket);
            let page = self.ask(Method::GET, &path, &query, Bytes::new()).await?;
            let page = page.ok_or("there is no such bucket")?;
            let page = String::from_utf8(page.into()).map_err(|_| "the list is no text")?;
            let found = elements(&page, "Key").filter_map(|key| key.strip_prefix(&prefix));
            names.extend(found.map(str::to_owned));
            if elements(&page, "IsTruncated").next() != Some("true") {
                break;
            }
            let more = elements(&page, "NextContinuationToken").next();
            next = Some(
                more.ok_or("the list is cut, and does not say where it goes on")?
                    .to_owned(),
            );
        }
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, name: &str) -> Result<String, String> {
        // They come from manifests, too.
        if !name.split('/').all(is_plain) {
            return Err(format!("{name:?} is no name of a file here"));
        }
        let BucketOptions { bucket, prefix, .. } = &self.0.options;
        Ok(match prefix.is_empty() {
            true => format!("/{bucket}/{name}"),
            false => format!("/{bucket}/{prefix}/{name}"),
        })
    }

    /// Asks, again where it may help; `None` where there is nothing.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> Result<Option<Bytes>, String> {
        let attempt = || self.attempt(&method, path, query, &body);
        let back_off = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_times(ATTEMPTS_MAX - 1)
            .with_jitter();
        let asked = attempt.retry(back_off).when(|failed: &Failed| failed.may_pass);
        asked.await.map_err(|failed| failed.why)
    }

    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: &Bytes,
    ) -> Result<Option<Bytes>, Failed> {
        let request = self
            .request(method, path, query, body)
            .map_err(Failed::for_good)?;
        let exchange = async {
            let answered = self.0.client.request(request).await;
            let (head, body) = answered.map_err(|error| told(&error))?.into_parts();
            let body = Limited::new(body, FILE_BYTES_MAX as usize).collect().await;
            let body = body.map_err(|error| format!("the reply broke off: {error}"))?;
            Ok((head.status, body.to_bytes()))
        };
        let (status, body) = match tokio::time::timeout(REQUEST_MAX, exchange).await {
            Ok(answered) => answered.map_err(Failed::for_now)?,
            Err(_) => return Err(Failed::for_now(format!("no reply within {REQUEST_MAX:?}"))),
        };
        match status {
            status if status.is_success() => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Failed::for_now(said(status, &body)))
            }
            status if status.is_server_error() => Err(Failed::for_now(said(status, &body))),
            status => Err(Failed::for_good(said(status, &body))),
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        use secrecy::ExposeSecret as _;
        let Inner {
            options, authority, ..
        } = &*self.0;
        let content = sha256(body);
        let time = jiff::Timestamp::try_from(SystemTime::now()).map_err(|error| error.to_string())?;
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![
            ("host", authority.as_str()),
            ("x-amz-content-sha256", content.as_str()),
            ("x-amz-date", time.as_str()),
        ];
        if let Some(token) = &options.session_token {
            headers.push(("x-amz-security-token", token.expose_secret()));
        }
        let signer = Signer {
            access_key: &options.access_key,
            secret_key: &options.secret_key,
            region: &options.region,
        };
        let signed = signer.authorization(&Signed {
            method: method.as_str(),
            path,
            query,
            headers: &headers,
            content: &content,
            time: &time,
        });
        let endpoint = options.endpoint.trim_end_matches('/');
        let uri = match query.is_empty() {
            true => format!("{endpoint}{path}"),
            false => format!("{endpoint}{path}?{query}"),
        };
        let mut request = Request::builder()
            .method(method.clone())
            .uri(uri)
            .header(header::AUTHORIZATION, signed);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.clone()));
        request.map_err(|error| error.to_string())
    }
}

/// Names that no address has to quote.
fn is_plain(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// As a part of a query.
fn quoted(text: &str) -> String {
    let quoted = |byte: u8| match byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(quoted).collect()
}

/// What stands in elements of this name. Nothing that is looked for has anything in it that XML quotes.
fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let from = rest.find(&begin)? + begin.len();
        let length = rest.get(from..)?.find(&end)?;
        let found = rest.get(from..from + length)?;
        rest = rest.get(from + length + end.len()..)?;
        Some(found)
    })
}

/// The status, and what the store says to it.
fn said(status: StatusCode, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let parts = ["Code", "Message"].map(|name| elements(&body, name).next().unwrap_or_default().to_owned());
    let said: String = parts
        .join(": ")
        .replace(char::is_control, " ")
        .chars()
        .take(SAID_BYTES_MAX)
        .collect();
    match said.len() > 2 {
        true => format!("the store answers {status} ({said})"),
        false => format!("the store answers {status}"),
    }
}

/// An error with what it comes of.
fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(of) = cause {
        told.push_str(": ");
        told.push_str(&of.to_string());
        cause = of.source();
    }
    told
}

fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| error.to_string())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_has_is_found() {
        let xml =
            "<a><Key>one</Key><Size>3</Size></a><a><Key>b/two</Key></a><IsTruncated>false</IsTruncated>";
        assert_eq!(elements(xml, "Key").collect::<Vec<_>>(), ["one", "b/two"]);
        assert_eq!(elements(xml, "IsTruncated").next(), Some("false"));
        assert_eq!(elements("<Key>cut", "Key").next(), None);
        assert_eq!(quoted("a/b=c"), "a%2Fb%3Dc");
    }

    #[test]
    fn options_that_cannot_be_used_are_refused() {
        let good = BucketOptions {
            endpoint: "http://127.0.0.1:9000".to_owned(),
            region: "us-east-1".to_owned(),
            bucket: "backups".to_owned(),
            prefix: "shop/eu".to_owned(),
            access_key: "key".to_owned(),
            secret_key: SecretString::from("secret"),
            session_token: None,
            ca: None,
        };
        let bucket = Bucket::new(good.clone()).unwrap();
        assert_eq!(
            format!("{bucket} {bucket:?}"),
            "s3://backups/shop/eu s3://backups/shop/eu"
        );
        assert_eq!(
            bucket.path("objects/a-1").unwrap(),
            "/backups/shop/eu/objects/a-1"
        );
        assert!(bucket.path("../a").is_err() && bucket.path("a b").is_err());
        let check = |change: fn(&mut BucketOptions)| {
            let mut options = good.clone();
            change(&mut options);
            assert!(Bucket::new(options).is_err());
        };
        check(|options| options.endpoint = "127.0.0.1:9000".to_owned());
        check(|options| options.endpoint = "ftp://127.0.0.1".to_owned());
        check(|options| options.endpoint = "http://me@127.0.0.1".to_owned());
        check(|options| options.bucket = String::new());
        check(|options| options.prefix = "a//b".to_owned());
    }
}
