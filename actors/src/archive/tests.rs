//! An archive as a state machine has it, and on its way to another node.

mod formats;

use std::sync::Arc;

use bytes::Bytes;
use docket_cluster::{Entry, StateMachine};
use docket_engine::{
    Amount, CustomerId, Decider, Event, Fact, Line, Order, OrderEvent, OrderFilter, OrderId, OrderState,
    Quantity, Record, Rejection, Sku, Time, Version,
};
use docket_persistence::{archive::Archive, mem::MemKeyed};

use super::{OrderArchive, newest};
use crate::{
    committed::{Applied, Committed},
    feed::FeedLimits,
    machine::{self, ShardMachine},
};

pub(crate) fn id(number: u64) -> OrderId {
    OrderId::compose(number * 1_000, 7, u128::from(number))
}

/// The customer of an order.
fn customer(number: u64) -> CustomerId {
    CustomerId::new(["ada", "ad", "bob"][(number % 3) as usize]).unwrap()
}

fn record(time: Time, events: Vec<Event>) -> Record {
    Record {
        time,
        events,
        request: None,
        unchanged: None,
        origin: None,
    }
}

fn placed(number: u64) -> OrderEvent {
    OrderEvent::Placed {
        customer: customer(number),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: Sku::new("tea").unwrap(),
            quantity: Quantity(1),
            unit_price: Amount(1),
        }]),
        provider: None,
    }
}

/// Has an order in memory that is over in this state, however it came there.
pub(crate) fn over(committed: &Committed, number: u64, state: OrderState) {
    let mut order = Order::create(id(number), &placed(number), Time(1)).unwrap();
    order.state = state;
    order.rejection = (state == OrderState::Rejected).then(|| Box::new(Rejection::StaleEtag));
    assert!(order.is_over(), "{order:?}");
    committed.insert_order(Arc::new(order)).unwrap();
}

/// What places an order, and refuses it.
fn refusal(number: u64) -> Record {
    let rejected = OrderEvent::Rejected {
        rejection: Box::new(Rejection::StaleEtag),
        release: Box::default(),
    };
    let event = |version, event| Event {
        version: Version(version),
        decider: Decider(1),
        fact: Fact::Order(id(number), event),
    };
    let time = Time(i64::try_from(number).unwrap() * 1_000_000);
    record(time, vec![event(1, placed(number)), event(2, rejected)])
}

fn leaves(committed: &Committed, id: OrderId) -> Record {
    let version = committed.orders.see(id, |order| order.version).unwrap();
    let event = Event {
        version: version.next(),
        decider: Decider(2),
        fact: Fact::Archived(id),
    };
    record(committed.last_time(), vec![event])
}

/// A shard with so many orders that were refused, one a second.
pub(crate) fn refused(count: u64) -> Committed {
    let committed = Committed::default();
    for number in 1..=count {
        committed.apply(&refusal(number)).unwrap();
    }
    committed
}

pub(crate) fn archive(committed: &Committed, id: OrderId) {
    assert_eq!(committed.apply(&leaves(committed, id)), Ok(Applied::Done));
}

#[test]
fn an_order_leaves_all_of_memory_and_is_found_as_it_was() {
    let committed = refused(30);
    let weighs = committed.state_bytes();
    let before: Vec<_> = (1..=30)
        .map(|number| committed.orders.get(id(number)).unwrap())
        .collect();
    for number in 1..=30 {
        archive(&committed, id(number));
    }
    committed.validate().unwrap();
    assert!(committed.orders.all().is_empty() && committed.customer_orders.is_empty());
    assert_eq!(committed.order_index.read().count(&[]), 0);
    // What the feed keeps stays.
    assert!(weighs - committed.state_bytes() >= 30 * 75);
    for (number, order) in (1..=30).zip(before) {
        assert_eq!(committed.archive.get(id(number)).unwrap(), Some(order.clone()));
        assert_eq!(
            committed.archive.numbered(number - 1).unwrap(),
            Some(order.clone())
        );
        assert!(committed.archive.is_indexed(&order).unwrap());
    }
    assert_eq!(committed.archive.numbered(30).unwrap(), None);
}

#[test]
fn what_is_not_over_or_not_there_stays_where_it_is_and_an_id_is_never_given_twice() {
    let committed = refused(3);
    // Its version is not the next.
    let mut early = leaves(&committed, id(1));
    (early.events[0].version, early.events[0].decider) = (Version(2), Decider(3));
    assert_eq!(committed.apply(&early), Ok(Applied::Conflict));
    archive(&committed, id(2));
    // Once more, or anything else that is said of it, or another of its id: long ago as it is.
    let mut again = leaves(&committed, id(3));
    (again.events[0].fact, again.events[0].decider) = (Fact::Archived(id(2)), Decider(4));
    assert_eq!(committed.apply(&again), Ok(Applied::Conflict));
    let mut placed = refusal(2);
    placed.time = Time(10_000_000_000_000);
    placed
        .events
        .iter_mut()
        .for_each(|event| event.decider = Decider(9));
    assert_eq!(committed.apply(&placed), Ok(Applied::Conflict));
    assert_eq!(committed.archive.count(), 1);
    assert!(committed.orders.get(id(2)).is_none());
    // An order that is pending is not over, whoever says so.
    let mut pending = refusal(9);
    pending.events.truncate(1);
    committed.apply(&pending).unwrap();
    committed.apply(&leaves(&committed, id(9))).unwrap_err();
}

