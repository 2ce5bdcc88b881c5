//! `AuthService`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use docket_actors::access::{Access, AccessError};
use docket_audit::{Audit, Denial, Entry};
use docket_engine::{
    Time,
    access::{
        AccessCommand, AccessRejection, ApiKeyId, NewApiKey, Owner, Request as Ask, SessionId, SigningKey,
        Username, permit,
    },
};
use docket_proto::{
    api::{
        auth::{self, account_name, api_key_name},
        show::timestamp,
    },
    v1::{self, auth_service_server::AuthService},
};
use secrecy::{ExposeSecret, SecretString};
use tonic::{Request, Response, Status};

use super::{
    ApiKeyText, AuthOptions, AuthOptionsError, Clock,
    password::{PasswordError, Passwords},
    refresh_token::RefreshToken,
    refusal::{Subject, login_failed, refresh_token_invalid, refusal_of, too_many_logins},
    signing::SigningKeyText,
    throttle::Throttle,
    token::{MintError, Tokens},
};
use crate::{
    CallContext, Refusal,
    audit::{self, Change},
    services::{accept, context},
};

const US_PER_S: i64 = 1_000_000;

/// Accounts, sessions and API keys over gRPC. Cloning it is cheap.
#[derive(Clone)]
pub struct AuthApi {
    inner: Arc<Inner>,
    audit: Audit,
}

struct Inner {
    access: Access,
    tokens: Tokens,
    passwords: Passwords,
    throttle: Throttle,
    refresh_lifetime_us: i64,
    clock: Clock,
}

/// Why there is no `AuthService`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthApiError {
    /// A setting that cannot be.
    #[error(transparent)]
    Options(#[from] AuthOptionsError),
    /// Passwords cannot be hashed here.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
}

impl AuthApi {
    /// The service over this state. Takes as long as hashing one password.
    ///
    /// # Errors
    /// Where a setting cannot be, or passwords cannot be hashed.
    pub fn new(access: Access, options: &AuthOptions, clock: Clock) -> Result<Self, AuthApiError> {
        options.validate()?;
        let lifetime_s = i64::try_from(options.refresh_token_s).unwrap_or(i64::MAX);
        Ok(Self {
            inner: Arc::new(Inner {
                tokens: Tokens::new(access.clone(), options),
                passwords: Passwords::new(options.password_hashes_max, options.password_waiting_max)?,
                throttle: Throttle::new(options),
                refresh_lifetime_us: lifetime_s.saturating_mul(US_PER_S),
                access,
                clock,
            }),
            audit: Audit::off(),
        })
    }

    /// The same, of which it is recorded who changes what, and who logs in.
    pub fn audited(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// What came of somebody's try to log in. Whoever tries a name that there is not may have mistaken it for the password.
    fn logged_in(&self, address: Option<IpAddr>, username: &str, outcome: Result<&v1::Session, &Refusal>) {
        let is_known = self.inner.access.read(|state| state.account(username).is_some());
        let target = match is_known {
            true => format!("accounts/{username}"),
            false => "accounts/(unknown)".to_owned(),
        };
        match outcome {
            Ok(_) => {
                let who = audit::nobody(address);
                self.audit.note(Entry::new(who, "account.login", target));
            }
            Err(refusal) => self.audit.denied(Denial {
                who: audit::nobody(address),
                action: "account.login".to_owned(),
                target,
                reason: refusal.reason().to_owned(),
                outcome: audit::outcome_of(refusal),
            }),
        }
    }
}

/// How often it is looked whether another key is to sign.
const KEEP_SIGNING_KEY: Duration = Duration::from_secs(1);

impl AuthApi {
    /// From now on this key is to sign: it is published at once, and signs when it was published for long enough.
    pub fn sign_with(&self, key: SigningKeyText) {
        self.inner.tokens.sign_with(key);
    }

