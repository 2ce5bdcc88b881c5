//! What Prometheus and Grafana are given: the rules are valid, each alert has a page and tests that it fires and that it does not, and
//! whatever is asked for is measured.

mod dashboards;
mod rules;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    dev::free_ports,
    server::{Server, until},
    support::{Run, Shell},
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
    are_well_formed("a node that stands alone", &metrics);
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
    // Each kind of task that a node has had by now. The admin port's is carried out at this moment, perhaps for the first time.
    let kinds = [
        "background",
        "call",
        "connection",
        "feed",
        "payments",
        "proposer",
        "webhooks",
    ];
    for kind in kinds {
        for of in ["started_total", "polls_total"] {
            let name = format!("docket_tasks_{of}{{kind=\"{kind}\"}} ");
            assert!(value(&name) > 0.0, "{name}");
        }
    }
    assert!(value("docket_tasks_alive{kind=\"admin\"} ") > 0.0);
    assert_eq!(value("docket_orders_stuck{state=\"pending\"} "), 0.0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!((value("docket_time_seconds ") - now.as_secs_f64()).abs() < 60.0);
    server.stop();
}

/// Whether all metrics of a page are documented and described, and promtool finds nothing in them.
#[track_caller]
fn are_well_formed(whose: &str, metrics: &str) {
    let documented = documented();
    for line in metrics.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(
            documented.contains(name),
            "{whose}: {name} is not in docs/metrics.md"
        );
        assert!(
            metrics.contains(&format!("# HELP {name} ")),
            "{whose}: {name} is not described"
        );
    }
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
            "{whose}: {}{}",
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr)
        );
    }
}

/// Three nodes of `docket dev`, ended with the test.
struct Cluster {
    dev: Child,
    shell: Shell,
    port: u16,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its nodes end with it.
        let _ = self.dev.kill();
        let _ = self.dev.wait();
    }
}

impl Cluster {
    fn start(shell: Shell) -> Self {
        let port = free_ports(3);
        let mut dev = shell
            .command(["dev", "--shards", "2", "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let told = BufReader::new(dev.stdout.take().unwrap()).lines().next();
        assert!(told.is_some_and(|line| line.unwrap().starts_with("The cluster is ready")));
        Self { dev, shell, port }
    }

    fn run(&self, command: &str) -> Run {
        let flags = format!(
            "--addr http://127.0.0.1:{} --api-key-file docket-dev/node-1/admin.key",
            self.port
        );
        self.shell.run(&format!("{command} {flags}"))
    }

    /// What a node's page of metrics says; nothing where it does not answer.
    fn metrics(&self, node: u16) -> String {
        let ask = || {
            let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + 10 * (node - 1) + 1)).ok()?;
            // Without chunks.
            tcp.write_all(b"GET /metrics HTTP/1.0\r\nhost: docket\r\n\r\n")
                .ok()?;
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).ok()?;
            Some(answer.split_once("\r\n\r\n")?.1.to_owned())
        };
        ask().unwrap_or_default()
    }
}

#[test]
fn so_are_those_of_a_clusters_nodes_with_all_that_they_may_have_and_of_a_standby() {
    // Nobody is there: what fails is counted as well.
    let nobody = "http://127.0.0.1:9";
    let shell = Shell::new()
        .variable("DOCKET__WEBHOOKS__ALLOW_HTTP", "true")
        .variable("DOCKET__WEBHOOKS__ALLOW_PRIVATE", "true")
        .variable("DOCKET__TRACING__ENDPOINT", nobody)
        .variable("DOCKET__TRACING__RATIO", "1")
        .variable("DOCKET__PAYMENTS__PROVIDERS__CARDS__URL", nobody);
    let cluster = Cluster::start(shell);
    for command in [
        "customer create acme --currency EUR --credit-limit 500.00",
        "item create tea --price 4.50 --currency EUR --on-hand 20",
        "webhook create http://127.0.0.1:9/hook",
        "order place --customer acme tea:1",
        "flag set backorders --off",
        "limit set admin --rate 100000",
    ] {
        cluster.run(command).ends(0);
    }
    cluster
        .run("order place --customer acme tea:1 --pay-by cards --timeout 2s")
        .ends(1);

    let standby = Shell::new();
    let key = fs::read_to_string(cluster.shell.path().join("docket-dev/node-1/admin.key")).unwrap();
    let config = format!(
        "[standby]\nof = [\"http://127.0.0.1:{}\"]\nadvertise = \"{nobody}\"\napi_key = \"file:primary.key\"\npoll_ms = 100\n",
        cluster.port
    );
    let standby = standby.file("primary.key", &key).file("docket.toml", &config);
    let standby = Server::start_with(&standby, &["--config", "docket.toml"]);
    // What each of them must have come to tell of, on whichever of its nodes.
    let told_by_some = [
        "docket_peer_connected{",
        "docket_peer_calls_sent_total{",
        "docket_raft_replica_lag_entries{",
        "docket_webhook_deliveries_total{",
        "docket_webhooks ",
        "docket_payment_requests_total{",
        "docket_trace_spans_dropped_total{",
        "docket_orders_stuck{",
    ];
    let pages = until(
        "the nodes to tell of all that they have",
        || {
            let pages = [1, 2, 3].map(|node| cluster.metrics(node));
            let tells = |told: &&str| {
                pages
                    .iter()
                    .any(|page| page.lines().any(|line| line.starts_with(*told)))
            };
            told_by_some.iter().all(tells).then_some(pages)
        },
        || {
            let pages = [1, 2, 3].map(|node| cluster.metrics(node)).concat();
            let missing = told_by_some.iter().filter(|told| !pages.contains(**told));
            format!("{:?} is missing", missing.collect::<Vec<_>>())
        },
    );
    for (page, node) in pages.iter().zip(1..) {
        are_well_formed(&format!("node {node}"), page);
    }
    let page = until(
        "the standby to follow",
        || {
            let (_, page) = standby.admin("/metrics")?;
            let told = ["docket_standby_follows 1", "docket_standby_lag_seconds "];
            told.iter().all(|told| page.contains(told)).then_some(page)
        },
        || standby.log(),
    );
    are_well_formed("a standby", &page);
    standby.stop();
}
