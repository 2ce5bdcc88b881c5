//! The server: its listeners, the gate behind one or, with REST, two of them and the operators' endpoints behind the other, and their end.
//!
//! ```text
//!   bind ──▶ run ──stop──▶ not ready ──▶ no new connections, GOAWAY on the others ──▶ calls end ──▶ done
//!                                                                        └─ after drain_ms they are cut
//! ```

mod accept;
mod io;
mod open;
mod operators;
mod tls;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use docket_actors::Docket;
use docket_audit::Audit;
use docket_proto::{
    server::order_service_server::OrderServiceServer,
    v1::{
        auth_service_server::AuthServiceServer, backup_service_server::BackupServiceServer,
        customer_service_server::CustomerServiceServer, item_service_server::ItemServiceServer,
        node_service_server::NodeServiceServer, standby_service_server::StandbyServiceServer,
        webhook_service_server::WebhookServiceServer,
    },
};
use docket_traces::Tracer;
use docket_webhooks::{Deliverer, DelivererError, WebhookOptions};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;

pub use self::operators::Operators;
use self::{
    accept::{Acceptor, Speaks},
    open::Open,
    tls::Certificate,
};
use crate::{
    auth::{AuthApi, AuthApiError, AuthOptions, Authenticator, Clock},
    authenticate::Authenticate,
    config::{AdmissionConfig, ConfigError, EdgeConfig, FeedConfig, LimitsConfig},
    gate::{
        Gate, Route,
        admission::Admission,
        forward::{Answering, Forwarder},
        limits::{Limits, Sharing},
    },
    readiness::Readiness,
    rest::Rest,
    services::{
        backup::{self, BackupApi},
        customer::CustomerApi,
        health::HealthService,
        item::ItemApi,
        node::NodeApi,
        order::OrderApi,
        place_orders::StreamBounds,
        standby::StandbyApi,
        watch_orders::WatchBounds,
        webhook::WebhookApi,
    },
    telemetry::Telemetry,
};

/// How often readiness is asked for, and gauges are set.
const TICK: Duration = Duration::from_millis(200);
/// No connection ends for a reply that is not taken before this long, however short calls are.
const UNREAD_MIN: Duration = Duration::from_secs(1);
/// The largest message of reflection and health: names of services and symbols. What has arrived of one is not counted as
/// in flight, so that it must not be much.
const OPEN_MESSAGE_BYTES_MAX: usize = 16 * 1_024;

/// What a server serves.
pub struct Parts {
    /// The node.
    pub docket: Docket,
    /// Who knows callers.
    pub authenticator: Arc<dyn Authenticate>,
    /// Accounts, sessions and keys; without it `AuthService` is not served.
    pub auth: Option<AuthApi>,
    /// What delivers to webhooks, which whoever has it runs; without it `WebhookService` is not served.
    pub webhooks: Option<Deliverer>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Where it is recorded who changes what, and who is denied.
    pub audit: Audit,
    /// Says which calls are sampled.
    pub tracer: Tracer,
}

