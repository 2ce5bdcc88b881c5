//! Whether the node serves, in one place: health, `/readyz` and `/status` all ask here.

use std::sync::Arc;

use docket_actors::{Docket, access::Access};
use docket_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{overview, status};

/// Tells how the node is, at once and without blocking.
pub(crate) trait NodeView: Send + Sync + 'static {
    /// Why it does not serve; empty when it does. Asked several times a second.
    fn not_ready(&self) -> Vec<String>;
    /// All of it.
    fn status(&self) -> v1::NodeStatus;
    /// The node, where it is open and has others beside it.
    fn among_peers(&self) -> Option<&Docket>;
    /// Its accounts and keys, where it is open.
    fn access(&self) -> Option<&Access> {
        None
    }
}

impl NodeView for Docket {
    fn not_ready(&self) -> Vec<String> {
        Docket::not_ready(self)
    }

    fn status(&self) -> v1::NodeStatus {
        status::node_status(self)
    }

    fn among_peers(&self) -> Option<&Docket> {
        self.has_peers().then_some(self)
    }

    fn access(&self) -> Option<&Access> {
        Some(Docket::access(self))
    }
}

fn status_of(node: &dyn NodeView, draining: &CancellationToken) -> v1::NodeStatus {
    let mut status = node.status();
    if draining.is_cancelled() {
        status.reasons.push(STOPPING.into());
    }
    status.ready = status.reasons.is_empty();
    status
}

const STOPPING: &str = "the node is stopping";

/// Readiness of a node: what the node says of itself, until it is told to stop.
#[derive(Clone)]
pub(crate) struct Readiness {
    node: Arc<dyn NodeView>,
    draining: CancellationToken,
    serving: Arc<watch::Sender<bool>>,
}

impl Readiness {
    /// Not ready until the first [`Self::refresh`].
    pub(crate) fn new(node: Arc<dyn NodeView>) -> Self {
        Self {
            node,
            draining: CancellationToken::new(),
            serving: Arc::new(watch::Sender::new(false)),
        }
    }

    /// How the node is now.
    pub(crate) fn status(&self) -> v1::NodeStatus {
        status_of(&*self.node, &self.draining)
    }

    /// The node's accounts and keys; `None` where it is not open yet.
    pub(crate) fn access(&self) -> Option<&Access> {
        self.node.access()
    }

    /// Returns when the node is told to stop.
    pub(crate) async fn stopping(&self) {
        self.draining.cancelled().await;
    }

    /// Tells how the node is for as long as it is there, and does not keep it there.
    pub(crate) fn teller(&self) -> impl Fn() -> Option<v1::NodeStatus> + Send + Sync + use<> {
        let (node, draining) = (Arc::downgrade(&self.node), self.draining.clone());
        move || Some(status_of(&*node.upgrade()?, &draining))
    }

    /// How the cluster is now, as far as its nodes answer within a second; `None` where the node stands alone or is not open yet.
    pub(crate) async fn cluster(&self, this: v1::NodeStatus) -> Option<v1::ClusterStatus> {
        let docket = self.node.among_peers()?;
        Some(overview::cluster_status(docket, this).await)
    }

    /// Asks the node again, and wakes who watches where the answer differs.
    pub(crate) fn refresh(&self) -> bool {
        let ready = !self.draining.is_cancelled() && self.node.not_ready().is_empty();
        self.serving
            .send_if_modified(|serving| std::mem::replace(serving, ready) != ready);
        ready
    }

    /// Whether the node served when it was last asked.
    pub(crate) fn serving(&self) -> bool {
        *self.serving.borrow()
    }

    /// Whether the node served when it was last asked, and every change of that.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// The node stops: it is not ready any more, whatever it says of itself.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
        self.refresh();
    }

    /// Cancelled when the node stops.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }
}