/// A state machine with such orders, of which the first so many are archived.
fn machine(orders: u64, archived: u64) -> (ShardMachine, Arc<Committed>) {
    machine_on(&MemKeyed::new(), orders, archived)
}

pub(crate) fn machine_on(keyed: &MemKeyed, orders: u64, archived: u64) -> (ShardMachine, Arc<Committed>) {
    let archive = OrderArchive::of(&Archive::new(Arc::new(keyed.clone())), 3, &Arc::default());
    let committed = Arc::new(Committed::new(FeedLimits::default(), archive));
    let machine = ShardMachine::new(committed.clone(), Arc::default(), Arc::default());
    for number in 1..=orders {
        apply(&machine, &committed, &refusal(number));
    }
    for number in 1..=archived {
        let record = leaves(&committed, id(number));
        apply(&machine, &committed, &record);
    }
    (machine, committed)
}

fn apply(machine: &ShardMachine, committed: &Committed, record: &Record) -> u64 {
    let mut payload = Vec::new();
    machine::begin(1, &mut payload);
    machine::encode(record, &mut payload);
    let payload = Bytes::from(payload);
    let entry = Entry {
        index: committed.applied_next() + 1,
        term: 1,
        payload: &payload,
    };
    assert_eq!(&machine.apply(entry)[..], [machine::DONE]);
    machine.effects()
}

fn snapshot(machine: &ShardMachine) -> Vec<u8> {
    let mut stored = Vec::new();
    let mut sink = |piece: &[u8]| {
        stored.extend_from_slice(piece);
        Ok(())
    };
    machine.capture().write(&mut sink).unwrap();
    stored
}

