//! What shipments and cancellations ask of items and customers, for the first time and again.

use docket_engine::{
    Amount, Customer, CustomerCommand, CustomerEvent, CustomerId, Item, ItemCommand, ItemEvent, OrderId,
    Quantity, Rejection, Time, customer, item,
};

use crate::stage::sku;

const ORDER: OrderId = OrderId(1);

fn nut(on_hand: i64, reserved: i64) -> Item {
    let created = ItemEvent::Created {
        display_name: "Nut".into(),
        currency: "EUR".parse().unwrap(),
        unit_price: Amount(2),
        on_hand: Quantity(on_hand),
    };
    let mut item = Item::create(sku("nut"), &created, Time(1)).unwrap();
    if reserved > 0 {
        let quantity = Quantity(reserved);
        let reserved = ItemEvent::Reserved {
            order: ORDER,
            quantity,
        };
        item.evolve(&reserved, Time(2)).unwrap();
    }
    item
}

#[test]
fn an_item_is_told_how_much_stays_so_that_what_is_told_late_does_nothing() {
    // What is reserved, what is to stay, and what goes.
    for (reserved, remaining, goes) in [
        (Some(5), 5, 0),
        (Some(5), 4, 1),
        (Some(5), 0, 5),
        // Told of an older step, when more was to stay.
        (Some(5), 6, 0),
        (Some(5), i64::MAX, 0),
        (None, 0, 0),
        (None, 3, 0),
        (Some(i64::MAX), 0, i64::MAX),
        (Some(i64::MAX), 1, i64::MAX - 1),
    ] {
        let (order, quantity) = (ORDER, Quantity(goes));
        let remaining = Quantity(remaining);
        for (command, event) in [
            (
                ItemCommand::Release { order, remaining },
                ItemEvent::Released { order, quantity },
            ),
            (
                ItemCommand::Consume { order, remaining },
                ItemEvent::Consumed { order, quantity },
            ),
        ] {
            let mut item = nut(i64::MAX, reserved.unwrap_or(0));
            let reservation = reserved.map(Quantity);
            let decision = item::decide(&sku("nut"), Some(&item), reservation, &command).unwrap();
            assert_eq!(decision.effects, []);
            if goes == 0 {
                assert_eq!(decision.events, [], "{reserved:?} {command:?}");
                continue;
            }
            assert_eq!(
                decision.events,
                std::slice::from_ref(&event),
                "{reserved:?} {command:?}"
            );
            item.evolve(&event, Time(3)).unwrap();
            item.validate().unwrap();
            let is_taken = matches!(event, ItemEvent::Consumed { .. });
            assert_eq!(item.on_hand.0, i64::MAX - i64::from(is_taken) * goes);
            assert_eq!(item.reserved.0, reserved.unwrap() - goes);
            // The same again.
            let left = event.reserved_after(reservation);
            assert_eq!(left.map_or(0, |left| left.0), remaining.0);
            let again = item::decide(&sku("nut"), Some(&item), left, &command).unwrap();
            assert_eq!(again.events, []);
        }
    }
}

#[test]
fn an_item_that_is_not_there_has_nothing_to_take_or_give_back() {
    let (order, remaining) = (ORDER, Quantity(0));
    for command in [
        ItemCommand::Release { order, remaining },
        ItemCommand::Consume { order, remaining },
    ] {
        let decision = item::decide(&sku("nut"), None, None, &command).unwrap();
        assert_eq!((decision.events, decision.effects), (Vec::new(), Vec::new()));
    }
}

#[test]
fn an_item_takes_no_more_off_its_stock_than_is_reserved() {
    let before = nut(9, 4);
    for quantity in [i64::MIN, -1, 0, 5, 9, 10, i64::MAX] {
        let (order, quantity) = (ORDER, Quantity(quantity));
        for event in [
            ItemEvent::Consumed { order, quantity },
            ItemEvent::Released { order, quantity },
        ] {
            let mut item = before.clone();
            item.evolve(&event, Time(9)).unwrap_err();
            assert_eq!(item, before, "{event:?}");
        }
    }
}

