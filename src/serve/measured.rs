//! Every metric that the program has, described to the recorder: what `/metrics` says of each, and what `docs/metrics.md` is made from.

use metrics::{Unit, describe_counter, describe_gauge};

use crate::standby::{APPLIED, FOLLOWS, LAG, LAG_ORDERS};

/// Times that the configuration was read again.
pub const RELOADS: &str = "docket_config_reloads_total";
/// Keys whose new values wait for a restart.
pub const RESTART_NEEDED: &str = "docket_config_restart_needed_keys";
/// Secrets that were exchanged for what cannot be used.
pub const SECRETS_UNUSABLE: &str = "docket_secrets_unusable";
/// Until when a certificate holds.
pub const CERTIFICATE_EXPIRY: &str = "docket_certificate_expiry_timestamp_seconds";

/// Up to when all that the cluster holds is in a backup that it made.
pub const BACKUP_UNTIL: &str = "docket_backup_until_timestamp_seconds";
/// How often one is to be made.
pub const BACKUP_EVERY: &str = "docket_backup_every_seconds";
/// Those that were not.
pub const BACKUP_FAILURES: &str = "docket_backup_failures_total";
/// What they weigh.
pub const BACKUP_BYTES: &str = "docket_backup_bytes_total";

/// Files of the data directory that are sealed.
pub const FILES_SEALED: &str = "docket_encryption_sealed_files";
/// Those that are not.
pub const FILES_PLAIN: &str = "docket_encryption_plain_files";

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
    describe_backups();
    describe_standbys();
    describe_encryption();
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
        SECRETS_UNUSABLE,
        Unit::Count,
        "Secrets that were exchanged for ones that cannot be used: what was there before is in force."
    );
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "Until when a certificate in use holds, in seconds since 1970: the server's, that for peers, or the cluster's authority; with what is \
         between it and its root, the first to end."
    );
}

/// Of encryption at rest.
fn describe_encryption() {
    describe_gauge!(
        FILES_SEALED,
        Unit::Count,
        "Files of the data directory (segments of the journal, snapshots, the archive, files of the audit log) that are sealed, by key: the id of \
         one of encryption.keys. A key that none is sealed with is not needed any more."
    );
    describe_gauge!(
        FILES_PLAIN,
        Unit::Count,
        "Files of the data directory that are not sealed."
    );
}

/// Of the backups that a cluster makes by itself.
fn describe_backups() {
    describe_gauge!(
        BACKUP_UNTIL,
        Unit::Seconds,
        "Up to when all that the cluster holds is in the newest backup that it made by itself, in seconds since 1970, as the node knows that made \
         it or last asked the repository."
    );
    describe_gauge!(
        BACKUP_EVERY,
        Unit::Seconds,
        "How long after one backup the cluster is to make the next, as the configuration has it (backup.every_s)."
    );
    describe_counter!(
        BACKUP_FAILURES,
        Unit::Count,
        "Backups that the cluster was to make by itself and that failed; each is tried again."
    );
    describe_counter!(
        BACKUP_BYTES,
        Unit::Bytes,
        "What the backups weigh that the node has made by itself."
    );
}

/// Of a node that follows another cluster.
fn describe_standbys() {
    describe_gauge!(
        FOLLOWS,
        Unit::Count,
        "1 while the node follows another cluster, and so is ready for no writes; 0 once it was promoted. Of a standby alone."
    );
    describe_gauge!(
        LAG,
        Unit::Seconds,
        "How long ago that was which docket_standby_applied_timestamp_seconds has, by this node's clock: what is lost where the primary is gone now. Of a standby \
         alone; 0 once it was promoted."
    );
    describe_gauge!(
        LAG_ORDERS,
        Unit::Count,
        "Orders that the primary had when it was last looked at, and that are not here yet. Of a standby alone; 0 once it was promoted."
    );
    describe_gauge!(
        APPLIED,
        Unit::Seconds,
        "Up to when all that the primary had acknowledged is here, in seconds since 1970, by the primary's clock. Of a standby alone."
    );
}

/// Has what is counted rarely be there from the start: of a counter that begins with 1 nobody sees that it grew.
pub fn begin() {
    for result in ["valid", "invalid"] {
        metrics::counter!(RELOADS, "result" => result).increment(0);
    }
    metrics::gauge!(SECRETS_UNUSABLE).set(0.0);
}

#[cfg(test)]
mod tests;
