//! Who the node is at the server, and for how long.

use std::{fs, path::Path, sync::Arc};

use docket_secrets::{OpenError, vault::Login};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::*;
use crate::server::{Server, State, token_in};

const PLACE: &str = "vault:secret/docket/cards#token";

fn state() -> State {
    State {
        secrets: [("secret/docket/cards".to_owned(), json!({ "token": "hunter2" }))].into(),
        tokens: vec!["root".to_owned()],
        jwt: "jwt-1".to_owned(),
        ttl: 3,
        renewable: true,
        ..State::default()
    }
}

fn service_account(path: &Path) -> Login {
    Login::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: "docket".to_owned(),
        jwt_file: path.to_owned(),
    }
}

fn run(store: Store) -> (Arc<Store>, AbortOnDropHandle<()>) {
    let store = Arc::new(store);
    let running = Arc::clone(&store);
    let running = tokio::spawn(async move { running.run(CancellationToken::new()).await });
    (store, AbortOnDropHandle::new(running))
}

const LOGIN: &str = "POST /v1/auth/kubernetes/login";
const RENEW: &str = "POST /v1/auth/token/renew-self";
const LOOKUP: &str = "GET /v1/auth/token/lookup-self";
const READ: &str = "GET /v1/secret/data/docket/cards";

#[tokio::test]
async fn a_service_account_logs_in_and_its_token_is_renewed_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let jwt = folder.path().join("jwt");
    fs::write(&jwt, "jwt-1\n").unwrap();
    let server = Server::start(state(), None).await;
    let mut options = options();
    options.vault = Some(server.options(service_account(&jwt)));
    let store = Store::open(&options, keyed(PLACE)).await.unwrap();
    assert_eq!(shown(&store, PLACE), "hunter2");
    let (_store, _running) = run(store);
    until("the token to be renewed twice", || server.count(RENEW) >= 2).await;
    assert_eq!(server.count(LOGIN), 1, "what can be renewed is");
    let token = server.state().asked.last().unwrap().1.clone();
    assert!(token.starts_with("token-"), "{token}");

    // It gets the token of its service account exchanged, and the server forgets it: it logs in with the new one.
    fs::write(&jwt, "jwt-2\n").unwrap();
    {
        let mut state = server.state();
        state.jwt = "jwt-2".to_owned();
        state.tokens.clear();
        state
            .secrets
            .insert("secret/docket/cards".to_owned(), json!({ "token": "swordfish" }));
    }
    until("the secret to be read again", || {
        shown(&_store, PLACE) == "swordfish"
    })
    .await;
    assert_eq!(server.count(LOGIN), 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_for_long_is_followed_by_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let jwt = folder.path().join("jwt");
    fs::write(&jwt, "jwt-1").unwrap();
    for (what, change) in [
        (
            "not renewable",
            (|state: &mut State| state.renewable = false) as fn(&mut State),
        ),
        ("near its last end", |state| state.ttl = 1),
    ] {
        let mut first = state();
        if what == "not renewable" {
            change(&mut first);
        }
        let server = Server::start(first, None).await;
        let mut options = options();
        options.refresh = PATIENCE;
        options.vault = Some(server.options(service_account(&jwt)));
        let (_store, _running) = run(Store::open(&options, keyed(PLACE)).await.unwrap());
        change(&mut server.state());
        until(what, || server.count(LOGIN) >= 2).await;
        assert_eq!(server.count(RENEW) > 0, what != "not renewable", "{what}");
    }
}

#[tokio::test]
async fn a_token_that_is_given_is_looked_up_and_read_again_where_it_was_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "root\n").unwrap();
    let server = Server::start(state(), None).await;
    let mut options = options();
    options.vault = Some(server.options(token_in(&path)));
    let (store, _running) = run(Store::open(&options, keyed(PLACE)).await.unwrap());
    assert_eq!(server.count(LOOKUP), 1);
    until("it to be renewed", || server.count(RENEW) >= 1).await;
    server.state().tokens = vec!["second".to_owned()];
    fs::write(&path, "second\n").unwrap();
    server
        .state()
        .secrets
        .insert("secret/docket/cards".to_owned(), json!({ "token": "swordfish" }));
    until("the secret to be read again", || {
        shown(&store, PLACE) == "swordfish"
    })
    .await;
    assert!(
        server
            .state()
            .asked
            .iter()
            .any(|(asked, token)| asked == READ && token == "second")
    );
}

#[tokio::test]
async fn what_no_token_opens_any_more_costs_one_login_for_each_round_of_reads() {
    let folder = tempfile::tempdir().unwrap();
    let jwt = folder.path().join("jwt");
    fs::write(&jwt, "jwt-1").unwrap();
    let mut first = state();
    let closed = ["cards", "keys", "mail"].map(|name| format!("secret/docket/{name}"));
    for path in &closed {
        first.secrets.insert(path.clone(), json!({ "token": "hunter2" }));
    }
    let server = Server::start(first, None).await;
    let mut options = options();
    options.vault = Some(server.options(service_account(&jwt)));
    let keys = closed
        .iter()
        .flat_map(|path| keyed(&format!("vault:{path}#token")));
    let (_store, _running) = run(Store::open(&options, keys.collect::<Vec<_>>()).await.unwrap());
    let before = {
        let mut state = server.state();
        state.closed = closed.to_vec();
        state.asked.len()
    };
    // Of each round the first path is asked for with the session that there was, and with the new one; the others with that.
    let since = |asked: &str| {
        let state = server.state();
        let since = state.asked.iter().skip(before);
        since.filter(|(it, _)| it == asked).count()
    };
    until("three rounds", || since(READ) >= 6).await;
    let (logins, reads) = (since(LOGIN), since(READ));
    assert!(
        logins >= 2 && logins <= reads / 2 + 1,
        "{logins} logins, {reads} reads"
    );
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_at_once_and_without_what_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shown");
    fs::write(&path, "correct-horse").unwrap();
    let server = Server::start(state(), None).await;
    for login in [service_account(&path), token_in(&path)] {
        let mut options = options();
        options.vault = Some(server.options(login));
        let refused = Store::open(&options, keyed(PLACE)).await.err().unwrap();
        assert!(matches!(refused, OpenError::Read { .. }), "{refused:?}");
        let told = format!("{refused} {refused:?}");
        assert!(told.contains("test.key") && told.contains("localhost"), "{told}");
        assert!(!told.contains("correct-horse"), "{told}");
    }
}
