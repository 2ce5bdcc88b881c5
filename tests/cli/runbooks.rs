//! The runbooks, followed: what a page has an operator run is run as it is written, placeholders filled in, against a cluster of three
//! nodes that has what the pages speak of. A command that is not there, lacks an argument or does not work in the state that its page is
//! about fails here. What of a page is for Prometheus is tried where the alerts are made (`tests/e2e/alerts.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use docket_payments::stub::{Fault, On, Stub, StubOptions, What};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    dev::free_ports,
    support::{Run, Shell},
};

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
/// The node that goes wrong.
const ILL: &str = "3";
/// What is run by a shell, where it is installed.
const TOOLS: [&str; 5] = ["curl", "df", "du", "ls", "openssl"];
/// What is about the operator's machine, its service manager or another program, and is not run here.
const OF_THE_MACHINE: [&str; 8] = [
    "journalctl",
    "dmesg",
    "iostat",
    "chronyc",
    "timedatectl",
    "bao",
    "vault",
    "kill",
];
/// What goes on until it is told to end.
const GOES_ON: &str = "docket order watch";

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// All three run.
    Well,
    /// What takes away what other commands are about.
    Ending,
    /// One is down.
    Down,
    /// One is drained, and comes back.
    Draining,
    /// One is down, and is removed for good.
    Removing,
}

fn phase(command: &str) -> Phase {
    let begins = |with: &str| command.starts_with(with);
    if begins("docket webhook delete") || begins("docket auth key revoke") {
        Phase::Ending
    } else if begins("docket journal verify") {
        Phase::Down
    } else if begins("docket cluster drain") {
        Phase::Draining
    } else if begins("docket cluster remove") {
        Phase::Removing
    } else {
        Phase::Well
    }
}

