//! Webhooks of the built program: it is killed again and again while orders are placed, and a receiver, which fails now and then, has heard of every
//! change in the end. And: a signature holds by what the documentation says, and no log has a secret.

mod flag;
pub mod receiver;

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    time::Instant,
};

use docket_proto::v1::{
    self, GetWebhookRequest, RotateWebhookSecretRequest, TestWebhookRequest,
    webhook_service_client::WebhookServiceClient,
};
use tonic::Code;

use crate::{
    api::{Api, Authenticated, fields, order, reason},
    cluster::nodes::Nodes,
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
};
use receiver::{Got, Receiver};

const KILLS: usize = 3;
/// Orders that are placed before each kill, and after the last.
const ORDERS: usize = 40;

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
    receiver.until(&expected).await;
    let got = receiver.got();
    println!("{} changes, delivered in {} requests", expected.len(), got.len());
    assert_eq!(
        receiver.ids(),
        expected,
        "nothing is delivered that did not happen"
    );
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

/// The node of these that leads the meta group, as they say; `None` while they do not.
fn meta_leader(servers: &[Option<Server>]) -> Option<usize> {
    let of = |server: &Server| {
        let (_, body) = server.get("/status?local")?;
        let status: serde_json::Value = serde_json::from_str(&body).ok()?;
        let groups = status["groups"].as_array()?;
        let meta = groups.iter().find(|group| group["group"] == "meta")?;
        (meta["leader"] == true).then_some(())
    };
    servers
        .iter()
        .position(|server| server.as_ref().and_then(of).is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_node_that_delivers_dies_another_goes_on() {
    let mut nodes = Nodes::new();
    nodes.set("webhooks.allow_http", "true");
    nodes.set("webhooks.allow_private", "true");
    nodes.found();
    let mut servers = vec![Some(Server::start(nodes.home(1)))];
    servers.extend([2, 3].map(|node| Some(nodes.launch(node))));
    let first = servers[0].as_ref().unwrap();
    nodes.until_voters(first, &[1, 2, 3]).await;
    let key = nodes.home(1);
    let api = Api::admin(first, key).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000_000).await;
    let receiver = Receiver::start(0);
    // Whichever node is asked, it is made where webhooks are led.
    let third = Api::admin(servers[2].as_ref().unwrap(), key).await;
    create(&third, receiver.url()).await;
    let mut placed = 0;
    for _ in 0..ORDERS {
        place(&api, &mut placed).await;
    }
    receiver.until(&expected(&api).await).await;

    let begun = Instant::now();
    let leader = loop {
        if let Some(leader) = meta_leader(&servers) {
            break leader;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody leads the meta group");
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    // Some that it may have delivered, and not recorded.
    for _ in 0..ORDERS {
        place(&api, &mut placed).await;
    }
    servers[leader].take().unwrap().kill();
    let left = servers.iter().flatten().next().unwrap();
    let api = Api::admin(left, key).await;
    for _ in 0..ORDERS {
        place(&api, &mut placed).await;
    }
    let expected = expected(&api).await;
    assert!(expected.len() >= 2 * 3 * ORDERS);
    receiver.until(&expected).await;
    println!(
        "{} changes, delivered in {} requests over a change of who delivers",
        expected.len(),
        receiver.got().len()
    );
}

/// Places an order, again and again under the same id where it is not known whether it was.
async fn place(api: &Api, placed: &mut usize) {
    *placed += 1;
    let begun = Instant::now();
    loop {
        let request = order(&format!("r{placed}"), "ada", &[("nut", 1, 5)]);
        match api.orders().place_order(request).await {
            Ok(_) => return,
            Err(status) => assert!(
                matches!(
                    status.code(),
                    Code::Unavailable | Code::DeadlineExceeded | Code::Unknown
                ) && begun.elapsed() < PATIENCE,
                "{status}"
            ),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
