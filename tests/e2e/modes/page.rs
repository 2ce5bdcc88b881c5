//! The page, read: of each mode what is said to be seen of it, and what is to be done.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use tonic::Code;

use super::super::{
    api::reason_of,
    server::{Home, Server},
};

const PAGE: &str = "docs/failure-modes.md";
/// Its last part.
const HELD_BY: &str = "\n## Which test makes it\n\n";
/// Words of capitals that are as long are what clients are told.
const WORD_MIN: usize = 5;
/// Commands that ask no server.
const LOCAL: [&str; 5] = [
    "docket journal",
    "docket config",
    "docket certs",
    "docket audit",
    "docket backup restore",
];

/// A row of the page.
pub struct Mode {
    what: String,
    row: String,
    /// What it names and nobody has seen yet.
    unseen: RefCell<BTreeSet<String>>,
}

/// What the first cells of all rows say.
pub fn modes() -> Vec<String> {
    rows().map(|row| first(&row)).collect()
}

/// The rows of all tables, without heads.
fn rows() -> impl Iterator<Item = String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(path).unwrap();
    let lines: Vec<String> = page.lines().map(str::to_owned).collect();
    let is_row = |line: &str| line.starts_with("| ") && !line.starts_with("| what |");
    lines.into_iter().filter(move |line| is_row(line))
}

fn first(row: &str) -> String {
    row.split('|').nth(1).unwrap().trim().to_owned()
}

