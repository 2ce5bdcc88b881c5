//! A throw-away server: a `docket serve` process on ports that the system chooses.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::{Credential, Error, Target, Usage};

/// What a throw-away server is configured with: a file of `docket serve`.
pub const CONFIGURATION: &str = include_str!("server.toml");
/// How long a server may take to be ready, with much to recover.
const START_MAX: Duration = Duration::from_secs(600);
/// How long it may take to stop in order.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How often somebody looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long an operators' endpoint may take.
const ENDPOINT_MAX: Duration = Duration::from_secs(10);
/// Lines of the log that are told when it fails.
const TAIL_LINES: usize = 10;

/// Where a server says that it is.
#[derive(Clone, Debug)]
pub struct Announced {
    /// `http://IP:PORT` of gRPC.
    pub grpc: String,
    /// `IP:PORT` of the operators' endpoints.
    pub admin: String,
    /// `http://IP:PORT` of REST, where it is configured.
    pub rest: Option<String>,
}

/// A running server process, killed when dropped, and stopping by itself when this process is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    announced: Announced,
    credential: Credential,
}

impl Server {
    /// Starts `program serve` on `folder`, where its data, its configuration and its log are, and waits until it is ready.
    /// The environment reaches it, so that whatever is not a flag of its own can be configured there.
    ///
    /// # Errors
    /// It cannot be started, or ends; the message says how its log ends.
    pub async fn start(program: &Path, folder: &Path) -> Result<Self, Error> {
        Self::start_as(program, folder, "", None).await
    }

    /// The same with more sections of configuration; `credential` is the administrator's where this server has none of its own, because
    /// it belongs to a cluster that another one has founded.
    pub(crate) async fn start_as(
        program: &Path,
        folder: &Path,
        sections: &str,
        credential: Option<Credential>,
    ) -> Result<Self, Error> {
        let configuration = format!("{CONFIGURATION}{sections}");
        Self::start_configured(program, folder, &configuration, credential).await
    }

