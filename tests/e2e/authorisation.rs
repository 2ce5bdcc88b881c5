//! Who may do what, of the program that runs: every method of every service of the contract × who calls × whose it is.
//!
//! The methods come from the descriptor and the expectations from the permission table, so that a method without a row,
//! and a row that the program does not keep to, fail here. Messages are sent as bytes: no method needs code of its own.

use docket_engine::access::{Grant, METHOD_TABLE, Reach, Role, Scope, Scopes, rule_of};
use docket_proto::{
    api::auth::{role_to_proto, scope_to_proto},
    v1::{self, GetCustomerRequest, GetOrderRequest, ListOrdersRequest, WatchOrdersRequest},
};
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    api::{Api, Credentials, order, raw, reason},
    server::{Home, Server},
};

const PASSWORD: &str = "correct horse battery";

/// A server with customers `ada` and `bob`, who have accounts, and an account for each other role.
struct Shop {
    home: Home,
    server: Server,
    nobody: Api,
    admin: Api,
}

impl Shop {
    async fn open() -> Self {
        // There are more methods than a customer may call in a burst.
        let home = Home::new().set("limits.customer.burst", "1000");
        let server = Server::start(&home);
        let nobody = Api::connect(&server).await;
        let admin = Api::admin(&server, &home).await;
        admin.item("nut", 5, 1_000).await;
        for name in ["ada", "bob"] {
            admin.customer(name, 10_000).await;
        }
        let shop = Self {
            home,
            server,
            nobody,
            admin,
        };
        shop.register("ada", Role::Customer).await;
        shop.register("bob", Role::Customer).await;
        shop.register("bot", Role::Service).await;
        shop.register("ops", Role::Admin).await;
        shop
    }

    async fn register(&self, name: &str, role: Role) {
        let customer = if role == Role::Customer {
            format!("customers/{name}")
        } else {
            String::new()
        };
        let request = v1::RegisterRequest {
            username: name.into(),
            password: PASSWORD.into(),
            role: role_to_proto(role).into(),
            customer,
        };
        self.admin.auth().register(request).await.unwrap();
    }

    /// Calls with a new key of this account.
    async fn by(&self, account: &str, scopes: Scopes) -> Api {
        let request = v1::CreateApiKeyRequest {
            account: format!("accounts/{account}"),
            scopes: scopes.iter().map(|scope| scope_to_proto(scope).into()).collect(),
            ..Default::default()
        };
        let key = self.admin.auth().create_api_key(request).await.unwrap();
        self.nobody.by(Credentials::key(&key.into_inner().secret))
    }

    async fn by_role(&self, role: Role, scopes: Scopes) -> Api {
        let account = match role {
            Role::Customer => "ada",
            Role::Service => "bot",
            Role::Admin => "ops",
        };
        self.by(account, scopes).await
    }
}

/// Every method of the contract.
fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(docket_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    methods
}

/// A message that changes nothing, whoever sends it: most methods refuse it as incomplete, once they have let it in.
fn harmless(path: &str) -> Vec<u8> {
    if path.ends_with("/ListOrders") {
        // Without a customer it asks for everybody's.
        let customer = "customers/ada".into();
        return ListOrdersRequest {
            customer,
            ..Default::default()
        }
        .encode_to_vec();
    }
    if path.ends_with("/WatchOrders") {
        // It would go on for ever: refused for its token, once it was let in.
        return WatchOrdersRequest {
            resume_token: "x".into(),
            ..Default::default()
        }
        .encode_to_vec();
    }
    Vec::new()
}

/// Code and reason of a refusal that is about who calls; none where the caller was let in.
fn denial(answer: Result<Vec<u8>, Status>) -> Option<(Code, String)> {
    let status = answer.err()?;
    let about_the_caller = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
    about_the_caller.then(|| (status.code(), reason(&status)))
}

