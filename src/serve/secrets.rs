//! The secrets of a node that runs: read before it is opened, and put in force anew whenever they are others.

use std::{collections::BTreeSet, sync::Arc};

use docket_edge::auth::{ApiKeyText, AuthApi, SigningKeyText};
use docket_sealing::Keyring;
use docket_secrets::{Reference, Store, is_open_to_others};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::measured::SECRETS_UNUSABLE;
use crate::{
    config::{Config, encryption, secrets},
    failure::Failure,
    payments::Follower,
};

/// Reads everything that the configuration refers to.
///
/// # Errors
/// The first that cannot be read, with its key; where a server does not answer, after the time that is configured.
pub async fn open(config: &Config) -> Result<Arc<Store>, Failure> {
    for (key, path) in secrets::private_keys(config) {
        if is_open_to_others(path) {
            tracing::warn!(key, file = %path.display(), "everybody on this machine may read this private key; do: chmod o-r");
        }
    }
    Ok(Arc::new(read(config, secrets::references(config)).await?))
}

async fn read(
    config: &Config,
    references: impl IntoIterator<Item = (String, Reference)>,
) -> Result<Store, Failure> {
    let opened = Store::open(&config.secrets.options(), references).await;
    opened.map_err(|cause| Failure::Other(format!("a secret cannot be had: {cause}")))
}

/// The first administrator's key, where the configuration says where it is. Only who is about to make that account asks for it.
///
/// # Errors
/// It cannot be read, or is no key.
pub async fn admin_key(config: &Config) -> Result<Option<ApiKeyText>, Failure> {
    let Some((key, reference)) = secrets::admin_key(config) else {
        return Ok(None);
    };
    let store = read(config, [(key, reference.clone())]).await?;
    let parsed = store
        .get(&reference)
        .map(|text| ApiKeyText::parse(text.expose_secret().trim()).ok_or(()));
    parsed.transpose().map_err(|()| {
        Failure::Other("auth.admin_key: it is no API key: `docket config admin-key` makes one".to_owned())
    })
}

/// What signs access tokens, where the configuration says it.
///
/// # Errors
/// What it refers to is no key.
pub fn signing_key(config: &Config, store: &Store) -> Result<Option<SigningKeyText>, Failure> {
    let reference = config.auth.signing_key.as_ref();
    let secret = reference.and_then(|it| store.get(it));
    let parsed = secret.as_ref().map(SigningKeyText::parse).transpose();
    parsed.map_err(|why| Failure::Other(format!("auth.signing_key: {why}")))
}

/// The keys that the data directory is sealed with, of a store that has what [`secrets::keys_at_rest`] names.
///
/// # Errors
/// What one refers to is no key.
pub fn keyring(config: &Config, store: &Store) -> Result<Keyring, Failure> {
    let keys = config.encryption.keys.iter();
    let keys: Vec<_> = keys
        .filter_map(|key| Some((key.id, store.get(&key.at)?)))
        .collect();
    let keys = keys.iter().map(|(id, secret)| (*id, secret));
    Keyring::new(config.encryption.current(), keys)
        .map_err(|why| Failure::Other(format!("{}: {why}", encryption::KEYS)))
}

/// The same where no node is started: reads them, and nothing else that the configuration refers to.
///
/// # Errors
/// One cannot be read, or is no key.
pub async fn keys_at_rest(config: &Config) -> Result<Keyring, Failure> {
    if config.encryption.keys.is_empty() {
        return Ok(Keyring::default());
    }
    let store = read(config, secrets::keys_at_rest(config)).await?;
    keyring(config, &store)
}

/// Keeps secrets up to date, and gives each to who uses it, until it is dropped.
pub struct Followers {
    stop: CancellationToken,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Followers {
    /// Begins.
    pub fn start(store: &Arc<Store>, config: &Config, providers: Vec<Follower>, auth: &AuthApi) -> Self {
        let stop = CancellationToken::new();
        let (mut tasks, unusable) = (Vec::new(), Unusable::default());
        for follower in providers {
            let Some(tokens) = store.watch(&follower.token) else {
                continue;
            };
            let unusable = unusable.clone();
            tasks.push(each(tokens, move |token| {
                let taken = follower.take(token);
                unusable.note(&follower.key, taken.is_ok());
                match taken {
                    Ok(()) => tracing::info!(key = follower.key, "the provider is sent another token"),
                    Err(problem) => {
                        tracing::error!(key = follower.key, %problem, "the token stays as it was")
                    }
                }
            }));
        }
        if let Some(keys) = config.auth.signing_key.as_ref().and_then(|it| store.watch(it)) {
            let auth = auth.clone();
            tasks.push(each(keys, move |secret| {
                let parsed = SigningKeyText::parse(secret);
                unusable.note("auth.signing_key", parsed.is_ok());
                match parsed {
                    Ok(key) => auth.sign_with(key),
                    Err(problem) => {
                        tracing::error!(key = "auth.signing_key", %problem, "the key that signs stays as it was");
                    }
                }
            }));
        }
        let auth = auth.clone();
        tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
            auth.keep_signing_key().await;
        })));
        // At last: whoever has been told of nothing by then has what is in force.
        tasks.push(AbortOnDropHandle::new(keep(Arc::clone(store), stop.clone())));
        Self { stop, tasks }
    }

    /// Reads nothing any more.
    pub fn stop(self) {
        self.stop.cancel();
        drop(self.tasks);
    }
}

/// The keys of secrets that were exchanged for what cannot be used, counted for whoever watches.
#[derive(Clone, Default)]
struct Unusable(Arc<Mutex<BTreeSet<String>>>);

impl Unusable {
    fn note(&self, key: &str, is_usable: bool) {
        let mut keys = self.0.lock();
        match is_usable {
            true => keys.remove(key),
            false => keys.insert(key.to_owned()),
        };
        metrics::gauge!(SECRETS_UNUSABLE).set(keys.len() as f64);
    }
}

fn keep(store: Arc<Store>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move { store.run(stop).await })
}

/// Calls `take` with every secret that comes after the one that there is.
fn each(
    mut secrets: watch::Receiver<SecretString>,
    take: impl Fn(&SecretString) + Send + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        while secrets.changed().await.is_ok() {
            let secret = secrets.borrow_and_update().clone();
            take(&secret);
        }
    }))
}
