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
    gate::Gate,
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
    over: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Operators {
    /// Takes the address and serves at once: alive, and not ready until a server is bound.
    ///
    /// # Errors
    /// An address that is taken.
    pub async fn serve(config: &AdminConfig, metrics: PrometheusHandle) -> Result<Self, EdgeError> {
        let listener = listen("the admin endpoints", config.listen).await?;
        let address = local("the admin endpoints", &listener, config.listen)?;
        let node = Arc::new(Opening {
            since: SystemTime::now(),
            docket: OnceLock::new(),
        });
        let readiness = Readiness::new(node.clone());
        let over = CancellationToken::new();
        let admin = Admin::new(readiness.clone(), metrics);
        let console = config.console.then(|| Console::new(config, address));
        let served = (admin, console.clone());
        let serving = tokio::spawn(admin::run(config.clone(), served, listener, over.clone()));
        Ok(Self {
            address,
            node,
            readiness,
            console,
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

    /// From here on the console asks what is behind this gate.
    pub(super) fn console_opened(&self, docket: &Docket, gate: &Arc<Gate>, audit: &Audit) {
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
    pub(super) async fn end(mut self) {
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

/// A node, once it is open.
struct Opening {
    since: SystemTime,
    docket: OnceLock<Docket>,
}

impl NodeView for Opening {
    fn not_ready(&self) -> Vec<String> {
        self.docket
            .get()
            .map_or_else(|| vec![OPENING.into()], NodeView::not_ready)
    }

    fn status(&self) -> v1::NodeStatus {
        self.docket.get().map_or_else(
            || v1::NodeStatus {
                version: env!("CARGO_PKG_VERSION").into(),
                start_time: Some(Timestamp::from(self.since)),
                uptime: self
                    .since
                    .elapsed()
                    .ok()
                    .and_then(|time| prost_types::Duration::try_from(time).ok()),
                reasons: vec![OPENING.into()],
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
