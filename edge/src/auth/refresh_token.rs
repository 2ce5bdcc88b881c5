//! Refresh tokens as their owners have them.
//!
//! The secret has two halves. The first is the same for all tokens of a session, the second is new each time. A token
//! with the right first half and a wrong second one was therefore used before: whoever sends it ends the session. One
//! with a wrong first half is a forgery and ends nothing.

use docket_engine::access::{SecretHash, SessionId};
use secrecy::{ExposeSecret, SecretBox, SecretString};

use super::secret_text::{self, NoRandomness};

const KIND: &str = "dr";
const ID_BYTES: usize = 16;
const HALF_BYTES: usize = 32;
const SECRET_BYTES: usize = 2 * HALF_BYTES;

/// A refresh token.
pub(super) struct RefreshToken {
    session: SessionId,
    secret: SecretBox<[u8; SECRET_BYTES]>,
}

impl RefreshToken {
    /// The first token of a new session.
    pub(super) fn generate() -> Result<Self, NoRandomness> {
        let session = SessionId(secret_text::random()?);
        Ok(Self {
            session,
            secret: SecretBox::new(Box::new(secret_text::random()?)),
        })
    }

    /// The token after this one.
    pub(super) fn next(&self) -> Result<Self, NoRandomness> {
        let fresh: [u8; HALF_BYTES] = secret_text::random()?;
        let mut secret = Box::new(*self.secret.expose_secret());
        secret[HALF_BYTES..].copy_from_slice(&fresh);
        Ok(Self {
            session: self.session,
            secret: SecretBox::new(secret),
        })
    }

    /// The token of this text; `None` where it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = secret_text::split::<ID_BYTES, SECRET_BYTES>(KIND, text)?;
        Some(Self {
            session: SessionId(id),
            secret: SecretBox::new(Box::new(secret)),
        })
    }

    pub(super) fn text(&self) -> SecretString {
        secret_text::join(KIND, &self.session.0, self.secret.expose_secret()).into()
    }

    /// The session that it names.
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// What the state holds of its first half.
    pub(super) fn family(&self) -> SecretHash {
        SecretHash(secret_text::sha256(&self.secret.expose_secret()[..HALF_BYTES]))
    }

    /// What the state holds of its second half.
    pub(super) fn token(&self) -> SecretHash {
        SecretHash(secret_text::sha256(&self.secret.expose_secret()[HALF_BYTES..]))
    }
}

#[cfg(test)]
mod unit {
    use docket_proto::api::auth::REFRESH_TOKEN_BYTES_MAX;

    use super::*;

    #[test]
    fn a_token_survives_its_text_and_the_next_one_is_of_its_family() {
        let first = RefreshToken::generate().unwrap();
        let text = first.text();
        assert!(text.expose_secret().len() <= REFRESH_TOKEN_BYTES_MAX);
        let parsed = RefreshToken::parse(text.expose_secret()).unwrap();
        assert_eq!(
            (parsed.session(), parsed.family(), parsed.token()),
            (first.session(), first.family(), first.token())
        );
        let next = first.next().unwrap();
        assert_eq!((next.session(), next.family()), (first.session(), first.family()));
        assert_ne!(next.token(), first.token());
        assert_ne!(RefreshToken::generate().unwrap().family(), first.family());
    }
}
