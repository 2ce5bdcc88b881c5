//! What can be configured: plain structs, each field with its unit and default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use docket_actors::{ActorLimits, AdmissionLimits, FeedLimits, Options};
use docket_audit::AuditOptions;
use docket_cluster::{ClusterError, NodeOptions, limits::SHARDS_MAX};
use docket_edge::{
    ConfigError as EdgeConfigError, EdgeConfig,
    auth::AuthOptions,
    config::{
        AdminConfig, AdmissionConfig, CallsConfig, ConnectionsConfig, FeedConfig, Http2Config, LimitsConfig,
        RestConfig, TlsConfig,
    },
};
use docket_persistence::{JOURNAL_DIR, JournalError, JournalOptions};
use docket_sealing::Keyring;
use docket_webhooks::WebhookOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    backup, chaos, cluster, encryption, fraud, orders, payments, scrub, secrets, standby, tracing, upgrade,
    verify,
};

/// Lines of the log that are kept in memory, at most: 40 MiB where each is as long as it may be.
const KEPT_LINES_MAX: u32 = 10_000;

/// A value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its key.
    pub key: String,
    /// What it must be.
    pub requirement: String,
}

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data directory and the address for gRPC.
    pub server: Server,
    /// TLS of the address for gRPC.
    pub tls: Tls,
    /// REST and JSON, for those without gRPC: the same methods, behind the same permissions and limits.
    pub rest: RestConfig,
    /// The endpoints for operators.
    pub admin: AdminConfig,
    /// Bounds of connections.
    pub connections: ConnectionsConfig,
    /// Bounds of HTTP/2, message sizes among them.
    pub http2: Http2Config,
    /// Bounds of single calls.
    pub calls: CallsConfig,
    /// How much the edge lets in at a time.
    pub admission: AdmissionConfig,
    /// How often a caller may call.
    pub limits: LimitsConfig,
    /// The audit log, in `audit/` of the data directory: who changed what, and who was denied. It cannot be turned off.
    pub audit: AuditOptions,
    /// Sessions, API keys and passwords.
    pub auth: AuthOptions,
    /// What is kept of orders' changes, and for how many watches.
    pub feed: Feed,
    /// How webhooks are delivered.
    pub webhooks: WebhookOptions,
    /// What the shards keep in memory and in flight.
    pub actors: Actors,
    /// The Raft groups.
    pub cluster: Cluster,
    /// Which orders are held as they are confirmed.
    pub fraud: fraud::Fraud,
    /// How long orders stay as they are, and in memory.
    pub orders: orders::Orders,
    /// Who is asked for money.
    pub payments: payments::Payments,
    /// How secrets are read that other keys only refer to.
    pub secrets: secrets::Secrets,
    /// With which keys what is on the disk is sealed.
    pub encryption: encryption::Encryption,
    /// When the books are verified.
    pub verify: verify::Verify,
    /// When what is stored is read once more.
    pub scrub: scrub::Scrub,
    /// Where the cluster backs itself up.
    pub backup: backup::Backup,
    /// Whom this node follows.
    pub standby: standby::Standby,
    /// Whether the node may be asked to go wrong.
    pub chaos: chaos::Chaos,
    /// The journal.
    pub journal: Journal,
    /// Logs.
    pub log: Log,
    /// Traces of single calls.
    pub tracing: tracing::Tracing,
    /// What becomes of a cluster whose nodes have a newer program.
    pub upgrade: upgrade::Upgrade,
}

/// The data directory and the address for gRPC.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The folder that keeps everything; relative to where the server is started. Default `./docket-data`.
    pub data_dir: PathBuf,
    /// Where gRPC is served. Default `127.0.0.1:7070`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// How long what is in flight may take to end when the server stops, in milliseconds. Default 15,000.
    pub drain_ms: u64,
    /// How long a node that cannot go on, since its journal has failed say, tells why on its admin port before it ends, in milliseconds:
    /// longer than it takes until its metrics are looked at again, so that the failure is seen also where the node is started again at once.
    /// It serves nobody meanwhile. 0 for not at all. Default 20,000.
    pub failed_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        let edge = EdgeConfig::default();
        Self {
            data_dir: PathBuf::from("./docket-data"),
            listen: edge.listen,
            drain_ms: edge.drain_ms,
            failed_ms: 20_000,
        }
    }
}

/// TLS of the address for gRPC: both files, or neither.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the certificate, then its intermediates. Default none: connections are not encrypted.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key. Default none.
    pub key: Option<PathBuf>,
}

