//! Feeds that a right server can have told, and one of every kind that it cannot.

use super::{
    super::{Change, ChangeKind, Feed},
    *,
};

const OF: [(&str, i64); 1] = [(TEA, 2)];
/// More than there is.
const TOO_MUCH: [(&str, i64); 1] = [(TEA, 11)];
const ORDER: &str = "orders/1";
const REFUSED: &str = "orders/2";

fn change(at: Micros, name: &str, kind: ChangeKind, phase: Phase, etag: &str) -> Change {
    Change {
        seen: at * 1_000,
        kind,
        order: order(name, phase, etag, if name == ORDER { &OF } else { &TOO_MUCH }),
        at: i128::from(at),
    }
}

/// The life of an order that is placed, confirmed, cancelled and given back, told from this millisecond on.
fn life(from: Micros, name: &str) -> Vec<Change> {
    vec![
        change(from, name, ChangeKind::Placed, Phase::Pending, "1"),
        change(from + 1, name, ChangeKind::Confirmed, Phase::Confirmed, "2"),
        change(from + 10, name, ChangeKind::Cancelled, Phase::Cancelled, "3"),
        change(from + 11, name, ChangeKind::Released, Phase::Cancelled, "4"),
    ]
}

/// One that is refused.
fn refusal(from: Micros, name: &str) -> Vec<Change> {
    vec![
        change(from, name, ChangeKind::Placed, Phase::Pending, "1"),
        change(from, name, ChangeKind::Rejected, Phase::Rejected, "2"),
    ]
}

/// An order that was placed and cancelled, and one that was refused; told to one consumer like this.
fn told(changes: Vec<Change>) -> Told {
    let refused = refused("INSUFFICIENT_STOCK", TEA, &[("wanted", 11), ("available", 10)]);
    let mut told = shop()
        .then(
            (0, 5),
            place("r1", &OF),
            is_order(ORDER, Phase::Confirmed, "2", &OF),
        )
        .then(
            (10, 15),
            cancel("r2", ORDER),
            is_order(ORDER, Phase::Cancelled, "4", &OF),
        )
        .then((20, 25), place("r3", &TOO_MUCH), refused)
        .books(
            &[item(TEA, 10, 0, "a"), item(CUP, 10, 0, "a")],
            (0, 0),
            &[
                order(REFUSED, Phase::Rejected, "2", &TOO_MUCH),
                order(ORDER, Phase::Cancelled, "4", &OF),
            ],
        );
    told.0.feeds.push(Feed {
        changes,
        broken: None,
    });
    told
}

fn right() -> Vec<Change> {
    [life(1, ORDER), refusal(21, REFUSED)].concat()
}

/// The verdict speaks of the feed only.
#[track_caller]
fn check(changes: Vec<Change>, says: &str) {
    told(changes).is_refused(says);
}

#[test]
fn a_feed_that_tells_every_change_once_and_in_order_is_accepted() {
    told(right()).is_good();
    // The end of giving back comes when it comes.
    let mut told = told(right());
    let books = told.0.books.as_mut().unwrap();
    books.orders[1].etag = "3".into();
    told.0.operations[1].outcome = is_order(ORDER, Phase::Cancelled, "3", &OF);
    told.is_good();
}

#[test]
fn a_gap_is_refused_wherever_it_is() {
    for left_out in 0..right().len() {
        let mut changes = right();
        let gone = changes.remove(left_out);
        let verdict = told(changes).verdict();
        assert!(verdict.fault_count > 0, "without {gone}");
    }
    let mut changes = right();
    changes.remove(1);
    check(changes, "a gap: orders/1 is told to be Cancelled behind Placed");
    let mut changes = right();
    changes.truncate(4);
    check(changes, "a gap: nothing is told of orders/2");
    check(
        right().split_off(1),
        "a gap: orders/1 is told to be Confirmed behind nothing",
    );
}

#[test]
fn a_change_that_is_told_twice_is_refused_wherever_it_comes_again() {
    for doubled in 0..right().len() {
        for again in doubled + 1..=right().len() {
            let mut changes = right();
            changes.insert(again, changes[doubled].clone());
            check(changes, "is told twice to be");
        }
    }
}

#[test]
fn changes_of_one_order_that_are_out_of_order_are_refused() {
    for (one, other) in [(0, 1), (1, 2), (2, 3), (0, 3), (4, 5)] {
        let mut changes = right();
        changes.swap(one, other);
        check(changes, "out of order: orders/");
    }
}

