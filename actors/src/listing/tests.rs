use docket_engine::{
    Amount, CustomerId, Decider, Event, Fact, HoldReason, Line, OrderEvent, PaymentState, Quantity, Record,
    Rejection, Sku, Time, Version,
};

use super::*;

/// Orders, more of them than one page looks at.
const ORDERS: u128 = 20_000;
/// Every how manieth is rejected.
const REJECTED_EVERY: u128 = 1_000;
/// Every how manieth is bob's.
const BOBS_EVERY: u128 = 5_000;

fn customer(name: &str) -> CustomerId {
    CustomerId::new(name).unwrap()
}

fn put(committed: &Committed, id: OrderId, customer: &CustomerId, then: OrderEvent) {
    let placed = OrderEvent::Placed {
        customer: customer.clone(),
        currency: "EUR".parse().unwrap(),
        lines: Arc::new([Line {
            sku: Sku::new("tea").unwrap(),
            quantity: Quantity(1),
            unit_price: Amount(1),
        }]),
        provider: None,
    };
    let events = [placed, then].into_iter().zip(1..).map(|(event, version)| Event {
        version: Version(version),
        decider: Decider(1),
        fact: Fact::Order(id, event),
    });
    let record = Record {
        time: Time(1),
        events: events.collect(),
        request: None,
        unchanged: None,
        origin: None,
    };
    committed.apply(&record).unwrap();
}

/// Nearly all confirmed and alice's.
fn shard() -> Committed {
    let (committed, alice, bob) = (Committed::default(), customer("alice"), customer("bob"));
    for n in 1..=ORDERS {
        let rejected = OrderEvent::Rejected {
            rejection: Box::new(Rejection::Overflow { line: None }),
            release: Box::default(),
        };
        let then = match n % REJECTED_EVERY {
            0 => rejected,
            _ => OrderEvent::Confirmed,
        };
        let of = if n % BOBS_EVERY == 1 { &bob } else { &alice };
        put(&committed, OrderId(n), of, then);
    }
    committed
}

/// A page and how many orders were looked at for it, at most so many under one lock.
fn page(shards: &[&Committed], query: &ListOrders) -> (Found, usize) {
    let below = query.before.unwrap_or(OrderId(u128::MAX));
    let shards = shards.iter().map(|shard| (*shard, below)).collect();
    let mut listing = Listing::new(shards, &query.filter, query.limit, &|order| order);
    loop {
        let before = listing.rows_left;
        let complete = listing.step();
        assert!(
            before - listing.rows_left <= STEP_IDS.1,
            "too many under one lock"
        );
        if complete {
            let rows = LIST_ROWS_MAX - listing.rows_left;
            return (listing.found(), rows);
        }
    }
}

/// Every order that a query finds, and how many were looked at.
fn all(shards: &[&Committed], mut query: ListOrders) -> (Vec<OrderId>, usize) {
    let (mut ids, mut rows) = (Vec::new(), 0);
    loop {
        let (page, looked_at) = page(shards, &query);
        assert!(page.orders.len() <= query.limit);
        let bound = page.next.is_some() && looked_at == LIST_ROWS_MAX;
        assert!(bound || page.next.is_none() || page.orders.len() == query.limit);
        ids.extend(page.orders.iter().map(|order| order.id));
        rows += looked_at;
        query.before = page.next;
        if page.next.is_none() {
            assert!(ids.is_sorted_by(|a, b| a > b), "newest first, none twice");
            return (ids, rows);
        }
    }
}

fn query(customer: Option<CustomerId>, states: &[OrderState], limit: usize) -> ListOrders {
    ListOrders {
        filter: OrderFilter {
            customer,
            states: states.to_vec(),
            ..OrderFilter::default()
        },
        limit,
        ..ListOrders::default()
    }
}

#[test]
fn a_list_by_state_looks_at_orders_of_that_state_only() {
    let shard = shard();
    for (states, found) in [
        (&[OrderState::Rejected][..], ORDERS / REJECTED_EVERY),
        (&[OrderState::Pending], 0),
        (&[OrderState::Cancelled, OrderState::Pending], 0),
    ] {
        let (ids, rows) = all(&[&shard], query(None, states, 7));
        assert_eq!(ids.len() as u128, found, "{states:?}");
        assert!(
            rows <= 4 * ids.len(),
            "{rows} rows for {} of {states:?}",
            ids.len()
        );
    }
    let (ids, _) = all(&[&shard], query(None, &[], 1_000));
    assert_eq!(ids.len() as u128, ORDERS);
}

