//! The requests of `AuthService` taken apart, and its replies made. Nothing here prints a secret.

use std::{fmt, sync::Arc};

use docket_engine::{
    CustomerId, Time,
    access::{
        Account, ApiKey, ApiKeyId, Role, Scope, Scopes, Username,
        limits::{KEY_NAME_BYTES_MAX, USERNAME_BYTES_MAX},
    },
};
use prost_types::Timestamp;

use super::{
    check::{Check, Checked},
    names::{customer_name, parse_customer_name},
    page_token::page_token,
    show::timestamp,
};
use crate::v1;

/// The fewest bytes of a password.
pub const PASSWORD_BYTES_MIN: usize = 12;
/// The most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// The most bytes of a text that should be a refresh token; ours are shorter.
pub const REFRESH_TOKEN_BYTES_MAX: usize = 256;

const ACCOUNT: &str = "must have the form accounts/{username}";
const API_KEY: &str = "must have the form apiKeys/{id}";
/// The end of the year 9999, the last that a timestamp has, in seconds.
const TIMESTAMP_SECONDS_MAX: i64 = 253_402_300_799;
const US_PER_S: i64 = 1_000_000;

/// A `RegisterRequest`. The password stays in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The account's name.
    pub username: Username,
    /// What it may do.
    pub role: Role,
    /// Whose data it is.
    pub customer: Option<CustomerId>,
}

/// A `CreateApiKeyRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateApiKey {
    /// For people.
    pub display_name: Arc<str>,
    /// The account that it acts for; the caller's where not set.
    pub account: Option<Username>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it ends.
    pub expires: Option<Time>,
}

/// A `ListApiKeysRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListApiKeys {
    /// Where the page before ended.
    pub after: Option<ApiKeyId>,
    /// At most this many.
    pub limit: usize,
}

/// An `AssignRoleRequest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignRole {
    /// Which account.
    pub account: Username,
    /// What it may do.
    pub role: Role,
    /// Whose data it is.
    pub customer: Option<CustomerId>,
}

/// Takes a `RegisterRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn register(request: &v1::RegisterRequest) -> Checked<Register> {
    let mut check = Check::default();
    let username = check.ok("username", Username::new(&request.username));
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&request.password.len()) {
        let rule = format!("must have {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes");
        check.violation("password", rule);
    }
    let standing = standing(&mut check, request.role, &request.customer);
    let register = || {
        let (role, customer) = standing?;
        Some(Register {
            username: username?,
            role,
            customer,
        })
    };
    check.done(register())
}

/// Takes a `LoginRequest` apart. The password stays in the request.
///
/// # Errors
/// Everything that is wrong with it. It says nothing about what accounts there are.
pub fn login(request: &v1::LoginRequest) -> Checked<Username> {
    let mut check = Check::default();
    let username = check.ok("username", Username::new(&request.username));
    // What is too short for a new password is merely wrong here; what is too long would cost time.
    if request.password.is_empty() {
        check.violation("password", "must not be empty");
    } else if request.password.len() > PASSWORD_BYTES_MAX {
        check.violation(
            "password",
            format!("must have at most {PASSWORD_BYTES_MAX} bytes"),
        );
    }
    check.done(username)
}

/// Checks that a request has something that may be a refresh token.
///
/// # Errors
/// Where it is empty or too long.
pub fn refresh_token(token: &str) -> Checked<&str> {
    let mut check = Check::default();
    if token.is_empty() {
        check.violation("refresh_token", "is required");
    } else if token.len() > REFRESH_TOKEN_BYTES_MAX {
        check.violation(
            "refresh_token",
            format!("must have at most {REFRESH_TOKEN_BYTES_MAX} bytes"),
        );
    }
    check.done(Some(token))
}

/// Takes a `CreateApiKeyRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn create_api_key(request: &v1::CreateApiKeyRequest) -> Checked<CreateApiKey> {
    let mut check = Check::default();
    let name = check.line_of_text("display_name", &request.display_name, KEY_NAME_BYTES_MAX);
    let account = match request.account.as_str() {
        "" => Some(None),
        account => account_in(&mut check, "account", account).map(Some),
    };
    let scopes = scopes(&mut check, &request.scopes);
    let expires = match &request.expire_time {
        None => Some(None),
        Some(at) => time_in(&mut check, "expire_time", at).map(Some),
    };
    let create = || {
        Some(CreateApiKey {
            display_name: name?,
            account: account?,
            scopes: scopes?,
            expires: expires?,
        })
    };
    check.done(create())
}

