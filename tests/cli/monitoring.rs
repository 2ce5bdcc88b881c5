//! What Prometheus and Grafana are given: the rules are valid, each alert has a page and tests that it fires and that it does not, and
//! whatever is asked for is measured.

mod dashboards;
mod rules;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    server::{Server, until},
    support::Shell,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

/// The files of a folder that end so, in the order of their names.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "nothing ends with {ending} in {folder}");
    paths
}

/// Whether promtool is there; what needs it says that it is skipped where not.
fn promtool(what: &str) -> bool {
    if Command::new("promtool").arg("--version").output().is_ok() {
        return true;
    }
    // Written as it is: what is printed by a test that passes is not shown.
    let line = format!("SKIPPED: {what}: promtool is not installed here\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// Runs promtool, which must find nothing.
#[track_caller]
fn passes(args: &[&str], files: &[PathBuf]) {
    let run = Command::new("promtool").args(args).args(files).output().unwrap();
    assert!(
        run.status.success(),
        "promtool {args:?}: {}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

/// The metrics of the documentation, which another test holds against the program.
fn documented() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: BTreeSet<String> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect();
    assert!(names.len() > 100, "docs/metrics.md is not read: {names:?}");
    names
}

/// The metrics that an expression asks for, without what a histogram adds to its name.
fn asked_for(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let of_docket = words.filter(|word| word.starts_with("docket_"));
    let plain = |word: &str| {
        let histogram = ["_bucket", "_count", "_sum"];
        let base = histogram.iter().find_map(|ending| word.strip_suffix(ending));
        base.unwrap_or(word).to_owned()
    };
    of_docket.map(plain).collect()
}

#[test]
fn the_metrics_of_a_running_node_are_as_prometheus_wants_them_and_documented() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    for command in [
        "customer create acme --currency EUR --credit-limit 500.00",
        "item create tea --price 4.50 --currency EUR --on-hand 2",
        "order place --customer acme tea:1",
    ] {
        shell.run(&format!("{command} {flags}")).ends(0);
    }
    shell
        .run(&format!("order place --customer acme tea:7 {flags}"))
        .ends(1);
    let line = "docket_orders_rejected_total{reason=\"INSUFFICIENT_STOCK\"} 1";
    let metrics = until(
        "what is sampled once a second",
        || {
            let (_, metrics) = server.admin("/metrics")?;
            let sampled = [
                "docket_raft_has_leader{group=\"meta\"} 1",
                "docket_disk_size_bytes ",
                line,
            ];
            sampled
                .iter()
                .all(|line| metrics.lines().any(|one| one.starts_with(line)))
                .then_some(metrics)
        },
        || server.log(),
    );
    let documented = documented();
    for line in metrics.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(documented.contains(name), "{name} is not in docs/metrics.md");
        assert!(
            metrics.contains(&format!("# HELP {name} ")),
            "{name} is not described"
        );
    }
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("docket_disk_free_bytes ") < value("docket_disk_size_bytes "));
    assert!(value("docket_disk_reserve_bytes ") > 0.0);
    assert!(value("docket_process_open_fds ") > 3.0);
    assert!(value("docket_process_max_fds ") > value("docket_process_open_fds "));
    assert!(value("docket_runtime_tasks ") > 0.0);
    assert_eq!(value("docket_orders_stuck{state=\"pending\"} "), 0.0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!((value("docket_time_seconds ") - now.as_secs_f64()).abs() < 60.0);
    if promtool("the lint of /metrics") {
        let mut lint = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        lint.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
        let told = lint.wait_with_output().unwrap();
        assert!(
            told.status.success() && told.stdout.is_empty() && told.stderr.is_empty(),
            "{}{}",
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr)
        );
    }
    server.stop();
}
