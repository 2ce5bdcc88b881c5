//! Every place where an order can be in its life, everything that it can be asked there, and what comes of it.
//!
//! The order is of three nuts at 2, two bolts at 5, and one nut more at 2: 18 in all. Its provider, where it has one, is `mint`.

mod ask;

use docket_engine::{ChangeKind, Effect, HoldReason, Order, OrderCommand, OrderId, Rejection, Time, order};

pub use ask::{
    Ask, cancel, declined, done, edit, hear, line, move_return, paid, plan, refund, request_return, retry,
    ship, ship_plan, sku, some, unplan, user,
};

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    NoOrder,
    Pending,
    Confirmed,
    ConfirmedHeld,
    ConfirmedReleasing,
    ConfirmedPlanned,
    ConfirmedUnplanned,
    Editing,
    EditRefused,
    Partly,
    PartlyHeld,
    PartlyPlanned,
    PartlyConsuming,
    PartlyReleasing,
    PartlyReturn,
    PartlyRestocking,
    PartlyRefunded,
    Fulfilled,
    FulfilledConsuming,
    FulfilledReleasing,
    ReturnRequested,
    ReturnApproved,
    ReturnRestocking,
    ReturnReceived,
    ReturnClosed,
    ReturnDeclined,
    AllReturned,
    RefundedPartly,
    Refunded,
    CancelledReleasing,
    Cancelled,
    RejectedReleasing,
    Rejected,
    RejectedUnpaid,
    ProviderPending,
    Authorizing,
    ProviderConfirmed,
    ProviderConfirmedReleasing,
    ProviderEditing,
    EditAuthorizing,
    EditAuthorized,
    EditDeclined,
    EditGivenUp,
    CapturesOpen,
    CaptureOpen,
    Captured,
    CaptureDeclined,
    CaptureRetried,
    CaptureFreed,
    FulfilledCaptureOpen,
    FulfilledCaptureDeclined,
    FulfilledCaptured,
    RefundOpen,
    RefundDeclined,
    RefundRetried,
    RefundDone,
    CalledOffReleasing,
    CalledOff,
    CalledOffVoided,
    CancelledVoidOpenReleasing,
    CancelledVoidOpen,
    CancelledVoidDoneReleasing,
    CancelledVoidDone,
    CancelledVoidDeclined,
    CancelledVoidRetried,
    ExpiredReleasing,
    ExpiredVoidOpen,
    ExpiredVoidDoneReleasing,
    ExpiredVoidDone,
    ExpiredVoidDeclined,
    DeclinedReleasing,
    Declined,
    ProviderRejectedReleasing,
    ProviderRejected,
    ProviderRefused,
    Closed,
    ClosedByProvider,
    Waiting,
    WaitingFilled,
    WaitingConsuming,
    WaitingPartly,
    WaitingAuthorizing,
}

impl Stage {
    /// Those of an order that is paid by its customer's account.
    pub const ON_ACCOUNT: [Self; 34] = [
        Self::NoOrder,
        Self::Pending,
        Self::Confirmed,
        Self::ConfirmedHeld,
        Self::ConfirmedReleasing,
        Self::ConfirmedPlanned,
        Self::ConfirmedUnplanned,
        Self::Editing,
        Self::EditRefused,
        Self::Partly,
        Self::PartlyHeld,
        Self::PartlyPlanned,
        Self::PartlyConsuming,
        Self::PartlyReleasing,
        Self::PartlyReturn,
        Self::PartlyRestocking,
        Self::PartlyRefunded,
        Self::Fulfilled,
        Self::FulfilledConsuming,
        Self::FulfilledReleasing,
        Self::ReturnRequested,
        Self::ReturnApproved,
        Self::ReturnRestocking,
        Self::ReturnReceived,
        Self::ReturnClosed,
        Self::ReturnDeclined,
        Self::AllReturned,
        Self::RefundedPartly,
        Self::Refunded,
        Self::CancelledReleasing,
        Self::Cancelled,
        Self::RejectedReleasing,
        Self::Rejected,
        Self::RejectedUnpaid,
    ];

