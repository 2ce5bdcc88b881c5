//! The access state and how it is read.
//!
//! Entries are behind `Arc`s, so that a clone of the whole (for a snapshot) copies pointers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::limits::DEAD_API_KEY_KEPT_US;
use super::{
    ApiKeyId, Credential, PasswordHash, Principal, Role, Scope, Scopes, SecretHash, SessionId, SigningKeyId,
    SigningSeed, Username,
};
use crate::{CustomerId, Time, Version};

/// Someone who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub username: Username,
    /// The hash of its password; an account without one has API keys only.
    pub password: Option<PasswordHash>,
    /// What it may do.
    pub role: Role,
    /// For role customer, and only there: whose data it is.
    pub customer: Option<CustomerId>,
    /// Rises with every change that its tokens must not outlive.
    pub version: Version,
    /// When it was created.
    pub created: Time,
}

/// One login: a family of refresh tokens, of which the newest works.
///
/// A refresh token is two secrets. The first is the family's and never changes: who has it holds, or held, a token of
/// this family. The second is the newest token's alone. A token with the right first and a wrong second half was
/// therefore used before; one with a wrong first half is nobody's, and ends nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub account: Username,
    /// The hash of what all its refresh tokens share.
    pub family: SecretHash,
    /// The hash of what only its newest refresh token has.
    pub token: SecretHash,
    /// How many refresh tokens there were.
    pub generation: u64,
    /// When it was opened.
    pub opened: Time,
    /// When its newest refresh token ends, and with it the session.
    pub expires: Time,
}

/// A long-lived credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The account that it acts for.
    pub account: Username,
    /// The hash of its secret.
    pub secret: SecretHash,
    /// For people.
    pub display_name: Arc<str>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was created.
    pub created: Time,
    /// When it ends; never, where not set.
    pub expires: Option<Time>,
    /// When it was revoked, if it was.
    pub revoked: Option<Time>,
}

impl ApiKey {
    /// When it ended or will end, if ever.
    pub fn end(&self) -> Option<Time> {
        match (self.revoked, self.expires) {
            (Some(revoked), Some(expires)) => Some(revoked.min(expires)),
            (revoked, expires) => revoked.or(expires),
        }
    }

    /// Whether it works at this time.
    pub fn is_live(&self, now: Time) -> bool {
        self.end().is_none_or(|end| now < end)
    }
}

/// What access tokens are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its id, the `kid` of its tokens.
    pub id: SigningKeyId,
    /// What the key pair is derived from.
    pub seed: SigningSeed,
    /// When it was created.
    pub created: Time,
    /// Since when it verifies but signs no more.
    pub retired: Option<Time>,
}

/// Accounts, sessions, API keys and signing keys: the state of the meta group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessState {
    pub(super) version: Version,
    pub(super) last_time: Time,
    pub(super) accounts: BTreeMap<Username, Arc<Account>>,
    pub(super) sessions: BTreeMap<SessionId, Arc<Session>>,
    pub(super) api_keys: BTreeMap<ApiKeyId, Arc<ApiKey>>,
    pub(super) signing_keys: BTreeMap<SigningKeyId, Arc<SigningKey>>,
    // Indexes, derived from the above; `validate` holds them against it.
    pub(super) sessions_by_end: BTreeSet<(Time, SessionId)>,
    pub(super) api_keys_by_end: BTreeSet<(Time, ApiKeyId)>,
    pub(super) sessions_of: BTreeMap<Username, BTreeSet<(Time, SessionId)>>,
    pub(super) api_keys_of: BTreeMap<Username, BTreeSet<ApiKeyId>>,
}

impl AccessState {
    /// How many records made it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The time of the newest record.
    pub fn last_time(&self) -> Time {
        self.last_time
    }

    /// Whether there is no account yet.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The account of this name.
    pub fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    /// The session of this id, ended by time or not.
    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        self.sessions.get(&id)
    }

    /// The API key of this id, dead or alive.
    pub fn api_key(&self, id: ApiKeyId) -> Option<&Arc<ApiKey>> {
        self.api_keys.get(&id)
    }

    /// The signing key of this id, retired or not.
    pub fn signing_key(&self, id: SigningKeyId) -> Option<&Arc<SigningKey>> {
        self.signing_keys.get(&id)
    }

    /// The key that signs.
    pub fn active_signing_key(&self) -> Option<&Arc<SigningKey>> {
        self.signing_keys.values().find(|key| key.retired.is_none())
    }

    /// Every account, by name.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// Every session, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// How many API keys there are, dead ones included.
    pub fn api_key_count(&self) -> usize {
        self.api_keys.len()
    }

    /// Every signing key, by id.
    pub fn signing_keys(&self) -> impl ExactSizeIterator<Item = &Arc<SigningKey>> {
        self.signing_keys.values()
    }

    /// The API keys after this id (or all), by id: of this account, or (`None`) of every one.
    pub fn api_keys<'a>(
        &'a self,
        account: Option<&str>,
        after: Option<ApiKeyId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<ApiKey>> + 'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        match account {
            None => Box::new(self.api_keys.range((from, Unbounded)).map(|(_, key)| key)),
            Some(account) => {
                let ids = self.api_keys_of.get(account);
                let ids = ids.into_iter().flat_map(move |ids| ids.range((from, Unbounded)));
                Box::new(ids.filter_map(|id| self.api_keys.get(id)))
            }
        }
    }

    /// Who an access token of this session stands for: `None` where the session has ended or the account is no longer
    /// of that version.
    pub fn session_principal(&self, id: SessionId, version: Version, now: Time) -> Option<Principal> {
        let session = self.sessions.get(&id).filter(|session| now < session.expires)?;
        let account = self
            .accounts
            .get(&session.account)
            .filter(|account| account.version == version)?;
        Some(Principal {
            account: account.username.clone(),
            role: account.role,
            customer: account.customer.clone(),
            scopes: account.role.scopes(),
            credential: Credential::Session(id),
        })
    }

    /// Who this API key stands for: `None` where it is dead.
    pub fn api_key_principal(&self, id: ApiKeyId, now: Time) -> Option<Principal> {
        let key = self.api_keys.get(&id).filter(|key| key.is_live(now))?;
        let account = self.accounts.get(&key.account)?;
        Some(Principal {
            account: account.username.clone(),
            role: account.role,
            customer: account.customer.clone(),
            scopes: key.scopes.and(account.role.scopes()),
            credential: Credential::ApiKey(id),
        })
    }

    /// Whether an administrator can get in for ever after, leaving out this account or this API key: by a password, or
    /// by an API key without an end that has every scope.
    pub(super) fn has_way_in(
        &self,
        without_account: Option<&Username>,
        without_key: Option<ApiKeyId>,
    ) -> bool {
        let admins = || {
            let admins = self
                .accounts
                .values()
                .filter(|account| account.role == Role::Admin);
            admins.filter(|account| Some(&account.username) != without_account)
        };
        let lasting = |id: &ApiKeyId| {
            Some(*id) != without_key
                && self
                    .api_keys
                    .get(id)
                    .is_some_and(|key| key.end().is_none() && key.scopes == Role::Admin.scopes())
        };
        admins().any(|account| account.password.is_some())
            || admins().any(|account| {
                self.api_keys_of
                    .get(&account.username)
                    .is_some_and(|ids| ids.iter().any(lasting))
            })
    }

    /// When a dead key has been listed for long enough.
    pub(super) fn is_forgettable(end: Time, now: Time) -> bool {
        end.0.saturating_add(DEAD_API_KEY_KEPT_US) <= now.0
    }
}

const _: () = assert!(Role::Admin.scopes().has(Scope::Access));
