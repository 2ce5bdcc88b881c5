//! Bytes that an earlier version wrote must decode to the same values for ever, and be written the same again, since
//! replicas of different versions compare them. Where these tests fail, the code is wrong, never the fixture.

use std::sync::Arc;

use docket_engine::{
    Amount, Change, ChangeKind, Currency, Customer, CustomerEvent, CustomerId, Decider, EntityId, Event,
    Fact, Fulfilment, Hold, HoldEnd, HoldReason, Item, ItemEvent, Line, LineCancellation, LineQuantity,
    Order, OrderEvent, OrderId, OrderLife, OrderState, Origin, Quantity, Record, Refund, Rejection, Request,
    Return, ReturnStep, Sku, Stamp, Time, TraceId, Trail, TrailEntry, Unchanged, Version, access::Username,
};
use docket_proto::{
    NoIntern,
    feed::FeedPosition,
    record::{decode_batch, encode_record},
    snapshot::{self, FeedStart, Head, KeptChange, Reservation, SnapshotRecord, StoredReply, StoredRequest},
};

const BATCH: &[u8] = include_bytes!("../fixtures/batch-1.bin");
/// Of an order that is shipped, and cancelled in part.
const SHIPPED: &[u8] = include_bytes!("../fixtures/batch-4.bin");
/// With records of requests that changed nothing.
const UNCHANGED: &[u8] = include_bytes!("../fixtures/batch-2.bin");
/// Of an order that is held.
const HELD: &[u8] = include_bytes!("../fixtures/batch-3.bin");
const SNAPSHOT: &[u8] = include_bytes!("../fixtures/snapshot-1.bin");
/// What format 2 has beside that: where the kept changes of orders begin, and the changes.
const CHANGES: &[u8] = include_bytes!("../fixtures/snapshot-2.bin");
/// What format 3 has beside that: holds.
const HOLDS: &[u8] = include_bytes!("../fixtures/snapshot-3.bin");
/// What format 4 has beside that: what was shipped, and cancelled in part.
const FULFILMENTS: &[u8] = include_bytes!("../fixtures/snapshot-4.bin");

/// With where changes come from.
const ORIGINS: &[u8] = include_bytes!("../fixtures/batch-5.bin");
/// What format 5 has beside the others: what is kept of an order's changes.
const TRAIL: &[u8] = include_bytes!("../fixtures/snapshot-5.bin");

/// All of it, a request id that is a UUID and one that is not, and each part alone.
fn origins() -> Vec<Origin> {
    let by = |name: &str| Username::new(name).ok();
    let trace = Some(TraceId(*b"\0trace id of W3C"));
    let of = |by, request_id: &str, trace| Origin {
        by,
        request_id: (!request_id.is_empty()).then(|| request_id.into()),
        trace,
    };
    vec![
        of(by("shop"), "0192f7a0-5b1c-7d3e-8f00-0123456789ab", trace),
        of(by("eve@shop"), "order 7/a", None),
        of(by("ops"), "", None),
        of(None, "0192F7A0-5B1C-7D3E-8F00-0123456789AB", None),
        of(None, "", trace),
    ]
}

#[test]
fn a_batch_that_says_where_changes_come_from_decodes() {
    let records: Vec<_> = origins()
        .into_iter()
        .zip(2..)
        .map(|(origin, version)| Record {
            time: Time(1_795_000_000_123_456),
            events: vec![Event {
                version: Version(version),
                decider: Decider(7),
                fact: order_fact(OrderEvent::Confirmed),
            }],
            request: None,
            unchanged: None,
            origin: Option::from(&origin),
        })
        .collect();
    check_batch(ORIGINS, &records);
}

#[test]
fn a_snapshot_with_trails_decodes() {
    let created = Time(1_795_000_000_123_456);
    let entries = origins().into_iter().map(Some).chain([None]).zip(1..);
    let entries: Vec<_> = entries
        .map(|(origin, version)| TrailEntry {
            version: Version(version * version),
            at: Time(created.0 + (version as i64 - 1) * 1_000_000),
            origin,
        })
        .collect();
    let order = Order {
        trail: Trail::of(&entries, created).unwrap(),
        ..order(OrderState::Confirmed, None, Box::default())
    };
    let head = Head {
        format: 5,
        last_time: created,
        feed: None,
        archived: 0,
    };
    let expected = vec![SnapshotRecord::Head(head), SnapshotRecord::Order(order)];
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, TRAIL);
    let decoded: Result<Vec<_>, _> = snapshot::records(TRAIL, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}

