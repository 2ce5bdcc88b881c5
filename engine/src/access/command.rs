//! What may be asked of the access state, and what follows from it.

use std::sync::Arc;

use super::limits::{
    ACCOUNTS_MAX, API_KEYS_MAX, API_KEYS_PER_ACCOUNT_MAX, KEY_NAME_BYTES_MAX, SIGNING_KEYS_MAX,
};
use super::{
    ApiKeyId, PasswordHash, Role, Scopes, SecretHash, SessionId, SigningKeyId, SigningSeed, Username,
};
use crate::{CustomerId, Time, Version};

/// A request, with the leader's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessCommand {
    /// Now, by the leader's clock.
    pub time: Time,
    /// What is asked.
    pub request: Request,
}

/// Who asks, as it was when the call was authenticated. The decision holds it against the state once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: Username,
    /// The account's role.
    pub role: Role,
    /// The credential's scopes.
    pub scopes: Scopes,
}

/// An API key to be made. Id and secret are random, and chosen by who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// For people.
    pub display_name: Arc<str>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it ends; never, where not set.
    pub expires: Option<Time>,
}

/// What may be asked. Ids, hashes and seeds are made from randomness by who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make the first account, an administrator without a password, with an API key of every scope and no end.
    Bootstrap {
        /// The account's name.
        username: Username,
        /// The key's id.
        key: ApiKeyId,
        /// The hash of the key's secret.
        secret: SecretHash,
    },
    /// Make an account.
    Register {
        /// Who asks.
        by: Caller,
        /// Its name.
        username: Username,
        /// The hash of its password.
        password: PasswordHash,
        /// What it may do.
        role: Role,
        /// For role customer, and only there: whose data it is.
        customer: Option<CustomerId>,
    },
    /// Give an account another role, and end its sessions and API keys. The same role again changes nothing.
    AssignRole {
        /// Who asks.
        by: Caller,
        /// To which account.
        account: Username,
        /// What it may do.
        role: Role,
        /// For role customer, and only there: whose data it is.
        customer: Option<CustomerId>,
    },
    /// Open a session for an account whose password has been verified.
    OpenSession {
        /// The account.
        account: Username,
        /// The version of it that the password was verified against.
        version: Version,
        /// The session's id.
        session: SessionId,
        /// The hash of what all its refresh tokens share.
        family: SecretHash,
        /// The hash of what only the first one has.
        token: SecretHash,
        /// When the first one ends.
        expires: Time,
    },
    /// Exchange a refresh token.
    Refresh {
        /// The session that it names.
        session: SessionId,
        /// The hash of its first half.
        family: SecretHash,
        /// The hash of its second half.
        token: SecretHash,
        /// The hash of the second half of the next one.
        next: SecretHash,
        /// When the next one ends.
        expires: Time,
    },
    /// End the session that a refresh token belongs to. Ending an ended one changes nothing.
    Logout {
        /// The session that the token names.
        session: SessionId,
        /// The hash of the token's first half.
        family: SecretHash,
    },
    /// Make an API key.
    CreateApiKey {
        /// Who asks.
        by: Caller,
        /// The account that it acts for.
        account: Username,
        /// The key.
        key: NewApiKey,
    },
    /// End an API key. Ending a dead one changes nothing.
    RevokeApiKey {
        /// Who asks.
        by: Caller,
        /// Which.
        key: ApiKeyId,
    },
    /// Make a signing key, which signs from now on.
    CreateSigningKey {
        /// Its id.
        key: SigningKeyId,
        /// What the key pair is derived from.
        seed: SigningSeed,
        /// The key that signs now and will be retired, as far as who asks knows.
        replaces: Option<SigningKeyId>,
    },
}

/// What a command comes to. A refusal may have events: the replay of a refresh token is refused *and* ends its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happened, in order. Where there is any, it goes into the log before the answer is given.
    pub events: Vec<AccessEvent>,
    /// Why the command is refused, if it is.
    pub rejection: Option<AccessRejection>,
}

