//! `docket journal verify`: sound and damaged folders.

use std::{fs, path::Path, sync::mpsc};

use docket_persistence::{JOURNAL_DIR, Journal, JournalOptions};

use crate::support::Shell;

/// Records in the journals of these tests, and the bytes of each: enough for several frames.
const RECORDS: usize = 200;
const RECORD_BYTES: usize = 300;

/// How a record begins that a node can read: version 1, "no entries from 0 on", of group 0.
const RECORD_HEAD: [u8; 14] = [1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A journal with some records in the default folder.
fn with_journal(shell: Shell) -> Shell {
    let dir = shell.path().join("docket-data").join(JOURNAL_DIR);
    let (journal, _) = Journal::open(JournalOptions::new(dir), &mut |_, _| {}).unwrap();
    let (done, durable) = mpsc::channel();
    let records = (0..RECORDS)
        .map(|number| {
            let mut record = vec![number as u8; RECORD_BYTES];
            record[..RECORD_HEAD.len()].copy_from_slice(&RECORD_HEAD);
            record.into()
        })
        .collect();
    journal
        .append(
            records,
            Box::new(move |result| done.send(result.map(|_| ())).unwrap()),
        )
        .unwrap();
    durable.recv().unwrap().unwrap();
    journal.close();
    shell
}

/// Every file below a folder.
pub fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn a_sound_folder_is_counted_and_called_so() {
    let shell = with_journal(Shell::new());
    let table = shell.run("journal verify").ends(0).stdout;
    assert!(
        table
            .lines()
            .any(|line| line.split_whitespace().eq(["sound", "yes"])),
        "{table}"
    );
    let json = shell
        .run("journal verify --data-dir ./docket-data -o json")
        .ends(0)
        .json();
    assert_eq!(json["records"], RECORDS);
    assert_eq!(json["payload_bytes"], RECORDS * RECORD_BYTES);
    assert_eq!(json["sound"], true);
    assert_eq!(json["acknowledged"], json["sequences"]["last"]);
    assert!(json["frames"].as_u64().unwrap() > 1, "{json}");
    shell.run("--data-dir ./docket-data journal verify").ends(0);
}

#[test]
fn one_damaged_slot_of_the_mark_is_a_warning() {
    let shell = with_journal(Shell::new());
    let mark = shell.path().join("docket-data/journal/mark");
    let mut bytes = fs::read(&mark).unwrap();
    bytes[10] ^= 0xff;
    fs::write(&mark, bytes).unwrap();
    let run = shell.run("journal verify").ends(0);
    assert!(run.stdout.contains("1 of the mark's 2 slots"), "{}", run.stdout);
    let json = shell.run("journal verify -o json").ends(0).json();
    assert_eq!(json["sound"], true);
    let warning = &json["warnings"][0];
    assert!(
        warning["file"].as_str().unwrap().ends_with("journal/mark"),
        "{warning}"
    );
    assert_eq!(json["problems"].as_array().unwrap().len(), 0);
}

#[test]
fn damage_in_acknowledged_frames_is_named_with_its_file() {
    let shell = with_journal(Shell::new());
    let mut damaged = 0;
    for path in files(&shell.path().join("docket-data")) {
        let mut bytes = fs::read(&path).unwrap();
        // The payload of the records in the middle, wherever the engine keeps it.
        let run = [100_u8; RECORD_BYTES - RECORD_HEAD.len()];
        if let Some(at) = bytes.windows(run.len()).position(|window| window == run) {
            bytes[at] ^= 0xff;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the records are in no file");
    let run = shell.run("journal verify").ends(1).says("is not sound");
    assert!(run.stdout.contains("PROBLEM"), "{}", run.stdout);
    let json = shell.run("journal verify -o json").ends(1).json();
    assert_eq!(json["sound"], false);
    let problem = &json["problems"][0];
    assert!(
        problem["file"].as_str().unwrap().contains("docket-data/journal"),
        "{problem}"
    );
}

#[test]
fn a_folder_without_a_journal_is_not_sound_and_one_that_is_not_there_stays_so() {
    let shell = Shell::new();
    fs::create_dir(shell.path().join("empty")).unwrap();
    let run = shell
        .run("journal verify --data-dir empty")
        .ends(1)
        .says("not sound");
    assert!(run.stdout.contains("there is no journal"), "{}", run.stdout);
    shell.run("journal verify").ends(2).says("docket-data");
    assert!(!shell.path().join("docket-data").exists());
}
