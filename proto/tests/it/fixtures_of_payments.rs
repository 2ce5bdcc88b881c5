//! What format 5 has beside those before it (`fixtures`): payments by providers.

use docket_engine::{
    Amount, CustomerId, Decider, Event, Fact, Line, Order, OrderEvent, OrderId, OrderState, PaymentKind,
    PaymentOutcome, PaymentStep, ProviderName, ProviderPayment, Quantity, Record, Rejection, Sku, Stamp,
    Time, Trail, Version, access::Username,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, SnapshotRecord},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-5-payments.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-5-payments.bin");

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 77, 5)
}

fn cards() -> ProviderName {
    ProviderName::new("cards-eu_2").unwrap()
}

fn line() -> Line {
    Line {
        sku: Sku::new("nut").unwrap(),
        quantity: Quantity(2),
        unit_price: Amount(350),
    }
}

fn placed() -> OrderEvent {
    OrderEvent::Placed {
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        lines: [line()].into(),
        provider: Some(cards()),
    }
}

fn ops() -> Username {
    Username::new("ops").unwrap()
}

#[test]
fn a_batch_of_payments_decodes() {
    let refused = |rejection| OrderEvent::Rejected {
        rejection: Box::new(rejection),
        release: [Sku::new("nut").unwrap()].into(),
    };
    let events = [
        placed(),
        OrderEvent::Reserved,
        OrderEvent::Authorized {
            reference: "pi_1ü".into(),
        },
        OrderEvent::PaymentAnswered {
            number: 2,
            outcome: PaymentOutcome::Declined {
                reason: "keine Deckung".into(),
            },
        },
        OrderEvent::PaymentRetried { number: 2, by: ops() },
        OrderEvent::PaymentAnswered {
            number: 3,
            outcome: PaymentOutcome::Done { reference: "".into() },
        },
        OrderEvent::Expired,
        refused(Rejection::PaymentDeclined { reason: "no".into() }),
        refused(Rejection::PaymentExpired),
        refused(Rejection::ProviderNotFound { provider: cards() }),
        refused(Rejection::PaymentStepNotFound { number: 9 }),
        refused(Rejection::PaymentNotDeclined { number: 1 }),
        refused(Rejection::TooManyPayments),
    ];
    let events = events.into_iter().zip(1..).map(|(event, version)| Event {
        version: Version(version),
        decider: Decider(7),
        fact: Fact::Order(id(), event),
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
fn a_snapshot_with_payments_decodes() {
    let stamp = |version, by| Stamp {
        at: Time(1_795_000_000_000_000 + version as i64),
        version: Version(version),
        by,
    };
    let step = |kind, amount, due| PaymentStep {
        kind,
        payment: 1,
        amount: Amount(amount),
        group: 1,
        due: stamp(due, None),
        outcome: None,
        retried: None,
    };
    let declined = PaymentOutcome::Declined { reason: "no".into() };
    let done = PaymentOutcome::Done {
        reference: "pi_1".into(),
    };
    let steps = vec![
        PaymentStep {
            outcome: Some((done, stamp(3, None))),
            ..step(PaymentKind::Authorize, 700, 2)
        },
        PaymentStep {
            outcome: Some((declined, stamp(6, None))),
            retried: Some(stamp(8, Some(ops()))),
            ..step(PaymentKind::Capture, 350, 4)
        },
        PaymentStep {
            group: 2,
            due: stamp(8, Some(ops())),
            ..step(PaymentKind::Capture, 350, 8)
        },
        step(PaymentKind::Void, 350, 9),
        step(PaymentKind::Refund, 7, 10),
    ];
    let order = |state, rejection: Option<Rejection>, steps| {
        SnapshotRecord::Order(Order {
            id: id(),
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: [line()].into(),
            total: Amount(700),
            state,
            rejection: rejection.map(Box::new),
            releasing: Box::default(),
            life: None,
            provider: Some(Box::new(ProviderPayment { name: cards(), steps })),
            version: Version(3),
            created: Time(1_795_000_000_123_456),
            updated: Time(1_795_000_000_999_999),
            trail: Trail::default(),
        })
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
    let expected = vec![
        SnapshotRecord::Head(head),
        order(OrderState::Pending, None, Vec::new()),
        order(OrderState::Authorizing, None, steps[..1].to_vec()),
        order(OrderState::Confirmed, None, steps.clone()),
        order(OrderState::Expired, Some(Rejection::PaymentExpired), steps),
    ];
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, SNAPSHOT);
    let decoded: Result<Vec<_>, _> = snapshot::records(SNAPSHOT, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}
