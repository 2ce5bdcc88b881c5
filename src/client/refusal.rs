//! A call that failed, told so that somebody can act on it: the reason, the fields, when to try again.

use std::{error::Error, fmt, fmt::Write as _};

use docket_proto::code_name;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::Source;

/// What tonic calls a deadline that passed on our side.
const TIMEOUT_EXPIRED: &str = "Timeout expired";

/// A call that failed.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: Status,
    source: Source,
    request_id: Option<String>,
}

impl Refusal {
    /// The failure of a call made with credentials from `source`.
    pub fn new(status: Status, source: Source) -> Self {
        let status = if status.code() == Code::Cancelled && status.message() == TIMEOUT_EXPIRED {
            Status::deadline_exceeded("the server did not answer within --timeout")
        } else {
            status
        };
        Self {
            status,
            source,
            request_id: None,
        }
    }

    /// The same for a call that can be repeated under `request_id`.
    pub fn of_request(self, request_id: &str) -> Self {
        Self {
            request_id: Some(request_id.to_owned()),
            ..self
        }
    }

    /// What the server, or the connection, said.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The `reason` of its ErrorInfo, when it has one.
    pub fn reason(&self) -> Option<String> {
        self.details().error_info().map(|info| info.reason.clone())
    }

    /// The failure as JSON: code, message, reason, and each detail that there is.
    pub fn to_json(&self) -> Value {
        let details = self.details();
        let mut error = Map::new();
        let mut put = |key: &str, value: Value| error.insert(key.to_owned(), value);
        put("code", json!(code_name(self.status.code())));
        put("message", json!(self.status.message()));
        if let Some(info) = details.error_info() {
            put("reason", json!(info.reason));
            put("domain", json!(info.domain));
            put("metadata", json!(info.metadata));
        }
        if let Some(bad) = details.bad_request() {
            let violations = bad.field_violations.iter();
            let shown: Vec<Value> = violations
                .map(|one| json!({"field": one.field, "description": one.description}))
                .collect();
            put("field_violations", json!(shown));
        }
        if let Some(precondition) = details.precondition_failure() {
            let violations = precondition.violations.iter();
            let shown: Vec<Value> = violations
                .map(
                    |one| json!({"type": one.r#type, "subject": one.subject, "description": one.description}),
                )
                .collect();
            put("precondition_violations", json!(shown));
        }
        if let Some(quota) = details.quota_failure() {
            let violations = quota.violations.iter();
            let shown: Vec<Value> = violations
                .map(|one| json!({"subject": one.subject, "description": one.description}))
                .collect();
            put("quota_violations", json!(shown));
        }
        if let Some(resource) = details.resource_info() {
            put(
                "resource",
                json!({"type": resource.resource_type, "name": resource.resource_name}),
            );
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            put("retry_delay_seconds", json!(delay.as_secs_f64()));
        }
        if let Some(id) = &self.request_id {
            put("request_id", json!(id));
        }
        if let Some(advice) = self.advice() {
            put("advice", json!(advice));
        }
        json!({ "error": error })
    }

    fn details(&self) -> ErrorDetails {
        self.status.get_error_details()
    }

    /// What to do, where the code and this connection say something that the server cannot know.
    fn advice(&self) -> Option<String> {
        let own = self.status.get_details_error_info().is_some();
        match (self.status.code(), &self.source) {
            (Code::Unauthenticated, Source::None) => Some(
                "no credentials were sent: give --api-key-file or --token, or run where ./docket-data/admin.key is"
                    .to_owned(),
            ),
            (Code::Unauthenticated, source) => Some(format!("the credentials came from {source}")),
            (Code::Unimplemented, _) => Some("the server is older than this program, or no Docket server".to_owned()),
            (Code::Unavailable | Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::Cancelled, _) => {
                match &self.request_id {
                    Some(id) => Some(format!(
                        "what became of it is not known; repeat it with --request-id {id}, which never applies twice"
                    )),
                    None if own => None,
                    None => Some("check that --addr is the gRPC address (7070 by default), not the admin port".into()),
                }
            }
            _ => None,
        }
    }
}

impl Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = self.details();
        let message = match self.status.message() {
            "" => self.status.code().description(),
            message => message,
        };
        let mut more = String::new();
        let mut line = |label: &str, text: &str| {
            let _ = write!(more, "\n  {label}: {text}");
        };
        let code = code_name(self.status.code());
        let reason = match details.error_info() {
            Some(info) if !info.reason.is_empty() && info.reason != code => {
                format!("{code}, {}", info.reason)
            }
            _ => code.to_owned(),
        };
        let fields = details
            .bad_request()
            .into_iter()
            .flat_map(|bad| &bad.field_violations);
        let fields = fields.map(|one| (&one.field, &one.description));
        let subjects = details
            .precondition_failure()
            .into_iter()
            .flat_map(|failure| &failure.violations);
        let subjects = subjects.map(|one| (&one.subject, &one.description));
        let quotas = details
            .quota_failure()
            .into_iter()
            .flat_map(|failure| &failure.violations);
        let quotas = quotas.map(|one| (&one.subject, &one.description));
        // A single violation often says the message once more; then its subject is in the metadata.
        for (subject, description) in fields.chain(subjects).chain(quotas) {
            if !message.contains(description.as_str()) {
                line(subject, description);
            }
        }
        if let Some(resource) = details.resource_info() {
            line("resource", &resource.resource_name);
        }
        if let Some(info) = details.error_info() {
            let mut metadata: Vec<_> = info.metadata.iter().collect();
            metadata.sort();
            metadata.into_iter().for_each(|(key, value)| line(key, value));
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            line("retry", &format!("in {delay:?}"));
        }
        if let Some(advice) = self.advice() {
            line("do", &advice);
        }
        write!(f, "{message} ({reason}){more}")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;

    #[test]
    fn every_detail_is_told() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(
                "INSUFFICIENT_STOCK",
                "docket",
                HashMap::from([("available".to_owned(), "3".to_owned())]),
            )
            .add_bad_request_violation("lines[0].quantity", "only 3 are available")
            .set_retry_info(Some(Duration::from_millis(1_500)))
            .set_resource_info("item", "items/tea", "", "");
        let status = Status::with_error_details(Code::FailedPrecondition, "not enough of items/tea", details);
        let refusal = Refusal::new(status, Source::None);
        assert_eq!(refusal.reason().as_deref(), Some("INSUFFICIENT_STOCK"));
        assert_eq!(
            refusal.to_string(),
            "not enough of items/tea (FAILED_PRECONDITION, INSUFFICIENT_STOCK)\n  lines[0].quantity: only 3 are \
             available\n  resource: items/tea\n  available: 3\n  retry: in 1.5s"
        );
        assert_eq!(
            refusal.to_json(),
            json!({"error": {
                "code": "FAILED_PRECONDITION",
                "message": "not enough of items/tea",
                "reason": "INSUFFICIENT_STOCK",
                "domain": "docket",
                "metadata": {"available": "3"},
                "field_violations": [{"field": "lines[0].quantity", "description": "only 3 are available"}],
                "resource": {"type": "item", "name": "items/tea"},
                "retry_delay_seconds": 1.5,
            }})
        );
    }

