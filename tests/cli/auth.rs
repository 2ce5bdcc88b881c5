//! Accounts, sessions and API keys from the command line.

use std::fs;

use serde_json::Value;

use crate::{server::Server, support::Shell};

const PASSWORD: &str = "correct horse battery";

#[test]
fn an_account_logs_in_refreshes_once_and_logs_out() {
    let shell = Shell::new().variable("DOCKET_PASSWORD", PASSWORD);
    let server = Server::start(&shell);
    let flags = server.flags();
    let account = shell
        .run(&format!("auth register ana --role service -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(
        (account["name"].as_str(), account["role"].as_str()),
        (Some("accounts/ana"), Some("SERVICE"))
    );

    let login = format!("auth login ana -o json {flags}");
    let session = shell.run(&login).ends(0).json();
    let token = session["access_token"].as_str().unwrap();
    shell
        .run(&format!(
            "item create tea --currency EUR --price 1 --token {token} {flags}"
        ))
        .ends(0);
    shell
        .run(&format!("auth register bob --role admin --token {token} {flags}"))
        .ends(1)
        .says("PERMISSION_DENIED");

    let shell = shell.file("refresh", session["refresh_token"].as_str().unwrap());
    let refresh = format!("auth refresh --refresh-token-file refresh -o json {flags}");
    let refreshed = shell.run(&refresh).ends(0).json();
    assert_ne!(refreshed["refresh_token"], session["refresh_token"]);
    // Its second use ends the whole session.
    shell.run(&refresh).ends(1).says("UNAUTHENTICATED");
    let token = refreshed["access_token"].as_str().unwrap();
    shell
        .run(&format!("item get tea --token {token} {flags}"))
        .ends(1)
        .says("credentials came from --token");

    let session = shell.run(&login).ends(0).json();
    let shell = shell.file("refresh", session["refresh_token"].as_str().unwrap());
    shell
        .run(&format!("auth logout --refresh-token-file refresh {flags}"))
        .ends(0)
        .says("ended")
        .prints_nothing();
    let token = session["access_token"].as_str().unwrap();
    shell
        .run(&format!("item get tea --token {token} {flags}"))
        .ends(1)
        .says("UNAUTHENTICATED");
    server.stop();
}

#[test]
fn a_wrong_password_is_refused_and_none_is_asked_for() {
    let shell = Shell::new()
        .file("password", &format!("{PASSWORD}\n"))
        .file("wrong", "incorrect horse battery");
    let server = Server::start(&shell);
    let flags = server.flags();
    shell
        .run(&format!(
            "auth register ana --role service --password-file password {flags}"
        ))
        .ends(0);
    shell
        .run(&format!("auth login ana --password-file password {flags}"))
        .ends(0);
    shell
        .run(&format!("auth login ana --password-file wrong {flags}"))
        .ends(1)
        .says("UNAUTHENTICATED");
    shell
        .run(&format!("auth login ana --password-file gone {flags}"))
        .ends(2)
        .says("gone");
    shell
        .run(&format!("auth login ana {flags}"))
        .ends(2)
        .says("--password-file")
        .says("DOCKET_PASSWORD");
    shell
        .run(&format!(
            "auth register bob --role customer --password-file password {flags}"
        ))
        .ends(1)
        .says("customer");
    assert!(!server.log().contains(PASSWORD));
    server.stop();
}

#[test]
fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    let create = format!("auth key create --scope read --display-name nightly --expires 90d {flags}");
    let created = shell.run(&format!("{create} -o json")).ends(0);
    assert!(
        created.stderr.contains("cannot be shown again"),
        "{}",
        created.stderr
    );
    let created = created.json();
    let (name, secret) = (
        created["name"].as_str().unwrap(),
        created["secret"].as_str().unwrap(),
    );
    assert!(created["expire_time"].is_string(), "{created}");

    let shell = shell.file("nightly.key", secret);
    let with_key = format!("--api-key-file nightly.key {flags}");
    shell.run(&format!("item list {with_key}")).ends(0);
    shell
        .run(&format!("item create tea --currency EUR --price 1 {with_key}"))
        .ends(1)
        .says("PERMISSION_DENIED");
    shell
        .run(&format!("status {with_key}"))
        .ends(1)
        .says("PERMISSION_DENIED");

    let list = shell.run(&format!("auth key list {flags}")).ends(0).stdout;
    assert!(
        list.contains("nightly") && list.contains("ACTIVE") && !list.contains(secret),
        "{list}"
    );
    let revoked: Value = shell
        .run(&format!("auth key revoke {name} -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(revoked["state"], "REVOKED");
    shell
        .run(&format!("item list {with_key}"))
        .ends(1)
        .says("credentials came from the file nightly.key");
    server.stop();
}

#[test]
fn a_role_is_changed_and_what_a_customer_may_not_see_is_not_there() {
    let shell = Shell::new().variable("DOCKET_PASSWORD", PASSWORD);
    let server = Server::start(&shell);
    let flags = server.flags();
    for id in ["acme", "other"] {
        shell
            .run(&format!("customer create {id} --currency EUR {flags}"))
            .ends(0);
    }
    shell
        .run(&format!("auth register ana --role service {flags}"))
        .ends(0);
    let account = shell
        .run(&format!(
            "auth role ana --role customer --customer acme -o json {flags}"
        ))
        .ends(0)
        .json();
    assert_eq!(account["customer"], "customers/acme");
    let session = shell
        .run(&format!("auth login ana -o json {flags}"))
        .ends(0)
        .json();
    let token = session["access_token"].as_str().unwrap();
    shell
        .run(&format!("customer get acme --token {token} {flags}"))
        .ends(0);
    let hidden = shell
        .run(&format!("customer get other --token {token} {flags}"))
        .ends(1)
        .stderr;
    let missing = shell
        .run(&format!("customer get nobody --token {token} {flags}"))
        .ends(1)
        .stderr;
    assert_eq!(hidden.replace("other", "nobody"), missing);
    server.stop();
}

#[test]
fn nobody_is_let_in_without_a_key() {
    let shell = Shell::new();
    let server = Server::start(&shell);
    let flags = server.flags();
    fs::rename(
        shell.path().join("docket-data/admin.key"),
        shell.path().join("kept.key"),
    )
    .unwrap();
    shell
        .run(&format!("item list {flags}"))
        .ends(1)
        .says("UNAUTHENTICATED")
        .says("--api-key-file");
    shell
        .run(&format!("status {flags}"))
        .ends(1)
        .says("UNAUTHENTICATED");
    shell.run(&format!("health {flags}")).ends(0);
    shell
        .run(&format!("item list --api-key-file kept.key {flags}"))
        .ends(0);
    let key = fs::read_to_string(shell.path().join("kept.key")).unwrap();
    let key = key.trim();
    shell.run(&format!("item list --api-key {key} {flags}")).ends(0);
    shell
        .run(&format!("item list --api-key {}x {flags}", &key[..key.len() - 1]))
        .ends(1)
        .says("--api-key");
    server.stop();

    // A key that somebody moved to a safer place is not made again.
    let server = Server::start(&shell);
    assert_eq!(server.announced["first_start"], false);
    assert_eq!(server.announced["key_file"], Value::Null);
    assert!(!shell.path().join("docket-data/admin.key").exists());
    server.stop();
}
