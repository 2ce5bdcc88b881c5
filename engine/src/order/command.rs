//! What may be asked of an order, what happens to it, and what it asks of others.

use std::sync::Arc;

use super::Line;
use crate::{
    Amount, Currency, CustomerId, HoldReason, LineQuantity, PaymentOutcome, ProviderName, Quantity,
    Rejection, ReturnStep, Sku, Version, access::Username, item::ReserveLine,
};

/// What may be asked of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderCommand {
    /// Be placed.
    Place {
        /// Whose it is.
        customer: CustomerId,
        /// Of all its amounts.
        currency: Currency,
        /// What is ordered.
        lines: Arc<[Line]>,
        /// Who moves its money; `None` for the customer's account.
        provider: Option<ProviderName>,
    },
    /// Be placed and refused at once: the customer cannot pay for it.
    Refuse {
        /// Whose it is.
        customer: CustomerId,
        /// Of all its amounts.
        currency: Currency,
        /// What was ordered.
        lines: Arc<[Line]>,
        /// Who was to move its money; `None` for the customer's account.
        provider: Option<ProviderName>,
        /// Why not.
        rejection: Rejection,
    },
    /// Hear what its items answered.
    Settle {
        /// At most one answer per item of the order, those that agree with how much of it waits. It is confirmed when all have agreed, and refused
        /// when one has not: items that have not answered by then are asked to release, since they may have reserved.
        answers: Vec<(Sku, Result<Quantity, Rejection>)>,
    },
    /// Be cancelled: some of what is open, or all of it.
    Cancel {
        /// How much of which lines; none for all that is open.
        lines: Box<[LineQuantity]>,
        /// Who says so.
        by: Option<Username>,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear what its provider made of one of its payment's steps.
    Paid {
        /// The step's number, from 1.
        number: u32,
        /// What came of it, for good.
        outcome: PaymentOutcome,
    },
    /// Have a payment's step that was declined tried again.
    RetryPayment {
        /// The step's number, from 1.
        number: u32,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear that its payment, or what an edit has it cost more, was not authorised in time.
    Expire {
        /// The authorisation's number, from 1.
        number: u32,
    },
    /// Hear that nothing came of it for long enough, since it was fulfilled.
    Close,
    /// Hear that all of its items have released what they were asked to.
    Released,
    /// Send some of what is open to the customer, or all of it.
    Ship {
        /// How much of which lines; none for all that is open.
        lines: Box<[LineQuantity]>,
        /// Who carries it; may be empty.
        carrier: Arc<str>,
        /// How the carrier names it; may be empty.
        tracking: Arc<str>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear that all of its items have taken what was shipped off their stock.
    Consumed,
    /// Be planned to be sent by somebody: some of what is open and planned by nobody else, or all of it.
    OpenFulfilment {
        /// How much of which lines; none for all that is free.
        lines: Box<[LineQuantity]>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Send what was planned to the customer.
    ShipFulfilment {
        /// Its number, from 1.
        fulfilment: u32,
        /// Who carries it; may be empty.
        carrier: Arc<str>,
        /// How the carrier names it; may be empty.
        tracking: Arc<str>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear that nobody sends what was planned: it is free again.
    CancelFulfilment {
        /// Its number, from 1.
        fulfilment: u32,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear that a shipment has arrived.
    Deliver {
        /// Its number, from 1.
        fulfilment: u32,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Take some of what was shipped back, if that is approved.
    RequestReturn {
        /// How much of which lines; none for all that was shipped and is in no return.
        lines: Box<[LineQuantity]>,
        /// Why, in somebody's words; may be empty.
        note: Arc<str>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear what becomes of a return.
    MoveReturn {
        /// Its number, from 1.
        number: u32,
        /// What.
        step: ReturnStep,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Have so many of these lines, in all.
    Edit {
        /// At least one, each once; 0 or more of each.
        lines: Box<[LineQuantity]>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
        /// Whether its provider may be asked for what it comes to cost more.
        may_authorize: bool,
    },
    /// Hear what the items answered that an edit needs more of.
    Raised {
        /// At most one answer per item, those that agree with how much of the order waits. The edit is done when all have agreed, and refused when
        /// one has not: all are asked then to give back what they may have reserved.
        answers: Vec<(Sku, Result<Quantity, Rejection>)>,
    },
    /// Hear what its items say that it waits for.
    HearBackorders {
        /// How much of which item, at most once each.
        waiting: Vec<(Sku, Quantity)>,
    },
    /// Hear that all items of a return are back on their stock.
    Restocked,
    /// Give some of what was captured back.
    Refund {
        /// How much; more than 0.
        amount: Amount,
        /// Why, in somebody's words; may be empty.
        note: Arc<str>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Go no further for now.
    Hold {
        /// Why. Nobody may have said so already.
        reason: HoldReason,
        /// In somebody's words; may be empty.
        note: Arc<str>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Be held for this reason no longer.
    ReleaseHold {
        /// Which.
        reason: HoldReason,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
}

/// What happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEvent {
    /// It was placed.
    Placed {
        /// Whose it is.
        customer: CustomerId,
        /// Of all its amounts.
        currency: Currency,
        /// What was ordered.
        lines: Arc<[Line]>,
        /// Who moves its money; `None` for the customer's account.
        provider: Option<ProviderName>,
    },
    /// All of its stock is reserved, and its money is held.
    Confirmed,
    /// All of its stock is reserved, and its provider is to authorise its payment.
    Reserved,
    /// Its provider has authorised its payment: it is confirmed.
    Authorized {
        /// How the provider names that.
        reference: Arc<str>,
    },
    /// Its payment was not authorised in time; every item must release what it reserved, and the provider see to it that nothing is taken.
    Expired,
    /// It was fulfilled, and nothing came of it for long enough: nothing is taken any more.
    Closed,
    /// Its provider has answered for good what it was asked, behind the order's authorisation.
    PaymentAnswered {
        /// The step's number, from 1.
        number: u32,
        /// What came of it.
        outcome: PaymentOutcome,
    },
    /// A step that was declined is tried again, as a new step.
    PaymentRetried {
        /// The number of the step that was declined, from 1.
        number: u32,
        /// Who said so.
        by: Username,
    },
    /// It was refused.
    Rejected {
        /// Why.
        rejection: Box<Rejection>,
        /// The items that have reserved for it and must release.
        release: Box<[Sku]>,
    },
    /// It was cancelled before anything of it was shipped; every item must release what is left.
    Cancelled,
    /// Some of what was open was called off; their items must release it.
    LinesCancelled {
        /// How much of which lines, in their order.
        lines: Box<[LineQuantity]>,
        /// Who said so.
        by: Option<Username>,
    },
    /// Every item has released what it was to.
    Released,
    /// Some of what was open was sent; their items must take it off their stock.
    Shipped {
        /// How much of which lines, in their order.
        lines: Box<[LineQuantity]>,
        /// Who carries it; may be empty.
        carrier: Arc<str>,
        /// How the carrier names it; may be empty.
        tracking: Arc<str>,
        /// Who said so.
        by: Username,
    },
    /// Every item has taken what was shipped off its stock.
    Consumed,
    /// Somebody is to send some of what is open.
    FulfilmentOpened {
        /// How much of which lines, in their order.
        lines: Box<[LineQuantity]>,
        /// Who said so.
        by: Username,
    },
    /// What was planned was sent; its items must take it off their stock.
    FulfilmentShipped {
        /// Its number, from 1.
        fulfilment: u32,
        /// Who carries it; may be empty.
        carrier: Arc<str>,
        /// How the carrier names it; may be empty.
        tracking: Arc<str>,
        /// Who said so.
        by: Username,
    },
    /// Nobody sends what was planned.
    FulfilmentCancelled {
        /// Its number, from 1.
        fulfilment: u32,
        /// Who said so.
        by: Username,
    },
    /// A shipment has arrived.
    Delivered {
        /// Its number, from 1.
        fulfilment: u32,
        /// Who said so.
        by: Username,
    },
    /// Some of what was shipped is to come back.
    ReturnRequested {
        /// How much of which lines, in their order.
        lines: Box<[LineQuantity]>,
        /// Why, in somebody's words; may be empty.
        note: Arc<str>,
        /// Who said so.
        by: Username,
    },
    /// Something became of a return.
    ReturnMoved {
        /// Its number, from 1.
        number: u32,
        /// What.
        step: ReturnStep,
        /// Who said so.
        by: Username,
    },
    /// It is to have so many of these lines in all, and items are asked for more. What it costs more is held.
    EditBegun {
        /// At least one, each once, in their order.
        lines: Box<[LineQuantity]>,
        /// Who said so.
        by: Username,
    },
    /// All items have agreed to the edit that was begun, and its provider is to authorise what the order costs more.
    EditReserved,
    /// It has so many of these lines in all; items must release what there is less of.
    Edited {
        /// At least one, each once, in their order. Of an edit that was begun, the same.
        lines: Box<[LineQuantity]>,
        /// Who said so.
        by: Username,
    },
    /// An item, or its provider, refused what an edit needs more of, or its provider did not answer in time; all items that were asked must release what they may have reserved.
    EditRefused {
        /// Why.
        rejection: Box<Rejection>,
    },
    /// Every item of a return is back on its stock.
    Restocked,
    /// Some of it is promised and not there yet, more than was known.
    Backordered {
        /// How much of which lines waits, of all that do, in their order.
        lines: Box<[LineQuantity]>,
    },
    /// Some of what it waited for is there.
    BackorderFilled {
        /// How much of which lines still waits, in their order.
        lines: Box<[LineQuantity]>,
    },
    /// Some of what was captured was given back.
    Refunded {
        /// How much.
        amount: Amount,
        /// Why, in somebody's words; may be empty.
        note: Arc<str>,
        /// Who said so.
        by: Username,
    },
    /// It is held.
    Held {
        /// Why.
        reason: HoldReason,
        /// In somebody's words; may be empty.
        note: Arc<str>,
        /// Who says so.
        by: Username,
    },
    /// It is held for this reason no longer.
    HoldReleased {
        /// Which.
        reason: HoldReason,
        /// Who says so.
        by: Username,
    },
}

/// What an order asks of others. Each can be asked again: what is told of stock is how much is to stay reserved, or which return it is, and what
/// is told of money is in one record with the order's own event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hold the order's total, or what an edit has it cost more, in the same record as the order's own events.
    HoldCredit {
        /// Of this customer.
        customer: CustomerId,
        /// This much.
        amount: Amount,
    },
    /// Give the hold back, in the same record as the order's own events.
    ReleaseCredit {
        /// Of this customer.
        customer: CustomerId,
        /// This much.
        amount: Amount,
    },
    /// Take some of the hold, in the same record as the order's own events.
    CaptureCredit {
        /// Of this customer.
        customer: CustomerId,
        /// This much.
        amount: Amount,
    },
    /// Give some of what was captured back, in the same record as the order's own events.
    RefundCredit {
        /// To this customer.
        customer: CustomerId,
        /// This much.
        amount: Amount,
    },
    /// Take what came back on the stock.
    RestockStock {
        /// Of this item.
        sku: Sku,
        /// With the order's return of this number: once.
        number: u32,
        /// This many.
        quantity: Quantity,
    },
    /// Reserve stock.
    ReserveStock {
        /// Of this item.
        sku: Sku,
        /// The order's currency.
        currency: Currency,
        /// For these lines, all or nothing.
        lines: Vec<ReserveLine>,
    },
    /// Reserve more stock: so many in all.
    RaiseStock {
        /// Of this item.
        sku: Sku,
        /// The first line of it that changes, from 0.
        line: u16,
        /// So many are to be reserved.
        quantity: Quantity,
    },
    /// Release what is reserved beyond what is still wanted.
    ReleaseStock {
        /// Of this item.
        sku: Sku,
        /// So many stay reserved.
        remaining: Quantity,
    },
    /// Take what is reserved beyond what is still wanted off the stock: it was shipped.
    ConsumeStock {
        /// Of this item.
        sku: Sku,
        /// So many stay reserved.
        remaining: Quantity,
    },
}
