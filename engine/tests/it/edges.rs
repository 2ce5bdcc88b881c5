//! Single cases at the edges of what numbers can hold, and events that nobody could have decided.

use std::sync::Arc;

use docket_engine::{
    Amount, Customer, CustomerCommand, CustomerEvent, CustomerId, Effect, Item, ItemCommand, ItemEvent, Line,
    Order, OrderCommand, OrderEvent, OrderId, OrderState, Quantity, Rejection, Sku, Time, customer, item,
    item::ReserveLine, order,
};

fn ada() -> CustomerId {
    CustomerId::new("ada").unwrap()
}

fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

fn rich(balance: i64, credit_limit: i64) -> Customer {
    let created = CustomerEvent::Created {
        display_name: "Ada".into(),
        currency: "EUR".parse().unwrap(),
        credit_limit: Amount(credit_limit),
    };
    let mut customer = Customer::create(ada(), &created, Time(1)).unwrap();
    if balance != 0 {
        let amount = Amount(balance);
        customer
            .evolve(&CustomerEvent::Credited { amount }, Time(2))
            .unwrap();
    }
    customer
}

fn nut(price: i64, on_hand: i64) -> Item {
    let created = ItemEvent::Created {
        display_name: "Nut".into(),
        currency: "EUR".parse().unwrap(),
        unit_price: Amount(price),
        on_hand: Quantity(on_hand),
    };
    Item::create(sku("nut"), &created, Time(1)).unwrap()
}

fn line(text: &str, quantity: i64, price: i64) -> Line {
    Line {
        sku: sku(text),
        quantity: Quantity(quantity),
        unit_price: Amount(price),
    }
}

fn placed(lines: Vec<Line>) -> OrderEvent {
    OrderEvent::Placed {
        customer: ada(),
        currency: "EUR".parse().unwrap(),
        lines: lines.into(),
        provider: None,
    }
}

fn pending(lines: Vec<Line>) -> Order {
    Order::create(OrderId(1), &placed(lines), Time(1)).unwrap()
}

fn hold(amount: i64) -> CustomerCommand {
    CustomerCommand::Hold {
        order: OrderId(1),
        amount: Amount(amount),
        currency: "EUR".parse().unwrap(),
    }
}

#[test]
fn what_a_customer_can_spend_is_never_more_than_an_amount_holds() {
    let mut customer = rich(i64::MAX, i64::MAX);
    assert_eq!(customer.available(), Amount(i64::MAX));
    let all = customer::decide(&ada(), Some(&customer), &hold(i64::MAX)).unwrap();
    customer.evolve(&all.events[0], Time(3)).unwrap();
    // The credit limit is left, but no amount can say how much would then be held.
    assert_eq!(customer.available(), Amount(i64::MAX));
    let one_more = customer::decide(&ada(), Some(&customer), &hold(1));
    assert_eq!(one_more, Err(Rejection::Overflow { line: None }));
    // A free order fits all the same.
    assert!(customer::decide(&ada(), Some(&customer), &hold(0)).is_ok());
}

#[test]
fn money_that_was_lent_cannot_be_taken_out() {
    let take = |customer: &Customer, amount| {
        let amount = Amount(amount);
        customer::decide(
            &ada(),
            Some(customer),
            &CustomerCommand::Credit {
                amount,
                expected: None,
            },
        )
    };
    let refused = |available, wanted| {
        Err(Rejection::BalanceHeld {
            available: Amount(available),
            wanted: Amount(wanted),
        })
    };
    assert_eq!(take(&rich(0, 1_000), -1), refused(0, 1));
    assert_eq!(take(&rich(5, 1_000), -6), refused(5, 6));
    assert!(take(&rich(5, 1_000), -5).is_ok());
    assert_eq!(take(&rich(5, 0), i64::MIN), refused(5, i64::MAX));
    assert_eq!(
        take(&rich(1, 0), i64::MAX),
        Err(Rejection::Overflow { line: None })
    );
}

#[test]
fn a_lowered_credit_limit_stops_new_orders_and_keeps_old_ones() {
    let mut customer = rich(10, 100);
    let held = customer::decide(&ada(), Some(&customer), &hold(110)).unwrap();
    customer.evolve(&held.events[0], Time(3)).unwrap();
    let lower = CustomerEvent::Updated {
        display_name: "Ada".into(),
        credit_limit: Amount(0),
    };
    customer.evolve(&lower, Time(4)).unwrap();
    customer.validate().unwrap();
    assert_eq!(customer.available(), Amount(0));
    let refused = Rejection::InsufficientCredit {
        needed: Amount(1),
        available: Amount(0),
    };
    assert_eq!(customer::decide(&ada(), Some(&customer), &hold(1)), Err(refused));
}

