//! One node after another gets a new program while orders are placed: `docket upgrade run` with the commands of `deploy/upgrade/local`, and its
//! gate. What comes of it in each case: no request of a client fails that repeats what is safe, and every node has every acknowledged order.
//!
//! Both programs are the one that is built; a variable that only builds with debug assertions know has it call itself another version, and
//! speak what that speaks. `DOCKET_TEST_OLDER` names a program from before, which is used in the old one's place then.

mod data;
mod local;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    changes::{hold, load::Load, stage::Stage},
    server::{LOOK_AGAIN, PATIENCE},
};
use local::Local;

const NODES: [usize; 3] = [1, 2, 3];
/// The older program: its version, and what it speaks of the peer protocol.
const OLD: &str = "0.0.9/8";
/// The newer one.
const NEW: &str = "0.2.0/9";
/// Within which a bad canary has to be gone.
const GONE_WITHIN: f64 = 60.0;

/// The program does not take itself for another one in any other build.
fn can_be_tried() -> bool {
    if !cfg!(debug_assertions) {
        println!(
            "SKIPPED: the program is built without debug assertions, and is no other version than its own"
        );
    }
    cfg!(debug_assertions)
}

/// Watches the first one for so long, and the others shortly. Other tests share the machine, and leads move: that an order may take half a second is
/// no fault of a program that is built for tests.
fn watched(canary: &str) -> [&str; 8] {
    [
        "--canary", canary, "--watch", "1s", "--window", "3s", "--slo", "500ms",
    ]
}

async fn begin(name: &str) -> (Stage, Local, Load) {
    let mut stage = Stage::with(NODES.len(), &[(local::PROGRAM, OLD)]);
    let local = Local::of(&stage, &NODES);
    local.program("old", OLD, "");
    local.program("new", NEW, "");
    for node in NODES {
        local.run("old", node);
        stage.is_elsewhere(node);
    }
    stage
        .until("every node votes everywhere", |status| {
            !status.placements.is_empty()
                && status
                    .placements
                    .iter()
                    .all(|group| group.placed_ids == [1, 2, 3])
        })
        .await;
    let load = Load::begin(&stage, &NODES, name).await;
    (stage, local, load)
}

/// Waits until a node is ready.
async fn ready(stage: &Stage, node: usize) {
    stage
        .until("a node is ready", |status| {
            let of_node = status.nodes.iter().find(|one| one.node_id == node as u64);
            of_node.is_some_and(|one| one.ready)
        })
        .await;
    stage.until_settled_under_load().await;
}

/// Holds every node against what was acknowledged, and ends.
async fn finish(mut stage: Stage, local: Local, load: Load) {
    hold(&stage, load).await;
    for node in NODES {
        local.run("stop", node);
        stage.has_gone(node);
    }
    stage.end().await;
}

