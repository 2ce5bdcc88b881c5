//! What waits for stock is not sent, and an order believes no less to wait than does.

use docket_engine::{
    BACKORDER_NEWS_MAX, Change, ChangeKind, Order, OrderCommand, OrderEvent, OrderState, PaymentOutcome,
    Quantity, Rejection, ReservationState, Time, Version, order,
};

use crate::stage::{
    Ask, Stage, ask, cancel, carry, done, edit, hear, paid, plan, ship, ship_plan, sku, some, unplan,
};

/// Of three nuts, two bolts and a nut two nuts wait: the last one, and one of the first line.
fn waiting(stage: Stage) -> Option<Order> {
    let mut order = stage.order();
    let answers = vec![(sku("nut"), Ok(Quantity(2))), (sku("bolt"), Ok(Quantity(0)))];
    carry(&mut order, &OrderCommand::Settle { answers });
    order
}

fn known(order: &Option<Order>) -> Vec<i64> {
    let waiting = order.as_ref().unwrap().backordered_quantities();
    waiting.iter().map(|it| it.0).collect()
}

#[test]
fn what_waits_is_refused_and_what_is_there_is_sent() {
    let order = waiting(Stage::Pending);
    let confirmed = order.as_ref().unwrap();
    assert_eq!((confirmed.state, confirmed.version.0), (OrderState::Confirmed, 3));
    assert_eq!(known(&order), [1, 0, 1]);
    assert!(confirmed.is_as_confirmed() && confirmed.is_backordered());
    let asked = |command: &OrderCommand| {
        let mut order = order.clone();
        ask(&mut order, command).map(|_| known(&order))
    };
    let refused = |line, wanted, there| {
        Err(Rejection::QuantityBackordered {
            line,
            wanted: Quantity(wanted),
            there: Quantity(there),
        })
    };
    // Whether its items are asked first, and what comes of it where they say the same.
    for (command, asks, expected) in [
        (ship(&[]), true, Ok(vec![1, 0, 1])),
        (ship(&[(0, 2)]), false, Ok(vec![1, 0, 1])),
        (ship(&[(0, 3)]), true, refused(0, 3, 2)),
        (ship(&[(1, 2), (2, 1)]), true, refused(2, 1, 0)),
        (plan(&[]), false, Ok(vec![1, 0, 1])),
        // What waits goes first, whichever line it was of.
        (cancel(&[(0, 1)]), false, Ok(vec![0, 0, 1])),
        (cancel(&[(2, 1)]), false, Ok(vec![1, 0, 0])),
        (cancel(&[(0, 3)]), false, Ok(vec![0, 0, 0])),
        (cancel(&[(1, 1)]), false, Ok(vec![1, 0, 1])),
        (cancel(&[]), false, Ok(vec![0, 0, 0])),
        (edit(&[(0, 2)]), false, Ok(vec![0, 0, 1])),
        // As many nuts as before.
        (edit(&[(0, 1), (2, 3)]), false, Ok(vec![0, 0, 2])),
        (edit(&[(0, 5)]), false, Ok(vec![1, 0, 1])),
        (Ask::Hold.command(), false, Ok(vec![1, 0, 1])),
        (hear(2, 0), false, Ok(vec![1, 0, 1])),
        (hear(1, 0), false, Ok(vec![0, 0, 1])),
        (hear(0, 0), false, Ok(vec![0, 0, 0])),
        // No item says so, and if one does it is believed.
        (hear(3, 1), false, Ok(vec![2, 1, 1])),
        (hear(1, 1), false, Ok(vec![0, 1, 1])),
    ] {
        assert_eq!(order::asks_first(confirmed, &command), asks, "{command:?}");
        assert_eq!(asked(&command), expected, "{command:?}");
    }
    let sent = {
        let mut order = order.clone();
        carry(&mut order, &ship(&[]));
        order.unwrap().fulfilments()[0].lines.clone()
    };
    assert_eq!(sent, some(&[(0, 2), (1, 2)]));
}

#[test]
fn what_its_items_say_is_heard_with_a_shipment_and_the_etag_is_the_one_before() {
    let order = waiting(Stage::Pending).unwrap();
    let OrderCommand::HearBackorders { waiting } = hear(1, 0) else {
        unreachable!()
    };
    let (news, then) = order.hearing(&waiting).unwrap();
    let expected = OrderEvent::BackorderFilled {
        lines: some(&[(2, 1)]),
    };
    assert_eq!((news, then.version), (expected, order.version));
    let at = |expected| match ship(&[(0, 3)]) {
        OrderCommand::Ship {
            lines,
            carrier,
            tracking,
            by,
            ..
        } => OrderCommand::Ship {
            lines,
            carrier,
            tracking,
            by,
            expected: Some(expected),
        },
        other => other,
    };
    assert!(order::decide(Some(&then), &at(order.version)).is_ok());
    let stale = order::decide(Some(&then), &at(Version(2)));
    assert_eq!(stale, Err(Rejection::StaleEtag));
    // What it knows already is nothing to be recorded.
    let OrderCommand::HearBackorders { waiting } = hear(2, 0) else {
        unreachable!()
    };
    assert_eq!(order.hearing(&waiting), None);
}

