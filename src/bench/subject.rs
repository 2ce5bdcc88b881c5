//! The server that is measured: a process of its own, or one that runs already.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use docket_proto::v1::{GetNodeStatusRequest, NodeStatus};
use docket_soak::{Credential, Error, Server, Target, Usage, metric, metrics_at};
use tempfile::TempDir;

use super::Where;
use crate::{
    client::Client,
    dev::{self, Nodes, Wanted},
    failure::Failure,
};

/// What the server of this run is called in the report.
const OWN: &str = "a process of its own";
/// What the nodes are configured with: what a single server is.
const CONFIGURATION: &str = docket_soak::CONFIGURATION;

/// The server that is measured.
pub enum Subject {
    /// A process of its own. The folder goes after the process.
    Own(Server, TempDir),
    /// A cluster of its own, of a process each. The folder goes after the processes.
    Cluster(Nodes, TempDir),
    /// One that runs already.
    Other(Box<Target>, Client, String),
}

/// What a server had used at some moment. What nobody can know from here is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    cpu: Option<Duration>,
    rss_bytes: Option<u64>,
    rss_peak_bytes: Option<u64>,
    syncs: Option<u64>,
    /// Of the records, before they are packed.
    payload_bytes: Option<u64>,
    disk_bytes: Option<u64>,
}

/// What a server used in a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu: Option<Duration>,
    /// Memory at the end of the round.
    pub rss_bytes: Option<u64>,
    pub rss_peak_bytes: Option<u64>,
    pub syncs: Option<u64>,
    pub payload_bytes: Option<u64>,
    /// None where the journal was cut meanwhile.
    pub disk_bytes: Option<u64>,
}

impl Subject {
    /// Starts it, or connects to it.
    pub async fn start(place: &Where) -> Result<Self, Failure> {
        match place {
            Where::Here { dir, nodes } => {
                let folder = tempfile::Builder::new().prefix("docket-bench-").tempdir_in(dir);
                let folder = folder.map_err(Error::system("make a folder for the server"))?;
                match *nodes {
                    1 => Ok(Self::Own(
                        Server::start(&program()?, folder.path()).await?,
                        folder,
                    )),
                    count => Ok(Self::Cluster(form(folder.path(), count).await?, folder)),
                }
            }
            Where::There(link) => Ok(Self::Other(
                Box::new(link.load()?),
                link.connect().await?.client,
                link.address().to_owned(),
            )),
        }
    }

    /// The way to it.
    pub fn target(&self) -> Result<Target, Error> {
        match self {
            Self::Own(server, _) => server.target(),
            Self::Cluster(nodes, _) => {
                let key =
                    fs::read_to_string(nodes.key_file()).map_err(Error::system("read the cluster's key"))?;
                let key = Credential::api_key(&key).ok_or(Error::Broken("the cluster's key is none"))?;
                let first = Target::new(&nodes.address(1), Some(key))?;
                nodes
                    .all()
                    .skip(1)
                    .try_fold(first, |target, node| target.and(&nodes.address(node)))
            }
            Self::Other(target, ..) => Ok(Target::clone(target)),
        }
    }

    /// A folder on the file system of its data; none where it is not known.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Own(_, folder) | Self::Cluster(_, folder) => Some(folder.path()),
            Self::Other(..) => None,
        }
    }

    /// What it has used so far.
    pub async fn sample(&self) -> Result<Sample, Error> {
        match self {
            Self::Own(server, _) => Ok(Sample::seen(server.usage()?, &server.metrics().await?)),
            Self::Cluster(nodes, _) => {
                let mut all = Sample::default();
                for node in nodes.all() {
                    let pid = nodes.pid(node).ok_or(Error::Broken("a node has ended"))?;
                    let usage = Usage::of(pid).map_err(Error::system("see what a node uses"))?;
                    let page = metrics_at(nodes.admin_address(node)).await?;
                    all = all.and(&Sample::seen(usage, &page));
                }
                Ok(all)
            }
            Self::Other(_, client, _) => {
                // Whoever may place orders need not be one who may see how the node is.
                let status = client.node().get_node_status(GetNodeStatusRequest {}).await;
                Ok(status
                    .map(|status| Sample::of(&status.into_inner()))
                    .unwrap_or_default())
            }
        }
    }

    /// Stops it where it was started here, and removes its folder; what it is called.
    pub async fn stop(self) -> Result<String, Error> {
        match self {
            Self::Own(server, folder) => {
                server.stop().await?;
                folder
                    .close()
                    .map_err(Error::system("remove the server's folder"))?;
                Ok(OWN.to_owned())
            }
            Self::Cluster(mut nodes, folder) => {
                let count = nodes.all().count();
                nodes.stop().await;
                drop(nodes);
                folder
                    .close()
                    .map_err(Error::system("remove the cluster's folder"))?;
                Ok(format!("{count} nodes, a process each"))
            }
            Self::Other(.., address) => Ok(address),
        }
    }
}

