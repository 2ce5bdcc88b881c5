//! The accept loop: as many connections as configured, from one address too, and patience where the system has no
//! descriptors left.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    io::{HandshakeError, Io},
    tls::Certificate,
};
use crate::{
    config::{ConnectionsConfig, Http2Config},
    gate::{CallTasks, Gate, limits::network_of},
    telemetry::Telemetry,
};

/// How long to wait when the system cannot accept, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What all connections share.
pub(super) struct Acceptor {
    pub(super) gate: Arc<Gate>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) connections: ConnectionsConfig,
    pub(super) http2: http2::Builder<CallTasks>,
    /// A connection ends where a reply is not taken for longer than this, up to twice as long.
    pub(super) unread_max: Duration,
    pub(super) open: Arc<Open>,
    /// No new calls; what is in flight goes on.
    pub(super) draining: CancellationToken,
    /// Everything ends now.
    pub(super) killed: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Acceptor {
    /// Accepts until the node drains.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut back_off = BACK_OFF.0;
        loop {
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
        let slot = match self.open.take(&self.connections, address.ip()) {
            Ok(slot) => slot,
            Err(outcome) => {
                self.telemetry.connection(outcome);
                return;
            }
        };
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            this.telemetry.connections_open.increment(1.0);
            let outcome = tokio::select! {
                biased;
                () = this.killed.cancelled() => "cut",
                outcome = this.serve(tcp, address) => outcome,
            };
            this.telemetry.connections_open.decrement(1.0);
            this.telemetry.connection(outcome);
            drop(slot);
        });
    }

    /// Serves a connection to its end; returns how that came about.
    async fn serve(&self, tcp: TcpStream, address: SocketAddr) -> &'static str {
        // Without it small replies wait for acknowledgements; a socket that refuses it works, slowly.
        let _ = tcp.set_nodelay(true);
        let tls = self
            .certificate
            .as_ref()
            .map(|certificate| certificate.acceptor());
        let limit = Duration::from_millis(self.connections.handshake_ms);
        let peer = self.gate.peer(address);
        let io = match timeout(limit, Io::establish(tcp, tls, Arc::clone(&peer))).await {
            Ok(Ok(io)) => io,
            Ok(Err(HandshakeError::Tls(error))) => {
                tracing::debug!(%error, %address, "TLS handshake failed");
                return "tls_failed";
            }
            Ok(Err(HandshakeError::Closed)) => return "closed_early",
            Ok(Err(HandshakeError::NotHttp2)) => return "not_http2",
            Err(_elapsed) => return "handshake_timeout",
        };
        let service =
            service_fn(|request: Request<Incoming>| Arc::clone(&self.gate).serve(Arc::clone(&peer), request));
        let mut connection = std::pin::pin!(self.http2.serve_connection(TokioIo::new(io), service));
        let idle_limit = Duration::from_millis(self.connections.idle_ms);
        let mut idle = std::pin::pin!(sleep(idle_limit));
        let mut unread = std::pin::pin!(sleep(self.unread_max));
        let (mut calls_before, mut going) = (0, false);
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
                    connection.as_mut().graceful_shutdown();
                }
                () = unread.as_mut() => {
                    if peer.unread.is_stalled() {
                        return "stalled";
                    }
                    unread.set(sleep(self.unread_max));
                }
                () = idle.as_mut(), if !going => {
                    let calls = peer.calls.load(Relaxed);
                    if peer.active.load(Relaxed) == 0 && calls == calls_before {
                        going = true;
                        connection.as_mut().graceful_shutdown();
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

/// Whether only the connection that was about to be accepted is gone.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted
    )
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Open(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Slot {
    open: Arc<Open>,
    network: IpAddr,
}

impl Open {
    /// Takes a slot, or says what there are too many of.
    fn take(self: &Arc<Self>, config: &ConnectionsConfig, address: IpAddr) -> Result<Slot, &'static str> {
        let network = network_of(address);
        let mut counts = self.0.lock();
        if counts.all >= config.max {
            return Err("refused_full");
        }
        let of_address = counts.by_address.entry(network).or_default();
        if *of_address >= config.max_per_address {
            return Err("refused_address_full");
        }
        *of_address += 1;
        counts.all += 1;
        Ok(Slot {
            open: Arc::clone(self),
            network,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.open.0.lock();
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.network) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let config = ConnectionsConfig {
            max: 3,
            max_per_address: 2,
            ..ConnectionsConfig::default()
        };
        let open = Arc::new(Open::default());
        let take = |text: &str| open.take(&config, text.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), "refused_address_full");
        let _third = take("192.0.2.2").unwrap();
        assert_eq!(take("192.0.2.3").unwrap_err(), "refused_full");
        drop(first);
        let fourth = take("192.0.2.3").unwrap();
        drop(fourth);
        assert_eq!(
            open.0.lock().by_address.len(),
            2,
            "an address without connections is forgotten"
        );
    }
}
