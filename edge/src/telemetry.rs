//! What the edge reports through the `metrics` facade. Labels are bounded: methods of the contract, status codes, names
//! of limiters. Handles are made once and kept; a recorder must be installed before a server is bound.

use std::{
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use docket_audit::{Audit, Denial, Outcome as DeniedOutcome};
use docket_engine::access::{METHOD_TABLE, Principal};
use docket_proto::code_name;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tonic::Code;

use crate::{audit, gate::admission::Bound, process};

/// Bounds of histograms of durations, in seconds: from a hundred microseconds to half a minute.
const SECONDS_BUCKETS: [f64; 17] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    5.0, 30.0,
];
/// Bounds of all other histograms: sizes and counts.
const COUNT_BUCKETS: [f64; 15] = [
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
    64.0,
    128.0,
    256.0,
    512.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    1_048_576.0,
];
/// Where accounts and passwords are tried.
const LOGIN: &str = "/docket.v1.AuthService/Login";
/// gRPC has status codes 0 to 16.
const CODES: usize = 17;
/// What refuses for want of room or tokens.
const LIMITERS: [&str; 19] = [
    "address",
    "open",
    "probe",
    "failure",
    "principal",
    "calls_in_flight",
    "orders_in_flight",
    "open_calls_in_flight",
    "probes_in_flight",
    "streams",
    "open_streams",
    "bytes_in_flight",
    "reply_bytes_in_flight",
    "customer_in_flight",
    "address_in_flight",
    "watches",
    "account_watches",
    ACTORS_IN_FLIGHT,
    DISK,
];
/// The limiter of calls behind the edge.
pub(crate) const ACTORS_IN_FLIGHT: &str = "actors_in_flight";
/// The limiter of writes while the disk is nearly full.
pub(crate) const DISK: &str = "disk";
/// What is counted of a method that the contract does not have.
const UNKNOWN_METHOD: &str = "unknown";

/// Installs the recorder behind `/metrics` for the whole process, with the histogram bounds that Docket's metrics need.
///
/// # Errors
/// Where the process has a recorder already.
pub fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&COUNT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)?
        .install_recorder()
}

