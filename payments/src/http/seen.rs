//! What a provider shows of itself to the metrics recorder. Labels are names of the configuration, of which there are few.

use std::time::Duration;

use docket_engine::{PaymentKind, ProviderName};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::answer::{Answer, Question};

const REQUESTS: &str = "docket_payment_requests_total";
const SECONDS: &str = "docket_payment_request_seconds";
const BREAKER_OPEN: &str = "docket_payment_breaker_open";

/// Describes every metric of the crate to the recorder that is installed.
pub fn describe_metrics() {
    describe_counter!(
        REQUESTS,
        "Requests to payment providers, by provider, by what was asked (a kind of step, or lookup) and by what was answered."
    );
    describe_histogram!(
        SECONDS,
        Unit::Seconds,
        "How long a request to a payment provider took, whatever came of it, by provider."
    );
    describe_gauge!(
        BREAKER_OPEN,
        "1 while a payment provider is left alone, or tried, because it failed too often."
    );
}

/// A request that has come to its end.
pub fn asked(name: &ProviderName, question: Question, kind: PaymentKind, answer: &Answer, took: Duration) {
    let provider = name.to_string();
    let asked = match question {
        Question::Do => kind.to_string(),
        Question::WhatHappened => "lookup".to_owned(),
    };
    tracing::debug!(
        provider,
        asked,
        answer = answer.name(),
        ?took,
        "a payment provider was asked"
    );
    histogram!(SECONDS, "provider" => provider.clone()).record(took.as_secs_f64());
    counter!(REQUESTS, "provider" => provider, "asked" => asked, "answer" => answer.name()).increment(1);
}

/// Whether requests go through without a trial.
pub fn breaker(name: &ProviderName, closed: bool) {
    gauge!(BREAKER_OPEN, "provider" => name.to_string()).set(if closed { 0.0 } else { 1.0 });
}
