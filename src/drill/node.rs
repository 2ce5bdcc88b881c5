//! A server of a drill: a process on loopback that ends with this one.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    client::{Asked, Client, Credentials, Target},
    failure::Failure,
};

/// Ports of one server: as `docket dev` counts them.
pub const PORTS: u16 = 10;
/// What all servers of a drill are configured with.
const CONFIGURATION: &str = "[cluster]\nshards = 4\n[log]\nformat = \"json\"\n[server]\nfailed_ms = 0\n";
/// How often it is looked whether it answers, or has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to stop in order.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A server, running or not. Killed when dropped.
pub struct Node {
    folder: PathBuf,
    name: &'static str,
    port: u16,
    sections: String,
    child: Option<Child>,
}

impl Node {
    pub fn new(folder: &Path, name: &'static str, port: u16, sections: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            name,
            port,
            sections: sections.to_owned(),
            child: None,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// Starts it, and does not wait.
    pub fn start(&mut self) -> Result<(), Failure> {
        let failed =
            |cause: std::io::Error| Failure::Other(format!("cannot start the {}: {cause}", self.name));
        let config = self.folder.join(format!("{}.toml", self.name));
        fs::write(&config, format!("{CONFIGURATION}{}", self.sections)).map_err(failed)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(failed)?;
        let child = Command::new(env::current_exe().map_err(failed)?)
            .args(["serve", "--until-stdin-ends", "--data-dir"])
            .arg(self.data_dir())
            .arg("--config")
            .arg(&config)
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--admin-listen", &format!("127.0.0.1:{}", self.port + 1)])
            // It stops when this process does, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.map_err(failed)?);
        Ok(())
    }

    /// A connection as the administrator, once it takes one.
    pub async fn client(&mut self, key_file: &Path, within: Duration) -> Result<Client, Failure> {
        let begun = Instant::now();
        loop {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(Failure::Other(format!(
                    "the {} ended with {status}: {}",
                    self.name,
                    self.last_word()
                )));
            }
            if key_file.exists()
                && let Ok(client) = connect(&self.address(), key_file).await
            {
                return Ok(client);
            }
            if begun.elapsed() >= within {
                return Err(Failure::Other(format!(
                    "the {} does not answer: {}",
                    self.name,
                    self.last_word()
                )));
            }
            sleep(LOOK).await;
        }
    }

    fn last_word(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let killed = child.kill().and_then(|()| child.wait());
        killed
            .map(drop)
            .map_err(|cause| Failure::Other(format!("cannot kill the {}: {cause}", self.name)))
    }

    /// Has it stop in order, and kills it where that takes too long.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        if let Some(child) = &mut self.child {
            // The end of its stdin is what it waits for.
            drop(child.stdin.take());
            let begun = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < STOP_WITHIN {
                sleep(LOOK).await;
            }
        }
        self.kill()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// A connection as the administrator.
pub async fn connect(address: &str, key_file: &Path) -> Result<Client, Failure> {
    let target = Target {
        address: address.to_owned(),
        ca: None,
        timeout: CALL_TIMEOUT,
    };
    let asked = Asked {
        api_key_file: Some(key_file.to_owned()),
        ..Asked::default()
    };
    Ok(Client::connect(&target, Credentials::find(asked)?).await?)
}
