//! Access tokens: JWTs of type `at+jwt`, signed with Ed25519.
//!
//! A token names its session and the version of its account. Both are looked up at every call, so that a token ends when
//! its session does. Role and scopes are not in it.

use std::{collections::BTreeMap, sync::Arc};

use docket_actors::access::{Access, AccessError};
use docket_engine::{
    Time, Version,
    access::{
        AccessCommand, AccessRejection, Account, Request, SessionId, SigningKey, SigningKeyId, SigningSeed,
        limits::{RETIRED_SIGNING_KEY_KEPT_US, SIGNING_KEYS_MAX},
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk::Jwk};
use parking_lot::RwLock;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    AuthError, AuthOptions,
    secret_text::{self, NoRandomness},
    signing::{self, SigningKeyText},
};

/// What access tokens are signed with, and nothing else.
pub(super) const ALGORITHM: Algorithm = Algorithm::EdDSA;
/// The `typ` of access tokens (RFC 9068), so that no other JWT of ours is ever taken for one.
const TYPE: &str = "at+jwt";
/// No access token is longer, in bytes; what is longer is not looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 1_024;
/// How far the clocks of two nodes may be apart, in microseconds: 5 seconds.
pub(super) const LEEWAY_US: i64 = 5_000_000;

const US_PER_S: i64 = 1_000_000;

/// What is in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The account.
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    /// The session.
    sid: String,
    /// The account's version.
    ver: u64,
}

/// What a token that holds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) account: String,
    pub(super) version: Version,
    pub(super) session: SessionId,
    /// It holds from then …
    pub(super) from: Time,
    /// … until before then; leeway included.
    pub(super) until: Time,
}

/// A new token.
pub(super) struct Minted {
    pub(super) text: SecretString,
    pub(super) expires: Time,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// There is no key to sign with, and none could be made.
    #[error("no key to sign with: {0}")]
    Access(#[from] AccessError),
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The library failed.
    #[error("signing an access token failed: {0}")]
    Signing(String),
}

impl From<jsonwebtoken::errors::Error> for MintError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self::Signing(error.to_string())
    }
}

struct KeyPair {
    private: EncodingKey,
    public: DecodingKey,
}

/// Mints and verifies.
pub(super) struct Tokens {
    access: Access,
    issuer: String,
    audience: String,
    lifetime_s: i64,
    rotate_after_us: i64,
    published_us: i64,
    /// The key that is given from outside, where one is: then none is made here.
    given: RwLock<Option<SigningKeyText>>,
    validation: Validation,
    /// Derived from the seeds in the state, by and by.
    pairs: RwLock<BTreeMap<SigningKeyId, Arc<KeyPair>>>,
}

