//! Webhooks of the built program: it is killed again and again while orders are placed, and a receiver, which fails now and then, has heard of every
//! change in the end. And: a signature holds by what the documentation says, and no log has a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use docket_proto::v1::{
    self, GetWebhookRequest, RotateWebhookSecretRequest, TestWebhookRequest,
    webhook_service_client::WebhookServiceClient,
};
use tonic::Code;

use crate::{
    api::{Api, Authenticated, fields, order, reason},
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};

const KILLS: usize = 3;
/// Orders that are placed before each kill, and after the last.
const ORDERS: usize = 40;

/// A request that came.
#[derive(Clone, Debug)]
struct Got {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A receiver on loopback, as plain as one can be.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// One that refuses every so many requests, where that is not 0.
    fn start(refuses_every: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let into = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, into) = (stream.unwrap(), Arc::clone(&into));
                thread::spawn(move || answer(&stream, &into, refuses_every));
            }
        });
        Self { address, got }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection; whoever closes it may.
fn answer(stream: &TcpStream, got: &Mutex<Vec<Got>>, refuses_every: usize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let refuses = {
            let mut got = got.lock().unwrap();
            got.push(Got { headers, body });
            refuses_every > 0 && got.len().is_multiple_of(refuses_every)
        };
        let status = if refuses {
            "500 Internal Server Error"
        } else {
            "204 No Content"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        (&*stream).write_all(answer.as_bytes()).ok()?;
    }
}

fn home() -> Home {
    Home::new()
        .set("webhooks.allow_http", "true")
        .set("webhooks.allow_private", "true")
        .set("log.level", "debug")
}

fn webhooks(api: &Api) -> WebhookServiceClient<Authenticated> {
    WebhookServiceClient::new(api.authenticated())
}

async fn create(api: &Api, url: String) -> v1::CreateWebhookResponse {
    let webhook = v1::Webhook {
        url,
        ..Default::default()
    };
    let request = v1::CreateWebhookRequest {
        webhook: Some(webhook),
        request_id: "the-webhook".into(),
    };
    webhooks(api).create_webhook(request).await.unwrap().into_inner()
}

/// Every order's every change, as the server has it: by what is sent as `webhook-id`.
async fn expected(api: &Api) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for order in api.all_orders().await {
        let id = order.name.strip_prefix("orders/").unwrap();
        let version: u64 = order.etag.strip_prefix('v').unwrap().parse().unwrap();
        ids.extend((1..=version).map(|version| format!("{id}-{version}")));
    }
    ids
}