    /// Makes the next key in time, so that it is published before anybody logs in. Never ends. Only the leader of the accounts can; the
    /// others look.
    pub async fn keep_signing_key(&self) {
        let Inner { tokens, clock, .. } = &*self.inner;
        let mut told = None;
        loop {
            tokio::time::sleep(KEEP_SIGNING_KEY).await;
            if !tokens.has_key() {
                continue;
            }
            let failed = match tokens.make_due_key(clock.now()).await {
                Ok(()) | Err(MintError::Access(AccessError::NotLeader)) => None,
                Err(problem) => Some(problem),
            };
            if let Some(problem) = failed.as_ref().filter(|_| failed != told) {
                tracing::warn!(%problem, "the next key for access tokens cannot be made yet; it is tried again");
            }
            told = failed;
        }
    }
}

impl Inner {
    async fn register(
        &self,
        context: CallContext,
        wanted: auth::Register,
        password: SecretString,
    ) -> Result<v1::Account, Refusal> {
        let auth::Register {
            username,
            role,
            customer,
        } = wanted;
        let password = self.passwords.hash(password).await?;
        let by = context.principal.caller();
        let ask = Ask::Register {
            by,
            username: username.clone(),
            password,
            role,
            customer,
        };
        self.execute(self.clock.now(), ask, &Subject::Account(&username))
            .await?;
        self.account(&username)
    }

    async fn login(
        &self,
        address: Option<IpAddr>,
        request: v1::LoginRequest,
    ) -> Result<v1::Session, Refusal> {
        let username = accept(auth::login(&request))?;
        self.throttle.take(&username, address).map_err(|retry_after| {
            logged_in("throttled");
            too_many_logins(retry_after)
        })?;
        let found = self
            .access
            .read(|state| state.account(username.as_str()).cloned());
        let hash = found.as_ref().and_then(|account| account.password.as_ref());
        let verified = self.passwords.verify(request.password.into(), hash).await;
        let verified = verified.inspect_err(|_| logged_in("not_verified"))?;
        let Some(account) = found.filter(|_| verified) else {
            logged_in("refused");
            return Err(login_failed());
        };
        let now = self.clock.now();
        let key = self.tokens.signing_key(now).await?;
        let token = RefreshToken::generate()?;
        let ask = Ask::OpenSession {
            account: username.clone(),
            version: account.version,
            session: token.session(),
            family: token.family(),
            token: token.token(),
            expires: self.refresh_expiry(now),
        };
        self.execute(now, ask, &Subject::Account(&username)).await?;
        logged_in("ok");
        self.session(&key, &token, now)
    }

    async fn refresh(&self, request: v1::RefreshRequest) -> Result<v1::Session, Refusal> {
        let token = self.refresh_token(request.refresh_token)?;
        let now = self.clock.now();
        let key = self.tokens.signing_key(now).await?;
        let next = token.next()?;
        let ask = Ask::Refresh {
            session: token.session(),
            family: token.family(),
            token: token.token(),
            next: next.token(),
            expires: self.refresh_expiry(now),
        };
        self.execute(now, ask, &Subject::Session(token.session())).await?;
        self.session(&key, &next, now)
    }

    async fn logout(&self, request: v1::LogoutRequest) -> Result<v1::LogoutResponse, Refusal> {
        let token = self.refresh_token(request.refresh_token)?;
        let ask = Ask::Logout {
            session: token.session(),
            family: token.family(),
        };
        self.execute(self.clock.now(), ask, &Subject::Session(token.session()))
            .await?;
        Ok(v1::LogoutResponse {})
    }

    async fn create_api_key(
        &self,
        context: CallContext,
        account: Username,
        wanted: auth::CreateApiKey,
    ) -> Result<v1::CreateApiKeyResponse, Refusal> {
        let subject = Subject::Account(&account);
        // Another's account is not there for who may not see it.
        permit(
            &context.principal,
            context.grant,
            Owner::Account(account.as_str()),
        )
        .map_err(|_| refusal_of(AccessRejection::AccountNotFound, &subject))?;
        let key = ApiKeyText::generate()?;
        let new = NewApiKey {
            id: key.id(),
            secret: key.hash(),
            display_name: wanted.display_name,
            scopes: wanted.scopes,
            expires: wanted.expires,
        };
        let by = context.principal.caller();
        let ask = Ask::CreateApiKey {
            by,
            account: account.clone(),
            key: new,
        };
        self.execute(self.clock.now(), ask, &subject).await?;
        let secret = key.text().expose_secret().to_owned();
        Ok(v1::CreateApiKeyResponse {
            api_key: Some(self.api_key(key.id())?),
            secret,
        })
    }

