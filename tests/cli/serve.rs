//! A server's life: the first start, the next one, signals, what stands in its way, TLS; and the demo.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    server::{Server, serve_args, until},
    support::Shell,
};

#[test]
fn the_first_start_makes_a_key_and_prints_commands_that_work() {
    let shell = Shell::new();
    // As a person starts it: a table, and the commands to paste.
    let args = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let log = fs::File::create(shell.path().join("server.log")).unwrap();
    let mut child = shell
        .command(args)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("The key file"))
        .collect();
    assert!(lines[0].ends_with("is ready."), "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("admin") && line.contains("http://127.0.0.1:")),
        "{lines:#?}"
    );

    let key = shell.path().join("docket-data/admin.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = shell.path().join("docket-data");
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    let secret = fs::read_to_string(&key).unwrap();
    assert!(!lines.join("\n").contains(secret.trim()), "the key is shown");

    let commands: Vec<&String> = lines.iter().filter(|line| line.starts_with("  /")).collect();
    assert_eq!(commands.len(), 3, "{lines:#?}");
    for command in &commands {
        let pasted = Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(shell.path())
            .env_clear()
            .output()
            .unwrap();
        assert!(pasted.status.success(), "{command}: {pasted:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let log = fs::read_to_string(shell.path().join("server.log")).unwrap();
    assert!(!log.contains(secret.trim()), "the key is in the log");
}

#[test]
fn the_next_start_keeps_the_key_and_the_data() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    assert_eq!(server.announced["first_start"], true);
    let key = fs::read_to_string(shell.path().join("docket-data/admin.key")).unwrap();
    let create = format!(
        "customer create acme --currency EUR --credit-limit 12.34 -o json {}",
        server.flags()
    );
    let created = shell.run(&create).ends(0).json();
    server.stop();

    let server = Server::start(&shell);
    assert_eq!(server.announced["first_start"], false);
    assert_eq!(
        fs::read_to_string(shell.path().join("docket-data/admin.key")).unwrap(),
        key
    );
    let found = shell
        .run(&format!("customer get acme -o json {}", server.flags()))
        .ends(0)
        .json();
    assert_eq!(found, created);
    assert_eq!(found["credit_limit"], 1234);
    server.stop();
}

#[test]
fn a_server_that_is_well_says_so() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    assert!(
        shell
            .run(&format!("health {flags}"))
            .ends(0)
            .stdout
            .contains("SERVING")
    );
    let status = shell.run(&format!("status -o json {flags}")).ends(0).json();
    assert_eq!(status["ready"], true);
    assert_eq!(status["groups"].as_array().unwrap().len(), 9, "{status}");
    assert!(
        status["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|group| group["leader"] == true),
        "{status}"
    );
    assert!(status["journal"]["free_bytes"].as_u64().unwrap() > 0, "{status}");
    let table = shell.run(&format!("status {flags}")).ends(0).stdout;
    assert!(table.contains("shard-7") && !table.contains('\u{1b}'), "{table}");
    let cluster = shell
        .run(&format!("status --cluster -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(cluster["shards"], 8);
    assert_eq!(server.admin("/readyz").unwrap().0, 200);
    let metrics = server.admin("/metrics").unwrap().1;
    assert!(
        metrics.contains("docket_journal_") && metrics.contains("docket_requests_total"),
        "{metrics}"
    );
    // What stands in the journal of a running server is nobody else's.
    shell.run("journal verify").ends(1).says("docket-data");
    server.stop();
    shell.run("journal verify").ends(0);
}

#[test]
fn an_order_shows_in_every_metric_that_operators_go_by() {
    let shell = Shell::new()
        .variable("DOCKET__LIMITS__OPEN__PER_SECOND", "1")
        .variable("DOCKET__LIMITS__OPEN__BURST", "1");
    let server = Server::start(&shell);
    let flags = server.flags();
    for command in [
        "customer create acme --currency EUR --credit-limit 500.00",
        "item create tea --price 4.50 --currency EUR --on-hand 100",
        "order place --customer acme tea:2",
    ] {
        shell.run(&format!("{command} {flags}")).ends(0);
    }
    shell
        .run(&format!("order place --customer acme tea:200 {flags}"))
        .ends(1)
        .says("INSUFFICIENT_CREDIT");
    // More logins at once than the bucket has tokens.
    let login = format!("auth login nobody --password-file server.log {flags}");
    let denied = (0..3).any(|_| shell.run(&login).stderr.contains("RATE_LIMITED"));
    assert!(denied, "{}", server.log());

    let metrics = until(
        "the gauges, which are set once a second",
        || {
            let metrics = server.admin("/metrics").unwrap().1;
            let mut lines = metrics.lines();
            let actors = lines.find_map(|line| line.strip_prefix("docket_actors{kind=\"customer\"} "));
            actors.is_some_and(|actors| actors != "0").then_some(metrics)
        },
        || server.log(),
    );
    let value = |series: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {metrics}"))
            .parse()
            .unwrap()
    };
    const PLACE: &str = "method=\"docket.v1.OrderService/PlaceOrder\"";
    for series in [
        // Latency and counts, by method and code.
        format!("docket_requests_total{{{PLACE},code=\"OK\"}}"),
        format!("docket_requests_total{{{PLACE},code=\"FAILED_PRECONDITION\"}}"),
        format!("docket_request_seconds_count{{{PLACE},code=\"OK\"}}"),
        format!("docket_request_seconds_sum{{{PLACE},code=\"OK\"}}"),
        // The journal.
        "docket_journal_sync_seconds_count".to_owned(),
        "docket_journal_sync_seconds_sum".to_owned(),
        "docket_journal_batch_records_count".to_owned(),
        "docket_shard_batch_records_count".to_owned(),
        "docket_journal_bytes".to_owned(),
        // Actors, orders, limits.
        "docket_actors{kind=\"customer\"}".to_owned(),
        "docket_actors_started_total{kind=\"order\"}".to_owned(),
        "docket_orders_settled_total{outcome=\"confirmed\"}".to_owned(),
        "docket_orders_settled_total{outcome=\"rejected\"}".to_owned(),
        "docket_limiter_denials_total{limiter=\"open\"}".to_owned(),
    ] {
        assert!(value(&series) > 0.0, "{series} in {metrics}");
    }
    for series in [
        // How much waits is 0 as a rule.
        "docket_journal_queue_records",
        "docket_journal_queue_bytes",
        "docket_raft_proposals_in_flight{group=\"meta\"}",
        "docket_requests_in_flight",
        "docket_calls_in_flight",
        // Nobody is passivated within a second.
        "docket_actors_passivated_total{kind=\"order\"}",
    ] {
        value(series);
    }
    for line in metrics.lines() {
        let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split(' ').next())
        else {
            continue;
        };
        assert!(name.starts_with("docket_"), "{name} is not ours");
        let help = format!("# HELP {name} ");
        let help = metrics.lines().find_map(|line| line.strip_prefix(&help));
        assert!(
            help.is_some_and(|help| !help.is_empty()),
            "{name} is not explained"
        );
    }
    server.stop();
}

#[test]
fn logs_are_json_where_no_terminal_reads_them() {
    let shell = Shell::new().variable("DOCKET__LOG__LEVEL", "info");
    let mut server = Server::start(&shell);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    let log = server.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(log.contains("everything is synced"), "{log}");
    assert!(
        log.contains("DOCKET__LOG__LEVEL"),
        "what is configured is told: {log}"
    );
}

#[test]
fn an_interrupt_stops_in_order_as_well() {
    let shell = Shell::new();
    let mut server = Server::start(&shell);
    server.signal(Signal::INT);
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
}

/// A server with a connection that never says a word: a stop waits for it.
fn with_a_silent_caller(drain_ms: &str) -> (Shell, Server, TcpStream) {
    let shell = Shell::new()
        .variable("DOCKET__CONNECTIONS__HANDSHAKE_MS", "600000")
        .variable("DOCKET__SERVER__DRAIN_MS", drain_ms);
    let server = Server::start(&shell);
    let caller = TcpStream::connect(server.grpc_socket()).unwrap();
    // The accept loop takes connections in order: when a later one was served, this one was taken.
    shell.run(&format!("health {}", server.flags())).ends(0);
    (shell, server, caller)
}

#[test]
fn a_stop_waits_for_callers_and_a_second_signal_does_not() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (shell, mut server, _caller) = with_a_silent_caller("600000");
        server.signal(Signal::TERM);
        let (_, body) = until(
            "the server not to be ready",
            || server.admin("/readyz?verbose").filter(|(code, _)| *code == 503),
            || server.log(),
        );
        assert!(body.contains("stopping"), "{body}");
        assert_eq!(server.admin("/livez").unwrap().0, 200);
        until(
            "nobody to be let in",
            || TcpStream::connect(server.grpc_socket()).err(),
            || server.log(),
        );
        shell
            .run(&format!("health {}", server.flags()))
            .ends(10)
            .says("connection refused");
        server.signal(second);
        assert_eq!(server.ended().code(), Some(code), "{}", server.log());
    }
}

