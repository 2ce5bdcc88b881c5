//! The gate: what every call passes, in one service instead of a stack of layers, so that a call costs one allocation
//! here and a refusal costs microseconds.
//!
//! ```text
//!   address's buckets ─▶ admission ─▶ authenticate ─▶ principal's bucket ─▶ permission ─▶ deadline ─▶ service
//!           │                │             │                 │                  │             │
//!           └────────────────┴──── a refusal, with ratelimit metadata ──────────┴─────────────┘
//! ```
//! Nothing looks at the request's body before all of it has been passed (what is refused is thrown away as it arrives),
//! and the reply counts as in flight until it has been taken. Every call is counted once, with the status that it ends
//! with, however it ends.

pub(crate) mod admission;
mod body;
pub(crate) mod brake;
mod deadline;
mod discard;
pub(crate) mod forward;
mod inside;
pub(crate) mod limits;
pub(crate) mod methods;
mod pace;
mod peer;
pub(crate) mod traced;
mod unread;
mod whole;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use docket_actors::{Call, Docket, standby::Posture};
use docket_engine::{
    TraceId,
    access::{Grant, METHOD_TABLE, Owner, Principal, Role, permit},
};
use docket_traces::{Scope, Span, Tracer};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::{
    sync::Semaphore,
    time::{Sleep, sleep_until, timeout_at},
};
use tonic::{Code, Status, transport::server::TcpConnectInfo};
use tonic_types::StatusExt as _;
use tracing::Instrument;

use self::{
    admission::{Admission, Bound, Kind, Permit, ShareFull},
    body::{Ending, code_of, put_status},
    discard::discard,
    forward::{Forwarder, is_keyed},
    limits::{Access, Left, Limits},
    methods::{Flow, Method, Methods},
    unread::cut_call_at,
};
pub(crate) use self::{
    body::{ReplyBody, RequestBody, Source},
    forward::{frame, message_in},
    methods::{Route, ServedTwice},
    peer::Peer,
    unread::{CallTasks, ReplyData, begin_call, call_cutter, until_call_cut},
};
use crate::{
    auth::AuthError,
    authenticate::Authenticate,
    config::{AdmissionConfig, CallsConfig},
    errors::Refusal,
    telemetry::Telemetry,
};

const GRPC: &[u8] = b"application/grpc";
/// How long a question how the node is may take: there are few at a time, and nobody must take all their places.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How long a call may take that needs no credentials: those have few places, too, and anybody may take them.
const OPEN_CALL_MAX: Duration = Duration::from_secs(10);
/// How long a call may take that looks through all that there is, where its client waits so long.
const LONG_MAX: Duration = Duration::from_secs(60 * 60);
pub(crate) const GRPC_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Who calls and until when: what a service finds in its request's extensions.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Who calls.
    pub principal: Arc<Principal>,
    /// The row of the permission table that let the call in, for the second check, when the owner is known.
    pub grant: &'static Grant,
    /// After this nobody waits any more. Of a stream: what its client set for all of it.
    pub deadline: Option<Instant>,
    /// The trace to which the call belongs, where its client says so or the call is sampled.
    pub trace: Option<TraceId>,
    /// Where the client calls from.
    pub address: Option<IpAddr>,
    /// Where spans of what is done for it belong; `None` where it is not sampled.
    pub scope: Option<Scope>,
}

impl CallContext {
    /// The call as the actors take it.
    pub fn call(&self, request_id: Option<String>) -> Call {
        let owner = match self.principal.role {
            Role::Customer => self.principal.customer.clone(),
            Role::Service | Role::Admin => None,
        };
        Call {
            deadline: self.deadline,
            request_id,
            owner,
            by: Some(self.principal.account.clone()),
            trace: self.trace,
            scope: self.scope.clone(),
        }
    }
}

