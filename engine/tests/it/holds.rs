//! Holds: every state × every command about them, and what they leave.

use std::sync::Arc;

use docket_engine::{
    Amount, CustomerId, HOLDS_MAX, HoldReason, Line, Order, OrderCommand, OrderEvent, OrderId, OrderState,
    Quantity, Rejection, Sku, Time, Version, access::Username, order,
};

fn user(name: &str) -> Username {
    Username::new(name).unwrap()
}

fn pending() -> Order {
    let placed = OrderEvent::Placed {
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: Sku::new("nut").unwrap(),
            quantity: Quantity(1),
            unit_price: Amount(1),
        }]),
        provider: None,
    };
    Order::create(OrderId(1), &placed, Time(1)).unwrap()
}

fn hold(reason: HoldReason) -> OrderCommand {
    OrderCommand::Hold {
        reason,
        note: "look".into(),
        by: user("shop"),
        expected: None,
    }
}

fn release(reason: HoldReason) -> OrderCommand {
    OrderCommand::ReleaseHold {
        reason,
        by: user("ops"),
        expected: None,
    }
}

/// Decides, and carries what was decided into the order.
fn ask(order: &mut Order, command: &OrderCommand) -> Result<(), Rejection> {
    let decision = order::decide(Some(order), command)?;
    assert!(decision.effects.is_empty(), "nobody else is asked");
    for event in decision.events {
        order.evolve(&event, Time(9)).unwrap();
        order.validate().unwrap();
    }
    Ok(())
}

fn active(order: &Order) -> Vec<HoldReason> {
    order.active_holds().map(|hold| hold.reason).collect()
}

#[test]
fn each_state_takes_a_hold_and_a_release_or_says_why_not() {
    use HoldReason::{Address, Stock};
    let rejected = OrderEvent::Rejected {
        rejection: Box::new(Rejection::StaleEtag),
        release: Box::default(),
    };
    let held = |reason| OrderEvent::Held {
        reason,
        note: "".into(),
        by: user("shop"),
    };
    let none = |state| Err(Rejection::NotHoldable { state });
    let exists = Err(Rejection::HoldExists { reason: Address });
    let missing = |reason| Err(Rejection::HoldNotFound { reason });
    // The life so far, and what comes of a hold for the address, of its release, and of the release of another.
    let table = [
        (vec![], [(); 3].map(|()| Err(Rejection::OrderPending))),
        (
            vec![OrderEvent::Confirmed],
            [Ok(()), missing(Address), missing(Stock)],
        ),
        (
            vec![OrderEvent::Confirmed, held(Address)],
            [exists.clone(), Ok(()), missing(Stock)],
        ),
        (
            vec![OrderEvent::Confirmed, held(Stock)],
            [Ok(()), missing(Address), Ok(())],
        ),
        (vec![rejected], [(); 3].map(|()| none(OrderState::Rejected))),
        (
            vec![OrderEvent::Confirmed, held(Address), OrderEvent::Cancelled],
            [(); 3].map(|()| none(OrderState::Cancelled)),
        ),
    ];
    for (life, expected) in table {
        let mut order = pending();
        life.iter()
            .for_each(|event| order.evolve(event, Time(2)).unwrap());
        order.validate().unwrap();
        let commands = [hold(Address), release(Address), release(Stock)];
        for (command, expected) in commands.iter().zip(expected) {
            let mut after = order.clone();
            assert_eq!(ask(&mut after, command), expected, "{life:?} {command:?}");
            assert_eq!(expected.is_ok(), after != order);
        }
    }
    // Nobody has asked for an order that is not there.
    assert!(order::decide(None, &hold(Address)).unwrap().events.is_empty());
}

