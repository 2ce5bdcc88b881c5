//! The blocks of commands in README.md and docs/*.md: every one is run, in the order of its page, in a folder of the page's own, with this
//! program as `docket`; or its fence says why it is not (```` ```sh no-run="needs Docker" ````), and then its flags and files are looked at.
//!
//! What pages may write:
//! - ```` ```sh background ````: the block is a server's, and goes on while the rest of the page runs. Pages without one have a server that they
//!   share, with the customer `acme` and the item `tea`, and its folder as `docket-data`.
//! - ```` ```sh instead ````: the same, in place of the page's server, which is stopped.
//! - ```` ```sh elsewhere ````: the block starts a second server, at addresses of its own; it is ended with the block.
//! - ```` ```sh cluster ````: the block asks a cluster of three nodes, that `docket dev` has started.
//! - ```` ```sh needs="bao" ````: it is run where that program is, and `.ci/run` brings it.
//! - ```` ```sh run-by="tests/cli/examples.rs" ````: another test, or CI itself, runs it, and has read it from the page.
//! - ```` ```sh slow ````: it takes long with a program that is not optimised; it is run, measurements in short, where `DOCKET_BLOCKS` names one
//!   that is (`.ci/slow`), and else looked at.
//! - `# refused: REASON` behind a command: it must fail, and say so.
//! - `live` or `Ctrl-C` in what is said of a command: it is ended after a moment, as a person would.
//! - `01M83JXAHCC6MXR3EASG000000` stands for the first order, `5f0c2a7d9b3e4c1a8d6f7e21` for the first webhook or key, that the page's commands have
//!   printed, and `2026-11-30T05:15:00Z` for the moment at which the page was begun.
//! - The ports 7070 to 7073 stand for free ones, 7070, 7071, 7080 … for those of the cluster, and `10.0.0.N` for this machine.
//!
//! Some pages find something there (`blocks/scenes`).

mod page;
mod script;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, Once},
    thread,
    time::{Duration, Instant},
};

use docket_payments::stub::{Stub, StubOptions};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use self::{
    page::{Block, How, blocks, pages},
    script::{Places, in_short, is_there, line_of, looked_at, script},
};
use crate::{dev::free_ports as free_ports_in_a_row, server::Server, support::Shell};

/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one may take with what is slow.
const PATIENCE_SLOW: Duration = Duration::from_secs(900);
/// Blocks that are not run are exceptions.
const NOT_RUN_MAX: usize = 20;
/// The optimised program, where what is slow is to be run.
const OPTIMISED: &str = "DOCKET_BLOCKS";

/// A folder with `docket`, and a `cargo` that runs it in place of a release build.
fn programs(shell: &Shell) -> PathBuf {
    let folder = shell.path().join("programs");
    fs::create_dir(&folder).unwrap();
    let program =
        std::env::var_os(OPTIMISED).map_or_else(|| env!("CARGO_BIN_EXE_docket").into(), PathBuf::from);
    symlink(fs::canonicalize(program).unwrap(), folder.join("docket")).unwrap();
    let cargo = "#!/bin/sh\n[ \"$1 $2\" = 'run --release' ] || { echo \"cargo $*: not here\" >&2; exit 1; }\n\
                 shift 2\n[ \"${1:-}\" != -- ] || shift\nexec docket \"$@\"\n";
    let path = folder.join("cargo");
    fs::write(&path, cargo).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Ports that nobody has.
fn free_ports() -> [u16; 4] {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Runs a page's script in a folder; its output, where it failed.
fn run(
    folder: &Path,
    script: &str,
    variables: &[(String, String)],
    patience: Duration,
) -> Result<(), String> {
    let (out, err) = (folder.join("printed"), folder.join("said"));
    let file = |path: &Path| fs::File::create(path).unwrap();
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().cloned())
        .env("HOME", folder)
        .env("PRINTED", &out)
        .env("DOCKET_PASSWORD", "correct horse battery staple")
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&child);
    let end = Instant::now() + patience;
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    // The server of the page is of its group; where there is none, nobody is left to hear it.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
    match ended {
        Some(status) if status.success() => Ok(()),
        other => Err(format!(
            "{other:?}\n{}\n{}",
            fs::read_to_string(&out).unwrap(),
            fs::read_to_string(&err).unwrap()
        )),
    }
}

/// Who runs a block instead: its page is named there, or each of its commands is.
fn is_run_by(file: &str, page: &str, block: &Block) -> bool {
    let by = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    by.contains(page) || block.text.lines().all(|command| by.contains(command))
}

/// What is known of a page before any of it is run.
struct Page {
    path: PathBuf,
    name: String,
    blocks: Vec<Block>,
}

impl Page {
    fn has(&self, how: &How) -> bool {
        self.blocks.iter().any(|block| block.how().as_ref() == Some(how))
    }

    /// Whether it asks what other pages ask, too, so that they take turns.
    fn shares(&self) -> bool {
        !self.has(&How::Background) || self.has(&How::Cluster)
    }
}