    /// The same with this configuration and no other.
    pub(crate) async fn start_configured(
        program: &Path,
        folder: &Path,
        configuration: &str,
        credential: Option<Credential>,
    ) -> Result<Self, Error> {
        let (config, data, log) = (
            folder.join("docket.toml"),
            Self::data_dir(folder),
            folder.join("server.log"),
        );
        fs::write(&config, configuration).map_err(Error::system(format!("write {}", config.display())))?;
        let stderr = File::options().create(true).append(true).open(&log);
        let stderr = stderr.map_err(Error::system(format!("write {}", log.display())))?;
        let mut command = Command::new(program);
        command
            .args([
                "serve",
                "--until-stdin-ends",
                "-o",
                "json",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args([Path::new("--data-dir"), &data, Path::new("--config"), &config])
            // The child keeps this end: when this process is gone, so is the server.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let child = command
            .spawn()
            .map_err(Error::system(format!("start {}", program.display())))?;
        let mut starting = Starting {
            child: Some(child),
            log,
        };
        let announced = starting.announced().await?;
        let credential = match credential {
            Some(credential) => credential,
            None => {
                let key = fs::read_to_string(data.join("admin.key"));
                let key = key.map_err(Error::system("read the server's key"))?;
                Credential::api_key(&key).ok_or(Error::Broken("the server's key is none"))?
            }
        };
        let Starting { child, log } = &mut starting;
        let child = child
            .take()
            .ok_or(Error::Broken("the server's process was taken twice"))?;
        Ok(Self {
            child,
            log: log.clone(),
            announced,
            credential,
        })
    }

    /// Where a server in `folder` keeps its data.
    pub fn data_dir(folder: &Path) -> PathBuf {
        folder.join("data")
    }

    /// The way to it, as its administrator.
    ///
    /// # Errors
    /// It announced an address that is none.
    pub fn target(&self) -> Result<Target, Error> {
        Target::new(&self.announced.grpc, Some(self.credential.clone()))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What its process uses.
    ///
    /// # Errors
    /// It has ended.
    pub fn usage(&self) -> Result<Usage, Error> {
        Usage::of(self.pid()).map_err(Error::system("see what the server uses"))
    }

    /// Its `/metrics`, in Prometheus' text format.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<String, Error> {
        metrics_at(self.announced.admin.clone()).await
    }

    /// Where it said that it is.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Why it has ended by itself; none while it runs.
    pub fn ended(&mut self) -> Option<Error> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(failed(&self.log, format!("ended with {status}"))),
            Err(cause) => Some(Error::system("see whether the server runs")(cause)),
        }
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// It did not stop in time, or not with success.
    pub async fn stop(mut self) -> Result<(), Error> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|cause| Error::system("stop the server")(cause.into()))?;
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(failed(&self.log, format!("ended with {status}"))),
                Ok(None) => sleep(LOOK).await,
                Err(cause) => return Err(Error::system("wait for the server")(cause)),
            }
        }
        Err(failed(&self.log, format!("did not stop within {STOP_MAX:?}")))
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(mut self) -> Result<(), Error> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(Error::system("kill the server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A process that is not ready yet; killed when dropped.
struct Starting {
    child: Option<Child>,
    log: PathBuf,
}

impl Starting {
    async fn announced(&mut self) -> Result<Announced, Error> {
        let stdout = self.child.as_mut().and_then(|child| child.stdout.take());
        let stdout = stdout.ok_or(Error::Broken("the server has no stdout"))?;
        let told = tokio::task::spawn_blocking(move || read_announcement(stdout));
        match tokio::time::timeout(START_MAX, told).await {
            Ok(Ok(Some(announced))) => Ok(announced),
            Ok(_) => Err(failed(&self.log, "ended before it was ready".to_owned())),
            Err(_) => Err(failed(&self.log, format!("was not ready within {START_MAX:?}"))),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.child.iter_mut().for_each(end);
    }
}

/// It may have ended already, and there is nobody to tell.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn read_announcement(stdout: ChildStdout) -> Option<Announced> {
    let mut values = serde_json::Deserializer::from_reader(stdout).into_iter::<serde_json::Value>();
    let told = values.next()?.ok()?;
    let admin = told["admin"].as_str()?.strip_prefix("http://")?.to_owned();
    Some(Announced {
        grpc: told["grpc"].as_str()?.to_owned(),
        admin,
        rest: told["rest"].as_str().map(str::to_owned),
    })
}

fn failed(log: &Path, what: String) -> Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Error::Server {
        what,
        log: log.to_owned(),
        tail,
    }
}

/// The `/metrics` of whatever serves operators at `address`.
///
/// # Errors
/// It does not answer.
pub async fn metrics_at(address: String) -> Result<String, Error> {
    let asked = tokio::task::spawn_blocking(move || get(&address, "/metrics")).await;
    asked
        .map_err(|_| Error::Broken("asking for the server's metrics panicked"))?
        .map_err(Error::system("read the server's metrics"))
}

/// The body of a page.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    exchange(address, "GET", path, "")
}

/// One request, and the body of what is answered.
pub(crate) fn exchange(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ENDPOINT_MAX))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let page = answer
        .split_once("\r\n\r\n")
        .filter(|(head, _)| head.starts_with("HTTP/1.1 200"));
    page.map(|(_, body)| body.to_owned())
        .ok_or_else(|| std::io::Error::other(format!("{method} {path}: no page")))
}

/// The value of a metric without labels in `page`; 0 where it is not there yet.
pub fn metric(page: &str, name: &str) -> f64 {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    value.unwrap_or(0.0)
}

/// The sum of a metric over all its labels in `page`; 0 where it is not there yet.
pub fn metric_sum(page: &str, name: &str) -> f64 {
    let of = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            // No label of Docket's has a bracket in its value.
            Some(labelled) => labelled.split_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse().ok()
    };
    page.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# HELP syncs_total x\nsyncs_total_more 3\nsyncs_total 42\nother{a=\"b\"} 1\n";
        assert_eq!(metric(page, "syncs_total"), 42.0);
        assert_eq!(metric(page, "missing"), 0.0);
    }

    #[test]
    fn a_metric_with_labels_is_summed_up() {
        let page = "# TYPE actors gauge\nactors{kind=\"order\"} 3\nactors{kind=\"item\"} 4.5\nactors_more{a=\"b\"} 9\n";
        assert_eq!(metric_sum(page, "actors"), 7.5);
        assert_eq!(metric_sum("plain 2\n", "plain"), 2.0);
        assert_eq!(metric_sum(page, "missing"), 0.0);
    }
}
