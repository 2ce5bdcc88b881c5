//! Authentication as a whole, over a state that is committed as soon as it is asked for.

mod api;
mod cost;
mod credentials;
mod external;
mod jwt_attacks;
mod signing;
mod table;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use bytes::Bytes;
use docket_actors::access::{Access, AccessLog, AccessMachine, BoxFuture};
use docket_cluster::{Entry, ProposeError, ReadError, StateMachine};
use docket_engine::{
    CustomerId, Time, Version,
    access::{
        AccessCommand, ApiKeyId, Caller, NewApiKey, PasswordHash, Principal, Request, Role, Scope, Scopes,
        SecretHash, SessionId, SigningKey, Username, rule_of,
    },
};
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use super::{token::Tokens, *};
use crate::CallContext;

const S: i64 = 1_000_000;
const DAY: i64 = 24 * 3_600 * S;
/// When every test begins: 2026.
const START: i64 = 1_795_000_000 * S;

/// A log that applies at once.
struct Immediate {
    machine: AccessMachine,
    index: AtomicU64,
}

impl AccessLog for Immediate {
    fn barrier(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async { Ok(()) })
    }

    fn propose(&self, record: Bytes) -> BoxFuture<'_, Result<Bytes, ProposeError>> {
        let index = self.index.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            Ok(self.machine.apply(Entry {
                index,
                term: 1,
                payload: &record,
            }))
        })
    }
}

/// A node's authentication, with an administrator `root` whose key has the id 1.
struct World {
    access: Access,
    options: AuthOptions,
    time: Arc<AtomicI64>,
    clock: Clock,
    authenticator: Authenticator,
}

impl World {
    async fn new() -> Self {
        let machine = AccessMachine::new();
        let access = Access::new(
            &machine.clone(),
            Immediate {
                machine,
                index: AtomicU64::new(1),
            },
        );
        let time = Arc::new(AtomicI64::new(START));
        let clock = Clock::new({
            let time = Arc::clone(&time);
            move || Time(time.load(Ordering::Relaxed))
        });
        let options = AuthOptions {
            issuer: "us".into(),
            audience: "them".into(),
            ..AuthOptions::default()
        };
        let authenticator = Authenticator::new(access.clone(), &options, clock.clone());
        let world = Self {
            access,
            options,
            time,
            clock,
            authenticator,
        };
        let (username, key) = (name("root"), ApiKeyId([1; 12]));
        world
            .execute(Request::Bootstrap {
                username,
                key,
                secret: SecretHash([1; 32]),
            })
            .await;
        world
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn pass(&self, us: i64) {
        self.time.fetch_add(us, Ordering::Relaxed);
    }

    async fn execute(&self, request: Request) {
        self.access
            .execute(&AccessCommand {
                time: self.now(),
                request,
            })
            .await
            .unwrap();
    }

    /// An account whose password nobody has.
    async fn register(&self, username: &str, role: Role, customer: Option<&str>) {
        let password = PasswordHash::new("$argon2id$none").unwrap();
        let customer = customer.map(|id| CustomerId::new(id).unwrap());
        self.execute(Request::Register {
            by: root(),
            username: name(username),
            password,
            role,
            customer,
        })
        .await;
    }

    async fn assign(&self, username: &str, role: Role) {
        self.execute(Request::AssignRole {
            by: root(),
            account: name(username),
            role,
            customer: None,
        })
        .await;
    }

    async fn open_session(&self, username: &str, id: u8) -> SessionId {
        let (session, expires) = (SessionId([id; 16]), Time(self.now().0 + 30 * DAY));
        let (family, token) = (SecretHash([id; 32]), SecretHash([id; 32]));
        let (account, version) = (name(username), Version(1));
        self.execute(Request::OpenSession {
            account,
            version,
            session,
            family,
            token,
            expires,
        })
        .await;
        session
    }

    async fn create_key(&self, username: &str, scopes: &[Scope], expires: Option<Time>) -> ApiKeyText {
        let key = ApiKeyText::generate().unwrap();
        let new = NewApiKey {
            id: key.id(),
            secret: key.hash(),
            display_name: "a key".into(),
            scopes: Scopes::of(scopes),
            expires,
        };
        self.execute(Request::CreateApiKey {
            by: root(),
            account: name(username),
            key: new,
        })
        .await;
        key
    }

    async fn signing_key(&self) -> Arc<SigningKey> {
        self.tokens().signing_key(self.now()).await.unwrap()
    }

    fn tokens(&self) -> Tokens {
        Tokens::new(self.access.clone(), &self.options)
    }

    /// An access token as this node makes them.
    async fn token(&self, username: &str, session: SessionId) -> String {
        let key = self.signing_key().await;
        let account = self
            .access
            .read(|state| state.account(username).cloned())
            .unwrap();
        let minted = self.tokens().mint(&key, &account, session, self.now()).unwrap();
        minted.text.expose_secret().to_owned()
    }

    fn by_token(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        self.authenticator.authenticate_at(&bearer(token), self.now())
    }

    fn by_key(&self, key: &str) -> Result<Arc<Principal>, AuthError> {
        self.authenticator
            .authenticate_at(&headers(&[("x-api-key", key)]), self.now())
    }

    /// The context in which the gate calls this method.
    fn context(&self, principal: Principal, method: &str) -> CallContext {
        let rule = rule_of(&format!("/docket.v1.AuthService/{method}")).unwrap();
        CallContext {
            principal: Arc::new(principal),
            grant: rule.grant.as_ref().unwrap(),
            deadline: None,
            trace: None,
            address: None,
            scope: None,
        }
    }
}

fn name(text: &str) -> Username {
    Username::new(text).unwrap()
}

fn root() -> Caller {
    Caller {
        account: name("root"),
        role: Role::Admin,
        scopes: Role::Admin.scopes(),
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (header, value) in pairs {
        headers.append(*header, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}
