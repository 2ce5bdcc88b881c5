//! Who calls: passwords, access tokens, refresh tokens and API keys.
//!
//! ```text
//!   Login ── username, password ──▶ argon2id ──▶ session ──▶ access token (JWT, minutes) + refresh token (once)
//!   a call ── Bearer <JWT> ─┐
//!                           ├─▶ cache, by SHA-256 ──▶ verify ──▶ committed state ──▶ Principal
//!   a call ── x-api-key ────┘
//! ```
//!
//! What it guarantees:
//! - A credential proves an identity and nothing more: role, customer and scopes come from the committed state at every
//!   call. What ends there (a session, a key, a role) ends for the next call, although tokens are signed and cached.
//! - Secrets are random (256 bits), held in the state as SHA-256 and compared in constant time; passwords are held as
//!   argon2id hashes. None of them is logged, and no message of this crate prints one.
//! - An unknown user costs the same work as a known one with a wrong password, and answers the same.
//! - Password hashing is bounded in memory and threads; what is more than can wait is refused at once.
//! - Access tokens are signed with Ed25519, and with nothing else: one algorithm per key, chosen by the key. A verifier
//!   needs no secret, so that others can verify them by the public keys (`/.well-known/jwks.json`). It costs more to verify
//!   than an HMAC; the cache takes that off the order path.
//! - Tokens of one other issuer may be let in by its public keys (`external`): they say themselves what they may do, within
//!   what the configuration gives them.

mod api_key;
mod authenticator;
mod bootstrap;
mod clock;
mod error;
mod external;
mod options;
mod password;
mod refresh_token;
mod refusal;
mod secret_text;
mod service;
mod signing;
mod throttle;
mod token;

#[cfg(test)]
mod tests;

pub use api_key::ApiKeyText;
pub use authenticator::Authenticator;
pub use bootstrap::{BootstrapError, bootstrap, create_admin_key};
pub use clock::Clock;
pub use error::AuthError;
pub(crate) use external::is_external;
pub use external::{ExternalIssuer, ExternalKeysError};
pub use options::{AuthOptions, AuthOptionsError};
pub use password::PasswordError;
pub use secret_text::NoRandomness;
pub use service::{AuthApi, AuthApiError};
pub use signing::{NotASigningKey, SigningKeyText};
pub use token::MintError;

/// The public keys that access tokens verify by at this time, as a JWKS document (RFC 7517).
pub fn published_keys(access: &docket_actors::access::Access, now: docket_engine::Time) -> serde_json::Value {
    access.read(|state| signing::document(state, now))
}
