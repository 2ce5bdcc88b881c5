//! How a refusal is told: a gRPC status with `google.rpc` details (google.aip.dev/193).
//!
//! Every refusal of this crate has an `ErrorInfo` with domain `docket` and a reason that never changes its meaning. What
//! an operator must know and a caller must not (paths, causes, states) is logged, never sent.
//!
//! Details travel in a header, and some clients take no more than 8 KiB of headers: their number and length are bounded.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use docket_actors::{CallError, standby::Posture};
use docket_engine::{Rejection, access::Denied};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::telemetry;

/// `ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "docket";
/// At most this many field violations are told.
pub const VIOLATIONS_MAX: usize = 16;
/// No text is longer, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// When to come back while space is low: somebody has to free it.
const LOW_SPACE_RETRY: Duration = Duration::from_secs(30);
/// When to come back while a standby is asked.
const ASKED_RETRY: Duration = Duration::from_secs(1);
/// When to come back while an order is being placed.
const PENDING_RETRY: Duration = Duration::from_millis(50);

/// What a request calls the fields that [`Rejection::field`] has other names for: pairs of that name and its own.
pub(crate) type FieldNames = &'static [(&'static str, &'static str)];

/// A call that is not done, and why.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    reason: Cow<'static, str>,
    message: String,
    metadata: Vec<(&'static str, String)>,
    details: ErrorDetails,
}

