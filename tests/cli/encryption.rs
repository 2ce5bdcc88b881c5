//! Encryption at rest, on a real node: nothing of what was said to it is in any file, and all of it is there after a restart.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    journal::files,
    server::{Server, until},
    support::Shell,
};

const KEYS: [(&str, u8); 2] = [("2026-11", 0x1a), ("2027-11", 0x2b)];

/// A shell with the two keys, and snapshots of what weighs a few KiB.
fn shell() -> Shell {
    let mut shell = Shell::new()
        .variable("DOCKET__CLUSTER__SNAPSHOT_BYTES_MIN", "4096")
        .variable("DOCKET__SERVER__FAILED_MS", "0")
        .variable("DOCKET_PASSWORD", "correct horse battery staple");
    for (id, byte) in KEYS {
        shell = shell.file(&format!("{id}.key"), &format!("{byte:02x}").repeat(32));
    }
    let key = |id: &str| format!("\"{id}=file:{id}.key\"");
    let [first, second] = KEYS.map(|(id, _)| id);
    let section = |current: &str, keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|id| key(id)).collect();
        format!(
            "[encryption]\ncurrent = \"{current}\"\nkeys = [{}]\n",
            keys.join(", ")
        )
    };
    shell
        .file("first.toml", &section(first, &[first]))
        .file("both.toml", &section(second, &[first, second]))
        .file("second.toml", &section(second, &[second]))
        .file(
            "wrong.toml",
            &section(first, &[first]).replace("2026-11.key", "2027-11.key"),
        )
}

