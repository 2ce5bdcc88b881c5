//! Rules and alerts.

use std::collections::{BTreeMap, BTreeSet};

use super::{asked_for, documented, files, passes, promtool, read, root};

const RULES: &str = "docs/monitoring/rules";
const RUNBOOKS: &str = "docs/runbooks";

/// An alert, as far as it is looked at here.
#[derive(Debug, Default)]
struct Alert {
    name: String,
    severity: String,
    /// What tells it from others of its name; empty where it is the only one.
    window: String,
    annotations: BTreeMap<String, String>,
}

/// `key: value` in a line.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim().trim_start_matches("- ").split_once(": ")?;
    Some((key, value.trim_matches('\'')))
}

/// The alerts of all files, one after the other. promtool reads the files as YAML; that they are written one key a line is seen here.
fn alerts() -> Vec<Alert> {
    let mut alerts = Vec::<Alert>::new();
    for path in files(RULES, ".yml") {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let Some((key, value)) = pair(line) else { continue };
            if key == "alert" {
                alerts.push(Alert {
                    name: value.to_owned(),
                    ..Alert::default()
                });
            }
            let Some(alert) = alerts.last_mut() else { continue };
            match key {
                "severity" => alert.severity = value.to_owned(),
                "window" => alert.window = value.to_owned(),
                "summary" | "description" | "runbook_url" => {
                    alert.annotations.insert(key.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
    }
    assert!(alerts.len() > 30, "the rules are not read: {alerts:?}");
    alerts
}

#[test]
fn promtool_finds_nothing_in_the_rules_and_their_tests_pass() {
    if promtool("the rules and their tests") {
        passes(&["check", "rules"], &files(RULES, ".yml"));
        passes(&["test", "rules"], &files(&format!("{RULES}/tests"), ".yml"));
    }
}

#[test]
fn each_alert_says_how_bad_it_is_and_has_a_page_that_says_what_to_do() {
    let mut pages: BTreeSet<String> = files(RUNBOOKS, ".md")
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    for alert in alerts() {
        let name = &alert.name;
        assert!(["page", "ticket"].contains(&alert.severity.as_str()), "{alert:?}");
        for annotation in ["summary", "description"] {
            assert!(alert.annotations[annotation].ends_with('.'), "{alert:?}");
        }
        let page = format!("{RUNBOOKS}/{name}.md");
        assert_eq!(alert.annotations["runbook_url"], page);
        let text = read(&page);
        assert!(text.starts_with(&format!("# {name}\n")), "{page}");
        for part in ["What it means", "See it", "What to do", "When to call for help"] {
            assert!(text.contains(&format!("\n## {part}\n\n")), "{page}: {part}");
        }
        pages.remove(name);
    }
    assert!(pages.is_empty(), "pages of no alert: {pages:?}");
}

#[test]
fn each_alert_has_a_test_that_it_fires_and_one_that_it_does_not() {
    let mut fires = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for path in files(&format!("{RULES}/tests"), ".yml") {
        let text = std::fs::read_to_string(&path).unwrap();
        for test in text.split("alertname: ").skip(1) {
            let name = test.lines().next().unwrap().to_owned();
            let test = test.split("\n  - name: ").next().unwrap();
            if test.contains("exp_alerts: []") {
                quiet.insert(name);
                continue;
            }
            // Several of a name are told from one another by their window.
            for labels in test.split("exp_labels:").skip(1) {
                let labels = labels.split("exp_annotations:").next().unwrap();
                let window = labels
                    .lines()
                    .filter_map(pair)
                    .find_map(|(key, value)| (key == "window").then(|| value.to_owned()));
                fires.insert((name.clone(), window.unwrap_or_default()));
            }
        }
    }
    for alert in alerts() {
        let key = (alert.name.clone(), alert.window.clone());
        assert!(fires.contains(&key), "no test has it fire: {key:?}");
        assert!(
            quiet.contains(&alert.name),
            "no test has it not fire: {}",
            alert.name
        );
    }
}

#[test]
fn the_rules_ask_for_nothing_that_is_not_measured() {
    let documented = documented();
    let mut asked = BTreeSet::new();
    for path in files(RULES, ".yml") {
        let text = std::fs::read_to_string(&path).unwrap();
        // Names of rules are what is recorded, not what is asked for.
        let lines = text.lines().filter(|line| !line.contains("record: "));
        let expressions = lines.filter(|line| !line.trim_start().starts_with('#'));
        asked.extend(expressions.flat_map(asked_for));
    }
    assert!(asked.len() > 30, "the rules are not read: {asked:?}");
    let missing: Vec<_> = asked.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
}

/// What a page tells people to run is there: the commands, and their flags.
#[test]
fn the_pages_name_commands_and_flags_that_there_are() {
    let help = std::fs::read_to_string(root().join("tests/cli/snapshots/cli__help__help.snap")).unwrap();
    let sections: BTreeMap<&str, &str> = help
        .split("\n$ ")
        .skip(1)
        .filter_map(|section| section.split_once(" --help\n"))
        .collect();
    let (mut seen, documented) = (0, documented());
    for path in files(RUNBOOKS, ".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        for command in quoted.filter(|text| text.starts_with("docket ")) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let known = (2..=words.len())
                .rev()
                .find_map(|len| sections.get(words[..len].join(" ").as_str()));
            let known = known.unwrap_or_else(|| panic!("{}: no `{command}`", path.display()));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let is_there = known
                    .split_whitespace()
                    .any(|word| word.trim_end_matches(',') == *flag);
                assert!(is_there, "{}: `{command}` has no {flag}", path.display());
            }
            seen += 1;
        }
        let missing: Vec<_> = asked_for(&text).difference(&documented).cloned().collect();
        assert!(
            missing.is_empty(),
            "{}: {missing:?} is not measured",
            path.display()
        );
        // And the other pages are there.
        for link in text.split("](").skip(1) {
            let page = link.split(')').next().unwrap();
            assert!(path.with_file_name(page).exists(), "{}: {page}", path.display());
        }
    }
    assert!(seen > 40, "{seen}");
}
