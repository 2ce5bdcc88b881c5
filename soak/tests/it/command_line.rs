//! `docket-soak` from outside: what it prints where (`docs/soak.md` asks it for that), and its exit codes. Runs of it are in the tests of `docket`, whose program
//! they need.

use std::process::{Command, Output};

fn docket_soak(args: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docket-soak"));
    let Output {
        status,
        stdout,
        stderr,
    } = command.args(args.split_whitespace()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn the_list_says_what_each_scenario_shows() {
    let (code, stdout, stderr) = docket_soak("list");
    assert_eq!((code, stderr.as_str()), (0, ""));
    for name in [
        "steady",
        "burst",
        "overload",
        "hot-customer",
        "read-heavy",
        "kill",
        "rolling-restart",
        "node-loss",
        "rebalance",
        "partition",
    ] {
        assert!(stdout.contains(name), "{stdout}");
    }
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    let (code, stdout, _) = docket_soak("list -o json");
    assert_eq!(code, 0);
    let list: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 13);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_started() {
    for (args, said) in [
        ("run --program /nowhere/docket", "cargo build --release"),
        ("run --scenario storm", "reconnect-storm"),
        ("run --duration 0s", "longer than nothing"),
        ("run --duration 5s --sample 1s", "at least 10 samples"),
        ("run --connections 9 --in-flight 3", "in flight"),
        ("run --orders-max 0", "at least one order"),
        ("run --speed 3", "--speed"),
        ("", "Usage"),
    ] {
        let (code, stdout, stderr) = docket_soak(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args}: {stderr}");
        assert!(stderr.contains(said), "{args}: {stderr}");
    }
    let (code, stdout, _) = docket_soak("run --help");
    assert_eq!(code, 0);
    assert!(stdout.contains("Examples:"), "{stdout}");
}
