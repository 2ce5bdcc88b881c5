//! The first administrator.

use docket_actors::access::{Access, AccessError};
use docket_engine::{
    Time,
    access::{AccessCommand, AccessRejection, Request, Username},
};
use secrecy::SecretString;

use super::{ApiKeyText, secret_text::NoRandomness};

/// The account that the first API key acts for. It has no password.
const USERNAME: &str = "admin";

/// Why there is no first administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The state could not be changed.
    #[error("the first administrator cannot be made: {0}")]
    Access(#[from] AccessError),
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// Makes the first account, an administrator, with this key. Write the key down first, where a crash cannot lose it: with
/// the same key this can be called again. Returns whether the key is an administrator's now; not so where there were
/// accounts already.
///
/// # Errors
/// Where the state cannot be changed now.
pub async fn bootstrap(access: &Access, key: &ApiKeyText, now: Time) -> Result<bool, AccessError> {
    let Ok(username) = Username::new(USERNAME) else {
        return Ok(false);
    };
    let request = Request::Bootstrap {
        username,
        key: key.id(),
        secret: key.hash(),
    };
    match access.execute(&AccessCommand { time: now, request }).await {
        Ok(()) => Ok(true),
        Err(AccessError::Rejected(AccessRejection::NotEmpty)) => Ok(access.read(|state| {
            state
                .api_key(key.id())
                .is_some_and(|made| made.secret == key.hash())
        })),
        Err(error) => Err(error),
    }
}

/// Makes the first account, an administrator, with a new key, and returns what goes into `x-api-key`; `None` where there
/// are accounts already. A crash before the key is written down loses it: see [`bootstrap`].
///
/// # Errors
/// Where the state cannot be changed now.
pub async fn create_admin_key(access: &Access, now: Time) -> Result<Option<SecretString>, BootstrapError> {
    if !access.read(|state| state.is_empty()) {
        return Ok(None);
    }
    let key = ApiKeyText::generate()?;
    Ok(bootstrap(access, &key, now).await?.then(|| key.text()))
}