    async fn revoke_api_key(&self, context: CallContext, id: ApiKeyId) -> Result<v1::ApiKey, Refusal> {
        let ask = Ask::RevokeApiKey {
            by: context.principal.caller(),
            key: id,
        };
        self.execute(self.clock.now(), ask, &Subject::ApiKey(id)).await?;
        self.api_key(id)
    }

    fn list_api_keys(
        &self,
        context: &CallContext,
        request: &v1::ListApiKeysRequest,
    ) -> Result<v1::ListApiKeysResponse, Refusal> {
        let principal = &context.principal;
        let all = permit(principal, context.grant, Owner::Everybody).is_ok();
        let account = (!all).then_some(&principal.account);
        let auth::ListApiKeys { after, limit } = accept(auth::list_api_keys(request, account))?;
        let (api_keys, last) = self.access.read(|state| {
            let mut keys = state.api_keys(account.map(Username::as_str), after).peekable();
            let mut page = Vec::new();
            let mut last = None;
            while let Some(key) = keys.next_if(|_| page.len() < limit) {
                last = Some(key.id);
                let account = state.account(key.account.as_str());
                page.extend(account.map(|account| auth::api_key_to_proto(key, account)));
            }
            (page, last.filter(|_| keys.peek().is_some()))
        });
        let next_page_token = last
            .map(|last| auth::next_api_key_page(account, last))
            .unwrap_or_default();
        Ok(v1::ListApiKeysResponse {
            api_keys,
            next_page_token,
        })
    }

    async fn assign_role(
        &self,
        context: CallContext,
        wanted: auth::AssignRole,
    ) -> Result<v1::Account, Refusal> {
        let auth::AssignRole {
            account,
            role,
            customer,
        } = wanted;
        let by = context.principal.caller();
        let ask = Ask::AssignRole {
            by,
            account: account.clone(),
            role,
            customer,
        };
        self.execute(self.clock.now(), ask, &Subject::Account(&account))
            .await?;
        self.account(&account)
    }

    async fn execute(&self, now: Time, request: Ask, subject: &Subject<'_>) -> Result<(), Refusal> {
        let done = self.access.execute(&AccessCommand { time: now, request }).await;
        done.map_err(|error| match error {
            AccessError::Rejected(rejection) => refusal_of(rejection, subject),
            other => other.into(),
        })
    }

    /// The session that a refresh token belongs to, and its account.
    fn session_of(&self, text: &str) -> Option<(Username, SessionId)> {
        let session = RefreshToken::parse(auth::refresh_token(text).ok()?)?.session();
        self.access
            .read(|state| Some((state.session(session)?.account.clone(), session)))
    }

    fn refresh_token(&self, text: String) -> Result<RefreshToken, Refusal> {
        let text = SecretString::from(text);
        let text = accept(auth::refresh_token(text.expose_secret()))?;
        RefreshToken::parse(text).ok_or_else(refresh_token_invalid)
    }

    fn refresh_expiry(&self, now: Time) -> Time {
        Time(now.0.saturating_add(self.refresh_lifetime_us))
    }

    /// The pair of tokens for a session as it is now.
    fn session(&self, key: &SigningKey, token: &RefreshToken, now: Time) -> Result<v1::Session, Refusal> {
        let found = self.access.read(|state| {
            let session = state.session(token.session())?;
            Some((
                Arc::clone(state.account(session.account.as_str())?),
                session.expires,
            ))
        });
        // It may have ended since.
        let (account, expires) = found.ok_or_else(refresh_token_invalid)?;
        let access = self.tokens.mint(key, &account, token.session(), now)?;
        Ok(v1::Session {
            access_token: access.text.expose_secret().to_owned(),
            access_expire_time: Some(timestamp(access.expires)),
            refresh_token: token.text().expose_secret().to_owned(),
            refresh_expire_time: Some(timestamp(expires)),
        })
    }

    fn account(&self, username: &Username) -> Result<v1::Account, Refusal> {
        let shown = self
            .access
            .read(|state| Some(auth::account_to_proto(state.account(username.as_str())?)));
        shown.ok_or_else(|| refusal_of(AccessRejection::AccountNotFound, &Subject::Account(username)))
    }

