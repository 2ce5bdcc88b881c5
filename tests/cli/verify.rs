//! `docket verify`: books that agree are shown, and the exit code says so.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{shop::shop, support::Shell};

#[test]
fn books_that_agree_are_counted_and_the_exit_code_is_0() {
    let (shell, server, flags) = shop();
    for request in ["one", "two"] {
        shell
            .run(&format!(
                "order place --customer acme tea:2 pot:1 --request-id {request} {flags}"
            ))
            .ends(0);
    }
    let verify = || shell.run(&format!("verify -o json {flags}")).ends(0).json();
    // Each was placed and confirmed; that is recorded a moment after it is answered.
    let until = Instant::now() + Duration::from_secs(20);
    let mut books = verify();
    while books["changes"] != 4 && Instant::now() < until {
        books = verify();
    }
    for (name, expected) in [
        ("node_id", 1),
        ("customers", 1),
        ("items", 2),
        ("orders", 2),
        ("reservations", 4),
        ("changes", 4),
        ("undecided", 0),
        ("discrepancy_count", 0),
        ("orders_owned_elsewhere", 0),
        ("unpaired_reservations", 0),
    ] {
        assert_eq!(books[name], expected, "{name}");
    }
    assert_eq!(
        (&books["discrepancies"], &books["unverified_shards"]),
        (&json!([]), &json!([]))
    );
    let shards = books["shards"].as_array().unwrap();
    assert!(shards.iter().all(|shard| shard["leader"] == true));
    let orders: u64 = shards.iter().filter_map(|shard| shard["orders"].as_u64()).sum();
    assert_eq!(orders, 2);

    let shown = shell.run(&format!("verify {flags}")).ends(0).stdout;
    for (title, number) in [("reservations", "4"), ("discrepancy count", "0")] {
        let mut lines = shown.lines();
        let is_it = |line: &str| line.starts_with(title) && line.ends_with(&format!(" {number}"));
        assert!(lines.any(is_it), "no {title} in\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    // Who waits for less than it takes is told so, as of any call.
    shell.run(&format!("verify --timeout 20s {flags}")).ends(0);
    server.stop();
}

#[test]
fn only_who_operates_may_have_the_books_verified() {
    let (shell, server, flags) = shop();
    let made = shell.run(&format!("auth key create --scope read -o json {flags}"));
    let key = made.ends(0).json()["secret"].as_str().unwrap().to_owned();
    shell
        .run(&format!("verify --api-key {key} {flags}"))
        .ends(1)
        .says("scope")
        .prints_nothing();
    server.stop();
}

#[test]
fn a_server_that_is_not_there_has_no_books() {
    Shell::new()
        .run("verify --addr http://127.0.0.1:1 --timeout 1s")
        .ends(1)
        .prints_nothing();
}
