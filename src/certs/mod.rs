//! The certificates of a cluster's nodes: an authority of its own, and what it signs, one certificate a node.
//!
//! A node's certificate is bound to it by the DNS name `node-ID.CLUSTER.peer.docket`, which is what peers check. Keys are ECDSA
//! on P-256. Nothing is ever written over: who wants a new certificate moves the old one away.

mod files;

use std::path::{Path, PathBuf};

use docket_cluster::{NodeId, certificate_name};
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

pub use files::CertsError;
use files::{Secrecy, write_new};

/// The authority's certificate in its folder.
const CA_CERTIFICATE: &str = "ca.pem";
/// The authority's key in its folder.
const CA_KEY: &str = "ca.key";

/// How long before it is made a certificate begins to be valid, in days: the clocks of nodes may differ.
const BACKDATED_DAYS: i64 = 1;

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, mode 0600.
    pub key: PathBuf,
    /// The last day on which the certificate is valid.
    pub until: Date,
}

/// What a node's certificate says.
#[derive(Clone, Debug)]
pub struct NodeCertificate {
    /// The cluster.
    pub cluster_id: String,
    /// The node.
    pub node: NodeId,
    /// Further names and addresses, for clients that check the same certificate.
    pub hosts: Vec<String>,
    /// How long it is valid, in days.
    pub days: u32,
}

/// Makes an authority in a folder, which is made if need be.
///
/// # Errors
/// One is there already, or a file cannot be written.
pub fn make_authority(out: &Path, days: u32) -> Result<Pair, CertsError> {
    let (key, until) = (new_key()?, last_day(days)?);
    let mut params = params(Vec::new(), "Docket cluster authority", until)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(CertsError::make)?;
    let (certificate_path, key_path) = (out.join(CA_CERTIFICATE), out.join(CA_KEY));
    write_new(
        out,
        &[
            (&key_path, key.serialize_pem(), Secrecy::Secret),
            (&certificate_path, certificate.pem(), Secrecy::Public),
        ],
    )?;
    Ok(Pair {
        ca: certificate_path.clone(),
        certificate: certificate_path,
        key: key_path,
        until,
    })
}

/// Makes a node's certificate, signed by the authority in the folder `ca`, in the folder `out`, with the authority's own
/// certificate beside it.
///
/// # Errors
/// There is no authority, the node has a certificate there already, a name is none, or a file cannot be written.
pub fn make_node(ca: &Path, wanted: &NodeCertificate, out: &Path) -> Result<Pair, CertsError> {
    let authority_pem = files::read(&ca.join(CA_CERTIFICATE))?;
    let authority_key = files::read(&ca.join(CA_KEY))?;
    let authority_key =
        KeyPair::from_pem(&authority_key).map_err(|cause| CertsError::unusable(&ca.join(CA_KEY), cause))?;
    let issuer = Issuer::from_ca_cert_pem(&authority_pem, authority_key)
        .map_err(|cause| CertsError::unusable(&ca.join(CA_CERTIFICATE), cause))?;
    let (key, until) = (new_key()?, last_day(wanted.days)?);
    let mut names = vec![certificate_name(&wanted.cluster_id, wanted.node)];
    names.extend(wanted.hosts.iter().cloned());
    let mut params = params(names, &format!("Docket node {}", wanted.node), until)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(CertsError::make)?;
    let file = |ending: &str| out.join(format!("node-{}.{ending}", wanted.node));
    let (certificate_path, key_path, ca_path) = (file("pem"), file("key"), out.join(CA_CERTIFICATE));
    let mut new = vec![
        (&key_path, key.serialize_pem(), Secrecy::Secret),
        (&certificate_path, certificate.pem(), Secrecy::Public),
    ];
    // The authority is the same for all nodes of a folder, which may be its own.
    if !files::holds(&ca_path, &authority_pem)? {
        new.push((&ca_path, authority_pem, Secrecy::Public));
    }
    write_new(out, &new)?;
    Ok(Pair {
        ca: ca_path,
        certificate: certificate_path,
        key: key_path,
        until,
    })
}

