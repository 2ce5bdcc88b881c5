//! A server on loopback, and what it takes to talk to it.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use docket_actors::{Docket, Options};
use docket_audit::{AUDIT_DIR, Audit, AuditOptions, Outcome, Record, verify};
use docket_edge::{
    Authenticate, Control, EdgeConfig, EdgeError, Parts, Server, Unauthenticated,
    auth::{AuthOptions, Clock},
    config::Limit,
};
use docket_engine::{
    CustomerId,
    access::{ApiKeyId, Credential, Principal, Role, Scope, Scopes, Username},
};
use docket_proto::v1::{
    self, customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
};
use docket_webhooks::{Deliverer, WebhookOptions};
use http::HeaderMap;
use metrics_exporter_prometheus::PrometheusHandle;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// Keys that are accounts' names.
struct Keys(HashMap<&'static str, Arc<Principal>>);

impl Authenticate for Keys {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Unauthenticated> {
        let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
        let missing = Unauthenticated {
            reason: "CREDENTIALS_MISSING",
            message: "no credentials were sent",
        };
        let invalid = Unauthenticated {
            reason: "CREDENTIALS_INVALID",
            message: "the credentials are not valid",
        };
        self.0.get(key.ok_or(missing)?).cloned().ok_or(invalid)
    }

    fn known(&self, headers: &HeaderMap) -> Option<Arc<Principal>> {
        self.authenticate(headers).ok()
    }
}

fn keys() -> Keys {
    let principal = |name: &'static str, role: Role, customer: Option<&str>, scopes| {
        let principal = Principal {
            account: Username::new(name).unwrap(),
            role,
            customer: customer.map(|id| CustomerId::new(id).unwrap()),
            scopes,
            credential: Credential::ApiKey(ApiKeyId([7; 12])),
        };
        (name, Arc::new(principal))
    };
    Keys(HashMap::from([
        principal("root", Role::Admin, None, Scopes::of(&Scope::ALL)),
        principal("shop", Role::Service, None, Role::Service.scopes()),
        principal("ada", Role::Customer, Some("ada"), Role::Customer.scopes()),
        principal("bob", Role::Customer, Some("bob"), Role::Customer.scopes()),
        principal("reader", Role::Service, None, Scopes::of(&[Scope::Read])),
    ]))
}

/// One recorder for all tests of the process.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| docket_edge::telemetry::install_recorder().unwrap())
        .clone()
}

/// A server that runs.
pub struct Running {
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    /// Where REST is served, if it is.
    pub rest: Option<SocketAddr>,
    pub control: Control,
    pub docket: Docket,
    _dir: TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A configuration on free ports, without limits that tests reach unless set.
pub fn config() -> EdgeConfig {
    let mut config = EdgeConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ..EdgeConfig::default()
    };
    config.admin.listen = config.listen;
    config.limits.customer = Limit::GENEROUS;
    config.limits.probe = Limit::GENEROUS;
    config.limits.failure = Limit::GENEROUS;
    config.admission.max_per_customer = config.admission.max_calls;
    config
}

/// A node of its own that is ready, and the directory that it lives in.
pub async fn node() -> (Docket, TempDir) {
    node_with(|_| {}).await
}

async fn node_with(change: impl FnOnce(&mut Options)) -> (Docket, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.node.shards = Some(2);
    change(&mut options);
    let docket = Docket::open(options).await.unwrap();
    docket.ready().await;
    (docket, dir)
}

/// What delivers to webhooks, which does not run.
pub fn deliverer(docket: &Docket) -> Deliverer {
    let clock = Clock::system();
    let now = Arc::new(move || clock.now());
    Deliverer::new(docket.clone(), &WebhookOptions::default(), now).unwrap()
}

/// A server that does not run yet.
pub async fn bind(config: EdgeConfig, docket: Docket) -> Result<Server, EdgeError> {
    let webhooks = Some(deliverer(&docket));
    Server::bind(
        config,
        Parts {
            docket,
            auth: None,
            webhooks,
            authenticator: Arc::new(keys()),
            metrics: metrics(),
            audit: Audit::off(),
            tracer: docket_traces::Tracer::off(),
        },
    )
    .await
}

/// Starts a server over a node of its own, for the callers of [`Keys`].
pub async fn start(change: impl FnOnce(&mut EdgeConfig)) -> Running {
    start_on(|_| {}, change).await
}

/// The same over a node that is made otherwise.
pub async fn start_on(options: impl FnOnce(&mut Options), change: impl FnOnce(&mut EdgeConfig)) -> Running {
    let (docket, dir) = node_with(options).await;
    let mut config = config();
    change(&mut config);
    let server = bind(config, docket.clone()).await.unwrap();
    run(server, docket, dir)
}

/// Starts a server over a node of its own, with the node's own accounts.
pub async fn start_with_accounts() -> Running {
    start_with_accounts_on(|_| {}).await
}

/// The same with an audit log, and the folder that it is in.
pub async fn start_audited() -> (Running, PathBuf) {
    let (docket, dir) = node().await;
    let folder = dir.path().join(AUDIT_DIR);
    let parts = Parts {
        audit: Audit::open(&folder, 1, AuditOptions::default()).unwrap(),
        ..Parts::of(docket.clone(), &AuthOptions::default(), metrics()).unwrap()
    };
    let server = Server::bind(config(), parts).await.unwrap();
    (run(server, docket, dir), folder)
}

