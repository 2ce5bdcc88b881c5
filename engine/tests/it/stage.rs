//! Every place where an order can be in its life, everything that it can be asked there, and what comes of it.
//!
//! The order is of three nuts at 2, two bolts at 5, and one nut more at 2: 18 in all.

use docket_engine::{
    Amount, ChangeKind, CustomerId, Effect, HoldReason, Line, LineQuantity, Order, OrderCommand, OrderId,
    Quantity, Rejection, ReturnStep, Sku, Time, access::Username, order,
};

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    NoOrder,
    Pending,
    Confirmed,
    ConfirmedHeld,
    ConfirmedReleasing,
    Partly,
    PartlyHeld,
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
}

/// What it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    Place,
    Refuse,
    SettleAgreed,
    SettleRefused,
    SettleEarly,
    CancelAll,
    CancelSome,
    ShipAll,
    ShipSome,
    DeliverOnItsWay,
    DeliverArrived,
    DeliverMissing,
    Hold,
    ReleaseHold,
    Released,
    Consumed,
    RequestReturnAll,
    RequestReturnSome,
    ReturnApprove,
    ReturnDecline,
    ReturnReceive,
    ReturnRestock,
    ReturnClose,
    ReturnMissing,
    Restocked,
    RefundSome,
    RefundAll,
    RefundTooMuch,
}

impl Stage {
    pub const ALL: [Self; 29] = [
        Self::NoOrder,
        Self::Pending,
        Self::Confirmed,
        Self::ConfirmedHeld,
        Self::ConfirmedReleasing,
        Self::Partly,
        Self::PartlyHeld,
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

    pub fn name(self) -> &'static str {
        match self {
            Self::NoOrder => "no order",
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::ConfirmedHeld => "CONFIRMED, held",
            Self::ConfirmedReleasing => "CONFIRMED, releasing",
            Self::Partly => "PARTIALLY_FULFILLED",
            Self::PartlyHeld => "PARTIALLY_FULFILLED, held",
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
            Self::PartlyConsuming => return Some(partly()),
            Self::Partly => (Self::PartlyConsuming, Ask::Consumed),
            Self::PartlyHeld => (Self::Partly, Ask::Hold),
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
        };
        let mut order = before.order();
        let command = ask.command_of(order.as_ref());
        carry(&mut order, &command);
        order
    }
}