fn expected(grant: &Grant, role: Role, scopes: Scopes) -> Option<(Code, String)> {
    if grant.reach(role) == Reach::Nothing {
        return Some((Code::PermissionDenied, "ROLE_NOT_ALLOWED".into()));
    }
    (!scopes.has(grant.scope)).then(|| (Code::PermissionDenied, "SCOPE_MISSING".into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_lets_in_whom_the_table_says_and_nobody_else() {
    let shop = Shop::open().await;
    let methods = methods();
    assert!(methods.len() > 20, "the descriptor is whole");
    let stranger = shop.nobody.by(Credentials::key("dk_no_such_key"));
    let forged = shop.nobody.by(Credentials::token("eyJhbGciOiJub25lIn0.e30."));
    let mut callers = Vec::new();
    for role in Role::ALL {
        callers.push((role, role.scopes(), shop.by_role(role, role.scopes()).await));
        for missing in role.scopes().iter() {
            let rest: Scopes = role.scopes().iter().filter(|scope| *scope != missing).collect();
            callers.push((role, rest, shop.by_role(role, rest).await));
        }
    }
    let mut cells = 0;
    for path in &methods {
        let rule = rule_of(path).unwrap_or_else(|| panic!("{path} has no row in the permission table"));
        let Some(grant) = rule.grant else {
            // Who needs no credentials is refused for what is sent, and never for who sends it.
            let answer = raw(&shop.nobody, path, harmless(path)).await.unwrap_err();
            assert_eq!(answer.code(), Code::InvalidArgument, "{path}: {answer:?}");
            cells += 1;
            continue;
        };
        for (api, reason) in [
            (&shop.nobody, "CREDENTIALS_MISSING"),
            (&stranger, "CREDENTIALS_INVALID"),
            (&forged, "CREDENTIALS_INVALID"),
        ] {
            let answer = denial(raw(api, path, harmless(path)).await);
            assert_eq!(answer, Some((Code::Unauthenticated, reason.into())), "{path}");
            cells += 1;
        }
        for (role, scopes, api) in &callers {
            // With each scope missing in turn, only that of the method must make a difference.
            if scopes.has(grant.scope) && *scopes != role.scopes() {
                continue;
            }
            let answer = denial(raw(api, path, harmless(path)).await);
            assert_eq!(
                answer,
                expected(&grant, *role, *scopes),
                "{role} with {scopes:?} calls {path}"
            );
            cells += 1;
        }
    }
    let rows = METHOD_TABLE
        .iter()
        .filter(|row| row.path.starts_with("/docket."))
        .count();
    assert_eq!(rows, methods.len(), "a row without a method");
    println!("{} methods, {cells} cells", methods.len());
    shop.server.stop(&shop.home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_anothers_answers_as_what_does_not_exist() {
    let shop = Shop::open().await;
    let placed = shop
        .admin
        .orders()
        .place_order(order("r1", "bob", &[("nut", 1, 5)]))
        .await;
    let bobs = placed.unwrap().into_inner();
    let ada = shop.by("ada", Role::Customer.scopes()).await;
    let bob = shop.by("bob", Role::Customer.scopes()).await;
    let bot = shop.by("bot", Role::Service.scopes()).await;
    let nobodys = nobodys_order(&bobs.name);

    let customer = |name: &str| {
        let name = format!("customers/{name}");
        ("GetCustomer", GetCustomerRequest { name }.encode_to_vec())
    };
    let get = |name: &str| ("GetOrder", GetOrderRequest { name: name.into() }.encode_to_vec());
    let cancel = |name: &str| {
        let name = name.into();
        (
            "CancelOrder",
            v1::CancelOrderRequest {
                name,
                ..Default::default()
            }
            .encode_to_vec(),
        )
    };
    let place = |customer: &str| {
        (
            "PlaceOrder",
            order("r2", customer, &[("nut", 1, 5)]).encode_to_vec(),
        )
    };
    let cases = [
        (customer("bob"), customer("eve")),
        (get(&bobs.name), get(&nobodys)),
        (cancel(&bobs.name), cancel(&nobodys)),
        (place("bob"), place("eve")),
    ];
    for ((method, of_bob), (_, of_nobody)) in cases {
        let service = if method == "GetCustomer" {
            "CustomerService"
        } else {
            "OrderService"
        };
        let path = format!("/docket.v1.{service}/{method}");
        let hidden = raw(&ada, &path, of_bob.clone()).await.unwrap_err();
        let missing = raw(&ada, &path, of_nobody).await.unwrap_err();
        assert_eq!(hidden.code(), Code::NotFound, "{path}: {hidden:?}");
        assert_eq!(
            (
                hidden.code(),
                reason(&hidden),
                hidden.message().replace("bob", "eve")
            ),
            (
                missing.code(),
                reason(&missing),
                missing.message().replace(&nobodys[7..], &bobs.name[7..])
            ),
            "{path}"
        );
        for api in [&bot, &bob] {
            let answer = raw(api, &path, of_bob.clone()).await;
            assert!(answer.is_ok(), "{path}: {answer:?}");
        }
    }
    let listed = |api: &Api, customer: &str| {
        let request = ListOrdersRequest {
            customer: customer.into(),
            ..Default::default()
        };
        let mut orders = api.orders();
        async move {
            orders
                .list_orders(request)
                .await
                .map(|page| page.into_inner().orders)
        }
    };
    assert_eq!(listed(&ada, "customers/bob").await.unwrap(), []);
    assert_eq!(
        listed(&ada, "").await.unwrap_err().code(),
        Code::PermissionDenied,
        "everybody's orders"
    );
    assert_eq!(listed(&bob, "customers/bob").await.unwrap().len(), 2);
    assert_eq!(listed(&bot, "").await.unwrap().len(), 2);
    println!("4 methods about another's resource, and the lists");
    shop.server.stop(&shop.home);
}

/// The name of an order that does not exist, of the same slot and of the same length.
fn nobodys_order(name: &str) -> String {
    let mut nobodys = name.to_owned();
    let last = if nobodys.ends_with('0') { "1" } else { "0" };
    nobodys.replace_range(nobodys.len() - 1.., last);
    nobodys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_sessions_survive_a_restart_and_end_when_they_are_revoked() {
    let shop = Shop::open().await;
    let login = v1::LoginRequest {
        username: "ada".into(),
        password: PASSWORD.into(),
    };
    let session = shop.nobody.auth().login(login).await.unwrap().into_inner();
    let scopes = vec![scope_to_proto(Scope::Read).into()];
    let request = v1::CreateApiKeyRequest {
        account: "accounts/ada".into(),
        scopes,
        ..Default::default()
    };
    let key = shop
        .admin
        .auth()
        .create_api_key(request)
        .await
        .unwrap()
        .into_inner();
    shop.server.kill();

    let server = Server::start(&shop.home);
    let nobody = Api::connect(&server).await;
    let admin = Api::admin(&server, &shop.home).await;
    let get = |api: Api| async move {
        let name = "customers/ada".into();
        let got = api.customers().get_customer(GetCustomerRequest { name }).await;
        got.map(|customer| customer.into_inner().name)
    };
    let by_token = nobody.by(Credentials::token(&session.access_token));
    let by_key = nobody.by(Credentials::key(&key.secret));
    assert_eq!(get(by_token.clone()).await.unwrap(), "customers/ada");
    assert_eq!(get(by_key.clone()).await.unwrap(), "customers/ada");

    let refresh = |refresh_token: &str| {
        let refresh_token = refresh_token.into();
        let mut auth = nobody.auth();
        async move { auth.refresh(v1::RefreshRequest { refresh_token }).await }
    };
    let next = refresh(&session.refresh_token).await.unwrap().into_inner();
    let replayed = refresh(&session.refresh_token).await.unwrap_err();
    assert_eq!(reason(&replayed), "REFRESH_TOKEN_INVALID");
    assert!(
        refresh(&next.refresh_token).await.is_err(),
        "a token that is used twice ends its session"
    );
    let name = key.api_key.unwrap().name;
    admin
        .auth()
        .revoke_api_key(v1::RevokeApiKeyRequest { name })
        .await
        .unwrap();
    for ended in [by_token, by_key] {
        let refused = get(ended).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused)),
            (Code::Unauthenticated, "CREDENTIALS_INVALID".into())
        );
    }
    println!("a session and a key: used after SIGKILL and restart, then replayed, revoked and refused");
    server.stop(&shop.home);
}
