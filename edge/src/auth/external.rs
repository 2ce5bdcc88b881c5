//! Access tokens of one other issuer, by its public keys.
//!
//! The keys are in a file (a JWKS document, RFC 7517) that somebody else keeps: this node asks nobody for them. A token names no session
//! here: what it says holds until it ends, so that it must not last long. It says role and customer itself, and is given no role that is
//! not in the configuration's list. Whom it stands for has no account, and so manages none.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use docket_engine::{
    CustomerId, Time,
    access::{Credential, Principal, Role, SessionId, Username},
};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AuthError, AuthOptionsError, secret_text::sha256};

/// No token of another issuer is longer, in bytes; what is longer is not looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 4_096;
/// The most bytes of the file with the keys.
const FILE_BYTES_MAX: u64 = 256 * 1_024;
/// The most keys in it.
const KEYS_MAX: usize = 64;
/// How far the issuer's clock may be from this node's, in microseconds: 30 seconds.
const LEEWAY_US: i64 = 30_000_000;
/// The longest that a token may last, whatever is configured, in seconds: a day.
const TOKEN_S_MAX: u64 = 24 * 60 * 60;
/// What the names of those begin with that a token stands for: no account here has one.
const ACCOUNT_PREFIX: &str = "external@";

/// Whether somebody of this name has an account elsewhere: one whom a token of the other issuer stands for.
pub(crate) fn is_external(account: &Username) -> bool {
    account
        .as_str()
        .strip_prefix(ACCOUNT_PREFIX)
        .is_some_and(|subject| !subject.is_empty())
}

const US_PER_S: i64 = 1_000_000;

/// What may be in the list of algorithms: nothing that verifies by a secret.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("EdDSA", Algorithm::EdDSA),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
];

/// Whose access tokens are let in beside the cluster's own: those of one other issuer, by its public keys. docs/secrets.md tells what a
/// token has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalIssuer {
    /// The issuer (`iss`), another than `auth.issuer`. Default none: no tokens but the cluster's own.
    pub issuer: Option<String>,
    /// The audience (`aud`) that a token must have. Needed beside `issuer`.
    pub audience: Option<String>,
    /// A file with the issuer's public keys, a JWKS document. Read again where it changes. Needed beside `issuer`.
    pub jwks_file: Option<PathBuf>,
    /// Which algorithms (`alg`) a token may be signed with: EdDSA, ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512. Default EdDSA
    /// and ES256.
    pub algorithms: Vec<String>,
    /// The claim with the role: `customer`, `service` or `admin`, or a list with one of them. Default `docket_role`.
    pub role_claim: String,
    /// The claim with the customer's id, for the role `customer`. Default `docket_customer`.
    pub customer_claim: String,
    /// The roles that a token may have. Default `customer` and `service`.
    pub roles: Vec<String>,
    /// The longest that a token may last, in seconds, 1 to 86,400: it cannot be ended before. Default 3,600.
    pub token_s_max: u64,
}

impl Default for ExternalIssuer {
    fn default() -> Self {
        let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        Self {
            issuer: None,
            audience: None,
            jwks_file: None,
            algorithms: texts(["EdDSA", "ES256"]),
            role_claim: "docket_role".to_owned(),
            customer_claim: "docket_customer".to_owned(),
            roles: texts(["customer", "service"]),
            token_s_max: 3_600,
        }
    }
}

impl ExternalIssuer {
    /// Checks every setting. Reads no file.
    pub(super) fn validate(&self, own: &str) -> Result<(), AuthOptionsError> {
        let check = |good: bool, option, requirement| match good {
            true => Ok(()),
            false => Err(AuthOptionsError { option, requirement }),
        };
        let Some(issuer) = &self.issuer else {
            return check(
                self.audience.is_none() && self.jwks_file.is_none(),
                "external.issuer",
                "is needed beside external.audience and external.jwks_file",
            );
        };
        check(
            !issuer.is_empty() && issuer != own,
            "external.issuer",
            "must be another than auth.issuer",
        )?;
        check(
            self.audience.as_ref().is_some_and(|text| !text.is_empty()),
            "external.audience",
            "is needed beside external.issuer: a token for somebody else must not be good here",
        )?;
        check(
            self.jwks_file.is_some(),
            "external.jwks_file",
            "is needed beside external.issuer",
        )?;
        let is_known = |name: &String| ALGORITHMS.iter().any(|(known, _)| known == name);
        check(
            !self.algorithms.is_empty() && self.algorithms.iter().all(is_known),
            "external.algorithms",
            "must be of EdDSA, ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512",
        )?;
        let is_role = |name: &String| Role::ALL.iter().any(|role| role.as_str() == name);
        check(
            !self.roles.is_empty() && self.roles.iter().all(is_role),
            "external.roles",
            "must be of customer, service, admin",
        )?;
        check(
            !self.role_claim.is_empty(),
            "external.role_claim",
            "is needed: which claim has the role",
        )?;
        check(
            !self.customer_claim.is_empty(),
            "external.customer_claim",
            "is needed: which claim has the customer",
        )?;
        check(
            (1..=TOKEN_S_MAX).contains(&self.token_s_max),
            "external.token_s_max",
            "must be 1 to 86400",
        )
    }
}