    /// Those of an order that is paid by a provider.
    pub const BY_PROVIDER: [Self; 41] = [
        Self::ProviderPending,
        Self::Authorizing,
        Self::ProviderConfirmed,
        Self::ProviderConfirmedReleasing,
        Self::ProviderEditing,
        Self::EditAuthorizing,
        Self::EditAuthorized,
        Self::EditDeclined,
        Self::EditGivenUp,
        Self::CapturesOpen,
        Self::CaptureOpen,
        Self::Captured,
        Self::CaptureDeclined,
        Self::CaptureRetried,
        Self::CaptureFreed,
        Self::FulfilledCaptureOpen,
        Self::FulfilledCaptureDeclined,
        Self::FulfilledCaptured,
        Self::RefundOpen,
        Self::RefundDeclined,
        Self::RefundRetried,
        Self::RefundDone,
        Self::CalledOffReleasing,
        Self::CalledOff,
        Self::CalledOffVoided,
        Self::CancelledVoidOpenReleasing,
        Self::CancelledVoidOpen,
        Self::CancelledVoidDoneReleasing,
        Self::CancelledVoidDone,
        Self::CancelledVoidDeclined,
        Self::CancelledVoidRetried,
        Self::ExpiredReleasing,
        Self::ExpiredVoidOpen,
        Self::ExpiredVoidDoneReleasing,
        Self::ExpiredVoidDone,
        Self::ExpiredVoidDeclined,
        Self::DeclinedReleasing,
        Self::Declined,
        Self::ProviderRejectedReleasing,
        Self::ProviderRejected,
        Self::ProviderRefused,
    ];

    /// Those of an order that was closed, whoever paid it: it takes nothing more.
    pub const CLOSED: [Self; 2] = [Self::Closed, Self::ClosedByProvider];

    /// Those of an order of which two nuts were promised that were not there: whoever pays it, that is the same.
    pub const BACKORDERED: [Self; 5] = [
        Self::Waiting,
        Self::WaitingFilled,
        Self::WaitingConsuming,
        Self::WaitingPartly,
        Self::WaitingAuthorizing,
    ];

