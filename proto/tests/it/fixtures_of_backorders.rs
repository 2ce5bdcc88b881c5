//! What format 7 has: items that promise more than there is, and what orders know of it.

use docket_engine::{
    Amount, Backorder, BackorderNews, Backorders, CustomerId, Decider, Event, Fact, Item, ItemEvent, Line,
    LineQuantity, Order, OrderEvent, OrderId, OrderLife, OrderState, Quantity, Record, Rejection, Sku, Stamp,
    Time, Trail, Version,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, Reservation, SnapshotRecord},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-7-backorders.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-7-backorders.bin");

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 77, 7)
}

fn nut() -> Sku {
    Sku::new("nut").unwrap()
}

fn of_line(line: u16, quantity: i64) -> LineQuantity {
    let quantity = Quantity(quantity);
    LineQuantity { line, quantity }
}

#[test]
fn a_batch_of_backorders_decodes() {
    // No event has this, but whatever is refused may be told to another node, or stay with an order.
    let refused = OrderEvent::EditRefused {
        rejection: Box::new(Rejection::QuantityBackordered {
            line: 99,
            wanted: Quantity(1_000_000_000),
            there: Quantity(7),
        }),
    };
    let orders = [
        OrderEvent::Backordered {
            lines: [of_line(0, 1), of_line(99, 1_000_000_000)].into(),
        },
        OrderEvent::BackorderFilled {
            lines: [of_line(99, 3)].into(),
        },
        OrderEvent::BackorderFilled {
            lines: Box::default(),
        },
        refused,
    ];
    let items = [1_000_000_000, 0].map(|limit| ItemEvent::Updated {
        display_name: "Nuß".into(),
        unit_price: Amount(350),
        backorder_limit: Quantity(limit),
    });
    let facts = orders.map(|event| Fact::Order(id(), event)).into_iter();
    let facts = facts.chain(items.map(|event| Fact::Item(nut(), event)));
    let events = facts.zip(1..).map(|(fact, version)| Event {
        version: Version(version),
        decider: Decider(7),
        fact,
    });
    let record = Record {
        time: Time(1_795_000_000_123_456),
        events: events.collect(),
        request: None,
        unchanged: None,
        origin: None,
    };
    let mut bytes = Vec::new();
    encode_record(&record, &mut bytes);
    assert_eq!(bytes, BATCH);
    assert_eq!(decode_batch(BATCH).unwrap(), [record]);
}

#[test]
fn a_snapshot_of_an_item_for_which_orders_wait_decodes() {
    let heard = |version| Stamp {
        at: Time(1_795_000_000_123_456 + version as i64),
        version: Version(version),
        by: None,
    };
    let line = |quantity| Line {
        sku: nut(),
        quantity: Quantity(quantity),
        unit_price: Amount(350),
    };
    let order = Order {
        id: id(),
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: [line(2), line(7)].into(),
        total: Amount(3_150),
        state: OrderState::Confirmed,
        rejection: None,
        releasing: Box::default(),
        life: Some(Box::new(OrderLife {
            backorders: vec![
                BackorderNews {
                    lines: [of_line(0, 1), of_line(1, 7)].into(),
                    filled: false,
                    heard: heard(3),
                },
                BackorderNews {
                    lines: [of_line(1, 5)].into(),
                    filled: true,
                    heard: heard(4),
                },
            ],
            ..OrderLife::default()
        })),
        provider: None,
        version: Version(4),
        created: Time(1_795_000_000_123_000),
        updated: Time(1_795_000_000_123_456),
        trail: Trail::default(),
    };
    order.validate().unwrap();
    order.history().unwrap();
    let places = [(id(), 3), (OrderId(1), 1), (id(), 2)].map(|(order, quantity)| Backorder {
        order,
        quantity: Quantity(quantity),
    });
    let item = Item {
        sku: nut(),
        display_name: "Nut".into(),
        currency: "EUR".parse().unwrap(),
        unit_price: Amount(350),
        on_hand: Quantity(4),
        reserved: Quantity(4),
        backorders: Backorders::new(Quantity(1_000_000_000), places.into()),
        version: Version(9),
        revision: 3,
        created: Time(1_795_000_000_000_000),
        updated: Time(1_795_000_000_000_001),
    };
    item.validate().unwrap();
    // It promised some, and promises no more.
    let closed = Item {
        sku: Sku::new("bolt").unwrap(),
        backorders: Backorders::new(Quantity::ZERO, [places[1]].into()),
        ..item.clone()
    };
    let head = Head {
        format: 7,
        last_time: Time(1_795_000_000_123_456),
        archived: 0,
        feed: Some(FeedStart {
            next: 9,
            floor: FeedPosition { index: 1, ordinal: 0 },
        }),
    };
    let reservation = Reservation {
        sku: nut(),
        order: id(),
        quantity: Quantity(9),
    };
    let expected = vec![
        SnapshotRecord::Head(head),
        SnapshotRecord::Item(item),
        SnapshotRecord::Item(closed),
        SnapshotRecord::Order(order),
        SnapshotRecord::Reservation(reservation),
    ];
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, SNAPSHOT);
    let decoded: Result<Vec<_>, _> = snapshot::records(SNAPSHOT, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}

#[test]
fn what_nobody_heard_is_refused() {
    // `SnapshotRecord { order { backorders { filled: 1 } } }`
    let bytes = [0x0a, 0x07, 0x22, 0x05, 0xea, 0x01, 0x02, 0x10, 0x01];
    let mut found = snapshot::records(&bytes, &NoIntern);
    let refused = found.next().unwrap().unwrap_err();
    assert_eq!(refused.message, "BackorderNews");
}