impl Refusal {
    /// A refusal with its reason in UPPER_SNAKE_CASE, and the same for people.
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            reason: reason.into(),
            message: bounded(message.into()),
            metadata: Vec::new(),
            details: ErrorDetails::new(),
        }))
    }

    /// INVALID_ARGUMENT, with the fields that are wrong and what is wrong with each.
    pub fn invalid<F: Into<String>, D: Into<String>>(violations: impl IntoIterator<Item = (F, D)>) -> Self {
        let violations: Vec<FieldViolation> = violations
            .into_iter()
            .take(VIOLATIONS_MAX)
            .map(|(field, why)| FieldViolation::new(bounded(field.into()), bounded(why.into())))
            .collect();
        let message = match violations.first() {
            Some(first) if first.field.is_empty() => first.description.clone(),
            Some(first) => format!("{} {}", first.field, first.description),
            None => "the request is not valid".into(),
        };
        let field = violations
            .first()
            .map(|first| first.field.clone())
            .unwrap_or_default();
        let mut refusal = Self::new(Code::InvalidArgument, "INVALID_ARGUMENT", message).with("field", field);
        refusal.0.details.set_bad_request(violations);
        refusal
    }

    /// What a call answers whose request has names of its own for some fields.
    pub(crate) fn of_call(error: CallError, names: FieldNames) -> Self {
        match error {
            CallError::Rejected(rejection) => Self::of_rejection(rejection, names),
            error => error.into(),
        }
    }

    /// The same of a rejection.
    pub(crate) fn of_rejection(rejection: Rejection, names: FieldNames) -> Self {
        let field = rejection.field();
        let own = names.iter().find(|(name, _)| *name == field);
        refusal_of(&rejection, own.map_or(field.as_str(), |(_, own)| *own))
    }

    /// INTERNAL, with nothing about the cause but `incident`, under which it was logged.
    pub fn internal(incident: &str) -> Self {
        Self::new(
            Code::Internal,
            "INTERNAL",
            "the server failed on this request; it was recorded for its operators",
        )
        .with("incident", incident)
    }

    /// What tonic says of a request that it cannot read, in our words: its codes blame the server.
    pub fn unreadable(status: &Status) -> Self {
        let (code, reason) = match status.code() {
            Code::Internal => (Code::InvalidArgument, "MALFORMED_MESSAGE"),
            Code::OutOfRange => (Code::InvalidArgument, "MESSAGE_TOO_LARGE"),
            Code::Unimplemented => (Code::Unimplemented, "COMPRESSION_UNSUPPORTED"),
            code => (code, "UNREADABLE_REQUEST"),
        };
        Self::new(code, reason, status.message())
    }

    /// What a service of tonic's says at the end of a stream, with a reason: of those that are served, reflection does.
    pub fn unexplained(status: &Status) -> Self {
        let reason = match status.code() {
            Code::NotFound => "UNKNOWN_SYMBOL",
            Code::InvalidArgument => "MALFORMED_MESSAGE",
            _ => "SERVICE_FAILED",
        };
        Self::new(status.code(), reason, status.message())
    }

    /// RESOURCE_EXHAUSTED, because several orders are more than an answer has room for; so many of the first ones are not. To ask the
    /// same again is no use.
    pub fn batch_too_large(fitting: usize) -> Self {
        Self::new(
            Code::ResourceExhausted,
            "BATCH_TOO_LARGE",
            format!("these orders are too much for one answer: ask for fewer at a time ({fitting} of the first ones fit)"),
        )
        .with("fitting", fitting.to_string())
    }

    /// DEADLINE_EXCEEDED.
    pub fn deadline() -> Self {
        CallError::DeadlineExceeded.into()
    }

    /// FAILED_PRECONDITION, because another cluster is to be written to: this is its standby, or it has taken this one's place. Nothing was done.
    pub(crate) fn leads_nothing(posture: &Arc<Posture>) -> Self {
        let message = CallError::LeadsNothing(Arc::clone(posture)).to_string();
        let (reason, address) = match &**posture {
            Posture::Open | Posture::Asking { .. } => {
                let refusal = Self::new(Code::Unavailable, "STANDBY_ASKED", message);
                return refusal.retry(ASKED_RETRY);
            }
            Posture::Standby { of } => ("STANDBY", of),
            Posture::Fenced { by, .. } => ("FENCED", by),
        };
        Self::new(Code::FailedPrecondition, reason, message)
            .with("primary", address.clone())
            .precondition("cluster")
    }

    /// UNAVAILABLE, because the node stops. Nothing was done.
    pub fn stopping() -> Self {
        Self::new(
            Code::Unavailable,
            "NODE_STOPPING",
            "the node is stopping: send the request to another, or again later",
        )
        .retry(Duration::from_secs(1))
    }

    /// UNAVAILABLE, because another connection has taken the place of this one. Nothing was done.
    pub(crate) fn displaced() -> Self {
        Self::new(
            Code::Unavailable,
            "CONNECTION_DISPLACED",
            "there are too many connections, and another has this one's place: connect again",
        )
        .retry(Duration::from_secs(1))
    }

    /// Adds to `ErrorInfo.metadata`; what is empty is left out.
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        let value = bounded(value.into());
        if !value.is_empty() {
            self.0.metadata.push((key, value));
        }
        self
    }

    /// Adds `RetryInfo`: nothing was done, and it is sensible to try again after this long.
    pub fn retry(mut self, after: Duration) -> Self {
        self.0.details.set_retry_info(Some(after));
        self
    }

    /// Adds `BadRequest`: which field is wrong.
    fn violation(mut self, field: &str) -> Self {
        let violation = FieldViolation::new(bounded(field.to_owned()), self.0.message.clone());
        self.0.details.set_bad_request(vec![violation]);
        self
    }

    /// Adds `QuotaFailure`: whose quota is used up.
    pub fn quota(mut self, subject: impl Into<String>) -> Self {
        let message = self.0.message.clone();
        self.0
            .details
            .add_quota_failure_violation(bounded(subject.into()), message);
        self
    }

    /// Adds `PreconditionFailure`: what about `subject` would have to change first.
    pub fn precondition(mut self, subject: impl Into<String>) -> Self {
        let (reason, message) = (self.0.reason.to_string(), self.0.message.clone());
        self.0
            .details
            .add_precondition_failure_violation(reason, bounded(subject.into()), message);
        self
    }

    /// Adds `ResourceInfo`: which resource it is about.
    pub fn resource(mut self, kind: &'static str, name: impl Into<String>) -> Self {
        let message = self.0.message.clone();
        self.0
            .details
            .set_resource_info(kind, bounded(name.into()), "", message);
        self
    }

    /// The status code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// `ErrorInfo.reason`.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// As `google.rpc.Status`, for messages of a stream.
    pub fn into_rpc_status(self) -> docket_proto::google::rpc::Status {
        rpc_status(&Status::from(self))
    }
}

/// A status as `google.rpc.Status`, for messages of a stream.
pub(crate) fn rpc_status(status: &Status) -> docket_proto::google::rpc::Status {
    docket_proto::google::rpc::Status::decode(status.details()).unwrap_or_else(|_| {
        docket_proto::google::rpc::Status {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: Vec::new(),
        }
    })
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let Inner {
            code,
            reason,
            message,
            metadata,
            mut details,
        } = *refusal.0;
        let metadata: HashMap<String, String> = metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        details.set_error_info(reason, DOMAIN, metadata);
        Status::with_error_details(code, message, details)
    }
}