#[test]
fn a_plan_of_what_waits_is_sent_when_it_is_there() {
    let mut order = waiting(Stage::Pending);
    carry(&mut order, &plan(&[(0, 3), (2, 1)]));
    let refused = |line, wanted, there| {
        Err(Rejection::QuantityBackordered {
            line,
            wanted: Quantity(wanted),
            there: Quantity(there),
        })
    };
    let send = |order: &Option<Order>| {
        let found = order::decide(order.as_ref(), &ship_plan(1));
        found.map(|_| ())
    };
    assert_eq!(send(&order), refused(0, 3, 2));
    assert!(order::asks_first(order.as_ref().unwrap(), &ship_plan(1)));
    carry(&mut order, &hear(1, 0));
    assert_eq!(send(&order), refused(2, 1, 0));
    carry(&mut order, &hear(0, 0));
    assert_eq!(send(&order), Ok(()));
    carry(&mut order, &unplan(1));
    assert!(!order.unwrap().is_backordered());
}

#[test]
fn an_order_that_its_provider_is_asked_about_waits_meanwhile() {
    let mut order = waiting(Stage::ProviderPending);
    let authorizing = order.clone().unwrap();
    assert_eq!(
        (authorizing.state, authorizing.version.0),
        (OrderState::Authorizing, 3)
    );
    let held = &authorizing.reservations()[0];
    let expected = [
        (ReservationState::Held, Quantity(2)),
        (ReservationState::Backordered, Quantity(1)),
    ];
    assert_eq!(held[..], expected);
    carry(&mut order, &hear(1, 0));
    let declined = PaymentOutcome::Declined { reason: "no".into() };
    for (outcome, kinds) in [
        (done(), vec![ChangeKind::Confirmed]),
        (declined, vec![ChangeKind::Rejected, ChangeKind::Released]),
    ] {
        let mut order = order.clone();
        carry(&mut order, &paid(1, outcome));
        assert_eq!(order.as_ref().unwrap().is_as_confirmed(), kinds.len() == 1);
        if kinds.len() > 1 {
            assert_eq!(known(&order), [0, 0, 0]);
            carry(&mut order, &OrderCommand::Released);
        }
        let order = order.unwrap();
        let before = [
            ChangeKind::Placed,
            ChangeKind::Reserved,
            ChangeKind::Backordered,
            ChangeKind::BackorderFilled,
        ];
        let history = order.history().unwrap();
        for (kind, version) in before.into_iter().chain(kinds).zip(1..) {
            assert_eq!(history.kind(Version(version)), Some(kind));
            let change = Change {
                kind,
                version: Version(version),
                at: Time(9),
            };
            let then = order.after(&change);
            then.validate().unwrap();
            let waits: i64 = then.backordered_quantities().iter().map(|it| it.0).sum();
            let (state, expected) = match version {
                1 => (OrderState::Pending, 0),
                2 => (OrderState::Authorizing, 0),
                3 => (OrderState::Authorizing, 2),
                4 => (OrderState::Authorizing, 1),
                _ if order.state == OrderState::Confirmed => (OrderState::Confirmed, 1),
                _ => (OrderState::Rejected, 0),
            };
            assert_eq!((then.state, waits), (state, expected), "version {version}");
        }
    }
    // Called off while it waits.
    carry(&mut order, &cancel(&[]));
    assert_eq!(known(&order), [0, 0, 0]);
}

#[test]
fn what_cannot_be_is_not_carried_into_an_order() {
    let order = waiting(Stage::Pending).unwrap();
    let pending = Stage::Pending.order().unwrap();
    let filled = |lines: &[(u16, i64)]| OrderEvent::BackorderFilled { lines: some(lines) };
    let backordered = |lines: &[(u16, i64)]| OrderEvent::Backordered { lines: some(lines) };
    let shipped = OrderEvent::Shipped {
        lines: some(&[(0, 3)]),
        carrier: "".into(),
        tracking: "".into(),
        by: crate::stage::user("shop"),
    };
    for (order, event) in [
        (&order, shipped),
        (&order, filled(&[(0, 1), (2, 1)])),
        (&order, filled(&[(0, 2)])),
        (&order, filled(&[(1, 1)])),
        (&order, backordered(&[(0, 1), (2, 1)])),
        (&order, backordered(&[(0, 4)])),
        (&order, backordered(&[(2, 1), (0, 2)])),
        (&order, backordered(&[(3, 1)])),
        (&order, backordered(&[(0, 0)])),
        (&order, backordered(&[])),
        (&pending, backordered(&[(0, 1)])),
    ] {
        let mut changed = order.clone();
        assert!(changed.evolve(&event, Time(9)).is_err(), "{event:?}");
        assert_eq!(&changed, order, "{event:?}");
    }
}

#[test]
fn what_is_filled_bit_by_bit_is_not_remembered_without_end() {
    let mut order = Stage::Pending.order();
    let answers = vec![(sku("nut"), Ok(Quantity(4))), (sku("bolt"), Ok(Quantity(2)))];
    carry(&mut order, &OrderCommand::Settle { answers });
    // To and fro, as no item has it, so that there is always something new.
    for n in 0..BACKORDER_NEWS_MAX as i64 {
        ask(&mut order, &hear(1 + n % 2, 1)).unwrap();
    }
    assert_eq!(order.as_ref().unwrap().backorder_news().len(), 32);
    // With a shipment it is heard, and in the end.
    assert!(
        order
            .as_ref()
            .unwrap()
            .hearing(&[(sku("bolt"), Quantity(0))])
            .is_some()
    );
    carry(&mut order, &hear(0, 0));
    assert_eq!(order.as_ref().unwrap().backorder_news().len(), 33);
    assert_eq!(known(&order), [0, 0, 0]);
}
