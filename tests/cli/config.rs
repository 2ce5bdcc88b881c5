//! `docket config`: check and show.

use crate::support::Shell;

#[test]
fn a_valid_configuration_is_said_to_be() {
    Shell::new()
        .run("config check")
        .ends(0)
        .says("valid")
        .prints_nothing();
    Shell::new()
        .file("docket.toml", "[log]\nlevel = \"debug\"\n")
        .run("config check --config docket.toml")
        .ends(0)
        .says("valid");
}

#[test]
fn every_problem_is_named_with_file_and_line() {
    let shell = Shell::new()
        .file(
            "docket.toml",
            "[server]\nlissten = \"x\"\n\n[journal]\nsegment_bytes = 5\n",
        )
        .variable("DOCKET__LOG__LEVL", "info");
    for args in [
        "config check --config docket.toml",
        "--config docket.toml config show",
    ] {
        shell
            .run(args)
            .ends(2)
            .says("3 problems")
            .says("docket.toml:2: unknown key `server.lissten`; did you mean `server.listen`?")
            .says("docket.toml:5: journal.segment_bytes = 5: must be at least 64 KiB")
            .says("DOCKET__LOG__LEVL: there is no key `log.levl`; did you mean DOCKET__LOG__LEVEL?")
            .prints_nothing();
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    Shell::new()
        .run("config check --config gone.toml")
        .ends(2)
        .says("gone.toml");
}

#[test]
fn show_tells_where_each_value_came_from() {
    let shell = Shell::new()
        .file("docket.toml", "[server]\ndrain_ms = 5\n")
        .variable("DOCKET__LOG__LEVEL", "warn");
    let json = shell
        .run("-o json config show --config docket.toml --listen 127.0.0.1:9")
        .ends(0)
        .json();
    assert_eq!(
        json["server.drain_ms"],
        serde_json::json!({"value": 5, "origin": "docket.toml:2"})
    );
    assert_eq!(
        json["log.level"],
        serde_json::json!({"value": "warn", "origin": "DOCKET__LOG__LEVEL"})
    );
    assert_eq!(
        json["server.listen"],
        serde_json::json!({"value": "127.0.0.1:9", "origin": "--listen"})
    );
    assert_eq!(
        json["tls.key"],
        serde_json::json!({"value": null, "origin": "default"})
    );

    let table = shell.run("config show --config docket.toml").ends(0).stdout;
    assert!(table.starts_with("KEY "), "{table}");
    let line = table
        .lines()
        .find(|line| line.starts_with("server.drain_ms"))
        .unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["server.drain_ms", "5", "docket.toml:2"]
    );
    assert!(!table.contains('\u{1b}'), "colours without a terminal");
}

#[test]
fn a_payment_provider_is_shown_with_every_key_and_its_token_is_read_at_the_start() {
    let shell = Shell::new().file(
        "docket.toml",
        "[payments.providers.cards]\nurl = \"https://pay.example.org\"\ntoken_file = \"gone.token\"\n",
    );
    let json = shell
        .run("-o json config show --config docket.toml")
        .ends(0)
        .json();
    assert_eq!(
        json["payments.providers.cards.token_file"],
        serde_json::json!({"value": "gone.token", "origin": "docket.toml:3"})
    );
    assert_eq!(
        json["payments.providers.cards.timeout_ms"],
        serde_json::json!({"value": 10_000, "origin": "default"})
    );
    shell
        .run("serve --config docket.toml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0")
        .ends(1)
        .says("payments.providers.cards.token_file: cannot read file:gone.token")
        .prints_nothing();
}
