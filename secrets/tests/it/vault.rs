//! What the server keeps: read, read again, and not there.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use docket_secrets::{OpenError, vault::VaultOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::*;
use crate::server::{Server, State, token_in};

fn state() -> State {
    State {
        secrets: [
            (
                "secret/docket/cards".to_owned(),
                json!({ "token": "hunter2", "empty": "", "number": 5 }),
            ),
            ("secret/docket/keys".to_owned(), json!({ "signing": "swordfish" })),
        ]
        .into(),
        tokens: vec!["root".to_owned()],
        ..State::default()
    }
}

/// A server, and how to get in.
async fn server(folder: &TempDir) -> (Server, VaultOptions) {
    let server = Server::start(state(), None).await;
    let token = folder.path().join("token");
    fs::write(&token, "root").unwrap();
    let options = server.options(token_in(&token));
    (server, options)
}

#[tokio::test]
async fn each_path_is_read_once_whatever_is_referred_to_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (server, vault) = server(&folder).await;
    let mut options = options();
    options.vault = Some(vault);
    let places = [
        "vault:secret/docket/cards#token",
        "vault:secret/docket/keys#signing",
    ];
    let mut keys: Vec<_> = places.iter().flat_map(|place| keyed(place)).collect();
    keys.extend(keyed(places[0]));
    let store = Store::open(&options, keys).await.unwrap();
    assert_eq!(
        (shown(&store, places[0]), shown(&store, places[1])),
        ("hunter2".into(), "swordfish".into())
    );
    assert_eq!(server.count("GET /v1/secret/data/docket/cards"), 1);
    assert_eq!(server.count("GET /v1/secret/data/docket/keys"), 1);
    assert!(
        store.get(&reference("env:PATH")).is_none(),
        "nothing referred to it"
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, vault) = server(&folder).await;
    for (place, why) in [
        ("vault:secret/docket/gone#token", "the server has nothing there"),
        ("vault:secret/docket/cards#gone", "no such field"),
        ("vault:secret/docket/cards#empty", "no such field"),
        ("vault:secret/docket/cards#number", "no such field"),
    ] {
        let mut options = options();
        options.open_within = PATIENCE * 10;
        options.vault = Some(vault.clone());
        let refused = Store::open(&options, keyed(place)).await.err().unwrap();
        let told = refused.to_string();
        assert!(
            told.starts_with(&format!("test.key: cannot read {place}: ")) && told.contains(why),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_told_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (server, vault) = server(&folder).await;
    let mut options = options();
    options.vault = Some(vault);
    options.open_within = Duration::from_secs(2);
    server.state().down = true;
    let begun = Instant::now();
    let refused = Store::open(&options, keyed("vault:secret/docket/cards#token"))
        .await
        .err()
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(matches!(refused, OpenError::Late { .. }), "{refused:?}");
    let told = refused.to_string();
    assert!(
        told.contains("test.key") && told.contains("within 2s") && told.contains("http://localhost:"),
        "{told}"
    );

    // And one that comes in time is waited for.
    options.open_within = PATIENCE;
    let opening =
        tokio::spawn(async move { Store::open(&options, keyed("vault:secret/docket/cards#token")).await });
    let before = server.state().unanswered;
    until("it to be asked in vain", || server.state().unanswered > before).await;
    server.state().down = false;
    let store = opening.await.unwrap().unwrap();
    assert_eq!(shown(&store, "vault:secret/docket/cards#token"), "hunter2");
}

#[tokio::test]
async fn a_server_that_goes_down_later_leaves_what_was_read_in_force_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (server, vault) = server(&folder).await;
    let mut options = options();
    options.vault = Some(vault);
    let place = "vault:secret/docket/cards#token";
    let store = Arc::new(Store::open(&options, keyed(place)).await.unwrap());
    let mut changes = store.watch(&reference(place)).unwrap();
    let running = Arc::clone(&store);
    let running = tokio::spawn(async move { running.run(CancellationToken::new()).await });
    let _running = AbortOnDropHandle::new(running);
    let reads = || server.count("GET /v1/secret/data/docket/cards");
    until("it to be read again", || reads() >= 3).await;
    assert!(!changes.has_changed().unwrap(), "it is the same");
    {
        let mut state = server.state();
        state.down = true;
        state
            .secrets
            .insert("secret/docket/cards".to_owned(), json!({ "token": "swordfish" }));
    }
    // It is asked in vain, and what was read is in force.
    until("it to be asked in vain", || server.state().unanswered >= 2).await;
    assert_eq!(shown(&store, place), "hunter2");
    server.state().down = false;
    tokio::time::timeout(PATIENCE, changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changes.borrow_and_update().expose_secret(), "swordfish");
    // What is taken away is not: nobody is better off without it.
    server.state().secrets.clear();
    let before = reads();
    until("it to be asked for", || reads() > before + 1).await;
    assert_eq!(shown(&store, place), "swordfish");
}

/// A certificate for `localhost` of an authority of its own, and the authority's, as a file.
fn tls(folder: &TempDir) -> (TlsAcceptor, PathBuf) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, authority.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

#[tokio::test]
async fn its_certificate_is_of_the_authority_in_the_file_or_it_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, authority) = tls(&folder);
    let server = Server::start(state(), Some(acceptor)).await;
    let token = folder.path().join("token");
    fs::write(&token, "root").unwrap();
    let place = "vault:secret/docket/cards#token";
    let mut vault = server.options(token_in(&token));
    let mut options = options();
    options.open_within = Duration::from_millis(500);
    options.vault = Some(vault.clone());
    let refused = Store::open(&options, keyed(place)).await.err().unwrap();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    assert!(server.state().asked.is_empty());
    vault.ca_file = Some(authority);
    options.vault = Some(vault);
    let store = Store::open(&options, keyed(place)).await.unwrap();
    assert_eq!(shown(&store, place), "hunter2");
}