/// What every connection shares.
pub(crate) struct Gate {
    methods: Methods,
    authenticator: Arc<dyn Authenticate>,
    limits: Arc<Limits>,
    admission: Arc<Admission>,
    /// The headers of the refusal for each bound.
    full: ArcSwap<[HeaderMap; Bound::COUNT]>,
    /// Places for refused calls whose requests are read to their end.
    discards: Semaphore,
    telemetry: Arc<Telemetry>,
    call_max: Duration,
    open_stream_max: Duration,
    /// Longer requests are refused.
    message_bytes_max: usize,
    /// Has calls done where they are led; `None` on a node that stands alone.
    forwarder: Option<Arc<Forwarder>>,
    /// Says which calls are sampled.
    tracer: Tracer,
    /// Knows whether the node may be written to.
    standing: Docket,
}

/// Why a call is not let in.
enum Refused {
    /// What the caller is told.
    Of(Refusal),
    /// The same, where it is known who calls.
    Denied(Refusal, Arc<Principal>),
    /// It is no gRPC.
    Plain(StatusCode),
    /// There is no room: what the caller is told is written already, since under overload nothing is said more often.
    Full(Bound),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Of(refusal)
    }
}

/// What a call was let in with.
struct Pass {
    route: Arc<Route>,
    flow: Flow,
    context: Option<CallContext>,
    permit: Arc<Permit>,
    /// After this the answer is DEADLINE_EXCEEDED.
    deadline: Option<Instant>,
}

