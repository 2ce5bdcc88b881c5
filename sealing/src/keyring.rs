//! The keys, by their ids, and which of them is sealed with.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use aws_lc_rs::{
    aead::{LessSafeKey, UnboundKey},
    hkdf, hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

use crate::{Cipher, Head, SALT_BYTES, SealError, cipher::ALGORITHM, head::CHECK_BYTES};

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// The longest id, in bytes.
const ID_BYTES_MAX: usize = 32;
/// Keys that there may be: one that nothing uses any more is let go of.
pub const KEY_IDS_MAX: usize = 64;
/// What the check of a key is made of.
const CHECK_LABEL: &[u8] = b"docket rest check 1";

/// What a key is called: 1 to 32 of `a-z 0-9 - _ .`. It is no secret: it stands beside everything that is sealed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    length: u8,
    bytes: [u8; ID_BYTES_MAX],
}

impl KeyId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromStr for KeyId {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(is_allowed) {
            return Err(KeyringError::Id);
        }
        let mut bytes = [0; ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            // At most 32.
            length: text.len() as u8,
            bytes,
        })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Why there is no such keyring. Has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// That is no id.
    #[error("the id of a key is 1 to 32 characters of a-z 0-9 - _ .")]
    Id,
    /// That is no key.
    #[error(
        "the key `{0}` is not 32 random bytes, as 64 hexadecimal digits or in base64: make one with `openssl rand -hex 32`"
    )]
    Key(KeyId),
    /// An id stands twice.
    #[error("the key `{0}` is there twice")]
    Twice(KeyId),
    /// What is to be sealed with is not there.
    #[error("there is no key `{0}`")]
    NoCurrent(KeyId),
    /// Too many.
    #[error("there are more than {KEY_IDS_MAX} keys")]
    TooMany,
}

/// Keys by their ids, and the one that what is new is sealed with, if any is. Clones are the same. Without a key nothing is sealed, and nothing
/// that is sealed can be opened.
#[derive(Clone, Default)]
pub struct Keyring(Option<Arc<Keys>>);

struct Keys {
    by_id: BTreeMap<KeyId, Key>,
    current: Option<KeyId>,
}

struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    check: [u8; CHECK_BYTES],
}

impl Key {
    fn of(id: KeyId, secret: &SecretString) -> Result<Self, KeyringError> {
        let text = secret.expose_secret().trim();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
                let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default() as u8;
                *byte = digit(digits[0]) << 4 | digit(digits[1]);
            }
        } else {
            let decoded = STANDARD.decode(text).map(Zeroizing::new);
            let decoded = decoded.map_err(|_| KeyringError::Key(id))?;
            if decoded.len() != KEY_BYTES {
                return Err(KeyringError::Key(id));
            }
            bytes.copy_from_slice(&decoded);
        }
        let mut check = [0; CHECK_BYTES];
        let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*bytes), CHECK_LABEL);
        check.copy_from_slice(&signed.as_ref()[..CHECK_BYTES]);
        Ok(Self { bytes, check })
    }
}

/// The key of AES for one salt and one label.
pub(crate) fn derive(
    key: &[u8; KEY_BYTES],
    salt: &[u8; SALT_BYTES],
    label: &[u8],
) -> Result<LessSafeKey, SealError> {
    let made = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let made = made
        .expand(&[label], ALGORITHM)
        .map(UnboundKey::from)
        .map_err(|_| SealError::TooLong)?;
    Ok(LessSafeKey::new(made))
}

impl Keyring {
    /// With these keys; what is new is sealed with `current`, or not at all.
    ///
    /// # Errors
    /// One of them is none, or `current` is none of them.
    pub fn new<'a>(
        current: Option<KeyId>,
        keys: impl IntoIterator<Item = (KeyId, &'a SecretString)>,
    ) -> Result<Self, KeyringError> {
        let mut by_id = BTreeMap::new();
        for (id, secret) in keys {
            if by_id.len() >= KEY_IDS_MAX {
                return Err(KeyringError::TooMany);
            }
            if by_id.insert(id, Key::of(id, secret)?).is_some() {
                return Err(KeyringError::Twice(id));
            }
        }
        match current {
            Some(current) if !by_id.contains_key(&current) => Err(KeyringError::NoCurrent(current)),
            None if by_id.is_empty() => Ok(Self::default()),
            _ => Ok(Self(Some(Arc::new(Keys { by_id, current })))),
        }
    }

    /// The id of the key that what is new is sealed with.
    pub fn current(&self) -> Option<KeyId> {
        self.0.as_ref()?.current
    }

    /// Whether there is a key of this id.
    pub fn has(&self, id: KeyId) -> bool {
        self.0.as_ref().is_some_and(|keys| keys.by_id.contains_key(&id))
    }

    /// What seals for `label`, under a salt that is drawn for it; `None` where nothing is to be sealed.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn sealer(&self, label: &[u8]) -> Result<Option<Cipher>, SealError> {
        let Some(keys) = &self.0 else { return Ok(None) };
        let Some((id, key)) = keys.current.and_then(|id| Some((id, keys.by_id.get(&id)?))) else {
            return Ok(None);
        };
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| SealError::NoRandomness)?;
        let made = derive(&key.bytes, &salt, label)?;
        Ok(Some(Cipher::new(made, Head::new(id, key.check, salt))))
    }

    /// What opens what was sealed for `label` with what `head` says.
    ///
    /// # Errors
    /// The key is not there, or another one.
    pub fn opener(&self, head: &Head, label: &[u8]) -> Result<Cipher, SealError> {
        let id = head.key();
        let key = self.0.as_ref().and_then(|keys| keys.by_id.get(&id));
        let key = key.ok_or(SealError::NoKey { id })?;
        if key.check != head.check() {
            return Err(SealError::WrongKey { id });
        }
        Ok(Cipher::new(derive(&key.bytes, head.salt(), label)?, *head))
    }
}

/// The same keys.
impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

impl Eq for Keyring {}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<KeyId> = self
            .0
            .iter()
            .flat_map(|keys| keys.by_id.keys().copied())
            .collect();
        f.debug_struct("Keyring")
            .field("current", &self.current())
            .field("ids", &ids)
            .finish_non_exhaustive()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
