//! From a fact to the next state.

use std::sync::Arc;

use super::{AccessEvent, AccessRecord, AccessState, Account, ApiKey, Session, SigningKey};
use crate::{Broken, Time, Version};

impl AccessState {
    /// Whether a record was decided on this very state. One that was not is refused: decide again.
    pub fn fits(&self, record: &AccessRecord) -> bool {
        record.version == self.version
    }

    /// Carries a whole record into the state.
    ///
    /// # Errors
    /// Where the record does not [`fit`](Self::fits), or a fact does not fit what is there: the log is not the one that
    /// made this state. The state is then of no use.
    pub fn apply(&mut self, record: &AccessRecord) -> Result<(), Broken> {
        if !self.fits(record) {
            return Err(broken("a record was decided on another state"));
        }
        self.version = self.version.next();
        self.last_time = self.last_time.max(record.time);
        record
            .events
            .iter()
            .try_for_each(|event| self.evolve(event, record.time))
    }

    /// Carries one fact, of this time, into the state.
    ///
    /// # Errors
    /// Where it does not fit what is there.
    pub fn evolve(&mut self, event: &AccessEvent, at: Time) -> Result<(), Broken> {
        match event {
            AccessEvent::AccountCreated {
                username,
                password,
                role,
                customer,
            } => self.insert_account(Account {
                username: username.clone(),
                password: password.clone(),
                role: *role,
                customer: customer.clone(),
                version: Version(1),
                created: at,
            }),
            AccessEvent::RoleAssigned {
                account,
                role,
                customer,
            } => {
                let account = self
                    .accounts
                    .get_mut(account)
                    .ok_or_else(|| broken("a role goes to no account"))?;
                let account = Arc::make_mut(account);
                account.role = *role;
                account.customer = customer.clone();
                account.version = account.version.next();
                Ok(())
            }
            AccessEvent::SessionOpened {
                session,
                account,
                family,
                token,
                expires,
            } => self.insert_session(Session {
                id: *session,
                account: account.clone(),
                family: *family,
                token: *token,
                generation: 1,
                opened: at,
                expires: *expires,
            }),
            AccessEvent::SessionRefreshed {
                session,
                token,
                expires,
            } => {
                let entry = self
                    .sessions
                    .get_mut(session)
                    .ok_or_else(|| broken("no session is refreshed"))?;
                self.sessions_by_end.remove(&(entry.expires, *session));
                self.sessions_by_end.insert((*expires, *session));
                let entry = Arc::make_mut(entry);
                entry.token = *token;
                entry.generation = entry.generation.saturating_add(1);
                entry.expires = *expires;
                Ok(())
            }
            AccessEvent::SessionEnded { session, .. } => {
                let session = self
                    .sessions
                    .remove(session)
                    .ok_or_else(|| broken("no session ends"))?;
                self.sessions_by_end.remove(&(session.expires, session.id));
                if let Some(own) = self.sessions_of.get_mut(&session.account) {
                    own.remove(&(session.opened, session.id));
                    if own.is_empty() {
                        self.sessions_of.remove(&session.account);
                    }
                }
                Ok(())
            }
            AccessEvent::ApiKeyCreated { account, key } => self.insert_api_key(ApiKey {
                id: key.id,
                account: account.clone(),
                secret: key.secret,
                display_name: Arc::clone(&key.display_name),
                scopes: key.scopes,
                created: at,
                expires: key.expires,
                revoked: None,
            }),
            AccessEvent::ApiKeyRevoked { key } => {
                let entry = self
                    .api_keys
                    .get_mut(key)
                    .ok_or_else(|| broken("no API key is revoked"))?;
                if let Some(end) = entry.end() {
                    self.api_keys_by_end.remove(&(end, *key));
                }
                let entry = Arc::make_mut(entry);
                entry.revoked = Some(at);
                self.api_keys_by_end.extend(entry.end().map(|end| (end, *key)));
                Ok(())
            }
            AccessEvent::ApiKeyForgotten { key } => {
                let key = self
                    .api_keys
                    .remove(key)
                    .ok_or_else(|| broken("no API key is forgotten"))?;
                if let Some(end) = key.end() {
                    self.api_keys_by_end.remove(&(end, key.id));
                }
                if let Some(own) = self.api_keys_of.get_mut(&key.account) {
                    own.remove(&key.id);
                    if own.is_empty() {
                        self.api_keys_of.remove(&key.account);
                    }
                }
                Ok(())
            }
            AccessEvent::SigningKeyCreated { key, seed } => self.insert_signing_key(SigningKey {
                id: *key,
                seed: *seed,
                created: at,
                retired: None,
            }),
            AccessEvent::SigningKeyRetired { key } => {
                let key = self
                    .signing_keys
                    .get_mut(key)
                    .ok_or_else(|| broken("no signing key is retired"))?;
                Arc::make_mut(key).retired = Some(at);
                Ok(())
            }
            AccessEvent::SigningKeyForgotten { key } => {
                let known = self.signing_keys.remove(key).is_some();
                known
                    .then_some(())
                    .ok_or_else(|| broken("no signing key is forgotten"))
            }
        }
    }

    /// A state with nothing in it but how far the log has come: where a snapshot's entries are then put.
    pub fn restored(version: Version, last_time: Time) -> Self {
        Self {
            version,
            last_time,
            ..Self::default()
        }
    }

    /// Puts an account in as it is.
    ///
    /// # Errors
    /// Where its name is taken.
    pub fn insert_account(&mut self, account: Account) -> Result<(), Broken> {
        let before = self.accounts.insert(account.username.clone(), Arc::new(account));
        if before.is_some() {
            Err(broken("two accounts have one name"))
        } else {
            Ok(())
        }
    }

    /// Puts a session in as it is.
    ///
    /// # Errors
    /// Where its id is taken or its account is not there.
    pub fn insert_session(&mut self, session: Session) -> Result<(), Broken> {
        if !self.accounts.contains_key(&session.account) {
            return Err(broken("a session has no account"));
        }
        self.sessions_by_end.insert((session.expires, session.id));
        self.sessions_of
            .entry(session.account.clone())
            .or_default()
            .insert((session.opened, session.id));
        let before = self.sessions.insert(session.id, Arc::new(session));
        if before.is_some() {
            Err(broken("two sessions have one id"))
        } else {
            Ok(())
        }
    }

    /// Puts an API key in as it is.
    ///
    /// # Errors
    /// Where its id is taken or its account is not there.
    pub fn insert_api_key(&mut self, key: ApiKey) -> Result<(), Broken> {
        if !self.accounts.contains_key(&key.account) {
            return Err(broken("an API key has no account"));
        }
        self.api_keys_by_end.extend(key.end().map(|end| (end, key.id)));
        self.api_keys_of
            .entry(key.account.clone())
            .or_default()
            .insert(key.id);
        let before = self.api_keys.insert(key.id, Arc::new(key));
        if before.is_some() {
            Err(broken("two API keys have one id"))
        } else {
            Ok(())
        }
    }

    /// Puts a signing key in as it is.
    ///
    /// # Errors
    /// Where its id is taken.
    pub fn insert_signing_key(&mut self, key: SigningKey) -> Result<(), Broken> {
        let before = self.signing_keys.insert(key.id, Arc::new(key));
        if before.is_some() {
            Err(broken("two signing keys have one id"))
        } else {
            Ok(())
        }
    }
}

pub(super) fn broken(why: &'static str) -> Broken {
    Broken::new("the access state", why)
}
