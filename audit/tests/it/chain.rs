//! Whatever is done to the lines of a log is found.

use std::fs;

use docket_audit::{
    Position,
    verify::{Expected, Problem, verify},
};
use proptest::prelude::*;

use crate::{SMALL, files, log, report, whole};

const RECORDS: usize = 40;

/// The lines of a file, each with its end.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_byte_that_is_changed_is_found(file: prop::sample::Index, at: prop::sample::Index, by in 1_u8..=255) {
        let folder = log(RECORDS, SMALL);
        let files = files(folder.path());
        prop_assert!(files.len() > 2);
        let path = file.get(&files);
        let mut bytes = fs::read(path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        fs::write(path, &bytes).unwrap();
        let report = report(folder.path());
        // The line, or, where its end was changed, the one that it became one with.
        let is_named = |problem: &Problem| problem.path == *path && problem.line == Some(line);
        prop_assert!(report.problems.iter().any(is_named), "{:#?}", report.problems);
    }

    #[test]
    fn a_line_that_is_taken_out_is_found(file: prop::sample::Index, line: prop::sample::Index) {
        let folder = log(RECORDS, SMALL);
        let files = files(folder.path());
        let path = file.get(&files);
        let mut lines = lines(&fs::read(path).unwrap());
        lines.remove(line.index(lines.len()));
        fs::write(path, lines.concat()).unwrap();
        prop_assert!(!report(folder.path()).is_whole());
    }

    #[test]
    fn two_lines_that_are_exchanged_are_found(one: prop::sample::Index, other: prop::sample::Index) {
        let folder = log(RECORDS, SMALL);
        let files = files(folder.path());
        let mut all: Vec<Vec<Vec<u8>>> = files.iter().map(|path| lines(&fs::read(path).unwrap())).collect();
        let places: Vec<(usize, usize)> =
            (0..all.len()).flat_map(|file| (0..all[file].len()).map(move |line| (file, line))).collect();
        let (one, other) = (*one.get(&places), *other.get(&places));
        prop_assume!(one != other);
        let taken = all[one.0][one.1].clone();
        all[one.0][one.1] = std::mem::replace(&mut all[other.0][other.1], taken);
        for (path, lines) in files.iter().zip(&all) {
            fs::write(path, lines.concat()).unwrap();
        }
        prop_assert!(!report(folder.path()).is_whole());
    }

    #[test]
    fn a_line_that_is_put_in_is_found(from: prop::sample::Index, to: prop::sample::Index) {
        let folder = log(RECORDS, SMALL);
        let path = &files(folder.path())[0];
        let mut lines = lines(&fs::read(path).unwrap());
        let copy = from.get(&lines).clone();
        lines.insert(to.index(lines.len() + 1), copy);
        fs::write(path, lines.concat()).unwrap();
        prop_assert!(!report(folder.path()).is_whole());
    }
}

#[test]
fn what_nobody_touched_is_whole() {
    let folder = log(RECORDS, SMALL);
    let report = whole(folder.path());
    let last = report.last.unwrap();
    assert_eq!((report.records, report.first, last.sequence), (40, Some(1), 40));
}

#[test]
fn the_line_that_was_changed_is_named_and_no_other() {
    let folder = log(RECORDS, SMALL);
    let path = &files(folder.path())[1];
    let text = fs::read_to_string(path).unwrap();
    let changed = text
        .lines()
        .nth(2)
        .unwrap()
        .replace("ROLE_SERVICE", "ROLE_READER_");
    let lines: Vec<&str> = text
        .lines()
        .enumerate()
        .map(|(n, line)| if n == 2 { &changed } else { line })
        .collect();
    fs::write(path, lines.join("\n") + "\n").unwrap();
    let problems = report(folder.path()).problems;
    let [problem] = &problems[..] else {
        panic!("{problems:#?}")
    };
    assert_eq!((&problem.path, problem.line), (path, Some(3)));
    assert!(problem.text.contains("was changed"), "{}", problem.text);
}

#[test]
fn a_file_that_is_missing_is_found() {
    let count = files(log(RECORDS, SMALL).path()).len();
    for missing in 0..count {
        let folder = log(RECORDS, SMALL);
        fs::remove_file(&files(folder.path())[missing]).unwrap();
        let problems = report(folder.path()).problems;
        let text = &problems.first().expect("nothing was found").text;
        let expected = match missing {
            0 => "and no record says that the node removed them",
            last if last == count - 1 => "what is behind was cut off",
            _ => "are missing before it",
        };
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_is_cut_off_at_the_end_is_found_by_the_head_beside_it_or_by_one_that_was_kept() {
    let folder = log(RECORDS, SMALL);
    let kept = whole(folder.path()).last.unwrap();
    let path = files(folder.path()).pop().unwrap();
    let mut lines = lines(&fs::read(&path).unwrap());
    lines.pop();
    fs::write(&path, lines.concat()).unwrap();
    let text = &report(folder.path()).problems[0].text;
    assert!(
        text.contains("ends with record 39, and the file `head` names 40"),
        "{text}"
    );

    // Whoever takes that away as well is found out, and whoever writes it anew only by one that was kept elsewhere.
    fs::remove_file(folder.path().join("head")).unwrap();
    assert!(report(folder.path()).problems[0].text.contains("is not there"));
    let end = report(folder.path()).last.unwrap();
    fs::write(
        folder.path().join("head"),
        format!("{:020}:{}\n", end.sequence, end.hash),
    )
    .unwrap();
    whole(folder.path());
    let found = |expected| verify(folder.path(), &[expected]).unwrap().problems.len();
    assert_eq!(found(Expected::Position(kept.clone())), 1);
    assert_eq!(found(Expected::Hash(kept.hash)), 1);
    assert_eq!(found(Expected::Position(end.clone())), 0);
    assert_eq!(found(Expected::Hash(end.hash.clone())), 0);
    let another = Position { sequence: 7, ..end };
    assert_eq!(found(Expected::Position(another)), 1);
}