fn ids(got: &[Got]) -> BTreeSet<String> {
    got.iter().map(|got| got.headers["webhook-id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_delivered_at_least_once_however_often_the_node_is_killed() {
    let home = home();
    let mut server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000_000).await;
    let receiver = Receiver::start(17);
    let created = create(&api, receiver.url()).await;
    let mut placed = 0;
    for round in 0..=KILLS {
        let api = Api::admin(&server, &home).await;
        for _ in 0..ORDERS {
            placed += 1;
            let request = order(&format!("r{placed}"), "ada", &[("nut", 1, 5)]);
            api.orders().place_order(request).await.unwrap();
        }
        if round < KILLS {
            server.kill();
            server = Server::start(&home);
        }
    }
    let api = Api::admin(&server, &home).await;
    server.settled().await;
    let expected = expected(&api).await;
    assert!(expected.len() >= 2 * ORDERS * (KILLS + 1));
    let begun = Instant::now();
    loop {
        let missing: Vec<_> = expected.difference(&ids(&receiver.got())).cloned().collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            begun.elapsed() < 2 * PATIENCE,
            "{} of {} changes were not delivered: {missing:?}",
            missing.len(),
            expected.len()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let got = receiver.got();
    println!("{} changes, delivered in {} requests", expected.len(), got.len());
    assert_eq!(ids(&got), expected, "nothing is delivered that did not happen");
    // The same request once more is answered with the same webhook, and the secret that it has.
    let again = create(&api, receiver.url()).await;
    assert_eq!(again.webhook.unwrap().name, created.webhook.unwrap().name);
    assert_eq!(again.secret, created.secret);
    server.stop(&home);
}

/// The snippet of the documentation, asked whether a request is genuine.
fn verifies(secret: &str, got: &Got) -> Option<bool> {
    let page = include_str!("../../docs/webhooks.md");
    let snippet = page.split("```python\n").nth(1)?.split("```").next()?;
    let headers = serde_json::to_string(&got.headers).unwrap();
    let main = format!(
        "{snippet}\nimport json, sys\nsys.exit(0 if verify({secret:?}, json.loads({headers:?}), sys.stdin.buffer.read()) else 1)\n"
    );
    let python = Command::new("python3")
        .args(["-c", &main])
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        println!("python3 is not there: the snippet is not tested");
        return None;
    };
    python.stdin.take().unwrap().write_all(&got.body).unwrap();
    match python.wait().unwrap().code() {
        Some(0) => Some(true),
        Some(1) => Some(false),
        code => panic!("the snippet of the documentation fails: {code:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_holds_as_the_documentation_says_and_no_log_or_list_has_a_secret() {
    let home = home();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    let receiver = Receiver::start(0);
    let v1::CreateWebhookResponse { webhook, secret } = create(&api, receiver.url()).await;
    let name = webhook.unwrap().name;
    let rotate = RotateWebhookSecretRequest {
        name: name.clone(),
        ..Default::default()
    };
    let rotated = webhooks(&api)
        .rotate_webhook_secret(rotate)
        .await
        .unwrap()
        .into_inner();
    let tested = webhooks(&api)
        .test_webhook(TestWebhookRequest { name: name.clone() })
        .await
        .unwrap()
        .into_inner();
    assert!(tested.delivered && tested.http_status == 204, "{tested:?}");
    let got = receiver.got().pop().unwrap();
    assert_eq!(got.headers["webhook-id"], tested.event_id);
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (secret, holds) in [(secret.as_str(), true), (&rotated.secret, true), (other, false)] {
        assert!(
            verifies(secret, &got).is_none_or(|found| found == holds),
            "{holds}"
        );
    }
    let mut altered = got.clone();
    altered.body.push(b' ');
    assert!(verifies(&secret, &altered).is_none_or(|found| !found));
    let shown = webhooks(&api)
        .get_webhook(GetWebhookRequest { name: name.clone() })
        .await
        .unwrap()
        .into_inner();
    let listed = webhooks(&api)
        .list_webhooks(v1::ListWebhooksRequest::default())
        .await
        .unwrap()
        .into_inner();
    let told = format!(
        "{shown:?} {listed:?} {rotated:?} {:?} {}",
        server.get("/metrics"),
        home.whole_log()
    );
    for secret in [&secret, &rotated.secret] {
        let body = secret.strip_prefix("whsec_").unwrap();
        assert!(!told.contains(body), "a secret is told");
    }
    server.stop(&home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_delivers_to_nobody_s_network_but_the_internet_unless_it_may() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    let receiver = Receiver::start(0);
    let request = |url: String| v1::CreateWebhookRequest {
        webhook: Some(v1::Webhook {
            url,
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = webhooks(&api)
        .create_webhook(request(receiver.url()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fields(&refused), ["webhook.url"]);
    let private = receiver.url().replace("http:", "https:");
    let created = webhooks(&api).create_webhook(request(private)).await.unwrap();
    let name = created.into_inner().webhook.unwrap().name;
    let tested = webhooks(&api)
        .test_webhook(TestWebhookRequest { name })
        .await
        .unwrap()
        .into_inner();
    assert!(
        !tested.delivered && tested.failure.contains("allow_private"),
        "{tested:?}"
    );
    assert!(receiver.got().is_empty());
    let unknown = GetWebhookRequest {
        name: "webhooks/000000000000000000000000".into(),
    };
    let missing = webhooks(&api).get_webhook(unknown).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing)),
        (Code::NotFound, "WEBHOOK_NOT_FOUND".into())
    );
    server.stop(&home);
}