/// Takes a `RevokeApiKeyRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn revoke_api_key(request: &v1::RevokeApiKeyRequest) -> Checked<ApiKeyId> {
    let mut check = Check::default();
    let id = request
        .name
        .strip_prefix("apiKeys/")
        .and_then(|id| id.parse().ok());
    if id.is_none() {
        check.violation("name", API_KEY);
    }
    check.done(id)
}

/// Takes a `ListApiKeysRequest` apart, for a caller that sees the keys of this account, or (`None`) of all.
///
/// # Errors
/// Everything that is wrong with it.
pub fn list_api_keys(request: &v1::ListApiKeysRequest, account: Option<&Username>) -> Checked<ListApiKeys> {
    let mut check = Check::default();
    let limit = check.page_size(request.page_size);
    let after = check.page_token(&key_query(account), &request.page_token, |last| last.parse().ok());
    let list = || {
        Some(ListApiKeys {
            after: after?,
            limit: limit?,
        })
    };
    check.done(list())
}

/// The token of the page of API keys behind `last`.
pub fn next_api_key_page(account: Option<&Username>, last: ApiKeyId) -> String {
    page_token(&key_query(account), &last.to_string())
}

/// Takes an `AssignRoleRequest` apart.
///
/// # Errors
/// Everything that is wrong with it.
pub fn assign_role(request: &v1::AssignRoleRequest) -> Checked<AssignRole> {
    let mut check = Check::default();
    let account = account_in(&mut check, "name", &request.name);
    let standing = standing(&mut check, request.role, &request.customer);
    let assign = || {
        let (role, customer) = standing?;
        Some(AssignRole {
            account: account?,
            role,
            customer,
        })
    };
    check.done(assign())
}

/// An account as the API shows it.
pub fn account_to_proto(account: &Account) -> v1::Account {
    v1::Account {
        name: account_name(&account.username),
        role: role_to_proto(account.role).into(),
        customer: account.customer.as_ref().map(customer_name).unwrap_or_default(),
        create_time: Some(timestamp(account.created)),
    }
}

/// An API key as the API shows it, with the account that it acts for.
pub fn api_key_to_proto(key: &ApiKey, account: &Account) -> v1::ApiKey {
    v1::ApiKey {
        name: api_key_name(key.id),
        display_name: key.display_name.to_string(),
        account: account_name(&key.account),
        role: role_to_proto(account.role).into(),
        customer: account.customer.as_ref().map(customer_name).unwrap_or_default(),
        scopes: key
            .scopes
            .iter()
            .map(|scope| scope_to_proto(scope).into())
            .collect(),
        create_time: Some(timestamp(key.created)),
        expire_time: key.expires.map(timestamp),
        revoke_time: key.revoked.map(timestamp),
    }
}

/// `accounts/{username}`.
pub fn account_name(username: &Username) -> String {
    format!("accounts/{username}")
}

/// `apiKeys/{id}`.
pub fn api_key_name(id: ApiKeyId) -> String {
    format!("apiKeys/{id}")
}

/// A role as the API names it.
pub fn role_to_proto(role: Role) -> v1::Role {
    match role {
        Role::Customer => v1::Role::Customer,
        Role::Service => v1::Role::Service,
        Role::Admin => v1::Role::Admin,
    }
}

/// A scope as the API names it.
pub fn scope_to_proto(scope: Scope) -> v1::Scope {
    match scope {
        Scope::Read => v1::Scope::Read,
        Scope::Orders => v1::Scope::Orders,
        Scope::Customers => v1::Scope::Customers,
        Scope::Items => v1::Scope::Items,
        Scope::Access => v1::Scope::Access,
        Scope::Operations => v1::Scope::Operations,
    }
}

