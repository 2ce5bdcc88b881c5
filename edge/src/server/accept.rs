//! The accept loop: as many connections as configured (`open`), and patience where the system has no
//! descriptors left.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use docket_actors::TaskKind;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    io::{HandshakeError, Io},
    open::Open,
    tls::Certificate,
};
use crate::{
    config::{ConnectionsConfig, EdgeConfig, Http2Config},
    gate::{CallTasks, Gate, Peer, Source, until_call_cut},
    rest::Rest,
    telemetry::Telemetry,
};

/// How long to wait when the system cannot accept, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Connections that are accepted in one turn of the runtime. It would give 128, which take milliseconds: as long as an order.
const ACCEPTED_A_TURN: usize = 8;

/// How long the head of a request over HTTP/1.1 may take, and how long a connection may be idle before it.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// What is kept of a connection over HTTP/1.1 that was read and not looked at, or not written, and the least that hyper takes, in bytes.
const HTTP1_BUFFER_BYTES: usize = 64 * 1_024;
const HTTP1_BUFFER_BYTES_MIN: usize = 8 * 1_024;

/// What all connections share.
pub(super) struct Acceptor {
    pub(super) gate: Arc<Gate>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) connections: ConnectionsConfig,
    pub(super) speaks: Speaks,
    /// A connection ends where a reply is not taken for longer than this, up to twice as long.
    pub(super) unread_max: Duration,
    pub(super) open: Arc<Open>,
    /// No new calls; what is in flight goes on.
    pub(super) draining: CancellationToken,
    /// Everything ends now.
    pub(super) killed: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// What connections of a listener speak.
pub(super) enum Speaks {
    /// gRPC over HTTP/2.
    Grpc(http2::Builder<CallTasks>),
    /// REST over HTTP/1.1.
    Rest(http1::Builder, Arc<Rest>),
}

