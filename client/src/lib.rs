//! A client of Docket, of one node or of a cluster.
//!
//! Any node takes any call. What this client adds to the generated stubs:
//! - **It goes to the leader.** A reply that another node had to be asked for names that node (`docket-leader-address`); the next call about the
//!   same thing goes there at once. A hint that is out of date costs a hop and nothing else.
//! - **It repeats what is safe, and nothing else**: a call that was never sent; one that was answered UNAVAILABLE with `RetryInfo`, of which
//!   nothing was done; and, whatever became of it, one that can be done twice: a read, or a command with a `request_id`.
//! - **It waits between two tries**, twice as long each time and by chance, and never less than a node asked for; unless that node is
//!   stopping and there are others, of which one is asked next.
//! - **It carries your trace on** ([`Client::traced`]), by W3C's headers.
//! - **It spreads its connections** over the addresses that it was given, and leaves one that does not answer for the next.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use docket_client::{Client, Credential, Options, method};
//! use docket_proto::v1::GetOrderRequest;
//!
//! let options = Options {
//!     credential: Credential::ApiKey("dk_…".into()),
//!     ..Options::new(["http://127.0.0.1:7000", "http://127.0.0.1:7010"])
//! };
//! let client = Client::new(options)?;
//! let name = "orders/…".to_owned();
//! let order = client.call(&method::GET_ORDER, GetOrderRequest { name }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::watch_orders`] is a feed that resumes itself, over nodes and restarts; [`Client::place_orders`] a stream of orders that sends
//! again what was not answered. For anything else [`Client::channel`] gives a connection for the generated stubs.

#![forbid(unsafe_code)]

mod back_off;
mod endpoints;
pub mod method;
mod place;
mod watch;

use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use back_off::BackOff;
use endpoints::Endpoints;
pub use method::Method;
pub use place::OrderStream;
pub use watch::OrderWatch;

/// Where the leader serves clients.
const LEADER_ADDRESS: &str = "docket-leader-address";
/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The reason that a node gives which is about to stop.
const STOPPING: &str = "NODE_STOPPING";
/// An attempt is not begun with less time than this.
const ATTEMPT_MIN: Duration = Duration::from_millis(1);

/// Who calls.
#[derive(Clone, Default)]
pub enum Credential {
    /// Nobody: for `Login` and the like.
    #[default]
    None,
    /// `x-api-key`.
    ApiKey(String),
    /// `authorization: Bearer`.
    AccessToken(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::ApiKey(_) => "ApiKey(…)",
            Self::AccessToken(_) => "AccessToken(…)",
        })
    }
}

/// How a client is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where nodes serve clients: `http://HOST:PORT`, or `https://HOST:PORT` with TLS. At least one.
    pub addresses: Vec<String>,
    /// Who calls. Default: nobody.
    pub credential: Credential,
    /// TLS, for addresses that begin with `https`. Default: the system's authorities.
    pub tls: ClientTlsConfig,
    /// How long a call may take, with all of its repeats. Default 30 s.
    pub call_max: Duration,
    /// How long connecting may take. Default 3 s.
    pub connect_max: Duration,
    /// How often a call is tried at most. Default 16.
    pub attempts_max: u32,
    /// The longest wait before the first repeat; twice as long before each further one. Default 50 ms.
    pub back_off_min: Duration,
    /// And at most this long. Default 2 s.
    pub back_off_max: Duration,
}

impl Options {
    /// The defaults, with these addresses.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            credential: Credential::None,
            tls: ClientTlsConfig::new().with_native_roots(),
            call_max: Duration::from_secs(30),
            connect_max: Duration::from_secs(3),
            attempts_max: 16,
            back_off_min: Duration::from_millis(50),
            back_off_max: Duration::from_secs(2),
        }
    }
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No address was given.
    #[error("no address was given: name at least one node, as http://HOST:PORT")]
    NoAddress,
    /// An address that is none.
    #[error("{address} is no address: {cause}. Write http://HOST:PORT or https://HOST:PORT")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A credential that no header can carry.
    #[error("the credential has characters that cannot be sent")]
    Credential,
    /// A trace's context that no header can carry.
    #[error("the trace's context has characters that cannot be sent")]
    Trace,
}

/// A client. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    endpoints: Endpoints,
    headers: MetadataMap,
    call_max: Duration,
    attempts_max: u32,
    back_off: (Duration, Duration),
}