#[test]
fn a_customers_list_looks_at_the_smaller_of_its_orders_and_those_in_the_state() {
    let shard = shard();
    let rejected = query(Some(customer("alice")), &[OrderState::Rejected], 50);
    let (ids, rows) = all(&[&shard], rejected);
    assert_eq!((ids.len() as u128, rows), (ORDERS / REJECTED_EVERY, 20));
    let confirmed = query(Some(customer("bob")), &[OrderState::Confirmed], 50);
    let (ids, rows) = all(&[&shard], confirmed);
    assert_eq!((ids.len() as u128, rows), (ORDERS / BOBS_EVERY, 4));
    let (ids, _) = all(&[&shard], query(Some(customer("nobody")), &[], 50));
    assert!(ids.is_empty());
}

#[test]
fn a_page_ends_where_too_many_orders_were_looked_at_and_says_where_to_go_on() {
    let shard = shard();
    for n in 1..=ORDERS {
        put(
            &shard,
            OrderId(ORDERS + n),
            &customer("carol"),
            OrderEvent::Confirmed,
        );
    }
    for order in 1..=ORDERS {
        let cancelled = Record {
            time: Time(2),
            events: vec![Event {
                version: Version(3),
                decider: Decider(1),
                fact: Fact::Order(OrderId(order), OrderEvent::Cancelled),
            }],
            request: None,
            unchanged: None,
            origin: None,
        };
        if order % REJECTED_EVERY != 0 {
            shard.apply(&cancelled).unwrap();
        }
    }
    // Neither index helps: alice has 19,996 orders, carol's 20,000 are the ones that are confirmed.
    let confirmed = query(Some(customer("alice")), &[OrderState::Confirmed], 50);
    let (none, rows) = page(&[&shard], &confirmed);
    assert_eq!((none.orders.len(), rows), (0, LIST_ROWS_MAX));
    assert!(none.next.is_some());
    let (ids, rows) = all(&[&shard], confirmed);
    assert_eq!((ids.len(), rows), (0, 19_996));
}

/// Another event of an order.
fn then(committed: &Committed, id: OrderId, version: u64, event: OrderEvent) {
    let record = Record {
        time: Time(2),
        events: vec![Event {
            version: Version(version),
            decider: Decider(1),
            fact: Fact::Order(id, event),
        }],
        request: None,
        unchanged: None,
        origin: None,
    };
    committed.apply(&record).unwrap();
}

#[test]
fn the_few_that_are_held_and_those_whose_payment_has_failed_are_found_without_a_look_at_others() {
    let (shard, alice) = (shard(), customer("alice"));
    let by = docket_engine::access::Username::new("ops").unwrap();
    let held = |reason| OrderEvent::Held {
        reason,
        note: "".into(),
        by: by.clone(),
    };
    for (id, reason) in [
        (2, HoldReason::Stock),
        (19_002, HoldReason::Address),
        (7, HoldReason::Stock),
    ] {
        then(&shard, OrderId(id), 3, held(reason));
    }
    let freed = OrderEvent::HoldReleased {
        reason: HoldReason::Stock,
        by: by.clone(),
    };
    then(&shard, OrderId(7), 4, freed);
    let of = |filter: OrderFilter| {
        let query = ListOrders {
            filter,
            limit: 50,
            ..ListOrders::default()
        };
        all(&[&shard], query)
    };
    let (ids, rows) = of(OrderFilter {
        holds: vec![HoldReason::Stock],
        ..OrderFilter::default()
    });
    assert_eq!((ids, rows), (vec![OrderId(2)], 2));
    let (ids, _) = of(OrderFilter {
        customer: Some(alice.clone()),
        holds: vec![HoldReason::Stock, HoldReason::Address],
        ..OrderFilter::default()
    });
    assert_eq!(ids, [OrderId(19_002), OrderId(2)]);
    // All but two of those that are rejected were refused for something else.
    for n in 1..=2 {
        let unpaid = OrderEvent::Rejected {
            rejection: Box::new(Rejection::InsufficientCredit {
                needed: Amount(1),
                available: Amount(0),
            }),
            release: Box::default(),
        };
        put(&shard, OrderId(ORDERS + n), &alice, unpaid);
    }
    let (ids, rows) = of(OrderFilter {
        payments: vec![PaymentState::Failed],
        ..OrderFilter::default()
    });
    let overflowed = (1..=ORDERS / REJECTED_EVERY)
        .rev()
        .map(|n| OrderId(n * REJECTED_EVERY));
    let expected: Vec<_> = [OrderId(ORDERS + 2), OrderId(ORDERS + 1)]
        .into_iter()
        .chain(overflowed)
        .collect();
    assert_eq!((rows, ids), (expected.len(), expected));
    shard.validate().unwrap();
}