/// What is kept of orders' changes, and for how many watches (`docket order watch`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// Changes of orders that are kept in each shard, at 40 bytes in memory: a watch can be resumed as long as what it
    /// has missed is among them. Default 65,536, which are 2.5 MiB for each shard.
    pub retained_max: usize,
    /// For how long a change is kept at most, in seconds, by the node's clock; 0 keeps each for as long as `retained_max` has room.
    /// Default 0.
    pub retained_s: u64,
    /// Watches on this node, each of which is one of the `admission.max_streams` as well. Default 1,024.
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
    /// second at most. 0
    /// tells everything at once. Default 200.
    pub gather_ms: u64,
}

impl Default for Feed {
    fn default() -> Self {
        let FeedConfig {
            watches_max,
            watches_per_account,
            buffer_bytes,
            stalled_ms,
            heartbeat_ms,
            gather_ms,
        } = FeedConfig::default();
        Self {
            retained_max: FeedLimits::default().retained_max,
            retained_s: FeedLimits::default().retained_for.map_or(0, |age| age.as_secs()),
            watches_max,
            watches_per_account,
            buffer_bytes,
            stalled_ms,
            heartbeat_ms,
            gather_ms,
        }
    }
}

/// What the shards keep in memory and in flight.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Actors {
    /// Actors of one kind (orders, customers, items) in one shard; above it idle ones are passivated at once.
    /// Default 4,096.
    pub active_max: usize,
    /// How long an actor lives without a message before it is passivated, in seconds. Default 60.
    pub idle_s: u32,
    /// Calls in flight behind the edge. Default 4,096.
    pub calls_max: usize,
    /// Bytes of their requests. Default 67,108,864 (64 MiB).
    pub bytes_max: usize,
}

impl Default for Actors {
    fn default() -> Self {
        let (actors, admission) = (ActorLimits::default(), AdmissionLimits::default());
        Self {
            active_max: actors.active_max,
            idle_s: actors.idle_s,
            calls_max: admission.calls_max,
            bytes_max: admission.bytes_max,
        }
    }
}

/// The journal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// A segment that has this many bytes is followed by a new one. Default 268,435,456 (256 MiB).
    pub segment_bytes: u64,
    /// The cache for the segment that is written, in bytes. Default 50,331,648 (48 MiB).
    pub cache_bytes: u64,
    /// Below this many free bytes of the disk, new writes are refused. Default 268,435,456 (256 MiB).
    pub disk_reserve_bytes: u64,
    /// Bytes of records that may wait to be written. Default 67,108,864 (64 MiB).
    pub queue_bytes_max: usize,
    /// Records that may wait to be written. Default 262,144.
    pub queue_records_max: usize,
    /// How long a commit waits for company at most, in microseconds: it ends when there is nothing left to decide. While every
    /// thread is at work it may take three times that. Default 1,000.
    pub gather_us: u64,
}

impl Default for Journal {
    fn default() -> Self {
        let options = JournalOptions::new("");
        Self {
            segment_bytes: options.segment_bytes,
            cache_bytes: options.cache_bytes,
            disk_reserve_bytes: options.disk_reserve_bytes,
            queue_bytes_max: options.queue_bytes_max,
            queue_records_max: options.queue_records_max,
            gather_us: options.gather_us,
        }
    }
}

