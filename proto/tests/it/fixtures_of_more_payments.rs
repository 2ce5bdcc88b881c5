//! What format 7 has: orders that edits have had pay more than once.

use std::sync::Arc;

use docket_engine::{
    Amount, CustomerId, Decider, Event, Fact, Line, LineQuantity, Order, OrderEvent, OrderId, PaymentOutcome,
    ProviderName, Quantity, Record, Rejection, Sku, Time, Trail, Version, access::Username,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, SnapshotRecord},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-7-payments.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-7-payments.bin");

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 77, 7)
}

fn some(quantity: i64) -> Box<[LineQuantity]> {
    Box::new([LineQuantity {
        line: 0,
        quantity: Quantity(quantity),
    }])
}

#[test]
fn a_batch_of_an_edit_that_waits_for_its_provider_decodes() {
    let events = [
        OrderEvent::EditReserved,
        // No event has this, but whatever is refused may be told to another node.
        OrderEvent::EditRefused {
            rejection: Box::new(Rejection::TooManyAuthorizations),
        },
    ];
    let facts = events.map(|event| Fact::Order(id(), event)).into_iter();
    let events = facts.zip(5..).map(|(fact, version)| Event {
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

/// An order that was edited upwards three times: once that was done, and was shipped then; once that was given up; and once that still waits.
fn order() -> Order {
    let (by, ada) = (Username::new("depot").unwrap(), Username::new("ada").unwrap());
    let placed = OrderEvent::Placed {
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: Sku::new("nut").unwrap(),
            quantity: Quantity(2),
            unit_price: Amount(350),
        }]),
        provider: Some(ProviderName::new("cards").unwrap()),
    };
    let begun = |quantity| OrderEvent::EditBegun {
        lines: some(quantity),
        by: ada.clone(),
    };
    let done = |number, reference: &str| OrderEvent::PaymentAnswered {
        number,
        outcome: PaymentOutcome::Done {
            reference: reference.into(),
        },
    };
    let events = [
        OrderEvent::Reserved,
        OrderEvent::Authorized {
            reference: "pi_1".into(),
        },
        begun(4),
        OrderEvent::EditReserved,
        done(2, "pi_2"),
        OrderEvent::Edited {
            lines: some(4),
            by: ada.clone(),
        },
        OrderEvent::Shipped {
            lines: some(3),
            carrier: "DHL".into(),
            tracking: "1".into(),
            by,
        },
        OrderEvent::Consumed,
        done(3, "ch_3"),
        begun(5),
        OrderEvent::EditReserved,
        OrderEvent::EditRefused {
            rejection: Box::new(Rejection::PaymentExpired),
        },
        OrderEvent::Released,
        begun(6),
        OrderEvent::EditReserved,
    ];
    let mut order = Order::create(id(), &placed, Time(1_795_000_000_123_000)).unwrap();
    for (event, at) in events.iter().zip(1_795_000_000_123_001..) {
        order.evolve(event, Time(at)).unwrap();
    }
    order.trail = Trail::default();
    order
}

#[test]
fn a_snapshot_of_an_order_with_several_payments_decodes() {
    let order = order();
    order.validate().unwrap();
    order.history().unwrap();
    let payments: Vec<u8> = order.payment_steps().iter().map(|step| step.payment).collect();
    assert_eq!(payments, [1, 2, 1, 2, 3, 3, 4]);
    let head = Head {
        format: 7,
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
