//! From a command to its decision.

use super::limits::{
    ACCOUNTS_MAX, API_KEYS_MAX, API_KEYS_PER_ACCOUNT_MAX, KEY_NAME_BYTES_MAX, PRUNED_PER_COMMAND_MAX,
    RETIRED_SIGNING_KEY_KEPT_US, SESSION_LIFETIME_MAX_US, SESSIONS_MAX, SESSIONS_PER_ACCOUNT_MAX,
    SIGNING_KEYS_MAX,
};
use super::{
    AccessCommand, AccessEvent, AccessRecord, AccessRejection, AccessState, Account, ApiKeyId, Caller,
    Decision, End, NewApiKey, PasswordHash, Request, Role, SecretHash, SessionId, SigningKeyId, SigningSeed,
    Username,
};
use crate::{CustomerId, Time, Version};

type Events = Result<Vec<AccessEvent>, AccessRejection>;

/// The display name of the first API key.
const BOOTSTRAP_KEY_NAME: &str = "first administrator";

impl AccessState {
    /// What a command comes to. Changes nothing.
    pub fn decide(&self, command: &AccessCommand) -> Decision {
        let now = self.now(command.time);
        let answer = match &command.request {
            Request::Bootstrap {
                username,
                key,
                secret,
            } => self.bootstrap(username, *key, *secret),
            Request::Register {
                by,
                username,
                password,
                role,
                customer,
            } => self.register(by, username, password, *role, customer.as_ref()),
            Request::AssignRole {
                by,
                account,
                role,
                customer,
            } => self.assign_role(by, account, *role, customer.as_ref()),
            Request::OpenSession {
                account,
                version,
                session,
                family,
                token,
                expires,
            } => {
                let opened = AccessEvent::SessionOpened {
                    session: *session,
                    account: account.clone(),
                    family: *family,
                    token: *token,
                    expires: (*expires).min(plus(now, SESSION_LIFETIME_MAX_US)),
                };
                self.open_session(now, account, *version, *session, *expires, opened)
            }
            Request::Refresh {
                session,
                family,
                token,
                next,
                expires,
            } => {
                return self.refresh(now, *session, [*family, *token], *next, *expires);
            }
            Request::Logout { session, family } => self.logout(*session, *family),
            Request::CreateApiKey { by, account, key } => self.create_api_key(now, by, account, key),
            Request::RevokeApiKey { by, key } => self.revoke_api_key(now, by, *key),
            Request::CreateSigningKey { key, seed, replaces } => {
                self.create_signing_key(now, *key, *seed, *replaces)
            }
        };
        match answer {
            Ok(events) => self.with_pruning(now, events),
            Err(rejection) => Decision {
                events: Vec::new(),
                rejection: Some(rejection),
            },
        }
    }

    /// The record of a decision that has events.
    pub fn record(&self, command: &AccessCommand, events: Vec<AccessEvent>) -> AccessRecord {
        AccessRecord {
            version: self.version,
            time: self.now(command.time),
            events,
        }
    }

    /// Logged time never runs backwards, even where the next leader's clock does.
    fn now(&self, time: Time) -> Time {
        time.max(self.last_time)
    }

    fn bootstrap(&self, username: &Username, key: ApiKeyId, secret: SecretHash) -> Events {
        if !self.is_empty() {
            return Err(AccessRejection::NotEmpty);
        }
        let account = AccessEvent::AccountCreated {
            username: username.clone(),
            password: None,
            role: Role::Admin,
            customer: None,
        };
        let key = NewApiKey {
            id: key,
            secret,
            display_name: BOOTSTRAP_KEY_NAME.into(),
            scopes: Role::Admin.scopes(),
            expires: None,
        };
        Ok(vec![
            account,
            AccessEvent::ApiKeyCreated {
                account: username.clone(),
                key,
            },
        ])
    }

    fn register(
        &self,
        by: &Caller,
        username: &Username,
        password: &PasswordHash,
        role: Role,
        customer: Option<&CustomerId>,
    ) -> Events {
        self.check_may_assign(by, role)?;
        if self.accounts.contains_key(username) {
            return Err(AccessRejection::UsernameTaken);
        }
        check_customer(role, customer)?;
        if self.accounts.len() >= ACCOUNTS_MAX {
            return Err(AccessRejection::TooManyAccounts);
        }
        Ok(vec![AccessEvent::AccountCreated {
            username: username.clone(),
            password: Some(password.clone()),
            role,
            customer: customer.cloned(),
        }])
    }

