//! All secrets of a configuration: read at the start, and kept up to date from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ReadError, Reference, here, seen,
    vault::{InvalidVault, Vault, VaultOptions},
};

/// The time between two looks at files: one that was exchanged is read within twice that.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks may find no file before that is told: one that is exchanged may be gone for a moment.
const LOOKS_WITHOUT: u32 = 3;
/// The least pause before a server that did not answer is asked again. Each is twice the one before, and then by chance up to twice that.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
/// The most, before chance.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// How secrets are kept up to date.
#[derive(Clone, Debug)]
pub struct Options {
    /// After how long those of the server are read again.
    pub refresh: Duration,
    /// How long opening may take while the server does not answer.
    pub open_within: Duration,
    /// The server; without one nothing may refer to it.
    pub vault: Option<VaultOptions>,
}

/// Why not all secrets are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// One cannot be read.
    #[error("{key}: cannot read {reference}: {why}")]
    Read {
        /// The key of the configuration that refers to it.
        key: String,
        /// Where it should be.
        reference: Reference,
        /// Why it is not.
        why: ReadError,
    },
    /// The server did not answer in time.
    #[error("{key}: cannot read {reference} within {within:?}: {why}")]
    Late {
        /// The key of the configuration that refers to it.
        key: String,
        /// Where it should be.
        reference: Reference,
        /// How long it was tried.
        within: Duration,
        /// Why it was not there the last time.
        why: ReadError,
    },
    /// There is no server to read it from.
    #[error("{key}: {reference} is at a server, and none is configured")]
    NoVault {
        /// The key of the configuration that refers to it.
        key: String,
        /// Where it should be.
        reference: Reference,
    },
    /// The server cannot be one.
    #[error(transparent)]
    Vault(#[from] InvalidVault),
}

/// One secret.
struct Secret {
    /// The key of the configuration that refers to it; the first, where there are several.
    key: String,
    current: watch::Sender<SecretString>,
}

/// All secrets of a configuration.
pub struct Store {
    refresh: Duration,
    secrets: BTreeMap<Reference, Secret>,
    /// Who reads those of the server. Only the one loop does, after opening.
    vault: tokio::sync::Mutex<Option<Session>>,
    /// Told to read everything again.
    reread: watch::Sender<()>,
    failing: Mutex<BTreeSet<Reference>>,
}

struct Session {
    vault: Vault,
    /// When the secrets have to be read again.
    read_at: Instant,
}

impl Store {
    /// Reads all secrets that the keys of a configuration refer to.
    ///
    /// # Errors
    /// The first that cannot be read; where the server does not answer, after [`Options::open_within`].
    pub async fn open(
        options: &Options,
        references: impl IntoIterator<Item = (String, Reference)>,
    ) -> Result<Self, OpenError> {
        let mut keys = BTreeMap::new();
        for (key, reference) in references {
            keys.entry(reference).or_insert(key);
        }
        let vault = options.vault.as_ref().map(Vault::new).transpose()?;
        let mut read = BTreeMap::new();
        let mut remote = Vec::new();
        for (reference, key) in &keys {
            match reference {
                Reference::Vault(_) if vault.is_none() => {
                    return Err(OpenError::NoVault {
                        key: key.clone(),
                        reference: reference.clone(),
                    });
                }
                Reference::Vault(_) => remote.push(reference.clone()),
                here => {
                    let secret = read_here(here).map_err(|why| OpenError::Read {
                        key: key.clone(),
                        reference: here.clone(),
                        why,
                    })?;
                    read.insert(here.clone(), secret);
                }
            }
        }
        let mut session = None;
        if let Some(mut vault) = vault
            && !remote.is_empty()
        {
            let (found, lease) = open_vault(&mut vault, &remote, options.open_within, &keys).await?;
            read.extend(found);
            session = Some(Session {
                vault,
                read_at: Instant::now() + next_read(options.refresh, lease),
            });
        }
        let secrets = read.into_iter().map(|(reference, secret)| {
            let key = keys.remove(&reference).unwrap_or_default();
            let (current, _) = watch::channel(secret);
            (reference, Secret { key, current })
        });
        Ok(Self {
            refresh: options.refresh,
            secrets: secrets.collect(),
            vault: tokio::sync::Mutex::new(session),
            reread: watch::Sender::new(()),
            failing: Mutex::default(),
        })
    }

