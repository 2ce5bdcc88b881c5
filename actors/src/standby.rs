//! A cluster that follows another one, and what it is to it. All of that is the cluster's own business; here it is only handed on, with what only this layer can read: how many
//! orders there are in a log's entries. Who follows, and promotes, is the program around it ([`StandbyControl`]).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub use docket_cluster::{FIRST_EPOCH, Fence, LastEntry, Posture, RegisteredStandby, StandbyError};
use docket_cluster::{GroupId, LoggedEntry};
use docket_engine::{Fact, OrderEvent};
use docket_proto::{NoIntern, record::records};
use futures::future::BoxFuture;

use crate::docket::Docket;

/// How long whoever leads the meta group may take to answer.
const REGISTRY_WITHIN: Duration = Duration::from_secs(1);

/// How far a standby is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// Where the cluster is that it follows, or followed.
    pub primary: String,
    /// What was acknowledged there before this time is here; `None` before the first point.
    pub applied: Option<SystemTime>,
    /// Orders that the primary had at the last look, and that are not here.
    pub orders_behind: u64,
    /// Entries of its logs, in the same way.
    pub entries_behind: u64,
    /// Why it does not follow now; empty where it does.
    pub error: String,
    /// Its epoch, once it was promoted.
    pub promoted: Option<u64>,
    /// Whether the primary has said since that it is fenced.
    pub has_fenced: bool,
    /// Whether it is about to be promoted, and the primary may be fenced by that.
    pub promoting: bool,
}

/// A promotion that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The epoch that began.
    pub epoch: u64,
    /// What could not be done of what makes it lossless; empty where nothing was acknowledged that is not here.
    pub missing: String,
    /// What was acknowledged before this time is here.
    pub applied: Option<SystemTime>,
}

/// Why a standby was not promoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromoteError {
    /// It is no standby.
    #[error("this cluster follows no other: there is nothing to promote")]
    NoStandby,
    /// It was promoted.
    #[error("this cluster was promoted already, in epoch {epoch}")]
    Already {
        /// The epoch that began with that.
        epoch: u64,
    },
    /// The primary says that it is another one's to take its place.
    #[error("{0}")]
    NotOurs(String),
    /// The primary could not be fenced, or not be read for the last time.
    #[error(
        "{0}: with --force it is promoted all the same, and what was acknowledged after what is here is lost"
    )]
    NotClean(String),
    /// Something is wrong here.
    #[error("{0}")]
    Failed(String),
}

/// Follows another cluster, and takes its place.
pub trait StandbyControl: Send + Sync {
    /// How far it is.
    fn followed(&self) -> Followed;

    /// Takes the primary's place.
    fn promote(&self, force: bool) -> BoxFuture<'static, Result<Promotion, PromoteError>>;

    /// Whether this is what it shares with the cluster that it follows, or followed.
    fn knows(&self, secret: &str) -> bool;

    /// Where this cluster is, for those who are sent here.
    fn own_address(&self) -> String;
}

impl Docket {
    /// What the node may lead.
    pub fn posture(&self) -> Arc<Posture> {
        self.inner.node.posture()
    }

    /// The same where that is nothing; cheap where it may lead.
    pub fn leads_nothing_by(&self) -> Option<Arc<Posture>> {
        self.inner.node.leads_nothing_by()
    }

    /// See [`Node::is_drained`](docket_cluster::Node::is_drained).
    pub fn is_drained(&self) -> bool {
        self.inner.node.is_drained()
    }

    /// See [`Node::open_up`](docket_cluster::Node::open_up).
    pub fn open_up(&self) {
        self.inner.node.open_up();
    }

    /// Whether this node has now what the registry of its cluster says: right behind a start it need not.
    pub async fn knows_registry(&self) -> bool {
        let deadline = Instant::now() + REGISTRY_WITHIN;
        let known = self.inner.node.read_barrier([GroupId::META], deadline).await;
        known.is_ok()
    }

    /// The epoch that the cluster is in.
    pub fn epoch(&self) -> u64 {
        self.inner.node.epoch()
    }

