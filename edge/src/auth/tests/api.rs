//! `AuthService`, called as the gate calls it.

use docket_engine::access::Credential;
use docket_proto::v1::{self, auth_service_server::AuthService};
use tonic::{Code, Status, transport::server::TcpConnectInfo};
use tonic_types::StatusExt;

use super::*;

const PASSWORD: &str = "correct horse battery";

struct Served {
    world: World,
    api: AuthApi,
}

impl Served {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut AuthOptions)) -> Self {
        let mut world = World::new().await;
        change(&mut world.options);
        let api = AuthApi::new(world.access.clone(), &world.options, world.clock.clone()).unwrap();
        Self { world, api }
    }

    fn by(&self, account: &str, role: Role, method: &str) -> CallContext {
        let customer = self
            .world
            .access
            .read(|state| state.account(account).and_then(|a| a.customer.clone()));
        let principal = Principal {
            account: name(account),
            role,
            customer,
            scopes: role.scopes(),
            credential: Credential::ApiKey(ApiKeyId([1; 12])),
        };
        self.world.context(principal, method)
    }

    async fn register(&self, username: &str, role: v1::Role, customer: &str) -> Result<v1::Account, Status> {
        let message = v1::RegisterRequest {
            username: username.into(),
            password: PASSWORD.into(),
            role: role.into(),
            customer: customer.into(),
        };
        let request = asked(message, self.by("root", Role::Admin, "Register"));
        Ok(self.api.register(request).await?.into_inner())
    }

    async fn login(&self, username: &str, password: &str) -> Result<v1::Session, Status> {
        let message = v1::LoginRequest {
            username: username.into(),
            password: password.into(),
        };
        let mut request = tonic::Request::new(message);
        let remote_addr = Some("10.0.0.1:7".parse().unwrap());
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr,
        });
        Ok(self.api.login(request).await?.into_inner())
    }

    async fn refresh(&self, token: &str) -> Result<v1::Session, Status> {
        let request = tonic::Request::new(v1::RefreshRequest {
            refresh_token: token.into(),
        });
        Ok(self.api.refresh(request).await?.into_inner())
    }

    async fn logout(&self, token: &str) -> Result<(), Status> {
        let request = tonic::Request::new(v1::LogoutRequest {
            refresh_token: token.into(),
        });
        self.api.logout(request).await.map(|_| ())
    }

    async fn create_key(
        &self,
        by: CallContext,
        account: &str,
        scopes: &[v1::Scope],
    ) -> Result<v1::CreateApiKeyResponse, Status> {
        let message = v1::CreateApiKeyRequest {
            display_name: "a key".into(),
            account: account.into(),
            scopes: scopes.iter().map(|scope| i32::from(*scope)).collect(),
            expire_time: None,
        };
        Ok(self.api.create_api_key(asked(message, by)).await?.into_inner())
    }

    async fn list(&self, by: CallContext, size: i32, token: &str) -> Result<v1::ListApiKeysResponse, Status> {
        let message = v1::ListApiKeysRequest {
            page_size: size,
            page_token: token.into(),
        };
        Ok(self.api.list_api_keys(asked(message, by)).await?.into_inner())
    }
}

fn asked<T>(message: T, context: CallContext) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(context);
    request
}

#[track_caller]
fn check<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = answer.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (code, reason),
        "{status:?}"
    );
    assert_eq!(info.domain, "docket");
    status
}

