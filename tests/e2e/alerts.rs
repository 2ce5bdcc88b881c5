//! Alerts fire when what they are about happens: causes are made on nodes of the built program, and a real Prometheus with the rules of
//! `docs/monitoring` looks at them. `docs/monitoring.md` says which alerts are tried so.

mod prometheus;

use std::time::{Duration, Instant};

use docket_proto::v1::{self, webhook_service_client::WebhookServiceClient};

use crate::{
    api::{Api, order},
    cluster::nodes::Nodes,
    provider::Provider,
    server::{Home, LOOK_AGAIN, PATIENCE, Server},
    webhooks::receiver::Receiver,
};
use prometheus::Prometheus;

/// How long a call may take, where that is not what is tried.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// More than are needed for a share of rejections to be believed.
const REJECTED: usize = 30;
/// A node's clock is followed by builds with debug assertions alone.
const CLOCK: &str = "DOCKET_TEST_CLOCK";
const MINUTE_MS: i64 = 60_000;

/// What a machine with much to do, and its disk, may be the cause of.
const OF_THE_MACHINE: [&str; 7] = [
    "DocketDiskLow",
    "DocketDiskFullPredicted",
    "DocketDiskReserveReached",
    "DocketJournalSyncSlow",
    "DocketOrderLatencyBudgetBurn",
    // A look that takes half a second, which is believed after one here and after two minutes elsewhere.
    "DocketClockOffset",
    // An election that is late, likewise.
    "DocketLeaderChanges",
];

/// A file that moves a node's clock.
struct Clock(tempfile::TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        clock.moved(0);
        clock
    }

    fn path(&self) -> String {
        self.0.path().join("clock").to_str().unwrap().to_owned()
    }

    fn moved(&self, by_ms: i64) {
        // Whole at any moment.
        let next = self.0.path().join("next");
        std::fs::write(&next, by_ms.to_string()).unwrap();
        std::fs::rename(next, self.path()).unwrap();
    }
}

/// Places an order, whatever comes of it.
async fn place(api: &Api, request_id: &str, item: &str, method: &str) -> Result<(), tonic::Status> {
    let mut request = order(request_id, "ada", &[(item, 1, 5)]);
    request.payment_method = method.to_owned();
    let mut request = tonic::Request::new(request);
    request.set_timeout(ANSWERS_WITHIN);
    api.orders().place_order(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_a_node_that_stands_alone_fire_when_their_causes_are_made() {
    let (mut provider, clock) = (Provider::start(), Clock::new());
    let home = provider
        .known_to(Home::new(), "card")
        .set("webhooks.allow_http", "true")
        .set("webhooks.allow_private", "true")
        .variable(CLOCK, &clock.path());
    let other = Home::new();
    let (server, victim) = (Server::start(&home), Server::start(&other));
    let jobs = [
        ("docket", vec![server.admin]),
        ("docket-victim", vec![victim.admin]),
    ];
    let Some(prometheus) = Prometheus::start("the alerts of one node", &jobs) else {
        return;
    };
    let api = Api::admin(&server, &home).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000).await;
    api.item("gone", 5, 0).await;
    place(&api, "well", "nut", "").await.unwrap();
    prometheus.quiet(&OF_THE_MACHINE);

    // Sold out.
    for number in 0..REJECTED {
        place(&api, &format!("gone-{number}"), "gone", "")
            .await
            .unwrap_err();
    }
    prometheus.fires("DocketOrdersRejected", ("job", "docket"));

    // A receiver that refuses whatever comes, and a provider that is dead while an order waits for it.
    let receiver = Receiver::start(1);
    let webhook = v1::Webhook {
        url: receiver.url(),
        ..Default::default()
    };
    let request = v1::CreateWebhookRequest {
        webhook: Some(webhook),
        ..Default::default()
    };
    WebhookServiceClient::new(api.authenticated())
        .create_webhook(request)
        .await
        .unwrap();
    provider.kill();
    // It is asked on and on; its caller need not wait.
    let of_waiting = api.clone();
    let waiting = tokio::spawn(async move { place(&of_waiting, "waits", "nut", "card").await });
    prometheus.fires("DocketPaymentProviderDown", ("provider", "card"));
    let begun = Instant::now();
    while receiver.got().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the receiver is told nothing");
        tokio::time::sleep(LOOK_AGAIN).await;
    }

    if !moves_clocks() {
        println!("not tried, since the program does not move its clock: stuck orders, webhooks");
    } else {
        // Ten minutes later; the order is given up after fifteen.
        clock.moved(10 * MINUTE_MS);
        prometheus.fires("DocketOrdersStuck", ("state", "authorizing"));
        prometheus.fires("DocketWebhooksBehind", ("job", "docket"));
        // A day later nobody tries any more.
        clock.moved(25 * 60 * MINUTE_MS);
        prometheus.fires("DocketWebhookDeadLetters", ("job", "docket"));
    }
    waiting.abort();

    // Another one is started again and again, then with a reserve that no disk has, and then it is gone.
    let (grpc, admin) = (victim.grpc, victim.admin);
    let mut victim = victim;
    let full = other.set("journal.disk_reserve_bytes", "1000000000000000");
    for life in 1..=3 {
        victim.kill();
        victim = Server::launch_at(&full, grpc, admin);
        assert!(victim.ready(&full), "{}", full.log());
        // Each life is to be seen.
        let starts = "changes(docket_start_time_seconds{job=\"docket-victim\"}[30m])";
        prometheus.reaches(starts, f64::from(life));
    }
    prometheus.fires("DocketRestarts", ("job", "docket-victim"));
    prometheus.fires("DocketDiskReserveReached", ("job", "docket-victim"));
    prometheus.fires("DocketDiskLow", ("job", "docket-victim"));
    victim.kill();
    prometheus.fires("DocketDown", ("job", "docket-victim"));
}

