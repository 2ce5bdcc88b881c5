//! A refusal as HTTP has it: a status that clients know, and `google.rpc.Status` as JSON, with its details.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What a client gave up waiting for. No registered status says so; this is what proxies call it.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// The reason of a request that is larger than the server takes.
const TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// The reason of a body that is not JSON.
const NOT_JSON: &str = "CONTENT_TYPE_UNSUPPORTED";

/// The status of HTTP for a refusal: as `google.rpc.Code` maps them, and closer where HTTP has a word of its own.
pub fn http_status(status: &Status) -> StatusCode {
    match status.code() {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument => match reason_of(status).as_str() {
            TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            NOT_JSON => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        },
        Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `ErrorInfo.reason`; empty where there is none.
fn reason_of(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// After how many seconds it is sensible to try again, where the refusal says so: nothing was done.
pub fn retry_after(status: &Status) -> Option<u64> {
    let delay = status.get_details_retry_info()?.retry_delay?;
    Some(delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
}

/// `google.rpc.Status` as JSON.
pub fn status_json(status: &Status) -> Value {
    json!({
        "code": status.code() as i32,
        "message": status.message(),
        "details": details(&status.get_error_details()),
    })
}

fn details(details: &ErrorDetails) -> Vec<Value> {
    let mut all = Vec::new();
    let mut tell = |kind: &str, mut value: Value| {
        if let Value::Object(fields) = &mut value {
            fields.insert(
                "@type".into(),
                format!("type.googleapis.com/google.rpc.{kind}").into(),
            );
        }
        all.push(value);
    };
    if let Some(info) = details.error_info() {
        let value = json!({ "reason": info.reason, "domain": info.domain, "metadata": info.metadata });
        tell("ErrorInfo", value);
    }
    if let Some(bad) = details.bad_request() {
        let violations = bad.field_violations.iter();
        let violations: Vec<Value> = violations
            .map(|violation| json!({ "field": violation.field, "description": violation.description }))
            .collect();
        tell("BadRequest", json!({ "fieldViolations": violations }));
    }
    if let Some(failure) = details.precondition_failure() {
        let violations = failure.violations.iter();
        let violations: Vec<Value> = violations
            .map(|violation| {
                json!({ "type": violation.r#type, "subject": violation.subject, "description": violation.description })
            })
            .collect();
        tell("PreconditionFailure", json!({ "violations": violations }));
    }
    if let Some(failure) = details.quota_failure() {
        let violations = failure.violations.iter();
        let violations: Vec<Value> = violations
            .map(|violation| json!({ "subject": violation.subject, "description": violation.description }))
            .collect();
        tell("QuotaFailure", json!({ "violations": violations }));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        tell("RetryInfo", json!({ "retryDelay": duration_json(delay) }));
    }
    if let Some(info) = details.resource_info() {
        tell(
            "ResourceInfo",
            json!({
                "resourceType": info.resource_type,
                "resourceName": info.resource_name,
                "owner": info.owner,
                "description": info.description,
            }),
        );
    }
    all
}

/// A duration as protobuf's JSON has it.
fn duration_json(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_short_as_they_can_be() {
        let told = |ms| duration_json(Duration::from_millis(ms));
        assert_eq!(
            [told(0), told(50), told(1_000), told(90_500)],
            ["0s", "0.05s", "1s", "90.5s"]
        );
    }

    #[test]
    fn a_refusal_is_told_with_all_of_its_details() {
        let mut given = ErrorDetails::new();
        given
            .set_error_info("OVERLOADED", "docket", [("limit".to_owned(), "7".to_owned())])
            .set_retry_info(Some(Duration::from_millis(1_200)))
            .add_quota_failure_violation("node:in_flight", "too much")
            .add_bad_request_violation("lines[0].quantity", "must be 1 or more")
            .add_precondition_failure_violation("ORDER_HELD", "orders/1", "it is held")
            .set_resource_info("docket.v1.Order", "orders/1", "", "it is held");
        let status = Status::with_error_details(Code::ResourceExhausted, "too much", given);
        assert_eq!(http_status(&status), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(retry_after(&status), Some(2));
        let told = status_json(&status);
        assert_eq!(told["code"], 8);
        assert_eq!(told["message"], "too much");
        let details = told["details"].as_array().unwrap();
        let kinds: Vec<&str> = details
            .iter()
            .map(|detail| detail["@type"].as_str().unwrap())
            .collect();
        let expected = [
            "ErrorInfo",
            "BadRequest",
            "PreconditionFailure",
            "QuotaFailure",
            "RetryInfo",
            "ResourceInfo",
        ];
        assert_eq!(
            kinds,
            expected.map(|kind| format!("type.googleapis.com/google.rpc.{kind}"))
        );
        assert_eq!(details[0]["reason"], "OVERLOADED");
        assert_eq!(details[0]["metadata"]["limit"], "7");
        assert_eq!(details[1]["fieldViolations"][0]["field"], "lines[0].quantity");
        assert_eq!(details[2]["violations"][0]["type"], "ORDER_HELD");
        assert_eq!(details[4]["retryDelay"], "1.2s");
        assert_eq!(details[5]["resourceName"], "orders/1");
    }

    #[test]
    fn what_http_has_a_word_for_is_said_with_it() {
        let of = |reason: &str| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, "docket", std::collections::HashMap::new());
            http_status(&Status::with_error_details(Code::InvalidArgument, "", details)).as_u16()
        };
        assert_eq!(
            [of("INVALID_ARGUMENT"), of(TOO_LARGE), of(NOT_JSON)],
            [400, 413, 415]
        );
        assert_eq!(http_status(&Status::cancelled("")).as_u16(), 499);
    }
}
