//! The endpoints for operators, over plain HTTP: is it alive, is it ready and why not, what is measured, how is it.
//!
//! They ask for no credentials, and are therefore on a loopback address unless configured. Nothing here changes the
//! node. The console beside them (`console/`) asks for an administrator's, and so does what is taken off the node to find a
//! fault (`debug/`), or asked of it (`operated/`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use docket_actors::TaskKind;
use docket_proto::v1;
use hyper::{
    Request,
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::AdminConfig,
    console::{Client, Console},
    debug::Diagnosis,
    jwks,
    operated::Operated,
    patient::Patient,
    process,
    readiness::Readiness,
    status_json::{cluster_json, status_json},
};

/// What all requests together may take to end when the node has stopped.
const LAST_REQUESTS: Duration = Duration::from_secs(1);
/// How long what was seen of the cluster is told again.
const SEEN_FOR: Duration = Duration::from_millis(500);
/// How long to wait when the system cannot accept.
const BACK_OFF: Duration = Duration::from_millis(100);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

const INDEX: &str = "Docket, for operators:\n\n\
    /livez            200 while the process answers\n\
    /readyz           200 while the node serves, else 503; ?verbose says why\n\
    /metrics          what is measured, for Prometheus\n\
    /status           how the node is, and its cluster, as JSON; ?local asks no other node\n\
    /console          the same and the orders as pages, for administrators; unless it is off\n\
    /debug/bundle     all of it with the log and a profile, as one archive, for administrators: docket debug bundle\n\
    /debug/profile    what the processor is busy with, for administrators: docket debug profile\n\
    /scrub            whether what is stored is what was written, for administrators: docket scrub; POST reads all of it once more\n\
    /chaos            what goes wrong on demand, where the node was started for that, for administrators: docket chaos\n\
    /.well-known/jwks.json   the public keys of access tokens\n";

/// What of them is for administrators alone: the console, where there is one, what is taken off the node, and what it is asked to do.
pub(crate) type Asked = (Option<Console>, Diagnosis, Operated);

/// What the endpoints answer from.
#[derive(Clone)]
pub(crate) struct Admin {
    readiness: Readiness,
    metrics: PrometheusHandle,
    /// What the cluster was like lately, and when. Whoever asks meanwhile waits for the same answer.
    seen: Arc<Mutex<Option<(Instant, serde_json::Value)>>>,
}

impl Admin {
    pub(crate) fn new(readiness: Readiness, metrics: PrometheusHandle) -> Self {
        Self {
            readiness,
            metrics,
            seen: Arc::default(),
        }
    }

    /// How the cluster is, or was a moment ago: however many ask, the other nodes are asked once in that time.
    async fn cluster(&self, this: v1::NodeStatus) -> Option<serde_json::Value> {
        let mut seen = self.seen.lock().await;
        if let Some((when, cluster)) = &*seen
            && when.elapsed() < SEEN_FOR
        {
            return Some(cluster.clone());
        }
        let cluster = cluster_json(&self.readiness.cluster(this).await?);
        *seen = Some((Instant::now(), cluster.clone()));
        Some(cluster)
    }

    fn router(self, (console, diagnosis, operated): Asked) -> Router {
        let endpoints = Router::new()
            .route("/", get(async || INDEX))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/status", get(status))
            .route("/.well-known/jwks.json", get(jwks))
            .fallback(async || (StatusCode::NOT_FOUND, INDEX))
            .with_state(self)
            .merge(diagnosis.router())
            .merge(operated.router());
        match console {
            Some(console) => endpoints.merge(console.router()),
            None => endpoints,
        }
    }
}

async fn readyz(State(admin): State<Admin>, uri: Uri) -> Response {
    let status = admin.readiness.status();
    let code = if status.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if !asks_for(&uri, "verbose") {
        return (code, if status.ready { "ok\n" } else { "not ready\n" }).into_response();
    }
    let mut text = String::new();
    for group in &status.groups {
        let leader = if group.leader_id == 0 {
            "no leader".into()
        } else {
            format!("leader {}", group.leader_id)
        };
        text.push_str(&format!(
            "{} {}: {leader}\n",
            mark(group.leader_id != 0),
            group.group
        ));
    }
    for reason in &status.reasons {
        text.push_str(&format!("{} {reason}\n", mark(false)));
    }
    text.push_str(if status.ready { "ready\n" } else { "not ready\n" });
    (code, text).into_response()
}

fn mark(good: bool) -> &'static str {
    if good { "[+]" } else { "[-]" }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // Prometheus' text format, version 0.0.4.
    process::measure();
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, admin.metrics.render()).into_response()
}

/// The node, and among others the cluster with it, unless `?local` asks for the node alone, which asks nobody else.
async fn status(State(admin): State<Admin>, uri: Uri) -> Json<serde_json::Value> {
    let this = admin.readiness.status();
    let mut shown = status_json(&this);
    if !asks_for(&uri, "local")
        && let Some(cluster) = admin.cluster(this).await
    {
        shown["cluster"] = cluster;
    }
    Json(shown)
}

/// The public keys of access tokens.
async fn jwks(State(admin): State<Admin>) -> Response {
    jwks::answer(admin.readiness.access())
}

fn asks_for(uri: &Uri, word: &str) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|part| part.starts_with(word)))
}

/// Serves until `over`. The accept loop is our own, as that of gRPC is: connections and the time of a request are
/// bounded.
pub(crate) async fn run(
    config: AdminConfig,
    (admin, asked): (Admin, Asked),
    listener: TcpListener,
    over: CancellationToken,
) {
    let request_max = Duration::from_millis(config.request_ms);
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let tasks = TaskTracker::new();
    if let Some(console) = &asked.0 {
        tasks.spawn(console.clone().watch(admin.metrics.clone(), over.clone()));
    }
    let service = TowerToHyperService::new(admin.router(asked));
    loop {
        let accepted = tokio::select! {
            biased;
            () = over.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin endpoints cannot be accepted");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue;
        };
        let (service, over) = (service.clone(), over.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Client(address));
            service.call(request)
        });
        tasks.spawn(TaskKind::Admin.measure(async move {
            let _slot = slot;
            let mut connection = std::pin::pin!(
                hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(request_max)
                    .max_buf_size(HEAD_BYTES_MAX)
                    .keep_alive(true)
                    .serve_connection(TokioIo::new(Patient::new(tcp, request_max)), service)
            );
            // A connection that broke has nobody left to tell.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = over.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = timeout(LAST_REQUESTS, connection).await;
                }
            }
        }));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}
