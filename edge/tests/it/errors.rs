//! What clients are told: code, reason and details of every refusal.

use std::time::Duration;

use docket_actors::CallError;
use docket_edge::Refusal;
use docket_engine::{
    Amount, CustomerId, OrderId, OrderState, Quantity, Rejection, Sku, access::Denied, access::Scope,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{denials, metrics};

/// Which details a refusal has beside ErrorInfo.
#[derive(Debug, Default, PartialEq, Eq)]
struct Has {
    retry: Option<Duration>,
    quota: Option<&'static str>,
    precondition: Option<&'static str>,
    resource: Option<(&'static str, &'static str)>,
    field: Option<&'static str>,
}

#[track_caller]
fn check(refusal: impl Into<Refusal>, code: Code, reason: &str, has: Has) {
    let status = Status::from(refusal.into());
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo is always there");
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str()),
        (code, reason, "docket")
    );
    assert!(!status.message().is_empty());
    assert_eq!(
        details.retry_info().and_then(|retry| retry.retry_delay),
        has.retry,
        "{reason}: RetryInfo"
    );
    let quota = details
        .quota_failure()
        .map(|quota| quota.violations[0].subject.as_str());
    assert_eq!(quota, has.quota, "{reason}: QuotaFailure");
    let precondition = details.precondition_failure().map(|failure| {
        assert_eq!(failure.violations[0].r#type, reason);
        failure.violations[0].subject.as_str()
    });
    assert_eq!(precondition, has.precondition, "{reason}: PreconditionFailure");
    let resource = details
        .resource_info()
        .map(|r| (r.resource_type.as_str(), r.resource_name.as_str()));
    assert_eq!(resource, has.resource, "{reason}: ResourceInfo");
    assert_eq!(
        info.metadata.get("field").map(String::as_str),
        has.field,
        "{reason}: the field"
    );
}

fn sku() -> Sku {
    Sku::new("nut").unwrap()
}

fn ada() -> CustomerId {
    CustomerId::new("ada").unwrap()
}

const CUSTOMER: Option<(&str, &str)> = Some(("docket.v1.Customer", "customers/ada"));
const ITEM: Option<(&str, &str)> = Some(("docket.v1.Item", "items/nut"));

#[test]
fn what_does_not_exist_is_not_found() {
    let customer = Rejection::CustomerNotFound { customer: ada() };
    check(
        customer,
        Code::NotFound,
        "CUSTOMER_NOT_FOUND",
        Has {
            resource: CUSTOMER,
            field: Some("customer"),
            ..Has::default()
        },
    );
    let item = Rejection::ItemNotFound {
        line: None,
        sku: sku(),
    };
    check(
        item,
        Code::NotFound,
        "ITEM_NOT_FOUND",
        Has {
            resource: ITEM,
            field: Some("name"),
            ..Has::default()
        },
    );
    let order = Rejection::OrderNotFound { order: OrderId(0) };
    check(
        order,
        Code::NotFound,
        "ORDER_NOT_FOUND",
        Has {
            resource: Some(("docket.v1.Order", "orders/00000000000000000000000000")),
            field: Some("name"),
            ..Has::default()
        },
    );
}

#[test]
fn what_exists_already_is_said_to() {
    check(
        Rejection::RequestIdReused,
        Code::AlreadyExists,
        "REQUEST_ID_REUSED",
        Has {
            field: Some("request_id"),
            ..Has::default()
        },
    );
    let customer = Rejection::CustomerExists { customer: ada() };
    check(
        customer,
        Code::AlreadyExists,
        "CUSTOMER_EXISTS",
        Has {
            resource: CUSTOMER,
            field: Some("customer_id"),
            ..Has::default()
        },
    );
    let item = Rejection::ItemExists { sku: sku() };
    check(
        item,
        Code::AlreadyExists,
        "ITEM_EXISTS",
        Has {
            resource: ITEM,
            field: Some("sku"),
            ..Has::default()
        },
    );
}

