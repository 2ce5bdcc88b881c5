//! A connection to a peer that is made when it is needed, shared by all who need it, and made again, not too often, when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use docket_proto::peer::HelloRequest;
use docket_proto::peer::peer_client::PeerClient;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::append_client::AppendStream;
use super::call_client::CallStream;
use super::cut::{Cuttable, DROPPED};
use super::dial::dial;
use super::net::Io;
use super::service::{EXPELLED, TWICE};
use super::{NoCommonVersion, Own, PeerError, Versions, tls};
use crate::NodeId;
use crate::clock::CausalClock;
use crate::limits::{
    PEER_BACK_OFF_MAX_MS, PEER_BACK_OFF_MIN_MS, PEER_CONNECT_MS, PEER_KEEPALIVE_MS,
    PEER_KEEPALIVE_TIMEOUT_MS, PEER_MESSAGE_BYTES_MAX, PEER_WINDOW_BYTES,
};
use crate::metrics;

/// One connection to one peer, standing or not. Clones are the same link.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    own: Arc<Own>,
    node: NodeId,
    state: Mutex<State>,
    /// The version of the protocol that was spoken on the last connection; 0 while there was none.
    spoken: AtomicU32,
}

struct State {
    /// `HOST:PORT`, looked up at every attempt.
    address: Option<Arc<str>>,
    phase: Phase,
    /// How many attempts in a row have failed.
    failures: u32,
}

enum Phase {
    Idle,
    /// No attempt before then.
    Failed {
        retry_at: Instant,
        error: PeerError,
    },
    Connecting(watch::Receiver<Option<Outcome>>),
    Open(Arc<Connection>),
}

type Outcome = Result<Arc<Connection>, PeerError>;

/// A connection whose Hello was answered well.
pub(crate) struct Connection {
    client: PeerClient<Channel>,
    node: NodeId,
    version: u32,
    clock: CausalClock,
    appends: OnceCell<AppendStream>,
    calls: OnceCell<CallStream>,
}

impl Connection {
    async fn greeted(own: &Own, node: NodeId, address: &str, channel: Channel) -> Result<Self, PeerError> {
        let greeted = greet(own, node, address, channel).await?;
        Ok(Self {
            client: greeted.client,
            node,
            version: greeted.version,
            clock: own.clock.clone(),
            appends: OnceCell::new(),
            calls: OnceCell::new(),
        })
    }

    /// The version of the protocol that is spoken on it.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn client(&self) -> PeerClient<Channel> {
        self.client.clone()
    }

    /// The stream of appends, opened when it is first asked for.
    pub(crate) async fn appends(&self) -> Result<&AppendStream, tonic::Status> {
        self.appends
            .get_or_try_init(|| AppendStream::open(self.client()))
            .await
    }

    /// The stream of calls, likewise.
    pub(crate) async fn calls(&self) -> Result<&CallStream, tonic::Status> {
        self.calls
            .get_or_try_init(|| CallStream::open(self.client(), self.node, self.clock.clone()))
            .await
    }

    /// The same, if it was opened.
    pub(crate) fn open_calls(&self) -> Option<&CallStream> {
        self.calls.get()
    }
}

impl Link {
    pub(super) fn new(own: Arc<Own>, node: NodeId) -> Self {
        let state = Mutex::new(State {
            address: None,
            phase: Phase::Idle,
            failures: 0,
        });
        let spoken = AtomicU32::new(0);
        Self {
            shared: Arc::new(Shared {
                own,
                node,
                state,
                spoken,
            }),
        }
    }

    pub(super) fn address(&self) -> Option<Arc<str>> {
        self.shared.state.lock().address.clone()
    }

    pub(super) fn set_address(&self, address: &Arc<str>) {
        let mut state = self.shared.state.lock();
        if state.address.replace(Arc::clone(address)).as_ref() != Some(address) {
            if let Phase::Failed { .. } = state.phase {
                state.phase = Phase::Idle;
            }
            state.failures = 0;
        }
    }

