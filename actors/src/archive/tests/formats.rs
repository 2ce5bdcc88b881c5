//! What is weighed of what has left memory.

use docket_engine::{ItemEvent, LineQuantity, access::Username};

use super::*;
use crate::feed::AsFeed as _;

fn some(quantity: i64) -> Box<[LineQuantity]> {
    Box::new([LineQuantity {
        line: 0,
        quantity: Quantity(quantity),
    }])
}

fn by() -> Username {
    Username::new("depot").unwrap()
}

/// What comes to an order that waited for its item, and is cancelled.
fn waits() -> Vec<OrderEvent> {
    vec![
        OrderEvent::Confirmed,
        OrderEvent::FulfilmentOpened {
            lines: some(1),
            by: by(),
        },
        OrderEvent::FulfilmentCancelled {
            fulfilment: 1,
            by: by(),
        },
        OrderEvent::Backordered { lines: some(1) },
        OrderEvent::BackorderFilled {
            lines: Box::default(),
        },
        OrderEvent::Cancelled,
        OrderEvent::Released,
    ]
}

#[test]
fn what_has_left_memory_weighs_nothing_there() {
    let committed = Committed::default();
    let (mut decider, mut weighed) = (10, 0);
    let mut apply = |version: u64, fact: Fact| {
        decider += 1;
        let event = Event {
            version: Version(version),
            decider: Decider(decider),
            fact,
        };
        let applied = committed.apply(&record(Time(1), vec![event]));
        assert_eq!(applied, Ok(Applied::Done));
    };
    let weighs = || committed.state_bytes() - 35 * committed.feed().len() as u64;
    for number in 1..=20 {
        for (event, version) in std::iter::once(placed(number)).chain(waits()).zip(1..) {
            apply(version, Fact::Order(id(number), event));
            assert!(weighs() >= weighed);
            weighed = weighs();
        }
    }
    assert!(weighed > 20 * (75 + 2 * 80 + 60), "{weighed}");
    for number in 1..=20 {
        archive(&committed, id(number));
    }
    assert_eq!(weighs(), 0);
    // So it is of who waits for an item.
    let tea = |event| Fact::Item(Sku::new("tea").unwrap(), event);
    let limit = |limit| ItemEvent::Updated {
        display_name: "".into(),
        unit_price: Amount(1),
        backorder_limit: Quantity(limit),
    };
    let (order, quantity) = (id(30), Quantity(3));
    let created = ItemEvent::Created {
        display_name: "".into(),
        currency: "EUR".parse().unwrap(),
        unit_price: Amount(1),
        on_hand: Quantity(0),
    };
    apply(1, tea(created));
    let alone = weighs();
    apply(2, tea(limit(9)));
    apply(3, tea(ItemEvent::Reserved { order, quantity }));
    assert_eq!(weighs(), alone + 45 + 2 * 25);
    apply(4, tea(ItemEvent::Released { order, quantity }));
    apply(5, tea(limit(0)));
    assert_eq!(weighs(), alone);
}
