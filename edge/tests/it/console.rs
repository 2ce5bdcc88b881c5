//! The console: who is let in, what it answers, and what it keeps a browser from.

mod shown;

use std::net::SocketAddr;

use docket_audit::Outcome;
use docket_edge::{
    EdgeConfig, Operators,
    auth::{Clock, create_admin_key},
    config::Limit,
};
use docket_proto::v1::{
    CreateApiKeyRequest, PlaceOrderRequest, RegisterRequest, RevokeApiKeyRequest, Role, Scope,
    auth_service_client::AuthServiceClient, order_service_client::OrderServiceClient,
};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Channel;

use crate::support::{
    Running, config, metrics, recorded, recorded_for, start_audited, start_with_accounts_on, with,
};

/// Everything that shows something of the node.
const QUESTIONS: [&str; 7] = [
    "cluster",
    "traffic",
    "orders",
    "orders/counts",
    "orders/0000000000000000000000000A",
    "orders/0000000000000000000000000A/events",
    "access",
];

/// An answer of the admin port.
struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.code, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    fn reason(&self) -> String {
        let answer: Value = serde_json::from_str(&self.body).unwrap();
        answer["error"]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// A browser, as far as these tests need one.
struct Browser {
    admin: SocketAddr,
    cookie: Option<String>,
    key: String,
}

impl Browser {
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut tcp = TcpStream::connect(self.admin).await.unwrap();
        let host = match headers.contains("host: ") {
            true => String::new(),
            false => format!("host: {}\r\n", self.admin),
        };
        let cookie = self.cookie.as_ref().map(|cookie| format!("cookie: {cookie}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{host}{}{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            cookie.unwrap_or_default(),
            body.len(),
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            code: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    async fn question(&self, path: &str) -> Answer {
        self.get(&format!("/console/api/{path}")).await
    }

    /// Whether it has a session.
    async fn is_in(&self) -> bool {
        !self.question("session").await.json()["account"].is_null()
    }

    async fn log_in_with(&self, key: &str) -> Answer {
        let body = serde_json::json!({"api_key": key}).to_string();
        let headers = "content-type: application/json\r\n";
        self.ask("POST", "/console/api/session", headers, &body).await
    }

    /// Logs in with the administrator's key.
    async fn log_in(&mut self) -> Answer {
        let answer = self.log_in_with(&self.key).await;
        assert_eq!(answer.code, 200, "{}", answer.body);
        let set = answer.header("set-cookie").unwrap();
        self.cookie = Some(set.split(';').next().unwrap().to_owned());
        answer
    }
}

async fn start(change: impl FnOnce(&mut EdgeConfig)) -> (Running, Browser) {
    let server = start_with_accounts_on(change).await;
    let browser = browser(&server).await;
    (server, browser)
}

/// One with the key of the first administrator.
async fn browser(server: &Running) -> Browser {
    let key = create_admin_key(server.docket.access(), Clock::system().now())
        .await
        .unwrap()
        .unwrap();
    Browser {
        admin: server.admin,
        cookie: None,
        key: key.expose_secret().to_owned(),
    }
}

/// A key of another account, or a narrower one of the administrator's.
async fn key_of(channel: Channel, admin: &str, role: Option<Role>, scopes: &[Scope]) -> (String, String) {
    let mut auth = AuthServiceClient::new(channel);
    if let Some(role) = role {
        let account = RegisterRequest {
            username: "shop".into(),
            password: "correct horse battery".into(),
            role: role.into(),
            ..Default::default()
        };
        auth.register(with("x-api-key", admin, account)).await.unwrap();
    }
    let key = CreateApiKeyRequest {
        account: role.map(|_| "accounts/shop".into()).unwrap_or_default(),
        scopes: scopes.iter().map(|scope| i32::from(*scope)).collect(),
        ..Default::default()
    };
    let made = auth.create_api_key(with("x-api-key", admin, key)).await.unwrap();
    let made = made.into_inner();
    (made.api_key.unwrap().name, made.secret)
}

async fn place(channel: Channel, key: &str, order: PlaceOrderRequest) -> String {
    let mut orders = OrderServiceClient::new(channel);
    let placed = orders.place_order(with("x-api-key", key, order)).await.unwrap();
    placed
        .into_inner()
        .name
        .strip_prefix("orders/")
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn nothing_is_shown_without_a_session() {
    let (server, mut browser) = start(|_| {}).await;
    for question in QUESTIONS {
        let answer = browser.question(question).await;
        assert_eq!(
            (answer.code, answer.reason().as_str()),
            (401, "NO_SESSION"),
            "{question}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // A token that nobody was given is none, and neither is one under another name.
    let made_up = "0".repeat(64);
    browser.cookie = Some(format!("docket_console_{}={made_up}", server.admin.port()));
    assert!(!browser.is_in().await);
    browser.cookie = None;
    browser.log_in().await;
    let token = browser.cookie.clone().unwrap();
    let (_, token) = token.split_once('=').unwrap();
    browser.cookie = Some(format!("docket_console_1={token}"));
    assert!(!browser.is_in().await);
    server.stop().await;
}

#[tokio::test]
async fn an_administrators_key_is_exchanged_for_a_cookie_and_given_back() {
    let (server, mut browser) = start(|_| {}).await;
    let answer = browser.log_in().await;
    assert_eq!(answer.json()["account"], "admin");
    assert_eq!(answer.json()["node_id"], 1);
    let cookie = answer.header("set-cookie").unwrap();
    let (name, attributes) = cookie.split_once('=').unwrap();
    assert_eq!(name, format!("docket_console_{}", server.admin.port()));
    for attribute in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/console",
        "; Max-Age=28800",
    ] {
        assert!(attributes.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(&browser.key) && !answer.body.contains(&browser.key));

    // Others of the same host have cookies of theirs.
    let mine = browser.cookie.clone().unwrap();
    browser.cookie = Some(format!("docket_console_1=0; {mine}; x=y"));
    assert!(browser.is_in().await);

    let out = browser.ask("DELETE", "/console/api/session", "", "").await;
    assert_eq!(out.code, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(!browser.is_in().await, "the session is over");
    server.stop().await;
}

#[tokio::test]
async fn only_administrators_are_let_in_and_only_while_their_key_holds() {
    let (server, mut browser) = start(|_| {}).await;
    let channel = server.connect().await;
    let (_, shop) = key_of(channel.clone(), &browser.key, Some(Role::Service), &[Scope::Read]).await;
    let refused = browser.log_in_with(&shop).await;
    assert_eq!(
        (refused.code, refused.reason().as_str()),
        (403, "ROLE_NOT_ALLOWED")
    );
    assert_eq!(refused.header("set-cookie"), None);
    for wrong in ["", "x", "dk_1", "läuft", "a\\nb"] {
        let refused = browser.log_in_with(wrong).await;
        assert_eq!(refused.code, 401, "{wrong}");
        assert_eq!(refused.header("set-cookie"), None);
    }

    // A narrower key shows what it may see.
    let (name, reader) = key_of(channel.clone(), &browser.key, None, &[Scope::Read]).await;
    let root = std::mem::replace(&mut browser.key, reader);
    browser.log_in().await;
    assert_eq!(browser.question("orders").await.code, 200);
    let refused = browser.question("access").await;
    assert_eq!(refused.code, 403, "{}", refused.body);

    let revoke = RevokeApiKeyRequest { name };
    let mut auth = AuthServiceClient::new(channel);
    auth.revoke_api_key(with("x-api-key", &root, revoke))
        .await
        .unwrap();
    for question in QUESTIONS {
        assert_eq!(browser.question(question).await.code, 401, "{question}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_logs_in_and_out_and_who_may_not_is_in_the_audit_log() {
    let (server, folder) = start_audited().await;
    let mut browser = browser(&server).await;
    let channel = server.connect().await;
    browser.log_in().await;
    let entered = recorded(&folder, "console.login", Outcome::Done).await;
    let who = &entered.who;
    assert_eq!((&*entered.target, &*who.account), ("accounts/admin", "admin"));
    assert_eq!((&*who.role, &*who.peer), ("admin", "127.0.0.1"));
    assert!(who.credential.starts_with("apiKeys/"), "{who:?}");
    browser.ask("DELETE", "/console/api/session", "", "").await;
    let left = recorded(&folder, "console.logout", Outcome::Done).await;
    assert_eq!((&left.target, &left.who), (&entered.target, who));

    let (_, shop) = key_of(channel.clone(), &browser.key, Some(Role::Service), &[Scope::Read]).await;
    assert_eq!(browser.log_in_with(&shop).await.code, 403);
    let denied = recorded(&folder, "console.login", Outcome::Denied).await;
    assert_eq!(
        (&*denied.reason, &*denied.who.account),
        ("ROLE_NOT_ALLOWED", "shop")
    );
    assert_eq!(browser.log_in_with("dk_of_nobody").await.code, 401);
    let invalid = recorded_for(&folder, "console.login", Outcome::Denied, "CREDENTIALS_INVALID").await;
    assert_eq!((&*invalid.who.account, &*invalid.who.peer), ("", "127.0.0.1"));

    // Whoever may be there, and may not see that.
    let (_, reader) = key_of(channel, &browser.key, None, &[Scope::Read]).await;
    browser.key = reader;
    browser.log_in().await;
    assert_eq!(browser.question("access").await.code, 403);
    let path = "/docket.v1.AuthService/ListApiKeys";
    assert_eq!(
        recorded(&folder, path, Outcome::Denied).await.who.account,
        "admin"
    );
    server.stop().await;
}

#[tokio::test]
async fn keys_that_do_not_hold_are_braked_as_those_of_calls_are() {
    let (server, mut browser) = start(|config| {
        config.limits.failure = Limit {
            per_second: 1,
            burst: 3,
        };
    })
    .await;
    browser.log_in().await;
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(browser.log_in_with("dk_wrong").await.code);
    }
    assert_eq!(codes[..3], [401, 401, 401]);
    assert!(codes[3..].contains(&429), "{codes:?}");
    // Who is known goes on, and so does the session.
    assert!(browser.is_in().await);
    browser.log_in().await;
    server.stop().await;
}

#[tokio::test]
async fn every_answer_keeps_the_browser_to_what_is_here() {
    let (server, mut browser) = start(|_| {}).await;
    browser.log_in().await;
    let pages = [
        "/console",
        "/console/traffic",
        "/console/orders/0000000000000000000000000A",
        "/console/assets/app.js",
        "/console/assets/console.css",
        "/console/assets/nothing.js",
        "/console/nothing",
        "/console/api/cluster",
        "/console/api/nothing",
        "/console/api/orders?state=nothing",
    ];
    for page in pages {
        let answer = browser.get(page).await;
        let policy = answer
            .header("content-security-policy")
            .unwrap_or_else(|| panic!("{page}"));
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|found| found == rule), "{page}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{page}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{page}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert!(answer.header("cache-control").is_some(), "{page}");
    }
    assert_eq!(browser.get("/console/nothing").await.code, 404);
    assert_eq!(browser.get("/console/api/nothing").await.code, 404);
    assert_eq!(browser.get("/console/assets/../mod.rs").await.code, 404);

    // A file is asked for again, and not sent again.
    let script = browser.get("/console/assets/app.js").await;
    let tag = script.header("etag").unwrap();
    let again = browser
        .ask(
            "GET",
            "/console/assets/app.js",
            &format!("if-none-match: {tag}\r\n"),
            "",
        )
        .await;
    assert_eq!((again.code, again.body.as_str()), (304, ""));
    assert!(!script.body.contains("innerHTML"));
    server.stop().await;
}

#[tokio::test]
async fn names_of_others_and_pages_of_others_get_nothing() {
    let (server, mut browser) = start(|_| {}).await;
    browser.log_in().await;
    for host in ["evil.example", "evil.example:7071", "10.0.0.1", ""] {
        let answer = browser
            .ask("GET", "/console/api/cluster", &format!("host: {host}\r\n"), "")
            .await;
        assert_eq!(answer.code, 421, "{host}");
    }
    let port = server.admin.port();
    let here = format!("host: localhost:{port}\r\n");
    assert_eq!(
        browser.ask("GET", "/console/api/cluster", &here, "").await.code,
        200
    );
    for from in [
        "origin: http://evil.example\r\n".to_owned(),
        "origin: null\r\n".to_owned(),
        "sec-fetch-site: cross-site\r\n".to_owned(),
        // Another port of this host is another's, too.
        "sec-fetch-site: same-site\r\norigin: http://127.0.0.1:1\r\n".to_owned(),
    ] {
        for method in ["POST", "DELETE"] {
            let answer = browser.ask(method, "/console/api/session", &from, "").await;
            assert_eq!(answer.code, 403, "{from}");
        }
    }
    assert!(browser.is_in().await, "it was not ended");
    // A form can send no JSON.
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let answer = browser
        .ask("POST", "/console/api/session", form, "api_key=x")
        .await;
    assert_eq!(answer.code, 415);
    let long = format!("{{\"api_key\": \"{}\"}}", "x".repeat(4_096));
    let json = "content-type: application/json\r\n";
    let answer = browser.ask("POST", "/console/api/session", json, &long).await;
    assert_eq!(answer.code, 413);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = browser.ask(method, "/console/api/orders", "", "").await;
        assert_eq!(answer.code, 405, "it only reads");
    }
    server.stop().await;
}

#[tokio::test]
async fn it_says_so_while_the_node_is_opened_and_is_not_there_where_it_is_off() {
    let operators = Operators::serve(&config().admin, metrics()).await.unwrap();
    let browser = Browser {
        admin: operators.local_addr(),
        cookie: None,
        key: "dk_x".into(),
    };
    assert_eq!(browser.get("/console").await.code, 200);
    for answer in [
        browser.question("session").await,
        browser.log_in_with("dk_x").await,
    ] {
        assert_eq!((answer.code, answer.reason().as_str()), (503, "OPENING"));
    }
    drop(operators);

    let mut off = config().admin;
    off.console = false;
    let operators = Operators::serve(&off, metrics()).await.unwrap();
    let browser = Browser {
        admin: operators.local_addr(),
        cookie: None,
        key: String::new(),
    };
    assert_eq!(browser.get("/console").await.code, 404);
    assert_eq!(browser.question("session").await.code, 404);
    assert_eq!(browser.get("/livez").await.code, 200);
}
