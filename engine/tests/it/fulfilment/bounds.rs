//! The largest quantities and amounts, and how often an order is shipped or cancelled in part.

use docket_engine::{
    Amount, CustomerId, EDITS_MAX, Effect, FULFILMENTS_MAX, LINES_MAX, Line, Order, OrderEvent, OrderId,
    OrderState, Quantity, Rejection, Time, money::QUANTITY_MAX, order,
};

use crate::stage::{Ask, Stage, ask, cancel, carry, edit, line, ship, sku};

pub fn confirmed(lines: Vec<Line>) -> Order {
    let placed = OrderEvent::Placed {
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: lines.into(),
        provider: None,
    };
    let mut order = Order::create(OrderId(1), &placed, Time(1)).unwrap();
    order.evolve(&OrderEvent::Confirmed, Time(2)).unwrap();
    order
}

#[test]
fn the_largest_order_is_shipped_to_the_last_piece() {
    // So much that no more can be said, of money and, of one item, on every line.
    let price = i64::MAX / QUANTITY_MAX;
    let mut lines = vec![
        line("nut", QUANTITY_MAX, price),
        line("bolt", 1, i64::MAX % QUANTITY_MAX),
    ];
    lines.resize(LINES_MAX, line("nut", QUANTITY_MAX, 0));
    let first = confirmed(lines);
    assert_eq!(first.total, Amount(i64::MAX));
    let nuts = QUANTITY_MAX * (LINES_MAX as i64 - 1);
    assert_eq!(first.open_of(&sku("nut")), Quantity(nuts));

    let mut order = Some(first.clone());
    let all = carry(&mut order, &ship(&[]));
    let capture = Effect::CaptureCredit {
        customer: first.customer.clone(),
        amount: Amount(i64::MAX),
    };
    assert_eq!(all.effects[0], capture);
    assert_eq!(order.unwrap().state, OrderState::Fulfilled);

    let mut order = Some(first);
    carry(&mut order, &ship(&[(0, QUANTITY_MAX - 1)]));
    carry(&mut order, &Ask::Consumed.command());
    let one = carry(&mut order, &cancel(&[(0, 1)]));
    let release = Effect::ReleaseStock {
        sku: sku("nut"),
        remaining: Quantity(nuts - QUANTITY_MAX),
    };
    assert_eq!(one.effects[1..], [release]);
    carry(&mut order, &Ask::Released.command());
    carry(&mut order, &ship(&[]));
    let order = order.unwrap();
    assert_eq!(order.captured(), Amount(i64::MAX - price));
    assert_eq!(order.payment().voided, Amount(price));
    assert_eq!(order.held(), Amount(0));
}

