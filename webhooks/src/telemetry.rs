//! What is measured.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Describes every metric of this crate.
pub fn describe_metrics() {
    describe_counter!(
        "docket_webhook_deliveries_total",
        Unit::Count,
        "Deliveries to webhooks that were tried, by outcome."
    );
    describe_histogram!(
        "docket_webhook_delivery_seconds",
        Unit::Seconds,
        "How long a delivery took, from looking the name up to the answer's end."
    );
    describe_counter!(
        "docket_webhook_gaps_total",
        Unit::Count,
        "How often a webhook missed changes that were not kept any more."
    );
    describe_counter!(
        "docket_webhook_conflicts_total",
        Unit::Count,
        "Records of webhooks refused because their version did not fit."
    );
    describe_gauge!(
        "docket_webhooks",
        Unit::Count,
        "Webhooks that this node delivers to."
    );
    describe_gauge!(
        "docket_webhook_retries",
        Unit::Count,
        "Deliveries that failed and are tried again."
    );
    describe_gauge!(
        "docket_webhook_dead_letters",
        Unit::Count,
        "Deliveries that were given up and are kept."
    );
    describe_gauge!(
        "docket_webhook_lag_seconds",
        Unit::Seconds,
        "The age of the oldest change that a webhook was not told of yet and did not fail, of the one that is furthest behind."
    );
    describe_gauge!(
        "docket_webhook_undelivered_seconds",
        Unit::Seconds,
        "The age of the oldest change that a webhook was not told of yet, whether or not it failed, of the one that is furthest behind."
    );
    describe_gauge!(
        "docket_webhooks_behind",
        Unit::Count,
        "Webhooks that were not told of a change yet that is older than a minute."
    );
}

/// A delivery was tried.
pub(crate) fn tried(outcome: &'static str, seconds: f64) {
    counter!("docket_webhook_deliveries_total", "outcome" => outcome).increment(1);
    histogram!("docket_webhook_delivery_seconds").record(seconds);
}

/// A webhook missed changes.
pub(crate) fn gap() {
    counter!("docket_webhook_gaps_total").increment(1);
}

/// How all webhooks are that are delivered to from here. None has a series of its own, since one that was ever shown is never taken back, also when
/// its webhook is long gone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Levels {
    pub(crate) webhooks: usize,
    pub(crate) retries: usize,
    pub(crate) dead_letters: usize,
    pub(crate) lag_s: f64,
    pub(crate) undelivered_s: f64,
    pub(crate) behind: usize,
}

impl Levels {
    pub(crate) fn show(self) {
        gauge!("docket_webhooks").set(self.webhooks as f64);
        gauge!("docket_webhook_retries").set(self.retries as f64);
        gauge!("docket_webhook_dead_letters").set(self.dead_letters as f64);
        gauge!("docket_webhook_lag_seconds").set(self.lag_s);
        gauge!("docket_webhook_undelivered_seconds").set(self.undelivered_s);
        gauge!("docket_webhooks_behind").set(self.behind as f64);
    }
}
