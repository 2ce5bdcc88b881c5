//! What an order can be asked.

use docket_engine::{
    Amount, CustomerId, Fulfilment, HoldReason, Line, LineQuantity, Order, OrderCommand, PaymentOutcome,
    PaymentStep, ProviderName, Quantity, Rejection, ReturnStep, Sku, access::Username,
};

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
    OpenAll,
    OpenSome,
    ShipPlanned,
    CancelPlanned,
    DeliverOnItsWay,
    DeliverArrived,
    DeliverMissing,
    Hold,
    ReleaseHold,
    Released,
    Consumed,
    EditLess,
    EditMore,
    EditBoth,
    RaiseAgreed,
    RaiseRefused,
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
    PlaceWithProvider,
    RefuseWithProvider,
    Authorized,
    AuthorizationDeclined,
    LastDone,
    LastDeclined,
    PaidMissing,
    Retry,
    RetryAuthorization,
    RetryMissing,
    Expire,
    Close,
    SettleWaiting,
    HearNothing,
    HearSome,
    HearMore,
}

impl Ask {
    pub const ALL: [Self; 53] = [
        Self::Place,
        Self::Refuse,
        Self::SettleAgreed,
        Self::SettleRefused,
        Self::SettleEarly,
        Self::CancelAll,
        Self::CancelSome,
        Self::ShipAll,
        Self::ShipSome,
        Self::OpenAll,
        Self::OpenSome,
        Self::ShipPlanned,
        Self::CancelPlanned,
        Self::DeliverOnItsWay,
        Self::DeliverArrived,
        Self::DeliverMissing,
        Self::Hold,
        Self::ReleaseHold,
        Self::Released,
        Self::Consumed,
        Self::EditLess,
        Self::EditMore,
        Self::EditBoth,
        Self::RaiseAgreed,
        Self::RaiseRefused,
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
        Self::PlaceWithProvider,
        Self::RefuseWithProvider,
        Self::Authorized,
        Self::AuthorizationDeclined,
        Self::LastDone,
        Self::LastDeclined,
        Self::PaidMissing,
        Self::Retry,
        Self::RetryAuthorization,
        Self::RetryMissing,
        Self::Expire,
        Self::Close,
        Self::SettleWaiting,
        Self::HearNothing,
        Self::HearSome,
        Self::HearMore,
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
            Self::OpenAll => "Plan all",
            Self::OpenSome => "Plan some",
            Self::ShipPlanned => "Ship, as planned",
            Self::CancelPlanned => "Give a plan up",
            Self::DeliverOnItsWay => "Deliver, on its way",
            Self::DeliverArrived => "Deliver, arrived",
            Self::DeliverMissing => "Deliver, never sent",
            Self::Hold => "Hold",
            Self::ReleaseHold => "Release hold",
            Self::Released => "Released",
            Self::Consumed => "Consumed",
            Self::EditLess => "Edit, less",
            Self::EditMore => "Edit, more",
            Self::EditBoth => "Edit, more and less",
            Self::RaiseAgreed => "Raised, all agree",
            Self::RaiseRefused => "Raised, one refuses",
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
            Self::PlaceWithProvider => "Place, by a provider",
            Self::RefuseWithProvider => "Refuse, by a provider",
            Self::Authorized => "Step 1 done",
            Self::AuthorizationDeclined => "Step 1 declined",
            Self::LastDone => "Last step done",
            Self::LastDeclined => "Last step declined",
            Self::PaidMissing => "Step 9 done",
            Self::Retry => "Retry what was declined",
            Self::RetryAuthorization => "Retry step 1",
            Self::RetryMissing => "Retry step 9",
            Self::Expire => "Expire",
            Self::Close => "Close, when at rest",
            Self::SettleWaiting => "Settle, two nuts wait",
            Self::HearNothing => "Heard, none waits",
            Self::HearSome => "Heard, one nut waits",
            Self::HearMore => "Heard, three nuts wait",
        }
    }

    /// Of no order in particular: of one of which nothing was taken.
    pub fn command(self) -> OrderCommand {
        self.command_of(None)
    }

    /// Only how much money is all, or too much, and which step of its payment is the last, or was declined, depends on the order.
    pub fn command_of(self, order: Option<&Order>) -> OrderCommand {
        let refundable = order.map_or(0, |order| order.refundable().0);
        let steps = order.map_or(&[][..], Order::payment_steps);
        let number = |at: Option<usize>| at.map_or(1, |at| u32::try_from(at + 1).unwrap());
        let last = number(steps.len().checked_sub(1));
        // Also where it was tried again since.
        let was_declined = number(steps.iter().rposition(PaymentStep::is_declined));
        let fulfilments = order.map_or(&[][..], Order::fulfilments);
        let planned = number(fulfilments.iter().position(Fulfilment::is_open));
        let customer = CustomerId::new("ada").unwrap();
        let currency = "EUR".parse().unwrap();
        let (nut, bolt) = (sku("nut"), sku("bolt"));
        let deliver = |fulfilment| OrderCommand::Deliver {
            fulfilment,
            by: user("shop"),
            expected: None,
        };
        let place = |provider| OrderCommand::Place {
            customer: customer.clone(),
            currency,
            lines: lines().into(),
            provider,
        };
        let refuse = |provider, rejection| OrderCommand::Refuse {
            customer: customer.clone(),
            currency,
            lines: lines().into(),
            rejection,
            provider,
        };
        let mint = || Some(ProviderName::new("mint").unwrap());
        match self {
            Self::Place => place(None),
            Self::PlaceWithProvider => place(mint()),
            Self::Refuse => refuse(
                None,
                Rejection::InsufficientCredit {
                    needed: Amount(18),
                    available: Amount(17),
                },
            ),
            Self::RefuseWithProvider => refuse(
                mint(),
                Rejection::CurrencyMismatch {
                    line: None,
                    ordered: currency,
                    expected: "JPY".parse().unwrap(),
                },
            ),
            Self::SettleAgreed => OrderCommand::Settle {
                answers: vec![(bolt, Ok(Quantity::ZERO)), (nut, Ok(Quantity::ZERO))],
            },
            Self::SettleRefused => OrderCommand::Settle {
                answers: vec![
                    (nut, Ok(Quantity::ZERO)),
                    (bolt.clone(), Err(Rejection::ItemFailed { line: 1, sku: bolt })),
                ],
            },
            Self::SettleEarly => OrderCommand::Settle {
                answers: vec![(nut, Ok(Quantity::ZERO))],
            },
            Self::CancelAll => cancel(&[]),
            Self::CancelSome => cancel(&[(0, 1)]),
            Self::ShipAll => ship(&[]),
            Self::ShipSome => ship(&[(0, 1)]),
            Self::OpenAll => plan(&[]),
            Self::OpenSome => plan(&[(0, 1)]),
            Self::ShipPlanned => ship_plan(planned),
            Self::CancelPlanned => unplan(planned),
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
            Self::EditLess => edit(&[(0, 2)]),
            Self::EditMore => edit(&[(0, 4)]),
            Self::EditBoth => edit(&[(0, 4), (1, 1)]),
            Self::RaiseAgreed => OrderCommand::Raised {
                answers: vec![(nut, Ok(Quantity::ZERO))],
            },
            Self::RaiseRefused => OrderCommand::Raised {
                answers: vec![(nut.clone(), Err(Rejection::ItemFailed { line: 0, sku: nut }))],
            },
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
            Self::Authorized => paid(1, done()),
            Self::AuthorizationDeclined => paid(1, declined()),
            Self::LastDone => paid(last, done()),
            Self::LastDeclined => paid(last, declined()),
            Self::PaidMissing => paid(9, done()),
            Self::Retry => retry(was_declined),
            Self::RetryAuthorization => retry(1),
            Self::RetryMissing => retry(9),
            Self::Expire => OrderCommand::Expire {
                number: order.and_then(Order::awaits_authorization).unwrap_or(1),
            },
            Self::Close => OrderCommand::Close,
            Self::SettleWaiting => OrderCommand::Settle {
                answers: vec![(bolt, Ok(Quantity::ZERO)), (nut, Ok(Quantity(2)))],
            },
            Self::HearNothing => hear(0, 0),
            Self::HearSome => hear(1, 0),
            Self::HearMore => hear(3, 0),
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

pub fn plan(lines: &[(u16, i64)]) -> OrderCommand {
    OrderCommand::OpenFulfilment {
        lines: some(lines),
        by: user("depot"),
        expected: None,
    }
}

pub fn ship_plan(fulfilment: u32) -> OrderCommand {
    OrderCommand::ShipFulfilment {
        fulfilment,
        carrier: "Ape".into(),
        tracking: "".into(),
        by: user("depot"),
        expected: None,
    }
}

pub fn unplan(fulfilment: u32) -> OrderCommand {
    OrderCommand::CancelFulfilment {
        fulfilment,
        by: user("depot"),
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

/// So many of which lines in all.
pub fn edit(lines: &[(u16, i64)]) -> OrderCommand {
    OrderCommand::Edit {
        lines: some(lines),
        by: user("ada"),
        expected: None,
        may_authorize: true,
    }
}

/// So many of its nuts and bolts wait for stock.
pub fn hear(nuts: i64, bolts: i64) -> OrderCommand {
    let waiting = [("nut", nuts), ("bolt", bolts)];
    let waiting = waiting.map(|(item, many)| (sku(item), Quantity(many)));
    OrderCommand::HearBackorders {
        waiting: waiting.into(),
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

pub fn done() -> PaymentOutcome {
    PaymentOutcome::Done {
        reference: "p-1".into(),
    }
}

pub fn declined() -> PaymentOutcome {
    PaymentOutcome::Declined {
        reason: "no funds".into(),
    }
}

pub fn paid(number: u32, outcome: PaymentOutcome) -> OrderCommand {
    OrderCommand::Paid { number, outcome }
}

pub fn retry(number: u32) -> OrderCommand {
    OrderCommand::RetryPayment {
        number,
        by: user("ops"),
        expected: None,
    }
}