#[test]
fn stock_goes_from_nothing_to_the_most_and_back() {
    let adjust = |item: &Item, delta| {
        let delta = Quantity(delta);
        item::decide(
            &sku("nut"),
            Some(item),
            None,
            &ItemCommand::Adjust {
                delta,
                expected: None,
            },
        )
    };
    assert!(adjust(&nut(1, 0), i64::MAX).is_ok());
    assert_eq!(
        adjust(&nut(1, 1), i64::MAX),
        Err(Rejection::Overflow { line: None })
    );
    assert!(adjust(&nut(1, i64::MAX), -i64::MAX).is_ok());
    let refused = Rejection::StockReserved {
        on_hand: Quantity(i64::MAX),
        reserved: Quantity(0),
        wanted: Quantity(i64::MAX),
    };
    assert_eq!(adjust(&nut(1, i64::MAX), i64::MIN), Err(refused));
}

#[test]
fn an_item_on_several_lines_is_reserved_as_one() {
    let reserve = |item: &Item, lines: &[(u16, i64, i64)]| {
        let lines = lines.iter().map(|&(line, quantity, price)| ReserveLine {
            line,
            quantity: Quantity(quantity),
            unit_price: Amount(price),
        });
        let command = ItemCommand::Reserve {
            order: OrderId(1),
            currency: "EUR".parse().unwrap(),
            lines: lines.collect(),
        };
        item::decide(&sku("nut"), Some(item), None, &command)
    };
    // Two and three of four: each line alone would do.
    let refused = Rejection::InsufficientStock {
        line: 1,
        sku: sku("nut"),
        wanted: Quantity(5),
        available: Quantity(4),
    };
    assert_eq!(reserve(&nut(7, 4), &[(1, 2, 7), (3, 3, 7)]), Err(refused));
    // The price of the second line is not hidden by the first.
    let refused = Rejection::PriceChanged {
        line: 3,
        sku: sku("nut"),
        offered: Amount(6),
        current: Amount(7),
    };
    assert_eq!(reserve(&nut(7, 9), &[(1, 2, 7), (3, 3, 6)]), Err(refused));
    let most: Vec<_> = (0..100).map(|i| (i, 1_000_000_000, 7)).collect();
    let decision = reserve(&nut(7, i64::MAX), &most).unwrap();
    let reserved = ItemEvent::Reserved {
        order: OrderId(1),
        quantity: Quantity(100_000_000_000),
    };
    assert_eq!(decision.events, [reserved]);
}