    pub fn all() -> impl Iterator<Item = Self> + Clone {
        Self::ON_ACCOUNT
            .into_iter()
            .chain(Self::BY_PROVIDER)
            .chain(Self::CLOSED)
            .chain(Self::BACKORDERED)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::NoOrder => "no order",
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::ConfirmedHeld => "CONFIRMED, held",
            Self::ConfirmedReleasing => "CONFIRMED, releasing",
            Self::ConfirmedPlanned => "CONFIRMED, one planned",
            Self::ConfirmedUnplanned => "CONFIRMED, plan given up",
            Self::Editing => "CONFIRMED, editing",
            Self::EditRefused => "CONFIRMED, edit refused, releasing",
            Self::Partly => "PARTIALLY_FULFILLED",
            Self::PartlyHeld => "PARTIALLY_FULFILLED, held",
            Self::PartlyPlanned => "PARTIALLY_FULFILLED, one planned",
            Self::PartlyConsuming => "PARTIALLY_FULFILLED, consuming",
            Self::PartlyReleasing => "PARTIALLY_FULFILLED, releasing",
            Self::PartlyReturn => "PARTIALLY_FULFILLED, return REQUESTED",
            Self::PartlyRestocking => "PARTIALLY_FULFILLED, return RECEIVED, restocking",
            Self::PartlyRefunded => "PARTIALLY_FULFILLED, refunded",
            Self::Fulfilled => "FULFILLED",
            Self::FulfilledConsuming => "FULFILLED, consuming",
            Self::FulfilledReleasing => "FULFILLED, releasing",
            Self::ReturnRequested => "FULFILLED, return REQUESTED",
            Self::ReturnApproved => "FULFILLED, return APPROVED",
            Self::ReturnRestocking => "FULFILLED, return RECEIVED, restocking",
            Self::ReturnReceived => "FULFILLED, return RECEIVED",
            Self::ReturnClosed => "FULFILLED, return CLOSED",
            Self::ReturnDeclined => "FULFILLED, return DECLINED",
            Self::AllReturned => "FULFILLED, all in a return REQUESTED",
            Self::RefundedPartly => "FULFILLED, refunded in part",
            Self::Refunded => "FULFILLED, refunded",
            Self::CancelledReleasing => "CANCELLED, releasing",
            Self::Cancelled => "CANCELLED",
            Self::RejectedReleasing => "REJECTED, releasing",
            Self::Rejected => "REJECTED",
            Self::RejectedUnpaid => "REJECTED, not paid",
            Self::ProviderPending => "PENDING, by a provider",
            Self::Authorizing => "AUTHORIZING",
            Self::ProviderConfirmed => "CONFIRMED, authorised",
            Self::ProviderConfirmedReleasing => "CONFIRMED, releasing, void open",
            Self::ProviderEditing => "CONFIRMED, authorised, editing",
            Self::EditAuthorizing => "CONFIRMED, edit to be authorised",
            Self::EditAuthorized => "CONFIRMED, edit authorised",
            Self::EditDeclined => "CONFIRMED, edit declined, releasing",
            Self::EditGivenUp => "CONFIRMED, edit given up, releasing, void open",
            Self::CapturesOpen => "PARTIALLY_FULFILLED, consuming, both captures open",
            Self::CaptureOpen => "PARTIALLY_FULFILLED, second capture open",
            Self::Captured => "PARTIALLY_FULFILLED, both captures done",
            Self::CaptureDeclined => "PARTIALLY_FULFILLED, second capture declined, held",
            Self::CaptureRetried => "PARTIALLY_FULFILLED, second capture tried again, held",
            Self::CaptureFreed => "PARTIALLY_FULFILLED, second capture declined, held no more",
            Self::FulfilledCaptureOpen => "FULFILLED, third capture open",
            Self::FulfilledCaptureDeclined => "FULFILLED, third capture declined",
            Self::FulfilledCaptured => "FULFILLED, all captures done",
            Self::RefundOpen => "FULFILLED, refund of 1 open",
            Self::RefundDeclined => "FULFILLED, refund of 1 declined",
            Self::RefundRetried => "FULFILLED, refund of 1 tried again",
            Self::RefundDone => "FULFILLED, refund of 1 done",
            Self::CalledOffReleasing => "CANCELLED while AUTHORIZING, releasing, void open",
            Self::CalledOff => "CANCELLED while AUTHORIZING, void open",
            Self::CalledOffVoided => "CANCELLED while AUTHORIZING, void done",
            Self::CancelledVoidOpenReleasing => "CANCELLED, releasing, void open",
            Self::CancelledVoidOpen => "CANCELLED, void open",
            Self::CancelledVoidDoneReleasing => "CANCELLED, releasing, void done",
            Self::CancelledVoidDone => "CANCELLED, void done",
            Self::CancelledVoidDeclined => "CANCELLED, void declined",
            Self::CancelledVoidRetried => "CANCELLED, void tried again",
            Self::ExpiredReleasing => "EXPIRED, releasing, void open",
            Self::ExpiredVoidOpen => "EXPIRED, void open",
            Self::ExpiredVoidDoneReleasing => "EXPIRED, releasing, void done",
            Self::ExpiredVoidDone => "EXPIRED, void done",
            Self::ExpiredVoidDeclined => "EXPIRED, void declined",
            Self::DeclinedReleasing => "REJECTED, authorisation declined, releasing",
            Self::Declined => "REJECTED, authorisation declined",
            Self::ProviderRejectedReleasing => "REJECTED, provider never asked, releasing",
            Self::ProviderRejected => "REJECTED, provider never asked",
            Self::ProviderRefused => "REJECTED, of another currency",
            Self::Closed => "CLOSED",
            Self::ClosedByProvider => "CLOSED, all captures done",
            Self::Waiting => "CONFIRMED, two nuts wait",
            Self::WaitingFilled => "CONFIRMED, none waits any more",
            Self::WaitingConsuming => "PARTIALLY_FULFILLED, consuming, two nuts wait",
            Self::WaitingPartly => "PARTIALLY_FULFILLED, two nuts wait",
            Self::WaitingAuthorizing => "AUTHORIZING, two nuts wait",
        }
    }

    /// An order there. Where it was shipped from, the first of two shipments has arrived; one bolt and one nut are gone.
    pub fn order(self) -> Option<Order> {
        let (before, ask) = match self {
            Self::NoOrder => return None,
            Self::Pending => (Self::NoOrder, Ask::Place),
            Self::Confirmed => (Self::Pending, Ask::SettleAgreed),
            Self::ConfirmedHeld => (Self::Confirmed, Ask::Hold),
            Self::ConfirmedReleasing => (Self::Confirmed, Ask::CancelSome),
            Self::ConfirmedPlanned => (Self::Confirmed, Ask::OpenSome),
            Self::ConfirmedUnplanned => (Self::ConfirmedPlanned, Ask::CancelPlanned),
            Self::Editing => (Self::Confirmed, Ask::EditMore),
            Self::EditRefused => (Self::Editing, Ask::RaiseRefused),
            Self::PartlyConsuming => return Some(partly()),
            Self::Partly => (Self::PartlyConsuming, Ask::Consumed),
            Self::PartlyHeld => (Self::Partly, Ask::Hold),
            Self::PartlyPlanned => (Self::Partly, Ask::OpenSome),
            Self::PartlyReleasing => (Self::Partly, Ask::CancelSome),
            Self::FulfilledConsuming => (Self::Partly, Ask::ShipAll),
            Self::Fulfilled => (Self::FulfilledConsuming, Ask::Consumed),
            Self::FulfilledReleasing => (Self::Partly, Ask::CancelAll),
            Self::PartlyReturn => (Self::Partly, Ask::RequestReturnSome),
            Self::PartlyRestocking => return Some(partly_restocking()),
            Self::PartlyRefunded => (Self::Partly, Ask::RefundAll),
            Self::ReturnRequested => (Self::Fulfilled, Ask::RequestReturnSome),
            Self::ReturnApproved => (Self::ReturnRequested, Ask::ReturnApprove),
            Self::ReturnRestocking => (Self::ReturnApproved, Ask::ReturnRestock),
            Self::ReturnReceived => (Self::ReturnRestocking, Ask::Restocked),
            Self::ReturnClosed => (Self::ReturnReceived, Ask::ReturnClose),
            Self::ReturnDeclined => (Self::ReturnRequested, Ask::ReturnDecline),
            Self::AllReturned => (Self::Fulfilled, Ask::RequestReturnAll),
            Self::RefundedPartly => (Self::Fulfilled, Ask::RefundSome),
            Self::Refunded => (Self::Fulfilled, Ask::RefundAll),
            Self::CancelledReleasing => (Self::Confirmed, Ask::CancelAll),
            Self::Cancelled => (Self::CancelledReleasing, Ask::Released),
            Self::RejectedReleasing => (Self::Pending, Ask::SettleRefused),
            Self::Rejected => (Self::RejectedReleasing, Ask::Released),
            Self::RejectedUnpaid => (Self::NoOrder, Ask::Refuse),
            Self::ProviderPending => (Self::NoOrder, Ask::PlaceWithProvider),
            Self::Authorizing => (Self::ProviderPending, Ask::SettleAgreed),
            Self::ProviderConfirmed => (Self::Authorizing, Ask::Authorized),
            Self::ProviderConfirmedReleasing => (Self::ProviderConfirmed, Ask::CancelSome),
            Self::ProviderEditing => (Self::ProviderConfirmed, Ask::EditMore),
            Self::EditAuthorizing => (Self::ProviderEditing, Ask::RaiseAgreed),
            Self::EditAuthorized => (Self::EditAuthorizing, Ask::LastDone),
            Self::EditDeclined => (Self::EditAuthorizing, Ask::LastDeclined),
            Self::EditGivenUp => (Self::EditAuthorizing, Ask::Expire),
            Self::CapturesOpen => return Some(captures_open()),
            Self::CaptureOpen => return Some(capture_open()),
            Self::Captured => (Self::CaptureOpen, Ask::LastDone),
            Self::CaptureDeclined => (Self::CaptureOpen, Ask::LastDeclined),
            Self::CaptureRetried => (Self::CaptureDeclined, Ask::Retry),
            Self::CaptureFreed => return Some(capture_freed()),
            Self::FulfilledCaptureOpen => return Some(fulfilled_capture_open()),
            Self::FulfilledCaptureDeclined => (Self::FulfilledCaptureOpen, Ask::LastDeclined),
            Self::FulfilledCaptured => (Self::FulfilledCaptureOpen, Ask::LastDone),
            Self::RefundOpen => (Self::FulfilledCaptured, Ask::RefundSome),
            Self::RefundDeclined => (Self::RefundOpen, Ask::LastDeclined),
            Self::RefundRetried => (Self::RefundDeclined, Ask::Retry),
            Self::RefundDone => (Self::RefundOpen, Ask::LastDone),
            Self::CalledOffReleasing => (Self::Authorizing, Ask::CancelAll),
            Self::CalledOff => (Self::CalledOffReleasing, Ask::Released),
            Self::CalledOffVoided => (Self::CalledOff, Ask::LastDone),
            Self::CancelledVoidOpenReleasing => (Self::ProviderConfirmed, Ask::CancelAll),
            Self::CancelledVoidOpen => (Self::CancelledVoidOpenReleasing, Ask::Released),
            Self::CancelledVoidDoneReleasing => (Self::CancelledVoidOpenReleasing, Ask::LastDone),
            Self::CancelledVoidDone => (Self::CancelledVoidDoneReleasing, Ask::Released),
            Self::CancelledVoidDeclined => (Self::CancelledVoidOpen, Ask::LastDeclined),
            Self::CancelledVoidRetried => (Self::CancelledVoidDeclined, Ask::Retry),
            Self::ExpiredReleasing => (Self::Authorizing, Ask::Expire),
            Self::ExpiredVoidOpen => (Self::ExpiredReleasing, Ask::Released),
            Self::ExpiredVoidDoneReleasing => (Self::ExpiredReleasing, Ask::LastDone),
            Self::ExpiredVoidDone => (Self::ExpiredVoidDoneReleasing, Ask::Released),
            Self::ExpiredVoidDeclined => (Self::ExpiredVoidOpen, Ask::LastDeclined),
            Self::DeclinedReleasing => (Self::Authorizing, Ask::AuthorizationDeclined),
            Self::Declined => (Self::DeclinedReleasing, Ask::Released),
            Self::ProviderRejectedReleasing => (Self::ProviderPending, Ask::SettleRefused),
            Self::ProviderRejected => (Self::ProviderRejectedReleasing, Ask::Released),
            Self::ProviderRefused => (Self::NoOrder, Ask::RefuseWithProvider),
            Self::Closed => (Self::ReturnClosed, Ask::Close),
            Self::ClosedByProvider => (Self::FulfilledCaptured, Ask::Close),
            Self::Waiting => (Self::Pending, Ask::SettleWaiting),
            Self::WaitingFilled => (Self::Waiting, Ask::HearNothing),
            Self::WaitingConsuming => (Self::Waiting, Ask::ShipAll),
            Self::WaitingPartly => (Self::WaitingConsuming, Ask::Consumed),
            Self::WaitingAuthorizing => (Self::ProviderPending, Ask::SettleWaiting),
        };
        let mut order = before.order();
        let command = ask.command_of(order.as_ref());
        carry(&mut order, &command);
        order
    }
}

