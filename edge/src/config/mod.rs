//! What an operator can set about the edge. Every bound of it is here, with its unit and its default.

mod check;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::check::ConfigError;

/// The fixed port of the gRPC edge, unless configured.
pub const GRPC_PORT: u16 = 7070;
/// The fixed port of the admin endpoints, unless configured.
pub const ADMIN_PORT: u16 = 7071;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The edge of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where gRPC is served. Default `127.0.0.1:7070`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// REST and JSON, for those without gRPC.
    pub rest: RestConfig,
    /// The server's certificate. Default: none, and connections are not encrypted.
    pub tls: Option<TlsConfig>,
    /// Bounds of connections.
    pub connections: ConnectionsConfig,
    /// Bounds of HTTP/2, message sizes among them.
    pub http2: Http2Config,
    /// Bounds of single calls.
    pub calls: CallsConfig,
    /// How much may be in flight.
    pub admission: AdmissionConfig,
    /// How often a caller may call.
    pub limits: LimitsConfig,
    /// Bounds of watches of orders.
    pub feed: FeedConfig,
    /// The endpoints for operators.
    pub admin: AdminConfig,
    /// How long what is in flight may take to end when the node stops, in milliseconds. Default 15,000.
    pub drain_ms: u64,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, GRPC_PORT)),
            rest: RestConfig::default(),
            tls: None,
            connections: ConnectionsConfig::default(),
            http2: Http2Config::default(),
            calls: CallsConfig::default(),
            admission: AdmissionConfig::default(),
            limits: LimitsConfig::default(),
            feed: FeedConfig::default(),
            admin: AdminConfig::default(),
            drain_ms: 15_000,
        }
    }
}

/// REST and JSON, for those without gRPC: the same methods, behind the same permissions and limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestConfig {
    /// Where REST is served over HTTP/1.1, with the certificate that gRPC has; port 0 takes any free one. Default none: it is not served.
    pub listen: Option<SocketAddr>,
}

/// Where the certificate of the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file with the certificate, then its intermediates.
    pub certificate: PathBuf,
    /// A PEM file with the certificate's private key.
    pub key: PathBuf,
}

/// Bounds of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionsConfig {
    /// How many may be open. Where there are as many a new one takes the place of one of which no call was let in yet, of the address that has the
    /// most of those, and is closed where there is none. Never more than the process may have files open, but for some. Default 4,096.
    pub max: usize,
    /// How many of them may come from one address (of IPv6: one /64), likewise. Default 1,024.
    pub max_per_address: usize,
    /// How long TLS and the first bytes of HTTP/2 may take together, in milliseconds. Default 5,000.
    pub handshake_ms: u64,
    /// After this long without a call a connection is asked to go, in milliseconds. Default 600,000.
    pub idle_ms: u64,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self {
            max: 4_096,
            max_per_address: 1_024,
            handshake_ms: 5_000,
            idle_ms: 600_000,
        }
    }
}

/// Bounds of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2Config {
    /// Calls at a time on one connection; a client's library keeps what is more until there is room. Default 256.
    pub max_concurrent_streams: u32,
    /// Streams that a peer opened and reset before they were looked at, after which the connection ends
    /// (CVE-2023-44487). Default 64.
    pub max_pending_reset_streams: usize,
    /// Streams that the server reset because of the peer's errors, after which the connection ends
    /// (RUSTSEC-2024-0003). Default 256.
    pub max_local_error_reset_streams: usize,
    /// All headers of one call, in bytes. Default 16,384.
    pub max_header_list_bytes: u32,
    /// The largest frame that is taken, in bytes, 16,384 to 16,777,215. Default 32,768.
    pub max_frame_bytes: u32,
    /// What a peer may send on one call before it is read, in bytes. Default 262,144.
    pub stream_window_bytes: u32,
    /// What a peer may send on one connection before it is read, in bytes. Default 1,048,576.
    pub connection_window_bytes: u32,
    /// What may be queued for sending on one call, in bytes. Default 262,144.
    pub max_send_buffer_bytes: u32,
    /// After this long a silent connection is asked for a sign of life, in milliseconds. Default 20,000.
    pub keepalive_ms: u64,
    /// How long the sign may take before the connection counts as dead, in milliseconds. Default 10,000.
    pub keepalive_timeout_ms: u64,
    /// The largest message that is taken, in bytes. Default 1,048,576.
    pub max_request_bytes: usize,
    /// The largest message that is sent, in bytes. Default 33,554,432: a page of 1,000 orders of 100 lines.
    pub max_reply_bytes: usize,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 256,
            max_pending_reset_streams: 64,
            max_local_error_reset_streams: 256,
            max_header_list_bytes: 16 * KIB as u32,
            max_frame_bytes: 32 * KIB as u32,
            stream_window_bytes: 256 * KIB as u32,
            connection_window_bytes: MIB as u32,
            max_send_buffer_bytes: 256 * KIB as u32,
            keepalive_ms: 20_000,
            keepalive_timeout_ms: 10_000,
            max_request_bytes: MIB,
            max_reply_bytes: 32 * MIB,
        }
    }
}

