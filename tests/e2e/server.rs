//! The server as a process: started, asked, killed, started again on the same data directory.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything that must happen may take, on a machine that has a lot to do.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often other ports are tried where somebody took ours between reserving and binding them.
const PORT_TRIES: usize = 5;
/// Those that servers listen on which go away and come back.
const PORTS: Range<u16> = 10_000..20_000;
/// The configuration file of a home that has one.
const CONFIG: &str = "docket.toml";
/// As much of the server's log as a failing test shows, in bytes.
const LOG_TAIL_BYTES: usize = 4_096;

/// Where a server lives: its data directory, its configuration, its log.
pub struct Home {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// An empty data directory.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            // Small groups: a test has few entities and two processors.
            // And nobody looks at a node that has failed, where that is not what is tried.
            variables: vec![
                ("DOCKET__CLUSTER__SHARDS".into(), "3".into()),
                ("DOCKET__SERVER__FAILED_MS".into(), "0".into()),
            ],
        }
    }

    /// The same on another disk.
    pub fn below(folder: &Path) -> Self {
        Self {
            folder: tempfile::tempdir_in(folder).unwrap(),
            ..Self::new()
        }
    }

    /// Sets a variable that is no configuration.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a value of the configuration, `section.name`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let name = format!("DOCKET__{}", key.to_uppercase().replace('.', "__"));
        self.variables.push((name, value.to_owned()));
        self
    }

    /// What its environment is.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Writes its configuration file, whole at any moment. A server that is started here reads it from then on.
    pub fn configure(&self, text: &str) {
        let next = self.folder.path().join("next.toml");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.path().join(CONFIG)).unwrap();
    }

    /// A file beside the data directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The first administrator's key.
    pub fn admin_key(&self) -> String {
        fs::read_to_string(self.data().join("admin.key"))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// The program, ready to be started here. Nothing of the caller's environment reaches it.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_under(&[], args)
    }

    /// The program, started by another one, which must become it.
    fn command_under(&self, starter: &[String], args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_docket").to_owned();
        let words: Vec<&String> = starter.iter().chain([&program]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program here, which must do what it is asked.
    pub fn run(&self, args: &[&str]) {
        let run = self.command(args).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{args:?}: {said}");
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
    }

    /// All of the server's log.
    pub fn whole_log(&self) -> String {
        let log = fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn output(&self, name: &str) -> Stdio {
        let path = self.folder.path().join(name);
        File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
            .into()
    }
}

/// A server that runs.
pub struct Server {
    /// `None` where somebody else has started it, and stops it.
    child: Option<Child>,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
}

impl Server {
    /// Starts one and waits until it is ready.
    pub fn start(home: &Home) -> Self {
        for _ in 0..PORT_TRIES {
            let mut server = Self::launch(home);
            if server.ready(home) {
                return server;
            }
            let log = home.log();
            assert!(log.contains("cannot listen on"), "it does not start: {log}");
        }
        panic!("{PORT_TRIES} pairs of free ports were taken by others");
    }

    /// Starts one and does not wait.
    pub fn launch(home: &Home) -> Self {
        Self::launch_under(home, &[])
    }

    /// Starts one by another program, which must become it, and does not wait.
    pub fn launch_under(home: &Home, starter: &[String]) -> Self {
        // Both are held together, so that they differ.
        let (one, other) = (free_port(), free_port());
        let (grpc, admin) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        drop((one, other));
        Self::launch_with(home, starter, grpc, admin)
    }

    /// Starts one at addresses that stay its own, and does not wait.
    pub fn launch_at(home: &Home, grpc: SocketAddr, admin: SocketAddr) -> Self {
        Self::launch_with(home, &[], grpc, admin)
    }

    fn launch_with(home: &Home, starter: &[String], grpc: SocketAddr, admin: SocketAddr) -> Self {
        let data = home.data();
        let (listen, admin_listen) = (grpc.to_string(), admin.to_string());
        let mut args = vec![
            "serve",
            "--data-dir",
            data.to_str().unwrap(),
            "--listen",
            &listen,
            "--admin-listen",
            &admin_listen,
        ];
        if home.file(CONFIG).exists() {
            args.extend(["--config", CONFIG]);
        }
        let child = home
            .command_under(starter, &args)
            .stdout(home.output("stdout"))
            .stderr(home.output("stderr"))
            .spawn()
            .unwrap();
        Self {
            child: Some(child),
            grpc,
            admin,
        }
    }

    /// One that somebody else has started, and will stop.
    pub fn elsewhere(grpc: SocketAddr, admin: SocketAddr) -> Self {
        let child = None;
        Self { child, grpc, admin }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it is started and stopped elsewhere")
    }

    /// Waits until it is ready; false where it ended instead.
    pub fn ready(&mut self, home: &Home) -> bool {
        let begun = Instant::now();
        loop {
            if self.has_ended() {
                return false;
            }
            if self.get("/readyz").is_some_and(|(code, _)| code == 200) {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "it is not ready: {}", home.log());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The status code and the body of an admin endpoint; none where nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_within(path, PATIENCE)
    }

    /// The same of a server that may stand still.
    pub fn get_within(&self, path: &str, wait: Duration) -> Option<(u16, String)> {
        let mut tcp = TcpStream::connect_timeout(&self.admin, wait).ok()?;
        tcp.set_read_timeout(Some(wait)).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: docket\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// Orders that have something left to be done.
    pub fn open_orders(&self) -> u64 {
        let (_, body) = self.get("/status?local").expect("the admin endpoints answer");
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        status["entities"]["open_orders"]
            .as_u64()
            .unwrap_or_else(|| panic!("no entities.open_orders in {status}"))
    }

    /// Waits until no order has anything left to be done.
    pub async fn settled(&self) {
        let begun = Instant::now();
        loop {
            let open = self.open_orders();
            if open == 0 {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{open} orders do not settle by themselves"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// SIGKILL: no last words.
    pub fn kill(mut self) {
        self.child().kill().unwrap();
        self.child().wait().unwrap();
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        let child = self.child.as_ref();
        child.expect("it is started and stopped elsewhere").id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_some())
    }

    /// The code that it has ended with; none while it runs.
    pub fn code(&mut self) -> Option<i32> {
        self.child().try_wait().unwrap().and_then(|status| status.code())
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.id().try_into().unwrap()).unwrap()
    }

    /// Waits until it has ended.
    pub fn ended(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child().try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// SIGTERM, and exit code 0.
    pub fn stop(self, home: &Home) {
        self.terminate();
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{status}: {}", home.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failing test must leave no process behind; one that has ended is no loss.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that nobody has, and that the system gives to nobody once this is dropped: it is below those from which it takes one for whoever connects. A
/// process takes none twice, before it has had all of them.
pub fn free_port() -> TcpListener {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    // Processes that run beside each other begin elsewhere.
    let first = std::process::id() as usize * 7;
    let turns = PORTS.map(|_| first + TAKEN.fetch_add(1, Relaxed));
    let mut held = turns.filter_map(|turn| {
        let port = PORTS.clone().nth(turn % PORTS.len())?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    });
    held.next().expect("a free port")
}

/// Runs `docket journal verify` on a data directory that nobody uses; it must find nothing.
pub fn verify(home: &Home) {
    let data: &Path = &home.data();
    let run = home
        .command(&["journal", "verify", "--data-dir", data.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}