fn ada(limit: i64, held: i64) -> Customer {
    let created = CustomerEvent::Created {
        display_name: "Ada".into(),
        currency: "EUR".parse().unwrap(),
        credit_limit: Amount(limit),
    };
    let mut customer = Customer::create(CustomerId::new("ada").unwrap(), &created, Time(1)).unwrap();
    let amount = Amount(held);
    let held = CustomerEvent::Held { order: ORDER, amount };
    customer.evolve(&held, Time(2)).unwrap();
    customer
}

#[test]
fn what_is_captured_is_owed_and_what_is_owed_cannot_be_spent_again() {
    let mut customer = ada(100, 60);
    let ask = |customer: &Customer, command: &CustomerCommand| {
        customer::decide(&customer.id, Some(customer), command).map(|it| it.events)
    };
    let capture = CustomerCommand::Capture {
        order: ORDER,
        amount: Amount(45),
    };
    let events = ask(&customer, &capture).unwrap();
    let available = customer.available();
    customer.evolve(&events[0], Time(3)).unwrap();
    customer.validate().unwrap();
    assert_eq!((customer.balance, customer.held), (Amount(-45), Amount(15)));
    // What was held is taken: there is as much to spend as before.
    assert_eq!((available, customer.available()), (Amount(40), Amount(40)));
    assert_eq!(customer.revision, 1, "no person did that");

    let credit = |amount| CustomerCommand::Credit {
        amount: Amount(amount),
        expected: None,
    };
    let nothing_there = Rejection::BalanceHeld {
        available: Amount(0),
        wanted: Amount(1),
    };
    assert_eq!(ask(&customer, &credit(-1)), Err(nothing_there));
    // A debt is paid.
    let paid = ask(&customer, &credit(44)).unwrap();
    customer.evolve(&paid[0], Time(4)).unwrap();
    assert_eq!((customer.balance, customer.available()), (Amount(-1), Amount(84)));
}

#[test]
fn a_customer_owes_no_more_than_an_amount_can_say() {
    let mut customer = ada(i64::MAX, i64::MAX);
    let captured = CustomerEvent::Captured {
        order: ORDER,
        amount: Amount(i64::MAX),
    };
    customer.evolve(&captured, Time(3)).unwrap();
    customer.validate().unwrap();
    assert_eq!(customer.balance, Amount(-i64::MAX));
    assert_eq!(customer.available(), Amount(0));
}

#[test]
fn no_more_is_captured_than_is_held() {
    let before = ada(10, 5);
    for amount in [i64::MIN, -1, 6, i64::MAX] {
        let mut customer = before.clone();
        let amount = Amount(amount);
        let event = CustomerEvent::Captured { order: ORDER, amount };
        customer.evolve(&event, Time(9)).unwrap_err();
        assert_eq!(customer, before, "{event:?}");
    }
}

fn restock(quantity: i64) -> ItemCommand {
    ItemCommand::Restock {
        order: ORDER,
        quantity: Quantity(quantity),
    }
}

#[test]
fn what_comes_back_is_on_hand_again_and_reserved_for_nobody() {
    // Whether the order has some of it reserved still or not.
    for reserved in [0, 4] {
        let mut item = nut(9, reserved);
        let (revision, updated) = (item.revision, item.updated);
        let reservation = (reserved > 0).then_some(Quantity(reserved));
        for (time, on_hand) in [(3, 12), (4, 15)] {
            // It does not know what it was asked before: told twice, it does it twice.
            let decision = item::decide(&sku("nut"), Some(&item), reservation, &restock(3)).unwrap();
            let event = ItemEvent::Restocked {
                order: ORDER,
                quantity: Quantity(3),
            };
            assert_eq!(
                (&decision.events[..], &decision.effects[..]),
                (&[event.clone()][..], &[][..])
            );
            assert_eq!(event.reserved_after(reservation), reservation);
            assert_eq!(event.order(), None, "no reservation changes");
            item.evolve(&event, Time(time)).unwrap();
            item.validate().unwrap();
            assert_eq!((item.on_hand.0, item.reserved.0), (on_hand, reserved));
        }
        assert_eq!(
            (item.revision, item.updated),
            (revision, updated),
            "no person did that"
        );
    }
}

