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
//!   needs no secret, so that others may be given the public keys one day. It costs more to verify than an HMAC; the cache
//!   takes that off the order path.

mod api_key;
mod authenticator;
mod bootstrap;
mod clock;
mod error;
mod options;
mod password;
mod refresh_token;
mod refusal;
mod secret_text;
mod service;
mod throttle;
mod token;

#[cfg(test)]
mod tests;

pub use api_key::ApiKeyText;
pub use authenticator::Authenticator;
pub use bootstrap::{BootstrapError, bootstrap, create_admin_key};
pub use clock::Clock;
pub use error::AuthError;
pub use options::{AuthOptions, AuthOptionsError};
pub use password::PasswordError;
pub use secret_text::NoRandomness;
pub use service::{AuthApi, AuthApiError};
pub use token::MintError;
