//! No connection: what was tried, what failed, what to do, and which exit code.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::Shell;

/// An address of this machine where nothing listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_refused_connection_is_told_in_full() {
    let address = nowhere();
    let run = Shell::new()
        .run(&format!("order list --addr {address}"))
        .ends(1)
        .prints_nothing();
    assert_eq!(
        run.stderr,
        format!(
            "error: cannot reach the server\n   tried: to connect to {address}, once, for up to 10s\n  failed: \
             connection refused: nothing listens there\n      do: start a server with `docket serve`, or name another \
             with --addr or DOCKET_ADDR\n"
        )
    );
}

#[test]
fn the_address_comes_from_the_nearest_place() {
    let shell = Shell::new().variable("DOCKET_ADDR", "http://127.0.0.1:1");
    shell.run("order list").ends(1).says("http://127.0.0.1:1,");
    shell
        .run("--addr http://127.0.0.1:2 order list")
        .ends(1)
        .says("http://127.0.0.1:2,");
    shell
        .run("--addr http://127.0.0.1:2 order list --addr http://127.0.0.1:3")
        .ends(1)
        .says("http://127.0.0.1:3,");
}

#[test]
fn programs_get_the_failure_as_json_on_stderr() {
    let run = Shell::new()
        .run(&format!("-o json order list --addr {}", nowhere()))
        .ends(1)
        .prints_nothing();
    let error: Value = serde_json::from_str(&run.stderr).unwrap();
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("connection refused"),
        "{error}"
    );
}

#[test]
fn status_and_health_of_nothing_are_unhealthy() {
    let address = nowhere();
    for command in ["status", "health"] {
        Shell::new()
            .run(&format!("{command} --addr {address}"))
            .ends(10)
            .says("connection refused")
            .prints_nothing();
    }
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    for (address, part) in [
        ("127.0.0.1:7070", "http://"),
        ("ftp://127.0.0.1", "http:// or https://"),
        ("http://", "not a URL"),
    ] {
        Shell::new()
            .run(&format!("health --addr {address}"))
            .ends(2)
            .says(part)
            .prints_nothing();
    }
    Shell::new()
        .run("health --addr https://127.0.0.1:1 --ca missing.pem")
        .ends(2)
        .says("missing.pem");
    Shell::new()
        .run("health --addr http://127.0.0.1:1 --ca missing.pem")
        .ends(2)
        .says("only with https://");
}

#[test]
fn a_host_that_does_not_exist_is_named_as_such() {
    Shell::new()
        .run("order list --addr http://no-such-host.invalid:7070 --timeout 30s")
        .ends(1)
        .says("host's name");
}

#[test]
fn a_server_that_never_answers_is_left_after_the_timeout() {
    // The connection is accepted by the system, and nobody ever reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    Shell::new()
        .run(&format!("health --addr http://{address} --timeout 300ms"))
        .ends(10)
        .says("--timeout");
    Shell::new()
        .run(&format!(
            "customer create acme --currency EUR --addr http://{address} --timeout 300ms --request-id r-1"
        ))
        .ends(1)
        .says("--request-id r-1");
}

#[test]
fn credentials_in_the_clear_to_another_machine_are_warned_about() {
    // 192.0.2.0/24 is kept for documentation: nobody answers there.
    let run = Shell::new()
        .variable("DOCKET_API_KEY", "k")
        .run("order list --addr http://192.0.2.1:1 --timeout 100ms");
    let run = run.ends(1).says("in the clear");
    assert!(!run.stderr.contains("DOCKET_API_KEY="), "{}", run.stderr);
}