impl Gate {
    /// Of no more refused calls than `discards_max` at a time the requests are read to their end.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are what a gate is made of, and it is made once"
    )]
    pub(crate) fn new(
        routes: Vec<(&'static str, Route)>,
        authenticator: Arc<dyn Authenticate>,
        limits: Arc<Limits>,
        admission: Arc<Admission>,
        telemetry: Arc<Telemetry>,
        calls: CallsConfig,
        message_bytes_max: usize,
        discards_max: usize,
        forwarder: Option<Arc<Forwarder>>,
        tracer: Tracer,
        standing: Docket,
    ) -> Result<Self, ServedTwice> {
        Ok(Self {
            methods: Methods::new(routes)?,
            authenticator,
            limits,
            full: ArcSwap::from_pointee(full(&admission)),
            discards: Semaphore::new(discards_max.min(Semaphore::MAX_PERMITS)),
            admission,
            telemetry,
            call_max: Duration::from_millis(calls.max_ms),
            open_stream_max: Duration::from_millis(calls.open_stream_ms),
            message_bytes_max,
            forwarder,
            tracer,
            standing,
        })
    }

    /// Lets in as this says from now on.
    pub(crate) fn set_admission(&self, config: &AdmissionConfig) {
        self.admission.set(config);
        self.full.store(Arc::new(full(&self.admission)));
    }

    /// A new connection's other end.
    pub(crate) fn peer(&self, address: SocketAddr) -> Arc<Peer> {
        Arc::new(Peer::new(address, self.admission.brake()))
    }

    /// Serves one call.
    pub(crate) async fn serve(
        self: Arc<Self>,
        peer: Arc<Peer>,
        mut request: Request<Source>,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let started = Instant::now();
        let found = self.methods.find(request.uri().path());
        let row = found.map_or(METHOD_TABLE.len(), |(row, _)| row);
        let mut ending = Ending::begin(Arc::clone(&self.telemetry), Arc::clone(&peer), row, started);
        let method = found.map(|(_, method)| method);
        let mut left = None;
        let mut admitted = self.admit(&peer, method, &request, started, &mut left);
        if let Some(forwarder) = &self.forwarder
            && let Err(Refused::Of(refusal)) = &admitted
            && refusal.reason() == AuthError::Invalid.reason()
        {
            // It may have been made at another node, a moment ago.
            forwarder.catch_up(started).boxed().await;
            admitted = self.admit(&peer, method, &request, started, &mut left);
        }
        let pass = match admitted {
            Ok(pass) => pass,
            Err(refused) => {
                peer.brake.refused(0);
                // A stream's requests have no end to wait for.
                if method.is_none_or(|method| method.flow == Flow::Unary)
                    && let Ok(_place) = self.discards.try_acquire()
                {
                    // At least one byte: the call itself has been charged.
                    peer.brake.refused(discard(request.into_body()).await.max(1));
                }
                return Ok(match refused {
                    Refused::Of(refusal) => self::refused(refusal, left, ending),
                    Refused::Denied(refusal, principal) => {
                        ending.called_by(principal);
                        self::refused(refusal, left, ending)
                    }
                    Refused::Plain(status) => plain(status, left, ending),
                    Refused::Full(bound) => {
                        let headers = self.full.load()[bound as usize].clone();
                        refused_with(headers, Code::ResourceExhausted, left, ending)
                    }
                });
            }
        };
        let Pass {
            route,
            flow,
            mut context,
            permit,
            deadline,
        } = pass;
        let has_place = match &context {
            Some(_) => peer.let_in(),
            None => !peer.is_displaced(),
        };
        if !has_place {
            return Ok(refused(Refusal::displaced(), left, ending));
        }
        let given = traced::given(request.headers());
        let span = traced::begin(&self.tracer, path_of(row), given.as_ref(), started);
        let scope = span.as_ref().map(Span::scope).cloned();
        let trace = scope.as_ref().map(Scope::context).or(given.as_ref());
        let trace = trace.map(traced::id_of);
        ending.traced(span);
        if let Some(context) = &mut context {
            context.trace = trace;
            context.scope.clone_from(&scope);
        }
        if let Some(scope) = scope {
            // Also where there is no context; who asks another node looks here.
            request.extensions_mut().insert(scope);
        }
        let (needs_credentials, is_order) = (context.is_some(), permit.is_order());
        match context {
            Some(context) => {
                // Nobody who may call is denied an order: it is not there for who may not see it.
                if !is_order {
                    ending.called_by(Arc::clone(&context.principal));
                }
                request.extensions_mut().insert(context).is_some()
            }
            // Who has no name is told apart by address: `Request::remote_addr` finds it here.
            None => {
                let info = TcpConnectInfo {
                    local_addr: None,
                    remote_addr: Some(peer.address),
                };
                request.extensions_mut().insert(info).is_some()
            }
        };
        // What reads a stream admits its messages; an order says that it waits for somebody outside.
        if flow == Flow::Stream && needs_credentials || is_order {
            request.extensions_mut().insert(Arc::clone(&permit));
        }
        let request = request.map(|source| {
            let (permit, telemetry) = (Arc::clone(&permit), Arc::clone(&self.telemetry));
            match flow {
                Flow::Unary => {
                    // Those of others are refused where they are longer than a few KiB.
                    let waited_for = if needs_credentials {
                        self.message_bytes_max
                    } else {
                        0
                    };
                    RequestBody::unary(source, permit, telemetry).whole_messages(waited_for)
                }
                Flow::Stream if needs_credentials => {
                    RequestBody::stream(source, permit, telemetry, deadline, self.call_max)
                        .whole_messages(self.message_bytes_max)
                }
                Flow::Stream => RequestBody::open_stream(source, permit, telemetry, deadline),
            }
        });

        let span = match trace {
            // So that whatever is logged of it names its trace.
            Some(trace) => tracing::error_span!("call", method = path_of(row), trace_id = %trace),
            None => tracing::debug_span!("call", method = path_of(row), peer = %peer.address),
        };
        let log = span.clone();
        // Boxed both, so that the way to other nodes costs a call that does not go it nothing.
        let future: BoxFuture<'_, Result<Response<tonic::body::Body>, Infallible>> =
            match (&self.forwarder, deadline) {
                (Some(forwarder), Some(deadline)) if flow == Flow::Unary && is_keyed(path_of(row)) => {
                    let method = (path_of(row), &*route);
                    let served = forwarder.serve(method, request, peer.address, deadline);
                    served.map(Ok).boxed()
                }
                _ => route.call(request),
            };
        let future = AssertUnwindSafe(future).catch_unwind().instrument(span);
        let outcome = match deadline {
            Some(deadline) => timeout_at(deadline.into(), future).await,
            None => Ok(future.await),
        };
        let response = match outcome {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_panic)) => return Ok(refused(panicked(&self.telemetry, path_of(row)), left, ending)),
            Err(_elapsed) => return Ok(refused(Refusal::deadline(), left, ending)),
        };
        log.in_scope(|| {
            // Of a stream, that it has begun; what a body ends with is not known here.
            tracing::debug!(code = ?code_of(response.headers()), took = ?started.elapsed(), "answered");
        });
        if let Some(deadline) = deadline {
            cut_call_at(deadline);
        }
        Ok(reply(response, left, ending, |inner, ending| match flow {
            Flow::Unary => ReplyBody::unary(inner, ending, permit, deadline),
            Flow::Stream => ReplyBody::stream(inner, ending, permit, deadline),
        }))
    }

    /// Every check that needs no body, in the order of the figure above.
    fn admit(
        &self,
        peer: &Peer,
        method: Option<&Method>,
        request: &Request<Source>,
        started: Instant,
        left: &mut Option<Left>,
    ) -> Result<Pass, Refused> {
        let address = peer.address.ip();
        self.take(|limits| limits.take_address(address), left)?;
        if let Some(status) = not_grpc(request) {
            return Err(Refused::Plain(status));
        }
        // Methods that do not exist are guessed at.
        let access = method.map_or(Access::Open, Method::access);
        self.take(|limits| limits.take_access(address, access), left)?;
        let Some(method) = method else {
            let refusal = Refusal::new(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such method");
            return Err(refusal.with("method", request.uri().path()).into());
        };
        let mut permit = self.admission.admit(method.kind(), 0).map_err(|full| {
            self.telemetry.denied(full.limiter());
            Refused::Full(full)
        })?;
        if access != Access::Credentials {
            permit.of_address(address).map_err(|full| self.share_full(full))?;
        }
        let wanted = deadline::client_timeout(request.headers())?;
        let most = match method.kind() {
            Kind::Call if method.long => Some(LONG_MAX),
            Kind::Call | Kind::Order => Some(self.call_max),
            Kind::OpenCall => Some(self.call_max.min(OPEN_CALL_MAX)),
            Kind::Probe => Some(self.call_max.min(PROBE_MAX)),
            Kind::OpenStream => Some(self.open_stream_max),
            Kind::Stream => None,
        };
        let allowed = wanted.into_iter().chain(most).min();
        let deadline = allowed.and_then(|allowed| started.checked_add(allowed));
        let context = match &method.rule.grant {
            None => None,
            Some(grant) => Some(self.identify(address, request.headers(), grant, deadline, left)?),
        };
        if method.writes
            && let Some(posture) = self.standing.leads_nothing_by()
            && !(method.ends_fenced && matches!(*posture, Posture::Fenced { .. }))
        {
            return Err(match context {
                Some(context) => Refused::Denied(Refusal::leads_nothing(&posture), context.principal),
                None => Refusal::leads_nothing(&posture).into(),
            });
        }
        if let Some(context) = &context {
            permit
                .of_caller(&context.principal)
                .map_err(|full| self.share_full(full))?;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Refusal::deadline().into());
        }
        permit.begin();
        Ok(Pass {
            route: Arc::clone(&method.route),
            flow: method.flow,
            context,
            permit: Arc::new(permit),
            deadline,
        })
    }

    /// Who calls, whether that caller has a token left, and whether the method is open to it.
    fn identify(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        grant: &'static Grant,
        deadline: Option<Instant>,
        left: &mut Option<Left>,
    ) -> Result<CallContext, Refused> {
        let principal = match self.limits.barred(address) {
            None => match self.authenticator.authenticate(headers) {
                Ok(principal) => principal,
                Err(error) => {
                    self.telemetry.unauthenticated(error.reason);
                    self.take(|limits| limits.take_failure(address), left)?;
                    return Err(Refusal::from(error).into());
                }
            },
            Some(barred) => match self.authenticator.known(headers) {
                Some(principal) => principal,
                None => return Err(self.empty(*barred, left).into()),
            },
        };
        self.take(|limits| limits.take_principal(&principal), left)?;
        if let Err(denied) = permit(&principal, grant, Owner::Unread) {
            return Err(Refused::Denied(denied.into(), principal));
        }
        Ok(CallContext {
            principal,
            grant,
            deadline,
            trace: None,
            scope: None,
            address: Some(address),
        })
    }

    /// Takes a token where there is a limit, and notes what is left.
    fn take(
        &self,
        take: impl FnOnce(&Limits) -> Result<Option<Left>, Box<limits::Empty>>,
        left: &mut Option<Left>,
    ) -> Result<(), Refusal> {
        match take(&self.limits) {
            Ok(None) => {}
            Ok(some) => *left = some,
            Err(empty) => return Err(self.empty(*empty, left)),
        }
        Ok(())
    }

    fn share_full(&self, full: ShareFull) -> Refusal {
        self.telemetry.denied(full.limiter());
        full.refusal(self.admission.retry())
    }

    fn empty(&self, empty: limits::Empty, left: &mut Option<Left>) -> Refusal {
        self.telemetry.denied(empty.limiter);
        let refusal = empty.refusal();
        *left = Some(empty.left);
        refusal
    }
}