#[test]
fn another_node_gets_what_it_lacks_behind_the_snapshot_and_goes_on_alike() {
    let (ours, state) = machine(40, 25);
    let stored = snapshot(&ours);
    for has in [0, 10, 25] {
        let (theirs, other) = machine(40, has);
        assert_eq!(theirs.kept_aside(), has);
        // More has come there since the snapshot: that is of a future.
        let aside: Vec<Bytes> = ours.read_aside(has).map(Result::unwrap).collect();
        let sent: Vec<u8> = stored.iter().copied().chain(aside.concat()).collect();
        // However it is cut.
        let mut chunks = sent.chunks(1_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
        theirs.restore(&mut chunks).unwrap();
        assert_eq!((theirs.kept_aside(), other.orders.len()), (25, 15));
        for number in 1..=25 {
            let order = other.archive.get(id(number)).unwrap();
            assert_eq!(order, state.archive.get(id(number)).unwrap(), "{number}");
            assert!(order.is_some() && other.orders.get(id(number)).is_none());
        }
        other.validate().unwrap();
        assert_eq!(snapshot(&theirs), stored);
        // What comes next gets the next number on both.
        let next = leaves(&other, id(30));
        let (fresh, of_fresh) = machine(40, 25);
        assert_eq!(apply(&theirs, &other, &next), apply(&fresh, &of_fresh, &next));
    }
    // Without it there is nothing to go on with.
    let (theirs, _) = machine(0, 0);
    let alone = std::iter::once(Ok(Bytes::from(stored)));
    theirs.restore(&mut alone.into_iter()).unwrap_err();
}

#[test]
fn who_says_how_much_it_has_still_has_it_when_the_power_has_gone() {
    let (ours, state) = machine(40, 25);
    let stored = snapshot(&ours);
    let keyed = MemKeyed::new();
    let (theirs, _) = machine_on(&keyed, 40, 10);
    let sent = |has: u64| {
        let aside = ours.read_aside(has).map(Result::unwrap);
        let chunks: Vec<_> = std::iter::once(Bytes::from(stored.clone()))
            .chain(aside)
            .collect();
        move || chunks.clone().into_iter().map(Ok::<_, std::io::Error>)
    };
    // What it counts is not what it has for good.
    let chunks = sent(theirs.kept_aside());
    let lost = keyed.fork();
    lost.lose_unsynced();
    let refused = machine_on(&lost, 0, 0).0.restore(&mut chunks()).unwrap_err();
    assert!(refused.to_string().contains("number 9"), "{refused}");
    // It is stored when it has come, and what it leaves out is there.
    let chunks = sent(theirs.sync_aside().unwrap());
    theirs.restore(&mut chunks()).unwrap();
    keyed.lose_unsynced();
    let (theirs, other) = machine_on(&keyed, 0, 0);
    theirs.restore(&mut chunks()).unwrap();
    for number in 0..25 {
        let order = other.archive.numbered(number).unwrap();
        assert_eq!(order, state.archive.numbered(number).unwrap());
        assert!(order.is_some(), "{number}");
    }
}

#[test]
fn a_state_that_is_cleared_leaves_the_shelf_to_the_life_that_came_after_and_a_drop_does_not() {
    let keyed = MemKeyed::new();
    let (ours, committed) = machine_on(&keyed, 20, 12);
    let stored = snapshot(&ours);
    // A start reads of a drop long ago, and then of the snapshot that came after it.
    ours.clear();
    assert_eq!((ours.kept_aside(), committed.orders.len()), (0, 0));
    assert_eq!(
        committed.archive.get(id(1)).unwrap(),
        None,
        "it counts for nothing"
    );
    let chunks = || std::iter::once(Ok(Bytes::from(stored.clone())));
    ours.restore(&mut chunks()).unwrap();
    assert_eq!((ours.kept_aside(), committed.orders.len()), (12, 8));
    for number in 0..12 {
        assert!(committed.archive.numbered(number).unwrap().is_some());
    }
    ours.clear();
    ours.forget_aside();
    assert!(keyed.is_empty());
}

#[test]
fn what_is_on_the_shelf_of_a_future_that_is_not_applied_again_is_not_there_twice() {
    let (ours, committed) = machine(20, 5);
    let stored = snapshot(&ours);
    for number in 6..=12 {
        archive(&committed, id(number));
    }
    // A crash: the shelf has twelve, and the snapshot five.
    ours.restore(&mut std::iter::once(Ok(Bytes::from(stored))))
        .unwrap();
    assert_eq!((committed.archive.count(), committed.orders.len()), (5, 15));
    let all = OrderFilter::default();
    let shards = [(committed.clone(), OrderId(u128::MAX))];
    let found = newest(&shards, &all, None, 100, 100).unwrap();
    assert_eq!(found.orders.len(), 5);
    assert_eq!(committed.archive.get(id(6)).unwrap(), None);
    for number in 6..=12 {
        archive(&committed, id(number));
    }
    let found = newest(&shards, &all, None, 100, 100).unwrap();
    let ids: Vec<_> = found.orders.iter().map(|order| order.id).collect();
    assert_eq!(ids, (1..=12).rev().map(id).collect::<Vec<_>>());
}

#[test]
fn a_page_looks_at_a_bounded_number_and_says_where_to_go_on_over_several_shards() {
    let shards: Vec<Arc<Committed>> = (0..3).map(|_| Arc::new(Committed::default())).collect();
    for number in 1..=300 {
        let shard = &shards[(number % 3) as usize];
        shard.apply(&refusal(number)).unwrap();
        archive(shard, id(number));
    }
    let of = |below: OrderId| -> Vec<_> { shards.iter().map(|shard| (shard.clone(), below)).collect() };
    let pages = |filter: &OrderFilter, limit: usize, rows: usize| {
        let (mut below, mut ids, mut pages) = (OrderId(u128::MAX), Vec::new(), 0);
        loop {
            let found = newest(&of(below), filter, None, limit, rows).unwrap();
            assert!(found.orders.len() <= limit);
            pages += 1;
            ids.extend(found.orders.iter().map(|order| order.id));
            match found.next {
                Some(next) => below = next,
                None => return (ids, pages),
            }
        }
    };
    let all = OrderFilter::default();
    let ada = OrderFilter {
        customer: Some(customer(3)),
        ..OrderFilter::default()
    };
    let expected = |wanted: &dyn Fn(u64) -> bool| -> Vec<OrderId> {
        (1..=300).rev().filter(|number| wanted(*number)).map(id).collect()
    };
    for (limit, rows) in [
        (1, 1_000),
        (7, 1_000),
        (50, 1_000),
        (300, 1_000),
        (1_000, 40),
        (10, 7),
    ] {
        assert_eq!(pages(&all, limit, rows).0, expected(&|_| true), "{limit}, {rows}");
        assert_eq!(pages(&ada, limit, rows).0, expected(&|number| number % 3 == 0));
    }
    // One that finds nothing ends, a bounded page at a time.
    let nothing = OrderFilter {
        item: Sku::new("pot").ok(),
        ..OrderFilter::default()
    };
    let (found, pages_of_nothing) = pages(&nothing, 10, 100);
    assert!(found.is_empty() && (3..=4).contains(&pages_of_nothing));
    for states in [vec![OrderState::Confirmed], vec![OrderState::Cancelled]] {
        let filter = OrderFilter {
            states,
            ..OrderFilter::default()
        };
        assert_eq!(pages(&filter, 10, 1), (vec![], 1), "no row is looked at");
    }
    // From one on, as where memory has had a page already.
    let found = newest(&of(id(250)), &all, Some(id(245)), 100, 1_000).unwrap();
    let ids: Vec<_> = found.orders.iter().map(|order| order.id).collect();
    assert_eq!((ids, found.next), ((245..250).rev().map(id).collect(), None));
}
