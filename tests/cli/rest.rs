//! REST on a node of the built program: where it is announced, who is let in, an order's life and a watch of it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{server::Server, support::Shell};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that serves REST, and its administrator's key.
struct Node {
    shell: Shell,
    server: Server,
    key: String,
}

impl Node {
    fn start() -> Self {
        let shell = Shell::new().variable("DOCKET__REST__LISTEN", "127.0.0.1:0");
        let server = Server::start(&shell);
        let key = std::fs::read_to_string(shell.path().join("docket-data/admin.key")).unwrap();
        let key = key.trim().to_owned();
        Self { shell, server, key }
    }

    fn run(&self, command: &str) -> Value {
        self.shell
            .run(&format!("{command} {} -o json", self.server.flags()))
            .ends(0)
            .json()
    }

    /// Sends a request with this credential.
    fn send(&self, credential: &str, asked: &str, body: &Value) -> BufReader<TcpStream> {
        let address = self.server.announced["rest"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            tcp,
            "{asked} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{credential}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        BufReader::new(tcp)
    }

    /// The status and the body.
    #[track_caller]
    fn ask_as(&self, credential: &str, asked: &str, body: &Value) -> (u16, Value) {
        let mut answer = String::new();
        self.send(credential, asked, body)
            .read_to_string(&mut answer)
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// The same by the administrator.
    #[track_caller]
    fn ask(&self, asked: &str, body: &Value) -> (u16, Value) {
        self.ask_as(&format!("x-api-key: {}", self.key), asked, body)
    }
}

#[track_caller]
fn reason(refusal: &Value) -> &str {
    refusal["details"][0]["reason"]
        .as_str()
        .unwrap_or_else(|| panic!("{refusal}"))
}

#[test]
fn an_order_lives_over_rest_and_nobody_gets_further_than_over_grpc() {
    let node = Node::start();
    node.run("customer create acme --currency EUR --credit-limit 500.00");
    node.run("customer create zoe --currency EUR");
    node.run("item create tea --currency EUR --price 4.50 --on-hand 100");
    let order = json!({
        "requestId": "r-1",
        "customer": "customers/acme",
        "currencyCode": "EUR",
        "lines": [{ "item": "items/tea", "quantity": 2, "unitPrice": 450 }],
    });
    let (status, placed) = node.ask("POST /v1/orders", &order);
    assert_eq!((status, &placed["state"]), (200, &json!("CONFIRMED")), "{placed}");
    let name = placed["name"].as_str().unwrap();
    assert_eq!(
        node.ask(&format!("GET /v1/{name}"), &Value::Null),
        (200, placed.clone())
    );
    let told = node.run(&format!("order get {name}"));
    assert_eq!((&told["name"], &told["etag"]), (&placed["name"], &placed["etag"]));
    let listed = node.ask("GET /v1/orders?customer=customers/acme", &Value::Null).1;
    assert_eq!(listed["orders"], json!([placed]));

    // Who has no credentials, or somebody else's.
    assert_eq!(
        node.ask_as("accept: */*", &format!("GET /v1/{name}"), &Value::Null)
            .0,
        401
    );
    let account = json!({ "username": "zoe", "password": "correct horse battery", "role": "CUSTOMER", "customer": "customers/zoe" });
    assert_eq!(node.ask("POST /v1/accounts", &account).0, 200);
    let login = json!({ "username": "zoe", "password": "correct horse battery" });
    let (status, session) = node.ask_as("accept: */*", "POST /v1/sessions:login", &login);
    assert_eq!(status, 200, "{session}");
    let zoe = format!(
        "authorization: Bearer {}",
        session["accessToken"].as_str().unwrap()
    );
    let (status, refusal) = node.ask_as(&zoe, "POST /v1/items?sku=pot", &json!({ "currencyCode": "EUR" }));
    assert_eq!((status, reason(&refusal)), (403, "ROLE_NOT_ALLOWED"));
    // What she may not see does not exist for her.
    let (status, refusal) = node.ask_as(&zoe, &format!("GET /v1/{name}"), &Value::Null);
    assert_eq!((status, reason(&refusal)), (404, "ORDER_NOT_FOUND"));

    let mut watch = node.send(
        &format!("x-api-key: {}", node.key),
        "GET /v1/orders:watch?customer=customers/acme&start=OLDEST",
        &Value::Null,
    );
    let (status, cancelled) = node.ask(&format!("POST /v1/{name}:cancel"), &Value::Null);
    assert_eq!(
        (status, &cancelled["state"]),
        (200, &json!("CANCELLED")),
        "{cancelled}"
    );
    let mut line = String::new();
    while !line.contains("\"kind\":\"CANCELLED\"") {
        line.clear();
        assert!(watch.read_line(&mut line).unwrap() > 0, "the watch has ended");
    }
    node.server.stop();
}

#[test]
fn without_an_address_there_is_no_rest() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    assert!(server.announced.get("rest").is_none(), "{}", server.announced);
    server.stop();
    let shell = Shell::new().variable("DOCKET__REST__LISTEN", "127.0.0.1:7070");
    shell
        .run("config check")
        .ends(2)
        .says("rest.listen and server.listen are both 127.0.0.1:7070: give them different ports");
}
