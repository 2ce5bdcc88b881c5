//! The provider as a process of its own, which is killed and started again, and fails on demand.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use docket_payments::stub::{Stub, StubOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Home, LOOK_AGAIN, PATIENCE, free_port};

/// Where a process of this program is to serve, and the file that is its memory, with a blank between.
const SERVES: &str = "DOCKET_TEST_PAYMENT_PROVIDER";

/// What `docket-payment-stub` does, in a process of this program: cargo builds no programs of other packages for tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_serves_where_a_test_has_started_it() {
    let Ok(serves) = env::var(SERVES) else { return };
    let (address, data) = serves.split_once(' ').unwrap();
    let stub = Stub::open(StubOptions {
        data: Some(PathBuf::from(data)),
        token: None,
    });
    let stub = stub.unwrap();
    stub.listen(address.parse().unwrap()).await.unwrap();
    stub.died().await;
    // It ends as that program does, and at once.
    std::process::exit(3);
}

/// A provider that runs, or is dead.
pub struct Provider {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
}

impl Provider {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = free_port();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut provider = Self {
            child: launch(address, &folder),
            folder,
            address,
        };
        provider.ready();
        provider
    }

    /// A server that lives there knows it by this name.
    pub fn known_to(&self, home: Home, name: &str) -> Home {
        let section = format!("payments.providers.{name}");
        home.set(&format!("{section}.url"), &format!("http://{}", self.address))
            .set(&format!("{section}.timeout_ms"), "1000")
            .set(&format!("{section}.backoff_min_ms"), "5")
            .set(&format!("{section}.backoff_max_ms"), "50")
            .set(&format!("{section}.breaker_open_ms"), "100")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has died.
    pub fn is_dead(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Comes back, at the same address, with what is on its disk.
    pub fn restart(&mut self) {
        assert!(self.is_dead());
        self.child = launch(self.address, &self.folder);
        self.ready();
    }

    fn ready(&mut self) {
        let begun = Instant::now();
        while self.ask("GET", "/faults", "").is_none() {
            assert!(!self.is_dead(), "the provider does not start");
            assert!(begun.elapsed() < PATIENCE, "the provider is not ready");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Sets faults; nothing where it is dead.
    pub fn fails(&self, faults: &Value) {
        self.ask("POST", "/faults", &faults.to_string());
    }

    /// No faults any more, and nothing is held.
    pub fn mend(&mut self) {
        // It may die of a fault before it is without.
        while self.ask("DELETE", "/faults", "").is_none() {
            if self.is_dead() {
                self.restart();
            }
        }
        self.ask("POST", "/release", "").unwrap();
    }

    pub fn ledger(&self) -> Value {
        self.ask("GET", "/ledger", "").unwrap()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let mut tcp = TcpStream::connect_timeout(&self.address, PATIENCE).ok()?;
        tcp.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: provider\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        tcp.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "{method} {path} {body}: {answer}"
        );
        serde_json::from_str(body).ok()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // A failing test must leave no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(address: SocketAddr, folder: &TempDir) -> Child {
    let data = folder.path().join("ledger.jsonl");
    Command::new(env::current_exe().unwrap())
        .args(["a_provider_serves_where_a_test_has_started_it", "--nocapture"])
        .env(SERVES, format!("{address} {}", data.to_str().unwrap()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