#[test]
fn a_batch_of_the_first_version_decodes() {
    check_batch(BATCH, &batch());
}

#[test]
fn a_batch_of_requests_that_changed_nothing_decodes() {
    check_batch(UNCHANGED, &unchanged());
}

#[track_caller]
fn check_batch(fixture: &[u8], expected: &[Record]) {
    let mut bytes = Vec::new();
    for record in expected {
        encode_record(record, &mut bytes);
    }
    assert_eq!(bytes, fixture);
    assert_eq!(decode_batch(fixture).unwrap(), expected);
}

#[test]
fn a_batch_of_an_order_that_is_held_decodes() {
    let events = [
        OrderEvent::Held {
            reason: HoldReason::FraudReview,
            note: "zwölf Uhren an eine neue Adresse".into(),
            by: Username::new("eve@shop").unwrap(),
        },
        OrderEvent::Held {
            reason: HoldReason::Operator,
            note: "".into(),
            by: Username::new("ops").unwrap(),
        },
        OrderEvent::HoldReleased {
            reason: HoldReason::FraudReview,
            by: Username::new("ops").unwrap(),
        },
    ];
    let events = events.into_iter().zip(3..).map(|(event, version)| Event {
        version: Version(version),
        decider: Decider(7),
        fact: order_fact(event),
    });
    let held = Record {
        time: Time(1_795_000_000_123_456),
        events: events.collect(),
        request: None,
        unchanged: None,
        origin: None,
    };
    check_batch(HELD, &[held]);
}

