//! Which format has a place for what has left memory, and what is weighed of it.

use docket_engine::{
    ItemEvent, LineQuantity, PaymentOutcome, ProviderName, Rejection::PaymentExpired, access::Username,
};

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

/// An order that is over, of which an edit was to be authorised by itself.
fn paid_twice(number: u64) -> Order {
    let mut placed = placed(number);
    if let OrderEvent::Placed { provider, .. } = &mut placed {
        *provider = ProviderName::new("cards").ok();
    }
    let done = |number| OrderEvent::PaymentAnswered {
        number,
        outcome: PaymentOutcome::Done {
            reference: "pi".into(),
        },
    };
    let events = [
        OrderEvent::Reserved,
        OrderEvent::Authorized {
            reference: "pi".into(),
        },
        OrderEvent::EditBegun {
            lines: some(2),
            by: by(),
        },
        OrderEvent::EditReserved,
        OrderEvent::EditRefused {
            rejection: Box::new(PaymentExpired),
        },
        OrderEvent::Released,
        done(3),
        OrderEvent::Cancelled,
        OrderEvent::Released,
        done(4),
    ];
    let mut order = Order::create(id(number), &placed, Time(1)).unwrap();
    for event in &events {
        order.evolve(event, Time(1)).unwrap();
    }
    assert!(order.is_over() && order.payment_steps().iter().any(|step| step.payment == 2));
    order
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

/// Has this order in memory, however it came there.
fn has(committed: &Committed, number: u64, order: Order) {
    assert_eq!(order.id, id(number));
    committed.insert_order(Arc::new(order)).unwrap();
}

/// An order that is over, and waited for its item.
fn waited(number: u64) -> Order {
    let mut order = Order::create(id(number), &placed(number), Time(1)).unwrap();
    for event in waits() {
        order.evolve(&event, Time(1)).unwrap();
    }
    order
}

/// The format of a snapshot, as its head says.
fn of_head(stored: &[u8]) -> u32 {
    let piece = &stored[4..];
    match docket_proto::snapshot::records(piece, &docket_proto::NoIntern).next() {
        Some(Ok(docket_proto::snapshot::SnapshotRecord::Head(head))) => head.format,
        other => panic!("a snapshot begins with its head: {other:?}"),
    }
}

fn restore(machine: &ShardMachine, chunks: Vec<Bytes>) {
    machine.restore(&mut chunks.into_iter().map(Ok)).unwrap();
}

#[test]
fn an_archive_of_what_ever_was_needs_no_newer_format_and_one_of_what_is_new_does_for_ever() {
    for new in [waited, paid_twice] {
        let keyed = MemKeyed::new();
        let (ours, committed) = machine_on(&keyed, 9, 5);
        assert_eq!((committed.snapshot_format(), of_head(&snapshot(&ours))), (6, 6));
        ours.sync_aside().unwrap();
        let before = snapshot(&ours);
        has(&committed, 20, new(20));
        assert_eq!(committed.snapshot_format(), 7);
        let leaves_too = leaves(&committed, id(20));
        apply(&ours, &committed, &leaves_too);
        archive(&committed, id(6));
        assert_eq!(committed.snapshot_format(), 7);
        // Each says what it needs.
        let shelf = Archive::new(Arc::new(keyed.clone())).shelf(3);
        for (number, format) in [(5, 6), (20, 7), (6, 6)] {
            let found = shelf.get(&super::super::key_of(id(number))).unwrap().unwrap();
            assert_eq!(found.value[0], format, "order {number}");
        }
        // Nothing in memory tells of it any more, before a start and behind it.
        let stored = snapshot(&ours);
        assert_eq!((of_head(&stored), ours.sync_aside().unwrap()), (7, 7));
        let aside: Vec<Bytes> = ours.read_aside(0).map(Result::unwrap).collect();
        keyed.lose_unsynced();
        let (again, of_again) = machine_on(&keyed, 0, 0);
        restore(&again, vec![stored.clone().into()]);
        assert_eq!(of_head(&snapshot(&again)), 7);
        // A snapshot from before it, with the shelf as it is: that is of a future, until it comes again.
        restore(&again, vec![before.into()]);
        assert_eq!(of_head(&snapshot(&again)), 6);
        has(&of_again, 20, new(20));
        archive(&of_again, id(20));
        of_again.archive.sync().unwrap();
        assert_eq!(of_again.archive.format(), 7);
        // Who is sent it knows, and does after its own start.
        let theirs = MemKeyed::new();
        restore(
            &machine_on(&theirs, 9, 3).0,
            std::iter::once(stored.clone().into()).chain(aside).collect(),
        );
        let (other, of_other) = machine_on(&theirs, 0, 0);
        restore(&other, vec![stored.into()]);
        assert_eq!(of_head(&snapshot(&other)), 7);
        // And forgets it with all else.
        other.clear();
        assert_eq!(of_other.archive.format(), 1);
        other.forget_aside();
        assert!(theirs.is_empty());
        assert_eq!(machine_on(&theirs, 9, 9).1.snapshot_format(), 6);
    }
}
