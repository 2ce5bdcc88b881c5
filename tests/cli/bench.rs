//! `docket bench`: what it measures, what it checks, and what it leaves behind.

use std::{
    fs,
    path::Path,
    process::Stdio,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use docket_soak::{Acknowledged, Ledger, Load, Mode, Pace, Shape, Workload, books, drive};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    server::{Server, until},
    support::Shell,
};

/// A load as small as a load can be.
const SMALL: &str = "--duration 1s --warm-up 100ms --rounds 1 --customers 20 --items 20 --dir . -o json";

#[track_caller]
fn median(report: &Value, name: &str) -> f64 {
    let figure = &report["figures"][name];
    figure["median"]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// Benches, and checks what every report has.
#[track_caller]
fn bench(shell: &Shell, args: &str) -> Value {
    let run = shell.run(&format!("bench {SMALL} {args}")).ends(0);
    assert_eq!(run.stderr, "", "no terminal, no progress");
    let report = run.json();
    for name in ["orders_per_second", "p50_us", "p99_99_us", "max_us"] {
        assert!(median(&report, name) > 0.0, "{name} in {report:#}");
    }
    assert!(median(&report, "p50_us") <= median(&report, "p99_us"));
    let books = &report["books"];
    assert_eq!(
        (&books["balance"], &books["fault_count"]),
        (&true.into(), &0.into()),
        "{books:#}"
    );
    assert!(books["acknowledged"].as_u64().unwrap() > 0, "{books:#}");
    assert_eq!(books["acknowledged"], books["orders_read"]);
    assert_eq!((&books["customers"], &books["items"]), (&20.into(), &20.into()));
    assert_eq!(report["errors"], serde_json::json!({}));
    report
}

/// The folders of servers that are still there.
fn left_behind(shell: &Shell) -> Vec<String> {
    let entries = fs::read_dir(shell.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("docket-bench-")).collect()
}

#[test]
fn unary_calls_are_measured_against_the_echo_and_the_disk() {
    let shell = Shell::new();
    let report = bench(&shell, "--skew 0.9 --read-share 0.2");
    assert_eq!(report["settings"]["mode"], "unary");
    assert_eq!(report["settings"]["in_flight"], 64);
    for name in [
        "reads_per_second",
        "read_p50_us",
        "server_cpu_us_per_order",
        "server_rss_bytes",
        "server_rss_peak_bytes",
        "journal_record_bytes_per_order",
        "syncs_per_order",
        "echo_calls_per_second",
        "disk_p50_us",
        "rate_to_echo",
        "p50_less_echo_to_disk",
    ] {
        assert!(median(&report, name) != 0.0, "{name} is 0 in {report:#}");
    }
    assert_eq!(left_behind(&shell), Vec::<String>::new());
}

#[test]
fn streams_are_measured_in_an_open_loop_and_compared_with_an_earlier_run() {
    let shell = Shell::new();
    let old = bench(&shell, "--mode stream");
    fs::write(shell.path().join("old.json"), old.to_string()).unwrap();
    let new = bench(
        &shell,
        "--mode stream --rate 200 --no-baselines --compare old.json",
    );
    assert!(median(&new, "orders_per_second") <= 250.0);
    assert!(new["figures"]["echo_p50_us"].is_null());
    let compared = &new["compared"];
    let ratio = compared["ratios"]["orders_per_second"].as_f64().unwrap();
    let expected = median(&new, "orders_per_second") / median(&old, "orders_per_second");
    assert!((ratio - expected).abs() < 1e-9, "{ratio} is not {expected}");
    assert_eq!(compared["settings_that_differ"]["rate"]["new"], 200.0);
    let table = shell
        .run("bench --duration 1s --rounds 1 --no-baselines --dir . --compare old.json")
        .ends(0)
        .says("mode");
    for part in ["NEW TO OLD", "orders per second", "the books balance"] {
        assert!(table.stdout.contains(part), "no {part} in {}", table.stdout);
    }
}

#[test]
fn a_server_elsewhere_is_measured_and_says_when_its_limits_are() {
    let limits = "[limits]\nadmin = { per_second = 500, burst = 10 }\n";
    let shell = Shell::new().file("docket.toml", limits);
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    let small = "--duration 1s --warm-up 100ms --rounds 1 --customers 2 --items 2 --no-baselines -o json";
    let run = shell.run(&format!("bench {small} {}", server.flags())).ends(0);
    let report = run.json();
    assert!(
        report["errors"]["RESOURCE_EXHAUSTED"].as_u64().unwrap() > 0,
        "{report:#}"
    );
    assert!(report["notes"].to_string().contains("limits"), "{report:#}");
    assert_eq!(report["books"]["balance"], true);
    server.stop();
}

#[test]
fn a_server_that_is_offered_too_much_does_what_it_can_and_is_itself_again() {
    let shell = Shell::new().variable("DOCKET__ADMISSION__MAX_CALLS", "8");
    let run = shell
        .run(&format!(
            "bench {SMALL} --in-flight 8 --no-baselines --overload 10"
        ))
        .ends(0);
    let report = run.json();
    for name in [
        "overload_offered_per_second",
        "overload_orders_per_second",
        "overload_refused_per_second",
        "overload_refused_p99_us",
        "overload_orders_to_usual",
        "after_overload_to_usual",
    ] {
        assert!(median(&report, name) > 0.0, "{name} is 0 in {report:#}");
    }
    assert_eq!(report["settings"]["overload"], 10.0);
    // Whatever was refused was not done, and whatever was done was told.
    assert_eq!(report["books"]["balance"], true, "{report:#}");
    assert!(report["errors"]["RESOURCE_EXHAUSTED"].as_u64().unwrap() > 0);
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let shell = Shell::new();
    let mut bench = shell
        .command("bench --duration 1m --dir .".split(' '))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the server's folder", || left_behind(&shell).pop(), String::new);
    thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert_eq!(left_behind(&shell), Vec::<String>::new());
}

/// Whether a process runs; one that nobody has taken leave of yet does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[test]
fn a_bench_that_is_killed_takes_its_server_and_its_echo_along() {
    let shell = Shell::new();
    let mut bench = shell
        .command("bench --duration 1m --warm-up 100ms --dir .".split(' '))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let of_bench = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        parent == Some(bench.id().to_string().as_str())
    };
    let children = || {
        let all = fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let found: Vec<u32> = pids.filter(of_bench).collect();
        // The server, and the echo, which is started when that is ready.
        (found.len() == 2).then_some(found)
    };
    let children = until("the server and the echo", children, String::new);
    assert!(children.iter().all(|pid| runs(*pid)));
    bench.kill().unwrap();
    bench.wait().unwrap();
    let gone = || children.iter().all(|pid| !runs(*pid)).then_some(());
    until("the server and the echo to go", gone, || format!("{children:?}"));
}

