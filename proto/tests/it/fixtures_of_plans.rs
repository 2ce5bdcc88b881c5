//! What format 6 has: fulfilments that are planned.

use docket_engine::{
    Amount, CustomerId, Decider, Event, Fact, Fulfilment, FulfilmentState, Line, LineQuantity, Order,
    OrderEvent, OrderId, OrderLife, OrderState, Quantity, Record, Rejection, Sku, Stamp, Time, Trail,
    Version, access::Username,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, SnapshotRecord},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-6-plans.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-6-plans.bin");

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 77, 6)
}

fn depot() -> Username {
    Username::new("depot").unwrap()
}

fn some(quantity: i64) -> Box<[LineQuantity]> {
    Box::new([LineQuantity {
        line: 0,
        quantity: Quantity(quantity),
    }])
}

#[test]
fn a_batch_of_plans_decodes() {
    // No event has these, but whatever is refused may be told to another node, or stay with an order.
    let refused = |rejection| OrderEvent::EditRefused {
        rejection: Box::new(rejection),
    };
    let events = [
        OrderEvent::FulfilmentOpened {
            lines: some(1_000_000_000),
            by: depot(),
        },
        OrderEvent::FulfilmentShipped {
            fulfilment: 65,
            carrier: "Österreichische Post".into(),
            tracking: "".into(),
            by: depot(),
        },
        OrderEvent::FulfilmentCancelled {
            fulfilment: 1,
            by: depot(),
        },
        refused(Rejection::QuantityPlanned {
            line: 99,
            planned: Quantity(7),
        }),
        refused(Rejection::FulfilmentNotOpen {
            fulfilment: 3,
            state: FulfilmentState::Delivered,
        }),
        refused(Rejection::FulfilmentNotShipped {
            fulfilment: 4,
            state: FulfilmentState::Cancelled,
        }),
    ];
    let facts = events.map(|event| Fact::Order(id(), event)).into_iter();
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
fn a_snapshot_of_an_order_that_was_planned_decodes() {
    let stamp = |version| {
        Some(Stamp {
            at: Time(1_795_000_000_123_456 + version as i64),
            version: Version(version),
            by: Some(depot()),
        })
    };
    let plan = Fulfilment {
        lines: some(1),
        carrier: "".into(),
        tracking: "".into(),
        captured: Amount(0),
        opened: None,
        shipped: None,
        delivered: None,
        cancelled: None,
    };
    let sent = |fulfilment: Fulfilment| Fulfilment {
        carrier: "DHL".into(),
        captured: Amount(350),
        ..fulfilment
    };
    let order = Order {
        id: id(),
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: [Line {
            sku: Sku::new("nut").unwrap(),
            quantity: Quantity(9),
            unit_price: Amount(350),
        }]
        .into(),
        total: Amount(3_150),
        state: OrderState::PartiallyFulfilled,
        rejection: None,
        releasing: Box::default(),
        life: Some(Box::new(OrderLife {
            fulfilments: vec![
                Fulfilment {
                    opened: stamp(3),
                    ..plan.clone()
                },
                Fulfilment {
                    opened: stamp(4),
                    cancelled: stamp(5),
                    ..plan.clone()
                },
                sent(Fulfilment {
                    opened: stamp(6),
                    shipped: stamp(7),
                    delivered: stamp(9),
                    ..plan.clone()
                }),
                sent(Fulfilment {
                    shipped: stamp(10),
                    ..plan
                }),
            ],
            ..OrderLife::default()
        })),
        provider: None,
        version: Version(11),
        created: Time(1_795_000_000_123_000),
        updated: Time(1_795_000_000_123_456),
        trail: Trail::default(),
    };
    order.validate().unwrap();
    order.history().unwrap();
    let head = Head {
        format: 6,
        last_time: Time(1_795_000_000_123_456),
        archived: 0,
        feed: Some(FeedStart {
            next: 9,
            floor: FeedPosition { index: 1, ordinal: 0 },
        }),
    };
    let expected = vec![SnapshotRecord::Head(head), SnapshotRecord::Order(order)];
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, SNAPSHOT);
    let decoded: Result<Vec<_>, _> = snapshot::records(SNAPSHOT, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}

#[test]
fn a_fulfilment_that_was_neither_planned_nor_sent_is_refused() {
    // `SnapshotRecord { order { fulfilments { carrier: "x" } } }`
    let bytes = [0x0a, 0x07, 0x22, 0x05, 0x62, 0x03, 0x12, 0x01, b'x'];
    let mut found = snapshot::records(&bytes, &NoIntern);
    let refused = found.next().unwrap().unwrap_err();
    assert_eq!(refused.message, "Fulfilment");
}
