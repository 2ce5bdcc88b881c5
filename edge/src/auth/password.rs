//! Passwords: argon2id, on a bounded number of threads.
//!
//! A hash takes tens of milliseconds and 19 MiB. The permit moves into the thread that hashes, so that a client that gives
//! up frees its place in the queue and not the thread, which goes on until it is done. Each hash has a thread of its own, whose
//! priority is less than that of those that serve: a storm of logins takes what orders leave of the processors.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use docket_engine::access::PasswordHash;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::secret_text::{self, NoRandomness};
use crate::gently::gently;

/// Memory of a hash, in KiB: 19 MiB, OWASP's minimum for argon2id with two passes.
const MEMORY_KIB: u32 = 19 * 1_024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of the salt.
const SALT_BYTES: usize = 16;

/// Why a password was neither hashed nor verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// As many are being hashed and wait as may. Nothing was done.
    #[error("too many passwords are being verified")]
    Busy,
    /// The hash function failed: no memory, no randomness, or it panicked.
    #[error("hashing a password failed: {0}")]
    Failed(String),
}

impl From<NoRandomness> for PasswordError {
    fn from(error: NoRandomness) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Hashes and verifies.
pub(super) struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
    /// What a password is verified against where there is none. Nobody knows its password.
    dummy: PasswordHash,
}

impl Passwords {
    /// At most `hashes_max` at the same time, and `waiting_max` that wait. Takes as long as one hash.
    pub(super) fn new(hashes_max: usize, waiting_max: usize) -> Result<Self, PasswordError> {
        let unknown: [u8; 32] = secret_text::random()?;
        Ok(Self {
            hashing: Arc::new(Semaphore::new(hashes_max)),
            waiting: Semaphore::new(waiting_max),
            dummy: hash(&unknown)?,
        })
    }

    /// The hash of a new password.
    pub(super) async fn hash(&self, password: SecretString) -> Result<PasswordHash, PasswordError> {
        self.run(move || hash(password.expose_secret().as_bytes()))
            .await?
    }

    /// Whether the password is the one of this hash. Without a hash it is not, after the same work.
    pub(super) async fn verify(
        &self,
        password: SecretString,
        hash: Option<&PasswordHash>,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.dummy).clone();
        let matches = self
            .run(move || verify(password.expose_secret().as_bytes(), &hash))
            .await??;
        Ok(matches && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = match Arc::clone(&self.hashing).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
                let permit = Arc::clone(&self.hashing).acquire_owned().await;
                permit.map_err(|error| PasswordError::Failed(error.to_string()))?
            }
        };
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        let told =
            gently("docket-password", work).map_err(|error| PasswordError::Failed(error.to_string()))?;
        match told.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) | Err(_) => Err(PasswordError::Failed("it panicked".to_owned())),
        }
    }

    /// How many more could be hashed at once, for tests.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.hashing.available_permits()
    }

    #[cfg(test)]
    pub(super) fn dummy(&self) -> &PasswordHash {
        &self.dummy
    }
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    let params = params.map_err(|error| PasswordError::Failed(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> Result<PasswordHash, PasswordError> {
    let salt: [u8; SALT_BYTES] = secret_text::random()?;
    let phc = argon2()?.hash_password_with_salt(password, &salt);
    let phc = phc
        .map_err(|error| PasswordError::Failed(error.to_string()))?
        .to_string();
    PasswordHash::new(&phc).ok_or_else(|| PasswordError::Failed("the hash is too long to be kept".into()))
}

/// With the parameters that the hash itself names.
fn verify(password: &[u8], hash: &PasswordHash) -> Result<bool, PasswordError> {
    match argon2()?.verify_password(password, hash.as_str()) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(PasswordError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod unit {
    use tokio::sync::oneshot;

    use super::*;

    const FORM: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

    #[tokio::test]
    async fn a_password_is_its_own_and_no_other() {
        let passwords = Passwords::new(1, 0).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.as_str().starts_with(FORM), "{}", hash.as_str());
        assert_eq!(
            passwords.verify("correct horse".into(), Some(&hash)).await,
            Ok(true)
        );
        assert_eq!(
            passwords.verify("correct hors".into(), Some(&hash)).await,
            Ok(false)
        );
        assert_eq!(passwords.verify("".into(), Some(&hash)).await, Ok(false));
        let salted = passwords.hash("correct horse".into()).await.unwrap();
        assert_ne!(salted, hash);
        let broken = PasswordHash::new("$argon2id$rubbish").unwrap();
        assert!(matches!(
            passwords.verify("x".into(), Some(&broken)).await,
            Err(PasswordError::Failed(_))
        ));
    }

    #[tokio::test]
    async fn without_a_hash_the_same_function_works_on_the_same_parameters() {
        let passwords = Passwords::new(1, 0).unwrap();
        let real = passwords.hash("correct horse".into()).await.unwrap();
        let shape = |hash: &PasswordHash| {
            let (parameters, salt_and_hash) = hash.as_str().split_at(FORM.len());
            (parameters.to_owned(), salt_and_hash.len())
        };
        assert_eq!(shape(passwords.dummy()), shape(&real));
        assert_eq!(passwords.verify("correct horse".into(), None).await, Ok(false));
    }

    #[tokio::test]
    async fn what_is_more_than_can_wait_is_refused_and_a_permit_lasts_as_long_as_its_work() {
        let passwords = Arc::new(Passwords::new(1, 1).unwrap());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let first = tokio::spawn({
            let passwords = Arc::clone(&passwords);
            async move {
                let work = move || {
                    let _ = started.send(());
                    held.recv()
                };
                passwords.run(work).await
            }
        });
        running.await.unwrap();
        let waits = passwords.run(|| ());
        tokio::pin!(waits);
        assert!(futures::poll!(waits.as_mut()).is_pending());
        assert_eq!(passwords.run(|| ()).await, Err(PasswordError::Busy));

        // The client of the first goes away: its thread works on, so that its permit is not free.
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(passwords.idle(), 0);
        assert!(futures::poll!(waits.as_mut()).is_pending());
        release.send(()).unwrap();
        assert_eq!(waits.await, Ok(()));
        let panicked = passwords.run(|| panic!("as a test may")).await;
        assert!(matches!(panicked, Err::<(), _>(PasswordError::Failed(_))));
        assert_eq!(passwords.run(|| 7).await, Ok(7), "a panic gives its permit back");
    }
}
