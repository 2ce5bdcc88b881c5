//! Pages, and the blocks of commands in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A block of a page.
#[derive(Debug, PartialEq)]
pub struct Block {
    pub line: usize,
    /// What its fence says behind the language.
    info: String,
    pub text: String,
}

/// What is made of a block.
#[derive(Debug, PartialEq)]
pub enum How<'a> {
    /// Run, and waited for.
    Run,
    /// A server's: it goes on while the rest of the page runs.
    Background,
    /// The same, in place of the page's server, which is stopped.
    Instead,
    /// Run at addresses of its own, since it starts a second server.
    Elsewhere,
    /// Run at a cluster of three nodes.
    Cluster,
    /// Takes long with a program that is not optimised: it is run where one is named that is, and what it measures in short.
    Slow,
    /// Run where this program is.
    Needs(&'a str),
    /// Another test, or a step of CI, runs it.
    RunBy(&'a str),
    /// Not run, and why.
    NoRun(&'a str),
}

impl Block {
    /// What its fence asks for; nothing that is known where it is none.
    pub fn how(&self) -> Option<How<'_>> {
        let quoted = |name: &str| {
            let value = self.info.strip_prefix(name)?.strip_prefix("=\"")?;
            value.strip_suffix('"')
        };
        Some(match self.info.as_str() {
            "" => How::Run,
            "background" => How::Background,
            "instead" => How::Instead,
            "elsewhere" => How::Elsewhere,
            "cluster" => How::Cluster,
            "slow" => How::Slow,
            _ => quoted("needs")
                .map(How::Needs)
                .or_else(|| quoted("run-by").map(How::RunBy))
                .or_else(|| quoted("no-run").map(How::NoRun))?,
        })
    }

    /// What its fence says behind the language.
    pub fn info(&self) -> &str {
        &self.info
    }
}

/// The blocks of commands of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else {
            continue;
        };
        let (language, info) = fence.split_once(' ').unwrap_or((fence, ""));
        let text: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        if ["sh", "bash", "console"].contains(&language) {
            found.push(Block {
                line: at + 1,
                info: info.to_owned(),
                text: text.join("\n"),
            });
        }
    }
    found
}

/// README and the pages, but those that are made from the contract and those of alerts.
pub fn pages() -> Vec<(PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(top.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths.insert(0, top.join("README.md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}