impl Tokens {
    pub(super) fn new(access: Access, options: &AuthOptions) -> Self {
        // Fails where it is installed already, which is as well.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[&options.issuer]);
        validation.set_audience(&[&options.audience]);
        // Times are checked here, by the caller's clock and not the library's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            access,
            issuer: options.issuer.clone(),
            audience: options.audience.clone(),
            lifetime_s: i64::try_from(options.access_token_s).unwrap_or(i64::MAX),
            rotate_after_us: i64::try_from(options.signing_key_s)
                .unwrap_or(i64::MAX)
                .saturating_mul(US_PER_S),
            published_us: i64::try_from(options.signing_key_published_s)
                .unwrap_or(i64::MAX)
                .saturating_mul(US_PER_S),
            given: RwLock::default(),
            validation,
            pairs: RwLock::default(),
        }
    }

    /// From now on this key is to sign.
    pub(super) fn sign_with(&self, key: SigningKeyText) {
        *self.given.write() = Some(key);
    }

    /// Whether there is a key to be kept: one that is given, or one that was made before.
    pub(super) fn has_key(&self) -> bool {
        self.given.read().is_some() || self.access.read(|state| state.active_signing_key().is_some())
    }

    /// The key that signs now. Where there is none, or it is time for another, that is made before.
    pub(super) async fn signing_key(&self, now: Time) -> Result<Arc<SigningKey>, MintError> {
        let made = self.make_due_key(now).await;
        let lifetime_us = self.lifetime_s.saturating_mul(US_PER_S);
        let signs = self
            .access
            .read(|state| signing::signs(state, now, self.published_us, lifetime_us));
        match (signs, made) {
            // The old key will do for a while, where there is one.
            (Some(key), _) => Ok(key),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(AccessError::OutcomeUnknown.into()),
        }
    }

    /// Makes another key, where the one that was made last has signed for long enough, or where another is given. Does nothing else.
    pub(super) async fn make_due_key(&self, now: Time) -> Result<(), MintError> {
        let given = self.given.read().clone();
        let (active, is_known) = self.access.read(|state| {
            let is_known = given
                .as_ref()
                .is_some_and(|key| state.signing_key(key.id()).is_some());
            (state.active_signing_key().cloned(), is_known)
        });
        let is_young = |key: &SigningKey| now.0.saturating_sub(key.created.0) < self.rotate_after_us;
        let (key, seed) = match (given, &active) {
            // It is the one already. Or it was, and another node has been given the next: it is not taken back.
            (Some(_), _) if is_known => return Ok(()),
            (Some(given), _) => (given.id(), given.seed()),
            (None, Some(active)) if is_young(active) => return Ok(()),
            (None, _) => (
                SigningKeyId(secret_text::random()?),
                SigningSeed(secret_text::random()?),
            ),
        };
        let replaces = active.as_ref().map(|key| key.id);
        let request = Request::CreateSigningKey { key, seed, replaces };
        match self.access.execute(&AccessCommand { time: now, request }).await {
            Ok(()) => {
                tracing::info!(%key, "there is another key for access tokens: it is published, and signs after a while");
                Ok(())
            }
            // Somebody else was quicker.
            Err(AccessError::Rejected(AccessRejection::SigningKeyChanged)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A token of this session, signed with this key.
    pub(super) fn mint(
        &self,
        key: &SigningKey,
        account: &Account,
        session: SessionId,
        now: Time,
    ) -> Result<Minted, MintError> {
        let issued = now.0.div_euclid(US_PER_S);
        let expires = issued.saturating_add(self.lifetime_s);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: account.username.to_string(),
            iat: issued,
            nbf: issued,
            exp: expires,
            sid: session.to_string(),
            ver: account.version.0,
        };
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.id.to_string());
        let text = jsonwebtoken::encode(&header, &claims, &self.pair(key)?.private)?;
        Ok(Minted {
            text: text.into(),
            expires: Time(expires.saturating_mul(US_PER_S)),
        })
    }

    /// Checks everything about a token but its session.
    pub(super) fn verify(&self, token: &str, now: Time) -> Result<Verified, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
        let typed = header.typ.is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE));
        // An extension that must be understood is not.
        if header.alg != ALGORITHM || !typed || header.crit.is_some() {
            return Err(AuthError::Invalid);
        }
        let kid: SigningKeyId = header
            .kid
            .and_then(|kid| kid.parse().ok())
            .ok_or(AuthError::Invalid)?;
        let key = self
            .access
            .read(|state| state.signing_key(kid).cloned())
            .ok_or(AuthError::Invalid)?;
        if key
            .retired
            .is_some_and(|retired| retired.0.saturating_add(RETIRED_SIGNING_KEY_KEPT_US) <= now.0)
        {
            return Err(AuthError::Invalid);
        }
        let pair = self.pair(&key).map_err(|_| AuthError::Invalid)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, &pair.public, &self.validation);
        let claims = decoded.map_err(|_| AuthError::Invalid)?.claims;
        let from = Time(claims.nbf.saturating_mul(US_PER_S).saturating_sub(LEEWAY_US));
        let until = Time(claims.exp.saturating_mul(US_PER_S).saturating_add(LEEWAY_US));
        if now < from {
            return Err(AuthError::Invalid);
        }
        if until <= now {
            return Err(AuthError::Expired);
        }
        let session = claims.sid.parse().map_err(|_| AuthError::Invalid)?;
        Ok(Verified {
            account: claims.sub,
            version: Version(claims.ver),
            session,
            from,
            until,
        })
    }

    fn pair(&self, key: &SigningKey) -> Result<Arc<KeyPair>, jsonwebtoken::errors::Error> {
        if let Some(pair) = self.pairs.read().get(&key.id) {
            return Ok(Arc::clone(pair));
        }
        let private = signing::private_key(&key.seed);
        let public = DecodingKey::from_jwk(&Jwk::from_encoding_key(&private, ALGORITHM)?)?;
        let pair = Arc::new(KeyPair { private, public });
        let mut pairs = self.pairs.write();
        if pairs.len() >= 2 * SIGNING_KEYS_MAX {
            // Keys that the state has forgotten.
            pairs.clear();
        }
        pairs.insert(key.id, Arc::clone(&pair));
        Ok(pair)
    }
}
