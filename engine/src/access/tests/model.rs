//! Random histories against a model that is written as plainly as can be: lists, no indexes, no events.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use crate::access::limits::*;

#[derive(Clone)]
struct ModelAccount {
    name: String,
    role: Role,
    customer: Option<String>,
    version: u64,
    has_password: bool,
}

#[derive(Clone)]
struct ModelSession {
    n: u8,
    account: String,
    token: u8,
    opened: i64,
    expires: i64,
}

#[derive(Clone)]
struct ModelKey {
    n: u8,
    account: String,
    scopes: Scopes,
    expires: i64,
    revoked: i64,
}

impl ModelKey {
    fn end(&self) -> i64 {
        self.expires.min(self.revoked)
    }
}

#[derive(Default)]
struct Model {
    now: i64,
    accounts: Vec<ModelAccount>,
    sessions: Vec<ModelSession>,
    keys: Vec<ModelKey>,
}

const NEVER: i64 = i64::MAX;
const NAMES: [&str; 4] = ["root", "ada", "bob", "eve"];

/// What the generator draws: small numbers, so that commands meet each other.
#[derive(Debug, Clone)]
enum Step {
    Register {
        by: usize,
        name: usize,
        role: Role,
        of: Option<u8>,
    },
    Assign {
        by: usize,
        name: usize,
        role: Role,
        of: Option<u8>,
    },
    Open {
        name: usize,
        stale: bool,
        n: u8,
        days: i64,
    },
    Refresh {
        n: u8,
        token: Option<u8>,
        next: u8,
        days: i64,
    },
    Logout {
        n: u8,
        forged: bool,
    },
    CreateKey {
        by: usize,
        name: usize,
        n: u8,
        scopes: u8,
        days: Option<i64>,
    },
    RevokeKey {
        by: usize,
        n: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let role = || prop::sample::select(Role::ALL.to_vec());
    let of = || prop::option::of(0..2u8);
    let who = || 0..NAMES.len();
    let step = prop_oneof![
        2 => (who(), who(), role(), of()).prop_map(|(by, name, role, of)| Step::Register { by, name, role, of }),
        1 => (who(), who(), role(), of()).prop_map(|(by, name, role, of)| Step::Assign { by, name, role, of }),
        4 => (who(), any::<bool>(), 0..24u8, -1..100i64)
            .prop_map(|(name, stale, n, days)| Step::Open { name, stale: stale && n < 4, n, days }),
        3 => (0..24u8, prop::option::of(0..8u8), 0..8u8, 0..100i64)
            .prop_map(|(n, token, next, days)| Step::Refresh { n, token, next, days }),
        1 => (0..24u8, prop::bool::weighted(0.2)).prop_map(|(n, forged)| Step::Logout { n, forged }),
        3 => (who(), who(), 0..8u8, 0..64u8, prop::option::of(-1..60i64))
            .prop_map(|(by, name, n, scopes, days)| Step::CreateKey { by, name, n, scopes, days }),
        2 => (who(), 0..8u8).prop_map(|(by, n)| Step::RevokeKey { by, n }),
    ];
    let wait = prop_oneof![6 => 0..DAY / 24, 1 => 0..40 * DAY];
    prop::collection::vec((wait, step), 1..120)
}

fn scopes_of(bits: u8) -> Scopes {
    Scope::ALL
        .into_iter()
        .enumerate()
        .filter(|(i, _)| bits & (1 << i) != 0)
        .map(|(_, scope)| scope)
        .collect()
}

impl Model {
    fn account(&self, name: &str) -> Option<&ModelAccount> {
        self.accounts.iter().find(|account| account.name == name)
    }

    fn way_in(&self) -> bool {
        let admins: Vec<_> = self
            .accounts
            .iter()
            .filter(|account| account.role == Role::Admin)
            .collect();
        let by_key = |account: &&ModelAccount| {
            let lasting = |key: &&ModelKey| key.end() == NEVER && key.scopes == Role::Admin.scopes();
            self.keys
                .iter()
                .filter(lasting)
                .any(|key| key.account == account.name)
        };
        admins
            .iter()
            .any(|account| account.has_password || by_key(account))
    }