/// Role and customer, which go together.
fn standing(check: &mut Check, role: i32, customer: &str) -> Option<(Role, Option<CustomerId>)> {
    let role = match v1::Role::try_from(role) {
        Ok(v1::Role::Customer) => Some(Role::Customer),
        Ok(v1::Role::Service) => Some(Role::Service),
        Ok(v1::Role::Admin) => Some(Role::Admin),
        Ok(v1::Role::Unspecified) | Err(_) => {
            check.violation("role", "must be CUSTOMER, SERVICE or ADMIN");
            None
        }
    };
    let customer = match (role, customer) {
        (Some(Role::Service | Role::Admin), "") => Some(None),
        (Some(Role::Service | Role::Admin), _) => {
            check.violation("customer", "must be empty: only the role CUSTOMER has a customer");
            None
        }
        (Some(Role::Customer) | None, name) => check.ok("customer", parse_customer_name(name)).map(Some),
    };
    Some((role?, customer?))
}

fn account_in(check: &mut Check, field: &str, name: &str) -> Option<Username> {
    let username = name
        .strip_prefix("accounts/")
        .and_then(|username| Username::new(username).ok());
    if username.is_none() {
        let rule = format!("{ACCOUNT}, with a username of 1 to {USERNAME_BYTES_MAX} of a-z A-Z 0-9 . _ - @");
        check.violation(field, rule);
    }
    username
}

fn scopes(check: &mut Check, numbers: &[i32]) -> Option<Scopes> {
    if numbers.is_empty() {
        check.violation("scopes", "must name at least one scope");
        return None;
    }
    // A set: what is named twice counts once, and more than there are cannot be new.
    let known = |number: &i32| {
        Scope::ALL
            .into_iter()
            .find(|scope| scope_to_proto(*scope) as i32 == *number)
    };
    let scopes: Option<Scopes> = numbers.iter().map(known).collect();
    if scopes.is_none() {
        check.violation(
            "scopes",
            "may only name READ, ORDERS, CUSTOMERS, ITEMS, ACCESS and OPERATIONS",
        );
    }
    scopes
}

pub(super) fn time_in(check: &mut Check, field: &str, at: &Timestamp) -> Option<Time> {
    let in_range =
        (0..=TIMESTAMP_SECONDS_MAX).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos);
    if !in_range {
        check.violation(field, "must be a time from 1970 to 9999");
        return None;
    }
    Some(Time(at.seconds * US_PER_S + i64::from(at.nanos) / 1_000))
}

fn key_query(account: Option<&Username>) -> String {
    match account {
        None => "apiKeys".to_owned(),
        Some(account) => format!("apiKeys of {account}"),
    }
}

/// Messages with a secret in them print what else they have.
macro_rules! redacted {
    ($($message:ident: $($field:ident),*;)+) => {
        $(impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        })+
    };
}