/// A cluster in `folder`, formed.
async fn form(folder: &Path, count: usize) -> Result<Nodes, Failure> {
    let config = folder.join("docket.toml");
    // What is measured is a cluster whose leads stay: spread over nodes that share a machine they cost more.
    let configuration = format!("{CONFIGURATION}\n[cluster]\nbalance_leads = false\n");
    fs::write(&config, configuration).map_err(Error::system(format!("write {}", config.display())))?;
    let mut nodes = Nodes::make(Wanted {
        folder: &folder.join("nodes"),
        count,
        port: dev::free_ports(count)?,
        shards: None,
        config: Some(&config),
    })?;
    dev::form(&mut nodes).await?;
    Ok(nodes)
}

/// This program.
pub fn program() -> Result<PathBuf, Error> {
    env::current_exe().map_err(Error::system("find this program"))
}

impl Sample {
    /// Of a process, by what it uses and by its `/metrics`.
    fn seen(usage: Usage, page: &str) -> Self {
        let count = |name| Some(metric(page, name) as u64);
        Self {
            cpu: Some(usage.cpu),
            rss_bytes: Some(usage.rss_bytes),
            rss_peak_bytes: Some(usage.rss_peak_bytes),
            syncs: count("docket_journal_syncs_total"),
            payload_bytes: count("docket_journal_payload_bytes_total"),
            disk_bytes: count("docket_journal_bytes"),
        }
    }

    /// Of both together.
    fn and(self, other: &Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        Self {
            cpu: Some(self.cpu.unwrap_or_default() + other.cpu.unwrap_or_default()),
            rss_bytes: sum(self.rss_bytes, other.rss_bytes),
            rss_peak_bytes: sum(self.rss_peak_bytes, other.rss_peak_bytes),
            syncs: sum(self.syncs, other.syncs),
            payload_bytes: sum(self.payload_bytes, other.payload_bytes),
            disk_bytes: sum(self.disk_bytes, other.disk_bytes),
        }
    }

    fn of(status: &NodeStatus) -> Self {
        let journal = status.journal.as_ref();
        Self {
            rss_bytes: Some(status.memory_bytes),
            syncs: journal.map(|journal| journal.syncs),
            disk_bytes: journal.map(|journal| journal.disk_bytes),
            ..Self::default()
        }
    }

    /// Memory now; none where nobody can know.
    pub fn rss_bytes(&self) -> Option<u64> {
        self.rss_bytes
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Used {
        let more =
            |now: Option<u64>, then: Option<u64>| now.zip(then).and_then(|(now, then)| now.checked_sub(then));
        Used {
            cpu: self
                .cpu
                .zip(before.cpu)
                .map(|(now, then)| now.saturating_sub(then)),
            rss_bytes: self.rss_bytes,
            rss_peak_bytes: self.rss_peak_bytes,
            syncs: more(self.syncs, before.syncs),
            payload_bytes: more(self.payload_bytes, before.payload_bytes),
            disk_bytes: more(self.disk_bytes, before.disk_bytes),
        }
    }
}

impl Used {
    /// What one commit of the journal holds on average; none where nobody can know.
    pub fn bytes_of_a_commit(&self) -> Option<usize> {
        let bytes = self.payload_bytes?.checked_div(self.syncs?)?;
        usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
    }
}