/// Three nodes, with orders of many fates.
struct Stage {
    shell: Shell,
    dev: Child,
    values: BTreeMap<&'static str, String>,
    /// An order that may be cancelled.
    open: String,
    _provider: tokio::runtime::Runtime,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Its nodes end with it.
        let _ = self.dev.kill();
        let _ = self.dev.wait();
    }
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stub = Stub::open(StubOptions::default()).unwrap();
        let cards = runtime
            .block_on(stub.listen("127.0.0.1:0".parse().unwrap()))
            .unwrap();
        let port = free_ports(2);
        let address = |node: u16, which: u16| format!("127.0.0.1:{}", port + 10 * (node - 1) + which);
        let shell = Shell::new()
            .file("docket.toml", "[server]\ndrain_ms = 5000\n")
            .file("password", "correct horse battery staple\n")
            .variable("DOCKET__WEBHOOKS__ALLOW_HTTP", "true")
            .variable("DOCKET__WEBHOOKS__ALLOW_PRIVATE", "true")
            .variable(
                "DOCKET__PAYMENTS__PROVIDERS__CARDS__URL",
                &format!("http://{cards}"),
            )
            .variable("DOCKET_ADDR", &format!("http://{}", address(1, 0)))
            .variable("DOCKET_ADMIN_ADDR", &format!("http://{}", address(1, 1)))
            .variable("DOCKET_API_KEY_FILE", "docket-dev/node-1/admin.key");
        let mut dev = shell
            .command(["dev", "--shards", "2", "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let told = BufReader::new(dev.stdout.take().unwrap()).lines().next();
        assert!(told.is_some_and(|line| line.unwrap().starts_with("The cluster is ready")));
        let mut stage = Self {
            shell,
            dev,
            values: BTreeMap::new(),
            open: String::new(),
            _provider: runtime,
        };
        stage.fill(&stub);
        let children = format!("/proc/{0}/task/{0}/children", stage.dev.id());
        let children = fs::read_to_string(children).unwrap();
        let node = children.split_whitespace().next().unwrap().to_owned();
        stage.values.extend([
            ("N", ILL.to_owned()),
            ("NODE:7070", address(1, 0)),
            ("NODE:7071", address(1, 1)),
            ("OTHER:7070", address(2, 0)),
            ("CLUSTER", "dev".to_owned()),
            ("OUT", "renewed".to_owned()),
            ("DIR", "docket-dev/node-1".to_owned()),
            ("FILE", "docket.toml".to_owned()),
            ("CERTIFICATE", "ca/ca.pem".to_owned()),
            ("TEXT", "tried".to_owned()),
            ("PID", node),
        ]);
        stage
    }

    fn run(&self, args: &str) -> Run {
        self.shell.run(args)
    }

    fn json(&self, args: &str) -> Value {
        self.run(&format!("{args} -o json")).ends(0).json()
    }

    /// What the pages are about: an order that was rejected, one whose payment was declined, a webhook, a key, a call that was denied.
    fn fill(&mut self, stub: &Stub) {
        for command in [
            "certs ca --out ca",
            "customer create acme --currency EUR --credit-limit 500.00",
            "item create tea --price 4.50 --currency EUR --on-hand 100",
            "item create gone --price 4.50 --currency EUR --on-hand 0",
            "auth register shop --role service --password-file password",
        ] {
            self.run(command).ends(0);
        }
        self.run("order place --customer acme gone:1").ends(1);
        let name = |order: Value| order["name"].as_str().unwrap().to_owned();
        self.open = name(self.json("order place --customer acme tea:1"));
        let decline = What::Decline {
            reason: "no money".into(),
        };
        stub.add_faults(vec![Fault::at(On::Capture, decline)]).unwrap();
        let declined = name(self.json("order place --customer acme --pay-by cards tea:1"));
        self.run(&format!("order ship {declined}")).ends(0);
        self.until("the capture to be declined", || {
            self.run("order list --payment failed")
                .stdout
                .contains(id(&declined))
        });
        let shown = self.json(&format!("order get {declined}"));
        let steps = shown["payment"]["steps"]
            .as_array()
            .unwrap_or_else(|| panic!("{shown}"));
        let step = steps.iter().find(|step| step["state"] == "DECLINED");
        let step = step.unwrap_or_else(|| panic!("{shown}"))["step"].clone();
        let webhook = self.json(&format!("webhook create {}", receiver()));
        let key = self.json("auth key create --scope read");
        let secret = key["secret"].as_str().unwrap().to_owned();
        self.shell
            .run(&format!(
                "auth register other --role service --password-file password --api-key {secret}"
            ))
            .ends(1);
        self.until("the denial to be recorded", || {
            let denied = self.run("audit show --outcome denied --data-dir docket-dev/node-1");
            denied.stdout.contains("denied")
        });
        let named = |made: &Value| id(made["name"].as_str().unwrap_or_else(|| panic!("{made}"))).to_owned();
        let made = |made: &Value, what: &str| match made.get(what) {
            Some(inner) if inner.is_object() => named(inner),
            _ => named(made),
        };
        self.values.extend([
            ("ORDER", id(&declined).to_owned()),
            ("STEP", step.to_string()),
            ("CUSTOMER", "acme".to_owned()),
            ("SKU", "tea".to_owned()),
            ("ACCOUNT", "shop".to_owned()),
            ("WEBHOOK", made(&webhook, "webhook")),
            ("KEY", made(&key, "api_key")),
        ]);
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
            thread::sleep(LOOK);
        }
    }

    /// A command with what stands for something else filled in: words of capitals.
    fn filled(&self, command: &str) -> String {
        let mut filled = command.to_owned();
        for address in ["NODE:7070", "NODE:7071", "OTHER:7070"] {
            filled = filled.replace(address, &self.values[address]);
        }
        let mut out = String::new();
        let mut rest = filled.as_str();
        while let Some(at) = rest.find(|c: char| c.is_ascii_uppercase()) {
            let end = rest[at..]
                .find(|c: char| !c.is_ascii_uppercase())
                .map_or(rest.len(), |len| at + len);
            out.push_str(&rest[..at]);
            let word = &rest[at..end];
            // `$NF` is awk's, and of `-sS` only a part is of capitals.
            let is_part = out.ends_with(|c: char| c == '$' || c.is_ascii_alphanumeric());
            match self.values.get(word) {
                _ if is_part => out.push_str(word),
                Some(value) if command.starts_with("docket journal verify") && word == "DIR" => {
                    out.push_str(&value.replace("node-1", "node-3"));
                }
                Some(_) if command.starts_with("docket order cancel") && word == "ORDER" => {
                    out.push_str(&self.open)
                }
                Some(value) => out.push_str(value),
                None => panic!("`{command}`: what is {word}?"),
            }
            rest = &rest[end..];
        }
        out + rest
    }

    /// Runs a command as it stands in a page; it has to work.
    #[track_caller]
    fn follow(&self, page: &str, command: &str) -> String {
        let filled = self.filled(command);
        let begun = Instant::now();
        if command.contains(" status") {
            // Leads may still be on their way since a command before.
            self.well();
        }
        let output = match filled.strip_prefix("docket ") {
            Some(_) if command == GOES_ON => self.watched(&filled),
            Some(args) => self.shell.command(args.split_whitespace()).output().unwrap(),
            None => self.by_a_shell(&filled),
        };
        println!("{page}: {filled}: {:.1?}", begun.elapsed());
        let (said, told) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(
            output.status.success(),
            "{page}: `{filled}`: {}\n{said}{told}",
            output.status
        );
        assert!(
            !said.is_empty() || !told.is_empty(),
            "{page}: `{filled}` says nothing"
        );
        said
    }

    fn by_a_shell(&self, line: &str) -> Output {
        let run = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.shell.path())
            .output();
        run.unwrap()
    }

    /// Watches until an order is told of, and ends it as an operator does.
    fn watched(&self, command: &str) -> Output {
        let mut watch = self
            .shell
            .command(command.split_whitespace().skip(1))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(watch.stdout.take().unwrap());
        let reading = thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        });
        self.until("an order to be told of", || {
            self.run("order place --customer acme tea:1").ends(0);
            reading.is_finished()
        });
        kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
        let line = reading.join().unwrap();
        let mut ended = watch.wait_with_output().unwrap();
        ended.stdout = line.into_bytes();
        ended
    }

    /// Waits until all nodes are well, and have every replica.
    fn well(&self) {
        self.until("all to be well", || {
            let placed = self.run("cluster status -o json");
            let placed = serde_json::from_str::<Value>(&placed.stdout).unwrap_or_default();
            let groups = placed["placements"].as_array().cloned().unwrap_or_default();
            let whole = serde_json::json!([1, 2, 3]);
            !groups.is_empty()
                && groups.iter().all(|group| group["placed_ids"] == whole)
                && self.run("status").code == 0
        });
    }
}

