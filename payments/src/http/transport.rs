//! One request and its reply: pooled connections over rustls, bounded in time and bytes. Follows no redirect and repeats nothing by
//! itself.

use std::{error::Error, fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{
        Client, Error as ClientError,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::config::{HttpConfig, HttpConfigError, refused};

/// How long a connection is kept open while nothing is asked.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The most bytes of a reply's headers.
const HEADER_BYTES_MAX: usize = 32_768;

type Body = Full<Bytes>;

/// A client over whatever connects.
trait Exchange: Send + Sync {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Incoming>, ClientError>>;
}

impl<C: Connect + Clone + Send + Sync + 'static> Exchange for Client<C, Body> {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Incoming>, ClientError>> {
        self.request(request).boxed()
    }
}

/// A whole reply.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Transport {
    client: Box<dyn Exchange>,
    timeout: Duration,
    reply_bytes_max: usize,
}

impl Transport {
    /// Over TCP, and TLS where `encrypted`.
    pub fn new(config: &HttpConfig, encrypted: bool) -> Result<Self, HttpConfigError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        if !encrypted {
            return Ok(Self::over(config, tcp));
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(config.ca_file.as_deref())?)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self::over(config, connector))
    }

    /// Over another connector.
    pub fn over<C: Connect + Clone + Send + Sync + 'static>(config: &HttpConfig, connector: C) -> Self {
        let client = Client::builder(TokioExecutor::new())
            // What is asked again is asked by the rule, not by the pool.
            .retry_canceled_requests(false)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(config.idle_connections_max)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(HEADER_BYTES_MAX)
            .build(connector);
        Self {
            client: Box::new(client),
            timeout: config.timeout,
            reply_bytes_max: config.reply_bytes_max,
        }
    }

    /// Sends `request` and reads the whole reply.
    ///
    /// # Errors
    /// There is none that can be read, and why: whether the request was done is not known.
    pub async fn exchange(&self, request: Request<Body>) -> Result<Reply, String> {
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| told(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.reply_bytes_max).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => format!("the reply is longer than {} bytes", self.reply_bytes_max),
                false => format!("the reply broke off: {}", told(error.as_ref())),
            })?;
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(reply) => reply,
            Err(_) => Err(format!("no reply within {:?}", self.timeout)),
        }
    }
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
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, HttpConfigError> {
    let mut roots = RootCertStore::empty();
    // One of the system's that cannot be read is no reason to trust none of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unusable = |why: &dyn std::fmt::Display| refused("ca_file", format!("{}: {why}", path.display()));
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
    if roots.is_empty() {
        return Err(refused(
            "ca_file",
            "is needed: the system has no authorities to trust",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("ca_file", error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