    /// The connection, once it stands. An attempt is not given up because whoever asked for it has gone: the next one finds it. After a
    /// failure the answer is that failure, for a while that grows.
    pub(crate) async fn connection(&self) -> Outcome {
        let mut outcome = {
            let mut state = self.shared.state.lock();
            match &state.phase {
                Phase::Open(connection) => return Ok(Arc::clone(connection)),
                Phase::Connecting(outcome) => outcome.clone(),
                Phase::Failed { retry_at, error } if Instant::now() < *retry_at => return Err(error.clone()),
                Phase::Idle | Phase::Failed { .. } => {
                    let node = self.shared.node;
                    let address = state.address.clone().ok_or(PeerError::NoAddress { node })?;
                    let (tell, outcome) = watch::channel(None);
                    state.phase = Phase::Connecting(outcome.clone());
                    tokio::spawn(Arc::clone(&self.shared).connect(address, tell));
                    outcome
                }
            }
        };
        let known = outcome.wait_for(Option::is_some).await;
        known.ok().and_then(|known| known.clone()).unwrap_or_else(|| {
            Err(PeerError::Unreachable {
                node: self.shared.node,
                cause: "the attempt to connect was cut short".into(),
            })
        })
    }

    /// The connection, if it stands, as far as is known.
    pub(crate) fn open(&self) -> Option<Arc<Connection>> {
        match &self.shared.state.lock().phase {
            Phase::Open(connection) => Some(Arc::clone(connection)),
            _ => None,
        }
    }

    /// The version of the protocol that was spoken on the last connection; `None` while there was none.
    pub(super) fn spoken(&self) -> Option<u32> {
        Some(self.shared.spoken.load(Ordering::Relaxed)).filter(|version| *version > 0)
    }

    /// Whether it stands, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.shared.state.lock().phase, Phase::Open(_))
    }

    /// Why the last attempt to connect failed, if it did.
    pub(super) fn last_error(&self) -> Option<PeerError> {
        match &self.shared.state.lock().phase {
            Phase::Failed { error, .. } => Some(error.clone()),
            _ => None,
        }
    }

    /// Lets go of the connection for good: nobody is connected to from here any more.
    pub(super) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.address = None;
        state.phase = Phase::Idle;
    }

    /// Lets go of a connection that failed; whoever needs one next makes a new one.
    pub(crate) fn discard(&self, connection: &Arc<Connection>) {
        let mut state = self.shared.state.lock();
        if matches!(&state.phase, Phase::Open(open) if Arc::ptr_eq(open, connection)) {
            state.phase = Phase::Idle;
        }
    }
}

impl Shared {
    async fn connect(self: Arc<Self>, address: Arc<str>, tell: watch::Sender<Option<Outcome>>) {
        let limit = Duration::from_millis(PEER_CONNECT_MS);
        let (own, node) = (&*self.own, self.node);
        let outcome = timeout(limit, connect(own, node, &address))
            .await
            .unwrap_or_else(|_elapsed| {
                Err(PeerError::Unreachable {
                    node,
                    cause: format!("{address} did not answer within {limit:?}"),
                })
            });
        let outcome = outcome.map(Arc::new);
        if let Ok(connection) = &outcome {
            self.spoken.store(connection.version(), Ordering::Relaxed);
        }
        metrics::note_connect(node, outcome.is_err());
        {
            let mut state = self.state.lock();
            state.phase = match &outcome {
                Ok(connection) => {
                    state.failures = 0;
                    Phase::Open(Arc::clone(connection))
                }
                Err(error) => {
                    if state.failures == 0 {
                        tracing::warn!(%address, "{error}");
                    } else {
                        tracing::debug!(%address, "{error}");
                    }
                    let retry_at = Instant::now() + back_off(state.failures);
                    state.failures = state.failures.saturating_add(1);
                    Phase::Failed {
                        retry_at,
                        error: error.clone(),
                    }
                }
            };
        }
        tell.send_replace(Some(outcome));
    }
}

fn back_off(failures: u32) -> Duration {
    let doubled = PEER_BACK_OFF_MIN_MS.saturating_mul(1 << failures.min(16));
    Duration::from_millis(doubled.min(PEER_BACK_OFF_MAX_MS))
}

