//! A node that runs in this process: opened, served, stopped.

use std::{
    fs::DirBuilder,
    io::ErrorKind,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use docket_actors::{Docket, TaskKind, access::AccessError};
use docket_audit::{AUDIT_DIR, Audit, Entry, Outcome, Position, Who, actions};
use docket_edge::{
    Control, EdgeConfig, EdgeError, Operators, Parts, Server, Sources,
    auth::{AuthApi, Authenticator, Clock, SigningKeyText, bootstrap},
    telemetry,
};
use docket_persistence::Lull;
use docket_sealing::Keyring;
use docket_secrets::Store;
use docket_webhooks::Deliverer;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    admin_key, at_rest,
    backups::Backups,
    certificates, files, measured, peers,
    secrets::{self, Followers},
    traces::Traces,
};
use crate::{
    allocator,
    config::Config,
    failure::Failure,
    payments,
    standby::{self, Beside},
};

/// How often a node that joined looks for the accounts that its cluster has, and the founder tries to make the first.
const ACCOUNTS_POLL: Duration = Duration::from_millis(50);

/// What a record calls the first administrator.
const FIRST_ADMINISTRATOR: &str = "accounts/admin";

/// How often it is told that something at the start takes long.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A data directory is nobody else's business.
const DATA_DIR_MODE: u32 = 0o700;

/// A node that runs in this process.
pub struct Running {
    docket: Docket,
    control: Control,
    auth: AuthApi,
    authenticator: Arc<Authenticator>,
    /// The other issuer whose tokens are let in.
    issuer: Option<String>,
    secrets: Option<Arc<Store>>,
    following: Option<Followers>,
    backups: Option<Backups>,
    /// What follows another cluster, or asks who follows.
    beside: Option<Beside>,
    /// Looks with which keys the files are sealed.
    at_rest: Option<AbortOnDropHandle<()>>,
    grpc_address: SocketAddr,
    admin_address: SocketAddr,
    rest_address: Option<SocketAddr>,
    first_start: bool,
    key_file: Option<PathBuf>,
    drain: Duration,
    /// `None` on a node that stands alone.
    peer_files: Option<peers::Files>,
    certificates: certificates::Files,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    delivering: (CancellationToken, AbortOnDropHandle<()>),
    audit: Audit,
    deliverer: Deliverer,
    traces: Traces,
}

impl Running {
    /// Opens the node, waits until every shard has a leader, and serves it. At the first start the first administrator's
    /// key is made before. `lull` knows when the runtime has nothing to do; `sources` tell whoever takes a debug bundle what is not the node's to tell.
    ///
    /// # Errors
    /// The data directory, an address or a certificate cannot be used; the message names it.
    pub async fn start(config: &Config, lull: Option<Lull>, sources: Sources) -> Result<Self, Failure> {
        let data_dir = config.server.data_dir.clone();
        let metrics = recorder()?;
        // A secret that cannot be read is told before anything is opened.
        let store = secrets::open(config).await?;
        let payments::Providers { named, followers } = payments::providers(config, &store)?;
        let signing_key = secrets::signing_key(config, &store)?;
        let keys = secrets::keyring(config, &store)?;
        for name in named.keys() {
            tracing::info!(provider = %name, "payments can be asked for");
        }
        make_data_dir(&data_dir)?;
        // Whoever watches a long start asks there.
        let operators = Operators::serve_with(&config.admin, metrics.clone(), sources).await;
        let operators = operators.map_err(not_bound)?;
        let begun = standby::begin(config, &data_dir, &store, &keys).await?;
        let mut options = config.node();
        options.node.posture = begun.posture();
        options.node.asks_standby = config.standby.ask_within_s > 0;
        options.node.journal.lull = lull;
        options.node.journal.keys = keys.clone();
        options.payments.providers = named;
        if let Some((peers, member)) = peers::options(config)? {
            options.node.peers = Some(peers);
            options.node.member = Some(member);
        }
        let docket = Docket::open(options).await.map_err(|cause| {
            Failure::Other(format!(
                "cannot open the data directory {}: {cause}",
                data_dir.display()
            ))
        })?;
        let audit = match audit(config, &docket, keys.clone()) {
            Ok(audit) => audit,
            Err(failure) => {
                // As below.
                let _ = docket.close(Duration::ZERO).await;
                return Err(failure);
            }
        };
        let beside = match begun.run(config, &docket).await {
            Ok(beside) => beside,
            Err(failure) => {
                // As below.
                let _ = docket.close(Duration::ZERO).await;
                return Err(failure);
            }
        };
        let starting = Starting(Some(audit.clone()));
        let given = (signing_key, audit.clone());
        match Self::serve(docket.clone(), config, operators, metrics, given).await {
            Ok(mut running) => {
                starting.ready();
                running.beside = Some(beside);
                running.backups = match Backups::start(config, &store, &docket, &audit) {
                    Ok(backups) => backups,
                    Err(failure) => {
                        // What cannot be stopped in order either adds nothing to why it did not start.
                        let _ = running.stop().await;
                        return Err(failure);
                    }
                };
                running.following = Some(Followers::start(&store, config, followers, &running.auth));
                running.secrets = Some(store);
                running.at_rest = Some(at_rest::watch(&data_dir, &keys));
                Ok(running)
            }
            Err(failure) => {
                drop(starting);
                // What cannot be closed either adds nothing to why it did not start.
                let _ = docket.close(Duration::ZERO).await;
                Err(failure)
            }
        }
    }