    /// The caller as it is; one that has no account claims to be an administrator.
    fn caller(&self, by: usize) -> Caller {
        caller(
            NAMES[by],
            self.account(NAMES[by])
                .map_or(Role::Admin, |account| account.role),
        )
    }

    fn request(&self, step: &Step) -> Request {
        let customer_of = |of: &Option<u8>| of.map(|n| customer(&format!("c{n}")));
        match step {
            Step::Register {
                by,
                name: who,
                role,
                of,
            } => Request::Register {
                by: self.caller(*by),
                username: name(NAMES[*who]),
                password: password(),
                role: *role,
                customer: customer_of(of),
            },
            Step::Assign {
                by,
                name: who,
                role,
                of,
            } => Request::AssignRole {
                by: self.caller(*by),
                account: name(NAMES[*who]),
                role: *role,
                customer: customer_of(of),
            },
            Step::Open {
                name: who,
                stale,
                n,
                days,
            } => Request::OpenSession {
                account: name(NAMES[*who]),
                version: Version(self.account(NAMES[*who]).map_or(1, |a| a.version) + u64::from(*stale)),
                session: session_id(*n),
                family: hash(*n),
                token: hash(100),
                expires: Time(self.now + days * DAY),
            },
            Step::Refresh { n, token, next, days } => {
                let newest = self.sessions.iter().find(|s| s.n == *n).map_or(100, |s| s.token);
                let token = token.map_or(newest, |t| 100 + t);
                refresh(*n, token, 100 + next, self.now + days * DAY)
            }
            Step::Logout { n, forged } => Request::Logout {
                session: session_id(*n),
                family: hash(if *forged { 99 } else { *n }),
            },
            Step::CreateKey {
                by,
                name: who,
                n,
                scopes,
                days,
            } => {
                let key = new_key(*n, scopes_of(*scopes), days.map(|days| self.now + days * DAY));
                create_key(self.caller(*by), NAMES[*who], key)
            }
            Step::RevokeKey { by, n } => revoke_key(self.caller(*by), *n),
        }
    }