    /// A secret as it is now; `None` where nothing referred to it.
    pub fn get(&self, reference: &Reference) -> Option<SecretString> {
        Some(self.secrets.get(reference)?.current.borrow().clone())
    }

    /// A secret as it is now and each that comes; `None` where nothing referred to it.
    pub fn watch(&self, reference: &Reference) -> Option<watch::Receiver<SecretString>> {
        Some(self.secrets.get(reference)?.current.subscribe())
    }

    /// Has everything read again at once.
    pub fn reread(&self) {
        // Nobody listens where nothing is read again.
        self.reread.send_replace(());
    }

    /// Keeps the secrets up to date until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let keep = async { tokio::join!(self.keep_files(), self.keep_vault()) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = keep => {}
        }
    }

    async fn keep_files(&self) {
        let mut files: Vec<File> = Vec::new();
        for reference in self.secrets.keys() {
            if let Reference::File(path) = reference {
                files.push(File {
                    reference,
                    path,
                    // It was read a moment ago, and may have been changed since: the first looks read it once more.
                    read: None,
                    seen: None,
                    looks_without: 0,
                });
            }
        }
        if files.is_empty() {
            return;
        }
        let mut asked = self.reread.subscribe();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let all = tokio::select! {
                _ = looks.tick() => false,
                Ok(()) = asked.changed() => true,
            };
            for file in &mut files {
                if file.is_due().await || all {
                    let read = read_here(file.reference);
                    if read.is_err() {
                        // Whoever may read it is no part of the stamp: it can be read some day, and look the same.
                        file.read = None;
                    }
                    self.take(file.reference, read);
                }
            }
        }
    }

    async fn keep_vault(&self) {
        let mut session = self.vault.lock().await;
        let Some(session) = session.as_mut() else { return };
        let references: Vec<_> = self.secrets.keys().filter(|it| is_remote(it)).cloned().collect();
        let mut asked = self.reread.subscribe();
        let mut pauses: Option<ExponentialBackoff> = None;
        loop {
            let pause = pauses
                .as_mut()
                .map(|pauses| pauses.next().unwrap_or(BACK_OFF_MAX));
            let due = due(pause, session.read_at, session.vault.renew_at(), Instant::now());
            let is_asked = tokio::select! {
                () = sleep_until(due) => false,
                Ok(()) = asked.changed() => true,
            };
            let was_well = pauses.is_none();
            let mut is_well = true;
            if session.vault.renew_at().is_some_and(|at| at <= Instant::now())
                && let Err(why) = session.vault.renew().await
            {
                is_well = false;
                tracing::warn!(%why, "the token for the secrets' server cannot be renewed; it is tried again");
            }
            if is_asked || !was_well || session.read_at <= Instant::now() {
                let (read, lease) = read_remote(&mut session.vault, &references).await;
                is_well &= read.values().all(Result::is_ok);
                for (reference, read) in read {
                    self.take(&reference, read);
                }
                session.read_at = Instant::now() + next_read(self.refresh, lease);
            }
            match is_well {
                true => pauses = None,
                false if was_well => pauses = Some(back_off()),
                false => {}
            }
        }
    }

    /// Puts what was read in force, or tells that it was not.
    fn take(&self, reference: &Reference, read: Result<SecretString, ReadError>) {
        let Some(secret) = self.secrets.get(reference) else {
            return;
        };
        let mut failing = self.failing.lock();
        match read {
            Ok(new) => {
                if failing.remove(reference) {
                    tracing::info!(key = secret.key, %reference, "the secret can be read again");
                }
                let is_new = secret.current.send_if_modified(|current| {
                    let is_new = current.expose_secret() != new.expose_secret();
                    if is_new {
                        *current = new;
                    }
                    is_new
                });
                if is_new {
                    seen::changed();
                    tracing::info!(key = secret.key, %reference, "the secret is another now");
                }
            }
            Err(why) => {
                if failing.insert(reference.clone()) {
                    tracing::warn!(
                        key = secret.key, %reference, %why,
                        "the secret cannot be read again: the one that was read before is in force"
                    );
                }
            }
        }
        seen::failing(failing.len());
    }
}

