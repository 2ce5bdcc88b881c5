//! What holds of every access state.

use std::collections::{BTreeMap, BTreeSet};

use super::evolve::broken;
use super::limits::{
    ACCOUNTS_MAX, API_KEYS_MAX, API_KEYS_PER_ACCOUNT_MAX, SESSION_LIFETIME_MAX_US, SESSIONS_MAX,
    SESSIONS_PER_ACCOUNT_MAX, SIGNING_KEYS_MAX,
};
use super::{AccessState, Role};
use crate::Broken;

impl AccessState {
    /// Checks every invariant. Takes time in proportion to the state: for tests and after a snapshot.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        self.validate_accounts()?;
        self.validate_sessions()?;
        self.validate_api_keys()?;
        let signing = self
            .signing_keys
            .values()
            .filter(|key| key.retired.is_none())
            .count();
        check(signing <= 1, "two keys sign")?;
        check(self.signing_keys.is_empty() || signing == 1, "no key signs")?;
        check(
            self.signing_keys.len() <= SIGNING_KEYS_MAX,
            "it has too many signing keys",
        )?;
        check(
            self.accounts.is_empty() || self.has_way_in(None, None),
            "no administrator can get in",
        )
    }

    fn validate_accounts(&self) -> Result<(), Broken> {
        check(self.accounts.len() <= ACCOUNTS_MAX, "it has too many accounts")?;
        for (name, account) in &self.accounts {
            check(
                *name == account.username,
                "an account is filed under another name",
            )?;
            check(account.version.0 > 0, "an account has no version")?;
            let bound = account.customer.is_some();
            check(
                bound == (account.role == Role::Customer),
                "an account's role and customer do not fit",
            )?;
        }
        Ok(())
    }

    fn validate_sessions(&self) -> Result<(), Broken> {
        check(self.sessions.len() <= SESSIONS_MAX, "it has too many sessions")?;
        let mut by_end = BTreeSet::new();
        let mut of = BTreeMap::<_, BTreeSet<_>>::new();
        for (id, session) in &self.sessions {
            check(*id == session.id, "a session is filed under another id")?;
            check(
                self.accounts.contains_key(&session.account),
                "a session has no account",
            )?;
            check(session.generation > 0, "a session has no refresh token")?;
            let lasts = session.expires.0.saturating_sub(session.opened.0);
            check(
                (1..=SESSION_LIFETIME_MAX_US).contains(&lasts),
                "a session lasts too long",
            )?;
            by_end.insert((session.expires, *id));
            of.entry(session.account.clone())
                .or_default()
                .insert((session.opened, *id));
        }
        check(
            of.values().all(|own| own.len() <= SESSIONS_PER_ACCOUNT_MAX),
            "an account has too many sessions",
        )?;
        check(
            by_end == self.sessions_by_end,
            "the index of sessions by end is wrong",
        )?;
        check(
            of == self.sessions_of,
            "the index of sessions by account is wrong",
        )
    }

    fn validate_api_keys(&self) -> Result<(), Broken> {
        check(self.api_keys.len() <= API_KEYS_MAX, "it has too many API keys")?;
        let mut by_end = BTreeSet::new();
        let mut of = BTreeMap::<_, BTreeSet<_>>::new();
        for (id, key) in &self.api_keys {
            check(*id == key.id, "an API key is filed under another id")?;
            check(!key.scopes.is_empty(), "an API key has no scope")?;
            let account = self
                .accounts
                .get(&key.account)
                .ok_or_else(|| broken("an API key has no account"))?;
            // One that is revoked may be left from the account's role before.
            let within = account.role.scopes().covers(key.scopes);
            check(
                key.revoked.is_some() || within,
                "an API key may do what its account may not",
            )?;
            by_end.extend(key.end().map(|end| (end, *id)));
            of.entry(key.account.clone()).or_default().insert(*id);
        }
        check(
            of.values().all(|own| own.len() <= API_KEYS_PER_ACCOUNT_MAX),
            "an account has too many API keys",
        )?;
        check(
            by_end == self.api_keys_by_end,
            "the index of API keys by end is wrong",
        )?;
        check(
            of == self.api_keys_of,
            "the index of API keys by account is wrong",
        )
    }
}

fn check(holds: bool, why: &'static str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken(why)) }
}
