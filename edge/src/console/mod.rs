//! The console: a page for operators on the admin port, compiled into the program, that shows and changes nothing.
//!
//! ```text
//!   browser ── /console, /console/assets/… ──▶ pages          anybody: there is nothing in them
//!      │
//!      ├── POST /console/api/session {api_key} ──▶ gate: whose key? ──▶ a cookie for an admin
//!      │
//!      └── GET /console/api/… + cookie ──▶ session ──▶ key still holds? ──▶ gate ──▶ the services of the contract
//!                                                                    └─▶ traffic, counts: of this node
//! ```
//!
//! What it guarantees:
//! - Nothing of the node's is shown without a session, and a session is no more than the API key that it was made with, for as long as that holds.
//! - What is asked of services (orders and keys) passes the gate as an admin's calls do: bucket, admission, table of permissions, deadline. It reads committed state.
//! - Sessions, bodies, lists, points and the time of a request are bounded.
//! - A page of another origin gets nothing: the cookie is `SameSite=Strict`, no answer may be read from elsewhere, and on a loopback address only
//!   names of that address are served, so that no name of somebody else's can be pointed at it.

mod guard;
mod orders;
mod pages;
mod registry;
mod session;
mod show;
mod traffic;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Extension, FromRequestParts, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::from_fn_with_state,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use docket_actors::{Docket, wall_clock};
use docket_audit::{Audit, Denial, Entry};
use docket_engine::access::{ApiKeyId, Credential, Principal, Role};
use docket_proto::{
    api::auth::{account_name, api_key_name},
    code_name, v1,
};
use metrics_exporter_prometheus::PrometheusHandle;
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::{pages::Pages, session::Sessions, traffic::Traffic};
use crate::{
    audit, auth::Clock, config::AdminConfig, errors::Refusal, gate::Gate, overview, readiness::Readiness,
    status_json::cluster_json,
};

/// Bytes of what is sent to log in.
const LOGIN_BYTES_MAX: usize = 1_024;
/// What an answer may take, where the admin port lets requests take longer.
const ANSWER_MAX: Duration = Duration::from_secs(4);
/// How long what was seen of the cluster is told again.
const SEEN_FOR: Duration = Duration::from_millis(500);
/// API keys of a page.
const KEYS_MAX: i32 = 100;

/// Where a request comes from; the accept loop says so.
#[derive(Clone, Copy)]
pub(crate) struct Client(pub(crate) SocketAddr);

/// The console. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Console {
    inner: Arc<Inner>,
}

struct Inner {
    pages: Pages,
    sessions: Sessions,
    traffic: Traffic,
    /// What it asks, once the node is open.
    opened: OnceLock<Opened>,
    /// The cookie's name, which has the port in it: cookies know hosts and no ports, and several nodes may be on one.
    cookie: String,
    /// Only names of a loopback address are served.
    loopback: bool,
    answer_max: Duration,
    clock: Clock,
}

struct Opened {
    docket: Docket,
    gate: Arc<Gate>,
    readiness: Readiness,
    /// Where it is recorded who logs in, and who may not.
    audit: Audit,
    /// What the cluster was like lately, and when. Whoever asks meanwhile waits for the same answer.
    seen: Mutex<Option<(Instant, Value)>>,
}

impl Console {
    /// The console on this address. It has nothing to show before [`Self::opened`].
    pub(crate) fn new(config: &AdminConfig, address: SocketAddr) -> Self {
        Self {
            inner: Arc::new(Inner {
                pages: Pages::new(),
                sessions: Sessions::default(),
                traffic: Traffic::default(),
                opened: OnceLock::new(),
                cookie: format!("docket_console_{}", address.port()),
                loopback: address.ip().is_loopback(),
                answer_max: Duration::from_millis(config.request_ms).min(ANSWER_MAX),
                clock: Clock::system(),
            }),
        }
    }

    /// From here on it asks this node.
    pub(crate) fn opened(&self, docket: Docket, gate: Arc<Gate>, readiness: Readiness, audit: Audit) {
        // One server is bound with one console.
        let _ = self.inner.opened.set(Opened {
            docket,
            gate,
            readiness,
            audit,
            seen: Mutex::default(),
        });
    }