/// Why a command is refused, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessRejection {
    /// There are accounts already.
    #[error("there are accounts already")]
    NotEmpty,
    /// The caller's account has another role by now, or only an administrator may ask this.
    #[error("the caller's role does not allow this")]
    CallerRole,
    /// The caller's credential has not all the scopes that it would give to another.
    #[error("the caller's credential lacks a scope that it would grant")]
    BeyondCaller,
    /// The account has that name already.
    #[error("there is an account of this name already")]
    UsernameTaken,
    /// There is no such account, or none that the caller may see.
    #[error("there is no such account")]
    AccountNotFound,
    /// The account changed since its password was verified.
    #[error("the account changed meanwhile")]
    AccountChanged,
    /// Role customer names no customer.
    #[error("the role customer needs a customer")]
    CustomerMissing,
    /// Another role than customer names one.
    #[error("only the role customer has a customer")]
    CustomerUnexpected,
    /// Nobody could administer accounts any more.
    #[error("it is the last way in for an administrator")]
    LastWayIn,
    /// There are [`ACCOUNTS_MAX`] accounts.
    #[error("there are {ACCOUNTS_MAX} accounts, as many as there may be")]
    TooManyAccounts,
    /// No session has such refresh tokens.
    #[error("the refresh token is not valid")]
    RefreshTokenUnknown,
    /// The session's newest refresh token has ended.
    #[error("the refresh token has expired")]
    RefreshTokenExpired,
    /// The refresh token was used before. Its session has been ended.
    #[error("the refresh token was used before; its session has been ended")]
    RefreshTokenReplayed,
    /// The time when it should end has come already.
    #[error("the end lies in the past")]
    ExpiryPassed,
    /// The display name is longer than [`KEY_NAME_BYTES_MAX`] bytes.
    #[error("the display name has more than {KEY_NAME_BYTES_MAX} bytes")]
    KeyNameTooLong,
    /// An API key without a scope.
    #[error("an API key needs at least one scope")]
    NoScopes,
    /// A scope that the account's role does not have.
    #[error("the account's role does not have all these scopes")]
    BeyondRole,
    /// The account has [`API_KEYS_PER_ACCOUNT_MAX`] live API keys, or there are [`API_KEYS_MAX`] in all.
    #[error(
        "an account may have {API_KEYS_PER_ACCOUNT_MAX} live API keys, and there may be {API_KEYS_MAX} in all"
    )]
    TooManyApiKeys,
    /// There is no such API key, or none that the caller may see.
    #[error("there is no such API key")]
    ApiKeyNotFound,
    /// The key that signs is not the one that the command would replace.
    #[error("another signing key is in use meanwhile")]
    SigningKeyChanged,
    /// There are [`SIGNING_KEYS_MAX`] signing keys that still verify.
    #[error(
        "there are {SIGNING_KEYS_MAX} signing keys in use, as many as there may be: try again in two hours"
    )]
    TooManySigningKeys,
    /// The random id is in use. Draw another.
    #[error("the id is in use")]
    IdTaken,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessEvent {
    /// An account was made.
    AccountCreated {
        /// Its name.
        username: Username,
        /// The hash of its password.
        password: Option<PasswordHash>,
        /// What it may do.
        role: Role,
        /// Whose data it is.
        customer: Option<CustomerId>,
    },
    /// An account got another role.
    RoleAssigned {
        /// Which account.
        account: Username,
        /// What it may do.
        role: Role,
        /// Whose data it is.
        customer: Option<CustomerId>,
    },
    /// A session began.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// Whose.
        account: Username,
        /// The hash of what all its refresh tokens share.
        family: SecretHash,
        /// The hash of what only the first one has.
        token: SecretHash,
        /// When that one ends.
        expires: Time,
    },
    /// A refresh token was exchanged for the next.
    SessionRefreshed {
        /// Which session.
        session: SessionId,
        /// The hash of what only the next one has.
        token: SecretHash,
        /// When that one ends.
        expires: Time,
    },
    /// A session ended, and is forgotten.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Why.
        cause: End,
    },
    /// An API key was made.
    ApiKeyCreated {
        /// The account that it acts for.
        account: Username,
        /// The key.
        key: NewApiKey,
    },
    /// An API key was ended.
    ApiKeyRevoked {
        /// Which.
        key: ApiKeyId,
    },
    /// A dead API key is no longer listed.
    ApiKeyForgotten {
        /// Which.
        key: ApiKeyId,
    },
    /// A signing key was made, and signs from now on.
    SigningKeyCreated {
        /// Its id.
        key: SigningKeyId,
        /// What the key pair is derived from.
        seed: SigningSeed,
    },
    /// A signing key signs no more.
    SigningKeyRetired {
        /// Which.
        key: SigningKeyId,
    },
    /// A retired signing key verifies no more.
    SigningKeyForgotten {
        /// Which.
        key: SigningKeyId,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Its owner asked for it.
    LoggedOut,
    /// Its refresh token was used twice.
    Replayed,
    /// Its refresh token ended.
    Expired,
    /// Its account, or everyone together, had too many.
    Evicted,
    /// Its account got another role.
    RoleAssigned,
}

/// What one decision puts into the meta group's log: all of it, or (where the version does not fit) nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRecord {
    /// The state's version before it.
    pub version: Version,
    /// When it was decided.
    pub time: Time,
    /// In the order in which they happened.
    pub events: Vec<AccessEvent>,
}