/// Why the issuer's keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("auth.external.jwks_file: {}: {why}", path.display())]
pub struct ExternalKeysError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// One key of the issuer's.
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, where the issuer says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// The issuer's keys, as they were read.
struct Keys(Vec<Key>);

/// What a token of the issuer's says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    pub(super) principal: Principal,
    /// Which keys it was verified by: those that were read so many times.
    pub(super) generation: u64,
    pub(super) from: Time,
    pub(super) until: Time,
}

/// The issuer, where one is configured.
pub(super) struct External {
    options: ExternalIssuer,
    algorithms: Vec<Algorithm>,
    keys: ArcSwapOption<(u64, Keys)>,
}

impl External {
    pub(super) fn new(options: &ExternalIssuer) -> Self {
        let is_listed = |name: &str| options.algorithms.iter().any(|listed| listed == name);
        let listed = ALGORITHMS.iter().filter(|(name, _)| is_listed(name));
        Self {
            algorithms: listed.map(|(_, algorithm)| *algorithm).collect(),
            options: options.clone(),
            keys: ArcSwapOption::empty(),
        }
    }

    /// Whether anybody is let in so.
    pub(super) fn is_configured(&self) -> bool {
        self.options.issuer.is_some()
    }

    /// Reads the keys; those that were there stay where that fails.
    pub(super) fn load(&self) -> Result<(), ExternalKeysError> {
        let Some(path) = self.options.jwks_file.as_ref().filter(|_| self.is_configured()) else {
            return Ok(());
        };
        let failed = |why: String| ExternalKeysError {
            path: path.clone(),
            why,
        };
        let found = fs::metadata(path).map_err(|cause| failed(cause.to_string()))?;
        if found.len() > FILE_BYTES_MAX {
            return Err(failed(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = fs::read(path).map_err(|cause| failed(cause.to_string()))?;
        let keys = Keys::parse(&text).map_err(failed)?;
        // That is how an issuer is locked out: what was taken out of the file must not go on because nothing is left beside it.
        if keys.0.is_empty() {
            tracing::warn!(file = %path.display(), "the other issuer has no key that can be used: none of its tokens holds");
        }
        let generation = self.generation() + 1;
        self.keys.store(Some(Arc::new((generation, keys))));
        Ok(())
    }

    /// Rises with every time that the keys are read.
    pub(super) fn generation(&self) -> u64 {
        self.keys.load().as_ref().map_or(0, |keys| keys.0)
    }

    /// Whether a token says that it is this issuer's. It may be anybody's who says so.
    pub(super) fn claims(&self, token: &str) -> bool {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        let Some(issuer) = &self.options.issuer else {
            return false;
        };
        let payload = token
            .split('.')
            .nth(1)
            .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let said = payload.and_then(|json| serde_json::from_slice::<Issuer>(&json).ok());
        said.is_some_and(|said| said.iss == *issuer)
    }

    /// Checks everything about a token.
    pub(super) fn verify(&self, token: &str, now: Time) -> Result<Stranger, AuthError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
        // An extension that must be understood is not.
        if !self.algorithms.contains(&header.alg) || header.crit.is_some() {
            return Err(AuthError::Invalid);
        }
        let keys = self.keys.load_full().ok_or(AuthError::Invalid)?;
        let (generation, keys) = &*keys;
        let key = keys.of(&header).ok_or(AuthError::Invalid)?;
        let validation = self.validation(header.alg);
        let decoded = jsonwebtoken::decode::<BTreeMap<String, Value>>(token, &key.key, &validation);
        let claims = decoded.map_err(|_| AuthError::Invalid)?.claims;
        let (from, until) = self.holds(&claims)?;
        if now < from {
            return Err(AuthError::Invalid);
        }
        if until <= now {
            return Err(AuthError::Expired);
        }
        Ok(Stranger {
            principal: self.principal(&claims, token)?,
            generation: *generation,
            from,
            until,
        })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(self.options.issuer.as_slice());
        validation.set_audience(self.options.audience.as_slice());
        // Times are checked here, by the caller's clock and not the library's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }

    /// When a token holds, leeway included.
    fn holds(&self, claims: &BTreeMap<String, Value>) -> Result<(Time, Time), AuthError> {
        let seconds = |name: &str| {
            let value = claims.get(name)?;
            // A NumericDate may have a fraction.
            value
                .as_i64()
                .or_else(|| value.as_f64().map(|seconds| seconds as i64))
        };
        let (issued, expires) = (
            seconds("iat").ok_or(AuthError::Invalid)?,
            seconds("exp").ok_or(AuthError::Invalid)?,
        );
        let longest = i64::try_from(self.options.token_s_max).unwrap_or(i64::MAX);
        if expires.saturating_sub(issued) > longest {
            return Err(AuthError::Invalid);
        }
        let from = match claims.get("nbf") {
            Some(_) => seconds("nbf").ok_or(AuthError::Invalid)?.max(issued),
            None => issued,
        };
        let us = |seconds: i64| seconds.saturating_mul(US_PER_S);
        Ok((
            Time(us(from).saturating_sub(LEEWAY_US)),
            Time(us(expires).saturating_add(LEEWAY_US)),
        ))
    }

    /// Whom it stands for, by what it says.
    fn principal(&self, claims: &BTreeMap<String, Value>, token: &str) -> Result<Principal, AuthError> {
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .ok_or(AuthError::Invalid)?;
        let role = self
            .role(claims.get(&self.options.role_claim))
            .ok_or(AuthError::Invalid)?;
        let customer = match role {
            Role::Customer => {
                let id = claims.get(&self.options.customer_claim).and_then(Value::as_str);
                Some(
                    id.and_then(|id| CustomerId::new(id).ok())
                        .ok_or(AuthError::Invalid)?,
                )
            }
            _ => None,
        };
        // It has no session here, and never the id of one: those are random.
        let mut id = SessionId([0; 16]);
        id.0.copy_from_slice(&sha256(token.as_bytes())[..16]);
        Ok(Principal {
            account: account_of(subject).ok_or(AuthError::Invalid)?,
            role,
            customer,
            scopes: role.scopes(),
            credential: Credential::Session(id),
        })
    }

    /// The one role that is said, where it may be given.
    fn role(&self, said: Option<&Value>) -> Option<Role> {
        let said: Vec<&str> = match said? {
            Value::String(role) => vec![role],
            Value::Array(roles) => roles.iter().filter_map(Value::as_str).collect(),
            _ => return None,
        };
        let mut roles = Role::ALL.into_iter().filter(|role| said.contains(&role.as_str()));
        let (role, None) = (roles.next()?, roles.next()) else {
            return None;
        };
        self.options
            .roles
            .iter()
            .any(|given| given == role.as_str())
            .then_some(role)
    }
}

/// The name of whom a token stands for: its subject where that can be in a name, else a digest of it.
fn account_of(subject: &str) -> Option<Username> {
    if subject.is_empty() {
        return None;
    }
    let plain = Username::new(&format!("{ACCOUNT_PREFIX}{subject}"));
    plain.ok().or_else(|| {
        let digest = SessionId(sha256(subject.as_bytes())[..16].try_into().ok()?);
        Username::new(&format!("{ACCOUNT_PREFIX}sha256-{digest}")).ok()
    })
}

impl Keys {
    fn parse(text: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(text)
            .map_err(|error| format!("line {}: it is no JWKS document ({error})", error.line()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("it has more than {KEYS_MAX} keys"));
        }
        let signs = |jwk: &&Jwk| {
            jwk.common
                .public_key_use
                .as_ref()
                .is_none_or(|of| *of == PublicKeyUse::Signature)
        };
        // What is of a kind that is not known here verifies nothing here.
        let keys = set.keys.iter().filter(signs).filter_map(|jwk| {
            let key = DecodingKey::from_jwk(jwk).ok()?;
            // A secret that others have as well proves nothing.
            if key.family() == AlgorithmFamily::Hmac {
                return None;
            }
            let algorithm = match jwk.common.key_algorithm {
                Some(said) => Some(said.to_string().parse().ok()?),
                None => None,
            };
            Some(Key {
                id: jwk.common.key_id.clone(),
                algorithm,
                key,
            })
        });
        Ok(Self(keys.collect()))
    }

    /// The key that a token names; where it names none, the only one there is.
    fn of(&self, header: &Header) -> Option<&Key> {
        let fits = |key: &&Key| {
            key.key.family() == header.alg.family()
                && key.algorithm.is_none_or(|algorithm| algorithm == header.alg)
        };
        match &header.kid {
            Some(kid) => self
                .0
                .iter()
                .filter(fits)
                .find(|key| key.id.as_ref() == Some(kid)),
            None => self.0.first().filter(|_| self.0.len() == 1).filter(fits),
        }
    }
}