fn new_key() -> Result<KeyPair, CertsError> {
    KeyPair::generate().map_err(CertsError::make)
}

fn params(names: Vec<String>, common_name: &str, until: Date) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::new(names).map_err(CertsError::make)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let from = day(-BACKDATED_DAYS)?;
    params.not_before = rcgen::date_time_ymd(from.year().into(), from.month() as u8, from.day() as u8);
    params.not_after = rcgen::date_time_ymd(until.year().into(), until.month() as u8, until.day() as u8);
    Ok(params)
}

fn last_day(days: u32) -> Result<Date, CertsError> {
    day(days.into())
}

/// The day this many days from today, in UTC.
fn day(from_now: i64) -> Result<Date, CertsError> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    Span::new()
        .try_days(from_now)
        .and_then(|span| today.checked_add(span))
        .map_err(|cause| CertsError::make(format!("a validity of {from_now} days: {cause}")))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn wanted(node: u64) -> NodeCertificate {
        NodeCertificate {
            cluster_id: "c1".into(),
            node: NodeId(node),
            hosts: vec!["localhost".into(), "127.0.0.1".into()],
            days: 30,
        }
    }

    #[test]
    fn a_folder_serves_several_nodes_and_keys_are_their_owners() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, nodes) = (folder.path().join("ca"), folder.path().join("nodes"));
        let authority = make_authority(&ca, 30).unwrap();
        let first = make_node(&ca, &wanted(1), &nodes).unwrap();
        let second = make_node(&ca, &wanted(2), &nodes).unwrap();
        assert_eq!(first.ca, second.ca);
        assert_eq!(
            fs::read(&authority.certificate).unwrap(),
            fs::read(&first.ca).unwrap()
        );
        for pair in [&authority, &first, &second] {
            let mode = fs::metadata(&pair.key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", pair.key.display());
        }
        // And the authority's own folder may be the nodes' as well.
        make_node(&ca, &wanted(3), &ca).unwrap();
    }

    #[test]
    fn nothing_is_written_over_and_the_refusal_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (ca, nodes) = (folder.path().join("ca"), folder.path().join("nodes"));
        make_authority(&ca, 30).unwrap();
        let key = fs::read(ca.join(CA_KEY)).unwrap();
        let refused = make_authority(&ca, 30).unwrap_err().to_string();
        assert!(
            refused.contains("ca.key") && refused.contains("move it away"),
            "{refused}"
        );
        assert_eq!(fs::read(ca.join(CA_KEY)).unwrap(), key);

        make_node(&ca, &wanted(1), &nodes).unwrap();
        fs::remove_file(nodes.join("node-1.key")).unwrap();
        let refused = make_node(&ca, &wanted(1), &nodes).unwrap_err().to_string();
        assert!(refused.contains("node-1.pem"), "{refused}");
        assert!(!nodes.join("node-1.key").exists(), "half a pair was left");

        // Another authority's certificate in the folder is not taken for this one's.
        let other = folder.path().join("other");
        make_authority(&other, 30).unwrap();
        let refused = make_node(&other, &wanted(2), &nodes).unwrap_err().to_string();
        assert!(refused.contains("ca.pem"), "{refused}");
    }

    #[test]
    fn a_folder_without_an_authority_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let refused = make_node(folder.path(), &wanted(1), folder.path()).unwrap_err();
        assert!(refused.to_string().contains("docket certs ca"), "{refused}");
        fs::write(folder.path().join(CA_CERTIFICATE), "no certificate").unwrap();
        fs::write(folder.path().join(CA_KEY), "no key").unwrap();
        let refused = make_node(folder.path(), &wanted(1), folder.path()).unwrap_err();
        assert!(refused.to_string().contains("ca.key"), "{refused}");
    }
}
