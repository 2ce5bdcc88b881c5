//! Where peers connect: mutual TLS, then HTTP/2 with all of our bounds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use docket_proto::peer::peer_server::PeerServer;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::PeerError;
use super::net::{Door, Io, Net, Wire};
use super::service::{Handler, Served};
use crate::TaskKind;
use crate::limits::{
    PEER_CALLS_MAX, PEER_CONNECT_MS, PEER_CONNECTIONS_MAX, PEER_HANDSHAKES_MAX, PEER_KEEPALIVE_MS,
    PEER_KEEPALIVE_TIMEOUT_MS, PEER_MESSAGE_BYTES_MAX, PEER_WINDOW_BYTES,
};

/// How long to wait when the system cannot accept, in milliseconds.
const ACCEPT_BACK_OFF_MS: u64 = 100;

/// Resets that a peer may cause before its connection ends.
const RESETS_MAX: usize = 1_024;

/// A socket that is listened on, and not served yet.
pub(crate) struct Listener {
    socket: Socket,
    address: SocketAddr,
}

enum Socket {
    Tcp(TcpListener),
    Simulated(Box<dyn Door>),
}

/// Somebody who has connected.
enum Accepted {
    Tcp(TcpStream),
    Simulated(Wire),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<(Accepted, SocketAddr)> {
        match self {
            Self::Tcp(tcp) => tcp.accept().await.map(|(tcp, from)| (Accepted::Tcp(tcp), from)),
            Self::Simulated(door) => {
                let accepted = door.accept().await;
                accepted.map(|(wire, from)| (Accepted::Simulated(wire), from))
            }
        }
    }
}

impl Listener {
    /// Over TCP.
    #[cfg(test)]
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, PeerError> {
        Self::over(None, address).await
    }

    /// Over this network; `None`: TLS over TCP.
    pub(crate) async fn over(net: Option<&dyn Net>, address: SocketAddr) -> Result<Self, PeerError> {
        let failed = |error: std::io::Error| PeerError::Listen {
            address,
            cause: error.to_string(),
        };
        if let Some(net) = net {
            let door = net.listen(address).await.map_err(failed)?;
            let address = door.address();
            let socket = Socket::Simulated(door);
            return Ok(Self { socket, address });
        }
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        let socket = Socket::Tcp(tcp);
        Ok(Self { socket, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves peers until `closing`, which cuts every connection.
    pub(crate) async fn serve(self, served: Served, closing: CancellationToken) {
        let served = Arc::new(served);
        // Dropped at the end, and every connection with it.
        let mut connections = JoinSet::new();
        let mut unknown = Unknown::default();
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => return,
                Some(_) = connections.join_next() => continue,
                accepted = self.socket.accept(), if connections.len() < PEER_CONNECTIONS_MAX + PEER_HANDSHAKES_MAX => accepted,
            };
            match accepted {
                Ok((Accepted::Tcp(tcp), address)) => {
                    let is_known = Arc::new(AtomicBool::new(false));
                    let serving = serve_tcp(Arc::clone(&served), tcp, address, Arc::clone(&is_known));
                    unknown.push(connections.spawn(TaskKind::Peer.measure(serving)), is_known);
                }
                Ok((Accepted::Simulated(wire), address)) => {
                    let handler = Handler::new(Arc::clone(&served), None);
                    connections.spawn(TaskKind::Peer.measure(serve_connection(handler, wire, address)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a peer's connection cannot be accepted");
                    sleep(Duration::from_millis(ACCEPT_BACK_OFF_MS)).await;
                }
            }
        }
    }
}

/// Connections that have not shown a certificate, the oldest first.
#[derive(Default)]
struct Unknown(VecDeque<(AbortHandle, Arc<AtomicBool>)>);

impl Unknown {
    /// One more; where there are too many the oldest goes.
    fn push(&mut self, connection: AbortHandle, is_known: Arc<AtomicBool>) {
        self.0
            .retain(|(connection, is_known)| !is_known.load(Relaxed) && !connection.is_finished());
        if self.0.len() >= PEER_HANDSHAKES_MAX
            && let Some((oldest, _)) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back((connection, is_known));
    }
}

async fn serve_tcp(served: Arc<Served>, tcp: TcpStream, address: SocketAddr, is_known: Arc<AtomicBool>) {
    // Without it small messages wait for acknowledgements; a socket that refuses it works, slowly.
    let _ = tcp.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&served.own.ends().server));
    let limit = Duration::from_millis(PEER_CONNECT_MS);
    let stream = match timeout(limit, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::warn!(%address, %error, "a peer is refused: its TLS handshake failed");
            return;
        }
        Err(_elapsed) => {
            tracing::debug!(%address, "a peer's TLS handshake took too long");
            return;
        }
    };
    let chain = stream.get_ref().1.peer_certificates();
    let Some(certificate) = chain.and_then(<[_]>::first) else {
        tracing::warn!(%address, "a peer is refused: it has no certificate");
        return;
    };
    is_known.store(true, Relaxed);
    let handler = Handler::new(served, Some(certificate.clone().into_owned()));
    serve_connection(handler, stream, address).await;
}

async fn serve_connection(handler: Handler, stream: impl Io + 'static, address: SocketAddr) {
    let stream = handler.cuttable(stream);
    let service = PeerServer::new(handler)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let ended = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(PEER_CALLS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(PEER_WINDOW_BYTES)
        .initial_connection_window_size(PEER_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_millis(PEER_KEEPALIVE_MS))
        .keep_alive_timeout(Duration::from_millis(PEER_KEEPALIVE_TIMEOUT_MS))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "a peer's connection ended");
    }
}