#[test]
fn a_refused_order_that_is_told_to_be_confirmed_is_refused() {
    let mut changes = right();
    changes[5] = change(21, REFUSED, ChangeKind::Confirmed, Phase::Confirmed, "2");
    check(
        changes,
        "orders/2 REJECTED etag 2 at the end, and the last that is told of it is Confirmed",
    );
    // Before it was refused.
    let mut changes = right();
    changes.insert(
        5,
        change(21, REFUSED, ChangeKind::Confirmed, Phase::Confirmed, "1b"),
    );
    check(changes, "orders/2 is told to be Rejected behind Confirmed");
}

#[test]
fn an_order_that_is_not_there_is_refused() {
    let changes = [right(), refusal(30, "orders/3")].concat();
    check(changes, "orders/3 is told, and is not there");
}

#[test]
fn a_cancel_that_nobody_asked_for_is_refused() {
    let mut told = told(right());
    told.0.operations.remove(1);
    let books = told.0.books.as_mut().unwrap();
    books.orders[1] = order(ORDER, Phase::Confirmed, "2", &OF);
    told.is_refused("orders/1 is told to be cancelled, and by then nobody had asked for that");
}

#[test]
fn what_is_told_before_it_was_asked_for_is_refused() {
    let mut changes = right();
    changes[2].seen = 9_000;
    check(
        changes,
        "orders/1 is told to be cancelled, and by then nobody had asked for that",
    );
    let mut told = told(right());
    told.0.operations[0].invoked = 2_000;
    told.is_refused("orders/1 is told before it was asked for");
}

#[test]
fn a_change_that_shows_another_order_is_refused() {
    let mut changes = right();
    changes[1].order.lines = lines(&[(CUP, 2)]);
    check(changes, "orders/1 is told to be another order than it was");
    let mut changes = right();
    for change in &mut changes[..4] {
        change.order.created = 7;
    }
    check(changes, "orders/1 is told otherwise than it was acknowledged");
    let mut changes = right();
    changes[1].order.phase = Phase::Pending;
    check(changes, "orders/1 is told to be Confirmed, and shown as Pending");
    let mut changes = right();
    changes[1].order.etag = "1".into();
    check(changes, "has the etag that it had");
}

#[test]
fn a_read_that_shows_less_than_was_told_before_is_refused() {
    let see =
        |phase, etag| told(right()).by(2, (12, 13), get_order(ORDER), is_order(ORDER, phase, etag, &OF));
    // Another client has asked for that: it was read beside the cancel, and told before.
    see(Phase::Cancelled, "3").is_good();
    see(Phase::Confirmed, "2")
        .is_refused("orders/1 was told to be Cancelled, and read as Confirmed behind that");
    let not_found = refused("ORDER_NOT_FOUND", ORDER, &[]);
    told(right())
        .by(2, (2, 4), get_order(ORDER), not_found)
        .is_refused("orders/1 was told, and not found behind that");
}

#[test]
fn one_etag_is_one_order() {
    let mut told = told(right());
    told.0.operations[1].outcome = is_order(ORDER, Phase::Cancelled, "2", &OF);
    told.is_refused("was seen, and told otherwise of the same etag");
}

#[test]
fn times_of_one_order_that_go_back_are_refused() {
    let mut changes = right();
    changes[3].at = 0;
    check(changes, "the time of orders/1 goes back");
}

#[test]
fn consumers_that_are_told_in_another_order_are_refused() {
    // Each by itself is right: changes of two orders at once.
    let interleaved = |first: usize| {
        let (mut one, mut other) = (life(1, ORDER), refusal(1, REFUSED));
        one[0].at = 1;
        other.iter_mut().for_each(|change| change.at = 1);
        let rest = one.split_off(1);
        match first {
            1 => [one, other, rest].concat(),
            _ => [other, one, rest].concat(),
        }
    };
    let mut told = told(interleaved(1));
    told.0.operations[2].invoked = 0;
    told.is_good();
    told.0.feeds.push(Feed {
        changes: interleaved(2),
        broken: None,
    });
    told.is_refused("consumers 0 and 1 are told otherwise of customers/ann");
}

#[test]
fn a_feed_that_broke_off_is_refused() {
    let mut told = told(right());
    told.0.feeds[0].broken = Some("RESUME_TOKEN_TOO_OLD".into());
    told.is_refused("the feed of consumer 0 broke off: RESUME_TOKEN_TOO_OLD");
}