/// Logs that a call panicked, and makes the answer. (The panic's own message went to the panic hook.)
pub(crate) fn panicked(telemetry: &Telemetry, method: &'static str) -> Refusal {
    telemetry.panics.increment(1);
    let incident = telemetry.incident();
    tracing::error!(method, incident, "a call panicked");
    Refusal::internal(&incident)
}

/// The path of the method at this row of the permission table.
fn path_of(row: usize) -> &'static str {
    METHOD_TABLE.get(row).map_or("unknown", |rule| rule.path)
}

/// What HTTP must answer to a request that cannot be gRPC (the specification's rule for content types).
fn not_grpc(request: &Request<Source>) -> Option<StatusCode> {
    if request.method() != http::Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(GRPC)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    });
    (!is_grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn plain(status: StatusCode, left: Option<Left>, ending: Ending) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::empty(Code::InvalidArgument, ending));
    *response.status_mut() = status;
    if let Some(left) = left {
        left.write(response.headers_mut());
    }
    response
}

fn refused(refusal: Refusal, left: Option<Left>, mut ending: Ending) -> Response<ReplyBody> {
    let code = refusal.code();
    ending.because(code, || refusal.reason().to_owned());
    refused_with(headers_of(refusal), code, left, ending)
}

/// The refusals for want of room, as their headers.
fn full(admission: &Admission) -> [HeaderMap; Bound::COUNT] {
    Bound::ALL.map(|bound| headers_of(admission.refusal(bound)))
}

