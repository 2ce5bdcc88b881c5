//! What a node tells of single calls, as it is configured.

use std::{net::SocketAddr, time::Duration};

use docket_actors::Docket;
use docket_traces::{ExportOptions, Exporter, Resource, Tracer};

use crate::{config::Config, failure::Failure};

/// What is traced, and who exports it.
pub struct Traces {
    tracer: Tracer,
    /// `None` where nothing is traced.
    exporter: Option<Exporter>,
    timeout: Duration,
}

impl Traces {
    /// Begins to trace, where that is configured.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let options = &config.tracing;
        let tracer = match options.endpoint {
            Some(_) => Tracer::new(options.tracer())
                .map_err(|cause| Failure::Other(format!("cannot trace: {cause}")))?,
            None => Tracer::off(),
        };
        Ok(Self {
            tracer,
            exporter: None,
            timeout: options.timeout(),
        })
    }

    /// Begins to export what is traced, as what serves there. A collector that does not answer is no reason not to start.
    ///
    /// # Errors
    /// An endpoint that cannot be, or certificates that cannot be read.
    pub fn export(&mut self, config: &Config, docket: &Docket, serves: SocketAddr) -> Result<(), Failure> {
        let Some(endpoint) = config.tracing.endpoint()? else {
            return Ok(());
        };
        let identity = docket.status().cluster.identity;
        tracing::info!(
            endpoint = endpoint.address,
            ratio = config.tracing.ratio,
            "calls are traced"
        );
        let export = ExportOptions {
            endpoint,
            timeout: self.timeout,
            resource: Resource {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                cluster: identity.cluster_id,
                node: identity.node_id.to_string(),
                server: server(config, serves),
            },
        };
        let exporter = Exporter::start(&self.tracer, export);
        let exporter = exporter.map_err(|cause| Failure::Usage(format!("tracing.endpoint: {cause}")))?;
        self.exporter = Some(exporter);
        Ok(())
    }

    /// Says which calls are sampled.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Exports what is left, for as long as a request may take.
    pub async fn stop(self) {
        if let Some(exporter) = self.exporter {
            exporter.stop(self.timeout).await;
        }
    }
}

/// Where clients reach the node.
fn server(config: &Config, serves: SocketAddr) -> (String, u16) {
    let told = config.cluster.client_address.as_deref();
    let told = told.and_then(|address| {
        let (host, port) = address.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
    });
    told.unwrap_or_else(|| (serves.ip().to_string(), serves.port()))
}
