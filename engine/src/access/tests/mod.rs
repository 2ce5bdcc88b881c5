//! Decisions case by case, random histories against a plain model, and the table of who may call what.

mod cases;
mod model;
mod table;

use super::*;
use crate::{CustomerId, Time, Version};

/// A day, in microseconds.
const DAY: i64 = 86_400_000_000;

fn name(text: &str) -> Username {
    Username::new(text).unwrap()
}

fn customer(text: &str) -> CustomerId {
    CustomerId::new(text).unwrap()
}

fn hash(n: u8) -> SecretHash {
    SecretHash([n; 32])
}

fn session_id(n: u8) -> SessionId {
    SessionId([n; 16])
}

fn key_id(n: u8) -> ApiKeyId {
    ApiKeyId([n; 12])
}

fn signing_id(n: u8) -> SigningKeyId {
    SigningKeyId([n; 8])
}

fn password() -> PasswordHash {
    PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA").unwrap()
}

fn new_key(n: u8, scopes: Scopes, expires: Option<i64>) -> NewApiKey {
    NewApiKey {
        id: key_id(n),
        secret: hash(n),
        display_name: "a key".into(),
        scopes,
        expires: expires.map(Time),
    }
}

fn caller(account: &str, role: Role) -> Caller {
    Caller {
        account: name(account),
        role,
        scopes: role.scopes(),
    }
}

fn admin() -> Caller {
    caller("root", Role::Admin)
}

fn bootstrap() -> Request {
    Request::Bootstrap {
        username: name("root"),
        key: key_id(0),
        secret: hash(0),
    }
}

fn register(username: &str, role: Role, of: Option<&str>) -> Request {
    let (username, customer) = (name(username), of.map(customer));
    Request::Register {
        by: admin(),
        username,
        password: password(),
        role,
        customer,
    }
}

fn assign(account: &str, role: Role, of: Option<&str>) -> Request {
    Request::AssignRole {
        by: admin(),
        account: name(account),
        role,
        customer: of.map(customer),
    }
}

fn open(account: &str, n: u8, expires: i64) -> Request {
    let (account, session) = (name(account), session_id(n));
    let (family, token) = (hash(n), hash(100 + n));
    Request::OpenSession {
        account,
        version: Version(1),
        session,
        family,
        token,
        expires: Time(expires),
    }
}

fn refresh(n: u8, token: u8, next: u8, expires: i64) -> Request {
    let (session, family) = (session_id(n), hash(n));
    Request::Refresh {
        session,
        family,
        token: hash(token),
        next: hash(next),
        expires: Time(expires),
    }
}

fn create_key(by: Caller, account: &str, key: NewApiKey) -> Request {
    Request::CreateApiKey {
        by,
        account: name(account),
        key,
    }
}

fn revoke_key(by: Caller, n: u8) -> Request {
    Request::RevokeApiKey { by, key: key_id(n) }
}

fn signing_key(n: u8, replaces: Option<u8>) -> Request {
    Request::CreateSigningKey {
        key: signing_id(n),
        seed: SigningSeed([n; 32]),
        replaces: replaces.map(signing_id),
    }
}

/// Decides and applies, as the meta group does, and checks every invariant.
#[track_caller]
fn execute(state: &mut AccessState, time: i64, request: Request) -> Decision {
    let command = AccessCommand {
        time: Time(time),
        request,
    };
    let decision = state.decide(&command);
    if !decision.events.is_empty() {
        let record = state.record(&command, decision.events.clone());
        state.apply(&record).unwrap();
    }
    state.validate().unwrap();
    decision
}

/// The state after these commands at time 0, every one of which must be accepted.
#[track_caller]
fn given(requests: impl IntoIterator<Item = Request>) -> AccessState {
    let mut state = AccessState::default();
    for request in requests {
        let decision = execute(&mut state, 0, request);
        assert_eq!(decision.rejection, None);
    }
    state
}
