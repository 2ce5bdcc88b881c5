//! Every metric that the program has, described to the recorder: what `/metrics` says of each, and what `docs/metrics.md` is made from.

use metrics::{Unit, describe_counter, describe_gauge};

/// Times that the configuration was read again.
pub const RELOADS: &str = "docket_config_reloads_total";
/// Keys whose new values wait for a restart.
pub const RESTART_NEEDED: &str = "docket_config_restart_needed_keys";
/// Until when a certificate holds.
pub const CERTIFICATE_EXPIRY: &str = "docket_certificate_expiry_timestamp_seconds";

/// Describes them all to the recorder that is installed.
pub fn describe() {
    docket_persistence::describe_metrics();
    docket_cluster::describe_metrics();
    docket_edge::telemetry::describe();
    docket_payments::http::describe_metrics();
    docket_webhooks::describe_metrics();
    docket_audit::describe_metrics();
    docket_secrets::describe_metrics();
    docket_traces::describe_metrics();
    describe_counter!(
        RELOADS,
        Unit::Count,
        "Times that the configuration was read again while the node ran, by result: valid, or invalid, which leaves it as it was."
    );
    describe_gauge!(
        RESTART_NEEDED,
        Unit::Count,
        "Keys of the configuration that were changed while the node ran and take effect with its next start."
    );
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "Until when a certificate in use holds, in seconds since 1970: the server's, that for peers, or the cluster's authority; with what is \
         between it and its root, the first to end."
    );
}

/// Has what is counted rarely be there from the start: of a counter that begins with 1 nobody sees that it grew.
pub fn begin() {
    for result in ["valid", "invalid"] {
        metrics::counter!(RELOADS, "result" => result).increment(0);
    }
}

#[cfg(test)]
mod tests;
