//! `docket chaos`, against the built program: refused by name where the mode is off; recorded, bounded, and over by itself where it is on; and no order
//! that was acknowledged is lost.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    server::{Server, until},
    shop::shop,
    support::{Run, Shell},
};

const ON: &str = "DOCKET__CHAOS__ENABLED";

fn chaos(shell: &Shell, server: &Server, command: &str) -> Run {
    let admin = server.announced["admin"].as_str().unwrap();
    shell.run(&format!("chaos {command} --admin {admin}"))
}

#[track_caller]
fn has(server: &Server, line: &str) -> bool {
    let (_, metrics) = server.admin("/metrics").unwrap();
    metrics.lines().any(|one| one == line)
}

#[test]
fn a_server_that_was_not_started_for_it_refuses_every_fault_by_name() {
    let (shell, server, flags) = shop();
    for command in [
        "kill",
        "pause --for 1s",
        "slow-disk --by 1ms --for 1s",
        "drop-peer 2 --for 1s",
        "undo",
    ] {
        chaos(&shell, &server, command).ends(1).says("CHAOS_OFF");
    }
    let status = chaos(&shell, &server, "status -o json").ends(0).json();
    assert_eq!(status["enabled"], false);
    assert!(has(&server, "docket_chaos_enabled 0"));
    let status = shell
        .run(&format!("status --node -o json {flags}"))
        .ends(0)
        .json();
    assert!(status["chaos"].is_null());
    server.stop();
}

#[test]
fn it_is_refused_beside_a_configuration_that_looks_like_production() {
    let shell = Shell::new().file(
        "docket.toml",
        "[chaos]\nenabled = true\n[backup]\nto = \"backups\"\n",
    );
    shell
        .run("config check --config docket.toml")
        .ends(2)
        .says("chaos.enabled");
    let shell = Shell::new().file(
        "docket.toml",
        "[chaos]\nenabled = true\nin_production = true\n[backup]\nto = \"backups\"\n",
    );
    shell.run("config check --config docket.toml").ends(0);
}

#[test]
fn each_fault_is_recorded_bounded_and_over_by_itself_and_a_kill_loses_nothing_acknowledged() {
    let shell = Shell::new().variable(ON, "true");
    let mut server = Server::start(&shell);
    assert!(server.log().contains("CHAOS IS ON"), "{}", server.log());
    assert!(has(&server, "docket_chaos_enabled 1"));
    let flags = server.flags();
    for setup in [
        "customer create acme --currency EUR --credit-limit 500.00",
        "item create tea --currency EUR --price 4.50 --on-hand 100",
    ] {
        shell.run(&format!("{setup} {flags}")).ends(0);
    }
    let place = |request: &str| {
        let begun = Instant::now();
        let placed = shell.run(&format!(
            "order place --customer acme tea:1 --request-id {request} -o json {flags}"
        ));
        (placed.ends(0).json()["name"].clone(), begun.elapsed())
    };
    // Out of bounds, and nobody's peer.
    chaos(&shell, &server, "pause --for 31s")
        .ends(1)
        .says("OUT_OF_BOUNDS");
    chaos(&shell, &server, "slow-disk --by 2s --for 1s")
        .ends(1)
        .says("OUT_OF_BOUNDS");
    chaos(&shell, &server, "drop-peer 2 --for 1s")
        .ends(1)
        .says("NO_SUCH_PEER");
    let (code, _, _) = server.ask_admin("POST", "/chaos/kill", "", "").unwrap();
    assert_eq!(code, 401, "somebody without credentials");
    // A slow disk, undone.
    let by = Duration::from_millis(400);
    let slow = chaos(&shell, &server, "slow-disk --by 400ms --for 5m -o json")
        .ends(0)
        .json();
    assert_eq!(
        (&slow["active"][0]["fault"], &slow["active"][0]["by_ms"]),
        (&"slow-disk".into(), &400.into())
    );
    assert!(has(&server, "docket_chaos_active{fault=\"slow-disk\"} 1"));
    let status = shell.run(&format!("status --node {flags}")).ends(0).stdout;
    assert!(status.contains("ON: slow-disk"), "{status}");
    let (slow, took) = place("slow");
    assert!(took >= by, "{took:?}");
    chaos(&shell, &server, "undo").ends(0).says_nothing_goes_wrong();
    // It stands still, and goes on.
    chaos(&shell, &server, "pause --for 2s").ends(0);
    let (paused, took) = place("paused");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let over = || {
        let status = chaos(&shell, &server, "status -o json").ends(0).json();
        status["active"].as_array().unwrap().is_empty().then_some(())
    };
    until("the pause to be over", over, || server.log());
    // It is gone. What was acknowledged is not, and who asked is in the log.
    let (last, _) = place("last");
    chaos(&shell, &server, "kill").ends(0);
    let status = server.ended();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(Signal::ABORT.as_raw())
    );
    let shell = shell.variable(ON, "false");
    let server = Server::start(&shell);
    let flags = server.flags();
    for (request, name) in [("slow", slow), ("paused", paused), ("last", last)] {
        let again = shell.run(&format!(
            "order place --customer acme tea:1 --request-id {request} -o json {flags}"
        ));
        assert_eq!(again.ends(0).json()["name"], name);
    }
    shell.run(&format!("verify {flags}")).ends(0);
    let shown = shell.run("audit show -o json --action chaos.kill").ends(0).json();
    let records = shown["records"].as_array().unwrap();
    assert!(
        records.iter().any(|record| record["who"]["account"] == "admin"),
        "{shown}"
    );
    server.stop();
}

impl Run {
    fn says_nothing_goes_wrong(self) {
        assert!(self.stdout.contains("nothing goes wrong"), "{}", self.stdout);
    }
}
