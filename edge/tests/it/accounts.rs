//! From the first key to a customer's order, with the node's own accounts.

use std::fs;

use docket_audit::Outcome;
use docket_edge::auth::{Clock, create_admin_key};
use docket_proto::v1::{
    AssignRoleRequest, CreateApiKeyRequest, LoginRequest, LogoutRequest, RefreshRequest, RegisterRequest,
    RevokeApiKeyRequest, Role, Scope, WatchOrdersRequest, auth_service_client::AuthServiceClient,
    order_service_client::OrderServiceClient,
};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{nuts, reason, recorded, seed, start_audited, start_with_accounts, with};

#[tokio::test]
async fn what_is_no_name_is_not_in_the_audit_log_of_changes() {
    let (server, folder) = start_audited().await;
    let admin = create_admin_key(server.docket.access(), Clock::system().now()).await;
    let admin = admin.unwrap().unwrap();
    let admin = admin.expose_secret();
    let mut auth = AuthServiceClient::new(server.connect().await);
    let mut codes = Vec::new();
    // A whole key where its name belongs, in each place that takes a name.
    for name in [admin.to_owned(), format!("apiKeys/{admin}")] {
        let revoke = RevokeApiKeyRequest { name: name.clone() };
        let revoked = auth.revoke_api_key(with("x-api-key", admin, revoke)).await;
        codes.push(revoked.unwrap_err().code());
        let key = CreateApiKeyRequest {
            account: name.clone(),
            scopes: vec![Scope::Read.into()],
            ..Default::default()
        };
        let made = auth.create_api_key(with("x-api-key", admin, key)).await;
        codes.push(made.unwrap_err().code());
        let role = AssignRoleRequest {
            name: name.clone(),
            role: Role::Service.into(),
            ..Default::default()
        };
        let assigned = auth.assign_role(with("x-api-key", admin, role)).await;
        codes.push(assigned.unwrap_err().code());
        let account = RegisterRequest {
            username: format!("{name} "),
            password: "correct horse battery".into(),
            role: Role::Service.into(),
            ..Default::default()
        };
        let registered = auth.register(with("x-api-key", admin, account)).await;
        codes.push(registered.unwrap_err().code());
    }
    assert_eq!(codes, [Code::InvalidArgument; 8]);
    // What is one is there as it is called.
    let bob = RegisterRequest {
        username: "bob".into(),
        password: "correct horse battery".into(),
        role: Role::Service.into(),
        ..Default::default()
    };
    auth.register(with("x-api-key", admin, bob)).await.unwrap();
    let registered = recorded(&folder, "account.register", Outcome::Done).await;
    assert_eq!(registered.target, "accounts/bob");
    for entry in fs::read_dir(&folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(admin), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_customer_logs_in_orders_and_logs_out() {
    let server = start_with_accounts().await;
    let admin = create_admin_key(server.docket.access(), Clock::system().now())
        .await
        .unwrap()
        .unwrap();
    let admin = admin.expose_secret();
    let channel = server.connect().await;
    seed(channel.clone(), admin).await;

    let mut auth = AuthServiceClient::new(channel.clone());
    let mut orders = OrderServiceClient::new(channel);
    let password = "correct horse battery".to_owned();
    let ada = RegisterRequest {
        username: "ada@example".into(),
        password: password.clone(),
        role: Role::Customer.into(),
        customer: "customers/ada".into(),
    };
    auth.register(with("x-api-key", admin, ada)).await.unwrap();
    let login = |password: &str| LoginRequest {
        username: "ada@example".into(),
        password: password.into(),
    };
    let wrong = auth.login(login("incorrect horse battery")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    let session = auth.login(login(&password)).await.unwrap().into_inner();

    let bearer = format!("Bearer {}", session.access_token);
    let placed = orders
        .place_order(with("authorization", &bearer, nuts("one", "ada", 1)))
        .await
        .unwrap();
    assert_eq!(placed.into_inner().customer, "customers/ada");
    let of_bob = orders
        .place_order(with("authorization", &bearer, nuts("two", "bob", 1)))
        .await
        .unwrap_err();
    assert_eq!(
        (of_bob.code(), reason(&of_bob).as_str()),
        (Code::NotFound, "CUSTOMER_NOT_FOUND")
    );

    let refresh = RefreshRequest {
        refresh_token: session.refresh_token.clone(),
    };
    let next = auth.refresh(refresh.clone()).await.unwrap().into_inner();
    let replayed = auth.refresh(refresh).await.unwrap_err();
    assert_eq!(replayed.code(), Code::Unauthenticated);
    let bearer = format!("Bearer {}", next.access_token);
    let ended = orders
        .place_order(with("authorization", &bearer, nuts("three", "ada", 1)))
        .await
        .unwrap_err();
    assert_eq!(
        ended.code(),
        Code::Unauthenticated,
        "the replay of a refresh token ends its session"
    );

    let session = auth.login(login(&password)).await.unwrap().into_inner();
    auth.logout(LogoutRequest {
        refresh_token: session.refresh_token,
    })
    .await
    .unwrap();
    let bearer = format!("Bearer {}", session.access_token);
    let ended = orders
        .place_order(with("authorization", &bearer, nuts("four", "ada", 1)))
        .await
        .unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test]
async fn an_api_key_is_good_for_its_scopes_until_it_is_revoked() {
    let server = start_with_accounts().await;
    let admin = create_admin_key(server.docket.access(), Clock::system().now())
        .await
        .unwrap()
        .unwrap();
    let admin = admin.expose_secret();
    let channel = server.connect().await;
    seed(channel.clone(), admin).await;
    let mut auth = AuthServiceClient::new(channel.clone());
    let mut orders = OrderServiceClient::new(channel);

    let ask = |scope: Scope| CreateApiKeyRequest {
        display_name: "for a test".into(),
        scopes: vec![scope.into()],
        ..Default::default()
    };
    let reading = auth
        .create_api_key(with("x-api-key", admin, ask(Scope::Read)))
        .await
        .unwrap()
        .into_inner();
    let ordering = auth
        .create_api_key(with("x-api-key", admin, ask(Scope::Orders)))
        .await
        .unwrap()
        .into_inner();
    let refused = orders
        .place_order(with("x-api-key", &reading.secret, nuts("one", "ada", 1)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "SCOPE_MISSING")
    );
    orders
        .place_order(with("x-api-key", &ordering.secret, nuts("one", "ada", 1)))
        .await
        .unwrap();

    let revoke = RevokeApiKeyRequest {
        name: ordering.api_key.unwrap().name,
    };
    auth.revoke_api_key(with("x-api-key", admin, revoke))
        .await
        .unwrap();
    let ended = orders
        .place_order(with("x-api-key", &ordering.secret, nuts("two", "ada", 1)))
        .await
        .unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unauthenticated, "CREDENTIALS_INVALID")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_key_that_opened_it() {
    let server = start_with_accounts().await;
    let admin = create_admin_key(server.docket.access(), Clock::system().now())
        .await
        .unwrap()
        .unwrap();
    let admin = admin.expose_secret();
    let channel = server.connect().await;
    seed(channel.clone(), admin).await;
    let mut auth = AuthServiceClient::new(channel.clone());
    let ask = CreateApiKeyRequest {
        display_name: "for a stream".into(),
        scopes: vec![Scope::Orders.into()],
        ..Default::default()
    };
    let key = auth
        .create_api_key(with("x-api-key", admin, ask))
        .await
        .unwrap()
        .into_inner();

    let (sender, receiver) = mpsc::channel(1);
    let request = with("x-api-key", &key.secret, ReceiverStream::new(receiver));
    sender.send(nuts("first", "ada", 1)).await.unwrap();
    let mut answers = OrderServiceClient::new(channel)
        .place_orders(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().request_id, "first");
    let revoke = RevokeApiKeyRequest {
        name: key.api_key.unwrap().name,
    };
    auth.revoke_api_key(with("x-api-key", admin, revoke))
        .await
        .unwrap();
    // A credential holds for a moment; then the stream is over, with every order that was read answered.
    for i in 0..100_000 {
        let _ = sender.send(nuts(&format!("more-{i}"), "ada", 1)).await;
        match answers.message().await {
            Ok(answer) => assert_eq!(answer.unwrap().request_id, format!("more-{i}")),
            Err(status) => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::Unauthenticated, "CREDENTIALS_INVALID")
                );
                server.stop().await;
                return;
            }
        }
    }
    panic!("the stream goes on without a key");
}

