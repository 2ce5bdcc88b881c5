//! Until when the certificates hold that the node uses.

use std::{fs, path::PathBuf};

use x509_parser::pem::Pem;

use super::measured::CERTIFICATE_EXPIRY;
use crate::config::Config;

/// Where they are.
pub struct Files {
    server: Option<PathBuf>,
    peer: Option<PathBuf>,
    authority: Option<PathBuf>,
}

impl Files {
    /// As the configuration names them.
    pub fn of(config: &Config) -> Self {
        let among_peers = config.cluster.peer_listen.is_some();
        let of_peers = |file: &Option<PathBuf>| file.clone().filter(|_| among_peers);
        Self {
            server: config.tls.certificate.clone(),
            peer: of_peers(&config.cluster.certificate),
            authority: of_peers(&config.cluster.ca),
        }
    }

    /// Shows until when the certificate for clients holds, once it is in use.
    pub fn measure_server(&self) {
        measure("server", self.server.as_ref());
    }

    /// Shows until when the certificate for peers and its authority hold, once they are in use.
    pub fn measure_peer(&self) {
        measure("peer", self.peer.as_ref());
        measure("authority", self.authority.as_ref());
    }
}

fn measure(name: &'static str, file: Option<&PathBuf>) {
    let Some(file) = file else { return };
    // It is in use, and can be read. What has a form that is not known here is no reason to stop.
    match fs::read(file).ok().and_then(|pem| first_to_end(&pem)) {
        Some(end) => metrics::gauge!(CERTIFICATE_EXPIRY, "certificate" => name).set(end as f64),
        None => tracing::warn!(file = %file.display(), "until when the certificate holds cannot be told"),
    }
}

/// When the first of the certificates in a PEM file ends to be valid, in seconds since 1970; `None` where there is none, or one that
/// cannot be read.
fn first_to_end(pem: &[u8]) -> Option<i64> {
    let mut first = None::<i64>;
    for block in Pem::iter_from_buffer(pem) {
        let block = block.ok()?;
        if block.label != "CERTIFICATE" {
            continue;
        }
        let end = block.parse_x509().ok()?.validity().not_after.timestamp();
        first = Some(first.map_or(end, |first| first.min(end)));
    }
    first
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::first_to_end;

    fn until(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["docket.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn of_a_chain_the_first_to_end_counts_and_keys_are_passed_over() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let chain = format!("{}{key}{}{}", until(2040), until(2031), until(2050));
        // 2031-01-01T00:00:00Z
        assert_eq!(first_to_end(chain.as_bytes()), Some(1_924_992_000));
    }

    #[test]
    fn what_is_no_certificate_tells_nothing() {
        assert_eq!(first_to_end(b"nothing"), None);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(first_to_end(broken.as_bytes()), None);
    }
}