#[test]
fn a_stale_etag_aborts() {
    check(
        Rejection::StaleEtag,
        Code::Aborted,
        "STALE_ETAG",
        Has {
            field: Some("etag"),
            precondition: Some("etag"),
            ..Has::default()
        },
    );
}

#[test]
fn an_order_that_the_state_refuses_names_line_and_field() {
    let item = Rejection::ItemNotFound {
        line: Some(3),
        sku: sku(),
    };
    check(
        item,
        Code::FailedPrecondition,
        "ITEM_NOT_FOUND",
        Has {
            resource: ITEM,
            precondition: Some("items/nut"),
            field: Some("lines[3].item"),
            ..Has::default()
        },
    );
    let (eur, usd) = ("EUR".parse().unwrap(), "USD".parse().unwrap());
    let currency = |line| Rejection::CurrencyMismatch {
        line,
        ordered: eur,
        expected: usd,
    };
    for (line, field) in [(None, "currency_code"), (Some(0), "lines[0].item")] {
        check(
            currency(line),
            Code::FailedPrecondition,
            "CURRENCY_MISMATCH",
            Has {
                precondition: Some(field),
                field: Some(field),
                ..Has::default()
            },
        );
    }
    let price = Rejection::PriceChanged {
        line: 1,
        sku: sku(),
        offered: Amount(1),
        current: Amount(2),
    };
    check(
        price,
        Code::FailedPrecondition,
        "PRICE_CHANGED",
        Has {
            resource: ITEM,
            precondition: Some("items/nut"),
            field: Some("lines[1].unit_price"),
            ..Has::default()
        },
    );
    let stock = Rejection::InsufficientStock {
        line: 2,
        sku: sku(),
        wanted: Quantity(2),
        available: Quantity(1),
    };
    check(
        stock,
        Code::FailedPrecondition,
        "INSUFFICIENT_STOCK",
        Has {
            resource: ITEM,
            precondition: Some("items/nut"),
            field: Some("lines[2].quantity"),
            ..Has::default()
        },
    );
    let credit = Rejection::InsufficientCredit {
        needed: Amount(2),
        available: Amount(1),
    };
    let of = |field| Has {
        precondition: Some(field),
        field: Some(field),
        ..Has::default()
    };
    check(
        credit,
        Code::FailedPrecondition,
        "INSUFFICIENT_CREDIT",
        of("lines"),
    );
    check(
        Rejection::Overflow { line: None },
        Code::FailedPrecondition,
        "AMOUNT_OVERFLOW",
        of("lines"),
    );
    check(
        Rejection::Overflow { line: Some(4) },
        Code::InvalidArgument,
        "AMOUNT_OVERFLOW",
        Has {
            field: Some("lines[4]"),
            ..Has::default()
        },
    );
    let state = Rejection::NotCancellable {
        state: OrderState::Rejected,
    };
    check(state, Code::FailedPrecondition, "NOT_CANCELLABLE", of("name"));
    check(
        Rejection::OrderPending,
        Code::FailedPrecondition,
        "ORDER_PENDING",
        Has {
            retry: Some(Duration::from_millis(50)),
            ..of("name")
        },
    );
}

#[test]
fn stock_and_money_that_orders_hold_stay() {
    let stock = Rejection::StockReserved {
        on_hand: Quantity(3),
        reserved: Quantity(2),
        wanted: Quantity(2),
    };
    check(
        stock,
        Code::FailedPrecondition,
        "STOCK_RESERVED",
        Has {
            precondition: Some("delta"),
            field: Some("delta"),
            ..Has::default()
        },
    );
    let balance = Rejection::BalanceHeld {
        available: Amount(1),
        wanted: Amount(2),
    };
    check(
        balance,
        Code::FailedPrecondition,
        "BALANCE_HELD",
        Has {
            precondition: Some("amount"),
            field: Some("amount"),
            ..Has::default()
        },
    );
}