    /// Looks at what is measured until `over`.
    pub(crate) async fn watch(self, metrics: PrometheusHandle, over: CancellationToken) {
        let mut tick = tokio::time::interval(traffic::EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                _ = tick.tick() => {
                    if self.inner.traffic.is_due(now_ms()) {
                        self.inner.traffic.look(&metrics.render(), now_ms());
                    }
                }
            }
        }
    }

    /// What the node has had to do lately.
    pub(crate) fn traffic(&self) -> Value {
        self.inner.traffic.json(0)
    }

    /// Everything below `/console`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/console", get(page))
            .route("/console/", get(async || Redirect::permanent("/console")))
            .route("/console/{*path}", get(page))
            .route("/console/api/session", get(whose).post(log_in).delete(log_out))
            .route("/console/api/cluster", get(cluster))
            .route("/console/api/traffic", get(traffic_of))
            .route("/console/api/orders", get(list_orders))
            .route("/console/api/orders/counts", get(order_counts))
            .route("/console/api/orders/{id}", get(order))
            .route("/console/api/orders/{id}/events", get(order_events))
            .route("/console/api/access", get(access))
            .route("/console/api/{*path}", get(nothing))
            .layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX))
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .with_state(self)
    }

    fn parts(&self) -> Result<&Opened, Refused> {
        let opening = "the node is being opened: it has nothing to show yet";
        let refusal = || Refusal::new(Code::Unavailable, "OPENING", opening);
        self.inner.opened.get().ok_or_else(|| refusal().into())
    }

    /// The token in the cookie.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter();
        cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find_map(|(name, value)| (name == self.inner.cookie).then_some(value))
    }

    fn cookie(&self, token: &str, age: Duration) -> Result<HeaderValue, Refused> {
        let (name, age_s) = (&self.inner.cookie, age.as_secs());
        let cookie = format!("{name}={token}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={age_s}");
        HeaderValue::try_from(cookie).map_err(|_| Refusal::internal("console-cookie").into())
    }
}

/// Who asks, and until when it is to be answered.
struct Who {
    principal: Arc<Principal>,
    address: SocketAddr,
    deadline: Instant,
    /// How long the session lasts at most.
    left: Duration,
}

impl FromRequestParts<Console> for Who {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Refused> {
        let now = Instant::now();
        let opened = console.parts()?;
        let none = || Refused::from(Refusal::new(Code::Unauthenticated, "NO_SESSION", "log in first"));
        let token = console.token(&parts.headers).ok_or_else(none)?;
        let (key, left) = console.inner.sessions.find(token, now).ok_or_else(none)?;
        let state = opened.docket.access();
        let principal = state.read(|state| state.api_key_principal(key, console.inner.clock.now()));
        // It may have been revoked, or its account be no administrator's any more.
        let Some(principal) = principal.filter(|principal| principal.role == Role::Admin) else {
            console.inner.sessions.end(token);
            return Err(none());
        };
        Ok(Self {
            principal: Arc::new(principal),
            address: address_of(parts)?,
            deadline: now + console.inner.answer_max,
            left,
        })
    }
}

fn address_of(parts: &Parts) -> Result<SocketAddr, Refused> {
    let client = parts.extensions.get::<Client>();
    let client = client.ok_or_else(|| Refused::from(Refusal::internal("console-client")))?;
    Ok(client.0)
}

/// A question to the services.
struct Asking<'a> {
    who: &'a Who,
    gate: &'a Gate,
}

impl Asking<'_> {
    async fn ask<Q, A>(&self, path: &'static str, message: &Q) -> Result<A, Status>
    where
        Q: Message,
        A: Message + Default,
    {
        let who = (&self.who.principal, self.who.address);
        self.gate.ask(who, path, message, self.who.deadline).await
    }
}

impl Who {
    fn asks<'a>(&'a self, console: &'a Console) -> Result<Asking<'a>, Refused> {
        let gate = &*console.parts()?.gate;
        Ok(Asking { who: self, gate })
    }
}