    fn api_key(&self, id: ApiKeyId) -> Result<v1::ApiKey, Refusal> {
        let shown = self.access.read(|state| {
            let key = state.api_key(id)?;
            Some(auth::api_key_to_proto(key, state.account(key.account.as_str())?))
        });
        shown.ok_or_else(|| refusal_of(AccessRejection::ApiKeyNotFound, &Subject::ApiKey(id)))
    }
}

#[tonic::async_trait]
impl AuthService for AuthApi {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::Account>, Status> {
        let (context, message) = with_context(request)?;
        let wanted = accept(auth::register(&message))?;
        let change = Change::of(&context, "account.register", account_name(&wanted.username));
        let registered = self.inner.register(context, wanted, message.password.into());
        reply(change.run(&self.audit, registered).await)
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Result<Response<v1::Session>, Status> {
        let address = request.remote_addr().map(|address| address.ip());
        let message = request.into_inner();
        let username = message.username.clone();
        let session = self.inner.login(address, message).await;
        self.logged_in(address, &username, session.as_ref());
        reply(session)
    }

    async fn refresh(&self, request: Request<v1::RefreshRequest>) -> Result<Response<v1::Session>, Status> {
        reply(self.inner.refresh(request.into_inner()).await)
    }

    async fn logout(
        &self,
        request: Request<v1::LogoutRequest>,
    ) -> Result<Response<v1::LogoutResponse>, Status> {
        let address = request.remote_addr().map(|address| address.ip());
        let message = request.into_inner();
        let session = self.inner.session_of(&message.refresh_token);
        let ended = self.inner.logout(message).await;
        if let Some((account, session)) = session.filter(|_| ended.is_ok()) {
            let entry = Entry::new(audit::nobody(address), "account.logout", account_name(&account));
            self.audit.note(entry.detail("session", session.to_string()));
        }
        reply(ended)
    }

    async fn create_api_key(
        &self,
        request: Request<v1::CreateApiKeyRequest>,
    ) -> Result<Response<v1::CreateApiKeyResponse>, Status> {
        let (context, message) = with_context(request)?;
        let mut wanted = accept(auth::create_api_key(&message))?;
        let account = wanted.account.take();
        let account = account.unwrap_or_else(|| context.principal.account.clone());
        let change = Change::of(&context, "key.create", account_name(&account));
        let created = self.inner.create_api_key(context, account, wanted);
        let created = change.run_and_tell(&self.audit, created, |created, entry| {
            let key = created.api_key.as_ref();
            entry.detail("key", key.map(|key| key.name.clone()).unwrap_or_default())
        });
        reply(created.await)
    }

    async fn revoke_api_key(
        &self,
        request: Request<v1::RevokeApiKeyRequest>,
    ) -> Result<Response<v1::ApiKey>, Status> {
        let (context, message) = with_context(request)?;
        let id = accept(auth::revoke_api_key(&message))?;
        let change = Change::of(&context, "key.revoke", api_key_name(id));
        let revoked = self.inner.revoke_api_key(context, id);
        let revoked = change.run_and_tell(&self.audit, revoked, |key, entry| {
            entry.detail("account", key.account.clone())
        });
        reply(revoked.await)
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let (context, message) = with_context(request)?;
        reply(self.inner.list_api_keys(&context, &message))
    }

    async fn assign_role(
        &self,
        request: Request<v1::AssignRoleRequest>,
    ) -> Result<Response<v1::Account>, Status> {
        let (context, message) = with_context(request)?;
        let wanted = accept(auth::assign_role(&message))?;
        let change = Change::of(&context, "role.assign", account_name(&wanted.account));
        let assigned = self.inner.assign_role(context, wanted);
        let assigned = change.run_and_tell(&self.audit, assigned, |account, entry| {
            entry.detail("role", account.role().as_str_name())
        });
        reply(assigned.await)
    }
}

/// The message and who sent it.
fn with_context<T>(request: Request<T>) -> Result<(CallContext, T), Refusal> {
    Ok((context(&request)?, request.into_inner()))
}

fn reply<T>(answer: Result<T, Refusal>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(Status::from)
}

/// Counts a login by what became of it.
fn logged_in(outcome: &'static str) {
    metrics::counter!("docket_auth_logins_total", "outcome" => outcome).increment(1);
}
