//! The export: a thread of its own takes what has ended and sends it to a collector, by OTLP over gRPC.
//!
//! It has its own runtime, so that nothing of it is ever on a thread that serves, and that what is left can be sent when the node stops. A request that
//! the collector does not take is sent again for a while, during which the queue fills and drops what comes then.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::uri::PathAndQuery;
use metrics::{Counter, Gauge, Unit, counter, gauge};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint as TonicEndpoint},
};

use crate::{
    Tracer,
    encoded::EncodedCodec,
    otlp::{self, Clocks, Resource},
    queue::BATCH_SPANS,
    tracer::Inner,
};

/// Where a collector takes spans.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// How long a span waits for company at most.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// How long what was not taken is sent again, and the wait between two tries, at first and at most.
const RETRY_MAX: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a quiet connection is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Where spans are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://HOST:PORT`, or `https://HOST:PORT` with TLS.
    pub address: String,
    /// For `https`, the PEM certificates of those who are trusted; the system's where there are none.
    pub ca: Option<Vec<u8>>,
}

/// How spans are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// Where to.
    pub endpoint: Endpoint,
    /// How long a request may take.
    pub timeout: Duration,
    /// Who exports.
    pub resource: Resource,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An address that is none, or certificates that cannot be used.
    #[error("{address} cannot be exported to: {cause}. Write http://HOST:PORT or https://HOST:PORT")]
    Endpoint {
        /// The address.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The tracer is off.
    #[error("nothing is traced, so that there is nothing to export")]
    Off,
    /// The system has no thread for it.
    #[error("the thread that exports traces cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Describes what is counted here.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "docket_trace_spans_exported_total",
        Unit::Count,
        "Spans that the collector has taken."
    );
    metrics::describe_counter!(
        "docket_trace_spans_dropped_total",
        Unit::Count,
        "Spans that were lost, by reason: queue_full, unreachable where the collector took nothing for long, or rejected by it."
    );
    metrics::describe_gauge!(
        "docket_trace_export_up",
        Unit::Count,
        "1 while the collector takes spans, 0 since it has not taken the last."
    );
}

/// The export that runs.
pub struct Exporter {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

impl Exporter {
    /// Begins to export what a tracer samples. Also where nobody answers at the endpoint: it is tried again when there is something to send.
    ///
    /// # Errors
    /// An endpoint that cannot be, or a system without another thread.
    pub fn start(tracer: &Tracer, options: ExportOptions) -> Result<Self, ExportError> {
        let inner = Arc::clone(tracer.inner().ok_or(ExportError::Off)?);
        let endpoint = endpoint(&options)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, (tell, ended)) = (CancellationToken::new(), oneshot::channel());
        let stopped = stop.clone();
        let work = move || {
            runtime.block_on(async {
                let sending = Sending::new(endpoint.connect_lazy(), options);
                run(&inner, sending, &stopped).await;
            });
            // Whoever has asked may not wait any more.
            let _ = tell.send(());
        };
        thread::Builder::new()
            .name("docket-traces".to_owned())
            .spawn(work)?;
        Ok(Self { stop, ended })
    }

    /// Sends what is left and ends, within this time; what is left then is lost.
    pub async fn stop(self, within: Duration) {
        self.stop.cancel();
        if timeout(within, self.ended).await.is_err() {
            tracing::warn!("the last traces were not exported in time");
        }
    }
}