redacted! {
    RegisterRequest: username, role, customer;
    LoginRequest: username;
    Session: access_expire_time, refresh_expire_time;
    RefreshRequest:;
    LogoutRequest:;
    CreateApiKeyResponse: api_key;
    CreateWebhookResponse: webhook;
    RotateWebhookSecretResponse: webhook;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: fmt::Debug>(answer: Checked<T>, fields: &[&str]) {
        let found: Vec<_> = match answer {
            Ok(_) => Vec::new(),
            Err(violations) => violations.into_iter().map(|violation| violation.field).collect(),
        };
        assert_eq!(found, fields);
    }

    fn register_request() -> v1::RegisterRequest {
        v1::RegisterRequest {
            username: "ada".into(),
            password: "correct horse".into(),
            role: v1::Role::Customer.into(),
            customer: "customers/c1".into(),
        }
    }

    #[test]
    fn a_registration_says_everything_that_is_wrong_with_it() {
        check(register(&register_request()), &[]);
        check(
            register(&v1::RegisterRequest::default()),
            &["username", "password", "role", "customer"],
        );
        let with = |change: fn(&mut v1::RegisterRequest)| {
            let mut request = register_request();
            change(&mut request);
            register(&request)
        };
        check(with(|r| r.username = "a b".into()), &["username"]);
        check(with(|r| r.username = "a".repeat(65)), &["username"]);
        check(with(|r| r.password = "x".repeat(11)), &["password"]);
        check(with(|r| r.password = "x".repeat(257)), &["password"]);
        check(with(|r| r.role = 17), &["role"]);
        check(with(|r| r.customer = String::new()), &["customer"]);
        check(with(|r| r.customer = "c1".into()), &["customer"]);
        check(with(|r| r.role = v1::Role::Admin.into()), &["customer"]);
    }

    #[test]
    fn an_api_key_says_everything_that_is_wrong_with_it() {
        let good = || v1::CreateApiKeyRequest {
            display_name: "für Ada".into(),
            account: "accounts/ada".into(),
            scopes: vec![v1::Scope::Read.into(), v1::Scope::Read.into()],
            expire_time: Some(Timestamp {
                seconds: 1,
                nanos: 2_000,
            }),
        };
        let parsed = create_api_key(&good()).unwrap();
        assert_eq!(
            (parsed.scopes, parsed.expires),
            (Scopes::of(&[Scope::Read]), Some(Time(1_000_002)))
        );
        let with = |change: fn(&mut v1::CreateApiKeyRequest)| {
            let mut request = good();
            change(&mut request);
            create_api_key(&request)
        };
        check(with(|r| r.display_name = "x".repeat(129)), &["display_name"]);
        check(with(|r| r.display_name = "a\nb".into()), &["display_name"]);
        check(with(|r| r.account = "ada".into()), &["account"]);
        check(with(|r| r.account = "accounts/".into()), &["account"]);
        check(with(|r| r.scopes.clear()), &["scopes"]);
        check(with(|r| r.scopes.push(0)), &["scopes"]);
        check(with(|r| r.scopes.push(7)), &["scopes"]);
        check(
            with(|r| {
                r.expire_time = Some(Timestamp {
                    seconds: -1,
                    nanos: 0,
                })
            }),
            &["expire_time"],
        );
        check(
            with(|r| {
                r.expire_time = Some(Timestamp {
                    seconds: i64::MAX,
                    nanos: 0,
                })
            }),
            &["expire_time"],
        );
        check(
            with(|r| {
                r.expire_time = Some(Timestamp {
                    seconds: 1,
                    nanos: -1,
                })
            }),
            &["expire_time"],
        );
    }

    #[test]
    fn names_and_tokens_have_a_form() {
        let revoke = |name: &str| revoke_api_key(&v1::RevokeApiKeyRequest { name: name.into() });
        let id = ApiKeyId([7; 12]);
        assert_eq!(revoke(&api_key_name(id)), Ok(id));
        for name in [
            "",
            "apiKeys/",
            "apiKeys/x",
            &api_key_name(id)[1..],
            &format!("{}0", api_key_name(id)),
        ] {
            check(revoke(name), &["name"]);
        }
        check(
            assign_role(&v1::AssignRoleRequest::default()),
            &["name", "role", "customer"],
        );
        check(login(&v1::LoginRequest::default()), &["username", "password"]);
        check(refresh_token(""), &["refresh_token"]);
        check(refresh_token(&"x".repeat(257)), &["refresh_token"]);

        let list = |page_token: String, account| {
            list_api_keys(
                &v1::ListApiKeysRequest {
                    page_size: 0,
                    page_token,
                },
                account,
            )
        };
        let (ada, bob) = (Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let token = next_api_key_page(Some(&ada), id);
        assert_eq!(list(token.clone(), Some(&ada)).unwrap().after, Some(id));
        check(list(token.clone(), Some(&bob)), &["page_token"]);
        check(list(token, None), &["page_token"]);
    }

    #[test]
    fn no_message_prints_a_secret() {
        let session = v1::Session {
            access_token: "S3CRET".into(),
            refresh_token: "S3CRET".into(),
            ..Default::default()
        };
        let created = v1::CreateApiKeyResponse {
            api_key: None,
            secret: "S3CRET".into(),
        };
        let login = v1::LoginRequest {
            username: "ada".into(),
            password: "S3CRET".into(),
        };
        let register = v1::RegisterRequest {
            password: "S3CRET".into(),
            ..register_request()
        };
        let (refresh, logout) = ("S3CRET".to_owned(), "S3CRET".to_owned());
        let (refresh, logout) = (
            v1::RefreshRequest {
                refresh_token: refresh,
            },
            v1::LogoutRequest {
                refresh_token: logout,
            },
        );
        let printed = format!("{session:?} {created:?} {login:?} {register:?} {refresh:?} {logout:?}");
        assert!(!printed.contains("S3CRET"), "{printed}");
        assert!(printed.contains("ada"));
    }
}
