//! The settings of authentication.

use docket_engine::access::limits::{ACCESS_TOKEN_LIFETIME_MAX_US, SESSION_LIFETIME_MAX_US};
use docket_secrets::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{external::ExternalIssuer, signing::PUBLISHED_S_MAX};

const US_PER_S: u64 = 1_000_000;

/// The settings of authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthOptions {
    /// The issuer (`iss`) of access tokens. Default `docket`.
    pub issuer: String,
    /// The audience (`aud`) of access tokens. Give each cluster its own, so that a token is good for one. Default `docket`.
    pub audience: String,
    /// How long an access token lasts, in seconds. 10 to 3,600; default 600.
    pub access_token_s: u64,
    /// How long a refresh token lasts, in seconds. 60 to 90 days; default 14 days. A session that is refreshed again and
    /// again ends after 90 days all the same.
    pub refresh_token_s: u64,
    /// After how long another key signs access tokens, in seconds; not where `signing_key` says which. At least 7,200; default 30 days.
    pub signing_key_s: u64,
    /// For how long a key is published (`/.well-known/jwks.json` of the admin endpoints) before it signs, in seconds; the one before signs
    /// until then. 0 to 3,300; default 300.
    pub signing_key_published_s: u64,
    /// Where the key is that signs access tokens, an Ed25519 key as PEM or 32 bytes in base64: `file:PATH`, `env:VARIABLE` or
    /// `vault:MOUNT/PATH#FIELD`, the same on every node. Another one signs when it was published for long enough. Default none: the cluster
    /// makes its own.
    pub signing_key: Option<Reference>,
    /// Where the first administrator's API key is, likewise, as `docket config admin-key` makes one. Read by the start that makes the first
    /// account, and of no use after it. Default none: one is made, and written to `admin.key` in the data directory.
    pub admin_key: Option<Reference>,
    /// Whose access tokens are let in beside the cluster's own.
    pub external: ExternalIssuer,
    /// Passwords that are hashed at the same time, each in 19 MiB of memory and on a thread of its own. 1 to 64; default:
    /// half the processors, so that orders go on while people log in.
    pub password_hashes_max: usize,
    /// Calls that wait to hash a password; the next one is refused. 0 to 1,024; default 32.
    pub password_waiting_max: usize,
    /// Logins of one username from one address that may be tried in a row. 1 to 1,000; default 10.
    pub login_burst: u32,
    /// After how long one more may be tried, in seconds. 1 to 3,600; default 6.
    pub login_interval_s: u64,
    /// Usernames with addresses whose tries are remembered; beyond that, those that were quiet for longest are forgotten.
    /// At least 1,000; default 100,000.
    pub login_remembered_max: u64,
    /// Credentials that are kept as verified. At least 100; default 100,000, about 30 MiB.
    pub verified_max: u64,
}

impl Default for AuthOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            issuer: "docket".into(),
            audience: "docket".into(),
            access_token_s: 600,
            refresh_token_s: 14 * 24 * 3_600,
            signing_key_s: 30 * 24 * 3_600,
            signing_key_published_s: 300,
            signing_key: None,
            admin_key: None,
            external: ExternalIssuer::default(),
            password_hashes_max: (processors / 2).clamp(1, 64),
            password_waiting_max: 32,
            login_burst: 10,
            login_interval_s: 6,
            login_remembered_max: 100_000,
            verified_max: 100_000,
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("auth.{option} {requirement}")]
pub struct AuthOptionsError {
    /// Which one.
    pub option: &'static str,
    /// What it must be.
    pub requirement: &'static str,
}

impl AuthOptions {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn validate(&self) -> Result<(), AuthOptionsError> {
        let check = |good: bool, option, requirement| {
            if good {
                Ok(())
            } else {
                Err(AuthOptionsError { option, requirement })
            }
        };
        let text = |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let access_s_max = ACCESS_TOKEN_LIFETIME_MAX_US as u64 / US_PER_S;
        let session_s_max = SESSION_LIFETIME_MAX_US as u64 / US_PER_S;
        check(
            text(&self.issuer),
            "issuer",
            "must have 1 to 128 visible ASCII characters",
        )?;
        check(
            text(&self.audience),
            "audience",
            "must have 1 to 128 visible ASCII characters",
        )?;
        check(
            (10..=access_s_max).contains(&self.access_token_s),
            "access_token_s",
            "must be 10 to 3600",
        )?;
        check(
            (60..=session_s_max).contains(&self.refresh_token_s),
            "refresh_token_s",
            "must be 60 to 7776000",
        )?;
        check(
            (7_200..=u64::from(u32::MAX)).contains(&self.signing_key_s),
            "signing_key_s",
            "must be at least 7200",
        )?;
        check(
            self.signing_key_published_s <= PUBLISHED_S_MAX,
            "signing_key_published_s",
            "must be 0 to 3300",
        )?;
        self.external.validate(&self.issuer)?;
        check(
            (1..=64).contains(&self.password_hashes_max),
            "password_hashes_max",
            "must be 1 to 64",
        )?;
        check(
            self.password_waiting_max <= 1_024,
            "password_waiting_max",
            "must be 0 to 1024",
        )?;
        check(
            (1..=1_000).contains(&self.login_burst),
            "login_burst",
            "must be 1 to 1000",
        )?;
        check(
            (1..=3_600).contains(&self.login_interval_s),
            "login_interval_s",
            "must be 1 to 3600",
        )?;
        check(
            self.login_remembered_max >= 1_000,
            "login_remembered_max",
            "must be at least 1000",
        )?;
        check(self.verified_max >= 100, "verified_max", "must be at least 100")
    }
}
