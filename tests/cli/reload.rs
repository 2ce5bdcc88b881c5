//! The configuration, changed while the server runs.

use std::fs;

use rustix::process::Signal;

use crate::{
    server::{Server, until},
    support::Shell,
};

const FILE: &str = "docket.toml";

/// A server whose administrator may call so often, with these lines at the end of its file.
fn write(shell: &Shell, burst: u32, more: &str) {
    // As a careful program does: nobody sees half of it.
    let text = format!("[limits.admin]\nper_second = 1\nburst = {burst}\n{more}");
    fs::write(shell.path().join("new.toml"), text).unwrap();
    fs::rename(shell.path().join("new.toml"), shell.path().join(FILE)).unwrap();
}

#[track_caller]
fn logs(server: &Server, what: &str) {
    until(
        what,
        || server.log().contains(what).then_some(()),
        || server.log(),
    );
}

/// How many of so many calls in a row are let in.
fn let_in(shell: &Shell, server: &Server, calls: usize) -> usize {
    let call = || shell.run(&format!("customer list {}", server.flags()));
    (0..calls).map(|_| call()).filter(|run| run.code == 0).count()
}

#[test]
fn limits_and_log_levels_are_changed_in_the_file_and_what_needs_a_restart_is_named() {
    let shell = Shell::new();
    write(&shell, 1_000, "");
    let server = Server::start_with(&shell, &["--config", FILE]);
    assert_eq!(let_in(&shell, &server, 5), 5);

    write(
        &shell,
        1,
        "[log]\nlevel = \"debug\"\n\n[server]\ndrain_ms = 1234\n",
    );
    logs(&server, "log.level");
    logs(&server, "limits.admin.burst");
    logs(&server, "configured anew");
    logs(&server, "takes effect with a restart");
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("takes effect with a restart"))
        .unwrap();
    assert!(
        line.contains("server.drain_ms") && line.contains("docket.toml:8"),
        "{line}"
    );
    let refused = until(
        "a call to be refused",
        || {
            let run = shell.run(&format!("customer list {}", server.flags()));
            (run.code != 0).then_some(run)
        },
        || server.log(),
    );
    assert!(refused.stderr.contains("RATE_LIMITED"), "{}", refused.stderr);
    logs(&server, "\"DEBUG\"");
    server.stop();
}

/// Places an order; the trace that its first event names.
fn trace_of_an_order(shell: &Shell, server: &Server) -> String {
    let flags = server.flags();
    let placed = shell.run(&format!("order place --customer acme tea:1 -o json {flags}"));
    let name = placed.ends(0).json()["name"].as_str().unwrap().to_owned();
    let history = shell
        .run(&format!("order history {name} -o json {flags}"))
        .ends(0)
        .json();
    let first = &history["events"][0];
    first["trace_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{history}"))
        .to_owned()
}

#[test]
fn the_share_of_the_calls_that_is_traced_is_changed_in_the_file_and_a_trace_of_the_environments_counts() {
    // Nobody is there; what is sampled is so all the same.
    let section = |ratio| format!("\n[tracing]\nendpoint = \"http://127.0.0.1:9\"\nratio = {ratio}\n");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let shell = Shell::new();
    write(&shell, 1_000, &section("0.0"));
    let server = Server::start_with(&shell, &["--config", FILE]);
    let flags = server.flags();
    for made in [
        "customer create acme --currency eur --credit-limit 100",
        "item create tea --currency EUR --price 4.50 --on-hand 100",
    ] {
        shell.run(&format!("{made} {flags}")).ends(0);
    }
    assert_eq!(trace_of_an_order(&shell, &server), "");

    // What is found out only where it is put in force keeps the rest of the file from it.
    let broken = format!("{}[webhooks]\nca = \"gone.pem\"\n", section("1.0"));
    write(&shell, 1_000, &broken);
    logs(&server, "the configuration stays as it was");
    assert_eq!(trace_of_an_order(&shell, &server), "");

    write(&shell, 1_000, &section("1.0"));
    logs(&server, "configured anew");
    let begun = trace_of_an_order(&shell, &server);
    assert!(begun.len() == 32 && begun != trace, "{begun}");

    let shell = shell.variable("TRACEPARENT", &format!("00-{trace}-00f067aa0ba902b7-00"));
    assert_eq!(trace_of_an_order(&shell, &server), trace);
    server.stop();
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_says_which_line() {
    let shell = Shell::new();
    write(&shell, 1_000, "");
    let server = Server::start_with(&shell, &["--config", FILE]);
    write(&shell, 1, "bursst = 2\n");
    logs(&server, "docket.toml:4: unknown key `limits.admin.bursst`");
    logs(&server, "the configuration stays as it was");
    assert_eq!(let_in(&shell, &server, 5), 5);
    let reloads = |result: &str| {
        let (_, metrics) = server.admin("/metrics").unwrap();
        metrics.contains(&format!("docket_config_reloads_total{{result=\"{result}\"}} 1"))
    };
    // They are counted behind the line that says what came of it.
    let counted = |result: &str| until(result, || reloads(result).then_some(()), || server.log());
    counted("invalid");
    assert!(!reloads("valid"));

    // Mended; and a signal reads it as well, also where nothing was changed.
    write(&shell, 999, "");
    logs(&server, "configured anew");
    counted("valid");
    server.signal(Signal::HUP);
    logs(&server, "nothing in it has changed");
    server.stop();
}

#[test]
fn the_reference_is_a_file_to_begin_from() {
    let shell = Shell::new();
    let text = shell.run("config reference").ends(0).stdout;
    assert!(text.contains("# segment_bytes = "), "{text}");
    let shell = shell.file(FILE, &text);
    shell
        .run("config check --config docket.toml")
        .ends(0)
        .says("valid");
    let json = shell.run("config reference -o json").ends(0).json();
    assert_eq!(json["limits.admin.burst"]["reloads"], true);
    assert_eq!(json["server.drain_ms"]["unit"], "milliseconds");
    assert_eq!(json["server.drain_ms"]["reloads"], false);
}
