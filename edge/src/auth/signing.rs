//! Which key signs access tokens, and which are published.
//!
//! ```text
//!             made             signs            another is made       verifies no more
//!   key 1 ─────●────────────────●──────────────────────●·················●
//!   key 2                                              ●────────────────●───────────
//!                                                      └─ published_s ──┘
//!                                                       key 1 still signs
//! ```
//! A key is published, and verifies, from the moment it is made. It signs once that was so for [`published_s`](super::AuthOptions), so that
//! whoever has read the published keys within that time knows it. The one before signs until then, and verifies for two hours.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docket_engine::{
    Time,
    access::{
        AccessState, SigningKey, SigningKeyId, SigningSeed,
        limits::{ACCESS_TOKEN_LIFETIME_MAX_US, RETIRED_SIGNING_KEY_KEPT_US},
    },
};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    secret_text::sha256,
    token::{ALGORITHM, LEEWAY_US},
};

/// A key is published before it signs for at most so long, in seconds: the one before must outlive the last token that it signs meanwhile.
pub const PUBLISHED_S_MAX: u64 = 3_300;

/// PKCS #8 of an Ed25519 key (RFC 8410), before its seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What the id of a given key is made from, before the key.
const ID_DOMAIN: &[u8] = b"docket signing key\0";

const US_PER_S: i64 = 1_000_000;

const _: () = assert!(
    PUBLISHED_S_MAX as i64 * US_PER_S + ACCESS_TOKEN_LIFETIME_MAX_US + LEEWAY_US
        < RETIRED_SIGNING_KEY_KEPT_US
);

/// A private key that is given, and not made here. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyText {
    id: SigningKeyId,
    seed: SigningSeed,
}

/// A text that is no key. It may be a secret, so that it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an Ed25519 key: PEM as of `openssl genpkey -algorithm ed25519`, or 32 bytes in base64 as of `openssl rand -base64 32`"
)]
pub struct NotASigningKey;

impl SigningKeyText {
    /// Takes a secret as a key. Its id follows from it, so that every node that is given it means the same.
    ///
    /// # Errors
    /// A text that is no key.
    pub fn parse(secret: &SecretString) -> Result<Self, NotASigningKey> {
        let text = secret.expose_secret().trim();
        let seed = match text.starts_with("-----BEGIN") {
            true => seed_of_pem(text),
            false => STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()),
        };
        let seed = SigningSeed(seed.ok_or(NotASigningKey)?);
        let public = public_key(&seed).ok_or(NotASigningKey)?;
        let digest = sha256(&[ID_DOMAIN, public.as_bytes()].concat());
        let mut id = SigningKeyId([0; 8]);
        id.0.copy_from_slice(&digest[..8]);
        Ok(Self { id, seed })
    }

    pub(super) fn id(&self) -> SigningKeyId {
        self.id
    }

    pub(super) fn seed(&self) -> SigningSeed {
        self.seed
    }
}

impl fmt::Debug for SigningKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeyText")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn seed_of_pem(text: &str) -> Option<[u8; 32]> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok()?;
    key.secret_pkcs8_der()
        .strip_prefix(&PKCS8_PREFIX)?
        .try_into()
        .ok()
}

/// The private key of a seed, as the library takes it.
pub(super) fn private_key(seed: &SigningSeed) -> EncodingKey {
    EncodingKey::from_ed_der(&[&PKCS8_PREFIX[..], &seed.0].concat())
}

/// The public key of a seed, in base64 as in a JWK.
fn public_key(seed: &SigningSeed) -> Option<String> {
    let jwk = Jwk::from_encoding_key(&private_key(seed), ALGORITHM).ok()?;
    let jwk = serde_json::to_value(jwk).ok()?;
    Some(jwk["x"].as_str()?.to_owned())
}

/// The key that signs now; none where there is none at all. `published_us` is for how long a key is published before it signs, `lifetime_us` how long
/// what it signs lasts.
pub(super) fn signs(
    state: &AccessState,
    now: Time,
    published_us: i64,
    lifetime_us: i64,
) -> Option<Arc<SigningKey>> {
    let outlives = now.0.saturating_add(lifetime_us).saturating_add(LEEWAY_US);
    let usable = state.signing_keys().filter(|key| {
        key.retired
            .is_none_or(|retired| retired.0.saturating_add(RETIRED_SIGNING_KEY_KEPT_US) > outlives)
    });
    let is_published = |key: &SigningKey| key.created.0.saturating_add(published_us) <= now.0;
    // The newest that is published; where none is, that which has been for longest. Of two of one moment the one was made to follow the other.
    let rank = |key: &&Arc<SigningKey>| match is_published(key) {
        true => (true, key.created.0, key.retired.is_none(), key.id),
        false => (
            false,
            key.created.0.saturating_neg(),
            key.retired.is_some(),
            key.id,
        ),
    };
    usable.max_by_key(rank).cloned()
}

/// The public keys that verify now, as a JWKS document (RFC 7517).
pub(crate) fn document(state: &AccessState, now: Time) -> Value {
    let verifies = |key: &&Arc<SigningKey>| {
        key.retired
            .is_none_or(|retired| now.0 < retired.0.saturating_add(RETIRED_SIGNING_KEY_KEPT_US))
    };
    let keys = state.signing_keys().filter(verifies).filter_map(|key| {
        let mut jwk = Jwk::from_encoding_key(&private_key(&key.seed), Algorithm::EdDSA).ok()?;
        jwk.common.key_id = Some(key.id.to_string());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_algorithm = Some(KeyAlgorithm::EdDSA);
        serde_json::to_value(jwk).ok()
    });
    json!({ "keys": keys.collect::<Vec<_>>() })
}
