//! `docket status` of a cluster, `/status` and `/metrics` of its nodes: while all is well, while one is dead, and after.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::nodes::{Nodes, SHARDS};
use crate::server::{LOOK_AGAIN, PATIENCE, Server};

/// What `docket status` printed and returned.
struct Run {
    code: i32,
    stdout: String,
}

fn status(nodes: &Nodes, server: &Server, args: &[&str]) -> Run {
    let address = format!("http://{}", server.grpc);
    let key = nodes.home(1).data().join("admin.key");
    let mut all = vec![
        "status",
        "--addr",
        &address,
        "--api-key-file",
        key.to_str().unwrap(),
    ];
    all.extend(args);
    let run = nodes.home(1).command(&all).output().unwrap();
    Run {
        code: run.status.code().unwrap(),
        stdout: String::from_utf8(run.stdout).unwrap(),
    }
}

/// Asks until it answers so; the JSON.
async fn until(nodes: &Nodes, server: &Server, what: &str, holds: impl Fn(i32, &Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let run = status(nodes, server, &["-o", "json"]);
        let shown: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
        if holds(run.code, &shown) {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE, "never {what}: {} {shown:#}", run.code);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_cluster_names_who_is_dead_and_says_when_all_is_well_again() {
    let mut nodes = Nodes::new();
    nodes.found();
    let first = Server::start(nodes.home(1));
    let second = nodes.launch(2);
    let mut third = nodes.launch(3);
    nodes.until_voters(&first, &[1, 2, 3]).await;
    assert!(third.ready(nodes.home(3)));

    let shown = until(&nodes, &third, "well", |code, _| code == 0).await;
    assert_eq!(shown["reasons"], serde_json::json!([]));
    let versions: Vec<_> = shown["nodes"].as_array().unwrap().iter().collect();
    assert_eq!(versions.len(), 3);
    for node in versions {
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert!(node["uptime_seconds"].as_f64().unwrap() > 0.0);
        assert!(node["journal"]["free_bytes"].as_u64().unwrap() > 0);
    }
    for group in shown["groups"].as_array().unwrap() {
        let replicas = group["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 3, "{group}");
        let leads = replicas.iter().filter(|one| one["role"] == "REPLICA_ROLE_LEADER");
        assert_eq!(leads.count(), 1, "{group}");
        assert!(
            replicas
                .iter()
                .all(|one| one["known"] == true && one["match_index"].as_u64() > Some(0)),
            "{group}"
        );
    }
    // The same for people: the matrix, in 80 columns.
    let run = status(&nodes, &third, &[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = run.stdout.lines().map(words).collect();
    assert!(
        rows.iter().any(|row| row.join(" ") == "GROUP 1 2 3 TERM LAG"),
        "{}",
        run.stdout
    );
    for name in ["meta", "shard-0", "shard-1", "shard-2"] {
        let row = rows
            .iter()
            .find(|row| row.first().is_some_and(|first| first == name));
        let row = row.unwrap_or_else(|| panic!("no {name} in {}", run.stdout));
        let (mut roles, all) = (row[1..4].to_vec(), ["F", "F", "L"]);
        roles.sort_unstable();
        assert_eq!(roles, all, "{}", run.stdout);
    }
    assert!(
        run.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        run.stdout
    );
    // One node alone, as it says of itself.
    let run = status(&nodes, &third, &["--node", "-o", "json"]);
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &shown["node_id"]), (0, &3.into()));
    metrics_tell_of_peers_and_groups(&first).await;
    watching_ends_with_ctrl_c(&nodes, &third);

    // One that stands still answers nothing and refuses nothing: it is waited for, but not for long.
    let pid = Pid::from_raw(second.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let missed = |code: i32, shown: &Value| code == 10 && shown["liveness"][1]["alive"] == false;
    let shown = until(&nodes, &first, "missed", missed).await;
    let begun = Instant::now();
    assert_eq!(first.get("/status").unwrap().0, 200);
    let took = begun.elapsed();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(
        took < Duration::from_secs(5),
        "one that stands still holds the answer up for {took:?}"
    );
    assert_eq!(shown["liveness"][1]["alive"], false, "{shown:#}");
    assert!(
        shown["liveness"][1]["silence_seconds"].as_f64() >= Some(3.0),
        "{shown:#}"
    );
    until(&nodes, &first, "well again", |code, _| code == 0).await;

    second.kill();
    let shown = until(&nodes, &first, "missed", missed).await;
    let reasons = shown["reasons"].as_array().unwrap();
    let named = reasons.iter().filter_map(Value::as_str);
    assert!(
        named
            .clone()
            .any(|reason| reason.starts_with("node 2 is not alive")),
        "{reasons:?}"
    );
    // The admin port says the same.
    let (code, body) = first.get("/status").unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["node_id"]), (200, &1.into()));
    assert_eq!(body["cluster"]["healthy"], false, "{body:#}");
    let (_, local) = first.get("/status?local").unwrap();
    let local: Value = serde_json::from_str(&local).unwrap();
    assert_eq!(local["cluster"], Value::Null);

    let second = nodes.launch(2);
    until(&nodes, &first, "well again", |code, _| code == 0).await;
    second.stop(nodes.home(2));
    third.stop(nodes.home(3));
    first.stop(nodes.home(1));
}

/// What operators go by in a cluster is there, from the start.
async fn metrics_tell_of_peers_and_groups(first: &Server) {
    let begun = Instant::now();
    let metrics = loop {
        let (_, metrics) = first.get("/metrics").unwrap();
        // They are set once a second.
        let settled = [
            "docket_peer_connected{node=\"3\"} 1",
            "docket_cluster_moves_in_progress 0",
        ];
        if settled
            .iter()
            .all(|series| metrics.lines().any(|line| line == *series))
        {
            break metrics;
        }
        assert!(begun.elapsed() < PATIENCE, "node 3 is not connected: {metrics}");
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let value = |series: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("no {series} in {metrics}"));
        line.parse().unwrap()
    };
    for node in [2, 3] {
        for name in [
            "docket_peer_connect_failures_total",
            "docket_peer_snapshot_bytes_sent_total",
            "docket_peer_appends_sent_total",
            "docket_peer_append_bytes_sent_total",
            "docket_peer_heartbeats_sent_total",
            "docket_peer_calls_sent_total",
            "docket_peer_call_bytes_sent_total",
        ] {
            value(&format!("{name}{{node=\"{node}\"}}"));
        }
        assert_eq!(value(&format!("docket_peer_connected{{node=\"{node}\"}}")), 1.0);
        assert!(value(&format!("docket_peer_silence_seconds{{node=\"{node}\"}}")) < 30.0);
        assert!(value(&format!("docket_peer_connects_total{{node=\"{node}\"}}")) > 0.0);
    }
    let roles = ["leader", "follower", "learner", "none"];
    let groups: f64 = roles
        .iter()
        .map(|role| value(&format!("docket_raft_groups{{role=\"{role}\"}}")))
        .sum();
    assert_eq!(groups, 1.0 + SHARDS as f64);
    for group in ["meta", "shard-0", "shard-1", "shard-2"] {
        let of = |name: &str| value(&format!("{name}{{group=\"{group}\"}}"));
        assert!(of("docket_raft_term") > 0.0);
        assert!(of("docket_raft_elections_total") > 0.0);
        assert!(of("docket_raft_leader_changes_total") > 0.0);
        of("docket_raft_leader");
        of("docket_raft_apply_lag_entries");
    }
    value("docket_cluster_moves_done_total");
    value("docket_cluster_move_step_failures_total");
    // The founder has led all groups, and given each its replicas.
    assert!(metrics.contains("docket_raft_replica_lag_entries{"), "{metrics}");
    for line in metrics.lines() {
        let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split(' ').next())
        else {
            continue;
        };
        let help = format!("# HELP {name} ");
        assert!(
            metrics.lines().any(|line| line.starts_with(&help)),
            "{name} is not explained"
        );
    }
}

fn watching_ends_with_ctrl_c(nodes: &Nodes, server: &Server) {
    let address = format!("http://{}", server.grpc);
    let key = nodes.home(1).data().join("admin.key");
    let mut watching = nodes
        .home(1)
        .command(&[
            "status",
            "--watch=100ms",
            "--addr",
            &address,
            "--api-key-file",
            key.to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    // Where nobody's terminal is, one block follows the other.
    let heads = lines
        .map(Result::unwrap)
        .filter(|line| line.starts_with("cluster "));
    assert_eq!(heads.take(3).count(), 3);
    let pid = Pid::from_raw(watching.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}