/// A refusal's headers, which are the whole answer.
fn headers_of(refusal: Refusal) -> HeaderMap {
    let status = Status::from(refusal);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    put_status(&status, &mut headers);
    headers
}

fn refused_with(headers: HeaderMap, code: Code, left: Option<Left>, ending: Ending) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::empty(code, ending));
    *response.headers_mut() = headers;
    if let Some(left) = left {
        left.write(response.headers_mut());
    }
    response
}

fn reply(
    response: Response<tonic::body::Body>,
    left: Option<Left>,
    mut ending: Ending,
    body: impl FnOnce(tonic::body::Body, Ending) -> ReplyBody,
) -> Response<ReplyBody> {
    let (mut parts, inner) = response.into_parts();
    // A status in the headers is the whole answer. One without details was not made by a service: tonic could not read
    // the request.
    let code = code_of(&parts.headers);
    if let Some(code) = code.filter(|code| *code != Code::Ok)
        && !parts.headers.contains_key(Status::GRPC_STATUS_DETAILS)
    {
        let status = Status::from_header_map(&parts.headers).unwrap_or_else(|| Status::new(code, ""));
        return refused(Refusal::unreadable(&status), left, ending);
    }
    if let Some(left) = left {
        left.write(&mut parts.headers);
    }
    let body = match code {
        Some(code) => {
            ending.because(code, || reason_in(&parts.headers));
            ReplyBody::empty(code, ending)
        }
        None => body(inner, ending),
    };
    Response::from_parts(parts, body)
}

/// `ErrorInfo.reason` of a status in the headers.
fn reason_in(headers: &HeaderMap) -> String {
    let status = Status::from_header_map(headers);
    let info = status.and_then(|status| status.get_details_error_info());
    info.map(|info| info.reason).unwrap_or_default()
}

fn sleep_box(deadline: Instant) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(deadline.into()))
}