#[test]
fn retry_is_offered_only_where_nothing_was_done() {
    let second = Duration::from_secs(1);
    check(
        CallError::Overloaded { retry_after: second },
        Code::ResourceExhausted,
        "OVERLOADED",
        Has {
            retry: Some(second),
            quota: Some("node:in_flight"),
            ..Has::default()
        },
    );
    check(
        CallError::LowSpace { free_bytes: 7 },
        Code::ResourceExhausted,
        "LOW_SPACE",
        Has {
            retry: Some(Duration::from_secs(30)),
            quota: Some("node:disk"),
            ..Has::default()
        },
    );
    let unavailable = CallError::Unavailable {
        reason: "the shard has no leader",
        retry_after: second,
    };
    check(
        unavailable,
        Code::Unavailable,
        "SHARD_UNAVAILABLE",
        Has {
            retry: Some(second),
            ..Has::default()
        },
    );
    check(
        Refusal::stopping(),
        Code::Unavailable,
        "NODE_STOPPING",
        Has {
            retry: Some(second),
            ..Has::default()
        },
    );
    check(
        CallError::OutcomeUnknown,
        Code::Unavailable,
        "OUTCOME_UNKNOWN",
        Has::default(),
    );
    check(
        CallError::DeadlineExceeded,
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        Has::default(),
    );
}

#[test]
fn what_the_node_refuses_for_want_of_room_is_counted() {
    let recorder = metrics();
    let second = Duration::from_secs(1);
    for (error, limiter) in [
        (CallError::Overloaded { retry_after: second }, "actors_in_flight"),
        (CallError::LowSpace { free_bytes: 7 }, "disk"),
    ] {
        drop(Refusal::from(error));
        assert!(denials(&recorder.render(), limiter) > 0);
    }
}

#[test]
fn the_node_s_inside_stays_inside() {
    check(
        CallError::Poison,
        Code::Internal,
        "POISONED_REQUEST",
        Has::default(),
    );
    check(
        CallError::Broken,
        Code::Internal,
        "INVARIANT_BROKEN",
        Has::default(),
    );
    check(
        Refusal::internal("1-1"),
        Code::Internal,
        "INTERNAL",
        Has::default(),
    );
    let low = Status::from(Refusal::from(CallError::LowSpace { free_bytes: 123_456 }));
    assert!(
        !low.message().contains("123456"),
        "how full the disk is concerns operators"
    );
}

#[test]
fn what_is_denied_says_what_is_missing_and_nothing_of_the_resource() {
    check(
        Denied::Role,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        Has::default(),
    );
    check(
        Denied::Hidden,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        Has::default(),
    );
    check(
        Denied::Scope(Scope::Items),
        Code::PermissionDenied,
        "SCOPE_MISSING",
        Has::default(),
    );
}

#[test]
fn details_fit_a_header_however_much_is_wrong() {
    let long = "ß".repeat(1 << 20);
    let refusal = Refusal::invalid((0..1_000).map(|i| (format!("lines[{i}].{long}"), long.clone())));
    let status = Status::from(refusal);
    assert!(
        status.details().len() < 12_000,
        "{} bytes",
        status.details().len()
    );
    assert!(status.message().len() < 600);
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations.len(), 16);
}

#[test]
fn a_stream_s_status_says_the_same_as_a_call_s() {
    let refusal = || {
        Refusal::from(Rejection::InsufficientCredit {
            needed: Amount(2),
            available: Amount(1),
        })
    };
    let of_call = Status::from(refusal());
    let of_stream = refusal().into_rpc_status();
    assert_eq!(of_stream.code, Code::FailedPrecondition as i32);
    assert_eq!(of_stream.message, of_call.message());
    assert_eq!(of_stream.details.len(), 2, "ErrorInfo and PreconditionFailure");
    assert!(
        of_stream
            .details
            .iter()
            .any(|any| any.type_url == "type.googleapis.com/google.rpc.ErrorInfo")
    );
}