/// Shipped twice, of which the items have not taken the second off their stock.
fn partly() -> Order {
    shipped_twice(Stage::Confirmed)
}

fn shipped_twice(of: Stage) -> Order {
    let mut order = of.order();
    let arrived = OrderCommand::Deliver {
        fulfilment: 1,
        by: user("shop"),
        expected: None,
    };
    for command in [ship(&[(0, 1)]), OrderCommand::Consumed, arrived, ship(&[(1, 1)])] {
        carry(&mut order, &command);
    }
    order.unwrap()
}

/// As that, and its provider has not said yet that it took anything.
fn captures_open() -> Order {
    shipped_twice(Stage::ProviderConfirmed)
}

/// The provider has taken what the first shipment cost, and the items what was in the second.
fn capture_open() -> Order {
    let mut order = Stage::CapturesOpen.order();
    for command in [paid(2, done()), OrderCommand::Consumed] {
        carry(&mut order, &command);
    }
    order.unwrap()
}

/// A person lets it go on all the same.
fn capture_freed() -> Order {
    let mut order = Stage::CaptureDeclined.order();
    let release = OrderCommand::ReleaseHold {
        reason: HoldReason::Payment,
        by: user("ops"),
        expected: None,
    };
    carry(&mut order, &release);
    order.unwrap()
}