/// The Raft groups, and this node's part in its cluster.
///
/// Without `peer_listen` the node stands alone: it is a cluster of one, and listens for no peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The cluster's id. Needed where a new data directory joins a cluster; an old one keeps its own and refuses any
    /// other. Default none.
    pub id: Option<String>,
    /// This node's id in the cluster, from 1, likewise. An id is one data directory's, and never used again. Default none.
    pub node_id: Option<u64>,
    /// Where other nodes connect, over mutual TLS. Default none: this node stands alone.
    pub peer_listen: Option<SocketAddr>,
    /// The same as the other nodes reach it, `HOST:PORT`. A name is looked up at every connection. Default: what
    /// `peer_listen` is.
    pub peer_address: Option<String>,
    /// Where clients reach this node, `HOST:PORT`, which other nodes tell them. Default: what `server.listen` is.
    pub client_address: Option<String>,
    /// A PEM file with the certificate of the cluster's authority. Default none.
    pub ca: Option<PathBuf>,
    /// A PEM file with this node's certificate, see `docket certs node`. Default none.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key. Default none.
    pub key: Option<PathBuf>,
    /// Peer addresses, `HOST:PORT`, of which a new node asks to be let in, and which an old one asks where the others
    /// are, should it have forgotten. Names are looked up each time, and may have several addresses. Default none.
    pub seeds: Vec<String>,
    /// Shards of a new data directory, 1 to 1,024; an old one keeps its own and refuses any other. Default none: 8.
    pub shards: Option<u16>,
    /// A group's snapshot is due when its log since the last one weighs more than its state and more than this, in bytes,
    /// or a part of it down to the half, another one for each group. Default 67,108,864 (64 MiB).
    pub snapshot_bytes_min: u64,
    /// Bytes that this node sends to others each second, at most, of snapshots and of the log to replicas that only catch
    /// up, as those that move do. At least 1,048,576, or 0 for no bound. Default 67,108,864 (64 MiB).
    pub snapshot_bytes_per_second: u64,
    /// Whether leads are spread evenly over the nodes by themselves, one after another, once the cluster has been at rest for 30
    /// seconds; decided by the node that leads the meta group. Default true.
    pub balance_leads: bool,
    /// How often a leader tells its followers that it lives, in milliseconds. Default 200.
    pub heartbeat_ms: u64,
    /// How long a follower waits for its leader before it stands for election: at least this, in milliseconds.
    /// Default 1,000.
    pub election_timeout_min_ms: u64,
    /// And at most this, in milliseconds. Default 2,000.
    pub election_timeout_max_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        let options = NodeOptions::new("");
        Self {
            id: None,
            node_id: None,
            peer_listen: None,
            peer_address: None,
            client_address: None,
            ca: None,
            certificate: None,
            key: None,
            seeds: Vec::new(),
            shards: options.shards,
            snapshot_bytes_min: options.snapshot_bytes_min,
            snapshot_bytes_per_second: options.snapshot_bytes_per_second,
            balance_leads: options.balance_leads_after.is_some(),
            heartbeat_ms: options.heartbeat_ms,
            election_timeout_min_ms: options.election_timeout_min_ms,
            election_timeout_max_ms: options.election_timeout_max_ms,
        }
    }
}

