//! Secrets over a real connection: a small server that speaks as much of Vault's API as is asked of it, and files that are exchanged.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod logins;
mod server;
mod vault;

use std::time::Duration;

use docket_secrets::{Options, Reference, Store};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, sleep};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a test looks whether what it waits for has come.
const LOOK: Duration = Duration::from_millis(10);

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// What a key `test.key` would refer to.
fn keyed(text: &str) -> Vec<(String, Reference)> {
    vec![("test.key".to_owned(), reference(text))]
}

fn shown(store: &Store, text: &str) -> String {
    store.get(&reference(text)).unwrap().expose_secret().to_owned()
}

fn options() -> Options {
    Options {
        refresh: Duration::from_millis(100),
        open_within: Duration::from_secs(10),
        vault: None,
    }
}

/// Waits until it is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        sleep(LOOK).await;
    }
}
