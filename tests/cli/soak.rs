//! The soak suite against the built program, in small: `just soak` is the two minutes of it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use docket_payments::stub::{Stub, StubOptions};
use docket_soak::{
    report,
    suite::{self, Outcome, Paying, Plan, SCHEMA_VERSION, Scenario, Scene, Told, sample::Gauges},
};

use tokio::{sync::watch, time::timeout};

use crate::support::Shell;

/// How long a server and the first orders may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn plan(shell: &Shell) -> Plan {
    Plan {
        duration: Duration::from_secs(10),
        sample: Duration::from_millis(200),
        customers: 20,
        // As many as a large order has lines, and some.
        items: 60,
        ..Plan::new(
            Path::new(env!("CARGO_BIN_EXE_docket")).to_owned(),
            shell.path().to_owned(),
        )
    }
}

/// A provider that pays for orders, for as long as the test runs.
async fn paying() -> Option<Paying> {
    let stub = Stub::open(StubOptions::default()).unwrap();
    let address = stub.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    Some(Paying::at(&address.to_string()))
}

/// So many orders at least were led through their lives, these things and others were asked of some, and servers found their books in order.
fn check_lives(outcome: &Outcome, led: u64, deeds: &[&str]) {
    println!("{:?} {:?}", outcome.sums, outcome.deeds);
    let sums = outcome.sums;
    assert!(sums.led >= led && sums.paid_by_provider > 0, "{sums:?}");
    assert!(sums.closed > 0, "the clock has closed none: {sums:?}");
    assert!(sums.verified >= sums.acknowledged, "{sums:?}");
    for deed in deeds {
        assert!(outcome.deeds.contains_key(deed), "{deed}: {:?}", outcome.deeds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seconds_of_every_scenario_of_one_node_pass_and_are_reported() {
    let shell = Shell::new();
    let alone = Scenario::ALL
        .into_iter()
        .filter(|scenario| !scenario.is_together());
    let plan = Plan {
        scenarios: alone.clone().collect(),
        paying: paying().await,
        ..plan(&shell)
    };
    let scene = Arc::new(Scene::new(plan.sample));
    let outcome = suite::run(plan, scene, Box::new(|_| {})).await.unwrap();
    assert!(
        outcome.passed(),
        "{}\n{:#?}\n{:#?}",
        outcome.headline(),
        outcome.faults,
        outcome.judgements
    );
    let sums = outcome.sums;
    assert!(
        sums.acknowledged > 0 && sums.acknowledged == sums.read,
        "{sums:?}"
    );
    assert!(sums.looks > 0 && !outcome.restarts.is_empty(), "{sums:?}");
    check_lives(&outcome, 10, &["ship", "hold", "plan", "edit"]);
    let ran: Vec<Scenario> = outcome.phases.iter().map(|phase| phase.scenario).collect();
    assert!(alone.clone().all(|scenario| ran.contains(&scenario)), "{ran:?}");

    let page = report::write(&outcome, &shell.path().join("report")).unwrap();
    let json = fs::read_to_string(page.with_file_name(report::JSON)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert_eq!(json["verdict"], "passed");
    assert!(json["samples"].as_array().unwrap().len() > 10);
    assert!(fs::read_to_string(&page).unwrap().contains("PASSED"));
    // The server and its folder are gone; the report is what is left.
    let left: Vec<_> = fs::read_dir(shell.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["report"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_of_a_cluster_passes_on_every_node_and_its_events_are_on_the_time_line() {
    let shell = Shell::new();
    let plan = Plan {
        scenarios: Scenario::ALL
            .into_iter()
            .filter(|scenario| scenario.is_together())
            .collect(),
        // What happens takes longer than that.
        duration: Duration::from_secs(8),
        connections: 2,
        in_flight: 8,
        paying: paying().await,
        ..plan(&shell)
    };
    let scene = Arc::new(Scene::new(plan.sample));
    let outcome = suite::run(plan, scene, Box::new(|_| {})).await.unwrap();
    for event in &outcome.events {
        println!("{:6.1} s  {}", event.at_s, event.what);
    }
    for phase in &outcome.phases {
        println!(
            "{}: {} orders in {:.1} s, p99 {} us, at most {} us, {:?}",
            phase.scenario.name(),
            phase.orders.count(),
            phase.load_s,
            phase.orders.us(0.99),
            phase.orders.max_us(),
            phase.errors
        );
    }
    assert!(
        outcome.passed(),
        "{}\n{:#?}\n{:#?}",
        outcome.headline(),
        outcome.faults,
        outcome.judgements
    );
    let sums = outcome.sums;
    assert!(
        sums.acknowledged > 0 && sums.acknowledged == sums.read,
        "{sums:?}"
    );
    let most = [
        "ship", "hold", "release", "plan", "deliver", "edit", "return", "refund",
    ];
    check_lives(&outcome, 10, &most);
    assert_eq!(outcome.phases.len(), 4);
    for phase in &outcome.phases {
        let name = phase.scenario.name();
        assert!(phase.orders.count() > 20, "{name} happened without a load");
    }
    let happened = |what: &str| outcome.events.iter().any(|event| event.what.contains(what));
    for what in [
        "restarts",
        "is killed",
        "is drained",
        "cut off",
        "heard by nobody",
    ] {
        assert!(happened(what), "{what} is not on the time line");
    }
    // Each node was looked at while it ran, and those that restarted are other processes since.
    for node in 0..3 {
        let seen = outcome.samples.iter().filter_map(|sample| sample.nodes[node]);
        let seen: Vec<_> = seen.collect();
        let is_seen =
            |gauges: &Gauges| gauges.rss_bytes > 0.0 && gauges.open_files > 0.0 && gauges.data_bytes > 0.0;
        assert!(
            seen.len() > 10 && seen.iter().all(|node| is_seen(&node.gauges)),
            "node {}: {seen:?}",
            node + 1
        );
        assert!(
            seen.iter().any(|node| node.life > 1),
            "node {} has not restarted",
            node + 1
        );
        let after = &outcome.nodes_settled[node];
        assert!(
            after.len() >= 4 && after.iter().all(|one| one.gauges.in_flight == 0.0),
            "{after:?}"
        );
    }
    let of_nodes = [
        "memory of what nodes store",
        "open files of nodes",
        "drift of a cluster's median",
    ];
    for name in of_nodes {
        assert!(
            outcome.judgements.iter().any(|one| one.name == name),
            "{name} is not judged"
        );
    }
    let page = report::write(&outcome, &shell.path().join("report")).unwrap();
    let json = fs::read_to_string(page.with_file_name(report::JSON)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["nodes_after_rounds"].as_array().unwrap().len() >= 12);
    let is_of_three =
        |sample: &serde_json::Value| sample["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3);
    assert!(json["samples"].as_array().unwrap().iter().any(is_of_three));
    let page = fs::read_to_string(&page).unwrap();
    for shown in [
        "is cut off from the others",
        "Memory of each node",
        "Disk of each node",
        "Open files of each node",
    ] {
        assert!(page.contains(shown), "{shown} is not shown");
    }
    let left: Vec<_> = fs::read_dir(shell.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["report"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_ended_early_checks_what_it_did_and_reports_it() {
    let shell = Shell::new();
    let plan = Plan {
        scenarios: vec![Scenario::Steady, Scenario::HotCustomer],
        duration: Duration::from_secs(3_600),
        ..plan(&shell)
    };
    let scene = Arc::new(Scene::new(plan.sample));
    // However long the server takes to start: before there is load there is nothing to end.
    let (loads, mut loaded) = watch::channel(0);
    let told: Told = Box::new(move |sample| {
        if sample.orders > 0.0 {
            loads.send_modify(|samples| *samples += 1);
        }
    });
    let (outcome, ()) = tokio::join!(suite::run(plan, Arc::clone(&scene), told), async {
        let enough = timeout(PATIENCE, loaded.wait_for(|samples| *samples >= 3));
        enough.await.expect("orders are placed").unwrap();
        scene.interrupt();
    });
    let outcome = outcome.unwrap();
    assert!(
        outcome.passed() && outcome.interrupted,
        "{:#?} {:#?}",
        outcome.faults,
        outcome.judgements
    );
    assert_eq!(outcome.phases.len(), 1);
    assert!(
        outcome.headline().contains("ended early"),
        "{}",
        outcome.headline()
    );
    assert_eq!(outcome.sums.acknowledged, outcome.sums.read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_by_itself_is_a_fault_and_its_folder_is_kept() {
    let shell = Shell::new();
    let plan = Plan {
        scenarios: vec![Scenario::HotCustomer],
        duration: Duration::from_secs(6),
        ..plan(&shell)
    };
    let scene = Arc::new(Scene::new(plan.sample));
    let (outcome, ()) = tokio::join!(suite::run(plan, Arc::clone(&scene), Box::new(|_| {})), async {
        let pid = loop {
            match scene.probe() {
                Some(probe) => break probe.pid(),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    let outcome = outcome.unwrap();
    assert!(!outcome.passed());
    assert!(
        outcome.faults.told[0].contains("the run ended early"),
        "{:#?}",
        outcome.faults
    );
    assert!(outcome.kept.folder.as_ref().is_some_and(|folder| folder.is_dir()));
}