/// Describes every metric of this crate and of the node's to the recorder that is installed.
pub fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    docket_actors::describe_metrics();
    counter!(
        "docket_auth_logins_total",
        Unit::Count,
        "Logins by outcome: ok, refused, throttled, or not_verified where too many passwords were being hashed."
    );
    counter!(
        "docket_auth_refresh_replays_total",
        Unit::Count,
        "Refresh tokens that were used a second time, which ended their session."
    );
    counter!(
        "docket_requests_total",
        Unit::Count,
        "Calls that ended, by method and status code."
    );
    histogram!(
        "docket_request_seconds",
        Unit::Seconds,
        "How long calls took, by method and status code."
    );
    gauge!(
        "docket_limit_share",
        Unit::Count,
        "The part of their limits that callers get here: 1, or less where this node does not hear most of the others."
    );
    counter!(
        "docket_limit_messages_total",
        Unit::Count,
        "How often another node was told what callers have taken here."
    );
    counter!(
        "docket_limit_messages_dropped_total",
        Unit::Count,
        "What another node was to be told of callers and never heard: it was away too long."
    );
    counter!(
        "docket_limit_callers_told_late_total",
        Unit::Count,
        "Callers of whom the other nodes were told a turn later, since too many others took more."
    );
    gauge!(
        "docket_requests_in_flight",
        Unit::Count,
        "Calls and orders of streams that are admitted now."
    );
    gauge!(
        "docket_orders_in_flight",
        Unit::Count,
        "Orders that are admitted now, of calls and of streams."
    );
    gauge!(
        "docket_orders_in_flight_max",
        Unit::Count,
        "Orders that may be admitted now: as many as are done in time."
    );
    gauge!(
        "docket_request_bytes_in_flight",
        Unit::Bytes,
        "Bytes of the requests that are admitted now."
    );
    gauge!(
        "docket_reply_bytes_in_flight",
        Unit::Bytes,
        "Bytes of the replies of unary calls that have not left the process."
    );
    gauge!(
        "docket_probes_in_flight",
        Unit::Count,
        "Calls of health and NodeService that are admitted now."
    );
    gauge!("docket_streams_open", Unit::Count, "Streams that are open now.");
    counter!(
        "docket_stream_orders_total",
        Unit::Count,
        "Orders of PlaceOrders streams that were answered, by status code."
    );
    histogram!(
        "docket_stream_order_seconds",
        Unit::Seconds,
        "How long orders of PlaceOrders streams took, by status code."
    );
    gauge!(
        "docket_feed_watches",
        Unit::Count,
        "WatchOrders streams that are open now."
    );
    counter!(
        "docket_feed_changes_total",
        Unit::Count,
        "Changes of orders that watches have taken."
    );
    counter!(
        "docket_feed_cut_off_total",
        Unit::Count,
        "Watches that were ended or refused, by reason: too_slow, or too_old where the changes were not kept any more."
    );
    counter!(
        "docket_forwarded_calls_total",
        Unit::Count,
        "Calls that other nodes were asked to do, by outcome: answered or refused."
    );
    counter!(
        "docket_console_calls_total",
        Unit::Count,
        "Calls that the console made to this node's services, by status code; they are in no other count of calls."
    );
    counter!(
        "docket_limiter_denials_total",
        Unit::Count,
        "Calls and orders of streams that were refused, by limiter."
    );
    gauge!(
        "docket_limiter_buckets",
        Unit::Count,
        "Token buckets that are kept."
    );
    counter!(
        "docket_authentication_failures_total",
        Unit::Count,
        "Calls without a valid credential, by reason."
    );
    counter!(
        "docket_connections_total",
        Unit::Count,
        "Connections to the ports of gRPC and REST, by outcome."
    );
    gauge!(
        "docket_connections_open",
        Unit::Count,
        "Connections to the ports of gRPC and REST that are open."
    );
    counter!(
        "docket_panics_total",
        Unit::Count,
        "Panics that were caught while a call was served."
    );
    process::describe();
    gauge!("docket_ready", Unit::Count, "1 while the node serves, else 0.");
    gauge!(
        "docket_start_time_seconds",
        Unit::Seconds,
        "When the node started, in seconds since 1970."
    );
    gauge!(
        "docket_build_info",
        Unit::Count,
        "Always 1; the label says which version runs."
    );
}