fn endpoint(options: &ExportOptions) -> Result<TonicEndpoint, ExportError> {
    let Endpoint { address, ca } = &options.endpoint;
    let wrong = |cause: String| ExportError::Endpoint {
        address: address.clone(),
        cause,
    };
    let is_encrypted = match address.split_once("://") {
        Some(("http", _)) => false,
        Some(("https", _)) => true,
        _ => return Err(wrong("it does not begin with http:// or https://".to_owned())),
    };
    let endpoint = TonicEndpoint::from_shared(address.clone())
        .map_err(|error| wrong(error.to_string()))?
        .connect_timeout(options.timeout)
        .timeout(options.timeout)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    if !is_encrypted {
        return Ok(endpoint);
    }
    let tls = match ca {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(|error| wrong(error.to_string()))
}

/// Exports until it is told to stop, and then what is left.
async fn run(inner: &Inner, mut sending: Sending, stop: &CancellationToken) {
    loop {
        let is_last = stop.is_cancelled();
        if !is_last {
            tokio::select! {
                () = inner.queue.wake.notified() => {}
                () = sleep(GATHER_MAX) => {}
                () = stop.cancelled() => {}
            }
        }
        let spans = inner.queue.take();
        sending.clocks = sending.clocks.renewed();
        for batch in spans.chunks(BATCH_SPANS) {
            let request = otlp::request(&sending.options.resource, sending.clocks, batch);
            sending.send(request, batch.len(), stop).await;
        }
        if is_last {
            return;
        }
    }
}

/// The collector, and what it has taken.
struct Sending {
    client: Grpc<Channel>,
    options: ExportOptions,
    clocks: Clocks,
    /// Whether it has taken the last.
    is_up: bool,
    exported: Counter,
    unreachable: Counter,
    rejected: Counter,
    up: Gauge,
}

impl Sending {
    fn new(channel: Channel, options: ExportOptions) -> Self {
        let up = gauge!("docket_trace_export_up");
        // Until it has taken nothing.
        up.set(1.0);
        let dropped = |reason: &'static str| counter!("docket_trace_spans_dropped_total", "reason" => reason);
        Self {
            client: Grpc::new(channel),
            options,
            clocks: Clocks::now(),
            is_up: true,
            exported: counter!("docket_trace_spans_exported_total"),
            unreachable: dropped("unreachable"),
            rejected: dropped("rejected"),
            up,
        }
    }

    /// Sends so many spans, again for a while where the collector is away; once where the node stops.
    async fn send(&mut self, request: Bytes, spans: usize, stop: &CancellationToken) {
        let (since, mut pause) = (Instant::now(), PAUSE_MIN);
        loop {
            let exported = self.export(request.clone()).await;
            let status = match exported {
                Ok(reply) => {
                    let partial = reply.into_inner().partial_success;
                    let rejected = partial.map_or(0, |partial| partial.rejected_spans);
                    let rejected = usize::try_from(rejected).unwrap_or_default().min(spans);
                    self.exported.increment((spans - rejected) as u64);
                    self.rejected.increment(rejected as u64);
                    return self.note(None);
                }
                Err(status) => status,
            };
            self.note(Some(&status));
            let is_over = since.elapsed() >= RETRY_MAX || stop.is_cancelled();
            if is_over || !may_be_retried(status.code()) {
                let lost = match may_be_retried(status.code()) {
                    true => &self.unreachable,
                    false => &self.rejected,
                };
                return lost.increment(spans as u64);
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    async fn export(&mut self, request: Bytes) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(METHOD);
        self.client.unary(Request::new(request), path, EncodedCodec).await
    }

    /// Says once that it is away, and once that it is there again.
    fn note(&mut self, failed: Option<&Status>) {
        let is_up = failed.is_none();
        self.up.set(f64::from(u8::from(is_up)));
        let endpoint = &self.options.endpoint.address;
        match failed {
            Some(status) if self.is_up => {
                tracing::warn!(%endpoint, code = ?status.code(), cause = status.message(), "traces are not taken");
            }
            None if !self.is_up => tracing::info!(%endpoint, "traces are taken again"),
            _ => {}
        }
        self.is_up = is_up;
    }
}

/// Whether the protocol says to send again. (RESOURCE_EXHAUSTED only where the collector says when; it is sent again here all the same, later.)
fn may_be_retried(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            // A connection that breaks.
            | Code::Unknown
    )
}