/// Bounds of single calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallsConfig {
    /// How long a call may take, in milliseconds, where the client does not ask for less, until its reply has been taken.
    /// A PlaceOrders stream has no end of its own, but each of its messages has this one. Default 30,000.
    pub max_ms: u64,
    /// How long a stream that needs no credentials (Watch, reflection) may be open, in milliseconds. Default 600,000.
    pub open_stream_ms: u64,
    /// Orders of one PlaceOrders stream that may be in flight or have answers that the client has not taken, with 1 KiB
    /// for each on average; the stream is not read further meanwhile. Default 256.
    pub stream_window: usize,
}

impl Default for CallsConfig {
    fn default() -> Self {
        Self {
            max_ms: 30_000,
            open_stream_ms: 600_000,
            stream_window: 256,
        }
    }
}

/// How much may be in flight. What is more is refused at once, so that what was admitted is done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Calls, and orders of streams. As many again may be calls whose requests take longer than half a second to arrive. Default 2,048.
    pub max_calls: usize,
    /// Of the calls, those that need no credentials: so that nobody without any takes the place of those who have some.
    /// Default 256.
    pub max_open_calls: usize,
    /// Questions how the node is (health and NodeService), which are not among the calls. Default 1,024.
    pub max_probes: usize,
    /// Open streams. Default 2,048.
    pub max_streams: usize,
    /// Of the streams, those that need no credentials (Watch, reflection). Default 512.
    pub max_open_streams: usize,
    /// Bytes of requests. Default 67,108,864.
    pub max_bytes: usize,
    /// Bytes of replies that their callers have not taken; at least one of the largest. Replies of up to 16 KiB are sent
    /// all the same. Default 134,217,728.
    pub max_reply_bytes: usize,
    /// Calls that one account of role customer may have in flight, and as many streams: one customer whose calls do not end does not take
    /// the places of the others. Default 128.
    pub max_per_customer: usize,
    /// Calls that need no credentials and one address may have in flight (of IPv6: one /64), as many streams, and as many questions how the
    /// node is. Give more where all clients come from one address, as from a balancer. Default 64.
    pub max_open_per_address: usize,
    /// When a caller that was refused is asked to come back, in milliseconds. Default 100.
    pub retry_ms: u64,
    /// What an order may take, beside the disk, when there are more than can be done, in milliseconds: as many are let in as
    /// are done within it, at least 256; 0 lets in as many as `max_calls`. Default 200.
    pub order_ms: u64,
    /// Refused calls whose requests are read to their end, each for half a second at most; the streams of more are reset, and
    /// a connection with many of those ends. Default 4,096.
    pub max_refused: usize,
    /// Calls that are refused a second; connections whose calls are refused beyond that are read more slowly, so that
    /// refusing does not become all that the node does. 0 for no bound. Default 12,000.
    pub max_refusals_per_second: u32,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            max_calls: 2_048,
            max_open_calls: 256,
            max_probes: 1_024,
            max_streams: 2_048,
            max_open_streams: 512,
            max_bytes: 64 * MIB,
            max_reply_bytes: 128 * MIB,
            max_per_customer: 128,
            max_open_per_address: 64,
            retry_ms: 100,
            order_ms: 200,
            max_refused: 4_096,
            max_refusals_per_second: 12_000,
        }
    }
}