#[test]
fn what_no_index_knows_is_looked_for_a_bounded_number_of_orders_at_a_time() {
    let shard = shard();
    let nothing = ListOrders {
        filter: OrderFilter {
            item: Sku::new("coffee").ok(),
            ..OrderFilter::default()
        },
        limit: 50,
        ..ListOrders::default()
    };
    let (none, rows) = page(&[&shard], &nothing);
    assert_eq!((none.orders.len(), rows), (0, LIST_ROWS_MAX));
    assert_eq!(none.next, Some(OrderId(ORDERS - LIST_ROWS_MAX as u128 + 1)));
    let (ids, rows) = all(&[&shard], nothing);
    assert_eq!((ids.len(), rows as u128), (0, ORDERS));
}

#[test]
fn a_time_is_a_range_of_ids_and_no_more_is_looked_at() {
    let (shard, alice) = (Committed::default(), customer("alice"));
    // One a second, each a moment after its id was chosen.
    let (begin_ms, seconds) = (1_795_000_000_000_u64, 10_000);
    for n in 0..seconds {
        let ms = begin_ms + n * 1_000;
        let placed = OrderEvent::Placed {
            customer: alice.clone(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(1),
            }]),
            provider: None,
        };
        let record = Record {
            time: Time(ms as i64 * 1_000 + 700),
            events: vec![Event {
                version: Version(1),
                decider: Decider(1),
                fact: Fact::Order(OrderId::compose(ms, 7, n.into()), placed),
            }],
            request: None,
            unchanged: None,
            origin: None,
        };
        shard.apply(&record).unwrap();
    }
    let at = |second: u64| Some(Time((begin_ms + second * 1_000) as i64 * 1_000));
    for (from, before, first, count) in [
        (at(100), at(200), 100, 100),
        (None, at(3), 0, 3),
        (at(9_990), None, 9_990, 10),
        (at(7), at(7), 7, 0),
    ] {
        let query = ListOrders {
            filter: OrderFilter {
                placed_from: from,
                placed_before: before,
                ..OrderFilter::default()
            },
            limit: 30,
            ..ListOrders::default()
        };
        let (ids, rows) = all(&[&shard], query);
        let expected = (first..first + count).rev();
        let expected = expected.map(|n| OrderId::compose(begin_ms + n * 1_000, 7, n.into()));
        assert!(ids.into_iter().eq(expected), "{from:?} {before:?}");
        // And those of the minute before, in which one may have been on its way, and one of each page that follows.
        assert!(rows as u64 <= count + 60 + count / 30 + 1, "{rows} for {count}");
    }
}

