//! What is run of a page: a script of its blocks, with addresses that are free in place of those that it names.

use std::{fmt::Write as _, path::Path};

use super::page::{Block, How};

/// The port that pages give the first server; the others' are behind it.
const PORT: u16 = 7_070;
/// How far the ports of a cluster's nodes are from one another, and how many each has.
const NODE_PORTS: u16 = 10;
const NODES: u16 = 3;
/// A measurement in short.
const SHORT: &str = "docket bench --duration 500ms --warm-up 100ms --rounds 1 --dir .";

/// What every page's script begins with.
const PREAMBLE: &str = include_str!("preamble.sh");
/// What there has to be before a page is read.
const SCENES: [(&str, &str); 2] = [
    ("secrets.md", include_str!("scenes/secrets.sh")),
    ("upgrading.md", include_str!("scenes/upgrading.sh")),
];

/// Where the servers of a page are.
pub struct Places {
    /// The page's server: its clients' and its operators' port, and those of a second one.
    pub own: [u16; 4],
    /// The first port of the cluster.
    pub cluster: u16,
}

impl Places {
    /// A text with these ports in place of those that pages name, for a server at the first of the page's ports, or at the third.
    fn fill(&self, text: &str, is_second: bool) -> String {
        let mut own = self.own;
        if is_second {
            own.rotate_left(2);
        }
        let mut text = text.to_owned();
        for (named, free) in (PORT..).zip(own) {
            text = text.replace(&format!(":{named}"), &format!(":{free}"));
        }
        // Another machine, and the folder of a server that systemd has started.
        text.replace("10.0.0.", "127.0.0.")
            .replace("/var/lib/docket", "$PWD/var/lib/docket")
    }

    /// The same for a cluster.
    fn fill_cluster(&self, text: &str) -> String {
        let ports = (0..NODES).flat_map(|node| [node * NODE_PORTS, node * NODE_PORTS + 1]);
        ports.fold(text.to_owned(), |text, port| {
            text.replace(&format!(":{}", PORT + port), &format!(":{}", self.cluster + port))
        })
    }
}

/// What is run of a page. Where nobody asks for measurements those are looked at alone.
pub fn script(page: &Path, blocks: &[Block], places: &Places, is_slow_run: bool) -> String {
    let name = page.file_name().unwrap().to_str().unwrap();
    let mut script = PREAMBLE.to_owned();
    if let Some((_, scene)) = SCENES.iter().find(|(of, _)| *of == name) {
        writeln!(script, "{}", places.fill(scene, false)).unwrap();
    }
    for block in blocks {
        writeln!(script, "echo '=== {name}:{}' | tee /dev/stderr", block.line).unwrap();
        let lines = |line: fn(&str) -> Option<String>| {
            let lines: Vec<String> = block.text.lines().filter_map(line).collect();
            lines.join("\n")
        };
        let run = lines(|line| Some(line_of(line)));
        let looks = lines(looked_at);
        let how = block.how().unwrap();
        let text = match how {
            How::NoRun(_) | How::RunBy(_) => looks,
            How::Slow if is_slow_run => places.fill(&lines(|line| Some(in_short(line))), false),
            How::Slow => looks,
            How::Needs(program) if !is_there(program) => looks,
            How::Cluster => {
                let (clients, operators) = (places.cluster, places.cluster + 1);
                let key = "\"$CLUSTER/node-1/admin.key\"";
                let at = "http://127.0.0.1";
                let run = places.fill_cluster(&run);
                format!(
                    "(\nexport DOCKET_ADDR={at}:{clients} DOCKET_ADMIN_ADDR={at}:{operators} DOCKET_API_KEY_FILE={key}\n{run}\n)"
                )
            }
            How::Elsewhere => {
                let [.., clients, operators] = places.own;
                let at = |port: u16| format!("127.0.0.1:{port}");
                let (clients, operators) = (at(clients), at(operators));
                let run = places.fill(&run, true);
                format!(
                    "(\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n\
                     export DOCKET__SERVER__LISTEN={clients} DOCKET__ADMIN__LISTEN={operators}\n\
                     export DOCKET_ADDR=http://{clients} DOCKET_ADMIN_ADDR=http://{operators}\n{run}\n)"
                )
            }
            How::Run | How::Background | How::Instead | How::Needs(_) => places.fill(&run, false),
        };
        let text = text
            .replace("01M83JXAHCC6MXR3EASG000000", "$(an_order)")
            .replace("5f0c2a7d9b3e4c1a8d6f7e21", "$(an_id)")
            .replace("2026-11-30T05:15:00Z", "$BEGUN");
        match how {
            How::Background => writeln!(script, "{{\n{text}\n}} &\nserver=$!\nready"),
            How::Instead => writeln!(script, "stopped\n{{\n{text}\n}} &\nserver=$!\nready"),
            _ => writeln!(script, "{text}"),
        }
        .unwrap();
    }
    script
}

/// Whether a program is there.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A command, and what is said of it.
fn apart(line: &str) -> (&str, &str) {
    match line.split_once(" # ") {
        Some((command, said)) => (command.trim_end(), said),
        None => (line, ""),
    }
}

/// A line of a block as the script has it.
pub fn line_of(line: &str) -> String {
    let (command, said) = apart(line);
    if let Some(reason) = said.strip_prefix("refused: ") {
        // What stands behind a comma is for people.
        let reason = reason.split([',', ';']).next().unwrap_or_default().trim();
        return format!("refused '{reason}' {command}");
    }
    if said.contains("live") || said.contains("Ctrl-C") {
        return format!("live {command}");
    }
    line.to_owned()
}

/// The same of a block that is slow: what measures does so in short, whatever it says of its time. What stands in brackets may be left out, and is not.
pub fn in_short(line: &str) -> String {
    let command = apart(line).0.replace(['[', ']'], "");
    let Some(rest) = command.strip_prefix("docket bench") else {
        return line_of(line);
    };
    let mut words = rest.split_whitespace();
    let mut short = SHORT.to_owned();
    while let Some(word) = words.next() {
        match word {
            "--duration" | "--rounds" => {
                words.next();
            }
            word => {
                short.push(' ');
                short.push_str(word);
            }
        }
    }
    short
}

/// Of a line that is not run: whether the program has such a command with such flags, whether cargo has such a target, or whether there is such a
/// file.
pub fn looked_at(line: &str) -> Option<String> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let command = apart(line).0.trim_end();
    let command = command.replace(['[', ']'], "");
    if let Some(flags) = command.strip_prefix("docket ") {
        let flags: Vec<&str> = flags
            .split(['>', '|', '&'])
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        return Some(format!("docket {} --help >/dev/null", flags.join(" ")));
    }
    let top = env!("CARGO_MANIFEST_DIR");
    let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
    let first = words.next()?;
    if first == "cargo" {
        let words: Vec<&str> = words.collect();
        let named = |flag: &str| {
            let at = words.iter().position(|word| *word == flag)?;
            words.get(at + 1).copied()
        };
        // With a pattern it has all of them.
        let bench = named("--bench")
            .filter(|name| !name.contains('*'))
            .map(|name| format!("grep -qx 'name = \"{name}\"' {top}/Cargo.toml"));
        return bench.or_else(|| {
            Some(format!(
                "test -d {top}/tests/{}",
                named("--test").filter(|name| *name != "it")?
            ))
        });
    }
    let is_ours = ["benches/", "deploy/", ".ci/", "fuzz/", "examples/"]
        .iter()
        .any(|folder| first.starts_with(folder));
    is_ours.then(|| format!("test -x {top}/{first}"))
}
