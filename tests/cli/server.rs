//! A server of the built program, and how to wait for it.

use std::{
    fs::{self, File},
    io::{BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::Shell;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a test looks whether what it waits for has come.
const LOOK: Duration = Duration::from_millis(10);

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// What it announced.
    pub announced: Value,
}

impl Server {
    /// Starts a server on free ports in the shell's folder, and waits until it is ready.
    #[track_caller]
    pub fn start(shell: &Shell) -> Self {
        Self::start_with(shell, &[])
    }

    /// The same with more flags.
    #[track_caller]
    pub fn start_with(shell: &Shell, args: &[&str]) -> Self {
        Self::spawn(shell, shell.command(serve_args(args)))
    }

    /// Spawns a command that becomes a server which announces itself as JSON.
    #[track_caller]
    pub fn spawn(shell: &Shell, mut command: Command) -> Self {
        let log = shell.path().join("server.log");
        let child = command
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn();
        let mut child = child.unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let announced = serde_json::Deserializer::from_reader(&mut stdout)
            .into_iter()
            .next();
        match announced {
            Some(Ok(announced)) => Self {
                child,
                log,
                announced,
            },
            other => {
                let _ = child.kill();
                let status = child.wait().unwrap();
                panic!(
                    "the server ended with {status} ({other:?}): {}",
                    fs::read_to_string(&log).unwrap()
                );
            }
        }
    }

    pub fn grpc(&self) -> &str {
        self.announced["grpc"].as_str().unwrap()
    }

    pub fn grpc_socket(&self) -> SocketAddr {
        self.grpc().split_once("://").unwrap().1.parse().unwrap()
    }

    /// The flags with which client commands find this server; the key they find by themselves.
    pub fn flags(&self) -> String {
        format!("--addr {}", self.grpc())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks an admin endpoint: the status code and the body; none where nobody listens any more.
    pub fn admin(&self, path: &str) -> Option<(u16, String)> {
        let (code, _, body) = self.ask_admin("GET", path, "", "")?;
        Some((code, body))
    }

    /// The same with lines of headers and a body: the status code, the answer's headers and its body.
    pub fn ask_admin(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Option<(u16, String, String)> {
        let address = self.announced["admin"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((
            head.split(' ').nth(1)?.parse().ok()?,
            head.to_owned(),
            body.to_owned(),
        ))
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let Self { child, log, .. } = self;
        until(
            "the server to end",
            || child.try_wait().unwrap(),
            || fs::read_to_string(&*log).unwrap(),
        )
    }

    /// Stops it in order.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().code(), Some(0), "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of a server on free ports that announces itself as JSON.
pub fn serve_args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "-o",
        "json",
    ];
    args.extend(more);
    args
}

/// Looks again and again until there is something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>, tell: impl Fn() -> String) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}: {}", tell());
        thread::sleep(LOOK);
    }
}