#[test]
fn a_load_that_makes_no_sense_is_refused_before_anything_is_started() {
    let shell = Shell::new().file("other.json", "{}");
    for (args, said) in [
        ("--lines 3 --items 2", "3 lines need as many items"),
        (
            "--in-flight 2 --connections 4",
            "2 in flight do not share 4 connections",
        ),
        ("--overload 0.5", "--overload must be 1 or more"),
        ("--rate 0", "the rate must be more than 0"),
        ("--check-share 2", "--check-share"),
        ("--compare missing.json", "missing.json"),
        ("--compare other.json", "no output of `docket bench -o json`"),
        ("--api-key x", "--api-key is a flag of the client commands"),
        ("--addr http://127.0.0.1:1 --dir .", "--dir"),
    ] {
        shell
            .run(&format!("bench {args}"))
            .ends(2)
            .says(said)
            .prints_nothing();
    }
}

/// Half a second of orders, as the library drives them.
fn load(mode: Mode) -> Load {
    Load {
        mode,
        pace: Pace::Closed,
        in_flight: 32,
        connections: 2,
        threads: 1,
        duration: Duration::from_millis(500),
        patience: Duration::from_secs(2),
    }
}

fn workload() -> Arc<Workload> {
    let shape = Shape {
        customers: 5,
        items: 5,
        ..Shape::default()
    };
    Arc::new(Workload::new(shape).unwrap())
}

#[tokio::test]
async fn books_that_are_off_by_one_order_do_not_balance() {
    let shell = Shell::new();
    let program = Path::new(env!("CARGO_BIN_EXE_docket"));
    let server = docket_soak::Server::start(program, shell.path()).await.unwrap();
    let (target, workload) = (server.target().unwrap(), workload());
    books::open(&target, &workload).await.unwrap();
    let tally = drive(&target, &workload, &load(Mode::Unary), &Arc::default()).await;
    let ledger = tally.unwrap().ledger;
    let faults = async |ledger: &Ledger| {
        books::check(&target, &workload, ledger, 1.0)
            .await
            .unwrap()
            .faults
    };
    assert_eq!(faults(&ledger).await, Vec::<String>::new());

    let mut forgotten = ledger.clone();
    forgotten.acknowledged.pop();
    let mut doubled = ledger.clone();
    doubled.acknowledged.push(ledger.acknowledged[0]);
    let mut invented = ledger.clone();
    invented
        .acknowledged
        .push(Acknowledged::new("orders/01KAVQX5C8R7ZJ3M9T2B4N6P8Q", 1).unwrap());
    let mut mistaken = ledger.clone();
    mistaken.acknowledged[0].n = ledger.acknowledged[1].n;
    for (ledger, said) in [
        (forgotten, "never acknowledged"),
        (doubled, "is not listed"),
        (invented, "is not listed"),
        (mistaken, "must be"),
    ] {
        let faults = faults(&ledger).await;
        assert!(
            faults.iter().any(|fault| fault.contains(said)),
            "no {said} in {faults:#?}"
        );
        assert!(faults.iter().any(|fault| fault.contains("held")), "{faults:#?}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn orders_whose_answers_a_kill_took_are_asked_for_again_and_balance() {
    let program = Path::new(env!("CARGO_BIN_EXE_docket"));
    for mode in [Mode::Unary, Mode::Stream] {
        let shell = Shell::new();
        let server = docket_soak::Server::start(program, shell.path()).await.unwrap();
        let (target, workload) = (server.target().unwrap(), workload());
        books::open(&target, &workload).await.unwrap();
        let load = load(mode);
        let progress = Arc::default();
        let (tally, ()) = tokio::join!(drive(&target, &workload, &load, &progress), async {
            tokio::time::sleep(load.duration / 2).await;
            server.kill().unwrap();
        });
        let mut tally = tally.unwrap();
        assert!(
            tally.failed() > 0 && !tally.ledger.unknown.is_empty(),
            "{mode:?}: nothing was lost"
        );

        let server = docket_soak::Server::start(program, shell.path()).await.unwrap();
        let target = server.target().unwrap();
        books::settle(&target, &workload, &mut tally.ledger)
            .await
            .unwrap();
        // What was reserved for an order that never came to be is given back within some seconds of the start.
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let checked = books::check(&target, &workload, &tally.ledger, 1.0)
                .await
                .unwrap();
            if checked.fault_count == 0 {
                break;
            }
            assert!(Instant::now() < end, "{mode:?}: {:#?}", checked.faults);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        server.stop().await.unwrap();
    }
}
