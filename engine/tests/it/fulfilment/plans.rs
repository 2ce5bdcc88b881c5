//! What somebody has taken upon itself is nobody else's.

use docket_engine::{
    Change, ChangeKind, FULFILMENTS_MAX, HoldReason, Order, OrderCommand, OrderState, PLANS_MAX, Quantity,
    Rejection, Version,
};

use super::bounds::confirmed;
use crate::stage::{Ask, Stage, ask, cancel, carry, edit, line, plan, ship, ship_plan, some, unplan};

#[test]
fn what_is_planned_is_shipped_by_no_other_nor_called_off_nor_edited_away() {
    // Two of the first line's three nuts, and both bolts.
    let mut order = Stage::Confirmed.order();
    carry(&mut order, &plan(&[(0, 2), (1, 2)]));
    let planned = |line, planned| {
        let planned = Quantity(planned);
        Err(Rejection::QuantityPlanned { line, planned })
    };
    let asked = |order: &Option<Order>, command: &OrderCommand| {
        let mut order = order.clone();
        ask(&mut order, command).map(|outcome| outcome.events)
    };
    for (command, expected) in [
        (ship(&[(0, 2)]), planned(0, 2)),
        (ship(&[(0, 1), (1, 1)]), planned(1, 2)),
        (plan(&[(1, 1)]), planned(1, 2)),
        (cancel(&[(0, 2)]), planned(0, 2)),
        (cancel(&[]), planned(0, 2)),
        (edit(&[(0, 1)]), planned(0, 2)),
        (edit(&[(1, 0), (2, 3)]), planned(1, 2)),
    ] {
        assert_eq!(asked(&order, &command), expected, "{command:?}");
    }
    // More than is open is that, planned or not.
    let refused = asked(&order, &ship(&[(0, 4)]));
    assert!(
        matches!(&refused, Err(Rejection::QuantityNotOpen { open, .. }) if open.0 == 3),
        "{refused:?}"
    );
    // What is free goes, and then there is nothing left for anybody else.
    carry(&mut order, &ship(&[]));
    carry(&mut order, &OrderCommand::Consumed);
    for command in [ship(&[]), plan(&[]), cancel(&[])] {
        assert_eq!(asked(&order, &command), planned(0, 2), "{command:?}");
    }
    // It is held meanwhile, and what was planned is shipped when it is held no more.
    carry(&mut order, &Ask::Hold.command());
    let held = Rejection::OrderHeld {
        reason: HoldReason::Address,
    };
    assert_eq!(asked(&order, &ship_plan(1)), Err(held));
    carry(&mut order, &Ask::ReleaseHold.command());
    carry(&mut order, &ship_plan(1));
    carry(&mut order, &OrderCommand::Consumed);
    let order = order.unwrap();
    assert_eq!(order.state, OrderState::Fulfilled);
    assert_eq!((order.captured().0, order.held().0), (18, 0));
    let lines: Vec<_> = order.fulfilments().iter().map(|it| it.lines.clone()).collect();
    assert_eq!(lines, [some(&[(0, 2), (1, 2)]), some(&[(0, 1), (2, 1)])]);
    // And how it was while it was planned is told of it as it is now.
    let history = order.changes(Version(0), usize::MAX).unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|it| (it.kind, it.details.fulfilment.unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            (ChangeKind::Placed, 0),
            (ChangeKind::Confirmed, 0),
            (ChangeKind::FulfilmentOpened, 1),
            (ChangeKind::Shipped, 2),
            (ChangeKind::Consumed, 0),
            (ChangeKind::Held, 0),
            (ChangeKind::HoldReleased, 0),
            (ChangeKind::Shipped, 1),
            (ChangeKind::Consumed, 0),
        ]
    );
    let opened = Change {
        kind: ChangeKind::FulfilmentOpened,
        version: Version(3),
        at: order.created,
    };
    let then = order.after(&opened);
    then.validate().unwrap();
    assert_eq!((then.fulfilments().len(), then.captured().0), (1, 0));
    assert!(then.fulfilments()[0].is_open() && then.fulfilments()[0].carrier.is_empty());
}

#[test]
fn plans_that_were_called_off_use_up_no_shipments_and_end_some_time() {
    let mut order = Some(confirmed(vec![line("nut", 1_000, 3)]));
    for number in 1..=PLANS_MAX {
        carry(&mut order, &plan(&[(0, 1)]));
        carry(&mut order, &unplan(number as u32));
    }
    let refused = ask(&mut order, &plan(&[(0, 1)])).map(|it| it.events);
    assert_eq!(refused, Err(Rejection::TooManyFulfilments));
    // What is sent is sent as ever.
    for _ in 0..FULFILMENTS_MAX {
        carry(&mut order, &ship(&[(0, 1)]));
        carry(&mut order, &OrderCommand::Consumed);
    }
    let refused = ask(&mut order, &ship(&[(0, 1)])).map(|it| it.events);
    assert_eq!(refused, Err(Rejection::TooManyFulfilments));
    carry(&mut order, &ship(&[]));
    carry(&mut order, &OrderCommand::Consumed);
    let order = order.unwrap();
    order.validate().unwrap();
    assert_eq!(order.state, OrderState::Fulfilled);
    assert_eq!(order.fulfilments().len(), PLANS_MAX + FULFILMENTS_MAX + 1);
}