#[tokio::test]
async fn a_watch_ends_with_the_key_that_opened_it_though_nothing_happens() {
    let server = start_with_accounts().await;
    let admin = create_admin_key(server.docket.access(), Clock::system().now())
        .await
        .unwrap()
        .unwrap();
    let admin = admin.expose_secret();
    let channel = server.connect().await;
    let mut auth = AuthServiceClient::new(channel.clone());
    let ask = CreateApiKeyRequest {
        display_name: "for a watch".into(),
        scopes: vec![Scope::Read.into()],
        ..Default::default()
    };
    let key = auth
        .create_api_key(with("x-api-key", admin, ask))
        .await
        .unwrap()
        .into_inner();
    let request = with("x-api-key", &key.secret, WatchOrdersRequest::default());
    let mut orders = OrderServiceClient::new(channel);
    let mut messages = orders.watch_orders(request).await.unwrap().into_inner();
    assert_eq!(messages.message().await.unwrap().unwrap().changes, []);
    let revoke = RevokeApiKeyRequest {
        name: key.api_key.unwrap().name,
    };
    auth.revoke_api_key(with("x-api-key", admin, revoke))
        .await
        .unwrap();
    // A message without changes may have been on its way.
    let ended = loop {
        match messages.message().await {
            Ok(message) => assert_eq!(message.unwrap().changes, []),
            Err(status) => break status,
        }
    };
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unauthenticated, "CREDENTIALS_INVALID")
    );
    server.stop().await;
}