    async fn serve(
        docket: Docket,
        config: &Config,
        operators: Operators,
        metrics: PrometheusHandle,
        (signing_key, audit): (Option<SigningKeyText>, Audit),
    ) -> Result<Self, Failure> {
        if !docket.access().read(|state| state.is_empty()) {
            docket.let_nodes_in();
        }
        // Whoever hears that the node is ready finds the administrator there: both come before anybody is served.
        tokio::select! {
            () = docket.ready() => {}
            reason = docket.failed() => return Err(super::gone(reason)),
        }
        let first_start = tokio::select! {
            introduced = introduce(&docket, config) => introduced?,
            reason = docket.failed() => return Err(super::gone(reason)),
        };
        allocator::give_back();
        if first_start {
            let made = Entry::new(Who::node(), actions::FIRST_ADMINISTRATOR, FIRST_ADMINISTRATOR);
            audit.note(made);
        }
        docket.let_nodes_in();
        let (access, clock) = (docket.access(), Clock::system());
        let auth = AuthApi::new(access.clone(), &config.auth, clock.clone())
            .map_err(|cause| Failure::Other(format!("cannot serve accounts: {cause}")))?;
        if let Some(key) = signing_key {
            auth.sign_with(key);
        }
        let authenticator = Arc::new(Authenticator::new(access.clone(), &config.auth, clock));
        let loaded = authenticator.load_external_keys();
        loaded.map_err(|cause| Failure::Other(cause.to_string()))?;
        // How far a webhook is rests on what the shards have stamped.
        let times = docket.clone();
        let deliverer = Deliverer::new(docket.clone(), &config.webhooks, Arc::new(move || times.now()))
            .map_err(|cause| Failure::Other(format!("cannot deliver to webhooks: {cause}")))?;
        let mut traces = Traces::new(config)?;
        let parts = Parts {
            docket: docket.clone(),
            authenticator: authenticator.clone(),
            auth: Some(auth.clone()),
            webhooks: Some(deliverer.clone()),
            metrics,
            audit: audit.clone(),
            tracer: traces.tracer().clone(),
        };
        let edge = config.edge();
        let edge = EdgeConfig {
            connections: files::bound(edge.connections),
            ..edge
        };
        let server = Server::bind_with(edge, parts, operators).await;
        let server = server.map_err(not_bound)?;
        let (grpc_address, admin_address) = (server.local_addr(), server.admin_addr());
        let rest_address = server.rest_addr();
        traces.export(config, &docket, grpc_address)?;
        let control = server.control();
        let stop_delivering = CancellationToken::new();
        let delivering =
            tokio::spawn(TaskKind::Webhooks.measure(deliverer.clone().run(stop_delivering.clone())));
        let certificates = certificates::Files::of(config);
        certificates.measure_server();
        certificates.measure_peer();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.run(async {
            // Dropped or sent, it is time to stop.
            let _ = stopped.await;
        }));
        Ok(Self {
            docket,
            control,
            auth,
            authenticator,
            issuer: config.auth.external.issuer.clone(),
            secrets: None,
            following: None,
            backups: None,
            beside: None,
            at_rest: None,
            grpc_address,
            admin_address,
            rest_address,
            first_start,
            key_file: admin_key::path(&config.server.data_dir),
            drain: Duration::from_millis(config.server.drain_ms),
            peer_files: peers::Files::of(config),
            certificates,
            stop,
            serving,
            delivering: (stop_delivering, AbortOnDropHandle::new(delivering)),
            audit,
            deliverer,
            traces,
        })
    }

    /// Where gRPC is served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where operators are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where REST is served, if it is.
    pub fn rest_address(&self) -> Option<SocketAddr> {
        self.rest_address
    }

    /// Whether the first administrator was made by this start.
    pub fn is_first_start(&self) -> bool {
        self.first_start
    }

    /// The file with the first administrator's key; none where somebody took it away.
    pub fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// Resolves with the reason when the node cannot go on.
    pub fn failed(&self) -> impl Future<Output = Arc<str>> + Send + 'static {
        self.docket.failed()
    }

    /// Its shards.
    pub fn docket(&self) -> &Docket {
        &self.docket
    }

    /// What can be changed of its edge.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What delivers to webhooks.
    pub fn deliverer(&self) -> &Deliverer {
        &self.deliverer
    }

    /// Where it is recorded what is done to it.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What is traced.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Reads all secrets again.
    pub fn reread_secrets(&self) {
        if let Some(secrets) = &self.secrets {
            secrets.reread();
        }
    }

    /// Reads the certificate for clients again; one that cannot be used changes nothing.
    pub fn reload_certificate(&self) {
        if !self.control.has_certificate() {
            return;
        }
        let reloaded = self.control.reload_certificate();
        self.reloaded(actions::CERTIFICATES_RELOAD, "clients", reloaded.is_ok());
        match reloaded {
            Ok(()) => {
                tracing::info!("the certificate was read again");
                self.certificates.measure_server();
            }
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }

    /// Reads the keys of the other issuer again, where there is one; what cannot be used changes nothing.
    pub fn reload_issuer_keys(&self) {
        let Some(issuer) = &self.issuer else { return };
        let loaded = self.authenticator.load_external_keys();
        self.reloaded(actions::ISSUER_KEYS_RELOAD, issuer, loaded.is_ok());
        match loaded {
            Ok(()) => tracing::info!("the other issuer's keys were read again"),
            Err(error) => tracing::error!(%error, "the other issuer's keys stay as they were"),
        }
    }

    /// Records that a file was read again, which somebody else has changed.
    fn reloaded(&self, action: &'static str, target: &str, is_usable: bool) {
        let entry = Entry::new(Who::operator(), action, target);
        self.audit.note(match is_usable {
            true => entry,
            false => entry.outcome(Outcome::Refused, "INVALID"),
        });
    }

    /// Reads the certificate for peers again; one that cannot be used changes nothing.
    pub fn reload_peer_certificate(&self) {
        let Some(files) = &self.peer_files else { return };
        let renewed = files.read().and_then(|tls| {
            let renewed = self.docket.renew_peer_certificate(&tls);
            renewed.map_err(|cause| Failure::Other(cause.to_string()))
        });
        self.reloaded(actions::CERTIFICATES_RELOAD, "peers", renewed.is_ok());
        match renewed {
            Ok(()) => {
                tracing::info!("the certificate for peers was read again");
                self.certificates.measure_peer();
            }
            Err(error) => tracing::error!(%error, "the certificate for peers stays as it was"),
        }
    }

    /// Not ready, no new connections, what is in flight is finished within the configured time, everything is synced.
    ///
    /// # Errors
    /// The node had failed, or its journal cannot be closed.
    pub async fn stop(self) -> Result<(), Failure> {
        let started = Instant::now();
        if let Some(following) = self.following {
            following.stop();
        }
        // What was spooled is appended by the next start.
        drop(self.beside);
        if let Some(backups) = self.backups {
            backups.stop().await;
        }
        // What is in flight comes again, from whoever leads next.
        let (stop_delivering, delivering) = self.delivering;
        stop_delivering.cancel();
        if let Err(cause) = delivering.await {
            tracing::error!(%cause, "delivering to webhooks ended badly");
        }
        // The edge may have ended already.
        let _ = self.stop.send(());
        if let Err(cause) = self.serving.await {
            tracing::error!(%cause, "the edge ended badly");
        }
        // What is still in flight behind the edge has no caller any more: it gets what is left of the time.
        let closed = self
            .docket
            .close(self.drain.saturating_sub(started.elapsed()))
            .await;
        self.audit
            .note(Entry::new(Who::node(), actions::SERVER_STOP, "").outcome(
                match &closed {
                    Ok(()) => Outcome::Done,
                    Err(_) => Outcome::Refused,
                },
                "",
            ));
        self.audit.close().await;
        // The last calls are in it; whoever takes them may not answer, so it comes last.
        self.traces.stop().await;
        closed.map_err(|cause| Failure::Other(format!("the node did not stop in order: {cause}")))?;
        tracing::info!("stopped: everything is synced");
        Ok(())
    }

    /// The same of a node that has failed. Where that takes longer than `within`, as where something hangs, it is cut: nobody is served any more, and
    /// the others in its cluster take it for one that is gone. That takes at most twice as long again.
    pub async fn give_up(self, within: Duration) {
        let (docket, audit, edge) = (
            self.docket.clone(),
            self.audit.clone(),
            self.serving.abort_handle(),
        );
        // That the node had failed is said already.
        if timeout(within, self.stop()).await.is_ok() {
            return;
        }
        tracing::warn!(after = ?within, "what is in flight is cut");
        edge.abort();
        // Its groups and its peers are let go of first; the journal, which may hang, comes last.
        if timeout(within, docket.close(Duration::ZERO)).await.is_err() {
            tracing::warn!(after = ?within, "the journal does not close");
        }
        let stop = Entry::new(Who::node(), actions::SERVER_STOP, "").outcome(Outcome::Refused, "");
        audit.note(stop);
        if timeout(within, audit.close()).await.is_err() {
            tracing::warn!(after = ?within, "the audit log does not close");
        }
    }
}