/// Every answer of the node passes here once: what it refused for want of room is counted.
impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::Rejected(rejection) => rejection.into(),
            CallError::Overloaded { retry_after } => {
                telemetry::denied_by_node(telemetry::ACTORS_IN_FLIGHT);
                Self::new(Code::ResourceExhausted, "OVERLOADED", message)
                    .quota("node:in_flight")
                    .retry(retry_after)
            }
            CallError::LowSpace { .. } => {
                telemetry::denied_by_node(telemetry::DISK);
                let message =
                    "the node's disk is nearly full: writes are refused until space is freed, reads go on";
                Self::new(Code::ResourceExhausted, "LOW_SPACE", message)
                    .quota("node:disk")
                    .retry(LOW_SPACE_RETRY)
            }
            CallError::Unavailable { retry_after, .. } => {
                Self::new(Code::Unavailable, "SHARD_UNAVAILABLE", message).retry(retry_after)
            }
            CallError::LeadsNothing(posture) => Self::leads_nothing(&posture),
            CallError::OlderNodes => {
                Self::new(Code::FailedPrecondition, "OLDER_NODES", message).precondition("cluster".to_owned())
            }
            CallError::OutcomeUnknown => Self::new(Code::Unavailable, "OUTCOME_UNKNOWN", message),
            CallError::DeadlineExceeded => Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message),
            CallError::Poison => Self::new(Code::Internal, "POISONED_REQUEST", message),
            CallError::Broken => Self::new(Code::Internal, "INVARIANT_BROKEN", message),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::of_rejection(rejection, &[])
    }
}

/// A rejection that concerns this field of its request.
fn refusal_of(rejection: &Rejection, field: &str) -> Refusal {
    use Rejection as R;
    let code = match rejection {
        R::CustomerNotFound { .. } | R::OrderNotFound { .. } | R::ItemNotFound { line: None, .. } => {
            Code::NotFound
        }
        R::RequestIdReused | R::CustomerExists { .. } | R::ItemExists { .. } => Code::AlreadyExists,
        R::ProviderNotFound { .. } => Code::InvalidArgument,
        R::StaleEtag => Code::Aborted,
        // The lines alone are too much, whatever there is.
        R::Overflow { line: Some(_) } | R::LineNotFound { .. } => Code::InvalidArgument,
        R::ItemNotFound { line: Some(_), .. }
        | R::CurrencyMismatch { .. }
        | R::Overflow { line: None }
        | R::InsufficientCredit { .. }
        | R::PriceChanged { .. }
        | R::InsufficientStock { .. }
        | R::OrderPending
        | R::NotCancellable { .. }
        | R::NotHoldable { .. }
        | R::HoldExists { .. }
        | R::HoldNotFound { .. }
        | R::TooManyHolds
        | R::NotShippable { .. }
        | R::NotEditable { .. }
        | R::QuantityTooLow { .. }
        | R::EditLeavesNothing
        | R::EditNeedsAuthorization { .. }
        | R::TooManyAuthorizations
        | R::TooManyEdits
        | R::OrderHeld { .. }
        | R::QuantityNotOpen { .. }
        | R::TooManyFulfilments
        | R::FulfilmentNotFound { .. }
        | R::QuantityPlanned { .. }
        | R::QuantityBackordered { .. }
        | R::FulfilmentNotOpen { .. }
        | R::FulfilmentNotShipped { .. }
        | R::NotReturnable { .. }
        | R::QuantityNotReturnable { .. }
        | R::ReturnNotFound { .. }
        | R::ReturnNotOpen { .. }
        | R::TooManyReturns
        | R::RefundTooLarge { .. }
        | R::PaymentDeclined { .. }
        | R::PaymentExpired
        | R::OrderClosed
        | R::PaymentStepNotFound { .. }
        | R::PaymentNotDeclined { .. }
        | R::TooManyPayments
        | R::StockReserved { .. }
        | R::BalanceHeld { .. } => Code::FailedPrecondition,
        R::ItemFailed { .. } => Code::Internal,
    };
    let mut refusal = Refusal::new(code, rejection.reason(), rejection.to_string()).with("field", field);
    if let Some((kind, name)) = resource_of(rejection) {
        refusal = refusal.resource(kind, name);
    }
    for (key, value) in figures_of(rejection) {
        refusal = refusal.with(key, value);
    }
    match code {
        Code::FailedPrecondition | Code::Aborted => {
            let subject = resource_of(rejection).map_or_else(|| field.to_owned(), |(_, name)| name);
            refusal = refusal.precondition(subject);
        }
        Code::InvalidArgument => refusal = refusal.violation(field),
        _ => {}
    }
    if matches!(rejection, R::OrderPending) {
        refusal = refusal.retry(PENDING_RETRY);
    }
    refusal
}

