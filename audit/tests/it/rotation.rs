//! Files follow each other, and the oldest are removed behind a record that says so.

use std::fs;

use docket_audit::{
    AuditOptions,
    verify::{Expected, verify},
};

use crate::{SMALL, files, log, more, report, whole};

#[test]
fn the_oldest_files_are_removed_and_the_rest_can_be_proven() {
    let few = AuditOptions {
        segments_max: 3,
        ..SMALL
    };
    let folder = log(200, few);
    // It is looked what is to be removed now and then, and as the log is closed.
    assert!(files(folder.path()).len() <= 4, "{:?}", files(folder.path()));
    let proven = whole(folder.path());
    assert!(proven.pruned && proven.first > Some(1), "{proven:?}");
    let last = proven.last.unwrap();
    // More are removed later, and what was kept of a head that is there no more tells nothing.
    more(folder.path(), 200..400, few);
    let later = whole(folder.path());
    assert!(later.pruned && later.first > proven.first);
    let old = verify(folder.path(), &[Expected::Position(last)]).unwrap();
    assert!(
        old.problems[0].text.contains("nothing can be told from it"),
        "{:?}",
        old.problems
    );
}

#[test]
fn a_file_that_somebody_else_removes_is_missed_though_others_were_removed() {
    let few = AuditOptions {
        segments_max: 4,
        ..SMALL
    };
    let folder = log(200, few);
    assert!(whole(folder.path()).pruned);
    fs::remove_file(&files(folder.path())[0]).unwrap();
    let problems = report(folder.path()).problems;
    assert!(
        problems[0]
            .text
            .contains("no record says that the node removed them"),
        "{problems:?}"
    );
}

#[test]
fn an_old_file_is_removed_by_its_age() {
    let folder = log(60, SMALL);
    let before = files(folder.path());
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let old = std::time::SystemTime::now() - 3 * day;
    fs::File::options()
        .append(true)
        .open(&before[0])
        .unwrap()
        .set_modified(old)
        .unwrap();
    let options = AuditOptions {
        age_max_days: 2,
        ..SMALL
    };
    more(folder.path(), 60..61, options);
    let after = files(folder.path());
    assert!(
        !after.contains(&before[0]) && after.contains(&before[1]),
        "{after:?}"
    );
    assert!(whole(folder.path()).pruned);
}

#[test]
fn the_log_goes_on_where_it_was() {
    let folder = log(10, SMALL);
    for start in 1..10 {
        more(folder.path(), 10 * start..10 * start + 10, SMALL);
    }
    assert_eq!(whole(folder.path()).records, 100);
}
