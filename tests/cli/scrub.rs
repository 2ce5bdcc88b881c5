//! `docket scrub`: what a running server has stored is read once more; a bit that was flipped is told by file, place and whose it is, by the command
//! and by the metrics, while orders go on.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf};

use serde_json::Value;

use crate::{
    server::{Server, until},
    shop::shop,
    support::{Run, Shell},
};

fn scrub(shell: &Shell, server: &Server, flags: &str) -> Run {
    let admin = server.announced["admin"].as_str().unwrap();
    shell.run(&format!("scrub --admin {admin} {flags}"))
}

/// What is measured now.
#[track_caller]
fn measured(server: &Server, line: &str) -> f64 {
    let (_, metrics) = server.admin("/metrics").unwrap();
    let found = metrics.lines().find_map(|one| one.strip_prefix(line));
    let value = found.unwrap_or_else(|| panic!("no {line} in {metrics}"));
    value.trim().parse().unwrap()
}

#[test]
fn nothing_is_damaged_and_that_is_told() {
    let (shell, server, flags) = shop();
    let last = scrub(&shell, &server, "--last").ends(10);
    assert!(last.stderr.contains("nothing was read since"), "{}", last.stderr);
    shell
        .run(&format!("order place --customer acme tea:2 {flags}"))
        .ends(0);
    let read = scrub(&shell, &server, "-o json").ends(0).json();
    assert_eq!(read["damaged_count"], 0);
    assert_eq!(read["by_itself"], false);
    assert!(read["bytes"].as_u64().unwrap() > 0, "{read}");
    assert_eq!(scrub(&shell, &server, "--last -o json").ends(0).json(), read);
    let shown = scrub(&shell, &server, "").ends(0).stdout;
    assert!(shown.contains("damaged count"), "{shown}");
    assert!(measured(&server, "docket_scrub_bytes_total") >= read["bytes"].as_f64().unwrap());
    assert!(measured(&server, "docket_scrub_last_success_timestamp_seconds") > 1e9);
    let damaged = measured(&server, "docket_scrub_damaged{kind=\"journal\"}");
    assert!(damaged.abs() < f64::EPSILON);
    let status = shell
        .run(&format!("status --node -o json {flags}"))
        .ends(0)
        .json();
    assert_eq!(status["scrub"]["damaged_count"], 0);
    let text = shell.run(&format!("status --node {flags}")).ends(0).stdout;
    assert!(text.contains("nothing is damaged"), "{text}");
    // It is for administrators alone, who are recorded.
    let (code, _, _) = server.ask_admin("POST", "/scrub", "", "").unwrap();
    assert_eq!(code, 401);
    let recorded = || {
        let shown = shell
            .run("audit show -o json --action storage.scrub")
            .ends(0)
            .json();
        (shown["records"].as_array().unwrap().len() >= 2).then_some(())
    };
    until("records of it", recorded, || server.log());
    let (shell_, address) = (&shell, server.grpc().to_owned());
    let wrong = shell_.run(&format!("scrub --addr {address}")).ends(2);
    assert!(wrong.stderr.contains("--admin"), "{}", wrong.stderr);
    server.stop();
}

#[test]
fn a_flipped_bit_of_a_sealed_segment_is_told_by_its_file_while_orders_go_on() {
    let shell = Shell::new()
        .variable("DOCKET__JOURNAL__SEGMENT_BYTES", "65536")
        .variable("DOCKET__CLUSTER__SHARDS", "1");
    let server = Server::start(&shell);
    let flags = server.flags();
    for setup in [
        "customer create acme --currency EUR --credit-limit 500.00",
        "item create tea --currency EUR --price 4.50 --on-hand 100",
    ] {
        shell.run(&format!("{setup} {flags}")).ends(0);
    }
    let journal = shell.path().join("docket-data/journal");
    let segments = || {
        let entries = fs::read_dir(&journal).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        found.sort();
        found
    };
    let name = |number: usize| format!("{number:x>250}");
    let mut number = 0;
    while segments().len() < 3 {
        number += 1;
        let create = format!(
            "customer create c{number} --currency EUR --display-name {} {flags}",
            name(number)
        );
        shell.run(&create).ends(0);
        assert!(number < 1_000, "no segment is sealed");
    }
    scrub(&shell, &server, "").ends(0);
    let second = segments()[1].clone();
    let bytes = fs::read(second.join("db")).unwrap();
    let found = (1..=number).rev().find_map(|number| {
        let name = name(number);
        let mut windows = bytes.windows(name.len());
        windows.rposition(|window| window == name.as_bytes())
    });
    let at = found.unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(second.join("db"))
        .unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    let read = scrub(&shell, &server, "-o json").ends(10);
    let read: Value = serde_json::from_str(&read.stdout).unwrap();
    let damaged = read["damaged"].as_array().unwrap();
    let file = second.strip_prefix(shell.path()).unwrap().display().to_string();
    let ours = damaged
        .iter()
        .find(|one| one["file"].as_str().unwrap().contains(&file));
    let ours = ours.unwrap_or_else(|| panic!("{read}"));
    assert_eq!(ours["kind"], "journal");
    assert!(ours["place"].as_str().unwrap().starts_with("frame"), "{read}");
    let shown = scrub(&shell, &server, "--last").ends(10);
    assert!(
        shown.stdout.contains(&file) && shown.stderr.contains("not what"),
        "{}{}",
        shown.stdout,
        shown.stderr
    );
    assert!(measured(&server, "docket_scrub_damaged{kind=\"journal\"}") >= 1.0);
    let status = shell.run(&format!("status --node {flags}")).stdout;
    assert!(status.contains("DAMAGED"), "{status}");
    assert!(
        server.log().contains("what is stored is damaged"),
        "{}",
        server.log()
    );
    // Orders go on.
    shell
        .run(&format!("order place --customer acme tea:2 {flags}"))
        .ends(0);
    drop(server);
    // And offline the same is found.
    let offline = shell.run("journal verify").ends(1);
    assert!(offline.stdout.contains(&file), "{}", offline.stdout);
}
