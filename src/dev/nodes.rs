//! The processes of a cluster on loopback, with their certificates and folders: of `docket dev`, and of `docket bench --nodes`.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use docket_cluster::{Identity, NodeId};

use crate::{
    certs::{self, NodeCertificate, Pair},
    failure::Failure,
    serve,
};

/// How many there are unless somebody says otherwise.
pub const NODES: usize = 3;
/// How many there can be.
pub const NODES_MAX: usize = 9;

/// The variable that configures the number of shards.
const SHARDS: &str = "DOCKET__CLUSTER__SHARDS";
/// The cluster's id.
const CLUSTER: &str = "dev";
/// How long the certificates are valid, in days.
const DAYS: u32 = 30;
/// Ports of one node: clients, operators, peers.
const PORTS: u16 = 10;
/// How long the nodes may take to stop in order.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Where free ports are looked for: below those that the system gives to connections.
const SEARCH_FROM: u16 = 20_000;
/// How many places are looked at.
const SEARCH_STEPS: u16 = 1_200;
/// How often somebody looks whether they have.
const LOOK: Duration = Duration::from_millis(20);

/// What the nodes of a cluster are to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where everything is kept; it must not exist.
    pub folder: &'a Path,
    /// How many, up to [`NODES_MAX`].
    pub count: usize,
    /// The first of ten ports for each.
    pub port: u16,
    /// How many shards; none for what the environment configures, or the default.
    pub shards: Option<u16>,
    /// A configuration file for all of them.
    pub config: Option<&'a Path>,
}

/// The nodes, running or not. Dropping it kills those that run.
#[derive(Debug)]
pub struct Nodes {
    folder: PathBuf,
    config: Option<PathBuf>,
    port: u16,
    certificates: Vec<Pair>,
    running: Vec<Option<Child>>,
}

impl Nodes {
    /// Makes the folder with certificates for all nodes, the first of which is to found the cluster.
    ///
    /// # Errors
    /// The folder is there already or cannot be made, or there are not so many ports from `port` on.
    pub fn make(wanted: Wanted<'_>) -> Result<Self, Failure> {
        let Wanted {
            folder,
            count,
            port,
            shards,
            config,
        } = wanted;
        // The founder has to know: it is what the environment has its nodes think.
        let configured = || env::var(SHARDS).ok().and_then(|text| text.trim().parse().ok());
        let shards = shards.or_else(configured);
        let other = |cause: &dyn std::fmt::Display| Failure::Other(cause.to_string());
        if folder.exists() {
            return Err(Failure::Other(format!(
                "{} exists: another `docket dev` runs there, or was killed; then remove it",
                folder.display()
            )));
        }
        let ports = PORTS * count as u16;
        if port.checked_add(ports).is_none() {
            return Err(Failure::Usage(format!(
                "--port {port}: {ports} ports from there on are needed"
            )));
        }
        let (ca, own) = (folder.join("ca"), folder.join("certs"));
        certs::make_authority(&ca, DAYS).map_err(|cause| other(&cause))?;
        let certificates = (1..=count as u64).map(|node| {
            let wanted = NodeCertificate {
                cluster_id: CLUSTER.to_owned(),
                node: NodeId(node),
                hosts: Vec::new(),
                days: DAYS,
            };
            certs::make_node(&ca, &wanted, &own).map_err(|cause| other(&cause))
        });
        let certificates = certificates.collect::<Result<_, _>>()?;
        let first = folder.join("node-1");
        serve::make_data_dir(&first)?;
        Identity::found(&first, Some(CLUSTER), None, shards).map_err(|cause| other(&cause))?;
        Ok(Self {
            folder: folder.to_owned(),
            config: config.map(Path::to_owned),
            port,
            certificates,
            running: (0..count).map(|_| None).collect(),
        })
    }

    /// Their numbers, from 1.
    pub fn all(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.running.len()
    }