/// A file with a secret, as it was when it was read last and as it was at the last look.
struct File<'a> {
    reference: &'a Reference,
    path: &'a Path,
    read: Option<here::Stamp>,
    seen: Option<here::Stamp>,
    looks_without: u32,
}

impl File<'_> {
    /// Whether it is another than the one that was read, and was so at the last look; or is gone for good.
    async fn is_due(&mut self) -> bool {
        let now = here::stamp(self.path).await;
        let stays = now == self.seen;
        self.seen = now;
        self.looks_without = if now.is_some() {
            0
        } else {
            self.looks_without.saturating_add(1)
        };
        if now.is_none() {
            // It is read once it is back, also where it is the same.
            self.read = None;
            return self.looks_without == LOOKS_WITHOUT;
        }
        let is_due = stays && now != self.read;
        if is_due {
            self.read = now;
        }
        is_due
    }
}

fn is_remote(reference: &Reference) -> bool {
    matches!(reference, Reference::Vault(_))
}

fn read_here(reference: &Reference) -> Result<SecretString, ReadError> {
    let (source, read) = match reference {
        Reference::File(path) => ("file", here::read_file(path)),
        Reference::Variable(name) => ("variable", here::read_variable(name)),
        Reference::Vault(_) => ("vault", Err(ReadError::Unusable("it is at a server".to_owned()))),
    };
    seen::read(source, read.is_ok());
    read
}

type Found = BTreeMap<Reference, Result<SecretString, ReadError>>;

/// All of these, each path once; and the shortest time for which the server gives any of them.
async fn read_remote(vault: &mut Vault, references: &[Reference]) -> (Found, Option<Duration>) {
    let mut paths: BTreeMap<(&str, &str), Vec<(&str, &Reference)>> = BTreeMap::new();
    for reference in references {
        if let Reference::Vault(place) = reference {
            let of_path = paths.entry((&place.mount, &place.path)).or_default();
            of_path.push((&place.field, reference));
        }
    }
    let (mut found, mut lease) = (BTreeMap::new(), None::<Duration>);
    let begun = Instant::now();
    for ((mount, path), fields) in paths {
        let read = vault.read(mount, path, begun).await;
        seen::read("vault", read.is_ok());
        if let Ok(read) = &read {
            lease = read.lease.into_iter().chain(lease).min();
        }
        for (field, reference) in fields {
            let secret = match &read {
                Ok(read) => match read.fields.get(field) {
                    Some(secret) if !secret.expose_secret().is_empty() => Ok(secret.clone()),
                    _ => Err(ReadError::Unusable(
                        "the secret has no such field with a text in it".to_owned(),
                    )),
                },
                Err(why) => Err(why.clone()),
            };
            found.insert(reference.clone(), secret);
        }
    }
    if found.values().all(Result::is_ok) {
        seen::vault_read();
    }
    (found, lease)
}

/// All of these, for the first time: again and again while the server does not answer, for so long.
async fn open_vault(
    vault: &mut Vault,
    references: &[Reference],
    within: Duration,
    keys: &BTreeMap<Reference, String>,
) -> Result<(BTreeMap<Reference, SecretString>, Option<Duration>), OpenError> {
    let until = Instant::now() + within;
    let mut pauses = back_off();
    let mut last = ReadError::NotNow("no answer yet".to_owned());
    let mut about = references.first().cloned();
    loop {
        if let Ok((found, lease)) = timeout_at(until, read_remote(vault, references)).await {
            let failed = found
                .iter()
                .find_map(|(reference, read)| Some((reference, read.as_ref().err()?)));
            let Some((reference, why)) = failed else {
                let secrets = found
                    .into_iter()
                    .filter_map(|(reference, read)| Some((reference, read.ok()?)));
                return Ok((secrets.collect(), lease));
            };
            if matches!(why, ReadError::Unusable(_)) {
                return Err(OpenError::Read {
                    key: keys.get(reference).cloned().unwrap_or_default(),
                    reference: reference.clone(),
                    why: why.clone(),
                });
            }
            tracing::warn!(%reference, %why, "a secret cannot be read yet; it is tried again");
            (last, about) = (why.clone(), Some(reference.clone()));
        }
        let pause = pauses.next().unwrap_or(BACK_OFF_MAX);
        if Instant::now() + pause >= until {
            let reference = about.unwrap_or_else(|| Reference::Variable(String::new()));
            return Err(OpenError::Late {
                key: keys.get(&reference).cloned().unwrap_or_default(),
                reference,
                within,
                why: last,
            });
        }
        sleep(pause).await;
    }
}