#[test]
fn totals_that_overflow_are_refused() {
    let overflow = |at: u16, lines: &[Line]| {
        let rejection = Rejection::Overflow { line: Some(at) };
        assert_eq!(rejection.field(), format!("lines[{at}]"));
        assert_eq!(order::total(lines), Err(rejection));
    };
    overflow(0, &[line("nut", 2, i64::MAX)]);
    overflow(1, &[line("nut", 1, i64::MAX), line("bolt", 1, 1)]);
    overflow(
        1,
        &[
            line("nut", 1, 1),
            line("bolt", 1, i64::MAX),
            line("nut", 1, i64::MAX),
        ],
    );
    overflow(0, &[line("nut", 1_000_000_000, i64::MAX / 1_000_000_000 + 1)]);
    assert_eq!(
        order::total(&[line("nut", 1, i64::MAX), line("bolt", 1, 0)]),
        Ok(Amount(i64::MAX))
    );
    let place = OrderCommand::Place {
        customer: ada(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([line("nut", 2, i64::MAX)]),
        provider: None,
    };
    assert_eq!(
        order::decide(None, &place),
        Err(Rejection::Overflow { line: Some(0) })
    );
}

#[test]
fn nothing_is_confirmed_that_an_item_has_not_agreed_to() {
    let order = pending(vec![line("nut", 1, 1), line("bolt", 1, 1)]);
    let settle = |answers: Vec<(Sku, Result<Quantity, Rejection>)>| {
        order::decide(Some(&order), &OrderCommand::Settle { answers }).unwrap()
    };
    assert_eq!(settle(Vec::new()).events, []);
    assert_eq!(settle(vec![(sku("nut"), Ok(Quantity::ZERO))]).events, []);
    // The agreement of an item that was not asked is worth nothing.
    assert_eq!(
        settle(vec![
            (sku("nut"), Ok(Quantity::ZERO)),
            (sku("gear"), Ok(Quantity::ZERO))
        ])
        .events,
        []
    );
    let both = vec![
        (sku("bolt"), Ok(Quantity::ZERO)),
        (sku("nut"), Ok(Quantity::ZERO)),
    ];
    assert_eq!(settle(both).events, [OrderEvent::Confirmed]);
}

#[test]
fn an_item_that_has_not_answered_is_asked_to_release() {
    let order = pending(vec![line("nut", 1, 1), line("bolt", 1, 1)]);
    let refusal = Rejection::ItemNotFound {
        line: Some(1),
        sku: sku("bolt"),
    };
    let answers = vec![(sku("bolt"), Err(refusal.clone()))];
    let decision = order::decide(Some(&order), &OrderCommand::Settle { answers }).unwrap();
    let rejected = OrderEvent::Rejected {
        rejection: Box::new(refusal),
        release: Box::new([sku("nut")]),
    };
    assert_eq!(decision.events, [rejected]);
}

#[test]
fn of_several_refusals_that_of_the_first_line_is_told() {
    let order = pending(vec![line("nut", 1, 1), line("bolt", 1, 1), line("gear", 1, 1)]);
    let refusal = |line, text: &str| Rejection::PriceChanged {
        line,
        sku: sku(text),
        offered: Amount(1),
        current: Amount(2),
    };
    let answers = vec![
        (sku("gear"), Err(refusal(2, "gear"))),
        (sku("nut"), Ok(Quantity::ZERO)),
        (sku("bolt"), Err(refusal(1, "bolt"))),
    ];
    let decision = order::decide(Some(&order), &OrderCommand::Settle { answers }).unwrap();
    let OrderEvent::Rejected { rejection, .. } = &decision.events[0] else {
        panic!("not rejected: {decision:?}");
    };
    assert_eq!(**rejection, refusal(1, "bolt"));
}

/// An event that does not fit is refused, and leaves the state alone.
#[test]
fn events_that_nobody_could_have_decided_are_refused() {
    let (mut customer, before) = (rich(5, 5), rich(5, 5));
    let order = OrderId(1);
    for event in [
        CustomerEvent::Credited { amount: Amount(-6) },
        CustomerEvent::Credited {
            amount: Amount(i64::MAX),
        },
        CustomerEvent::Held {
            order,
            amount: Amount(-1),
        },
        CustomerEvent::Released {
            order,
            amount: Amount(1),
        },
        CustomerEvent::Released {
            order,
            amount: Amount(-1),
        },
        CustomerEvent::Updated {
            display_name: "Eve".into(),
            credit_limit: Amount(-1),
        },
        CustomerEvent::Created {
            display_name: "Eve".into(),
            currency: "EUR".parse().unwrap(),
            credit_limit: Amount(9),
        },
    ] {
        assert!(customer.evolve(&event, Time(9)).is_err(), "{event:?}");
        assert_eq!(customer, before, "{event:?}");
    }

    let (mut item, before) = (nut(5, 5), nut(5, 5));
    for event in [
        ItemEvent::Adjusted { delta: Quantity(-6) },
        ItemEvent::Adjusted {
            delta: Quantity(i64::MAX),
        },
        ItemEvent::Reserved {
            order,
            quantity: Quantity(6),
        },
        ItemEvent::Reserved {
            order,
            quantity: Quantity(0),
        },
        ItemEvent::Reserved {
            order,
            quantity: Quantity(-1),
        },
        ItemEvent::Released {
            order,
            quantity: Quantity(1),
        },
        ItemEvent::Released {
            order,
            quantity: Quantity(i64::MIN),
        },
        ItemEvent::Updated {
            display_name: "Nut".into(),
            unit_price: Amount(-1),
            backorder_limit: Quantity::ZERO,
        },
        ItemEvent::Updated {
            display_name: "Nut".into(),
            unit_price: Amount(1),
            backorder_limit: Quantity(-1),
        },
    ] {
        assert!(item.evolve(&event, Time(9)).is_err(), "{event:?}");
        assert_eq!(item, before, "{event:?}");
    }
}

#[test]
fn an_order_takes_only_the_events_of_its_state() {
    let rejected = OrderEvent::Rejected {
        rejection: Box::new(Rejection::Overflow { line: None }),
        release: Box::new([sku("nut")]),
    };
    let events = [
        placed(vec![line("nut", 1, 1)]),
        OrderEvent::Confirmed,
        rejected,
        OrderEvent::Cancelled,
        OrderEvent::Released,
    ];
    // Which events each state takes, and where they lead; a second Released is one too many.
    let states: [(&[usize], OrderState, [bool; 5]); 6] = [
        (&[], OrderState::Pending, [false, true, true, false, false]),
        (&[1], OrderState::Confirmed, [false, false, false, true, false]),
        (&[2], OrderState::Rejected, [false, false, false, false, true]),
        (&[2, 4], OrderState::Rejected, [false; 5]),
        (&[1, 3], OrderState::Cancelled, [false, false, false, false, true]),
        (&[1, 3, 4], OrderState::Cancelled, [false; 5]),
    ];
    for (path, state, takes) in states {
        let mut order = pending(vec![line("nut", 1, 1)]);
        for event in path {
            order.evolve(&events[*event], Time(2)).unwrap();
        }
        assert_eq!(order.state, state);
        order.validate().unwrap();
        for (event, takes) in events.iter().zip(takes) {
            let mut after = order.clone();
            assert_eq!(after.evolve(event, Time(3)).is_ok(), takes, "{state} {event:?}");
            match takes {
                true => after.validate().unwrap(),
                false => assert_eq!(after, order),
            }
        }
    }
}

#[test]
fn an_order_of_impossible_lines_does_not_come_to_be() {
    for lines in [
        Vec::new(),
        vec![line("nut", 1, 1); 101],
        vec![line("nut", 0, 1)],
        vec![line("nut", 1_000_000_001, 1)],
        vec![line("nut", -1, 1)],
        vec![line("nut", 1, -1)],
        vec![line("nut", 2, i64::MAX)],
    ] {
        assert!(
            Order::create(OrderId(1), &placed(lines.clone()), Time(1)).is_err(),
            "{lines:?}"
        );
    }
    assert!(Order::create(OrderId(1), &OrderEvent::Confirmed, Time(1)).is_err());
}

#[test]
fn each_item_is_asked_once_for_all_of_its_lines_in_the_order_in_which_items_first_come() {
    let lines = vec![
        line("nut", 1, 2),
        line("ape", 3, 4),
        line("nut", 5, 6),
        line("cow", 7, 8),
        line("ape", 9, 10),
    ];
    let order = pending(lines.clone());
    let asked: Vec<_> = order::open_effects(&order)
        .into_iter()
        .map(|effect| match effect {
            Effect::ReserveStock { sku, lines, .. } => {
                let line = |line: &ReserveLine| (line.line, line.quantity.0, line.unit_price.0);
                (sku.to_string(), lines.iter().map(line).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("nut", vec![(0, 1, 2), (2, 5, 6)]),
        ("ape", vec![(1, 3, 4), (4, 9, 10)]),
        ("cow", vec![(3, 7, 8)]),
    ];
    assert_eq!(asked, expected.map(|(sku, lines)| (sku.to_owned(), lines)));
    assert_eq!(order::skus(&lines), [sku("nut"), sku("ape"), sku("cow")]);

    // Answers come in any order; who refused the first line says why, and who agreed is released as the items come.
    let refusal = || Rejection::ItemFailed {
        line: 1,
        sku: sku("ape"),
    };
    let answers = vec![
        (sku("cow"), Ok(Quantity::ZERO)),
        (sku("nut"), Ok(Quantity::ZERO)),
        (sku("ape"), Err(refusal())),
    ];
    let settled = order::decide(Some(&order), &OrderCommand::Settle { answers }).unwrap();
    let rejected = OrderEvent::Rejected {
        rejection: Box::new(refusal()),
        release: Box::new([sku("nut"), sku("cow")]),
    };
    assert_eq!(settled.events, [rejected]);
    let some = vec![(sku("cow"), Ok(Quantity::ZERO)), (sku("ape"), Ok(Quantity::ZERO))];
    let waits = order::decide(Some(&order), &OrderCommand::Settle { answers: some }).unwrap();
    assert!(waits.events.is_empty());
}
