//! The clients in `examples/`, against a node.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{server::Server, support::Shell};

/// What the examples end with.
const DONE: &str = "all as it should be";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Written as it is: what is printed by a test that passes is not shown.
fn skipped(what: &str) {
    let told = format!("SKIPPED: {what}\n");
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

/// Where the page of clients has nodes: for gRPC, and for REST.
const PLACES: [&str; 2] = ["127.0.0.1:7070", "127.0.0.1:7073"];

/// The commands of the page that run this, in the folder where it says they are typed, with the server's addresses: they must end well, and with these words.
#[track_caller]
fn types(with: &str, shell: &Shell, server: &Server, places: [&str; 2]) {
    let page = include_str!("../../docs/clients.md");
    let blocks = page.split("```sh run-by=\"tests/cli/examples.rs\"\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(with));
    let mut commands = block
        .unwrap_or_else(|| panic!("the page runs no {with}"))
        .to_owned();
    for (named, place) in PLACES.into_iter().zip(places) {
        commands = commands.replace(named, place);
    }
    let ran = Command::new("bash")
        .args(["-euc", &commands])
        .current_dir(shell.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout).into_owned(),
        String::from_utf8_lossy(&ran.stderr).into_owned(),
    );
    assert!(ran.status.success(), "{commands}: {out}{err}{}", server.log());
    assert_eq!(out.lines().last(), Some(DONE), "{out}{err}");
}

#[test]
fn the_python_client_leads_an_order_through_its_life() {
    let installed = Command::new("python3")
        .args(["-c", "import grpc, grpc_reflection"])
        .output()
        .is_ok_and(|run| run.status.success());
    if !installed {
        return skipped("the Python example: pip install -r examples/python/requirements.txt");
    }
    let shell = Shell::new();
    let server = Server::start(&shell);
    symlink(example(""), shell.path().join("examples")).unwrap();
    let grpc = server.grpc_socket().to_string();
    types("examples/python/shop.py", &shell, &server, [&grpc, PLACES[1]]);
    server.stop();
}

/// Where what the TypeScript example needs was installed: beside what cargo builds, or where a variable says.
fn installed() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_BIN_EXE_docket")).parent()?.parent()?;
    let folder =
        std::env::var_os("DOCKET_TYPESCRIPT").map_or_else(|| built.join("ci-typescript"), PathBuf::from);
    let modules = folder.join("node_modules");
    let is_there = modules.join("typescript/bin/tsc").is_file();
    // Of another lock than this one it would prove nothing.
    let lock = |folder: &Path| fs::read(folder.join("package-lock.json")).ok();
    (is_there && lock(&folder) == lock(&example("typescript"))).then_some(modules)
}

#[test]
fn the_typescript_client_is_typed_and_leads_an_order_through_its_life() {
    let has = |program: &str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|run| run.status.success())
    };
    let Some(modules) = installed().filter(|_| has("node") && has("npm")) else {
        return skipped("the TypeScript example: node, and `npm ci` as .ci/run does it");
    };
    // The rest is made in a folder of its own: nothing changes in the work tree.
    let shell = Shell::new();
    let folder = shell.path().join("examples/typescript");
    fs::create_dir_all(folder.join("src")).unwrap();
    for file in ["package.json", "tsconfig.json", "src/docket.ts", "src/shop.ts"] {
        fs::copy(example("typescript").join(file), folder.join(file)).unwrap();
    }
    symlink(&modules, folder.join("node_modules")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shell = shell.variable("DOCKET__REST__LISTEN", &free.to_string());
    let server = Server::start(&shell);
    let rest = server.announced["rest"].as_str().unwrap();
    let rest = rest.strip_prefix("http://").unwrap().to_owned();
    // It says what is wrong with types, and writes the program.
    types("dist/shop.js", &shell, &server, [PLACES[0], &rest]);
    server.stop();
}