/// Waits for a record of this action that came to this: what nobody waits for is recorded within a second.
pub async fn recorded(folder: &Path, action: &str, outcome: Outcome) -> Record {
    recorded_for(folder, action, outcome, "").await
}

/// The same, for this reason.
pub async fn recorded_for(folder: &Path, action: &str, outcome: Outcome, reason: &str) -> Record {
    let began = Instant::now();
    loop {
        let mut found = None;
        let report = verify::read(folder, &[], |record, _| {
            if record.action == action && record.outcome == outcome && record.reason.contains(reason) {
                found = Some(record.clone());
            }
        });
        report.unwrap();
        if let Some(found) = found {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{action} {outcome:?} is not recorded"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same with another configuration.
pub async fn start_with_accounts_on(change: impl FnOnce(&mut EdgeConfig)) -> Running {
    let (docket, dir) = node().await;
    let mut config = config();
    change(&mut config);
    let parts = Parts::of(docket.clone(), &AuthOptions::default(), metrics()).unwrap();
    let server = Server::bind(config, parts).await.unwrap();
    run(server, docket, dir)
}

fn run(server: Server, docket: Docket, dir: TempDir) -> Running {
    let (grpc, admin, control) = (server.local_addr(), server.admin_addr(), server.control());
    let rest = server.rest_addr();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    Running {
        grpc,
        admin,
        rest,
        control,
        docket,
        _dir: dir,
        stop,
        task,
    }
}

impl Running {
    /// A connection.
    pub async fn connect(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Tells the server to stop, and waits until it has.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }

    /// Tells the server to stop; the handle ends when it has.
    pub fn begin_stop(self) -> (JoinHandle<()>, Docket, TempDir) {
        let _ = self.stop.send(());
        (self.task, self.docket, self._dir)
    }

    /// Waits until `/metrics` has this line. All servers of this process share a recorder: the line must be one that only
    /// this server writes.
    pub async fn until_measured(&self, line: &str) {
        for _ in 0..10_000 {
            if self
                .get("/metrics")
                .await
                .1
                .lines()
                .any(|measured| measured == line)
            {
                return;
            }
        }
        panic!("{line} is not measured");
    }

    /// How often this limiter has refused anything, of any server of this process.
    pub async fn denials(&self, limiter: &str) -> u64 {
        denials(&self.get("/metrics").await.1, limiter)
    }

    /// How many watches were cut off because they were not read, of any server of this process.
    pub async fn cut_off(&self) -> u64 {
        let page = self.get("/metrics").await.1;
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix("docket_feed_cut_off_total{reason=\"too_slow\"} "));
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// See [`seed`].
    pub async fn seed(&self) {
        seed(self.connect().await, "root").await;
    }

    /// The status code and the body of an admin endpoint.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.admin, path).await
    }
}

/// What `/metrics` says of a limiter.
pub fn denials(metrics: &str, limiter: &str) -> u64 {
    let name = format!("docket_limiter_denials_total{{limiter=\"{limiter}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// The status code and the body of a plain HTTP request.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: docket\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (code, body.to_owned())
}

/// A request by the account of this name.
pub fn by<T>(account: &'static str, message: T) -> Request<T> {
    with("x-api-key", account, message)
}

/// `ErrorInfo.reason`.
#[track_caller]
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"))
        .reason
}

/// The fields that are wrong.
pub fn fields(status: &Status) -> Vec<String> {
    let violations = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations)
        .unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// An order of so many nuts.
pub fn nuts(request_id: &str, customer: &str, quantity: i64) -> v1::PlaceOrderRequest {
    v1::PlaceOrderRequest {
        request_id: request_id.into(),
        customer: format!("customers/{customer}"),
        currency_code: "EUR".into(),
        lines: vec![v1::OrderLine {
            item: "items/nut".into(),
            quantity,
            unit_price: 5,
            ..v1::OrderLine::default()
        }],
        payment_method: String::new(),
    }
}

/// Makes customers `ada` and `bob` with credit of 1,000,000 each, and 1,000,000 `nut`s at 5.
pub async fn seed(channel: Channel, key: &str) {
    let mut customers = CustomerServiceClient::new(channel.clone());
    for id in ["ada", "bob"] {
        let customer = v1::Customer {
            currency_code: "EUR".into(),
            credit_limit: 1_000_000,
            ..Default::default()
        };
        let request = v1::CreateCustomerRequest {
            customer_id: id.into(),
            customer: Some(customer),
            ..Default::default()
        };
        customers
            .create_customer(with("x-api-key", key, request))
            .await
            .unwrap();
    }
    let item = v1::Item {
        currency_code: "EUR".into(),
        unit_price: 5,
        on_hand: 1_000_000,
        ..Default::default()
    };
    let request = v1::CreateItemRequest {
        sku: "nut".into(),
        item: Some(item),
        ..Default::default()
    };
    let mut items = ItemServiceClient::new(channel);
    items.create_item(with("x-api-key", key, request)).await.unwrap();
}

/// A request with a credential in this header.
pub fn with<T>(header: &'static str, credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(header, credential.parse().unwrap());
    request
}