fn versions(status: &Value) -> Vec<&str> {
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node["version"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_upgraded_node_by_node_can_go_back_and_is_then_finalised() {
    if !can_be_tried() {
        return;
    }
    let (stage, local, mut load) = begin("upgraded").await;
    load.phase("the nodes are exchanged");
    let (code, report, said) = local.upgrade(&stage, &watched("3s")).await;
    assert_eq!(
        (code, report["outcome"].as_str()),
        (0, Some("upgraded")),
        "{report} {said}"
    );
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), NODES.len(), "{report}");
    for step in steps {
        assert_eq!(step["failed_calls"], 0.0, "{step}");
        println!("  {step}");
    }
    load.goes_on(&stage).await;

    load.phase("one goes back, and again");
    let (code, status) = local.status(&stage).await;
    assert_eq!(code, 10, "{status}");
    assert_eq!(versions(&status), ["0.2.0"; 3], "{status}");
    assert_eq!(
        (&status["finalised_protocol"], &status["newest_protocol"]),
        (&8.into(), &9.into())
    );
    local.run("old", 3);
    ready(&stage, 3).await;
    load.goes_on(&stage).await;
    let (_, status) = local.status(&stage).await;
    assert_eq!(
        versions(&status),
        ["0.2.0", "0.2.0", local::old_version()],
        "{status}"
    );
    assert!(
        status["blockers"][0].as_str().unwrap().starts_with("node 3 runs"),
        "{status}"
    );
    // Where the old one leads meanwhile it is refused in other words.
    let refused = local.finalize(&stage).await.unwrap_err();
    println!("  {}", refused.trim());
    // What runs the new program already is left alone.
    let (code, report, said) = local.upgrade(&stage, &watched("1s")).await;
    assert_eq!(
        (code, report["steps"].as_array().unwrap().len()),
        (0, 1),
        "{report} {said}"
    );

    load.phase("it is final");
    local.finalize(&stage).await.unwrap();
    let (code, status) = local.status(&stage).await;
    assert_eq!((code, &status["finalised_protocol"]), (0, &9.into()), "{status}");
    load.goes_on(&stage).await;
    // And the way back is closed, by name: at once, or as soon as it has read so far.
    let _ = local.try_run("old", 3);
    let begun = Instant::now();
    // What a real program from before does not know it calls newer.
    while !["finalised at version 9", "use a newer program"]
        .iter()
        .any(|why| local.log(3).contains(why))
    {
        assert!(begun.elapsed() < PATIENCE, "{}", local.log(3));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    local.run("new", 3);
    ready(&stage, 3).await;
    load.goes_on(&stage).await;
    finish(stage, local, load).await;
}

/// Whether a program can be run under strace.
fn traces() -> bool {
    let traced = std::process::Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    traced.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_breaks_an_objective_is_taken_back_by_itself_within_a_minute() {
    if !can_be_tried() {
        return;
    }
    let (stage, local, mut load) = begin("canary").await;

    load.phase("a program that does not start");
    local.program("new", NEW, "false");
    let (code, report, said) = local.upgrade(&stage, &["--canary", "3s"]).await;
    assert_eq!(
        (code, report["outcome"].as_str()),
        (10, Some("rolled_back")),
        "{report} {said}"
    );
    assert!(
        report["breach"].as_str().unwrap().contains("exit status: 1"),
        "{report}"
    );
    load.goes_on(&stage).await;

    load.phase("a program whose syncs are slow");
    let slow = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync,sync_file_range \
                -e inject=fsync,fdatasync,sync_file_range:delay_exit=150000";
    // Where other work has all nodes break their objectives no one of them is worse than the others: the slow suite, which runs alone, asks for it.
    if std::env::var_os("DOCKET_CANARY").is_none() {
        println!("SKIPPED: slow syncs: DOCKET_CANARY is not set");
    } else if traces() {
        local.program("new", NEW, slow);
        let begun = Instant::now();
        let args = ["--canary", "2m", "--window", "5s", "--looks", "3"];
        let (code, report, said) = local.upgrade(&stage, &args).await;
        assert_eq!(
            (code, report["outcome"].as_str()),
            (10, Some("rolled_back")),
            "{report} {said}"
        );
        let breach = report["breach"].as_str().unwrap();
        assert!(breach.contains("p99 of its"), "{report}");
        let exchanged = report["steps"][0]["ready_after_seconds"].as_f64().unwrap();
        let back = report["rollback_seconds"].as_f64().unwrap();
        println!(
            "  {breach}: after {:.1?} in all the old program served again, which took {back:.1} s of it ({exchanged:.1} s to serve)",
            begun.elapsed()
        );
        assert!(begun.elapsed() < Duration::from_secs_f64(GONE_WITHIN), "{report}");
        load.goes_on(&stage).await;
    } else {
        println!("SKIPPED: slow syncs: strace is missing, or may not trace");
    }
    let (_, status) = local.status(&stage).await;
    assert_eq!(versions(&status), [local::old_version(); 3], "{status}");
    finish(stage, local, load).await;
}