    /// Does what the step says, or says why not. `Ok(false)`: nothing to do.
    fn run(&mut self, step: &Step) -> Result<bool, AccessRejection> {
        use AccessRejection::*;
        let now = self.now;
        match step {
            Step::Register {
                by,
                name: who,
                role,
                of,
            } => {
                self.check_assigns(*by)?;
                if self.account(NAMES[*who]).is_some() {
                    return Err(UsernameTaken);
                }
                let customer = customer_for(*role, *of)?;
                let name = NAMES[*who].to_owned();
                self.accounts.push(ModelAccount {
                    name,
                    role: *role,
                    customer,
                    version: 1,
                    has_password: true,
                });
            }
            Step::Assign {
                by,
                name: who,
                role,
                of,
            } => {
                self.check_assigns(*by)?;
                let at = self
                    .accounts
                    .iter()
                    .position(|a| a.name == NAMES[*who])
                    .ok_or(AccountNotFound)?;
                let customer = customer_for(*role, *of)?;
                let before = self.accounts[at].clone();
                if before.role == *role && before.customer == customer {
                    return Ok(false);
                }
                let after = ModelAccount {
                    role: *role,
                    customer,
                    version: before.version + 1,
                    ..before.clone()
                };
                self.accounts[at] = after;
                if before.role == Role::Admin && !self.way_in() {
                    self.accounts[at] = before;
                    return Err(LastWayIn);
                }
                self.sessions.retain(|session| session.account != NAMES[*who]);
                for key in self.keys.iter_mut().filter(|key| key.account == NAMES[*who]) {
                    key.revoked = key.revoked.min(now);
                }
            }
            Step::Open {
                name: who,
                stale,
                n,
                days,
            } => {
                self.account(NAMES[*who]).ok_or(AccountNotFound)?;
                if *stale {
                    return Err(AccountChanged);
                }
                if *days <= 0 {
                    return Err(ExpiryPassed);
                }
                if self.sessions.iter().any(|session| session.n == *n) {
                    return Err(IdTaken);
                }
                let own = self
                    .sessions
                    .iter()
                    .filter(|session| session.account == NAMES[*who]);
                if own.clone().count() == SESSIONS_PER_ACCOUNT_MAX {
                    let oldest = own.min_by_key(|session| (session.opened, session.n)).unwrap().n;
                    self.sessions.retain(|session| session.n != oldest);
                }
                let expires = (now + days * DAY).min(now + SESSION_LIFETIME_MAX_US);
                let account = NAMES[*who].to_owned();
                self.sessions.push(ModelSession {
                    n: *n,
                    account,
                    token: 100,
                    opened: now,
                    expires,
                });
            }
            Step::Refresh { n, token, next, days } => {
                let at = self
                    .sessions
                    .iter()
                    .position(|session| session.n == *n)
                    .ok_or(RefreshTokenUnknown)?;
                let session = &mut self.sessions[at];
                if session.expires <= now {
                    return Err(RefreshTokenExpired);
                }
                if token.is_some_and(|token| 100 + token != session.token) {
                    self.sessions.remove(at);
                    return Err(RefreshTokenReplayed);
                }
                if *days <= 0 {
                    return Err(ExpiryPassed);
                }
                session.token = 100 + next;
                session.expires = (now + days * DAY).min(session.opened + SESSION_LIFETIME_MAX_US);
            }
            Step::Logout { n, forged } => {
                let Some(at) = self.sessions.iter().position(|session| session.n == *n) else {
                    return Ok(false);
                };
                if *forged {
                    return Err(RefreshTokenUnknown);
                }
                self.sessions.remove(at);
            }
            Step::CreateKey {
                by,
                name: who,
                n,
                scopes,
                days,
            } => {
                let scopes = scopes_of(*scopes);
                let caller = self.account(NAMES[*by]).ok_or(CallerRole)?;
                if !caller.role.scopes().covers(scopes) {
                    return Err(BeyondCaller);
                }
                if by != who && caller.role != Role::Admin {
                    return Err(AccountNotFound);
                }
                let account = self.account(NAMES[*who]).ok_or(AccountNotFound)?;
                if days.is_some_and(|days| days <= 0) {
                    return Err(ExpiryPassed);
                }
                if scopes.is_empty() {
                    return Err(NoScopes);
                }
                if !account.role.scopes().covers(scopes) {
                    return Err(BeyondRole);
                }
                if self.keys.iter().any(|key| key.n == *n) {
                    return Err(IdTaken);
                }
                let expires = days.map_or(NEVER, |days| now + days * DAY);
                let account = NAMES[*who].to_owned();
                self.keys.push(ModelKey {
                    n: *n,
                    account,
                    scopes,
                    expires,
                    revoked: NEVER,
                });
            }
            Step::RevokeKey { by, n } => {
                let caller = self.account(NAMES[*by]).ok_or(CallerRole)?;
                let sees = |key: &ModelKey| caller.role == Role::Admin || key.account == NAMES[*by];
                let at = self
                    .keys
                    .iter()
                    .position(|key| key.n == *n && sees(key))
                    .ok_or(ApiKeyNotFound)?;
                if self.keys[at].end() <= now {
                    return Ok(false);
                }
                self.keys[at].revoked = now;
                if !self.way_in() {
                    self.keys[at].revoked = NEVER;
                    return Err(LastWayIn);
                }
            }
        }
        Ok(true)
    }

    fn check_assigns(&self, by: usize) -> Result<(), AccessRejection> {
        let caller = self
            .account(NAMES[by])
            .filter(|account| account.role == Role::Admin);
        caller.map(|_| ()).ok_or(AccessRejection::CallerRole)
    }

    fn prune(&mut self) {
        self.sessions.retain(|session| session.expires > self.now);
        self.keys
            .retain(|key| key.end().saturating_add(DEAD_API_KEY_KEPT_US) > self.now);
    }