impl Acceptor {
    /// Accepts until the node drains.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut back_off = BACK_OFF.0;
        let mut in_turn = 0;
        loop {
            in_turn += 1;
            if in_turn > ACCEPTED_A_TURN {
                in_turn = 1;
                yield_now().await;
            }
            let accepted = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, address)) => {
                    back_off = BACK_OFF.0;
                    self.take(tcp, address);
                }
                Err(error) if of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, wait = ?back_off, "connections cannot be accepted");
                    self.telemetry.connection("accept_failed");
                    tokio::select! {
                        () = self.draining.cancelled() => return,
                        () = sleep(back_off) => {}
                    }
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn take(self: &Arc<Self>, tcp: TcpStream, address: SocketAddr) {
        let peer = self.gate.peer(address);
        let slot = match self.open.take(&self.connections, &peer) {
            Ok(slot) => slot,
            Err(outcome) => {
                self.telemetry.connection(outcome);
                return;
            }
        };
        let this = Arc::clone(self);
        self.tasks.spawn(TaskKind::Connection.measure(async move {
            this.telemetry.connections_open.increment(1.0);
            let outcome = tokio::select! {
                biased;
                () = this.killed.cancelled() => "cut",
                () = slot.displaced() => "displaced",
                outcome = this.serve(tcp, peer) => outcome,
            };
            this.telemetry.connections_open.decrement(1.0);
            this.telemetry.connection(outcome);
            drop(slot);
        }));
    }

    /// Serves a connection to its end; returns how that came about.
    async fn serve(&self, tcp: TcpStream, peer: Arc<Peer>) -> &'static str {
        let address = peer.address;
        // Without it small replies wait for acknowledgements; a socket that refuses it works, slowly.
        let _ = tcp.set_nodelay(true);
        let is_http1 = matches!(self.speaks, Speaks::Rest(..));
        let tls = self
            .certificate
            .as_ref()
            .map(|certificate| certificate.acceptor(is_http1));
        let limit = Duration::from_millis(self.connections.handshake_ms);
        let io = async {
            match is_http1 {
                false => Io::establish(tcp, tls, Arc::clone(&peer)).await,
                true => Io::establish_http1(tcp, tls, Arc::clone(&peer)).await,
            }
        };
        let io = match timeout(limit, io).await {
            Ok(Ok(io)) => io,
            Ok(Err(HandshakeError::Tls(error))) => {
                tracing::debug!(%error, %address, "TLS handshake failed");
                return "tls_failed";
            }
            Ok(Err(HandshakeError::Closed)) => return "closed_early",
            Ok(Err(HandshakeError::NotHttp2)) => return "not_http2",
            Err(_elapsed) => return "handshake_timeout",
        };
        match &self.speaks {
            Speaks::Grpc(http2) => {
                let service = service_fn(|request: Request<Incoming>| {
                    Arc::clone(&self.gate).serve(Arc::clone(&peer), request.map(Source::Arriving))
                });
                let connection = http2.serve_connection(TokioIo::new(io), service);
                self.drive(connection, http2::Connection::graceful_shutdown, &peer)
                    .await
            }
            Speaks::Rest(http1, rest) => {
                let service = service_fn(|request: Request<Incoming>| {
                    Arc::clone(rest).serve(Arc::clone(&peer), request)
                });
                let connection = http1.serve_connection(TokioIo::new(io), service);
                let driven = self.drive(connection, http1::Connection::graceful_shutdown, &peer);
                until_call_cut(driven, &peer).await.unwrap_or("stalled")
            }
        }
    }

    /// Drives a connection to its end; `go` asks it to take no more calls.
    async fn drive<C>(&self, connection: C, go: impl Fn(Pin<&mut C>), peer: &Peer) -> &'static str
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let address = peer.address;
        let mut connection = std::pin::pin!(connection);
        let idle_limit = Duration::from_millis(self.connections.idle_ms);
        let mut idle = std::pin::pin!(sleep(idle_limit));
        let mut unread = std::pin::pin!(sleep(self.unread_max));
        let (mut calls_before, mut going, mut asked_to_go) = (0, false, false);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = &ended {
                        tracing::debug!(%error, %address, "a connection ended");
                    }
                    return if ended.is_ok() { "served" } else { "broken" };
                }
                () = self.draining.cancelled(), if !going => {
                    going = true;
                    go(connection.as_mut());
                }
                () = unread.as_mut() => {
                    if peer.unread.is_stalled() {
                        return "stalled";
                    }
                    unread.set(sleep(self.unread_max));
                }
                () = idle.as_mut() => {
                    let calls = peer.calls.load(Relaxed);
                    let is_idle = peer.active.load(Relaxed) == 0 && calls == calls_before;
                    if is_idle && asked_to_go {
                        // What it does not take is all that keeps it here.
                        return "stalled";
                    }
                    if is_idle && !going {
                        (going, asked_to_go) = (true, true);
                        go(connection.as_mut());
                    }
                    calls_before = calls;
                    idle.set(sleep_until(Instant::now() + idle_limit));
                }
            }
        }
    }
}

/// hyper's HTTP/2 with all of our bounds: its own defaults leave some of them open.
pub(super) fn http2(config: &Http2Config) -> http2::Builder<CallTasks> {
    let mut builder = http2::Builder::new(CallTasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_pending_accept_reset_streams(config.max_pending_reset_streams)
        .max_local_error_reset_streams(config.max_local_error_reset_streams)
        .max_header_list_size(config.max_header_list_bytes)
        .max_frame_size(config.max_frame_bytes)
        .initial_stream_window_size(config.stream_window_bytes)
        .initial_connection_window_size(config.connection_window_bytes)
        .max_send_buf_size(config.max_send_buffer_bytes as usize)
        .keep_alive_interval(Duration::from_millis(config.keepalive_ms))
        .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms))
        // gRPC has no use for it, and it would be written on every reply.
        .auto_date_header(false);
    builder
}

/// hyper's HTTP/1.1 with our bounds.
pub(super) fn http1(config: &EdgeConfig) -> http1::Builder {
    let head_bytes_max = (config.http2.max_header_list_bytes as usize).max(HTTP1_BUFFER_BYTES_MIN);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Also how long a connection is kept that asks for nothing more.
        .header_read_timeout(HEAD_MAX.min(Duration::from_millis(config.connections.idle_ms)))
        .max_buf_size(head_bytes_max.max(HTTP1_BUFFER_BYTES))
        .max_header_size(head_bytes_max);
    builder
}

/// Whether only the connection that was about to be accepted is gone.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted
    )
}