    fn assign_role(
        &self,
        by: &Caller,
        username: &Username,
        role: Role,
        customer: Option<&CustomerId>,
    ) -> Events {
        self.check_may_assign(by, role)?;
        let account = self
            .accounts
            .get(username)
            .ok_or(AccessRejection::AccountNotFound)?;
        check_customer(role, customer)?;
        if account.role == role && account.customer.as_ref() == customer {
            return Ok(Vec::new());
        }
        if account.role == Role::Admin && !self.has_way_in(Some(username), None) {
            return Err(AccessRejection::LastWayIn);
        }
        let mut events = vec![AccessEvent::RoleAssigned {
            account: username.clone(),
            role,
            customer: customer.cloned(),
        }];
        let sessions = self.sessions_of.get(username).into_iter().flatten();
        events.extend(sessions.map(|(_, id)| ended(*id, End::RoleAssigned)));
        let keys = self.api_keys_of.get(username).into_iter().flatten();
        let unrevoked = keys.filter(|id| self.api_keys.get(id).is_some_and(|key| key.revoked.is_none()));
        events.extend(unrevoked.map(|id| AccessEvent::ApiKeyRevoked { key: *id }));
        Ok(events)
    }

    fn open_session(
        &self,
        now: Time,
        username: &Username,
        version: Version,
        session: SessionId,
        expires: Time,
        opened: AccessEvent,
    ) -> Events {
        let account = self
            .accounts
            .get(username)
            .ok_or(AccessRejection::AccountNotFound)?;
        if account.version != version {
            return Err(AccessRejection::AccountChanged);
        }
        if expires <= now {
            return Err(AccessRejection::ExpiryPassed);
        }
        if self.sessions.contains_key(&session) {
            return Err(AccessRejection::IdTaken);
        }
        let own = self
            .sessions_of
            .get(username)
            .filter(|own| own.len() >= SESSIONS_PER_ACCOUNT_MAX);
        let evicted = match own.and_then(|own| own.first()) {
            Some((_, oldest)) => Some(*oldest),
            None if self.sessions.len() >= SESSIONS_MAX => self.sessions_by_end.first().map(|(_, id)| *id),
            None => None,
        };
        Ok(evicted
            .map(|id| ended(id, End::Evicted))
            .into_iter()
            .chain([opened])
            .collect())
    }

    fn refresh(
        &self,
        now: Time,
        id: SessionId,
        [family, token]: [SecretHash; 2],
        next: SecretHash,
        expires: Time,
    ) -> Decision {
        let refused = |rejection| Decision {
            events: Vec::new(),
            rejection: Some(rejection),
        };
        let Some(session) = self.sessions.get(&id).filter(|session| session.family == family) else {
            return refused(AccessRejection::RefreshTokenUnknown);
        };
        if session.expires <= now {
            return refused(AccessRejection::RefreshTokenExpired);
        }
        if session.token != token {
            let mut decision = self.with_pruning(now, vec![ended(id, End::Replayed)]);
            decision.rejection = Some(AccessRejection::RefreshTokenReplayed);
            return decision;
        }
        if expires <= now {
            return refused(AccessRejection::ExpiryPassed);
        }
        let last = plus(session.opened, SESSION_LIFETIME_MAX_US);
        self.with_pruning(
            now,
            vec![AccessEvent::SessionRefreshed {
                session: id,
                token: next,
                expires: expires.min(last),
            }],
        )
    }

    fn logout(&self, id: SessionId, family: SecretHash) -> Events {
        match self.sessions.get(&id) {
            None => Ok(Vec::new()),
            Some(session) if session.family == family => Ok(vec![ended(id, End::LoggedOut)]),
            Some(_) => Err(AccessRejection::RefreshTokenUnknown),
        }
    }

    fn create_api_key(&self, now: Time, by: &Caller, username: &Username, key: &NewApiKey) -> Events {
        self.check_caller(by)?;
        if !by.scopes.covers(key.scopes) {
            return Err(AccessRejection::BeyondCaller);
        }
        let seen =
            |account: &&std::sync::Arc<Account>| by.role == Role::Admin || account.username == by.account;
        let account = self
            .accounts
            .get(username)
            .filter(seen)
            .ok_or(AccessRejection::AccountNotFound)?;
        if key.expires.is_some_and(|expires| expires <= now) {
            return Err(AccessRejection::ExpiryPassed);
        }
        if key.display_name.len() > KEY_NAME_BYTES_MAX {
            return Err(AccessRejection::KeyNameTooLong);
        }
        if key.scopes.is_empty() {
            return Err(AccessRejection::NoScopes);
        }
        if !account.role.scopes().covers(key.scopes) {
            return Err(AccessRejection::BeyondRole);
        }
        if self.api_keys.len() >= API_KEYS_MAX {
            return Err(AccessRejection::TooManyApiKeys);
        }
        let mut events = Vec::new();
        if let Some(own) = self
            .api_keys_of
            .get(username)
            .filter(|own| own.len() >= API_KEYS_PER_ACCOUNT_MAX)
        {
            let ends = own
                .iter()
                .filter_map(|id| Some((self.api_keys.get(id)?.end()?, *id)));
            let dead = ends.filter(|(end, _)| *end <= now).min();
            let (_, forgotten) = dead.ok_or(AccessRejection::TooManyApiKeys)?;
            events.push(AccessEvent::ApiKeyForgotten { key: forgotten });
        }
        if self.api_keys.contains_key(&key.id) {
            return Err(AccessRejection::IdTaken);
        }
        events.push(AccessEvent::ApiKeyCreated {
            account: username.clone(),
            key: key.clone(),
        });
        Ok(events)
    }