#[test]
fn a_stop_waits_no_longer_than_configured() {
    let (_shell, mut server, _caller) = with_a_silent_caller("200");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
}

#[test]
fn what_stands_in_the_way_of_a_start_is_named() {
    let shell = Shell::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    shell
        .run(&format!("serve --listen {address} --admin-listen 127.0.0.1:0"))
        .ends(1)
        .says(&address)
        .says("take another one: --listen")
        .prints_nothing();
    shell
        .run(&format!("serve --listen 127.0.0.1:0 --admin-listen {address}"))
        .ends(1)
        .says("take another one: --admin-listen");
    shell
        .run("serve --listen 127.0.0.1:9 --admin-listen 127.0.0.1:9")
        .ends(2)
        .says("admin.listen");
    shell
        .run("serve --admin-listen 0.0.0.0:0")
        .ends(2)
        .says("admin.allow_remote");
    let shell = shell.file("not-a-folder", "");
    shell
        .run("serve --data-dir not-a-folder/data")
        .ends(1)
        .says("not-a-folder/data");

    let server = Server::start(&shell);
    shell.run(&serve_args(&[]).join(" ")).ends(1).says("docket-data");
    server.stop();
}

#[test]
fn tls_is_spoken_where_it_is_configured_and_certificates_are_read_again() {
    fn certificate() -> (String, String) {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }
    let (first, first_key) = certificate();
    let (second, second_key) = certificate();
    let shell = Shell::new()
        .file(
            "docket.toml",
            "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n",
        )
        .file("cert.pem", &first)
        .file("key.pem", &first_key)
        .file("first.pem", &first)
        .file("second.pem", &second);
    let server = Server::start_with(&shell, &["--config", "docket.toml"]);
    assert!(server.grpc().starts_with("https://"), "{}", server.announced);
    let flags = server.flags();
    shell.run(&format!("health {flags} --ca first.pem")).ends(0);
    shell
        .run(&format!("health {flags} --ca second.pem"))
        .ends(10)
        .says("TLS")
        .says("--ca");
    shell.run(&format!("health {flags}")).ends(10).says("TLS");
    shell.run(&format!("status {flags} --ca first.pem")).ends(0);
    let plain = flags.replace("https", "http");
    shell.run(&format!("health {plain} --timeout 5s")).ends(10);

    let shell = shell.file("cert.pem", &second).file("key.pem", &second_key);
    server.signal(Signal::HUP);
    until(
        "the new certificate",
        || (shell.run(&format!("health {flags} --ca second.pem")).code == 0).then_some(()),
        || server.log(),
    );
    server.stop();
}

#[test]
fn the_demo_shows_its_results_and_its_books_balance() {
    let shell = Shell::new();
    let run = shell.run("demo").ends(0);
    for part in [
        "INSUFFICIENT_STOCK",
        "INSUFFICIENT_CREDIT",
        "PRICE_CHANGED",
        "she wants 6 bulbs: one more is reserved, and held",
        "the books balance",
    ] {
        assert!(run.stdout.contains(part), "no {part} in {}", run.stdout);
    }
    assert!(!run.stdout.contains(" NO\n"), "{}", run.stdout);
    let checks = shell.run("demo -o json").ends(0).json();
    let checks = checks["checks"].as_array().unwrap();
    assert!(
        checks.len() >= 7 && checks.iter().all(|check| check["holds"] == true),
        "{checks:?}"
    );
    assert_eq!(
        fs::read_dir(shell.path()).unwrap().count(),
        0,
        "the demo leaves nothing behind"
    );
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let shell = Shell::new();
    let mut child = shell
        .command(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