#[tokio::test]
async fn an_account_logs_in_calls_refreshes_and_logs_out() {
    let served = Served::new().await;
    let account = served
        .register("ada", v1::Role::Customer, "customers/c1")
        .await
        .unwrap();
    assert_eq!(
        (account.name.as_str(), account.customer.as_str()),
        ("accounts/ada", "customers/c1")
    );
    check(
        served.register("ada", v1::Role::Service, "").await,
        Code::AlreadyExists,
        "USERNAME_TAKEN",
    );

    let first = served.login("ada", PASSWORD).await.unwrap();
    let principal = served.world.by_token(&first.access_token).unwrap();
    assert_eq!(
        (principal.account.as_str(), principal.role),
        ("ada", Role::Customer)
    );
    assert_eq!(first.access_expire_time.unwrap().seconds, START / S + 600);
    assert_eq!(
        first.refresh_expire_time.unwrap().seconds,
        START / S + 14 * 24 * 3_600
    );

    served.world.pass(700 * S);
    assert_eq!(
        served.world.by_token(&first.access_token),
        Err(AuthError::Expired)
    );
    let second = served.refresh(&first.refresh_token).await.unwrap();
    assert!(served.world.by_token(&second.access_token).is_ok());
    let third = served.refresh(&second.refresh_token).await.unwrap();
    assert_ne!(third.refresh_token, second.refresh_token);

    served.logout(&first.refresh_token).await.unwrap();
    assert_eq!(
        served.world.by_token(&third.access_token),
        Err(AuthError::Invalid)
    );
    check(
        served.refresh(&third.refresh_token).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    served.logout(&third.refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_the_session_for_both() {
    let served = Served::new().await;
    served.register("ada", v1::Role::Service, "").await.unwrap();
    let stolen = served.login("ada", PASSWORD).await.unwrap();
    let other = served.login("ada", PASSWORD).await.unwrap();
    let thief = served.refresh(&stolen.refresh_token).await.unwrap();
    check(
        served.refresh(&stolen.refresh_token).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    assert_eq!(
        served.world.by_token(&thief.access_token),
        Err(AuthError::Invalid)
    );
    assert_eq!(
        served.world.by_token(&stolen.access_token),
        Err(AuthError::Invalid)
    );
    check(
        served.refresh(&thief.refresh_token).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    assert!(
        served.world.by_token(&other.access_token).is_ok(),
        "another login goes on"
    );
}

#[tokio::test]
async fn two_uses_of_a_refresh_token_at_once_give_one_session_or_none() {
    let served = Served::new().await;
    served.register("ada", v1::Role::Service, "").await.unwrap();
    let session = served.login("ada", PASSWORD).await.unwrap();
    let (a, b) = tokio::join!(
        served.refresh(&session.refresh_token),
        served.refresh(&session.refresh_token)
    );
    assert_eq!([&a, &b].iter().filter(|answer| answer.is_ok()).count(), 1);
    let won = a.or(b).unwrap();
    assert_eq!(
        served.world.by_token(&won.access_token),
        Err(AuthError::Invalid),
        "the second use ended it"
    );
}

#[tokio::test]
async fn forged_and_old_refresh_tokens_are_refused() {
    let served = Served::with(|options| options.refresh_token_s = 60).await;
    served.register("ada", v1::Role::Service, "").await.unwrap();
    let session = served.login("ada", PASSWORD).await.unwrap();
    let forged = refresh_token::RefreshToken::generate().unwrap().text();
    check(
        served.refresh(forged.expose_secret()).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    check(
        served.refresh("dr_rubbish").await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    check(
        served.refresh(&session.access_token).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    check(
        served.refresh("").await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    check(
        served.logout("dr_rubbish").await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );

    // The id of a session that exists, with a secret that was never its.
    let id = &session.refresh_token[..36];
    let body = format!("{id}{}", &forged.expose_secret()[36..164]);
    let checksum: String = secret_text::sha256(body.as_bytes())[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let forged = format!("{body}_{checksum}");
    assert!(refresh_token::RefreshToken::parse(&forged).is_some());
    check(
        served.refresh(&forged).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    check(
        served.logout(&forged).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    assert!(
        served.world.by_token(&session.access_token).is_ok(),
        "a forgery ends nothing"
    );

    served.world.pass(60 * S);
    check(
        served.refresh(&session.refresh_token).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_EXPIRED",
    );
}

#[tokio::test]
async fn a_login_fails_the_same_for_every_reason() {
    let served = Served::new().await;
    served.register("ada", v1::Role::Service, "").await.unwrap();
    let wrong = check(
        served.login("ada", "wrong").await,
        Code::Unauthenticated,
        "LOGIN_FAILED",
    );
    let unknown = check(
        served.login("nobody", PASSWORD).await,
        Code::Unauthenticated,
        "LOGIN_FAILED",
    );
    let keys_only = check(
        served.login("root", PASSWORD).await,
        Code::Unauthenticated,
        "LOGIN_FAILED",
    );
    for other in [&unknown, &keys_only] {
        assert_eq!(
            (wrong.message(), wrong.details()),
            (other.message(), other.details())
        );
    }
    check(
        served.login("", "").await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    check(
        served.login("a/b", PASSWORD).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    check(
        served.login("ada", &"x".repeat(257)).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
}

#[tokio::test]
async fn a_login_that_is_tried_too_often_is_refused_whoever_it_is_for() {
    let served = Served::with(|options| options.login_burst = 2).await;
    for username in ["ada", "nobody"] {
        for _ in 0..2 {
            check(
                served.login(username, "wrong").await,
                Code::Unauthenticated,
                "LOGIN_FAILED",
            );
        }
        let status = check(
            served.login(username, "wrong").await,
            Code::ResourceExhausted,
            "TOO_MANY_LOGINS",
        );
        let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(retry.as_secs() <= 6 && !retry.is_zero(), "{retry:?}");
        assert_eq!(status.get_details_quota_failure().unwrap().violations.len(), 1);
    }
}

#[tokio::test]
async fn when_no_more_passwords_can_wait_a_login_is_refused_at_once() {
    let served = Served::with(|options| {
        (options.password_hashes_max, options.password_waiting_max) = (1, 0);
    })
    .await;
    let first = served.login("ada", PASSWORD);
    tokio::pin!(first);
    assert!(futures::poll!(first.as_mut()).is_pending());
    let status = check(
        served.login("bob", PASSWORD).await,
        Code::ResourceExhausted,
        "TOO_MANY_PASSWORDS",
    );
    assert!(status.get_details_retry_info().is_some());
    check(first.await, Code::Unauthenticated, "LOGIN_FAILED");
    check(
        served.login("bob", PASSWORD).await,
        Code::Unauthenticated,
        "LOGIN_FAILED",
    );
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_by_those_who_may() {
    let served = Served::new().await;
    served
        .register("ada", v1::Role::Customer, "customers/c1")
        .await
        .unwrap();
    served.register("bob", v1::Role::Service, "").await.unwrap();
    let ada = |method| served.by("ada", Role::Customer, method);
    let bob = |method| served.by("bob", Role::Service, method);
    let root = |method| served.by("root", Role::Admin, method);

    let made = served
        .create_key(ada("CreateApiKey"), "", &[v1::Scope::Read])
        .await
        .unwrap();
    let key = made.api_key.unwrap();
    assert_eq!(
        (key.account.as_str(), key.customer.as_str()),
        ("accounts/ada", "customers/c1")
    );
    assert_eq!(
        (key.role(), key.scopes().collect::<Vec<_>>()),
        (v1::Role::Customer, vec![v1::Scope::Read])
    );
    assert_eq!(served.world.by_key(&made.secret).unwrap().account.as_str(), "ada");

    // What another may not see answers as what is not there, to the byte.
    let hidden = check(
        served
            .create_key(ada("CreateApiKey"), "accounts/bob", &[v1::Scope::Read])
            .await,
        Code::NotFound,
        "ACCOUNT_NOT_FOUND",
    );
    let missing = check(
        served
            .create_key(ada("CreateApiKey"), "accounts/eve", &[v1::Scope::Read])
            .await,
        Code::NotFound,
        "ACCOUNT_NOT_FOUND",
    );
    assert_eq!(hidden.message(), missing.message());
    assert_eq!(
        String::from_utf8_lossy(hidden.details()).replace("bob", "eve"),
        String::from_utf8_lossy(missing.details())
    );
    let revoke = async |by: CallContext, name: &str| {
        let message = v1::RevokeApiKeyRequest { name: name.into() };
        served
            .api
            .revoke_api_key(asked(message, by))
            .await
            .map(tonic::Response::into_inner)
    };
    check(
        revoke(bob("RevokeApiKey"), &key.name).await,
        Code::NotFound,
        "API_KEY_NOT_FOUND",
    );
    check(
        revoke(bob("RevokeApiKey"), "apiKeys/0").await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );

    check(
        served
            .create_key(ada("CreateApiKey"), "", &[v1::Scope::Items])
            .await,
        Code::PermissionDenied,
        "BEYOND_CALLER",
    );
    check(
        served
            .create_key(root("CreateApiKey"), "accounts/ada", &[v1::Scope::Items])
            .await,
        Code::FailedPrecondition,
        "BEYOND_ROLE",
    );

    served
        .create_key(bob("CreateApiKey"), "", &[v1::Scope::Read])
        .await
        .unwrap();
    served
        .create_key(root("CreateApiKey"), "accounts/bob", &[v1::Scope::Orders])
        .await
        .unwrap();
    let of = |page: &v1::ListApiKeysResponse| {
        page.api_keys
            .iter()
            .map(|key| key.account.clone())
            .collect::<Vec<_>>()
    };
    let page = served.list(ada("ListApiKeys"), 0, "").await.unwrap();
    assert_eq!(
        (of(&page), page.next_page_token.as_str()),
        (vec!["accounts/ada".to_owned()], "")
    );
    let page = served.list(bob("ListApiKeys"), 1, "").await.unwrap();
    assert_eq!(page.api_keys.len(), 1);
    let rest = served
        .list(bob("ListApiKeys"), 1, &page.next_page_token)
        .await
        .unwrap();
    assert_eq!(
        (of(&rest), rest.next_page_token.as_str()),
        (vec!["accounts/bob".to_owned()], "")
    );
    assert_ne!(rest.api_keys[0].name, page.api_keys[0].name);
    check(
        served.list(ada("ListApiKeys"), 1, &page.next_page_token).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    check(
        served.list(ada("ListApiKeys"), -1, "").await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    let all = served.list(root("ListApiKeys"), 0, "").await.unwrap();
    assert_eq!(all.api_keys.len(), 4);
    assert!(all.api_keys.is_sorted_by(|a, b| a.name < b.name));

    let revoked = revoke(ada("RevokeApiKey"), &key.name).await.unwrap();
    assert!(revoked.revoke_time.is_some());
    assert_eq!(served.world.by_key(&made.secret), Err(AuthError::Invalid));
    assert_eq!(
        revoke(root("RevokeApiKey"), &key.name).await.unwrap(),
        revoked,
        "once is as good as twice"
    );
}

#[tokio::test]
async fn roles_are_given_by_administrators_and_end_what_was_before() {
    let served = Served::new().await;
    served.register("ada", v1::Role::Service, "").await.unwrap();
    let session = served.login("ada", PASSWORD).await.unwrap();
    let assign = async |by: CallContext, name: &str, role: v1::Role, customer: &str| {
        let message = v1::AssignRoleRequest {
            name: name.into(),
            role: role.into(),
            customer: customer.into(),
        };
        served
            .api
            .assign_role(asked(message, by))
            .await
            .map(tonic::Response::into_inner)
    };
    let root = || served.by("root", Role::Admin, "AssignRole");
    let account = assign(root(), "accounts/ada", v1::Role::Customer, "customers/c1")
        .await
        .unwrap();
    assert_eq!(
        (account.role(), account.customer.as_str()),
        (v1::Role::Customer, "customers/c1")
    );
    assert_eq!(
        served.world.by_token(&session.access_token),
        Err(AuthError::Invalid)
    );
    check(
        served.refresh(&session.refresh_token).await,
        Code::Unauthenticated,
        "REFRESH_TOKEN_INVALID",
    );
    let again = served.login("ada", PASSWORD).await.unwrap();
    assert_eq!(
        served.world.by_token(&again.access_token).unwrap().role,
        Role::Customer
    );

    let no_customer = assign(root(), "accounts/ada", v1::Role::Customer, "").await;
    check(no_customer, Code::InvalidArgument, "INVALID_ARGUMENT");
    let unknown = assign(root(), "accounts/eve", v1::Role::Service, "").await;
    check(unknown, Code::NotFound, "ACCOUNT_NOT_FOUND");
    let last = assign(root(), "accounts/root", v1::Role::Service, "").await;
    check(last, Code::FailedPrecondition, "LAST_WAY_IN");
    // Authenticated a moment ago as what it no longer is.
    let stale = served.by("ada", Role::Admin, "AssignRole");
    let stale = assign(stale, "accounts/ada", v1::Role::Admin, "").await;
    check(stale, Code::PermissionDenied, "ROLE_NOT_ALLOWED");
}

#[tokio::test]
async fn without_a_context_nobody_is_known_to_call() {
    let served = Served::new().await;
    let register = served
        .api
        .register(tonic::Request::new(v1::RegisterRequest::default()))
        .await;
    check(register, Code::Unauthenticated, "CREDENTIALS_MISSING");
    let list = served
        .api
        .list_api_keys(tonic::Request::new(v1::ListApiKeysRequest::default()))
        .await;
    check(list, Code::Unauthenticated, "CREDENTIALS_MISSING");
}

#[test]
fn settings_have_bounds() {
    assert_eq!(AuthOptions::default().validate(), Ok(()));
    let with = |change: fn(&mut AuthOptions)| {
        let mut options = AuthOptions::default();
        change(&mut options);
        options.validate().map_err(|error| error.option)
    };
    assert_eq!(with(|o| o.issuer = String::new()), Err("issuer"));
    assert_eq!(with(|o| o.audience = "a b".into()), Err("audience"));
    assert_eq!(with(|o| o.access_token_s = 3_601), Err("access_token_s"));
    assert_eq!(with(|o| o.refresh_token_s = 59), Err("refresh_token_s"));
    assert_eq!(with(|o| o.signing_key_s = 7_199), Err("signing_key_s"));
    assert_eq!(with(|o| o.password_hashes_max = 0), Err("password_hashes_max"));
    assert_eq!(
        with(|o| o.password_waiting_max = 1_025),
        Err("password_waiting_max")
    );
    assert_eq!(with(|o| o.login_burst = 0), Err("login_burst"));
    assert_eq!(with(|o| o.login_interval_s = 0), Err("login_interval_s"));
    assert_eq!(
        with(|o| o.login_remembered_max = 999),
        Err("login_remembered_max")
    );
    assert_eq!(with(|o| o.verified_max = 99), Err("verified_max"));
}
