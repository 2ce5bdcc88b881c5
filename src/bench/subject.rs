//! The server that is measured: a process of its own, or one that runs already.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use docket_proto::v1::{GetNodeStatusRequest, NodeStatus};
use docket_soak::{Error, Server, Target, metric};
use tempfile::TempDir;

use super::Where;
use crate::{client::Client, failure::Failure};

/// What the server of this run is called in the report.
const OWN: &str = "a process of its own";

/// The server that is measured.
pub enum Subject {
    /// A process of its own. The folder goes after the process.
    Own(Server, TempDir),
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
            Where::Here(folder) => {
                let folder = tempfile::Builder::new()
                    .prefix("docket-bench-")
                    .tempdir_in(folder);
                let folder = folder.map_err(Error::system("make a folder for the server"))?;
                Ok(Self::Own(
                    Server::start(&program()?, folder.path()).await?,
                    folder,
                ))
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
            Self::Other(target, ..) => Ok(Target::clone(target)),
        }
    }

    /// A folder on the file system of its data; none where it is not known.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Own(_, folder) => Some(folder.path()),
            Self::Other(..) => None,
        }
    }

    /// What it has used so far.
    pub async fn sample(&self) -> Result<Sample, Error> {
        match self {
            Self::Own(server, _) => {
                let (usage, page) = (server.usage()?, server.metrics().await?);
                let count = |name| Some(metric(&page, name) as u64);
                Ok(Sample {
                    cpu: Some(usage.cpu),
                    rss_bytes: Some(usage.rss_bytes),
                    rss_peak_bytes: Some(usage.rss_peak_bytes),
                    syncs: count("docket_journal_syncs_total"),
                    payload_bytes: count("docket_journal_payload_bytes_total"),
                    disk_bytes: count("docket_journal_bytes"),
                })
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
            Self::Other(.., address) => Ok(address),
        }
    }
}

/// This program.
pub fn program() -> Result<PathBuf, Error> {
    env::current_exe().map_err(Error::system("find this program"))
}

impl Sample {
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