impl From<Denied> for Refusal {
    /// [`Denied::Hidden`] must have become what a missing resource answers before; here it says no more than
    /// [`Denied::Role`].
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Role | Denied::Hidden => Self::new(
                Code::PermissionDenied,
                "ROLE_NOT_ALLOWED",
                Denied::Role.to_string(),
            ),
            Denied::Scope(scope) => Self::new(Code::PermissionDenied, "SCOPE_MISSING", denied.to_string())
                .with("scope", scope.as_str()),
        }
    }
}

/// Type and name of the resource that a rejection is about.
fn resource_of(rejection: &Rejection) -> Option<(&'static str, String)> {
    use Rejection as R;
    match rejection {
        R::CustomerNotFound { customer } | R::CustomerExists { customer } => {
            Some(("docket.v1.Customer", format!("customers/{customer}")))
        }
        R::ItemNotFound { sku, .. }
        | R::ItemExists { sku }
        | R::PriceChanged { sku, .. }
        | R::InsufficientStock { sku, .. } => Some(("docket.v1.Item", format!("items/{sku}"))),
        R::OrderNotFound { order } => Some(("docket.v1.Order", format!("orders/{order}"))),
        _ => None,
    }
}

/// What a program may want to know of a rejection without reading its message.
fn figures_of(rejection: &Rejection) -> Vec<(&'static str, String)> {
    use Rejection as R;
    match rejection {
        R::CurrencyMismatch {
            ordered, expected, ..
        } => {
            vec![
                ("ordered", ordered.to_string()),
                ("expected", expected.to_string()),
            ]
        }
        R::InsufficientCredit { needed, available } => {
            vec![
                ("needed", needed.to_string()),
                ("available", available.to_string()),
            ]
        }
        R::PriceChanged { offered, current, .. } => {
            vec![("offered", offered.to_string()), ("current", current.to_string())]
        }
        R::InsufficientStock {
            wanted, available, ..
        } => {
            vec![
                ("wanted", wanted.to_string()),
                ("available", available.to_string()),
            ]
        }
        R::NotCancellable { state }
        | R::NotHoldable { state }
        | R::NotShippable { state }
        | R::NotEditable { state }
        | R::NotReturnable { state } => {
            vec![("state", state.to_string())]
        }
        R::HoldExists { reason } | R::HoldNotFound { reason } | R::OrderHeld { reason } => {
            vec![("hold", reason.to_string())]
        }
        R::LineNotFound { line } => vec![("line", line.to_string())],
        R::QuantityNotOpen { line, wanted, open } => vec![
            ("line", line.to_string()),
            ("wanted", wanted.to_string()),
            ("open", open.to_string()),
        ],
        R::QuantityTooLow { line, wanted, gone } => vec![
            ("line", line.to_string()),
            ("wanted", wanted.to_string()),
            ("gone", gone.to_string()),
        ],
        R::EditNeedsAuthorization { more } => vec![("more", more.to_string())],
        R::FulfilmentNotFound { fulfilment } => vec![("fulfilment", fulfilment.to_string())],
        R::QuantityPlanned { line, planned } => {
            vec![("line", line.to_string()), ("planned", planned.to_string())]
        }
        R::QuantityBackordered { line, wanted, there } => vec![
            ("line", line.to_string()),
            ("wanted", wanted.to_string()),
            ("there", there.to_string()),
        ],
        R::FulfilmentNotOpen { fulfilment, state } | R::FulfilmentNotShipped { fulfilment, state } => vec![
            ("fulfilment", fulfilment.to_string()),
            ("state", state.to_string()),
        ],
        R::QuantityNotReturnable {
            line,
            wanted,
            returnable,
        } => vec![
            ("line", line.to_string()),
            ("wanted", wanted.to_string()),
            ("returnable", returnable.to_string()),
        ],
        R::ReturnNotFound { number } => vec![("return", number.to_string())],
        R::ReturnNotOpen { number, state } => {
            vec![("return", number.to_string()), ("state", state.to_string())]
        }
        R::RefundTooLarge { wanted, refundable } => {
            vec![
                ("wanted", wanted.to_string()),
                ("refundable", refundable.to_string()),
            ]
        }
        R::StockReserved {
            on_hand,
            reserved,
            wanted,
        } => vec![
            ("on_hand", on_hand.to_string()),
            ("reserved", reserved.to_string()),
            ("wanted", wanted.to_string()),
        ],
        R::BalanceHeld { available, wanted } => {
            vec![
                ("available", available.to_string()),
                ("wanted", wanted.to_string()),
            ]
        }
        _ => Vec::new(),
    }
}

/// The text, cut to [`TEXT_BYTES_MAX`] bytes at a character's end.
fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
