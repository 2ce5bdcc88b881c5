//! What a crash leaves is mended by the next start, which says so, and nothing else is.

use std::fs;

use docket_audit::{AuditOptions, Outcome, Record, verify};

use crate::{SMALL, files, log, more, report, whole};

/// All records.
fn records(folder: &std::path::Path) -> Vec<Record> {
    let mut records = Vec::new();
    verify::read(folder, &[], |record, _| records.push(record.clone())).unwrap();
    records
}

#[test]
fn wherever_a_line_is_cut_off_the_next_start_mends_it_and_says_so() {
    let options = AuditOptions::default();
    let whole_log = log(3, options);
    let bytes = fs::read(&files(whole_log.path())[0]).unwrap();
    let two = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(1)
        .unwrap()
        .0
        + 1;
    // It is waited for the rest of each for a moment: not all of them.
    for cut in (two + 1..bytes.len()).step_by(23).chain([bytes.len() - 1]) {
        let folder = log(2, options);
        let path = &files(folder.path())[0];
        fs::write(path, [&fs::read(path).unwrap()[..], &bytes[two..cut]].concat()).unwrap();
        let problems = report(folder.path()).problems;
        assert!(
            problems[0].text.contains("is not whole") && problems[0].line == Some(3),
            "{problems:?}"
        );

        more(folder.path(), 2..3, options);
        whole(folder.path());
        let records = records(folder.path());
        let mended = &records[2];
        assert_eq!((&*mended.action, mended.sequence), ("audit.mended", 3));
        assert_eq!(mended.details["bytes_cut"], (cut - two).to_string());
        assert_eq!(records.len(), 4);
    }
}

#[test]
fn what_was_cut_off_or_changed_while_the_node_was_away_stays_so_and_is_recorded() {
    let folder = log(5, SMALL);
    let path = &files(folder.path())[0];
    let text = fs::read_to_string(path).unwrap();
    let kept: Vec<&str> = text.lines().take(3).collect();
    fs::write(path, kept.join("\n") + "\n").unwrap();
    more(folder.path(), 5..7, SMALL);
    let problems = report(folder.path()).problems;
    assert!(
        problems[0].text.contains("records 4 to 5 are missing"),
        "{problems:?}"
    );
    assert_eq!(problems.len(), 1);
    let records = records(folder.path());
    let damaged = records
        .iter()
        .find(|record| record.action == "audit.damaged")
        .unwrap();
    assert_eq!((damaged.sequence, damaged.outcome), (6, Outcome::Done));
    assert!(damaged.details["found"].contains("ends with record 3, and was written up to 5"));
}

#[test]
fn a_last_line_that_is_no_record_is_not_gone_on_from() {
    let folder = log(5, SMALL);
    let path = &files(folder.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len() - 2;
    bytes[end] = b'!';
    fs::write(path, bytes).unwrap();
    more(folder.path(), 5..7, SMALL);
    let problems = report(folder.path()).problems;
    assert!(
        problems.iter().any(|problem| problem.line == Some(5)),
        "{problems:?}"
    );
    assert!(
        records(folder.path())
            .iter()
            .any(|record| record.action == "audit.damaged")
    );
}