/// A node that is not ready yet. Where it stops before it is, or is stopped, its audit log says so, and is closed.
struct Starting(Option<Audit>);

impl Starting {
    /// It is ready: from here on it is stopped in order.
    fn ready(mut self) {
        self.0 = None;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let Some(audit) = self.0.take() else { return };
        let stop = Entry::new(Who::node(), actions::SERVER_STOP, "").detail("ready", "false");
        audit.note(stop);
        // Whoever stops it waits no longer than it takes to write what is there; nothing else goes on in this process then.
        audit.close_blocking();
    }
}

/// The node's audit log, with what there is to be said of the start.
fn audit(config: &Config, docket: &Docket, keys: Keyring) -> Result<Audit, Failure> {
    let identity = docket.status().cluster.identity;
    let node = identity.node_id.0;
    let folder = config.server.data_dir.join(AUDIT_DIR);
    let opened = Audit::open_with(&folder, node, config.audit, keys);
    let audit = opened.map_err(|cause| Failure::Other(format!("cannot use the audit log: {cause}")))?;
    let is_new = audit.position() == Some(Position::origin());
    if is_new && identity.membership.is_some_and(|membership| !membership.founder) {
        let cluster = format!("clusters/{}", identity.cluster_id);
        audit.note(Entry::new(Who::node(), actions::CLUSTER_JOIN, cluster));
    }
    let start = Entry::new(Who::node(), actions::SERVER_START, format!("nodes/{node}"));
    audit.note(start.detail("version", docket_actors::version()));
    Ok(audit)
}

