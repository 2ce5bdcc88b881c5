//! Domain answers that are not what was hoped for.

use std::sync::Arc;

use crate::{
    Amount, Currency, CustomerId, EDITS_MAX, FULFILMENTS_MAX, FulfilmentState, HOLDS_MAX, HoldReason,
    OrderId, OrderState, PAYMENT_RETRIES_MAX, PAYMENTS_MAX, ProviderName, Quantity, RETURNS_MAX, ReturnState,
    Sku,
};

/// Why a command was not done. In the order of precedence: where several apply to what one entity is asked, the first is
/// answered, and of several items' answers to an order that with the first line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The request id was used before with other content.
    #[error("this request_id was used before with different content; use a new one for a new request")]
    RequestIdReused,
    /// There is no such customer.
    #[error("there is no customer {customer}")]
    CustomerNotFound {
        /// The customer.
        customer: CustomerId,
    },
    /// There is no such item.
    #[error("there is no item {sku}")]
    ItemNotFound {
        /// The line that names it; `None` outside orders.
        line: Option<u16>,
        /// The item.
        sku: Sku,
    },
    /// There is no such order.
    #[error("there is no order {order}")]
    OrderNotFound {
        /// The order.
        order: OrderId,
    },
    /// The customer id is taken.
    #[error("customer {customer} exists already")]
    CustomerExists {
        /// The customer.
        customer: CustomerId,
    },
    /// The sku is taken.
    #[error("item {sku} exists already")]
    ItemExists {
        /// The item.
        sku: Sku,
    },
    /// The etag that came with the request is not the current one.
    #[error("the etag is not the current one: somebody changed this in between; read it again and retry")]
    StaleEtag,
    /// The order's currency is not the customer's (`line` is `None`) or not the item's.
    #[error("the order is in {ordered}, but {} uses {expected}", if line.is_some() { "the item" } else { "the customer" })]
    CurrencyMismatch {
        /// The line whose item has another currency.
        line: Option<u16>,
        /// The order's.
        ordered: Currency,
        /// The customer's or item's.
        expected: Currency,
    },
    /// The customer's balance and credit do not cover the order.
    #[error("the order costs {needed} and the customer can spend {available} (minor units)")]
    InsufficientCredit {
        /// What would be held.
        needed: Amount,
        /// What can be held.
        available: Amount,
    },
    /// Sums beyond what an amount or a quantity can hold.
    #[error("the amounts are too large to add up")]
    Overflow {
        /// The line up to which an order's lines add up to more; `None` where it is what is there already that it does not
        /// fit to.
        line: Option<u16>,
    },
    /// The item's price is not the line's.
    #[error("item {sku} costs {current}, not {offered} (minor units)")]
    PriceChanged {
        /// The line.
        line: u16,
        /// The item.
        sku: Sku,
        /// The line's price.
        offered: Amount,
        /// The item's price.
        current: Amount,
    },
    /// Fewer are available than wanted.
    #[error("of item {sku} {available} are available, {wanted} were wanted")]
    InsufficientStock {
        /// The first line that names the item.
        line: u16,
        /// The item.
        sku: Sku,
        /// By all lines together that name the item.
        wanted: Quantity,
        /// Not reserved.
        available: Quantity,
    },
    /// The order's stock is still being reserved.
    #[error("the order is still being placed; retry in a moment")]
    OrderPending,
    /// The order was closed: nothing comes of it any more.
    #[error("the order is CLOSED: it was fulfilled long ago, and nothing of it changes any more")]
    OrderClosed,
    /// An order in this state cannot be cancelled.
    #[error("an order that is {state} cannot be cancelled")]
    NotCancellable {
        /// The order's state.
        state: OrderState,
    },
    /// An order in this state cannot be held, and has no hold to release.
    #[error("an order that is {state} cannot be held")]
    NotHoldable {
        /// The order's state.
        state: OrderState,
    },
    /// The order is held for this reason already.
    #[error("the order is held already for {reason}")]
    HoldExists {
        /// The reason.
        reason: HoldReason,
    },
    /// The order is not held for this reason.
    #[error("the order is not held for {reason}")]
    HoldNotFound {
        /// The reason.
        reason: HoldReason,
    },
    /// The order was held too often.
    #[error("the order was held {HOLDS_MAX} times, which is as often as one may be")]
    TooManyHolds,
    /// An order in this state has nothing to ship.
    #[error("an order that is {state} cannot be shipped")]
    NotShippable {
        /// The order's state.
        state: OrderState,
    },
    /// The order is held: nothing of it is shipped.
    #[error("the order is held for {reason}; release the hold first")]
    OrderHeld {
        /// Its oldest hold's.
        reason: HoldReason,
    },
    /// The order has no such line.
    #[error("the order has no line {}", line + 1)]
    LineNotFound {
        /// The line, from 0.
        line: u16,
    },
    /// Less of a line is open than was to be shipped or cancelled.
    #[error("of line {} {open} are open, {wanted} were wanted", line + 1)]
    QuantityNotOpen {
        /// The line, from 0.
        line: u16,
        /// How many were wanted.
        wanted: Quantity,
        /// How many are neither shipped nor cancelled.
        open: Quantity,
    },
    /// The order was shipped, or cancelled in part, too often.
    #[error(
        "the order was shipped or cancelled in part {FULFILMENTS_MAX} times, which is as often as one may be"
    )]
    TooManyFulfilments,
    /// The order has no such shipment.
    #[error("the order has no fulfilment {fulfilment}")]
    FulfilmentNotFound {
        /// Its number, from 1.
        fulfilment: u32,
    },
    /// Some of a line is in open fulfilments, and what was wanted of it is more than is left.
    #[error("of line {} {planned} are in open fulfilments; ship or cancel these first", line + 1)]
    QuantityPlanned {
        /// The line, from 0.
        line: u16,
        /// How many open fulfilments have taken.
        planned: Quantity,
    },
    /// The fulfilment was sent already, or called off.
    #[error("fulfilment {fulfilment} is {state}, and no longer open")]
    FulfilmentNotOpen {
        /// Its number, from 1.
        fulfilment: u32,
        /// Where it stands.
        state: FulfilmentState,
    },
    /// The fulfilment was not sent.
    #[error("fulfilment {fulfilment} is {state}, and was not shipped")]
    FulfilmentNotShipped {
        /// Its number, from 1.
        fulfilment: u32,
        /// Where it stands.
        state: FulfilmentState,
    },
    /// Nothing of an order in this state can be sent back: nothing was shipped, or all of it is in returns.
    #[error("of an order that is {state} nothing can be returned")]
    NotReturnable {
        /// The order's state.
        state: OrderState,
    },
    /// Less of a line was shipped, and is in no return, than was to be sent back.
    #[error("of line {} {returnable} can be returned, {wanted} were wanted", line + 1)]
    QuantityNotReturnable {
        /// The line, from 0.
        line: u16,
        /// How many were wanted.
        wanted: Quantity,
        /// How many were shipped and are in no return.
        returnable: Quantity,
    },
    /// Some of that is not there yet: its item has promised it, and waits for it itself.
    #[error("of line {} {there} can be sent now, not {wanted}: the rest is backordered", line + 1)]
    QuantityBackordered {
        /// The line, from 0.
        line: u16,
        /// How many were wanted.
        wanted: Quantity,
        /// How many of what is open are there.
        there: Quantity,
    },
    /// The order has no such return.
    #[error("the order has no return {number}")]
    ReturnNotFound {
        /// Its number, from 1.
        number: u32,
    },
    /// A return that stands there cannot come to what was asked.
    #[error("return {number} is {state}, from which that does not follow")]
    ReturnNotOpen {
        /// Its number, from 1.
        number: u32,
        /// Where it stands.
        state: ReturnState,
    },
    /// The order was returned, or refunded, too often.
    #[error("the order was returned or refunded {RETURNS_MAX} times, which is as often as one may be")]
    TooManyReturns,
    /// Less was captured, and not given back, than was to be refunded.
    #[error("{refundable} can be refunded, not {wanted} (minor units)")]
    RefundTooLarge {
        /// How much was wanted.
        wanted: Amount,
        /// What was captured and not refunded.
        refundable: Amount,
    },
    /// An order in this state cannot be edited.
    #[error("an order that is {state} cannot be edited")]
    NotEditable {
        /// The order's state.
        state: OrderState,
    },
    /// More of a line was shipped or cancelled than it is to have in all.
    #[error("of line {} {gone} were shipped or cancelled: it cannot be {wanted} in all", line + 1)]
    QuantityTooLow {
        /// The line, from 0.
        line: u16,
        /// How many it was to have.
        wanted: Quantity,
        /// How many were shipped or cancelled.
        gone: Quantity,
    },
    /// Nothing of the order would be left.
    #[error("nothing of the order would be left; cancel it instead")]
    EditLeavesNothing,
    /// More would have to be authorised by the order's provider, which cannot be asked for it: the order cost nothing when it was placed, or a
    /// node of the cluster has a program that does not know of it.
    #[error(
        "the order would cost {more} more (minor units), and its provider is not asked for more than it has authorised"
    )]
    EditNeedsAuthorization {
        /// How much more.
        more: Amount,
    },
    /// The order's provider was asked for more too often.
    #[error("the order has {PAYMENTS_MAX} payments at its provider, which is as many as one may have")]
    TooManyAuthorizations,
    /// The order was edited too often.
    #[error("the order was edited {EDITS_MAX} times, which is as often as one may be")]
    TooManyEdits,
    /// The provider has declined to authorise the payment.
    #[error("the payment was declined: {reason}")]
    PaymentDeclined {
        /// In the provider's words; may be empty.
        reason: Arc<str>,
    },
    /// The provider has not authorised the payment in time.
    #[error("the payment was not authorised in time; nothing of it is taken")]
    PaymentExpired,
    /// There is no provider of this name.
    #[error("there is no payment provider {provider}")]
    ProviderNotFound {
        /// The name.
        provider: ProviderName,
    },
    /// The order's payment has no such step.
    #[error("the order's payment has no step {number}")]
    PaymentStepNotFound {
        /// Its number, from 1.
        number: u32,
    },
    /// A step that was not declined, or was tried again already, is not tried again.
    #[error("step {number} of the payment was not declined, or was tried again already")]
    PaymentNotDeclined {
        /// Its number, from 1.
        number: u32,
    },
    /// Steps of the payment were tried again too often.
    #[error(
        "steps of the payment were tried again {PAYMENT_RETRIES_MAX} times, which is as often as they may be"
    )]
    TooManyPayments,
    /// Stock would fall below what orders have reserved.
    #[error("{on_hand} are on hand and {reserved} of them are reserved: the stock cannot fall by {wanted}")]
    StockReserved {
        /// How many there are.
        on_hand: Quantity,
        /// How many of them are reserved.
        reserved: Quantity,
        /// By how many it was to fall.
        wanted: Quantity,
    },
    /// The item's actor failed over the order again and again. An operator finds it in the log; the order is undone.
    #[error("item {sku} could not process the order; it was recorded for the operators")]
    ItemFailed {
        /// The first line that names the item.
        line: u16,
        /// The item.
        sku: Sku,
    },
    /// A balance would fall below what orders hold.
    #[error("{available} can be taken out, not {wanted} (minor units): orders hold the rest")]
    BalanceHeld {
        /// What can be taken out.
        available: Amount,
        /// What was to be taken out.
        wanted: Amount,
    },
}

