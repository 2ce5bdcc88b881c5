//! What is taken off a running node to find out what is wrong with it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::{
    server::{Server, until},
    support::{Run, Shell},
};

const PASSWORD: &str = "correct horse battery";

/// The files of an archive, by their names.
#[track_caller]
pub fn unpack(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        })
        .collect()
}

/// A node, and what asks at its address for operators.
struct Node {
    shell: Shell,
    server: Server,
}

impl Node {
    fn start(shell: Shell, args: &[&str]) -> Self {
        let server = Server::start_with(&shell, args);
        Self { shell, server }
    }

    fn admin(&self) -> &str {
        self.server.announced["admin"].as_str().unwrap()
    }

    fn debug(&self, command: &str) -> Run {
        self.shell
            .run(&format!("debug {command} --admin {}", self.admin()))
    }

    fn command(&self, command: &str) -> Run {
        self.shell.run(&format!("{command} {}", self.server.flags()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shell.path().join(name)
    }

    /// Waits for a record of the audit log.
    fn recorded(&self, flags: &str) -> Value {
        let show = || {
            let shown = self
                .shell
                .run(&format!("audit show -o json {flags}"))
                .ends(0)
                .json();
            shown["records"].as_array().unwrap().last().cloned()
        };
        until(flags, show, || self.server.log())
    }

    /// Load, until it is dropped.
    fn load(&self) -> Load {
        let args = format!(
            "bench --mode stream --duration 60s --warm-up 100ms --rounds 1 --no-baselines --customers 50 --items 50 {}",
            self.server.flags()
        );
        let mut command = self.shell.command(args.split_whitespace());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Load(command.spawn().unwrap())
    }
}

struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bundle_has_what_tells_how_the_node_is_and_says_what_is_not_in_it() {
    let shell = Shell::new()
        .variable("CANARY_CARDS", "canary-of-the-bundle")
        .file("docket.toml", "[log]\nkept_lines = 500\n[payments.providers.cards]\nurl = \"http://127.0.0.1:1\"\ntoken = \"env:CANARY_CARDS\"\n");
    let node = Node::start(shell, &["--config", "docket.toml"]);
    let taken = node
        .debug("bundle --seconds 1 --file taken.tar.gz -o json")
        .ends(0)
        .json();
    assert_eq!(taken["nodes"][0]["given"], true);
    let mode = fs::metadata(node.path("taken.tar.gz"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = unpack(&node.path("taken.tar.gz"));
    let text = |name: &str| {
        let content = files.get(&format!("docket-debug-node-1/{name}"));
        String::from_utf8(
            content
                .unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()))
                .clone(),
        )
        .unwrap()
    };
    let json = |name: &str| -> Value { serde_json::from_str(&text(name)).unwrap() };
    let manifest = json("manifest.json");
    assert_eq!(taken["nodes"][0]["manifest"], manifest);
    assert_eq!((&manifest["node"], &manifest["seconds"]), (&1.into(), &1.into()));
    let names = |list: &str| -> Vec<String> {
        let list = manifest[list].as_array().unwrap().iter();
        list.map(|file| file["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("missing"), ["cluster.json"], "{manifest:#}");
    assert_eq!(manifest["missing"][0]["why"], "the node stands alone");
    for name in names("files") {
        assert!(
            files.contains_key(&format!("docket-debug-node-1/{name}")),
            "{name}"
        );
    }
    assert_eq!(files.len(), names("files").len() + 1);

    assert_eq!(json("status.json")["ready"], true);
    assert!(text("metrics.txt").contains("docket_journal_bytes"));
    let configuration = json("configuration.json");
    assert_eq!(configuration["log.kept_lines"]["value"], 500);
    assert_eq!(configuration["log.kept_lines"]["origin"], "docket.toml:2");
    assert_eq!(
        configuration["payments.providers.cards.token"]["value"],
        "env:CANARY_CARDS"
    );
    assert!(
        text("log.txt")
            .lines()
            .any(|line| line.contains("payments can be asked for"))
    );
    let runtime = json("runtime.json");
    assert!(runtime["tasks_alive"].as_u64().unwrap() > 10, "{runtime}");
    assert!(!runtime["workers"].as_array().unwrap().is_empty());
    let threads = json("threads.json");
    let threads = threads["threads"].as_array().unwrap();
    assert!(
        threads.iter().any(|thread| thread["name"] == "audit"),
        "{threads:?}"
    );
    assert!(text("process.txt").contains("VmRSS"));
    assert!(json("traffic.json")["points"].is_object());
    assert!(files.contains_key("docket-debug-node-1/cpu.pb.gz"));
    assert!(text("cpu.svg").starts_with("<svg "));
    for (name, content) in &files {
        let text = String::from_utf8_lossy(content);
        assert!(!text.contains("canary-of-the-bundle"), "{name}");
    }

    // Whose it was is recorded.
    let record = node.recorded("--action debug.bundle --outcome done");
    assert_eq!(record["who"]["account"], "admin");
    assert_eq!(
        (&record["target"], &record["details"]["seconds"]),
        (&"nodes/1".into(), &"1".into())
    );

    // Without a profile it takes no time, and says so. What is there is not written over.
    let quick = node.debug("bundle --seconds 0 --file quick.tar.gz").ends(0);
    assert!(quick.stdout.contains("it was not asked for"), "{}", quick.stdout);
    node.debug("bundle --seconds 0 --file quick.tar.gz")
        .ends(2)
        .says("is there already");
    node.server.stop();
}

#[test]
fn only_an_administrator_takes_something_and_one_at_a_time() {
    let node = Node::start(Shell::new().variable("DOCKET_PASSWORD", PASSWORD), &[]);
    node.command("auth register bob --role service").ends(0);
    let key = |command: &str| -> String {
        let key = node
            .command(&format!("auth key create {command} -o json"))
            .ends(0)
            .json();
        key["secret"].as_str().unwrap().to_owned()
    };
    let of_bob = key("--account bob --scope read");
    let without_scope = key("--scope read");
    for kind in ["bundle", "profile"] {
        let refused = |flags: &str| {
            node.debug(&format!("{kind} --seconds 1 --file refused {flags}"))
                .ends(1)
        };
        refused(&format!("--api-key {of_bob}")).says("ROLE_NOT_ALLOWED");
        refused(&format!("--api-key {without_scope}")).says("SCOPE_MISSING");
        refused("--api-key nonsense").says("CREDENTIALS_INVALID");
        let record = node.recorded(&format!("--action debug.{kind} --outcome denied --who bob"));
        assert_eq!(record["who"]["role"], "service");
        // Without any, as curl would.
        let (code, body) = node.server.admin(&format!("/debug/{kind}?seconds=1")).unwrap();
        assert_eq!(code, 401, "{body}");
    }
    assert!(!node.path("refused").exists());
    for (flags, why) in [
        ("profile --seconds 0", "0"),
        ("bundle --seconds 61", "61"),
        ("bundle --admin https://127.0.0.1:1", "without TLS"),
        ("bundle --addr http://127.0.0.1:1", "--admin"),
    ] {
        node.shell.run(&format!("debug {flags}")).ends(2).says(why);
    }

    // While somebody is at it.
    let mut first = node.shell.command([
        "debug",
        "profile",
        "--seconds",
        "30",
        "--file",
        "first.pb.gz",
        "--admin",
        node.admin(),
    ]);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    node.recorded("--action debug.profile --outcome done");
    node.debug("profile --seconds 1 --file second.pb.gz")
        .ends(1)
        .says("DEBUG_BUSY");
    // A bundle is not given either; what everybody is told is taken instead.
    node.debug("bundle --seconds 0 --file open.tar.gz")
        .ends(1)
        .says("DEBUG_BUSY");
    let open = unpack(&node.path("open.tar.gz"));
    let names: Vec<&str> = open.keys().filter_map(|name| name.rsplit('/').next()).collect();
    assert_eq!(
        names,
        ["manifest.json", "metrics.txt", "ready.txt", "status.json"]
    );
    // Whoever goes away gives the turn back long before the time is over.
    first.kill().unwrap();
    first.wait().unwrap();
    until(
        "the turn to be given back",
        || {
            let taken = node.debug("profile --seconds 1 --file second.pb.gz");
            (taken.code == 0).then_some(())
        },
        || node.server.log(),
    );
    node.server.stop();
}

#[test]
fn a_profile_of_a_node_under_load_names_what_it_is_busy_with() {
    let node = Node::start(Shell::new(), &[]);
    let load = node.load();
    until(
        "orders to be placed",
        || {
            let (_, metrics) = node.server.admin("/metrics")?;
            let placed = metrics
                .lines()
                .find(|line| line.starts_with("docket_stream_orders_total"))?;
            (placed.rsplit(' ').next()?.parse::<f64>().ok()? > 10.0).then_some(())
        },
        || node.server.log(),
    );
    node.debug("profile --seconds 2 --format folded --file cpu.txt")
        .ends(0);
    drop(load);
    let folded = fs::read_to_string(node.path("cpu.txt")).unwrap();
    let (mut looks, mut of_docket) = (0, 0);
    for line in folded.lines() {
        let (stack, times) = line.rsplit_once(' ').unwrap();
        let times: u64 = times.parse().unwrap();
        looks += times;
        if stack.contains("docket_") {
            of_docket += times;
        }
    }
    println!("{of_docket} of {looks} looks were in Docket's own functions, or what these called");
    assert!(looks >= 20, "{folded}");
    assert!(of_docket * 2 > looks, "{of_docket} of {looks}: {folded}");
    // The sampler is not what it is busy with.
    assert!(!folded.contains("perf_signal_handler"), "{folded}");
    // It goes on as before.
    node.command("item list").ends(0);
    node.server.stop();
}

#[test]
fn a_bundle_of_several_nodes_is_one_archive_also_where_one_is_away() {
    let node = Node::start(Shell::new(), &[]);
    let admin = node.admin().to_owned();
    let away = "http://127.0.0.1:1";
    let taken = node
        .shell
        .run(&format!(
            "debug bundle --seconds 0 --file both.tar.gz --admin {admin},{away}"
        ))
        .ends(1)
        .says(&format!("{away} gave no bundle"));
    assert!(taken.stdout.contains("status.json"), "{}", taken.stdout);
    let files = unpack(&node.path("both.tar.gz"));
    assert!(files.contains_key("docket-debug-node-1/manifest.json"));
    node.server.stop();
    // Where nothing can be had nothing is written.
    let nothing = node.shell.run(&format!(
        "debug bundle --seconds 0 --file none.tar.gz --admin {admin}"
    ));
    nothing
        .ends(1)
        .says("the node does not answer")
        .says("do: name its address");
    assert!(!node.shell.path().join("none.tar.gz").exists());
}