impl Parts {
    /// A node with its own accounts, sessions and keys.
    ///
    /// # Errors
    /// Where authentication cannot be set up so.
    pub fn of(docket: Docket, auth: &AuthOptions, metrics: PrometheusHandle) -> Result<Self, EdgeError> {
        let access = docket.access().clone();
        let authenticator = Authenticator::new(access.clone(), auth, Clock::system());
        let api = AuthApi::new(access, auth, Clock::system())?;
        let clock = Clock::system();
        let now = Arc::new(move || clock.now());
        let webhooks = Deliverer::new(docket.clone(), &WebhookOptions::default(), now)?;
        Ok(Self {
            docket,
            authenticator: Arc::new(authenticator),
            auth: Some(api),
            webhooks: Some(webhooks),
            metrics,
            audit: Audit::off(),
            tracer: Tracer::off(),
        })
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A setting that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that cannot be served on.
    #[error("cannot listen on {address} for {what}: {source}")]
    Bind {
        /// gRPC or admin.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("cannot use {} for TLS: {why}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Authentication cannot be set up.
    #[error(transparent)]
    Auth(#[from] AuthApiError),
    /// Nothing can be delivered to webhooks.
    #[error(transparent)]
    Webhooks(#[from] DelivererError),
    /// The contract that is compiled in does not fit the services, or the routes.
    #[error("the services do not fit the contract: {0}")]
    Contract(String),
}

/// A server that is bound and not yet running.
pub struct Server {
    config: EdgeConfig,
    listener: TcpListener,
    operators: Operators,
    docket: Docket,
    grpc_address: SocketAddr,
    acceptor: Arc<Acceptor>,
    rest: Option<RestServer>,
    readiness: Readiness,
    limits: Arc<Limits>,
    feed: Arc<ArcSwap<FeedConfig>>,
    admission: Arc<Admission>,
    telemetry: Arc<Telemetry>,
    metrics: PrometheusHandle,
}

/// Where REST is served, and by what.
struct RestServer {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Arc<Acceptor>,
}

/// Changes a running server.
#[derive(Clone)]
pub struct Control {
    certificate: Option<Arc<Certificate>>,
    limits: Arc<Limits>,
    feed: Arc<ArcSwap<FeedConfig>>,
    gate: Arc<Gate>,
}

impl Control {
    /// Reads certificate and key again; connections that are made from now on get the new ones. Does nothing where TLS
    /// is off.
    ///
    /// # Errors
    /// Where they cannot be used; the ones before stay.
    pub fn reload_certificate(&self) -> Result<(), EdgeError> {
        self.certificate
            .as_ref()
            .map_or(Ok(()), |certificate| certificate.reload())
    }

    /// Whether TLS is on.
    pub fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// Has callers call as often as this says from now on (but for [`LimitsConfig::prune_ms`]). Buckets of a limit that is another than
    /// before are full.
    ///
    /// # Errors
    /// A limit that cannot be; then all are as before.
    pub fn set_limits(&self, limits: &LimitsConfig) -> Result<(), ConfigError> {
        limits.validate()?;
        self.limits.replace(limits);
        Ok(())
    }

    /// Lets calls in as this says from now on (but for [`AdmissionConfig::max_refused`]). What is in flight stays so.
    ///
    /// # Errors
    /// A bound that cannot be; then all are as before.
    pub fn set_admission(&self, admission: &AdmissionConfig) -> Result<(), ConfigError> {
        let config = EdgeConfig {
            admission: *admission,
            ..EdgeConfig::default()
        };
        config.validate()?;
        self.gate.set_admission(admission);
        Ok(())
    }

    /// Has watches of orders go by this from now on; what each has room for stays as it was when it began.
    ///
    /// # Errors
    /// A bound that cannot be; then all are as before.
    pub fn set_feed(&self, feed: FeedConfig) -> Result<(), ConfigError> {
        let config = EdgeConfig {
            feed,
            ..EdgeConfig::default()
        };
        config.validate()?;
        self.feed.store(Arc::new(feed));
        Ok(())
    }
}

impl Server {
    /// Takes both addresses and puts the services together. No call is served before [`Self::run`].
    ///
    /// # Errors
    /// A setting that cannot be, an address that is taken, a certificate that cannot be used.
    pub async fn bind(config: EdgeConfig, parts: Parts) -> Result<Self, EdgeError> {
        config.validate()?;
        let operators = Operators::serve(&config.admin, parts.metrics.clone()).await?;
        Self::bind_with(config, parts, operators).await
    }

    /// The same beside endpoints for operators that are served already.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub async fn bind_with(
        config: EdgeConfig,
        parts: Parts,
        operators: Operators,
    ) -> Result<Self, EdgeError> {
        config.validate()?;
        let certificate = config
            .tls
            .clone()
            .map(Certificate::load)
            .transpose()?
            .map(Arc::new);
        let listener = listen("gRPC", config.listen).await?;
        let grpc_address = local("gRPC", &listener, config.listen)?;

        if certificate.is_none() && !grpc_address.ip().is_loopback() {
            tracing::warn!(
                address = %grpc_address,
                "gRPC is served without TLS where others can reach it: credentials travel in the clear"
            );
        }

        let telemetry = Arc::new(Telemetry::new(parts.audit.clone()));
        let limits = Arc::new(Limits::new(&config.limits));
        let admission = Admission::new(config.admission);
        let docket = parts.docket.clone();
        operators.opened(docket.clone());
        let readiness = operators.readiness().clone();
        let forwarder = docket
            .has_peers()
            .then(|| Arc::new(Forwarder::new(docket.clone(), config.http2.max_request_bytes)));
        let bounds = StreamBounds {
            forwarder: forwarder.clone(),
            window: config.calls.stream_window,
            order_max: Duration::from_millis(config.calls.max_ms),
            limits: Arc::clone(&limits),
            admission: Arc::clone(&admission),
            telemetry: Arc::clone(&telemetry),
            draining: readiness.draining().clone(),
            authenticator: Arc::clone(&parts.authenticator),
            tracer: parts.tracer.clone(),
        };
        let feed = Arc::new(ArcSwap::from_pointee(config.feed));
        let watch = WatchBounds {
            feed: Arc::clone(&feed),
            watches: Arc::default(),
            telemetry: Arc::clone(&telemetry),
            draining: readiness.draining().clone(),
            authenticator: Arc::clone(&parts.authenticator),
        };
        let optional = (parts.auth, parts.webhooks);
        let routes = routes(
            &config,
            parts.docket,
            optional,
            (&readiness, &parts.audit),
            (bounds, watch),
        )?;
        let gate = Gate::new(
            routes,
            parts.authenticator,
            Arc::clone(&limits),
            Arc::clone(&admission),
            Arc::clone(&telemetry),
            config.calls,
            config.http2.max_request_bytes,
            config.admission.max_refused,
            forwarder,
            parts.tracer,
            docket.clone(),
        )
        .map_err(|error| EdgeError::Contract(error.to_string()))?;
        let gate = Arc::new(gate);
        operators.gate_opened(&docket, &gate, &parts.audit);
        docket.answer_forwarded(Arc::new(Answering::new(&gate)));
        docket.answer_status(Arc::new(readiness.teller()));
        let rest = match config.rest.listen {
            None => None,
            Some(address) => {
                let listener = listen("REST", address).await?;
                let address = local("REST", &listener, address)?;
                let rest = Rest::new(Arc::clone(&gate), config.http2.max_request_bytes);
                let rest = rest.map_err(|error| EdgeError::Contract(error.to_string()))?;
                Some((
                    listener,
                    address,
                    Speaks::Rest(accept::http1(&config), Arc::new(rest)),
                ))
            }
        };
        if let Some((_, address, _)) = &rest
            && certificate.is_none()
            && !address.ip().is_loopback()
        {
            tracing::warn!(
                %address,
                "REST is served without TLS where others can reach it: credentials travel in the clear"
            );
        }
        let (open, killed, tasks) = (
            Arc::new(Open::default()),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let acceptor = |speaks| {
            Arc::new(Acceptor {
                gate: Arc::clone(&gate),
                telemetry: Arc::clone(&telemetry),
                certificate: certificate.clone(),
                connections: config.connections,
                speaks,
                unread_max: Duration::from_millis(config.calls.max_ms).max(UNREAD_MIN),
                open: Arc::clone(&open),
                draining: readiness.draining().clone(),
                killed: killed.clone(),
                tasks: tasks.clone(),
            })
        };
        let rest = rest.map(|(listener, address, speaks)| RestServer {
            listener,
            address,
            acceptor: acceptor(speaks),
        });
        let acceptor = acceptor(Speaks::Grpc(accept::http2(&config.http2)));
        Ok(Self {
            config,
            listener,
            operators,
            docket,
            grpc_address,
            acceptor,
            rest,
            readiness,
            limits,
            feed,
            admission,
            telemetry,
            metrics: parts.metrics,
        })
    }

    /// Where gRPC is served.
    pub fn local_addr(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where REST is served, if it is.
    pub fn rest_addr(&self) -> Option<SocketAddr> {
        self.rest.as_ref().map(|rest| rest.address)
    }

    /// Where the admin endpoints are served.
    pub fn admin_addr(&self) -> SocketAddr {
        self.operators.local_addr()
    }

    /// For changes while it runs.
    pub fn control(&self) -> Control {
        Control {
            certificate: self.acceptor.certificate.clone(),
            limits: Arc::clone(&self.limits),
            feed: Arc::clone(&self.feed),
            gate: Arc::clone(&self.acceptor.gate),
        }
    }

    /// Serves until `stop` is ready and what is in flight then has ended, at most [`EdgeConfig::drain_ms`] later. The
    /// admin endpoints answer to the end. Where its future is dropped, all of them are cut.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let _cut = (
            self.readiness.draining().clone().drop_guard(),
            self.acceptor.killed.clone().drop_guard(),
        );
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics::gauge!("docket_start_time_seconds").set(started.as_secs_f64());
        self.readiness.refresh();

        let over = self.operators.over().clone();
        let sharing = Sharing::new(self.docket.clone(), Arc::clone(&self.limits), random_run());
        let accepting = tokio::spawn(Arc::clone(&self.acceptor).run(self.listener));
        let accepting_rest = self
            .rest
            .map(|rest| tokio::spawn(rest.acceptor.run(rest.listener)));
        let chores = Chores {
            docket: self.docket,
            limits: self.limits,
            admission: self.admission,
            telemetry: self.telemetry,
            readiness: self.readiness.clone(),
            metrics: self.metrics,
            prune_every: Duration::from_millis(self.config.limits.prune_ms),
        };
        let chores = tokio::spawn(chores.run(over.clone()));
        let sharing = tokio::spawn(sharing.run(over.clone()));

        stop.await;
        tracing::info!("stopping: no new calls, what is in flight is finished");
        self.readiness.drain();
        // It holds the listener: when it is over, nobody can connect any more.
        ended("accepting connections", accepting.await);
        if let Some(accepting) = accepting_rest {
            ended("accepting connections for REST", accepting.await);
        }
        let tasks = &self.acceptor.tasks;
        let drain = Duration::from_millis(self.config.drain_ms);
        tasks.close();
        if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), after = ?drain, "connections are cut");
            self.acceptor.killed.cancel();
            tasks.wait().await;
        }
        self.operators.end().await;
        ended("the edge's chores", chores.await);
        ended("telling what callers take", sharing.await);
    }
}