/// Shipped twice, of which the items have not taken the second off their stock.
fn partly() -> Order {
    let mut order = Stage::Confirmed.order();
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

/// A nut of the first shipment has come back.
fn partly_restocking() -> Order {
    let mut order = Stage::PartlyReturn.order();
    for ask in [Ask::ReturnApprove, Ask::ReturnRestock] {
        carry(&mut order, &ask.command());
    }
    order.unwrap()
}

impl Ask {
    pub const ALL: [Self; 28] = [
        Self::Place,
        Self::Refuse,
        Self::SettleAgreed,
        Self::SettleRefused,
        Self::SettleEarly,
        Self::CancelAll,
        Self::CancelSome,
        Self::ShipAll,
        Self::ShipSome,
        Self::DeliverOnItsWay,
        Self::DeliverArrived,
        Self::DeliverMissing,
        Self::Hold,
        Self::ReleaseHold,
        Self::Released,
        Self::Consumed,
        Self::RequestReturnAll,
        Self::RequestReturnSome,
        Self::ReturnApprove,
        Self::ReturnDecline,
        Self::ReturnReceive,
        Self::ReturnRestock,
        Self::ReturnClose,
        Self::ReturnMissing,
        Self::Restocked,
        Self::RefundSome,
        Self::RefundAll,
        Self::RefundTooMuch,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Place => "Place",
            Self::Refuse => "Refuse",
            Self::SettleAgreed => "Settle, all agree",
            Self::SettleRefused => "Settle, one refuses",
            Self::SettleEarly => "Settle, one is silent",
            Self::CancelAll => "Cancel all",
            Self::CancelSome => "Cancel some",
            Self::ShipAll => "Ship all",
            Self::ShipSome => "Ship some",
            Self::DeliverOnItsWay => "Deliver, on its way",
            Self::DeliverArrived => "Deliver, arrived",
            Self::DeliverMissing => "Deliver, never sent",
            Self::Hold => "Hold",
            Self::ReleaseHold => "Release hold",
            Self::Released => "Released",
            Self::Consumed => "Consumed",
            Self::RequestReturnAll => "Request return of all",
            Self::RequestReturnSome => "Request return of some",
            Self::ReturnApprove => "Approve",
            Self::ReturnDecline => "Decline",
            Self::ReturnReceive => "Receive",
            Self::ReturnRestock => "Receive, restock",
            Self::ReturnClose => "Close",
            Self::ReturnMissing => "Approve, never requested",
            Self::Restocked => "Restocked",
            Self::RefundSome => "Refund some",
            Self::RefundAll => "Refund all",
            Self::RefundTooMuch => "Refund too much",
        }
    }

    /// Of no order in particular: of one of which nothing was taken.
    pub fn command(self) -> OrderCommand {
        self.command_of(None)
    }

    /// Only how much money is all, or too much, depends on the order.
    pub fn command_of(self, order: Option<&Order>) -> OrderCommand {
        let refundable = order.map_or(0, |order| {
            let captured: i64 = order.fulfilments().iter().map(|it| it.captured.0).sum();
            captured - order.refunds().iter().map(|it| it.amount.0).sum::<i64>()
        });
        let customer = CustomerId::new("ada").unwrap();
        let currency = "EUR".parse().unwrap();
        let (nut, bolt) = (sku("nut"), sku("bolt"));
        let deliver = |fulfilment| OrderCommand::Deliver {
            fulfilment,
            by: user("shop"),
            expected: None,
        };
        match self {
            Self::Place => OrderCommand::Place {
                customer,
                currency,
                lines: lines().into(),
                provider: None,
            },
            Self::Refuse => OrderCommand::Refuse {
                customer,
                currency,
                lines: lines().into(),
                rejection: Rejection::InsufficientCredit {
                    needed: Amount(18),
                    available: Amount(17),
                },
                provider: None,
            },
            Self::SettleAgreed => OrderCommand::Settle {
                answers: vec![(bolt, Ok(())), (nut, Ok(()))],
            },
            Self::SettleRefused => OrderCommand::Settle {
                answers: vec![
                    (nut, Ok(())),
                    (bolt.clone(), Err(Rejection::ItemFailed { line: 1, sku: bolt })),
                ],
            },
            Self::SettleEarly => OrderCommand::Settle {
                answers: vec![(nut, Ok(()))],
            },
            Self::CancelAll => cancel(&[]),
            Self::CancelSome => cancel(&[(0, 1)]),
            Self::ShipAll => ship(&[]),
            Self::ShipSome => ship(&[(0, 1)]),
            Self::DeliverOnItsWay => deliver(2),
            Self::DeliverArrived => deliver(1),
            Self::DeliverMissing => deliver(9),
            Self::Hold => OrderCommand::Hold {
                reason: HoldReason::Address,
                note: "look".into(),
                by: user("shop"),
                expected: None,
            },
            Self::ReleaseHold => OrderCommand::ReleaseHold {
                reason: HoldReason::Address,
                by: user("ops"),
                expected: None,
            },
            Self::Released => OrderCommand::Released,
            Self::Consumed => OrderCommand::Consumed,
            Self::RequestReturnAll => request_return(&[]),
            Self::RequestReturnSome => request_return(&[(0, 1)]),
            Self::ReturnApprove => move_return(1, ReturnStep::Approve),
            Self::ReturnDecline => move_return(1, ReturnStep::Decline { note: "worn".into() }),
            Self::ReturnReceive => move_return(1, ReturnStep::Receive { restock: false }),
            Self::ReturnRestock => move_return(1, ReturnStep::Receive { restock: true }),
            Self::ReturnClose => move_return(1, ReturnStep::Close),
            Self::ReturnMissing => move_return(9, ReturnStep::Approve),
            Self::Restocked => OrderCommand::Restocked,
            Self::RefundSome => refund(1),
            Self::RefundAll => refund(refundable.max(1)),
            Self::RefundTooMuch => refund(refundable + 1),
        }
    }
}

pub fn user(name: &str) -> Username {
    Username::new(name).unwrap()
}

pub fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub fn line(text: &str, quantity: i64, price: i64) -> Line {
    Line {
        sku: sku(text),
        quantity: Quantity(quantity),
        unit_price: Amount(price),
    }
}

fn lines() -> [Line; 3] {
    [line("nut", 3, 2), line("bolt", 2, 5), line("nut", 1, 2)]
}

/// How many of which lines.
pub fn some(lines: &[(u16, i64)]) -> Box<[LineQuantity]> {
    let lines = lines.iter().map(|&(line, many)| LineQuantity {
        line,
        quantity: Quantity(many),
    });
    lines.collect()
}

pub fn ship(lines: &[(u16, i64)]) -> OrderCommand {
    OrderCommand::Ship {
        lines: some(lines),
        carrier: "Ape".into(),
        tracking: "".into(),
        by: user("shop"),
        expected: None,
    }
}

pub fn cancel(lines: &[(u16, i64)]) -> OrderCommand {
    OrderCommand::Cancel {
        lines: some(lines),
        by: Some(user("shop")),
        expected: None,
    }
}

pub fn request_return(lines: &[(u16, i64)]) -> OrderCommand {
    OrderCommand::RequestReturn {
        lines: some(lines),
        note: "too many".into(),
        by: user("ada"),
        expected: None,
    }
}

pub fn move_return(number: u32, step: ReturnStep) -> OrderCommand {
    OrderCommand::MoveReturn {
        number,
        step,
        by: user("shop"),
        expected: None,
    }
}

pub fn refund(amount: i64) -> OrderCommand {
    OrderCommand::Refund {
        amount: Amount(amount),
        note: "sorry".into(),
        by: user("shop"),
        expected: None,
    }
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
