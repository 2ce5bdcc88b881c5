//! The operators' endpoints: there from before the node is open, so that a long start can be watched, until it has stopped.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use docket_actors::{Docket, access::Access};
use docket_audit::Audit;
use docket_proto::v1;
use metrics_exporter_prometheus::PrometheusHandle;
use prost_types::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{EdgeError, listen, local};
use crate::{
    admin::{self, Admin},
    config::AdminConfig,
    console::Console,
    debug::{Diagnosis, Sources},
    door::Door,
    gate::Gate,
    operated::Operated,
    readiness::{NodeView, Readiness},
};

/// Why a node is not ready that is not open.
const OPENING: &str = "the node is being opened: its journal is read, its groups elect their leaders";

/// The operators' endpoints, which are served until this is dropped or its server has stopped.
pub struct Operators {
    address: SocketAddr,
    node: Arc<Opening>,
    readiness: Readiness,
    console: Option<Console>,
    diagnosis: Diagnosis,
    operated: Operated,
    over: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Operators {
    /// Takes the address and serves at once: alive, and not ready until a server is bound.
    ///
    /// # Errors
    /// An address that is taken.
    pub async fn serve(config: &AdminConfig, metrics: PrometheusHandle) -> Result<Self, EdgeError> {
        Self::serve_with(config, metrics, Sources::default()).await
    }

    /// The same, with what the program tells of itself to whoever takes a bundle.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn serve_with(
        config: &AdminConfig,
        metrics: PrometheusHandle,
        sources: Sources,
    ) -> Result<Self, EdgeError> {
        Self::serve_unready(config, metrics, sources, OPENING.into()).await
    }

    /// The same of a node that has failed, and of which nothing else is left: why, and what was measured.
    ///
    /// # Errors
    /// An address that is taken.
    pub async fn serve_failed(
        config: &AdminConfig,
        metrics: PrometheusHandle,
        reason: &str,
    ) -> Result<Self, EdgeError> {
        let reason = format!("the node has failed: {reason}");
        Self::serve_unready(config, metrics, Sources::default(), reason).await
    }

    async fn serve_unready(
        config: &AdminConfig,
        metrics: PrometheusHandle,
        sources: Sources,
        reason: String,
    ) -> Result<Self, EdgeError> {
        // Whoever looks at metrics alone is told, too.
        metrics::gauge!("docket_ready").set(0.0);
        let listener = listen("the admin endpoints", config.listen).await?;
        let address = local("the admin endpoints", &listener, config.listen)?;
        let node = Arc::new(Opening {
            since: SystemTime::now(),
            reason,
            docket: OnceLock::new(),
        });
        let readiness = Readiness::new(node.clone());
        let over = CancellationToken::new();
        let admin = Admin::new(readiness.clone(), metrics.clone());
        let console = config.console.then(|| Console::new(config, address));
        let diagnosis = Diagnosis::new(sources, readiness.clone(), metrics, console.clone());
        let operated = Operated::new(readiness.clone());
        let asked = (console.clone(), diagnosis.clone(), operated.clone());
        let serving = admin::run(config.clone(), (admin, asked), listener, over.clone());
        let serving = tokio::spawn(serving);
        Ok(Self {
            address,
            node,
            readiness,
            console,
            diagnosis,
            operated,
            over,
            serving: Some(serving),
        })
    }

    /// Where they are served.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// From here on they tell of this node.
    pub(super) fn opened(&self, docket: Docket) {
        // One server is bound with one set of endpoints.
        let _ = self.node.docket.set(docket);
    }

    /// From here on the console asks what is behind this gate, and whoever it knows may take a bundle.
    pub(super) fn gate_opened(&self, docket: &Docket, gate: &Arc<Gate>, audit: &Audit) {
        let node = docket.status().cluster.identity.node_id.0;
        self.diagnosis.opened(Arc::clone(gate), audit.clone(), node);
        let door = Door::new(Arc::clone(gate), audit.clone(), node);
        self.operated.opened(docket.clone(), door);
        if let Some(console) = &self.console {
            let (gate, readiness) = (Arc::clone(gate), self.readiness.clone());
            console.opened(docket.clone(), gate, readiness, audit.clone());
        }
    }

    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Cancelled when they end.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Answers what was asked, and no more.
    pub async fn end(mut self) {
        self.over.cancel();
        if let Some(serving) = self.serving.take() {
            super::ended("the admin endpoints", serving.await);
        }
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// A node, once it is open; and until then, or where it is not open any more, why it does not serve.
struct Opening {
    since: SystemTime,
    reason: String,
    docket: OnceLock<Docket>,
}

impl NodeView for Opening {
    fn not_ready(&self) -> Vec<String> {
        self.docket
            .get()
            .map_or_else(|| vec![self.reason.clone()], NodeView::not_ready)
    }

    fn status(&self) -> v1::NodeStatus {
        self.docket.get().map_or_else(
            || v1::NodeStatus {
                version: docket_actors::version().into(),
                start_time: Some(Timestamp::from(self.since)),
                uptime: self
                    .since
                    .elapsed()
                    .ok()
                    .and_then(|time| prost_types::Duration::try_from(time).ok()),
                reasons: vec![self.reason.clone()],
                ..v1::NodeStatus::default()
            },
            NodeView::status,
        )
    }

    fn among_peers(&self) -> Option<&Docket> {
        self.docket.get().and_then(NodeView::among_peers)
    }

    fn access(&self) -> Option<&Access> {
        self.docket.get().map(Docket::access)
    }
}