/// The handles.
pub(crate) struct Telemetry {
    /// A row per method of the table and one for unknown ones; made when first used, so that only what happened shows.
    methods: Vec<[OnceLock<Outcome>; CODES]>,
    stream_orders: [OnceLock<Outcome>; CODES],
    denials: [(&'static str, Counter); LIMITERS.len()],
    pub(crate) panics: Counter,
    pub(crate) connections_open: Gauge,
    pub(crate) in_flight: [(Bound, Gauge); 6],
    pub(crate) orders_max: Gauge,
    pub(crate) buckets: Gauge,
    pub(crate) ready: Gauge,
    /// Watches that are open.
    pub(crate) watches: Gauge,
    /// Changes that watches have taken.
    pub(crate) watched: Counter,
    incidents: AtomicU64,
    audit: Audit,
}

struct Outcome {
    total: Counter,
    seconds: Histogram,
}

impl Outcome {
    fn record(&self, took: Duration) {
        self.total.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

impl Telemetry {
    /// Takes the handles from the recorder that is installed.
    pub(crate) fn new(audit: Audit) -> Self {
        describe();
        gauge!("docket_build_info", "version" => docket_actors::version()).set(1.0);
        Self {
            methods: (0..=METHOD_TABLE.len()).map(|_| Default::default()).collect(),
            stream_orders: Default::default(),
            denials: LIMITERS.map(|limiter| {
                (
                    limiter,
                    counter!("docket_limiter_denials_total", "limiter" => limiter),
                )
            }),
            panics: counter!("docket_panics_total"),
            connections_open: gauge!("docket_connections_open"),
            in_flight: [
                (Bound::Calls, gauge!("docket_requests_in_flight")),
                (Bound::Orders, gauge!("docket_orders_in_flight")),
                (Bound::Probes, gauge!("docket_probes_in_flight")),
                (Bound::Streams, gauge!("docket_streams_open")),
                (Bound::Bytes, gauge!("docket_request_bytes_in_flight")),
                (Bound::ReplyBytes, gauge!("docket_reply_bytes_in_flight")),
            ],
            orders_max: gauge!("docket_orders_in_flight_max"),
            buckets: gauge!("docket_limiter_buckets"),
            ready: gauge!("docket_ready"),
            watches: gauge!("docket_feed_watches"),
            watched: counter!("docket_feed_changes_total"),
            incidents: AtomicU64::new(1),
            audit,
        }
    }

    /// A call of the method at `row` of the method table (beyond its end: of an unknown one) ended.
    pub(crate) fn call(&self, row: usize, code: Code, took: Duration) {
        let Some(cell) = self.methods.get(row).and_then(|codes| codes.get(code as usize)) else {
            return;
        };
        cell.get_or_init(|| {
            let method = METHOD_TABLE
                .get(row)
                .map_or(UNKNOWN_METHOD, |rule| rule.path.trim_start_matches('/'));
            Outcome {
                total: counter!("docket_requests_total", "method" => method, "code" => code_name(code)),
                seconds: histogram!("docket_request_seconds", "method" => method, "code" => code_name(code)),
            }
        })
        .record(took);
    }

    /// An order of a stream was answered.
    pub(crate) fn stream_order(&self, code: Code, took: Duration) {
        let Some(cell) = self.stream_orders.get(code as usize) else {
            return;
        };
        cell.get_or_init(|| Outcome {
            total: counter!("docket_stream_orders_total", "code" => code_name(code)),
            seconds: histogram!("docket_stream_order_seconds", "code" => code_name(code)),
        })
        .record(took);
    }

    /// A limiter refused something. Under overload this is the busiest counter of all.
    pub(crate) fn denied(&self, limiter: &'static str) {
        let known = self.denials.iter().find(|(name, _)| *name == limiter);
        match known {
            Some((_, counter)) => counter.increment(1),
            None => counter!("docket_limiter_denials_total", "limiter" => limiter).increment(1),
        }
    }

    /// Somebody was denied the method at `row`: who called from where, as far as that is known.
    pub(crate) fn denied_to(
        &self,
        caller: Result<(&Principal, IpAddr), IpAddr>,
        row: usize,
        code: Code,
        reason: String,
    ) {
        let method = METHOD_TABLE.get(row).map_or(UNKNOWN_METHOD, |rule| rule.path);
        // Those that fail to log in are recorded with whose account it was.
        if method == LOGIN {
            return;
        }
        self.audit.denied(Denial {
            who: match caller {
                Ok((principal, address)) => audit::who(principal, Some(address)),
                Err(address) => audit::nobody(Some(address)),
            },
            action: method.to_owned(),
            target: String::new(),
            reason: match reason.is_empty() {
                true => code_name(code).to_owned(),
                false => reason,
            },
            outcome: DeniedOutcome::Denied,
        });
    }

    /// A watch was ended, or refused.
    pub(crate) fn cut_off(&self, reason: &'static str) {
        counter!("docket_feed_cut_off_total", "reason" => reason).increment(1);
    }

    /// A credential was missing or wrong.
    pub(crate) fn unauthenticated(&self, reason: &'static str) {
        counter!("docket_authentication_failures_total", "reason" => reason).increment(1);
    }

    /// A connection was taken or not.
    pub(crate) fn connection(&self, outcome: &'static str) {
        counter!("docket_connections_total", "outcome" => outcome).increment(1);
    }

    /// A name under which a failure is logged and told, so that the two can be brought together.
    pub(crate) fn incident(&self) -> String {
        let number = self.incidents.fetch_add(1, Relaxed);
        format!("{:x}-{number:x}", std::process::id())
    }
}

/// The node refused something that the edge had let in.
pub(crate) fn denied_by_node(limiter: &'static str) {
    counter!("docket_limiter_denials_total", "limiter" => limiter).increment(1);
}

/// Counts a call that the console made for somebody, by what became of it.
pub(crate) fn console_call(code: Code) {
    counter!("docket_console_calls_total", "code" => code_name(code)).increment(1);
}

/// Counts a call that another node was asked to do, by what became of it: `answered` or `refused`.
pub(crate) fn forwarded(outcome: &'static str) {
    counter!("docket_forwarded_calls_total", "outcome" => outcome).increment(1);
}