#[test]
fn a_shard_that_was_left_out_follows_behind_the_others_from_where_it_was_left_out() {
    let query = |before: Option<u128>, left_out: &[(u16, u128)]| ListOrders {
        before: before.map(OrderId),
        left_out: left_out
            .iter()
            .map(|(shard, id)| (*shard, OrderId(*id)))
            .collect(),
        limit: 10,
        partial: true,
        ..ListOrders::default()
    };
    let check = |query: &ListOrders,
                 leg: &[(u16, u128)],
                 (next, unreachable): (Option<u128>, &[u16]),
                 (goes_on, left_out): (Option<u128>, &[(u16, u128)])| {
        let leg: Vec<_> = leg.iter().map(|(shard, id)| (*shard, OrderId(*id))).collect();
        let found = Found {
            next: next.map(OrderId),
            unreachable: unreachable.to_vec(),
            ..Found::default()
        };
        let page = OrderPage::new(query, &leg, found, |_| None);
        let left_out: BTreeMap<_, _> = left_out
            .iter()
            .map(|(shard, id)| (*shard, OrderId(*id)))
            .collect();
        assert_eq!((page.next, page.left_out), (goes_on.map(OrderId), left_out));
        assert_eq!(page.unreachable, unreachable);
    };
    let first = query(None, &[]);
    check(&first, &[(0, 99), (1, 99)], (Some(50), &[]), (Some(50), &[]));
    check(&first, &[(0, 99), (1, 99)], (None, &[]), (None, &[]));
    check(
        &first,
        &[(0, 99), (1, 99)],
        (Some(50), &[1]),
        (Some(50), &[(1, 99)]),
    );
    // One more, later; then the others are at their end.
    let second = query(Some(50), &[(1, 99)]);
    check(
        &second,
        &[(0, 50), (2, 50)],
        (Some(20), &[2]),
        (Some(20), &[(1, 99), (2, 50)]),
    );
    check(&second, &[(0, 50), (2, 50)], (None, &[]), (Some(0), &[(1, 99)]));
    // A shard that does not hold what its items have is named, and not left out.
    check(&second, &[(0, 50)], (None, &[5]), (Some(0), &[(1, 99)]));
    let last = query(Some(0), &[(1, 99), (2, 50)]);
    check(
        &last,
        &[(1, 99), (2, 50)],
        (Some(70), &[]),
        (Some(0), &[(1, 70), (2, 50)]),
    );
    check(
        &last,
        &[(1, 99), (2, 50)],
        (Some(40), &[2]),
        (Some(0), &[(1, 40), (2, 50)]),
    );
    check(
        &last,
        &[(1, 99), (2, 50)],
        (None, &[1, 2]),
        (Some(0), &[(1, 99), (2, 50)]),
    );
    check(&last, &[(1, 99), (2, 50)], (None, &[2]), (Some(0), &[(2, 50)]));
    check(&last, &[(1, 99), (2, 50)], (None, &[]), (None, &[]));
}

#[test]
fn orders_of_a_shard_that_falls_silent_while_it_is_asked_what_is_reserved_are_listed_once() {
    let shards = [Committed::default(), Committed::default(), Committed::default()];
    let home = |id: OrderId| Some((id.0 % 3) as u16);
    for n in 1..=300_u128 {
        let shard = &shards[(n % 3) as usize];
        put(shard, OrderId(n), &customer("alice"), OrderEvent::Confirmed);
    }
    let mut query = ListOrders {
        limit: 50,
        partial: true,
        ..ListOrders::default()
    };
    let (mut listed, mut named) = (Vec::new(), Vec::new());
    for page in 0.. {
        let leg: Vec<_> = (0..3_u16)
            .filter_map(|shard| match (query.before, query.left_out.get(&shard)) {
                (Some(LEFT_OUT_ONLY), left_out) => left_out.map(|below| (shard, *below)),
                (before, None) => Some((shard, before.unwrap_or(OrderId(u128::MAX)))),
                _ => None,
            })
            .collect();
        let states = leg
            .iter()
            .map(|(shard, below)| (&shards[usize::from(*shard)], *below));
        let mut listing = Listing::new(states.collect(), &query.filter, query.limit, &|order| order);
        while !listing.step() {}
        let mut found = listing.found();
        // Read already, and found silent only then: for two pages in the middle, and at the end once more.
        let is_silent = matches!(page, 1 | 2) || (query.before == Some(LEFT_OUT_ONLY) && named.len() < 3);
        if is_silent {
            found.unreachable = vec![1];
        }
        let page = OrderPage::new(&query, &leg, found, home);
        let of_silent = page.orders.iter().any(|order| home(order.id) == Some(1));
        assert!(!is_silent || !of_silent, "what is left out is not in the page");
        listed.extend(page.orders.iter().map(|order| order.id));
        named.extend(page.unreachable);
        query.left_out = page.left_out;
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(named, [1, 1, 1]);
    listed.sort_unstable();
    assert!(listed.into_iter().eq((1..=300).map(OrderId)), "each once");
}

#[test]
fn pages_over_several_shards_are_one_list() {
    let shards = [Committed::default(), Committed::default(), Committed::default()];
    for n in 1..=1_000_u128 {
        let shard = &shards[(n * n % 3) as usize];
        put(shard, OrderId(n), &customer("alice"), OrderEvent::Confirmed);
    }
    let shards = [&shards[0], &shards[1], &shards[2]];
    for limit in [1, 63, 64, 100, 999, 1_000, usize::MAX] {
        let (ids, _) = all(&shards, query(None, &[OrderState::Confirmed], limit));
        assert!(ids.into_iter().eq((1..=1_000).rev().map(OrderId)), "{limit}");
    }
    let (page, _) = page(&shards, &query(None, &[], 1_000));
    assert_eq!((page.orders.len(), page.next), (1_000, None));
}