async fn connect(own: &Own, node: NodeId, address: &str) -> Result<Connection, PeerError> {
    let unreachable = |cause: &dyn std::fmt::Display| PeerError::Unreachable {
        node,
        cause: format!("{address}: {cause}"),
    };
    if own.cut.is(node) {
        return Err(unreachable(&DROPPED));
    }
    let cuttable = Arc::clone(&own.cut);
    if let Some(net) = &own.net {
        let wire = net.connect(address).await.map_err(|error| unreachable(&error))?;
        let channel = channel(Cuttable::to(wire, cuttable, node))
            .await
            .map_err(|error| unreachable(&error))?;
        return Connection::greeted(own, node, address, channel).await;
    }
    let tcp = dial(own.listen, address)
        .await
        .map_err(|error| unreachable(&error))?;
    // Without it small messages wait for acknowledgements; a socket that refuses it works, slowly.
    let _ = tcp.set_nodelay(true);
    let name = tls::server_name(&own.cluster_id, node)?;
    let stream = TlsConnector::from(Arc::clone(&own.ends().client))
        .connect(name, tcp)
        .await
        .map_err(|error| tls::of_handshake(&error, &own.cluster_id, node))?;
    let stream = Cuttable::to(stream, cuttable, node);
    let channel = channel(stream).await.map_err(|error| unreachable(&error))?;
    Connection::greeted(own, node, address, channel).await
}

/// Whoever has answered Hello.
pub(super) struct Greeted {
    pub(super) client: PeerClient<Channel>,
    /// Who it is.
    pub(super) node: NodeId,
    /// The version of the protocol that it has chosen.
    pub(super) version: u32,
}

/// Says Hello to a node, 0 for whoever is there, and hears who answers.
pub(super) async fn greet(
    own: &Own,
    node: NodeId,
    address: &str,
    channel: Channel,
) -> Result<Greeted, PeerError> {
    use tonic::Code;
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let hello = HelloRequest {
        protocol_version: own.speaks.newest,
        oldest_version: own.speaks.oldest,
        cluster_id: own.cluster_id.clone(),
        from_node: own.node_id.0,
        to_node: node.0,
        instance: own.instance.clone(),
        process: own.process,
    };
    let reply = client.hello(hello).await.map_err(|status| {
        let cause = status.message().to_owned();
        match status.code() {
            Code::FailedPrecondition | Code::PermissionDenied => PeerError::Refused { node, cause },
            EXPELLED => PeerError::Expelled { cause },
            TWICE => PeerError::Twice { cause },
            // A certificate that the peer does not accept shows here: its alert comes after the handshake.
            _ => PeerError::Unreachable {
                node,
                cause: format!("{address}: {}", Causes(&status)),
            },
        }
    })?;
    let reply = reply.into_inner();
    // Who answers well has chosen one that both speak; this is for one that did not look.
    if !own.speaks.contain(reply.protocol_version) {
        let theirs = reply.protocol_version;
        return Err(PeerError::Version(NoCommonVersion {
            node: own.node_id,
            speaks: own.speaks,
            other: NodeId(reply.node),
            other_speaks: Versions {
                oldest: theirs,
                newest: theirs,
            },
        }));
    }
    Ok(Greeted {
        client,
        node: NodeId(reply.node),
        version: reply.protocol_version,
    })
}

/// HTTP/2 over this stream, and over no other: what would connect again by itself would not say Hello.
pub(super) async fn channel(stream: impl Io + 'static) -> Result<Channel, tonic::transport::Error> {
    let once = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: hyper::Uri| {
        let stream = once.lock().take();
        async move { stream.ok_or_else(|| std::io::Error::other("the connection has ended")) }
    });
    Endpoint::from_static("http://peer.docket")
        .http2_keep_alive_interval(Duration::from_millis(PEER_KEEPALIVE_MS))
        .keep_alive_timeout(Duration::from_millis(PEER_KEEPALIVE_TIMEOUT_MS))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(PEER_WINDOW_BYTES)
        .initial_connection_window_size(PEER_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
}

/// A status with what is behind it: tonic says "transport error", and its sources say which.
struct Causes<'a>(&'a tonic::Status);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.message())?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_grows_to_its_bound_and_not_beyond() {
        assert_eq!(back_off(0), Duration::from_millis(PEER_BACK_OFF_MIN_MS));
        assert_eq!(back_off(1), 2 * back_off(0));
        for failures in [16, 17, u32::MAX] {
            assert_eq!(back_off(failures), Duration::from_millis(PEER_BACK_OFF_MAX_MS));
        }
    }
}
