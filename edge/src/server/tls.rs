//! The server's certificate.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use super::EdgeError;
use crate::config::TlsConfig;

/// What gRPC's protocol is called in TLS, and what REST's is.
const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The certificate that new connections get; it can be changed while the server runs.
pub(super) struct Certificate {
    files: TlsConfig,
    current: ArcSwap<Both>,
}

/// The certificate for gRPC, and for REST.
struct Both {
    h2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
}

impl Certificate {
    pub(super) fn load(files: TlsConfig) -> Result<Self, EdgeError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. Where that fails, the certificate stays as it is.
    pub(super) fn reload(&self) -> Result<(), EdgeError> {
        self.current.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// What takes connections for gRPC; or for REST, which is HTTP/1.1.
    pub(super) fn acceptor(&self, is_http1: bool) -> TlsAcceptor {
        let current = self.current.load();
        TlsAcceptor::from(Arc::clone(if is_http1 { &current.http1 } else { &current.h2 }))
    }
}

fn read(files: &TlsConfig) -> Result<Both, EdgeError> {
    let failed = |path: &Path, why: String| EdgeError::Tls {
        path: path.to_owned(),
        why,
    };
    let in_certificate = |why: String| failed(&files.certificate, why);
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| in_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(in_certificate("there is no certificate in it".into()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| in_certificate(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| in_certificate(error.to_string()))?;
    let mut http1 = config.clone();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Both {
        h2: Arc::new(config),
        http1: Arc::new(http1),
    })
}