    fn check(&self, state: &AccessState) {
        let now = Time(self.now);
        for who in NAMES {
            let found = state
                .account(who)
                .map(|a| (a.role, a.customer.clone().map(|c| c.to_string()), a.version.0));
            assert_eq!(
                found,
                self.account(who).map(|a| (a.role, a.customer.clone(), a.version)),
                "{who}"
            );
        }
        for n in 0..24 {
            let session = self.sessions.iter().find(|session| session.n == n);
            let live = session.filter(|session| session.expires > self.now);
            let version = live
                .and_then(|live| self.account(&live.account))
                .map_or(1, |account| account.version);
            let found = state.session_principal(session_id(n), Version(version), now);
            assert_eq!(
                found.map(|p| p.account.to_string()),
                live.map(|s| s.account.clone()),
                "session {n}"
            );
        }
        for n in 0..8 {
            let key = self.keys.iter().find(|key| key.n == n);
            let found = state
                .api_key_principal(key_id(n), now)
                .map(|p| (p.account.to_string(), p.scopes));
            let live = key
                .filter(|key| key.end() > self.now)
                .map(|key| (key.account.clone(), key.scopes));
            assert_eq!(found, live, "key {n}");
            assert_eq!(
                state.api_key(key_id(n)).is_some(),
                key.is_some(),
                "key {n} is listed"
            );
        }
    }
}

fn customer_for(role: Role, of: Option<u8>) -> Result<Option<String>, AccessRejection> {
    match (role, of) {
        (Role::Customer, None) => Err(AccessRejection::CustomerMissing),
        (Role::Customer, Some(n)) => Ok(Some(format!("c{n}"))),
        (_, None) => Ok(None),
        (_, Some(_)) => Err(AccessRejection::CustomerUnexpected),
    }
}

fn run_history(history: &[(i64, Step)], seen: &mut BTreeSet<String>) {
    let (mut model, mut state) = (Model::default(), given([bootstrap()]));
    model.accounts.push(ModelAccount {
        name: "root".to_owned(),
        role: Role::Admin,
        customer: None,
        version: 1,
        has_password: false,
    });
    let (scopes, expires) = (Role::Admin.scopes(), NEVER);
    model.keys.push(ModelKey {
        n: 0,
        account: "root".to_owned(),
        scopes,
        expires,
        revoked: NEVER,
    });
    let mut replica = state.clone();
    for (wait, step) in history {
        model.now += wait;
        let command = AccessCommand {
            time: Time(model.now),
            request: model.request(step),
        };
        let decision = state.decide(&command);
        let expected = model.run(step);
        assert_eq!(decision.rejection, expected.err(), "{step:?}");
        if !decision.events.is_empty() {
            let record = state.record(&command, decision.events.clone());
            state.apply(&record).unwrap();
            replica.apply(&record).unwrap();
            model.prune();
        }
        seen.extend(decision.rejection.map(|rejection| format!("{rejection:?}")));
        seen.extend(
            decision
                .events
                .iter()
                .map(|event| format!("{event:?}").split([' ', '(']).next().unwrap().to_owned()),
        );
        state.validate().unwrap();
        model.check(&state);
    }
    assert_eq!(state, replica);
}

proptest! {
    #[test]
    fn random_histories_go_as_the_model_says(history in steps()) {
        run_history(&history, &mut BTreeSet::new());
    }
}

#[test]
fn random_histories_reach_every_rule() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let history = steps().new_tree(&mut runner).unwrap().current();
        run_history(&history, &mut seen);
    }
    let expected = [
        "AccountChanged",
        "AccountCreated",
        "AccountNotFound",
        "ApiKeyCreated",
        "ApiKeyForgotten",
        "ApiKeyNotFound",
        "ApiKeyRevoked",
        "BeyondCaller",
        "BeyondRole",
        "CallerRole",
        "CustomerMissing",
        "CustomerUnexpected",
        "ExpiryPassed",
        "IdTaken",
        "LastWayIn",
        "NoScopes",
        "RefreshTokenExpired",
        "RefreshTokenReplayed",
        "RefreshTokenUnknown",
        "RoleAssigned",
        "SessionEnded",
        "SessionOpened",
        "SessionRefreshed",
        "UsernameTaken",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