/// Whether the program that is tested moves its clock: it is built as this one is.
fn moves_clocks() -> bool {
    cfg!(debug_assertions)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_wait_for_a_slow_disk_use_up_the_budget() {
    let traces = std::process::Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    if !traces.is_ok_and(|status| status.success()) {
        return println!("SKIPPED: a slow disk: strace is missing, or may not trace");
    }
    // Its child is the server: the tracer is a grandchild, and ends with it.
    let slow = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync,sync_file_range \
                -e inject=fsync,fdatasync,sync_file_range:delay_exit=70000";
    let starter: Vec<String> = slow.split_whitespace().map(str::to_owned).collect();
    let home = Home::new();
    let mut server = Server::launch_under(&home, &starter);
    assert!(server.ready(&home), "{}", home.log());
    let jobs = [("docket", vec![server.admin])];
    let Some(prometheus) = Prometheus::start("a slow disk", &jobs) else {
        return;
    };
    let api = Api::admin(&server, &home).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000).await;
    // Rates need some looks while the orders come.
    let load = tokio::spawn(async move {
        for number in 0_u64.. {
            place(&api, &format!("slow-{number}"), "nut", "").await.unwrap();
        }
    });
    prometheus.fires("DocketJournalSyncSlow", ("job", "docket"));
    for window in ["1h", "6h", "1d", "3d"] {
        prometheus.fires("DocketOrderLatencyBudgetBurn", ("window", window));
    }
    load.abort();
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_a_cluster_fire_when_their_causes_are_made() {
    let (mut nodes, clock) = (Nodes::new(), Clock::new());
    nodes.variable(2, CLOCK, &clock.path());
    nodes.found();
    nodes.renew_certificate(3, 1);
    let first = Server::start(nodes.home(1));
    let (second, third) = (nodes.launch(2), nodes.launch(3));
    nodes.until_voters(&first, &[1, 2, 3]).await;
    let jobs = [("docket", vec![first.admin, second.admin, third.admin])];
    let Some(prometheus) = Prometheus::start("the alerts of a cluster", &jobs) else {
        return;
    };
    let api = Api::admin(&first, nodes.home(1)).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000).await;
    // The third has a certificate for a day.
    let mut but = OF_THE_MACHINE.to_vec();
    but.extend(["DocketCertificateExpiresSoon", "DocketCertificateExpires"]);
    prometheus.quiet(&but);
    let of_third = third.admin.to_string();
    prometheus.fires("DocketCertificateExpiresSoon", ("instance", &of_third));
    prometheus.fires("DocketCertificateExpires", ("instance", &of_third));

    if moves_clocks() {
        clock.moved(5_000);
        prometheus.fires("DocketClockOffset", ("job", "docket"));
        clock.moved(0);
    }

    third.kill();
    prometheus.fires("DocketPeerDown", ("node", "3"));
    // What the third misses.
    let placing = (0..4).map(|client| {
        let api = api.clone();
        tokio::spawn(async move {
            for number in 0_u64.. {
                // Where it is led by one that is gone it is asked again, as another order.
                let _ = place(&api, &format!("lag-{client}-{number}"), "nut", "").await;
            }
        })
    });
    let placing: Vec<_> = placing.collect();
    prometheus.fires("DocketReplicaLag", ("node", "3"));

    // And the second: no group has a majority, and calls fail.
    second.kill();
    prometheus.fires("DocketNoLeader", ("group", "meta"));
    for window in ["1h", "6h", "1d", "3d"] {
        prometheus.fires("DocketAvailabilityBudgetBurn", ("window", window));
    }
    placing.iter().for_each(tokio::task::JoinHandle::abort);
}
