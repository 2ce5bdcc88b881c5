//! What format 6 has beside those before it (`fixtures`): orders that were closed, and that are in the archive.

use docket_engine::{
    Amount, CustomerId, Decider, Event, Fact, Fulfilment, Line, LineQuantity, Order, OrderEvent, OrderId,
    OrderLife, OrderState, Quantity, Record, Rejection, Sku, Stamp, Time, Trail, Version, access::Username,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, SnapshotRecord},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-6-closing.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-6-closing.bin");

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 77, 5)
}

#[test]
fn a_batch_of_what_is_closed_and_archived_decodes() {
    let refused = OrderEvent::Rejected {
        rejection: Box::new(Rejection::OrderClosed),
        release: Box::default(),
    };
    let facts = [
        Fact::Order(id(), OrderEvent::Closed),
        Fact::Archived(id()),
        Fact::Order(id(), refused),
    ];
    let events = facts.into_iter().zip(7..).map(|(fact, version)| Event {
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
fn a_snapshot_with_what_is_closed_decodes() {
    let stamp = |version| Stamp {
        at: Time(1_795_000_000_000_000 + version as i64),
        version: Version(version),
        by: Some(Username::new("depot").unwrap()),
    };
    let line = Line {
        sku: Sku::new("nut").unwrap(),
        quantity: Quantity(2),
        unit_price: Amount(350),
    };
    let shipped = Fulfilment {
        lines: Box::new([LineQuantity {
            line: 0,
            quantity: Quantity(2),
        }]),
        carrier: "post".into(),
        tracking: "1".into(),
        captured: Amount(700),
        opened: None,
        shipped: Some(stamp(3)),
        cancelled: None,
        delivered: Some(stamp(5)),
    };
    let closed = Order {
        id: id(),
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: [line].into(),
        total: Amount(700),
        state: OrderState::Closed,
        rejection: None,
        releasing: Box::default(),
        life: Some(Box::new(OrderLife {
            fulfilments: vec![shipped],
            ..OrderLife::default()
        })),
        provider: None,
        version: Version(6),
        created: Time(1_795_000_000_123_456),
        updated: Time(1_797_592_000_999_999),
        trail: Trail::default(),
    };
    closed.validate().unwrap();
    closed.history().unwrap();
    let head = Head {
        format: 6,
        last_time: Time(1_797_592_000_999_999),
        feed: Some(FeedStart {
            next: 9,
            floor: FeedPosition { index: 1, ordinal: 0 },
        }),
        archived: 5_000_000,
    };
    let expected = vec![
        SnapshotRecord::Head(head),
        SnapshotRecord::Order(closed.clone()),
        SnapshotRecord::Archived(4_999_999, closed),
    ];
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, SNAPSHOT);
    let decoded: Result<Vec<_>, _> = snapshot::records(SNAPSHOT, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}
