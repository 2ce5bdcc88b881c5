//! The pages: what they lead to is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// All pages below a folder, and those at the top.
fn pages() -> BTreeMap<PathBuf, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    let mut found = BTreeMap::new();
    let mut folders = vec![top.join("docs")];
    let mut files: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md"]
        .map(|name| top.join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "md") => files.push(path),
                false => {}
            }
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        found.insert(file, text);
    }
    found
}

/// The text without what is shown as code: whole blocks, and in a line what stands between backticks.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with("    ") {
            let shown = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            lines.push((at + 1, shown));
        }
    }
    lines
}

/// What a page's headings can be reached by, as those make it who render Markdown.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else {
            continue;
        };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let slug = heading.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        });
        let slug: String = slug.collect();
        let mut unique = slug.clone();
        let mut again = 0;
        while !anchors.insert(unique.clone()) {
            again += 1;
            unique = format!("{slug}-{again}");
        }
    }
    anchors
}

#[test]
fn what_pages_lead_to_is_there() {
    let pages = pages();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (page, text) in &pages {
        for (line, shown) in prose(text) {
            for link in shown
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                if link.starts_with("http") || link.starts_with("mailto:") {
                    continue;
                }
                checked += 1;
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => page.clone(),
                    file => page.parent().unwrap().join(file),
                };
                let known = target.canonicalize();
                let is_there = match (&known, anchor) {
                    (Err(_), _) => false,
                    (Ok(_), "") => true,
                    (Ok(target), anchor) => pages
                        .get(target)
                        .is_some_and(|text| anchors(text).contains(anchor)),
                };
                if !is_there {
                    wrong.push(format!("{}:{line}: {link}", page.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 100, "only {checked} links were found");
}

#[test]
fn a_heading_is_reached_by_its_words() {
    let text = "# One, two\n## `three` & four\n```\n# not this\n```\n## One, two\n";
    let expected = ["one-two", "three--four", "one-two-1"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
    let shown = prose("a `[b](c)` d\n```\n[e](f)\n```\n[g](h)");
    assert_eq!(shown, [(1, "a ` d".to_owned()), (5, "[g](h)".to_owned())]);
}