/// What a name ends with.
fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

/// A receiver of webhooks that takes whatever comes: where it is.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 16 * 1024];
            // All of it comes at once, or is not looked at.
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    format!("http://{address}/")
}

fn is_installed(tool: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What the pages quote, by page.
fn quoted() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let mut pages: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    assert!(pages.len() > 30, "{pages:?}");
    let mut quoted = Vec::new();
    for page in pages {
        let name = page.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&page).unwrap();
        quoted.extend(
            text.split('`')
                .skip(1)
                .step_by(2)
                .map(|part| (name.clone(), part.to_owned())),
        );
    }
    quoted
}

#[test]
fn each_command_of_the_runbooks_works_on_a_cluster_that_has_what_they_are_about() {
    let mut commands: Vec<(Phase, String, String)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for (page, part) in quoted() {
        let tool = part.split(' ').next().unwrap();
        if !part.starts_with("docket ") && !TOOLS.contains(&tool) || !part.contains(' ') {
            continue;
        }
        if TOOLS.contains(&tool) && !is_installed(tool) {
            missing.insert(tool.to_owned());
        } else if seen.insert(part.clone()) {
            commands.push((phase(&part), page, part));
        }
    }
    if !missing.is_empty() {
        // Written as it is: what is printed by a test that passes is not shown.
        let line = format!("SKIPPED: commands of the runbooks: {missing:?} are not installed here\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    assert!(commands.len() > 40, "{commands:?}");
    let stage = Stage::new();
    let of = |wanted: Phase| commands.iter().filter(move |(phase, ..)| *phase == wanted);
    for (_, page, command) in of(Phase::Well).chain(of(Phase::Ending)) {
        let said = stage.follow(page, command);
        // What the page is about is there.
        for (begin, what) in [
            ("docket order list --state rejected", "acme"),
            (
                "docket order list --payment failed",
                stage.values["ORDER"].as_str(),
            ),
            ("docket order get", "no money"),
            ("docket audit show --outcome denied", "denied"),
            ("docket item get", "tea"),
            ("docket webhook list", &stage.values["WEBHOOK"]),
        ] {
            assert!(
                !command.starts_with(begin) || said.contains(what),
                "{page}: `{command}`: {said}"
            );
        }
    }

    // One is down: who is asked says which, and its journal is sound.
    stage.run(&format!("dev kill {ILL}")).ends(0);
    stage.until("the node to be missed", || {
        let status = stage.run("status");
        status.code == 10 && status.stdout.contains("node 3 is not alive")
    });
    for (_, page, command) in of(Phase::Down) {
        stage.follow(page, command);
    }
    stage.run(&format!("dev restart {ILL}")).ends(0);
    stage.well();

    // It is drained, and stays after all.
    for (_, page, command) in of(Phase::Draining) {
        stage.follow(page, command);
        stage.run(&format!("cluster undrain {ILL}")).ends(0);
        stage.well();
    }

    // It is gone for good.
    stage.run(&format!("dev kill {ILL}")).ends(0);
    for (_, page, command) in of(Phase::Removing) {
        stage.follow(page, command);
    }
    stage.until("two nodes to be well without it", || {
        stage.run("status").code == 0
    });
}

/// What else of a page can be held against the program: what is quoted is a command, a question for Prometheus, a key of the configuration, a
/// page, or words of the log.
#[test]
fn what_the_runbooks_name_is_there() {
    let keys = Shell::new().run("config reference -o json").ends(0).json();
    let sections: BTreeSet<&str> = keys
        .as_object()
        .unwrap()
        .keys()
        .map(|key| key.split('.').next().unwrap())
        .collect();
    let mut known = 0;
    for (page, part) in quoted() {
        let words: Vec<&str> = part.split([' ', '=']).collect();
        let is_key = words[0].contains('.')
            && !words[0].contains('/')
            && sections.contains(words[0].split('.').next().unwrap());
        if is_key {
            assert!(
                keys.get(words[0]).is_some(),
                "{page}: there is no key {}",
                words[0]
            );
            known += 1;
        }
        if part.starts_with("docs/") {
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(&part).exists(),
                "{page}: {part}"
            );
        }
        // A tool that is neither run nor known is one that was forgotten here.
        let looks_like_a_tool = part.contains(' ')
            && words[0].chars().all(|c| c.is_ascii_lowercase())
            && words
                .iter()
                .any(|word| word.starts_with('-') || *word == "status" || *word == "tracking");
        let is_known =
            words[0] == "docket" || TOOLS.contains(&words[0]) || OF_THE_MACHINE.contains(&words[0]);
        assert!(
            !looks_like_a_tool || is_known || is_a_question(&part),
            "{page}: what is `{part}`?"
        );
    }
    assert!(known > 8, "{known}");
}

fn is_a_question(part: &str) -> bool {
    part.contains("docket_")
}
