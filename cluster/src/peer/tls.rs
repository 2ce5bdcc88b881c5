//! TLS between nodes: both ends show a certificate of the cluster's own authority, and each certificate is one node's.
//!
//! A certificate is bound to its node by the DNS name in it ([`certificate_name`]), which holds the cluster and the node. Who connects
//! asks for the name of the node it means; who accepts is told the name by the caller's Hello and holds the certificate against it.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::PeerError;
use crate::NodeId;

/// What gRPC's protocol is called in TLS.
const ALPN_H2: &[u8] = b"h2";

/// What ends the name in every node's certificate.
const SUFFIX: &str = "peer.docket";

/// The DNS name that a node's certificate must have: `node-ID.CLUSTER.peer.docket`. It is looked up nowhere.
pub fn certificate_name(cluster_id: &str, node: NodeId) -> String {
    format!("node-{node}.{cluster_id}.{SUFFIX}")
}

/// A node's certificate, its key and the cluster's authority, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerTls {
    /// The authority that signs the certificates of this cluster's nodes, and nothing else.
    pub authority: String,
    /// This node's certificate, and what is between it and the authority, if anything is. For client and server.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerTls")
    }
}

/// Both ends of TLS, ready to use.
pub(super) struct Ends {
    pub(super) client: Arc<ClientConfig>,
    /// For a peer whose name is not known yet: whoever uses it checks the certificate's name itself, once it is.
    pub(super) anybody: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Ends {
    /// Reads the files, and refuses a certificate that is not this node's.
    pub(super) fn new(tls: &PeerTls, cluster_id: &str, node: NodeId) -> Result<Self, PeerError> {
        let unusable = |what: &'static str| {
            move |error: &dyn fmt::Display| PeerError::Certificate {
                what,
                cause: error.to_string(),
            }
        };
        let authority = unusable("the peers' authority");
        let own = unusable("the peer certificate");
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(tls.authority.as_bytes()) {
            let added = root
                .map_err(|error| authority(&error))
                .map(|root| roots.add(root))?;
            added.map_err(|error| authority(&error))?;
        }
        if roots.is_empty() {
            return Err(authority(&"there is no certificate in it"));
        }
        let roots = Arc::new(roots);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(tls.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| own(&error))?;
        let Some(first) = chain.first() else {
            return Err(own(&"there is no certificate in it"));
        };
        check_node(first, cluster_id, node)?;
        let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes())
            .map_err(|error| unusable("the peer certificate's key")(&error))?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| authority(&error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| own(&error))?
            .with_client_cert_verifier(callers)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| own(&error))?;
        server.alpn_protocols = vec![ALPN_H2.to_vec()];
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(|error| own(&error))
        };
        let finish = |client: Result<ClientConfig, rustls::Error>| {
            let mut client = client.map_err(|error| own(&error))?;
            client.alpn_protocols = vec![ALPN_H2.to_vec()];
            // Each connection shows its certificate: what was trusted once need not be now.
            client.resumption = Resumption::disabled();
            Ok(Arc::new(client))
        };
        let any_node = AnyNode {
            roots: Arc::clone(&roots),
            algorithms: provider.signature_verification_algorithms,
        };
        let anybody = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(any_node))
            .with_client_auth_cert(chain.clone(), key.clone_key());
        let client = builder()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key);
        Ok(Self {
            client: finish(client)?,
            anybody: finish(anybody)?,
            server: Arc::new(server),
        })
    }
}

/// Accepts what the cluster's authority has signed, whatever name is in it.
#[derive(Debug)]
struct AnyNode {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The name to ask of a node.
pub(super) fn server_name(cluster_id: &str, node: NodeId) -> Result<ServerName<'static>, PeerError> {
    let name = certificate_name(cluster_id, node);
    ServerName::try_from(name).map_err(|error| PeerError::Certificate {
        what: "the cluster's id",
        cause: format!("it cannot be part of a certificate's name: {error}"),
    })
}

/// Whether a certificate, whose signature was checked before, is this node's.
pub(super) fn check_node(
    certificate: &CertificateDer<'_>,
    cluster_id: &str,
    node: NodeId,
) -> Result<(), PeerError> {
    ParsedCertificate::try_from(certificate)
        .and_then(|parsed| verify_server_name(&parsed, &server_name_for(cluster_id, node)?))
        .map_err(|error| of_rustls(&error, cluster_id, node))
}

fn server_name_for(cluster_id: &str, node: NodeId) -> Result<ServerName<'static>, rustls::Error> {
    server_name(cluster_id, node).map_err(|error| rustls::Error::General(error.to_string()))
}

/// What a failed handshake means for this node of this cluster.
pub(super) fn of_handshake(error: &io::Error, cluster_id: &str, node: NodeId) -> PeerError {
    match error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>())
    {
        Some(error) => of_rustls(error, cluster_id, node),
        None => PeerError::Unreachable {
            node,
            cause: format!("the TLS handshake failed: {error}"),
        },
    }
}

fn of_rustls(error: &rustls::Error, cluster_id: &str, node: NodeId) -> PeerError {
    use rustls::Error::InvalidCertificate;
    match error {
        InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            let shown = presented.join(", ");
            let of_cluster = format!(".{cluster_id}.{SUFFIX}");
            if presented.iter().any(|name| name.contains(&of_cluster)) {
                PeerError::OtherNode { node, shown }
            } else {
                PeerError::OtherCluster {
                    node,
                    cluster: cluster_id.to_owned(),
                    shown,
                }
            }
        }
        InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            PeerError::OtherAuthority { node }
        }
        error => PeerError::Tls {
            node,
            cause: error.to_string(),
        },
    }
}
