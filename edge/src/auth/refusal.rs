//! What a caller is told of a failure. Of credentials it says that they do not hold, and never why.

use std::time::Duration;

use docket_actors::{CallError, access::AccessError};
use docket_engine::access::{
    AccessRejection, ApiKeyId, SessionId, Username,
    limits::{ACCOUNTS_MAX, API_KEYS_PER_ACCOUNT_MAX},
};
use docket_proto::api::auth::{account_name, api_key_name};
use tonic::Code;

use super::{NoRandomness, password::PasswordError, token::MintError};
use crate::Refusal;

/// When to try again where the meta group has no leader, or the state changed under a command.
const RETRY: Duration = Duration::from_millis(100);
/// When to try again where too many passwords are being verified.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// What a command is about.
pub(super) enum Subject<'a> {
    Account(&'a Username),
    ApiKey(ApiKeyId),
    Session(SessionId),
}

/// Unknown user, no password, wrong password.
pub(super) fn login_failed() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "LOGIN_FAILED",
        "username or password is wrong",
    )
}

/// A login that was tried too often.
pub(super) fn too_many_logins(retry_after: Duration) -> Refusal {
    let message = "too many logins were tried with this username from this network";
    Refusal::new(Code::ResourceExhausted, "TOO_MANY_LOGINS", message)
        .quota("login")
        .retry(retry_after)
}

/// Malformed, unknown, used before, of a session that has ended.
pub(super) fn refresh_token_invalid() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
        "the refresh token is not valid: call Login",
    )
}

/// What a rejection answers.
pub(super) fn refusal_of(rejection: AccessRejection, subject: &Subject<'_>) -> Refusal {
    use AccessRejection as R;
    let message = rejection.to_string();
    let refusal = |code, reason| about(Refusal::new(code, reason, message.clone()), subject);
    match rejection {
        R::CallerRole => refusal(Code::PermissionDenied, "ROLE_NOT_ALLOWED"),
        R::BeyondCaller => refusal(Code::PermissionDenied, "BEYOND_CALLER"),
        R::UsernameTaken => refusal(Code::AlreadyExists, "USERNAME_TAKEN"),
        R::AccountNotFound => refusal(Code::NotFound, "ACCOUNT_NOT_FOUND"),
        R::ApiKeyNotFound => refusal(Code::NotFound, "API_KEY_NOT_FOUND"),
        R::AccountChanged => refusal(Code::Aborted, "ACCOUNT_CHANGED").retry(RETRY),
        R::CustomerMissing | R::CustomerUnexpected => Refusal::invalid([("customer", message)]),
        R::ExpiryPassed => Refusal::invalid([("expire_time", "must lie in the future")]),
        R::KeyNameTooLong => Refusal::invalid([("display_name", message)]),
        R::NoScopes => Refusal::invalid([("scopes", message)]),
        R::BeyondRole => precondition(refusal(Code::FailedPrecondition, "BEYOND_ROLE"), subject),
        R::LastWayIn => precondition(refusal(Code::FailedPrecondition, "LAST_WAY_IN"), subject),
        R::TooManyAccounts => refusal(Code::ResourceExhausted, "TOO_MANY_ACCOUNTS")
            .with("limit", ACCOUNTS_MAX.to_string())
            .quota("accounts"),
        R::TooManyApiKeys => refusal(Code::ResourceExhausted, "TOO_MANY_API_KEYS")
            .with("limit", API_KEYS_PER_ACCOUNT_MAX.to_string())
            .quota("api_keys"),
        R::RefreshTokenExpired => {
            let message = "the refresh token has expired: call Login";
            Refusal::new(Code::Unauthenticated, "REFRESH_TOKEN_EXPIRED", message)
        }
        R::RefreshTokenReplayed => {
            replayed(subject);
            refresh_token_invalid()
        }
        R::RefreshTokenUnknown => refresh_token_invalid(),
        R::NotEmpty | R::SigningKeyChanged | R::TooManySigningKeys | R::IdTaken => {
            tracing::error!(%rejection, "an access command was refused that should not be");
            try_again("nothing was done: try again")
        }
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Rejected(rejection) => {
                tracing::error!(%rejection, "an access command was refused that should not be");
                try_again("nothing was done: try again")
            }
            AccessError::NotLeader => Self::new(
                Code::Unavailable,
                "META_UNAVAILABLE",
                "the meta group has no leader here",
            )
            .retry(RETRY),
            AccessError::LowSpace { free_bytes } => CallError::LowSpace { free_bytes }.into(),
            AccessError::OutcomeUnknown => Self::new(
                Code::Unavailable,
                "OUTCOME_UNKNOWN",
                "the outcome is not known: look whether it was done before trying again",
            ),
            AccessError::Contended => try_again("nothing was done: try again"),
        }
    }
}

impl From<PasswordError> for Refusal {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::new(
                Code::ResourceExhausted,
                "TOO_MANY_PASSWORDS",
                "too many passwords are being verified",
            )
            .quota("node:password_hashes")
            .retry(BUSY_RETRY),
            PasswordError::Failed(cause) => internal(&cause),
        }
    }
}

impl From<MintError> for Refusal {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Access(error) => error.into(),
            error @ (MintError::Randomness(_) | MintError::Signing(_)) => internal(&error),
        }
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        internal(&error)
    }
}

/// The session's refresh token is in two hands.
fn replayed(subject: &Subject<'_>) {
    metrics::counter!("docket_auth_refresh_replays_total").increment(1);
    if let Subject::Session(session) = subject {
        tracing::warn!(%session, "a refresh token was used twice; its session was ended");
    }
}

fn about(refusal: Refusal, subject: &Subject<'_>) -> Refusal {
    match subject {
        Subject::Account(username) => refusal.resource("docket.v1.Account", account_name(username)),
        Subject::ApiKey(id) => refusal.resource("docket.v1.ApiKey", api_key_name(*id)),
        Subject::Session(_) => refusal,
    }
}

fn precondition(refusal: Refusal, subject: &Subject<'_>) -> Refusal {
    match subject {
        Subject::Account(username) => refusal.precondition(account_name(username)),
        Subject::ApiKey(id) => refusal.precondition(api_key_name(*id)),
        Subject::Session(_) => refusal,
    }
}

fn try_again(message: &str) -> Refusal {
    Refusal::new(Code::Unavailable, "TRY_AGAIN", message).retry(RETRY)
}

fn internal(cause: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%cause, "authentication failed");
    Refusal::new(
        Code::Internal,
        "INTERNAL",
        "the server failed on this request; it was recorded for its operators",
    )
}