#[test]
fn a_hold_says_who_and_why_and_how_it_ended() {
    let mut order = pending();
    order.evolve(&OrderEvent::Confirmed, Time(2)).unwrap();
    ask(&mut order, &hold(HoldReason::Payment)).unwrap();
    ask(&mut order, &hold(HoldReason::FraudReview)).unwrap();
    assert_eq!(active(&order), [HoldReason::Payment, HoldReason::FraudReview]);
    ask(&mut order, &release(HoldReason::Payment)).unwrap();
    assert_eq!(active(&order), [HoldReason::FraudReview]);
    let ended = order.holds()[0].ended.clone().unwrap();
    assert_eq!((ended.version, ended.by), (Version(5), Some(user("ops"))));
    let [payment, fraud] = order.holds() else {
        panic!("two were placed");
    };
    assert_eq!((payment.version, fraud.version), (Version(3), Version(4)));
    assert_eq!(
        (&*fraud.note, &fraud.by, fraud.since),
        ("look", &user("shop"), Time(9))
    );

    // Cancelling ends what is left, and nobody in particular does.
    let cancel = order::decide(
        Some(&order),
        &OrderCommand::Cancel {
            lines: Box::default(),
            by: None,
            expected: None,
        },
    )
    .unwrap();
    order.evolve(&cancel.events[0], Time(11)).unwrap();
    order.validate().unwrap();
    assert!(active(&order).is_empty());
    let ended = order.holds()[1].ended.clone().unwrap();
    assert_eq!(
        (ended.at, ended.version, ended.by),
        (Time(11), order.version, None)
    );
}

#[test]
fn a_hold_is_placed_only_at_the_version_that_was_seen_and_not_without_end() {
    let mut order = pending();
    order.evolve(&OrderEvent::Confirmed, Time(2)).unwrap();
    let at = |version| OrderCommand::Hold {
        reason: HoldReason::Operator,
        note: "".into(),
        by: user("shop"),
        expected: Some(Version(version)),
    };
    assert_eq!(ask(&mut order, &at(1)), Err(Rejection::StaleEtag));
    ask(&mut order, &at(2)).unwrap();
    for _ in 1..HOLDS_MAX {
        ask(&mut order, &release(HoldReason::Operator)).unwrap();
        ask(&mut order, &hold(HoldReason::Operator)).unwrap();
    }
    assert_eq!(order.holds().len(), HOLDS_MAX);
    assert_eq!(
        ask(&mut order, &hold(HoldReason::Stock)),
        Err(Rejection::TooManyHolds)
    );
    ask(&mut order, &release(HoldReason::Operator)).unwrap();
    let one_more = OrderEvent::Held {
        reason: HoldReason::Stock,
        note: "".into(),
        by: user("shop"),
    };
    order.evolve(&one_more, Time(3)).unwrap_err();
}

#[test]
fn events_that_nobody_could_have_decided_are_refused() {
    let held = OrderEvent::Held {
        reason: HoldReason::Stock,
        note: "".into(),
        by: user("shop"),
    };
    let released = OrderEvent::HoldReleased {
        reason: HoldReason::Stock,
        by: user("shop"),
    };
    let mut order = pending();
    for event in [&held, &released] {
        order.evolve(event, Time(2)).unwrap_err();
    }
    order.evolve(&OrderEvent::Confirmed, Time(2)).unwrap();
    order.evolve(&released, Time(2)).unwrap_err();
    order.evolve(&held, Time(2)).unwrap();
    let before = order.clone();
    order.evolve(&held, Time(2)).unwrap_err();
    assert_eq!(order, before);
}

#[test]
fn every_reason_has_its_number_and_its_name() {
    for (reason, number) in HoldReason::ALL.into_iter().zip(1..) {
        assert_eq!(u64::from(reason.number()), number);
        assert_eq!(HoldReason::from_number(number), Some(reason));
        assert_eq!(reason.as_str().parse(), Ok(reason));
    }
    assert_eq!(HoldReason::from_number(0), None);
    assert_eq!(HoldReason::from_number(6), None);
    "FRAUD".parse::<HoldReason>().unwrap_err();
}