#[test]
fn what_the_pages_say_to_run_runs() {
    let is_slow_run = std::env::var_os(OPTIMISED).is_some();
    let (mut failed, mut not_run, mut ran) = (Vec::new(), Vec::new(), 0);
    let (mut taking_turns, mut alone) = (Vec::new(), Vec::new());
    for (path, text) in pages() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let page = Page {
            path,
            name,
            blocks: blocks(&text),
        };
        let before = failed.len();
        for block in &page.blocks {
            let place = format!("{}:{}", page.name, block.line);
            match block.how() {
                None => failed.push(format!("{place}: what is `{}`?", block.info())),
                Some(How::NoRun(why)) => not_run.push(format!("{place}: {why}")),
                Some(How::RunBy(file)) if !is_run_by(file, &page.name, block) => {
                    failed.push(format!("{place}: {file} knows nothing of it"));
                }
                Some(How::RunBy(_)) => {}
                Some(How::Needs(program)) if !is_there(program) => {
                    println!("SKIPPED: {place}: there is no {program}");
                }
                Some(How::Slow) if !is_slow_run => println!("SKIPPED: {place}: {OPTIMISED} is not set"),
                Some(_) => ran += 1,
            }
        }
        // Of what is slow nothing else is to be said anew.
        let is_wanted = !page.blocks.is_empty() && (!is_slow_run || page.has(&How::Slow));
        match is_wanted && failed.len() == before {
            true if page.shares() => taking_turns.push(page),
            true => alone.push(page),
            false => {}
        }
    }
    let stage = Stage::start(is_slow_run);
    let run_all = |pages: Vec<Page>| {
        let ran = pages.into_iter().filter_map(|page| stage.run(&page).err());
        ran.collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let turns = scope.spawn(|| run_all(taking_turns));
        let others = scope.spawn(|| run_all(alone));
        failed.extend(turns.join().unwrap());
        failed.extend(others.join().unwrap());
    });
    println!(
        "{ran} blocks were run; {} were not:\n{}",
        not_run.len(),
        not_run.join("\n")
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(ran > 25, "{ran}");
    assert!(not_run.len() <= NOT_RUN_MAX, "{}", not_run.len());
}

/// What pages find: programs, servers, a provider of payments.
struct Stage {
    shell: Shell,
    path: String,
    is_slow_run: bool,
    cluster: Cluster,
    provider: Provider,
    shared: Shared,
}

impl Stage {
    fn start(is_slow_run: bool) -> Self {
        let cluster = Cluster::begin();
        let shell = Shell::new();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs(&shell).display());
        Self {
            path: std::env::var("PATH").map_or(path.clone(), |outer| format!("{path}:{outer}")),
            shell,
            is_slow_run,
            provider: Provider::start(),
            shared: Shared::start(),
            cluster,
        }
    }

    /// Runs a page in a folder of its own; what went wrong, where anything did.
    fn run(&self, page: &Page) -> Result<(), String> {
        let folder = self.shell.path().join(&page.name);
        fs::create_dir(&folder).unwrap();
        let mut places = Places {
            own: free_ports(),
            cluster: self.cluster.port,
        };
        let mut variables = vec![
            ("PATH".to_owned(), self.path.clone()),
            ("CLUSTER".to_owned(), self.cluster.folder().display().to_string()),
        ];
        if page.name == "README.md" {
            variables.push(self.provider.known_as("CARDS"));
        }
        if page.has(&How::Cluster) {
            self.cluster.is_ready();
        }
        let at = |port: u16| format!("127.0.0.1:{port}");
        if page.has(&How::Background) {
            let [clients, operators, ..] = places.own;
            variables.extend([
                ("DOCKET__SERVER__LISTEN".to_owned(), at(clients)),
                ("DOCKET__ADMIN__LISTEN".to_owned(), at(operators)),
            ]);
        } else {
            [places.own[0], places.own[1]] = self.shared.ports();
            let data = self.shared.shell.path().join("docket-data");
            symlink(data, folder.join("docket-data")).unwrap();
        }
        let [clients, operators, ..] = places.own;
        variables.extend([
            ("DOCKET_ADDR".to_owned(), format!("http://{}", at(clients))),
            (
                "DOCKET_ADMIN_ADDR".to_owned(),
                format!("http://{}", at(operators)),
            ),
        ]);
        let patience = if self.is_slow_run { PATIENCE_SLOW } else { PATIENCE };
        let script = script(&page.path, &page.blocks, &places, self.is_slow_run);
        let began = Instant::now();
        let ran = run(&folder, &script, &variables, patience);
        println!(
            "{}: {} blocks, {:?}",
            page.name,
            page.blocks.len(),
            began.elapsed()
        );
        ran.map_err(|told| format!("{}: {told}", page.name))
    }
}

/// The server of all pages that start none.
struct Shared {
    shell: Shell,
    server: Server,
}