/// Tells one run of this program from the next, for other nodes. Where the system has no randomness to give it is the time, which differs too.
fn random_run() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64
    })
}

fn ended(what: &'static str, result: Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        tracing::error!(what, %error, "a task of the edge failed");
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, EdgeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| EdgeError::Bind {
            what,
            address,
            source,
        })
}

fn local(what: &'static str, listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, EdgeError> {
    listener.local_addr().map_err(|source| EdgeError::Bind {
        what,
        address,
        source,
    })
}

/// Every service that is served.
fn routes(
    config: &EdgeConfig,
    docket: Docket,
    (auth, webhooks): (Option<AuthApi>, Option<Deliverer>),
    (readiness, audit): (&Readiness, &Audit),
    (bounds, watch): (StreamBounds, WatchBounds),
) -> Result<Vec<(&'static str, Route)>, EdgeError> {
    /// Sets the bounds of messages on a generated service.
    macro_rules! route {
        ($server:expr) => {
            route!($server, config.http2.max_request_bytes)
        };
        ($server:expr, $request_bytes_max:expr) => {
            Route::of(
                $server
                    .max_decoding_message_size($request_bytes_max)
                    .max_encoding_message_size(config.http2.max_reply_bytes),
            )
        };
    }
    let small = config.http2.max_request_bytes.min(OPEN_MESSAGE_BYTES_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(docket_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let contract = |error: tonic_reflection::server::Error| EdgeError::Contract(error.to_string());
    let mut routes = vec![
        route!(OrderServiceServer::new(OrderApi::new(
            docket.clone(),
            bounds,
            watch
        ))),
        route!(CustomerServiceServer::new(CustomerApi::new(docket.clone()))),
        route!(ItemServiceServer::new(ItemApi::new(docket.clone()))),
        route!(NodeServiceServer::new(NodeApi::new(
            docket.clone(),
            readiness.clone(),
            audit.clone()
        ))),
        route!(reflection().build_v1().map_err(contract)?, small),
        route!(reflection().build_v1alpha().map_err(contract)?, small),
    ];
    let backup = BackupApi::new(docket.clone(), audit.clone(), readiness.draining().clone());
    routes.push(Route::of(
        BackupServiceServer::new(backup)
            .max_decoding_message_size(small)
            .max_encoding_message_size(backup::MESSAGE_BYTES_MAX),
    ));
    let standby = StandbyApi::new(docket.clone(), readiness.clone(), audit.clone());
    routes.push(Route::of(
        StandbyServiceServer::new(standby)
            .max_decoding_message_size(config.http2.max_request_bytes)
            .max_encoding_message_size(backup::MESSAGE_BYTES_MAX),
    ));
    routes.extend(auth.map(|auth| route!(AuthServiceServer::new(auth.audited(audit.clone())))));
    routes.extend(webhooks.map(|deliverer| {
        let webhooks = WebhookApi::new(docket.clone(), deliverer, audit.clone());
        route!(WebhookServiceServer::new(webhooks))
    }));
    let mut services: Vec<&'static str> = routes.iter().map(|(name, _)| *name).collect();
    services.push(HealthServer::<HealthService>::NAME);
    let health = HealthService::new(readiness.clone(), services);
    routes.push(route!(HealthServer::new(health), small));
    Ok(routes)
}

/// What must be done now and then.
struct Chores {
    docket: Docket,
    limits: Arc<Limits>,
    admission: Arc<Admission>,
    telemetry: Arc<Telemetry>,
    readiness: Readiness,
    metrics: PrometheusHandle,
    prune_every: Duration,
}

impl Chores {
    async fn run(self, over: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let steering = self.docket.steering().clone();
        let mut steered = steering.watch();
        steered.mark_changed();
        let mut prune = tokio::time::interval(self.prune_every);
        prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                _ = tick.tick() => {
                    let ready = self.readiness.refresh();
                    self.telemetry.ready.set(if ready { 1.0 } else { 0.0 });
                    for (bound, gauge) in &self.telemetry.in_flight {
                        gauge.set(self.admission.in_flight(*bound) as f64);
                    }
                    self.admission.disk(self.docket.last_sync());
                    self.telemetry.orders_max.set(self.admission.orders_max() as f64);
                }
                Ok(()) = steered.changed() => {
                    let own = steering.read(|state| {
                        state.limits(None).map(|(of, entry)| (of.clone(), entry.limit)).collect()
                    });
                    self.limits.set_own(own);
                }
                _ = prune.tick() => {
                    self.limits.prune();
                    self.telemetry.buckets.set(self.limits.buckets() as f64);
                    // Histograms keep every value until somebody looks; without a scraper that would be for ever.
                    self.metrics.run_upkeep();
                }
            }
        }
    }
}