#[test]
fn nothing_goes_back_on_the_stock_of_an_item_that_is_not_there() {
    let refused = item::decide(&sku("nut"), None, None, &restock(1));
    let expected = Rejection::ItemNotFound {
        line: None,
        sku: sku("nut"),
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn no_more_goes_back_on_the_stock_than_a_number_can_say() {
    let overflow = Err(Rejection::Overflow { line: None });
    for (on_hand, quantity, fits) in [
        (i64::MAX, 1, false),
        (i64::MAX - 1, 2, false),
        (1, i64::MAX, false),
        (i64::MAX, i64::MAX, false),
        (i64::MAX - 1, 1, true),
        (0, i64::MAX, true),
    ] {
        let before = nut(on_hand, 0);
        let decision = item::decide(&sku("nut"), Some(&before), None, &restock(quantity));
        assert_eq!(decision.is_ok(), fits, "{on_hand} and {quantity}");
        if !fits {
            assert_eq!(decision, overflow);
        }
        let event = ItemEvent::Restocked {
            order: ORDER,
            quantity: Quantity(quantity),
        };
        let mut item = before.clone();
        assert_eq!(item.evolve(&event, Time(9)).is_ok(), fits);
        assert_eq!(item == before, !fits, "what does not fit changes nothing");
    }
}

#[test]
fn an_item_puts_back_no_less_than_one() {
    let before = nut(9, 4);
    for quantity in [i64::MIN, -1, 0] {
        let (order, quantity) = (ORDER, Quantity(quantity));
        let event = ItemEvent::Restocked { order, quantity };
        let mut item = before.clone();
        item.evolve(&event, Time(9)).unwrap_err();
        assert_eq!(item, before, "{event:?}");
    }
}

#[test]
fn what_is_refunded_can_be_spent_again_and_no_hold_changes() {
    let mut customer = ada(100, 60);
    let amount = Amount(45);
    let captured = CustomerEvent::Captured { order: ORDER, amount };
    customer.evolve(&captured, Time(3)).unwrap();
    let before = customer.clone();
    let refund = |amount| CustomerCommand::Refund {
        order: ORDER,
        amount: Amount(amount),
    };
    let events = customer::decide(&customer.id, Some(&customer), &refund(20))
        .unwrap()
        .events;
    customer.evolve(&events[0], Time(4)).unwrap();
    customer.validate().unwrap();
    assert_eq!((customer.balance, customer.held), (Amount(-25), before.held));
    assert_eq!(customer.available().0, before.available().0 + 20);
    assert_eq!(customer.revision, before.revision, "no person did that");

    // Nobody has more than an amount can say.
    let amount = Amount(i64::MAX);
    let credited = CustomerEvent::Credited { amount };
    customer.evolve(&credited, Time(5)).unwrap();
    let refused = customer::decide(&customer.id, Some(&customer), &refund(26));
    assert_eq!(refused, Err(Rejection::Overflow { line: None }));
    let last = customer::decide(&customer.id, Some(&customer), &refund(25)).unwrap();
    customer.evolve(&last.events[0], Time(6)).unwrap();
    assert_eq!(customer.balance, amount);
    for amount in [Amount(1), Amount(-1), Amount(i64::MIN)] {
        let mut after = customer.clone();
        let event = CustomerEvent::Refunded { order: ORDER, amount };
        after.evolve(&event, Time(7)).unwrap_err();
        assert_eq!(after, customer, "{event:?}");
    }
}