    fn revoke_api_key(&self, now: Time, by: &Caller, id: ApiKeyId) -> Events {
        let caller = self.check_caller(by)?;
        let key = self.api_keys.get(&id);
        let key = key.filter(|key| by.role == Role::Admin || key.account == caller.username);
        let key = key.ok_or(AccessRejection::ApiKeyNotFound)?;
        if !key.is_live(now) {
            return Ok(Vec::new());
        }
        let of_admin = self
            .accounts
            .get(&key.account)
            .is_some_and(|account| account.role == Role::Admin);
        if of_admin && !self.has_way_in(None, Some(id)) {
            return Err(AccessRejection::LastWayIn);
        }
        Ok(vec![AccessEvent::ApiKeyRevoked { key: id }])
    }

    fn create_signing_key(
        &self,
        now: Time,
        id: SigningKeyId,
        seed: SigningSeed,
        replaces: Option<SigningKeyId>,
    ) -> Events {
        if self.active_signing_key().map(|key| key.id) != replaces {
            return Err(AccessRejection::SigningKeyChanged);
        }
        let forgettable = self.signing_keys.values().filter(|key| {
            key.retired
                .is_some_and(|retired| plus(retired, RETIRED_SIGNING_KEY_KEPT_US) <= now)
        });
        let mut events: Vec<_> = forgettable
            .map(|key| AccessEvent::SigningKeyForgotten { key: key.id })
            .collect();
        if self.signing_keys.len() - events.len() >= SIGNING_KEYS_MAX {
            return Err(AccessRejection::TooManySigningKeys);
        }
        if self.signing_keys.contains_key(&id) {
            return Err(AccessRejection::IdTaken);
        }
        events.extend(replaces.map(|key| AccessEvent::SigningKeyRetired { key }));
        events.push(AccessEvent::SigningKeyCreated { key: id, seed });
        Ok(events)
    }

    /// The caller's account, which must still have the role that it was authenticated with.
    fn check_caller(&self, by: &Caller) -> Result<&Account, AccessRejection> {
        let account = self
            .accounts
            .get(&by.account)
            .filter(|account| account.role == by.role);
        account.map(AsRef::as_ref).ok_or(AccessRejection::CallerRole)
    }

    /// Only an administrator gives roles, and only what its own credential has.
    fn check_may_assign(&self, by: &Caller, role: Role) -> Result<(), AccessRejection> {
        self.check_caller(by)?;
        if by.role != Role::Admin {
            return Err(AccessRejection::CallerRole);
        }
        if !by.scopes.covers(role.scopes()) {
            return Err(AccessRejection::BeyondCaller);
        }
        Ok(())
    }

    /// Adds what has ended by time, up to a bound, to events that go into the log anyway.
    fn with_pruning(&self, now: Time, mut events: Vec<AccessEvent>) -> Decision {
        if events.is_empty() {
            return Decision {
                events,
                rejection: None,
            };
        }
        let own = events.len();
        let sessions = self.sessions_by_end.iter().take_while(|(end, _)| *end <= now);
        let sessions = sessions.map(|(_, id)| ended(*id, End::Expired));
        let keys = self
            .api_keys_by_end
            .iter()
            .take_while(|(end, _)| Self::is_forgettable(*end, now));
        let keys = keys.map(|(_, id)| AccessEvent::ApiKeyForgotten { key: *id });
        for pruned in sessions.chain(keys).take(PRUNED_PER_COMMAND_MAX) {
            if !events[..own]
                .iter()
                .any(|event| is_about_the_same(event, &pruned))
            {
                events.push(pruned);
            }
        }
        Decision {
            events,
            rejection: None,
        }
    }
}

fn ended(session: SessionId, cause: End) -> AccessEvent {
    AccessEvent::SessionEnded { session, cause }
}

/// Whether an event ends the very session or API key that pruning would end.
fn is_about_the_same(event: &AccessEvent, pruned: &AccessEvent) -> bool {
    use AccessEvent::{ApiKeyForgotten, SessionEnded};
    match (event, pruned) {
        (SessionEnded { session: a, .. }, SessionEnded { session: b, .. }) => a == b,
        (ApiKeyForgotten { key: a }, ApiKeyForgotten { key: b }) => a == b,
        _ => false,
    }
}

fn check_customer(role: Role, customer: Option<&CustomerId>) -> Result<(), AccessRejection> {
    match (role, customer) {
        (Role::Customer, None) => Err(AccessRejection::CustomerMissing),
        (Role::Service | Role::Admin, Some(_)) => Err(AccessRejection::CustomerUnexpected),
        _ => Ok(()),
    }
}

fn plus(time: Time, us: i64) -> Time {
    Time(time.0.saturating_add(us))
}