/// When there is something to do: to read again, after a pause where that failed; or to renew the token, whatever else fails meanwhile.
fn due(pause: Option<Duration>, read_at: Instant, renew_at: Option<Instant>, now: Instant) -> Instant {
    match pause {
        // A renewal that is overdue has failed as well: it comes with the next try.
        Some(pause) => renew_at
            .filter(|at| *at > now)
            .map_or(now + pause, |at| at.min(now + pause)),
        None => renew_at.map_or(read_at, |at| at.min(read_at)),
    }
}

/// When to read again what the server gives for so long.
fn next_read(refresh: Duration, lease: Option<Duration>) -> Duration {
    lease.map_or(refresh, |lease| (lease * 2 / 3).max(LOOK).min(refresh))
}

fn back_off() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::new()
        .with_min_delay(BACK_OFF_MIN)
        .with_max_delay(BACK_OFF_MAX)
        .without_max_times()
        .with_jitter();
    pauses.build()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write as _,
        sync::Arc,
    };

    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// How often a test looks whether what it waits for has come, and how often at most.
    const GLANCE: Duration = Duration::from_millis(10);
    const GLANCES: u32 = 3_000;

    async fn until(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..GLANCES {
            if holds() {
                return;
            }
            sleep(GLANCE).await;
        }
        panic!("{what}");
    }

    /// Writes over what a file holds, and has it look as before.
    fn write_over(path: &Path, bytes: &[u8]) {
        let before = fs::metadata(path).unwrap();
        assert_eq!(before.len(), bytes.len() as u64);
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_failed_is_read_again_though_it_looks_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("token"), folder.path().join("away"));
        fs::write(&path, "hunter2").unwrap();
        let reference: Reference = format!("file:{}", path.display()).parse().unwrap();
        let options = Options {
            refresh: LOOK,
            open_within: LOOK,
            vault: None,
        };
        let keyed = [("test.key".to_owned(), reference.clone())];
        let store = Arc::new(Store::open(&options, keyed).await.unwrap());
        let running = Arc::clone(&store);
        let running = tokio::spawn(async move { running.run(CancellationToken::new()).await });
        let _running = AbortOnDropHandle::new(running);
        let is_failing = || !store.failing.lock().is_empty();

        fs::write(&path, b"hunter\xff3").unwrap();
        until("it to fail", is_failing).await;
        write_over(&path, b"hunter 3");
        until("it to be read", || !is_failing()).await;
        assert_eq!(store.get(&reference).unwrap().expose_secret(), "hunter 3");

        fs::rename(&path, &away).unwrap();
        until("it to be missed", is_failing).await;
        fs::rename(&away, &path).unwrap();
        until("it to be found", || !is_failing()).await;
    }

    #[test]
    fn a_token_is_renewed_in_time_also_while_a_secret_fails() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let pause = Some(Duration::from_secs(30));
        for (pause, renew_at, expected) in [
            (None, None, 60),
            (None, Some(after(90)), 60),
            (None, Some(after(40)), 40),
            (pause, None, 30),
            (pause, Some(after(40)), 30),
            (pause, Some(after(20)), 20),
            // It cannot be renewed either.
            (pause, Some(now), 30),
        ] {
            assert_eq!(due(pause, after(60), renew_at, now), after(expected));
        }
    }
}