impl Shared {
    fn start() -> Self {
        let shell = Shell::new();
        let server = Server::start(&shell);
        for setup in [
            "customer create acme --currency EUR --credit-limit 500.00",
            "item create tea --currency EUR --price 4.50 --on-hand 100",
        ] {
            shell.run(&format!("{setup} {}", server.flags())).ends(0);
        }
        Self { shell, server }
    }

    /// Its clients' and its operators' port.
    fn ports(&self) -> [u16; 2] {
        ["grpc", "admin"].map(|name| {
            let address = self.server.announced[name].as_str().unwrap();
            address.rsplit_once(':').unwrap().1.parse().unwrap()
        })
    }
}

/// A provider of payments.
struct Provider {
    address: std::net::SocketAddr,
    _stub: Stub,
    _runtime: tokio::runtime::Runtime,
}

impl Provider {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stub = Stub::open(StubOptions {
            data: None,
            token: None,
        })
        .unwrap();
        let listens = stub.listen(([127, 0, 0, 1], 0).into());
        Self {
            address: runtime.block_on(listens).unwrap(),
            _stub: stub,
            _runtime: runtime,
        }
    }

    /// Has a server know it by this name.
    fn known_as(&self, name: &str) -> (String, String) {
        let key = format!("DOCKET__PAYMENTS__PROVIDERS__{name}__URL");
        (key, format!("http://{}", self.address))
    }
}

/// Three nodes that `docket dev` has started, for chaos, too. Ended, and removed, when dropped.
struct Cluster {
    shell: Shell,
    port: u16,
    dev: Child,
    says: Mutex<ChildStdout>,
    is_ready: Once,
}

impl Cluster {
    /// Does not wait.
    fn begin() -> Self {
        let shell = Shell::new().variable("DOCKET__CHAOS__ENABLED", "true");
        let port = free_ports_in_a_row(2);
        let mut dev = shell
            .command(["dev", "--shards", "3", "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            shell,
            port,
            says: Mutex::new(dev.stdout.take().unwrap()),
            is_ready: Once::new(),
            dev,
        }
    }

    fn folder(&self) -> PathBuf {
        self.shell.path().join("docket-dev")
    }

    /// Waits until it says so.
    fn is_ready(&self) {
        self.is_ready.call_once(|| {
            let mut says = self.says.lock().unwrap();
            let first = BufReader::new(&mut *says).lines().next();
            let first = first.expect("it says that it is ready").unwrap();
            assert!(first.starts_with("The cluster is ready"), "{first}");
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.dev), Signal::TERM);
        let _ = self.dev.wait();
    }
}

#[test]
fn commands_are_in_fences() {
    let mut found = Vec::new();
    for (page, text) in pages() {
        let mut is_code = false;
        for (at, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                is_code = !is_code;
            }
            let begins = |word: &str| {
                // What has more than one blank behind the word is a table.
                let rest = line.strip_prefix("    ").and_then(|line| line.strip_prefix(word));
                rest.is_some_and(|rest| !rest.starts_with(' '))
            };
            if !is_code
                && ["docket ", "cargo ", "$ ", "just ", "benches/"]
                    .iter()
                    .any(|word| begins(word))
            {
                found.push(format!("{}:{}: {line}", page.display(), at + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn blocks_are_taken_apart_as_they_are_written() {
    let page = "a\n```sh\none\ntwo\n```\n```text\nthree\n```\n```sh no-run=\"needs it\"\nfour\n```\n```sh else\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 3);
    assert_eq!(
        (found[0].line, found[0].text.as_str(), found[0].how()),
        (2, "one\ntwo", Some(How::Run))
    );
    assert_eq!(found[1].how(), Some(How::NoRun("needs it")));
    assert_eq!(found[2].how(), None);
    assert_eq!(
        line_of("docket x   # refused: NO_WAY, for good"),
        "refused 'NO_WAY' docket x"
    );
    assert_eq!(line_of("docket x   # what happens, live"), "live docket x");
    assert_eq!(line_of("docket x   # plainly"), "docket x   # plainly");
    assert_eq!(
        looked_at("$ docket x --y > z").as_deref(),
        Some("docket x --y --help >/dev/null")
    );
    assert_eq!(looked_at("docker run"), None);
    let short = in_short("docket bench [--mode stream] --duration 1m > old.json   # at night");
    assert!(short.ends_with(" --mode stream > old.json"), "{short}");
    assert_eq!(in_short("docket debug bundle"), "docket debug bundle");
}

#[test]
fn who_runs_a_block_instead_knows_it() {
    let block = &blocks("```sh run-by=\".ci/run\"\ncargo test --workspace\n```\n")[0];
    assert!(is_run_by(".ci/run", "docs/none.md", block));
    let block = &blocks("```sh run-by=\".ci/run\"\ncargo test --nothing\n```\n")[0];
    assert!(!is_run_by(".ci/run", "docs/none.md", block));
    assert!(!is_run_by("tests/none.rs", "docs/none.md", block));
}
