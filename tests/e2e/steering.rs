//! Limits and flags over three nodes of the built program: a caller that spreads its calls gets its limit, and what is set at one node is gone by at all.

mod flags;

use std::time::{Duration, Instant};

use docket_proto::v1::{self, node_service_client::NodeServiceClient};
use futures::future::join_all;
use serde_json::Value;
use tonic::Code;

use crate::{
    api::{Api, Credentials, reason},
    cluster::nodes::Nodes,
    server::{LOOK_AGAIN, PATIENCE, Server},
};

const RATE: i64 = 20;
const BURST: i64 = 20;
const NODES: i64 = 3;
/// How long a caller calls.
const CALLS: Duration = Duration::from_secs(5);
/// Within this a change is on every node, as it is promised.
const PROMISED: Duration = Duration::from_secs(1);
/// A flag's shares, one after the other, in hundredths of a percent.
const FLIPS: [i32; 5] = [0, 10_000, 0, 2_500, 0];
/// The account whose calls are spread.
const CALLER: &str = "shop";

/// Three nodes that run, each with a connection of the administrator's.
struct Stage {
    nodes: Nodes,
    servers: Vec<Server>,
    admins: Vec<Api>,
}

impl Stage {
    async fn set() -> Self {
        let mut nodes = Nodes::new();
        nodes.found();
        let mut servers = vec![Server::start(nodes.home(1))];
        servers.extend([2, 3].map(|node| nodes.launch(node)));
        nodes.until_voters(&servers[0], &[1, 2, 3]).await;
        let mut admins = Vec::new();
        for (at, server) in servers.iter_mut().enumerate() {
            assert!(server.ready(nodes.home(at + 1)), "{}", nodes.home(at + 1).log());
            admins.push(Api::admin(server, nodes.home(1)).await);
        }
        Self {
            nodes,
            servers,
            admins,
        }
    }

