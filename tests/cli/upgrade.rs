//! `docket upgrade` and `docket version`: what a new program makes of a node's data, and which versions there are.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{journal::files, server::Server, shop::shop, support::Shell};

/// A variable that has the program take itself for another one.
const PROGRAM: &str = "DOCKET_TEST_PROGRAM";
/// What a node of the program 0.1.0, which spoke version 8 of the peer protocol, has left when it was stopped: orders that were shipped,
/// cancelled, held and edited, in two shards with two snapshots each; a flag and a webhook.
const FROM_BEFORE: &str = "tests/cli/fixtures/data-0.1.0-protocol-8.tar.gz";
/// What one of the program 0.1.0, which spoke version 10, has left: orders in each state, also such as wait for items, for a provider or for a person; accounts,
/// keys, a flag, a limit and a webhook (`tests/e2e/upgrade/data.rs` writes it).
const FROM_TODAY: &str = "tests/cli/fixtures/data-0.1.0-protocol-10.tar.gz";
/// How many of its orders are in each state.
const STATES_OF_TODAY: &str = r#"[("CANCELLED", 2), ("CLOSED", 3), ("CONFIRMED", 15), ("PARTIALLY_FULFILLED", 2), ("PENDING", 1), ("REJECTED", 2)]"#;
/// The same of their payments.
const PAYMENTS_OF_TODAY: &str = r#"[("AUTHORIZED", 15), ("CAPTURED", 1), ("FAILED", 2), ("PARTIALLY_CAPTURED", 2), ("PARTIALLY_REFUNDED", 2), ("REQUIRED", 1), ("VOIDED", 2)]"#;

/// Everything in a folder.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    files(dir).into_iter().map(read).collect()
}

fn group<'a>(report: &'a Value, name: &str) -> &'a Value {
    let groups = report["groups"].as_array().unwrap();
    groups.iter().find(|group| group["group"] == name).unwrap()
}

#[test]
fn a_stopped_nodes_data_is_replayed_and_left_as_it_is() {
    let (shell, server, flags) = shop();
    for number in 1..=20 {
        let place = format!("order place --customer acme tea:1 --request-id r{number} {flags}");
        shell.run(&place).ends(0);
    }
    let data = shell.path().join("docket-data");
    shell
        .run("upgrade check")
        .ends(1)
        .says("is in use by process")
        .prints_nothing();
    server.stop();

    let before = contents(&data);
    let run = shell.run("upgrade check -o json").ends(0);
    let report = run.json();
    assert_eq!(report["same"], true, "{report}");
    for of_group in report["groups"].as_array().unwrap() {
        let is_same = of_group["states"] == "equal" && of_group["equal_at"] == of_group["last_index"];
        assert!(is_same || of_group["replayed_entries"] == 0, "{of_group}");
    }
    assert!(
        group(&report, "meta")["replayed_entries"].as_u64().unwrap() > 0,
        "{report}"
    );
    assert!(contents(&data) == before, "the original was changed");
    let table = shell.run("--data-dir ./docket-data upgrade check").ends(0).stdout;
    assert!(table.contains("the same after entry"), "{table}");

    // As if the old program had come to another state in one shard.
    let path = data.join("digests.json");
    let mut noted: Value = serde_json::from_slice(&before[&path]).unwrap();
    let (shard, marks) = noted["groups"]
        .as_object_mut()
        .unwrap()
        .iter_mut()
        .next_back()
        .unwrap();
    let newest = marks.as_array_mut().unwrap().last_mut().unwrap();
    let (index, digest) = (newest[0].as_u64().unwrap(), newest[2].as_u64().unwrap());
    newest[2] = (digest ^ 1).into();
    let name = match shard.as_str() {
        "0" => "meta".to_owned(),
        number => format!("shard-{}", number.parse::<u32>().unwrap() - 1),
    };
    fs::write(&path, noted.to_string()).unwrap();
    let run = shell.run("upgrade check -o json").ends(1);
    let why = format!("{name} is different after entry {index}");
    assert!(run.stderr.contains(&why), "{why}: {}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(group(&report, &name)["states"], "different", "{report}");

    // Without a note there is nothing to hold a young journal against, which has no snapshots.
    fs::remove_file(&path).unwrap();
    shell
        .run("upgrade check")
        .ends(10)
        .says("nothing was noted to compare");
    // And what cannot be read is told.
    fs::remove_dir_all(data.join("journal")).unwrap();
    shell.run("upgrade check").ends(1).says("there is no journal");
    shell.run("upgrade check --data-dir ./nowhere").ends(2);
}

/// A shell with this data.
fn unpacked(archive: &str) -> Shell {
    let shell = Shell::new();
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(archive))
        .arg("-C")
        .arg(shell.path())
        .status();
    assert!(unpacked.unwrap().success());
    shell
}

