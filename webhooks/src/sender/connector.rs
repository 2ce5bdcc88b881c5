//! The way to a receiver: its name is looked up, the addresses are judged, and one that may be is connected to. There is no second look-up
//! in between that could find another.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use docket_engine::webhook::{DeliveryFailure, is_public};
use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service;

use super::SenderError;
use crate::WebhookOptions;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotConnected {
    #[error("the URL is none of a receiver")]
    Url,
    #[error("the name has no address")]
    NotResolved,
    #[error("the name has no address that may be delivered to")]
    NotAllowed,
    #[error("no connection: {0}")]
    Tcp(#[from] io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
}

impl NotConnected {
    pub(super) fn failure(&self) -> DeliveryFailure {
        match self {
            Self::Url | Self::NotAllowed => DeliveryFailure::NotAllowed,
            Self::NotResolved => DeliveryFailure::NotResolved,
            Self::Tcp(_) => DeliveryFailure::NotConnected,
            Self::Tls(_) => DeliveryFailure::NotTrusted,
        }
    }
}

/// Connects. Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    allow_http: bool,
    allow_private: bool,
}

impl Connector {
    pub(super) fn new(options: &WebhookOptions) -> Result<Self, SenderError> {
        let mut roots = RootCertStore::empty();
        // Where the system trusts nobody, only those that are configured are left.
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = &options.ca {
            let broken = |why: String| SenderError::Authorities {
                path: path.clone(),
                why,
            };
            let own = CertificateDer::pem_file_iter(path).map_err(|error| broken(error.to_string()))?;
            for certificate in own {
                let certificate = certificate.map_err(|error| broken(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| broken(error.to_string()))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            allow_http: options.allow_http,
            allow_private: options.allow_private,
        })
    }

    async fn connect(self, uri: Uri) -> Result<Receiver, NotConnected> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP && self.allow_http => false,
            _ => return Err(NotConnected::Url),
        };
        let host = uri.host().ok_or(NotConnected::Url)?;
        // An IPv6 address is in brackets in a URL.
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = self.connect_to(&self.addresses(host, port).await?).await?;
        // What is sent is one piece: there is nothing to wait for.
        stream.set_nodelay(true)?;
        if !is_tls {
            return Ok(Receiver::Plain(TokioIo::new(stream)));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NotConnected::Url)?;
        let stream = self.tls.connect(name, stream).await.map_err(NotConnected::Tls)?;
        Ok(Receiver::Tls(Box::new(TokioIo::new(stream))))
    }

    /// The addresses of a name that may be delivered to.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NotConnected> {
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let found = lookup_host((host, port)).await;
                found.map_err(|_| NotConnected::NotResolved)?.collect()
            }
        };
        if found.is_empty() {
            return Err(NotConnected::NotResolved);
        }
        let allowed = found
            .into_iter()
            .filter(|address| self.allow_private || is_public(address.ip()));
        let allowed: Vec<SocketAddr> = allowed.take(ADDRESSES_MAX).collect();
        match allowed.is_empty() {
            true => Err(NotConnected::NotAllowed),
            false => Ok(allowed),
        }
    }

    /// Connects to the first of these that can be.
    async fn connect_to(&self, addresses: &[SocketAddr]) -> Result<TcpStream, NotConnected> {
        let mut last = NotConnected::NotResolved;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

impl Service<Uri> for Connector {
    type Response = Receiver;
    type Error = NotConnected;
    type Future = Pin<Box<dyn Future<Output = Result<Receiver, NotConnected>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection to a receiver.
pub(super) enum Receiver {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Receiver {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Receiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl Write for Receiver {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