/// Logs, which go to stderr.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or directives such as
    /// `info,docket_cluster=debug`. Default `info`.
    pub level: String,
    /// `text`, `json`, or `auto`: text on a terminal, else JSON. Default `auto`.
    pub format: LogFormat,
    /// Lines of errors, warnings and information that one place of the program may log in a second; how many were left out is said in a line
    /// of its own. 0 for no bound. Default 50.
    pub repeats_max: u32,
    /// The last lines that are kept in memory, for `docket debug bundle`, 0 to 10,000; most have some 250 bytes, none more than 4 KiB.
    /// Default 1,000.
    pub kept_lines: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            repeats_max: 50,
            kept_lines: 1_000,
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// What the node is opened with.
    pub fn node(&self) -> Options {
        let actors = &self.actors;
        Options {
            node: self.cluster(),
            admission: AdmissionLimits {
                calls_max: actors.calls_max,
                bytes_max: actors.bytes_max,
            },
            actors: ActorLimits {
                active_max: actors.active_max,
                idle_s: actors.idle_s,
            },
            feed: FeedLimits {
                retained_max: self.feed.retained_max,
                retained_for: (self.feed.retained_s > 0).then(|| Duration::from_secs(self.feed.retained_s)),
            },
            fraud: self.fraud.rules(),
            payments: self.payments.options(),
            aging: self.orders.options(),
            archive: None,
            verify: self.verify.options(),
            scrub: self.scrub.options(),
            chaos: self.chaos.enabled,
            before_decision: None,
        }
    }

    fn cluster(&self) -> NodeOptions {
        let Self {
            server,
            journal,
            cluster,
            upgrade,
            ..
        } = self;
        let defaults = NodeOptions::new(&server.data_dir);
        NodeOptions {
            data_dir: server.data_dir.clone(),
            shards: cluster.shards,
            journal: JournalOptions {
                dir: server.data_dir.join(JOURNAL_DIR),
                segment_bytes: journal.segment_bytes,
                cache_bytes: journal.cache_bytes,
                disk_reserve_bytes: journal.disk_reserve_bytes,
                queue_bytes_max: journal.queue_bytes_max,
                queue_records_max: journal.queue_records_max,
                gather_us: journal.gather_us,
                lull: None,
                // They are read before the node is opened.
                keys: Keyring::default(),
            },
            snapshot_bytes_min: cluster.snapshot_bytes_min,
            snapshot_bytes_per_second: cluster.snapshot_bytes_per_second,
            balance_leads_after: defaults.balance_leads_after.filter(|_| cluster.balance_leads),
            heartbeat_ms: cluster.heartbeat_ms,
            election_timeout_min_ms: cluster.election_timeout_min_ms,
            election_timeout_max_ms: cluster.election_timeout_max_ms,
            peer_versions: docket_cluster::program::speaks(),
            auto_finalize: upgrade.auto_finalize,
            ..defaults
        }
    }

    /// What the edge is bound with.
    pub fn edge(&self) -> EdgeConfig {
        let tls = match (&self.tls.certificate, &self.tls.key) {
            (Some(certificate), Some(key)) => Some(TlsConfig {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        EdgeConfig {
            listen: self.server.listen,
            rest: self.rest,
            tls,
            connections: self.connections,
            http2: self.http2,
            calls: self.calls,
            admission: self.admission,
            limits: self.limits,
            feed: FeedConfig {
                watches_max: self.feed.watches_max,
                watches_per_account: self.feed.watches_per_account,
                buffer_bytes: self.feed.buffer_bytes,
                stalled_ms: self.feed.stalled_ms,
                heartbeat_ms: self.feed.heartbeat_ms,
                gather_ms: self.feed.gather_ms,
            },
            admin: self.admin.clone(),
            drain_ms: self.server.drain_ms,
        }
    }

    /// Every value that is not allowed. What belongs to another crate is judged by it, one value at a time.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let mut refuse = |key: String, requirement: String| found.push(Invalid { key, requirement });
        if self.server.data_dir.as_os_str().is_empty() {
            refuse("server.data_dir".into(), "a folder is needed".into());
        }
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => refuse("tls.key".into(), "is needed beside tls.certificate".into()),
            (None, Some(_)) => refuse("tls.certificate".into(), "is needed beside tls.key".into()),
            _ => {}
        }
        match self.edge().validate() {
            Err(EdgeConfigError::TooSmall { field, least, .. }) => {
                refuse(field.into(), format!("must be at least {least}"));
            }
            Err(EdgeConfigError::TooLarge { field, most, .. }) => {
                refuse(field.into(), format!("must be at most {most}"));
            }
            Err(cause @ (EdgeConfigError::AdminRemote { .. } | EdgeConfigError::SameAddress { .. })) => {
                refuse("admin.listen".into(), cause.to_string());
            }
            Err(cause @ EdgeConfigError::RestAddress { .. }) => {
                refuse("rest.listen".into(), cause.to_string())
            }
            Ok(()) => {}
        }
        if let Err(invalid) = self.auth.validate() {
            refuse(format!("auth.{}", invalid.option), invalid.requirement.into());
        }
        if let Err(invalid) = self.audit.validate() {
            refuse(format!("audit.{}", invalid.option), invalid.requirement.into());
        }
        if let Err(invalid) = self.webhooks.validate() {
            refuse(format!("webhooks.{}", invalid.option), invalid.requirement.into());
        }
        if self.feed.retained_max == 0 {
            refuse("feed.retained_max".into(), "must be at least 1".into());
        }
        for (key, value) in [
            ("active_max", self.actors.active_max),
            ("calls_max", self.actors.calls_max),
        ] {
            if value == 0 {
                refuse(format!("actors.{key}"), "must be at least 1".into());
            }
        }
        match self.cluster().validate() {
            Err(ClusterError::Option {
                option, requirement, ..
            }) => {
                refuse(format!("cluster.{option}"), format!("must be {requirement}"));
            }
            Err(ClusterError::Journal(JournalError::Option {
                option, requirement, ..
            })) => {
                refuse(format!("journal.{option}"), format!("must be {requirement}"));
            }
            Err(other) => refuse("cluster".into(), other.to_string()),
            Ok(()) => {}
        }
        found.extend(backup::problems(&self.backup));
        found.extend(chaos::problems(self));
        found.extend(standby::problems(&self.standby));
        found.extend(cluster::problems(self));
        found.extend(encryption::problems(self));
        found.extend(fraud::problems(&self.fraud));
        found.extend(orders::problems(&self.orders));
        found.extend(payments::problems(&self.payments));
        found.extend(tracing::problems(&self.tracing));
        found.extend(secrets::problems(self));
        let mut refuse = |key: String, requirement: String| found.push(Invalid { key, requirement });
        if self
            .cluster
            .shards
            .is_some_and(|shards| !(1..=SHARDS_MAX).contains(&shards))
        {
            refuse("cluster.shards".into(), format!("must be from 1 to {SHARDS_MAX}"));
        }
        if self.log.kept_lines > KEPT_LINES_MAX {
            refuse(
                "log.kept_lines".into(),
                format!("must be at most {KEPT_LINES_MAX}"),
            );
        }
        if let Err(cause) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            refuse(
                "log.level".into(),
                format!("not a level or list of directives ({cause})"),
            );
        }
        found
    }
}
