//! What format 5 has beside payments (`fixtures_of_payments`): edits of orders.

use docket_engine::{
    Amount, CustomerId, Decider, Edit, EditEnd, Event, Fact, ItemEvent, Line, LineQuantity, Order,
    OrderEvent, OrderId, OrderLife, OrderState, Quantity, Record, Rejection, Sku, Stamp, Time, Trail,
    Version, access::Username,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, SnapshotRecord},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-5-edits.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-5-edits.bin");

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 77, 5)
}

fn nut() -> Sku {
    Sku::new("nut").unwrap()
}

fn ops() -> Username {
    Username::new("ops").unwrap()
}

/// So many of the first line and the last.
fn lines(first: i64, last: i64) -> Box<[LineQuantity]> {
    [(0, first), (99, last)]
        .map(|(line, quantity)| LineQuantity {
            line,
            quantity: Quantity(quantity),
        })
        .into()
}

fn no_stock() -> Rejection {
    Rejection::InsufficientStock {
        line: 99,
        sku: nut(),
        wanted: Quantity(1_000_000_000),
        available: Quantity(0),
    }
}

#[test]
fn a_batch_of_edits_decodes() {
    let refused = |rejection| OrderEvent::EditRefused {
        rejection: Box::new(rejection),
    };
    let events = [
        OrderEvent::Edited {
            lines: lines(0, 7),
            by: ops(),
        },
        OrderEvent::EditBegun {
            lines: lines(1_000_000_000, 1),
            by: ops(),
        },
        refused(no_stock()),
        refused(Rejection::NotEditable {
            state: OrderState::Fulfilled,
        }),
        refused(Rejection::QuantityTooLow {
            line: 0,
            wanted: Quantity(1),
            gone: Quantity(2),
        }),
        refused(Rejection::EditLeavesNothing),
        refused(Rejection::EditNeedsAuthorization { more: Amount(14) }),
        refused(Rejection::TooManyEdits),
    ];
    let facts = events.map(|event| Fact::Order(id(), event)).into_iter();
    let raised = ItemEvent::Raised {
        order: id(),
        quantity: Quantity(3),
    };
    let facts = facts.chain([Fact::Item(nut(), raised)]).zip(1..);
    let events = facts.map(|(fact, version)| Event {
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
fn a_snapshot_of_an_order_that_was_edited_decodes() {
    let stamp = |version, by: Option<Username>| Stamp {
        at: Time(1_795_000_000_123_456 + version as i64),
        version: Version(version),
        by,
    };
    let edit = |begun, ended| Edit {
        before: lines(4, 0),
        after: lines(0, 7),
        begun: stamp(begun, Some(ops())),
        ended,
    };
    let end = |version, refused: Option<Rejection>| {
        Some(EditEnd {
            at: stamp(version, refused.is_none().then(ops)),
            refused: refused.map(Box::new),
        })
    };
    let line = Line {
        sku: nut(),
        // Taken off.
        quantity: Quantity(0),
        unit_price: Amount(350),
    };
    let order = Order {
        id: id(),
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: [line].into(),
        total: Amount(0),
        state: OrderState::Confirmed,
        rejection: None,
        releasing: Box::default(),
        life: Some(Box::new(OrderLife {
            edits: vec![
                edit(3, end(3, None)),
                edit(5, end(6, None)),
                edit(7, end(8, Some(no_stock()))),
                edit(10, None),
            ],
            ..OrderLife::default()
        })),
        provider: None,
        version: Version(10),
        created: Time(1_795_000_000_123_000),
        updated: Time(1_795_000_000_123_456),
        trail: Trail::default(),
    };
    let head = Head {
        format: 5,
        last_time: Time(1_795_000_000_123_456),
        feed: Some(FeedStart {
            next: 9,
            floor: FeedPosition { index: 1, ordinal: 0 },
        }),
        archived: 0,
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
