//! API keys as their owners have them.

use std::fmt;

use docket_engine::access::{ApiKeyId, SecretHash};
use secrecy::{ExposeSecret, SecretBox, SecretString};

use super::secret_text::{self, NoRandomness};

/// What every API key begins with.
const KIND: &str = "dk";
/// Bytes of an API key's id.
const ID_BYTES: usize = 12;
/// Bytes of an API key's secret.
const SECRET_BYTES: usize = 32;
/// No API key is longer, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 128;

/// An API key: its id, and the secret that nobody else has.
pub struct ApiKeyText {
    id: ApiKeyId,
    secret: SecretBox<[u8; SECRET_BYTES]>,
}

impl ApiKeyText {
    /// A new key.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        let secret = SecretBox::new(Box::new(secret_text::random()?));
        Ok(Self {
            id: ApiKeyId(secret_text::random()?),
            secret,
        })
    }

    /// The key of this text; `None` where it is none, a typo included.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (id, secret) = secret_text::split::<ID_BYTES, SECRET_BYTES>(KIND, text)?;
        Some(Self {
            id: ApiKeyId(id),
            secret: SecretBox::new(Box::new(secret)),
        })
    }

    /// What goes into `x-api-key`.
    pub fn text(&self) -> SecretString {
        secret_text::join(KIND, &self.id.0, self.secret.expose_secret()).into()
    }

    /// Its id, which is not secret.
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// What the state holds of its secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash(secret_text::sha256(self.secret.expose_secret()))
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyText({}, …)", self.id)
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_is_never_printed() {
        let key = ApiKeyText::generate().unwrap();
        let text = key.text();
        let text = text.expose_secret();
        assert!(text.len() <= TEXT_BYTES_MAX && text.starts_with("dk_"));
        let parsed = ApiKeyText::parse(text).unwrap();
        assert_eq!((parsed.id(), parsed.hash()), (key.id(), key.hash()));
        let secret = &text[28..92];
        assert!(!format!("{key:?}").contains(&secret[..8]));
        assert!(ApiKeyText::parse(&"x".repeat(1 << 20)).is_none());
        assert!(ApiKeyText::parse("").is_none());
        assert_ne!(ApiKeyText::generate().unwrap().hash(), key.hash());
    }
}