/// Makes the data directory, if it is not there.
///
/// # Errors
/// It cannot be made.
pub fn make_data_dir(data_dir: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(DATA_DIR_MODE)
        .create(data_dir);
    made.map_err(|cause| {
        Failure::Other(format!(
            "cannot make the data directory {}: {cause}",
            data_dir.display()
        ))
    })
}

/// Makes the first administrator, where there is nobody yet; whether that was so.
async fn introduce(docket: &Docket, config: &Config) -> Result<bool, Failure> {
    let (access, data_dir) = (docket.access(), &config.server.data_dir);
    wait_for_accounts(docket).await;
    if !access.read(|state| state.is_empty()) {
        admin_key::guard(data_dir)?;
        return Ok(false);
    }
    let key = match secrets::admin_key(config).await? {
        Some(key) => key,
        None => admin_key::read_or_create(data_dir)?,
    };
    let mut told = Instant::now();
    loop {
        match bootstrap(access, &key, Clock::system().now()).await {
            Ok(made) => return Ok(made),
            // With the same key it can be asked again, and until it is answered no other node can take the lead.
            Err(cause @ (AccessError::NotLeader | AccessError::OutcomeUnknown | AccessError::Contended)) => {
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    tracing::warn!(%cause, "the first administrator cannot be made yet; it is tried again");
                }
                tokio::time::sleep(ACCOUNTS_POLL).await;
            }
            Err(cause) => {
                return Err(Failure::Other(format!(
                    "cannot make the first administrator: {cause}"
                )));
            }
        }
    }
}

/// Waits, on a node that joined a cluster, until it has heard of the accounts: the founder has made the first, and nobody makes another.
async fn wait_for_accounts(docket: &Docket) {
    let membership = docket.status().cluster.identity.membership;
    let joined = membership.is_some_and(|membership| !membership.founder);
    while joined && docket.access().read(|state| state.is_empty()) {
        tokio::time::sleep(ACCOUNTS_POLL).await;
    }
}

/// Why there is no server, and what to do where somebody else has its address.
fn not_bound(cause: EdgeError) -> Failure {
    let advice = match &cause {
        EdgeError::Bind { what, source, .. } if source.kind() == ErrorKind::AddrInUse => Some(match *what {
            "gRPC" => "--listen",
            "REST" => "rest.listen",
            _ => "--admin-listen",
        }),
        _ => None,
    };
    Failure::Other(match advice {
        Some(option) => {
            format!("{cause}\n      do: stop who has it (ss -ltnp shows who), or take another one: {option}")
        }
        None => cause.to_string(),
    })
}

/// The recorder behind `/metrics`. There is one in a process, whatever the number of nodes that run in it.
pub(super) fn recorder() -> Result<PrometheusHandle, Failure> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let installed = telemetry::install_recorder();
    let handle = installed.map_err(|cause| Failure::Other(format!("cannot measure: {cause}")))?;
    measured::describe();
    measured::begin();
    Ok(RECORDER.get_or_init(|| handle).clone())
}
