//! Who records something, and what becomes of it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use docket_audit::{Audit, AuditError, AuditOptions, Denial, Outcome, Who, verify};

use crate::{entry, files, wait, whole};

fn denial(account: &str) -> Denial {
    Denial {
        who: Who {
            account: account.to_owned(),
            peer: "192.0.2.7".to_owned(),
            ..Who::default()
        },
        action: "/docket.v1.NodeService/DrainNode".to_owned(),
        target: String::new(),
        reason: "ROLE_NOT_ALLOWED".to_owned(),
        outcome: Outcome::Denied,
    }
}

#[test]
fn what_many_record_at_once_is_there_in_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(folder.path(), 7, AuditOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let audit = audit.clone();
                tokio::spawn(async move {
                    for m in 0..10 {
                        let before = audit.position().unwrap();
                        audit.record(entry(100 * n + m)).await.unwrap();
                        assert!(audit.position().unwrap().sequence > before.sequence);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        audit.close().await;
    });
    let report = whole(folder.path());
    assert_eq!(report.records, 500);
}

#[test]
fn what_is_recorded_is_on_the_disk_when_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(folder.path(), 7, AuditOptions::default()).unwrap();
    wait(audit.record(entry(1))).unwrap();
    // Another reader, while it is open.
    let report = whole(folder.path());
    assert_eq!((report.records, report.last), (1, audit.position()));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files(folder.path())[0]), 0o600);
    wait(audit.close());
    assert!(matches!(wait(audit.record(entry(2))), Err(AuditError::Closed)));
}

#[test]
fn a_flood_of_denials_is_bounded_and_counted_to_the_last() {
    const FLOOD: u64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(folder.path(), 7, AuditOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let audit = &audit;
            scope.spawn(move || {
                for n in 0..FLOOD / 4 {
                    // Half of it is always the same.
                    let account = if n % 2 == 0 {
                        "shop".to_owned()
                    } else {
                        format!("{thread}-{n}")
                    };
                    audit.denied(denial(&account));
                }
            });
        }
    });
    wait(audit.record(entry(1))).unwrap();
    wait(audit.close());
    let (mut records, mut times) = (0, 0);
    verify::read(folder.path(), &[], |record, _| {
        if record.outcome == Outcome::Denied {
            records += 1;
            times += record.times;
        }
    })
    .unwrap();
    assert_eq!(times, FLOOD, "nothing is lost without being counted");
    assert!(records <= 257 + 60 * 2, "{records} records");
    assert!(fs::metadata(&files(folder.path())[0]).unwrap().len() < 256 * 1_024);
}

#[test]
fn a_folder_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let Err(error) = Audit::open(&file.join("audit"), 1, AuditOptions::default()) else {
        panic!("it was opened");
    };
    assert!(error.to_string().contains("cannot make the folder"), "{error}");
}