fn fulfilled_capture_open() -> Order {
    let mut order = Stage::Captured.order();
    for ask in [Ask::ShipAll, Ask::Consumed] {
        carry(&mut order, &ask.command());
    }
    order.unwrap()
}

/// A nut of the first shipment has come back.
fn partly_restocking() -> Order {
    let mut order = Stage::PartlyReturn.order();
    for ask in [Ask::ReturnApprove, Ask::ReturnRestock] {
        carry(&mut order, &ask.command());
    }
    order.unwrap()
}

/// What came of a command.
#[derive(Debug)]
pub struct Outcome {
    pub events: Vec<ChangeKind>,
    /// What is asked of others: in the same record, and, once the events are carried in, of the order's items.
    pub effects: Vec<Effect>,
}

/// Decides, and carries what was decided into the order, which is as it was where it refuses.
#[track_caller]
pub fn ask(order: &mut Option<Order>, command: &OrderCommand) -> Result<Outcome, Rejection> {
    let decision = order::decide(order.as_ref(), command)?;
    let before = order.as_ref().map(order::open_effects).unwrap_or_default();
    for (event, at) in decision.events.iter().zip(100..) {
        match order {
            Some(order) => {
                let at = Time(at + i64::try_from(order.version.0).unwrap());
                order.evolve(event, at).unwrap();
            }
            None => *order = Some(Order::create(OrderId(1), event, Time(at)).unwrap()),
        }
    }
    let mut effects = decision.effects;
    if let Some(order) = order {
        order.validate().unwrap();
        // An order that is placed says at once what it asks of its items.
        let open = order::open_effects(order).into_iter();
        let open: Vec<_> = open
            .filter(|it| !before.contains(it) && !effects.contains(it))
            .collect();
        effects.extend(open);
    }
    let events = decision.events.iter().map(ChangeKind::of).collect();
    Ok(Outcome { events, effects })
}

/// As [`ask`], of what an order does.
#[track_caller]
pub fn carry(order: &mut Option<Order>, command: &OrderCommand) -> Outcome {
    let outcome = ask(order, command).unwrap();
    assert!(!outcome.events.is_empty(), "{command:?} does nothing");
    outcome
}
