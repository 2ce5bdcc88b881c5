//! What the secrets show of themselves to the metrics recorder: nothing of what they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const READS: &str = "docket_secret_reads_total";
const CHANGES: &str = "docket_secret_changes_total";
const FAILING: &str = "docket_secrets_failing";
const VAULT_READ: &str = "docket_vault_last_read_timestamp_seconds";
const VAULT_TOKEN_ENDS: &str = "docket_vault_token_expiry_timestamp_seconds";
const VAULT_LOGINS: &str = "docket_vault_logins_total";
const VAULT_RENEWALS: &str = "docket_vault_token_renewals_total";

/// Describes every metric of the crate to the recorder that is installed.
pub fn describe_metrics() {
    describe_counter!(
        READS,
        "Secrets that were read, by where they are (file, variable, vault) and by what came of it."
    );
    describe_counter!(CHANGES, "Secrets that were another when they were read again.");
    describe_gauge!(
        FAILING,
        "Secrets that could not be read again when that was last tried: what was read before is in force."
    );
    describe_gauge!(
        VAULT_READ,
        Unit::Seconds,
        "When all secrets of the Vault-compatible server were last read, in seconds since 1970."
    );
    describe_gauge!(
        VAULT_TOKEN_ENDS,
        Unit::Seconds,
        "When the token for the Vault-compatible server ends unless it is renewed, in seconds since 1970; 0 where it does not."
    );
    describe_counter!(
        VAULT_LOGINS,
        "Logins at the Vault-compatible server, by what came of them."
    );
    describe_counter!(
        VAULT_RENEWALS,
        "Renewals of the token for the Vault-compatible server, by what came of them."
    );
}

fn result(good: bool) -> &'static str {
    if good { "ok" } else { "failed" }
}

pub fn read(source: &'static str, good: bool) {
    counter!(READS, "source" => source, "result" => result(good)).increment(1);
}

pub fn changed() {
    counter!(CHANGES).increment(1);
}

pub fn failing(secrets: usize) {
    gauge!(FAILING).set(secrets as f64);
}

pub fn vault_read() {
    gauge!(VAULT_READ).set(since_1970().as_secs_f64());
}

pub fn vault_token_ends(within: Option<Duration>) {
    let ends = within.map_or(0.0, |within| (since_1970() + within).as_secs_f64());
    gauge!(VAULT_TOKEN_ENDS).set(ends);
}

pub fn logged_in(good: bool) {
    counter!(VAULT_LOGINS, "result" => result(good)).increment(1);
}

pub fn renewed(good: bool) {
    counter!(VAULT_RENEWALS, "result" => result(good)).increment(1);
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