    /// Who follows the cluster.
    pub fn registered_standby(&self) -> Option<RegisteredStandby> {
        self.inner.node.registered_standby()
    }

    /// Who took its place.
    pub fn fence_of(&self) -> Option<Fence> {
        self.inner.node.fence_of()
    }

    /// See [`Node::register_standby`](docket_cluster::Node::register_standby).
    ///
    /// # Errors
    /// As there.
    pub async fn register_standby(&self, standby: RegisteredStandby) -> Result<(), StandbyError> {
        self.inner.node.register_standby(standby).await
    }

    /// See [`Node::forget_standby`](docket_cluster::Node::forget_standby).
    ///
    /// # Errors
    /// As there.
    pub async fn forget_standby(&self) -> Result<(), StandbyError> {
        self.inner.node.forget_standby().await
    }

    /// See [`Node::fence`](docket_cluster::Node::fence).
    ///
    /// # Errors
    /// As there.
    pub async fn fence(&self, fence: Fence) -> Result<(), StandbyError> {
        self.inner.node.fence(fence).await
    }

    /// Leads what this standby has followed: its epoch, which is durable, is noted in its own log as well.
    ///
    /// # Errors
    /// It cannot lead now; asked again it goes on.
    pub async fn lead(&self, epoch: u64) -> io::Result<()> {
        self.inner.node.lead().await?;
        for shard in &self.inner.router.shards {
            shard.led().await;
        }
        self.inner
            .node
            .note_promoted(epoch)
            .await
            .map_err(io::Error::other)
    }

    /// Notes in its own log that this cluster has taken another's place, in this epoch.
    ///
    /// # Errors
    /// It cannot be decided now.
    pub async fn note_promoted(&self, epoch: u64) -> Result<(), StandbyError> {
        self.inner.node.note_promoted(epoch).await
    }

    /// The last entry of a group that is applied here.
    pub fn last_applied(&self, group: GroupId) -> Option<LastEntry> {
        self.inner.node.group(group)?.last_applied()
    }

    /// See [`Node::apply_followed`](docket_cluster::Node::apply_followed).
    ///
    /// # Errors
    /// As there.
    pub async fn apply_followed(&self) -> io::Result<()> {
        self.inner.node.apply_followed().await
    }

    /// Appends entries of the primary's log to a group, behind `previous`, and applies them.
    ///
    /// # Errors
    /// They do not follow what is here, or the group has stopped.
    pub async fn follow_log(
        &self,
        group: GroupId,
        previous: Option<LastEntry>,
        entries: Vec<LoggedEntry>,
    ) -> io::Result<()> {
        let group = self.inner.node.group(group);
        let group = group.ok_or_else(|| io::Error::other("there is no such group"))?;
        group.follow(previous, entries).await
    }

    /// Who follows, and promotes, from now on.
    pub fn set_standby(&self, control: Arc<dyn StandbyControl>) {
        // The first stays: a node follows one cluster as long as it runs.
        let _ = self.inner.standby.set(control);
    }

    /// Who follows, and promotes; `None` where this node follows none, and never did.
    pub fn standby(&self) -> Option<&Arc<dyn StandbyControl>> {
        self.inner.standby.get()
    }
}

/// How many orders begin in an entry of a shard's log.
///
/// # Errors
/// It cannot be read.
pub fn orders_in(group: GroupId, entry: &LoggedEntry) -> io::Result<u64> {
    let payload = entry.payload.as_deref().filter(|_| entry.is_of_the_layer_above());
    let Some(payload) = payload.filter(|_| group != GroupId::META) else {
        return Ok(0);
    };
    let mut orders = 0;
    for record in records(payload, &NoIntern) {
        let record = record.map_err(|error| {
            let text = format!("{group}: entry {} cannot be read: {error}", entry.index);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        let placed = |fact: &Fact| matches!(fact, Fact::Order(_, OrderEvent::Placed { .. }));
        orders += record.events.iter().filter(|event| placed(&event.fact)).count() as u64;
    }
    Ok(orders)
}
