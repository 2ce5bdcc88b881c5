//! A log that is sealed: it proves the same, and nobody reads it without its key.

use std::{fs, path::Path};

use docket_audit::{
    Audit, AuditError, AuditOptions, Entry, KeyId, Keyring, Record, Who, usage,
    verify::{self, Report},
};
use secrecy::SecretString;

const OPTIONS: AuditOptions = AuditOptions {
    segment_bytes: 4_096,
    segments_max: 100,
    age_max_days: 0,
    denials_per_minute: 60,
};

fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

fn keyring(current: &str, keys: &[(&str, u8)]) -> Keyring {
    let secrets: Vec<_> = keys
        .iter()
        .map(|(name, byte)| (id(name), SecretString::from(format!("{byte:02x}").repeat(32))))
        .collect();
    let current = (!current.is_empty()).then(|| id(current));
    Keyring::new(current, secrets.iter().map(|(id, secret)| (*id, secret))).unwrap()
}

async fn write(folder: &Path, keys: &Keyring, records: usize) {
    let audit = Audit::open_with(folder, 1, OPTIONS, keys.clone()).unwrap();
    for number in 0..records {
        let entry = Entry::new(Who::operator(), "role.assign", format!("canary-{number}"));
        audit.record(entry).await.unwrap();
    }
    audit.close().await;
}

fn read(folder: &Path, keys: &Keyring) -> Result<(Report, Vec<Record>), AuditError> {
    let mut records = Vec::new();
    let report = verify::read_with(folder, keys, &[], |record, _| records.push(record.clone()))?;
    Ok((report, records))
}

fn lines(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let read = |path| fs::read_to_string(path).unwrap();
    files.into_iter().map(read).collect()
}

#[tokio::test]
async fn a_sealed_log_is_read_with_its_key_alone_and_goes_on_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let none = Keyring::default();
    write(folder.path(), &none, 2).await;
    assert!(
        lines(folder.path())[0].contains("canary-1"),
        "the search finds it"
    );
    let first = keyring("a", &[("a", 1)]);
    write(folder.path(), &first, 20).await;
    let sealed = lines(folder.path());
    assert!(sealed.len() > 2, "more than one file of it");
    assert!(
        !sealed[1..].iter().any(|file| file.contains("canary")),
        "{sealed:?}"
    );
    let (report, records) = read(folder.path(), &first).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(records.len(), 22);
    let keys = usage(folder.path()).unwrap();
    assert_eq!((keys[0], keys[1]), (None, Some(id("a"))));
    assert!(keys[1..].iter().all(|key| *key == Some(id("a"))));

    let both = keyring("b", &[("a", 1), ("b", 2)]);
    write(folder.path(), &both, 1).await;
    assert_eq!(usage(folder.path()).unwrap().last(), Some(&Some(id("b"))));
    write(folder.path(), &keyring("", &[("a", 1), ("b", 2)]), 1).await;
    assert_eq!(usage(folder.path()).unwrap().last(), Some(&None));
    let (report, records) = read(folder.path(), &both).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(records.len(), 24);

    for (keys, named) in [(&none, "`a`"), (&keyring("", &[("a", 2), ("b", 2)]), "`a`")] {
        let error = read(folder.path(), keys).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    write(folder.path(), &both, 1).await;
    let before = lines(folder.path());
    let refused = Audit::open_with(folder.path(), 1, OPTIONS, first.clone())
        .err()
        .unwrap();
    assert!(refused.to_string().contains("`b`"), "{refused}");
    assert_eq!(lines(folder.path()), before, "nothing was changed");
}

#[tokio::test]
async fn a_sealed_line_that_is_changed_exchanged_or_torn_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keyring("a", &[("a", 1)]);
    write(folder.path(), &keys, 3).await;
    let file = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let file = file.unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    let problems = |text: &str| {
        fs::write(&file, text).unwrap();
        read(folder.path(), &keys).unwrap().0.problems
    };
    assert_eq!(problems(&whole), []);
    let line: Vec<&str> = whole.lines().collect();
    let exchanged = format!("{}\n{}\n{}\n", line[1], line[0], line[2]);
    assert!(!problems(&exchanged).is_empty());
    // In the middle of what is sealed.
    let at = line[0].len() + 1 + line[1].len() / 2;
    let other = if whole.as_bytes()[at] == b'A' { "B" } else { "A" };
    let changed = format!("{}{other}{}", &whole[..at], &whole[at + 1..]);
    let found = problems(&changed);
    assert_eq!(found[0].line, Some(2), "{found:?}");

    // A line that a crash cut off is taken away at the next start, as without a key.
    fs::write(&file, &whole[..whole.len() - 30]).unwrap();
    write(folder.path(), &keys, 1).await;
    let (_, records) = read(folder.path(), &keys).unwrap();
    let mended = records.iter().find(|record| record.action == "audit.mended");
    assert!(mended.is_some(), "{records:?}");
}