    /// What a command prints that asks one of the nodes.
    fn run(&self, node: usize, command: &str) -> Result<Value, String> {
        let (home, address) = (self.nodes.home(1), format!("http://{}", self.servers[node].grpc));
        let key = home.data().join("admin.key");
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend([
            "-o",
            "json",
            "--addr",
            &address,
            "--api-key-file",
            key.to_str().unwrap(),
        ]);
        let run = home.command(&args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match run.status.success() {
            true => Ok(serde_json::from_slice(&run.stdout).unwrap_or_default()),
            false => Err(text(&run.stderr)),
        }
    }

    /// How long after that each node went by it, the slowest of them.
    async fn everywhere(&self, began: Instant, what: &str, is_so: impl AsyncFn(usize) -> bool) -> Duration {
        let is_so = &is_so;
        let each = (0..self.servers.len()).map(|node| async move {
            while !is_so(node).await {
                assert!(began.elapsed() < PATIENCE, "{what}: not on node {}", node + 1);
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            began.elapsed()
        });
        join_all(each).await.into_iter().max().unwrap()
    }

    fn node(&self, at: usize) -> NodeServiceClient<crate::api::Authenticated> {
        NodeServiceClient::new(self.admins[at].authenticated())
    }

    fn end(self) {
        for server in &self.servers {
            server.terminate();
        }
        for (at, server) in self.servers.into_iter().enumerate() {
            let status = server.ended();
            assert_eq!(status.code(), Some(0), "{}", self.nodes.home(at + 1).log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_gets_its_limit_over_three_nodes_and_a_flag_flips_on_all_of_them_within_a_second() {
    let stage = Stage::set().await;
    let admin = &stage.admins[0];
    admin.item("nut", 5, 1_000).await;
    let account = v1::RegisterRequest {
        username: CALLER.into(),
        password: "correct horse battery".into(),
        role: v1::Role::Service.into(),
        ..Default::default()
    };
    admin.auth().register(account).await.unwrap();
    let request = v1::CreateApiKeyRequest {
        account: format!("accounts/{CALLER}"),
        scopes: vec![v1::Scope::Read.into()],
        ..Default::default()
    };
    let key = admin
        .auth()
        .create_api_key(request)
        .await
        .unwrap()
        .into_inner()
        .secret;

    // A flag, set at each node in turn.
    let mut flips = Vec::new();
    for (turn, share) in FLIPS.into_iter().enumerate() {
        let began = Instant::now();
        let request = v1::SetFlagRequest {
            name: "flags/streaming_placement".into(),
            rule: Some(v1::FlagRule {
                share,
                ..Default::default()
            }),
            ..Default::default()
        };
        let set = stage.node(turn % 3).set_flag(request).await.unwrap().into_inner();
        let seen = stage.everywhere(began, "a flag that was set", async |at| {
            let request = v1::GetFlagRequest {
                name: set.name.clone(),
                ..Default::default()
            };
            let flag = stage.node(at).get_flag(request).await.unwrap().into_inner();
            flag.etag == set.etag && flag.rule.is_some_and(|rule| rule.share == share)
        });
        flips.push(seen.await);
    }
    // And it is gone by: nobody takes a stream.
    for admin in &stage.admins {
        let none = futures::stream::iter(Vec::<v1::PlaceOrderRequest>::new());
        let refused = admin.orders().place_orders(none).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "FEATURE_OFF")
        );
    }
    println!("a flag was on all nodes after {flips:?} ({PROMISED:?} is promised)");
    // One that met a machine with other things to do says nothing of the nodes.
    flips.sort_unstable();
    assert!(flips[flips.len() / 2] <= PROMISED, "{flips:?}");

    // A limit, set by the command line at the second node. Its bucket is full from then on.
    let set = format!("limit set {CALLER} --rate {RATE} --burst {BURST}");
    let began = Instant::now();
    assert_eq!(stage.run(1, &set).unwrap()["per_second"], RATE);
    let seen = stage.everywhere(began, "a limit that was set", async |at| {
        let request = v1::GetLimitRequest {
            name: format!("limits/accounts/{CALLER}"),
        };
        match stage.node(at).get_limit(request).await {
            Ok(limit) => limit.into_inner().burst == BURST,
            Err(status) => {
                assert_eq!(reason(&status), "LIMIT_NOT_FOUND", "{status}");
                false
            }
        }
    });
    println!(
        "a limit was gone by on all nodes {:?} after its command began",
        seen.await
    );

    // Its calls are spread over all three, as fast as each answers.
    let (began, credentials) = (Instant::now(), Credentials::key(&key));
    let apis = stage.admins.iter().map(|admin| admin.by(credentials.clone()));
    let calls = apis.map(|api| async move {
        let (mut taken, mut refused) = (0, 0);
        while began.elapsed() < CALLS {
            let name = "items/nut".into();
            match api.items().get_item(v1::GetItemRequest { name }).await {
                Ok(_) => taken += 1,
                Err(status) => {
                    assert_eq!(reason(&status), "RATE_LIMITED", "{status}");
                    refused += 1;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
        (taken, refused)
    });
    let found: Vec<(i64, i64)> = join_all(calls).await;
    let elapsed = began.elapsed();
    let taken: i64 = found.iter().map(|(taken, _)| taken).sum();
    let due = BURST + (RATE as f64 * elapsed.as_secs_f64()).ceil() as i64;
    // (n - 1) × (burst + rate × d) of docs/limits.md. The test allows a `d` of a second, after which a node counts as cut off: the
    // machine may have other things to do than telling ten times a second.
    let stated = (NODES - 1) * (BURST + RATE * 110 / 1_000);
    let error = (NODES - 1) * (BURST + RATE);
    println!(
        "{taken} calls in {elapsed:?} over three nodes {found:?}, {due} are due: {} beside, {stated} are stated",
        taken - due
    );
    assert!(
        found.iter().all(|(_, refused)| *refused > 0),
        "the limit was never reached"
    );
    assert!(taken <= due + error, "{taken} of {due} + {error}");
    assert!(taken >= due - error, "{taken} of {due} - {error}");
    // Each node for itself would have let in so many.
    assert!(NODES * due > due + error);
    // Nobody else was held up by it.
    assert_eq!(stage.run(2, "item get nut").unwrap()["on_hand"], 1_000);
    stage.end();
}