impl Rejection {
    /// The reason for programs, in UPPER_SNAKE_CASE; it never changes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::RequestIdReused => "REQUEST_ID_REUSED",
            Self::CustomerNotFound { .. } => "CUSTOMER_NOT_FOUND",
            Self::ItemNotFound { .. } => "ITEM_NOT_FOUND",
            Self::OrderNotFound { .. } => "ORDER_NOT_FOUND",
            Self::CustomerExists { .. } => "CUSTOMER_EXISTS",
            Self::ItemExists { .. } => "ITEM_EXISTS",
            Self::StaleEtag => "STALE_ETAG",
            Self::CurrencyMismatch { .. } => "CURRENCY_MISMATCH",
            Self::Overflow { .. } => "AMOUNT_OVERFLOW",
            Self::InsufficientCredit { .. } => "INSUFFICIENT_CREDIT",
            Self::PriceChanged { .. } => "PRICE_CHANGED",
            Self::InsufficientStock { .. } => "INSUFFICIENT_STOCK",
            Self::OrderPending => "ORDER_PENDING",
            Self::OrderClosed => "ORDER_CLOSED",
            Self::NotCancellable { .. } => "NOT_CANCELLABLE",
            Self::NotHoldable { .. } => "NOT_HOLDABLE",
            Self::HoldExists { .. } => "HOLD_EXISTS",
            Self::HoldNotFound { .. } => "HOLD_NOT_FOUND",
            Self::TooManyHolds => "TOO_MANY_HOLDS",
            Self::NotShippable { .. } => "NOT_SHIPPABLE",
            Self::OrderHeld { .. } => "ORDER_HELD",
            Self::LineNotFound { .. } => "LINE_NOT_FOUND",
            Self::QuantityNotOpen { .. } => "QUANTITY_NOT_OPEN",
            Self::TooManyFulfilments => "TOO_MANY_FULFILMENTS",
            Self::FulfilmentNotFound { .. } => "FULFILMENT_NOT_FOUND",
            Self::QuantityPlanned { .. } => "QUANTITY_PLANNED",
            Self::FulfilmentNotOpen { .. } => "FULFILMENT_NOT_OPEN",
            Self::FulfilmentNotShipped { .. } => "FULFILMENT_NOT_SHIPPED",
            Self::NotReturnable { .. } => "NOT_RETURNABLE",
            Self::QuantityNotReturnable { .. } => "QUANTITY_NOT_RETURNABLE",
            Self::QuantityBackordered { .. } => "QUANTITY_BACKORDERED",
            Self::ReturnNotFound { .. } => "RETURN_NOT_FOUND",
            Self::ReturnNotOpen { .. } => "RETURN_NOT_OPEN",
            Self::TooManyReturns => "TOO_MANY_RETURNS",
            Self::RefundTooLarge { .. } => "REFUND_TOO_LARGE",
            Self::NotEditable { .. } => "NOT_EDITABLE",
            Self::QuantityTooLow { .. } => "QUANTITY_TOO_LOW",
            Self::EditLeavesNothing => "EDIT_LEAVES_NOTHING",
            Self::EditNeedsAuthorization { .. } => "EDIT_NEEDS_AUTHORIZATION",
            Self::TooManyAuthorizations => "TOO_MANY_AUTHORIZATIONS",
            Self::TooManyEdits => "TOO_MANY_EDITS",
            Self::PaymentDeclined { .. } => "PAYMENT_DECLINED",
            Self::PaymentExpired => "PAYMENT_EXPIRED",
            Self::ProviderNotFound { .. } => "PAYMENT_PROVIDER_NOT_FOUND",
            Self::PaymentStepNotFound { .. } => "PAYMENT_STEP_NOT_FOUND",
            Self::PaymentNotDeclined { .. } => "PAYMENT_NOT_DECLINED",
            Self::TooManyPayments => "TOO_MANY_PAYMENTS",
            Self::StockReserved { .. } => "STOCK_RESERVED",
            Self::BalanceHeld { .. } => "BALANCE_HELD",
            Self::ItemFailed { .. } => "ITEM_FAILED",
        }
    }

    /// The line that it concerns, from 0.
    pub fn line(&self) -> Option<u16> {
        match self {
            Self::ItemNotFound { line, .. }
            | Self::CurrencyMismatch { line, .. }
            | Self::Overflow { line } => *line,
            Self::PriceChanged { line, .. }
            | Self::InsufficientStock { line, .. }
            | Self::LineNotFound { line }
            | Self::QuantityNotOpen { line, .. }
            | Self::QuantityPlanned { line, .. }
            | Self::QuantityBackordered { line, .. }
            | Self::QuantityNotReturnable { line, .. }
            | Self::QuantityTooLow { line, .. }
            | Self::ItemFailed { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// The request's field that it concerns, for instance `lines[1].unit_price`. Of several requests that have other names
    /// for it, that of `PlaceOrder` or else of the shortest.
    pub fn field(&self) -> String {
        let on_line = |line: u16, field: &str| format!("lines[{line}].{field}");
        match self {
            Self::RequestIdReused => "request_id".into(),
            Self::CustomerNotFound { .. } => "customer".into(),
            Self::CustomerExists { .. } => "customer_id".into(),
            Self::ItemExists { .. } => "sku".into(),
            Self::OrderNotFound { .. }
            | Self::ItemNotFound { line: None, .. }
            | Self::OrderPending
            | Self::OrderClosed
            | Self::NotCancellable { .. }
            | Self::NotHoldable { .. }
            | Self::NotShippable { .. }
            | Self::OrderHeld { .. }
            | Self::TooManyFulfilments
            | Self::NotReturnable { .. }
            | Self::TooManyReturns
            | Self::TooManyPayments
            | Self::NotEditable { .. }
            | Self::TooManyEdits
            | Self::TooManyAuthorizations
            | Self::TooManyHolds => "name".into(),
            Self::PaymentDeclined { .. } | Self::PaymentExpired | Self::ProviderNotFound { .. } => {
                "payment_method".into()
            }
            Self::PaymentStepNotFound { .. } | Self::PaymentNotDeclined { .. } => "step".into(),
            Self::FulfilmentNotFound { .. }
            | Self::FulfilmentNotOpen { .. }
            | Self::FulfilmentNotShipped { .. } => "fulfilment".into(),
            Self::ReturnNotFound { .. } | Self::ReturnNotOpen { .. } => "return_number".into(),
            Self::RefundTooLarge { .. } => "amount".into(),
            Self::HoldExists { .. } | Self::HoldNotFound { .. } => "reason".into(),
            Self::CurrencyMismatch { line: None, .. } => "currency_code".into(),
            Self::InsufficientCredit { .. }
            | Self::Overflow { line: None }
            // Their line is the order's, and not the request's.
            | Self::LineNotFound { .. }
            | Self::QuantityNotOpen { .. }
            | Self::QuantityPlanned { .. }
            | Self::QuantityBackordered { .. }
            | Self::QuantityNotReturnable { .. }
            | Self::QuantityTooLow { .. }
            | Self::EditLeavesNothing
            | Self::EditNeedsAuthorization { .. } => "lines".into(),
            Self::Overflow { line: Some(line) } => format!("lines[{line}]"),
            Self::ItemNotFound { line: Some(line), .. }
            | Self::CurrencyMismatch { line: Some(line), .. }
            | Self::ItemFailed { line, .. } => on_line(*line, "item"),
            Self::PriceChanged { line, .. } => on_line(*line, "unit_price"),
            Self::InsufficientStock { line, .. } => on_line(*line, "quantity"),
            Self::StaleEtag => "etag".into(),
            Self::StockReserved { .. } => "delta".into(),
            Self::BalanceHeld { .. } => "amount".into(),
        }
    }
}