    #[test]
    fn nothing_is_said_twice() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(
                "INVALID_ARGUMENT",
                "docket",
                HashMap::from([("field".to_owned(), "name".to_owned())]),
            )
            .add_bad_request_violation("name", "must have the form orders/{order}");
        let message = "name must have the form orders/{order}";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        let told = Refusal::new(status, Source::None).to_string();
        assert_eq!(told, format!("{message} (INVALID_ARGUMENT)\n  field: name"));
    }

    #[test]
    fn an_unknown_outcome_says_how_to_repeat() {
        let refusal = Refusal::new(Status::cancelled(TIMEOUT_EXPIRED), Source::None).of_request("r-1");
        let text = refusal.to_string();
        assert!(
            text.contains("DEADLINE_EXCEEDED") && text.contains("--request-id r-1"),
            "{text}"
        );
    }

    #[test]
    fn missing_credentials_say_where_they_could_come_from() {
        let text = Refusal::new(Status::unauthenticated("who?"), Source::None).to_string();
        assert!(text.contains("--api-key-file"), "{text}");
        let text = Refusal::new(
            Status::unauthenticated("who?"),
            Source::Variable("DOCKET_API_KEY"),
        )
        .to_string();
        assert!(text.contains("came from DOCKET_API_KEY"), "{text}");
    }
}
