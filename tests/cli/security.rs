//! `docs/security.md`: every test and every key that it names is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Words of a test's name, at least: shorter ones are fields and words of the prose.
const WORDS_MIN: usize = 4;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_test_name(text: &str) -> bool {
    text.split('_').count() >= WORDS_MIN
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The names of all tests of the workspace: functions right behind an attribute that makes them one.
fn tests() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = fs::read_dir(top)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.ends_with("target") && !path.ends_with(".git"))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(tests_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

fn tests_in(source: &str) -> Vec<String> {
    let (mut found, mut is_test) = (Vec::new(), false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]")
                || line.starts_with("#[tokio::test")
                || line.starts_with("#[rstest");
            continue;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        let name = name.and_then(|rest| rest.split(['(', '<']).next());
        // proptest's have no attribute of their own in some places, and none needs any: they are functions with arguments drawn by `in`.
        if let Some(name) = name
            && (is_test || line.contains(" in "))
        {
            found.push(name.to_owned());
        }
        is_test = false;
    }
    found
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let (page, tests) = (read("docs/security.md"), tests());
    assert!(tests.len() > 1_000, "only {} tests were found", tests.len());
    let named: Vec<&str> = quoted(&page).filter(|text| is_test_name(text)).collect();
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "no test is called so: {missing:#?}");
    assert!(named.len() > 40, "only {named:?} are named");
    for number in 1..=10 {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| API{number} ")))
            .unwrap_or_else(|| panic!("no row of API{number}"));
        assert!(quoted(row).any(is_test_name), "no test holds API{number}");
    }
}

#[test]
fn every_key_that_the_page_names_is_there() {
    let (page, reference) = (read("docs/security.md"), read("docs/configuration.md"));
    let sections: BTreeSet<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("## `[")?.strip_suffix("]`"))
        .collect();
    let mut checked = 0;
    for key in quoted(&page) {
        let Some((section, name)) = key.rsplit_once('.') else {
            continue;
        };
        if !sections.contains(section) && !sections.contains(key) {
            continue;
        }
        checked += 1;
        let begin = reference.find(&format!("## `[{section}]`"));
        let is_there = sections.contains(key)
            || begin.is_some_and(|begin| {
                let rest = &reference[begin + 3..];
                let end = rest.find("\n## ").unwrap_or(rest.len());
                rest[..end].contains(&format!("`{name}`"))
            });
        assert!(is_there, "{key} is not in docs/configuration.md");
    }
    assert!(checked > 15, "only {checked} keys were found");
}

#[test]
fn a_test_is_known_by_its_attribute() {
    let source = "#[test]\nfn one_two_three_four() {}\nfn five_six_seven_eight() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn nine_ten_eleven_twelve() {}\n";
    assert_eq!(tests_in(source), ["one_two_three_four", "nine_ten_eleven_twelve"]);
    assert!(is_test_name("who_only_connects_keeps_nobody_out") && !is_test_name("max_per_address"));
}
