//! The errors that docs/faq.md explains are errors of this program.

use std::{fs, path::Path};

/// All of the sources, as one line each file: texts that are broken over lines are whole in it.
fn sources() -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = [
        "src",
        "actors/src",
        "audit/src",
        "cluster/src",
        "edge/src",
        "engine/src",
        "payments/src",
        "persistence/src",
        "proto/src",
        "rest/src",
        "sealing/src",
        "secrets/src",
        "webhooks/src",
    ];
    let mut folders: Vec<_> = crates.map(|name| top.join(name)).to_vec();
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    joined(&all)
}

/// The text with the ends of lines that a backslash takes away taken away.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let mut joined = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        joined.push_str(part.trim_start());
    }
    joined
}

/// The errors that the page explains: what its headings have between backticks.
fn errors(page: &str) -> Vec<&str> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `"));
    headings.filter_map(|heading| heading.strip_suffix('`')).collect()
}

#[test]
fn every_error_of_the_faq_is_one_of_the_program() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faq.md");
    let page = fs::read_to_string(page).unwrap();
    let (errors, sources) = (errors(&page), sources());
    assert!(errors.len() >= 20, "{}", errors.len());
    let mut unknown = Vec::new();
    for error in errors {
        // What stands for a name or a number is an ellipsis.
        let parts: Vec<&str> = error
            .split('…')
            .map(str::trim)
            .filter(|part| part.len() > 5)
            .collect();
        assert!(!parts.is_empty(), "{error}");
        unknown.extend(
            parts
                .into_iter()
                .filter(|part| !sources.contains(part))
                .map(|part| format!("{error}: {part}")),
        );
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn texts_over_several_lines_are_joined() {
    assert_eq!(joined("\"one \\\n     two\""), "\"one two\"");
    assert_eq!(errors("### `a … b`\n### c\n## `d`\n"), ["a … b"]);
}