/// What a row names: what stands between backticks, pages of alerts, and words of capitals.
fn named(row: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (number, part) in row.split('`').enumerate() {
        if number % 2 == 1 {
            named.insert(part.to_owned());
            continue;
        }
        let pages = part.split("](runbooks/").skip(1);
        named.extend(pages.map(|page| page.split(".md").next().unwrap().to_owned()));
        let words = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let told = |word: &&str| {
            word.len() >= WORD_MIN && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        named.extend(words.filter(told).map(str::to_owned));
    }
    named
}

/// The commands of another page's block that begins so, without what is said of them.
pub fn block(page: &str, begins: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```sh ").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next()?.split_once('\n'));
    let mut blocks = blocks.map(|(_, commands)| commands);
    let block = blocks.find(|commands| commands.starts_with(begins));
    let block = block.unwrap_or_else(|| panic!("{page} has no block `{begins}`"));
    let command = |line: &str| line.split(" # ").next().unwrap().trim_end().to_owned();
    block.lines().map(command).collect()
}

impl Mode {
    /// The mode of this name. Which alerts fire is shown where they are made to, so that those are seen already.
    #[track_caller]
    pub fn of(what: &str) -> Self {
        let row = rows().find(|row| first(row) == what);
        let row = row.unwrap_or_else(|| panic!("the page has no mode {what:?}"));
        let mut unseen = named(&row);
        unseen.retain(|name| !is_alert(name));
        Self {
            what: what.to_owned(),
            row,
            unseen: RefCell::new(unseen),
        }
    }

    /// What the page names of it and was not seen yet.
    pub fn unseen(&self) -> BTreeSet<String> {
        self.unseen.borrow().clone()
    }

    /// This is seen; the page has to name it.
    #[track_caller]
    pub fn names<'a>(&self, what: &'a str) -> &'a str {
        let is_named = named(&self.row).contains(what);
        assert!(is_named, "{}: the page does not name {what}", self.what);
        self.unseen.borrow_mut().remove(what);
        what
    }

    /// The page has these words of it.
    #[track_caller]
    pub fn says(&self, words: &str) {
        assert!(
            self.row.contains(words),
            "{}: the page does not say {words:?}",
            self.what
        );
    }

    /// A call was answered so: the page names the code, and the reason where the server gave one.
    #[track_caller]
    pub fn tells(&self, status: &tonic::Status) {
        let code = match status.code() {
            Code::Unavailable => "UNAVAILABLE",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::Internal => "INTERNAL",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Unauthenticated => "UNAUTHENTICATED",
            _ => panic!("{}: the page names no such code: {status:?}", self.what),
        };
        // Where the words are of the domain, that is what they are called by.
        if named(&self.row).contains(code) {
            self.names(code);
        } else {
            assert_eq!(
                status.code(),
                Code::FailedPrecondition,
                "{}: the page does not name {code}: {status:?}",
                self.what
            );
        }
        if let Some(reason) = reason_of(status) {
            self.names(&reason);
        }
    }

    /// The command of the page that begins so.
    #[track_caller]
    pub fn command(&self, begins: &str) -> String {
        let found = named(&self.row).into_iter().find(|name| name.starts_with(begins));
        let command = found.unwrap_or_else(|| panic!("{}: the page has no `{begins}`", self.what));
        self.names(&command);
        command
    }

    /// Does what the page says, and all of it has to work: its commands with what stands in capitals filled in, at the server where they ask one.
    #[track_caller]
    pub fn follow(&self, home: &Home, server: Option<&Server>, values: &[(&str, &str)]) -> String {
        let mut said = String::new();
        let commands: Vec<String> = named(&self.row)
            .into_iter()
            .filter(|name| name.starts_with("docket "))
            .collect();
        assert!(!commands.is_empty(), "{}: the page has no commands", self.what);
        for command in commands {
            let output = run(home, server, &command, values);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}: `{command}`: {told}", self.what);
            said += &String::from_utf8_lossy(&output.stdout);
            said += &told;
            println!("{}: {command}", self.what);
            self.names(&command);
        }
        said
    }

    /// It is over: all that the page names was seen.
    #[track_caller]
    pub fn ends(self) {
        let unseen = self.unseen.borrow();
        assert!(
            unseen.is_empty(),
            "{}: the page names this, and it was not seen: {unseen:?}",
            self.what
        );
        println!("{}: as the page says", self.what);
    }
}

/// Runs a command of the page.
pub fn run(home: &Home, server: Option<&Server>, command: &str, values: &[(&str, &str)]) -> Output {
    let filled = |word: &str| {
        let value = values.iter().find(|(name, _)| *name == word);
        value.map_or(word, |(_, value)| *value).to_owned()
    };
    let mut words: Vec<String> = command.split(' ').skip(1).map(filled).collect();
    if !LOCAL.iter().any(|local| command.starts_with(local)) {
        let server = server.unwrap_or_else(|| panic!("`{command}` asks a server"));
        words.push("--addr".to_owned());
        words.push(format!("http://{}", server.grpc));
        if !words.iter().any(|word| word == "--api-key-file") {
            words.push("--api-key".to_owned());
            words.push(home.admin_key());
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    home.command(&words).output().unwrap()
}

/// Whether this is an alert: there is a page of it, and a cause of it is made by a test.
fn is_alert(name: &str) -> bool {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    name.starts_with("Docket") && top.join(format!("docs/runbooks/{name}.md")).exists()
}

/// The file that has a test of this name, as it is called from the top, and its text.
pub fn source_of(test: &str) -> Option<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = ["tests", "edge/tests", "cluster/tests", "actors/tests"]
        .iter()
        .map(|folder| top.join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                if has_test(&source, test) {
                    let name = path.strip_prefix(top).unwrap().display().to_string();
                    return Some((name, source));
                }
            }
        }
    }
    None
}

/// Holds the page's last part against what it has to say; writes it where that is asked for.
#[track_caller]
pub fn ends_with(expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page
        .split_once(HELD_BY)
        .unwrap_or_else(|| panic!("{PAGE} has no {HELD_BY:?}"));
    if std::env::var_os("DOCKET_WRITE_DOCS").is_some() {
        fs::write(path, format!("{head}{HELD_BY}{expected}")).unwrap();
    } else {
        assert_eq!(rest, expected, "DOCKET_WRITE_DOCS=1 writes it");
    }
}

/// Whether a source has a function of this name right behind an attribute that makes it a test, and that is not ignored.
fn has_test(source: &str, test: &str) -> bool {
    let (mut is_test, mut is_ignored) = (false, false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            is_ignored |= line.starts_with("#[ignore");
            continue;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if name.and_then(|rest| rest.split('(').next()) == Some(test) {
            return is_test && !is_ignored;
        }
        (is_test, is_ignored) = (false, false);
    }
    false
}