impl Client {
    /// A client; connections are made when they are needed.
    ///
    /// # Errors
    /// An option that cannot be.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        let mut headers = MetadataMap::new();
        let header = match &options.credential {
            Credential::None => None,
            Credential::ApiKey(key) => Some(("x-api-key", key.clone())),
            Credential::AccessToken(token) => Some(("authorization", format!("Bearer {token}"))),
        };
        if let Some((name, value)) = header {
            let value = AsciiMetadataValue::try_from(value).map_err(|_| OptionsError::Credential)?;
            headers.insert(name, value);
        }
        Ok(Self {
            endpoints: Endpoints::new(&options)?,
            headers,
            call_max: options.call_max,
            attempts_max: options.attempts_max.max(1),
            back_off: (options.back_off_min, options.back_off_max),
        })
    }

    /// Makes a call, again where that is safe, until it is answered or its time is over.
    ///
    /// # Errors
    /// What the node answered last; UNAVAILABLE where none could be reached; DEADLINE_EXCEEDED where the time was over before.
    pub async fn call<Q, A>(&self, method: &Method<Q, A>, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Clone + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let end = Instant::now() + self.call_max;
        let mut back_off = BackOff::new(self.back_off);
        let about = (method.about)(&request);
        let repeatable = (method.repeatable)(&request);
        let mut last = None;
        for attempt in 0..self.attempts_max {
            let left = end.saturating_duration_since(Instant::now());
            if left < ATTEMPT_MIN {
                break;
            }
            let way = self.endpoints.way(about, attempt);
            let (status, is_undone) = match self.endpoints.connect(&way).await {
                Err(status) => (status, true),
                Ok(channel) => match self.attempt(channel, method, request.clone(), left).await {
                    Ok((answer, leader)) => {
                        self.endpoints.answered(about, &way, leader.as_deref());
                        return Ok(answer);
                    }
                    Err(status) => {
                        let is_undone = says_undone(&status);
                        (status, is_undone)
                    }
                },
            };
            self.endpoints.failed(about, &way, &status);
            if !(is_undone || repeatable && is_lost(&status)) {
                return Err(status);
            }
            let wait = back_off.next(self.endpoints.asked_by(&status));
            tracing::debug!(method = method.path, ?wait, %status, "a call is tried again");
            last = Some(status);
            if Instant::now() + wait >= end {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        Err(last.unwrap_or_else(|| Status::deadline_exceeded("the time of the call was over")))
    }

    /// The same client, whose calls belong to a span of yours: it is named to the nodes in W3C's headers, `traceparent` and, where it is not empty,
    /// `tracestate`. Whether it is sampled is said in there, and decides what nodes record.
    ///
    /// # Errors
    /// Texts that no header can carry.
    pub fn traced(&self, traceparent: &str, tracestate: &str) -> Result<Self, OptionsError> {
        let mut traced = self.clone();
        for (name, value) in [(TRACEPARENT, traceparent), (TRACESTATE, tracestate)] {
            if value.is_empty() {
                traced.headers.remove(name);
            } else {
                let value = AsciiMetadataValue::try_from(value).map_err(|_| OptionsError::Trace)?;
                traced.headers.insert(name, value);
            }
        }
        Ok(traced)
    }

    /// A connection to a node, for the generated stubs: of streams, for instance. What is called through it is neither repeated nor given
    /// the client's credential.
    ///
    /// # Errors
    /// UNAVAILABLE where no node can be reached.
    pub async fn channel(&self) -> Result<Channel, Status> {
        let mut last = Status::unavailable("no node can be reached");
        for attempt in 0..self.endpoints.given() as u32 {
            match self.endpoints.connect(&self.endpoints.way(None, attempt)).await {
                Ok(channel) => return Ok(channel),
                Err(status) => last = status,
            }
        }
        Err(last)
    }

    async fn attempt<Q, A>(
        &self,
        channel: Channel,
        method: &Method<Q, A>,
        message: Q,
        left: Duration,
    ) -> Result<(A, Option<String>), Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request.set_timeout(left);
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(method.path);
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let reply = grpc.unary(request, path, codec).await?;
        let leader = reply.metadata().get(LEADER_ADDRESS);
        let leader = leader.and_then(|leader| leader.to_str().ok()).map(str::to_owned);
        Ok((reply.into_inner(), leader))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("addresses", &self.endpoints.given())
            .finish_non_exhaustive()
    }
}

/// Whether a node says that it has done nothing of the call, and that it is sensible to try again.
fn says_undone(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.get_details_retry_info().is_some()
}

/// How long a node asks to wait.
fn asked_for(status: &Status) -> Duration {
    let retry = status.get_details_retry_info();
    retry.and_then(|retry| retry.retry_delay).unwrap_or_default()
}

/// Whether the node that answered is about to stop.
fn is_stopping(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == STOPPING)
}

/// Whether what became of the call is not known: its connection broke, or the node says so.
fn is_lost(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // What a broken connection looks like. A node's own answers have details.
        Code::Unknown | Code::Internal | Code::Cancelled => status.details().is_empty(),
        _ => false,
    }
}