/// How often callers may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// One address (of IPv6: one /64), before it is known who calls. It is there for whoever calls in a loop, far above what
    /// a service does that works for many. Default 200,000 a second, bursts of 200,000.
    pub address: Limit,
    /// One address's calls that need no credentials (Login, Refresh, Logout, reflection) or have no method: guessing must
    /// be slow. Default 20 a second, bursts of 100.
    pub open: Limit,
    /// One address's calls of health, which need no credentials. Default 100 a second, bursts of 500.
    pub probe: Limit,
    /// One address's calls whose credentials are missing or do not hold; no others take its tokens. While there are none,
    /// only callers are let in whose credentials have been verified lately. Default 50 a second, bursts of 200.
    pub failure: Limit,
    /// One account of role customer, at all nodes together (docs/limits.md), unless it has a limit of its own (`docket limit`). Default 50 a second, bursts of 100.
    pub customer: Limit,
    /// One account of role service, likewise. Default 200,000 a second, bursts of 200,000.
    pub service: Limit,
    /// One account of role admin, likewise. Default 200,000 a second, bursts of 200,000.
    pub admin: Limit,
    /// How often buckets that are full again are forgotten, in milliseconds. Default 10,000.
    pub prune_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            address: Limit::GENEROUS,
            open: Limit {
                per_second: 20,
                burst: 100,
            },
            probe: Limit {
                per_second: 100,
                burst: 500,
            },
            failure: Limit {
                per_second: 50,
                burst: 200,
            },
            customer: Limit {
                per_second: 50,
                burst: 100,
            },
            service: Limit::GENEROUS,
            admin: Limit::GENEROUS,
            prune_ms: 10_000,
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Tokens that come back in a second; 0 switches the limit off, at most 1,000,000,000.
    pub per_second: u32,
    /// Tokens that the bucket holds; at least 1, unless the limit is off.
    pub burst: u32,
}

impl Limit {
    /// No limit.
    pub const OFF: Self = Self {
        per_second: 0,
        burst: 0,
    };
    /// More than a node can do.
    pub const GENEROUS: Self = Self {
        per_second: 200_000,
        burst: 200_000,
    };
}

/// Bounds of watches of orders (`WatchOrders`), each of which is one of the `admission.max_streams` as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FeedConfig {
    /// Watches on this node. Default 1,024.
    pub watches_max: usize,
    /// Watches of one account. Default 64.
    pub watches_per_account: usize,
    /// What a watch may have queued that its client has not taken, in bytes. Default 262,144.
    pub buffer_bytes: usize,
    /// How long its client may take nothing when that is reached, before it is cut off, in milliseconds. Default 10,000.
    pub stalled_ms: u64,
    /// How long a watch says nothing before it sends a token without changes, in milliseconds. Default 5,000.
    pub heartbeat_ms: u64,
    /// How long a watch that was just told of something gathers what comes next, while the node is at work, in milliseconds: with many
    /// watches telling them costs as much as the orders otherwise. With many watches it is at least a second for each 2,500 of them, and a
    /// second at most. 0 tells everything at once. Default 200.
    pub gather_ms: u64,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            watches_max: 1_024,
            watches_per_account: 64,
            buffer_bytes: 256 * KIB,
            stalled_ms: 10_000,
            heartbeat_ms: 5_000,
            gather_ms: 200,
        }
    }
}

/// The endpoints for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where they are served, over plain HTTP. Default `127.0.0.1:7071`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Allows `listen` to be another than a loopback address. There is no authentication, but for the console and for what is taken off the node (`docket debug`). Default false.
    pub allow_remote: bool,
    /// Whether the console is served, at `/console`: pages for administrators, who log in with an API key. Default true.
    pub console: bool,
    /// Connections that may be open. Default 64.
    pub max_connections: usize,
    /// How long the headers of a request may take to arrive, and how long an answer may wait until more of it is taken, in milliseconds.
    /// Default 5,000.
    pub request_ms: u64,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)),
            allow_remote: false,
            console: true,
            max_connections: 64,
            request_ms: 5_000,
        }
    }
}