#[test]
fn a_snapshot_with_holds_decodes() {
    let hold = |reason, ended| Hold {
        reason,
        note: "no such street".into(),
        by: Username::new("shop").unwrap(),
        since: Time(1_795_000_000_123_456),
        version: Version(3),
        ended,
    };
    let end = |by: Option<&str>| {
        Some(HoldEnd {
            at: Time(1_795_000_000_999_999),
            version: Version(5),
            by: by.map(|by| Username::new(by).unwrap()),
        })
    };
    let holds = vec![
        hold(HoldReason::Address, end(Some("ops"))),
        hold(HoldReason::Stock, end(None)),
        hold(HoldReason::Payment, None),
    ];
    let order = Order {
        life: Some(Box::new(OrderLife {
            holds,
            ..OrderLife::default()
        })),
        ..order(OrderState::Confirmed, None, Box::default())
    };
    let head = Head {
        format: 3,
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
    assert_eq!(bytes, HOLDS);
    let decoded: Result<Vec<_>, _> = snapshot::records(HOLDS, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}

fn part() -> Box<[LineQuantity]> {
    [(0, 1), (99, 1_000_000_000)]
        .map(|(line, quantity)| LineQuantity {
            line,
            quantity: Quantity(quantity),
        })
        .into()
}

#[test]
fn a_batch_of_an_order_that_is_shipped_decodes() {
    let by = Username::new("eve@shop").unwrap();
    let returns_by = by.clone();
    let facts = [
        order_fact(OrderEvent::Shipped {
            lines: part(),
            carrier: "Österreichische Post".into(),
            tracking: "JD014".into(),
            by: by.clone(),
        }),
        Fact::Customer(
            ada(),
            CustomerEvent::Captured {
                order: id(),
                amount: Amount(350),
            },
        ),
        Fact::Item(
            sku("nut"),
            ItemEvent::Consumed {
                order: id(),
                quantity: Quantity(1),
            },
        ),
        order_fact(OrderEvent::Consumed),
        order_fact(OrderEvent::Delivered {
            fulfilment: 1,
            by: by.clone(),
        }),
        order_fact(OrderEvent::LinesCancelled {
            lines: part(),
            by: Some(by),
        }),
        order_fact(OrderEvent::LinesCancelled {
            lines: part(),
            by: None,
        }),
        order_fact(OrderEvent::ReturnRequested {
            lines: part(),
            note: "zu klein".into(),
            by: returns_by.clone(),
        }),
        order_fact(OrderEvent::ReturnMoved {
            number: 1,
            step: ReturnStep::Approve,
            by: returns_by.clone(),
        }),
        order_fact(OrderEvent::ReturnMoved {
            number: 2,
            step: ReturnStep::Decline { note: "no".into() },
            by: returns_by.clone(),
        }),
        order_fact(OrderEvent::ReturnMoved {
            number: 1,
            step: ReturnStep::Receive { restock: true },
            by: returns_by.clone(),
        }),
        Fact::Item(
            sku("nut"),
            ItemEvent::Restocked {
                order: id(),
                quantity: Quantity(1),
            },
        ),
        order_fact(OrderEvent::Restocked),
        order_fact(OrderEvent::ReturnMoved {
            number: 1,
            step: ReturnStep::Close,
            by: returns_by.clone(),
        }),
        order_fact(OrderEvent::Refunded {
            amount: Amount(7),
            note: "spät".into(),
            by: returns_by,
        }),
        Fact::Customer(
            ada(),
            CustomerEvent::Refunded {
                order: id(),
                amount: Amount(7),
            },
        ),
        order_fact(OrderEvent::Rejected {
            rejection: Box::new(Rejection::QuantityNotOpen {
                line: 3,
                wanted: Quantity(9),
                open: Quantity(8),
            }),
            release: Box::default(),
        }),
    ];
    let events = facts.into_iter().zip(3..).map(|(fact, version)| Event {
        version: Version(version),
        decider: Decider(7),
        fact,
    });
    let shipped = Record {
        time: Time(1_795_000_000_123_456),
        events: events.collect(),
        request: None,
        unchanged: None,
        origin: None,
    };
    check_batch(SHIPPED, &[shipped]);
}

#[test]
fn a_snapshot_with_fulfilments_decodes() {
    let stamp = |version, by: Option<&str>| Stamp {
        at: Time(1_795_000_000_000_000 + version as i64),
        version: Version(version),
        by: by.map(|by| Username::new(by).unwrap()),
    };
    let fulfilment = |version, delivered| Fulfilment {
        lines: part(),
        carrier: "DHL".into(),
        tracking: "".into(),
        captured: Amount(350),
        opened: None,
        shipped: Some(stamp(version, Some("eve@shop"))),
        delivered,
        cancelled: None,
    };
    let cancellation = |version, by| LineCancellation {
        lines: part(),
        voided: Amount(7),
        cancelled: stamp(version, by),
    };
    let life = OrderLife {
        backorders: Vec::new(),
        edits: Vec::new(),
        holds: Vec::new(),
        fulfilments: vec![fulfilment(3, Some(stamp(5, Some("ops")))), fulfilment(8, None)],
        cancellations: vec![cancellation(6, Some("ops")), cancellation(7, None)],
        returns: vec![Return {
            lines: part(),
            note: "zu klein".into(),
            requested: stamp(9, Some("ada")),
            steps: vec![
                (ReturnStep::Approve, stamp(10, Some("ops"))),
                (ReturnStep::Receive { restock: true }, stamp(11, None)),
                (ReturnStep::Decline { note: "no".into() }, stamp(12, Some("ops"))),
                (ReturnStep::Close, stamp(13, Some("ops"))),
            ],
        }],
        refunds: vec![Refund {
            amount: Amount(7),
            note: "spät".into(),
            refunded: stamp(14, Some("ops")),
        }],
        consuming: Box::new([sku("nut"), sku("bolt.M8")]),
        restocking: Box::new([(1, sku("nut"))]),
    };
    let orders = [OrderState::PartiallyFulfilled, OrderState::Fulfilled].map(|state| {
        SnapshotRecord::Order(Order {
            life: Some(Box::new(life.clone())),
            ..order(state, None, Box::default())
        })
    });
    let head = Head {
        format: 4,
        last_time: Time(1_795_000_000_123_456),
        feed: Some(FeedStart {
            next: 9,
            floor: FeedPosition { index: 1, ordinal: 0 },
        }),
        archived: 0,
    };
    let expected: Vec<_> = [SnapshotRecord::Head(head)].into_iter().chain(orders).collect();
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, FULFILMENTS);
    let decoded: Result<Vec<_>, _> = snapshot::records(FULFILMENTS, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
}

fn order_fact(event: OrderEvent) -> Fact {
    Fact::Order(id(), event)
}

#[test]
fn a_snapshot_of_the_first_version_decodes() {
    let expected = snapshot();
    let decoded: Result<Vec<_>, _> = snapshot::records(SNAPSHOT, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, SNAPSHOT);
}

#[test]
fn a_snapshot_with_changes_of_orders_decodes() {
    let position = |index, ordinal| FeedPosition { index, ordinal };
    let kept = |(position, number): (FeedPosition, u64), version, at| KeptChange {
        position,
        order: id(),
        change: Change {
            kind: ChangeKind::from_number(number).unwrap(),
            version: Version(version),
            at: Time(at),
        },
    };
    let expected = vec![
        SnapshotRecord::Head(Head {
            format: 2,
            last_time: Time(1_795_000_000_123_456),
            feed: Some(FeedStart {
                next: 1_005,
                floor: position(900, 2),
            }),
            archived: 0,
        }),
        SnapshotRecord::Changes(vec![
            kept((position(900, 2), 1), 1, 1_795_000_000_100_000),
            kept((position(900, 3), 3), 2, 1_795_000_000_100_000),
            kept((position(1_004, 0), 2), 2, 1_795_000_000_123_456),
        ]),
        // A leader's clock that goes back, and what comes after.
        SnapshotRecord::Changes(vec![
            kept((position(1_004, 1), 4), 3, 9),
            kept((position(1_004, 300), 5), 4, 8),
        ]),
    ];
    let decoded: Result<Vec<_>, _> = snapshot::records(CHANGES, &NoIntern).collect();
    assert_eq!(decoded.unwrap(), expected);
    let mut bytes = Vec::new();
    for record in &expected {
        record.put(&mut bytes);
    }
    assert_eq!(bytes, CHANGES);
}

fn id() -> OrderId {
    OrderId::compose(1_795_000_000_123, 2_748, 0x1_2345_6789_abcd_ef01)
}

fn ada() -> CustomerId {
    CustomerId::new("ada").unwrap()
}

fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

fn currency(code: &str) -> Currency {
    code.parse().unwrap()
}

fn lines() -> Arc<[Line]> {
    let line = |text, quantity, price| Line {
        sku: sku(text),
        quantity: Quantity(quantity),
        unit_price: Amount(price),
    };
    Arc::new([line("nut", 2, 350), line("bolt.M8", 1_000_000_000, 0)])
}

/// One of every kind.
fn rejections() -> Vec<Rejection> {
    vec![
        Rejection::RequestIdReused,
        Rejection::CustomerNotFound { customer: ada() },
        Rejection::ItemNotFound {
            line: Some(0),
            sku: sku("nut"),
        },
        Rejection::OrderNotFound { order: id() },
        Rejection::CustomerExists { customer: ada() },
        Rejection::ItemExists { sku: sku("nut") },
        Rejection::StaleEtag,
        Rejection::CurrencyMismatch {
            line: None,
            ordered: currency("EUR"),
            expected: currency("JPY"),
        },
        Rejection::Overflow { line: None },
        Rejection::InsufficientCredit {
            needed: Amount(700),
            available: Amount(12),
        },
        Rejection::PriceChanged {
            line: 99,
            sku: sku("nut"),
            offered: Amount(350),
            current: Amount(351),
        },
        Rejection::InsufficientStock {
            line: 1,
            sku: sku("bolt.M8"),
            wanted: Quantity(1_000_000_000),
            available: Quantity(3),
        },
        Rejection::OrderPending,
        Rejection::NotCancellable {
            state: OrderState::Rejected,
        },
        Rejection::StockReserved {
            on_hand: Quantity(9),
            reserved: Quantity(8),
            wanted: Quantity(2),
        },
        Rejection::BalanceHeld {
            available: Amount(5),
            wanted: Amount(i64::MAX),
        },
    ]
}

/// One of every fact, and an order rejected for every reason.
fn batch() -> Vec<Record> {
    let order = |event| Fact::Order(id(), event);
    let customer = |event| Fact::Customer(ada(), event);
    let item = |event| Fact::Item(sku("nut"), event);
    let mut facts = vec![
        customer(CustomerEvent::Created {
            display_name: "Ada Lovelace, Ltd. — ümläut".into(),
            currency: currency("EUR"),
            credit_limit: Amount(100_000),
        }),
        customer(CustomerEvent::Updated {
            display_name: "".into(),
            credit_limit: Amount(0),
        }),
        customer(CustomerEvent::Credited { amount: Amount(-250) }),
        item(ItemEvent::Created {
            display_name: "Nut".into(),
            currency: currency("EUR"),
            unit_price: Amount(350),
            on_hand: Quantity(1_000),
        }),
        item(ItemEvent::Updated {
            backorder_limit: Quantity::ZERO,
            display_name: "Nut, M8".into(),
            unit_price: Amount(360),
        }),
        item(ItemEvent::Adjusted { delta: Quantity(-17) }),
        order(OrderEvent::Placed {
            customer: ada(),
            currency: currency("EUR"),
            lines: lines(),
            provider: None,
        }),
        customer(CustomerEvent::Held {
            order: id(),
            amount: Amount(700),
        }),
        item(ItemEvent::Reserved {
            order: id(),
            quantity: Quantity(2),
        }),
        order(OrderEvent::Confirmed),
        order(OrderEvent::Cancelled),
        customer(CustomerEvent::Released {
            order: id(),
            amount: Amount(700),
        }),
        item(ItemEvent::Released {
            order: id(),
            quantity: Quantity(2),
        }),
        order(OrderEvent::Released),
    ];
    facts.extend(rejections().into_iter().map(|rejection| {
        order(OrderEvent::Rejected {
            rejection: Box::new(rejection),
            release: Box::new([sku("nut"), sku("bolt.M8")]),
        })
    }));
    let events = facts.into_iter().enumerate().map(|(i, fact)| Event {
        version: Version(i as u64 + 1),
        decider: Decider(0xfeed_beef),
        fact,
    });
    vec![
        Record {
            time: Time(1_795_000_000_123_456),
            events: events.collect(),
            request: Some(Request {
                key: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
                fingerprint: u64::MAX,
            }),
            unchanged: None,
            origin: None,
        },
        Record {
            time: Time(0),
            events: Vec::new(),
            request: None,
            unchanged: None,
            origin: None,
        },
    ]
}

/// One of every entity.
fn unchanged() -> Vec<Record> {
    let entities = [
        EntityId::Order(id()),
        EntityId::Customer(ada()),
        EntityId::Item(sku("nut")),
    ];
    let records = entities.into_iter().zip(1..).map(|(entity, n)| Record {
        time: Time(1_795_000_000_123_456 + n),
        events: Vec::new(),
        request: Some(Request {
            key: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
            fingerprint: n as u64,
        }),
        unchanged: Some(Unchanged {
            entity,
            version: Version(300 * n as u64),
            decider: Decider(0xfeed_beef),
        }),
        origin: None,
    });
    records.collect()
}

fn order(state: OrderState, rejection: Option<Rejection>, releasing: Box<[Sku]>) -> Order {
    Order {
        id: id(),
        customer: ada(),
        currency: currency("EUR"),
        lines: lines(),
        total: Amount(700),
        state,
        rejection: rejection.map(Box::new),
        releasing,
        life: None,
        version: Version(3),
        created: Time(1_795_000_000_123_456),
        updated: Time(1_795_000_000_999_999),
        provider: None,
        trail: Trail::default(),
    }
}

/// One of every record, of every state and of every stored reply.
fn snapshot() -> Vec<SnapshotRecord> {
    let customer = Customer {
        id: ada(),
        display_name: "Ada".into(),
        currency: currency("EUR"),
        credit_limit: Amount(1),
        balance: Amount(-2),
        held: Amount(3),
        version: Version(4),
        revision: 2,
        created: Time(5),
        updated: Time(6),
    };
    let item = Item {
        backorders: None,
        sku: sku("nut"),
        display_name: "Nut".into(),
        currency: currency("EUR"),
        unit_price: Amount(350),
        on_hand: Quantity(10),
        reserved: Quantity(2),
        version: Version(7),
        revision: 3,
        created: Time(8),
        updated: Time(9),
    };
    let rejected = Rejection::InsufficientStock {
        line: 0,
        sku: sku("nut"),
        wanted: Quantity(2),
        available: Quantity(1),
    };
    let cancelled = order(
        OrderState::Cancelled,
        None,
        Box::new([sku("nut"), sku("bolt.M8")]),
    );
    let request = |key, reply| {
        SnapshotRecord::Request(StoredRequest {
            request: Request {
                key,
                fingerprint: 0x1234_5678,
            },
            time: Time(1_795_000_000_123_456),
            reply,
        })
    };
    vec![
        SnapshotRecord::Head(Head {
            format: 1,
            last_time: Time(1_795_000_000_123_456),
            feed: None,
            archived: 0,
        }),
        SnapshotRecord::Fence(Decider(0xfeed_beef), Time(10)),
        SnapshotRecord::Customer(customer.clone()),
        SnapshotRecord::Item(item.clone()),
        SnapshotRecord::Order(order(OrderState::Pending, None, Box::default())),
        SnapshotRecord::Order(order(OrderState::Confirmed, None, Box::default())),
        SnapshotRecord::Order(cancelled.clone()),
        SnapshotRecord::Order(order(OrderState::Rejected, Some(rejected), Box::default())),
        SnapshotRecord::Reservation(Reservation {
            sku: sku("nut"),
            order: id(),
            quantity: Quantity(2),
        }),
        request(1, None),
        request(2, Some(StoredReply::Order(id()))),
        request(3, Some(StoredReply::OrderThen(Arc::new(cancelled)))),
        request(4, Some(StoredReply::CustomerThen(Arc::new(customer)))),
        request(u128::MAX, Some(StoredReply::ItemThen(Arc::new(item)))),
    ]
}