#[test]
fn data_of_today_is_replayed_to_the_same_states_and_opened_for_ever() {
    let shell = unpacked(FROM_TODAY);
    let report = shell.run("upgrade check -o json").ends(0).json();
    assert_eq!(
        (&report["same"], &report["noted_by_protocol"]),
        (&true.into(), &10.into())
    );
    let replayed = |name| group(&report, name)["replayed_entries"].as_u64().unwrap();
    assert!(replayed("meta") > 5, "{report}");
    assert!(replayed("shard-0") + replayed("shard-1") > 0, "{report}");

    let server = Server::start(&shell);
    let flags = server.flags();
    shell.run(&format!("verify {flags}")).ends(0);
    let orders = shell
        .run(&format!("order list --all -o json {flags}"))
        .ends(0)
        .json();
    let orders = orders["orders"].as_array().unwrap();
    let of = |region: &str| {
        let mut states = BTreeMap::<String, usize>::new();
        for order in orders {
            let state = if region.is_empty() {
                &order["state"]
            } else {
                &order[region]["state"]
            };
            *states
                .entry(state.as_str().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        states.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(format!("{:?}", of("")), STATES_OF_TODAY);
    assert_eq!(format!("{:?}", of("payment")), PAYMENTS_OF_TODAY);
    let count = |command: &str, of: &str| {
        let found = shell.run(&format!("{command} -o json {flags}")).ends(0).json();
        found[of].as_array().unwrap().len()
    };
    assert_eq!(count("customer list", "customers"), 2);
    assert_eq!(count("item list", "items"), 2);
    assert_eq!(count("webhook list", "webhooks"), 1);
    assert_eq!(count("limit list", "limits"), 1);
    assert_eq!(count("auth key list", "api_keys"), 2);
    let flag = shell
        .run(&format!("flag get fraud_scoring -o json {flags}"))
        .ends(0)
        .json();
    assert!(flag.to_string().contains("acme"), "{flag}");
    fs::write(shell.path().join("password"), "correct horse battery\n").unwrap();
    shell
        .run(&format!("auth login ann --password-file password {flags}"))
        .ends(0);
    server.stop();
}

#[test]
fn data_of_the_program_before_is_replayed_to_the_same_states_and_opened() {
    let shell = unpacked(FROM_BEFORE);
    // That program noted its states in snapshots alone, of which the accounts had none yet.
    let run = shell.run("upgrade check -o json").ends(10);
    assert!(
        run.stderr
            .contains("nothing was noted to compare these with: meta"),
        "{}",
        run.stderr
    );
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["noted_by_protocol"], Value::Null);
    for shard in ["shard-0", "shard-1"] {
        let of_shard = group(&report, shard);
        assert_eq!(of_shard["states"], "equal", "{of_shard}");
        assert!(
            of_shard["snapshot_index"].as_u64() < of_shard["equal_at"].as_u64(),
            "{of_shard}"
        );
        assert!(of_shard["replayed_entries"].as_u64().unwrap() > 50, "{of_shard}");
    }

    let server = Server::start(&shell);
    let flags = server.flags();
    shell.run(&format!("verify {flags}")).ends(0);
    // It goes on as it was: nothing is written that the program before does not read.
    let status = shell
        .run(&format!("upgrade status -o json {flags}"))
        .ends(10)
        .json();
    assert_eq!(status["finalised_protocol"], 8, "{status}");
    shell.run(&format!("upgrade finalize {flags}")).ends(0);
    let status = shell
        .run(&format!("upgrade status -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(
        status["finalised_protocol"], status["newest_protocol"],
        "{status}"
    );
    server.stop();
}

#[test]
fn a_program_says_which_it_is_and_which_formats_it_reads() {
    let shell = Shell::new();
    let run = shell.run("version").ends(0);
    assert!(run.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", run.stdout);
    let told = shell.run("version --formats -o json").ends(0).json();
    let formats = told["formats"].as_array().unwrap();
    for name in [
        "journal frames",
        "shard snapshots",
        "archived orders",
        "peer protocol",
        "registry",
    ] {
        let format = formats.iter().find(|format| format["name"] == name);
        let format = format.unwrap_or_else(|| panic!("no {name} in {told}"));
        assert!(format["oldest"].as_u64() <= format["newest"].as_u64(), "{format}");
    }
    let table = shell.run("version --formats").ends(0).stdout;
    assert!(table.contains("snapshot meta data"), "{table}");

    // And a node says the same of its own.
    let server = Server::start(&shell);
    let (_, status) = server.admin("/status?local").unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["versions"]["formats"], told["formats"], "{status}");
    let finalised = &status["versions"]["finalised_protocol"];
    assert_eq!(
        finalised, &status["versions"]["newest_protocol"],
        "it is new: {status}"
    );
    server.stop();

    let other = Shell::new().variable(PROGRAM, "9.9.9/8");
    if cfg!(debug_assertions) {
        let run = other.run("version").ends(0);
        assert!(run.stdout.contains("9.9.9"), "{}", run.stdout);
    } else {
        other.run("version").ends(1).says("unset it");
    }
}

#[test]
fn an_upgrade_is_not_begun_where_a_node_does_not_answer_or_is_named_twice() {
    let shell = Shell::new();
    // Nobody listens there.
    let run = "upgrade run --exchange false --restore false --node 1=127.0.0.1:1";
    shell
        .run(run)
        .ends(1)
        .says("nothing was exchanged: node 1 does not answer");
    shell
        .run(&format!("{run} --node 1=127.0.0.1:2"))
        .ends(2)
        .says("twice");
    shell
        .run("upgrade run --exchange false --restore false --node one")
        .ends(2);
    shell
        .run("--addr http://127.0.0.1:1 upgrade run --exchange a --restore b --node 1=a:1")
        .ends(2);
}
