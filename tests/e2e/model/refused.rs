//! Refusals, as they come and as they must be.

use docket_engine::Rejection;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::api::{fields, reason};

/// A refusal, as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// What a call was refused with.
pub fn refused(status: &Status) -> Refused {
    let info = status.get_details_error_info();
    let field = info.and_then(|info| info.metadata.get("field").cloned());
    let reason = reason(status);
    if status.code() == Code::InvalidArgument {
        assert!(!fields(status).is_empty(), "{status:?}");
    }
    Refused {
        code: status.code(),
        message: status.message().to_owned(),
        field: field.unwrap_or_default(),
        reason,
    }
}

/// A rejection as a client of this method must see it. No kind is left out: a new one has to say here what it looks like.
pub fn rejected(method: &str, rejection: &Rejection) -> Refused {
    use Rejection as R;
    let code = match rejection {
        R::CustomerNotFound { .. } | R::OrderNotFound { .. } | R::ItemNotFound { line: None, .. } => {
            Code::NotFound
        }
        R::RequestIdReused | R::CustomerExists { .. } | R::ItemExists { .. } => Code::AlreadyExists,
        R::StaleEtag => Code::Aborted,
        R::Overflow { line: Some(_) } | R::LineNotFound { .. } | R::ProviderNotFound { .. } => {
            Code::InvalidArgument
        }
        R::ItemNotFound { line: Some(_), .. }
        | R::CurrencyMismatch { .. }
        | R::InsufficientCredit { .. }
        | R::Overflow { line: None }
        | R::PriceChanged { .. }
        | R::InsufficientStock { .. }
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
        | R::TooManyEdits
        | R::TooManyAuthorizations
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
        // An order waits for nobody between two commands, and its actor makes what comes wait until it is settled.
        R::OrderPending => panic!("an order is pending, with nothing under way"),
        // Actors panic in `actors/tests/it/faults.rs`.
        R::ItemFailed { .. } => panic!("an item's actor failed"),
    };
    Refused {
        code,
        reason: rejection.reason().to_owned(),
        message: rejection.to_string(),
        field: own_field(method, rejection.field()),
    }
}

/// What the method's own request calls the field.
fn own_field(method: &str, field: String) -> String {
    let own = match (method, field.as_str()) {
        ("CreateCustomer", "customer") => "customer_id",
        ("GetCustomer" | "CreditAccount", "customer") => "name",
        ("UpdateCustomer", "customer") => "customer.name",
        ("UpdateCustomer", "etag") => "customer.etag",
        ("CreditAccount", "lines") => "amount",
        ("UpdateItem", "name") => "item.name",
        ("UpdateItem", "etag") => "item.etag",
        ("AdjustStock", "lines") => "delta",
        _ => return field,
    };
    own.to_owned()
}