#[test]
fn of_an_item_on_several_lines_the_sum_of_what_is_open_stays() {
    let mut order = Some(confirmed(vec![
        line("nut", 3, 1),
        line("bolt", 2, 1),
        line("nut", 4, 1),
    ]));
    let nuts = |order: &Option<Order>| order.as_ref().unwrap().open_of(&sku("nut")).0;
    let asked = |order: &Option<Order>| {
        let effects = order::open_effects(order.as_ref().unwrap());
        let [effect] = &effects[..] else {
            panic!("one item is asked once: {effects:?}");
        };
        match effect {
            Effect::ReleaseStock { sku, remaining } => (sku.to_string(), "release", remaining.0),
            Effect::ConsumeStock { sku, remaining } => (sku.to_string(), "consume", remaining.0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(nuts(&order), 7);
    // Lines are named in any order.
    carry(&mut order, &ship(&[(2, 1), (0, 2)]));
    assert_eq!(nuts(&order), 4);
    assert_eq!(asked(&order), ("nut".to_owned(), "consume", 4));
    carry(&mut order, &Ask::Consumed.command());
    carry(&mut order, &cancel(&[(2, 3)]));
    assert_eq!(nuts(&order), 1);
    assert_eq!(asked(&order), ("nut".to_owned(), "release", 1));
    carry(&mut order, &Ask::Released.command());
    carry(&mut order, &ship(&[(1, 2)]));
    // The other item is not asked: nothing is to change there.
    assert_eq!(asked(&order), ("bolt".to_owned(), "consume", 0));
    assert!(order.as_ref().unwrap().wants(&sku("nut")));
    assert!(!order.as_ref().unwrap().wants(&sku("bolt")));
    assert_eq!(order.unwrap().open_of(&sku("gear")), Quantity(0));
}

#[test]
fn the_lowest_line_that_cannot_be_so_says_why() {
    let mut order = Some(confirmed(vec![line("nut", 3, 1), line("bolt", 2, 1)]));
    let not_open = |line, wanted, open| Rejection::QuantityNotOpen {
        line,
        wanted: Quantity(wanted),
        open: Quantity(open),
    };
    let missing = |line| Rejection::LineNotFound { line };
    carry(&mut order, &ship(&[(0, 1)]));
    carry(&mut order, &Ask::Consumed.command());
    for (lines, expected) in [
        (&[(0, 3)][..], not_open(0, 3, 2)),
        (&[(1, 3), (0, 3)], not_open(0, 3, 2)),
        (&[(1, 3), (0, 2)], not_open(1, 3, 2)),
        (&[(2, 1)], missing(2)),
        (&[(2, 1), (1, 3)], not_open(1, 3, 2)),
        (&[(u16::MAX, 1), (2, 1)], missing(2)),
        (&[(0, i64::MAX)], not_open(0, i64::MAX, 2)),
    ] {
        for command in [ship(lines), cancel(lines)] {
            let refused = ask(&mut order, &command).map(|it| it.events);
            assert_eq!(refused, Err(expected.clone()), "{command:?}");
        }
    }
    // A line of which nothing is left.
    carry(&mut order, &cancel(&[(0, 2)]));
    carry(&mut order, &Ask::Released.command());
    let refused = ask(&mut order, &ship(&[(0, 1)])).map(|it| it.events);
    assert_eq!(refused, Err(not_open(0, 1, 0)));
}

#[test]
fn an_order_is_shipped_so_often_and_then_only_altogether_or_the_rest_is_cancelled() {
    let mut order = Some(confirmed(vec![line("nut", 1_000, 3)]));
    for _ in 0..FULFILMENTS_MAX {
        carry(&mut order, &ship(&[(0, 1)]));
        carry(&mut order, &Ask::Consumed.command());
    }
    let left = 1_000 - FULFILMENTS_MAX as i64;
    for one_more in [ship(&[(0, 1)]), ship(&[(0, left - 1)])] {
        let refused = ask(&mut order, &one_more).map(|it| it.events);
        assert_eq!(refused, Err(Rejection::TooManyFulfilments));
    }
    // What is left can be named, also in two parts, or meant by naming nothing.
    let mut sent = Vec::new();
    for all in [ship(&[]), ship(&[(0, left)]), ship(&[(0, 1), (0, left - 1)])] {
        let mut order = order.clone();
        carry(&mut order, &all);
        carry(&mut order, &Ask::Consumed.command());
        sent.push(order.unwrap());
    }
    assert!(sent.iter().all(|order| *order == sent[0]));
    assert_eq!(sent[0].state, OrderState::Fulfilled);
    assert_eq!(sent[0].fulfilments().len(), FULFILMENTS_MAX + 1);
    assert_eq!((sent[0].captured(), sent[0].held()), (Amount(3_000), Amount(0)));
    let one_more = ask(&mut Some(sent.remove(0)), &ship(&[])).map(|it| it.events);
    let state = OrderState::Fulfilled;
    assert_eq!(one_more, Err(Rejection::NotShippable { state }));
    // That there is less of it is told first.
    let refused = ask(&mut order, &ship(&[(0, 1_000)])).map(|it| it.events);
    assert!(matches!(refused, Err(Rejection::QuantityNotOpen { .. })));
    carry(&mut order, &cancel(&[]));
    carry(&mut order, &Ask::Released.command());
    let order = order.unwrap();
    assert_eq!(order.state, OrderState::Fulfilled);
    assert_eq!(order.captured(), Amount(3 * FULFILMENTS_MAX as i64));
    assert_eq!(order.held(), Amount(0));
    assert!(order.is_settled());
}

#[test]
fn an_order_is_cancelled_in_part_so_often_and_then_only_altogether() {
    for shipped in [false, true] {
        let mut order = Some(confirmed(vec![line("nut", 1_000, 3), line("bolt", 1, 1)]));
        if shipped {
            carry(&mut order, &ship(&[(1, 1)]));
            carry(&mut order, &Ask::Consumed.command());
        }
        for _ in 0..FULFILMENTS_MAX {
            carry(&mut order, &cancel(&[(0, 1)]));
            carry(&mut order, &Ask::Released.command());
        }
        let refused = ask(&mut order, &cancel(&[(0, 1)])).map(|it| it.events);
        assert_eq!(refused, Err(Rejection::TooManyFulfilments));
        // What is left can be named, or meant by naming nothing.
        let left = 1_000 - FULFILMENTS_MAX as i64;
        let named = match shipped {
            true => cancel(&[(0, left)]),
            false => cancel(&[(1, 1), (0, left)]),
        };
        let mut other = order.clone();
        carry(&mut order, &cancel(&[]));
        carry(&mut other, &named);
        assert_eq!(order, other);
        let order = order.unwrap();
        let state = match shipped {
            true => OrderState::Fulfilled,
            false => OrderState::Cancelled,
        };
        assert_eq!((order.state, order.held()), (state, Amount(0)));
    }
}

#[test]
fn an_order_is_edited_so_often_and_no_more() {
    let mut order = Stage::Confirmed.order();
    for _ in 0..EDITS_MAX {
        // Those that are refused count as well.
        carry(&mut order, &Ask::EditMore.command());
        carry(&mut order, &Ask::RaiseRefused.command());
        carry(&mut order, &Ask::Released.command());
    }
    for command in [Ask::EditLess, Ask::EditMore, Ask::EditBoth] {
        let refused = ask(&mut order, &command.command()).map(|it| it.events);
        assert_eq!(refused, Err(Rejection::TooManyEdits), "{command:?}");
    }
    // To what it is already, it may be.
    let nothing = ask(&mut order, &edit(&[(0, 3)])).unwrap();
    assert!(nothing.events.is_empty());
    carry(&mut order, &ship(&[]));
}

#[test]
fn the_largest_order_is_edited_to_nothing_less_than_what_was_shipped_and_back() {
    let price = i64::MAX / QUANTITY_MAX;
    let mut order = Some(confirmed(vec![
        line("nut", QUANTITY_MAX, price),
        line("bolt", 1, i64::MAX % QUANTITY_MAX),
    ]));
    // No amount can say more.
    for (lines, at) in [(&[(1, 2)][..], 1), (&[(0, QUANTITY_MAX + 1)], 0)] {
        let refused = ask(&mut order, &edit(lines)).map(|it| it.events);
        assert_eq!(refused, Err(Rejection::Overflow { line: Some(at) }));
    }
    carry(&mut order, &ship(&[(0, 1)]));
    carry(&mut order, &Ask::Consumed.command());
    carry(&mut order, &edit(&[(0, 1), (1, 0)]));
    let all = order.clone().unwrap();
    assert_eq!((all.state, all.total), (OrderState::Fulfilled, Amount(price)));
    assert_eq!(
        (all.held(), all.payment().authorized),
        (Amount(0), Amount(i64::MAX))
    );
}