/// What was said to a node, and must not be read in its files.
struct Said {
    texts: Vec<(&'static str, Vec<u8>)>,
    order: String,
}

/// Says everything to a node, in ways that reach its journal, its snapshots and its audit log, and stops it.
fn live(shell: &Shell, args: &[&str]) -> Said {
    let server = Server::start_with(shell, args);
    let flags = server.flags();
    let run = |command: &str| shell.run(&format!("{command} {flags}")).ends(0);
    run("customer create canary-customer --currency EUR --credit-limit 90000 --display-name Canary-Name");
    run("item create canary-sku --currency EUR --price 1 --on-hand 90000");
    let placed = run("order place --customer canary-customer canary-sku:1 -o json").json();
    let order = placed["name"].as_str().unwrap().strip_prefix("orders/").unwrap();
    let order = order.to_owned();
    run(&format!("order hold {order} address --note canary-note"));
    run("auth register canary-account --role service");
    let hook = run("webhook create https://canary.example.org/in -o json").json();
    let secret = hook["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
    let secret = STANDARD.decode(secret).unwrap();
    // Until every group that has something has a snapshot of it.
    let snapshots = shell.path().join("docket-data/snapshots");
    let placed = Cell::new(0);
    until(
        "snapshots to be taken",
        || {
            placed.set(placed.get() + 1);
            run("order place --customer canary-customer canary-sku:1");
            let taken = fs::read_dir(&snapshots).ok()?.count();
            (taken >= 2).then_some(())
        },
        || format!("{} orders", placed.get()),
    );
    server.stop();
    let text = |name: &'static str, text: &str| (name, text.as_bytes().to_vec());
    Said {
        texts: vec![
            text("a customer's id", "canary-customer"),
            text("a customer's name", "Canary-Name"),
            text("a SKU", "canary-sku"),
            text("a note", "canary-note"),
            text("an account", "canary-account"),
            text("a webhook's address", "canary.example.org"),
            ("a webhook's secret", secret),
            // Of its two halves, as records have them, the one that is drawn.
            ("an order's id", ulid(&order)[8..].to_vec()),
        ],
        order,
    }
}

/// The sixteen bytes of an order's id.
fn ulid(text: &str) -> [u8; 16] {
    let digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let value = text.chars().fold(0_u128, |value, digit| {
        value << 5 | digits.find(digit).unwrap() as u128
    });
    value.to_be_bytes()
}

/// In which files of the data directory a text is, in either order of its bytes.
fn that_have(data_dir: &Path, text: &[u8]) -> Vec<PathBuf> {
    let reversed: Vec<u8> = text.iter().rev().copied().collect();
    let has = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        [text, &reversed]
            .iter()
            .any(|text| bytes.windows(text.len()).any(|part| part == *text))
    };
    files(data_dir).into_iter().filter(has).collect()
}

#[test]
fn nothing_that_was_said_to_a_node_with_a_key_is_in_any_of_its_files() {
    // Without a key each of it is somewhere: the search finds it.
    let plain = shell();
    let said = live(&plain, &[]);
    let data_dir = plain.path().join("docket-data");
    for (name, text) in &said.texts {
        assert!(
            !that_have(&data_dir, text).is_empty(),
            "the search does not find {name}"
        );
    }
    let keys = plain.run("journal keys -o json").ends(0).json();
    assert_eq!(keys["keys"][0]["key"], serde_json::Value::Null, "{keys}");

    let sealed = shell();
    let said = live(&sealed, &["--config", "first.toml"]);
    let data_dir = sealed.path().join("docket-data");
    for (name, text) in &said.texts {
        assert_eq!(that_have(&data_dir, text), Vec::<PathBuf>::new(), "{name}");
    }
    let keys = sealed.run("journal keys -o json").ends(0).json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    assert_eq!(keys["keys"][0]["key"], "2026-11", "{keys}");

    // Whoever has the key reads all of it.
    sealed.run("journal verify --config first.toml").ends(0);
    sealed.run("upgrade check --config first.toml").ends(0);
    let shown = sealed
        .run("audit show --config first.toml --limit 1000000")
        .ends(0);
    assert!(shown.stdout.contains("canary-account"), "{}", shown.stdout);
    sealed.run("audit verify --config first.toml").ends(0);
    let server = Server::start_with(&sealed, &["--config", "first.toml"]);
    let show = format!("order get {} -o json {}", said.order, server.flags());
    let order = sealed.run(&show).ends(0).stdout;
    assert!(
        order.contains("canary-note") && order.contains("canary-sku"),
        "{order}"
    );
    let measured = [
        "docket_encryption_plain_files 0",
        "docket_encryption_sealed_files{key=\"2026-11\"}",
    ];
    until(
        "the files to be counted",
        || {
            let (_, metrics) = server.admin("/metrics")?;
            measured.iter().all(|line| metrics.contains(line)).then_some(())
        },
        || server.log(),
    );
    server.stop();
}

#[test]
fn a_key_that_is_missing_or_wrong_is_named_and_another_takes_its_place() {
    let shell = shell();
    let said = live(&shell, &["--config", "first.toml"]);
    let start = |config: &str| {
        let serve = "serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0";
        shell.run(&format!("{serve} {config}"))
    };
    for config in ["", "--config second.toml"] {
        let refused = start(config).ends(1).prints_nothing();
        refused.says("`2026-11`, which is not configured");
    }
    start("--config wrong.toml")
        .ends(1)
        .says("another key than the one that is configured as `2026-11`");
    let verified = shell.run("journal verify").ends(1);
    assert!(verified.stdout.contains("`2026-11`"), "{}", verified.stdout);
    shell.run("audit verify").ends(1).says("`2026-11`");
    shell.run("upgrade check").ends(1).says("`2026-11`");

    // Nothing was changed by all of that. From here on it is sealed with the other.
    let server = Server::start_with(&shell, &["--config", "both.toml"]);
    let show = format!("order get {} -o json {}", said.order, server.flags());
    assert!(shell.run(&show).ends(0).stdout.contains("canary-note"));
    server.stop();
    let keys = shell.run("journal keys -o json").ends(0).json();
    let ids: Vec<_> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["key"])
        .collect();
    assert_eq!(ids, ["2026-11", "2027-11"]);
    shell.run("journal verify --config both.toml").ends(0);
    shell.run("audit verify --config both.toml").ends(0);
    // The old one is needed still.
    start("--config second.toml")
        .ends(1)
        .says("`2026-11`, which is not configured");
}

#[test]
fn what_no_key_can_be_is_refused_with_its_place_and_not_repeated() {
    let shell = Shell::new()
        .file(
            "no.toml",
            "[encryption]\ncurrent = \"a\"\nkeys = [\"a=canary-of-a-key\"]\n",
        )
        .file(
            "gone.toml",
            "[encryption]\ncurrent = \"a\"\nkeys = [\"a=file:gone.key\"]\n",
        )
        .file(
            "none.toml",
            "[encryption]\ncurrent = \"b\"\nkeys = [\"a=file:short.key\"]\n",
        )
        .file(
            "short.toml",
            "[encryption]\ncurrent = \"a\"\nkeys = [\"a=file:short.key\"]\n",
        )
        .file("short.key", "canary-of-a-key");
    let refused = shell.run("config check --config no.toml").ends(2);
    assert!(!refused.stderr.contains("canary"), "{}", refused.stderr);
    refused.says("no.toml:3: encryption.keys: a key is ID=REFERENCE");
    shell
        .run("config check --config none.toml")
        .ends(2)
        .says("none.toml:2: encryption.current");
    shell
        .run("serve --config gone.toml")
        .ends(1)
        .says("encryption.keys: cannot read file:gone.key");
    let short = shell.run("serve --config short.toml").ends(1);
    assert!(!short.stderr.contains("canary"), "{}", short.stderr);
    short.says("encryption.keys: the key `a` is not 32 random bytes");
    assert!(!shell.path().join("docket-data/journal").exists());
}