/// Why there is no answer.
pub(crate) struct Refused(Box<Status>);

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Status::from(refusal).into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = match self.0.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Aborted => StatusCode::CONFLICT,
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (code, Json(self.json())).into_response();
        let retry = self.0.get_details_retry_info().and_then(|info| info.retry_delay);
        if let Some(retry) = retry {
            let seconds = retry.as_secs() + u64::from(retry.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl Refused {
    fn json(&self) -> Value {
        let reason = self.0.get_details_error_info().map(|info| info.reason);
        json!({"error": {
            "code": code_name(self.0.code()),
            "reason": reason,
            "message": self.0.message(),
        }})
    }
}

type Answer = Result<Json<Value>, Refused>;

async fn page(State(console): State<Console>, request: Request) -> Response<Body> {
    let path = request.uri().path();
    let path = path.strip_prefix("/console").unwrap_or(path);
    console.inner.pages.at(path, request.headers())
}

async fn nothing(_: Who) -> Refused {
    Refusal::new(Code::NotFound, "UNKNOWN_PATH", "there is no such question").into()
}

/// Who is logged in, and where; nobody is no failure.
async fn whose(State(console): State<Console>, who: Result<Who, Refused>) -> Answer {
    match who {
        Ok(who) => Ok(Json(session_json(console.parts()?, &who.principal, who.left))),
        Err(refused) if refused.0.code() == Code::Unauthenticated => Ok(Json(json!({"account": null}))),
        Err(refused) => Err(refused),
    }
}

fn session_json(opened: &Opened, principal: &Principal, left: Duration) -> Value {
    let identity = opened.docket.status().cluster.identity;
    json!({
        "account": principal.account.as_str(),
        "node_id": identity.node_id.0,
        "cluster_id": identity.cluster_id,
        "version": docket_actors::version(),
        "seconds_left": left.as_secs(),
        "now_ms": now_ms(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    api_key: String,
}

/// What is recorded of whoever logs in, and out.
const LOG_IN: &str = "console.login";
const LOG_OUT: &str = "console.logout";

/// Why somebody is not let in, and who that is, where the key is somebody's.
struct NotLetIn {
    refusal: Refusal,
    principal: Option<Arc<Principal>>,
}

impl From<Refusal> for NotLetIn {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            principal: None,
        }
    }
}

/// The administrator whose key this is.
async fn let_in(
    opened: &Opened,
    address: SocketAddr,
    key: &str,
) -> Result<(Arc<Principal>, ApiKeyId), NotLetIn> {
    let invalid = || {
        Refusal::new(
            Code::Unauthenticated,
            "CREDENTIALS_INVALID",
            "the API key is not valid",
        )
    };
    let key = HeaderValue::try_from(key.trim()).map_err(|_| invalid())?;
    let principal = opened.gate.log_in(key, address).await?;
    let Credential::ApiKey(id) = principal.credential else {
        return Err(invalid().into());
    };
    if principal.role != Role::Admin {
        tracing::warn!(account = principal.account.as_str(), %address, "refused at the console: no administrator");
        let message = "the console is for administrators: this key is of an account with another role";
        return Err(NotLetIn {
            refusal: Refusal::new(Code::PermissionDenied, "ROLE_NOT_ALLOWED", message),
            principal: Some(principal),
        });
    }
    Ok((principal, id))
}

async fn log_in(
    State(console): State<Console>,
    Extension(Client(address)): Extension<Client>,
    Json(asked): Json<LogIn>,
) -> Result<Response, Refused> {
    let opened = console.parts()?;
    let let_in = let_in(opened, address, &asked.api_key).await;
    let (principal, id) = let_in.map_err(|NotLetIn { refusal, principal }| {
        let address = Some(address.ip());
        opened.audit.denied(Denial {
            who: match &principal {
                Some(principal) => audit::who(principal, address),
                None => audit::nobody(address),
            },
            action: LOG_IN.to_owned(),
            target: String::new(),
            reason: refusal.reason().to_owned(),
            outcome: audit::outcome_of(&refusal),
        });
        refusal
    })?;
    let begun = console.inner.sessions.begin(id, Instant::now());
    let token = begun.map_err(|error| {
        tracing::error!(%error, "there is no randomness for a session");
        Refusal::internal("console-session")
    })?;
    tracing::info!(account = principal.account.as_str(), %address, "logged in at the console");
    let who = audit::who(&principal, Some(address.ip()));
    let entry = Entry::new(who, LOG_IN, account_name(&principal.account));
    opened.audit.note(entry);
    let shown = session_json(opened, &principal, session::AGE_MAX);
    let cookie = console.cookie(&token, session::AGE_MAX)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(shown)).into_response())
}

/// Always done: whoever has no session has none afterwards either.
async fn log_out(
    State(console): State<Console>,
    Extension(Client(address)): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    if let Some(token) = console.token(&headers) {
        let found = console.inner.sessions.find(token, Instant::now());
        console.inner.sessions.end(token);
        if let (Some((key, _)), Some(opened)) = (found, console.inner.opened.get()) {
            let state = opened.docket.access();
            let principal = state.read(|state| state.api_key_principal(key, console.inner.clock.now()));
            let (address, key) = (Some(address.ip()), api_key_name(key));
            // Of a key that was revoked meanwhile it is not known whose it was.
            let (who, target) = match &principal {
                Some(principal) => (audit::who(principal, address), account_name(&principal.account)),
                None => (audit::nobody(address), key),
            };
            opened.audit.note(Entry::new(who, LOG_OUT, target));
        }
    }
    let cookie = console.cookie("", Duration::ZERO)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// What `/status` tells whoever asks, and so asks for no more than a session: a key that may read, and drain nothing, is enough.
async fn cluster(State(console): State<Console>, _: Who) -> Answer {
    let opened = console.parts()?;
    let mut seen = opened.seen.lock().await;
    if let Some((when, shown)) = &*seen
        && when.elapsed() < SEEN_FOR
    {
        return Ok(Json(shown.clone()));
    }
    let status = overview::cluster_status(&opened.docket, opened.readiness.status()).await;
    let mut shown = cluster_json(&status);
    shown["now_ms"] = now_ms().into();
    *seen = Some((Instant::now(), shown.clone()));
    Ok(Json(shown))
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    since: u64,
}

async fn traffic_of(State(console): State<Console>, _: Who, Query(asked): Query<Since>) -> Answer {
    let mut shown = console.inner.traffic.asked(asked.since, now_ms());
    shown["node_id"] = console.parts()?.docket.status().cluster.identity.node_id.0.into();
    shown["now_ms"] = now_ms().into();
    Ok(Json(shown))
}

async fn order_counts(State(console): State<Console>, _: Who) -> Answer {
    let counts = console.parts()?.docket.order_counts();
    Ok(Json(show::counts(&counts)))
}

async fn list_orders(State(console): State<Console>, who: Who, Query(asked): Query<orders::Asked>) -> Answer {
    orders::list(&who.asks(&console)?, asked).await.map(Json)
}

async fn order(State(console): State<Console>, who: Who, Path(id): Path<String>) -> Answer {
    orders::one(&who.asks(&console)?, &id).await.map(Json)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    page_token: String,
}

async fn order_events(
    State(console): State<Console>,
    who: Who,
    Path(id): Path<String>,
    Query(Page { page_token }): Query<Page>,
) -> Answer {
    orders::events(&who.asks(&console)?, &id, page_token)
        .await
        .map(Json)
}

/// The keys, a page of them; what was refused is in the traffic.
async fn access(State(console): State<Console>, who: Who, Query(Page { page_token }): Query<Page>) -> Answer {
    let asked = v1::ListApiKeysRequest {
        page_size: KEYS_MAX,
        page_token,
    };
    let path = "/docket.v1.AuthService/ListApiKeys";
    let keys: v1::ListApiKeysResponse = who.asks(&console)?.ask(path, &asked).await?;
    let mut shown = show::keys(&keys);
    shown["now_ms"] = now_ms().into();
    Ok(Json(shown))
}

fn now_ms() -> u64 {
    let since = wall_clock()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