    /// Starts a node; one that runs already goes on.
    pub fn start(&mut self, node: usize) -> Result<(), Failure> {
        if self.running[node - 1].is_some() {
            return Ok(());
        }
        let failed = |cause: std::io::Error| Failure::Other(format!("cannot start node {node}: {cause}"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(node))
            .map_err(failed)?;
        let port = |which| format!("127.0.0.1:{}", self.first_port(node) + which);
        let pair = &self.certificates[node - 1];
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command
            .args(["serve", "--until-stdin-ends", "--data-dir"])
            .arg(self.folder.join(format!("node-{node}")))
            .args([
                "--listen",
                &port(0),
                "--admin-listen",
                &port(1),
                "--peer-listen",
                &port(2),
            ])
            .args(["--node-id", &node.to_string()])
            // It is in the founder's identity, whom the others ask.
            .env_remove(SHARDS)
            .env("DOCKET__CLUSTER__ID", CLUSTER)
            .env("DOCKET__CLUSTER__CA", &pair.ca)
            .env("DOCKET__CLUSTER__CERTIFICATE", &pair.certificate)
            .env("DOCKET__CLUSTER__KEY", &pair.key)
            // It stops when this process does, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if node > 1 {
            command.args(["--join", &format!("127.0.0.1:{}", self.first_port(1) + 2)]);
        }
        self.running[node - 1] = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// SIGKILL, where it runs.
    pub fn kill(&mut self, node: usize) -> Result<(), Failure> {
        let Some(mut child) = self.running[node - 1].take() else {
            return Ok(());
        };
        let killed = child.kill().and_then(|()| child.wait());
        killed
            .map(drop)
            .map_err(|cause| Failure::Other(format!("cannot kill node {node}: {cause}")))
    }

    /// How a node ended that was running, once.
    pub fn has_ended(&mut self, node: usize) -> Result<Option<ExitStatus>, Failure> {
        let Some(child) = &mut self.running[node - 1] else {
            return Ok(None);
        };
        let ended = child
            .try_wait()
            .map_err(|cause| Failure::Other(format!("cannot look at node {node}: {cause}")))?;
        if ended.is_some() {
            self.running[node - 1] = None;
        }
        Ok(ended)
    }

    /// Stops all nodes in order, and kills those that take too long.
    pub async fn stop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            // The end of its stdin is what it waits for.
            drop(child.stdin.take());
        }
        let begun = Instant::now();
        while begun.elapsed() < STOP_WITHIN {
            let runs = |child: &mut Child| matches!(child.try_wait(), Ok(None));
            if !self.running.iter_mut().flatten().any(runs) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        for node in self.all() {
            // What cannot be killed has ended.
            let _ = self.kill(node);
        }
    }

    /// Where everything is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A node's log.
    pub fn log(&self, node: usize) -> PathBuf {
        self.folder.join(log_name(node))
    }

    /// The last line of a node's log; where it ended by itself, it says why.
    pub fn last_word(&self, node: usize) -> String {
        let log = fs::read(self.log(node)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// The process of a node; none where it does not run.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.running[node - 1].as_ref().map(Child::id)
    }

    /// Where operators reach a node, `IP:PORT`.
    pub fn admin_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.first_port(node) + 1)
    }

    /// Where clients reach a node.
    pub fn address(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.first_port(node))
    }

    /// The administrator's key.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("node-1").join("admin.key")
    }

    fn first_port(&self, node: usize) -> u16 {
        self.port + PORTS * (node as u16 - 1)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in self.all() {
            let _ = self.kill(node);
        }
    }
}

/// What a node's log is called.
pub fn log_name(node: usize) -> String {
    format!("node-{node}.log")
}

/// The first of the ports of so many nodes, where all of them are free now.
///
/// # Errors
/// There are none.
pub fn free_ports(count: usize) -> Result<u16, Failure> {
    let ports = PORTS * count as u16;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Others that look at the same time begin elsewhere.
    let start = std::process::id() as u16 % SEARCH_STEPS;
    let mut firsts = (0..SEARCH_STEPS).map(|step| SEARCH_FROM + (start + step) % SEARCH_STEPS * PORTS);
    firsts
        .find(|first| (*first..first + ports).all(is_free))
        .ok_or_else(|| Failure::Other(format!("there are no {ports} free ports in a row on 127.0.0.1")))
}
